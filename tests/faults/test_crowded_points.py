# SPDX-License-Identifier: BSD-3-Clause
"""Crowds, chains and lattices of points are matched in full and at once."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from psmlearn.metrics import detection_f1_score, object_f1_score
from psmlearn.metrics._matching import largest_matching, largest_matching_size


def scatter(n_points, n_near, seed):
    """Draw points with about so many others within 10 pixels."""
    rng = np.random.default_rng(seed)
    return rng.random((n_points, 2)) * np.sqrt(n_points * np.pi * 100 / n_near)


def chain(n_points):
    """Draw points of which each lies between two of the other side."""
    place = np.arange(n_points) * 16.0
    true, pred = np.zeros((n_points, 2)), np.zeros((n_points - 1, 2))
    true[:, 0], pred[:, 0] = place, place[:-1] + 8
    return true, pred


def lattice(side, step):
    grid = np.stack(np.mgrid[:side, :side], axis=-1).reshape(-1, 2) * step
    return grid, grid + step / 2


SCENES = {
    "2000 with 30": (scatter(2000, 30, 0), scatter(2000, 30, 1)),
    "2500 with 17": (scatter(2500, 17, 2), scatter(2500, 17, 3)),
    "3000 with 16": (scatter(3000, 16, 4), scatter(3000, 16, 5)),
    "1500 with 200": (scatter(1500, 200, 6), scatter(1500, 200, 7)),
    "unequal": (scatter(2500, 20, 8), scatter(1500, 12, 9)),
    "chain": chain(3000),
    "lattice": lattice(45, 5.0),
    "lattice of pairs": lattice(45, 13.0),
    "one spot": (np.full((2000, 2), 7.0), np.full((1999, 2), 8.0)),
}


def most_matches(true, pred, radius=10.0):
    """Count by a full table of what may not be matched."""
    is_far = cdist(true, pred) > radius
    rows, cols = linear_sum_assignment(is_far)
    return int((~is_far[rows, cols]).sum())


@pytest.mark.parametrize("name", SCENES)
def test_crowds_are_matched_in_full_and_at_once(name):
    true, pred = SCENES[name]
    began = time.perf_counter()
    score = detection_f1_score([true], [pred], radius=10.0)
    assert time.perf_counter() - began < 10  # a tenth of a second where idle
    n_both = len(true) + len(pred)
    if name in ("one spot", "chain", "lattice of pairs"):
        n_matches = min(len(true), len(pred))
    else:
        few = slice(0, 400)  # the table is cubic
        part = true[few], pred[few]
        got = detection_f1_score([part[0]], [part[1]], radius=10.0)
        assert got == 2 * most_matches(*part) / 800
        n_matches = round(score * n_both / 2)
    assert score == 2 * n_matches / n_both


@pytest.mark.slow
def test_twenty_thousand_points():
    true, pred = scatter(20_000, 16, 0), scatter(20_000, 16, 1)
    began = time.perf_counter()
    detection_f1_score([true], [pred], radius=10.0)
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize("seed", range(40))
def test_a_matching_is_one_to_one_and_the_largest(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 25, 2))
    n_pairs = int(rng.integers(0, 90))
    rows, cols = rng.integers(0, shape[0], n_pairs), rng.integers(0, shape[1], n_pairs)
    partner = largest_matching(rows, cols, shape)
    chosen = partner[partner >= 0]
    assert len(set(chosen.tolist())) == len(chosen)
    pairs = set(zip(rows.tolist(), cols.tolist(), strict=True))
    of_rows = enumerate(partner.tolist())
    assert all(each in pairs for each in of_rows if each[1] >= 0)
    table = np.zeros(shape)
    table[rows, cols] = 1
    best = int(table[linear_sum_assignment(-table)].sum())
    assert len(chosen) == largest_matching_size(rows, cols, shape) == best


def test_objects_in_crowds_are_matched_at_once():
    rng = np.random.default_rng(0)
    true = rng.integers(1, 4000, (400, 400))
    pred = rng.integers(1, 4000, (400, 400))
    began = time.perf_counter()
    object_f1_score([true], [pred], iou_threshold=0.0)
    assert time.perf_counter() - began < 20
