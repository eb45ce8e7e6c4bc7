# SPDX-License-Identifier: BSD-3-Clause
"""The labelling index: counts by hand, intervals by simulation and against SciPy."""

from __future__ import annotations

import inspect
import json
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from psmlearn.exceptions import AnnotationWarning
from psmlearn.io import write_image, write_labels, write_table
from psmlearn.measure import (
    LabellingIndex,
    allred_score,
    labelling_index,
    nuclei_table,
    stain_intensity,
)
from psmlearn.measure._intervals import (
    bootstrap_fields,
    expanded_level,
    wilson_interval,
)


def make_points(n_positive, n_negative, seed=0):
    rng = np.random.default_rng(seed)
    n = n_positive + n_negative
    classes = np.repeat([1.0, 2.0], [n_positive, n_negative])
    return np.column_stack([rng.uniform(0, 99, (n, 2)), classes])


@pytest.fixture(scope="module")
def mask():
    """Four nuclei: positive, negative, negative and of unknown class."""
    mask = np.zeros((20, 30, 2), dtype=np.int32)
    places = [(2, 2, 1), (2, 12, 2), (12, 2, 2), (12, 12, 0)]
    for number, (row, column, kind) in enumerate(places, start=3):
        mask[row : row + 4, column : column + 4] = number, kind
    return mask


def test_masks_and_points_agree(mask):
    points = np.array([[3.5, 3.5, 1], [3.5, 13.5, 2], [13.5, 3.5, 2], [13.5, 13.5, 0]])
    from_mask = labelling_index(mask, min_cells=0)
    from_points = labelling_index(points, min_cells=0)
    assert from_mask == from_points == labelling_index([mask], min_cells=0)
    assert (from_mask.n_positive, from_mask.n_negative) == (1, 2)
    assert from_mask.n_other == 1
    assert from_mask.index == pytest.approx(1 / 3)
    assert "unknown class, not counted: 1" in from_mask.warnings[0]


def test_paths_and_stacks_are_read(mask, tmp_path):
    write_labels(tmp_path / "one.tif", mask[..., 0])
    stack = np.stack([mask, mask])
    result = labelling_index(stack, min_cells=0, names=["a", "b"])
    assert result.per_image["image"] == ["a", "b"]
    assert result.n_positive == 2
    with pytest.raises(ValueError, match="a mask without classes has no index"):
        labelling_index([tmp_path / "one.tif"], min_cells=0)


def test_regions_are_read_from_files(mask, tmp_path):
    region = np.zeros(mask.shape[:2], bool)
    region[:, :10] = True
    write_labels(tmp_path / "one.tif", mask)
    write_image(tmp_path / "roi.png", region.astype(np.uint8) * 255)
    write_labels(tmp_path / "numbers.tif", region.astype(np.int32) * 2)
    files = [tmp_path / "one.tif"]
    plain = labelling_index(mask, regions=[region], min_cells=0)
    read = labelling_index(files, regions=[tmp_path / "roi.png"], min_cells=0)
    assert read.n_cells == plain.n_cells < labelling_index(mask, min_cells=0).n_cells
    assert read.per_image["image"] == ["one"] and read.per_region is None
    numbered = labelling_index(files, regions=[tmp_path / "numbers.tif"], min_cells=0)
    assert numbered.per_region["region"] == [2]


def test_classes_are_parameters(mask):
    result = labelling_index(mask, positive=2, negative=1, min_cells=0)
    assert (result.n_positive, result.n_negative) == (2, 1)


def test_a_nucleus_counts_where_its_centre_lies(mask):
    region = np.zeros((20, 30), dtype=bool)
    region[:, :4] = True  # the centre of the left nuclei is at column 3.5: beyond
    assert labelling_index(mask, regions=[region], min_cells=0).n_cells == 0
    region[:, 4] = True
    result = labelling_index(mask, regions=region, min_cells=0)
    assert (result.n_positive, result.n_negative, result.n_other) == (1, 1, 0)
    assert result.per_region is None


def test_numbered_regions_have_rows(mask):
    region = np.zeros((20, 30), dtype=np.uint8)
    region[:10], region[10:, :10], region[19, 29] = 7, 2, 9
    result = labelling_index([mask, mask], regions=[region, None], min_cells=0)
    rows = result.per_region
    assert rows["image"] == ["image 0"] * 3 + ["image 1"]
    assert rows["region"] == [2, 7, 9, 1]
    assert rows["n_positive"] == [0, 1, 0, 1]
    assert rows["n_negative"] == [1, 1, 0, 2]
    assert np.isnan(rows["index"][2]) and np.isnan(rows["low"][2])
    assert result.n_cells == 6


def test_points_beside_the_region_do_not_count():
    points = np.array([[-3, 2, 1], [2, 50, 1], [2, 2, 2]])
    with pytest.warns(AnnotationWarning, match=r"2 of 3 points of y\[0\] lie beside"):
        result = labelling_index([points], regions=[np.ones((9, 9), bool)], min_cells=0)
    assert (result.n_positive, result.n_negative) == (0, 1)


@pytest.mark.parametrize("empty", [np.zeros((8, 9, 2), np.int32), np.empty((0, 3)), []])
@pytest.mark.parametrize("unit", ["auto", "fields", "nuclei"])
def test_nothing_to_count_is_told(empty, unit):
    y = [empty] * 6
    with pytest.warns(UserWarning, match="No positive or negative nucleus"):
        result = labelling_index(y, unit=unit)
    assert np.isnan(result.index) and np.isnan(result.interval).all()
    assert result.n_cells == 0 and result.n_fields == 0
    assert "No labelling index" in str(result) and result.notice in str(result)


def test_few_nuclei_are_told_once():
    y = [make_points(3, 9)]
    with pytest.warns(UserWarning, match="Too few nuclei: 12 counted") as caught:
        result = labelling_index(y)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert any("12 counted" in text for text in result.warnings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert labelling_index(y, min_cells=12).warnings == ()


def test_unit_follows_the_number_of_fields():
    y = [make_points(10 + k, 90, seed=k) for k in range(6)]
    five = labelling_index(y[:5])
    assert five.unit == "fields" and five.method == "over 5 fields (bootstrap)"
    # A field without nuclei is none.
    four = labelling_index([*y[:4], np.empty((0, 3))], min_cells=0)
    assert four.unit == "nuclei" and four.n_fields == 4
    assert any("where fields differ it is too narrow" in t for t in four.warnings)
    asked = labelling_index(y[:4], unit="fields", min_cells=0)
    assert asked.unit == "fields"
    assert any("too few to resample" in text for text in asked.warnings)
    one = labelling_index(y[:1], unit="fields", min_cells=0)
    assert one.unit == "nuclei" and "are only one" in one.warnings[0]


def test_equal_fields_do_not_give_a_width_of_zero():
    result = labelling_index([make_points(0, 100)] * 8)
    assert result.unit == "nuclei" and result.index == 0.0
    assert result.interval[0] == 0.0 and 0.003 < result.interval[1] < 0.01
    assert any("do not differ" in text for text in result.warnings)


def test_same_seed_same_interval():
    y = [make_points(k + 1, 60, seed=k) for k in range(9)]
    first, again = labelling_index(y), labelling_index(y, random_state=0)
    other = labelling_index(y, random_state=1)
    assert first.interval == again.interval != other.interval
    assert_allclose(first.interval, other.interval, atol=0.02)
    state = np.random.get_state()[1].copy()
    labelling_index(y)
    assert_array_equal(np.random.get_state()[1], state)


def test_wilson_agrees_with_scipy():
    for k, n in [(0, 5), (5, 5), (3, 40), (500, 2000)]:
        expected = stats.binomtest(k, n).proportion_ci(0.9, method="wilson")
        assert_allclose(wilson_interval(k, n, 0.9), expected, atol=1e-12)
    assert wilson_interval(0, 5, 0.9)[0] == 0.0
    assert wilson_interval(5, 5, 0.9)[1] == 1.0


def test_bootstrap_agrees_with_scipy():
    rng = np.random.default_rng(3)
    total = rng.integers(50, 300, 14)
    positive = rng.binomial(total, rng.beta(4, 12, 14))
    level = expanded_level(0.95, 14)
    has_rng = "rng" in inspect.signature(stats.bootstrap).parameters  # SciPy 1.15
    expected = stats.bootstrap(
        (positive, total),
        lambda k, n, axis: k.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=40000,
        confidence_level=level,
        method="percentile",
        **{"rng" if has_rng else "random_state": np.random.default_rng(0)},
    ).confidence_interval
    ours = bootstrap_fields(positive, total, level, 40000, np.random.RandomState(0))
    assert_allclose(ours, expected, atol=0.003)
    y = [make_points(k, n - k) for k, n in zip(positive, total, strict=True)]
    assert_allclose(labelling_index(y, n_bootstrap=40000).interval, ours, atol=1e-12)


def test_expanded_level_widens_to_student():
    assert expanded_level(0.95, 5) > expanded_level(0.95, 20) > 0.95
    assert expanded_level(0.95, 100000) == pytest.approx(0.95, abs=1e-4)
    # By hand: t(4) at 97.5 % is 2.776, times the square root of 5/4 is 3.104.
    by_hand = 2 * stats.norm.cdf(3.104) - 1
    assert expanded_level(0.95, 5) == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize(
    ("n_fields", "share"),
    [(8, 0.3), (12, 0.25), pytest.param(30, 0.08, marks=pytest.mark.slow)],
)
def test_interval_covers_the_truth(n_fields, share):
    """Beta-binomial fields, correlation 0.05: the nominal 95 % hold."""
    rng, resampling = np.random.default_rng(5), np.random.RandomState(5)
    level, n_repeats, within = expanded_level(0.95, n_fields), 500, 0
    n_wilson = 0
    for _ in range(n_repeats):
        total = 1 + rng.poisson(rng.gamma(4, 35, n_fields))
        positive = rng.binomial(total, rng.beta(share * 19, (1 - share) * 19, n_fields))
        low, high = bootstrap_fields(positive, total, level, 1000, resampling)
        within += low <= share <= high
        low, high = wilson_interval(positive.sum(), total.sum(), 0.95)
        n_wilson += low <= share <= high
    assert 0.90 <= within / n_repeats <= 0.98
    assert n_wilson / n_repeats < 0.7  # nuclei of one field are not independent


def test_interval_over_nuclei_covers_where_fields_are_alike():
    rng = np.random.default_rng(6)
    positive = rng.binomial(600, 0.15, 2000)
    low, high = wilson_interval(positive, 600, 0.95)
    assert 0.935 < np.mean((low <= 0.15) & (0.15 <= high)) < 0.965


def test_intensity_adds_scores():
    image = np.ones((20, 30, 3))
    mask = np.zeros((20, 30, 2), dtype=np.int32)
    for number, amount in enumerate([0.7, 0.5, 0.0], start=1):
        spot = slice(8 * number - 6, 8 * number - 2)
        mask[3:7, spot] = number, 1 if amount else 2
        image[3:7, spot] = 10 ** (-amount * np.array([0.27, 0.57, 0.78]))
    intensity = stain_intensity([image], [mask])
    result = labelling_index([mask], intensity=intensity, min_cells=0)
    assert result.h_score == pytest.approx((300 + 200) / 3)
    assert result.allred_score == 7.0  # 4 for two thirds, 3 for a mean grade of 2.5
    assert result.per_image["allred_score"] == [7.0]
    assert "H-score 167 of 300, Allred 7 of 8" in str(result)
    region = np.zeros((20, 30), dtype=bool)
    region[:, :9] = True
    inside = labelling_index([mask], intensity=intensity, regions=[region], min_cells=0)
    assert inside.h_score == pytest.approx(300.0)
    with pytest.raises(ValueError, match="holds 2 values, but y.0. holds 3 nuclei"):
        labelling_index([mask], intensity=[intensity[0][:2]], min_cells=0)


def test_each_region_has_scores_of_its_own():
    points = np.array([[2, 2, 1], [2, 4, 2], [2, 6, 0], [2, 22, 1], [2, 24, 1]])
    intensity = [np.array([0.7, 0.1, 0.9, 0.5, 0.3]), np.array([0.45])]
    region = np.zeros((9, 40), np.uint8)
    region[:, :15], region[:, 15:30], region[:, 30:] = 1, 2, 5
    result = labelling_index(
        [points, np.array([[1.0, 1.0, 1]])],
        regions=[region, np.ones((9, 9), np.uint8)],
        intensity=intensity,
        min_cells=0,
    )
    rows = result.per_region
    # The nucleus of unknown class, as brown as it is, does not count.
    assert_array_equal(rows["h_score"], [150.0, 150.0, np.nan, 200.0])
    expected = [
        allred_score([v]) if v else np.nan for v in ([0.7, 0.1], [0.5, 0.3], [], [0.45])
    ]
    assert_array_equal(rows["allred_score"], expected)
    assert result.table["h_score"][2:6] == rows["h_score"]
    # Nuclei outside of a region have left the intensities, too.
    region[:, :15] = 0
    cut = labelling_index(
        points, regions=[region], intensity=intensity[:1], min_cells=0
    )
    assert cut.per_region["h_score"][0] == 150.0 == cut.h_score
    plain = labelling_index(points, regions=[region], min_cells=0)
    assert "h_score" not in plain.per_region and "h_score" not in plain.table


def test_each_row_has_its_own_warnings(tmp_path):
    many, few = make_points(20, 40), make_points(1, 4)
    few[0, 2] = 7
    region = np.ones((100, 100), np.uint8)
    region[50:] = 2
    many[:, 0] = np.where(np.arange(60) < 50, 20, 80)
    result = labelling_index(
        [many, few, np.empty((0, 3))], regions=[region, None, None], min_cells=30
    )
    none = "No positive or negative nucleus was found: there is no index."
    other = "Nuclei of other or unknown class, not counted: 1."
    too_few = "Too few nuclei: {} counted, at least 30 expected."
    assert result.per_image["warnings"] == ["", f"{too_few.format(4)} {other}", none]
    assert result.per_region["warnings"] == [
        *("", too_few.format(10)),
        *(f"{too_few.format(4)} {other}", none),
    ]
    table = result.table
    rows = result.per_image["warnings"] + result.per_region["warnings"]
    assert table["warnings"] == [*rows, " ".join(result.warnings)]
    assert "over nuclei (2 fields)" in table["warnings"][-1]
    write_table(tmp_path / "index.csv", table)
    assert "Too few nuclei: 10 counted" in (tmp_path / "index.csv").read_text()


def test_an_index_of_nothing_is_valid_json():
    result = labelling_index([np.empty((0, 3))], intensity=[[]], min_cells=0)
    told = result.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["index"] is None and told["interval"] == [None, None]
    assert told["per_image"]["h_score"] == [None]


def test_result_is_plain_and_carries_the_notice(tmp_path):
    y = [make_points(5 + k, 60, seed=k) for k in range(14)]
    names = [f"case <{k}>" for k in range(14)]
    result = labelling_index(y, names=names)
    assert isinstance(result, LabellingIndex)
    assert "pathologist counts tumour cells" in result.notice
    assert "research use only" in result.notice
    for shown in (str(result), repr(result), result._repr_html_()):
        assert result.notice in shown
    assert "case <0>" in str(result) and "and 2 more rows" in str(result)
    assert "case &lt;0&gt;" in result._repr_html_()
    assert json.loads(json.dumps(result.to_dict()))["notice"] == result.notice
    assert result.to_dict()["n_cells"] == result.n_positive + result.n_negative
    with pytest.raises(AttributeError):
        result.index = 0.5
    write_table(tmp_path / "index.csv", result.table)
    lines = (tmp_path / "index.csv").read_text().splitlines()
    assert len(lines) == 16 and lines[-1].startswith("all,")
    assert all("research use only" in line for line in lines[1:])


@pytest.mark.parametrize(
    ("y", "options", "error", "message"),
    [
        ([], {}, ValueError, "y holds no images"),
        (3, {}, TypeError, "y is a int"),
        ([np.zeros((5, 2))], {}, ValueError, "points .n, 3. of row, column and class"),
        ([np.zeros((9, 9), int)], {}, ValueError, "mask without classes"),
        ([np.array([[1, 2, 0.5]])], {}, ValueError, "class 0.5 in the third column"),
        ([np.array([[np.nan, 2, 1]])], {}, ValueError, "NaN"),
        (None, {"positive": 2}, ValueError, "both class 2"),
        (None, {"negative": 0}, ValueError, "negative must be a class from 1 on"),
        (None, {"unit": "cells"}, ValueError, "'auto', 'fields' or 'nuclei'"),
        (None, {"confidence_level": 95}, ValueError, "above 0 and below 1"),
        (None, {"n_bootstrap": 0}, ValueError, "n_bootstrap must be a whole number"),
        (None, {"min_cells": -1}, ValueError, "min_cells must be a whole number"),
        (None, {"names": ["a"]}, ValueError, "1 names, but there are 2 images"),
        (None, {"regions": [None]}, ValueError, "regions holds 1 masks"),
        (None, {"regions": [None, np.ones(3)]}, ValueError, "expected a boolean mask"),
    ],
)
def test_bad_input_is_told(y, options, error, message):
    y = [make_points(3, 5)] * 2 if y is None else y
    with pytest.raises(error, match=message):
        labelling_index(y, **{"min_cells": 0, **options})


def test_tables_of_nuclei_need_no_images(tmp_path, mask):
    table = nuclei_table(mask)
    write_table(tmp_path / "nuclei.csv", table)
    expected = labelling_index([mask], min_cells=0).to_dict()
    for y in (table, [table], [tmp_path / "nuclei.csv"]):
        told = labelling_index(y, min_cells=0, names=["image 0"]).to_dict()
        assert told == expected
    lost = {name: table[name] for name in table if name != "class"}
    with pytest.raises(
        ValueError, match=r"y\[1\] is a table without .* 'class'; it has"
    ):
        labelling_index([table, lost], min_cells=0)
    with pytest.raises(ValueError, match=r"have the shapes \[\(4,\), \(4,\), \(0,\)\]"):
        labelling_index({**table, "class": []}, min_cells=0)


def test_region_of_another_size_is_told(mask):
    with pytest.raises(ValueError, match="expected one size"):
        labelling_index([mask], regions=[np.ones((4, 4), bool)], min_cells=0)
