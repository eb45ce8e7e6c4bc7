# SPDX-License-Identifier: BSD-3-Clause
"""What the metrics refuse, and what they say."""

import pathlib

import numpy as np
import pytest

from psmlearn.metrics import (
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
    segmentation_report,
)

BY_THRESHOLD = [
    object_average_precision_score,
    object_f1_score,
    object_precision_score,
    object_recall_score,
]
PANOPTIC = [
    detection_quality_score,
    panoptic_quality_score,
    segmentation_quality_score,
]
SCORES = [
    aggregated_jaccard_score,
    dice_score,
    iou_score,
    object_dice_score,
    object_iou_score,
    *BY_THRESHOLD,
    *PANOPTIC,
]
GOOD = np.zeros((10, 12), dtype=np.int32)
GOOD[:5, :6] = 1
GOOD[6:, 7:] = 2


@pytest.fixture(
    params=[*SCORES, hausdorff_distance, segmentation_report],
    ids=lambda score: score.__name__,
)
def score(request):
    return request.param


def is_perfect(score, true, pred):
    if score is segmentation_report:
        scores = score(true, pred, output_dict=True)["scores"]
        return scores["pq"]["macro"] == scores["dice"]["macro"] == 1.0
    return score(true, pred) == (0.0 if score is hausdorff_distance else 1.0)


def test_numbers_of_masks_differ(score):
    with pytest.raises(ValueError, match="y_true holds 2 masks and y_pred 1"):
        score([GOOD, GOOD], [GOOD])


def test_no_masks(score):
    with pytest.raises(ValueError, match="y_true holds no masks"):
        score([], [])
    with pytest.raises(ValueError, match="y_true holds no masks"):
        score(np.zeros((0, 5, 5), dtype=int), [])


def test_sizes_differ(score):
    message = (
        r"y_true\[1\] has height and width \(10, 12\) but y_pred\[1\] has \(9, 12\)"
    )
    with pytest.raises(ValueError, match=message):
        score([GOOD, GOOD], [GOOD, GOOD[:-1]])


def test_float_masks(score):
    message = r"y_pred\[1\] has dtype float32; expected integer ids: use mask.astype"
    with pytest.raises(ValueError, match=message):
        score([GOOD, GOOD], [GOOD, GOOD.astype(np.float32)])


def test_values_below_minus_one(score):
    bad = GOOD.copy()
    bad[3, 4] = -7
    with pytest.raises(ValueError, match=r"y_true\[0\] holds the value -7; expected 0"):
        score([bad], [GOOD])
    with pytest.raises(ValueError, match=r"y_pred holds the value -7"):
        score(GOOD, bad)


def test_bad_values_are_seen_beside_unknown_pixels(score):
    bad = np.full_like(GOOD, -2)
    with pytest.raises(ValueError, match="y_pred"):
        score([np.full_like(GOOD, -1)], [bad])


def test_ids_beyond_int64(score):
    bad = np.where(GOOD > 0, np.uint64(2**63 + 5), np.uint64(0))
    with pytest.raises(ValueError, match=r"y_true\[0\] holds an id above 2\*\*63 - 1"):
        score([bad], [GOOD])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_stencils(score, dtype):
    stencil = np.where(GOOD > 0, 255, 0).astype(dtype)
    if score in (dice_score, iou_score):
        # Their pixels are told apart, and more is not asked for.
        assert score([GOOD, stencil], [stencil, GOOD > 0]) == 1.0
        return
    message = r"y_true\[1\] is a 0/255 mask.*skimage\.measure\.label\(mask > 0\)"
    with pytest.raises(ValueError, match=message):
        score([GOOD, stencil], [GOOD, GOOD])
    stencil[0, 0] = 255 if dtype is np.uint8 else -1
    with pytest.raises(ValueError, match=r"y_pred\[0\] is a 0/255 mask"):
        score([GOOD], [stencil])


def test_one_blob_of_bytes_is_a_stencil(score):
    blob = np.where(GOOD == 1, 255, 0).astype(np.uint8)
    if score in (dice_score, iou_score):
        assert score([blob], [GOOD]) == score([blob > 0], [GOOD])
        return
    with pytest.raises(ValueError, match=r"y_true\[0\] is a 0/255 mask"):
        score([blob], [GOOD])


def test_one_object_may_have_the_id_255(score):
    alone = np.where(GOOD == 1, 255, 0)
    assert is_perfect(score, [alone], [np.where(GOOD == 1, 1, 0)])
    among = np.where(GOOD == 1, 255, GOOD).astype(np.uint8)
    assert is_perfect(score, [among], [GOOD])


@pytest.mark.parametrize(
    "shape", [(), (10,), (3, 10, 12, 3), (2, 3, 10, 12, 2), (1, 1, 1, 1, 1)]
)
def test_shapes_of_arrays(score, shape):
    with pytest.raises(ValueError, match="y_true.* has shape"):
        score(np.zeros(shape, dtype=np.int32), [GOOD])


@pytest.mark.parametrize("shape", [(10,), (10, 12, 3), (10, 12, 1), (1, 2, 10, 12)])
def test_shapes_in_lists(score, shape):
    with pytest.raises(ValueError, match=r"y_pred\[0\] has shape"):
        score([GOOD], [np.zeros(shape, dtype=np.int32)])


def test_one_mask_with_classes_must_be_in_a_list(score):
    classes = np.stack([GOOD, GOOD], axis=-1)
    with pytest.raises(
        ValueError, match=r"one mask with classes, or a stack.*\[mask\]"
    ):
        score(classes, classes)
    assert is_perfect(score, [classes], [classes])


def test_masks_without_pixels(score):
    with pytest.raises(
        ValueError, match=r"y_true\[0\] has shape \(0, 5\), so no pixels"
    ):
        score([np.zeros((0, 5), int)], [np.zeros((0, 5), int)])


@pytest.mark.parametrize("path", ["mask.tif", pathlib.Path("mask.tif")])
def test_paths_of_no_file(score, path):
    message = r"y_true.*mask\.tif.*No such image file"
    for bad in (path, [path], np.array([str(path)])):
        with pytest.raises(FileNotFoundError, match=message):
            score(bad, [GOOD])
    for bad in (b"mask.tif", [b"mask.tif"]):
        with pytest.raises(TypeError, match=r"y_true.* is b'mask\.tif'; expected"):
            score(bad, [GOOD])


@pytest.mark.parametrize("bad", [None, 3, 2.5, object()])
def test_no_masks_at_all(score, bad):
    with pytest.raises(TypeError, match="y_pred is a .*expected label images"):
        score([GOOD], bad)


@pytest.mark.parametrize("average", ["weighted", "", True, 1])
@pytest.mark.parametrize("score", [*SCORES, hausdorff_distance])
def test_unknown_averages(score, average):
    with pytest.raises(ValueError, match="average must be 'macro', 'micro' or None"):
        score([GOOD], [GOOD], average=average)


@pytest.mark.parametrize("value", [0.5, -1, "warn", None, np.inf])
def test_unknown_zero_division(score, value):
    with pytest.raises(ValueError, match="zero_division must be 0.* or NaN; got"):
        score([GOOD], [GOOD], zero_division=value)


@pytest.mark.parametrize("labels", [0, -1, 1.5, "1", [1, 0], [], [2, 2], True])
def test_unknown_labels(score, labels):
    classes = np.stack([GOOD, GOOD], axis=-1)
    with pytest.raises(ValueError, match="labels"):
        score([classes], [classes], labels=labels)


def test_labels_need_classes(score):
    classes = np.stack([GOOD, GOOD], axis=-1)
    message = r"y_pred\[0\] has shape \(10, 12\), so no classes; to score `labels`"
    with pytest.raises(ValueError, match=message):
        score([classes], [GOOD], labels=1)
    with pytest.raises(ValueError, match=r"y_true has shape \(10, 12\), so no"):
        score(GOOD, GOOD, labels=[1])


def test_classes_below_minus_one(score):
    classes = np.stack([GOOD, -2 * GOOD], axis=-1)
    with pytest.raises(ValueError, match=r"y_true\[0\] holds the class -4"):
        score([classes], [classes], labels=1)
    assert is_perfect(score, [classes], [classes])


def test_regions_that_do_not_fit(score):
    inside = np.ones(GOOD.shape, dtype=bool)
    with pytest.raises(ValueError, match="regions holds 1 masks, but there are 2"):
        score([GOOD] * 2, [GOOD] * 2, regions=[inside])
    message = r"regions\[1\] has height and width \(10, 11\) but y_true\[1\] has"
    with pytest.raises(ValueError, match=message):
        score([GOOD] * 2, [GOOD] * 2, regions=[None, inside[:, :-1]])
    with pytest.raises(ValueError, match=r"regions\[0\] has dtype uint8"):
        score([GOOD], [GOOD], regions=[inside.astype(np.uint8)])
    with pytest.raises(FileNotFoundError, match=r"regions \(roi\.png\): No such"):
        score([GOOD], [GOOD], regions="roi.png")


@pytest.mark.parametrize(
    "value", [-0.1, 1.0, 5, np.nan, "half", None, [0.5, 1.0], [], [[0.5]], ["a"]]
)
def test_thresholds_out_of_range(value):
    for score in (*BY_THRESHOLD, *PANOPTIC):
        with pytest.raises(ValueError, match="iou_threshold must be at least"):
            score([GOOD], [GOOD], iou_threshold=value)


@pytest.mark.parametrize("score", PANOPTIC)
def test_panoptic_quality_needs_matches_to_be_unique(score):
    for value in (0.3, [0.5, 0.3]):
        with pytest.raises(ValueError, match="at least 0.5 and below 1, .*; got .*0.3"):
            score([GOOD], [GOOD], iou_threshold=value)
