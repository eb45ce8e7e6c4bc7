# SPDX-License-Identifier: BSD-3-Clause
"""The size of a pixel, as files and users tell it."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from psmlearn.exceptions import PixelSizeWarning
from psmlearn.io import check_images, read_pixel_size, resolve_pixel_size

GREY = np.zeros((8, 9), dtype=np.uint8)
ENTITY_BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "0.25">]><OME xmlns="ome">'
    '<Image><Pixels PhysicalSizeX="&a;"/></Image></OME>'
)


def assert_size(size, expected):
    assert size is expected if expected is None else abs(size - expected) < 1e-6


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"resolution": (40000, 40000), "resolutionunit": "CENTIMETER"}, 0.25),
        ({"resolution": (50800, 50800), "resolutionunit": "INCH"}, 0.5),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({"resolution": (4, 4), "resolutionunit": "NONE"}, None),
        ({"resolution": (40000, 20000), "resolutionunit": "CENTIMETER"}, None),
        ({"description": "Aperio v1\n10x10 |AppMag = 40|MPP = 0.2525"}, 0.2525),
        ({"description": "Aperio v1|MPP = 0|Left = 1"}, None),
        ({"description": ENTITY_BOMB, "metadata": None}, None),
        ({"description": "<OME broken", "metadata": None}, None),
        ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}}, 0.5),
        (
            {"imagej": True, "resolution": (0.002, 0.002), "metadata": {"unit": "nm"}},
            0.5,
        ),
        ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "pixel"}}, None),
    ],
)
def test_tiff_tags(tmp_path, options, expected):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, GREY, **options)
    assert_size(read_pixel_size(path), expected)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}, 0.25),
        (
            {
                "PhysicalSizeX": 250.0,
                "PhysicalSizeXUnit": "nm",
                "PhysicalSizeY": 0.25,
                "PhysicalSizeYUnit": "µm",
            },
            0.25,
        ),
        ({"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}, None),
        ({}, None),
    ],
)
def test_ome(tmp_path, metadata, expected):
    path = tmp_path / "image.ome.tif"
    tifffile.imwrite(path, GREY, metadata={"axes": "YX", **metadata})
    assert_size(read_pixel_size(path), expected)


def test_other_files(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png", dpi=(50800, 50800))
    assert read_pixel_size(tmp_path / "a.png") == 0.5
    Image.fromarray(GREY).save(tmp_path / "a.jpg", dpi=(50800, 50800))
    assert read_pixel_size(tmp_path / "a.jpg") is None
    (tmp_path / "b.tif").write_bytes(b"II*\0junk")
    with pytest.raises(ValueError, match="b.tif.*broken"):
        read_pixel_size(tmp_path / "b.tif")
    with pytest.raises(FileNotFoundError, match="none.tif"):
        read_pixel_size(tmp_path / "none.tif")


def test_sizes_given_and_read(tmp_path):
    resolution = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", GREY, **resolution)
    tifffile.imwrite(tmp_path / "b.tif", GREY)
    told = check_images([tmp_path / "a.tif"] * 2)
    mixed = check_images([tmp_path / "a.tif", tmp_path / "b.tif", GREY])
    with pytest.warns(PixelSizeWarning, match="a.tif"):
        np.testing.assert_array_equal(resolve_pixel_size(0.25, mixed), [0.25] * 3)
    with pytest.warns(PixelSizeWarning, match="a.tif"):
        np.testing.assert_array_equal(resolve_pixel_size([1, 2, 3], mixed), [1, 2, 3])
    np.testing.assert_allclose(resolve_pixel_size("file", told), [0.5, 0.5])
    with pytest.raises(ValueError, match="2 image.*b.tif.*image 2"):
        resolve_pixel_size("file", mixed)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0, ValueError, "positive"),
        (-1.0, ValueError, "positive"),
        (np.nan, ValueError, "positive"),
        ([1.0, np.inf], ValueError, "positive"),
        ([1.0], ValueError, "for 2 images"),
        ([[1.0, 1.0]], ValueError, "for 2 images"),
        ("0.25", ValueError, "or 'file'"),
        (None, TypeError, "NoneType"),
        ({}, TypeError, "dict"),
    ],
)
def test_bad_sizes(value, error, message):
    with pytest.raises(error, match=message):
        resolve_pixel_size(value, check_images([GREY, GREY]))
