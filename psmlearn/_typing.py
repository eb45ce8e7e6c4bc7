# SPDX-License-Identifier: BSD-3-Clause
"""Names for what users hand in, so that signatures read well.

Nothing is checked here: `psmlearn.io` holds the gates that these names stand for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

__all__ = [
    "Image",
    "ImageLabels",
    "Images",
    "Labels",
    "Mask",
    "Masks",
    "Path",
    "PixelSize",
    "PointTable",
    "Points",
    "RandomState",
    "Regions",
    "Table",
]

Path: TypeAlias = str | os.PathLike[str]

Image: TypeAlias = np.ndarray | Path
"""One image; see `io.check_image`."""

Mask: TypeAlias = np.ndarray | Path
"""One label image; see `io.check_mask`."""

PointTable: TypeAlias = np.ndarray | Path | Sequence[Sequence[float]]
"""The points of one image."""

Images: TypeAlias = np.ndarray | Sequence[np.ndarray | Path]
"""Images: a 4-D array, or a list of arrays and paths; see `io.check_images`."""

Masks: TypeAlias = np.ndarray | Path | Sequence[np.ndarray | Path]
"""Label images: a stack, a list of arrays and paths, or one; see `io.check_masks`."""

Points: TypeAlias = np.ndarray | Path | Sequence[np.ndarray | Path | Sequence]
"""Points of images: a list of tables and paths, or one; see `io.check_points`."""

ImageLabels: TypeAlias = np.ndarray | Sequence[int | str | float]
"""One class for each image."""

Regions: TypeAlias = np.ndarray | Path | Sequence[np.ndarray | Path | None]
"""Masks of what counts: a list with None for whole images, a stack, or one."""

Labels: TypeAlias = int | Sequence[int]
"""One class, or several."""

PixelSize: TypeAlias = float | Sequence[float] | np.ndarray | str
"""Micrometres per pixel, of all images or of each; "file" reads them."""

RandomState: TypeAlias = int | np.random.RandomState | None
"""A seed, or a random stream of numpy."""

Table: TypeAlias = Mapping[str, np.ndarray | Sequence[float]]
"""A table of nuclei, a column each; see `measure.nuclei_table`."""
