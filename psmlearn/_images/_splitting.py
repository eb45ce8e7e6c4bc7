# SPDX-License-Identifier: BSD-3-Clause
"""Watershed from peaks, with shallow valleys joined: used to split objects."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

from psmlearn._images._lengths import within_image

# Regions that together outgrow this many typical nuclei are split by shallower dips,
# falling with this power of their area. Measured on the outlines and on thresholded
# stain of 15 images of MoNuSeg.
_FULL_NUCLEI = 3.0
_FULL_POWER = 4


def different_neighbours(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat places of pixels beside each other (4 neighbours) that differ in label."""
    flat = np.arange(labels.size).reshape(labels.shape)
    firsts, seconds = [], []
    for before, after in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1, :], np.s_[1:, :]),
    ):
        differ = labels[before] != labels[after]
        firsts.append(flat[before][differ])
        seconds.append(flat[after][differ])
    return np.concatenate(firsts), np.concatenate(seconds)


def _saddles(
    regions: np.ndarray, height: np.ndarray
) -> tuple[list[int], list[int], list[float]]:
    """Highest pass between each two touching regions, highest first."""
    first, second = different_neighbours(regions)
    flat, level = regions.ravel(), height.ravel()
    both = (flat[first] > 0) & (flat[second] > 0)
    first, second = first[both], second[both]
    low = np.minimum(flat[first], flat[second]).astype(np.int64)
    high = np.maximum(flat[first], flat[second])
    passes = np.minimum(level[first], level[second])
    order = np.lexsort((-passes, high, low))
    low, high, passes = low[order], high[order], passes[order]
    new = np.ones(len(order), bool)
    new[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    low, high, passes = low[new], high[new], passes[new]
    order = np.argsort(-passes, kind="stable")
    return low[order].tolist(), high[order].tolist(), passes[order].tolist()


def _merge_shallow(
    regions: np.ndarray,
    n_regions: int,
    height: np.ndarray,
    dip: float,
    least: float,
    full_area: float,
) -> np.ndarray:
    """Join regions whose peaks have no real valley between them.

    Water falls from the highest pass to the lowest. Where two regions meet, the one
    of the lower peak joins the other if the pass is less than `dip` of that peak, or
    `least`, below it; else it is an object of its own. Objects of more pixels than
    `full_area` are joined less and less readily.
    """
    low, high, passes = _saddles(regions, height)
    inside = regions > 0
    peaks = np.zeros(n_regions + 1, height.dtype)
    np.maximum.at(peaks, regions[inside], height[inside])
    peak = peaks.tolist()
    area = np.bincount(regions.ravel(), minlength=n_regions + 1).tolist()
    # Two forests: `basin` follows the water, `owner` the objects.
    basin, owner = list(range(n_regions + 1)), list(range(n_regions + 1))

    def find(forest: list[int], i: int) -> int:
        while forest[i] != i:
            forest[i] = forest[forest[i]]
            i = forest[i]
        return i

    for a, b, level in zip(low, high, passes, strict=True):
        a, b = find(basin, a), find(basin, b)
        if a == b:
            continue
        if peak[a] < peak[b]:
            a, b = b, a
        basin[b] = a
        both = area[a] + area[b]
        scale = min(1.0, (full_area / both) ** _FULL_POWER)
        if peak[b] - level < max(dip * peak[b], least) * scale:
            owner[b] = a
            area[a] = both
    table = np.array([find(owner, i) for i in range(n_regions + 1)], np.int32)
    return table[regions]


def grow_from_peaks(
    height: np.ndarray, mask: np.ndarray, *, dip: float, least: float, diameter: float
) -> np.ndarray:
    """Watershed of a mask from the peaks of a height, with shallow valleys joined.

    Parameters
    ----------
    height : ndarray of shape (height, width), float32
        Above 0 within the mask.
    mask : ndarray of shape (height, width), bool
    dip : float
        Valleys less deep than this part of the lower of their two peaks are joined.
    least : float
        So are valleys less deep than this.
    diameter : float
        Typical diameter of an object in pixels.

    Returns
    -------
    labels : ndarray of shape (height, width), int32
        Ids with gaps; every pixel of the mask has one.
    """
    from skimage.segmentation import watershed

    diameter = within_image(diameter, mask.shape)
    full_area = _FULL_NUCLEI * np.pi / 4 * diameter**2
    n_apart = max(1, round(diameter / 12))
    height = np.where(mask, height, np.float32(0))
    top = ndi.maximum_filter(height, size=2 * n_apart + 1, mode="constant")
    markers, n_markers = ndi.label((height == top) & mask, np.ones((3, 3)))
    regions = watershed(-height, markers, mask=mask)
    # A small object close to a large one may have no peak of its own.
    missed, n_missed = ndi.label(mask & (regions == 0))
    regions = np.where(missed > 0, missed + n_markers, regions)
    return _merge_shallow(regions, n_markers + n_missed, height, dip, least, full_area)
