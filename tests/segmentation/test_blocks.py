# SPDX-License-Identifier: BSD-3-Clause
"""Nuclei read block by block are those of the whole image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from psmlearn._images import _clumps
from psmlearn._images._instances import number_by_place
from psmlearn.segmentation import _blocks, _decoding
from psmlearn.segmentation._blocks import BlockReader
from psmlearn.segmentation._decoding import Decoding
from psmlearn.segmentation._targets import Distance, Voronoi

HOW = {"threshold": 0.5, "min_area": 3.0, "pixel_size": 0.25}


def _answer(shape, n_nuclei, seed, *, n_classes=1, radius=(5, 13)):
    """Return what a network might say of crowded nuclei, and of a few rings."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    distance = np.zeros(shape, np.float32)
    owner = np.zeros(shape, int)
    for _ in range(n_nuclei):
        row, column = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        long, short = rng.uniform(*radius, 2)
        part = np.s_[
            max(0, int(row - 20)) : int(row + 20),
            max(0, int(column - 20)) : int(column + 20),
        ]
        inner = 1 - np.hypot(
            (rows[part] - row) / long, (columns[part] - column) / short
        )
        if rng.random() < 0.15:  # a pale middle
            inner[inner > 0.6] = 0
        nearer = inner > distance[part]
        distance[part][nearer] = inner[nearer]
        owner[part][nearer] = rng.integers(n_classes)
    noise = ndi.gaussian_filter(rng.normal(size=shape), 1.5)
    foreground = np.clip(4 * distance + 1.5 * noise, 0, 1).astype(np.float32)
    planes = [foreground * (owner == place) for place in range(n_classes)]
    distance = np.clip(distance + 0.3 * noise, 0, 1.1).astype(np.float32)
    return np.dstack([1 - foreground, *planes, distance]).astype(np.float32)


def _blocks_of(shape, size, offset):
    starts = [sorted({0, *range(offset, side, size)}) for side in shape]
    for top, below in zip(starts[0], [*starts[0][1:], shape[0]], strict=True):
        for left, right in zip(starts[1], [*starts[1][1:], shape[1]], strict=True):
            yield top, left, below, right


def _read(output):
    return lambda box: output[box[0] : box[2], box[1] : box[3]]


def _joined(reader, shape, size, offset, n_planes=0):
    """Return the mask that all blocks give together; no pixel may come twice."""
    mask = np.zeros((*shape, n_planes) if n_planes else shape, np.int32)
    n_objects = 0
    for core in _blocks_of(shape, size, offset):
        for piece in reader.objects(core):
            top, left, bottom, right = piece.box
            part = mask[top:bottom, left:right]
            ids = piece.mask[..., 0] if n_planes else piece.mask
            own = ids > 0
            assert not (part[..., 0] if n_planes else part)[own].any()
            if n_planes:
                part[own, 0] = ids[own] + n_objects
                part[own, 1] = piece.mask[own, 1]
            else:
                part[own] = ids[own] + n_objects
            n_objects += int(ids.max())
    ids = mask[..., 0] if n_planes else mask
    ids[...] = number_by_place(ids)
    return mask


@pytest.mark.parametrize("offset", [0, 77])
@pytest.mark.parametrize("size", [96, 128, 190, 250, 700])
@pytest.mark.parametrize(("n_nuclei", "seed"), [(250, 0), (900, 1)])
def test_the_objects_are_those_of_the_whole_image(size, offset, n_nuclei, seed):
    shape = (431, 517)
    output = _answer(shape, n_nuclei, seed)
    decoding = Decoding(Distance(), None, nucleus_diameter=5.0, **HOW)
    whole = decoding.read_image(output)
    assert whole.max() > n_nuclei / 3
    for zoom in (1.0, 1.3):
        reader = BlockReader.of_nuclei(_read(output), shape, decoding, zoom)
        expected = decoding.read(output, zoom)
        np.testing.assert_array_equal(_joined(reader, shape, size, offset), expected)


@pytest.mark.parametrize(("size", "offset"), [(90, 0), (128, 77), (250, 31)])
@pytest.mark.parametrize("n_nuclei", [250, 900])
def test_so_are_those_of_classes(size, offset, n_nuclei):
    # Touching nuclei of several classes are split by their outlines, on which what
    # lies beside a clump has a say.
    shape, values = (331, 417), np.array([2, 5])
    output = _answer(shape, n_nuclei, 5, n_classes=2)
    for diameter in (5.0, 3.1):
        decoding = Decoding(Distance(), values, nucleus_diameter=diameter, **HOW)
        expected = decoding.read_image(output)
        assert set(np.unique(expected[..., 1])) == {0, 2, 5}
        reader = BlockReader.of_nuclei(_read(output), shape, decoding)
        joined = _joined(reader, shape, size, offset, n_planes=2)
        np.testing.assert_array_equal(joined, expected)


@pytest.mark.parametrize(("size", "offset"), [(90, 0), (128, 77), (250, 31)])
def test_so_are_those_without_a_distance(size, offset):
    shape = (331, 417)
    output = _answer(shape, 700, 6)[..., :-1]
    decoding = Decoding(Voronoi(), None, nucleus_diameter=5.0, **HOW)
    expected = decoding.read_image(output)
    assert expected.max() > 200
    reader = BlockReader.of_nuclei(_read(output), shape, decoding)
    np.testing.assert_array_equal(_joined(reader, shape, size, offset), expected)


def test_a_clump_in_a_ring_is_none_of_its_holes():
    # Read by a block in which only the ring begins.
    shape = (300, 300)
    rows, columns = np.indices(shape)
    away = np.hypot(rows - 150, columns - 150)
    foreground = (np.abs(away - 60) < 6) | (away < 9)
    distance = np.where(foreground, 0.5 + 0.4 * (away < 5), 0)
    output = np.dstack([~foreground, foreground, distance]).astype(np.float32)
    decoding = Decoding(Distance(), None, nucleus_diameter=5.0, **HOW)
    expected = decoding.read_image(output)
    assert expected[150, 150] and not expected[150, 175]
    reader = BlockReader.of_nuclei(_read(output), shape, decoding)
    np.testing.assert_array_equal(_joined(reader, shape, 120, 0), expected)


def test_small_blocks_follow_clumps_far_beyond_them():
    # One clump winds through the whole image.
    shape = (300, 420)
    output = _answer(shape, 1500, 2, radius=(7, 12))
    decoding = Decoding(Distance(), None, nucleus_diameter=5.0, **HOW)
    mask = output[..., 1] > 0.5
    largest = np.bincount(ndi.label(mask)[0].ravel())[1:].max()
    assert largest > 0.5 * mask.sum()
    reader = BlockReader.of_nuclei(_read(output), shape, decoding)
    np.testing.assert_array_equal(
        _joined(reader, shape, 64, 11), decoding.read_image(output)
    )


@pytest.mark.parametrize("size", [96, 250])
def test_a_size_that_is_looked_up_is_that_of_the_whole_image(size):
    shape = (420, 501)
    output = _answer(shape, 500, 3)
    decoding = Decoding(Distance(), None, nucleus_diameter="auto", **HOW)
    look = BlockReader.of_first_look(_read(output), shape, decoding)
    found = _joined(look, look.shape, size, 13)
    sizes = np.bincount(found.ravel())[1:]
    zoom = decoding.zoom(sizes)
    assert zoom not in (1.0, 1.6)
    reader = BlockReader.of_nuclei(_read(output), shape, decoding, zoom)
    np.testing.assert_array_equal(
        _joined(reader, shape, size, 0), decoding.read_image(output)
    )


def test_clumps_that_are_too_large_are_cut_where_the_image_says(monkeypatch):
    for module in (_clumps, _decoding):
        monkeypatch.setattr(module, "LARGEST_CLUMP", 200)
    monkeypatch.setattr(_clumps, "GRID", 96)
    shape = (333, 420)
    output = _answer(shape, 1700, 4, radius=(7, 12))
    decoding = Decoding(Distance(), None, nucleus_diameter=5.0, **HOW)
    expected = decoding.read_image(output)
    assert not expected[96].all()
    assert expected[95].sum() > 0
    reader = BlockReader.of_nuclei(_read(output), shape, decoding)
    for size, offset in ((128, 0), (150, 40), (1000, 0)):
        joined = _joined(reader, shape, size, offset)
        np.testing.assert_array_equal(joined, expected)


def test_nothing_is_read_twice_without_need():
    shape = (600, 600)
    output = np.zeros((*shape, 3), np.float32)
    output[290:310, 20:40, 1:] = 1
    boxes = []

    def read(box):
        boxes.append(box)
        return _read(output)(box)

    decoding = Decoding(Distance(), None, nucleus_diameter=5.0, **HOW)
    reader = BlockReader.of_nuclei(read, shape, decoding)
    pieces = list(reader.objects((0, 0, 300, 300)))
    assert [piece.box for piece in pieces] == [(290, 20, 310, 40)]
    assert list(reader.objects((300, 0, 600, 300))) == []
    assert len(boxes) == 2
    assert _blocks._MARGIN == 128
