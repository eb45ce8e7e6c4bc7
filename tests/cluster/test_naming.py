# SPDX-License-Identifier: BSD-3-Clause
"""Clusters are named by stain and map; nothing is named where nothing stands out."""

from __future__ import annotations

import numpy as np
import pytest

from psmlearn.cluster._features import PixelFeatures
from psmlearn.cluster._naming import (
    cluster_statistics,
    contrast,
    name_foreground,
    pool_statistics,
    rare_foreground,
    stands_out,
)


def _features(stain, heat=None, noise=0.0):
    stain = np.asarray(stain, np.float32)
    heat = None if heat is None else np.asarray(heat, np.float32)
    features = PixelFeatures(stain.reshape(1, -1), stain, heat, noise)
    features.put_on_scale(None, 0.4)
    return features


def _statistics(score, n_pixels, threshold=0.0, centers=None):
    k = len(n_pixels)
    return {
        "score": np.array(score, float),
        "haematoxylin": np.array(score, float),
        "map": np.zeros(k),
        "n_pixels": np.array(n_pixels),
        "threshold": threshold,
        "centers": np.zeros((k, 3)) if centers is None else np.array(centers),
    }


def test_statistics_and_their_pool():
    first = _features([[0.1, 0.3], [0.8, 0.6]], [[0, 0.2], [1, 0.8]])
    second = _features([[0.5, 0.5], [0.5, 0.9]], [[0.5, 0.5], [0.5, 1]])
    centers = np.array([[0.2], [0.7]])
    parts = [
        cluster_statistics(first, np.array([0, 0, 1, 1]), centers),
        cluster_statistics(second, np.array([0, 0, 0, 1]), centers),
    ]
    np.testing.assert_allclose(parts[0]["haematoxylin"], [0.2, 0.7], rtol=1e-6)
    np.testing.assert_allclose(parts[0]["map"], [0.1, 0.9], rtol=1e-6)
    assert parts[0]["score"][0] < parts[0]["threshold"] < parts[0]["score"][1]
    pooled = pool_statistics(parts)
    np.testing.assert_array_equal(pooled["n_pixels"], [5, 3])
    np.testing.assert_allclose(pooled["haematoxylin"], [0.38, 2.3 / 3], rtol=1e-6)
    thresholds = [part["threshold"] for part in parts]
    assert pooled["threshold"] == pytest.approx(np.mean(thresholds))


def test_auto_takes_the_clusters_above_the_split_of_all_pixels():
    four = _statistics([1.2, -0.5, 0.9, -1], [100, 300, 90, 400], threshold=0.4)
    assert name_foreground("auto", four).tolist() == [True, False, True, False]


def test_pixels_are_scored_by_stain_and_map():
    stain, heat = [[0.1, 0.1, 0.9, 0.9]], [[0.0, 1.0, 0.0, 1.0]]
    features = _features(stain, heat)
    order = np.argsort(features.score)
    assert order[0] == 0 and order[-1] == 3
    assert np.array_equal(np.argsort(_features(stain).score, kind="stable"), range(4))


def test_int_takes_so_many_of_the_highest():
    three = _statistics([0.5, 0.9, 0.1], [200, 200, 600])
    assert name_foreground(1, three).tolist() == [False, True, False]
    assert name_foreground(2, three).tolist() == [True, True, False]
    assert name_foreground(0, three).tolist() == [False, False, False]
    assert name_foreground(9, three).all()


def test_paper_takes_the_lowest_first_two_channels():
    centers = [[200, 200, 0], [90, 150, 255], [10, 240, 255]]
    statistics = _statistics([0, 0, 0], [1, 1, 1], centers=centers)
    assert name_foreground("paper", statistics).tolist() == [False, True, False]


def test_callable_is_asked_and_checked():
    statistics = _statistics([0.1, 0.6], [7, 3])
    chosen = name_foreground(lambda s: s["haematoxylin"] < 0.3, statistics)
    assert chosen.tolist() == [True, False]
    with pytest.raises(ValueError, match="must return 2 bools"):
        name_foreground(lambda s: [0, 1], statistics)


def test_one_cluster_is_background():
    one = _statistics([0.9], [10])
    assert name_foreground("auto", one).tolist() == [False]


def test_contrast_against_the_definition():
    stain = np.array([[0.1, 0.2], [0.9, 0.7]], np.float32)
    mask = stain > 0.5
    assert contrast(stain, mask) == pytest.approx(0.65)
    assert contrast(stain, mask & False) == contrast(stain, mask | True) == -np.inf


def test_noise_and_low_contrast_do_not_stand_out():
    stain = np.array([[0.1, 0.2], [0.9, 0.7]], np.float32)
    mask = stain > 0.5
    assert stands_out(_features(stain), mask, 0.12)
    assert not stands_out(_features(stain), mask, 0.7)
    assert not stands_out(_features(stain, noise=0.3), mask, 0.12)
    assert stands_out(_features(stain, noise=0.3), mask, 0)


def test_rare_nuclei_are_far_above_the_median():
    stain = np.full((20, 20), 0.1, np.float32)
    stain[4:8, 4:8] = 0.5
    stain[12:14, 12:14] = 0.2
    assert np.array_equal(rare_foreground(_features(stain), 0.12), stain > 0.4)
