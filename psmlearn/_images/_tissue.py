# SPDX-License-Identifier: BSD-3-Clause
"""Where tissue lies in a brightfield image."""

from __future__ import annotations

from functools import reduce

import numpy as np
from scipy import ndimage

from psmlearn._images._stains import optical_density
from psmlearn._parameters import check_pixel_size

# Lengths in micrometres, areas in square micrometres, the rest optical densities.
_SCALE = 1.0
_WINDOW = 7.0
_FLAT = 0.004
_NEUTRAL = 0.05
_DIMMEST_GLASS = 0.09  # dimmer flat ground may be pale tissue
_DIMMEST_BLANK = 0.3
_LEAST_GLASS = 600.0
_LEAST_STAIN = 0.035
_SHADING = 0.08
_OPAQUE = 1.0
_LEAST_TISSUE = 100.0
_LARGEST_HOLE = 1000.0
_GAP = 6.0


def check_brightfield(image: np.ndarray) -> np.ndarray:
    """Return a float image of 1 or 3 channels, more than 3 cut to the first three."""
    image = np.asarray(image)
    if image.dtype.kind != "f":
        raise TypeError(
            f"image: a float image with values in [0, 1] is expected, got {image.dtype}"
        )
    if image.ndim == 2:
        image = image[..., np.newaxis]
    if image.ndim != 3 or 0 in image.shape or image.shape[2] == 2:
        raise ValueError(
            "image: shape (height, width) or (height, width, 1 or 3) is expected, got "
            f"{image.shape}"
        )
    return image[..., :3]


def highest(image: np.ndarray) -> np.ndarray:
    """Maximum over the channels; numpy's own is slow over so few."""
    return reduce(np.maximum, np.moveaxis(image, -1, 0))


def lowest(image: np.ndarray) -> np.ndarray:
    """Minimum over the channels."""
    return reduce(np.minimum, np.moveaxis(image, -1, 0))


def average(image: np.ndarray) -> np.ndarray:
    """Mean over the channels."""
    return reduce(np.add, np.moveaxis(image, -1, 0)) / np.float32(image.shape[-1])


def shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of `factor` x `factor` pixels; the edge is repeated to fit."""
    if factor == 1:
        return np.asarray(image, np.float32)
    height, width, n_channels = image.shape
    pad = ((0, -height % factor), (0, -width % factor), (0, 0))
    if any(after for _, after in pad):
        image = np.pad(image, pad, mode="edge")
    nothing: np.ndarray = np.zeros((), np.float32)
    rows = sum((image[i::factor].astype(np.float32) for i in range(factor)), nothing)
    small = sum((rows[:, i::factor] for i in range(factor)), nothing)
    small /= factor * factor
    return small


def enlarge(mask: np.ndarray, factor: int, shape: tuple[int, int]) -> np.ndarray:
    """Undo `shrink` for a mask."""
    if factor == 1:
        return mask
    large = np.repeat(np.repeat(mask, factor, axis=0), factor, axis=1)
    return np.ascontiguousarray(large[: shape[0], : shape[1]])


def keep_large(mask: np.ndarray, min_area: float) -> np.ndarray:
    """Drop the 8-connected parts of fewer than `min_area` pixels."""
    parts, n_parts = ndimage.label(mask, structure=np.ones((3, 3)))
    if n_parts == 0:
        return mask
    large = np.bincount(parts.ravel()) >= min_area
    large[0] = False
    return large[parts]


def tissue_mask(image: np.ndarray, *, pixel_size: float = 0.25) -> np.ndarray:
    """Tell tissue from blank glass in one image.

    Glass is bright, colourless and without texture. Where flat, colourless ground of
    some size is found, its colour is taken as white, so that dim or tinted light does
    no harm; without any, full light is white. What is darker than white is tissue.

    Parameters
    ----------
    image : ndarray of shape (height, width[, 1 or 3]), float
        Brightfield image with values in [0, 1].
    pixel_size : float, default=0.25
        Micrometres per pixel.

    Returns
    -------
    mask : ndarray of shape (height, width), bool
        True on tissue. Holes below 1,000 square micrometres (lumina, fat cells) count
        as tissue, as do gaps of a few micrometres between cells; specks below 100 do
        not.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._tissue import tissue_mask
    >>> image = np.ones((100, 100, 3))
    >>> image[:, 40:] = [0.8, 0.5, 0.7]
    >>> tissue_mask(image)[50, [10, 90]]
    array([False,  True])
    """
    image = check_brightfield(image)
    pixel_size = check_pixel_size(pixel_size)
    factor = max(1, round(_SCALE / pixel_size))
    step = pixel_size * factor
    density = optical_density(shrink(image, factor))
    mean = average(density)
    flat = _flat_ground(density, mean, step)
    white = _white(density, mean, flat, step)
    smooth = ndimage.gaussian_filter(density, (1 / step, 1 / step, 0), mode="nearest")
    stained = highest(smooth - white) > _LEAST_STAIN
    glass = flat & (np.abs(mean - white.mean()) < _SHADING)
    tissue = stained & ~glass & ~(flat & (mean > _OPAQUE))
    tissue = keep_large(tissue, min(_LEAST_TISSUE / step**2, tissue.size / 2))
    tissue = _closed(tissue, _GAP / step)
    tissue = ~_holes_kept(~tissue, _LARGEST_HOLE / step**2)
    return enlarge(tissue, factor, image.shape[:2])


def _flat_ground(density: np.ndarray, mean: np.ndarray, step: float) -> np.ndarray:
    """Colourless pixels whose surroundings have no texture."""
    size = max(3, round(_WINDOW / step) | 1)
    local = ndimage.uniform_filter(mean.astype(np.float64), size, mode="nearest")
    square = ndimage.uniform_filter(mean.astype(np.float64) ** 2, size, mode="nearest")
    quiet = square - local**2 < _FLAT**2
    if density.shape[2] == 1:
        return quiet
    spread = highest(density) - lowest(density)
    return quiet & (ndimage.uniform_filter(spread, size, mode="nearest") < _NEUTRAL)


def _white(
    density: np.ndarray, mean: np.ndarray, flat: np.ndarray, step: float
) -> np.ndarray:
    """Density of blank glass; 0 where none is seen."""
    seeds = keep_large(flat & (mean < _DIMMEST_GLASS), _LEAST_GLASS / step**2)
    if flat.all() and (mean < _DIMMEST_BLANK).all():
        seeds = flat
    if not seeds.any():
        return np.zeros(density.shape[2], np.float32)
    return np.median(density[seeds], axis=0)


def _closed(mask: np.ndarray, radius: float) -> np.ndarray:
    """Closing by a disc; nothing lies beyond the image."""
    if not mask.any() or mask.all():
        return mask
    margin = int(np.ceil(radius)) + 1
    grown = ndimage.distance_transform_edt(~np.pad(mask, margin)) <= radius
    closed = ndimage.distance_transform_edt(grown) > radius
    return closed[margin:-margin, margin:-margin] | mask


def _holes_kept(ground: np.ndarray, min_area: float) -> np.ndarray:
    """Ground without the small parts that tissue encloses."""
    parts, n_parts = ndimage.label(ground)
    if n_parts == 0:
        return ground
    kept = np.bincount(parts.ravel()) >= min_area
    for side in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        kept[side] = True
    kept[0] = False
    return kept[parts]
