# SPDX-License-Identifier: BSD-3-Clause
"""Tissue, artefacts and stainings, on painted images and on real ones."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from scipy import ndimage

from psmlearn._images._artefacts import DIRT, FOLD, PEN, artefact_mask
from psmlearn._images._staining import guess_staining
from psmlearn._images._stains import stain_vector
from psmlearn._images._tissue import tissue_mask
from psmlearn.datasets import make_nuclei
from psmlearn.io import read_image

SIDE = 400  # 100 micrometres


def disc(row, column, radius, side=SIDE):
    rows, columns = np.ogrid[:side, :side]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def smooth_noise(seed, side=SIDE, sigma=3):
    noise = np.random.default_rng(seed).normal(size=(side, side))
    noise = ndimage.gaussian_filter(noise, sigma)
    return noise / noise.std()


def field(stains=("haematoxylin", "eosin"), seed=0, strength=0.4, side=SIDE):
    """Tissue everywhere, without nuclei."""
    amounts = strength * np.stack(
        [0.3 + 0.1 * smooth_noise(seed, side), 1 + 0.2 * smooth_noise(seed + 1, side)],
        axis=-1,
    )
    vectors = np.stack([stain_vector(s) for s in stains])
    return 10 ** -(np.maximum(amounts, 0) @ vectors)


def ihc(seed=0, n_nuclei=40):
    """Pale blue tissue with blue and almost black brown nuclei."""
    density = np.maximum(0.15 * (1 + 0.2 * smooth_noise(seed)), 0.08)
    density = density[..., np.newaxis] * stain_vector("haematoxylin")
    rng = np.random.default_rng(seed)
    for row, column in rng.uniform(20, SIDE - 20, (n_nuclei, 2)):
        stain, amount = [("haematoxylin", 0.5), ("dab", 2.2)][rng.integers(2)]
        nucleus = ndimage.gaussian_filter(disc(row, column, 14).astype(float), 2)
        density = density + amount * nucleus[..., np.newaxis] * stain_vector(stain)
    return 10**-density


# -- tissue ----------------------------------------------------------------------


@pytest.mark.parametrize("light", [1.0, 0.85, (0.87, 0.86, 0.82), 0.6])
def test_blank_glass_is_no_tissue(light):
    noise = 0.01 * np.random.default_rng(0).normal(size=(200, 300, 3))
    assert not tissue_mask(np.clip(light * np.ones(3) + noise, 0, 1)).any()


@pytest.mark.parametrize(
    "image", [field(), field(strength=0.15), ihc()], ids=["he", "pale", "ihc"]
)
def test_full_tissue_is_tissue_all_over(image):
    assert tissue_mask(image).all()


@pytest.mark.parametrize("light", [1.0, 0.86])
@pytest.mark.parametrize("image", [field(), ihc()], ids=["he", "ihc"])
def test_half_tissue_ends_where_it_does(image, light):
    image = image.copy()
    image[:, :200] = 1
    mask = tissue_mask(light * image)
    assert mask[:, 212:].mean() > 0.99
    assert not mask[:, :188].any()


def test_small_holes_count_as_tissue_and_specks_do_not():
    image = field()
    image[disc(200, 200, 50)] = 1  # 25 micrometres across
    assert tissue_mask(image).all()
    glass = np.ones_like(image)
    glass[disc(200, 200, 16)] = [0.8, 0.5, 0.7]  # 8 micrometres across
    assert not tissue_mask(glass).any()


def test_pixel_size_changes_the_scale_alone():
    image = field()
    image[:, :200] = 1
    coarse = tissue_mask(image[::2, ::2], pixel_size=0.5)
    assert (coarse == tissue_mask(image)[::2, ::2]).mean() > 0.97


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 300, 3), (37, 41, 1), (37, 41)])
def test_odd_shapes(shape):
    image = np.full(shape, 0.6, np.float32)
    assert tissue_mask(image).shape == shape[:2]
    assert artefact_mask(image).shape == shape[:2]


def test_grey_tissue():
    grey = field().mean(axis=2)
    grey[:, :200] = 1
    mask = tissue_mask(grey)
    assert mask[:, 212:].mean() > 0.99 and not mask[:, :188].any()


# -- artefacts -------------------------------------------------------------------

INKS = {
    "green": [0.1, 0.5, 0.2],
    "bluish green": [0.14, 0.5, 0.33],
    "teal": [0.24, 0.59, 0.51],
    "pale blue": [0.24, 0.35, 0.78],
    "blue": [0.08, 0.22, 0.75],
    "red": [0.85, 0.1, 0.14],
    "black": [0.05, 0.05, 0.06],
}


@pytest.mark.parametrize("ink", INKS)
@pytest.mark.parametrize("image", [field(), ihc()], ids=["he", "ihc"])
def test_pen_strokes(image, ink):
    image = image.copy()
    image[:, 150:250] = INKS[ink]
    kinds = artefact_mask(image)
    assert (kinds[:, 155:245] == PEN).mean() > 0.95
    outside = np.delete(kinds, np.s_[140:260], axis=1)
    assert (outside == 0).mean() > 0.995


# Marker that light shines through: a strength that is told on white, and on H&E.
SHEER = {
    "green": (0.5, 1.0),
    "bluish green": (0.5, 1.0),
    "teal": (0.5, 1.0),
    "pale blue": (0.75, None),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("ink", SHEER)
def test_marker_over_glass_and_tissue(ink, seed):
    """It lies slantwise, 50 micrometres wide, and streaky."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    stroke = np.abs(0.9 * rows - 0.45 * columns - 90) < 100
    streaks = 1 + 0.1 * smooth_noise(seed + 5, sigma=12)
    density = -np.log10(INKS[ink]) * (stroke * streaks)[..., np.newaxis]
    glass = np.full((SIDE, SIDE, 3), 0.93)
    grounds = (glass, field(seed=seed, strength=0.2))
    for ground, strength in zip(grounds, SHEER[ink], strict=True):
        if strength is None:
            continue
        kinds = artefact_mask(ground * 10 ** (-strength * density))
        inside = ndimage.binary_erosion(stroke, iterations=8)
        outside = ~ndimage.binary_dilation(stroke, iterations=12)
        assert (kinds[inside] == PEN).mean() > 0.9
        assert not (kinds[outside] == PEN).any()


@pytest.mark.parametrize("seed", range(2))
def test_cyan_haematoxylin_is_no_pen(seed):
    """As the counterstain of some laboratories: bluer than many a marker."""
    rng = np.random.default_rng(seed)
    density = np.full((SIDE, SIDE), 0.25) * (1 + 0.2 * smooth_noise(seed))
    for row, column in rng.uniform(0, SIDE, (90, 2)):
        nucleus = ndimage.gaussian_filter(disc(row, column, 13).astype(float), 2)
        density = density + 0.7 * nucleus
    cyan = np.array([1.0, 0.5, 0.2])
    image = 10 ** -(np.maximum(density, 0)[..., np.newaxis] * cyan)
    assert not artefact_mask(image).any()


@pytest.mark.parametrize("image", [field(), ihc(n_nuclei=15)], ids=["he", "ihc"])
def test_fold(image):
    folded = image.copy()
    usual = -np.log10(np.median(image, axis=(0, 1)))
    folded[:, 150:230] *= 10 ** -(2.5 * usual + 0.15)
    kinds = artefact_mask(folded)
    assert (kinds[:, 158:222] == FOLD).mean() > 0.8
    # A nucleus that touches the fold may be counted to it.
    assert (np.delete(kinds, np.s_[120:260], axis=1) == 0).mean() > 0.99


def test_dirt():
    image = field()
    specks = disc(100, 100, 8) | disc(300, 180, 12)
    image[specks] = 0.03
    kinds = artefact_mask(image)
    assert (kinds[specks] == DIRT).mean() > 0.8
    assert (kinds[~ndimage.binary_dilation(specks, iterations=4)] == 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_nuclei_are_no_artefacts(seed):
    assert not artefact_mask(ihc(seed)).any()
    for stain in ("he", "ki67"):
        image = make_nuclei(1, (SIDE, SIDE), stain=stain, random_state=seed).images[0]
        assert not artefact_mask(image / np.float32(255)).any()


def test_cluster_of_black_brown_nuclei_is_no_artefact():
    density = np.full((SIDE, SIDE, 3), 0.08) * (1 + 0.1 * smooth_noise(0)[..., None])
    cluster = disc(200, 200, 40) | disc(240, 260, 40) | disc(160, 250, 36)
    cluster = ndimage.gaussian_filter(cluster.astype(float), 3)
    image = 10 ** -(density + 3 * cluster[..., np.newaxis] * stain_vector("dab"))
    assert image.min() < 0.02
    assert not artefact_mask(image).any()


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_even_images_have_no_artefact_of_tissue(value):
    kinds = artefact_mask(np.full((90, 70, 3), value))
    assert kinds.dtype == np.uint8 and not kinds.any()


def test_bad_input():
    with pytest.raises(TypeError, match="uint8"):
        tissue_mask(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="shape"):
        artefact_mask(np.zeros((2, 8, 8, 3)))
    for size in (0, -1, np.nan):
        with pytest.raises(ValueError, match="pixel_size"):
            tissue_mask(np.ones((8, 8, 3)), pixel_size=size)


def test_input_is_left_alone():
    image = ihc().astype(np.float32)
    before = image.copy()
    image.setflags(write=False)
    for function in (tissue_mask, artefact_mask, guess_staining):
        function(image)
    np.testing.assert_array_equal(image, before)


# -- stainings -------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stain, expected", [("he", "he"), ("ki67", "hdab")])
def test_staining_of_made_images(stain, expected, seed):
    image = make_nuclei(1, (256, 256), stain=stain, random_state=seed).images[0]
    assert guess_staining(image / np.float32(255)) == expected


def test_haematoxylin_alone_is_told_as_hdab():
    made = make_nuclei(
        1, (256, 256), stain="ki67", positive_fraction=0.0, random_state=0
    )
    assert guess_staining(made.images[0] / np.float32(255)) == "hdab"


def test_other_stainings():
    cells = np.zeros((100, 100, 3))
    cells[40:60, 40:60, 2] = 0.9
    assert guess_staining(cells) == "fluorescence"
    assert guess_staining(cells[..., 2]) == "fluorescence"
    assert guess_staining(np.full((64, 64, 3), 0.9)) == "blank"
    assert guess_staining(np.full((64, 64, 3), 1.0)) == "blank"
    grey = np.clip(0.6 + 0.15 * smooth_noise(0), 0, 1)
    assert guess_staining(np.repeat(grey[..., np.newaxis], 3, axis=2)) == "other"
    assert guess_staining(grey) == "other"
    grass = grey[..., np.newaxis] * [0.3, 0.9, 0.3]
    assert guess_staining(grass) == "other"


def fluorescence(seed, covered, color, haze):
    """Bright nuclei on ground of 0.02 to 0.15, with light out of focus."""
    rng = np.random.default_rng(seed)

    def even(width):
        field = ndimage.gaussian_filter(rng.normal(size=(192, 192)), width)
        return (field - field.min()) / np.ptp(field)

    cells = even(6)
    cells = (cells > np.quantile(cells, 1 - covered)).astype(float)
    light = ndimage.gaussian_filter(cells * (0.3 + 0.7 * even(12)), 1.5)
    light += haze * ndimage.gaussian_filter(cells, 15)
    light += 0.02 + 0.13 * even(30)
    image = light[..., np.newaxis] * color + rng.normal(0, 0.02, (192, 192, 3))
    return np.clip(image, 0, 1)


@pytest.mark.parametrize("haze", [0.0, 0.1])
@pytest.mark.parametrize("covered", [0.1, 0.4, 0.6])
@pytest.mark.parametrize(
    "color", [(0.05, 0.15, 1), (0.1, 1, 0.15), (1, 1, 1)], ids=["blue", "green", "grey"]
)
def test_fluorescence_is_told_where_nuclei_hide_the_ground(color, covered, haze):
    for seed in range(3):
        image = fluorescence(seed, covered, np.array(color), haze)
        assert guess_staining(image) == "fluorescence"
        if color == (1, 1, 1):
            assert guess_staining(image.mean(axis=2)) == "fluorescence"


@pytest.mark.parametrize("stain, expected", [("he", "he"), ("ki67", "hdab")])
def test_black_borders_are_no_ground(stain, expected):
    image = make_nuclei(1, (256, 256), stain=stain, random_state=0).images[0]
    image = image / np.float32(255)
    noise = np.random.default_rng(0).uniform(0, 0.03, (256, 256, 3))
    for rows, columns in [(30, 40), (0, 160), (100, 100)]:
        framed = image.copy()
        framed[:rows], framed[:, 256 - columns :] = 0, 0
        assert guess_staining(framed) == expected
        framed = image.copy()
        framed[:rows], framed[:, :columns] = noise[:rows], noise[:, :columns]
        assert guess_staining(framed) == expected
    round_field = image.copy()
    rows, columns = np.mgrid[:256, :256] - 127.5
    round_field[np.hypot(rows, columns) > 128] = 0
    assert guess_staining(round_field) != "fluorescence"
    assert guess_staining(np.zeros((64, 64, 3))) == "fluorescence"


# -- real images -----------------------------------------------------------------


PATTERNS = {
    "monuseg/*/Tissue Images/*.tif": "he",
    "cpm15/*_image.png": "he",
    "ki67_fields/*.png": "hdab",
    "ki67_glioma/*_quarter.png": "hdab",
    "bcdata/images/*/*.png": "hdab",
}
FIELDS = {"ki67_fields/*.png": "hdab"}

# What differs between the images of a set is looked at in the slow part.
HOW_MANY = pytest.mark.parametrize(
    "n_each", [2, pytest.param(None, marks=pytest.mark.slow, id="all")]
)


def real_images(folder, n_each, patterns=PATTERNS):
    """Yield path, staining, pixel size and image of the first `n_each` of each set."""
    cases = []
    for pattern, staining in patterns.items():
        paths = [p for p in folder.glob(pattern) if not p.stem.endswith("_roi")]
        cases += [(path, staining) for path in sorted(paths)[:n_each]]
    if not cases:
        pytest.skip("none of the folders is there")
    for path, staining in cases:
        size = 0.5 if path.parent.name in ("ki67_fields", "ki67_glioma") else 0.25
        yield path, staining, size, read_image(path)[..., :3] / np.float32(255)


@HOW_MANY
@pytest.mark.data
def test_staining_of_real_images(data_dir, n_each):
    wrong = [
        (path.name, found)
        for path, staining, _, image in real_images(data_dir, n_each)
        if (found := guess_staining(image)) != staining
    ]
    assert wrong == []


@HOW_MANY
@pytest.mark.data
def test_real_images_in_black_borders_or_in_grey_are_no_fluorescence(data_dir, n_each):
    for path, staining, _, image in real_images(data_dir, n_each):
        framed = image.copy()
        framed[:, : image.shape[1] // 2] = 0.01
        framed[-image.shape[0] // 8 :] = 0
        assert guess_staining(framed) == staining, path.name
        assert guess_staining(image.mean(axis=2)) == "other", path.name


@HOW_MANY
@pytest.mark.data
def test_real_images_are_tissue_with_hardly_an_artefact(data_dir, n_each):
    """By eye, ki67_fields has glass, black borders and folds in two fields.

    So have four of BCData's images glass, and only these.
    """
    with_glass = {"3.png", "8.png", "10.png", "11.png"}
    for path, _, size, image in real_images(data_dir, n_each):
        inner = image[16:-16, 16:-16]
        share = tissue_mask(inner, pixel_size=size).mean()
        spoilt = (artefact_mask(inner, pixel_size=size) > 0).mean()
        if path.parent.name == "ki67_fields":
            assert 0.3 < share < 0.99, path.name
            folded = path.stem in ("7468-03", "9817-05")
            assert spoilt < (0.08 if folded else 1e-4), path.name
        else:
            assert share > (0.6 if path.name in with_glass else 0.98), path.name
            assert spoilt == 0, path.name


@HOW_MANY
@pytest.mark.data
def test_labelled_nuclei_lie_on_usable_tissue(data_dir, n_each):
    n_nuclei = n_glass = n_spoilt = 0
    for path, _, size, image in real_images(data_dir, n_each, FIELDS):
        with open(path.with_name(f"{path.stem}_points.csv"), newline="") as file:
            points = [(float(p["y"]), float(p["x"])) for p in csv.DictReader(file)]
        rows, columns = np.rint(points).astype(int).T
        rows = np.clip(rows, 0, image.shape[0] - 1)
        columns = np.clip(columns, 0, image.shape[1] - 1)
        n_nuclei += len(points)
        n_glass += (~tissue_mask(image, pixel_size=size)[rows, columns]).sum()
        n_spoilt += (artefact_mask(image, pixel_size=size)[rows, columns] > 0).sum()
    assert n_nuclei > (1000 if n_each is None else 50 * n_each)
    assert n_glass < 0.005 * n_nuclei
    assert n_spoilt < 0.005 * n_nuclei
