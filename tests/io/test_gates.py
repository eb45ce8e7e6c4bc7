# SPDX-License-Identifier: BSD-3-Clause
"""The gates of io: one item, stacks, lists, paths; and checks that are remembered."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from psmlearn.io import (
    _batch,
    _inputs,
    _read,
    check_image,
    check_images,
    check_mask,
    check_masks,
    check_points,
    write_image,
    write_labels,
    write_points,
)
from psmlearn.io._masks import check_regions
from psmlearn.io._point_checks import are_points
from psmlearn.io._standardised import StandardisedBatch

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
MASKS = np.kron(np.arange(60).reshape(2, 5, 6), np.ones((1, 4, 4), int)) % 50
POINTS = [np.array([[3.0, 4.5, 1], [10, 20, 2]]), np.empty((0, 3))]


@pytest.fixture
def image_paths(tmp_path):
    found = []
    for index, image in enumerate(IMAGES):
        found.append(str(tmp_path / f"image {index}.png"))
        write_image(found[-1], image)
    return found


@pytest.fixture
def decoded(monkeypatch):
    """The paths of all files that are decoded."""
    calls = []
    decode = _inputs.decode_image

    def count(path, **options):
        calls.append(path)
        return decode(path, **options)

    for module in (_inputs, _batch, _read):
        monkeypatch.setattr(module, "decode_image", count)
    return calls


# -- images: what was checked is remembered -------------------------------------------


def test_a_checked_batch_comes_back_as_it_is(image_paths, decoded):
    batch = check_images(image_paths)
    assert decoded == image_paths
    assert check_images(batch) is batch
    assert check_images(batch, n_channels=3, value_range=(0.0, 1.0)) is batch
    part = batch.subset([2, 0])
    assert check_images(part) is part and part.names[0].startswith("image 2")
    for image in check_images(part):
        assert image.shape == (20, 24, 3)
    assert decoded == image_paths


def test_values_are_not_looked_at_again(monkeypatch):
    batch = check_images(IMAGES / 255)
    monkeypatch.setattr(_batch, "value_problem", None)
    monkeypatch.setattr(_inputs, "value_problem", None)
    assert check_images(batch) is batch
    # What lies within a range lies in any.
    assert check_images(batch, value_range=None).value_range is None
    copy = pickle.loads(pickle.dumps(batch))
    assert check_images(copy) is copy


def test_only_what_differs_is_checked_again(image_paths, decoded):
    batch = check_images(image_paths, value_range=None)
    again = check_images(batch)
    assert again.value_range == (0.0, 1.0) and again._cache is batch._cache
    labelled = check_images(batch, label_channel=-1)
    np.testing.assert_array_equal(labelled[0][..., 2], IMAGES[0, ..., 2])
    assert decoded == image_paths
    with pytest.raises(ValueError, match=r"Mapper: 3 of 3 .*\n- image 0 \(.*ted 1"):
        check_images(batch, n_channels=1, caller="Mapper")
    assert decoded == image_paths
    wide = check_images(IMAGES.astype(float), value_range=None)
    with pytest.raises(ValueError, match="3 of 3 images are bad.*\n- image 0: holds"):
        check_images(wide)
    whole = check_images(IMAGES.astype(np.int16), value_range=None)
    with pytest.raises(ValueError, match="known white"):
        check_images(whole)


def test_standardised_images_stay_so(image_paths, decoded, monkeypatch):
    batch = StandardisedBatch(check_images(image_paths))
    first = batch[0]
    assert check_images(batch, value_range=None, n_channels=3) is batch
    part = check_images(batch.subset([0]), value_range=None)
    assert isinstance(part, StandardisedBatch) and part._kept is batch._kept
    monkeypatch.setattr("psmlearn.io._standardised.standardise", None)
    np.testing.assert_array_equal(part[0], first)
    # As they came they lie in [0, 1], and that is known, too.
    monkeypatch.setattr(_batch, "value_problem", None)
    given = check_images(batch)
    assert not isinstance(given, StandardisedBatch)
    np.testing.assert_array_equal(given.stored(1), IMAGES[1])
    assert check_images(batch.as_given(), value_range=(0.0, 1.0)).n_channels == 3
    assert decoded == image_paths


def test_standardised_images_with_other_labels_are_standardised_anew():
    ids = np.broadcast_to(np.arange(3)[:, None, None, None], (3, 20, 24, 1))
    stack = np.concatenate([IMAGES / 255, ids], axis=-1)
    batch = StandardisedBatch(check_images(stack, value_range=None, label_channel=3))
    other = check_images(batch, value_range=None)
    assert isinstance(other, StandardisedBatch) and other._kept is not batch._kept
    assert batch[2][..., 3].max() == 2 and other[2][..., 3].max() <= 1


def test_one_image(image_paths, decoded):
    for given in (image_paths[0], IMAGES[0], IMAGES[0] / 255):
        np.testing.assert_array_equal(check_image(given), check_images(IMAGES)[0])
    assert decoded == image_paths[:1]
    assert check_image(IMAGES[0, ..., 0]).shape == (20, 24, 1)
    with pytest.raises(ValueError, match="^slide: holds NaN"):
        check_image(np.full((4, 4), np.nan), name="slide")
    with pytest.raises(ValueError, match=r"image \(none.png\): No such"):
        check_image("none.png")
    with pytest.raises(ValueError, match="image has 3 channel"):
        check_image(IMAGES[0], n_channels=1)


# -- masks -----------------------------------------------------------------------------


def test_all_ways_to_hand_in_masks(tmp_path, decoded):
    paths = [tmp_path / "a.tif", str(tmp_path / "b.png")]
    for path, mask in zip(paths, MASKS, strict=True):
        write_labels(path, mask)
    objects = np.empty(2, dtype=object)
    objects[:] = list(MASKS)
    collections = (
        MASKS,
        tuple(MASKS),
        objects,
        paths,
        np.array([str(path) for path in paths]),
        [MASKS[0], paths[1]],
        (mask for mask in MASKS),
        MASKS.tolist(),
    )
    for y in collections:
        checked = check_masks(y, check_images(IMAGES[:2]))
        assert all(mask.dtype == np.int32 for mask in checked)
        np.testing.assert_array_equal(checked, MASKS)
    for y in (MASKS[0], paths[0], [paths[0]]):
        np.testing.assert_array_equal(check_masks(y), MASKS[:1])
    np.testing.assert_array_equal(check_mask(paths[1]), MASKS[1])
    assert decoded.count(str(paths[0])) == 4


def test_one_mask_with_classes_is_told_by_its_image():
    mask = np.stack([MASKS[0], MASKS[0] % 3], axis=-1)
    np.testing.assert_array_equal(check_masks(mask, check_images(IMAGES[:1])), [mask])
    thin = check_images(IMAGES[:, :, :2])
    assert len(check_masks(np.zeros((3, 20, 2), int), thin)) == 3
    with pytest.raises(ValueError, match="Mapper: masks has shape .*2 pixels wide"):
        check_masks(mask, caller="Mapper")


def test_masks_of_torch_are_masks():
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(check_masks(torch.from_numpy(MASKS)), MASKS)
    needs_gradient = torch.zeros(2, 3, requires_grad=True)
    with pytest.raises(ValueError, match="mask 0 is no array: Can't call numpy"):
        check_masks([needs_gradient])


# -- regions ---------------------------------------------------------------------------


def test_regions_may_be_files(tmp_path):
    inside = MASKS[0] > 20
    write_image(tmp_path / "region.png", inside)
    write_labels(tmp_path / "regions.tif", MASKS[0])
    for given in (inside, [inside], str(tmp_path / "region.png"), inside[np.newaxis]):
        for numbered in (False, True):
            (region,) = check_regions(given, 1, numbered=numbered)
            assert region.dtype == bool
            np.testing.assert_array_equal(region, inside)
    assert check_regions([None, tmp_path / "region.png"], 2)[0] is None
    (region,) = check_regions(tmp_path / "regions.tif", 1, numbered=True)
    np.testing.assert_array_equal(region, MASKS[0])
    with pytest.raises(ValueError, match=r"regions \(.*regions.tif\) has dtype"):
        check_regions(tmp_path / "regions.tif", 1)


# -- points ----------------------------------------------------------------------------


def test_all_ways_to_hand_in_points(tmp_path):
    paths = [tmp_path / "a.csv", str(tmp_path / "b.csv")]
    for path, points in zip(paths, POINTS, strict=True):
        write_points(path, points)
    images = check_images(IMAGES[:2])
    lists = [points.tolist() for points in POINTS]
    for y in (POINTS, tuple(POINTS), lists, paths, [paths[0], POINTS[1]], iter(POINTS)):
        checked = check_points(y, images)
        for found, points in zip(checked, POINTS, strict=True):
            assert found.dtype == np.float64
            np.testing.assert_array_equal(found, points)
    for y in (POINTS[0], paths[0], POINTS[0][np.newaxis]):
        np.testing.assert_array_equal(check_points(y), POINTS[:1])
    assert check_points([[], [[1, 2, 1]]])[0].shape == (0, 3)
    assert check_points([[], np.empty((0, 2))])[0].shape == (0, 2)


@pytest.mark.parametrize(
    ("points", "error", "message"),
    [
        (None, TypeError, "points is a NoneType; expected points"),
        ({"a": 1}, TypeError, "points is a dict"),
        ("none.csv", FileNotFoundError, r"points of image 0: No such table.*none\.csv"),
        ([1.0], ValueError, r"has shape \(\).*expected points \(n, 2\)"),
        (np.zeros(2), ValueError, r"have shape \(2,\)"),
        ([np.zeros((4, 5))], ValueError, r"has shape \(4, 5\)"),
        ([np.zeros((2, 2), bool)], ValueError, "dtype bool"),
        ([[[1, np.nan]]], ValueError, "holds NaN"),
        ([[[1, 2, 0.5]]], ValueError, "image 0 holds the class 0.5.*whole numbers"),
        ([[[1, 2, -2]]], ValueError, "holds the class -2"),
        ([[[25, 2]]], ValueError, "image 0 leave the image of shape"),
        ([[[1, 2]]] * 2, ValueError, "2 arrays of points were given for 1 images"),
    ],
)
def test_bad_points(points, error, message):
    with pytest.raises(error, match=message) as caught:
        check_points(points, check_images(IMAGES[:1]), caller="NucleiDetector")
    assert str(caught.value).startswith("NucleiDetector: ")


def test_classes_are_of_all_or_of_none():
    with pytest.raises(ValueError, match="some images have a column of classes"):
        check_points([[[1, 2, 1]], [[1, 2]]])


def test_points_are_told_from_masks():
    images = check_images(IMAGES[:1])
    thin = check_images(IMAGES[:1, :, :2])
    whole = np.ones((20, 2), int)
    for y in ([[[1, 2]]], [whole], np.ones((5, 3)), ["a.csv"], "a.CSV", [[]]):
        assert are_points(y, images)
    masks = MASKS[0].astype(np.int32)
    for y in ([masks], masks, None, [], "a.tif", ["a.png"], [[[1], [2, 3]]], MASKS):
        assert not are_points(y, images)
    assert not are_points([whole], thin) and are_points([whole.astype(float)], thin)
