# SPDX-License-Identifier: BSD-3-Clause
"""Pen marks, folds and dirt in a brightfield image."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage

from psmlearn._images._stains import optical_density
from psmlearn._images._tissue import (
    average,
    check_brightfield,
    enlarge,
    highest,
    keep_large,
    lowest,
    shrink,
    tissue_mask,
)
from psmlearn._parameters import check_pixel_size

PEN, FOLD, DIRT = 1, 2, 3

# Lengths in micrometres, areas in square micrometres, the rest optical densities.
_SCALE = 0.5
_STROKE_RADIUS = 4.5
_LEAST_STROKE = 1200.0
_LEAST_INK = 60.0
# Of marks that are wider than what varies in tissue.
_WIDE_SCALE = 3.0
_EVEN_SCALE = 4.0
_EVEN = 0.25
_LEAST_EVEN = 0.25
_FOLD_RADIUS = 4.5
_LEAST_FOLD = 1200.0
_LEAST_DIRT = 3.0
_LEAST_BLACK = 400.0


def artefact_mask(image: np.ndarray, *, pixel_size: float = 0.25) -> np.ndarray:
    """Find pen marks, folds and dirt in one image.

    Pen marks are green, or large and evenly bluish green, blue, red or black; folds are
    larger than any nucleus and at least twice as dark as the tissue, without being
    brown; dirt is small, black and without a coloured rim. What is doubtful is left
    unmarked: a dark nucleus that is lost costs more than a fold that stays.

    Parameters
    ----------
    image : ndarray of shape (height, width[, 1 or 3]), float
        Brightfield image with values in [0, 1].
    pixel_size : float, default=0.25
        Micrometres per pixel.

    Returns
    -------
    kinds : ndarray of shape (height, width), uint8
        0 nothing, 1 pen (``PEN``), 2 fold (``FOLD``), 3 dirt (``DIRT``). An image of
        one channel has folds and dirt only.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._artefacts import PEN, artefact_mask
    >>> image = np.full((200, 200, 3), 0.9)
    >>> image[:, 80:120] = [0.1, 0.5, 0.25]
    >>> kinds = artefact_mask(image)
    >>> (kinds[100, [20, 100]] == PEN).tolist()
    [False, True]
    """
    image = check_brightfield(image)
    pixel_size = check_pixel_size(pixel_size)
    factor = max(1, round(_SCALE / pixel_size))
    step = pixel_size * factor
    light = shrink(image, factor)
    if light.shape[2] == 1:
        light = np.repeat(light, 3, axis=2)
    sigma = 0.5 / step
    density = optical_density(ndimage.gaussian_filter(light, (sigma, sigma, 0)))
    tissue = tissue_mask(light, pixel_size=step)
    kinds = np.zeros(light.shape[:2], np.uint8)
    dirt, stroke = _black(light, step)
    ink = stroke | _inks(density, step) | _wide_inks(density, step)
    if ink.any():  # with its soft edge
        ink = ndimage.binary_dilation(ink, iterations=max(1, round(1 / step)))
    kinds[_folds(density, tissue & ~ink & ~dirt, step)] = FOLD
    kinds[dirt] = DIRT
    kinds[ink] = PEN
    return enlarge(kinds, factor, image.shape[:2])


def _opened(
    mask: np.ndarray, radius: float, beyond: Literal["edge", "constant"] = "edge"
) -> np.ndarray:
    """Opening by a disc; the image goes on beyond its edge as it ends there.

    With `beyond` "constant" nothing lies there.
    """
    margin = int(np.ceil(radius))
    padded = np.pad(mask, margin, mode=beyond)
    # Where no square inside the disc fits, no disc does: far cheaper to see.
    square = max(1, int(radius))
    if not ndimage.minimum_filter(padded, square, mode="nearest").any():
        return np.zeros_like(mask)
    inner = ndimage.distance_transform_edt(padded) > radius
    if not inner.any():
        return np.zeros_like(mask)
    opened = ndimage.distance_transform_edt(~inner) <= radius
    return opened[margin:-margin, margin:-margin] & mask


def _inks(density: np.ndarray, step: float) -> np.ndarray:
    """Green marks of any form, and blue and red ones as wide as a stroke."""
    red, green, blue = np.moveaxis(density, 2, 0)
    total = red + green + blue
    # Stains take no less green light than both others, but for near-black mixtures of
    # blue and brown.
    odd = np.minimum(red, blue) - green > np.maximum(0.1, 0.12 * total)
    odd &= green < 0.6
    ink = keep_large(_opened(odd, 1 / step), _LEAST_INK / step**2)
    evenly_blue = (red > 0.7) & (blue < 0.35 * green) & (green < red)
    evenly_red = (red < 0.25 * green) & (green > 0.65) & (blue > 0.65 * green)
    for wide in (evenly_blue, evenly_red):
        ink |= keep_large(_opened(wide, _STROKE_RADIUS / step), _LEAST_STROKE / step**2)
    return ink


def _wide_inks(density: np.ndarray, step: float) -> np.ndarray:
    """Bluish green and blue marks that are wider and more even than tissue.

    At the scale of several nuclei the hues of tissue lie close together, so that a
    lesser difference tells. Cyan haematoxylin has such hues, too, but is as uneven
    as nuclei are.
    """
    sigma = _WIDE_SCALE / step
    red, green, blue = (
        ndimage.gaussian_filter(each, sigma, mode="nearest")
        for each in np.moveaxis(density, 2, 0)
    )
    total = red + green + blue
    cold = red - green
    odd = (cold > 0.1 * total) | ((cold > 0.04 * total) & (blue < 0.2 * total))
    odd &= total > 0.4
    odd = keep_large(_opened(odd, _STROKE_RADIUS / step), _LEAST_STROKE / step**2)
    if not odd.any():
        return odd
    mean = average(density)
    parts, n_parts = ndimage.label(odd)
    counts = np.maximum(np.bincount(parts.ravel()), 1)
    even = np.bincount(parts.ravel(), _is_even(mean, step).ravel()) / counts
    # Beside a stroke the smooth hue is its own still, and the ground is paler.
    usual = ndimage.median(mean, parts, np.arange(n_parts + 1))
    least = np.where(even >= _LEAST_EVEN, 0.5 * np.asarray(usual), np.inf)
    least[0] = np.inf
    return mean > least[parts]


def _is_even(mean: np.ndarray, step: float) -> np.ndarray:
    """Tell where density varies little between neighbours."""
    sigma = _EVEN_SCALE / step
    local = ndimage.gaussian_filter(mean, sigma, mode="nearest")
    square = ndimage.gaussian_filter(mean * mean, sigma, mode="nearest")
    return square - local**2 < (_EVEN * local) ** 2


def _black(light: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Opaque, colourless specks, and strokes of black ink."""
    spread = highest(light) - lowest(light)
    dark = (highest(light) < 0.2) & (spread < 0.06)
    parts, n_parts = ndimage.label(dark, structure=np.ones((3, 3)))
    if n_parts == 0 or dark.all():
        return dark & False, dark & False
    # The soft rim of a black nucleus is more saturated than the ground; that of dirt
    # is the ground, or the ground mixed with black, which is as saturated.
    reach = max(1, round(1.5 / step))
    grown = ndimage.maximum_filter(parts, 2 * reach + 1, mode="constant")
    rim = (grown > 0) & ~dark
    brightest = highest(light)
    saturation = (brightest - lowest(light)) / np.maximum(brightest, 0.05)
    n_rim = np.maximum(np.bincount(grown[rim], minlength=n_parts + 1), 1)
    sums = np.bincount(grown[rim], saturation[rim], minlength=n_parts + 1)
    ground = ~dark
    excess = sums / n_rim - np.median(saturation[ground])
    sums = np.bincount(grown[rim], brightest[rim], minlength=n_parts + 1)
    contrast = sums / n_rim / max(np.median(brightest[ground]), 0.01)
    areas = np.bincount(parts.ravel(), minlength=n_parts + 1) * step**2
    kept = (areas >= _LEAST_DIRT) & (excess < 0.1) & (contrast > 0.7)
    kept |= (areas >= _LEAST_BLACK) & (excess < 0.2) & (contrast > 0.5)
    kept[0] = False
    dirt = kept[parts]
    return dirt, _opened(dirt, _STROKE_RADIUS / step, beyond="constant")


def _folds(density: np.ndarray, tissue: np.ndarray, step: float) -> np.ndarray:
    """Large ground at least twice as dark as the tissue, and not brown."""
    if not tissue.any():
        return tissue
    mean = average(density)
    smooth = ndimage.gaussian_filter(mean, 1.5 / step)
    usual = float(np.median(smooth[tissue]))
    dark = (smooth > max(2 * usual, 0.25)) & tissue
    folds = _opened(dark, _FOLD_RADIUS / step)
    parts, n_parts = ndimage.label(folds)
    if n_parts == 0:
        return folds
    red, green, blue = np.moveaxis(density, 2, 0)
    brown = (blue > red) & (blue > 0.95 * green)
    opaque = (lowest(density) > 0.75) & (blue > 0.9 * green)
    counts = np.maximum(np.bincount(parts.ravel()), 1)
    share = np.bincount(parts.ravel(), (brown | opaque).ravel()) / counts
    kept = (counts >= _LEAST_FOLD / step**2) & (share < 0.15)
    kept[0] = False
    return kept[parts]
