# SPDX-License-Identifier: BSD-3-Clause
"""Greys, lossy masks and class images are no ids; sound label images stay so."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from psmlearn.datasets import load_label_folder, make_nuclei
from psmlearn.exceptions import AnnotationWarning
from psmlearn.io import (
    check_images,
    check_mask,
    check_masks,
    read_labels,
    write_image,
    write_labels,
)
from psmlearn.measure import labelling_index, nuclei_table
from psmlearn.metrics import aggregated_jaccard_score, object_f1_score
from psmlearn.segmentation._masks import training_masks

ROWS, COLUMNS = np.mgrid[:90, :100]
INSIDE = np.zeros((90, 100), bool)
for _row, _column, _radius in ((14, 20, 9), (50, 22, 7), (30, 60, 12), (70, 75, 10)):
    INSIDE |= (ROWS - _row) ** 2 + (COLUMNS - _column) ** 2 < _radius**2
IDS = ndimage.label(INSIDE)[0]


def through_jpeg(value, quality):
    file = io.BytesIO()
    mask = (INSIDE * value).astype(np.uint8)
    Image.fromarray(mask).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def resized(value, size, how):
    mask = Image.fromarray((INSIDE * value).astype(np.uint8))
    return np.array(mask.resize(size, how))


def greys():
    for value, quality in ((255, 30), (255, 85), (180, 70), (90, 95), (128, 100)):
        yield f"jpeg {value} {quality}", through_jpeg(value, quality)
    for value, size in ((255, (71, 83)), (200, (150, 133)), (3, (71, 66))):
        for how in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
            yield f"{how.name} {value} {size}", resized(value, size, how)
    yield "blurred", ndimage.gaussian_filter(INSIDE * 240.0, 2).astype(np.uint8)
    yield "heat", ndimage.gaussian_filter(INSIDE * 65000.0, 6).astype(np.uint16)
    picture = np.random.default_rng(3).integers(0, 256, INSIDE.shape, dtype=np.uint8)
    yield "picture", picture


GREYS = [pytest.param(mask, id=name) for name, mask in greys()]


@pytest.mark.parametrize("dtype", [None, np.int32, np.int64])
@pytest.mark.parametrize("mask", GREYS)
def test_greys_are_no_ids(mask, dtype):
    mask = mask if dtype is None else mask.astype(dtype)
    for call in (
        lambda: check_masks([mask]),
        lambda: check_mask(mask),
        lambda: nuclei_table(mask),
        lambda: write_labels("never.tif", mask),
    ):
        with pytest.raises(ValueError, match=r"measure\.label"):
            call()


@pytest.mark.parametrize("mask", GREYS)
def test_files_of_greys_are_no_ids(tmp_path, mask):
    Image.fromarray(mask).save(tmp_path / "m.png")
    tifffile.imwrite(tmp_path / "m.tif", mask)
    for path in (tmp_path / "m.png", tmp_path / "m.tif"):
        for call in (
            lambda path=path: read_labels(path),
            lambda path=path: check_masks(path),
            lambda path=path: object_f1_score([path], [np.zeros(mask.shape, int)]),
        ):
            with pytest.raises(ValueError, match=rf"{path.name}.*measure\.label"):
                call()


@pytest.mark.parametrize("mask", GREYS[:-2])
def test_greys_are_no_regions(tmp_path, mask):
    points = [np.array([[14.0, 20, 1], [30, 60, 2]])]
    path = tmp_path / "region.png"
    Image.fromarray(mask).save(path)
    for given in (mask, mask.astype(int), path):
        with pytest.raises(ValueError, match=r"regions\[0\].*values"):
            labelling_index(points, regions=[given], min_cells=0)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_classes_are_no_ids(n_classes):
    tiles = np.kron(np.arange(30).reshape(5, 6) % n_classes + 1, np.ones((14, 14), int))
    tiles[ROWS[:70, :84] % 14 > 8] = tiles[COLUMNS[:70, :84] % 14 > 8] = 0
    with pytest.raises(ValueError, match=f"holds {n_classes} values in .*classes"):
        check_masks([tiles])
    one_rare = np.where(tiles > 1, 1, tiles)
    one_rare[:9, 14:23] = 2
    with pytest.raises(ValueError, match="holds 2 values"):
        check_masks([one_rare])


def test_what_may_be_either_is_told():
    few = np.zeros((60, 60), int)
    for row in (6, 20, 34):
        few[row : row + 10, 10:20], few[row : row + 10, 30:40] = 1, 2
    with pytest.warns(
        AnnotationWarning, match="2 values in 6 separate.*classes"
    ) as told:
        check_masks([few, few])
    assert len(told) == 1


def sound():
    yield "ids", IDS
    yield "few pixels", np.arange(200).reshape(10, 20) % 7
    yield "every pixel", np.arange(2400).reshape(40, 60) + 1
    truth = make_nuclei(n_images=1, random_state=4).masks[0]
    yield "nuclei", truth
    yield "sparse ids", truth * 999
    yield "shuffled", np.random.default_rng(1).permutation(500)[truth] * (truth > 0)
    for step in (2, 4):
        yield f"every {step}", np.ascontiguousarray(truth[::step, ::step])
    crossed = truth.copy()
    crossed[::19] = -1
    yield "crossed by unknown", crossed
    covered = truth.copy()
    covered[100:140] = truth.max() + 1
    yield "covered by another", covered
    blocks = np.kron(np.arange(100).reshape(10, 10), np.ones((7, 9), int))
    yield "touching", blocks
    lobes = IDS.copy()
    lobes[ROWS % 15 < 3] = 0
    lobes[IDS > 1] = IDS[IDS > 1]
    yield "one of several pieces", lobes


@pytest.mark.parametrize("mask", [pytest.param(m, id=n) for n, m in sound()])
def test_sound_label_images_pass(mask):
    np.testing.assert_array_equal(check_masks([mask])[0], mask)


@pytest.mark.parametrize("side", [20, 48, 96])
def test_crops_of_sound_label_images_pass(side):
    truth = make_nuclei(n_images=1, random_state=7).masks[0]
    rng = np.random.default_rng(side)
    for _ in range(60):
        top, left = rng.integers(256 - side, size=2)
        crop = truth[top : top + side, left : left + side]
        if len(np.unique(crop)) > 2:  # one object that the border cuts is told
            check_masks([crop])


def test_numbered_regions_may_have_parts():
    region = np.kron(np.arange(12).reshape(3, 4) % 3, np.ones((20, 20), int))
    points = [np.array([[5.0, 30, 1], [5, 50, 2]])]
    labelling_index(points, regions=[region], min_cells=0)


# -- class images ----------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 3, 255])
def test_classes_may_be_one_value_in_many_pieces(tmp_path, value):
    for name in ("images", "masks", "classes"):
        (tmp_path / name).mkdir()
    write_image(tmp_path / "images" / "a.png", np.full((*IDS.shape, 3), 200, np.uint8))
    write_labels(tmp_path / "masks" / "a.png", IDS)
    classes = (INSIDE * value).astype(np.uint8)
    path = tmp_path / "classes" / "a.png"
    write_labels(path, classes, kind="classes")
    np.testing.assert_array_equal(read_labels(path, kind="classes"), classes)
    found = load_label_folder(tmp_path, classes="classes").masks[0]
    np.testing.assert_array_equal(found, np.dstack([IDS, classes]))
    with pytest.raises(ValueError, match="kind='classes'"):
        write_labels(tmp_path / "b.png", classes)
    for call in (
        lambda: write_labels(path, classes, kind="class"),
        lambda: read_labels(path, kind=None),
    ):
        with pytest.raises(ValueError, match="kind must be 'ids' or 'classes'"):
            call()


# -- masks of bool ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int64])
@pytest.mark.parametrize("n_objects", [0, 1])
def test_one_object_or_none_is_fine_whatever_the_dtype(dtype, n_objects):
    mask = (IDS == 3).astype(dtype) if n_objects else np.zeros(IDS.shape, dtype)
    assert check_mask(mask).max() == n_objects
    assert object_f1_score([mask], [mask], zero_division=1) == 1
    assert aggregated_jaccard_score([IDS], [mask]) <= 1
    images = check_images([np.full((*IDS.shape, 3), 200, np.uint8)] * 2)
    found = training_masks(images, [IDS, mask], [], "Segmenter")
    np.testing.assert_array_equal(found[1], mask)
