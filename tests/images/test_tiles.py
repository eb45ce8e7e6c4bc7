# SPDX-License-Identifier: BSD-3-Clause
"""Tiles cover an image once and stay inside it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psmlearn._images._tiles import pad_to_multiple, tile_boxes


@settings(deadline=None)
@given(
    units=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    stride=st.integers(1, 16),
    tile_size=st.integers(1, 90),
    halo=st.integers(0, 40),
)
def test_cores_cover_once_and_tiles_hold_their_halo(units, stride, tile_size, halo):
    height, width = units[0] * stride, units[1] * stride
    covered = np.zeros((height, width), int)
    core_sides = set()
    for core, tile in tile_boxes(height, width, tile_size, halo, stride):
        top, left, bottom, right = core
        covered[top:bottom, left:right] += 1
        core_sides |= {(0, bottom - top), (1, right - left)}
        for place in (*core, *tile):
            assert place % stride == 0 and type(place) is int
        assert 0 <= tile[0] <= max(top - halo, 0)
        assert 0 <= tile[1] <= max(left - halo, 0)
        assert min(bottom + halo, height) <= tile[2] <= height
        assert min(right + halo, width) <= tile[3] <= width
        assert tile[0] >= top - halo - stride and tile[3] <= right + halo + stride
    assert (covered == 1).all()
    for axis in (0, 1):
        sides = [side for which, side in core_sides if which == axis]
        assert max(sides) <= max(tile_size, stride)
        assert max(sides) - min(sides) <= stride


def test_one_tile_where_it_fits():
    assert tile_boxes(512, 480, 512, 128, 16) == [((0, 0, 512, 480), (0, 0, 512, 480))]


def test_order_is_row_by_row():
    boxes = tile_boxes(4, 4, 2, 0)
    assert [core[:2] for core, _ in boxes] == [(0, 0), (0, 2), (2, 0), (2, 2)]
    assert all(core == tile for core, tile in boxes)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((33, 32, 32, 0, 16), ValueError, "height: a multiple of the stride 16"),
        ((32, 33, 32, 0, 16), ValueError, "width"),
        ((32, 32, 0, 0, 16), ValueError, "tile_size"),
        ((32, 32, 32, -1, 16), ValueError, "halo"),
        ((32, 32, 32, 0, 0), ValueError, "stride"),
        ((32, 32, 32.0, 0, 16), TypeError, "tile_size"),
        ((0, 32, 32, 0, 16), ValueError, "height"),
    ],
)
def test_wrong_sizes(arguments, error, message):
    with pytest.raises(error, match=message):
        tile_boxes(*arguments)


def test_padding_mirrors():
    image = np.arange(7 * 9 * 2).reshape(7, 9, 2)
    padded = pad_to_multiple(image, 4)
    assert padded.shape == (8, 12, 2)
    np.testing.assert_array_equal(padded[:7, :9], image)
    np.testing.assert_array_equal(padded[7, :9], image[5])
    np.testing.assert_array_equal(padded[:7, 9:], image[:, [7, 6, 5]])


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 1)])
def test_padding_repeats_the_edge_where_too_small(shape):
    image = np.arange(1, 1 + shape[0] * shape[1]).reshape(shape)
    padded = pad_to_multiple(image, 16)
    assert padded.shape == (16, 16)
    np.testing.assert_array_equal(padded[: shape[0], : shape[1]], image)
    assert padded[-1, -1] == image[-1, -1]


def test_nothing_to_pad_is_no_copy():
    image = np.zeros((32, 16, 3), np.float32)
    assert pad_to_multiple(image, 16) is image


def test_padding_refuses_an_empty_image():
    with pytest.raises(ValueError, match="without an empty side"):
        pad_to_multiple(np.zeros((0, 4)), 2)
