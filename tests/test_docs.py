# SPDX-License-Identifier: BSD-3-Clause
"""The API page lists every public name, and nothing that is not there."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import psmlearn

ROOT = Path(psmlearn.__file__).parents[1]
API = ROOT / "docs" / "api.rst"
PAGES = [
    "psmlearn",
    "psmlearn.base",
    "psmlearn.datasets",
    "psmlearn.inspection",
    "psmlearn.io",
    "psmlearn.measure",
    "psmlearn.metrics",
    "psmlearn.networks",
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


@pytest.mark.parametrize("name", PAGES)
def test_every_public_name_is_listed(name):
    public = set(importlib.import_module(name).__all__) - {"__version__"}
    assert _listed().get(name, set()) == public


def test_no_page_is_forgotten():
    assert sorted(_listed()) == PAGES
