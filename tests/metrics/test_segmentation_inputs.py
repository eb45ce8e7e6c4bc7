# SPDX-License-Identifier: BSD-3-Clause
"""The metrics on all kinds of input, and their time and memory."""

import time
import tracemalloc

import numpy as np
import pytest

from psmlearn.metrics import (
    aggregated_jaccard_score,
    detection_quality_score,
    dice_score,
    iou_score,
    object_average_precision_score,
    object_dice_score,
    object_f1_score,
    object_iou_score,
    object_precision_score,
    object_recall_score,
    panoptic_quality_score,
    segmentation_quality_score,
)

BINARY_SCORES = [dice_score, iou_score]
OBJECT_SCORES = [
    aggregated_jaccard_score,
    detection_quality_score,
    object_average_precision_score,
    object_dice_score,
    object_f1_score,
    object_iou_score,
    object_precision_score,
    object_recall_score,
    panoptic_quality_score,
    segmentation_quality_score,
]
SCORES = BINARY_SCORES + OBJECT_SCORES
EMPTY = np.zeros((4, 10), dtype=np.int32)


def mask(*ids):
    """Draw a mask 4 pixels high whose columns hold the given ids."""
    return np.tile(np.array(ids, dtype=np.int32), (4, 1))


ONE = mask(1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
TWO = mask(1, 1, 1, 1, 0, 0, 2, 2, 2, 2)


@pytest.mark.parametrize("score", SCORES)
def test_unknown_pixels_are_not_scored(score):
    true, pred = TWO.copy(), TWO.copy()
    true[:, 6:] = -1
    assert score([true], [pred]) == 1.0
    assert score([pred], [true]) == 1.0
    true[:] = -1
    assert score([true], [pred]) == 1.0
    assert score([true], [pred], zero_division=0.0) == 0.0


@pytest.mark.parametrize("score", SCORES)
def test_kinds_of_container_agree(score):
    true, pred = [TWO, ONE], [np.where(TWO == 1, 3, 0), TWO]
    expected = score(true, pred, average=None)
    classes = [np.stack([m, np.full_like(m, 255)], axis=-1) for m in true]
    objects = np.empty(2, dtype=object)
    objects[:] = true
    for y in (tuple(true), np.stack(true), classes, np.stack(classes), objects):
        np.testing.assert_array_equal(score(y, pred, average=None), expected)
        np.testing.assert_array_equal(score(y, np.stack(pred), average=None), expected)
    assert score(TWO, pred[0]) == expected[0]
    np.testing.assert_array_equal(score(TWO, pred[0], average=None), expected[:1])
    assert score([TWO], pred[0]) == expected[0]


@pytest.mark.parametrize("score", SCORES)
def test_sizes_may_differ_within_a_list(score):
    true = [TWO, ONE[:2, :3]]
    each = score(true, [TWO, EMPTY[:2, :3]], average=None, zero_division=0.0)
    np.testing.assert_array_equal(each, [1.0, 0.0])


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "u2", ">i2", "i4", ">u4", "i8", "u8", "<i8"]
)
def test_kinds_of_integer_agree(score, dtype, label_pair):
    true, pred = label_pair(60, 12)
    expected = score([true], [pred])
    assert 0 < expected < 1
    assert score([true.astype(dtype)], [pred]) == expected
    assert score([true], [pred.astype(dtype)]) == expected


@pytest.mark.parametrize("score", SCORES)
def test_gaps_and_huge_ids(score, label_pair):
    true, pred = label_pair(100, 30)
    expected = score([true], [pred])
    gaps = np.where(true > 0, 2**31 - 1 - 5000 * true.astype(np.int64), 0)
    assert score([gaps.astype(np.int32)], [pred]) == pytest.approx(expected)
    huge = np.where(pred > 0, 2**62 + 3 * pred.astype(np.int64), 0)
    assert score([true], [huge]) == pytest.approx(expected)


@pytest.mark.parametrize("score", SCORES)
def test_layout_in_memory_does_not_matter(score, label_pair):
    true, pred = label_pair(100, 30)
    expected = score([true], [pred])
    flipped = np.ascontiguousarray(true[::-1, ::-1])[::-1, ::-1]
    assert flipped.strides[0] < 0
    padded = np.zeros((200, 300), dtype=np.int32)
    padded[::2, ::3] = pred
    padded = padded[::2, ::3]
    padded.flags.writeable = False
    before = true.copy()
    true.flags.writeable = False
    for y in (true, flipped, np.asfortranarray(true)):
        assert score([y], [padded]) == expected
    np.testing.assert_array_equal(true, before)


def test_boolean_masks_have_a_dice_but_no_objects():
    assert dice_score([TWO > 0], [TWO == 1]) == pytest.approx(2 / 3)
    assert iou_score([TWO > 0], [TWO == 1]) == 0.5
    for score in OBJECT_SCORES:
        with pytest.raises(
            ValueError, match=r"y_pred\[0\] holds one value.*measure\.label"
        ):
            score([TWO], [TWO > 0])


def test_large_images_agree_with_counts_by_object(label_pair):
    """Many objects, so that the table is sparse and the clusters are large."""
    true, pred = label_pair(600, 1500, radius=7)
    n_matches, total = 0, 0.0
    areas = np.bincount(pred.ravel())
    for i in range(1, true.max() + 1):
        inside = pred[true == i]
        shared = np.bincount(inside, minlength=areas.size)
        shared[0] = 0
        ious = shared / (inside.size + areas - shared)
        n_matches += int((ious > 0.5).sum())
        total += ious[ious > 0.5].sum()
    n_objects = np.unique(true).size + np.unique(pred).size - 2
    assert n_matches > 500
    assert object_f1_score([true], [pred]) == 2 * n_matches / n_objects
    expected = pytest.approx(2 * total / n_objects)
    assert panoptic_quality_score([true], [pred]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("one_to_one", [False, True])
@pytest.mark.parametrize(
    ("size", "n_objects", "limit"), [(1000, 700, 0.012), (3000, 6000, 0.4)]
)
def test_aji_is_fast(label_pair, size, n_objects, limit, one_to_one):
    true, pred = label_pair(size, n_objects)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        aggregated_jaccard_score([true], [pred], one_to_one=one_to_one)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 3 * limit


@pytest.mark.parametrize("score", SCORES)
def test_many_objects_make_no_dense_table(score):
    size = 1500
    side = np.arange(size)
    cell = side[:, None] // 7 * (size // 7 + 1) + side[None, :] // 7 + 1
    inside = (side[:, None] % 7 < 5) & (side[None, :] % 7 < 5)
    true = np.where(inside, cell, 0).astype(np.int32)
    assert np.unique(true).size > 40_000
    pred = np.roll(true, 1, axis=1)
    tracemalloc.start()
    value = score([true], [pred])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.5 < value < 1
    # A table of all pairs would take 14 GB, or 2 GB in bits.
    assert peak < 30 * true.size
