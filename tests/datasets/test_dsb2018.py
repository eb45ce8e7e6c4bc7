# SPDX-License-Identifier: BSD-3-Clause
"""The Data Science Bowl: one PNG per nucleus."""

from __future__ import annotations

import numpy as np
import pytest

from psmlearn.datasets import load_dsb2018
from psmlearn.exceptions import AnnotationWarning
from psmlearn.io import check_images, check_masks, write_image, write_labels

IDS = ["00ae65", "003cee"]


def write_nucleus(case, name, rows, columns):
    mask = np.zeros((12, 10), np.uint8)
    mask[rows, columns] = 255
    write_image(case / "masks" / f"{name}.png", mask)


@pytest.fixture
def folder(tmp_path):
    for name in IDS:
        case = tmp_path / name
        for part in ("images", "masks"):
            (case / part).mkdir(parents=True)
        picture = np.full((12, 10, 4), 255, np.uint8)
        write_image(case / "images" / f"{name}.png", picture)
        write_nucleus(case, "b", slice(0, 4), slice(0, 4))
        write_nucleus(case, "a", slice(2, 6), slice(0, 4))
        (case / "masks" / ".DS_Store").write_text("")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "stage1_train_labels.csv").write_text("")
    return tmp_path


def test_nuclei_become_ids(folder):
    data = load_dsb2018(str(folder))
    assert data.names == sorted(IDS) and data.groups is None
    assert data.pixel_size is None and "CC0" in data.DESCR
    images = check_images(data.images)
    assert images.n_channels == 3  # the alpha is dropped
    mask = check_masks(data.masks, images)[0]
    # "a" is drawn first, so "b" wins where they overlap.
    assert mask[0, 0] == 2 and mask[3, 3] == 2 and mask[4, 3] == 1
    assert np.bincount(mask.ravel()).tolist() == [120 - 24, 8, 16]


def test_ids_stay_dense(folder):
    write_nucleus(folder / IDS[0], "aa", slice(3, 5), slice(1, 2))
    write_nucleus(folder / IDS[0], "ab", slice(3, 5), slice(1, 2))
    write_nucleus(folder / IDS[0], "c", slice(0, 0), slice(0, 0))
    with pytest.warns(AnnotationWarning) as caught:
        mask = load_dsb2018(folder).masks[1]
    assert np.unique(mask).tolist() == [0, 1, 2, 3]
    told = str(caught[0].message)
    assert "1 are wholly covered" in told and "/aa.png" in told
    assert "1 cover the centre of no pixel" in told and "/c.png" in told


def test_images_without_masks(folder):
    case = folder / IDS[0]
    for path in (case / "masks").glob("*.png"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=f"1 file.*{IDS[0]}/masks.*require"):
        load_dsb2018(folder)
    data = load_dsb2018(folder, require_masks=False)
    assert data.masks[1] is None and data.masks[0].max() == 2
    for name in IDS:
        for path in (folder / name / "masks").iterdir():
            path.unlink()
        (folder / name / "masks").rmdir()
    data = load_dsb2018(folder, require_masks=False)
    assert data.masks is None and len(data.images) == 2


def test_partial_downloads_are_named(folder, tmp_path):
    (folder / IDS[1] / "images" / f"{IDS[1]}.png").unlink()
    with pytest.raises(FileNotFoundError, match=f"{IDS[1]}/images/{IDS[1]}.png"):
        load_dsb2018(folder)
    for part in ("stage1_test", "stage1_train"):
        (tmp_path / "outer" / part).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no image.*folders.*'stage1_train'"):
        load_dsb2018(tmp_path / "outer")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no folders; expected IMAGE_ID"):
        load_dsb2018(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="No such folder"):
        load_dsb2018(tmp_path / "none")


def test_a_folder_within_a_folder(folder, tmp_path):
    outer = tmp_path / "outer"
    (outer / "__MACOSX").mkdir(parents=True)
    (outer / "stage1_train").mkdir()
    for name in IDS:
        (folder / name).rename(outer / "stage1_train" / name)
    assert load_dsb2018(outer).names == sorted(IDS)


def test_broken_masks_are_named(folder):
    path = folder / IDS[0] / "masks" / "a.png"
    write_image(path, np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a\.png.*\(3, 3\).*\(12, 10\)"):
        load_dsb2018(folder)
    write_labels(path, np.arange(120).reshape(12, 10))
    with pytest.raises(ValueError, match=r"a\.png.*several values"):
        load_dsb2018(folder)
    write_image(path, np.zeros((12, 10, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a\.png.*\(12, 10, 3\)"):
        load_dsb2018(folder)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.png.*empty"):
        load_dsb2018(folder)
