# SPDX-License-Identifier: BSD-3-Clause
"""The table of nuclei, against scikit-image and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skimage.measure import regionprops_table

from psmlearn._images._stains import haematoxylin
from psmlearn.measure import nuclei_table


@pytest.fixture(scope="module")
def labels():
    """Ellipses of random places and sizes that may touch, ids with gaps."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:120, :150]
    labels = np.zeros((120, 150), dtype=np.int32)
    for number in range(1, 21):
        row, column = rng.uniform(0, 120), rng.uniform(0, 150)
        long, short = rng.uniform(5, 14), rng.uniform(3, 5)
        angle = rng.uniform(0, np.pi)
        down, right = rows - row, columns - column
        along = down * np.cos(angle) + right * np.sin(angle)
        across = right * np.cos(angle) - down * np.sin(angle)
        labels[(along / long) ** 2 + (across / short) ** 2 <= 1] = 3 * number
    return labels


def test_agrees_with_regionprops(labels):
    table = nuclei_table(labels, pixel_size=0.5)
    expected = regionprops_table(
        labels,
        properties=(
            "label",
            "centroid",
            "area",
            "equivalent_diameter_area",
            "eccentricity",
        ),
        spacing=1,
    )
    assert_array_equal(table["label"], expected["label"])
    assert_allclose(table["centroid_row"], expected["centroid-0"])
    assert_allclose(table["centroid_column"], expected["centroid-1"])
    assert_allclose(table["area"], expected["area"] * 0.25)
    diameter = expected["equivalent_diameter_area"] * 0.5
    assert_allclose(table["equivalent_diameter"], diameter)
    assert_allclose(table["eccentricity"], expected["eccentricity"], atol=1e-7)


def test_mean_stain_is_that_of_the_pixels(labels):
    image = np.random.default_rng(1).random((*labels.shape, 3))
    stain = haematoxylin(image.astype(np.float32))
    table = nuclei_table(labels, image)
    expected = [stain[labels == number].mean() for number in table["label"]]
    assert_allclose(table["mean_haematoxylin"], expected, rtol=1e-5)
    eight_bit = np.rint(image * 255).astype(np.uint8)
    assert_allclose(
        nuclei_table(labels, eight_bit)["mean_haematoxylin"], expected, atol=0.01
    )


def test_further_channels_do_not_change_the_stain(labels):
    image = np.random.default_rng(2).random((*labels.shape, 3))
    stack = np.concatenate([image, np.full((*labels.shape, 1), 7.0)], axis=2)
    assert_array_equal(
        nuclei_table(labels, image)["mean_haematoxylin"],
        nuclei_table(labels, stack)["mean_haematoxylin"],
    )


def test_areas_do_not_depend_on_the_resolution(labels):
    fine = np.kron(labels, np.ones((2, 2), dtype=np.int32))
    coarse, twice = nuclei_table(labels, pixel_size=0.5), nuclei_table(fine)
    assert_allclose(twice["area"], coarse["area"])
    assert_allclose(twice["equivalent_diameter"], coarse["equivalent_diameter"])


def test_background_and_unknown_make_no_rows():
    labels = np.zeros((5, 6), dtype=np.int32)
    labels[0] = -1
    table = nuclei_table(labels, np.ones((5, 6, 3)))
    assert {column.shape for column in table.values()} == {(0,)}
    assert "mean_haematoxylin" in table


def test_one_pixel_is_a_disc():
    labels = np.zeros((5, 6), dtype=np.int32)
    labels[2, 3] = 9
    table = nuclei_table(labels, pixel_size=1.0)
    assert table["eccentricity"] == [0.0]
    assert (table["centroid_row"][0], table["centroid_column"][0]) == (2.0, 3.0)
    assert_allclose(table["equivalent_diameter"], [2 / np.sqrt(np.pi)])


def test_huge_ids_take_no_memory():
    labels = np.zeros((5, 6), dtype=np.int32)
    labels[1, 1], labels[3, 3] = 5, np.iinfo(np.int32).max
    assert_array_equal(nuclei_table(labels)["label"], [5, 2**31 - 1])


def test_classes_come_as_a_column():
    labels = np.zeros((4, 6, 2), dtype=np.int32)
    labels[:2, :2] = (1, 2)
    labels[2:, 3:] = (4, 1)
    table = nuclei_table(labels)
    assert_array_equal(table["class"], [2, 1])
    assert list(table)[:2] == ["label", "class"]


def test_inputs_are_left_alone(labels):
    image = np.random.default_rng(3).random((*labels.shape, 3)).astype(np.float32)
    frozen, picture = labels.copy(), image.copy()
    frozen.flags.writeable = picture.flags.writeable = False
    nuclei_table(frozen, picture)
    assert_array_equal(frozen, labels)
    assert_array_equal(picture, image)


@pytest.mark.parametrize("pixel_size", [0, -1.0, np.nan, np.inf])
def test_pixel_size_must_be_positive(labels, pixel_size):
    with pytest.raises(ValueError, match="pixel_size must be a positive number"):
        nuclei_table(labels, pixel_size=pixel_size)


@pytest.mark.parametrize("pixel_size", ["file", None, True])
def test_pixel_size_must_be_a_number(labels, pixel_size):
    with pytest.raises(TypeError, match="pixel_size must be a number"):
        nuclei_table(labels, pixel_size=pixel_size)


def test_sizes_must_agree(labels):
    with pytest.raises(ValueError, match="pass the image of these labels"):
        nuclei_table(labels, np.zeros((7, 7, 3)))


def test_float_labels_are_refused(labels):
    with pytest.raises(ValueError, match="labels"):
        nuclei_table(labels.astype(float))
