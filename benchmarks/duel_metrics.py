# SPDX-License-Identifier: BSD-3-Clause
"""The metrics: psmlearn against its peers, in one run.

    python -m benchmarks.duel_metrics [--repeats N] [--sizes 1000 3000]

Prints for each score the seconds of both (the best of some repeats, taken in turn),
their ratio, the ratio asked for, and what both give; then the peak memory of ours
for each pixel. Scenes are touching nuclei, 700 on 1000x1000 pixels and 6,000 on
3000x3000, and a prediction that is shifted and bent, a tenth lost and a tenth new.
torchmetrics is timed once for each scene: it takes about a minute for the larger.
Peers that are not there are named and left out; `make oracles` installs them.
"""

from __future__ import annotations

import argparse
import importlib
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from psmlearn.metrics import (
    aggregated_jaccard_score,
    detection_f1_score,
    object_f1_score,
    panoptic_quality_score,
)

N_NUCLEI = {1000: 700, 3000: 6000}
RADIUS = 10.0
# Objects whose IoU is one half match in StarDist and not in ours.
ABOVE_HALF = 0.50001


class Scene(NamedTuple):
    """A true and a predicted label image."""

    true: np.ndarray
    pred: np.ndarray


class Duel(NamedTuple):
    """One of our scores and the same of a peer, to be timed on one scene."""

    name: str
    ours: Callable[[], float]
    peer: Callable[[], float]
    wanted: float
    is_slow: bool = False


class Result(NamedTuple):
    """The seconds and the values of a duel."""

    name: str
    ours: float
    peer: float
    our_value: float
    peer_value: float
    wanted: float

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.peer / self.ours


def make_scene(side: int, n_nuclei: int, random_state: int = 0) -> Scene:
    """Draw touching nuclei, and a prediction of them with its share of errors."""
    rng = np.random.default_rng(random_state)
    n_new = n_nuclei // 10
    centres = rng.integers(0, side, (n_nuclei + n_new, 2))
    radii = rng.uniform(7, 13, n_nuclei + n_new)
    true = _draw_nuclei(centres[:n_nuclei], radii[:n_nuclei], side, rng)
    is_kept = np.append(rng.random(n_nuclei) > 0.1, np.ones(n_new, dtype=bool))
    pred = _draw_nuclei(centres[is_kept], radii[is_kept], side, rng)
    bend = [2 * _noise(side, 40, rng) + place for place in np.indices((side, side))]
    pred = ndimage.map_coordinates(pred, bend, order=0, mode="nearest")
    # Ids without gaps, in an order of their own.
    ids = np.unique(pred)
    new_ids = np.append(0, rng.permutation(len(ids) - 1) + 1)
    return Scene(true, new_ids[np.searchsorted(ids, pred)].astype(np.int32))


def _draw_nuclei(
    centres: np.ndarray, radii: np.ndarray, side: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw uneven discs; where two would overlap, each has the pixels nearer to it."""
    centres, kept = np.unique(centres, axis=0, return_index=True)
    seeds = np.zeros((side, side), dtype=np.int32)
    seeds[tuple(centres.T)] = np.arange(1, len(centres) + 1)
    distance, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    ids = seeds[tuple(nearest)]
    reach = np.append(0, radii[kept])[ids] + 1.5 * _noise(side, 10, rng)
    return np.where(distance < reach, ids, 0)


def _noise(side: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Make smooth noise with a standard deviation of 1, over so many pixels."""
    coarse = rng.standard_normal((side // length + 1,) * 2)
    zoom = side / len(coarse)
    fine = ndimage.zoom(coarse, zoom, order=1, grid_mode=True, mode="nearest")
    return fine / fine.std()


def load_peers() -> dict[str, object]:
    """Import the peers that are there; name the others."""
    peers = {}
    for name in ("cellpose.metrics", "stardist.matching", "torchmetrics"):
        try:
            peers[name] = importlib.import_module(name)
        except ImportError as error:
            print(f"{name} is left out: {error}; `make oracles` installs it.")
    return peers


def duels(scene: Scene, peers: dict[str, object]) -> Iterator[Duel]:
    """Pair our scores with those of the peers."""
    true, pred = scene
    if "cellpose.metrics" in peers:
        cellpose_aji = peers["cellpose.metrics"].aggregated_jaccard_index
        yield Duel(
            "AJI, cellpose aggregated_jaccard_index",
            lambda: aggregated_jaccard_score(true, pred),
            lambda: float(cellpose_aji([true], [pred])[0]),
            5,
        )
    if "stardist.matching" in peers:
        matching = peers["stardist.matching"].matching
        yield Duel(
            "F1, stardist matching",
            lambda: object_f1_score(true, pred),
            lambda: matching(true, pred, thresh=ABOVE_HALF).f1,
            3,
        )
        yield Duel(
            "PQ, stardist matching",
            lambda: panoptic_quality_score(true, pred),
            lambda: float(matching(true, pred, thresh=ABOVE_HALF).panoptic_quality),
            3,
        )
    if "torchmetrics" in peers:
        yield Duel(
            "PQ, torchmetrics panoptic_quality (once)",
            lambda: panoptic_quality_score(true, pred),
            _torchmetrics_pq(true, pred),
            100,
            is_slow=True,
        )
    if true.shape[0] >= 3000:
        points = [_centres(mask) for mask in scene]
        yield Duel(
            f"detection F1 of {len(points[0])} and {len(points[1])} points, dense "
            "distances and linear_sum_assignment",
            lambda: detection_f1_score(*points, radius=RADIUS),
            lambda: dense_f1(*points),
            20,
        )


def _torchmetrics_pq(true: np.ndarray, pred: np.ndarray) -> Callable[[], float]:
    """Bring the masks into torchmetrics' form beforehand: not timed."""
    import torch
    from torchmetrics.functional.detection import panoptic_quality

    pred_pairs, true_pairs = (
        torch.from_numpy(np.stack([mask > 0, mask], axis=-1).astype(np.int64))[None]
        for mask in (pred, true)
    )

    def score() -> float:
        scores = panoptic_quality(
            pred_pairs, true_pairs, things={1}, stuffs={0}, return_per_class=True
        )
        return float(scores[0, 0])

    return score


def _centres(mask: np.ndarray) -> np.ndarray:
    ids = np.unique(mask)[1:]
    return np.array(ndimage.center_of_mass(mask > 0, mask, ids))


def dense_f1(true: np.ndarray, pred: np.ndarray) -> float:
    """Score points by a full table, in which pairs too far apart cost more than all."""
    distances = cdist(true, pred)
    is_close = distances <= RADIUS
    distances[~is_close] = RADIUS * (1 + min(distances.shape))
    rows, cols = linear_sum_assignment(distances)
    return 2 * np.count_nonzero(is_close[rows, cols]) / (len(true) + len(pred))


def run(duel: Duel, n_repeats: int) -> Result:
    """Time both in turn, a slow peer once.

    The first call of a peer may compile (numba), so the best of two or more counts.
    """
    ours, peer = [], []
    for repeat in range(n_repeats):
        our_value = _timed(duel.ours, ours)
        if repeat == 0 or not duel.is_slow:
            peer_value = _timed(duel.peer, peer)
    return Result(
        duel.name, min(ours), min(peer), our_value, peer_value, wanted=duel.wanted
    )


def _timed(call: Callable[[], float], seconds: list[float]) -> float:
    start = time.perf_counter()
    value = call()
    seconds.append(time.perf_counter() - start)
    return value


def peak_bytes(call: Callable[[], float]) -> int:
    """Measure the most memory that a call holds at once."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def print_memory(scene: Scene) -> None:
    """Print the peak memory of ours, for each pixel of the scene."""
    for name, score in (
        ("AJI", aggregated_jaccard_score),
        ("PQ", panoptic_quality_score),
        ("detection F1 of masks", detection_f1_score),
    ):
        peak = peak_bytes(lambda score=score: score(*scene))
        print(
            f"{name}: peak memory {peak / 1e6:.1f} MB, {peak / scene.true.size:.2f} "
            "bytes for each pixel"
        )


def main() -> None:
    """Print a block of lines for each scene."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(N_NUCLEI))
    options = parser.parse_args()
    peers = load_peers()
    for side in options.sizes:
        n_nuclei = N_NUCLEI.get(side, side * side // 1500)
        scene = make_scene(side, n_nuclei)
        print(
            f"\n{side}x{side} pixels, {len(np.unique(scene.true)) - 1} true and "
            f"{len(np.unique(scene.pred)) - 1} predicted nuclei"
        )
        for duel in duels(scene, peers):
            result = run(duel, options.repeats)
            print(
                f"{result.name}: ours {result.ours:.4f} s, peer {result.peer:.3f} s: "
                f"{result.ratio:.1f} times faster (asked for: {result.wanted:g}), "
                f"values {result.our_value:.6f} and {result.peer_value:.6f}",
                flush=True,
            )
        print_memory(scene)


if __name__ == "__main__":
    main()
