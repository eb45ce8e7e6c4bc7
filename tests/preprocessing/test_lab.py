# SPDX-License-Identifier: BSD-3-Clause
"""Lab by pieces against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from skimage.color import lab2rgb, rgb2lab

from psmlearn.preprocessing import _lab
from psmlearn.preprocessing._lab import lab_of, move_lab


@pytest.fixture(scope="module")
def pixels():
    """Dark, pale and saturated ones, black and white among them."""
    rng = np.random.default_rng(0)
    corners = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    parts = [corners, rng.random((3000, 3)), rng.random((3000, 3)) ** 6]
    return np.concatenate(parts).astype(np.float32)


def test_lab_is_that_of_scikit_image(pixels):
    expected = rgb2lab(pixels.astype(np.float64)[np.newaxis])[0]
    assert_allclose(lab_of(pixels), expected, atol=1e-4)


@pytest.mark.parametrize("gain", [(1, 1, 1), (0.4, 2.5, 0.7), (3, 0.2, 4)])
@pytest.mark.parametrize("shift", [(0, 0, 0), (-30, 8, -20), (60, -5, 90)])
def test_moving_is_that_by_way_of_scikit_image(pixels, gain, shift):
    lab = rgb2lab(pixels.astype(np.float64)[np.newaxis]) * gain + shift
    lab[..., 0] = lab[..., 0].clip(0, 100)
    lab[..., 2] = np.minimum(lab[..., 2], 200 / 116 * (lab[..., 0] + 16) - 1e-3)
    new = lab2rgb(lab)[0]
    weight = np.linspace(0, 1, len(pixels), dtype=np.float32)
    expected = pixels + weight[:, np.newaxis] * (new - pixels)
    found = move_lab(pixels, np.array(gain), np.array(shift), weight)
    # Of 32 bits; a grey level is 4e-3.
    assert_allclose(found, expected, atol=1e-5 * max(gain))
    assert np.abs(found - expected).mean() < 1e-6
    assert found.dtype == np.float32


def test_pieces_do_not_show(pixels, monkeypatch):
    given = pixels, np.array([1.2, 0.9, 1.0]), np.array([3.0, 0.0, -2.0])
    weight = np.full(len(pixels), 0.5, np.float32)
    expected = move_lab(*given, weight)
    monkeypatch.setattr(_lab, "_PIECE", 1 << 8)
    assert_allclose(move_lab(*given, weight), expected, atol=1e-6)
    assert move_lab(np.empty((0, 3), np.float32), *given[1:], weight[:0]).size == 0
