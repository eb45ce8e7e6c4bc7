# SPDX-License-Identifier: BSD-3-Clause
"""The nuclei of a slide are those of the whole image, to the pixel."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from skimage.io import imread

from psmlearn.datasets import make_nuclei
from psmlearn.io import Slide
from psmlearn.preprocessing._slide_tissue import Tissue
from psmlearn.slides._model import SlideModel
from psmlearn.slides._plan import SlidePlan
from psmlearn.slides._run import find_nuclei
from psmlearn.slides._workers import ThisProcess


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A crowded picture whose sides are no multiples of anything."""
    data = make_nuclei(n_images=1, shape=(461, 615), n_nuclei=550, random_state=5)
    return data.images[0]


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


@pytest.fixture(scope="module")
def real(segmenter, data_dir, tmp_path_factory):
    """Four real images side by side, and what the network finds in them at once."""
    folder = data_dir / "monuseg" / "MoNuSegTrainingData" / "Tissue Images"
    images = [imread(path)[:300, :360, :3] for path in sorted(folder.iterdir())[:4]]
    picture = np.vstack([np.hstack(images[:2]), np.hstack(images[2:])])
    return picture, segmenter.predict([picture])[0], tmp_path_factory.mktemp("real")


@pytest.mark.data
@pytest.mark.parametrize("first", [(0, 0), (61, 117)])
@pytest.mark.parametrize("size", [128, 190, 256, 400, 1000])
def test_so_are_those_of_real_images(segmenter, real, size, first):
    picture, expected, folder = real
    assert expected.max() > 100
    # The network's tiles never change: what it has answered stays.
    for stage in ("look", "objects", "measures"):
        shutil.rmtree(folder / stage, ignore_errors=True)
    found = _labels(segmenter, picture, folder, size, first)
    np.testing.assert_array_equal(found, expected)
