# SPDX-License-Identifier: BSD-3-Clause
"""Optical density and stain amounts of brightfield images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

import numpy as np

Stain: TypeAlias = str | Sequence[float] | np.ndarray
"""Name of a stain, or its optical densities in red, green and blue light."""

# Light below one grey level of 8-bit cannot be told from none.
_DARKEST = np.float32(1 / 255)
_CHUNK = 1 << 16
# Least singular value of stains at length 1: two of them are 4 degrees apart.
_LEAST_SPREAD = 0.05


@cache
def _unmixing() -> np.ndarray:
    """Ruifrok's unmixing matrix as scikit-image publishes it."""
    from skimage.color import hed_from_rgb

    return hed_from_rgb.astype(np.float32)


def _check(image: np.ndarray) -> np.ndarray:
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


def _density(values: np.ndarray) -> np.ndarray:
    """-log10 of light, at least one grey level, as a fresh float32 array."""
    out = np.maximum(values, _DARKEST, dtype=np.float32)
    np.minimum(out, np.float32(1), out=out)
    np.log10(out, out=out)
    return np.subtract(np.float32(0), out, out=out)  # not -0.0 for white


def optical_density(image: np.ndarray) -> np.ndarray:
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


def _stain(image: np.ndarray, index: int) -> np.ndarray:
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
    # Pieces that stay in the cache. By a matrix product the last bit of a pixel would
    # hang on its place in the image.
    for start in range(0, len(pixels), _CHUNK):
        part = slice(start, start + _CHUNK)
        density = _density(pixels[part])
        own = amount[part]
        np.multiply(density[:, 0], weights[0], out=own)
        for channel in (1, 2):
            own += density[:, channel] * weights[channel]
    np.maximum(amount, 0, out=amount)
    return amount.reshape(height, width)


def haematoxylin(image: np.ndarray) -> np.ndarray:
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


def eosin(image: np.ndarray) -> np.ndarray:
    """Amount of eosin in every pixel; see `haematoxylin`."""
    return _stain(image, 1)


def dab(image: np.ndarray) -> np.ndarray:
    """Amount of DAB (brown) in every pixel; see `haematoxylin`."""
    return _stain(image, 2)


def _unit(*densities: float) -> np.ndarray:
    vector = np.asarray(densities, float)
    vector /= np.linalg.norm(vector)
    vector.setflags(write=False)
    return vector


# Ruifrok and Johnston's optical densities of red, green and blue light, as
# scikit-image publishes them, at length 1.
STAINS = {
    "haematoxylin": _unit(0.65, 0.70, 0.29),
    "eosin": _unit(0.07, 0.99, 0.11),
    "dab": _unit(0.27, 0.57, 0.78),
}


def stain_vector(stain: Stain) -> np.ndarray:
    """Optical density of a stain in red, green and blue light, at length 1.

    Parameters
    ----------
    stain : {"haematoxylin", "eosin", "dab"} or sequence of 3 floats
        Name of a stain, or its optical densities as QuPath and scikit-image give
        them: numbers of at least 0, of any length.

    Returns
    -------
    vector : ndarray of shape (3,), float64
        The densities at Euclidean length 1; a fresh array.

    Raises
    ------
    ValueError
        If the name is unknown, or the numbers are no densities.

    Examples
    --------
    >>> from psmlearn._images._stains import stain_vector
    >>> stain_vector("dab").round(3).tolist()
    [0.269, 0.568, 0.778]
    >>> stain_vector([0, 3, 4]).tolist()
    [0.0, 0.6, 0.8]
    """
    if isinstance(stain, str):
        if stain not in STAINS:
            raise ValueError(
                f"stain: {stain!r} is not known; give one of {sorted(STAINS)} or its "
                "3 optical densities (red, green, blue)"
            )
        return STAINS[stain].copy()
    try:
        vector = np.array(stain, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(
            f"stain: one of {sorted(STAINS)} or 3 numbers are expected, got {stain!r}"
        ) from None
    if vector.shape != (3,) or not np.isfinite(vector).all() or (vector < 0).any():
        raise ValueError(
            "stain: 3 optical densities (red, green, blue) of at least 0 are "
            f"expected, got {stain!r}"
        )
    length = np.linalg.norm(vector)
    if length == 0:
        raise ValueError("stain: 3 densities of 0 are no colour; one must be above 0")
    return vector / length


def check_stains(stains: Sequence[Stain] | np.ndarray) -> np.ndarray:
    """Vectors of two or three stains, if they can be told apart.

    Raises
    ------
    ValueError
        If they cannot, or are too few or too many.
    """
    if isinstance(stains, bytes | dict) or not hasattr(stains, "__getitem__"):
        raise TypeError(f"stains: 2 or 3 names or vectors are expected, got {stains!r}")
    is_one = isinstance(stains, str) or getattr(stains, "ndim", 1) == 0
    if is_one or not 2 <= len(stains) <= 3:
        raise ValueError(
            f"stains: 2 or 3 names or vectors are expected, got {stains!r}; 3 channels "
            "cannot tell more stains apart"
        )
    vectors = np.stack([stain_vector(stain) for stain in stains])
    if np.linalg.svd(vectors, compute_uv=False)[-1] < _LEAST_SPREAD:
        raise ValueError(
            "stains: these densities cannot be told apart (two are nearly parallel, or "
            f"three lie in one plane): {vectors.round(3).tolist()}"
        )
    return vectors


def stain_amounts(
    image: np.ndarray, stains: Sequence[Stain] | np.ndarray, *, clip: bool = True
) -> np.ndarray:
    """Amounts of two or three stains in every pixel.

    With two stains the amounts are the least-squares fit of the pixel's optical
    density (what neither stain explains is dropped); with three they are exact.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3)
        Float image with values in [0, 1].
    stains : sequence of 2 or 3 str or vectors
        What `stain_vector` takes.
    clip : bool, default=True
        Whether amounts below 0 become 0. If not, noise around 0 has no bias, which
        matters where amounts are smoothed.

    Returns
    -------
    amounts : ndarray of shape (height, width, n_stains), float32
        Amounts of stain of unit optical density.

    Raises
    ------
    ValueError
        If the stains cannot be told apart, or the image has not 3 channels.

    References
    ----------
    A. C. Ruifrok and D. A. Johnston, "Quantification of histochemical staining by
    color deconvolution", Anal. Quant. Cytol. Histol. 23(4), 291-299, 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._stains import stain_amounts, stain_vector
    >>> brown = 10 ** -(0.8 * stain_vector("dab"))
    >>> stain_amounts(brown[None, None], ["haematoxylin", "dab"]).round(2)
    array([[[0. , 0.8]]], dtype=float32)
    """
    weights = np.linalg.pinv(check_stains(stains)).astype(np.float32)
    image = _check(image)
    height, width, n_channels = image.shape
    if n_channels != 3:
        raise ValueError(
            f"image: stains are unmixed from 3 channels, got {n_channels}; pass "
            "image[..., :3]"
        )
    pixels = np.ascontiguousarray(image).reshape(-1, 3)
    amounts = np.empty((height * width, weights.shape[1]), np.float32)
    for start in range(0, len(pixels), _CHUNK):
        part = slice(start, start + _CHUNK)
        np.matmul(_density(pixels[part]), weights, out=amounts[part])
    if clip:
        np.maximum(amounts, 0, out=amounts)
    return amounts.reshape(height, width, -1)


def estimate_stain_vectors(
    image: np.ndarray,
    *,
    density_threshold: float = 0.1,
    angle_percentile: float = 1.0,
    min_pixels: int = 100,
) -> np.ndarray | None:
    """Estimate the vectors of an image's two stains by Macenko's method.

    Densities lie near a plane; the directions at the ends of their fan in it, but for
    a percentile, are the stains.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3) or (n_pixels, 3), float
        Values in [0, 1]; of whole images or of pixels drawn from them.
    density_threshold : float, default=0.1
        Pixels of no more mean optical density are left out.
    angle_percentile : float, default=1.0
        Percentage of pixels beyond each of the two directions.
    min_pixels : int, default=100
        Fewest pixels above the threshold to estimate from.

    Returns
    -------
    vectors : ndarray of shape (2, 3), float64, or None
        At length 1, the one that takes the larger share of red light (haematoxylin
        beside eosin or DAB) first. They are near to each other, or equal, if the
        image has but one stain. None if too little is stained.

    References
    ----------
    M. Macenko et al., "A method for normalizing histology slides for quantitative
    analysis", ISBI 2009.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._stains import STAINS, estimate_stain_vectors
    >>> amounts = np.random.default_rng(0).exponential(0.4, (5000, 2))
    >>> amounts[:1000, 0] = amounts[1000:2000, 1] = 0
    >>> mixed = amounts @ np.stack([STAINS["haematoxylin"], STAINS["dab"]])
    >>> estimate_stain_vectors(10 ** -mixed).round(2).tolist()
    [[0.65, 0.7, 0.29], [0.27, 0.57, 0.78]]
    >>> estimate_stain_vectors(np.ones((50, 50, 3))) is None
    True
    """
    pixels = np.asarray(image)
    if pixels.ndim not in (2, 3) or pixels.shape[-1] != 3:
        raise ValueError(
            "image: shape (height, width, 3) or (n_pixels, 3) is expected, got "
            f"{pixels.shape}"
        )
    if pixels.dtype.kind != "f":
        raise TypeError(f"image: floats in [0, 1] are expected, got {pixels.dtype}")
    density = _density(pixels.reshape(-1, 3))
    mean = (density[:, 0] + density[:, 1] + density[:, 2]) / 3
    density = density[mean > density_threshold].astype(np.float64)
    if len(density) < min_pixels:
        return None
    # Moments about no stain at all: the plane of two stains goes through it.
    _, axes = np.linalg.eigh(density.T @ density)
    plane = axes[:, :0:-1]
    plane = plane * np.where(plane.sum(axis=0) < 0, -1, 1)
    along, across = (density @ plane).T
    ends = np.percentile(
        np.arctan2(across, along), [angle_percentile, 100 - angle_percentile]
    )
    vectors = np.stack([np.cos(ends), np.sin(ends)], axis=1) @ plane.T
    vectors = np.maximum(vectors, 0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    share_of_red = vectors[:, 0] / vectors.sum(axis=1)
    return vectors[np.argsort(-share_of_red, kind="stable")]


def stain_amount(image: np.ndarray) -> np.ndarray:
    """Return haematoxylin of three channels, else the density of their mean."""
    if image.shape[-1] == 3:
        return haematoxylin(image)
    grey = image.mean(axis=-1, keepdims=True, dtype=np.float32)
    return optical_density(grey)[..., 0]
