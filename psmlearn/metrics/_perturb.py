# SPDX-License-Identifier: BSD-3-Clause
"""Changed copies of images, and the way back for their masks."""

from __future__ import annotations

from functools import cache

import numpy as np

from psmlearn._images._stains import optical_density

# Strengths of the changes: enough to move a mask that hangs on a lucky threshold,
# little enough that nuclei look like nuclei. Chosen on 15 images of MoNuSeg.
STAIN_FACTORS = (0.7, 1.3)
ZOOM_FACTOR = 0.8
LIGHT_FACTOR = 0.85

# How often each change copies an image.
CHANGES = {"stain": len(STAIN_FACTORS), "zoom": 1, "rotation": 1, "light": 1}


def split_colors(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take colours (1 or 3 channels) and the channels behind them apart."""
    n_colors = 3 if image.shape[-1] >= 3 else 1
    return image[..., :n_colors], image[..., n_colors:]


def change_image(image: np.ndarray, change: str, number: int) -> np.ndarray:
    """Return a changed copy of an image.

    Parameters
    ----------
    image : ndarray of shape (height, width, n_channels), float32
        In [0, 1]; channels behind the colours, such as a map, are turned and
        resized with them, and else left as they are.
    change : {"stain", "zoom", "rotation", "light"}
    number : int
        Which copy, from 0 to ``CHANGES[change] - 1``.
    """
    if change == "rotation":
        return np.ascontiguousarray(np.rot90(image))
    if change == "zoom":
        return _resize(image, ZOOM_FACTOR)
    colors, rest = split_colors(image)
    if change == "stain":
        colors = _stain_more(colors, STAIN_FACTORS[number])
    else:
        colors = colors * np.float32(LIGHT_FACTOR)
    return np.concatenate([colors, rest], axis=-1)


def restore_mask(mask: np.ndarray, change: str, shape: tuple[int, int]) -> np.ndarray:
    """Bring the mask of a changed copy back to the image's own grid."""
    if change == "rotation":
        return np.rot90(mask, -1)
    if change == "zoom":
        rows, cols = (
            np.minimum(((np.arange(n) + 0.5) * m / n).astype(np.intp), m - 1)
            for n, m in zip(shape, mask.shape, strict=True)
        )
        return mask[np.ix_(rows, cols)]
    return mask


@cache
def _stain_matrices() -> tuple[np.ndarray, np.ndarray]:
    from skimage.color import hed_from_rgb, rgb_from_hed

    return hed_from_rgb.astype(np.float32), rgb_from_hed.astype(np.float32)


def _stain_more(colors: np.ndarray, factor: float) -> np.ndarray:
    """Scale haematoxylin in optical density; of grey images all of it."""
    density = optical_density(colors)
    if colors.shape[-1] == 1:
        density *= np.float32(factor)
    else:
        unmix, mix = _stain_matrices()
        # Only haematoxylin changes: what is added points along its colour.
        added = np.float32(factor - 1) * (density @ unmix[:, 0])
        density += added[..., np.newaxis] * mix[0]
    return np.clip(np.power(np.float32(10), -density), 0, 1, dtype=np.float32)


def _resize(image: np.ndarray, factor: float) -> np.ndarray:
    """Resize with a little blur against aliasing; at least one pixel is left."""
    from skimage.transform import resize

    shape = [max(1, round(factor * n)) for n in image.shape[:2]]
    smaller = resize(image, shape, order=1, mode="reflect", anti_aliasing=True)
    return np.clip(smaller, 0, 1, dtype=np.float32)
