# SPDX-License-Identifier: BSD-3-Clause
"""How many times faster than its peers each score is, measured in one run."""

import time

import metrics_peers as peers
import numpy as np
import pytest

from psmlearn.metrics import (
    aggregated_jaccard_score,
    detection_f1_score,
    object_f1_score,
    panoptic_quality_score,
)

pytestmark = pytest.mark.slow

# An image as in MoNuSeg, and one of nine times its area.
SIZES = {"small": (1000, 700), "large": (3000, 6000)}


@pytest.fixture(scope="module", params=SIZES)
def nuclei(request, label_pair):
    return label_pair(*SIZES[request.param])


def best_of(n_runs, function, *arguments, **options):
    """Give the seconds of the fastest run."""
    seconds = []
    for _ in range(n_runs):
        start = time.perf_counter()
        function(*arguments, **options)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def test_aji_against_cellpose(nuclei):
    peers.load("cellpose.metrics")
    theirs = best_of(2, peers.cellpose_aji, *nuclei)
    for one_to_one in (False, True):
        ours = best_of(7, aggregated_jaccard_score, *nuclei, one_to_one=one_to_one)
        assert theirs / ours >= 5


def test_objects_against_stardist(nuclei):
    matching = peers.load("stardist.matching").matching
    matching(*(mask[:9, :9].copy() for mask in nuclei))  # compiles its loop
    theirs = best_of(3, matching, *nuclei)
    for score in (object_f1_score, panoptic_quality_score):
        ours = best_of(7, score, *nuclei)
        assert theirs / ours >= 3


def test_panoptic_quality_against_torchmetrics(label_pair):
    # On the large image torchmetrics takes more than a minute.
    torch = pytest.importorskip("torch")
    quality = peers.load("torchmetrics.functional.detection").panoptic_quality
    true, pred = label_pair(*SIZES["small"])
    stacks = [
        torch.from_numpy(np.stack([np.sign(ids), ids], axis=2)[np.newaxis])
        for ids in (pred, true)
    ]
    options = {"things": {1}, "stuffs": {0}}
    with peers.quiet_peer():
        theirs = best_of(2, quality, *stacks, **options)
    ours = best_of(7, panoptic_quality_score, true, pred)
    assert theirs / ours >= 100


@pytest.mark.parametrize("radius", [6, 12])
def test_detection_against_a_dense_assignment(radius):
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 3000, (6000, 2))
    moved = true + rng.normal(0, 3, true.shape)
    pred = np.vstack([moved[rng.random(6000) < 0.9], rng.uniform(0, 3000, (600, 2))])
    theirs = best_of(2, peers.dense_point_matching, true, pred, radius)
    ours = best_of(7, detection_f1_score, [true], [pred], radius=radius)
    n_matches, _ = peers.dense_point_matching(true, pred, radius)
    f1 = detection_f1_score([true], [pred], radius=radius)
    assert f1 == 2 * n_matches / (len(true) + len(pred))
    assert theirs / ours >= 20
