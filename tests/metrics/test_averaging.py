# SPDX-License-Identifier: BSD-3-Clause
"""Averages over images, and the checks of `labels` and `regions`."""

import pathlib

import numpy as np
import pytest

from psmlearn.io._masks import check_regions
from psmlearn.metrics._checks import check_average, check_labels
from psmlearn.metrics._scoring import average_scores

COUNTS = np.array([[1, 2], [3, 4], [0, 0], [0, 5]])


@pytest.mark.parametrize("bad", ["mean", 1, ["macro"], np.array(["macro", "micro"])])
def test_averages_that_are_not_known(bad):
    with pytest.raises(ValueError, match="average must be 'macro', 'micro' or None"):
        check_average(bad)


def test_averages_of_quotients():
    each = average_scores(COUNTS, None, 1.0)
    np.testing.assert_array_equal(each, [0.5, 0.75, 1.0, 0.0])
    macro = average_scores(COUNTS, "macro", 1.0)
    assert type(macro) is float
    assert macro == 2.25 / 4
    micro = average_scores(COUNTS.tolist(), "micro", 1.0)
    assert type(micro) is float
    assert micro == 4 / 11


def test_nan_is_left_out_of_the_mean():
    each = average_scores(COUNTS, None, np.nan)
    np.testing.assert_array_equal(each, [0.5, 0.75, np.nan, 0.0])
    assert average_scores(COUNTS, "macro", np.nan) == 1.25 / 3
    assert np.isnan(average_scores([[0, 0]], "macro", np.nan))
    assert np.isnan(average_scores([[0, 0], [0, 0]], "micro", np.nan))
    assert average_scores([[0, 0]], "micro", 0.0) == 0.0


def test_further_axes_stay():
    counts = np.stack([np.stack([COUNTS, 2 * COUNTS, COUNTS[::-1]], 1)] * 5, 2)
    assert counts.shape == (4, 3, 5, 2)
    each = average_scores(counts, None, np.nan)
    assert each.shape == (4, 3, 5)
    np.testing.assert_array_equal(each[:, 2, 4], [0.0, np.nan, 0.75, 0.5])
    for average in ("macro", "micro"):
        score = average_scores(counts, average, np.nan)
        assert score.shape == (3, 5)
        assert score[1, 3] == average_scores(COUNTS, average, np.nan)


def test_combine_works_on_pooled_counts():
    def largest(counts):
        return np.stack([counts.max(axis=-1), np.ones(counts.shape[:-1])], axis=-1)

    counts = [[1, 2, 3], [5, 0, 1]]
    np.testing.assert_array_equal(average_scores(counts, None, 0.0, largest), [3, 5])
    assert average_scores(counts, "macro", 0.0, largest) == 4
    assert average_scores(counts, "micro", 0.0, largest) == 6


def test_labels():
    assert check_labels(None) == (None, True)
    for one in (3, np.int8(3), np.array(3)):
        assert check_labels(one) == ([3], True)
    for several in ([2, 1], (2, 1), np.array([2, 1], dtype=np.uint8)):
        classes, is_scalar = check_labels(several)
        assert (classes, is_scalar) == ([2, 1], False)
        assert all(type(label) is int for label in classes)
    assert check_labels(range(1, 3)) == ([1, 2], False)
    assert check_labels([4]) == ([4], False)


@pytest.mark.parametrize("bad", [0, -1, 1.0, True, "1", b"1", [1, 0], [1.5], "all"])
def test_labels_that_are_no_classes(bad):
    with pytest.raises(ValueError, match="labels must be a class, an integer from 1"):
        check_labels(bad)


def test_sequences_of_labels_that_make_no_sense():
    with pytest.raises(ValueError, match="labels is empty"):
        check_labels([])
    with pytest.raises(ValueError, match=r"labels holds a class twice: \[1, 2, 1\]"):
        check_labels([1, 2, 1])


def test_regions():
    inside = np.zeros((3, 4), dtype=bool)
    shapes, names = [(3, 4), (3, 4)], ["y_true[0]", "y_true[1]"]
    assert check_regions(None, 2, shapes, names) == [None, None]
    for regions in ([inside, inside], np.stack([inside, inside]), (inside, inside)):
        first, second = check_regions(regions, 2, shapes, names)
        assert first.shape == second.shape == (3, 4)
        assert first.dtype == second.dtype == bool
    none, some = check_regions([None, inside], 2, shapes, names)
    assert none is None
    assert some is inside
    assert check_regions(inside, 1)[0] is inside
    assert check_regions([inside.tolist()], 1, shapes[:1], names)[0].shape == (3, 4)
    assert check_regions([inside, np.ones((9, 9), dtype=bool)], 2)[1].all()


def test_regions_that_do_not_fit():
    inside = np.zeros((3, 4), dtype=bool)
    with pytest.raises(ValueError, match="regions holds 1 masks, but there are 2"):
        check_regions(inside, 2)
    with pytest.raises(ValueError, match="regions holds 3 masks, but there are 2"):
        check_regions([None] * 3, 2)
    message = r"regions\[1\] has height and width \(3, 4\) but y_true\[1\] has \(4, 3\)"
    with pytest.raises(ValueError, match=message):
        check_regions([None, inside], 2, [(3, 4), (4, 3)], ["y_true[0]", "y_true[1]"])


@pytest.mark.parametrize("dtype", [np.uint8, int, float])
def test_regions_that_are_not_boolean(dtype):
    with pytest.raises(ValueError, match=r"regions\[0\] has dtype .*: use region > 0"):
        check_regions([np.full((3, 4), 255, dtype=dtype)], 1)


def test_regions_of_wrong_kinds():
    with pytest.raises(ValueError, match=r"regions has shape \(1, 3, 4, 1\)"):
        check_regions(np.zeros((1, 3, 4, 1), dtype=bool), 1)
    with pytest.raises(ValueError, match=r"regions\[0\] has shape \(3,\)"):
        check_regions([np.zeros(3, dtype=bool)], 1)
    for bad in (3, True, b"roi.png"):
        with pytest.raises(TypeError, match="expected boolean masks of shape"):
            check_regions(bad, 1)
    for bad in ("roi.png", [pathlib.Path("roi.png")]):
        with pytest.raises(FileNotFoundError, match=r"regions.*\(roi.png\): No such"):
            check_regions(bad, 1)
