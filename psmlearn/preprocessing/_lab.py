# SPDX-License-Identifier: BSD-3-Clause
"""CIE Lab, there and back, by pieces that stay in the processor's cache.

Between light and Lab lie two curves and two matrices. What Reinhard's method does in
Lab is linear, so that it joins the matrices, and Lab itself is never written.
"""

from __future__ import annotations

import numpy as np

__all__ = ["lab_of", "move_lab"]

# sRGB to XYZ (IEC 61966-2-1), over the white of D65 at 2 degrees: all as scikit-image.
_WHITE = np.array([0.95047, 1.0, 1.08883])
_TO_XYZ = (
    np.array(
        [
            [0.412453, 0.357580, 0.180423],
            [0.212671, 0.715160, 0.072169],
            [0.019334, 0.119193, 0.950227],
        ]
    )
    / _WHITE[:, np.newaxis]
)
_FROM_XYZ = np.linalg.inv(_TO_XYZ)
# Lab is this matrix times the curved X, Y and Z, minus 16 in the first.
_TO_LAB = np.array([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]])
_BLACK = np.array([16.0, 0.0, 0.0])
_PIECE = 1 << 14


def lab_of(pixels: np.ndarray) -> np.ndarray:
    """Return pixels in CIE Lab, as ``skimage.color.rgb2lab`` does.

    Parameters
    ----------
    pixels : ndarray of shape (n, 3), float32
        RGB in [0, 1].

    Returns
    -------
    ndarray of shape (n, 3), float32

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.preprocessing._lab import lab_of
    >>> lab_of(np.array([[1.0, 0.0, 0.0]], np.float32)).round(1)
    array([[53.2, 80.1, 67.2]], dtype=float32)
    """
    lab = np.empty(pixels.shape, np.float32)
    to_lab, black = _TO_LAB.astype(np.float32), _BLACK.astype(np.float32)
    for start in range(0, len(pixels), _PIECE):
        part = slice(start, start + _PIECE)
        lab[part] = (to_lab @ _curved(pixels[part].T)).T
    lab -= black
    return lab


def move_lab(
    pixels: np.ndarray,
    gain: np.ndarray,
    shift: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """Scale and shift pixels in CIE Lab, and mix them with what they were.

    Parameters
    ----------
    pixels : ndarray of shape (n, 3), float32
        RGB in [0, 1].
    gain, shift : ndarray of shape (3,)
        Lab becomes ``gain * lab + shift``, cut to colours that there are.
    weight : ndarray of shape (n,), float32
        Part of the new colour of each pixel, from 0 to 1.

    Returns
    -------
    ndarray of shape (n, 3), float32
        RGB in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.preprocessing._lab import move_lab
    >>> grey, half = np.full((1, 3), 0.5, np.float32), np.array([0.5, 1.0, 1.0])
    >>> move_lab(grey, half, np.zeros(3), np.ones(1, np.float32)).round(3)
    array([[0.247, 0.247, 0.247]], dtype=float32)
    """
    # Curved Y, X - Y and Y - Z of the new colours, from those of the old ones.
    scale = np.array([116.0, 500.0, 200.0])
    rows = _TO_LAB / scale[:, np.newaxis]
    mixing = (gain[:, np.newaxis] * rows).astype(np.float32)
    offset = ((shift - gain * _BLACK + _BLACK) / scale).astype(np.float32)
    out = np.empty(pixels.shape, np.float32)
    for start in range(0, len(pixels), _PIECE):
        part = slice(start, start + _PIECE)
        own = np.ascontiguousarray(pixels[part].T)
        light, red, blue = moved = mixing @ _curved(own)
        moved += offset[:, np.newaxis]
        # No darker than black or lighter than white, no bluer than any light.
        np.clip(light, np.float32(16 / 116), np.float32(1), out=light)
        np.minimum(blue, light - np.float32(5e-6), out=blue)
        red += light
        np.subtract(light, blue, out=blue)
        moved[:2] = moved[1::-1].copy()  # X, Y, Z
        done = _uncurved(moved)
        done -= own
        done *= weight[part]
        done += own
        out[part] = done.T
    return out


def _power(values: np.ndarray, exponent: float) -> np.ndarray:
    """Return a power of what is above 0; whatever of other values.

    Where numpy has no fast power of its own it has fast logarithms.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        powers = np.log(values)
    powers *= np.float32(exponent)
    return np.exp(powers, out=powers)


def _curved(pixels: np.ndarray) -> np.ndarray:
    """Return the curved X, Y and Z of Lab of RGB, both (3, n)."""
    light = pixels + np.float32(0.055)
    light *= np.float32(1 / 1.055)
    light = _power(light, 2.4)
    is_low = pixels <= np.float32(0.04045)
    if is_low.any():
        light[is_low] = pixels[is_low] / np.float32(12.92)
    xyz = _TO_XYZ.astype(np.float32) @ light
    curved = _power(xyz, 1 / 3)
    is_low = xyz <= np.float32(0.008856)
    if is_low.any():
        curved[is_low] = np.float32(7.787) * xyz[is_low] + np.float32(16 / 116)
    return curved


def _uncurved(curved: np.ndarray) -> np.ndarray:
    """Return RGB in [0, 1] of curved X, Y and Z, both (3, n)."""
    xyz = curved * curved
    xyz *= curved
    is_low = curved <= np.float32(0.2068966)
    if is_low.any():
        xyz[is_low] = (curved[is_low] - np.float32(16 / 116)) / np.float32(7.787)
    light = _FROM_XYZ.astype(np.float32) @ xyz
    pixels = _power(light, 1 / 2.4)
    pixels *= np.float32(1.055)
    pixels -= np.float32(0.055)
    is_low = light <= np.float32(0.0031308)
    if is_low.any():
        pixels[is_low] = light[is_low] * np.float32(12.92)
    return np.clip(pixels, 0, 1, out=pixels)
