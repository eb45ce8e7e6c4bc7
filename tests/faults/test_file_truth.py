# SPDX-License-Identifier: BSD-3-Clause
"""Files whose bytes were changed, cut, or tell other sizes than they hold."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from psmlearn._engine._weight_files import read_weight_file
from psmlearn.io import check_mask, read_image, read_labels, read_points
from psmlearn.io._logs import silenced
from psmlearn.io._masks import check_regions

RNG = np.random.default_rng(8)
RGB = RNG.integers(0, 256, (45, 61, 3), dtype=np.uint8)
IDS = np.kron(np.arange(12).reshape(3, 4), np.ones((9, 11), int)).astype(np.uint16)


@pytest.mark.parametrize("place", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("array", [IDS, RGB], ids=["ids", "rgb"])
def test_a_changed_bit_of_a_png_is_told(tmp_path, array, place):
    path = tmp_path / "a.png"
    Image.fromarray(array).save(path)
    read_image(path)
    content = bytearray(path.read_bytes())
    first = content.index(b"IDAT") + 4
    content[int(first + (len(content) - first - 16) * place)] ^= 4
    path.write_bytes(content)
    for read in (read_image, read_labels):
        with pytest.raises(ValueError, match="a.png.*chunk 'IDAT'.*checksum"):
            read(path)


@pytest.mark.parametrize("shape", [(90, 70, 3), (64, 80), (9, 7, 3)])
@pytest.mark.parametrize("quality", [40, 95])
def test_a_jpeg_that_ends_early_is_told(tmp_path, shape, quality):
    path = tmp_path / "a.jpg"
    image = RNG.integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(image).save(path, quality=quality)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(read_image(path), np.array(opened))
    content = path.read_bytes()
    start = content.index(b"\xff\xda") + 14
    cut = start + (len(content) - start) // 3
    path.write_bytes(content[:cut] + b"\xff\xd9")
    with pytest.raises(ValueError, match="a.jpg.*truncated"):
        read_image(path)


def test_progressive_jpegs_are_read(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.jpg", progressive=True)
    assert read_image(tmp_path / "a.jpg").shape == RGB.shape


@pytest.mark.parametrize("n_planes", [3, 4, 5])
def test_colour_stacks_of_imagej_are_told(tmp_path, n_planes):
    path = tmp_path / "a.tif"
    stack = np.stack([RGB] * n_planes)
    tifffile.imwrite(path, stack, imagej=True, truncate=True, photometric="rgb")
    with pytest.raises(ValueError, match=f"{n_planes} planes"):
        read_image(path)
    tifffile.imwrite(path, RGB, imagej=True, photometric="rgb")
    np.testing.assert_array_equal(read_image(path), RGB)


def test_a_second_page_is_reduced_only_if_smaller(tmp_path):
    path = tmp_path / "a.tif"
    for second, n_pages in ((RGB, 2), (RGB[::2, ::2], 1)):
        with tifffile.TiffWriter(path) as writer:
            writer.write(RGB, photometric="rgb")
            writer.write(second, photometric="rgb", subfiletype=1)
        if n_pages == 1:
            np.testing.assert_array_equal(read_image(path), RGB)
        else:
            with pytest.raises(ValueError, match="2 pages"):
                read_image(path)


def test_a_palette_with_alpha_has_colours(tmp_path):
    path = tmp_path / "a.tif"
    picture = Image.fromarray(RGB[..., 0]).convert("LA").convert("PA")
    picture.save(path)
    np.testing.assert_array_equal(read_image(path), np.stack([RGB[..., 0]] * 3, -1))


def test_a_strip_that_declares_more_than_its_tiff_is_refused(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    path = tmp_path / "a.tif"
    for codec, encode in (
        ("png", imagecodecs.png_encode),
        ("webp", lambda a: imagecodecs.webp_encode(a, lossless=True)),
        ("jpeg", imagecodecs.jpeg_encode),
        ("jpeg2000", imagecodecs.jpeg2k_encode),
    ):
        for size, fits in ((45, True), (300, False)):
            picture = np.zeros((size, 61 if fits else 400, 3), np.uint8)
            tifffile.imwrite(
                path,
                iter([encode(picture)]),
                shape=RGB.shape,
                dtype=np.uint8,
                photometric="rgb",
                compression=codec,
                rowsperstrip=45,
            )
            if fits:
                assert read_image(path).shape == RGB.shape
            else:
                with pytest.raises(ValueError, match="a.tif.*declares 300 x 400"):
                    read_image(path)


def test_masks_beside_nothing_have_a_lower_limit(tmp_path):
    path = tmp_path / "huge.png"
    Image.new("1", (33000, 9000)).save(path)
    for call in (
        lambda: read_labels(path),
        lambda: check_mask(path),
        lambda: check_regions(path, 1),
    ):
        with pytest.raises(ValueError, match=r"huge.png.*max_pixels=268435456"):
            call()


def test_a_region_in_colours_is_told_by_its_shape(tmp_path):
    path = tmp_path / "region.png"
    Image.fromarray(RGB).save(path)
    with pytest.raises(ValueError, match=r"shape \(45, 61, 3\).*colours"):
        check_regions(path, 1)


# -- weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 33, 400])
def test_a_changed_bit_of_weights_is_told(tmp_path, place):
    weight = torch.arange(200.0) + 0.123
    path = tmp_path / "w.pt"
    torch.save({"a": weight}, path)
    assert torch.equal(read_weight_file(path)["a"], weight)
    content = bytearray(path.read_bytes())
    content[content.index(weight.numpy().tobytes()) + place] ^= 8
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"w.pt.*data/0.*checksum"):
        read_weight_file(path)


@pytest.mark.parametrize("content", [b"epochs: 90\n", b"<html>", b"\x1b[31mred"])
def test_text_is_no_torch_file(tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is no torch file: it begins with") as told:
        read_weight_file(path)
    assert "\x1b" not in str(told.value)


def test_no_sign_of_a_file_reaches_a_terminal(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"\x80\x02c\x1b[31mos\nsystem\n.")
    with pytest.raises(ValueError, match="w.pth") as told:
        read_weight_file(path)
    assert "\x1b" not in str(told.value)


def test_a_path_too_long_is_told(tmp_path):
    with pytest.raises(ValueError, match="cannot be looked up.*long"):
        read_weight_file("w" * 6000)


# -- tables of points ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("row,column\n7,25,8,75\n", "line 2, has 4 cells.*2 columns"),
        ("row,column,class\n1,2,1\n7,5,8,1\n", "line 3, has 4 cells"),
        ('row,column,note\n1,2,"x\n3,4,y\n', "line 3, is broken CSV"),
        ('row,column,note\n1,2,"x\n3,4,y\n5,6,"\n', "line 4.*whole lines"),
        ('row,column,note\n1,2,"x"y\n', "line 2, is broken CSV"),
    ],
)
def test_tables_whose_cells_do_not_fit_are_refused(tmp_path, text, told):
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=told):
        read_points(path, label=None)


def test_delimiters_at_the_end_and_notes_of_two_lines_are_fine(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text('row,column,note,\n1,2,"a\nb",\n3,4,c,\n')
    np.testing.assert_array_equal(read_points(path), [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("classes", "kind"),
    [
        ({"a": "1"}, ValueError),
        ({"a": 2.5}, ValueError),
        ({"a": True}, ValueError),
        ({"a": 10**30}, ValueError),
        ({3: 1}, TypeError),
        ("a", TypeError),
        ([("a", 1)], TypeError),
    ],
)
def test_classes_are_whole_numbers_by_text(tmp_path, classes, kind):
    path = tmp_path / "p.csv"
    path.write_text("row,column,class\n1,2,a\n")
    with pytest.raises(kind, match="classes"):
        read_points(path, classes=classes)


def test_only_our_own_reads_are_silent(caplog):
    with silenced("tifffile"):
        logging.getLogger("tifffile").error("within")
    logging.getLogger("tifffile").error("after")
    assert [record.message for record in caplog.records] == ["after"]
