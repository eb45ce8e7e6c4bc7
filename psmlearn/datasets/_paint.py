# SPDX-License-Identifier: BSD-3-Clause
"""Synthetic tissue as amounts of stain, and the picture that a camera takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage, sparse

# Directions of stains in optical density (red, green, blue), about those of
# published stain matrices; they are normalised where they are used.
HE_COLOURS = {
    "haematoxylin": (0.60, 0.70, 0.35),
    "eosin": (0.15, 0.85, 0.48),
}
BRIGHTNESS = 0.955


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, int], scale: float
) -> np.ndarray:
    """Draw a smooth random field of about unit variance: cubic B-splines."""
    rows, columns = (_spline_weights(n, scale) for n in shape)
    knots = rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32)
    # A mean weight of 0.4794 per axis: that of the squared cubic B-spline.
    return (columns @ (rows @ knots).T).T / np.float32(0.4794)


def _spline_weights(n_pixels: int, scale: float) -> sparse.csr_array:
    """Return the weights (n_pixels, n_knots) of cubic B-splines."""
    position = np.arange(n_pixels) / scale
    first = np.floor(position).astype(np.int64)
    t = position - first
    weights = np.stack(
        [
            (1 - t) ** 3,
            3 * t**3 - 6 * t**2 + 4,
            -3 * t**3 + 3 * t**2 + 3 * t + 1,
            t**3,
        ],
        axis=1,
    )
    knots = first[:, np.newaxis] + np.arange(4)
    starts = np.arange(0, 4 * n_pixels + 1, 4)
    return sparse.csr_array(
        ((weights / 6).astype(np.float32).ravel(), knots.ravel(), starts),
        shape=(n_pixels, int(first[-1]) + 4),
    )


def _depth(labels: np.ndarray) -> np.ndarray:
    """Return the distance of each nucleus' pixels from its own border."""
    inner = labels > 0
    for axis in (0, 1):
        differs = np.diff(labels, axis=axis) != 0
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        inner[tuple(before)] &= ~differs
        inner[tuple(after)] &= ~differs
    if inner.all():
        return np.full(labels.shape, np.inf, dtype=np.float32)
    return ndimage.distance_transform_edt(inner).astype(np.float32)


def surroundings(
    inside: np.ndarray, pixel_size: float, reach: float = 1.0
) -> np.ndarray:
    """Return how near an object is: 1 well inside, falling over `reach` micrometres."""
    return ndimage.gaussian_filter(inside.astype(np.float32), reach / pixel_size)


def paint_he(
    rng: np.random.Generator,
    labels: np.ndarray,
    vesicular: float,
    texture: float,
    pixel_size: float,
) -> dict[str, np.ndarray]:
    """Return the amount of haematoxylin and eosin per pixel, before the optics."""
    inside = labels > 0
    around = surroundings(inside, pixel_size)
    tissue, eosin = paint_tissue(rng, labels.shape, texture, pixel_size)
    tissue = np.maximum(tissue, np.minimum(3 * around, 1))
    eosin = tissue * (eosin + 0.10 * around) * np.where(inside, 0.55, 1.0)
    strength = 0.52 * np.exp(rng.normal(0.0, 0.22, int(labels.max()) + 1))
    nuclei = paint_nuclei(rng, labels, strength, vesicular, texture, pixel_size)
    nuclei = np.maximum(nuclei, np.float32(0.08))
    veil = 0.05 + 0.02 * texture * smooth_field(rng, labels.shape, 9 / pixel_size)
    background = tissue * np.maximum(veil + 0.12 * around, 0)
    return {
        "haematoxylin": np.where(inside, nuclei, background),
        "eosin": eosin.astype(np.float32),
    }


def paint_tissue(
    rng: np.random.Generator,
    shape: tuple[int, int],
    texture: float,
    pixel_size: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return where there is tissue (0 to 1) and how dense its fibres are."""

    def field(micrometres: float) -> np.ndarray:
        return smooth_field(rng, shape, max(micrometres / pixel_size, 1.0))

    rows, columns = np.ogrid[: shape[0], : shape[1]]
    angle = rng.uniform(0, np.pi)
    along = (rows * np.sin(angle) + columns * np.cos(angle)) * pixel_size
    waves = np.sin(2 * np.pi * (along / 3.5 + 0.9 * field(12)) + 0.8 * field(3))
    fibres = np.clip(field(15), 0, 1.5) * waves
    density = 0.27 * (
        1
        + texture
        * (0.22 * field(20) + 0.10 * field(5) + 0.10 * field(1.2) + 0.18 * fibres)
    )
    edge = field(14) + 0.5 * field(4) + 0.25 * field(1.5)
    gaps = 1 / (1 + np.exp(-6 * (edge - 1.75)))
    tissue = 1 - min(texture, 1.0) * gaps
    return tissue, np.maximum(density, 0.02)


def paint_nuclei(
    rng: np.random.Generator,
    labels: np.ndarray,
    strength: np.ndarray,
    vesicular: float,
    texture: float,
    pixel_size: float,
) -> np.ndarray:
    """Return the stain inside nuclei of a strength per id: chromatin, nucleoli."""
    n_nuclei = int(labels.max())
    pale = rng.random(n_nuclei + 1) < vesicular
    floor = np.where(pale, rng.uniform(0.28, 0.45, n_nuclei + 1), 0.9)
    clumps = np.where(pale, 0.9, 0.55)
    depth = _depth(labels) * pixel_size
    rim = np.exp(-np.square(depth / 0.45))
    fine = smooth_field(rng, labels.shape, max(0.45 / pixel_size, 1.0))
    coarse = smooth_field(rng, labels.shape, max(1.1 / pixel_size, 1.0))
    chromatin = texture * (0.22 * fine + 0.26 * coarse)
    # Nucleoli: the highest clumps, well inside.
    nucleoli = np.clip(2.5 * (coarse - 1.3), 0, 1) * (depth > 0.8) * min(texture, 1)
    level = floor[labels] + (1.1 - floor[labels]) * np.maximum(rim, 0.8 * nucleoli)
    level = level * (1 + clumps[labels] * chromatin)
    return (strength[labels] * level).astype(np.float32)


def mix_stains(
    rng: np.random.Generator,
    amounts: dict[str, np.ndarray],
    colours: Mapping[str, Sequence[float] | np.ndarray],
    stain_variation: float,
    pixel_size: float,
) -> np.ndarray:
    """Turn amounts of stain into optical density: colours and the lens' blur."""
    blur = 0.22 / pixel_size
    density: np.ndarray = np.zeros((), dtype=np.float32)
    for name, amount in amounts.items():
        colour = np.array(colours[name]) + rng.normal(0, 0.035 * stain_variation, 3)
        colour = np.clip(colour, 0.02, None)
        colour *= np.exp(rng.normal(0, 0.13 * stain_variation))
        colour /= np.linalg.norm(colours[name])
        sharp = ndimage.gaussian_filter(amount.astype(np.float32), blur)
        density = density + sharp[..., np.newaxis] * colour.astype(np.float32)
    return density


def photograph(
    rng: np.random.Generator,
    density: np.ndarray,
    brightness: float,
    stain_variation: float,
    noise: float,
) -> np.ndarray:
    """Turn optical density into a picture: light and camera."""
    light = brightness + 0.01 * stain_variation * np.clip(rng.normal(size=3), -2, 2)
    light = np.clip(light, 0, 1).astype(np.float32)
    picture = light * np.power(np.float32(10), -density)
    if noise > 0:
        grain = rng.standard_normal(picture.shape, dtype=np.float32)
        picture += np.float32(noise) * grain
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
