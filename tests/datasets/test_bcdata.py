# SPDX-License-Identifier: BSD-3-Clause
"""BCData in its own layout: points out of HDF5, and what may be wrong with it."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from psmlearn._images._stains import dab
from psmlearn.datasets import load_bcdata
from psmlearn.io import check_images, read_image, write_image

h5py = pytest.importorskip("h5py")

POSITIVE = np.array([[3, 0], [15, 9]])  # (x, y)
NEGATIVE = np.array([[7, 2]])


def write_points(path, points, key="coordinates"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset(key, data=points)


def annotation(folder, name, kind="positive", subset="test"):
    return folder / "annotations" / subset / kind / f"{name}.h5"


@pytest.fixture
def folder(tmp_path):
    for subset, names in (("test", ["10", "2", "1"]), ("train", ["0"])):
        (tmp_path / "images" / subset).mkdir(parents=True)
        for name in names:
            path = tmp_path / "images" / subset / f"{name}.png"
            write_image(path, np.zeros((10, 16, 3), np.uint8))
            write_points(annotation(tmp_path, name, "positive", subset), POSITIVE)
            write_points(annotation(tmp_path, name, "negative", subset), NEGATIVE)
    (tmp_path / "images" / "test" / "Thumbs.db").write_text("")
    (tmp_path / "images" / "test" / "._1.png").write_text("")
    return tmp_path


def test_points_are_rows_columns_and_classes(folder):
    data = load_bcdata(folder, subset="test")
    assert data.names == ["1", "2", "10"]
    assert [os.path.basename(path) for path in data.images] == [
        "1.png",
        "2.png",
        "10.png",
    ]
    for points in data.points:
        assert points.dtype == np.float64
        np.testing.assert_array_equal(points, [[0, 3, 1], [9, 15, 1], [2, 7, 2]])
    assert data.target_names == ["positive", "negative"]
    assert data.groups is None and "`groups` is None" in data.DESCR
    assert "Licence" in data.DESCR and data.pixel_size == 0.25
    assert check_images(data.images).shapes == [(10, 16)] * 3
    assert load_bcdata(str(folder)).names == ["0"]


@pytest.mark.parametrize(
    "nothing", [np.zeros(0), np.zeros((0, 2), int), np.zeros((2, 0)), h5py.Empty("f")]
)
def test_images_without_points(folder, nothing):
    write_points(annotation(folder, "2", "positive"), nothing)
    points = load_bcdata(folder, subset="test").points[1]
    np.testing.assert_array_equal(points, [[2, 7, 2]])
    write_points(annotation(folder, "2", "negative"), nothing)
    points = load_bcdata(folder, subset="test").points[1]
    assert points.shape == (0, 3) and points.dtype == np.float64


def test_a_folder_within_a_folder(folder, tmp_path):
    for name in ("images", "annotations"):
        (tmp_path / "outer" / "BCData").mkdir(parents=True, exist_ok=True)
        (folder / name).rename(tmp_path / "outer" / "BCData" / name)
    assert load_bcdata(tmp_path / "outer").names == ["0"]


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match="subset is 'val'.*'validation'"):
        load_bcdata(folder, subset="val")
    with pytest.raises(FileNotFoundError, match="3 file.*images/validation/.*positive"):
        load_bcdata(folder, subset="validation")
    annotation(folder, "10", "negative").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 file.*annotations/test/negative/10\.h5"
    ):
        load_bcdata(folder, subset="test")
    (folder / "images" / "test" / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"2 file.*images/test/1\.png.*10\.h5"):
        load_bcdata(folder, subset="test")
    (tmp_path / "other").mkdir()
    for kind in ("positive", "negative"):
        (tmp_path / "other" / "annotations" / "test" / kind).mkdir(parents=True)
    (tmp_path / "other" / "images" / "test").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"images/test/0\.png"):
        load_bcdata(tmp_path / "other", subset="test")
    with pytest.raises(FileNotFoundError, match="No such folder"):
        load_bcdata(tmp_path / "none")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((3, 3)), r"shape \(3, 3\).*expected \(n_points, 2\)"),
        (np.float64(3), r"shape \(\)"),
        (np.array([[1, np.nan]]), "not finite"),
        (np.array([[16, 9]]), r"1 point.*row 9, column 16"),
        (np.array([[9, 16], [1, 1]]), r"1 point.*\(10, 16\).*row 16, column 9"),
        (np.array([[-1, 0]]), "outside its image"),
        (np.array([[b"1", b"2"]]), "dtype"),
        (np.zeros((161, 2)), "more points"),
    ],
)
def test_wrong_points_are_told(folder, points, message):
    write_points(annotation(folder, "2"), points)
    with pytest.raises(ValueError, match=rf"positive/2\.h5.*{message}"):
        load_bcdata(folder, subset="test")


def test_broken_files_are_named(folder):
    path = annotation(folder, "2", "negative")
    write_points(path, NEGATIVE, key="points")
    with pytest.raises(
        ValueError, match=r"negative/2\.h5.*'coordinates'.*holds points"
    ):
        load_bcdata(folder, subset="test")
    for content in (b"", b"\x89HDF\r\n\x1a\n" + bytes(50), b"x,y\n1,2\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"negative/2\.h5.*is broken"):
            load_bcdata(folder, subset="test")
    write_points(path, NEGATIVE)
    (folder / "images" / "test" / "10.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"10\.png.*is a broken PNG"):
        load_bcdata(folder, subset="test")


def test_h5py_is_asked_for(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r'pip install "psmlearn\[data\]"'):
        load_bcdata(folder, subset="test")


@pytest.mark.data
def test_the_real_images(data_dir):
    data = load_bcdata(data_dir / "bcdata", subset="test")
    assert data.names == [str(n) for n in range(14)]
    points = np.concatenate(data.points)
    assert np.bincount(points[:, 2].astype(int)).tolist() == [0, 690, 768]
    assert points[:, :2].min() >= 0 and points[:, :2].max() < 640
    for path, points in zip(data.images, data.points, strict=True):
        # Positive nuclei are brown, which turned coordinates would not meet.
        brown = dab(read_image(path) / np.float32(255))
        rows, columns = points[:, :2].astype(int).T
        positive = points[:, 2] == 1
        at_points = brown[rows, columns]
        assert at_points[positive].mean() > at_points[~positive].mean() + 0.1
        turned = brown[columns, rows]
        assert at_points[positive].mean() > turned[positive].mean() + 0.1
