# SPDX-License-Identifier: BSD-3-Clause
"""Boxes of overlapping tiles, and padding to a network's stride."""

from __future__ import annotations

from typing import Literal

import numpy as np

Box = tuple[int, int, int, int]


def _whole(value: int, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: a whole number is expected, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: at least {least} is expected, got {value}")
    return int(value)


def _spans(
    size: int, tile_size: int, halo: int, stride: int
) -> list[tuple[int, int, int, int]]:
    """Cut one side into (core start, core stop, tile start, tile stop)."""
    n_units = size // stride
    n_tiles = -(-n_units // max(tile_size // stride, 1))
    # Cores of nearly equal size: no thin last tile, and few different shapes.
    cuts = [stride * (n_units * i // n_tiles) for i in range(n_tiles + 1)]
    return [
        (start, stop, max(start - halo, 0), min(stop + halo, size))
        for start, stop in zip(cuts[:-1], cuts[1:], strict=True)
    ]


def tile_boxes(
    height: int, width: int, tile_size: int, halo: int, stride: int = 1
) -> list[tuple[Box, Box]]:
    """Boxes that cut an image into cores, and the tiles to read around them.

    Parameters
    ----------
    height, width : int
        Size of the image in pixels, multiples of `stride`.
    tile_size : int
        Largest side of a core in pixels; rounded down to a multiple of `stride`
        (at least one stride).
    halo : int
        Context around a core in pixels; rounded up to a multiple of `stride`.
    stride : int, default=1
        All boxes start and end at multiples of it.

    Returns
    -------
    boxes : list of (core_box, tile_box)
        Boxes are (top, left, bottom, right), row by row. The cores cover the image
        exactly once and their sides differ by one stride at most; a tile is
        its core with the halo around it, cut at the image's border.

    Examples
    --------
    >>> from psmlearn._images._tiles import tile_boxes
    >>> for core, tile in tile_boxes(64, 32, tile_size=32, halo=10, stride=16):
    ...     print(core, tile)
    (0, 0, 32, 32) (0, 0, 48, 32)
    (32, 0, 64, 32) (16, 0, 64, 32)
    """
    stride = _whole(stride, "stride", 1)
    tile_size = _whole(tile_size, "tile_size", 1)
    halo = -(-_whole(halo, "halo", 0) // stride) * stride
    for name, size in (("height", height), ("width", width)):
        if _whole(size, name, 1) % stride:
            raise ValueError(
                f"{name}: a multiple of the stride {stride} is expected, got {size}; "
                "pad the image with pad_to_multiple first"
            )
    rows = _spans(int(height), tile_size, halo, stride)
    columns = _spans(int(width), tile_size, halo, stride)
    return [
        ((top, left, bottom, right), (tile_top, tile_left, tile_bottom, tile_right))
        for top, bottom, tile_top, tile_bottom in rows
        for left, right, tile_left, tile_right in columns
    ]


def pad_to_multiple(image: np.ndarray, multiple: int) -> np.ndarray:
    """Enlarge an image at the bottom and right to multiples of a number.

    Parameters
    ----------
    image : ndarray of shape (height, width, ...)
    multiple : int
        Both sides of the result are multiples of it.

    Returns
    -------
    padded : ndarray
        The image mirrored at its last row and column (the row or column itself not
        repeated), or that row or column repeated where the image is too small to
        mirror. The image itself, not a copy, where nothing is to be added.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._tiles import pad_to_multiple
    >>> pad_to_multiple(np.array([[1, 2, 3]]), 5).tolist()[0]
    [1, 2, 3, 2, 1]
    """
    image = np.asarray(image)
    multiple = _whole(multiple, "multiple", 1)
    if image.ndim < 2 or 0 in image.shape[:2]:
        raise ValueError(
            "image: shape (height, width, ...) without an empty side is expected, got "
            f"{image.shape}"
        )
    for axis in (0, 1):
        size = image.shape[axis]
        missing = -size % multiple
        if missing:
            pads = [(0, 0)] * image.ndim
            pads[axis] = (0, missing)
            mode: Literal["reflect", "edge"]
            mode = "reflect" if missing < size else "edge"
            image = np.pad(image, pads, mode=mode)
    return image
