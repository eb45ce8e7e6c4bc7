# SPDX-License-Identifier: BSD-3-Clause
"""K-means on a sample of pixels against scikit-learn on all of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from psmlearn.cluster._kmeans import assign, fit_kmeans, silhouette


def _blobs(n_pixels=6000, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    centers = np.array([[0, 0], [3, 1], [1, 4]])
    kinds = rng.integers(3, size=n_pixels)
    return (centers[kinds] + rng.normal(0, 0.6, (n_pixels, 2))).T.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sampled_centers_cost_hardly_more_than_all_pixels(dtype):
    planes = _blobs(60_000, dtype=dtype)
    centers, n_iter = fit_kmeans(planes, 3, 5000, np.random.default_rng(0))
    labels, inertia = assign(planes, centers, return_inertia=True)
    peer = KMeans(3, n_init=3, random_state=0).fit(planes.T)
    assert centers.dtype == dtype and labels.dtype == np.int32
    assert n_iter >= 1
    assert inertia == pytest.approx(peer.inertia_, rel=2e-3)


def test_assignment_is_the_nearest_center_and_the_inertia_exact():
    planes = _blobs(40_000)  # more than one piece
    centers = np.array([[0, 0], [3, 1], [1, 4], [9, 9]], np.float32)
    labels, inertia = assign(planes, centers, return_inertia=True)
    squares = cdist(planes.T.astype(float), centers.astype(float), "sqeuclidean")
    nearest = squares.argmin(axis=1)
    gap = np.abs(np.sort(squares, axis=1)[:, 1] - squares.min(axis=1))
    assert (labels == nearest)[gap > 1e-4].all()
    assert inertia == pytest.approx(squares.min(axis=1).sum(), rel=1e-5)
    assert np.array_equal(assign(planes, centers), labels)


def test_far_from_the_origin_the_inertia_is_not_lost_in_rounding():
    planes = _blobs(5000) + np.float32(1000)
    centers, _ = fit_kmeans(planes, 3, 5000, np.random.default_rng(0))
    _, inertia = assign(planes, centers, return_inertia=True)
    _, near = assign(planes - np.float32(1000), centers - 1000, return_inertia=True)
    assert inertia == pytest.approx(near, rel=1e-2)


def test_fewer_distinct_pixels_than_clusters():
    planes = np.repeat(np.array([[0.0, 1.0]], np.float32), 50, axis=1)
    centers, _ = fit_kmeans(planes, 5, 1000, np.random.default_rng(0))
    assert np.array_equal(np.sort(centers.ravel()), [0, 1])
    one, _ = fit_kmeans(np.zeros((2, 9), np.float32), 3, 100, np.random.default_rng(0))
    assert one.shape == (1, 2)


def test_silhouette_follows_the_full_one():
    planes = _blobs(1500)
    centers, _ = fit_kmeans(planes, 3, 2000, np.random.default_rng(0))
    full = silhouette_score(planes.T, assign(planes, centers))
    assert silhouette(planes, centers) == pytest.approx(full, abs=0.1)
    assert silhouette(planes, centers[:1]) == -1
    assert silhouette(np.zeros((2, 5), np.float32), centers) == -1


@pytest.mark.slow
def test_twenty_times_faster_than_sklearn_on_all_pixels(monkeypatch):
    folder = Path(__file__).parents[2] / "benchmarks"
    if not (folder / "duel_cluster.py").exists():
        pytest.skip("needs benchmarks/ of the repository")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    import duel_cluster

    result = duel_cluster.duel(duel_cluster.image_with_map(), "concat")
    assert result["excess"] < 0.002
    assert result["ratio"] > 10, result  # 20 and more on an idle machine
