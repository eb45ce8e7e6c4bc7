# SPDX-License-Identifier: BSD-3-Clause
"""Folders of images and masks."""

from __future__ import annotations

import re

import numpy as np
import pytest

from psmlearn.datasets import load_label_folder, make_nuclei
from psmlearn.io import write_image, write_labels


@pytest.fixture
def folder(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name / ".ipynb_checkpoints").mkdir(parents=True)
        (tmp_path / name / ".DS_Store").write_text("")
        (tmp_path / name / "._b.png").write_text("")
        (tmp_path / name / "Thumbs.db").write_text("")
    for index, stem in enumerate(["b", "a 1"]):
        write_image(
            tmp_path / "images" / f"{stem}.png", np.zeros((4, 5 + index, 3), np.uint8)
        )
        write_labels(
            tmp_path / "masks" / f"{stem}.tif",
            np.full((4, 5 + index), index + 7),
        )
    return tmp_path


def test_pairs_by_name(folder):
    for given in (folder, str(folder)):
        data = load_label_folder(given)
        assert data.names == ["a 1", "b"]
        assert [mask.max() for mask in data.masks] == [8, 7]
        assert all(isinstance(path, str) for path in data.images)
    (folder / "masks").rename(folder / "truth")
    assert load_label_folder(folder, masks="truth").masks[1].shape == (4, 5)


def test_classes_beside_ids_in_one_folder(tmp_path):
    made = make_nuclei(2, (40, 48), n_nuclei=5, stain="ki67", random_state=0)
    for index, (image, mask) in enumerate(zip(made.images, made.masks, strict=True)):
        write_image(tmp_path / f"{index}.png", image)
        write_labels(tmp_path / f"{index}_inst.png", mask[..., 0])
        write_labels(tmp_path / f"{index}_class.png", mask[..., 1])
    options = {
        **{"images": ".", "masks": ".", "classes": "."},
        **{"mask_suffix": "_inst", "class_suffix": "_class"},
    }
    data = load_label_folder(tmp_path, **options)
    assert data.names == ["0", "1"]
    np.testing.assert_array_equal(np.stack(data.masks), made.masks)
    # An object of two classes, and a class image that is not there.
    mixed = np.array(made.masks[1, ..., 1])
    row, column = np.argwhere(made.masks[1, ..., 0] == 3)[0]
    mixed[row, column] = 9
    write_labels(tmp_path / "1_class.png", mixed)
    with pytest.raises(ValueError, match="1_class.*object 3 of .*several classes"):
        load_label_folder(tmp_path, **options)
    (tmp_path / "1_class.png").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 2 masks have no class.*: 1"):
        load_label_folder(tmp_path, **options)


def test_missing_masks(folder):
    (folder / "masks" / "b.tif").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 2 images have no mask.*: b;"):
        load_label_folder(folder)
    data = load_label_folder(folder, require_masks=False)
    assert data.masks[1] is None and data.masks[0].max() == 8
    (folder / "masks" / "a 1.tif").unlink()
    assert load_label_folder(folder, require_masks=False).masks is None
    (folder / "masks").rename(folder / "other")
    assert load_label_folder(folder, require_masks=False).masks is None
    with pytest.raises(FileNotFoundError, match="masks"):
        load_label_folder(folder)


def test_masks_without_an_image(folder):
    (folder / "images" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 2 masks have no image.*: b;"):
        load_label_folder(folder)
    assert load_label_folder(folder, require_masks=False).names == ["a 1"]


def test_links_that_lead_nowhere(folder):
    (folder / "images" / "b.png").unlink()
    (folder / "images" / "b.png").symlink_to("../.git/annex/b.png")
    with pytest.raises(FileNotFoundError, match=r"images/b\.png.*link.*annex/b\.png"):
        load_label_folder(folder)


def test_what_does_not_fit(folder):
    write_labels(folder / "masks" / "b.tif", np.zeros((9, 9), int))
    with pytest.raises(ValueError, match=r"b.tif.*\(9, 9\).*b.png.*\(4, 5\)"):
        load_label_folder(folder)
    write_labels(folder / "masks" / "b.png", np.zeros((4, 5), int))
    with pytest.raises(ValueError, match=r"two files named 'b'.*b.png.*b.tif"):
        load_label_folder(folder)
    for path in (folder / "images").glob("*.png"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="holds no image"):
        load_label_folder(folder)


@pytest.mark.parametrize(
    ("image_suffix", "mask_suffix"),
    [("_image", "_inst"), ("", "_mask"), ("_image", ""), ("_a", "_b_a")],
)
def test_images_and_masks_in_one_folder(tmp_path, image_suffix, mask_suffix):
    for index, name in enumerate(["p2_10", "p1_9"]):
        write_image(
            tmp_path / f"{name}{image_suffix}.png", np.zeros((4, 5, 3), np.uint8)
        )
        write_labels(tmp_path / f"{name}{mask_suffix}.tif", np.full((4, 5), index + 7))
    data = load_label_folder(
        tmp_path,
        images=".",
        masks=".",
        image_suffix=image_suffix,
        mask_suffix=mask_suffix,
        group_pattern="^(p[0-9])_",
    )
    assert data.names == ["p1_9", "p2_10"]
    assert [mask.max() for mask in data.masks] == [8, 7]
    assert [path.endswith(f"{image_suffix}.png") for path in data.images] == [True] * 2
    assert data.groups.tolist() == ["p1", "p2"]
    with pytest.raises(ValueError, match="same folder.*end alike.*'_inst'"):
        load_label_folder(
            tmp_path, images=".", masks=".", image_suffix="_x", mask_suffix="_x"
        )


def test_suffixes_of_two_folders(folder):
    for path in (folder / "masks").glob("*.tif"):
        path.rename(path.with_stem(f"{path.stem}_labels"))
    data = load_label_folder(folder, mask_suffix="_labels")
    assert data.names == ["a 1", "b"] and data.masks[1].max() == 7
    with pytest.raises(FileNotFoundError, match="2 of 2 images have no mask"):
        load_label_folder(folder)
    with pytest.raises(FileNotFoundError, match=r"no image.*_x\.png"):
        load_label_folder(folder, image_suffix="_x")


def test_groups_of_names(folder):
    data = load_label_folder(folder)
    assert data.groups is None and "None" in data.DESCR and data.pixel_size is None
    data = load_label_folder(folder, group_pattern=re.compile("^[ab]"))
    assert data.groups.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match=r"finds nothing in 1 of 2 names: b\."):
        load_label_folder(folder, group_pattern=r"(\d)")
    with pytest.raises(ValueError, match="no regular expression"):
        load_label_folder(folder, group_pattern="(")
