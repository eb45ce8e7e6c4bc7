# SPDX-License-Identifier: BSD-3-Clause
"""Synthetic lesions: labels match masks, sizes, seeds, and brightness tells little."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from psmlearn._images._standardise import foreground
from psmlearn.datasets import make_lesions
from psmlearn.io import check_images, check_masks


@pytest.fixture(scope="module")
def data():
    return make_lesions(40, random_state=0)


def test_what_is_returned(data):
    assert data.images.shape == (40, 128, 128, 2) and data.images.dtype == np.float32
    assert data.masks.shape == (40, 128, 128) and data.masks.dtype == np.int32
    assert data.modalities == ["T1", "FLAIR"] and "not to judge" in data.DESCR
    assert np.isfinite(data.images).all() and data.images.min() >= 0
    assert 100 < data.images.max() < 2000
    check_masks(data.masks, check_images(data.images, value_range=None))
    with pytest.raises(ValueError, match="0, 1"):
        check_images(data.images)


def test_labels_match_masks(data):
    assert data.image_labels.dtype.kind == "i"
    np.testing.assert_array_equal(data.image_labels, data.masks.any(axis=(1, 2)))
    assert data.image_labels.sum() == 20
    np.testing.assert_array_equal(data.groups, np.arange(40) // 4)
    numbers = {int(mask.max()) for mask in data.masks}
    assert numbers == {0, 1, 2}
    for mask in data.masks:
        for number in range(1, mask.max() + 1):
            assert ndimage.label(mask == number)[1] == 1


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.3, 1.0])
def test_share_of_lesions(fraction):
    labels = make_lesions(
        10, (32, 32), lesion_fraction=fraction, random_state=0
    ).image_labels
    assert labels.sum() == int(10 * fraction + 0.5)


def test_lesions_take_their_share_of_the_head(data):
    for image, mask in zip(data.images, data.masks, strict=True):
        if mask.any():
            share = np.count_nonzero(mask) / np.count_nonzero(foreground(image))
            assert 0.015 < share < 0.09
            assert foreground(image)[mask > 0].all()


def test_heads_lie_in_air(data):
    for image in data.images:
        head = foreground(image)
        assert 0.25 < head.mean() < 0.65
        border = [head[0], head[-1], head[:, 0], head[:, -1]]
        assert not np.concatenate(border).any()


def test_the_same_seed_gives_the_same_bits_whatever_the_number():
    one = make_lesions(2, (48, 64), random_state=3)
    two = make_lesions(6, (48, 64), random_state=3)
    three = make_lesions(2, (48, 64), random_state=np.random.RandomState(3))
    for name in ("images", "masks", "image_labels", "groups"):
        np.testing.assert_array_equal(one[name], two[name][:2])
        np.testing.assert_array_equal(one[name], three[name])
    assert not np.array_equal(two.images[0], two.images[2])
    other = make_lesions(2, (48, 64), random_state=4)
    assert not np.array_equal(one.images, other.images)


def test_global_random_state_is_untouched():
    before = np.random.get_state()[1].copy()
    make_lesions(1, (32, 32), random_state=0)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def _rings(image, mask):
    """Return core, rim and surroundings of the lesions; edges belong to none."""
    depth = ndimage.distance_transform_edt(mask > 0)
    near = ndimage.binary_dilation(mask > 0, iterations=7)
    near &= ~ndimage.binary_dilation(mask > 0, iterations=2)
    # Fluid and fat are no tissue.
    near &= (image[..., 0] > 0.6 * np.median(image[near, 0])) & (
        image[..., 0] < 1.3 * np.median(image[near, 0])
    )
    deepest = depth.max()
    return depth > 0.7 * deepest, (depth >= 1.5) & (depth < 0.3 * deepest), near


def test_lesions_are_bright_in_flair_and_dark_in_t1():
    data = make_lesions(20, n_lesions=(1, 1), lesion_area=(0.06, 0.08), random_state=0)
    flair, t1, rims = [], [], []
    for image, mask in zip(data.images, data.masks, strict=True):
        if mask.any():
            core, rim, near = _rings(image, mask)
            if not rim.any():
                continue  # a narrow one
            level = np.median(image[near], axis=0)
            t1.append(np.median(image[core, 0]) / level[0])
            flair.append(np.median(image[core, 1]) / level[1])
            rims.append(np.median(image[rim, 1]) / level[1])
    assert len(flair) >= 5
    assert np.mean(flair) > 1.6 and np.min(flair) > 1.3
    assert np.mean(t1) < 1.0
    assert 1.15 < np.mean(rims) < np.mean(flair) - 0.2


def test_without_contrast_lesions_are_tissue():
    seen = make_lesions(6, random_state=0)
    hidden = make_lesions(6, contrast=0, random_state=0)
    np.testing.assert_array_equal(seen.masks, hidden.masks)
    inside = seen.masks > 0
    assert seen.images[inside, 1].mean() > 1.4 * hidden.images[inside, 1].mean()


def test_brightness_alone_does_not_tell():
    data = make_lesions(80, random_state=1)
    flair = data.images[..., 1]
    smooth = ndimage.gaussian_filter(flair, (0, 1.5, 1.5))
    inner = np.stack([foreground(image) for image in data.images])
    inner = np.stack([ndimage.binary_erosion(head, iterations=12) for head in inner])
    median = np.array(
        [np.median(image[head]) for image, head in zip(flair, inner, strict=True)]
    )
    brightest = smooth.max(axis=(1, 2))
    assert roc_auc_score(data.image_labels, brightest) < 0.7
    assert roc_auc_score(data.image_labels, brightest / median) < 0.9
    assert roc_auc_score(data.image_labels, data.images.mean(axis=(1, 2, 3))) < 0.7


def test_spots_of_fat_come_by_number():
    none = make_lesions(4, n_distractors=(0, 0), lesion_fraction=0, random_state=0)
    many = make_lesions(4, n_distractors=(3, 3), lesion_fraction=0, random_state=0)
    gain = many.images.max(axis=(1, 2, 3)) - none.images.max(axis=(1, 2, 3))
    spots = np.array(
        [
            ndimage.label(
                (after - before > 0.25 * before.max((0, 1))).all(axis=-1),
                np.ones((3, 3)),
            )[1]
            for before, after in zip(none.images, many.images, strict=True)
        ]
    )
    assert spots.mean() > 1.5 and gain.min() > -100


def test_noise_and_bias_can_be_switched_off():
    flat = make_lesions(1, noise=0, random_state=0).images[0]
    rough = make_lesions(1, noise=3, random_state=0).images[0]
    air = ~ndimage.binary_dilation(foreground(flat), iterations=5)
    assert np.ptp(flat[air]) < 5 < rough[air].std()


@pytest.mark.parametrize("shape", [(32, 32), (40, 90), (200, 60), (256, 256)])
def test_any_size_and_shape(shape):
    data = make_lesions(2, shape, random_state=0)
    assert data.images.shape == (2, *shape, 2)
    assert data.masks[0].any() and not data.masks[1].any()


def test_many_large_lesions():
    data = make_lesions(
        4, (64, 64), n_lesions=(5, 5), lesion_area=(0.25, 0.25), random_state=0
    )
    assert data.masks[0].max() == 5 and data.masks[2].max() == 5


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_images": 0}, ValueError, "n_images is 0; expected at least 1"),
        ({"n_images": 2.0}, TypeError, "n_images is 2.0; expected an int"),
        ({"shape": (16, 128)}, ValueError, "height is 16; expected at least 32"),
        ({"shape": 128}, ValueError, r"shape is 128; expected \(height, width\)"),
        ({"lesion_fraction": 1.1}, ValueError, "lesion_fraction is 1.1; .* 0 to 1"),
        ({"lesion_fraction": None}, TypeError, "lesion_fraction is None"),
        ({"n_lesions": 2}, TypeError, "n_lesions is 2; expected a pair"),
        ({"n_lesions": (0, 2)}, ValueError, r"n_lesions \(least\) is 0"),
        ({"n_lesions": (3, 2)}, ValueError, "in this order"),
        ({"n_distractors": (1, 2.5)}, TypeError, r"n_distractors \(most\) is 2.5"),
        ({"lesion_area": (0.0, 0.1)}, ValueError, "lesion_area .* expected above 0"),
        ({"lesion_area": (0.1, 0.5)}, ValueError, "is 0.5; expected from 0 to 0.25"),
        ({"contrast": -1}, ValueError, "contrast is -1"),
        ({"rim": 2}, ValueError, "rim is 2"),
        ({"bias": np.nan}, ValueError, "bias is nan"),
        ({"noise": np.inf}, ValueError, "noise is inf"),
        ({"n_slices": 0}, ValueError, "n_slices is 0"),
        ({"n_lesions": (60, 60)}, ValueError, "60 lesions .* do not fit the brain"),
    ],
)
def test_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        make_lesions(**{"n_images": 1, "shape": (32, 32), **parameters})


def test_it_is_quick():
    make_lesions(1)
    start = time.process_time()
    make_lesions(40)
    assert time.process_time() - start < 3  # seconds; about 0.4 on one core
