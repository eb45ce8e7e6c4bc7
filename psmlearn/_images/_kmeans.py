# SPDX-License-Identifier: BSD-3-Clause
"""K-means of many pixels: fit on a sample, on one thread, and assigned in pieces."""

from __future__ import annotations

import warnings
from functools import cache
from threading import Lock
from typing import Literal, overload

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

__all__ = ["assign", "draw_pixels", "find_centers", "fit_kmeans", "silhouette"]

_CHUNK = 1 << 15
# The limit is the whole process's: two at once would restore each other's.
_LIMITING = Lock()


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all loaded libraries: once is enough


def _fit(
    sample: np.ndarray, n_clusters: int, seed: int, n_init: int, max_iter: int
) -> KMeans:
    """Fit k-means to the rows of `sample`, which is overwritten, on one thread."""
    kmeans = KMeans(
        min(n_clusters, len(sample)),
        n_init=n_init,
        max_iter=max_iter,
        random_state=seed,
        copy_x=False,
    )
    # One thread: a sum over threads comes in any order, so bits would differ.
    with _LIMITING, warnings.catch_warnings(), _threads().limit(limits=1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        return kmeans.fit(sample)


def draw_pixels(
    n_pixels: int, n_samples: int, rng: np.random.Generator
) -> np.ndarray | slice:
    """Return places of about `n_samples` of `n_pixels` pixels, or all of them."""
    if n_pixels <= n_samples:
        return slice(None)
    return rng.integers(n_pixels, size=n_samples)


def fit_kmeans(
    features: np.ndarray,
    n_clusters: int,
    n_samples: int,
    rng: np.random.Generator,
    *,
    n_init: int = 4,
    max_iter: int = 50,
) -> tuple[np.ndarray, int]:
    """Find the centres of k-means on a sample of pixels.

    Parameters
    ----------
    features : ndarray of shape (n_features, n_pixels)
        One plane per feature.
    n_clusters : int
        Fewer centres come back where there are fewer distinct pixels.
    n_samples : int
        Pixels drawn; all are taken where there are no more.
    rng : numpy.random.Generator
    n_init, max_iter : int
        As in `sklearn.cluster.KMeans`.

    Returns
    -------
    centers : ndarray of shape (n_found, n_features)
        In the dtype of `features`.
    n_iter : int
        Iterations of the best start.
    """
    places = draw_pixels(features.shape[1], n_samples, rng)
    sample = np.array(features[:, places].T, order="C")  # k-means centres it in place
    seed = int(rng.integers(2**31))
    kmeans = _fit(sample, n_clusters, seed, n_init, max_iter)
    centers, counts = kmeans.cluster_centers_, np.bincount(kmeans.labels_)
    if len(counts) < len(centers):
        centers = np.unique(centers, axis=0)
    return centers.astype(features.dtype, copy=False), kmeans.n_iter_


def find_centers(
    pixels: np.ndarray,
    n_clusters: int,
    seed: int,
    *,
    n_init: int = 2,
    max_iter: int = 50,
) -> np.ndarray:
    """Find the centres of k-means on all of some pixels, in double precision.

    Parameters
    ----------
    pixels : ndarray of shape (n_pixels, n_features)
    n_clusters : int
        Fewer centres come back where there are fewer pixels.
    seed : int
    n_init, max_iter : int
        As in `sklearn.cluster.KMeans`.

    Returns
    -------
    ndarray of shape (n_found, n_features), float32
    """
    kmeans = _fit(pixels.astype(np.float64), n_clusters, seed, n_init, max_iter)
    return kmeans.cluster_centers_.astype(np.float32)


@overload
def assign(
    features: np.ndarray,
    centers: np.ndarray,
    *,
    return_inertia: Literal[False] = False,
) -> np.ndarray: ...


@overload
def assign(
    features: np.ndarray, centers: np.ndarray, *, return_inertia: Literal[True]
) -> tuple[np.ndarray, float]: ...


def assign(
    features: np.ndarray, centers: np.ndarray, *, return_inertia: bool = False
) -> np.ndarray | tuple[np.ndarray, float]:
    """Give every pixel the number of its nearest centre.

    Parameters
    ----------
    features : ndarray of shape (n_features, n_pixels)
    centers : ndarray of shape (n_clusters, n_features)
    return_inertia : bool, default=False

    Returns
    -------
    labels : ndarray of shape (n_pixels,), int32
    inertia : float
        Sum of squared distances to the nearest centres; only if asked for.
    """
    n_pixels = features.shape[1]
    centers = centers.astype(features.dtype, copy=False)
    # Nearest is where <x, c> - |c|^2 / 2 is highest. Around the centres' mean the
    # numbers are small, and so is the rounding.
    origin = centers.mean(axis=0)
    around = centers - origin
    half = 0.5 * np.einsum("kf,kf->k", around, around)[:, np.newaxis]
    labels = np.empty(n_pixels, np.int32)
    inertia = 0.0
    for start in range(0, n_pixels, _CHUNK):
        part = slice(start, start + _CHUNK)
        piece = features[:, part] - origin[:, np.newaxis]
        closeness = around @ piece
        closeness -= half
        nearest, best = labels[part], closeness[0].copy()
        nearest[...] = 0
        for k in range(1, len(centers)):
            better = closeness[k] > best
            nearest[better] = k
            np.maximum(best, closeness[k], out=best)
        if return_inertia:
            squares = np.einsum("fn,fn->", piece, piece, dtype=np.float64)
            inertia += float(squares) - 2 * float(best.sum(dtype=np.float64))
    return (labels, max(inertia, 0.0)) if return_inertia else labels


def silhouette(features: np.ndarray, centers: np.ndarray) -> float:
    """Mean simplified silhouette: distances to centres in place of pixels.

    Parameters
    ----------
    features : ndarray of shape (n_features, n_pixels)
    centers : ndarray of shape (n_clusters, n_features)

    Returns
    -------
    float
        From -1 to 1; -1 for a single cluster.

    References
    ----------
    E. R. Hruschka, L. N. de Castro and R. J. G. B. Campello, "Evolutionary
    algorithms for clustering gene-expression data", ICDM 2004.
    """
    if len(centers) < 2 or features.shape[1] == 0:
        return -1.0
    distances = cdist(features.T, centers)
    if len(np.unique(distances.argmin(axis=1))) < 2:
        return -1.0
    distances.partition(1, axis=1)
    own, other = distances[:, 0], distances[:, 1]
    width = np.where(other > 0, 1 - own / np.maximum(other, 1e-300), 0.0)
    return float(width.mean())
