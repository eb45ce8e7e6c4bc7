# SPDX-License-Identifier: BSD-3-Clause
"""The table of nuclei, against scikit-image and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skimage.measure import regionprops_table

from psmlearn._images import _morphometry
from psmlearn._images._stains import haematoxylin
from psmlearn.measure import _objects, nuclei_table


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


# scikit-image's names, and ours with the power of the pixel size that they scale by.
PROPERTIES = {
    "label": ("label", 0),
    "centroid-0": ("centroid_row", 0),
    "centroid-1": ("centroid_column", 0),
    "bbox-0": ("bbox_min_row", 0),
    "bbox-1": ("bbox_min_column", 0),
    "bbox-2": ("bbox_max_row", 0),
    "bbox-3": ("bbox_max_column", 0),
    "area": ("area_um2", 2),
    "perimeter": ("perimeter_um", 1),
    "equivalent_diameter_area": ("equivalent_diameter_um", 1),
    "axis_major_length": ("major_axis_um", 1),
    "axis_minor_length": ("minor_axis_um", 1),
    "eccentricity": ("eccentricity", 0),
    "solidity": ("solidity", 0),
}


def check_against_regionprops(labels, pixel_size=1.0):
    table = nuclei_table(labels, pixel_size=pixel_size)
    asked = {name.split("-")[0] for name in PROPERTIES}
    expected = regionprops_table(np.maximum(labels, 0), properties=sorted(asked))
    assert set(expected) == set(PROPERTIES)
    for name, (own, power) in PROPERTIES.items():
        # Differences of rounding alone; of a disc's eccentricity they are a root.
        assert_allclose(
            table[own],
            expected[name] * pixel_size**power,
            rtol=1e-9,
            atol=2e-6 if own in ("eccentricity", "minor_axis_um") else 1e-9,
            err_msg=own,
        )


def test_agrees_with_regionprops(labels):
    check_against_regionprops(labels, 0.5)


def test_agrees_with_regionprops_on_shapes():
    """Rims that a hull touches in many points, or in few."""
    rows, columns = np.mgrid[-40:41, -50:51]
    radius = np.hypot(rows, columns)
    angle = np.arctan2(rows, columns)
    shapes = {
        "disc": radius < 38.3,
        "ring": (radius < 38) & (radius > 30),
        "star": radius < 20 + 15 * np.cos(7 * angle),
        "crescent": (radius < 37) & (np.hypot(rows - 9, columns - 12) > 30),
        "line": np.abs(rows * 3 - columns * 2) < 2,
        "parabola": (rows > -39) & (columns**2 < 40 * (rows + 39)) & (rows < 0),
        "spike": (np.abs(columns) < 1) | ((rows > 30) & (radius < 45)),
        "full": np.ones(rows.shape, dtype=bool),
    }
    for shape in shapes.values():
        check_against_regionprops(shape.astype(np.int32))
        check_against_regionprops(np.rot90(shape).astype(np.int32))
    several = np.hstack([n * shape for n, shape in enumerate(shapes.values(), 1)])
    check_against_regionprops(several.astype(np.int32))


def test_touching_nuclei_are_judged_alone(labels):
    table = nuclei_table(labels, pixel_size=1.0)
    for row, number in enumerate(table["label"]):
        alone = nuclei_table(np.where(labels == number, number, 0), pixel_size=1.0)
        for name, column in table.items():
            assert column[row] == alone[name][0], name


def test_shapes_that_are_known():
    labels = np.zeros((20, 30), dtype=np.int32)
    labels[2:7, 3:13] = 4  # 5 x 10: the path through its border pixels is 2 (4 + 9)
    labels[10:13, 20:23] = 9
    labels[11, 21] = 0  # a ring of 8 in a hull of 9
    table = nuclei_table(labels, pixel_size=0.5)
    assert_allclose(table["perimeter_um"], [26 * 0.5, 8 * 0.5])
    assert_allclose(table["solidity"], [1.0, 8 / 9])
    # The variance of n pixels in a row is (n^2 - 1) / 12.
    assert_allclose(table["major_axis_um"][0], 2 * np.sqrt(99 / 12))
    assert_allclose(table["minor_axis_um"][0], 2 * np.sqrt(24 / 12))
    boxes = [table[f"bbox_{end}"].tolist() for end in ("min_row", "max_column")]
    assert boxes == [[2, 10], [13, 23]]


def test_columns_come_in_their_order(labels):
    mask = np.stack([labels, np.where(labels > 0, 1, 0)], axis=2)
    table = nuclei_table(
        mask,
        np.ones((*labels.shape, 3)),
        stains=("haematoxylin", "dab"),
        region=np.full(labels.shape, 3),
        probabilities=np.ones(labels.shape),
    )
    assert list(table) == [
        *("label", "class", "centroid_row", "centroid_column"),
        *("bbox_min_row", "bbox_min_column", "bbox_max_row", "bbox_max_column"),
        *("area_um2", "perimeter_um", "equivalent_diameter_um"),
        *("major_axis_um", "minor_axis_um", "eccentricity", "solidity"),
        *("mean_haematoxylin_od", "mean_dab_od", "confidence", "region"),
    ]
    whole = {name for name, column in table.items() if column.dtype == np.int64}
    assert whole == {"label", "class", "region"} | {
        f"bbox_{end}_{axis}" for end in ("min", "max") for axis in ("row", "column")
    }


def test_time_does_not_grow_with_far_pieces():
    """Objects of two pixels that lie far apart: their hulls have many rows."""
    labels = np.zeros((4000, 2000), dtype=np.int32)
    labels[[0, -1]] = np.arange(1, 2001)
    table = nuclei_table(labels, pixel_size=1.0)
    assert_allclose(table["solidity"], 2 / 4000)
    assert_allclose(table["major_axis_um"], 4 * 3999 / 2)


def test_confidence_is_the_mean_of_the_foreground(labels):
    rng = np.random.default_rng(4)
    background = rng.random(labels.shape).astype(np.float32)
    first = (1 - background) * rng.random(labels.shape).astype(np.float32)
    both = np.stack([background, first, 1 - background - first], axis=2)
    expected = [
        (1 - background[labels == number].astype(float)).mean()
        for number in np.unique(labels[labels > 0])
    ]
    for given in (both, 1 - background, both[..., [0, 2]]):
        table = nuclei_table(labels, probabilities=given)
        assert_allclose(table["confidence"], expected, rtol=1e-5)
    unknown = np.where(labels == 3, np.nan, 0.25)
    found = nuclei_table(labels, probabilities=unknown)["confidence"]
    assert np.isnan(found[0]) and (found[1:] == 0.25).all()


@pytest.mark.parametrize(
    ("probabilities", "error", "told"),
    [
        (np.zeros((7, 7)), ValueError, r"expected \(120, 150\) or \(120, 150, 'n'\)"),
        (np.zeros((120, 150, 1)), ValueError, "shape \\(120, 150, 1\\)"),
        (np.full((120, 150), 2.0), ValueError, "from 2 to 2"),
        (np.full((120, 150), -0.1), ValueError, "from -0.1"),
        (np.full((120, 150), np.inf), ValueError, "from inf to inf"),
        (np.full((120, 150), 200, np.uint8), TypeError, "dtype uint8"),
        ("proba.npy", TypeError, "probabilities"),
    ],
)
def test_what_is_no_probability_is_told(labels, probabilities, error, told):
    with pytest.raises(error, match=told):
        nuclei_table(labels, probabilities=probabilities)


def test_mean_stain_is_that_of_the_pixels(labels):
    image = np.random.default_rng(1).random((*labels.shape, 3))
    stain = haematoxylin(image.astype(np.float32))
    table = nuclei_table(labels, image)
    expected = [stain[labels == number].mean() for number in table["label"]]
    assert_allclose(table["mean_haematoxylin_od"], expected, rtol=1e-5)
    eight_bit = np.rint(image * 255).astype(np.uint8)
    assert_allclose(
        nuclei_table(labels, eight_bit)["mean_haematoxylin_od"], expected, atol=0.01
    )


def test_further_channels_do_not_change_the_stain(labels):
    image = np.random.default_rng(2).random((*labels.shape, 3))
    stack = np.concatenate([image, np.full((*labels.shape, 1), 7.0)], axis=2)
    assert_array_equal(
        nuclei_table(labels, image)["mean_haematoxylin_od"],
        nuclei_table(labels, stack)["mean_haematoxylin_od"],
    )


def test_areas_do_not_depend_on_the_resolution(labels):
    fine = np.kron(labels, np.ones((2, 2), dtype=np.int32))
    coarse, twice = nuclei_table(labels, pixel_size=0.5), nuclei_table(fine)
    assert_allclose(twice["area_um2"], coarse["area_um2"])
    assert_allclose(twice["equivalent_diameter_um"], coarse["equivalent_diameter_um"])


def test_background_and_unknown_make_no_rows():
    labels = np.zeros((5, 6), dtype=np.int32)
    labels[0] = -1
    table = nuclei_table(labels, np.ones((5, 6, 3)))
    assert {column.shape for column in table.values()} == {(0,)}
    assert "mean_haematoxylin_od" in table


def test_one_pixel_is_a_disc():
    labels = np.zeros((5, 6), dtype=np.int32)
    labels[2, 3] = 9
    table = nuclei_table(labels, pixel_size=1.0)
    assert table["eccentricity"] == [0.0]
    assert (table["centroid_row"][0], table["centroid_column"][0]) == (2.0, 3.0)
    assert_allclose(table["equivalent_diameter_um"], [2 / np.sqrt(np.pi)])


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


def test_groups_and_strips_do_not_show(labels, monkeypatch):
    """To the bit, however many objects and rows are looked at together."""
    rng = np.random.default_rng(4)
    ids = np.append(0, rng.permutation(60_000)[: labels.max()] + 1)[labels]
    given = np.stack([ids, rng.integers(-1, 4, labels.shape)], axis=-1)
    image = rng.random((*labels.shape, 3))
    expected = nuclei_table(given, image)
    monkeypatch.setattr(_objects, "_GROUP_SIZE", 40)
    monkeypatch.setattr(_morphometry, "_STRIP", 3 * labels.shape[1])
    found = nuclei_table(given, image)
    assert list(found) == list(expected)
    for name, column in expected.items():
        assert_array_equal(found[name], column, strict=True)
