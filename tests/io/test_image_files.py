# SPDX-License-Identifier: BSD-3-Clause
"""Image files: read without losing bits, or refused with the path named."""

from __future__ import annotations

import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from psmlearn.io import check_images, read_image, read_labels

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (40, 50, 3), dtype=np.uint16)
LABELS = np.kron(6 * RNG.permutation(80).reshape(8, 10), np.ones((5, 5), int))
LABELS = LABELS.astype(np.uint16)


def write_png16(path, image):
    """Write a 16-bit RGB PNG by hand: no filter, one IDAT."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + checksum

    height, width = image.shape[:2]
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x10\x02\0\0\0"
    rows = image.astype(">u2").reshape(height, -1).view(np.uint8)
    rows = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes()))
        + chunk(b"IEND", b"")
    )


def without_imagecodecs(code):
    """Run code in a fresh Python where imagecodecs cannot be imported."""
    blocked = f"import sys; sys.modules['imagecodecs'] = None\n{code}"
    return subprocess.run(
        [sys.executable, "-c", blocked], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "packbits", "tiff_deflate"])
def test_tiff_compressions_are_read_exactly(tmp_path, compression):
    path = tmp_path / "image.tif"
    Image.fromarray(RGB).save(path, compression=compression)
    np.testing.assert_array_equal(read_image(path), RGB)
    np.testing.assert_array_equal(read_image(str(path)), RGB)


def test_lzw_and_packbits_are_read_without_imagecodecs(tmp_path):
    np.save(tmp_path / "truth.npy", RGB)
    np.save(tmp_path / "labels.npy", LABELS)
    for name in ("tiff_lzw", "packbits"):
        Image.fromarray(RGB).save(tmp_path / f"{name}.tif", compression=name)
        Image.fromarray(LABELS).save(tmp_path / f"l{name}.tif", compression=name)
    done = without_imagecodecs(
        "import numpy as np\n"
        "from psmlearn.io import read_image, read_labels, write_labels\n"
        f"folder = {str(tmp_path)!r}\n"
        "rgb = np.load(folder + '/truth.npy'); ids = np.load(folder + '/labels.npy')\n"
        "for name in ('tiff_lzw', 'packbits'):\n"
        "    assert (read_image(f'{folder}/{name}.tif') == rgb).all()\n"
        "    assert (read_labels(f'{folder}/l{name}.tif') == ids).all()\n"
        "write_labels(folder + '/out.tif', ids)\n"
        "assert (read_labels(folder + '/out.tif') == ids).all()\n"
    )
    assert done.returncode == 0, done.stderr


def test_deep_colours_without_imagecodecs_are_refused_not_reduced(tmp_path):
    pytest.importorskip("imagecodecs")  # to write the file
    write_png16(tmp_path / "deep.png", RGB16)
    tifffile.imwrite(tmp_path / "deep.tif", RGB16, compression="lzw")
    for name in ("deep.png", "deep.tif"):
        done = without_imagecodecs(
            f"from psmlearn.io import read_image\nread_image({str(tmp_path / name)!r})"
        )
        assert done.returncode == 1
        assert "pip install imagecodecs" in done.stderr
        assert name in done.stderr.splitlines()[-1]


def test_sixteen_bit_colours_keep_their_bits(tmp_path):
    pytest.importorskip("imagecodecs")
    tifffile.imwrite(tmp_path / "deep.tif", RGB16)
    tifffile.imwrite(tmp_path / "lzw.tif", RGB16, compression="lzw")
    tifffile.imwrite(
        tmp_path / "planar.tif",
        np.moveaxis(RGB16, -1, 0),
        photometric="rgb",
        planarconfig="separate",
    )
    write_png16(tmp_path / "deep.png", RGB16)
    for name in ("deep.tif", "lzw.tif", "planar.tif", "deep.png"):
        image = read_image(tmp_path / name)
        assert image.dtype == np.uint16
        np.testing.assert_array_equal(image, RGB16)


def test_grey_and_float_files_keep_their_dtype(tmp_path):
    grey = RGB16[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    tifffile.imwrite(tmp_path / "float.tif", grey / np.float32(65535))
    tifffile.imwrite(tmp_path / "big.tif", RGB, bigtiff=True, byteorder=">")
    Image.fromarray(grey > 30000).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), grey)
    assert read_image(tmp_path / "float.tif").dtype == np.float32
    np.testing.assert_array_equal(read_image(tmp_path / "big.tif"), RGB)
    assert read_image(tmp_path / "bits.png").dtype == bool


def test_palettes_become_colours_and_white_is_zero_is_turned(tmp_path):
    reduced = Image.fromarray(RGB).quantize(16)
    reduced.save(tmp_path / "palette.png")
    reduced.save(tmp_path / "palette.tif")
    truth = np.asarray(reduced.convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), truth)
    np.testing.assert_array_equal(read_image(tmp_path / "palette.tif"), truth)
    tifffile.imwrite(tmp_path / "white.tif", 255 - RGB[..., 0], photometric=0)
    np.testing.assert_array_equal(read_image(tmp_path / "white.tif"), RGB[..., 0])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_alpha_is_dropped_with_a_warning_only_where_it_shows(tmp_path, suffix):
    opaque = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    path = tmp_path / f"opaque.{suffix}"
    Image.fromarray(opaque).save(path)
    np.testing.assert_array_equal(read_image(path), RGB)
    opaque[3, 4, 3] = 7
    path = tmp_path / f"glass.{suffix}"
    Image.fromarray(opaque).save(path)
    with pytest.warns(UserWarning, match="alpha.*glass"):
        np.testing.assert_array_equal(read_image(path), RGB)
    with pytest.warns(UserWarning, match="image 1"):
        assert check_images([RGB, path]).n_channels == 3


def test_grey_with_alpha_is_grey(tmp_path):
    pair = np.dstack([RGB[..., 0], np.full(RGB.shape[:2], 255, np.uint8)])
    Image.fromarray(pair).save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "la.png"), RGB[..., 0])


def break_file(tmp_path, kind):
    """Make one broken file; return its path."""
    suffix = {"jpeg": "jpg", "png": "png", "text": "png"}.get(kind, "tif")
    path = tmp_path / f"broken-{kind}.{suffix}"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no image")
    elif kind == "folder":
        path.mkdir()
    elif kind != "missing":
        if kind == "tiff-float":
            tifffile.imwrite(path, RGB / np.float32(255), photometric="rgb")
        else:
            options = {"compression": "tiff_lzw"} if kind == "tiff-lzw" else {}
            Image.fromarray(RGB).save(path, **options)
        if kind == "tiff-header":
            path.write_bytes(path.read_bytes()[:12])
        else:
            path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("jpeg", "truncated"),
        ("png", "truncated"),
        ("tiff", "truncated"),
        ("tiff-lzw", "truncated"),
        ("tiff-float", "truncated"),
        ("tiff-header", "truncated"),
        ("empty", "is empty"),
        ("text", "is not a TIFF, PNG"),
        ("folder", "is a folder"),
        ("missing", "No such image file"),
    ],
)
def test_broken_files_are_one_clear_error(tmp_path, kind, message):
    path = break_file(tmp_path, kind)
    expected = FileNotFoundError if kind == "missing" else ValueError
    for read in (read_image, read_labels):
        with pytest.raises(expected, match=message) as caught:
            read(path)
        assert path.name in str(caught.value)
    with pytest.raises(ValueError, match=message) as caught:
        check_images([RGB, path])
    assert str(caught.value).startswith("image 1 (") and path.name in str(caught.value)


def test_a_tiff_with_its_last_strips_cut_off_is_not_filled_with_zeros(tmp_path):
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, RGB, rowsperstrip=4, compression="zlib")
    whole = path.read_bytes()
    np.testing.assert_array_equal(read_image(path), RGB)
    path.write_bytes(whole[:-200])
    with pytest.raises(ValueError, match="truncated TIFF"):
        read_image(path)


def test_refused_kinds_say_what_to_do(tmp_path):
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "cmyk.tif")
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([RGB, RGB]), photometric="rgb")
    frame = Image.fromarray(RGB)
    frame.save(
        tmp_path / "frames.png",
        save_all=True,
        append_images=[Image.fromarray(255 - RGB)],
    )
    for name, message in [
        ("cmyk.jpg", "CMYK.*convert"),
        ("cmyk.tif", "CMYK.*convert"),
        ("pages.tif", "2 pages.*save the one"),
        ("frames.png", "2 frames"),
    ]:
        with pytest.raises(ValueError, match=message) as caught:
            read_image(tmp_path / name)
        assert name in str(caught.value)


def test_reduced_pages_of_a_pyramid_are_passed_over(tmp_path):
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as tiff:
        tiff.write(RGB, photometric="rgb")
        tiff.write(RGB[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read_image(tmp_path / "pyramid.tif"), RGB)


def test_bombs_are_refused_by_their_declared_size(tmp_path):
    for name in ("image.png", "image.tif"):
        Image.fromarray(RGB).save(tmp_path / name)
        with pytest.raises(ValueError, match="40 x 50 pixels.*max_pixels=1999"):
            read_image(tmp_path / name, max_pixels=1999)
        assert read_image(tmp_path / name, max_pixels=2000).shape == RGB.shape


def test_large_files_do_not_meet_the_warning_of_pillow(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(RGB).save(tmp_path / "large.png")
    np.testing.assert_array_equal(read_image(tmp_path / "large.png"), RGB)


def test_labels_are_read_as_ids(tmp_path):
    Image.fromarray(LABELS).save(tmp_path / "ids.png")
    tifffile.imwrite(tmp_path / "ids.tif", LABELS.astype(np.int32) - 1)
    np.testing.assert_array_equal(read_labels(tmp_path / "ids.png"), LABELS)
    np.testing.assert_array_equal(
        read_labels(tmp_path / "ids.tif"), LABELS.astype(int) - 1
    )
    indices = (LABELS // 6).astype(np.uint8)
    palette = Image.fromarray(indices)
    palette.putpalette(list(range(256)) * 3)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "palette.png"), indices)
    Image.fromarray(RGB).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match="rgb.png.*drawn in colours"):
        read_labels(tmp_path / "rgb.png")
    Image.fromarray((LABELS > 9).astype(np.uint8) * 255).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match="mask.png.*0/255"):
        read_labels(tmp_path / "mask.png")
