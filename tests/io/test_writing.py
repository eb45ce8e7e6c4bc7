# SPDX-License-Identifier: BSD-3-Clause
"""Files are written whole or not at all, and read back the same."""

from __future__ import annotations

import csv
import os
import stat

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from psmlearn.datasets import make_nuclei
from psmlearn.io import (
    atomic_path,
    check_masks,
    read_image,
    read_labels,
    write_image,
    write_labels,
    write_table,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    hnp.arrays(
        np.int64,
        st.one_of(
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
            st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(2)),
        ),
        elements=st.integers(-1, 2**31 - 1),
    )
)
def test_labels_come_back(tmp_path, labels):
    assume(labels.reshape(*labels.shape[:2], -1)[..., 0].max() != 255)
    write_labels(tmp_path / "labels.tif", labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.tif"), labels)
    assert os.listdir(tmp_path) == ["labels.tif"]


def test_masks_with_classes_come_back(tmp_path):
    data = make_nuclei(1, (60, 50), n_nuclei=5, stain="ki67", random_state=0)
    mask = data.masks[0]
    path = tmp_path / "classes.tif"
    write_labels(path, mask)
    np.testing.assert_array_equal(read_labels(path), mask)
    stored = tifffile.imread(path)
    assert stored.shape == (60, 50, 2) and stored.dtype == np.uint16
    # Part of the image is unknown, and one object has no class.
    mask[:20] = -1
    mask[..., 1][mask[..., 0] == mask.max()] = 0
    write_labels(path, mask)
    np.testing.assert_array_equal(read_labels(path), mask)
    (checked,) = check_masks([str(path)])
    np.testing.assert_array_equal(checked, mask)


@pytest.mark.parametrize(
    ("highest", "dtype"), [(3, np.uint16), (65535, np.uint16), (65536, np.int32)]
)
def test_labels_take_the_smallest_common_dtype(tmp_path, highest, dtype):
    labels = np.zeros((300, 300), dtype=np.int64)
    labels[0, :2] = 1, highest
    path = tmp_path / "labels.tiff"
    write_labels(path, labels)
    assert tifffile.imread(path).dtype == dtype
    assert path.stat().st_size < 3000
    labels[0, 0] = -1
    write_labels(path, labels)
    assert tifffile.imread(path).dtype == np.int32


def test_labels_as_png(tmp_path):
    labels = np.array([[0, 1], [65535, 300]])
    write_labels(tmp_path / "labels.png", labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.png"), labels)
    for bad in (labels - 1, labels + 1, np.dstack([labels, labels])):
        with pytest.raises(ValueError, match=r"use \.tif"):
            write_labels(tmp_path / "labels.png", bad)


def test_images_come_back(tmp_path):
    path = tmp_path / "image.png"
    rng = np.random.default_rng(0)
    for dtype, shape in [("u1", (5, 6)), ("u1", (5, 6, 3)), ("u2", (5, 6))]:
        image = rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
        write_image(path, image[::-1])
        np.testing.assert_array_equal(read_image(path), image[::-1])
    write_image(path, image[..., np.newaxis])
    np.testing.assert_array_equal(read_image(path), image)
    write_image(path, rng.random((5, 6, 3)) > 0.5)
    assert set(np.unique(read_image(path))) == {0, 255}
    grey = rng.random((5, 6))
    write_image(path, grey)
    np.testing.assert_allclose(read_image(path) / 255, grey, atol=0.5 / 255)


def test_compression_changes_no_pixel(tmp_path):
    rng = np.random.default_rng(3)
    image = np.kron(rng.integers(0, 255, (20, 30, 3)), np.ones((9, 9, 1))).astype("u1")
    sizes = []
    for level in (0, 1, 6):
        write_image(tmp_path / "a.png", image, compress_level=level)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)
        sizes.append((tmp_path / "a.png").stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]
    plain = (tmp_path / "a.png").read_bytes()
    write_image(tmp_path / "a.png", image)
    assert (tmp_path / "a.png").read_bytes() == plain
    for level in (-1, 10, 1.0, True):
        with pytest.raises(ValueError, match="from 0 to 9"):
            write_image(tmp_path / "a.png", image, compress_level=level)


@pytest.mark.parametrize(
    ("write", "name", "value", "error", "message"),
    [
        (write_image, "a.jpg", np.zeros((2, 2)), ValueError, "suffix is '.jpg'"),
        (write_image, "a.png", [[0]], TypeError, "list"),
        (write_image, "a.png", np.full((2, 2), 1.5), ValueError, "from 1.5 to 1.5"),
        (write_image, "a.png", np.full((2, 2), np.nan), ValueError, "within"),
        (write_image, "a.png", np.zeros((2, 2), int), ValueError, "int64"),
        (write_image, "a.png", np.zeros((2, 2, 5)), ValueError, "3 or 4 channels"),
        (write_image, "a.png", np.zeros((0, 2)), ValueError, "shape"),
        (write_image, "a.png", np.zeros((2, 2, 3), "u2"), ValueError, "uint16"),
        (write_labels, "a.jpg", np.zeros((2, 2), int), ValueError, "suffix"),
        (write_labels, "a.tif", np.zeros((2, 2)), ValueError, "float64"),
        (write_labels, "a.tif", [[0]], TypeError, "list"),
        (write_table, "a.txt", {"a": [1]}, ValueError, "suffix"),
        (write_table, "a.csv", {}, ValueError, "columns of one length"),
        (write_table, "a.csv", {"a": [1], "b": [1, 2]}, ValueError, "'b': 2"),
        (write_table, "a.csv", {"a": 3}, ValueError, "columns of one length"),
    ],
)
def test_what_cannot_be_written(tmp_path, write, name, value, error, message):
    with pytest.raises(error, match=message):
        write(tmp_path / name, value)
    assert os.listdir(tmp_path) == []


def test_tables_read_back_and_run_no_formulas(tmp_path):
    path = tmp_path / "nuclei.csv"
    area = np.array([0.1, 1 / 3, -2.5])
    write_table(
        path,
        {
            "id": np.arange(3, dtype=np.int32),
            "area": area,
            "name": ["=1+1", 'a,"b"', "@x"],
            "+total": (None, True, "ü"),
        },
    )
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["id", "area", "name", "'+total"]
    np.testing.assert_array_equal([float(row[1]) for row in rows[1:]], area)
    assert [row[2] for row in rows[1:]] == ["'=1+1", 'a,"b"', "'@x"]
    assert [row[3] for row in rows[1:]] == ["", "True", "ü"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        with open(temporary, "w") as file:
            file.write("half")
        assert os.path.dirname(temporary) == str(tmp_path)
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["result.txt"]


def test_a_success_replaces_the_old_file_and_keeps_its_mode(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    plain = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0o640)
    with atomic_path(path) as temporary:
        assert temporary.endswith(".txt") and path.read_text() == "old"
        with open(temporary, "w") as file:
            file.write("new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["result.txt"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    write_table(tmp_path / "t.csv", {"a": [1]})
    assert stat.S_IMODE((tmp_path / "t.csv").stat().st_mode) == plain


def test_folders_are_told(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="no folder"),
        atomic_path(tmp_path / "none" / "a.txt"),
    ):
        pass
    with pytest.raises(IsADirectoryError, match="is a folder"), atomic_path(tmp_path):
        pass
    with pytest.raises(TypeError, match="expected a path"), atomic_path(3):
        pass


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX modes")
def test_files_may_be_read_by_whom_the_user_lets(tmp_path):
    """Some libraries make files for their owner alone."""
    path = tmp_path / "shared.bin"
    before = os.umask(0o022)
    try:
        with atomic_path(path) as part:
            os.unlink(part)
            os.close(os.open(part, os.O_CREAT | os.O_WRONLY, 0o600))
        assert path.stat().st_mode & 0o777 == 0o644
        path.chmod(0o640)  # what was there keeps its own
        with atomic_path(path) as part:
            os.chmod(part, 0o600)
        assert path.stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)
