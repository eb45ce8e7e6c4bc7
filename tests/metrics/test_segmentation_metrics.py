# SPDX-License-Identifier: BSD-3-Clause
"""The metrics on examples worked out by hand."""

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
BY_THRESHOLD = [
    detection_quality_score,
    object_average_precision_score,
    object_f1_score,
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
def test_perfect_prediction_scores_one(score):
    assert score([TWO, ONE], [TWO, ONE]) == 1.0
    assert score([TWO], [np.where(TWO > 0, 7 * TWO + 1, 0)]) == 1.0


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (dice_score, 2 / 3),
        (iou_score, 0.5),
        (aggregated_jaccard_score, 0.5),
        (object_dice_score, (0.5 + 1) / 2),
        (object_iou_score, (0.5 + 1) / 2),
        (object_f1_score, 2 / 3),
        (object_precision_score, 1.0),
        (object_recall_score, 0.5),
        (object_average_precision_score, 0.5),
        (panoptic_quality_score, 2 / 3),
        (detection_quality_score, 2 / 3),
        (segmentation_quality_score, 1.0),
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
    assert detection_quality_score([ONE], [split]) == pytest.approx(2 / 3)
    assert segmentation_quality_score([ONE], [split]) == pytest.approx(0.6)
    assert object_precision_score([ONE], [split]) == 0.5
    assert object_recall_score([ONE], [split]) == 1.0
    assert object_average_precision_score([ONE], [split]) == 0.5
    assert dice_score([ONE], [split]) == iou_score([ONE], [split]) == 1.0
    # The nucleus goes with the larger part, both parts with the nucleus.
    dice = {"large": 2 * 24 / (40 + 24), "small": 2 * 16 / (40 + 16)}
    expected = (dice["large"] + 0.6 * dice["large"] + 0.4 * dice["small"]) / 2
    assert object_dice_score([ONE], [split]) == pytest.approx(expected)
    expected = (0.6 + 0.6 * 0.6 + 0.4 * 0.4) / 2
    assert object_iou_score([ONE], [split]) == pytest.approx(expected)


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
    assert segmentation_quality_score([ONE], [half]) == 0.0
    assert object_f1_score([ONE], [half], iou_threshold=0.49) == 1.0
    thresholds = [0.49, 0.5, 0.51]
    for score in (object_precision_score, object_recall_score, object_f1_score):
        each = score([ONE], [half], iou_threshold=thresholds)
        np.testing.assert_array_equal(each, [1.0, 0.0, 0.0])


def test_object_level_partners_share_most_pixels_not_most_iou():
    # 1 shares 4 columns with the long 7, but has the larger IoU with 3, all inside it.
    true = mask(1, 1, 1, 1, 1, 1, 1, 0, 0, 0)
    pred = mask(3, 3, 3, 7, 7, 7, 7, 7, 7, 7)
    assert 3 / 7 > 4 / 10
    true_side = 2 * 4 / (7 + 7)
    pred_side = (3 * (2 * 3 / 10) + 7 * (2 * 4 / 14)) / 10
    expected = (true_side + pred_side) / 2
    assert object_dice_score([true], [pred]) == pytest.approx(expected)
    # Of equals the lowest id.
    pred = mask(9, 9, 0, 0, 0, 3, 3, 3, 3, 0)
    true_side = 2 * 2 / (7 + 4)
    pred_side = (2 * (2 * 2 / 9) + 4 * true_side) / 6
    expected = (true_side + pred_side) / 2
    assert object_dice_score([true], [pred]) == pytest.approx(expected)


def test_low_thresholds_match_as_many_as_can_be():
    # Greedy by IoU pairs 1 with 1 (4/6) and leaves 2 and 2 without a partner.
    true = mask(2, 1, 1, 1, 1, 1, 0, 0, 0, 0)
    pred = mask(1, 1, 1, 1, 1, 2, 0, 0, 0, 0)
    assert object_f1_score([true], [pred]) == pytest.approx(0.5)
    assert object_f1_score([true], [pred], iou_threshold=0.0) == 1.0


# What is left of TWO is one of its objects; EMPTY twice; ONE is lost.
MICRO = {
    dice_score: 32 / (16 + 32 + 40),
    iou_score: 16 / (32 + 40),
    aggregated_jaccard_score: 16 / (16 + 16 + 40),
    detection_quality_score: 2 / 4,
    object_average_precision_score: 1 / 3,
    object_dice_score: (16 / (32 + 40) + 1) / 2,
    object_f1_score: 2 / 4,
    object_iou_score: (16 / (32 + 40) + 1) / 2,
    object_precision_score: 1.0,
    object_recall_score: 1 / 3,
    panoptic_quality_score: 2 / 4,
    segmentation_quality_score: 1.0,
}


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
    micro = score(true, pred, average="micro")
    assert type(micro) is float
    assert micro == pytest.approx(MICRO[score])


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_empty_images(score, value):
    assert score([EMPTY], [EMPTY], zero_division=value) == value
    assert score([EMPTY], [EMPTY], zero_division=value, average="micro") == value
    for average in ("macro", "micro"):
        options = {"average": average, "zero_division": value}
        assert score([EMPTY], [ONE], **options) == 0.0
        assert score([ONE], [EMPTY], **options) == 0.0


@pytest.mark.parametrize("score", SCORES)
def test_nan_leaves_empty_images_out_of_the_mean(score):
    true, pred = [EMPTY, ONE, ONE], [EMPTY, ONE, EMPTY]
    each = score(true, pred, average=None, zero_division=np.nan)
    np.testing.assert_array_equal(each, [np.nan, 1.0, 0.0])
    assert score(true, pred, zero_division=np.nan) == 0.5
    assert np.isnan(score([EMPTY], [EMPTY], zero_division=np.nan))
    assert np.isnan(score([EMPTY], [EMPTY], zero_division=np.nan, average="micro"))


def test_micro_precision_and_recall_add_no_denominators():
    masks = [EMPTY, ONE, ONE], [EMPTY, ONE, EMPTY]
    assert object_precision_score(*masks, average="micro") == 1.0
    assert object_recall_score(*masks, average="micro") == 0.5
    assert object_precision_score(*masks[::-1], average="micro") == 0.5
    assert object_recall_score(*masks[::-1], average="micro") == 1.0


def test_segmentation_quality_without_matches_is_zero():
    far = mask(0, 0, 0, 0, 0, 0, 0, 0, 3, 3)
    near = mask(1, 1, 1, 0, 0, 0, 0, 0, 0, 0)
    for value in (0.0, 1.0, np.nan):
        score = segmentation_quality_score([near], [far], zero_division=value)
        assert score == 0.0
    pooled = segmentation_quality_score([near, ONE], [far, ONE], average="micro")
    assert pooled == 1.0


@pytest.mark.parametrize("average", ["macro", "micro", None])
@pytest.mark.parametrize("score", BY_THRESHOLD)
def test_lists_of_thresholds(score, average, label_pair):
    pairs = [label_pair(60 + 20 * n, 12, random_state=n) for n in range(3)]
    true, pred = zip(*pairs, strict=True)
    thresholds = np.array([0.9, 0.5, 0.7, 0.5])
    got = score(true, pred, iou_threshold=thresholds, average=average)
    assert got.shape == ((3, 4) if average is None else (4,))
    for index, threshold in enumerate(thresholds):
        one = score(true, pred, iou_threshold=threshold, average=average)
        np.testing.assert_array_equal(got[..., index], one)
    assert len(np.unique(got[..., :3])) > 1
