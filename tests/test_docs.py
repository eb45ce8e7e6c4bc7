# SPDX-License-Identifier: BSD-3-Clause
"""The API page lists every public name, and nothing that is not there."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import click
import pytest

import psmlearn
from psmlearn._cli import main

ROOT = Path(psmlearn.__file__).parents[1]
API = ROOT / "docs" / "api.rst"
CONF = ROOT / "docs" / "conf.py"
EXAMPLES = ROOT / "examples"
PROSE = sorted(
    [
        *(ROOT / "docs").glob("*.rst"),
        *(ROOT / "docs" / "guide").glob("*.rst"),
        *EXAMPLES.glob("*/plot_*.py"),
    ]
)
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


def _command_pages():
    """Load the extension of Sphinx, which needs no Sphinx before it is set up."""
    path = ROOT / "docs" / "_ext" / "command_pages.py"
    spec = importlib.util.spec_from_file_location("command_pages", path)
    assert spec is not None and spec.loader is not None
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    return pages


def test_there_is_a_page_for_each_command():
    """What ``--help`` tells is on the page: usage, text, and every option."""
    pages = _command_pages()
    found = pages.commands(main)
    assert set(found) == {f"psmlearn {name}" for name in main.commands}
    for name, command in found.items():
        page = pages.render(name, command)
        assert page.startswith(f"{name}\n===")
        for option in (
            each for each in command.params if isinstance(each, click.Option)
        ):
            assert f"{option.opts[-1]}" in page
            words = re.findall(r"\w+", option.help or "")
            assert all(word in page for word in words), (name, option.name)
        for word in re.findall(r"\w+", command.help or ""):
            assert word in page.replace("\\", ""), (name, word)


def test_pages_of_commands_follow_the_commands(tmp_path):
    pages = _command_pages()

    @click.group()
    def tool(): ...

    @tool.command()
    @click.option("--size", default=3, show_default=True, help="How many *stars*.")
    def shine(size):
        """Shine by `size` of a_b.

        \b
        Examples:
          psmlearn shine --size 4
        """

    tool.add_command(click.Command("old", help="Gone soon."))
    pages.write_pages(tmp_path, tool)
    assert sorted(page.name for page in tmp_path.iterdir()) == ["old.rst", "shine.rst"]
    text = (tmp_path / "shine.rst").read_text(encoding="utf-8")
    assert ".. option:: --size INTEGER\n\n   How many \\*stars\\*." in text
    assert "[default: 3]" in text
    assert "Shine by ``size`` of a\\_b." in text
    assert ".. code-block:: console\n\n   $ psmlearn shine --size 4" in text
    del tool.commands["old"]
    pages.write_pages(tmp_path, tool)
    assert [page.name for page in tmp_path.iterdir()] == ["shine.rst"]


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_what_prose_points_at_is_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r":(?:class|func):`~?(psmlearn[\w.]*)`", text):
        module, _, name = target.rpartition(".")
        assert hasattr(importlib.import_module(module), name), target
    for target in re.findall(r"</?auto_examples/([\w/]+)>", text):
        assert (EXAMPLES / f"{target}.py").is_file(), target


def test_no_reference_is_taken_for_a_list():
    """One line that begins as "A. Name" is the first item of one, two are not."""
    sources = [*PROSE, *Path(psmlearn.__file__).parent.rglob("*.py")]
    pattern = r"^( *)\.\. \[\d+\] [A-Z]\. .*\n(?!\1 +\S)"
    for path in sources:
        found = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
        assert found is None, f"{path}: break {found[0].strip()!r} in two lines"
