# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of tests of the command line."""

from __future__ import annotations

import pytest
from command_line import make_image
from fixed_model import FixedModel, classes_of

from psmlearn._cli import _chain


@pytest.fixture
def model(monkeypatch):
    """Replace training; `seen` has the batch and the chain of each."""
    made = FixedModel()
    made.seen = []

    def train(chain, batch):
        made.seen.append((batch, chain))
        made.classes = classes_of(chain)
        return made

    monkeypatch.setattr(_chain, "train", train)
    return made


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for seed, name in enumerate("abc"):
        make_image(folder / f"{name}.png", seed)
    return folder
