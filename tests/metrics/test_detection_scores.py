# SPDX-License-Identifier: BSD-3-Clause
"""Detection scores: brute force, classes, regions, averages, masks as points."""

import detection_oracle as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psmlearn._images._instances import centroids
from psmlearn.metrics import (
    count_error,
    detection_f1_score,
    detection_precision_score,
    detection_recall_score,
)

SCORES = (detection_precision_score, detection_recall_score, detection_f1_score)
ROWS = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 3))
IMAGES = st.lists(st.tuples(*[st.lists(ROWS, max_size=4)] * 2), min_size=1, max_size=3)

TRUE = [[[5, 5, 1], [5, 20, 2], [30, 30, 2]], [[9, 9, 1]], np.empty((0, 3))]
PRED = [[[5, 8, 1], [5, 21, 1], [50, 50, 2]], [[9, 9, 1], [9, 12, 1]], []]


def squares(shape, boxes, dtype=np.int32):
    """Draw boxes (top, left, bottom, right, class) as a mask with classes."""
    mask = np.zeros((*shape, 2), dtype=dtype)
    for number, (top, left, bottom, right, label) in enumerate(boxes, start=1):
        mask[top:bottom, left:right] = number, label
    return mask


def as_images(images, side):
    return [np.array(image[side], dtype=float).reshape(-1, 3) for image in images]


@settings(max_examples=40, deadline=None)
@given(images=IMAGES, radius=st.sampled_from([1.0, 2.5, 4.0]))
def test_scores_equal_brute_force(images, radius):
    true, pred = as_images(images, 0), as_images(images, 1)
    expected = [oracle.scores(*image, radius) for image in images]
    for index, score in enumerate(SCORES):
        found = score(true, pred, radius=radius, average=None)
        assert found.tolist() == [each[index] for each in expected]
        macro = score(true, pred, radius=radius)
        assert isinstance(macro, float)
        assert macro == pytest.approx(found.mean())


@settings(max_examples=40, deadline=None)
@given(images=IMAGES)
def test_scores_of_classes_are_those_of_their_points(images):
    true, pred = as_images(images, 0), as_images(images, 1)
    for score in SCORES:
        found = score(true, pred, radius=3, labels=[3, 1], average=None)
        assert found.shape == (len(images), 2)
        for column, label in enumerate([3, 1]):
            alone = [[p[p[:, 2] == label] for p in side] for side in (true, pred)]
            expected = score(*alone, radius=3, average=None)
            np.testing.assert_array_equal(found[:, column], expected)
            one = score(true, pred, radius=3, labels=label, average=None)
            np.testing.assert_array_equal(one, expected)


@settings(max_examples=40, deadline=None)
@given(images=IMAGES, shift=st.integers(-1000, 1000))
def test_scores_do_not_depend_on_order_place_or_side(images, shift):
    true, pred = as_images(images, 0), as_images(images, 1)
    f1 = detection_f1_score(true, pred, radius=3, average=None)
    np.testing.assert_array_equal(
        detection_f1_score(pred, true, radius=3, average=None), f1
    )
    moved = [[p[::-1] + [shift, -shift, 0] for p in side] for side in (true, pred)]
    np.testing.assert_array_equal(
        detection_f1_score(*moved, radius=3, average=None), f1
    )
    np.testing.assert_array_equal(
        detection_recall_score(true, pred, average=None),
        detection_precision_score(pred, true, average=None),
    )


def test_averages():
    kwargs = {"radius": 4}
    f1 = detection_f1_score(TRUE, PRED, average=None, **kwargs)
    np.testing.assert_allclose(f1, [4 / 6, 2 / 3, 1.0])
    assert detection_f1_score(TRUE, PRED, **kwargs) == pytest.approx(7 / 9)
    assert detection_f1_score(TRUE, PRED, average="micro", **kwargs) == 6 / 9
    precision = detection_precision_score(TRUE, PRED, average="micro", **kwargs)
    recall = detection_recall_score(TRUE, PRED, average="micro", **kwargs)
    assert (precision, recall) == (3 / 5, 3 / 4)


def test_zero_division():
    for score in SCORES:
        scores = score(TRUE, PRED, average=None, zero_division=np.nan)
        assert np.isnan(scores).tolist() == [False, False, True]
        assert score(TRUE, PRED, zero_division=np.nan) == scores[:2].mean()
        assert score(TRUE, PRED, average=None, zero_division=0)[2] == 0
        assert np.isnan(score([[]], [[]], zero_division=np.nan))
    some, none = [[1.0, 1.0]], []
    for value in (0.0, 1.0, np.nan):
        for score in SCORES:
            assert score([some], [none], zero_division=value) == 0.0
            assert score([none], [some], zero_division=value) == 0.0
    # Pooled, such images add to no denominator but their own.
    pooled = {"average": "micro"}
    assert detection_precision_score([some, some], [some, none], **pooled) == 1.0
    assert detection_recall_score([some, none], [some, some], **pooled) == 1.0
    assert detection_precision_score([some], [none], **pooled) == 0.0


def test_a_wrong_class_is_a_miss_and_a_false_alarm():
    true, pred = [[[5, 5, 1]]], [[[5, 5, 2]]]
    assert detection_f1_score(true, pred) == 1.0
    assert detection_f1_score(true, pred, labels=[1, 2]).tolist() == [0.0, 0.0]
    recall = detection_recall_score(true, pred, labels=[1, 2], zero_division=np.nan)
    np.testing.assert_array_equal(recall, [0.0, 0.0])
    recall = detection_recall_score(true, pred, labels=[1, 3], zero_division=np.nan)
    np.testing.assert_array_equal(recall, [0.0, np.nan])


def test_shapes_with_radii_and_labels():
    radii, labels = [1, 3.5, 10], [1, 2]
    found = detection_f1_score(TRUE, PRED, radius=radii, labels=labels, average=None)
    assert found.shape == (3, 3, 2)
    for row, radius in enumerate(radii):
        one = detection_f1_score(TRUE, PRED, radius=radius, labels=2, average=None)
        np.testing.assert_array_equal(found[:, row, 1], one)
    found = detection_f1_score(TRUE, PRED, radius=radii, labels=labels)
    assert found.shape == (3, 2)
    assert detection_f1_score(TRUE, PRED, radius=radii, labels=2).shape == (3,)
    assert detection_f1_score(TRUE, PRED, radius=[4]).shape == (1,)
    assert detection_f1_score(TRUE, PRED, radius=4, labels=[2]).shape == (1,)
    assert isinstance(detection_f1_score(TRUE, PRED, radius=4, labels=2), float)


@pytest.mark.filterwarnings("ignore:.* lie beside:UserWarning")  # as is told elsewhere
def test_regions():
    region = np.zeros((20, 30), dtype=bool)
    region[:10, :12] = True
    true = np.array([[9.4, 11.4], [9.6, 3.0], [3.0, 11.6], [100.0, 5.0], [-3.0, 5.0]])
    pred = np.array([[9.0, 11.0], [10.0, 3.0], [-0.4, -0.4]])
    # Two points are inside, one of them a false alarm: the rest do not count.
    assert detection_f1_score(true, pred, radius=2, regions=region) == 2 / 3
    assert detection_recall_score(true, pred, radius=2, regions=region) == 1.0
    assert detection_precision_score([true], [pred], radius=2, regions=[region]) == 0.5
    assert detection_f1_score([true], [pred], radius=2, regions=[None]) == 0.5
    both = detection_f1_score(
        [true, true], [pred, pred], radius=2, regions=[None, region], average=None
    )
    assert both.tolist() == [0.5, 2 / 3]
    empty = np.zeros_like(region)
    assert detection_f1_score(true, pred, regions=empty, zero_division=0) == 0


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.uint16, np.int64])
def test_masks_are_their_centres_and_commonest_classes(dtype):
    rng = np.random.default_rng(0)
    places = rng.permutation(64)[:40]
    corners = np.column_stack(np.divmod(places, 8)) * 10
    true_boxes = [(r, c, r + 6, c + 5, 1 + (r + c) % 3) for r, c in corners[:30]]
    pred_boxes = [(r, c, r + 4, c + 7, 1 + (r * c) % 3) for r, c in corners[10:]]
    true = squares((80, 80), true_boxes, dtype)
    pred = squares((80, 80), pred_boxes, dtype)
    # A few pixels of another class do not change that of the object.
    true[:2][true[:2, ..., 0] > 0, 1] = 2
    points = [
        np.column_stack([centroids(mask[..., 0]), [box[4] for box in boxes]])
        for mask, boxes in ((true, true_boxes), (pred, pred_boxes))
    ]
    region = rng.random((80, 80)) > 0.3
    for kwargs in (
        {},
        {"radius": [1, 2, 8]},
        {"labels": [1, 2, 3], "average": None},
        {"regions": [region], "labels": 2},
    ):
        for score in SCORES:
            expected = score([points[0]], [points[1]], **kwargs)
            assert np.all(score([true], [pred], **kwargs) == expected)
            assert np.all(score([true], [points[1]], **kwargs) == expected)
            assert np.all(score([points[0]], [pred], **kwargs) == expected)
    assert detection_f1_score(true[..., 0], pred[..., 0]) == detection_f1_score(*points)


def test_stacks_of_masks_and_of_points():
    true = squares((20, 20), [(0, 0, 4, 4, 1), (10, 10, 14, 14, 2)])
    pred = squares((20, 20), [(0, 0, 4, 4, 1)])
    stacks = np.stack([true, pred]), np.stack([pred, pred])
    expected = [2 / 3, 1.0]
    for planes in (stacks, [stack[..., 0] for stack in stacks]):
        found = detection_f1_score(*planes, average=None)
        np.testing.assert_allclose(found, expected)
    points = np.array([[[1.5, 1.5], [11.5, 11.5]], [[1.5, 1.5], [1.5, 1.5]]])
    assert detection_f1_score(points, points) == 1.0
    assert detection_f1_score(points, list(points[::-1]), average=None).shape == (2,)


def test_unknown_pixels():
    true = squares((20, 30), [(0, 0, 4, 4, 1), (10, 10, 14, 14, 1)])
    pred = squares((20, 30), [(0, 0, 4, 4, 1), (0, 20, 4, 24, 1)])
    assert detection_f1_score([true], [pred]) == 0.5
    true[:8, 15:, 0] = -1
    assert detection_precision_score([true], [pred]) == 1.0
    assert detection_precision_score([true], [[[2, 22], [2, 2]]]) == 1.0
    pred[9:15, 9:15, 0] = -1
    assert detection_f1_score([true], [pred]) == 1.0
    # Unknown classes matter for classes only; unsigned classes have none.
    pred[:4, :4, 1] = -1
    assert detection_f1_score([true], [pred]) == 1.0
    assert detection_f1_score([true], [pred], labels=1, zero_division=0) == 0.0
    assert count_error([true], [pred], labels=1) == 0.0
    # Of the pixels whose class is known, two are of class 2 and one of class 3.
    pred = squares((20, 30), [(0, 0, 3, 3, -1)])
    pred[1, 0, 1], pred[2, :2, 1], pred[1, 1, 1] = 3, 2, 0
    assert count_error([[[1, 1, 2]]], [pred], labels=[2, 3]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float32, np.float16, list])
def test_kinds_of_points(kind):
    true, pred = np.array([[200, 100], [3, 250]]), np.array([[206, 108], [4, 240]])
    if kind is list:
        given_true, given_pred = [true.tolist()], [pred.tolist()]
    else:
        given_true, given_pred = [true.astype(kind)], [pred.astype(kind)]
        given_true[0].flags.writeable = given_pred[0].flags.writeable = False
    assert detection_f1_score(given_true, given_pred) == 0.5
    assert detection_f1_score(given_true, given_pred, radius=10.1) == 1.0


def test_masks_are_not_written_to_and_may_be_views():
    mask = squares((40, 40), [(0, 0, 8, 8, 1), (20, 20, 30, 38, 2)])
    mask.flags.writeable = False
    assert detection_f1_score([mask[::2, ::-1]], [mask[::2, ::-1]], labels=2) == 1.0
    assert detection_f1_score(mask[..., 0].T, mask[..., 0].T) == 1.0


def test_huge_coordinates_and_radii():
    far = 2.0**52
    points = np.array([[far, -far], [-far, far], [0, 0]])
    moved = points + [[3, 4]]
    assert detection_f1_score(points, moved, radius=5) == 1.0
    assert detection_f1_score(points, moved, radius=4) == 0.0
    assert detection_f1_score(points, points[::-1], radius=1e300) == 1.0
    assert detection_f1_score(points, points, radius=1e-300) == 1.0
