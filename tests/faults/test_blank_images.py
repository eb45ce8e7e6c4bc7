# SPDX-License-Identifier: BSD-3-Clause
"""Blank and all but blank images have no nuclei, and stop no run."""

from __future__ import annotations

import numpy as np
import pytest

from psmlearn import SemanticClusterer

COLOURS = {
    "white": (1.0, 1.0, 1.0),
    "grey": (0.5, 0.5, 0.5),
    "black": (0.0, 0.0, 0.0),
    "pink": (0.9, 0.6, 0.8),
}
# That a blank image is not stained as asked for is told elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore::psmlearn.exceptions.StainWarning")
OPTIONS = {
    "default": {},
    "no contrast": {"min_contrast": 0},
    "all": {"fit_scope": "all", "min_contrast": 0},
    "ki67": {"classes": "ki67"},
    "ki67, no contrast": {"classes": "ki67", "min_contrast": 0},
    "he": {"classes": "he"},
    "jet": {"fusion": "jet", "min_contrast": 0},
    "paper": {"fusion": "jet", "foreground": "paper", "min_contrast": 0},
}
CHANNELS = {"ki67": (3, 4), "he": (3, 4), "jet": (2, 4), "paper": (2, 4)}
KINDS = ("even", "one pixel", "rounding")


def draw(kind, colour, n_channels, shape, dtype):
    """Draw an image without anything in it; a map is even, too."""
    channels = np.array([*COLOURS[colour], 0.4])
    if n_channels < 3:
        channels = channels[[0, 3]]
    level = channels[:n_channels] if n_channels != 1 else channels[:1]
    image = np.broadcast_to(level, (*shape, n_channels)).copy()
    rng = np.random.default_rng(5)
    if kind == "one pixel":
        middle = image[shape[0] // 2, shape[1] // 2]
        middle += np.where(middle > 0.5, -1, 1) / 255
    elif kind == "rounding":
        image += rng.normal(0, 1e-6, image.shape)
    image = np.clip(image, 0, 1)
    if dtype == "float32":
        return image.astype(np.float32)
    return np.rint(image * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colour", COLOURS)
def test_blank_images_come_out_empty(colour, kind, option):
    options = OPTIONS[option]
    for n_channels in CHANNELS.get(option.split(",")[0], (1, 2, 3, 4)):
        dtypes = ["float32"] if n_channels in (2, 4) else ["uint8", "float32"]
        for dtype in dtypes[: 1 + (kind != "rounding")]:
            dtype = "float32" if kind == "rounding" else dtype
            images = [draw(kind, colour, n_channels, (48, 48), dtype)]
            clusterer = SemanticClusterer(random_state=0, **options)
            assert not np.any(clusterer.fit_predict(images)[0]), (n_channels, dtype)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 37), (3, 2)])
def test_blank_images_of_a_few_pixels(shape, option):
    for kind in KINDS:
        for colour in COLOURS:
            n_channels = CHANNELS.get(option.split(",")[0], (3,))[-1]
            image = draw(kind, colour, n_channels, shape, "float32")
            clusterer = SemanticClusterer(random_state=0, **OPTIONS[option])
            assert not np.any(clusterer.fit([image]).predict([image])[0])


def test_a_blank_image_costs_others_nothing():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64]
    full = np.full((64, 64, 3), (0.92, 0.75, 0.88), np.float32)
    for row, column in ((16, 16), (16, 46), (46, 16), (46, 46)):
        full[(rows - row) ** 2 + (columns - column) ** 2 < 60] = (0.35, 0.2, 0.55)
    full += rng.normal(0, 0.01, full.shape).astype(np.float32)
    full = np.clip(full, 0, 1)
    alone = SemanticClusterer(random_state=0).fit_predict([full])[0]
    blank = draw("one pixel", "white", 3, (64, 64), "float32")
    both = SemanticClusterer(random_state=0).fit_predict([blank, full, blank])
    assert alone.max() == 4
    np.testing.assert_array_equal(both[1], alone)
    assert not both[0].any() and not both[2].any()
