# SPDX-License-Identifier: BSD-3-Clause
"""How well outlines follow the edges of an image, and how round they are."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi


def edge_agreement(
    labels: np.ndarray,
    stain: np.ndarray,
    *,
    smoothing: float,
    edge_fraction: float,
    tolerance: int,
) -> float:
    """Return the F1 of outlines and edges, above chance, from 0 to 1.

    Edges are the `edge_fraction` of all pixels in which the stain changes most.
    Precision is the share of the outlines' pixels that are edges, recall the share
    of the edges within `tolerance` pixels of an outline. Both are brought to 0 for
    what outlines drawn anywhere would reach, so that a dense mesh gains nothing.
    """
    outline = outlines(labels)
    slope = ndi.gaussian_gradient_magnitude(stain, smoothing)
    edges = slope > np.quantile(slope, 1 - edge_fraction)
    if not outline.any() or not edges.any():
        return 0.0
    near = ndi.binary_dilation(outline, iterations=tolerance) if tolerance else outline
    precision = _above_chance(edges[outline].mean(), edges.mean())
    recall = _above_chance(near[edges].mean(), near.mean())
    if not precision or not recall:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def _above_chance(share: float, chance: float) -> float:
    return float(max((share - chance) / (1 - chance), 0)) if chance < 1 else 0.0


def outlines(labels: np.ndarray) -> np.ndarray:
    """Mark the pixels of objects that have a neighbour (of 4) of another id."""
    differs = np.zeros(labels.shape, dtype=bool)
    down = labels[1:] != labels[:-1]
    right = labels[:, 1:] != labels[:, :-1]
    differs[1:] |= down
    differs[:-1] |= down
    differs[:, 1:] |= right
    differs[:, :-1] |= right
    return differs & (labels > 0)


def mean_roundness(labels: np.ndarray) -> float:
    """Average ``4 pi area / perimeter**2``, at most 1, over the pixels of objects.

    Perimeters are Crofton's estimate from changes of id along four directions;
    one pass over the pixels, whatever the number of objects.
    """
    labels = with_small_ids(np.pad(labels, 1))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    if not areas.any():
        return 0.0
    pairs = [
        (labels[1:], labels[:-1], 1.0),
        (labels[:, 1:], labels[:, :-1], 1.0),
        (labels[1:, 1:], labels[:-1, :-1], np.sqrt(0.5)),
        (labels[1:, :-1], labels[:-1, 1:], np.sqrt(0.5)),
    ]
    crossings = np.zeros(areas.size)
    for first, second, weight in pairs:
        differ = first != second
        for ids in (first[differ], second[differ]):
            crossings += weight * np.bincount(ids, minlength=areas.size)
    present = areas > 0
    area, perimeter = areas[present], np.pi / 8 * crossings[present]
    roundness = np.minimum(4 * np.pi * area / perimeter**2, 1)
    return float(np.average(roundness, weights=area))


def with_small_ids(labels: np.ndarray) -> np.ndarray:
    """Number the values anew, in order, if tables as long as the largest are too long.

    Where there is no 0, the lowest value may become it.
    """
    if labels.max(initial=0) <= labels.size:
        return labels
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
