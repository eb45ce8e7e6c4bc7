# SPDX-License-Identifier: BSD-3-Clause
"""Colours from one staining to another: the arithmetic of StainNormalizer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from psmlearn._images._stains import (
    Stain,
    estimate_stain_vectors,
    optical_density,
    stain_amounts,
    stain_vector,
)
from psmlearn._images._tissue import average, highest, lowest
from psmlearn._parameters import as_list
from psmlearn.preprocessing._lab import lab_of, move_lab

MIN_PIXELS = 100
_LEAST_COLOUR = 0.02
_LEAST_ANGLE = 10.0
_STRENGTH_PERCENTILE = 99.0
_ABSENT = 0.1
_LARGEST_GAIN = 4.0
_CHUNK = 1 << 16
_TO_EXPONENT = np.float32(-np.log(10))


def mean_density(colours: np.ndarray) -> np.ndarray:
    """Mean optical density of the channels, (height, width), float32."""
    return average(optical_density(colours))


def is_coloured(pixels: np.ndarray) -> bool:
    """Whether pixels (n, 3) show any colour, or grey alone."""
    return bool(np.mean(highest(pixels) - lowest(pixels)) > _LEAST_COLOUR)


def check_two_stains(stains: Sequence[Stain] | np.ndarray) -> np.ndarray:
    """Return two vectors (2, 3), or say why they do not serve."""
    given = as_list(stains, "stains", "2 names or vectors, or None")
    if len(given) != 2:
        raise ValueError(
            f"stains: 2 names or vectors are expected, or None, got {stains!r}"
        )
    vectors = np.stack([stain_vector(stain) for stain in given])
    stain_amounts(np.ones((1, 1, 3)), vectors)  # refuses parallel ones
    return vectors


def _angle(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(first @ second, -1, 1))))


def _strengths(pixels: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    amounts = stain_amounts(pixels[np.newaxis], vectors)[0]
    return np.percentile(amounts, _STRENGTH_PERCENTILE, axis=0)


def _estimate(pixels: np.ndarray, angle_percentile: float) -> np.ndarray:
    """Estimate two vectors from pixels (n, 3), all of which count as stained."""
    vectors = estimate_stain_vectors(
        pixels,
        density_threshold=-1,
        angle_percentile=angle_percentile,
        min_pixels=MIN_PIXELS,
    )
    if vectors is None:
        raise ValueError(f"pixels: at least {MIN_PIXELS} are expected.")
    return vectors


def learn_stains(
    pixels: np.ndarray, given: np.ndarray | None, angle_percentile: float
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and strengths of the target, from its stained pixels (n, 3)."""
    vectors = given
    if vectors is None:
        vectors = _estimate(pixels, angle_percentile)
        if _angle(*vectors) < _LEAST_ANGLE:
            raise ValueError(
                "StainNormalizer: the images show one stain only (both estimates are "
                f"near {vectors.mean(axis=0).round(2).tolist()}); fit on images of "
                "two stains, or give them as stains=..."
            )
    return vectors, _strengths(pixels, vectors)


def source_stains(
    pixels: np.ndarray,
    given: np.ndarray | None,
    angle_percentile: float,
    target: np.ndarray,
) -> np.ndarray:
    """Vectors of an image that is to be brought to the `target`'s."""
    if given is not None:
        return given
    vectors = _estimate(pixels, angle_percentile)
    if _angle(*vectors) >= _LEAST_ANGLE:
        return vectors
    only = vectors.mean(axis=0)
    only /= np.linalg.norm(only)
    nearer = int(_angle(only, target[1]) < _angle(only, target[0]))
    source = target.copy()
    source[nearer] = only
    # So far towards the other stain that the two can no longer be told apart.
    return source if _angle(*source) >= _LEAST_ANGLE else target


def to_stains(
    colours: np.ndarray,
    pixels: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    strengths: np.ndarray,
) -> np.ndarray:
    """Take the source's stains apart and put the target's in their place."""
    own = _strengths(pixels, source)
    gain = strengths / np.maximum(own, 1e-6)
    gain = np.where((own < _ABSENT) | (strengths < _ABSENT), 1.0, gain)
    gain = np.clip(gain, 1 / _LARGEST_GAIN, _LARGEST_GAIN)
    mixing = (gain[:, np.newaxis] * target).astype(np.float32) * _TO_EXPONENT
    amounts = stain_amounts(colours, source).reshape(-1, 2)
    done = np.empty((len(amounts), 3), np.float32)
    for start in range(0, len(amounts), _CHUNK):  # pieces that stay in the cache
        part = slice(start, start + _CHUNK)
        np.exp(amounts[part] @ mixing, out=done[part])
    return done.reshape(colours.shape)


def lab_moments(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of pixels (n, 3) in CIE Lab."""
    lab = lab_of(pixels).astype(np.float64)
    return lab.mean(axis=0), lab.std(axis=0)


def to_moments(
    colours: np.ndarray,
    density: np.ndarray,
    source: tuple[np.ndarray, np.ndarray],
    target: tuple[np.ndarray, np.ndarray],
    density_threshold: float,
) -> np.ndarray:
    """Shift and scale stained colours in Lab; paler ones fade to what they were."""
    (mean, deviation), (new_mean, new_deviation) = source, target
    gain = new_deviation / np.maximum(deviation, 1e-6)
    gain = np.where(deviation < 1e-3, 1.0, np.minimum(gain, _LARGEST_GAIN))
    weight = density / np.float32(max(density_threshold, 1e-6))
    np.minimum(weight, 1, out=weight)
    done = move_lab(
        colours.reshape(-1, 3), gain, new_mean - gain * mean, weight.reshape(-1)
    )
    return done.reshape(colours.shape)
