# SPDX-License-Identifier: BSD-3-Clause
"""Synthetic Ki-67 staining: exact classes, colours by optical density, artefacts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from psmlearn.datasets import make_nuclei
from psmlearn.io import check_images, check_masks


def make(n_images=2, shape=(200, 200), **options):
    options = {"n_nuclei": 40, "random_state": 0, **options}
    return make_nuclei(n_images, shape, stain="ki67", **options)


def densities(image, mask):
    """Mean optical density (red, green, blue) of each nucleus, and the classes."""
    density = -np.log10(np.maximum(image / 255, 1 / 255))
    ids, index = np.unique(mask[..., 0], return_index=True)
    means = [ndimage.mean(density[..., c], mask[..., 0], ids[1:]) for c in range(3)]
    return np.stack(means, axis=1), mask[..., 1].ravel()[index[1:]]


def share_found(data):
    """Share of the negative nuclei mostly beyond Otsu's threshold of darkness."""
    found = []
    for image, mask in zip(data.images, data.masks, strict=True):
        darkness = -np.log10(np.maximum(image / 255, 1 / 255)).sum(axis=2)
        dark = (darkness > threshold_otsu(darkness)).astype(float)
        ids = np.unique(mask[mask[..., 1] == 2][:, 0])
        found.append((ndimage.mean(dark, mask[..., 0], ids) > 0.5).mean())
    return np.mean(found)


def red_contrast(data):
    """Optical density in red of negative nuclei, above that of the tissue around."""
    gaps = []
    for image, mask in zip(data.images, data.masks, strict=True):
        red = -np.log10(np.maximum(image[..., 0] / 255, 1 / 255))
        near = ndimage.binary_dilation(mask[..., 0] > 0, iterations=6)
        around = near & (mask[..., 0] == 0)
        gaps.append(np.median(red[mask[..., 1] == 2]) - np.median(red[around]))
    return np.mean(gaps)


def test_the_class_plane_is_the_class_of_each_id():
    data = make(3, (120, 160), n_nuclei=15)
    assert data.masks.shape == (3, 120, 160, 2) and data.masks.dtype == np.int32
    assert data.target_names == ["positive", "negative"]
    check_masks(data.masks, check_images(data.images))
    for mask, points in zip(data.masks, data.points, strict=True):
        ids, classes = mask[..., 0], mask[..., 1]
        assert points.shape == (15, 3) and points.dtype == np.float64
        assert np.unique(ids).tolist() == list(range(16))
        assert not classes[ids == 0].any()
        of_points = np.append(0, points[:, 2])
        np.testing.assert_array_equal(classes, of_points[ids])
        centres = ndimage.center_of_mass(ids > 0, ids, range(1, 16))
        np.testing.assert_allclose(points[:, :2], centres)


def test_nuclei_lie_where_those_of_he_do():
    he = make_nuclei(2, (200, 200), n_nuclei=40, random_state=0)
    np.testing.assert_array_equal(make().masks[..., 0], he.masks)


def test_the_same_seed_gives_the_same_bits_whatever_the_number():
    one, two = make(1, (64, 80)), make(2, (64, 80))
    np.testing.assert_array_equal(one.images[0], two.images[0])
    np.testing.assert_array_equal(one.masks[0], two.masks[0])
    np.testing.assert_array_equal(one.points[0], two.points[0])
    assert not np.array_equal(one.images, make(1, (64, 80), random_state=1).images)


@pytest.mark.parametrize("background", [0.0, 1.0, 3.0])
def test_positive_nuclei_are_brown_and_negative_ones_blue(background):
    data = make(6, background=background)
    for image, mask in zip(data.images, data.masks, strict=True):
        means, classes = densities(image, mask)
        red, _, blue = means.T
        # DAB swallows blue, haematoxylin red.
        assert (blue > red)[classes == 1].mean() > 0.9
        assert np.median((blue - red)[classes == 1]) > 0.2
        assert np.median((blue - red)[classes == 2]) < 0.0
        total = means.sum(axis=1)
        assert np.median(total[classes == 1]) > 1.5 * np.median(total[classes == 2])


def test_the_share_of_positive_nuclei_is_met():
    data = make(4, positive_fraction=[0.0, 0.1, 0.5, 1.0])
    n_positive = [(points[:, 2] == 1).sum() for points in data.points]
    assert n_positive == [0, 4, 20, 40]
    assert set(np.unique(data.masks[0, ..., 1])) == {0, 2}
    assert set(np.unique(data.masks[3, ..., 1])) == {0, 1}
    same = make(1, positive_fraction=0)
    np.testing.assert_array_equal(same.images[0], data.images[0])


def test_an_image_without_positive_nuclei_holds_no_dark_brown():
    for image in make(4, positive_fraction=0.0, background=1.0, noise=0).images:
        density = -np.log10(np.maximum(image / 255, 1 / 255))
        assert (density[..., 2] - density[..., 0]).max() < 0.2


def test_weak_nuclei_are_lost_by_a_threshold_on_darkness():
    # Without brown ones, the threshold finds them.
    assert share_found(make(4, weak=0.0, positive_fraction=0.0)) > 0.6
    weak = make(4, weak=1.0, positive_fraction=0.5)
    assert share_found(weak) < 0.05
    # They can be seen, though: they hold back more red than the tissue around.
    contrasts = [red_contrast(data) for data in (weak, make(4, weak=0.0))]
    assert 0.03 < contrasts[0] < 0.6 * contrasts[1]


def test_background_browns_the_tissue():
    brownness = []
    for strength in (0.0, 1.0, 3.0):
        data = make(background=strength, stain_variation=0.0)
        tissue = data.images[data.masks[..., 0] == 0].astype(float)
        brownness.append((tissue[:, 0] - tissue[:, 2]).mean())
    assert brownness[0] < brownness[1] - 3 < brownness[2] - 9


def test_bare_tissue():
    bare = make(1, (80, 90), n_nuclei=0)
    assert not bare.masks.any() and bare.masks.shape == (1, 80, 90, 2)
    assert bare.points[0].shape == (0, 3)
    assert bare.images[0].mean() > 150
    assert make(1, (1, 1), n_nuclei=1).images.shape == (1, 1, 1, 3)


@pytest.mark.parametrize("stain", ["he", "ki67"])
def test_artefacts_spoil_only_what_they_mark(stain):
    options = {"shape": (256, 256), "stain": stain, "noise": 0.0, "random_state": 0}
    clean = make_nuclei(3, **options)
    spoilt = make_nuclei(3, artefacts=True, **options)
    assert not clean.artefacts.any() and clean.artefacts.dtype == bool
    np.testing.assert_array_equal(clean.masks, spoilt.masks)
    for before, after, marked in zip(
        clean.images, spoilt.images, spoilt.artefacts, strict=True
    ):
        assert 0.05 < marked.mean() < 0.45
        # Nothing but the soft edges of strokes changes outside.
        far = ~ndimage.binary_dilation(marked, iterations=20)
        np.testing.assert_allclose(after[far], before[far], atol=1)
        assert np.median(after[marked].mean(axis=1)) < 140
        # Ink, or dirt: darker than the tissue was, nearly everywhere.
        darker = after[marked].astype(int).sum(1) < before[marked].astype(int).sum(1)
        assert darker.mean() > 0.99
