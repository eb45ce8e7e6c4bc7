# SPDX-License-Identifier: BSD-3-Clause
"""CPM-15, CPM-17 and Kumar in the layouts they come in."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from scipy.io import savemat

from psmlearn.datasets import load_cpm
from psmlearn.io import check_images, check_masks, write_image, write_labels

IDS = np.zeros((4, 5), dtype=np.int64)
IDS[1:3, 1:3], IDS[3, 2:] = 1, 2
PIXELS = np.zeros((4, 5, 3), dtype=np.uint8)
KUMAR = ["TCGA-18-5592-01Z-00-DX1", "TCGA-B0-5711-01Z-00-DX1"]


def write_text_mask(path, ids=IDS):
    height, width = ids.shape
    values = "".join(f"{value}\n" for value in ids.ravel())
    path.write_text(f"{width} {height}\n{values}")


@pytest.fixture
def pairs(tmp_path):
    """Build the layout of CPM-15 in label images."""
    for number in range(15, 0, -1):
        name = f"image{number:02d}"
        rgba = np.dstack([PIXELS, np.full((4, 5), 255, np.uint8)])
        write_image(tmp_path / f"{name}_image.png", rgba)
        write_labels(tmp_path / f"{name}_inst.png", IDS * number)
    return tmp_path


@pytest.fixture
def challenge(tmp_path):
    """Build the layout in which the challenge gave CPM-15 and CPM-17 out."""
    for name in ("image01", "image02"):
        write_image(tmp_path / f"{name}.png", PIXELS)
        write_image(tmp_path / f"{name}_poly.png", PIXELS)
        write_text_mask(tmp_path / f"{name}_mask.txt")
    (tmp_path / "README_training.txt").write_text("15 images")
    return tmp_path


@pytest.fixture
def parts(tmp_path):
    """Build the layout of CPM-17 with its parts."""
    for part, names in (("train", ["image_10", "image_9"]), ("test", ["image_00"])):
        for kind in ("Images", "Labels", "Overlay"):
            (tmp_path / part / kind).mkdir(parents=True)
        for name in names:
            write_image(tmp_path / part / "Images" / f"{name}.png", PIXELS)
            write_image(tmp_path / part / "Overlay" / f"{name}.png", PIXELS)
            savemat(
                tmp_path / part / "Labels" / f"{name}.mat",
                {"inst_map": IDS.astype(float), "inst_centroid": np.ones((2, 2))},
            )
    return tmp_path


def test_pairs_in_one_folder(pairs):
    data = load_cpm(pairs)
    assert data.names == [f"image{n:02d}" for n in range(1, 16)]
    masks = check_masks(data.masks, check_images(data.images))
    assert [mask.max() for mask in masks] == [2 * n for n in range(1, 16)]
    assert data.pixel_size.tolist() == [0.5] * 7 + [0.25] * 8
    assert data.groups is None and "`groups` is None" in data.DESCR
    assert "Licence" in data.DESCR
    (pairs / "image03_image.png").unlink()
    (pairs / "image03_inst.png").unlink()
    assert load_cpm(pairs).pixel_size is None


def test_text_masks_of_the_challenge(challenge):
    data = load_cpm(str(challenge))
    assert data.names == ["image01", "image02"] and data.pixel_size is None
    assert data.images[0].endswith("image01.png")
    assert data.masks[0].dtype == np.int32
    np.testing.assert_array_equal(data.masks[0], IDS)


def test_parts_with_matlab_files(parts):
    data = load_cpm(parts / "train")
    assert data.names == ["image_9", "image_10"]
    np.testing.assert_array_equal(data.masks[1], IDS)
    assert data.masks[0].dtype == np.int32
    assert data.groups is None and data.pixel_size is None
    assert load_cpm(parts, subset="test").names == ["image_00"]
    with pytest.raises(FileNotFoundError, match="Its parts are 'test', 'train'"):
        load_cpm(parts)
    with pytest.raises(
        FileNotFoundError, match="no folder 'valid'.*folders 'test', 'train'"
    ):
        load_cpm(parts, subset="valid")


def test_a_folder_within_a_folder(parts, tmp_path):
    outer = tmp_path / "outer"
    (outer / "cpm17").mkdir(parents=True)
    (outer / "__MACOSX" / "cpm17").mkdir(parents=True)
    for part in ("train", "test"):
        (parts / part).rename(outer / "cpm17" / part)
    assert load_cpm(outer, subset="Train").names == ["image_9", "image_10"]
    with pytest.raises(FileNotFoundError, match="cpm17'.*Its parts are 'test', 'tr"):
        load_cpm(outer)


@pytest.mark.parametrize("kind", ["mat", "png", "_inst.tif"])
def test_kumar_tells_patients(tmp_path, kind):
    for part in ("images", "labels"):
        (tmp_path / "test_same" / part).mkdir(parents=True)
    for name in KUMAR:
        root = tmp_path / "test_same"
        tifffile.imwrite(root / "images" / f"{name}.tif", PIXELS)
        if kind == "mat":
            savemat(root / "labels" / f"{name}.mat", {"inst_map": IDS})
        else:
            end = kind if kind.startswith("_") else f".{kind}"
            write_labels(root / "labels" / f"{name}{end}", IDS)
    data = load_cpm(tmp_path, subset="test_same")
    assert data.names == KUMAR and data.pixel_size == 0.25
    assert data.groups.tolist() == ["TCGA-18-5592", "TCGA-B0-5711"]
    np.testing.assert_array_equal(data.masks[1], IDS)


def test_missing_files_are_named(pairs, tmp_path):
    (pairs / "image02_inst.png").unlink()
    with pytest.raises(FileNotFoundError, match="1 file.*the labels of image02"):
        load_cpm(pairs)
    (pairs / "image03_image.png").unlink()
    with pytest.raises(FileNotFoundError, match="2 file.*the image of image03"):
        load_cpm(pairs)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no image.*NAME_inst"):
        load_cpm(tmp_path / "empty")
    (tmp_path / "half" / "Images").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="1 file.*Labels/"):
        load_cpm(tmp_path / "half")
    with pytest.raises(FileNotFoundError, match=r"no folder 'train'\.$"):
        load_cpm(tmp_path / "empty", subset="train")


def test_two_labels_of_one_image(pairs):
    write_text_mask(pairs / "image02_mask.txt")
    with pytest.raises(
        ValueError, match=r"two label files of 'image02'.*_inst\.png.*_mask\.txt"
    ):
        load_cpm(pairs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds 0 numbers"),
        ("5", "holds 1 numbers"),
        ("5 4\n1\n2\n", "truncated: it holds 4 numbers"),
        ("5 4\n" + "a\n" * 20, "no mask of whole numbers"),
        ("5 4\n" + "0.5\n" * 20, "no mask of whole numbers"),
        ("5 4\n" + "9" * 30 + "\n0" * 19, "no mask of whole numbers"),
        ("4 5\n" + "0\n" * 20, r"size \(5, 4\).*image02\.png.*\(4, 5\)"),
        ("-5 -4\n" + "0\n" * 20, r"size \(-4, -5\)"),
        ("5 4\n" + "-3\n" * 20, "holds the value -3"),
    ],
)
def test_broken_text_masks_are_named(challenge, text, message):
    (challenge / "image02_mask.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"image02_mask\.txt.*{message}"):
        load_cpm(challenge)


def test_wrong_label_files_are_named(parts, pairs):
    path = parts / "train" / "Labels" / "image_9.mat"
    savemat(path, {"inst_map": IDS[:3]})
    with pytest.raises(ValueError, match=r"image_9\.mat.*\(3, 5\).*\(4, 5\)"):
        load_cpm(parts, subset="train")
    savemat(path, {"labels": IDS})
    with pytest.raises(ValueError, match=r"image_9\.mat.*'inst_map'; it holds labels"):
        load_cpm(parts, subset="train")
    path.write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"image_9\.mat.*broken"):
        load_cpm(parts, subset="train")
    (pairs / "image05_inst.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"image05_inst\.png"):
        load_cpm(pairs)
    write_labels(pairs / "image05_inst.png", IDS[:, :4])
    with pytest.raises(ValueError, match=r"image05_inst\.png.*\(4, 4\).*\(4, 5\)"):
        load_cpm(pairs)


@pytest.mark.data
def test_the_real_images(data_dir):
    data = load_cpm(data_dir / "cpm15")
    assert len(data.images) == 15
    assert data.pixel_size.tolist() == [0.5] * 7 + [0.25] * 8
    assert sum(len(np.unique(mask[mask > 0])) for mask in data.masks) == 2905
    images = check_images(data.images)
    check_masks(data.masks, images)
    assert images.n_channels == 3 and images.shapes[0] == (488, 643)
    # Nuclei are dark: the masks lie on them.
    for image, mask in zip(images, data.masks, strict=True):
        assert image[mask > 0].mean() < image[mask == 0].mean() - 0.05
