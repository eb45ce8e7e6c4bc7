# SPDX-License-Identifier: BSD-3-Clause
"""Heat colours, the paper's fusion and ours, each computed a second way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from psmlearn._images._stains import haematoxylin
from psmlearn.cluster._features import (
    fit_scale,
    jet_planes,
    jet_table,
    pixel_features,
    split_map,
    wide_mean,
)

OPTIONS = {
    "smoothing": 1.5,
    "background_sigma": 4.0,
    "background_weight": 0.75,
    "image_weight": 1.0,
}


def _image(shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def test_jet_is_the_published_ramp():
    # Corners of the ramp: (position, blue, green, red).
    corners = np.array(
        [
            [0, 0.5, 0, 0],
            [1 / 8, 1, 0, 0],
            [3 / 8, 1, 1, 0],
            [5 / 8, 0, 1, 1],
            [7 / 8, 0, 0, 1],
            [1, 0, 0, 0.5],
        ]
    )
    x = np.arange(256) / 255
    # Blue falls and green rises over different spans: interpolate each by its own.
    blue = np.interp(x, [0, 1 / 8, 3 / 8, 5 / 8], [0.5, 1, 1, 0])
    green = np.interp(x, [1 / 8, 3 / 8, 5 / 8, 7 / 8], [0, 1, 1, 0])
    red = np.interp(x, [3 / 8, 5 / 8, 7 / 8, 1], [0, 1, 1, 0.5])
    table = jet_table()
    assert table.shape == (256, 3) and table.dtype == np.uint8
    expected = 255 * np.stack([blue, green, red], axis=1)
    assert np.abs(table - expected).max() <= 0.5 + 1e-6
    for position, *color in corners:
        index = round(255 * position)
        assert np.abs(table[index] / 255 - color).max() < 0.02


@pytest.mark.parametrize(
    ("index", "color"),
    # As OpenCV's COLORMAP_JET has them, blue first.
    [(0, (128, 0, 0)), (1, (132, 0, 0)), (96, (254, 255, 2)), (255, (0, 0, 128))],
)
def test_jet_values(index, color):
    assert tuple(jet_table()[index].tolist()) == color


def test_paper_fusion_on_a_tiny_image():
    colors, heat = _image((3, 4, 3)), _image((3, 4), 1)
    heat[0, :2] = 0, 1
    planes = jet_planes(colors, heat, 2.5)
    for place in range(12):
        row, column = divmod(place, 4)
        x = int(255 * heat[row, column]) / 255
        bgr = [min(max(1.5 - abs(4 * x - t), 0), 1) for t in (1, 2, 3)]
        for channel in range(3):
            expected = bgr[channel] + 2.5 * colors[row, column, channel]
            assert planes[channel, place] / 255 == pytest.approx(expected, abs=3e-3)


def test_concat_is_stain_above_its_surroundings_and_the_map():
    image = _image((40, 30, 4))
    result = pixel_features(image, fusion="concat", **OPTIONS)
    stain = ndi.gaussian_filter(haematoxylin(image[..., :3]), 1.5, truncate=3)
    local = stain - 0.75 * wide_mean(stain, 4.0)
    assert result.planes.shape == (2, 1200) and result.planes.dtype == np.float32
    np.testing.assert_allclose(result.planes[0], local.ravel(), atol=1e-5)
    heat = ndi.gaussian_filter(image[..., 3], 1.5, truncate=3)
    np.testing.assert_allclose(result.planes[1], heat.ravel(), atol=1e-5)
    np.testing.assert_allclose(result.stain, stain, atol=1e-6)
    np.testing.assert_array_equal(result.map, image[..., 3])


@pytest.mark.parametrize("sigma", [4, 8, 16])
def test_wide_mean_spreads_as_a_gaussian_does(sigma):
    spot = np.zeros((201, 201), np.float32)
    spot[100, 100] = 1
    blurred = wide_mean(spot, sigma)
    across = blurred.sum(axis=0, dtype=np.float64)
    steps = np.arange(201) - 100
    assert across.sum() == pytest.approx(1, abs=1e-4)
    assert (across * steps).sum() == pytest.approx(0, abs=1e-3)
    assert np.sqrt((across * steps**2).sum()) == pytest.approx(sigma, rel=0.05)
    np.testing.assert_allclose(blurred, blurred.T, atol=1e-8)
    assert wide_mean(np.full((3, 5), 0.25, np.float32), 40.0) == pytest.approx(0.25)


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4])
def test_channels_are_taken_apart(n_channels):
    colors, heat = split_map(_image((4, 5, n_channels)))
    assert colors.shape[-1] == (1 if n_channels <= 2 else 3)
    assert (heat is None) == (n_channels in (1, 3))
    result = pixel_features(_image((4, 5, n_channels)), fusion="concat", **OPTIONS)
    assert len(result.planes) == (1 if heat is None else 2)


def test_noise_is_what_white_noise_leaves():
    rng = np.random.default_rng(0)
    image = np.full((200, 200, 3), 0.6) + rng.normal(0, 0.02, (200, 200, 3))
    options = {**OPTIONS, "background_weight": 0.0}
    result = pixel_features(image.astype(np.float32), fusion="concat", **options)
    assert result.noise == pytest.approx(result.stain.std(), rel=0.15)
    assert (
        pixel_features(
            _image((5, 5, 3)),
            fusion="concat",
            **{
                **OPTIONS,
                "smoothing": 0.0,
            },
        ).noise
        == 0
    )


def test_scale_gives_unit_deviation_and_cuts_the_tails():
    rng = np.random.default_rng(0)
    planes = rng.normal(size=(2, 5000)).astype(np.float32)
    planes[:, :10] = 1000
    scaled = fit_scale(planes, 0.5).apply(planes.copy())
    assert scaled[0].std() == pytest.approx(1, rel=0.05)
    assert scaled[1].std() == pytest.approx(0.5, rel=0.05)
    assert scaled.max() < 3
    even = np.full((2, 50), 0.3, np.float32)
    assert np.isfinite(fit_scale(even, 0.5).apply(even)).all()
