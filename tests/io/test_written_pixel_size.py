# SPDX-License-Identifier: BSD-3-Clause
"""Files that tell their pixel size, to us and to others."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from psmlearn.io import (
    read_image,
    read_labels,
    read_pixel_size,
    write_image,
    write_labels,
)

SIZES = [0.01, 0.22, 0.2520, 1 / 3, 0.5, 1.0, 7.77, 20.0]


def blocks(highest=12, classes=False, unknown=False):
    labels = np.kron(np.arange(12).reshape(3, 4), np.ones((5, 6), int))
    labels[labels == 11] = highest
    if unknown:
        labels[0, 0] = -1
    if classes:
        labels = np.stack([labels, np.where(labels > 0, 1 + labels % 2, 0)], axis=2)
    return labels


LABELS = {
    "uint16": blocks(),
    "int32": blocks(70_000),
    "unknown": blocks(unknown=True),
    "classes": blocks(classes=True),
    "int32 with classes": blocks(70_000, classes=True),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", LABELS)
def test_label_tiffs_tell_it_three_times(tmp_path, kind, size):
    path = tmp_path / "labels.tif"
    write_labels(path, LABELS[kind], pixel_size=size)
    np.testing.assert_array_equal(read_labels(path), LABELS[kind])
    assert read_pixel_size(path) == size
    with tifffile.TiffFile(path) as tiff:
        np.testing.assert_array_equal(tiff.asarray(), LABELS[kind])
        tags = tiff.pages.first.tags
        for name in ("XResolution", "YResolution"):
            pixels, units = tags[name].value
            assert 1e4 / (pixels / units) == pytest.approx(size, rel=1e-5)
        assert tags["ResolutionUnit"].value == 3  # centimetres
        told = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
    assert told["PhysicalSizeX"] == told["PhysicalSizeY"] == size
    assert told["PhysicalSizeXUnit"] == told["PhysicalSizeYUnit"] == "µm"
    assert (told["SizeX"], told["SizeY"]) == (24, 15)


def test_the_tags_alone_tell_it(tmp_path):
    """What ImageJ reads: it knows no OME."""
    path = tmp_path / "labels.tif"
    for size in SIZES:
        write_labels(path, LABELS["uint16"], pixel_size=size)
        with tifffile.TiffFile(path, mode="r+b") as tiff:
            tiff.pages.first.tags["ImageDescription"].overwrite("")
        assert read_pixel_size(path) == pytest.approx(size, rel=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_pngs_tell_it(tmp_path, size):
    images = {
        "grey.png": np.arange(35, dtype=np.uint8).reshape(5, 7),
        "deep.png": np.arange(35, dtype=np.uint16).reshape(5, 7) * 1000,
        "rgb.png": np.arange(105, dtype=np.uint8).reshape(5, 7, 3),
    }
    for name, image in images.items():
        write_image(tmp_path / name, image, pixel_size=size)
        np.testing.assert_array_equal(read_image(tmp_path / name), image)
        # Whole pixels per metre.
        assert read_pixel_size(tmp_path / name) == pytest.approx(size, rel=1.1e-5)
        with Image.open(tmp_path / name) as opened:
            assert opened.info["dpi"] == pytest.approx((25400 / size,) * 2, rel=1.1e-5)
    write_labels(tmp_path / "labels.png", LABELS["uint16"], pixel_size=size)
    np.testing.assert_array_equal(
        read_labels(tmp_path / "labels.png"), LABELS["uint16"]
    )
    found = read_pixel_size(tmp_path / "labels.png")
    assert found == pytest.approx(size, rel=1.1e-5)


def test_without_one_files_tell_none(tmp_path):
    write_labels(tmp_path / "labels.tif", LABELS["uint16"])
    write_labels(tmp_path / "labels.png", LABELS["uint16"])
    write_image(tmp_path / "image.png", np.eye(4))
    for name in ("labels.tif", "labels.png", "image.png"):
        assert read_pixel_size(tmp_path / name) is None
    with tifffile.TiffFile(tmp_path / "labels.tif") as tiff:
        assert not tiff.is_ome


def test_pngs_for_print_or_of_no_unit_tell_none(tmp_path):
    path = tmp_path / "a.png"
    for dpi in (72, 96, 300, 1200):
        Image.fromarray(np.eye(4, dtype=np.uint8)).save(path, dpi=(dpi, dpi))
        assert read_pixel_size(path) is None
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(path, dpi=(25400, 12700))
    assert read_pixel_size(path) is None  # not square
    write_image(path, np.eye(4), pixel_size=1.0)
    told = path.read_bytes()
    place = told.index(b"pHYs")
    for bad in (
        told[: place + 12] + b"\0" + told[place + 13 :],  # no unit
        told[: place + 4] + bytes(8) + told[place + 12 :],  # no pixels
        told[: place + 6],  # the end of the file
        told[:8],
    ):
        path.write_bytes(bad)
        assert read_pixel_size(path) is None


@pytest.mark.parametrize("size", [0.25, 20.0])
def test_files_repeat(tmp_path, size):
    path = tmp_path / "labels.tif"
    write_labels(path, LABELS["uint16"], pixel_size=size)
    first = path.read_bytes()
    write_labels(path, LABELS["uint16"], pixel_size=size)
    assert path.read_bytes() == first
    write_labels(path, LABELS["uint16"][::-1], pixel_size=size)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.ome_metadata.encode() not in first  # ids are of one image alone


@pytest.mark.parametrize(
    ("size", "error"),
    [
        *((size, ValueError) for size in (0, -1.0, 0.009, 20.1, np.nan, np.inf)),
        *((size, TypeError) for size in ("0.25", "file", True, [0.25], (0.25, 0.25))),
    ],
)
def test_bad_sizes_are_refused_and_nothing_is_written(tmp_path, size, error):
    for write, name in ((write_labels, "a.tif"), (write_labels, "a.png")):
        with pytest.raises(error, match="pixel_size must be a"):
            write(tmp_path / name, LABELS["uint16"], pixel_size=size)
    with pytest.raises(error, match="pixel_size must be a"):
        write_image(tmp_path / "a.png", np.eye(4), pixel_size=size)
    assert not list(tmp_path.iterdir())
