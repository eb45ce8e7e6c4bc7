# SPDX-License-Identifier: BSD-3-Clause
"""Pyramids of label images that are never held whole, read back to the pixel."""

from __future__ import annotations

import builtins
import os
import tracemalloc

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from psmlearn.io import _label_pyramid as pyramid
from psmlearn.io import (
    read_labels,
    read_pixel_size,
    write_label_pyramid,
)

SUFFIXES = [".tif", ".ome.tiff", ".ome.zarr"]


class Source:
    """A label image that keeps account of what is asked for."""

    def __init__(self, labels):
        self.labels, self.boxes = labels, []

    def __call__(self, top, left, bottom, right):
        self.boxes.append((top, left, bottom, right))
        return self.labels[top:bottom, left:right]


@pytest.fixture(scope="module")
def labels():
    """Blocks of large ids, with a blank margin, of odd sides."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 3_000_000, (43, 61)).astype(np.int32)
    labels = np.kron(ids, np.ones((7, 9), np.int32))
    labels[:130, :150] = 0
    return labels


def levels_of(path):
    """All levels of a file, by another reader."""
    if path.name.endswith(".zarr"):
        zarr = pytest.importorskip("zarr")
        group = zarr.open_group(path, mode="r")
        (told,) = group.attrs["multiscales"]
        return [group[each["path"]][...] for each in told["datasets"]]
    with tifffile.TiffFile(path) as file:
        (series,) = file.series
        return [level.asarray() for level in series.levels]


def nearest(labels, tile):
    levels = [labels]
    while max(levels[-1].shape) > tile:
        levels.append(levels[-1][::2, ::2])
    return levels


@pytest.mark.parametrize("tile", [64, 80, 1024])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_all_levels_come_back(suffix, tile, labels, tmp_path):
    if suffix.endswith("zarr"):
        pytest.importorskip("zarr")
    path, source = tmp_path / f"a{suffix}", Source(labels)
    write_label_pyramid(path, source, labels.shape, tile=tile)
    expected = nearest(labels, tile)
    found = levels_of(path)
    assert len(found) == len(expected) == {64: 5, 80: 4, 1024: 1}[tile]
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one, other)
        assert one.dtype == np.uint32
    assert os.listdir(tmp_path) == [path.name]
    # Each pixel is asked for once.
    assert len(set(source.boxes)) == len(source.boxes)
    assert sum((b - t) * (r - le) for t, le, b, r in source.boxes) == labels.size


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (1, 1), (64, 64), (65, 129)])
@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_odd_sizes_come_back(suffix, shape, tmp_path):
    if suffix == ".zarr":
        pytest.importorskip("zarr")
    labels = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    path = tmp_path / f"a{suffix}"
    write_label_pyramid(path, Source(labels), shape, tile=64)
    for one, other in zip(levels_of(path), nearest(labels, 64), strict=True):
        assert_array_equal(one, other)


def test_tiff_is_read_as_before(labels, tmp_path):
    path = tmp_path / "a.ome.tif"
    write_label_pyramid(path, Source(labels), labels.shape, tile=64, pixel_size=0.4)
    assert_array_equal(read_labels(path), labels)
    assert read_pixel_size(path) == 0.4


def test_tiff_is_what_bio_formats_and_qupath_expect(labels, tmp_path):
    path = tmp_path / "a.ome.tif"
    write_label_pyramid(path, Source(labels), labels.shape, tile=64, pixel_size=0.4)
    with tifffile.TiffFile(path) as file:
        assert file.is_ome and not file.is_bigtiff and len(file.pages) == 1
        page = file.pages.first
        lower = [page, *page.pages]
        assert len(page.subifds) == len(page.pages) == 4
        for number, each in enumerate(lower):
            assert each.is_tiled and each.tile == (64, 64)
            assert each.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
            assert bool(each.is_reduced) == (number > 0)
            x, y = (each.tags[f"{axis}Resolution"].value for axis in "XY")
            assert x == y and x[0] / x[1] == pytest.approx(25_000 / 2**number)
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert pixels["Type"] == "uint32" and pixels["SizeX"] == labels.shape[1]
    assert pixels["PhysicalSizeX"] == pixels["PhysicalSizeY"] == 0.4
    assert pixels["PhysicalSizeXUnit"] == "µm"


def test_what_is_written_twice_is_the_same_twice(labels, tmp_path):
    for name, given in (("a", labels), ("b", labels), ("c", labels + 1)):
        write_label_pyramid(tmp_path / f"{name}.tif", Source(given), labels.shape)
    one, two, other = ((tmp_path / f"{name}.tif").read_bytes() for name in "abc")
    assert one == two
    assert other[other.index(b"UUID") :][:50] != one[one.index(b"UUID") :][:50]


def test_large_files_are_bigtiff(labels, tmp_path, monkeypatch):
    monkeypatch.setattr(pyramid, "_MAX_PLAIN", 4 * labels.size)
    write_label_pyramid(tmp_path / "a.tif", Source(labels), labels.shape, tile=64)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_bigtiff
    assert_array_equal(read_labels(tmp_path / "a.tif"), labels)


def test_zarr_tells_what_it_is(labels, tmp_path):
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "a.ome.zarr"
    write_label_pyramid(
        path,
        Source(labels),
        labels.shape,
        tile=64,
        pixel_size=0.5,
        classes={1: "Tumor", 4: "Stroma"},
    )
    group = zarr.open_group(path, mode="r")
    assert group.metadata.zarr_format == 2
    (told,) = group.attrs["multiscales"]
    assert told["version"] == "0.4" and [a["name"] for a in told["axes"]] == ["y", "x"]
    assert all(axis["unit"] == "micrometer" for axis in told["axes"])
    scales = [each["coordinateTransformations"][0] for each in told["datasets"]]
    assert [each["scale"] for each in scales] == [
        [0.5 * 2**level] * 2 for level in range(5)
    ]
    label = group.attrs["image-label"]
    assert label["properties"][1] == {"label-value": 4, "class": "Stroma"}
    assert len(label["colors"][0]["rgba"]) == 4
    assert group["0"].chunks == (64, 64)
    # Chunks lie in folders, and blank ones nowhere.
    assert (path / "0" / "4" / "5").is_file() and not (path / "0" / "0" / "0").exists()


def test_class_names_are_in_the_description(labels, tmp_path):
    write_label_pyramid(
        tmp_path / "a.tif", Source(labels), labels.shape, classes=["Tumor", "Gewebe ü"]
    )
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert "1 = Tumor, 2 = Gewebe ü" in file.ome_metadata


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_old_files_stay_where_writing_fails(suffix, labels, tmp_path):
    if suffix == ".zarr":
        pytest.importorskip("zarr")
    path = tmp_path / f"a{suffix}"
    write_label_pyramid(path, Source(labels), labels.shape, tile=64)

    def read(top, left, bottom, right):
        if top >= 128:
            raise RuntimeError("the slide went away")
        return labels[top:bottom, left:right]

    with pytest.raises(RuntimeError, match="went away"):
        write_label_pyramid(path, read, labels.shape, tile=64)
    assert_array_equal(levels_of(path)[0], labels)
    assert os.listdir(tmp_path) == [path.name]
    # And are replaced where it does not, whatever their size was.
    write_label_pyramid(path, Source(labels[:70]), (70, labels.shape[1]), tile=64)
    assert_array_equal(levels_of(path)[0], labels[:70])
    assert os.listdir(tmp_path) == [path.name]


def test_folders_of_something_else_are_left_alone(labels, tmp_path):
    pytest.importorskip("zarr")
    (tmp_path / "a.zarr").mkdir()
    write_label_pyramid(tmp_path / "a.zarr", Source(labels), labels.shape)
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "thesis.txt").write_text("dear")
    (tmp_path / "c.zarr").write_text("a file")
    for name in ("b.zarr", "c.zarr"):
        with pytest.raises(FileExistsError, match=f"{name}.*something else"):
            write_label_pyramid(tmp_path / name, Source(labels), labels.shape)
    assert (tmp_path / "b.zarr" / "thesis.txt").read_text() == "dear"
    with pytest.raises(FileNotFoundError, match="no folder"):
        write_label_pyramid(tmp_path / "no" / "a.zarr", Source(labels), labels.shape)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (np.zeros((5, 5), np.int32), r"read\(0, 0, 64, 64\).*\(64, 64\)"),
        (np.zeros((64, 64)), "whole numbers"),
        (np.full((64, 64), -1), "-1 to -1.*unknown to 0"),
        (np.full((64, 64), 2**33), "from 0 to 4294967295"),
    ],
)
def test_what_is_no_label_image_is_refused(found, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        write_label_pyramid(tmp_path / "a.tif", lambda *_: found, (99, 99), tile=64)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"shape": (0, 4)}, "height and width"),
        ({"shape": (4, 4, 2)}, "height and width"),
        ({"shape": 7}, "height and width"),
        ({"tile": 100}, "multiple of 16"),
        ({"tile": 64.0}, "multiple of 16"),
        ({"tile": 32}, "from 64"),
        ({"pixel_size": -1}, "pixel_size"),
        ({"path": "a.png"}, "suffix"),
    ],
)
def test_bad_parameters_are_told(options, told, labels, tmp_path):
    given = {"path": "a.tif", "read": Source(labels), "shape": labels.shape, **options}
    given["path"] = tmp_path / given["path"]
    with pytest.raises(ValueError, match=told):
        write_label_pyramid(**given)
    assert not os.listdir(tmp_path)


def test_the_extra_is_named(labels, tmp_path, monkeypatch):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "zarr":
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"psmlearn\[wsi\]"):
        write_label_pyramid(tmp_path / "a.zarr", Source(labels), labels.shape)


def test_memory_does_not_grow_with_the_height(tmp_path):
    """Eight times the rows, of tiles made anew each time."""

    def read(top, left, bottom, right):
        rows = np.arange(top, bottom, dtype=np.int32)[:, np.newaxis] // 20 * 90
        return rows + np.arange(left, right, dtype=np.int32) // 20 + 1

    peaks = []
    for height in (512, 512, 4096):  # the first time modules are loaded
        tracemalloc.start()
        write_label_pyramid(tmp_path / "a.tif", read, (height, 1800), tile=128)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1] + 100_000, peaks
