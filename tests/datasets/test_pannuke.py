# SPDX-License-Identifier: BSD-3-Clause
"""PanNuke in its own layout: arrays too large to be read whole."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.model_selection import PredefinedSplit

from psmlearn.datasets import load_pannuke
from psmlearn.io import check_images, check_masks

SIZE = (12, 10)


def make_masks(n_images):
    """Ids per class that repeat from class to class, and overlap."""
    masks = np.zeros((n_images, *SIZE, 6))
    masks[:, :3, :3, 0] = 7
    masks[:, 5:8, :3, 0] = 9
    masks[:, :3, 5:8, 1] = 7
    masks[:, 6:9, :3, 4] = 2  # over the lower rows of the second nucleus
    masks[..., 5] = masks[..., :5].max(axis=-1) == 0
    return masks


def write_fold(root, number, n_images=2, names=("Fold {}", "fold{}"), dtype=float):
    outer, inner = (name.format(number) for name in names)
    images = root / outer / "images" / inner
    masks = root / outer / "masks" / inner
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    pixels = np.random.default_rng(number).integers(0, 256, (n_images, *SIZE, 3))
    np.save(images / "images.npy", pixels.astype(dtype))
    np.save(
        images / "types.npy", np.array(["Breast", "Bile-duct"] * n_images)[:n_images]
    )
    np.save(masks / "masks.npy", make_masks(n_images).astype(dtype))
    return pixels


@pytest.fixture
def folder(tmp_path):
    write_fold(tmp_path, 1, 2)
    write_fold(tmp_path, 2, 1, names=("fold_{}", "fold{}"))
    write_fold(tmp_path, 3, 3, names=("Fold{}", "fold{}"), dtype=np.uint8)
    return tmp_path


def test_folds_become_arrays(folder):
    pixels = [write_fold(folder / "again", n, m) for n, m in ((1, 2), (2, 1), (3, 3))]
    data = load_pannuke(folder)
    assert data.images.dtype == np.uint8 and data.images.shape == (6, *SIZE, 3)
    np.testing.assert_array_equal(data.images, np.concatenate(pixels))
    assert data.masks.shape == (6, *SIZE, 2) and data.masks.dtype == np.int32
    check_masks(data.masks, check_images(data.images))
    assert data.folds.tolist() == [1, 1, 2, 3, 3, 3]
    assert [len(test) for _, test in PredefinedSplit(data.folds).split()] == [2, 1, 3]
    assert data.tissues.tolist()[:3] == ["Breast", "Bile-duct", "Breast"]
    assert data.tissues.dtype.kind == "U"
    assert data.names[1:4] == ["fold1_1", "fold2_0", "fold3_0"]
    assert data.groups is None and "`groups` is None" in data.DESCR
    assert "CC BY-NC-SA" in data.DESCR and data.pixel_size == 0.25


def test_each_nucleus_has_an_id_and_a_class(folder):
    mask = load_pannuke(folder, folds=3).masks[2]
    ids, classes = mask[..., 0], mask[..., 1]
    expected = np.zeros(SIZE, int)
    expected[:3, :3], expected[5:6, :3] = 1, 2
    expected[:3, 5:8], expected[6:9, :3] = 3, 4
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(classes, np.array([0, 1, 1, 2, 5])[ids])


def test_some_folds(folder):
    assert load_pannuke(folder, folds=2).folds.tolist() == [2]
    data = load_pannuke(str(folder), folds=[3, 1])
    assert data.folds.tolist() == [3, 3, 3, 1, 1]
    for bad in ((), (1, 1), (0,), 4, "1", True, (1.0,)):
        with pytest.raises(ValueError, match=r"folds is.*\(1, 2, 3\)"):
            load_pannuke(folder, folds=bad)


@pytest.mark.parametrize(
    "inside", ["fold_1/Fold 1/images/fold1", "FOLD-1/images", "images/fold1", "Fold1"]
)
def test_other_ways_to_unpack(tmp_path, inside):
    write_fold(tmp_path / "made", 1)
    source = tmp_path / "made" / "Fold 1"
    place = tmp_path / "data" / inside
    place.mkdir(parents=True)
    for name in ("images", "types"):
        (source / "images" / "fold1" / f"{name}.npy").rename(place / f"{name}.npy")
    masks = tmp_path / "data" / inside.replace("images", "masks")
    masks.mkdir(parents=True, exist_ok=True)
    (source / "masks" / "fold1" / "masks.npy").rename(masks / "masks.npy")
    assert len(load_pannuke(tmp_path / "data", folds=1).images) == 2
    with pytest.raises(FileNotFoundError, match="3 file.*Fold 2/images/fold2/images"):
        load_pannuke(tmp_path / "data", folds=2)


def test_a_folder_within_a_folder(folder, tmp_path):
    outer = tmp_path / "outer"
    (outer / "__MACOSX" / "Fold 1").mkdir(parents=True)
    (outer / "PanNuke").mkdir()
    for part in ("Fold 1", "fold_2", "Fold3"):
        (folder / part).rename(outer / "PanNuke" / part)
    assert load_pannuke(outer).folds.tolist() == [1, 1, 2, 3, 3, 3]


def test_one_fold_alone(tmp_path):
    write_fold(tmp_path, 1)
    assert len(load_pannuke(tmp_path / "Fold 1", folds=1).images) == 2
    with pytest.raises(FileNotFoundError, match="6 file.*Fold 2.*and 1 more"):
        load_pannuke(tmp_path / "Fold 1")


def test_missing_files_are_named(folder):
    (folder / "fold_2" / "masks" / "fold2" / "masks.npy").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 file.*Fold 2/masks/fold2/masks\.npy"
    ):
        load_pannuke(folder)
    assert len(load_pannuke(folder, folds=(1, 3)).images) == 5


def write_part(folder, name, array, **options):
    part = "masks" if name == "masks" else "images"
    np.save(folder / "Fold 1" / part / "fold1" / f"{name}.npy", array, **options)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("images", np.zeros((2, *SIZE)), r"shape \(2, 12, 10\).*256, 256, 3"),
        ("images", np.zeros((2, *SIZE, 6)), r"shape \(2, 12, 10, 6\)"),
        ("images", np.full((2, *SIZE, 3), "a"), r"<U1 of shape"),
        ("images", np.full((2, *SIZE, 3), 0.25), r"image 0.*scaled to \[0, 1\]"),
        ("images", np.full((2, *SIZE, 3), 256.0), "image 0.*256.*expected 0 to 255"),
        ("images", np.full((2, *SIZE, 3), np.nan), "image 0.*nan"),
        ("masks", np.zeros((2, *SIZE, 5)), r"expected numbers.*256, 256, 6"),
        (
            "masks",
            np.zeros((3, *SIZE, 6)),
            r"\(3, 12, 10\).*images\.npy.*\(2, 12, 10\)",
        ),
        ("masks", np.zeros((2, 10, 12, 6)), r"\(2, 10, 12\).*images\.npy"),
        ("masks", np.full((2, *SIZE, 6), -1.0), "image 0.*-1"),
        ("masks", np.full((2, *SIZE, 6), 1.5), "image 0 holds ids.*not whole"),
        ("types", np.array(["Breast"]), "one text for each of the 2 images"),
        ("types", np.arange(2), "int64 of shape"),
    ],
)
def test_wrong_arrays_are_told(folder, name, array, message):
    write_part(folder, name, array)
    with pytest.raises(ValueError, match=rf"{name}\.npy.*{message}"):
        load_pannuke(folder)


def test_broken_files_are_named(folder):
    path = folder / "Fold 1" / "images" / "fold1" / "images.npy"
    whole = path.read_bytes()
    for content in (b"", whole[:-9], whole[:40], b"no array", b"PK\x03\x04" + whole):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"images\.npy.*is a broken"):
            load_pannuke(folder)
    path.write_bytes(whole)
    # An array of objects is a pickle, which is never opened.
    write_part(folder, "types", np.array(["a", "b"], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"types\.npy.*is a broken"):
        load_pannuke(folder)


def test_pixels_are_rounded(folder):
    pixels = np.full((2, *SIZE, 3), 99.6)
    pixels[1] = 0
    write_part(folder, "images", pixels)
    images = load_pannuke(folder, folds=1).images
    assert (images[0] == 100).all() and (images[1] == 0).all()


def test_column_major_arrays(folder):
    expected = load_pannuke(folder, folds=1)
    for name in ("images", "masks"):
        path = folder / "Fold 1" / name / "fold1" / f"{name}.npy"
        np.save(path, np.asfortranarray(np.load(path)))
    data = load_pannuke(folder, folds=1)
    np.testing.assert_array_equal(data.images, expected.images)
    np.testing.assert_array_equal(data.masks, expected.masks)


def test_sizes_of_folds_must_agree(folder):
    write_part(folder, "images", np.zeros((2, 4, 4, 3)))
    write_part(folder, "masks", np.zeros((2, 4, 4, 6)))
    with pytest.raises(ValueError, match="differ in image size"):
        load_pannuke(folder)


def test_files_are_not_read_whole(tmp_path):
    write_fold(tmp_path, 1, n_images=1)
    images, masks = np.zeros((60, 64, 64, 3)), np.zeros((60, 64, 64, 6))
    write_part(tmp_path, "images", images)
    write_part(tmp_path, "masks", masks)
    write_part(tmp_path, "types", np.full(60, "Colon"))
    n_stored = images.nbytes + masks.nbytes
    del images, masks
    tracemalloc.start()
    try:
        data = load_pannuke(tmp_path, folds=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    n_result = data.images.nbytes + data.masks.nbytes
    assert peak - n_result < 0.05 * n_stored
