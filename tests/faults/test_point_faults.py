# SPDX-License-Identifier: BSD-3-Clause
"""Tables of points that are no tables, and points beside their image."""

from __future__ import annotations

import os

import numpy as np
import pytest

from psmlearn.exceptions import AnnotationWarning
from psmlearn.io import check_points, read_points, write_points
from psmlearn.measure import labelling_index, stain_intensity
from psmlearn.metrics import detection_f1_score


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (b"row,column,row\n1,2,3\n", {}, "has the column 'row' twice"),
        (b"row,column, column \n1,2,3\n", {}, "has the column 'column' twice"),
        (b"class,row,column,class\n1,2,3,1\n", {}, "has the column 'class' twice"),
        (b"x,y\n1,2\n", {"row": "x", "column": "x"}, "is to give the column 'x' twice"),
        (b"row,column\n1_0,2\n", {}, "its 'row' is '1_0'"),
        (b"row,column\n1e300,2\n", {}, "its 'row' is '1e300'"),
        (b"row,column\n1,inf\n", {}, "its 'column' is 'inf'"),
        (b"row,column\n1,2\x00\n", {}, "its 'column'"),
        (b"row,column,class\n1,2,1e300\n", {}, "its class is '1e300'"),
        (b"row,column,class\n1,2,nan\n", {}, "its class is 'nan'"),
        ("row,column\n1,2\n".encode("utf-16"), {}, "no text in UTF-8"),
        (b"\0" * 3_000_000, {}, "line of more than"),
        (b"row,column\n" + b"7" * 2_000_000, {}, "line of more than"),
        (b"row,column\n" + b"7" * 200_000 + b",1\n", {}, "broken CSV"),
        (b'row,column\n"' + b"1\n" * 200_000, {}, "broken CSV"),
        (b"row,column\n1,2\n", {"delimiter": ";;"}, "delimiter must be one character"),
        (b"row,column\n1,2\n", {"delimiter": ""}, "delimiter must be one character"),
        (b'note,row,column\n"a\nb",1,2\n"c",1,x\n', {}, "line 4: its 'column' is 'x'"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, text, options, message):
    path = tmp_path / "cells.csv"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_points(path, **options)
    assert "delimiter" in message or "cells.csv" in str(caught.value)


def test_a_column_twice_that_is_not_read_does_no_harm(tmp_path):
    path = tmp_path / "cells.csv"
    path.write_bytes(b"\xef\xbb\xbfnote,row,column,note\na,1,2,b\n")
    assert read_points(path).tolist() == [[1.0, 2.0]]
    path.write_bytes(b"class,row,column,class\n1,2,3,1\n")
    assert read_points(path, label=None).tolist() == [[2.0, 3.0]]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("read", [read_points, lambda path: check_points([path])])
def test_pipes_and_folders_are_no_tables(tmp_path, read):
    pipe, folder = str(tmp_path / "pipe.csv"), str(tmp_path / "folder.csv")
    os.mkfifo(pipe)
    os.mkdir(folder)
    with pytest.raises(ValueError, match=r"pipe.csv.*pipe, socket or device"):
        read(pipe)
    with pytest.raises(ValueError, match=r"folder.csv.*is a folder"):
        read(folder)
    for missing in (str(tmp_path / "none.csv"), "nul\0.csv"):
        with pytest.raises(FileNotFoundError, match=r"none\.csv|nul"):
            read(missing)


def test_points_of_many_rows_take_little_memory(tmp_path):
    path = tmp_path / "cells.csv"
    points = np.random.default_rng(0).random((2000, 2)) * 90
    write_points(path, points)
    np.testing.assert_array_equal(read_points(path), points)


POINTS = np.array([[3.0, 4, 1], [9059, 12, 2], [5, 9000, 1], [8, 9, 2]])
REGION = np.ones((20, 30), bool)


@pytest.mark.parametrize("as_file", [False, True])
def test_points_beside_the_image_are_told_once(tmp_path, as_file):
    points = POINTS
    if as_file:
        points = str(tmp_path / "cells.csv")
        write_points(points, POINTS)
    image = np.full((20, 30, 3), 200, np.uint8)
    calls = [
        lambda: labelling_index([points] * 2, regions=[REGION] * 2, min_cells=0),
        lambda: stain_intensity([image] * 2, [points] * 2, radius=2),
        lambda: detection_f1_score(
            [points] * 2, [points] * 2, radius=2, regions=[REGION] * 2
        ),
    ]
    for call in calls:
        with pytest.warns(AnnotationWarning, match="2 of 4 points of y.*9059") as told:
            call()
        assert len(told) == 1


def test_points_on_the_edge_are_on_the_image():
    points = [[[-0.5, 0.0, 1], [19.9, 30.0, 2]]]
    labelling_index(points, regions=[REGION], min_cells=0)
    labelling_index([POINTS], min_cells=0)  # of no known size
