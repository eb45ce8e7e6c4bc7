# SPDX-License-Identifier: BSD-3-Clause
"""Shared texts of docstrings: filled in, once, and never by halves."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys

import pytest

import psmlearn
from psmlearn import _docstrings
from psmlearn._docstrings import add_snippets, fill_docstring


@pytest.fixture(autouse=True)
def own_snippets(monkeypatch):
    monkeypatch.setattr(_docstrings, "SNIPPETS", dict(_docstrings.SNIPPETS))


def test_texts_are_indented_as_their_line():
    add_snippets(
        inner="Deep.",
        shared="\n    radius : float\n        Of it.\n        %(inner)s\n",
    )

    @fill_docstring
    def draw(radius: float, *, width: int = 1) -> str:
        """Draw.

        Parameters
        ----------
        %(shared)s
        width : int
            %(inner)s
        """

    assert inspect.getdoc(draw).splitlines() == [
        "Draw.",
        "",
        "Parameters",
        "----------",
        "radius : float",
        "    Of it.",
        "    Deep.",
        "width : int",
        "    Deep.",
    ]
    assert list(inspect.signature(draw).parameters) == ["radius", "width"]
    assert draw.__name__ == "draw" and not hasattr(draw, "__wrapped__")


def test_classes_are_filled_and_returned():
    add_snippets(shared="Of all.")

    class Plain:
        """%(shared)s"""

    class Child(Plain):
        pass

    assert fill_docstring(Plain) is Plain and Plain.__doc__ == "Of all."
    assert fill_docstring(Child).__doc__ is None


def test_unknown_names_are_told():
    def draw():
        """Draw.

        %(nowhere)s
        """

    with pytest.raises(ValueError, match="draw names the text 'nowhere'"):
        fill_docstring(draw)


def test_percent_signs_within_lines_stay():
    def draw():
        """Draw 95 % of "%(name)s" and 5%."""

    text = draw.__doc__
    assert fill_docstring(draw).__doc__ == text


def test_a_name_has_one_text():
    add_snippets(shared="Of all.")
    add_snippets(shared="Of all.")
    with pytest.raises(ValueError, match="another text 'shared'"):
        add_snippets(shared="Of some.")


def test_nothing_is_left_to_fill():
    left = []
    for found in pkgutil.walk_packages(psmlearn.__path__, "psmlearn."):
        if found.name in ("psmlearn.__main__", "psmlearn._docstrings"):
            continue
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            members = [value, *(vars(value).values() if inspect.isclass(value) else ())]
            docs = [getattr(member, "__doc__", None) or "" for member in members]
            if any(_docstrings._PLACEHOLDER.search(str(doc)) for doc in docs):
                left.append(f"{found.name}.{name}")
    assert sorted(set(left)) == []


@pytest.mark.slow  # all that is imported is compiled anew
def test_the_library_loads_without_docstrings():
    code = "import psmlearn.metrics as m; print(m.dice_score.__doc__ is None)"
    done = subprocess.run(
        [sys.executable, "-OO", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"
