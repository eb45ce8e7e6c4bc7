# SPDX-License-Identifier: BSD-3-Clause
"""Folders of images and CSV points, with regions, as labs keep them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from psmlearn.datasets import load_point_folder, make_nuclei
from psmlearn.io import check_images, write_image, write_points

CLASSES = {"positive": 1, "negative": 2}
FLAT = {
    **{"images": ".", "points": ".", "regions": "."},
    **{"point_suffix": "_points", "region_suffix": "_roi"},
    **{"row": "y", "column": "x", "classes": CLASSES},
}


@pytest.fixture
def flat(tmp_path):
    """All files in one folder: NAME.png, NAME_points.csv, NAME_roi.png."""
    region = np.zeros((30, 40), dtype=bool)
    region[5:20, 10:30] = True
    tables = {"7-01": "positive,8.5,4\nnegative,39,29\n", "7-02": "", "12-01": ""}
    for name, text in tables.items():
        write_image(tmp_path / f"{name}.png", np.full((30, 40, 3), 200, np.uint8))
        write_image(tmp_path / f"{name}_roi.png", region)
        (tmp_path / f"{name}_points.csv").write_text(f"class,x,y\n{text}")
    return tmp_path


def test_files_in_one_folder_are_paired(flat):
    data = load_point_folder(flat, **FLAT, group_pattern=r"^(\d+)-")
    assert data.names == ["12-01", "7-01", "7-02"]
    assert [Path(path).stem for path in data.images] == data.names
    assert data.groups.tolist() == ["12", "7", "7"]
    assert data.points[1].tolist() == [[4.0, 8.5, 1.0], [29.0, 39.0, 2.0]]
    assert data.points[0].shape == data.points[2].shape == (0, 3)
    assert data.target_names == ["positive", "negative"]
    assert [region.sum() for region in data.regions] == [300] * 3
    assert data.regions[0].dtype == bool and data.regions[0].shape == (30, 40)
    assert check_images(data.images).shapes == [(30, 40)] * 3


def test_folders_of_their_own(tmp_path):
    made = make_nuclei(2, (48, 56), n_nuclei=5, stain="ki67", random_state=0)
    for kind in ("images", "points"):
        (tmp_path / kind).mkdir()
    for index in range(2):
        write_image(tmp_path / "images" / f"{index}.png", made.images[index])
        write_points(tmp_path / "points" / f"{index}.csv", made.points[index])
    data = load_point_folder(tmp_path)
    for loaded, points in zip(data.points, made.points, strict=True):
        np.testing.assert_array_equal(loaded, points)
    assert data.regions is None and data.target_names is None and data.groups is None
    bare = load_point_folder(tmp_path, label=None)
    np.testing.assert_array_equal(bare.points[1], made.points[1][:, :2])
    os.remove(tmp_path / "points" / "1.csv")
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images.*table.*'': 1\."):
        load_point_folder(tmp_path)
    assert load_point_folder(tmp_path, require_points=False).points[1] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class,x,y\npositive,8,31\n", r"outside its image .*row 31, column 8"),
        ("class,x,y\nunsure,8,3\n", "expected one of 'positive', 'negative'"),
        ("class,row,column\n", "no column 'y'"),
    ],
)
def test_bad_tables_are_named(flat, text, message):
    (flat / "7-02_points.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        load_point_folder(flat, **FLAT)
    assert "7-02_points.csv" in str(error.value)


def test_bad_regions_and_missing_files(flat):
    write_image(flat / "7-02_roi.png", np.zeros((30, 41), dtype=bool))
    with pytest.raises(ValueError, match="7-02_roi"):
        load_point_folder(flat, **FLAT)
    os.remove(flat / "7-02_roi.png")
    with pytest.raises(FileNotFoundError, match="no region.*'_roi': 7-02"):
        load_point_folder(flat, **FLAT)
    with pytest.raises(FileNotFoundError, match="No such folder"):
        load_point_folder(flat)
    with pytest.raises(FileNotFoundError, match="holds no image"):
        load_point_folder(flat, **FLAT, image_suffix="_he")


@pytest.mark.data
def test_real_fields():
    folder = os.environ.get("PSMLEARN_DATA", "")
    fields = Path(folder) / "ki67_fields"
    if not folder or not fields.is_dir():
        pytest.skip("PSMLEARN_DATA has no ki67_fields")
    data = load_point_folder(fields, **FLAT)
    assert len(data.images) == 14
    assert data.points[data.names.index("503-05")].shape == (160, 3)
    for points, region in zip(data.points, data.regions, strict=True):
        rows, columns = points[:, :2].astype(int).T
        # Clicks lie in the region, but for a few at its border.
        size = np.array(region.shape) - 1
        inside = region[np.minimum(rows, size[0]), np.minimum(columns, size[1])]
        assert inside.mean() > 0.95
        assert set(points[:, 2]) == {1.0, 2.0}
