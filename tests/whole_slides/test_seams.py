# SPDX-License-Identifier: BSD-3-Clause
"""The nuclei of a slide are those of the whole image, to the pixel."""

from __future__ import annotations

import numpy as np
import pytest

from psmlearn.datasets import make_nuclei
from psmlearn.io import Slide
from psmlearn.slides._model import SlideModel
from psmlearn.slides._plan import SlidePlan, Tissue
from psmlearn.slides._run import find_nuclei
from psmlearn.slides._workers import ThisProcess


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A crowded picture whose sides are no multiples of anything."""
    data = make_nuclei(n_images=1, shape=(461, 615), n_nuclei=550, random_state=5)
    return (data.images[0] * 255).round().astype(np.uint8)


def _labels(segmenter, picture, folder, size, first) -> np.ndarray:
    slide = Slide(picture, pixel_size=0.25)
    view = slide.view(0.25)
    model = SlideModel(segmenter, 0.25)
    everywhere = Tissue(np.ones((5, 7), bool), view.shape)
    plan = SlidePlan(
        slide,
        0.25,
        0.25,
        view.shape,
        model.tile_size,
        model.halo,
        model.stride,
        size,
        first,
        everywhere,
        str(folder),
        model.n_outputs,
    )
    workers = ThisProcess(plan, model, lambda todo, done, stage: done)
    found = find_nuclei(plan, model, workers)
    whole = (0, 0, *view.shape)
    return found.pieces.labels(plan.scratch, whole, found.ids)


@pytest.mark.parametrize(
    ("size", "first"),
    [
        (1000, (0, 0)),
        (200, (77, 130)),
        pytest.param(128, (1, 127), marks=pytest.mark.slow),
    ],
)
def test_the_nuclei_are_those_of_the_whole_image(
    segmenter, picture, tmp_path, size, first
):
    expected = segmenter.predict([picture])[0]
    assert expected.max() > 100
    found = _labels(segmenter, picture, tmp_path, size, first)
    np.testing.assert_array_equal(found, expected)
