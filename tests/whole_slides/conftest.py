# SPDX-License-Identifier: BSD-3-Clause
"""A small trained segmenter, and a slide whose nuclei are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from psmlearn import NucleiSegmenter
from psmlearn.datasets import make_nuclei, make_slide


@pytest.fixture(scope="session")
def segmenter() -> NucleiSegmenter:
    data = make_nuclei(n_images=4, shape=(160, 160), n_nuclei=60, random_state=0)
    segmenter = NucleiSegmenter(
        nucleus_diameter="auto",
        min_prominence=0.4,
        max_epochs=2,
        steps_per_epoch=20,
        batch_size=4,
        patch_size=96,
        early_stopping=False,
        device="cpu",
        random_state=0,
        tile_size=256,
    )
    return segmenter.fit(data.images, data.masks)


@pytest.fixture(scope="session")
def slide_path(tmp_path_factory) -> Path:
    """A slide of crowded nuclei, glass, pen and ground that was not scanned."""
    data = make_nuclei(n_images=2, shape=(260, 260), n_nuclei=110, random_state=4)
    path = tmp_path_factory.mktemp("slide") / "made.svs"
    make_slide(path, data.images, data.masks, shape=(410, 544), random_state=2)
    return path
