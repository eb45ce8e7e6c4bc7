# SPDX-License-Identifier: BSD-3-Clause
import warnings

import numpy as np
import pytest
from scipy import ndimage

from psmlearn._images._standardise import MIDDLE, foreground, standardise


def disc(shape=(128, 128), radius=40, centre=None):
    rows, columns = np.indices(shape)
    row, column = centre or (shape[0] / 2, shape[1] / 2)
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def scan(n_channels=1, seed=0, ground=0.0, height=60.0, noise=3.0):
    """A bright body with a dark cavity in noisy air."""
    rng = np.random.default_rng(seed)
    image = rng.normal(ground, noise, (128, 128, n_channels))
    image[disc()] += height
    image[disc(radius=10)] -= height
    return image


def jaccard(first, second):
    return (first & second).sum() / (first | second).sum()


@pytest.mark.parametrize("n_channels", [1, 2, 3, 5])
def test_a_body_in_noisy_air_is_found_with_its_holes(n_channels):
    found = foreground(scan(n_channels))
    assert found.dtype == bool and found.shape == (128, 128)
    assert jaccard(found, disc()) > 0.93
    assert found[64, 64]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
def test_any_dtype_is_taken(dtype):
    image = np.clip(scan(3) + 20, 0, 255).astype(dtype)
    assert jaccard(foreground(image), disc()) > 0.93
    result = standardise(image)
    assert result.dtype == np.float32 and result.shape == image.shape
    assert result.min() >= 0 and result.max() <= 1


def test_tissue_on_bright_glass_is_found():
    rng = np.random.default_rng(0)
    image = np.full((128, 128, 3), 0.95) + rng.normal(0, 0.01, (128, 128, 3))
    stain = np.array([0.3, 0.5, 0.15]) * rng.uniform(0.8, 1.2, (128, 128, 1))
    image[disc()] -= stain[disc()]
    assert jaccard(foreground(image.clip(0, 1)), disc()) > 0.93


@pytest.mark.parametrize("constants", [(0, 0, 0), (-0.7, -0.4, -1.3)])
def test_a_constant_around_the_subject_tells_it_exactly(constants):
    rng = np.random.default_rng(0)
    image = np.zeros((64, 64, 3)) + constants
    brain = disc((64, 64), 20)
    # Values near the constant: no threshold would find them.
    image[brain] += rng.uniform(1e-3, 2, (64, 64, 3))[brain]
    image[30:34, 30:34] = constants
    np.testing.assert_array_equal(foreground(image), brain)
    result = standardise(image)
    assert (result[~brain] == np.float32(MIDDLE)).all()
    np.testing.assert_allclose(np.median(result[brain], axis=0), MIDDLE, atol=0.01)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_tissue_that_fills_the_frame_is_all_subject(n_channels):
    rng = np.random.default_rng(1)
    texture = rng.normal(size=(96, 96, n_channels))
    image = ndimage.gaussian_filter(texture, (4, 4, 0)) * 4 + 10
    assert foreground(image).all()
    image[40:60, 40:60] += 1  # what differs within it is no subject of its own
    assert foreground(image).all()


def test_a_border_of_both_kinds_makes_everything_subject():
    image = np.random.default_rng(0).normal(0, 0.1, (64, 64))
    image[:, :32] += 5
    assert foreground(image).all()


@pytest.mark.parametrize("value", [0, 0.3, -1000.0])
def test_a_constant_image_comes_out_constant(value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = np.full((20, 30, 2), value)
        assert foreground(image).all()
        result = standardise(image)
    np.testing.assert_array_equal(result, np.float32(MIDDLE))


def test_an_empty_channel_neither_warns_nor_hides_the_subject():
    image = np.concatenate([scan(2), np.zeros((128, 128, 1))], axis=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert jaccard(foreground(image), disc()) > 0.93
        result = standardise(image)
    assert (result[..., 2] == np.float32(MIDDLE)).all()
    assert result[..., :2].std() > 0.05


def test_a_channel_of_few_values_is_scaled_by_its_deviation():
    image = np.zeros((40, 40))
    image[:4] = np.arange(4)[:, None]
    result = standardise(image, np.ones((40, 40), bool))
    expected = MIDDLE + 0.1 * (image / image.std()).clip(-4, 6)
    np.testing.assert_allclose(result[..., 0], expected, atol=1e-6)


def test_rounding_is_no_contrast():
    image = 1000 + np.random.default_rng(0).normal(0, 1e-7, (32, 32))
    assert np.ptp(standardise(image)) < 1e-6


@pytest.mark.parametrize("factor, offset", [(2.0, 0), (0.25, 8), (700, -3000)])
def test_brightness_and_contrast_make_no_difference(factor, offset):
    image = scan(3)
    np.testing.assert_array_equal(
        foreground(factor * image + offset), foreground(image)
    )
    np.testing.assert_allclose(
        standardise(factor * image + offset), standardise(image), atol=1e-6
    )
    by_channel = image * [1, 5, 0.1] + [0, -3, 7]
    np.testing.assert_allclose(standardise(by_channel), standardise(image), atol=1e-6)


def test_median_and_quartiles_of_the_subject_come_to_lie_where_they_are_said_to():
    image = scan(1)
    subject = foreground(image)
    values = standardise(image, subject)[subject]
    first, middle, third = np.percentile(values, [25, 50, 75])
    assert middle == pytest.approx(0.4, abs=1e-6)
    assert third - first == pytest.approx(0.1349, abs=1e-4)
    assert (standardise(image, subject)[~subject] == np.float32(MIDDLE)).all()


def test_an_empty_subject_leaves_everything_in_the_middle():
    result = standardise(scan(1), np.zeros((128, 128), bool))
    assert (result == np.float32(MIDDLE)).all()


def test_large_images_are_looked_at_in_small():
    large = np.repeat(np.repeat(scan(1), 6, axis=0), 6, axis=1)[:761, :768]
    expected = np.repeat(np.repeat(disc(), 6, axis=0), 6, axis=1)[:761, :768]
    assert jaccard(foreground(large), expected) > 0.93


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2, 3), (5, 3, 1)])
def test_tiny_images_pass(shape):
    image = np.random.default_rng(0).uniform(-5, 5, shape)
    result = standardise(image)
    assert result.shape == (*shape[:2], shape[2] if len(shape) == 3 else 1)
    assert np.isfinite(result).all()


def test_the_image_is_not_written_to():
    image = scan(2)
    before = image.copy()
    image.flags.writeable = False
    standardise(image)
    np.testing.assert_array_equal(image, before)
