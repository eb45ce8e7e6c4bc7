# SPDX-License-Identifier: BSD-3-Clause
"""Every public parameter and result has a type, and a short one."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import psmlearn

MODULES = [
    "psmlearn",
    "psmlearn.activation",
    "psmlearn.base",
    "psmlearn.cluster",
    "psmlearn.datasets",
    "psmlearn.inspection",
    "psmlearn.io",
    "psmlearn.measure",
    "psmlearn.metrics",
    "psmlearn.networks",
    "psmlearn.preprocessing",
    "psmlearn.segmentation",
    "psmlearn.utils.estimator_checks",
    "psmlearn.weak",
]


def _methods(kind: type) -> Iterator[Callable]:
    """Constructor and public methods of a class, of those that psmlearn wrote."""
    for name in dir(kind):
        if name != "__init__" and name.startswith("_"):
            continue
        value = inspect.getattr_static(kind, name)
        if isinstance(value, property):
            value = value.fget
        elif isinstance(value, classmethod | staticmethod):
            value = value.__func__
        value = inspect.unwrap(value) if callable(value) else value
        if inspect.isfunction(value) and value.__module__.startswith("psmlearn"):
            yield value


def _public_functions() -> dict[str, Callable]:
    functions: dict[str, Callable] = {}
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing):
                found = list(_methods(thing))
            else:
                found = [thing] if inspect.isfunction(thing) else []
            for function in found:
                functions[f"{function.__module__}.{function.__qualname__}"] = function
    return functions


FUNCTIONS = _public_functions()


def _parameters(function: Callable) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and parameters[0].name in ("self", "cls"):
        return parameters[1:]
    return parameters


def test_the_public_functions_are_found():
    names = {name.rpartition(".")[2] for name in FUNCTIONS}
    assert len(FUNCTIONS) > 100
    assert {"dice_score", "fit", "make_nuclei", "from_predictions"} <= names


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_has_types(name):
    function = FUNCTIONS[name]
    signature = inspect.signature(function)
    bare = [p.name for p in _parameters(function) if p.annotation is p.empty]
    if signature.return_annotation is signature.empty:
        bare.append("return")
    assert not bare


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_parameter_takes_one_line(name):
    for parameter in _parameters(FUNCTIONS[name]):
        annotation = str(parameter.annotation)
        assert not re.search("_NestedSequence|_SupportsArray", annotation)
        default = "" if parameter.default is parameter.empty else parameter.default
        line = f"    {parameter.name}: {annotation} = {default!r},"
        assert len(line) <= 88


def test_types_are_announced_to_checkers():
    assert Path(psmlearn.__file__).with_name("py.typed").is_file()
