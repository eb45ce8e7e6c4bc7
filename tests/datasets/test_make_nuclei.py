# SPDX-License-Identifier: BSD-3-Clause
"""Synthetic images: exact labels, stains that can be separated, seeds."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import ndimage
from skimage.color import rgb2hed

from psmlearn.datasets import make_nuclei
from psmlearn.io import check_images, check_masks


def share_touching(mask):
    """Share of the objects that have a neighbour of another id."""
    touching = set()
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        other = np.roll(mask, shift, axis=(0, 1))
        differs = (mask != other) & (mask > 0) & (other > 0)
        differs[0] = differs[:, 0] = differs[:, -1] = False
        touching |= set(mask[differs]) | set(other[differs])
    return len(touching) / mask.max()


def test_shapes_ids_and_points():
    data = make_nuclei(3, (120, 160), n_nuclei=15, random_state=0)
    assert data.images.shape == (3, 120, 160, 3) and data.images.dtype == np.uint8
    assert data.masks.shape == (3, 120, 160) and data.masks.dtype == np.int32
    check_masks(data.masks, check_images(data.images))
    assert data.target_names is None and not data.artefacts.any()
    for mask, points in zip(data.masks, data.points, strict=True):
        assert np.unique(mask).tolist() == list(range(16))
        centres = ndimage.center_of_mass(mask > 0, mask, range(1, 16))
        np.testing.assert_allclose(points, centres)
        for index in range(1, 16):
            assert ndimage.label(mask == index)[1] == 1
            assert (mask == index).sum() > 30


def test_the_same_seed_gives_the_same_bits_whatever_the_number():
    one = make_nuclei(1, (64, 64), n_nuclei=6, random_state=3)
    two = make_nuclei(2, (64, 64), n_nuclei=6, random_state=3)
    state = np.random.RandomState(3)
    three = make_nuclei(1, (64, 64), n_nuclei=6, random_state=state)
    np.testing.assert_array_equal(one.images[0], two.images[0])
    np.testing.assert_array_equal(one.masks, two.masks[:1])
    np.testing.assert_array_equal(one.images, three.images)
    assert not np.array_equal(two.images[0], two.images[1])
    other = make_nuclei(1, (64, 64), n_nuclei=6, random_state=4)
    assert not np.array_equal(one.images, other.images)


def test_global_random_state_is_untouched():
    before = np.random.get_state()[1].copy()
    make_nuclei(1, (32, 32), n_nuclei=2, random_state=0)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize("touching", [0.0, 0.4, 1.0])
def test_the_share_that_touches(touching):
    masks = make_nuclei(
        2, (400, 400), n_nuclei=50, touching=touching, random_state=1
    ).masks
    for mask in masks:
        assert share_touching(mask) == pytest.approx(touching, abs=0.05)


def test_nuclei_are_haematoxylin_rich_and_vesicular_ones_pale():
    solid = make_nuclei(2, (200, 200), n_nuclei=30, vesicular=0.0, random_state=0)
    pale = make_nuclei(2, (200, 200), n_nuclei=30, vesicular=1.0, random_state=0)
    for image, mask in zip(solid.images, solid.masks, strict=True):
        stain = rgb2hed(image)[..., 0]
        inside, outside = stain[mask > 0], stain[mask == 0]
        assert np.median(inside) > np.percentile(outside, 95)
    for image, mask in zip(pale.images, pale.masks, strict=True):
        depth = ndimage.distance_transform_edt(mask > 0)
        grey = image.mean(axis=-1)
        rim, core = (depth > 0.5) & (depth < 2.5), depth > 6
        assert grey[core].mean() > grey[rim].mean() + 15


def test_bare_tissue_and_crowds():
    bare = make_nuclei(1, (80, 90), n_nuclei=0, random_state=0)
    assert not bare.masks.any() and bare.points[0].shape == (0, 2)
    red, green, blue = bare.images[0].reshape(-1, 3).mean(axis=0)
    assert red > blue > green > 100
    crowd = make_nuclei(1, (60, 60), n_nuclei=500, random_state=0)
    assert 3 < crowd.masks.max() < 60
    assert make_nuclei(1, (1, 1), n_nuclei=1, random_state=0).images.shape == (
        1,
        1,
        1,
        3,
    )


def test_pixel_size_scales_nuclei():
    fine, coarse = (
        make_nuclei(1, (400, 400), n_nuclei=30, pixel_size=size, random_state=0)
        for size in (0.25, 0.5)
    )
    area = [(d.masks > 0).sum() / d.masks.max() for d in (fine, coarse)]
    assert area[0] / area[1] == pytest.approx(4, rel=0.25)


def test_variation_noise_and_texture():
    def make(**options):
        return make_nuclei(6, (64, 64), n_nuclei=0, random_state=0, **options).images

    flat = make(stain_variation=0, noise=0, texture=0)
    assert np.ptp(flat.reshape(-1, 3), axis=0).max() <= 1
    grainy = make(stain_variation=0, texture=0, noise=0.02)
    spread = grainy.reshape(-1, 3).std(axis=0)
    np.testing.assert_allclose(spread, 0.02 * 255, rtol=0.1)
    means = make(noise=0, texture=0).reshape(6, -1, 3).mean(axis=1)
    assert means.std(axis=0).min() > 2
    assert make(stain_variation=0, noise=0).std(axis=(1, 2)).min() > 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_images": 0}, ValueError, "n_images is 0"),
        ({"n_images": 1.5}, TypeError, "n_images is 1.5"),
        ({"shape": 5}, ValueError, "shape is 5"),
        ({"shape": (5, 0)}, ValueError, "width is 0"),
        ({"n_nuclei": -1}, ValueError, "n_nuclei is -1"),
        ({"touching": 1.2}, ValueError, "touching is 1.2"),
        ({"vesicular": "some"}, TypeError, "vesicular is 'some'"),
        ({"noise": -0.1}, ValueError, "noise is -0.1"),
        ({"texture": np.nan}, ValueError, "texture is nan"),
        ({"pixel_size": 0}, ValueError, "pixel_size .*got 0"),
        ({"background": -1}, ValueError, "background is -1"),
        ({"weak": 2}, ValueError, "weak is 2"),
        ({"positive_fraction": 1.1}, ValueError, "positive_fraction is 1.1"),
        ({"positive_fraction": [0.1, 0.2]}, ValueError, "2 values for 1 images"),
        ({"positive_fraction": [-1]}, ValueError, r"positive_fraction\[0\] is -1"),
        ({"positive_fraction": "all"}, TypeError, "positive_fraction is 'all'"),
        ({"artefacts": "pen"}, TypeError, "artefacts is 'pen'"),
        ({"stain": "pas"}, ValueError, "stain is 'pas'"),
        ({"random_state": "a"}, ValueError, "seed"),
    ],
)
def test_bad_parameters(options, error, message):
    with pytest.raises(error, match=message):
        make_nuclei(**{"n_images": 1, "shape": (16, 16), **options})


def test_the_images_of_he_are_those_of_earlier_versions():
    data = make_nuclei(2, (48, 56), n_nuclei=5, random_state=0)
    # Another processor may round a grey level or two otherwise.
    assert data.images.astype(int).sum() == pytest.approx(2280632, rel=1e-4)
    assert (data.masks > 0).sum() == 2748


def test_a_large_image_is_made_in_seconds():
    start = time.process_time()
    data = make_nuclei(1, (1000, 1000), n_nuclei=600, random_state=0)
    assert time.process_time() - start < 6
    assert data.masks.max() == 600
