# SPDX-License-Identifier: BSD-3-Clause
"""CoNSeP in its own layout: ids and types out of MATLAB files."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from psmlearn.datasets import load_consep
from psmlearn.io import check_images, check_masks, write_image

IDS = np.zeros((6, 8))
IDS[:2, :2], IDS[3:, 3:5], IDS[:2, 6:] = 1, 2, 5
TYPES = np.zeros((6, 8))
TYPES[:2, :2], TYPES[3:, 3:5], TYPES[:2, 6:] = 2, 4, 7
TYPES[3, 3] = 3  # one pixel of another type
TYPES[5, 0] = 6  # a type where no nucleus is


def write_labels_mat(path, ids=IDS, types=TYPES, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    of_types = np.array([[2], [4], [7]])
    savemat(
        path,
        {
            "inst_map": ids,
            "type_map": types,
            "inst_type": of_types,
            "inst_centroid": np.array([[0.5, 0.5], [3.5, 4.0], [6.5, 0.5]]),
            **more,
        },
        do_compression=True,
    )


@pytest.fixture
def folder(tmp_path):
    for part, names in (("Train", ["train_10", "train_2"]), ("Test", ["test_1"])):
        (tmp_path / part / "Images").mkdir(parents=True)
        (tmp_path / part / "Overlay").mkdir()
        for name in names:
            write_image(
                tmp_path / part / "Images" / f"{name}.png",
                np.zeros((6, 8, 3), np.uint8),
            )
            write_labels_mat(tmp_path / part / "Labels" / f"{name}.mat")
    (tmp_path / "README.txt").write_text("")
    return tmp_path


def test_ids_and_types(folder):
    data = load_consep(folder)
    assert data.names == ["train_2", "train_10"]
    assert data.images[1].endswith("train_10.png")
    mask = check_masks(data.masks, check_images(data.images))[0]
    assert mask.shape == (6, 8, 2) and mask.dtype == np.int32
    np.testing.assert_array_equal(mask[..., 0], IDS)
    # One type for each nucleus, and none outside.
    np.testing.assert_array_equal(
        mask[..., 1], np.array([0, 2, 4, 0, 0, 7])[mask[..., 0]]
    )
    assert data.target_names[6] == "endothelial" and len(data.target_names) == 7
    assert data.groups is None and "`groups` is None" in data.DESCR
    assert "Licence" in data.DESCR and data.pixel_size == 0.25
    assert load_consep(str(folder), subset="test").names == ["test_1"]


def test_merged_types(folder):
    data = load_consep(folder, merge_types=True)
    mask = data.masks[0]
    np.testing.assert_array_equal(
        mask[..., 1], np.array([0, 2, 3, 0, 0, 4])[mask[..., 0]]
    )
    assert data.target_names == [
        "other",
        "inflammatory",
        "epithelial",
        "spindle-shaped",
    ]


def test_nuclei_without_a_type_are_unknown(folder):
    path = folder / "Train" / "Labels" / "train_2.mat"
    write_labels_mat(path, types=np.where(IDS == 2, 0, TYPES).astype(np.uint8))
    mask = load_consep(folder).masks[0]
    assert set(mask[IDS == 2, 1]) == {-1} and set(mask[IDS == 5, 1]) == {7}
    write_labels_mat(path, ids=np.zeros((6, 8)))
    assert not load_consep(folder).masks[0].any()


def test_a_folder_within_a_folder(folder, tmp_path):
    inner = tmp_path / "outer" / "CoNSeP"
    (inner.parent / "__MACOSX").mkdir(parents=True)
    inner.mkdir()
    for part in ("Train", "Test"):
        (folder / part).rename(inner / part)
    assert load_consep(tmp_path / "outer", subset="test").names == ["test_1"]


def test_missing_files_are_named(folder):
    with pytest.raises(ValueError, match="subset is 'valid'"):
        load_consep(folder, subset="valid")
    (folder / "Train" / "Labels" / "train_2.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 file.*Train/Labels/train_2\.mat"):
        load_consep(folder)
    (folder / "Train" / "Images" / "train_10.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"2 file.*Train/Images/train_10\.png"):
        load_consep(folder)
    (folder / "Test" / "Labels").rename(folder / "Test" / "labels.old")
    with pytest.raises(FileNotFoundError, match=r"1 file.*Test/Labels/"):
        load_consep(folder, subset="test")
    (folder / "Test").rename(folder / "other")
    with pytest.raises(FileNotFoundError, match=r"2 file.*Test/Images/.*Test/Labels/"):
        load_consep(folder, subset="test")
    for part in ("Images", "Labels"):
        for path in (folder / "Train" / part).iterdir():
            path.unlink()
    with pytest.raises(FileNotFoundError, match=r"Train/Images/train_1\.png"):
        load_consep(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": IDS[:4]}, r"size \(4, 8\).*train_2\.png.*\(6, 8\)"),
        ({"types": TYPES[:, :3]}, r"size \(6, 3\).*\(6, 8\)"),
        ({"ids": IDS + 0.5}, "'inst_map' holds values that are not whole"),
        (
            {"ids": np.where(IDS, np.nan, 0)},
            "'inst_map' holds values that are not finite",
        ),
        ({"ids": IDS * 1j}, "'inst_map' holds values that are not finite real"),
        ({"types": TYPES + 5}, r"'type_map' holds values from 5 to 12; expected 0"),
        ({"ids": IDS - 7}, "'inst_map' holds the value -7"),
        ({"types": "epithelial"}, r"'type_map' is char"),
        ({"types": np.array([1, "a"], object)}, r"'type_map' is cell"),
        ({"types": np.zeros((6, 8, 2))}, r"'type_map' is double of shape \(6, 8, 2\)"),
    ],
)
def test_wrong_labels_are_told(folder, change, message):
    write_labels_mat(folder / "Train" / "Labels" / "train_2.mat", **change)
    with pytest.raises(ValueError, match=rf"train_2\.mat.*{message}"):
        load_consep(folder)


def test_broken_files_are_named(folder):
    path = folder / "Train" / "Labels" / "train_2.mat"
    whole = path.read_bytes()
    savemat(path, {"instance_map": IDS, "type_map": TYPES})
    with pytest.raises(
        ValueError, match=r"train_2\.mat.*no key 'inst_map'.*instance_map, type_map"
    ):
        load_consep(folder)
    for content in (b"", b"no MATLAB", whole[:300], whole[:128], bytes(200)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"train_2\.mat"):
            load_consep(folder)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(600))
    with pytest.raises(ValueError, match=r"train_2\.mat.*MATLAB 7\.3 \(HDF5\).*-v7"):
        load_consep(folder)
    path.write_bytes(whole)
    (folder / "Train" / "Images" / "train_2.png").write_bytes(b"no PNG")
    with pytest.raises(ValueError, match=r"train_2\.png"):
        load_consep(folder)
