# SPDX-License-Identifier: BSD-3-Clause
"""Lower-grade gliomas: folders of slices by patient."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from psmlearn.datasets import load_lgg
from psmlearn.io import check_images, check_masks, write_image

PATIENTS = ["TCGA_DU_5849_19950405", "TCGA_CS_4941_19960909"]


def write_slice(folder, number, suffix, inside=()):
    mask = np.zeros((8, 9), np.uint8)
    for row, column in inside:
        mask[row, column] = 255 if suffix == ".tif" else 1
    folder.mkdir(exist_ok=True)
    stem = str(folder / f"{folder.name}_{number}")
    write = tifffile.imwrite if suffix == ".tif" else write_image
    write(stem + suffix, np.zeros((8, 9, 3), np.uint8))
    write(stem + "_mask" + suffix, mask)


@pytest.fixture(params=[".tif", ".png"])
def folder(request, tmp_path):
    for patient in PATIENTS:
        write_slice(tmp_path / patient, 10, request.param, [(0, 0), (1, 1), (4, 4)])
        write_slice(tmp_path / patient, 2, request.param)
    (tmp_path / "data.csv").write_text("Patient\n")
    (tmp_path / ".git").mkdir()
    return tmp_path


def test_slices_in_natural_order(folder):
    data = load_lgg(str(folder))
    first, second = sorted(PATIENTS)
    assert data.names == [f"{p}_{n}" for p in (first, second) for n in (2, 10)]
    assert data.slice_numbers.tolist() == [2, 10, 2, 10]
    assert data.image_labels.tolist() == [0, 1, 0, 1]
    assert data.image_labels.dtype.kind == "i"
    assert data.groups.tolist() == ["TCGA_CS_4941"] * 2 + ["TCGA_DU_5849"] * 2
    assert data.pixel_size is None and "CC BY-NC-SA" in data.DESCR
    images = check_images(data.images)
    masks = check_masks(data.masks, images)
    # Corners connect: one region of two pixels, and another.
    assert masks[1][0, 0] == masks[1][1, 1] == 1 and masks[1][4, 4] == 2
    assert not masks[0].any() and masks[0].dtype == np.int32


def test_the_folder_within(folder, tmp_path):
    outer = tmp_path / "download"
    (outer / "kaggle_3m").mkdir(parents=True)
    for patient in PATIENTS:
        (folder / patient).rename(outer / "kaggle_3m" / patient)
    assert len(load_lgg(outer).images) == 4
    # Kaggle's archive holds all of it a second time.
    (outer / "lgg-mri-segmentation" / "kaggle_3m").mkdir(parents=True)
    (tmp_path / "archive").mkdir()
    outer.rename(tmp_path / "archive" / "download")
    assert len(load_lgg(tmp_path / "archive").images) == 4


def test_other_names_are_their_own_groups(tmp_path):
    write_slice(tmp_path / "volunteer", 1, ".png")
    (tmp_path / "notes").mkdir()
    data = load_lgg(tmp_path)
    assert data.groups.tolist() == ["volunteer"] and data.names == ["volunteer_1"]


def test_partial_downloads_are_named(folder, tmp_path):
    one, other = (folder / patient for patient in PATIENTS)
    next(one.glob("*_10_mask.*")).unlink()
    next(other.glob("*_2.*")).unlink()
    with pytest.raises(FileNotFoundError, match="2 file") as caught:
        load_lgg(folder)
    assert f"{PATIENTS[0]}_10_mask" in str(caught.value)
    assert f"{PATIENTS[1]}_2." in str(caught.value)
    for path in one.iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{PATIENTS[0]}_1.tif and all"):
        load_lgg(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no slices; expected PATIENT"):
        load_lgg(tmp_path / "empty")


def test_broken_masks_are_named(tmp_path):
    folder = tmp_path / PATIENTS[0]
    write_slice(folder, 1, ".png")
    path = folder / f"{PATIENTS[0]}_1_mask.png"
    write_image(path, np.zeros((4, 9), np.uint8))
    with pytest.raises(ValueError, match=r"_1_mask\.png.*\(4, 9\).*\(8, 9\)"):
        load_lgg(tmp_path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"_1_mask\.png.*broken"):
        load_lgg(tmp_path)
    path.unlink()
    tifffile.imwrite(path.with_suffix(".tif"), np.zeros((8, 9), np.float32))
    with pytest.raises(ValueError, match=r"_1_mask\.tif.*float32"):
        load_lgg(tmp_path)


@pytest.mark.data
def test_the_real_slices(data_dir):
    data = load_lgg(data_dir / "lgg_mri")
    assert len(data.images) == len(data.masks) == 400
    assert len(set(data.groups)) == 24 and data.image_labels.sum() == 148
    assert {mask.shape for mask in data.masks} == {(256, 256)}
    assert check_images(data.images[:20]).n_channels == 3
