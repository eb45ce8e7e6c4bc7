# SPDX-License-Identifier: BSD-3-Clause
"""One gate for label images and regions, by whatever way they come."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from psmlearn.exceptions import AnnotationWarning, OrientationWarning
from psmlearn.inspection import (
    LabellingIndexDisplay,
    SegmentationDisplay,
    overlay_labels,
)
from psmlearn.io import (
    check_images,
    check_mask,
    check_masks,
    read_image,
    read_labels,
    write_labels,
)
from psmlearn.io._masks import check_regions
from psmlearn.measure import (
    find_hotspot,
    labelling_index,
    nuclei_table,
    stain_intensity,
)
from psmlearn.metrics import (
    aggregated_jaccard_score,
    detection_f1_score,
    dice_score,
    object_f1_score,
    panoptic_quality_score,
)
from psmlearn.segmentation import NucleiDetector, NucleiSegmenter, RegionSegmenter

RNG = np.random.default_rng(11)
IDS = np.zeros((30, 42), np.int32)
for _index in range(9):
    _row, _column = 3 + 9 * (_index // 3), 3 + 13 * (_index % 3)
    IDS[_row : _row + 5, _column : _column + 7] = _index + 1
INSIDE = IDS > 0
RGB = RNG.integers(0, 256, (30, 42, 3), dtype=np.uint8)
TOLD = "skimage.measure.label"


def stencils():
    """List masks of foreground: all nine objects by one value."""
    yield "bool", INSIDE
    for value in (1, 2, 37, 128, 255):
        yield f"uint8-{value}", INSIDE.astype(np.uint8) * np.uint8(value)
    for value in (1, 255, 4095, 65535):
        yield f"uint16-{value}", INSIDE.astype(np.uint16) * np.uint16(value)
    yield "int64-1", INSIDE.astype(np.int64)
    yield "int32-70000", INSIDE.astype(np.int32) * 70000


STENCILS = [pytest.param(mask, id=name) for name, mask in stencils()]


@pytest.mark.parametrize("mask", STENCILS)
def test_one_value_in_several_pieces_is_refused(mask):
    for call in (
        lambda: check_mask(mask),
        lambda: check_masks([mask]),
        lambda: check_masks(np.stack([mask, mask])),
        lambda: check_masks([mask], check_images([RGB])),
        lambda: nuclei_table(mask),
        lambda: stain_intensity([RGB], [mask]),
        lambda: overlay_labels(RGB, mask),
        lambda: write_labels("never.tif", mask),
        lambda: aggregated_jaccard_score([IDS], [mask]),
        lambda: object_f1_score([mask], [IDS]),
        lambda: panoptic_quality_score(IDS, mask),
        lambda: detection_f1_score([mask], [IDS], radius=3),
        lambda: NucleiSegmenter(max_epochs=1).fit([RGB], [mask]),
        lambda: NucleiDetector(max_epochs=1).fit([RGB], [mask]),
        lambda: RegionSegmenter(max_epochs=1).fit([RGB], [mask]),
    ):
        with pytest.raises(ValueError, match=TOLD):
            call()


@pytest.mark.parametrize("value", [1, 7, 255, 65535])
def test_with_classes_it_is_the_ids_that_count(value):
    mask = np.stack([INSIDE * value, IDS % 3], axis=-1)
    for call in (
        lambda: check_masks([mask]),
        lambda: labelling_index([mask], min_cells=0),
        lambda: find_hotspot([mask], area=0.001, pixel_size=5.0),
        lambda: nuclei_table(mask),
        lambda: object_f1_score([mask], [mask], labels=[1]),
    ):
        with pytest.raises(ValueError, match=TOLD):
            call()
    sound = np.stack([IDS, INSIDE * value], axis=-1)
    np.testing.assert_array_equal(check_mask(sound), sound)


def test_the_value_and_the_number_of_pieces_are_told():
    with pytest.raises(ValueError, match="mask 1 holds one value, 37, in 9 separate"):
        check_masks([IDS, INSIDE * 37])
    with pytest.raises(ValueError, match="0/255 mask.*label"):
        check_masks([INSIDE * np.uint8(255)])


@pytest.mark.parametrize("mask", STENCILS)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_files_of_one_value_are_refused(tmp_path, mask, suffix):
    if suffix == "png" and mask.dtype.itemsize > 2:
        mask = (mask > 0).astype(np.uint16) * 70
    path = tmp_path / f"mask.{suffix}"
    if suffix == "png" or mask.dtype == bool:
        Image.fromarray(mask).save(path)
    else:
        tifffile.imwrite(path, mask, photometric="minisblack")
    for call in (
        lambda: read_labels(path),
        lambda: check_masks([path]),
        lambda: check_masks(path, check_images([RGB])),
        lambda: nuclei_table(path),
        lambda: object_f1_score([path], [IDS]),
        lambda: NucleiSegmenter(max_epochs=1).fit([RGB], [path]),
    ):
        with pytest.raises(ValueError, match=TOLD) as caught:
            call()
        assert str(path) in str(caught.value)


def sound_masks():
    """List masks of one value, or none, that are sound."""
    one = np.zeros((30, 42), np.int32)
    yield "empty", one
    yield "unknown", one - 1
    alone = one.copy()
    alone[4:9, 5:11] = 1
    yield "alone", alone
    yield "id", alone * 37
    yield "id 255", alone * 255
    corner = alone.copy()
    corner[9:12, 11:14] = 1
    yield "corner", corner
    full = np.ones_like(one)
    yield "full", full
    crossed = alone.copy()
    crossed[6] = -1
    yield "crossed by unknown", crossed * np.where(crossed > 0, 5, 1)
    hollow = one.copy()
    hollow[3:12, 3:12], hollow[5:10, 5:10] = 4, -1
    hollow[7, 7] = 4
    yield "around unknown", hollow
    cut = IDS.copy()
    cut[5, IDS[5] == 2] = 0
    yield "one of many in two pieces", cut
    yield "bool", alone > 0
    yield "with classes", np.stack([alone, alone * 3], axis=-1)
    half = np.stack([alone, alone], axis=-1)
    half[6:, :, 1] *= 2
    yield "of two classes", half


@pytest.mark.parametrize(
    "mask", [pytest.param(mask, id=name) for name, mask in sound_masks()]
)
def test_sound_masks_pass_as_they_are(mask):
    np.testing.assert_array_equal(check_masks([mask])[0], mask)
    if mask.dtype != bool and mask.ndim == 2:
        assert object_f1_score([mask], [mask], zero_division=1) == 1.0
        assert len(nuclei_table(mask)["label"]) == len(np.unique(mask[mask > 0]))


def cut_by(side):
    """Draw a nucleus that the border cuts into two pieces."""
    mask = np.zeros((30, 42), np.int32)
    mask[:4, 5:9] = mask[:6, 20:26] = 12
    return {
        "top": mask,
        "bottom": mask[::-1],
        "left": np.ascontiguousarray(mask.T),
        "right": mask.T[:, ::-1],
    }[side]


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
def test_what_a_border_may_have_cut_is_one_and_told(side):
    mask = cut_by(side)
    with pytest.warns(AnnotationWarning, match="one value, 12, in 2.*label") as caught:
        checked = check_masks([mask, mask], caller="Segmenter")
    assert len(caught) == 1
    assert "mask 0" in str(caught[0].message) and "mask 1" in str(caught[0].message)
    np.testing.assert_array_equal(checked[0], mask)
    # A value that no id has, and a third piece, leave no doubt.
    white = (mask > 0).astype(np.uint16) * np.uint16(65535)
    more = mask.copy()
    more[10:15, 10:15] = 12
    for bad in (mask > 0, white, more):
        with pytest.raises(ValueError, match=TOLD):
            check_mask(bad)


def test_specks_beside_an_object_are_told():
    mask = np.zeros((30, 42), np.int32)
    mask[5:15, 5:15] = 3
    mask[20, 20] = mask[22, 30] = mask[2, 40] = 3
    with pytest.warns(AnnotationWarning, match="mask holds one value, 3, in 4"):
        check_mask(mask)
    mask[18:24, 18:24] = 3
    with pytest.raises(ValueError, match="in 4 separate pieces"):
        check_mask(mask)


def test_the_foreground_may_have_one_value_where_objects_do_not_matter():
    for mask in (INSIDE, INSIDE * 1, INSIDE * np.uint8(255)):
        assert dice_score([mask], [IDS]) == 1.0


def test_masked_arrays_are_refused_everywhere():
    masked = np.ma.masked_array(IDS, IDS == 3)
    for call in (
        lambda: check_mask(masked),
        lambda: check_masks(masked),
        lambda: check_masks([masked]),
        lambda: write_labels("never.tif", masked),
        lambda: overlay_labels(RGB, masked),
        lambda: SegmentationDisplay.from_predictions(RGB, masked),
        lambda: LabellingIndexDisplay.from_predictions(RGB, np.ma.dstack([masked] * 2)),
        lambda: nuclei_table(masked),
        lambda: check_regions([np.ma.masked_array(INSIDE, INSIDE)], 1),
        lambda: object_f1_score([IDS], [masked]),
    ):
        with pytest.raises((TypeError, ValueError), match="masked array"):
            call()


# -- depth, white-is-zero, alpha, losses -----------------------------------------------


def write_grey(path, pixels, n_bits):
    """Write a grey PNG of few bits."""
    n_fit = 8 // n_bits
    width = -(-pixels.shape[1] // n_fit) * n_fit
    wide = np.zeros((len(pixels), width), np.uint8)
    wide[:, : pixels.shape[1]] = pixels
    shifts = np.arange(n_fit)[::-1] * n_bits
    rows = (wide.reshape(len(pixels), -1, n_fit) << shifts).sum(axis=2)
    data = b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", pixels.shape[1], len(pixels), n_bits, 0, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, body in (
            (b"IHDR", head),
            (b"IDAT", zlib.compress(data)),
            (b"IEND", b""),
        ):
            check = struct.pack(">I", zlib.crc32(kind + body))
            file.write(struct.pack(">I", len(body)) + kind + body + check)


@pytest.mark.parametrize(("n_bits", "highest"), [(1, 1), (2, 3), (4, 9), (8, 9)])
def test_ids_of_few_bits_are_those_stored(tmp_path, n_bits, highest):
    ids = np.where(IDS <= highest, IDS, 0)
    write_grey(tmp_path / "ids.png", ids, n_bits)
    np.testing.assert_array_equal(read_labels(tmp_path / "ids.png"), ids)
    if n_bits > 1:
        white = 255 // (2**n_bits - 1)
        image = read_image(tmp_path / "ids.png")
        np.testing.assert_array_equal(image, ids * white)


@pytest.mark.parametrize("n_bits", [2, 4])
def test_tiffs_of_few_bits_hold_ids(tmp_path, n_bits):
    pytest.importorskip("imagecodecs")
    ids = np.where(IDS <= 3, IDS, 0).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "ids.tif", ids, bitspersample=n_bits, photometric="minisblack"
    )
    np.testing.assert_array_equal(read_labels(tmp_path / "ids.tif"), ids)
    with pytest.raises(ValueError, match="bits per sample"):
        read_image(tmp_path / "ids.tif")


ONE = np.zeros((30, 42), bool)
ONE[4:9, 5:19] = True


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "group4", "packbits"])
def test_white_is_the_object_in_bilevel_files(tmp_path, compression):
    path = tmp_path / "white.tif"
    for photometric in (0, 1):
        Image.fromarray(ONE).save(
            path, compression=compression, tiffinfo={262: photometric}
        )
        np.testing.assert_array_equal(read_labels(path), ONE)
        np.testing.assert_array_equal(read_image(path), ONE)
        np.testing.assert_array_equal(check_regions(path, 1)[0], ONE)
        np.testing.assert_array_equal(check_regions(path, 1, numbered=True)[0], ONE)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_the_object_in_deeper_files_and_ids_are_not_guessed(tmp_path, dtype):
    path = tmp_path / "white.tif"
    white = np.iinfo(dtype).max
    stored = np.where(ONE, 0, white).astype(dtype)
    tifffile.imwrite(path, stored, photometric="miniswhite")
    np.testing.assert_array_equal(check_regions(path, 1)[0], ONE)
    for odd in (IDS, white - IDS, np.full(IDS.shape, white), np.zeros_like(IDS)):
        tifffile.imwrite(path, odd.astype(dtype), photometric="miniswhite")
        with pytest.raises(ValueError, match="white.tif.*0 for white"):
            read_labels(path)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_ids_with_an_alpha_that_shows_are_refused(tmp_path, suffix):
    path = tmp_path / f"ids.{suffix}"
    alpha = np.full(IDS.shape, 255, np.uint8)
    Image.fromarray(np.dstack([IDS.astype(np.uint8), alpha])).save(path)
    np.testing.assert_array_equal(read_labels(path), IDS)
    alpha[:3] = 0
    Image.fromarray(np.dstack([IDS.astype(np.uint8), alpha])).save(path)
    with pytest.raises(ValueError, match="transparent"):
        read_labels(path)


def write_lossy(path, mask):
    if path.suffix == ".tif":
        tifffile.imwrite(path, mask, compression="jpeg", photometric="minisblack")
    else:
        Image.fromarray(mask).save(path, quality=75)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tif"])
@pytest.mark.parametrize("white", [255, 180])
def test_files_with_losses_are_no_ids_and_no_regions(tmp_path, suffix, white):
    pytest.importorskip("imagecodecs")
    path = tmp_path / f"mask.{suffix}"
    write_lossy(path, (INSIDE * white).astype(np.uint8))
    points = [[[5.0, 5.0, 1]]]
    for call in (
        lambda: read_labels(path),
        lambda: check_masks([path]),
        lambda: dice_score([path], [IDS]),
        lambda: check_regions([path], 1),
        lambda: labelling_index(points, regions=[path], min_cells=0),
        lambda: find_hotspot(points, area=0.01, pixel_size=5.0, regions=path),
        lambda: detection_f1_score(points, points, radius=3, regions=[path]),
        lambda: nuclei_table(IDS, region=path),
    ):
        with pytest.raises(ValueError, match=f"mask.{suffix}"):
            call()


def test_black_and_white_without_noise_is_a_region_even_as_jpeg(tmp_path):
    path = tmp_path / "roi.jpg"
    blocks = np.zeros((32, 48), np.uint8)
    blocks[8:24, 16:40] = 255
    Image.fromarray(blocks).save(path, quality=100)
    assert set(np.unique(read_image(path))) == {0, 255}
    for numbered in (False, True):
        (region,) = check_regions(path, 1, numbered=numbered)
        np.testing.assert_array_equal(region, blocks > 0)
    with pytest.raises(ValueError, match="losses"):
        read_labels(path)


# -- regions ---------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 9, 255, 65535])
def test_one_value_in_several_pieces_is_a_fine_region(tmp_path, value):
    path = tmp_path / "region.png"
    mask = (INSIDE * value).astype(np.uint8 if value < 256 else np.uint16)
    Image.fromarray(mask).save(path)
    (region,) = check_regions(path, 1)
    assert region.dtype == bool
    np.testing.assert_array_equal(region, INSIDE)
    (region,) = check_regions(path, 1, numbered=True)
    np.testing.assert_array_equal(region > 0, INSIDE)
    assert (region.dtype == bool) == (value in (255, 65535))


def test_several_values_are_regions_only_where_they_are_numbers(tmp_path):
    path = tmp_path / "regions.tif"
    write_labels(path, IDS)
    (region,) = check_regions(path, 1, numbered=True)
    np.testing.assert_array_equal(region, IDS)
    for given in (path, IDS):
        with pytest.raises(ValueError, match="expected a boolean mask"):
            check_regions(given, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_greys_up_to_white_are_no_numbers(tmp_path, dtype):
    white = np.iinfo(dtype).max
    greys = (INSIDE * white).astype(dtype)
    greys[2, 3:9] = [1, 3, 2, white - 1, 5, white - 4]
    Image.fromarray(greys).save(tmp_path / "greys.png")
    for given in (greys, tmp_path / "greys.png"):
        with pytest.raises(ValueError, match=f"values up to {white}"):
            check_regions(given, 1, numbered=True)


# -- sizes and orientation -------------------------------------------------------------


def test_a_mask_of_another_size_is_not_decoded(tmp_path, monkeypatch):
    path = tmp_path / "huge.png"
    Image.fromarray(np.zeros((300, 900), np.uint8)).save(path)
    monkeypatch.setattr("psmlearn.io._read.decode_image", None)
    images = check_images([RGB])
    shapes = [RGB.shape[:2]]
    for call in (
        lambda: check_masks([path], images),
        lambda: check_mask(path, shape=(30, 42)),
        lambda: check_regions([path], 1, shapes),
        lambda: check_regions([path], 1, shapes, ["y[0]"], numbered=True),
        lambda: dice_score([IDS], [path]),
        lambda: dice_score([path], [IDS]),
        lambda: dice_score([IDS], [IDS], regions=[path]),
        lambda: labelling_index([np.dstack([IDS, IDS])], regions=[path]),
        lambda: nuclei_table(path, RGB),
        lambda: nuclei_table(IDS, region=path),
        lambda: stain_intensity([RGB], [path]),
        lambda: stain_intensity([RGB], [IDS], regions=[path]),
    ):
        with pytest.raises(ValueError, match=r"\(300, 900\).*\(30, 42\)|30.*300"):
            call()


def test_a_mask_of_the_size_of_its_image_passes(tmp_path):
    path = tmp_path / "ids.png"
    write_labels(path, IDS)
    np.testing.assert_array_equal(check_mask(path, shape=(30, 42)), IDS)
    with pytest.raises(ValueError, match=r"mask has size \(30, 42\).*\(42, 30\)"):
        check_mask(IDS, shape=(42, 30))


@pytest.mark.parametrize("orientation", [3, 6])
def test_an_orientation_is_told(tmp_path, orientation):
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(IDS.astype(np.uint8)).save(path, exif=exif)
    for call in (read_image, read_labels, check_mask):
        with pytest.warns(OrientationWarning, match="turned.png.*as stored"):
            np.testing.assert_array_equal(call(path), IDS)
    for calls in (
        lambda: check_masks([path] * 7),
        lambda: check_regions([path] * 7, 7, numbered=True),
    ):
        with pytest.warns(OrientationWarning, match="and 2 more have") as told:
            calls()
        assert len(told) == 1
