# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks of the metrics: seconds and peak memory, for asv."""

import numpy as np
from scipy import ndimage

from psmlearn.metrics import (
    aggregated_jaccard_score,
    dice_score,
    object_f1_score,
    panoptic_quality_score,
)


def draw_discs(points, shape, radius):
    """Draw a label image of discs that touch where they are closer than two radii."""
    background = np.ones(shape, dtype=bool)
    ids = np.zeros(shape, dtype=np.int32)
    background[points[:, 0], points[:, 1]] = False
    ids[points[:, 0], points[:, 1]] = np.arange(1, len(points) + 1)
    distance, (row, column) = ndimage.distance_transform_edt(
        background, return_indices=True
    )
    return np.where(distance <= radius, ids[row, column], 0).astype(np.int32)


def make_label_pair(size, n_objects, radius, random_state=0):
    """Draw touching discs, and the same ones shifted."""
    rng = np.random.default_rng(random_state)
    points = rng.integers(0, size, (n_objects, 2))
    moved = np.clip(points + rng.integers(-4, 5, points.shape), 0, size - 1)
    return tuple(
        draw_discs(np.unique(centres, axis=0), (size, size), radius)
        for centres in (points, moved)
    )


class Scores:
    """Every score, of an image as in MoNuSeg, a larger one, and one full of specks."""

    params = [[(1000, 700, 11), (3000, 6000, 11), (1500, 40000, 2)]]
    param_names = ["size, n_objects, radius"]

    def setup(self, case):
        self.true, self.pred = make_label_pair(*case)

    def time_dice(self, case):
        dice_score(self.true, self.pred)

    def time_aji(self, case):
        aggregated_jaccard_score(self.true, self.pred)

    def time_aji_plus(self, case):
        aggregated_jaccard_score(self.true, self.pred, one_to_one=True)

    def time_object_f1(self, case):
        object_f1_score(self.true, self.pred)

    def time_object_f1_low_threshold(self, case):
        object_f1_score(self.true, self.pred, iou_threshold=0.1)

    def time_panoptic_quality(self, case):
        panoptic_quality_score(self.true, self.pred)

    def peakmem_setup(self, case):
        """Give the memory that is there before the scores, to be subtracted."""

    def peakmem_aji(self, case):
        aggregated_jaccard_score(self.true, self.pred)

    def peakmem_aji_plus(self, case):
        aggregated_jaccard_score(self.true, self.pred, one_to_one=True)


class HardPairs:
    """Pairs that are unlike nuclei: mosaics that fit nowhere, and noise."""

    params = [["mosaic", "noise"]]
    param_names = ["kind"]

    def setup(self, kind):
        rng = np.random.default_rng(0)
        shape = (1500, 1500)
        if kind == "noise":
            self.true, self.pred = rng.integers(0, 500, (2, *shape), dtype=np.int32)
            return
        points = rng.integers(0, 1500, (2, 6000, 2))
        self.true, self.pred = (
            draw_discs(np.unique(centres, axis=0), shape, np.inf) for centres in points
        )

    def time_aji(self, kind):
        aggregated_jaccard_score(self.true, self.pred)

    def time_aji_plus(self, kind):
        aggregated_jaccard_score(self.true, self.pred, one_to_one=True)
