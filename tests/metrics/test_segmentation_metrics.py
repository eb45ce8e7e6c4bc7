# SPDX-License-Identifier: BSD-3-Clause
"""The metrics on examples worked out by hand, and on all kinds of input."""

import time
import tracemalloc

import numpy as np
import pytest

from psmlearn.metrics import (
    aggregated_jaccard_score,
    dice_score,
    object_f1_score,
    panoptic_quality_score,
)

SCORES = [
    dice_score,
    aggregated_jaccard_score,
    object_f1_score,
    panoptic_quality_score,
]
EMPTY = np.zeros((4, 10), dtype=np.int32)


def mask(*ids):
    """Draw a mask 4 pixels high whose columns hold the given ids."""
    return np.tile(np.array(ids, dtype=np.int32), (4, 1))


ONE = mask(1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
TWO = mask(1, 1, 1, 1, 0, 0, 2, 2, 2, 2)


@pytest.mark.parametrize("score", SCORES)
def test_perfect_prediction_scores_one(score):
    assert score([TWO, ONE], [TWO, ONE]) == 1.0
    assert score([TWO], [np.where(TWO > 0, 7 * TWO + 1, 0)]) == 1.0


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (dice_score, 2 / 3),
        (aggregated_jaccard_score, 0.5),
        (object_f1_score, 2 / 3),
        (panoptic_quality_score, 2 / 3),
    ],
)
def test_one_of_two_missed(score, expected):
    assert score([TWO], [np.where(TWO == 1, 1, 0)]) == pytest.approx(expected)


def test_nucleus_split_sixty_to_forty():
    split = mask(1, 1, 1, 1, 1, 1, 2, 2, 2, 2)
    # 24 of 40 pixels are shared; the other 16 count in both the union and as unused.
    assert aggregated_jaccard_score([ONE], [split]) == 24 / (40 + 16)
    assert aggregated_jaccard_score([ONE], [split], one_to_one=True) == 24 / 56
    assert object_f1_score([ONE], [split]) == pytest.approx(2 / 3)
    assert panoptic_quality_score([ONE], [split]) == pytest.approx(0.6 / 1.5)
    assert dice_score([ONE], [split]) == 1.0


def test_two_nuclei_merged_use_the_prediction_twice():
    true = mask(1, 1, 1, 1, 1, 1, 2, 2, 2, 2)
    assert aggregated_jaccard_score([true], [ONE]) == (24 + 16) / (40 + 40)
    plus = aggregated_jaccard_score([true], [ONE], one_to_one=True)
    assert plus == 24 / (40 + 16)


def test_one_to_one_takes_the_largest_sum_of_iou():
    # IoU: 1 with 1 4/10, 1 with 2 3/7, 2 with 1 3/7; the last two go together.
    true = mask(1, 1, 1, 1, 1, 1, 1, 2, 2, 2)
    pred = mask(2, 2, 2, 1, 1, 1, 1, 1, 1, 1)
    plus = aggregated_jaccard_score([true], [pred], one_to_one=True)
    assert plus == (3 + 3) / (7 + 7)
    assert aggregated_jaccard_score([true], [pred]) == (3 + 3) / (7 + 7)


def test_equal_iou_takes_the_lowest_id():
    true = mask(1, 1, 1, 1, 0, 0, 0, 0, 0, 0)
    # IoU 1 of 4 and 2 of 8 columns: equal, and the score tells which was taken.
    small_first = mask(3, 0, 9, 9, 9, 9, 9, 9, 0, 0)
    large_first = mask(9, 0, 3, 3, 3, 3, 3, 3, 0, 0)
    assert aggregated_jaccard_score([true], [small_first]) == 1 / (4 + 6)
    assert aggregated_jaccard_score([true], [large_first]) == 2 / (8 + 1)


def test_kumar_keeps_a_prediction_that_two_share_in_the_union():
    true = mask(1, 1, 1, 2, 2, 2, 0, 0, 0, 0)
    pred = mask(5, 5, 5, 5, 0, 0, 6, 6, 0, 0)
    # 1 with 5: 12 of 16; 2 with 5: 4 of 24; 6 is used by none: 8.
    assert aggregated_jaccard_score([true], [pred]) == 16 / (16 + 24 + 8)
    # One to one, 2 is left alone with its 12 pixels.
    plus = aggregated_jaccard_score([true], [pred], one_to_one=True)
    assert plus == 12 / (16 + 12 + 8)


def test_iou_must_be_above_the_threshold():
    half = mask(1, 1, 1, 1, 1, 0, 0, 0, 0, 0)
    assert object_f1_score([ONE], [half]) == 0.0
    assert panoptic_quality_score([ONE], [half]) == 0.0
    assert object_f1_score([ONE], [half], iou_threshold=0.49) == 1.0


def test_low_thresholds_match_as_many_as_can_be():
    # Greedy by IoU pairs 1 with 1 (4/6) and leaves 2 and 2 without a partner.
    true = mask(2, 1, 1, 1, 1, 1, 0, 0, 0, 0)
    pred = mask(1, 1, 1, 1, 1, 2, 0, 0, 0, 0)
    assert object_f1_score([true], [pred]) == pytest.approx(0.5)
    assert object_f1_score([true], [pred], iou_threshold=0.0) == 1.0


@pytest.mark.parametrize("score", SCORES)
def test_averages(score):
    none = np.where(TWO == 1, 1, 0)
    true, pred = [TWO, EMPTY, ONE], [none, EMPTY, EMPTY]
    each = score(true, pred, average=None)
    assert isinstance(each, np.ndarray)
    assert each.shape == (3,)
    assert each[0] == score([TWO], [none])
    np.testing.assert_array_equal(each[1:], [1.0, 0.0])
    macro = score(true, pred)
    assert type(macro) is float
    assert macro == pytest.approx(each.mean())
    micro = {
        dice_score: 32 / (16 + 32 + 40),
        aggregated_jaccard_score: 16 / (16 + 16 + 40),
        object_f1_score: 2 / 4,
        panoptic_quality_score: 2 / 4,
    }
    assert score(true, pred, average="micro") == pytest.approx(micro[score])


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_empty_images(score, value):
    assert score([EMPTY], [EMPTY], zero_division=value) == value
    assert score([EMPTY], [EMPTY], zero_division=value, average="micro") == value
    assert score([EMPTY], [ONE], zero_division=value) == 0.0
    assert score([ONE], [EMPTY], zero_division=value) == 0.0


@pytest.mark.parametrize("score", SCORES)
def test_nan_leaves_empty_images_out_of_the_mean(score):
    true, pred = [EMPTY, ONE, ONE], [EMPTY, ONE, EMPTY]
    each = score(true, pred, average=None, zero_division=np.nan)
    np.testing.assert_array_equal(each, [np.nan, 1.0, 0.0])
    assert score(true, pred, zero_division=np.nan) == 0.5
    assert np.isnan(score([EMPTY], [EMPTY], zero_division=np.nan))
    assert np.isnan(score([EMPTY], [EMPTY], zero_division=np.nan, average="micro"))


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
    each = score(true, [TWO, EMPTY[:2, :3]], average=None)
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
    for score in SCORES[1:]:
        with pytest.raises(ValueError, match=r"y_pred\[0\] is boolean.*measure\.label"):
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
