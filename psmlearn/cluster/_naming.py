# SPDX-License-Identifier: BSD-3-Clause
"""Which clusters are nuclei: told by stain and map, never by labels."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np

from psmlearn.cluster._features import PixelFeatures

# A contrast below this many deviations of what noise leaves is noise: the two halves
# of pure noise differ by 1.6.
_NOISE_DEVIATIONS = 3.0
# Nuclei too few to draw a cluster must stand out by more than the mean of many.
_RARE = 1.5
_N_OTSU = 50_000
# An image is even whose stain and map deviate by less: a tenth of a grey level.
_EVEN = 5e-4


def cluster_statistics(
    features: PixelFeatures, labels: np.ndarray, centers: np.ndarray
) -> dict[str, np.ndarray]:
    """Describe the clusters of one image.

    Returns
    -------
    statistics : dict
        "centers" (n_clusters, n_features); "n_pixels" (n_clusters,); means over each
        cluster, (n_clusters,), of "haematoxylin" (optical density), "map" (0 without
        one) and "score"; "threshold", Otsu's of all pixels' scores.
    """
    n_clusters = len(centers)
    labels = features.seen(labels)
    counts = np.bincount(labels, minlength=n_clusters)
    score = features.seen(features.score)
    thinned = score[:: max(1, score.size // _N_OTSU)]
    statistics: dict[str, Any] = {
        "centers": centers,
        "n_pixels": counts,
        "threshold": _otsu(thinned),
    }
    planes = {
        "haematoxylin": features.stain,
        "map": features.map,
        "score": features.score,
    }
    for name, plane in planes.items():
        if plane is None:
            statistics[name] = np.zeros(n_clusters)
            continue
        values = features.seen(plane.ravel())
        sums = np.bincount(labels, weights=values, minlength=n_clusters)
        statistics[name] = sums / np.maximum(counts, 1)
    return statistics


def _otsu(scores: np.ndarray) -> float:
    """Return Otsu's threshold; the highest score where all are nearly the same."""
    from skimage.filters import threshold_otsu

    high = scores.max()
    # Its histogram has 256 bins, for which there must be floats between.
    if high - scores.min() < 512 * np.spacing(np.abs(scores).max()):
        return high
    return threshold_otsu(scores)


def pool_statistics(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Join the statistics of the same clusters in several images."""
    counts = np.array([part["n_pixels"] for part in parts])
    pooled = {"centers": parts[0]["centers"], "n_pixels": counts.sum(axis=0)}
    for name in ("haematoxylin", "map", "score"):
        means = np.array([part[name] for part in parts])
        sums = (means * counts).sum(axis=0)
        pooled[name] = sums / np.maximum(pooled["n_pixels"], 1)
    thresholds = [part["threshold"] for part in parts]
    pooled["threshold"] = np.average(thresholds, weights=counts.sum(axis=1))
    return pooled


def name_foreground(
    foreground: str | int | Callable,
    statistics: dict[str, np.ndarray],
) -> np.ndarray:
    """Tell which clusters are nuclei.

    Parameters
    ----------
    foreground : "auto", "paper", int or callable
        See `SemanticClusterer`.
    statistics : dict
        From `cluster_statistics`.

    Returns
    -------
    ndarray of shape (n_clusters,), bool
    """
    n_clusters = len(statistics["n_pixels"])
    if callable(foreground):
        return _checked(foreground(statistics), n_clusters)
    if n_clusters < 2:
        return np.zeros(n_clusters, bool)
    if foreground == "paper":
        lowest = statistics["centers"][:, :2].sum(axis=1).argmin()
        return np.arange(n_clusters) == lowest
    scores = statistics["score"]
    if not isinstance(foreground, Integral):
        return scores > statistics["threshold"]
    chosen = np.zeros(n_clusters, bool)
    chosen[np.argsort(-scores, kind="stable")[: int(foreground)]] = True
    return chosen


def _checked(chosen: object, n_clusters: int) -> np.ndarray:
    told = np.asarray(chosen)
    if told.shape != (n_clusters,) or told.dtype != bool:
        raise ValueError(
            f"foreground: the callable must return {n_clusters} bools, one per "
            f"cluster; got shape {told.shape}, dtype {told.dtype}"
        )
    return told


def least_contrast(features: PixelFeatures, min_contrast: float) -> float:
    """Contrast that nuclei must have: `min_contrast`, and more than noise makes."""
    return max(min_contrast, _NOISE_DEVIATIONS * features.noise)


def stands_out(features: PixelFeatures, mask: np.ndarray, min_contrast: float) -> bool:
    """Tell whether the foreground holds nuclei at all.

    It must exceed the rest of the image by `min_contrast` in the amount of
    haematoxylin, and by more than noise can make. 0 takes any foreground, unless the
    image is even: what rounding leaves is none.
    """
    if min_contrast == 0:
        planes = (features.stain, features.map)
        return any(p is not None and p.std() > _EVEN for p in planes)
    least = least_contrast(features, min_contrast)
    if features.shown is not None:
        seen = features.shown
        return contrast(features.stain[seen], mask[seen]) >= least
    return contrast(features.stain, mask) >= least


def rare_foreground(features: PixelFeatures, min_contrast: float) -> np.ndarray:
    """Find nuclei too few to draw a cluster: pixels far above the image's median."""
    least = least_contrast(features, min_contrast)
    thinned = features.stain[::2, ::2]
    if features.shown is not None and features.shown[::2, ::2].any():
        thinned = thinned[features.shown[::2, ::2]]
    high = features.stain > np.median(thinned) + np.float32(_RARE * least)
    return high if features.shown is None else high & features.shown


def contrast(stain: np.ndarray, mask: np.ndarray) -> float:
    """Mean of `stain` inside the mask above that outside; -inf if one is empty."""
    n_inside = np.count_nonzero(mask)
    if n_inside in (0, mask.size):
        return -np.inf
    inside = stain.sum(where=mask, dtype=np.float64)
    outside = stain.sum(dtype=np.float64) - inside
    return float(inside / n_inside - outside / (mask.size - n_inside))
