# SPDX-License-Identifier: BSD-3-Clause
"""Files that show nothing in places, are turned, or claim what they do not hold."""

from __future__ import annotations

import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from psmlearn.io import (
    _tiff,
    check_image,
    check_images,
    check_masks,
    read_image,
    read_labels,
    read_pixel_size,
)
from psmlearn.io._limits import MAX_PIXELS
from psmlearn.io._pillow import read_with_pillow
from psmlearn.io._read import decode_image, read_size

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


# -- colours of luma and chroma --------------------------------------------------------

COLOURS = np.zeros((24, 36, 3), np.uint8)
for _part, _colour in enumerate(
    [(120, 60, 140), (230, 150, 190), (250, 250, 250), (3, 200, 40), (255, 0, 0)]
):
    COLOURS[:, 7 * _part : 7 * _part + 7] = _colour


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd"])
@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"rowsperstrip": 5}])
def test_ycbcr_is_converted_to_rgb(tmp_path, compression, options):
    pytest.importorskip("imagecodecs")
    path = str(tmp_path / "ycbcr.tif")
    samples = np.asarray(Image.fromarray(COLOURS).convert("YCbCr"))
    tifffile.imwrite(
        path,
        samples,
        photometric="ycbcr",
        compression=compression,
        subsampling=(1, 1),
        **options,
    )
    found = decode_image(path).array.astype(int)
    assert np.abs(found - COLOURS).max() <= 3


def test_jpeg_in_tiff_stays_as_it_was(tmp_path):
    pytest.importorskip("imagecodecs")
    path = str(tmp_path / "jpeg.tif")
    tifffile.imwrite(path, COLOURS, photometric="rgb", compression="jpeg")
    decoded = decode_image(path)
    assert decoded.lossy
    assert np.abs(decoded.array.astype(int) - COLOURS)[:, 2:5].max() <= 12


def test_coefficients_and_limits_of_the_file_count(tmp_path):
    path = str(tmp_path / "ycbcr.tif")
    red, green, blue = 0.2126, 0.7152, 0.0722
    rgb = COLOURS.astype(float)
    luma = rgb @ [red, green, blue]
    cb = (rgb[..., 2] - luma) / (2 - 2 * blue)
    cr = (rgb[..., 0] - luma) / (2 - 2 * red)
    video = [16 + luma * 219 / 255, 128 + cb * 112 / 127, 128 + cr * 112 / 127]
    samples = np.rint(np.stack(video, axis=-1)).clip(0, 255).astype(np.uint8)
    ratios = [2126, 10000, 7152, 10000, 722, 10000]
    limits = [16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1]
    tifffile.imwrite(
        path,
        samples,
        photometric="ycbcr",
        subsampling=(1, 1),
        extratags=[(529, 5, 3, ratios, True), (532, 5, 6, limits, True)],
    )
    assert np.abs(decode_image(path).array.astype(int) - COLOURS).max() <= 4


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ([(529, 5, 3, [1, 0, 1, 0, 1, 0], True)], "make no sense"),
        ([(532, 5, 6, [9, 1] * 6, True)], "make no sense"),
    ],
)
def test_ycbcr_that_is_not_clear_is_refused(tmp_path, tags, message):
    path = tmp_path / "odd.tif"
    tifffile.imwrite(path, RGB, photometric="ycbcr", compression="zlib", extratags=tags)
    with pytest.raises(ValueError, match=f"odd.tif.*{message}"):
        decode_image(str(path))


def test_ycbcr_with_fewer_samples_of_chroma_is_refused(tmp_path):
    path = tmp_path / "odd.tif"
    tifffile.imwrite(path, RGB, photometric="ycbcr", compression="zlib")
    change_tag(path, "YCbCrSubSampling", (2, 1))
    with pytest.raises(ValueError, match=r"odd.tif.*fewer samples of chroma"):
        decode_image(str(path))


def test_deep_ycbcr_is_refused(tmp_path):
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, RGB.astype(np.uint16), photometric="ycbcr")
    with pytest.raises(ValueError, match=r"deep.tif.*YCbCr.*uint16"):
        decode_image(str(path))


# -- planes behind one page ------------------------------------------------------------


def write_stack(path, kind, n_planes):
    """Write one page and further planes behind it."""
    planes = np.stack([GREY] * n_planes)
    if kind == "tifffile":
        tifffile.imwrite(
            path,
            planes,
            photometric="minisblack",
            truncate=True,
            metadata={"axes": "ZYX"},
        )
        return
    about = {
        "imagej": f"ImageJ=1.53t\nimages={n_planes}\nslices={n_planes}\n",
        "frames": f"ImageJ=1.54f\nframes={n_planes}\n",
        "channels": f"ImageJ=1.54f\nimages={n_planes}\nchannels={n_planes}\n",
    }[kind]
    tifffile.imwrite(path, GREY, description=about, metadata=None)
    with open(path, "ab") as file:
        file.write(planes[1:].tobytes())


@pytest.mark.parametrize("kind", ["tifffile", "imagej", "frames", "channels"])
@pytest.mark.parametrize("n_planes", [2, 7])
def test_planes_without_pages_are_a_stack(tmp_path, kind, n_planes):
    path = tmp_path / "stack.tif"
    write_stack(path, kind, n_planes)
    for as_labels in (False, True):
        with pytest.raises(ValueError, match=f"stack.tif.*{n_planes} planes"):
            decode_image(str(path), as_labels=as_labels)


@pytest.mark.parametrize(
    "about",
    [
        "ImageJ=1.53t\nimages=1\nunit=micron\n",
        "ImageJ=1.53t\nunit=inch\n",
        '{"shape": [24, 36]}',
        '{"shape": [5, 240, 360]}',
        '{"shape": [1, 24, 36]}',
        "images=3\n",
    ],
)
def test_one_plane_is_an_image_whatever_else_is_told(tmp_path, about):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, GREY, description=about, metadata=None)
    np.testing.assert_array_equal(decode_image(str(path)).array, GREY)


def test_what_tifffile_writes_for_imagej_is_read(tmp_path):
    tifffile.imwrite(tmp_path / "grey.tif", GREY, imagej=True)
    tifffile.imwrite(tmp_path / "rgb.tif", RGB, imagej=True)
    np.testing.assert_array_equal(decode_image(str(tmp_path / "grey.tif")).array, GREY)
    np.testing.assert_array_equal(decode_image(str(tmp_path / "rgb.tif")).array, RGB)


# -- what is declared and what is there ------------------------------------------------


def change_tag(path, name, value):
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.first.tags[name].overwrite(value)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("name", ["StripOffsets", "StripByteCounts"])
@pytest.mark.parametrize("kept", [slice(1), slice(3), slice(1, None)])
def test_offsets_and_counts_must_be_as_many_as_strips(
    tmp_path, compression, name, kept
):
    path = tmp_path / "strips.tif"
    tifffile.imwrite(path, RGB, rowsperstrip=4, compression=compression)
    with tifffile.TiffFile(path) as tiff:
        values = tiff.pages.first.tags[name].value
    change_tag(path, name, values[kept])
    with pytest.raises(ValueError, match=r"strips.tif.*offsets and .* byte counts"):
        decode_image(str(path))


@pytest.mark.parametrize("name", ["TileOffsets", "TileByteCounts"])
def test_offsets_and_counts_must_be_as_many_as_tiles(tmp_path, name):
    path = tmp_path / "tiles.tif"
    tifffile.imwrite(path, RGB, tile=(16, 16), photometric="rgb")
    with tifffile.TiffFile(path) as tiff:
        values = tiff.pages.first.tags[name].value
    change_tag(path, name, values[:-1])
    with pytest.raises(ValueError, match=r"tiles.tif.*offsets and .* byte counts"):
        decode_image(str(path))


@pytest.mark.parametrize("rows", [24, 5])
def test_raw_strips_hold_all_their_bytes(tmp_path, rows):
    path = tmp_path / "short.tif"
    tifffile.imwrite(path, RGB, rowsperstrip=rows, photometric="rgb")
    with tifffile.TiffFile(path) as tiff:
        counts = list(tiff.pages.first.databytecounts)
    counts[-1] -= 7
    change_tag(path, "StripByteCounts", counts if len(counts) > 1 else counts[0])
    with pytest.raises(ValueError, match=r"short.tif.*bytes.*needed"):
        decode_image(str(path))


@pytest.mark.parametrize("name", ["ImageWidth", "ImageLength"])
def test_a_side_of_no_pixels_is_refused(tmp_path, name):
    path = tmp_path / "thin.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", compression="zlib")
    change_tag(path, name, 0)
    for call in (decode_image, read_size):
        with pytest.raises(ValueError, match=r"thin.tif.*pixels"):
            call(str(path))


def declare_png(path, height, width, depth=8, kind=0):
    """Write a PNG that declares more pixels than it holds."""
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    write_png(path, chunks)


def write_png(path, chunks):
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, body in chunks:
            check = struct.pack(">I", zlib.crc32(name + body))
            file.write(struct.pack(">I", len(body)) + name + body + check)


@pytest.mark.parametrize(
    ("height", "width", "depth", "kind"),
    [
        (1, 2**31 - 1, 8, 0),
        (2**31 - 1, 1, 1, 0),
        (40_000, 40_000, 8, 2),
        (30_000, 30_000, 8, 0),
        (30_000, 30_000, 1, 3),
        (20_000, 20_000, 16, 6),
        (9_000, 9_000, 16, 2),
    ],
)
def test_pngs_that_cannot_hold_what_they_declare_take_no_memory(
    tmp_path, height, width, depth, kind
):
    path = tmp_path / "bomb.png"
    declare_png(path, height, width, depth, kind)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"bomb.png.*declares"):
            decode_image(str(path))
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits"])
def test_tiffs_that_cannot_hold_what_they_declare(tmp_path, compression):
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", compression=compression)
    for name, value in (
        ("ImageWidth", 30_000),
        ("ImageLength", 30_000),
        ("RowsPerStrip", 30_000),
    ):
        change_tag(path, name, value)
    with pytest.raises(ValueError, match=r"bomb.tif.*(declares|needed)"):
        decode_image(str(path))


@pytest.mark.parametrize("suffix", ["jpg", "bmp"])
def test_other_files_that_cannot_hold_what_they_declare(tmp_path, suffix):
    path = tmp_path / f"bomb.{suffix}"
    Image.fromarray(RGB).save(path)
    data = bytearray(path.read_bytes())
    if suffix == "jpg":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", 30_000, 30_000)
    else:
        data[18:26] = struct.pack("<ii", 30_000, 30_000)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"bomb.{suffix}.*declares"):
        decode_image(str(path))


def test_a_blank_image_compresses_well_and_is_read(tmp_path):
    blank = np.full((3000, 3000, 3), 255, np.uint8)
    Image.fromarray(blank).save(tmp_path / "blank.png", compress_level=9)
    Image.fromarray(blank).save(tmp_path / "blank.jpg", quality=10)
    tifffile.imwrite(tmp_path / "deflate.tif", blank, compression="zlib")
    Image.fromarray(blank).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    for name in ("blank.png", "blank.jpg", "deflate.tif", "lzw.tif"):
        assert decode_image(str(tmp_path / name)).array.shape == blank.shape


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_bombs_beside_the_pixels_take_no_memory(tmp_path, kind):
    path = tmp_path / "bomb.png"
    Image.fromarray(RGB).save(path)
    middle = {b"iCCP": b"p\0\0", b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0"}[kind]
    body = middle + zlib.compress(bytes(200_000_000))
    whole = path.read_bytes()
    chunk = struct.pack(">I", len(body)) + kind + body
    chunk += struct.pack(">I", zlib.crc32(kind + body))
    path.write_bytes(whole[:33] + chunk + whole[33:])
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(decode_image(str(path)).array, RGB)
    except ValueError as error:
        assert "bomb.png" in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2**25


def test_a_stated_number_of_bytes_is_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("psmlearn.io._limits.MAX_BYTES", 24 * 36 * 3 - 1)
    for suffix in ("png", "tif", "bmp"):
        path = tmp_path / f"large.{suffix}"
        Image.fromarray(RGB).save(path)
        with pytest.raises(ValueError, match="24 x 36 pixels of 3 bytes, above"):
            decode_image(str(path))
        Image.fromarray(GREY).save(path)
        assert decode_image(str(path)).array.shape == GREY.shape
        Image.fromarray(RGB).save(path)
        raised = decode_image(str(path), max_pixels=2 * MAX_PIXELS)
        np.testing.assert_array_equal(raised.array, RGB)


# -- what is no regular file, or needs more memory than there is -----------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_are_refused_by_all_readers(tmp_path):
    pipe = str(tmp_path / "pipe.png")
    os.mkfifo(pipe)
    for read in (
        read_image,
        read_labels,
        read_size,
        read_pixel_size,
        check_image,
        lambda path: check_masks([path]),
        lambda path: check_images([path]),
    ):
        with pytest.raises(ValueError, match=r"pipe.png.*no regular file"):
            read(pipe)


def test_devices_and_odd_names_are_refused():
    with pytest.raises(ValueError, match="no regular file"):
        read_image("/dev/zero" if os.path.exists("/dev/zero") else os.devnull)
    with pytest.raises(ValueError, match="is no path"):
        read_image("a\0b.png")


def test_a_lack_of_memory_names_the_file(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("psmlearn.io._read.read_with_pillow", fail)
    path = tmp_path / "large.png"
    Image.fromarray(RGB).save(path)
    for read in (read_image, read_labels, lambda p: check_masks([p])):
        with pytest.raises(MemoryError, match="large.png"):
            read(path)
