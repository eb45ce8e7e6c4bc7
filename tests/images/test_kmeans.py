# SPDX-License-Identifier: BSD-3-Clause
"""K-means on a sample of pixels against scikit-learn on all of them."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from threading import Event, Thread, current_thread

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_info, threadpool_limits

from psmlearn._images import _kmeans
from psmlearn._images._kmeans import assign, find_centers, fit_kmeans, silhouette


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


@pytest.mark.parametrize("order", ["C", "F"])
def test_centers_of_all_pixels_are_scikit_learns(order):
    pixels = np.array(_blobs(800).T, order=order)
    before = pixels.copy()
    with threadpool_limits(1):
        peer = KMeans(3, n_init=4, max_iter=300, random_state=7)
        peer.fit(pixels.astype(np.float64))
    centers = find_centers(pixels, 3, 7, n_init=4, max_iter=300)
    np.testing.assert_array_equal(centers, peer.cluster_centers_.astype(np.float32))
    assert centers.dtype == np.float32
    np.testing.assert_array_equal(pixels, before)
    assert find_centers(pixels[:2], 5, 0).shape == (2, 2)


def test_no_warning_where_k_means_does_not_converge():
    planes = _blobs(500)
    with pytest.warns(ConvergenceWarning):
        KMeans(4, n_init=1, max_iter=2).fit(np.repeat(np.eye(2), 9, axis=0))
    find_centers(np.repeat(np.eye(2), 9, axis=0), 4, 0)
    fit_kmeans(planes, 3, 500, np.random.default_rng(0), n_init=1, max_iter=1)


def _run(*functions) -> None:
    """Run functions, each on a thread of its own; all have ended after it."""
    threads = [Thread(target=each, name=each.__name__) for each in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def _number_of_threads() -> dict[str, int]:
    """Threads of each linear algebra library; OpenMP's are of each thread its own."""
    found = [each for each in threadpool_info() if each["user_api"] == "blas"]
    return {each["filepath"]: each["num_threads"] for each in found}


@pytest.fixture
def two_threads():
    """Let linear algebra have two threads; gives the numbers."""

    # A thread that has ended holds no limit that another could not change.
    def limit(limits):
        def setting():
            threadpool_limits(limits)

        _run(setting)

    before = _number_of_threads()
    limit(dict.fromkeys(before, 2))
    if 2 not in _number_of_threads().values():
        pytest.skip("no library whose threads can be limited")
    yield _number_of_threads()
    limit(before)


def _interleave(monkeypatch) -> None:
    """Run two k-means, of which the first ends within the second, if it can."""
    first_is_in, second_is_in, first_is_out = Event(), Event(), Event()
    fit = KMeans.fit

    def staged(self, X, *args):
        if current_thread().name == "first":
            first_is_in.set()
            second_is_in.wait(1)  # never comes where one waits for the other
        else:
            second_is_in.set()
            assert first_is_out.wait(30)
        return fit(self, X, *args)

    def first():
        fit_kmeans(_blobs(50), 2, 50, np.random.default_rng(0))
        first_is_out.set()

    def second():
        assert first_is_in.wait(30)
        find_centers(_blobs(50).T, 2, 0)

    monkeypatch.setattr(KMeans, "fit", staged)
    _run(first, second)


def test_two_at_once_leave_the_number_of_threads_as_it_was(monkeypatch, two_threads):
    _interleave(monkeypatch)
    assert _number_of_threads() == two_threads


def test_without_the_lock_two_at_once_leave_one_thread(monkeypatch, two_threads):
    monkeypatch.setattr(_kmeans, "_LIMITING", nullcontext())
    _interleave(monkeypatch)
    assert _number_of_threads() != two_threads


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
