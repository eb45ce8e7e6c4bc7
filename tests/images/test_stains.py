# SPDX-License-Identifier: BSD-3-Clause
"""Optical density and stains against scikit-image."""

from time import process_time

import numpy as np
import pytest
from skimage import data
from skimage.color import rgb2hed

from psmlearn._images._stains import dab, eosin, haematoxylin, optical_density


def rgb(shape=(40, 30), seed=0, darkest=0.01):
    return np.random.default_rng(seed).uniform(darkest, 1, (*shape, 3))


@pytest.mark.parametrize("stain, channel", [(haematoxylin, 0), (eosin, 1), (dab, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_scikit_image_up_to_its_scale(stain, channel, dtype):
    image = rgb().astype(dtype)
    expected = 6 * rgb2hed(image)[..., channel]
    amount = stain(image)
    assert amount.dtype == np.float32
    assert (expected > 0).any() and (expected == 0).any()
    np.testing.assert_allclose(amount, expected, atol=2e-6)


def test_equals_scikit_image_on_tissue():
    image = np.maximum(data.immunohistochemistry()[:100, :100], 1) / np.float32(255)
    np.testing.assert_allclose(
        haematoxylin(image), 6 * rgb2hed(image)[..., 0], atol=2e-6
    )


def test_pieces_do_not_matter():
    image = rgb((300, 250)).astype(np.float32)  # more than one piece of 65,536 pixels
    whole = haematoxylin(image)
    rows = np.concatenate([haematoxylin(image[i : i + 50]) for i in range(0, 300, 50)])
    np.testing.assert_allclose(whole, rows, atol=1e-6)


def test_black_is_one_grey_level_and_white_is_zero():
    density = optical_density(np.array([[0.0, 1 / 255, 1.0]]))
    assert density.shape == (1, 3, 1) and density.dtype == np.float32
    np.testing.assert_allclose(density[0, :, 0], [np.log10(255)] * 2 + [0], atol=1e-6)
    assert not np.signbit(density).any()
    assert (haematoxylin(np.ones((2, 2, 3))) == 0).all()


def test_grey_gives_its_density():
    grey = rgb()[..., 0]
    expected = -np.log10(grey)
    np.testing.assert_allclose(haematoxylin(grey), expected, atol=1e-6)
    np.testing.assert_allclose(haematoxylin(grey[..., np.newaxis]), expected, atol=1e-6)


def test_input_is_left_alone_and_may_be_read_only():
    image = rgb().astype(np.float32)
    before = image.copy()
    image.setflags(write=False)
    haematoxylin(image[::2, ::-1])
    optical_density(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2, 3), (4, 4, 0)])
def test_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"shape \(height, width, channels\)"):
        optical_density(np.zeros(shape))


def test_wrong_kind_and_channels():
    with pytest.raises(TypeError, match="uint8"):
        haematoxylin(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="3 channels"):
        haematoxylin(np.zeros((4, 4, 4)))


@pytest.mark.slow
def test_faster_than_scikit_image():
    image = rgb((1000, 1000)).astype(np.float32)

    def seconds(function):
        times = []
        for _ in range(3):
            start = process_time()
            function(image)
            times.append(process_time() - start)
        return min(times)

    assert seconds(haematoxylin) < seconds(rgb2hed)
