# SPDX-License-Identifier: BSD-3-Clause
"""Outlines and colour maps, as arrays."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from skimage.segmentation import find_boundaries

from psmlearn.inspection import _overlay, color_map, overlay_labels


@pytest.fixture
def labels():
    labels = np.zeros((30, 40), dtype=np.int32)
    labels[3:12, 4:20] = 1
    labels[12:25, 4:20] = 2  # touches the first
    labels[0:6, 30:40] = 7  # touches the border of the image
    labels[20:24, 30:34] = -1
    return labels


def test_outlines_are_the_inner_boundaries(labels):
    image = np.full((30, 40, 3), 100, dtype=np.uint8)
    overlay = overlay_labels(image, labels, color=(255, 0, 0))
    known = np.maximum(labels, 0)
    edges = find_boundaries(known, connectivity=1, mode="inner")
    assert_array_equal(overlay[edges], np.tile([255, 0, 0], (edges.sum(), 1)))
    assert (overlay[~edges] == 100).all()


def test_touching_objects_keep_their_own_outline(labels):
    image = np.zeros((30, 40, 3), dtype=np.uint8)
    overlay = overlay_labels(image, labels, color="objects")
    upper, lower = overlay[11, 10], overlay[12, 10]
    assert upper.any() and lower.any()
    assert (upper != lower).any()


def test_thick_outlines_stay_inside(labels):
    image = np.zeros((30, 40), dtype=np.uint8)
    thin = overlay_labels(image, labels)[..., 0] > 0
    thick = overlay_labels(image, labels, thickness=3)[..., 0] > 0
    assert (thick[thin]).all() and thick.sum() > thin.sum()
    assert (labels[thick] > 0).all()
    assert not thick[8, 12]  # the middle of an object stays free


def test_classes_choose_the_colour(labels):
    classes = np.where(labels == 2, 2, (labels > 0).astype(np.int32))
    both = np.stack([labels, classes], axis=2).astype(np.int32)
    overlay = overlay_labels(np.zeros((30, 40)), both, color="classes")
    assert_array_equal(overlay[3, 4], overlay[0, 30])
    assert (overlay[24, 4] != overlay[3, 4]).any()


@pytest.mark.parametrize(
    "image",
    [
        np.full((30, 40), 51, dtype=np.uint8),
        np.full((30, 40, 1), 0.2),
        np.full((30, 40, 3), 0.2, dtype=np.float32),
        np.full((30, 40, 5), 0.2),
        np.full((30, 40, 3), 13107, dtype=np.uint16),
    ],
    ids=["grey", "grey channel", "float", "stack", "uint16"],
)
def test_every_kind_of_image_becomes_eight_bit_colour(image, labels):
    before = image.copy()
    overlay = overlay_labels(image, labels)
    assert overlay.dtype == np.uint8 and overlay.shape == (30, 40, 3)
    assert_array_equal(overlay[29, 0], [51, 51, 51])
    assert_array_equal(image, before)


@pytest.mark.parametrize("thickness", [1, 2, 7])
def test_strips_do_not_show(labels, thickness, monkeypatch):
    image = np.zeros((*labels.shape, 3), dtype=np.uint8)
    options = {"color": "objects", "thickness": thickness}
    expected = overlay_labels(image, labels, **options)
    monkeypatch.setattr(_overlay, "_STRIP_SIZE", 1)
    assert_array_equal(overlay_labels(image, labels, **options), expected)


def test_no_objects_give_the_image():
    image = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    overlay = overlay_labels(image, np.zeros((9, 8), dtype=np.int32))
    assert_array_equal(overlay, image)
    assert not np.shares_memory(overlay, image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"color": "rainbow"}, "'objects', 'classes' or three integers"),
        ({"color": "classes"}, "class in the second plane"),
        ({"color": (0.5, 0, 0)}, "three integers from 0 to 255"),
        ({"color": (0, 0, 256)}, "three integers from 0 to 255"),
        ({"thickness": 0}, "thickness must be an integer of at least 1"),
    ],
)
def test_bad_options_are_told(labels, options, message):
    with pytest.raises(ValueError, match=message):
        overlay_labels(np.zeros((30, 40)), labels, **options)


def test_sizes_must_agree(labels):
    with pytest.raises(ValueError, match="pass the labels of this image"):
        overlay_labels(np.zeros((31, 40)), labels)


def test_color_map_gets_lighter_with_the_value():
    ramp = np.linspace(0, 1, 256)[np.newaxis]
    picture = color_map(ramp)
    light = picture.astype(float) @ [0.299, 0.587, 0.114]
    assert picture.shape == (1, 256, 3) and picture.dtype == np.uint8
    assert (np.diff(light[0]) >= 0).all()


def test_color_map_clips_and_keeps_its_scale():
    values = np.array([[-1.0, 0.0, 0.5, 1.0, 2.0]])
    picture = color_map(values)
    assert_array_equal(picture[0, 0], picture[0, 1])
    assert_array_equal(picture[0, 3], picture[0, 4])
    assert_array_equal(color_map(values * 4, high=4.0), picture)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros((2, 2, 3)), {}, "stack"),
        (np.full((2, 2), np.nan), {}, "NaN"),
        (np.zeros((2, 2)), {"low": 1.0}, "low must be below high"),
    ],
)
def test_bad_maps_are_told(values, options, message):
    with pytest.raises(ValueError, match=message):
        color_map(values, **options)
