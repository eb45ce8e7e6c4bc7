# SPDX-License-Identifier: BSD-3-Clause
"""What an image shows: black that was never scanned is no tissue."""

from __future__ import annotations

import numpy as np
import pytest

from psmlearn._images._frame import shown_mask
from psmlearn.datasets import make_nuclei


def _image(shape=(120, 160), *, dtype=np.uint8):
    image = make_nuclei(1, shape, n_nuclei=20, random_state=2).images[0]
    if dtype == np.uint16:
        return image.astype(np.uint16) * 257
    return image if dtype == np.uint8 else (image / 255).astype(dtype)


def _disc(shape, row, column, radius):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


SHAPE = (120, 160)
ROWS, COLUMNS = np.mgrid[: SHAPE[0], : SHAPE[1]]
EMPTY = {
    "one column": COLUMNS < 1,
    "five columns": COLUMNS < 5,
    "half": ROWS >= 60,
    "nine tenths": COLUMNS < 144,
    "frame": (ROWS < 4) | (ROWS > 112) | (COLUMNS < 7) | (COLUMNS > 150),
    "corner": ROWS + COLUMNS < 30,
    "two corners": (ROWS + COLUMNS < 20) | (ROWS - COLUMNS > 90),
    "round field": ~_disc(SHAPE, 60, 80, 59),
    "strip across": (COLUMNS > 70) & (COLUMNS < 83),
    "missing tile": (ROWS > 30) & (ROWS < 62) & (COLUMNS > 40) & (COLUMNS < 72),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("kind", EMPTY)
def test_black_that_was_not_scanned_is_found(kind, dtype):
    image = _image(SHAPE, dtype=dtype)
    image[EMPTY[kind]] = 0
    shown = shown_mask(image)
    assert shown is not None
    assert (~shown == EMPTY[kind]).mean() > 0.99
    assert not shown[EMPTY[kind]].any()


@pytest.mark.parametrize("grey", [False, True])
def test_colour_or_grey(grey):
    image = _image()
    image[:, :9] = 0
    if grey:
        image = image.mean(axis=2, keepdims=True).astype(np.uint8)
    assert not shown_mask(image)[:, :9].any()


def test_soft_ends_of_compression_belong_to_it():
    image = _image()
    image[:, :10], image[:, 10], image[:, 11] = 5, 20, 36
    shown = shown_mask(image)
    assert not shown[:, :12].any()
    assert shown[:, 12:].all()


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("kind", ["missing tile", "five columns", "corner", "half"])
def test_padding_in_a_lossy_file(kind, quality):
    import io

    from PIL import Image

    image = _image((240, 320))
    empty = np.kron(EMPTY[kind], np.ones((2, 2), bool))
    image[empty] = 0
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    shown = shown_mask(np.asarray(Image.open(file)))
    assert shown is not None
    assert (shown == ~empty).mean() > 0.98


@pytest.mark.parametrize("level", [9, 16, 30])
@pytest.mark.parametrize("kind", ["missing tile", "corner", "round field"])
def test_black_may_be_a_dark_grey(kind, level):
    image = _image()
    image[EMPTY[kind]] = level
    shown = shown_mask(image)
    assert (shown == ~EMPTY[kind]).mean() > 0.99


def test_limits_of_another_range():
    image = _image().astype(np.uint16) * 16
    image[:7] = 0
    assert not shown_mask(image, (0, 4095))[:7].any()
    assert shown_mask(image, (0, 4095))[7:].all()


def test_a_map_is_not_looked_at():
    image = np.dstack([_image(dtype=np.float32), np.zeros(SHAPE, np.float32)])
    assert shown_mask(image) is None


def test_a_sound_image_is_shown_whole():
    assert shown_mask(_image()) is None


@pytest.mark.parametrize("value", [0.02, 0.0])
def test_black_nuclei_with_a_brown_rim_are_tissue(value):
    image = _image(dtype=np.float32)
    for row, column in ((0, 40), (60, 159), (50, 50), (119, 100)):
        image[_disc(SHAPE, row, column, 15)] = (0.25, 0.15, 0.1)
        image[_disc(SHAPE, row, column, 11)] = value
    assert shown_mask(image) is None


def test_one_dark_nucleus_at_the_edge_is_tissue():
    image = _image(dtype=np.float32)
    image[:10, 5:40] = (0.2, 0.1, 0.15)
    assert shown_mask(image) is None


def test_fluorescence_on_black_is_no_brightfield():
    image = np.zeros((*SHAPE, 3), np.uint8)
    for row in range(10, 115, 25):
        for column in range(0, 160, 25):
            image[_disc(SHAPE, row, column, 8)] = 170
    assert shown_mask(image) is None
    image[..., :2] = 0
    assert shown_mask(image) is None


def test_a_scan_on_dark_air_is_no_brightfield():
    rng = np.random.default_rng(0)
    image = np.zeros((*SHAPE, 1), np.float32)
    head = _disc(SHAPE, 60, 80, 50)
    image[head, 0] = rng.normal(0.3, 0.05, head.sum()).clip(0, 1)
    assert shown_mask(image) is None


def test_a_scan_of_false_colours_amid_air_is_no_brightfield():
    """Three sequences of an MRI scan as red, green and blue, air with noise around."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 7, (*SHAPE, 3)).astype(np.uint8)
    head = _disc(SHAPE, 60, 80, 45)
    image[head] = rng.normal((110, 80, 150), 15, (head.sum(), 3)).clip(0, 255)
    assert shown_mask(image) is None
    assert shown_mask(image, only_colours=True) is None


@pytest.mark.parametrize("value, shows", [(0, False), (3, True)])
def test_black_all_over(value, shows):
    shown = shown_mask(np.full((9, 7, 3), value, np.uint8))
    if shows:  # dark, but who knows of what
        assert shown is None
    else:
        assert not shown.any()


def test_one_pixel():
    assert shown_mask(np.full((1, 1, 3), 200, np.uint8)) is None
