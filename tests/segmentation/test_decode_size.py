# SPDX-License-Identifier: BSD-3-Clause
"""Nuclei of one stain, decoded at the size that is looked up in the image."""

from __future__ import annotations

import numpy as np
import pytest

from psmlearn._images._sizes import halved
from psmlearn.segmentation._decoding import decode_nuclei
from psmlearn.segmentation._rasters import distance_target
from psmlearn.segmentation._targets import Distance


def outputs(radius, n_side=6, gap=8):
    """Perfect outputs of a network for discs in rows and columns."""
    step = 2 * radius + gap
    rows, columns = np.mgrid[: n_side * step, : n_side * step]
    labels = np.zeros(rows.shape, int)
    for k in range(n_side**2):
        row, column = (step * (place + 0.5) for place in divmod(k, n_side))
        labels[np.hypot(rows - row, columns - column) <= radius] = k + 1
    inside = (labels > 0).astype(np.float32)
    distance = distance_target(labels)
    return np.stack([1 - inside, inside, distance], axis=-1), labels


def decode(output, **how):
    how = {"nucleus_diameter": "auto", "min_area": 6.0, "pixel_size": 0.25} | how
    return decode_nuclei(output, Distance(), classes=None, threshold=0.5, **how)


@pytest.mark.parametrize("radius", [5, 10, 16])
def test_nuclei_of_any_size_are_counted(radius):
    output, labels = outputs(radius)
    assert decode(output).max() == labels.max()


def test_the_least_area_follows_the_size():
    output, labels = outputs(5)  # discs of 5 square micrometres
    assert decode(output).max() == labels.max()
    assert decode(output, nucleus_diameter=5.0).max() == 0
    # Few nuclei tell no size.
    few, _ = outputs(5, n_side=3)
    assert decode(few).max() == 0


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (1, 1), (2, 3)])
def test_images_too_small_to_halve_are_decoded(shape):
    output = np.zeros((*shape, 3), np.float32)
    output[..., 0] = 1
    mask = decode(output)
    assert mask.shape == shape and mask.max() == 0


def test_halving_drops_a_last_odd_row():
    plane = np.arange(15.0).reshape(3, 5)
    np.testing.assert_array_equal(halved(plane), [[3.0, 5.0]])
    stack = np.stack([plane, 2 * plane], axis=-1)
    np.testing.assert_array_equal(halved(stack)[..., 1], 2 * halved(plane))
