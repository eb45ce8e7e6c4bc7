# SPDX-License-Identifier: BSD-3-Clause
"""Optical density and stain amounts of brightfield images."""

from __future__ import annotations

from functools import cache

import numpy as np

# Light below one grey level of 8-bit cannot be told from none.
_DARKEST = np.float32(1 / 255)
_CHUNK = 1 << 16


@cache
def _unmixing():
    """Ruifrok's unmixing matrix as scikit-image publishes it."""
    from skimage.color import hed_from_rgb

    return hed_from_rgb.astype(np.float32)


def _check(image):
    image = np.asarray(image)
    if image.dtype.kind != "f":
        raise TypeError(
            f"image: a float image with values in [0, 1] is expected, got {image.dtype}"
        )
    if image.ndim == 2:
        image = image[..., np.newaxis]
    if image.ndim != 3 or image.shape[-1] == 0:
        raise ValueError(
            "image: shape (height, width, channels) is expected, got "
            f"{np.asarray(image).shape}"
        )
    return image


def _density(values):
    """-log10 of light, at least one grey level, as a fresh float32 array."""
    out = np.maximum(values, _DARKEST, dtype=np.float32)
    np.minimum(out, np.float32(1), out=out)
    np.log10(out, out=out)
    return np.subtract(np.float32(0), out, out=out)  # not -0.0 for white


def optical_density(image):
    """Optical density of a brightfield image, channel by channel.

    Parameters
    ----------
    image : ndarray of shape (height, width[, n_channels])
        Float image with values in [0, 1]; values outside are clipped.

    Returns
    -------
    density : ndarray of shape (height, width, n_channels), float32
        ``-log10`` of the light let through, from 0 (white) to 2.41 (below one
        grey level of an 8-bit image).

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._stains import optical_density
    >>> optical_density(np.array([[[1.0, 0.1, 0.01]]])).round(3).tolist()
    [[[0.0, 1.0, 2.0]]]
    """
    return _density(_check(image))


def _stain(image, index):
    image = _check(image)
    height, width, n_channels = image.shape
    if n_channels == 1:
        return _density(image[..., 0])
    if n_channels != 3:
        raise ValueError(
            "image: stains are unmixed from 3 channels (or 1 of grey), got "
            f"{n_channels}; pass image[..., :3]"
        )
    weights = _unmixing()[:, index]
    pixels = np.ascontiguousarray(image).reshape(-1, 3)
    amount = np.empty(height * width, np.float32)
    for start in range(0, len(pixels), _CHUNK):  # pieces that stay in the cache
        part = slice(start, start + _CHUNK)
        np.matmul(_density(pixels[part]), weights, out=amount[part])
    np.maximum(amount, 0, out=amount)
    return amount.reshape(height, width)


def haematoxylin(image):
    """Amount of haematoxylin in every pixel.

    The colour is unmixed by Ruifrok's matrix, as in
    `skimage.color.rgb2hed`, of which this is the first channel times 6 (for light
    of at least one grey level).

    Parameters
    ----------
    image : ndarray of shape (height, width[, 1 or 3])
        Float image with values in [0, 1]. For one channel (grey) its optical
        density is given.

    Returns
    -------
    amount : ndarray of shape (height, width), float32
        Amount in units of optical density, never below 0.

    References
    ----------
    A. C. Ruifrok and D. A. Johnston, "Quantification of histochemical staining by
    color deconvolution", Anal. Quant. Cytol. Histol. 23(4), 291-299, 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._stains import haematoxylin
    >>> nucleus, paper = [0.35, 0.25, 0.55], [1.0, 1.0, 1.0]
    >>> haematoxylin(np.array([[nucleus, paper]])).round(2)
    array([[0.66, 0.  ]], dtype=float32)
    """
    return _stain(image, 0)


def eosin(image):
    """Amount of eosin in every pixel; see `haematoxylin`."""
    return _stain(image, 1)


def dab(image):
    """Amount of DAB (brown) in every pixel; see `haematoxylin`."""
    return _stain(image, 2)
