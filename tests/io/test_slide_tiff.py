# SPDX-License-Identifier: BSD-3-Clause
"""Slides in TIFF of many kinds, sound and damaged."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from psmlearn.io import Slide, is_slide, read_image
from psmlearn.io._slide_openslide import OpenSlideSource
from tests.slides import (
    overwrite,
    picture,
    reduced,
    segments,
    set_tile_bytes,
    whole,
    write_ndpi,
    write_pyramid,
    write_scn,
)

pytest.importorskip("imagecodecs")

IMAGE = picture(300, 420)
APERIO = (
    "Aperio Image Library v12.0.15\r\n420x300 [0,0 420x300] (64x64) JPEG/RGB Q=90|"
    "AppMag = 40|MPP = 0.2520"
)


def write_svs(path, image=IMAGE, factors=(4,), beside=True):
    tiles = {"tile": (64, 64), "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as writer:
        writer.write(image, description=APERIO, compression="jpeg", **tiles)
        writer.write(reduced(image, 6), photometric="rgb", metadata=None)
        for factor in factors:
            writer.write(reduced(image, factor), compression="jpeg", **tiles)
        if beside:
            for kind, (height, width) in {1: (90, 80), 9: (60, 150)}.items():
                writer.write(
                    picture(height, width),
                    photometric="rgb",
                    subfiletype=kind,
                    metadata=None,
                )


@pytest.fixture
def svs(tmp_path):
    path = tmp_path / "slide.svs"
    write_svs(path)
    return path


def test_aperio(svs):
    with Slide(svs) as slide:
        assert slide.shape == (300, 420) and slide.pixel_size == 0.252
        assert [(lv.height, lv.width) for lv in slide.levels] == [(300, 420), (75, 105)]
        assert slide.associated == ("thumbnail", "label", "macro")
        found = whole(slide.view())
        np.testing.assert_array_equal(found, tifffile.imread(svs, key=0))
        assert np.abs(found.astype(int) - IMAGE).mean() < 4
        assert slide.problems == []
    assert is_slide(svs)


def test_an_svs_is_refused_as_an_image_with_a_pointer(svs):
    with pytest.raises(ValueError, match=r"holds .* pages.*psmlearn\.io\.Slide"):
        read_image(svs)


def test_a_missing_level_is_made_of_the_next_finer(tmp_path):
    path = tmp_path / "slide.svs"
    write_svs(path, factors=(16,))
    with Slide(path) as slide:
        assert [lv.height for lv in slide.levels] == [300, 18]
        view = slide.view(4 * 0.252)
        assert view.level == 0 and view.shape == (75, 105)
        full = whole(slide.view())
        assert np.abs(whole(view).astype(int) - reduced(full, 4)).max() <= 1


def test_without_tiffslide_and_zarr(svs):
    code = (
        "import sys\n"
        "sys.modules['tiffslide'] = sys.modules['zarr'] = None\n"
        "from psmlearn.io import Slide\n"
        f"slide = Slide({str(svs)!r})\n"
        "print(slide.shape, slide.pixel_size, slide.associated, len(slide.levels))\n"
        "print(int(slide.view().read(0, 0, 300, 420).sum()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told, total = done.stdout.splitlines()
    assert told == "(300, 420) 0.252 ('thumbnail', 'label', 'macro') 2"
    assert int(total) == int(tifffile.imread(svs, key=0).sum())


def test_hamamatsu(tmp_path):
    path = tmp_path / "slide.ndpi"
    image = picture(192, 512)
    write_ndpi(path, image)
    with Slide(path) as slide:
        assert slide.pixel_size == pytest.approx(0.23, rel=1e-3)
        assert [(lv.height, lv.width) for lv in slide.levels] == [(192, 512), (48, 128)]
        assert slide.associated == ("macro",)
        found = whole(slide.view())
        truth = np.asarray(Image.open(io.BytesIO(path.read_bytes()[12:])))
        assert np.abs(found.astype(int) - truth).max() <= 2
        np.testing.assert_array_equal(
            slide.view().read(70, 100, 90, 400), found[70:90, 100:400]
        )
        assert slide.problems == []
    assert is_slide(path)


def test_leica_of_two_scanned_areas(tmp_path):
    pytest.importorskip("tiffslide")
    path = tmp_path / "slide.scn"
    areas = [(picture(128, 256, 1), 40, 60), (picture(192, 128, 2), 200, 400)]
    write_scn(path, areas, 600, 480)
    expected = np.full((480, 600, 3), 255, np.uint8)
    for image, top, left in areas:
        expected[top : top + image.shape[0], left : left + image.shape[1]] = image
    with Slide(path) as slide:
        assert slide.shape == (480, 600) and slide.pixel_size == 0.5
        assert [lv.height for lv in slide.levels] == [480, 120]
        np.testing.assert_array_equal(whole(slide.view()), expected)
        part = slide.view().read(150, 200, 250, 450)
        np.testing.assert_array_equal(part, expected[150:250, 200:450])
        coarse = whole(slide.view(2.0))
        np.testing.assert_array_equal(coarse[10:42, 15:79], reduced(areas[0][0], 4))
    assert is_slide(path)


def test_leica_needs_tiffslide(tmp_path):
    path = tmp_path / "slide.scn"
    write_scn(path, [(picture(64, 64), 0, 0)], 100, 90)
    code = (
        "import sys; sys.modules['tiffslide'] = sys.modules['openslide'] = None\n"
        "from psmlearn.io import Slide\n"
        f"Slide({str(path)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Leica" in done.stderr and "pip install psmlearn[wsi]" in done.stderr


def test_ome_tiff(tmp_path):
    path = tmp_path / "slide.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        tiles = {"tile": (64, 64), "photometric": "rgb", "compression": "zlib"}
        metadata = {
            "axes": "YXS",
            "PhysicalSizeX": 500,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 500,
            "PhysicalSizeYUnit": "nm",
        }
        writer.write(IMAGE, subifds=2, metadata=metadata, **tiles)
        writer.write(reduced(IMAGE, 2), subfiletype=1, **tiles)
        writer.write(reduced(IMAGE, 4), subfiletype=1, **tiles)
    with Slide(path) as slide:
        assert slide.pixel_size == 0.5 and len(slide.levels) == 3
        np.testing.assert_array_equal(whole(slide.view()), IMAGE)
        np.testing.assert_array_equal(whole(slide.view(1.0)), reduced(IMAGE, 2))


def test_ome_tiff_of_a_page_a_channel(tmp_path):
    path = tmp_path / "slide.ome.tif"
    planes = np.ascontiguousarray(np.moveaxis(IMAGE, -1, 0))
    tifffile.imwrite(
        path, planes, ome=True, tile=(64, 64), photometric="minisblack",
        compression="zlib", metadata={"axes": "CYX"},
    )  # fmt: skip
    with Slide(path) as slide:
        assert slide.n_channels == 3
        np.testing.assert_array_equal(whole(slide.view()), IMAGE)


def test_pages_that_shrink_are_levels(tmp_path):
    """As libvips writes them, without SubIFDs."""
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as writer:
        for factor in (1, 2, 4, 8):
            writer.write(
                reduced(IMAGE, factor), tile=(64, 64), photometric="rgb",
                compression="jpeg", metadata=None, subfiletype=int(factor > 1),
            )  # fmt: skip
    with Slide(path) as slide:
        assert [lv.height for lv in slide.levels] == [300, 150, 75, 37]
        assert slide.associated == ()


def test_a_picture_of_other_proportions_is_no_level(tmp_path):
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as writer:
        tiles = {"tile": (64, 64), "photometric": "rgb", "metadata": None}
        writer.write(IMAGE, **tiles)
        writer.write(picture(120, 90), subfiletype=1, **tiles)
    with Slide(path) as slide:
        assert len(slide.levels) == 1 and slide.associated == ("picture 1",)


@pytest.mark.parametrize("rows", [1, 7, 300])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("planar", [1, 2])
def test_strips(tmp_path, rows, compression, planar):
    path = tmp_path / "strips.tif"
    array = IMAGE if planar == 1 else np.ascontiguousarray(np.moveaxis(IMAGE, -1, 0))
    tifffile.imwrite(
        path, array, photometric="rgb", rowsperstrip=rows, compression=compression,
        planarconfig=planar, metadata=None,
    )  # fmt: skip
    with Slide(path) as slide:
        np.testing.assert_array_equal(whole(slide.view()), IMAGE)
        np.testing.assert_array_equal(
            slide.view().read(123, 45, 290, 46), IMAGE[123:290, 45:46]
        )


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("tile", [None, (64, 48)])
def test_dtypes_of_one_channel(tmp_path, byteorder, dtype, tile):
    path = tmp_path / "grey.tif"
    array = (picture(150, 170)[..., 0].astype(float) * 100).astype(dtype)
    tifffile.imwrite(
        path, array, byteorder=byteorder, tile=tile, photometric="minisblack"
    )
    with Slide(path) as slide:
        assert (slide.n_channels, slide.dtype) == (1, dtype)
        np.testing.assert_array_equal(whole(slide.view())[..., 0], array)
        np.testing.assert_array_equal(
            slide.view().read(60, 47, 70, 50)[..., 0], array[60:70, 47:50]
        )


def test_wide_rows_without_compression(tmp_path):
    path = tmp_path / "row.tif"
    row = np.arange(40000, dtype=np.uint16)[np.newaxis]
    tifffile.imwrite(path, row, photometric="minisblack")
    with Slide(path) as slide:
        assert slide.shape == (1, 40000)
        assert slide.view().read(0, 1000, 1, 1030)[0, :, 0].tolist() == list(
            range(1000, 1030)
        )
        assert slide.thumbnail(100).shape == (1, 100, 1)


def test_palettes_and_white_is_zero(tmp_path):
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 256, (100, 90), dtype=np.uint8)
    colours = rng.integers(0, 256, (3, 256)).astype(np.uint16) * 257
    path = tmp_path / "palette.tif"
    tifffile.imwrite(
        path, indices, photometric="palette", colormap=colours, tile=(32, 32)
    )
    with Slide(path) as slide:
        assert (slide.n_channels, slide.dtype) == (3, np.uint8)
        np.testing.assert_array_equal(whole(slide.view()), read_image(path))
    path = tmp_path / "turned.tif"
    tifffile.imwrite(path, indices, photometric="miniswhite", tile=(32, 32))
    with Slide(path) as slide:
        np.testing.assert_array_equal(whole(slide.view())[..., 0], 255 - indices)


@pytest.mark.skipif(
    tifffile.__version__ < "2023", reason="tifffile calls imagecodecs as it was"
)
def test_single_bits(tmp_path):
    path = tmp_path / "bits.tif"
    indices = np.random.default_rng(0).integers(0, 256, (100, 90), dtype=np.uint8)
    tifffile.imwrite(path, indices > 99, photometric="minisblack", tile=(32, 32))
    with Slide(path) as slide:
        assert slide.dtype == np.uint8
        np.testing.assert_array_equal(whole(slide.view())[..., 0], 255 * (indices > 99))


def test_alpha_in_tiles(tmp_path):
    path = tmp_path / "alpha.tif"
    array = np.dstack([IMAGE, np.full(IMAGE.shape[:2], 255, np.uint8)])
    array[70:80, 60:70, 3] = 0
    tifffile.imwrite(
        path, array, tile=(64, 64), photometric="rgb", extrasamples=["unassalpha"]
    )
    with Slide(path) as slide:
        found = whole(slide.view())
    expected = IMAGE.copy()
    expected[70:80, 60:70] = 255
    np.testing.assert_array_equal(found, expected)


# What is damaged


def test_a_tile_whose_jpeg_is_cut_is_white_and_told_once(svs):
    offset, count = segments(svs)[9]  # row 1, column 2
    overwrite(svs, offset + count // 2, bytes(count - count // 2))
    sound = tifffile.imread(svs, key=2)
    with Slide(svs) as slide:
        found = whole(slide.view())
        assert (found[64:128, 128:192] == 255).all()
        assert (found[64:128, :128] != 255).any()
        slide.view().read(100, 150, 120, 160)
        (told,) = slide.problems
        assert "level 0, tile at row 64, column 128" in told and "white" in told
        np.testing.assert_array_equal(whole(slide.view(1.0)), sound)


def test_jpegs_without_an_end_are_whole_where_all_are_so(svs):
    """Some writers leave the marker out, and others pad."""
    truth = tifffile.imread(svs, key=0)
    for offset, count in segments(svs):
        overwrite(svs, offset + count - 2, b"\0\0")
    with Slide(svs) as slide:
        assert np.abs(whole(slide.view()).astype(int) - truth).mean() < 1
        assert slide.problems == []


def test_a_tile_of_garbage_is_white_and_told(svs):
    offset, count = segments(svs)[0]
    overwrite(svs, offset, b"\x07" * count)
    with Slide(svs) as slide:
        assert (slide.view().read(0, 0, 64, 64) == 255).all()
        assert len(slide.problems) == 1 and "row 0, column 0" in slide.problems[0]


def test_a_broken_deflate_stream_is_white(tmp_path):
    path = tmp_path / "slide.tif"
    write_pyramid(path, IMAGE)
    offset, count = segments(path)[3]
    overwrite(path, offset + 40, b"\xff" * 60)
    with Slide(path) as slide:
        found = whole(slide.view())
        expected = IMAGE.copy()
        expected[:64, 192:256] = 255
        np.testing.assert_array_equal(found, expected)
        assert len(slide.problems) == 1


def test_tiles_that_are_not_stored_are_white(tmp_path):
    path = tmp_path / "sparse.tif"
    write_pyramid(path, IMAGE)
    set_tile_bytes(path, 8, 0)
    with Slide(path) as slide:
        found = whole(slide.view())
        expected = IMAGE.copy()
        expected[64:128, 64:128] = 255
        np.testing.assert_array_equal(found, expected)
        assert "not in the file" in slide.problems[0]


def test_a_cut_file_is_white_from_there_on(tmp_path):
    path = tmp_path / "cut.tif"
    tifffile.imwrite(
        path, IMAGE, tile=(64, 64), photometric="rgb", compression="zlib", metadata=None
    )
    places = segments(path)
    end = places[21][0] + 10  # within row 3, column 0
    data = path.read_bytes()
    path.write_bytes(data[:end])
    with Slide(path) as slide:
        found = whole(slide.view())
        np.testing.assert_array_equal(found[:192], IMAGE[:192])
        assert (found[192:] == 255).all()
        assert len(slide.problems) == 35 - 21
        assert "the file ends at byte" in slide.problems[0]
        # In another process it is the same slide.
        with pickle.loads(pickle.dumps(slide)) as again:
            np.testing.assert_array_equal(whole(again.view()), found)


def test_cut_strips_without_compression(tmp_path):
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, IMAGE, photometric="rgb", metadata=None)
    offset = segments(path)[0][0]
    path.write_bytes(path.read_bytes()[: offset + 280 * 420 * 3])
    with Slide(path) as slide:
        found = whole(slide.view())
        np.testing.assert_array_equal(found[:256], IMAGE[:256])
        assert (found[256:] == 255).all() and len(slide.problems) == 1


def test_many_problems_are_counted(tmp_path):
    path = tmp_path / "cut.tif"
    image = picture(320, 320)
    tifffile.imwrite(
        path, image, tile=(16, 16), photometric="rgb", compression="zlib", metadata=None
    )
    path.write_bytes(path.read_bytes()[: segments(path)[0][0] + 5])
    with Slide(path) as slide:
        assert (whole(slide.view()) == 255).all()
        assert len(slide.problems) == 201
        assert slide.problems[-1] == "and 200 more tiles, shown white"


def test_a_tile_that_declares_more_pixels_is_not_decoded(tmp_path):
    import imagecodecs

    path = tmp_path / "bomb.tif"
    tifffile.imwrite(
        path, IMAGE, tile=(64, 64), photometric="rgb", compression="jpeg", metadata=None
    )
    offset, count = segments(path)[0]
    big = imagecodecs.jpeg_encode(np.zeros((800, 800, 3), np.uint8), level=1)
    overwrite(path, path.stat().st_size, big)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tags = tiff.pages[0].tags
        counts, offsets = (
            list(tags["TileByteCounts"].value),
            list(tags["TileOffsets"].value),
        )
        counts[0], offsets[0] = len(big), path.stat().st_size - len(big)
        tags["TileByteCounts"].overwrite(counts)
        tags["TileOffsets"].overwrite(offsets)
    with Slide(path) as slide:
        assert (slide.view().read(0, 0, 64, 64) == 255).all()
        assert "declares 800 x 800" in slide.problems[0]


def test_a_file_cut_before_its_header_is_refused(tmp_path):
    path = tmp_path / "cut.svs"
    data = tmp_path / "whole.svs"
    write_svs(data)
    path.write_bytes(data.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"cut.svs.*broken.*Copy it again"):
        Slide(path)


def test_a_level_whose_header_is_lost_is_left_out(svs):
    """The pages after the first level lie behind the cut."""
    with tifffile.TiffFile(svs) as tiff:
        end = tiff.pages[2].offset
    svs.write_bytes(svs.read_bytes()[:end])
    with Slide(svs) as slide:
        assert slide.shape == (300, 420) and len(slide.levels) == 1
        assert slide.view().read(0, 0, 300, 420).min() < 255
        assert slide.view(1.0).shape == (76, 106)


def test_big_tiff_with_a_header_alone(tmp_path):
    """100,000 x 100,000 pixels, of which one tile is stored."""
    path = tmp_path / "big.tif"
    side, tile = 100_000, 4096
    n_tiles = (-(-side // tile)) ** 2
    tifffile.imwrite(
        path, np.full((tile, tile), 7, np.uint8), tile=(tile, tile), bigtiff=True,
        photometric="minisblack", compression="zlib", metadata=None,
    )  # fmt: skip
    offset, count = segments(path)[0]
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tags = tiff.pages[0].tags
        for name in ("ImageWidth", "ImageLength"):
            tags[name].overwrite(side)
        tags["TileOffsets"].overwrite([offset] + [0] * (n_tiles - 1))
        tags["TileByteCounts"].overwrite([count] + [0] * (n_tiles - 1))
    with Slide(path) as slide:
        assert slide.shape == (side, side)
        part = slide.view().read(4000, 4000, 4100, 4200)[..., 0]
        assert (part[:96, :96] == 7).all() and (part[96:] == 255).all()
        assert slide.view().read(99_999, 99_999, 100_000, 100_000).item() == 255
        assert len(slide.problems) == 4
    assert is_slide(path)
    with pytest.raises(ValueError, match=r"max_pixels=2147483648; read boxes of it"):
        read_image(path)


@pytest.mark.parametrize(
    "array, options, text",
    [
        (np.zeros((2, 64, 64), np.uint8), {}, "holds a stack"),
        (np.zeros((64, 64, 5), np.uint8), {"planarconfig": 1}, "5 channels"),
        (
            np.zeros((64, 64, 4), np.uint8),
            {"photometric": "separated"},
            "colour mode CMYK",
        ),
    ],
)
def test_tiffs_that_are_no_slide_are_refused(tmp_path, array, options, text):
    path = tmp_path / "other.tif"
    options = {"photometric": "minisblack", **options}
    tifffile.imwrite(path, array, tile=(32, 32), metadata=None, **options)
    with pytest.raises(ValueError, match=rf"other\.tif' .*{text}"):
        Slide(path)


def test_one_huge_strip_is_refused_with_advice(tmp_path):
    path = tmp_path / "strip.tif"
    tifffile.imwrite(
        path, np.zeros((70, 20000), np.uint8), rowsperstrip=70,
        compression="zlib", photometric="minisblack", metadata=None,
    )  # fmt: skip
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for name in ("ImageLength", "RowsPerStrip"):
            tiff.pages[0].tags[name].overwrite(20000)
    with pytest.raises(ValueError, match=r"strips of 20000 x 20000.*save it in tiles"):
        Slide(path)
    assert not is_slide(path)


def test_too_few_tiles_are_refused(tmp_path):
    path = tmp_path / "few.tif"
    tifffile.imwrite(path, IMAGE, tile=(64, 64), photometric="rgb", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["ImageLength"].overwrite(60000)
    with pytest.raises(ValueError, match=r"tells 35 tiles.*asks for 6566"):
        Slide(path)


def test_large_tiled_images_are_slides(tmp_path):
    path = tmp_path / "large.tif"
    image = np.zeros((8000, 6500), np.uint8)
    options = {"photometric": "minisblack", "compression": "zlib"}
    tifffile.imwrite(path, image, tile=(1024, 1024), **options)
    assert is_slide(path)
    tifffile.imwrite(path, image, **options)
    assert not is_slide(path), "read_image reads it"
    tifffile.imwrite(path, image[:7000], tile=(1024, 1024), **options)
    assert not is_slide(path)


# OpenSlide


def test_openslide_reads_the_same(svs):
    pytest.importorskip("openslide")
    source = OpenSlideSource(str(svs))
    assert source.pixel_size == 0.252 and source.levels[0].height == 300
    assert {"label", "macro", "thumbnail"} <= set(source.associated)
    with Slide(svs) as slide:
        for level, shape in enumerate([(300, 420), (75, 105)]):
            ours = slide._read(level, (0, 0, *shape)).astype(int)
            theirs = source.read(level, (0, 0, *shape)).astype(int)
            assert np.abs(ours - theirs).mean() < 1.5
        part = source.read(0, (33, 44, 150, 160))
        np.testing.assert_array_equal(
            part, source.read(0, (0, 0, 300, 420))[33:150, 44:160]
        )
    source.close()


def test_openslide_goes_on_after_a_damaged_tile(svs):
    pytest.importorskip("openslide")
    offset, count = segments(svs)[0]
    overwrite(svs, offset, b"\x07" * count)
    source = OpenSlideSource(str(svs))
    first = source.read(0, (0, 0, 64, 64))
    assert (first == 255).all() and len(source.notes.listed()) == 1
    assert source.read(1, (0, 0, 70, 70)).min() < 255
    source.close()


def test_openslide_is_asked_for_what_no_tiff_is(tmp_path):
    path = tmp_path / "slide.mrxs"
    path.write_bytes(b"\xff\xd8\xff not a slide")
    assert is_slide(path)
    pytest.importorskip("openslide")
    with pytest.raises(ValueError, match=r"slide\.mrxs.*OpenSlide"):
        Slide(path)


def test_a_missing_openslide_is_named(tmp_path):
    path = tmp_path / "slide.mrxs"
    path.write_bytes(b"anything")
    code = (
        "import sys; sys.modules['openslide'] = None\n"
        "from psmlearn.io import Slide\n"
        f"Slide({str(path)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install psmlearn[openslide]" in done.stderr
