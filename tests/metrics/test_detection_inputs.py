# SPDX-License-Identifier: BSD-3-Clause
"""What the scores of points refuse, and what they say."""

import numpy as np
import pytest

from psmlearn.metrics import (
    count_error,
    detection_f1_score,
    detection_precision_score,
    detection_recall_score,
)

POINTS = np.array([[5.0, 5.0], [20.0, 30.0]])
CLASSED = np.array([[5.0, 5.0, 1], [20.0, 30.0, 2]])
MASK = np.zeros((40, 50), dtype=np.int32)
MASK[3:8, 3:8] = 1
WITH_CLASSES = np.stack([MASK, MASK], axis=-1)


@pytest.fixture(
    params=[
        detection_precision_score,
        detection_recall_score,
        detection_f1_score,
        count_error,
    ],
    ids=lambda score: score.__name__,
)
def score(request):
    return request.param


def with_value(points, value, index=1, column=0):
    points = points.copy()
    points[index, column] = value
    return points


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (with_value(POINTS, np.nan), r"holds NaN.* its point 1 is \[nan, 30.0\]"),
        (with_value(POINTS, -np.inf, 0), "holds NaN, infinite.* its point 0"),
        (with_value(POINTS, 1e17), "huge values: its point 1"),
        (POINTS[0], r"has shape \(2,\).* go in a list: \[points\]"),
        (np.zeros((3, 4)), r"shape \(3, 4\) and dtype float64; expected points"),
        (np.zeros((3, 1)), r"shape \(3, 1\) and dtype float64; expected points"),
        (np.zeros((0, 5)), r"shape \(0, 5\) and dtype float64; expected points"),
        (np.zeros((4, 5, 2)), r"shape \(4, 5, 2\) and dtype float64; expected points"),
        (np.zeros((4, 5, 3), dtype=int), r"shape \(4, 5, 3\); expected \(height"),
        (np.zeros((0, 5), dtype=int), r"shape \(0, 5\), so no pixels"),
        (np.arange(40)[:, None] % 9 + MASK > 5, "holds one value, 1, in .* separate"),
        (np.zeros((3, 2), dtype=bool), r"shape \(3, 2\) and dtype bool; expected"),
        ((MASK * 255).astype(np.uint8), "is a 0/255 mask"),
        (MASK - 5, "holds the value -5"),
        (MASK.astype(np.uint64) * 2**63, r"holds an id above 2\*\*63 - 1"),
        ([[1, 2], [3]], "is no array: .*inhomogeneous"),
        (with_value(CLASSED, 1.5, column=2), "holds the class 1.5 .* at its point 1"),
        (with_value(CLASSED, -2, 0, column=2), "holds the class -2 .* at its point 0"),
        (5.0, r"has shape \(\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_values(score, item, message):
    fits = MASK if getattr(item, "shape", None) == MASK.shape else POINTS
    with pytest.raises(ValueError, match=r"^y_pred\[1\] .*" + message):
        score([fits, fits], [fits, item])
    with pytest.raises(ValueError, match=r"^y_true\[0\] .*" + message):
        score([item], [fits])


@pytest.mark.parametrize("item", [b"points.csv", np.array(["a"]), POINTS + 1j, None])
def test_bad_kinds(score, item):
    with pytest.raises(TypeError, match=r"^y_pred\[1\] .*expected points \(n, 2\)"):
        score([POINTS, POINTS], [POINTS, item])


@pytest.mark.parametrize("points", [b"points.csv", 5, None])
def test_no_lists(score, points):
    with pytest.raises(TypeError, match=r"^y_true is .*expected points \(n, 2\)"):
        score(points, [POINTS])


@pytest.mark.parametrize("path", ["points.csv", "mask.tif"])
def test_paths_of_no_file(score, path):
    message = r"^y_true\[0\] \((points.csv|mask.tif)\): No such"
    with pytest.raises(FileNotFoundError, match=message):
        score([path], [POINTS])


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (POINTS[0], r"y_true has shape \(2,\); expected points"),
        (WITH_CLASSES, "y_true has shape .*points of many images, or one mask with"),
        (np.zeros((2, 3, 4, 5), dtype=int), r"y_true has shape \(2, 3, 4, 5\)"),
        (POINTS.tolist(), r"y_true\[0\] has shape \(2,\).* go in a list"),
        ([], "y_true holds no images"),
        ([POINTS], "y_true holds 1 images and y_pred 0"),
    ],
)
def test_bad_containers(score, points, message):
    y_pred = [] if len(points) < 2 else [POINTS]
    with pytest.raises(ValueError, match=message):
        score(points, y_pred)


@pytest.mark.parametrize("bad", [POINTS, MASK])
def test_classes_are_missing(score, bad):
    good = CLASSED if bad is POINTS else WITH_CLASSES
    with pytest.raises(
        ValueError, match=r"y_pred\[1\] .*no classes; to score `labels`"
    ):
        score([good, good], [good, bad], labels=[1, 2])
    with pytest.raises(
        ValueError, match=r"y_true\[0\] .*no classes; to score `labels`"
    ):
        score([bad], [good], labels=1)
    # Where there are no points, no classes are missing.
    assert np.isfinite(score([np.empty((0, 2))], [[]], labels=1))


def test_bad_classes_of_masks(score):
    bad = WITH_CLASSES.copy()
    bad[4, 4, 1] = -3
    with pytest.raises(ValueError, match=r"y_pred\[0\] holds the class -3"):
        score([WITH_CLASSES], [bad], labels=1)


@pytest.mark.parametrize("labels", [0, -1, 1.5, "1", [], [1, 1], True])
def test_bad_labels(score, labels):
    with pytest.raises(ValueError, match="labels"):
        score([CLASSED], [CLASSED], labels=labels)


def test_sizes_differ(score):
    other = MASK[:, :40]
    with pytest.raises(
        ValueError, match=r"y_true\[1\] has .*\(40, 50\) but y_pred\[1\]"
    ):
        score([MASK, MASK], [MASK, other])
    region = np.ones((40, 40), dtype=bool)
    with pytest.raises(ValueError, match=r"regions\[0\] has .* but y_pred\[0\] has"):
        score([POINTS], [MASK], regions=[region])
    assert np.isfinite(score([POINTS], [POINTS], regions=[region]))


def test_bad_regions(score):
    with pytest.raises(ValueError, match=r"regions\[0\] has dtype uint8.*region > 0"):
        score([POINTS], [POINTS], regions=[np.ones((40, 50), dtype=np.uint8)])
    with pytest.raises(ValueError, match="regions holds 1 masks, but there are 2"):
        score([POINTS] * 2, [POINTS] * 2, regions=[np.ones((40, 50), dtype=bool)])


def test_bad_average(score):
    with pytest.raises(ValueError, match="average must be .* got 'binary'"):
        score([POINTS], [POINTS], average="binary")


@pytest.mark.parametrize("radius", [0, -1, np.nan, np.inf, None, "5", True, [5, 0], []])
def test_bad_radius(radius):
    with pytest.raises(ValueError, match="radius"):
        detection_f1_score([POINTS], [POINTS], radius=radius)


def test_bad_zero_division():
    with pytest.raises(ValueError, match="zero_division must be"):
        detection_f1_score([POINTS], [POINTS], zero_division=0.5)


def test_everything_is_checked_before_work_starts(monkeypatch):
    from psmlearn.metrics import _points

    def refuse(*args):
        raise AssertionError("measured before all was checked")

    monkeypatch.setattr(_points, "measure_objects", refuse)
    with pytest.raises(ValueError, match=r"y_pred\[1\] holds NaN"):
        detection_f1_score([MASK, POINTS], [MASK, with_value(POINTS, np.nan)])
