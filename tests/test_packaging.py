# SPDX-License-Identifier: BSD-3-Clause
"""What is installed: version, requirements, public names, and files that tell them."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from pathlib import Path

import pytest

import psmlearn

PACKAGE = Path(psmlearn.__file__).parent
ROOT = Path(__file__).parents[1]
MAX_LINES = 800
# Where the name that is imported is not the name that is installed.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "openslide": "openslide-python",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}
# A library that another loads; and arrays and schedulers that come from the caller.
NOT_BY_NAME = {"openslide-bin", "dask", "distributed"}
# What this package imports: not for tests, benchmarks or the manual.
EXTRAS_OF_USERS = ("plot", "data", "wsi", "openslide", "dask", "parquet", "imagej")

config = configparser.ConfigParser()
config.read(ROOT / "setup.cfg", encoding="utf-8")


def _source_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _requirements(section: str, option: str) -> dict[str, str]:
    """Names of a requirement list, in lower case, with their lower bounds or ''."""
    lines = config[section][option].split("\n")
    pairs = [line.partition(">=")[::2] for line in lines if line.strip()]
    return {
        name.strip().lower().partition("[")[0]: bound.strip() for name, bound in pairs
    }


def _pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def _numbers(version: str) -> tuple[int, ...]:
    """Release numbers without trailing zeros, so that 1.26 equals 1.26.0."""
    return tuple(map(int, re.sub(r"(\.0)+$", "", version).split(".")))


def _foreign_imports() -> set[str]:
    """Distributions that the package imports, at module level or in functions."""
    names: set[str] = set()
    for path in _source_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    # psmlearn.utils.estimator_checks makes pytest parameters for those who have it.
    names -= {"psmlearn", "pytest", *sys.stdlib_module_names}
    return {DISTRIBUTIONS.get(name, name) for name in names}


def test_dir_shows_public_names_only():
    shown = dir(psmlearn)
    submodules = set(shown) - set(psmlearn.__all__)
    assert set(psmlearn.__all__) <= set(shown)
    assert shown == sorted(shown)
    assert not [name for name in submodules if name.startswith("_")]
    folders = {path.name for path in PACKAGE.iterdir()}
    modules = {name for name in submodules if {name, f"{name}.py"} & folders}
    assert submodules == modules, "neither in __all__ nor a submodule"


def test_dir_shows_every_public_submodule():
    found = {
        path.stem
        for path in PACKAGE.iterdir()
        if not path.name.startswith("_")
        and (path.suffix == ".py" or (path / "__init__.py").is_file())
    }
    assert found <= set(dir(psmlearn))


def test_version_is_read_without_running_the_package():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    values = {
        ast.unparse(node.targets[0]): node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
    }
    assert ast.literal_eval(values["__version__"]) == psmlearn.__version__
    assert config["metadata"]["version"] == "attr: psmlearn.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", psmlearn.__version__)


def test_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {psmlearn.__version__}\n" in citation
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changes, re.M).group(1) == psmlearn.__version__


def test_changes_are_grouped():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    release = changes.split("\n## ")[1]
    groups = re.findall(r"^### (.+)$", release, re.M)
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    assert groups == [kind for kind in kinds if kind in groups]
    assert groups


def test_types_are_told():
    assert (PACKAGE / "py.typed").is_file()
    assert "py.typed" in _data_of("psmlearn")


def test_the_manifest_of_napari_is_packed_and_registered():
    assert "napari.yaml" in _data_of("psmlearn")
    (line,) = config["options.entry_points"]["napari.manifest"].split("\n")[1:]
    assert line == "psmlearn = psmlearn:napari.yaml"
    assert (PACKAGE / "napari.yaml").is_file()


def _data_of(package):
    return re.split(r"[,\s]+", config["options.package_data"][package].strip())


def test_every_file_of_data_is_packed():
    declared = config["options.package_data"]["psmlearn.datasets"].split()
    folder = PACKAGE / "datasets"
    packed = {path for pattern in declared for path in folder.glob(pattern)}
    others = {path for path in PACKAGE.rglob("*") if path.suffix not in (".py", ".pyc")}
    apart = {PACKAGE / name for name in _data_of("psmlearn")}
    assert packed == {path for path in others if path.is_file()} - apart
    assert len([path for path in packed if path.suffix == ".webp"]) == 3


def test_what_is_imported_is_declared():
    declared = set(_requirements("options", "install_requires"))
    for extra in EXTRAS_OF_USERS:
        declared |= set(_requirements("options.extras_require", extra))
    assert _foreign_imports() <= declared


def test_what_is_declared_is_imported():
    imported = _foreign_imports()
    assert set(_requirements("options", "install_requires")) <= imported
    for extra in EXTRAS_OF_USERS:
        unused = set(_requirements("options.extras_require", extra)) - imported
        assert not unused - NOT_BY_NAME, f"extra {extra}"


def test_extras_are_those_of_the_manual():
    page = ROOT / "docs" / "install.rst"
    named = re.findall(r"^``(\w+)``  ", page.read_text(encoding="utf-8"), re.M)
    assert named == list(config["options.extras_require"])


def test_the_oldest_versions_are_the_lower_bounds():
    oldest = _pins("constraints-oldest.txt")
    for name, bound in _requirements("options", "install_requires").items():
        assert bound, f"{name} has no lower bound"
        assert _numbers(oldest[name]) == _numbers(bound), name


def test_every_requirement_of_the_tests_is_pinned():
    needed = _requirements("options", "install_requires")
    needed |= _requirements("options.extras_require", "test")
    for name in ("constraints.txt", "constraints-oldest.txt"):
        assert set(needed) <= set(_pins(name)), name


def test_hooks_run_what_make_lint_runs():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    run_by_hooks = re.findall(r"entry: python -m (.+)", hooks)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^lint:.*\n((?:\t.+\n)+)", makefile, re.M).group(1)
    assert run_by_hooks == re.findall(r"\$\(PY\) -m (.+)", recipe)


@pytest.mark.parametrize(
    "path", _source_files(), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_no_file_is_too_long(path):
    count = len(path.read_text(encoding="utf-8").splitlines())
    assert count <= MAX_LINES, f"{count} lines: a file is as long as one thing is long"
