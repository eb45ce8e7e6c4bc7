# SPDX-License-Identifier: BSD-3-Clause
"""Optical density and stains against scikit-image."""

from time import process_time

import numpy as np
import pytest
from skimage import data
from skimage.color import rgb2hed

from psmlearn._images._stains import (
    STAINS,
    dab,
    eosin,
    estimate_stain_vectors,
    haematoxylin,
    optical_density,
    stain_amounts,
    stain_vector,
)


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


# -- named stains and vectors ------------------------------------------------------

NAMES = ("haematoxylin", "eosin", "dab")


def test_named_stains_are_those_of_scikit_image():
    from skimage.color import rgb_from_hed

    for name, row in zip(NAMES, rgb_from_hed, strict=True):
        np.testing.assert_allclose(
            stain_vector(name), row / np.linalg.norm(row), atol=1e-12
        )
    assert set(STAINS) == set(NAMES)


def test_stain_vector_is_fresh_and_of_length_one():
    stain_vector("dab")[:] = 0
    assert np.linalg.norm(stain_vector("dab")) == pytest.approx(1)
    given = [0.3, 0.0, 4]
    vector = stain_vector(given)
    assert vector.dtype == np.float64 and np.linalg.norm(vector) == pytest.approx(1)
    np.testing.assert_allclose(vector * np.linalg.norm(given), given)
    with pytest.raises(ValueError, match="read-only"):
        STAINS["dab"][0] = 1


@pytest.mark.parametrize(
    "stain, error, words",
    [
        ("brown", ValueError, "brown.*dab.*haematoxylin"),
        ([0.1, 0.2], ValueError, "3 optical densities"),
        ([0.1, -0.2, 0.3], ValueError, "at least 0"),
        ([0.1, np.nan, 0.3], ValueError, "at least 0"),
        ([0, 0, 0], ValueError, "no colour"),
        (["a", "b", "c"], TypeError, "3 numbers"),
        (None, ValueError, "None"),
    ],
)
def test_bad_stains(stain, error, words):
    with pytest.raises(error, match=words):
        stain_vector(stain)


# -- amounts -------------------------------------------------------------------------


def mixed(amounts, stains):
    """Light through known amounts (height, width, n) of stains."""
    return 10 ** -(amounts @ np.stack([stain_vector(stain) for stain in stains]))


@pytest.mark.parametrize(
    "stains",
    [NAMES[:2], ("haematoxylin", "dab"), NAMES, ([0.5, 0.3, 0.15], [0.2, 0.4, 0.6])],
)
def test_amounts_of_known_mixtures(stains):
    known = np.random.default_rng(0).uniform(0, 0.6, (300, 250, len(stains)))
    amounts = stain_amounts(mixed(known, stains), stains)
    assert amounts.dtype == np.float32
    np.testing.assert_allclose(amounts, known, atol=1e-5)


def test_two_stains_are_the_least_squares_fit():
    image = rgb((30, 20), darkest=0.1)
    stains = ("haematoxylin", "dab")
    vectors = np.stack([stain_vector(stain) for stain in stains])
    fit = np.linalg.lstsq(vectors.T, -np.log10(image).reshape(-1, 3).T, rcond=None)[0]
    assert (fit < 0).any()
    np.testing.assert_allclose(
        stain_amounts(image, stains).reshape(-1, 2), np.maximum(fit.T, 0), atol=1e-5
    )


def test_three_named_stains_are_scikit_images_amounts():
    image = rgb()
    expected = np.maximum(-np.log10(image) @ np.linalg.inv(_unit_rows()), 0)
    np.testing.assert_allclose(stain_amounts(image, NAMES), expected, atol=1e-5)
    # The same up to the lengths of scikit-image's rows.
    ratio = stain_amounts(image, NAMES)[..., 2] / np.maximum(dab(image), 1e-9)
    assert np.ptp(ratio[dab(image) > 0.01]) < 1e-4


def _unit_rows():
    return np.stack([stain_vector(name) for name in NAMES])


@pytest.mark.parametrize(
    "stains",
    [
        ("dab", "dab"),
        ("dab", [0.27, 0.57, 0.77]),
        ([1, 0, 0], [0, 1, 0], [1, 1, 0]),
    ],
)
def test_stains_that_cannot_be_told_apart(stains):
    with pytest.raises(ValueError, match="told apart"):
        stain_amounts(np.ones((2, 2, 3)), stains)


@pytest.mark.parametrize("stains", ["dab", ("dab",), (*NAMES, [1, 1, 1])])
def test_wrong_number_of_stains(stains):
    with pytest.raises(ValueError, match="2 or 3 names"):
        stain_amounts(np.ones((2, 2, 3)), stains)


def test_amounts_need_three_channels_and_leave_the_input():
    with pytest.raises(ValueError, match="3 channels"):
        stain_amounts(np.ones((2, 2)), NAMES)
    image = rgb()
    image.setflags(write=False)
    assert (stain_amounts(np.ones((2, 2, 3)), NAMES) == 0).all()
    stain_amounts(image[::-1, ::2], NAMES)


# -- estimation ----------------------------------------------------------------------


def made_mixture(stains, seed=0, n=20_000, pure=0.2):
    """Pixels (n, 3) of two stains, some of one alone, slightly noisy."""
    rng = np.random.default_rng(seed)
    amounts = rng.gamma(2, 0.2, (n, 2))
    alone = rng.random(n)
    amounts[alone < pure, 0] = 0
    amounts[alone > 1 - pure, 1] = 0
    light = mixed(amounts, stains) + rng.normal(0, 0.002, (n, 3))
    return np.clip(light, 1 / 255, 1)


def angle(first, second):
    return np.degrees(np.arccos(np.clip(first @ second, -1, 1)))


@pytest.mark.parametrize("second", ["eosin", "dab"])
@pytest.mark.parametrize("seed", range(3))
def test_estimates_are_near_the_stains_that_were_mixed(second, seed):
    stains = ("haematoxylin", second)
    pixels = made_mixture(stains, seed)
    pixels[:5000] = 1  # glass
    found = estimate_stain_vectors(pixels)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    for vector, stain in zip(found, stains, strict=True):
        assert angle(vector, stain_vector(stain)) < 3
    # The order of pixels and the shape do not matter.
    image = pixels[::-1].reshape(100, 200, 3)
    np.testing.assert_allclose(estimate_stain_vectors(image), found, atol=1e-6)


def test_one_stain_gives_two_like_estimates():
    amounts = np.random.default_rng(0).uniform(0.2, 1, (1000, 1, 1))
    found = estimate_stain_vectors(10 ** -(amounts * stain_vector("dab")))
    for vector in found:
        assert angle(vector, stain_vector("dab")) < 0.1


def test_nothing_to_estimate_from():
    assert estimate_stain_vectors(np.ones((50, 60, 3))) is None
    assert estimate_stain_vectors(np.full((50, 60, 3), 0.95)) is None
    assert estimate_stain_vectors(np.full((3, 3, 3), 0.2)) is None
    few = np.ones((100, 3))
    few[:20] = 0.3
    assert estimate_stain_vectors(few) is None


def test_even_and_black_images_do_not_fail():
    for value in (0.0, 0.4, [0.2, 0.6, 0.8]):
        found = estimate_stain_vectors(np.full((20, 20, 3), 1.0) * value)
        assert np.isfinite(found).all() and (found >= 0).all()
        assert angle(*found) < 0.1


def test_estimation_refuses_other_kinds():
    with pytest.raises(ValueError, match="shape"):
        estimate_stain_vectors(np.ones((5, 5, 2)))
    with pytest.raises(TypeError, match="uint8"):
        estimate_stain_vectors(np.ones((5, 5, 3), np.uint8))
