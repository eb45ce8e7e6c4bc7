# SPDX-License-Identifier: BSD-3-Clause
"""Small pictures of single nuclei, all of one physical size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from psmlearn.inspection._overlay import _inner_edges

OUTLINE = (255, 225, 25)
_BEYOND = 228  # grey: no tissue, and no glass
_DIMMED = 0.4


def crop_nucleus(
    picture: np.ndarray,
    ids: np.ndarray,
    number: int,
    centre: tuple[float, float],
    side: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a square around a nucleus out of its image.

    Parameters
    ----------
    picture : ndarray of shape (height, width, 3), uint8
    ids : ndarray of shape (height, width), int
    number : int
        Id of the nucleus.
    centre : tuple of float
        Row and column of its middle.
    side : int
        Side of the square in pixels. What lies beyond the image is grey.

    Returns
    -------
    crop : ndarray of shape (side, side, 3), uint8
    mask : ndarray of shape (side, side), bool
        Where the nucleus is.
    """
    top, left = (round(place - (side - 1) / 2) for place in centre)
    crop = np.full((side, side, 3), _BEYOND, np.uint8)
    mask = np.zeros((side, side), bool)
    rows = slice(max(top, 0), max(min(top + side, ids.shape[0]), 0))
    columns = slice(max(left, 0), max(min(left + side, ids.shape[1]), 0))
    inner = (
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - left, columns.stop - left),
    )
    crop[inner] = picture[rows, columns]
    mask[inner] = ids[rows, columns] == number
    return crop, mask


def draw_tile(
    crop: np.ndarray,
    mask: np.ndarray,
    size: int,
    *,
    color: Sequence[int] | np.ndarray = OUTLINE,
    thickness: int = 1,
) -> np.ndarray:
    """Scale a crop to `size` pixels a side, and outline its nucleus."""
    from PIL import Image

    way = Image.Resampling.LANCZOS if size < len(crop) else Image.Resampling.BICUBIC
    tile = np.array(Image.fromarray(crop).resize((size, size), way))
    # Smooth before it is cut, so that the outline shows no stairs.
    soft = Image.fromarray(mask.astype(np.uint8) * 255).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    inside = (np.asarray(soft) > 127).astype(np.int32)
    # Dark beside it, so that it is seen on pale ground, too.
    beside = ndimage.binary_dilation(inside, iterations=thickness) & (inside == 0)
    tile[beside] = (tile[beside] * _DIMMED).astype(np.uint8)
    tile[_inner_edges(inside, thickness)] = np.asarray(color, np.uint8)
    return tile
