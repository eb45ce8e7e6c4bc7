# SPDX-License-Identifier: BSD-3-Clause
"""Synthetic Ki-67 staining: brown positive nuclei among pale blue ones."""

from __future__ import annotations

import numpy as np

from psmlearn.datasets._paint import (
    BRIGHTNESS,
    paint_nuclei,
    paint_tissue,
    smooth_field,
    surroundings,
)

# The two ends that the colours of laboratories lie between, in optical density.
_BLUES = np.array([(0.90, 0.40, 0.18), (0.68, 0.65, 0.33)])
_BROWNS = np.array([(0.22, 0.42, 0.88), (0.27, 0.60, 0.75)])


def draw_colours(
    rng: np.random.Generator, stain_variation: float
) -> tuple[dict[str, np.ndarray], float]:
    """Draw the colour of each stain in one image, and the brightness of its light."""
    reach = min(stain_variation, 1.0)
    blue, brown = 0.5 + 0.5 * reach * rng.uniform(-1, 1, 2)
    brightness = BRIGHTNESS * (1 - 0.15 * reach * rng.random())
    colours = {
        "haematoxylin": (1 - blue) * _BLUES[0] + blue * _BLUES[1],
        "dab": (1 - brown) * _BROWNS[0] + brown * _BROWNS[1],
    }
    return colours, float(brightness)


def paint_ki67(
    rng: np.random.Generator,
    labels: np.ndarray,
    positive: np.ndarray,
    weak: float,
    background: float,
    vesicular: float,
    texture: float,
    pixel_size: float,
) -> dict[str, np.ndarray]:
    """Return the amount of haematoxylin and DAB per pixel, before the optics.

    `positive` tells for each id, from 1 on, whether the nucleus is brown.
    """
    inside = labels > 0
    is_brown = np.concatenate([[False], positive])
    brown = is_brown[labels]
    around = surroundings(inside, pixel_size)
    tissue, fibres = paint_tissue(rng, labels.shape, texture, pixel_size)
    tissue = np.maximum(tissue, np.minimum(3 * around, 1))
    blue_strength, brown_strength = _draw_strengths(rng, is_brown, weak)
    blue = paint_nuclei(rng, labels, blue_strength, vesicular, texture, pixel_size)
    # DAB covers the nucleus more evenly than haematoxylin its chromatin.
    dab = paint_nuclei(
        rng, labels, brown_strength, 0.3 * vesicular, texture, pixel_size
    )
    veil = tissue * (0.015 + 0.15 * fibres + 0.02 * around)
    uneven = 1 + texture * 0.35 * smooth_field(rng, labels.shape, 18 / pixel_size)
    # Cytoplasm: brown about positive nuclei above all, and a haze everywhere.
    cytoplasm = surroundings(brown, pixel_size, reach=1.5)
    haze = background * tissue * np.maximum(uneven, 0.1)
    haze = haze * (0.08 * fibres + 0.06 * cytoplasm + 0.01)
    # A nucleus lies within the section: part of the haze is above or below it.
    return {
        "haematoxylin": np.where(inside, np.maximum(blue, 0) + 0.5 * veil, veil),
        "dab": np.where(brown, np.maximum(dab, 0.1), 0)
        + np.where(inside, 0.5, 1) * haze,
    }


def _draw_strengths(
    rng: np.random.Generator, is_brown: np.ndarray, weak: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the haematoxylin and the DAB of each id (0 included)."""
    n_ids = len(is_brown)
    blue = 0.30 * np.exp(rng.normal(0.0, 0.28, n_ids))
    brown = np.clip(0.80 * np.exp(rng.normal(0.0, 0.5, n_ids)), 0.3, 2.2)
    is_weak = ~is_brown & (rng.random(n_ids) < weak)
    blue = np.where(is_weak, rng.uniform(0.10, 0.14, n_ids), np.maximum(blue, 0.16))
    share = np.where(is_brown, rng.uniform(0.1, 0.45, n_ids), 1.0)
    return share * blue, np.where(is_brown, brown, 0.0)
