# SPDX-License-Identifier: BSD-3-Clause
"""Touching objects told apart: by valleys between peaks, and by the parts' shapes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi
from skimage.measure import label

from psmlearn._images._ellipses import fit_ellipses, moment_sums
from psmlearn._images._lengths import within_image

_EIGHT = np.ones((3, 3), bool)

# Regions that together outgrow this many typical nuclei are split by shallower dips,
# falling with this power of their area. Measured on the outlines and on thresholded
# stain of 15 images of MoNuSeg.
_FULL_NUCLEI = 3.0
_FULL_POWER = 4

# The rest was chosen on the networks' answers on 15 images of MoNuSeg. Where an inner
# distance is predicted: its smoothing in diameters, and the least valley.
_SMOOTHING, _DIP, _LEAST, _FULL_PREDICTED = 0.07, 0.25, 0.01, 2.0
# A part counts by its area times a power (squared so often) of its area over that of
# the ellipse of the same moments; one below this share of a nucleus counts for less.
_ELLIPSE_DOUBLINGS, _SMALL = 3, 0.3
# Parts stay apart where together they count more than so much of the whole: the more,
# the higher the pass between them, from no pass at all to none below the lower peak.
_AT_NO_PASS, _AT_FULL_PASS = 0.6, 1.2


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
    height: np.ndarray,
    mask: np.ndarray,
    *,
    dip: float,
    least: float,
    diameter: float,
    full_nuclei: float = _FULL_NUCLEI,
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
    full_nuclei : float, default=3.0
        Regions of more typical objects together are joined less readily.

    Returns
    -------
    labels : ndarray of shape (height, width), int32
        Ids with gaps; every pixel of the mask has one.
    """
    from skimage.segmentation import watershed

    diameter = within_image(diameter, mask.shape)
    full_area = full_nuclei * np.pi / 4 * diameter**2
    n_apart = max(1, round(diameter / 12))
    height = np.where(mask, height, np.float32(0))
    peaks = _find_peaks(height, mask, n_apart)
    markers, n_markers = ndi.label(peaks, _EIGHT)
    regions = watershed(-height, markers, mask=mask)
    # What hangs on by a corner only may have no peak of its own.
    missed, n_missed = ndi.label(mask & (regions == 0))
    regions = np.where(missed > 0, missed + n_markers, regions)
    return _merge_shallow(regions, n_markers + n_missed, height, dip, least, full_area)


def _find_peaks(height: np.ndarray, mask: np.ndarray, apart: int) -> np.ndarray:
    """Tell the pixels that none of their clump within so many pixels is higher than."""
    top = ndi.maximum_filter(height, size=3, mode="constant")
    peaks = (height == top) & mask
    if apart < 2:
        return peaks
    clumps, _ = ndi.label(mask, _EIGHT)
    rows, columns = np.nonzero(peaks)
    level, own = height[rows, columns], clumps[rows, columns]
    kept = np.ones(len(rows), bool)
    for down in range(-apart, apart + 1):
        for right in range(-apart, apart + 1):
            if max(abs(down), abs(right)) < 2:
                continue
            # Beyond the border it is one of the pixels nearer by, again.
            row = np.clip(rows + down, 0, mask.shape[0] - 1)
            column = np.clip(columns + right, 0, mask.shape[1] - 1)
            kept &= (height[row, column] <= level) | (clumps[row, column] != own)
    peaks[rows, columns] = kept
    return peaks


def split_by_distance(
    mask: np.ndarray, distance: np.ndarray, *, diameter: float
) -> np.ndarray:
    """Split touching objects of a mask by a predicted inner distance, and by shape.

    The distance's basins are joined step by step, over the highest pass first, which
    gives each clump as a tree of parts. Of all ways to cut it by that tree the one is
    taken whose parts together come nearest to ellipses; a deep valley is cut more
    readily than a shallow one.

    Parameters
    ----------
    mask : ndarray of shape (height, width), bool
    distance : ndarray of shape (height, width), float32
        About 1 at the middle of an object, 0 at its boundary.
    diameter : float
        Typical diameter of an object in pixels.

    Returns
    -------
    labels : ndarray of shape (height, width), int32
        Ids with gaps; every pixel of the mask has one.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._splitting import split_by_distance
    >>> rows, columns = np.mgrid[:32, :50]
    >>> first, second = (np.hypot(rows - 16, columns - at) for at in (15, 33))
    >>> inner = 1 - np.minimum(first, second) / 10
    >>> np.unique(split_by_distance(inner > 0, inner, diameter=20)).size
    3
    """
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    diameter = within_image(diameter, mask.shape)
    smooth = ndi.gaussian_filter(distance, _SMOOTHING * diameter, truncate=3)
    height = np.maximum(smooth, np.float32(_LEAST / 10))
    regions = grow_from_peaks(
        height,
        mask,
        dip=_DIP,
        least=_LEAST,
        diameter=diameter,
        full_nuclei=_FULL_PREDICTED,
    )
    # Regions may be joined through one that went elsewhere.
    regions = label(regions, background=0, connectivity=2)
    parts, ratios = _join_by_passes(regions, height)
    n_regions = int(regions.max())
    value = _ellipse_values(regions, parts, np.pi / 4 * diameter**2)
    demand = _AT_NO_PASS + (_AT_FULL_PASS - _AT_NO_PASS) * ratios
    return _best_cut(n_regions, parts, value, demand)[regions]


def _join_by_passes(
    regions: np.ndarray, height: np.ndarray
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Join touching regions, over the highest pass first.

    Returns
    -------
    parts : list of (int, int)
        The two that each new region is made of; new ones are numbered on.
    ratios : ndarray of shape (n_new,), float64
        The pass over the lower of the two peaks.
    """
    low, high, passes = _saddles(regions, height)
    n_regions = int(regions.max())
    peaks = np.zeros(n_regions + 1, height.dtype)
    np.maximum.at(peaks, regions.ravel(), height.ravel())
    peak, owner = peaks.tolist(), list(range(n_regions + 1))
    newest = list(range(n_regions + 1))
    parts: list[tuple[int, int]] = []
    ratios = []

    def find(i: int) -> int:
        while owner[i] != i:
            owner[i] = owner[owner[i]]
            i = owner[i]
        return i

    for a, b, level in zip(low, high, passes, strict=True):
        a, b = find(a), find(b)
        if a == b:
            continue
        ratios.append(level / min(peak[a], peak[b]))
        parts.append((newest[a], newest[b]))
        peak[a] = max(peak[a], peak[b])
        owner[b] = a
        newest[a] = n_regions + len(parts)
    return parts, np.array(ratios)


def _ellipse_values(
    regions: np.ndarray, parts: list[tuple[int, int]], nucleus_area: float
) -> np.ndarray:
    """Return how much each region counts, those that are joined of others, too."""
    n_regions = int(regions.max())
    rows, columns = np.nonzero(regions)
    ids = regions[rows, columns]
    clump = _clumps(n_regions, parts)
    # Counted from the clump's own corner: the last bit must not hang on where in the
    # image a clump lies.
    down, right = (_from_corner(side, clump[ids]) for side in (rows, columns))
    own = moment_sums(ids, down, right, n_regions + 1)
    sums = np.zeros((n_regions + 1 + len(parts), len(own)))
    sums[: n_regions + 1] = np.column_stack(own)
    sums[0, 0] = 1  # the background, which nobody asks for
    for place, (a, b) in enumerate(parts, n_regions + 1):
        sums[place] = sums[a] + sums[b]
    fill, _ = fit_ellipses(*sums.T)
    area = sums[:, 0]
    whole = np.minimum(area / (_SMALL * nucleus_area), 1)
    likeness = np.clip(fill, 0, 1)
    for _ in range(_ELLIPSE_DOUBLINGS):
        likeness = likeness * likeness
    return area * likeness * whole


def _clumps(n_regions: int, parts: list[tuple[int, int]]) -> np.ndarray:
    """Return a table from regions to the largest region that holds them."""
    root = list(range(n_regions + 1 + len(parts)))
    for place in range(len(root) - 1, n_regions, -1):
        for part in parts[place - n_regions - 1]:
            root[part] = root[place]
    return np.array(root[: n_regions + 1])


def _from_corner(side: np.ndarray, clump: np.ndarray) -> np.ndarray:
    """Return rows, or columns, from the first that each clump has."""
    if not len(side):
        return side.astype(float)
    first = np.full(clump.max() + 1, side.max())
    np.minimum.at(first, clump, side)
    return (side - first[clump]).astype(float)


def _best_cut(
    n_regions: int,
    parts: list[tuple[int, int]],
    value: np.ndarray,
    demand: np.ndarray,
) -> np.ndarray:
    """Return a table from regions to objects.

    A region of two parts is cut where the best of its parts together count more than
    `demand` times the whole.
    """
    best = value.tolist()
    whole = [True] * len(best)
    for place, (a, b) in enumerate(parts, n_regions + 1):
        together = best[a] + best[b]
        if together > demand[place - n_regions - 1] * best[place]:
            best[place], whole[place] = together, False
    owner = list(range(len(best)))
    for place in range(len(best) - 1, n_regions, -1):
        if whole[place] or owner[place] != place:
            for part in parts[place - n_regions - 1]:
                owner[part] = owner[place]
    return np.array(owner[: n_regions + 1], np.int32)
