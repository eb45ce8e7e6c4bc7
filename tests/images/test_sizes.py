# SPDX-License-Identifier: BSD-3-Clause
"""Sizes of nuclei."""

from __future__ import annotations

import numpy as np
import pytest

from psmlearn._images._sizes import nuclear_zoom, typical_diameter


def _squares(side, n=5):
    labels = np.zeros((n * 2 * side, n * 2 * side), np.int32)
    for row in range(n):
        for column in range(n):
            top, left = 2 * side * row, 2 * side * column
            labels[top : top + side, left : left + side] = n * row + column + 1
    return labels


def test_specks_count_little():
    labels = _squares(10)
    labels[15:19:2, 11:90:20] = np.arange(26, 34).reshape(2, 4)
    assert typical_diameter(labels) == typical_diameter(_squares(10))
    assert typical_diameter(np.zeros((4, 4), int)) == 0


def test_zoom_is_in_proportion():
    one, two = (nuclear_zoom(_squares(side), 0.25) for side in (16, 20))
    assert two == pytest.approx(1.25 * one)
    assert nuclear_zoom(_squares(16), 0.3) == pytest.approx(1.2 * one)


def test_zoom_is_limited():
    assert nuclear_zoom(_squares(24), 0.5) == 1.6


def test_few_objects_tell_nothing():
    assert nuclear_zoom(_squares(16, n=4), 0.25) == 1.0
    assert nuclear_zoom(_squares(16, n=5), 0.25) != 1.0


def test_tiny_objects_are_not_followed_for_ever():
    assert nuclear_zoom(_squares(2), 0.25) == pytest.approx(1 / 1.6)
