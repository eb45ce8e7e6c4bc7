# SPDX-License-Identifier: BSD-3-Clause
"""A small trained segmenter, and a slide whose nuclei are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from psmlearn import NucleiSegmenter
from psmlearn.datasets import load_sample_images, make_slide


@pytest.fixture(scope="session")
def segmenter() -> NucleiSegmenter:
    data = load_sample_images()
    segmenter = NucleiSegmenter(
        nucleus_diameter="auto",
        min_prominence=0.4,
        max_epochs=2,
        steps_per_epoch=30,
        batch_size=4,
        patch_size=96,
        early_stopping=False,
        device="cpu",
        random_state=0,
        tile_size=192,
    )
    return segmenter.fit(data.images, data.masks)


@pytest.fixture(scope="session")
def slide_path(tmp_path_factory) -> Path:
    """A slide of tissue, glass, pen and ground that was not scanned."""
    data = load_sample_images()
    path = tmp_path_factory.mktemp("slide") / "made.svs"
    make_slide(path, data.images, data.masks, shape=(610, 744), random_state=2)
    return path
