# SPDX-License-Identifier: BSD-3-Clause
"""Outlines along the edges of pixels hold the very pixels of their objects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from psmlearn._images._outlines import trace_outlines


def filled(ring, shape):
    """Fill a ring by the parity of the vertical edges to the left of each pixel."""
    crossings = np.zeros((shape[0], shape[1] + 1), int)
    for (row, column), (other, after) in zip(
        ring, np.roll(ring, -1, axis=0), strict=True
    ):
        assert (row == other) != (column == after)
        if column == after:
            crossings[min(row, other) : max(row, other), column] += 1
    return np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1


def painted(labels):
    """Paint all outlines, outer rings less their holes."""
    found = np.zeros(labels.shape, int)
    for outline in trace_outlines(labels):
        for outer, *holes in outline.polygons:
            inside = filled(outer, labels.shape)
            for hole in holes:
                own = filled(hole, labels.shape)
                assert (inside & own).sum() == own.sum()
                inside &= ~own
            assert not found[inside].any()
            found[inside] = outline.id
    return found


def area(ring):
    rows, columns = ring.T
    after = np.roll(ring, -1, axis=0)
    return (columns * after[:, 0] - after[:, 1] * rows).sum() / 2


def check(labels):
    np.testing.assert_array_equal(painted(labels), np.maximum(labels, 0))
    outlines = list(trace_outlines(labels))
    assert [each.id for each in outlines] == np.unique(labels[labels > 0]).tolist()
    for outline in outlines:
        own = labels == outline.id
        assert len(outline.polygons) == ndi.label(own)[1]
        for polygon in outline.polygons:
            assert area(polygon[0]) > 0 and all(area(hole) < 0 for hole in polygon[1:])
            for ring in polygon:
                # Simple: no corner comes twice, and no three lie on a line.
                assert len(np.unique(ring, axis=0)) == len(ring) >= 4
                turns = np.roll(ring, -1, axis=0) - ring
                assert (turns * np.roll(turns, 1, axis=0) == 0).all()


@pytest.mark.parametrize(
    "rows",
    [
        ["1"],
        ["111", "101", "111"],
        ["10", "01"],
        ["110", "101", "111"],  # a hole that meets the ground at a corner
        ["11100", "10111", "11101", "00111"],
        ["1222", "1112", "3312"],
        ["0000"],
        ["1111111", "1000001", "1011101", "1010101", "1011101", "1000001", "1111111"],
        ["10101", "01010", "10101"],
    ],
)
def test_small_shapes(rows):
    labels = np.array([[int(each) for each in row] for row in rows])
    check(labels)
    check(labels.T)
    check(np.pad(labels, 2))


@pytest.mark.parametrize("density", [0.1, 0.4, 0.6, 0.9])
def test_random_pixels(density):
    rng = np.random.default_rng(0)
    for shape in ((1, 9), (12, 12), (23, 31)):
        labels = (rng.random(shape) < density) * rng.integers(1, 4, shape)
        check(labels)
        labels[labels == 1] = -1
        labels[labels == 2] = 70_000
        check(labels)


def test_many_objects_take_time_that_grows_with_their_number_only():
    labels = np.zeros((600, 600), int)
    labels[::6, ::6] = np.arange(1, 10_001).reshape(100, 100)
    labels = ndi.grey_dilation(labels, (4, 5))
    outlines = list(trace_outlines(labels))
    assert len(outlines) == 10_000
    assert all(len(outline.polygons[0][0]) == 4 for outline in outlines)
