# SPDX-License-Identifier: BSD-3-Clause
"""Memory of the scores: linear in the pixels and the overlaps."""

import gc
import tracemalloc

import numpy as np
import pytest

from psmlearn.metrics import (
    aggregated_jaccard_score,
    detection_f1_score,
    dice_score,
    object_dice_score,
    object_f1_score,
    panoptic_quality_score,
)

SCORES = (
    dice_score,
    aggregated_jaccard_score,
    object_dice_score,
    object_f1_score,
    panoptic_quality_score,
)


def peak_bytes(function, *arguments, **options):
    """Measure the most memory that numpy holds at once, beyond what is there."""
    gc.collect()
    tracemalloc.start()
    try:
        function(*arguments, **options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def pairs(label_pair):
    return label_pair(1000, 700), label_pair(3000, 6000)


@pytest.mark.slow
@pytest.mark.parametrize("score", SCORES)
def test_nine_times_the_pixels_and_nuclei(score, pairs):
    small, large = (peak_bytes(score, *pair) for pair in pairs)
    assert large <= 9 * small
    # A table of all pairs would take 6,000 x 6,000 numbers: 32 bytes a pixel.
    assert large < 4 * 3000 * 3000


@pytest.mark.parametrize("score", SCORES)
def test_an_object_in_each_pixel(score):
    # 250,000 objects in each mask: a table of all pairs would have 6 * 10**10 entries.
    true = np.arange(1, 250_001, dtype=np.int32).reshape(500, 500)
    peak = peak_bytes(score, true, true[::-1].copy())
    assert peak < 200 * true.size


@pytest.mark.parametrize("score", SCORES)
def test_huge_ids(score):
    true = np.zeros((500, 500), dtype=np.int64)
    true[100:200, 100:200], true[300:400, 300:400] = 2**62, 7
    assert peak_bytes(score, true, true) < 4 * true.size


def test_points_in_one_place():
    # All pairs lie within the radius: four times as many for twice the points.
    def peak(n_points):
        points = np.random.default_rng(0).uniform(0, 5, (n_points, 2))
        return peak_bytes(detection_f1_score, [points], [points[::-1]], radius=10)

    assert peak(3000) < 2.2 * peak(1500)


def test_points_all_over():
    def peak(n_points):
        rng = np.random.default_rng(0)
        side = 30 * n_points**0.5
        points = [rng.uniform(0, side, (n_points, 2)) for _ in range(2)]
        return peak_bytes(detection_f1_score, *([each] for each in points))

    assert peak(20_000) < 12 * peak(2000)
