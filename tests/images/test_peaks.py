# SPDX-License-Identifier: BSD-3-Clause
"""Peaks against scikit-image, in a time that grows with the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import ndimage
from skimage.feature import peak_local_max

from psmlearn._images._peaks import peaks_apart


@pytest.mark.parametrize("apart", [1, 2, 3, 7, 90])
@pytest.mark.parametrize("levels", [2, 255])
def test_agrees_with_scikit_image(apart, levels):
    """Few levels make many equal peaks beside each other."""
    rng = np.random.default_rng(apart * levels)
    for shape in ((57, 83), (1, 70), (64, 1), (1, 1)):
        plane = ndimage.gaussian_filter(rng.random(shape).astype(np.float32), 1.5)
        plane = np.rint(plane / plane.max() * levels).astype(np.float32)
        for threshold in (0, 0.4 * levels, 2 * levels):
            expected = peak_local_max(
                plane, apart, threshold_abs=threshold, exclude_border=False
            )
            found = peaks_apart(plane, apart, threshold)
            assert_array_equal(found, expected)
            assert found.dtype == expected.dtype


def test_a_plateau_of_many_equal_peaks():
    plane = np.ones((400, 400), np.float32)
    plane[0, 0] = 0  # else scikit-image sees no peak at all
    found = peaks_apart(plane, 5, 0.5)
    assert len(found) == 80 * 80
    assert np.abs(found[1:] - found[:-1]).max(axis=1).min() >= 5
