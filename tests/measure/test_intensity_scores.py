# SPDX-License-Identifier: BSD-3-Clause
"""Stain intensity of nuclei, H-score and Allred score."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psmlearn._images._stains import stain_amounts
from psmlearn.exceptions import AnnotationWarning
from psmlearn.measure import allred_score, h_score, nuclei_table, stain_intensity

DAB = np.array([0.27, 0.57, 0.78])
BLUE = np.array([0.65, 0.70, 0.29])


@pytest.fixture(scope="module")
def scene():
    """Nuclei of known amounts of brown over blue, on paper."""
    amounts = np.array([0.0, 0.25, 0.5, 0.9])
    image = np.ones((20, 60, 3))
    labels = np.zeros((20, 60), dtype=np.int32)
    for number, amount in enumerate(amounts):
        spot = slice(14 * number + 2, 14 * number + 12)
        labels[5:15, spot] = 2 * number + 1
        image[5:15, spot] = 10 ** -(amount * DAB + 0.2 * BLUE)
    return image, labels, amounts


def test_amounts_are_those_put_in(scene):
    image, labels, amounts = scene
    (values,) = stain_intensity([image], [labels])
    assert_allclose(values, amounts * np.linalg.norm(DAB), atol=1e-5)
    (blue,) = stain_intensity(
        [image], [labels], stain="haematoxylin", counterstain="dab"
    )
    assert_allclose(blue, 0.2 * np.linalg.norm(BLUE), atol=1e-5)
    (given,) = stain_intensity([image], [labels], stain=tuple(DAB))
    assert_allclose(given, values, atol=1e-5)


def test_points_take_a_disc(scene):
    image, labels, amounts = scene
    table = nuclei_table(labels)
    points = np.column_stack([table["centroid_row"], table["centroid_column"]])
    (values,) = stain_intensity([image], [points], radius=3)
    assert_allclose(values, amounts * np.linalg.norm(DAB), atol=1e-5)
    edge = np.array([[0.0, 0.0, 1], [-50.0, 3.0, 2]])
    with pytest.warns(AnnotationWarning, match=r"y\[0\] lie beside its image"):
        (values,) = stain_intensity([image], [edge], radius=0.1)
    assert values[0] == 0.0 and np.isnan(values[1])
    with pytest.raises(ValueError, match="give the radius"):
        stain_intensity([image], [points])


def test_disc_is_the_mean_of_its_pixels():
    rng = np.random.default_rng(0)
    image = rng.random((40, 50, 3)).astype(np.float32)
    points = rng.uniform(-0.4, 39, (30, 2))
    amount = stain_amounts(image, ["dab", "haematoxylin"])[..., 0]
    rows, columns = np.mgrid[:40, :50]
    expected = [
        amount[np.hypot(rows - r, columns - c) <= 4.3].mean() for r, c in points
    ]
    (values,) = stain_intensity([image], [points], radius=4.3)
    assert_allclose(values, expected, rtol=1e-5)


def test_outside_of_the_region_is_nan(scene):
    image, labels, _ = scene
    region = np.zeros(labels.shape, dtype=bool)
    region[:, :28] = True
    (values,) = stain_intensity([image], [labels], regions=[region])
    assert_array_equal(np.isnan(values), [False, False, True, True])
    assert h_score([values]) == 50.0


def test_grey_images_give_their_density():
    image = np.full((8, 8), 0.1)
    labels = np.ones((8, 8), dtype=np.int32)
    assert_allclose(stain_intensity([image], [labels])[0], [1.0], rtol=1e-6)


def test_empty_images_give_no_values():
    image = np.zeros((2, 9, 9, 3), dtype=np.uint8)
    y = [np.zeros((9, 9), dtype=np.int32), np.empty((0, 3))]
    first, second = stain_intensity(image, y, radius=2)
    assert first.shape == second.shape == (0,)
    assert np.isnan(h_score([first, second])) and np.isnan(allred_score([first]))
    assert np.isnan(h_score([first, second], average=None)).tolist() == [True, True]
    assert np.isnan(h_score([]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": []}, "y holds no images"),
        ({"y": [np.zeros((9, 9), int)] * 2}, "2 masks or sets of points"),
        ({"y": [np.zeros((4, 9), int)]}, "expected one size"),
        ({"regions": [np.ones((4, 9), bool)]}, "expected one size"),
        ({"stain": "brown"}, "not known"),
        ({"counterstain": "dab"}, "told apart"),
        ({"radius": 0}, "radius must be a number above 0"),
    ],
)
def test_bad_input_is_told(options, message):
    given = {"y": [np.zeros((9, 9), dtype=np.int32)]}
    with pytest.raises(ValueError, match=message):
        stain_intensity([np.ones((9, 9, 3))], **{**given, **options})


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((100, 0, 0, 0), 0.0),
        ((0, 100, 0, 0), 100.0),
        ((0, 0, 0, 100), 300.0),
        ((25, 25, 25, 25), 150.0),
        ((50, 30, 15, 5), 75.0),
    ],
)
def test_h_score_by_hand(shares, expected):
    intensity = np.repeat([0.0, 0.2, 0.4, 0.6], shares)  # on the thresholds: stained
    assert h_score(intensity) == expected


@pytest.mark.parametrize(
    ("n_stained", "n_all", "proportion"),
    [
        (1, 101, 1),
        (1, 100, 2),
        (10, 100, 2),
        (11, 100, 3),
        (1, 3, 3),
        (34, 100, 4),
        (2, 3, 4),
        (67, 100, 5),
        (100, 100, 5),
    ],
)
def test_allred_proportion_by_hand(n_stained, n_all, proportion):
    intensity = np.repeat([0.3, 0.0], [n_stained, n_all - n_stained])
    assert allred_score(intensity) == proportion + 1


@pytest.mark.parametrize(
    ("counts", "intensity"), [((3, 2, 0), 1), ((1, 1, 0), 2), ((0, 1, 1), 3)]
)
def test_allred_intensity_is_the_mean_grade(counts, intensity):
    values = np.repeat([0.2, 0.4, 0.6], counts)
    assert allred_score(values) == 5 + intensity


def test_images_are_scored_together_or_one_by_one():
    intensity = [[0.0, 0.1], [0.7, 0.8], []]
    assert h_score(intensity) == 150.0
    assert_array_equal(h_score(intensity, average=None), [0.0, 300.0, np.nan])
    assert allred_score(intensity) == 4 + 3
    assert_array_equal(allred_score(intensity, average=None), [0.0, 8.0, np.nan])
    assert h_score([0.7, np.nan]) == h_score(np.array([0.7])) == 300.0
    assert h_score([[0.5]], thresholds=(0.6, 0.7, 0.8)) == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thresholds": (0.4, 0.2, 0.6)}, "three rising numbers"),
        ({"thresholds": (0.4, 0.6)}, "three rising numbers"),
        ({"average": "macro"}, "'micro' or None"),
    ],
)
def test_bad_parameters_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        h_score([0.3], **options)
    with pytest.raises(ValueError, match=message):
        allred_score([0.3], **options)


def test_infinite_intensity_is_told():
    with pytest.raises(ValueError, match="finite numbers"):
        h_score([[0.3, np.inf]])


def test_table_has_both_stains_and_a_region(scene):
    image, labels, amounts = scene
    table = nuclei_table(labels, image, stains=("haematoxylin", "dab"))
    assert_allclose(table["mean_dab_od"], amounts * np.linalg.norm(DAB), atol=1e-5)
    assert_allclose(
        table["mean_haematoxylin_od"], 0.2 * np.linalg.norm(BLUE), atol=1e-5
    )
    region = np.zeros(labels.shape, dtype=np.uint8)
    region[:, :28], region[:, 42:] = 1, 5
    inside = nuclei_table(labels, image, region=region)
    assert_array_equal(inside["label"], [1, 3, 7])
    assert_array_equal(inside["region"], [1, 1, 5])
    assert "region" not in nuclei_table(labels, region=region > 0)
    with pytest.raises(ValueError, match="pass the region of these labels"):
        nuclei_table(labels, region=region[:4] > 0)
    for stains in ("dab", ("dab", "brown")):
        with pytest.raises(ValueError, match="stains must be haematoxylin"):
            nuclei_table(labels, image, stains=stains)
