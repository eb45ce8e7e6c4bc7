# SPDX-License-Identifier: BSD-3-Clause
"""Perimeters and hulls against scikit-image, on pixels that lie anywhere."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skimage.measure import regionprops

from psmlearn._images._morphometry import convex_areas, perimeters


def hulls(labels):
    """Areas of hulls, from runs of one pixel each."""
    rows, columns = np.nonzero(labels > 0)
    numbers = np.unique(labels[rows, columns], return_inverse=True)[1]
    return convex_areas(numbers, rows, columns, columns)


@pytest.mark.parametrize("n_ids", [1, 2, 7, 60, 400])
@pytest.mark.parametrize("density", [0.03, 0.5, 1.0])
def test_agrees_with_scikit_image_on_noise(n_ids, density):
    """Touching, in far pieces, on the rim, with holes."""
    rng = np.random.default_rng(n_ids)
    for shape in ((31, 47), (1, 40), (40, 1), (64, 3)):
        labels = rng.integers(1, n_ids + 1, shape, dtype=np.int32)
        labels[rng.random(shape) > density] = 0
        labels[rng.random(shape) > 0.97] = -1
        labels.flat[0] = n_ids
        ids = np.unique(labels[labels > 0])
        expected = regionprops(np.maximum(labels, 0))
        assert_allclose(
            perimeters(labels, ids), [each.perimeter for each in expected], rtol=1e-12
        )
        assert_array_equal(hulls(labels), [each.area_convex for each in expected])


def test_rims_with_many_corners_need_no_more_memory():
    """A parabola that ends in a spike: corners go one by one."""
    rows = np.arange(600)
    columns = np.append(np.square(rows[:-1]) // 600, 5000)
    labels = np.zeros((600, 5001), dtype=np.int32)
    labels[rows, columns] = 1
    (expected,) = regionprops(labels)
    assert_array_equal(hulls(labels), [expected.area_convex])
    assert_array_equal(hulls(labels[::-1]), [expected.area_convex])
    assert_array_equal(hulls(labels[:, ::-1]), [expected.area_convex])


def test_no_objects_have_no_shapes():
    none = np.zeros(0, dtype=np.int64)
    assert convex_areas(none, none, none, none).shape == (0,)
    assert perimeters(np.full((4, 5), -1), none).shape == (0,)
