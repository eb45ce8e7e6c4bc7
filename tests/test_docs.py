# SPDX-License-Identifier: BSD-3-Clause
"""The API page lists every public name, and nothing that is not there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import psmlearn

ROOT = Path(psmlearn.__file__).parents[1]
API = ROOT / "docs" / "api.rst"
CONF = ROOT / "docs" / "conf.py"
EXAMPLES = ROOT / "examples"
PROSE = sorted([*(ROOT / "docs").glob("*.rst"), *EXAMPLES.glob("*/plot_*.py")])
MODULES = [
    "psmlearn",
    *(f"psmlearn.{room}" for room in psmlearn._SUBMODULES),
    "psmlearn.utils.estimator_checks",
]

pytestmark = pytest.mark.skipif(
    not API.is_file(), reason="the docs folder is not beside the package"
)


def _listed() -> dict[str, set[str]]:
    """Names under each ``currentmodule`` of the API page."""
    listed: dict[str, set[str]] = {}
    module, inside = "", False
    for line in API.read_text(encoding="utf-8").splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split(":: ")[1].strip()
        inside = line.startswith(".. autosummary::") or (
            inside and (not line or line.startswith("   "))
        )
        entry = line.strip()
        if inside and entry and not entry.startswith((":", "..")):
            listed.setdefault(module, set()).add(entry)
    return listed


def _public(module: str) -> set[str]:
    """Public names of a module; estimators are those of the package itself."""
    names = set(getattr(importlib.import_module(module), "__all__", ()))
    if module != "psmlearn":
        names -= set(psmlearn.__all__)
    return names - {"__version__"}


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_listed(name):
    assert _listed().get(name, set()) == _public(name)


def test_no_other_module_is_listed():
    assert set(_listed()) <= set(MODULES)


def test_every_folder_of_examples_is_in_the_gallery():
    ordered = set(
        re.findall(r'"\.\./examples/(\w+)"', CONF.read_text(encoding="utf-8"))
    )
    folders = {path.parent for path in EXAMPLES.glob("*/plot_*.py")}
    assert {path.name for path in folders} == ordered
    assert all((path / "GALLERY_HEADER.rst").is_file() for path in folders)


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_what_prose_points_at_is_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r":(?:class|func):`~?(psmlearn[\w.]*)`", text):
        module, _, name = target.rpartition(".")
        assert hasattr(importlib.import_module(module), name), target
    for target in re.findall(r"<auto_examples/([\w/]+)>", text):
        assert (EXAMPLES / f"{target}.py").is_file(), target
