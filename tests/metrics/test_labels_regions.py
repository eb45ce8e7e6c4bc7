# SPDX-License-Identifier: BSD-3-Clause
"""Scores of classes, and of regions of interest."""

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
    hausdorff_distance,
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

SCORES = [
    aggregated_jaccard_score,
    detection_quality_score,
    dice_score,
    hausdorff_distance,
    iou_score,
    object_average_precision_score,
    object_dice_score,
    object_f1_score,
    object_iou_score,
    object_precision_score,
    object_recall_score,
    panoptic_quality_score,
    segmentation_quality_score,
]
OF_PIXELS = (dice_score, iou_score)
IDS = st.sampled_from([-1, 0, 0, 1, 2, 5])
CLASSES = st.sampled_from([-1, 0, 1, 1, 2, 2, 3])


@st.composite
def scenes(draw):
    """Draw two label images with classes, and a region or None."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=5))
    ids = draw(hnp.arrays(np.int32, (2, *shape), elements=IDS))
    classes = draw(hnp.arrays(np.int32, (2, *shape), elements=CLASSES))
    if draw(st.booleans()):
        ids[1] = np.where(ids[1] == 0, ids[0], ids[1])
        classes[1] = np.where(ids[1] == ids[0], classes[0], classes[1])
    region = draw(st.none() | hnp.arrays(bool, shape))
    return *np.stack([ids, classes], axis=-1), region


@pytest.mark.parametrize("score", SCORES)
@settings(max_examples=25, deadline=None)
@given(scene=scenes())
def test_classes_and_regions_are_what_the_score_sees(score, scene):
    true, pred, region = scene
    labels = [2, 1, 7]
    got = score([true], [pred], labels=labels, regions=[region])
    assert got.shape == (3,)
    for index, label in enumerate(labels):
        alone = score([true], [pred], labels=label, regions=[region])
        assert type(alone) is float
        assert alone == got[index]
        told = [true, pred]
        if score not in OF_PIXELS:
            told = [oracle.one_class_each(mask) for mask in told]
        cleaned = oracle.clean(*told, label, region)
        assert alone == pytest.approx(score(*cleaned), rel=1e-14)
    whole = score([true], [pred], regions=[region])
    assert whole == pytest.approx(score(*oracle.clean(true, pred, None, region)))


@settings(max_examples=25, deadline=None)
@given(scene=scenes(), block_size=st.sampled_from([1, 3, 7]))
def test_blocks_of_rows_change_nothing(scene, block_size):
    true, pred, region = scene
    options = {"labels": [1, 2], "regions": [region]}
    expected = aggregated_jaccard_score([true], [pred], **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_overlap, "_BLOCK_SIZE", block_size)
        got = aggregated_jaccard_score([true], [pred], **options)
    np.testing.assert_array_equal(got, expected)


def mask(ids, classes):
    """Draw a mask 4 pixels high whose columns hold ids and classes."""
    return np.tile(np.stack([ids, classes], axis=-1)[np.newaxis], (4, 1, 1))


TRUE = mask([1, 1, 1, 0, 2, 2, 2, 0, 3, 3], [1, 1, 1, 0, 2, 2, 2, 0, 2, 2])
PRED = mask([8, 8, 8, 0, 6, 6, 6, 0, 0, 0], [2, 2, 2, 0, 2, 2, 2, 0, 0, 0])


def test_an_object_of_a_wrong_class_is_missed_and_false():
    masks = [TRUE], [PRED]
    precision = object_precision_score(*masks, labels=[1, 2])
    np.testing.assert_array_equal(precision, [0.0, 0.5])
    recall = object_recall_score(*masks, labels=[1, 2])
    np.testing.assert_array_equal(recall, [0.0, 0.5])
    np.testing.assert_array_equal(dice_score(*masks, labels=[1, 2]), [0, 24 / 44])
    assert object_f1_score(*masks) == 4 / 5
    assert object_f1_score(*masks, labels=2) == 0.5


@pytest.mark.parametrize("score", SCORES)
def test_shapes_of_results(score):
    masks = [TRUE, PRED, TRUE], [PRED, PRED, TRUE]
    each = score(*masks, labels=[2, 1], average=None)
    assert each.shape == (3, 2)
    assert score(*masks, labels=2, average=None).shape == (3,)
    assert score(*masks, labels=[1], average=None).shape == (3, 1)
    np.testing.assert_array_equal(each[:, 1], score(*masks, labels=1, average=None))
    macro, micro = (score(*masks, labels=[2, 1], average=a) for a in ("macro", "micro"))
    assert macro.shape == micro.shape == (2,)
    np.testing.assert_allclose(macro, each.mean(axis=0), rtol=1e-15)
    assert type(score(*masks, labels=1, average="micro")) is float


def test_thresholds_come_before_labels():
    masks = [TRUE, PRED, TRUE], [PRED, PRED, TRUE]
    options = {"labels": (1, 2), "iou_threshold": [0.5, 0.7, 0.8, 0.9]}
    each = object_f1_score(*masks, average=None, **options)
    assert each.shape == (3, 4, 2)
    assert object_f1_score(*masks, **options).shape == (4, 2)
    alone = object_f1_score(*masks, average=None, labels=2, iou_threshold=0.7)
    np.testing.assert_array_equal(each[:, 1, 1], alone)


@pytest.mark.parametrize("score", SCORES)
def test_stacks_of_masks_with_classes(score):
    true, pred = [TRUE, PRED], [PRED, TRUE]
    expected = score(true, pred, labels=[1, 2], average=None)
    got = score(np.stack(true), np.stack(pred), labels=[1, 2], average=None)
    np.testing.assert_array_equal(got, expected)
    for dtype in ("u1", ">i2", "u8"):
        got = score(np.stack(true).astype(dtype), pred, labels=[1, 2], average=None)
        np.testing.assert_array_equal(got, expected)


def test_an_unknown_class_is_unknown_only_to_the_scores_of_classes():
    true = TRUE.copy()
    true[true[..., 0] == 3, 1] = -1
    assert object_recall_score([true], [PRED], labels=2) == 1.0
    assert object_recall_score([true], [PRED]) == 2 / 3
    # Where the truth is unknown, predictions are not false.
    assert object_precision_score([true], [TRUE], labels=2) == 1.0


@pytest.mark.parametrize("score", SCORES)
def test_outside_of_a_region_nothing_counts(score):
    perfect = 0.0 if score is hausdorff_distance else 1.0
    region = TRUE[..., 0] != 3
    assert score([TRUE], [PRED], regions=[region]) == perfect
    assert score([TRUE], [PRED], regions=region) == perfect
    assert score([TRUE], [PRED], regions=region[np.newaxis]) == perfect
    assert score([TRUE], [PRED], regions=[None]) == score([TRUE], [PRED])
    nothing = np.zeros_like(region)
    assert score([TRUE], [PRED], regions=[nothing]) == perfect
    got = score([TRUE, PRED], [PRED, PRED], regions=[region, None], average=None)
    np.testing.assert_array_equal(got, [perfect, perfect])


def test_objects_are_cut_at_the_edge_of_a_region():
    region = np.zeros(TRUE.shape[:2], dtype=bool)
    region[:, 1:6] = True
    true, pred = TRUE[..., 0], np.where(PRED[..., 0] == 6, 0, PRED[..., 0])
    # 2 columns of one object are left, found, and 2 of the other, missed.
    assert aggregated_jaccard_score([true], [pred], regions=[region]) == 8 / 16
    assert iou_score([true], [pred], regions=region.T.copy().T) == 0.5
    region.flags.writeable = False
    assert object_recall_score([true], [pred], regions=[region]) == 0.5
