# SPDX-License-Identifier: BSD-3-Clause
"""What spoils a slide: a fold of the tissue, marks of a pen, dirt."""

from __future__ import annotations

import numpy as np

from psmlearn.datasets._paint import smooth_field

# Optical densities of inks.
_INKS = np.array(
    [(0.95, 0.20, 0.70), (1.10, 0.65, 0.08), (0.06, 0.95, 0.80), (1.1, 1.1, 1.0)]
)
_FOLD_WIDTH, _PEN_WIDTH = 11.0, 14.0  # micrometres


def add_artefacts(
    rng: np.random.Generator, density: np.ndarray, pixel_size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Add a fold, a stroke of a pen and specks of dirt to optical density.

    Returns the density (height, width, 3), and a bool mask of what is spoilt.
    """
    shape = density.shape[:2]
    fold = _draw_stroke(rng, shape, _FOLD_WIDTH, rng.uniform(-0.2, 0.2), pixel_size)
    side = rng.choice([-1.0, 1.0]) * rng.uniform(0.32, 0.42)
    pen = _draw_stroke(rng, shape, _PEN_WIDTH, side, pixel_size)
    dirt = _draw_dirt(rng, shape, pixel_size)
    # A fold lays three sheets upon each other, dense and out of focus.
    creases = 1 + 0.25 * smooth_field(rng, shape, max(2 / pixel_size, 1.0))
    sheets = 3 * density.mean(axis=(0, 1)) + np.array((0.25, 0.20, 0.06), np.float32)
    sheets = sheets * np.clip(creases, 0.3, 2)[..., np.newaxis]
    density = density + fold[..., np.newaxis] * (1.2 * density + sheets)
    ink = _INKS[rng.integers(len(_INKS))] * rng.uniform(0.8, 1.2)
    streaks = 1 + 0.12 * smooth_field(rng, shape, max(3 / pixel_size, 1.0))
    density = density + (pen * streaks)[..., np.newaxis] * ink.astype(np.float32)
    density = density + np.float32(1.8) * dirt[..., np.newaxis]
    return density.astype(np.float32), np.maximum(fold, np.maximum(pen, dirt)) > 0.5


def _draw_stroke(
    rng: np.random.Generator,
    shape: tuple[int, int],
    width: float,
    offset: float,
    pixel_size: float,
) -> np.ndarray:
    """Draw a wavy band across the image, `offset` of its size beside the middle."""
    angle = rng.uniform(0, np.pi)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    across = (rows - (shape[0] - 1) / 2) * np.sin(angle)
    across = across + (columns - (shape[1] - 1) / 2) * np.cos(angle)
    size = shape[0] * abs(np.sin(angle)) + shape[1] * abs(np.cos(angle))
    distance = np.abs(across - offset * size) * pixel_size
    half = 0.5 * width * (1 + 0.2 * smooth_field(rng, shape, 12 / pixel_size))
    edge = np.clip((distance - half) / 0.4, -30, 30)
    return (1 / (1 + np.exp(edge))).astype(np.float32)


def _draw_dirt(
    rng: np.random.Generator, shape: tuple[int, int], pixel_size: float
) -> np.ndarray:
    """Draw a few ragged specks, 1 to 4 micrometres across, some in clusters."""
    rough = 1 + 0.35 * smooth_field(rng, shape, max(0.7 / pixel_size, 1.0))
    dirt = np.zeros(shape, dtype=np.float32)
    for _ in range(rng.integers(4, 9)):
        row, column = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        radius = rng.uniform(0.5, 2.0) / pixel_size
        top, left = (max(int(c - 3 * radius), 0) for c in (row, column))
        box = np.s_[
            top : int(row + 3 * radius) + 1, left : int(column + 3 * radius) + 1
        ]
        rows, columns = np.ogrid[box[0], box[1]]
        height, width = dirt[box].shape
        distance = np.hypot(rows[:height] - row, columns[:, :width] - column)
        speck = (distance < radius * np.clip(rough[box], 0.3, 2.5)).astype(np.float32)
        dirt[box] = np.maximum(dirt[box], speck)
    return dirt
