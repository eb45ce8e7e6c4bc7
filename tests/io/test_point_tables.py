# SPDX-License-Identifier: BSD-3-Clause
"""Points come back from their tables, and bad tables are named."""

from __future__ import annotations

import os

import numpy as np
import pytest

from psmlearn.datasets import make_nuclei
from psmlearn.io import read_points, write_points


@pytest.mark.parametrize("stain", ["he", "ki67"])
@pytest.mark.parametrize("n_nuclei", [0, 8])
def test_points_come_back(tmp_path, stain, n_nuclei):
    path = tmp_path / "cells.csv"
    data = make_nuclei(1, (64, 64), n_nuclei=n_nuclei, stain=stain, random_state=0)
    write_points(path, data.points[0])
    np.testing.assert_array_equal(read_points(path), data.points[0])
    np.testing.assert_array_equal(read_points(path, label=None), data.points[0][:, :2])
    assert os.listdir(tmp_path) == ["cells.csv"]
    header = "row,column,class" if stain == "ki67" else "row,column"
    assert path.read_text().splitlines()[0] == header


def test_classes_are_written_as_whole_numbers(tmp_path):
    write_points(tmp_path / "a.csv", [[1, 2.5, 2]])
    assert (tmp_path / "a.csv").read_text().split() == ["row,column,class", "1.0,2.5,2"]


def test_columns_of_any_name(tmp_path):
    path = tmp_path / "cells.csv"
    # As a spreadsheet writes it: a byte order mark, semicolons, empty lines.
    path.write_text("kind; X ;Y\nneg;7.5;3\n\n pos;8;4\n;;\n", encoding="utf-8-sig")
    names = {"row": "Y", "column": "X", "delimiter": ";"}
    points = read_points(path, label="kind", classes={"pos": 1, "neg": 2}, **names)
    assert points.tolist() == [[3.0, 7.5, 2.0], [4.0, 8.0, 1.0]]
    assert read_points(path, **names).tolist() == [[3.0, 7.5], [4.0, 8.0]]
    path.write_text("x,y\n")
    assert read_points(path, row="y", column="x").shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "no header"),
        ("x,y\n1,2\n", {}, "no column 'row'; it has 'x', 'y'"),
        ("row,column\n1,2\n", {"label": "kind"}, "no column 'kind'"),
        ("row,column\n1\n", {}, "line 2, has 1 cells"),
        ("row,column\n1,2\n3,nan\n", {}, "line 3: its 'column' is 'nan'"),
        ("row,column\none,2\n", {}, "its 'row' is 'one'"),
        ("row,column,class\n1,2,pos\n", {}, "classes={'pos': 1}"),
        ("row,column,class\n1,2,1.5\n", {}, "its class is '1.5'"),
        ("row,column,class\n1,2,a\n", {"classes": {"b": 1}}, "expected one of 'b'"),
    ],
)
def test_bad_tables(tmp_path, text, options, message):
    path = tmp_path / "cells.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"cells\.csv") as error:
        read_points(path, **options)
    assert message in str(error.value)


def test_centroids_of_tables_of_nuclei_are_points(tmp_path):
    path = tmp_path / "nuclei.csv"
    path.write_text("label,class,centroid_row,centroid_column\n7,2,1.5,3\n9,1,4,8\n")
    np.testing.assert_array_equal(read_points(path), [[1.5, 3, 2], [4, 8, 1]])
    np.testing.assert_array_equal(read_points(path, label=None), [[1.5, 3], [4, 8]])
    path.write_text("row,centroid_row,centroid_column\n1,2,3\n")
    with pytest.raises(ValueError, match="has no column 'column'"):
        read_points(path)


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        read_points(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_bytes(b"\x89PNG\xff\x00")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        read_points(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((2, 4)), "shape"),
        (np.zeros(3), "shape"),
        ([["a", "b"]], "dtype"),
        ([[1.0, np.inf]], "not finite"),
        ([[1.0, 2.0, 1.5]], "no whole numbers"),
    ],
)
def test_points_that_cannot_be_written(tmp_path, points, message):
    with pytest.raises(ValueError, match=message):
        write_points(tmp_path / "a.csv", points)
    assert os.listdir(tmp_path) == []
