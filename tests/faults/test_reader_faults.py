# SPDX-License-Identifier: BSD-3-Clause
"""Files that show nothing in places, are turned, or claim what they do not hold."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from psmlearn.io import _tiff
from psmlearn.io._pillow import read_with_pillow
from psmlearn.io._read import decode_image

RNG = np.random.default_rng(5)
GREY = RNG.integers(10, 200, (24, 36), dtype=np.uint8)
RGB = RNG.integers(10, 200, (24, 36, 3), dtype=np.uint8)
HOLE = np.zeros((24, 36), dtype=bool)
HOLE[5:9, 20:31] = True


def with_alpha(image, dtype=np.uint8):
    """Add an alpha: transparent in the hole, half so in the first row."""
    white = np.iinfo(dtype).max
    alpha = np.where(HOLE, 0, white).astype(dtype)
    alpha[0] = white // 2
    return np.dstack([image.astype(dtype), alpha])


def write_alpha(path, kind):
    """Write one kind of file that is transparent in the hole."""
    if kind in ("png-rgba", "webp-rgba", "tif-rgba"):
        Image.fromarray(with_alpha(RGB)).save(path, lossless=True)
    elif kind == "png-la":
        Image.fromarray(with_alpha(GREY)).save(path)
    elif kind == "png-palette":
        indices = np.where(HOLE, 7, GREY % 7).astype(np.uint8)
        picture = Image.fromarray(indices)
        picture.putpalette(list(range(256)) * 3)
        picture.save(path, transparency=7)
    elif kind in ("png-grey-key", "png-bits-key", "png-deep-grey-key"):
        grey = np.where(HOLE, 0, 1 if "bits" in kind else GREY + 1)
        dtype = {"png-bits-key": bool, "png-deep-grey-key": np.uint16}
        picture = Image.fromarray(grey.astype(dtype.get(kind, np.uint8)))
        picture.save(path, transparency=0)
    elif kind == "png-rgb-key":
        colours = np.where(HOLE[..., None], np.uint8([3, 2, 1]), RGB)
        Image.fromarray(colours).save(path, transparency=(3, 2, 1))
    elif kind == "png-deep-rgba":
        imagecodecs = pytest.importorskip("imagecodecs")
        path.write_bytes(imagecodecs.png_encode(with_alpha(RGB, np.uint16)))
    else:
        samples = with_alpha(RGB, np.uint16 if "deep" in kind else np.uint8)
        extra = ["assocalpha" if "premultiplied" in kind else "unassalpha"]
        if "more" in kind:
            samples, extra = np.dstack([samples, GREY]), ["unassalpha", "unspecified"]
        if "grey" in kind:
            samples = samples[..., 2:4]
        tifffile.imwrite(
            path,
            samples,
            photometric="minisblack" if "grey" in kind else "rgb",
            planarconfig="contig",
            extrasamples=extra,
        )


@pytest.mark.parametrize(
    "kind",
    [
        "png-rgba",
        "webp-rgba",
        "tif-rgba",
        "png-la",
        "png-palette",
        "png-grey-key",
        "png-bits-key",
        "png-deep-grey-key",
        "png-rgb-key",
        "png-deep-rgba",
        "tif-premultiplied",
        "tif-deep",
        "tif-more",
        "tif-grey",
    ],
)
def test_transparent_pixels_are_not_shown(tmp_path, kind):
    path = tmp_path / f"{kind}.{kind.partition('-')[0]}"
    write_alpha(path, kind)
    decoded = decode_image(str(path))
    assert not decoded.opaque
    np.testing.assert_array_equal(decoded.shown, ~HOLE)
    channels = decoded.array.shape[2:]
    assert channels == {"tif-more": (4,)}.get(kind, channels)
    assert channels in ((), (3,), (4,))


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_opaque_pixels_are_all_shown(tmp_path, suffix):
    samples = with_alpha(RGB)
    samples[..., 3] = 255
    samples[3, 4, 3] = 254
    path = tmp_path / f"glass.{suffix}"
    Image.fromarray(samples).save(path, lossless=True)
    decoded = decode_image(str(path))
    assert decoded.shown is None and not decoded.opaque
    samples[3, 4, 3] = 255
    Image.fromarray(samples).save(path, lossless=True)
    assert decode_image(str(path))[1:] == (True, None, 1, False)


def test_premultiplied_colours_are_divided_by_their_alpha(tmp_path):
    alpha = np.where(HOLE, 0, 255).astype(np.uint8)
    alpha[12:] = 102
    colours = np.rint(RGB * (alpha[..., None] / 255)).astype(np.uint8)
    path = tmp_path / "premultiplied.tif"
    tifffile.imwrite(
        path,
        np.dstack([colours, alpha]),
        photometric="rgb",
        extrasamples=["assocalpha"],
    )
    found = decode_image(str(path)).array.astype(int)
    assert np.abs(found - RGB)[~HOLE].max() <= 2
    np.testing.assert_array_equal(found[0], RGB[0])


def test_a_fourth_sample_that_was_never_filled_in_hides_nothing(tmp_path):
    samples = np.dstack([RGB, np.zeros_like(GREY)])
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, samples, photometric="rgb", extrasamples=["unspecified"])
    decoded = decode_image(str(path))
    assert decoded.shown is None
    np.testing.assert_array_equal(decoded.array, RGB)


def write_sparse(path, missing, shape, dtype, **options):
    """Write tiles of 16 x 16, all 100, some of which are left out."""
    down, across = -(-shape[0] // 16), -(-shape[1] // 16)
    full = np.full((16, 16, *shape[2:]), 100, dtype)
    tiles = (None if i in missing else full for i in range(down * across))
    tifffile.imwrite(path, tiles, shape=shape, dtype=dtype, tile=(16, 16), **options)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits"])
@pytest.mark.parametrize(
    ("shape", "dtype", "white"),
    [
        ((40, 50, 3), np.uint8, 255),
        ((40, 50), np.uint16, 65535),
        ((40, 50), np.float32, 1.0),
        ((40, 50), np.int16, 100),
    ],
)
def test_missing_tiles_are_white_and_not_shown(
    tmp_path, compression, shape, dtype, white
):
    path = tmp_path / "sparse.tif"
    photometric = "rgb" if len(shape) == 3 else "minisblack"
    write_sparse(
        path, {1, 11}, shape, dtype, compression=compression, photometric=photometric
    )
    decoded = decode_image(str(path))
    stored = np.ones(shape[:2], dtype=bool)
    stored[:16, 16:32] = stored[32:, 48:] = False
    np.testing.assert_array_equal(decoded.shown, stored)
    assert decoded.opaque
    assert (decoded.array[stored] == 100).all()
    assert (decoded.array[~stored] == white).all()


def test_missing_tiles_of_labels_are_background(tmp_path):
    path = tmp_path / "ids.tif"
    write_sparse(path, {2, 5}, (32, 48), np.uint16, photometric="minisblack")
    decoded = decode_image(str(path), as_labels=True)
    assert (decoded.array[~decoded.shown] == 0).all() and not decoded.shown[0, 40]


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"rowsperstrip": 8}])
def test_a_file_of_missing_tiles_alone_holds_no_pixels(tmp_path, options):
    path = tmp_path / "none.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", **options)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        page = tiff.pages.first
        for name in ("TileByteCounts", "StripByteCounts"):
            if name in page.tags:
                page.tags[name].overwrite([0] * len(page.databytecounts))
    with pytest.raises(ValueError, match="none.tif.*no pixels"):
        decode_image(str(path))


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_the_orientation_is_told_and_pixels_are_as_stored(
    tmp_path, suffix, orientation
):
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(path, exif=exif, lossless=True)
    decoded = decode_image(str(path))
    assert decoded.orientation == orientation
    assert decoded.array.shape == RGB.shape
    if suffix != "jpg":
        np.testing.assert_array_equal(decoded.array, RGB)


@pytest.mark.parametrize("value", [0, 9, 70000])
def test_an_orientation_that_means_nothing_is_none(tmp_path, value):
    path = tmp_path / "odd.tif"
    tag = [(274, "I", 1, value, True)]
    tifffile.imwrite(path, RGB, photometric="rgb", extratags=tag)
    assert decode_image(str(path)).orientation == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pillow_turns_tiffs_and_they_are_turned_back(tmp_path, orientation):
    path = str(tmp_path / "turned.tif")
    Image.fromarray(RGB).save(path, compression="tiff_lzw", tiffinfo={274: orientation})
    with tifffile.TiffFile(path) as tiff:
        decoded = _tiff._read_without_codecs(path, tiff.pages.first, False, 10**6)
    np.testing.assert_array_equal(decoded.array, RGB)
    straight = read_with_pillow(path, "TIFF", as_labels=False, max_pixels=10**6)
    assert (straight.array.shape != RGB.shape) == (orientation > 4)
