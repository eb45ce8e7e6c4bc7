# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from scipy import ndimage as ndi

from psmlearn import SemanticClusterer
from psmlearn.cluster._clumps import (
    drop_slivers,
    drop_small_among,
    faint_among,
    split_clumps,
)

DIAMETER = 18


def discs(centres, radius=9, shape=(80, 90)):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return [
        (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        for row, column in centres
    ]


def dark(mask):
    return np.where(mask > 0, 1.8, 0).astype(np.float32)


def clump():
    """Four dark discs in one brown clump: its outline does not tell them."""
    parts = discs([(20, 20), (22, 44), (45, 22), (52, 46)])
    mask = ndi.binary_closing(np.any(parts, axis=0), iterations=9)
    mask[14:26, 52:74] = True  # an arm: no convex whole
    height = np.where(mask, 0.5, 0.05).astype(np.float32)
    for part in parts:
        height[part] = 1.3
    return mask, parts, ndi.gaussian_filter(height, 0.7)


def test_a_clump_is_split_where_its_nuclei_are_seen():
    mask, parts, height = clump()
    ids = split_clumps(mask.astype(np.int32), dark(mask), height, diameter=DIAMETER)
    np.testing.assert_array_equal(ids > 0, mask)
    found = []
    for part in parts:
        own = np.bincount(ids[part])
        found.append(int(own.argmax()))
        assert own.max() > 0.8 * part.sum()
    assert len(set(found)) == len(parts)


def test_a_clump_in_which_nothing_is_seen_stays_as_it_was():
    mask, _, _ = clump()
    ids = mask.astype(np.int32)
    ids[:, 32:][mask[:, 32:]] = 7
    even = np.full(mask.shape, 0.4, np.float32)
    kept = split_clumps(ids, dark(mask), even, diameter=DIAMETER)
    np.testing.assert_array_equal(kept, ids)


def test_a_clump_that_is_not_dark_stays_as_it_was():
    mask, _, height = clump()
    ids = mask.astype(np.int32)
    assert split_clumps(ids, dark(mask) / 3, height, diameter=DIAMETER) is ids


def test_single_and_convex_objects_stay():
    ids = np.zeros((80, 90), np.int32)
    for number, disc in enumerate(discs([(15, 15), (50, 60)]), start=3):
        ids[disc] = number
    height = np.random.default_rng(0).uniform(0, 1.4, ids.shape).astype(np.float32)
    kept = split_clumps(ids, dark(ids), height, diameter=DIAMETER)
    np.testing.assert_array_equal(kept, ids)
    nothing = np.zeros_like(ids)
    kept = split_clumps(nothing, dark(ids), height, diameter=DIAMETER)
    assert kept is nothing


def test_small_ones_are_dropped_among_dark_ones_only():
    ids = np.zeros((60, 60), np.int32)
    ids[10:30, 10:30], ids[40:44, 40:44] = 1, 2
    for stain, left in ((1.5, [0, 1]), (0.5, [0, 1, 2])):
        plane = np.full(ids.shape, stain)
        kept = drop_small_among(ids, 0.15, diameter=20, stain=plane)
        assert np.unique(kept).tolist() == left


def test_a_dark_clump_in_a_section_that_is_not_black_stays_as_it_was():
    mask, _, height = clump()
    ids = np.pad(mask.astype(np.int32), ((0, 120), (0, 0)))
    stain = dark(ids)
    for number, disc in enumerate(discs([(100, 30), (150, 30)], 24, ids.shape), 2):
        ids[disc], stain[disc] = number, 0.3
    height = np.pad(height, ((0, 120), (0, 0)), mode="edge")
    assert split_clumps(ids, stain, height, diameter=DIAMETER) is ids
    stain[ids > 0] = 1.5
    assert split_clumps(ids, stain, height, diameter=DIAMETER) is not ids


def test_a_few_dark_ones_make_no_black_section():
    # The dark ones lie together, at one end of a section of many pale ones.
    ids = np.zeros((60, 1200), np.int32)
    columns = np.arange(5, 1180, 30)
    for number, column in enumerate(columns, start=1):
        ids[20:40, column : column + 20] = number
    ids[50:54, 5:9] = len(columns) + 1
    stain = np.where(ids > 6, 0.4, 2.2)
    stain[50:54, 5:9] = 2.2
    kept = drop_small_among(ids, 0.3, diameter=20, stain=stain)
    np.testing.assert_array_equal(kept, ids)
    assert not faint_among(ids, stain, 0.35, diameter=20).any()
    black = np.where(ids % 5 == 3, 0.4, 2.2)
    assert len(columns) + 1 not in drop_small_among(ids, 0.3, diameter=20, stain=black)
    faint = np.unique(ids[faint_among(ids, black, 0.35, diameter=20)])
    assert faint.tolist() == list(range(3, len(columns) + 1, 5))


def test_small_ones_may_be_compared_with_others():
    ids = np.zeros((60, 60), np.int32)
    ids[10:16, 10:16] = 5
    among = ids.copy()
    among[30:55, 30:55] = 8
    np.testing.assert_array_equal(drop_small_among(ids, 0.3, diameter=20), ids)
    assert not drop_small_among(ids, 0.3, diameter=20, among=among).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 200)])
def test_small_images_have_clumps_too(shape):
    ids = np.ones(shape, np.int32)
    ids[:, ::5] = 0
    height = np.linspace(0, 1, ids.size, dtype=np.float32).reshape(shape)
    kept = split_clumps(ids, dark(ids), height, diameter=2)
    np.testing.assert_array_equal(kept > 0, ids > 0)
    drop_small_among(ids, 0.5, diameter=2)
    drop_slivers(ids, ids == 0)
    assert faint_among(ids, dark(ids), 0.5, diameter=2).shape == shape
    assert not faint_among(np.zeros_like(ids), dark(ids), 0.5, diameter=2).any()


def test_what_is_small_depends_on_the_neighbours():
    ids = np.zeros((900, 60), np.int32)
    for number, disc in enumerate(discs([(20, 30)], 12, ids.shape), start=1):
        ids[disc] = number
    ids[20:25, 2:7] = 2  # beside a large one
    ids[860:865, 20:25] = 3  # beside its like
    ids[870:875, 40:45] = 4
    kept = drop_small_among(ids, 0.15, diameter=14)
    assert np.unique(kept).tolist() == [0, 1, 3, 4]
    assert drop_small_among(np.zeros_like(ids), 0.15, diameter=14).max() == 0
    # What is no nucleus at all makes none small.
    ids[100:140] = 5
    kept = drop_small_among(ids, 0.15, diameter=10)
    assert np.unique(kept).tolist() == [0, 1, 2, 3, 4, 5]


def test_only_what_lies_along_others_is_a_sliver():
    ids = np.zeros((40, 40), np.int32)
    beside = np.zeros((40, 40), bool)
    beside[5:30, 5:15] = True
    ids[5:30, 15:18] = 4  # along its whole side
    ids[30:38, 8:12] = 9  # end to end
    ids[5:12, 25:32] = 6  # far off
    assert np.unique(drop_slivers(ids, beside)).tolist() == [0, 6, 9]
    assert drop_slivers(ids, np.zeros_like(beside)) is ids


def black_nuclei(rim):
    """Two dark nuclei that touch, of a brown that saturates, with bluish rims."""
    shape = (120, 120)
    first, second = discs([(58, 46), (58, 74)], 12, shape)
    pale = discs([(20, 25), (98, 98)], 11, shape)
    brown = np.array([0.27, 0.57, 0.78])
    density = np.full((*shape, 3), 0.02)
    bridge = np.zeros(shape, bool)
    bridge[50:68, 40:80] = True
    density[bridge] = 1.6 * brown
    density[first | second] = 4.0 * brown
    for disc in pale:
        density[disc] = 0.35 * np.array([0.65, 0.7, 0.29])
    if rim:
        edge = ndi.binary_dilation(bridge | first | second, iterations=4)
        density[edge & ~(bridge | first | second)] = [0.4, 0.3, 0.15]
    light = 10 ** -ndi.gaussian_filter(density, (0.8, 0.8, 0))
    noise = np.random.default_rng(0).normal(0, 0.004, light.shape)
    return np.clip(light + noise, 1 / 255, 1).astype(np.float32)


@pytest.mark.parametrize("rim", [False, True])
def test_black_nuclei_are_counted_and_their_rims_are_not(rim):
    image = black_nuclei(rim)
    clusterer = SemanticClusterer(classes="ki67", pixel_size=0.25, random_state=0)
    mask = clusterer.fit([image]).predict([image])[0]
    classes = [
        mask[..., 1][mask[..., 0] == number][0] for number in np.unique(mask[..., 0])
    ][1:]
    assert sorted(classes) == [1, 1, 2, 2]
