# SPDX-License-Identifier: BSD-3-Clause
"""The metrics against brute force on random label images."""

import metrics_oracle as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from psmlearn.metrics import (
    _overlap,
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

pytestmark = pytest.mark.usefixtures("any_pieces")

THRESHOLDS = (0.0, 0.1, 1 / 3, 0.5, 0.6, 0.75)
IDS = st.sampled_from([-1, 0, 0, 0, 1, 2, 5, 2**31 - 1])


@st.composite
def pairs(draw):
    """Draw two label images of a size; blocks of pixels make objects overlap well."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=5))
    masks = []
    for _ in range(2):
        mask = draw(hnp.arrays(np.int32, shape, elements=IDS))
        if draw(st.booleans()):
            mask = mask.repeat(2, axis=1)[:, : shape[1]]
        masks.append(mask)
    if draw(st.booleans()):
        masks[1] = np.where(masks[1] == 0, masks[0], masks[1])
    return tuple(masks)


def ratio(count, zero_division=1.0):
    return count[0] / count[1] if count[1] else zero_division


BY_THRESHOLD = {
    object_average_precision_score: oracle.object_average_precision,
    object_f1_score: oracle.object_f1,
    object_precision_score: oracle.object_precision,
    object_recall_score: oracle.object_recall,
}


@settings(max_examples=100, deadline=None)
@given(pair=pairs())
def test_scores_equal_brute_force(pair):
    true, pred = pair
    assert dice_score(true, pred) == ratio(oracle.dice(true, pred))
    assert iou_score(true, pred) == ratio(oracle.pixel_iou(true, pred))
    assert aggregated_jaccard_score(true, pred) == ratio(oracle.aji(true, pred))


@settings(max_examples=100, deadline=None)
@given(pair=pairs())
def test_object_level_scores_equal_brute_force(pair):
    true, pred = pair
    for score, measure in (
        (object_dice_score, oracle.dice_of),
        (object_iou_score, oracle.iou),
    ):
        expected = oracle.object_level(true, pred, measure)
        expected = 1.0 if expected is None else expected
        assert score(true, pred) == pytest.approx(expected, rel=1e-13, abs=0)


@settings(max_examples=100, deadline=None)
@given(pair=pairs())
def test_aji_plus_equals_brute_force(pair):
    true, pred = pair
    options = [ratio(count) for count in oracle.aji_plus(true, pred)]
    assert aggregated_jaccard_score(true, pred, one_to_one=True) in options


@settings(max_examples=100, deadline=None)
@given(pair=pairs(), zero=st.sampled_from([0, 1]))
def test_scores_at_thresholds_equal_brute_force(pair, zero):
    true, pred = pair
    for score, count in BY_THRESHOLD.items():
        expected = [ratio(count(true, pred, t), zero) for t in THRESHOLDS]
        got = score(true, pred, iou_threshold=THRESHOLDS, zero_division=zero)
        np.testing.assert_array_equal(got, expected)
        alone = score(true, pred, iou_threshold=THRESHOLDS[1], zero_division=zero)
        assert alone == expected[1]


@settings(max_examples=100, deadline=None)
@given(pair=pairs())
def test_panoptic_quality_equals_brute_force(pair):
    true, pred = pair
    thresholds = [0.5, 0.6, 0.75]
    pq, dq, sq = (
        score(true, pred, iou_threshold=thresholds)
        for score in (
            panoptic_quality_score,
            detection_quality_score,
            segmentation_quality_score,
        )
    )
    for index, threshold in enumerate(thresholds):
        expected = ratio(oracle.pq(true, pred, threshold))
        assert pq[index] == pytest.approx(expected, rel=1e-14, abs=0)
        assert dq[index] == ratio(oracle.object_f1(true, pred, threshold))
        expected = ratio(oracle.sq(true, pred, threshold))
        assert sq[index] == pytest.approx(expected, rel=1e-14, abs=0)
    np.testing.assert_allclose(pq, dq * sq, rtol=1e-14)


@settings(max_examples=100, deadline=None)
@given(images=st.lists(pairs(), min_size=1, max_size=4), zero=st.sampled_from([0, 1]))
def test_averages_equal_brute_force(images, zero):
    true, pred = [a for a, _ in images], [b for _, b in images]
    counts = np.array([oracle.aji(a, b) for a, b in images])
    each = np.array([ratio(count, zero) for count in counts])
    options = {"zero_division": zero}
    got = aggregated_jaccard_score(true, pred, average=None, **options)
    np.testing.assert_array_equal(got, each)
    macro = aggregated_jaccard_score(true, pred, average="macro", **options)
    assert macro == pytest.approx(each.mean(), rel=1e-14)
    micro = aggregated_jaccard_score(true, pred, average="micro", **options)
    assert micro == ratio(counts.sum(axis=0), zero)


@settings(max_examples=100, deadline=None)
@given(pair=pairs(), block_size=st.sampled_from([1, 3, 7]))
def test_blocks_of_rows_change_nothing(pair, block_size):
    true, pred = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_overlap, "_BLOCK_SIZE", block_size)
        assert aggregated_jaccard_score(true, pred) == ratio(oracle.aji(true, pred))


@settings(max_examples=50, deadline=None)
@given(pair=pairs(), seed=st.integers(0, 100))
def test_ids_and_orientation_do_not_matter_to_matching(pair, seed):
    true, pred = pair
    rng = np.random.default_rng(seed)
    new_ids = dict(zip([1, 2, 5, 2**31 - 1], rng.permutation(4) + 1, strict=True))
    renamed = true.copy()
    for old, new in new_ids.items():
        renamed[true == old] = new
    for score in (object_f1_score, panoptic_quality_score, dice_score):
        expected = pytest.approx(score(true, pred), rel=1e-14)
        assert score(renamed[::-1], pred[::-1]) == expected
        assert score(true.T, pred.T) == expected
        assert score(pred, true) == expected
