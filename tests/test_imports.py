# SPDX-License-Identifier: BSD-3-Clause
"""Imports go one way, stay light, and never need torchvision."""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import psmlearn

PACKAGE = Path(psmlearn.__file__).parent

# Rooms from left to right: a module may import from rooms left of its own. Rooms of
# one level do not see each other.
LEVELS = [
    {
        "_docstrings",
        "_parameters",
        "_progress",
        "_sklearn_compat",
        "_typing",
        "_warnings",
        "exceptions",
    },
    {"_callbacks", "_images", "networks"},
    {"io"},
    {"metrics"},
    {"_engine"},
    {"datasets", "measure", "base"},
    {"preprocessing", "activation", "cluster", "weak"},
    {"segmentation"},
    {"inspection", "persistence"},
    {"slides"},
    {"_cli", "_napari"},
    {"__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
MAY_IMPORT_ALL = {"__init__", "utils"}
FORBIDDEN_AT_TOP = {"torchvision", "timm", "cv2", "numba", "pandas", "matplotlib"}
# In this order, and what none so far may have loaded.
_HEAVY = {"torch", "torchvision", "matplotlib"}
LIGHT = {
    "psmlearn": _HEAVY | {"skimage", "cv2", "tifffile"},
    "psmlearn.metrics": _HEAVY | {"skimage", "cv2"},
    "psmlearn.io": _HEAVY | {"tifffile"},
    "psmlearn.datasets": _HEAVY | {"tifffile"},
    "psmlearn._images": _HEAVY,
    "psmlearn.measure": _HEAVY,
    "psmlearn.preprocessing": _HEAVY,
}


def _source_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def _imported(node: ast.AST) -> list[str]:
    """Full names that one import statement reads from."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        if node.module == "psmlearn":
            return [f"psmlearn.{alias.name}" for alias in node.names]
        return [node.module]
    return []


def _module_level(tree: ast.Module):
    """Statements that run at import: not those inside functions."""
    stack = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        stack.extend(ast.iter_child_nodes(node))


def _run(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
        env={**os.environ, **environment},
        timeout=120,
    )


@pytest.mark.parametrize(
    "path",
    [path for path in _source_files() if _room(path) not in MAY_IMPORT_ALL],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_imports_go_one_way(path):
    room = _room(path)
    assert room in LEVEL, f"{room} has no place in the order of rooms"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for name in _imported(node):
            parts = name.split(".")
            if parts[0] != "psmlearn" or len(parts) == 1:
                continue
            other = parts[1]
            if other in {room, "__version__"}:
                continue
            assert other in LEVEL, (
                f"line {node.lineno} imports {name}: name its room, not the package"
            )
            assert LEVEL[other] < LEVEL[room], (
                f"line {node.lineno}: {room} must not import {name}"
            )


@pytest.mark.parametrize(
    "path", _source_files(), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_heavy_libraries_are_not_imported_at_module_level(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _module_level(tree):
        tops = {name.split(".")[0] for name in _imported(node)}
        assert not tops & FORBIDDEN_AT_TOP, f"line {getattr(node, 'lineno', '?')}"


def _private_of_sklearn(node: ast.AST) -> list[str]:
    """Full names of scikit-learn that one import statement reads and are private."""
    names = _imported(node)
    if isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    parts = [name.split(".") for name in names]
    return [
        ".".join(each)
        for each in parts
        if each[0] == "sklearn" and any(part.startswith("_") for part in each)
    ]


@pytest.mark.parametrize(
    "statement, n_private",
    [
        ("from sklearn.base import BaseEstimator, clone", 0),
        ("from sklearn.base import _fit_context, clone", 1),
        ("from sklearn.utils._param_validation import Interval, StrOptions", 2),
        ("import sklearn.utils._tags", 1),
        ("from psmlearn._sklearn_compat import _num_samples", 0),
    ],
)
def test_what_is_private_of_sklearn(statement, n_private):
    assert len(_private_of_sklearn(ast.parse(statement).body[0])) == n_private


@pytest.mark.parametrize(
    "path",
    [path for path in _source_files() if _room(path) != "_sklearn_compat"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_one_module_imports_the_private_parts_of_sklearn(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not _private_of_sklearn(node), (
            f"line {node.lineno}: import it from psmlearn._sklearn_compat"
        )


def _module_name(path: Path) -> str:
    parts = ("psmlearn", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


def _runtime_imports(tree: ast.Module):
    """Import statements that run, inside functions too; not those for types alone."""
    stack = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        stack.extend(ast.iter_child_nodes(node))


def test_no_imports_go_in_a_circle():
    modules = {_module_name(path): path for path in _source_files()}
    needs = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = set()
        for node in _runtime_imports(tree):
            for other in _imported(node):
                if isinstance(node, ast.ImportFrom):
                    # A module of a room, or a name of it.
                    inside = {f"{other}.{alias.name}" for alias in node.names}
                    found |= inside & modules.keys() or {other} & modules.keys()
                else:
                    found |= {other} & modules.keys()
        # A room's own page of names does not count: its modules never ask it.
        needs[name] = found - {name}
    rooms = {name for name, path in modules.items() if path.name == "__init__.py"}
    order = graphlib.TopologicalSorter(
        {name: others - rooms for name, others in needs.items() if name not in rooms}
    )
    order.prepare()  # raises CycleError, with the circle
    # The two halves: what trains itself, and what learns from image labels.
    halves = ("psmlearn.activation", "psmlearn.weak")
    for name, others in needs.items():
        for half, other_half in (halves, halves[::-1]):
            if name.startswith(half):
                assert not any(other.startswith(other_half) for other in others), name


def test_light_imports_load_nothing_heavy():
    code = (
        "import importlib, sys\n"
        f"for name, heavy in {LIGHT!r}.items():\n"
        "    importlib.import_module(name)\n"
        "    loaded = heavy & set(sys.modules)\n"
        "    assert not loaded, f'{name} loads {loaded}'\n"
    )
    done = _run(code)
    assert done.returncode == 0, done.stderr


def test_command_line_help_does_not_load_torch():
    code = (
        "import sys, psmlearn._cli\n"
        "psmlearn._cli.main(['--help'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = _run(code)
    assert done.returncode == 0, done.stderr


def test_whole_package_imports_beside_a_broken_torchvision(tmp_path):
    (tmp_path / "torchvision.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    modules = [
        ".".join(("psmlearn", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in _source_files()
        if path.name != "__main__.py"
    ]
    modules = [name.removesuffix(".__init__") for name in modules]
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "from psmlearn.networks import build_network\n"
        "build_network('resnet18', 3, 1)\n"
        "assert 'torchvision' not in sys.modules\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = _run(code, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", psmlearn.__all__)
def test_public_names_resolve(name):
    assert getattr(psmlearn, name) is not None
    assert name in dir(psmlearn)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Segmenter'"):
        psmlearn.Segmenter  # noqa: B018
