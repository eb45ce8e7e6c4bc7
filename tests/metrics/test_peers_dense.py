# SPDX-License-Identifier: BSD-3-Clause
"""Scores against full tables of all pairs, scikit-learn and scikit-image.

The scenes are those for the peers, larger than what the loops over every matching
can take, and nothing needs to be installed.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_scenes import scenes
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from skimage.metrics import hausdorff_distance as skimage_hausdorff
from sklearn.metrics import f1_score, jaccard_score

from psmlearn.metrics import (
    aggregated_jaccard_score,
    dice_score,
    hausdorff_distance,
    iou_score,
    object_dice_score,
    object_f1_score,
    object_iou_score,
    panoptic_quality_score,
)

pytestmark = pytest.mark.usefixtures("any_pieces")

THRESHOLDS = (0.0, 0.1, 0.3, 0.5, 0.75)
CLOSE = {"rel": 1e-12, "abs": 0}


class Dense:
    """All pairs of the objects of a scene, the unknown set to background."""

    def __init__(self, true, pred):
        known = (true != -1) & (pred != -1)
        self.true, self.pred = np.where(known, true, 0), np.where(known, pred, 0)
        self.true_objects = [self.true == i for i in np.unique(self.true) if i]
        self.pred_objects = [self.pred == i for i in np.unique(self.pred) if i]
        self.true_areas = np.array([g.sum() for g in self.true_objects])
        self.pred_areas = np.array([s.sum() for s in self.pred_objects])
        shape = (len(self.true_objects), len(self.pred_objects))
        self.shared = np.zeros(shape, dtype=int)
        for i, g in enumerate(self.true_objects):
            for j, s in enumerate(self.pred_objects):
                self.shared[i, j] = np.count_nonzero(g & s)

    @property
    def totals(self):
        return np.add.outer(self.true_areas, self.pred_areas)

    @property
    def ious(self):
        return self.shared / (self.totals - self.shared)


def over(numerator, denominator, zero_division=1.0):
    return numerator / denominator if denominator else zero_division


@settings(max_examples=40, deadline=None)
@given(scene=scenes(unknown=True))
def test_pixel_scores_equal_those_of_scikit_learn(scene):
    true, pred = scene
    known = (true != -1) & (pred != -1)
    both = (true[known] > 0, pred[known] > 0)
    for zero in (0, 1):
        options = {"pos_label": True, "zero_division": zero}
        dice, iou = zero, zero
        if known.any():
            dice, iou = f1_score(*both, **options), jaccard_score(*both, **options)
        assert dice_score(*scene, zero_division=zero) == pytest.approx(dice, **CLOSE)
        assert iou_score(*scene, zero_division=zero) == pytest.approx(iou, **CLOSE)


@settings(max_examples=60, deadline=None)
@given(scene=scenes(unknown=True))
def test_aji_equals_a_full_table(scene):
    dense = Dense(*scene)
    shared, union = 0, 0
    taken = set()
    for i in range(len(dense.true_objects)):
        j = int(dense.ious[i].argmax()) if dense.shared[i].any() else None
        shared += 0 if j is None else dense.shared[i, j]
        union += dense.true_areas[i]
        union += 0 if j is None else dense.pred_areas[j] - dense.shared[i, j]
        taken.add(j)
    union += sum(a for j, a in enumerate(dense.pred_areas) if j not in taken)
    assert aggregated_jaccard_score(*scene) == over(shared, union)


@settings(max_examples=60, deadline=None)
@given(scene=scenes(unknown=True))
def test_aji_plus_equals_a_full_table(scene):
    # Matchings of the same sum of IoU may share more or fewer pixels, with which
    # the score grows: it must lie between that of the least and that of the most.
    dense = Dense(*scene)
    area = dense.true_areas.sum() + dense.pred_areas.sum()
    bounds = []
    for favour in (-1e-13, 1e-13):
        gains = dense.ious + favour * dense.shared
        pairs = linear_sum_assignment(gains, maximize=True)
        shared = dense.shared[pairs].sum()
        bounds.append(over(shared, area - shared))
    got = aggregated_jaccard_score(*scene, one_to_one=True)
    assert bounds[0] <= got <= bounds[1]


@settings(max_examples=60, deadline=None)
@given(scene=scenes(unknown=True))
def test_objects_equal_a_full_table(scene):
    dense = Dense(*scene)
    n_objects = len(dense.true_objects) + len(dense.pred_objects)
    f1 = object_f1_score(*scene, iou_threshold=THRESHOLDS)
    for threshold, value in zip(THRESHOLDS, f1, strict=True):
        close = dense.ious > threshold
        n_matches = close[linear_sum_assignment(close, maximize=True)].sum()
        assert value == over(2 * n_matches, n_objects)
    matched = dense.ious[dense.ious > 0.5].sum()
    pq = panoptic_quality_score(*scene)
    assert pq == pytest.approx(over(matched, n_objects / 2), **CLOSE)


@settings(max_examples=60, deadline=None)
@given(scene=scenes(unknown=True))
def test_glas_scores_equal_a_full_table(scene):
    dense = Dense(*scene)
    for score, values in (
        (object_dice_score, 2 * dense.shared / dense.totals),
        (object_iou_score, dense.ious),
    ):
        sides = [
            one_side(values, dense.shared, dense.true_areas),
            one_side(values.T, dense.shared.T, dense.pred_areas),
        ]
        both_empty = not dense.shared.shape[0] and not dense.shared.shape[1]
        expected = 1.0 if both_empty else sum(sides) / 2
        assert score(*scene) == pytest.approx(expected, **CLOSE)


def one_side(values, shared, areas):
    """Average over the objects of the rows, each with the partner it shares most with.

    Of equals, the first.
    """
    total = 0.0
    for i, area in enumerate(areas):
        if shared[i].any():
            total += area * values[i, shared[i].argmax()]
    return over(total, areas.sum(), 0.0)


@settings(max_examples=60, deadline=None)
@given(scene=scenes(max_side=24, n_max=8, unknown=True))
def test_hausdorff_distance_equals_scikit_image(scene):
    dense = Dense(*scene)
    check_hausdorff(dense, scene, skimage_hausdorff)
    got = hausdorff_distance(*scene, level="mask")
    if dense.true_areas.size and dense.pred_areas.size:
        expected = skimage_hausdorff(dense.true > 0, dense.pred > 0)
        assert got == pytest.approx(expected, **CLOSE)


@settings(max_examples=60, deadline=None)
@given(
    scene=scenes(max_side=20, n_max=6, unknown=True),
    percentile=st.sampled_from([5, 50, 95, 100]),
    outline=st.booleans(),
)
def test_hausdorff_percentiles_equal_full_tables(scene, percentile, outline):
    def measure(first, second):
        between = cdist(*(places(o, outline) for o in (first, second)))
        return max(
            np.percentile(between.min(axis=1), percentile),
            np.percentile(between.min(axis=0), percentile),
        )

    options = {"percentile": percentile, "outline": outline}
    check_hausdorff(Dense(*scene), scene, measure, **options)


def places(mask, outline):
    if outline:
        padded = np.pad(mask, 1)
        inner = padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:]
        mask = mask & ~(inner & padded[1:-1, :-2])
    return np.argwhere(mask)


def check_hausdorff(dense, scene, measure, **options):
    """Compare the distance of objects with a table of those of all pairs."""
    got = hausdorff_distance(*scene, **options)
    if not dense.shared.size:
        # Nothing is as far as a corner from the opposite one.
        empty = not (dense.true_areas.size or dense.pred_areas.size)
        expected = 0 if empty else math.hypot(*dense.true.shape)
        assert got == pytest.approx(expected, **CLOSE)
        return
    table = [
        [
            (measure(g, s), skimage_hausdorff(g, s) if options else 0)
            for s in dense.pred_objects
        ]
        for g in dense.true_objects
    ]
    distances, largest = np.moveaxis(np.array(table), 2, 0)
    if not options:
        largest = distances
    sides = []
    for shared, far, value, areas in (
        (dense.shared, largest, distances, dense.true_areas),
        (dense.shared.T, largest.T, distances.T, dense.pred_areas),
    ):
        total = 0.0
        for i, area in enumerate(areas):
            j = shared[i].argmax() if shared[i].any() else far[i].argmin()
            total += area * value[i, j]
        sides.append(total / areas.sum())
    assert got == pytest.approx(sum(sides) / 2, rel=1e-12, abs=1e-12)
