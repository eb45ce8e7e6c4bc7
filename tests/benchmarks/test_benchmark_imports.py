# SPDX-License-Identifier: BSD-3-Clause
"""Modules of the benchmarks import each other one way only."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "benchmarks").rglob("*.py"))


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(text, modules):
    """Name the modules that a file imports, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            # `from package import name` may import a module of it.
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            found.add(node.module)
    return found & modules


def find_circle(texts):
    """Return a circle of modules, or nothing."""
    graph = {name: imports_of(text, set(texts)) for name, text in texts.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


@pytest.mark.skipif(not FILES, reason="needs benchmarks/ of the repository")
def test_no_module_imports_itself_by_a_detour():
    texts = {module_of(path): path.read_text() for path in FILES}
    assert "benchmarks.accuracy.papers" in imports_of(
        texts["benchmarks.accuracy.rows"], set(texts)
    )
    assert find_circle(texts) == []


def test_circles_through_functions_are_found():
    texts = {
        "a.b": "def f():\n    from a import c\n",
        "a.c": "from a.d import x",
        "a.d": "import a.b\n",
    }
    assert set(find_circle(texts)) == set(texts)
    assert find_circle(texts | {"a.d": "import os\n"}) == []
