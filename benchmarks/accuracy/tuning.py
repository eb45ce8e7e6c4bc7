# SPDX-License-Identifier: BSD-3-Clause
"""Choosing the parameters of a colour-threshold baseline, leaving one image out.

The image that is left out gets the setting that is best on the others, by the mean of
the pooled F1 of both classes at both radii. The best is looked for one parameter at a
time, until no change of one parameter is better; changes that are clearly worse on a
third of the images are not tried on the rest.
"""

from __future__ import annotations

import numpy as np

from benchmarks.accuracy.colour import Channels, Family
from benchmarks.accuracy.ki67 import MAIN_RADII, count_points, inside

# How many places up and down the list of its values a parameter of `find` may go in one
# step; those of `decide`, which take no time, may go anywhere.
REACH = 2
# By how much worse on some images a change is not looked at on the others.
HOPELESS = 0.02


class Tuner:
    """Settings of a family, and how many nuclei of each image they find.

    Parameters
    ----------
    family : Family
    channels : list of Channels
    points : list of ndarray of shape (n, 3)
        True points of each image.
    regions : list of ndarray of shape (h, w) or None
        Where points count.
    """

    def __init__(
        self, family: Family, channels: list[Channels], points: list, regions: list
    ):
        self.family, self.channels, self.regions = family, channels, regions
        self.points = list(map(inside, points, regions))
        self._counts: dict = {}

    @property
    def n_tried(self) -> int:
        """How many settings were tried of some image."""
        return len({key[1:] for key in self._counts})

    def leave_one_out(self, max_sweeps: int | None = None) -> list[dict]:
        """Choose the setting of each image on the other images."""
        everything = range(len(self.channels))
        return [
            self.tune([i for i in everything if i != left], max_sweeps)
            for left in everything
        ]

    def tune(self, images: list[int], max_sweeps: int | None = None) -> dict:
        """Choose the best setting of some images."""
        ends = [self._climb(start, images, max_sweeps) for start in self.family.starts]
        return max(ends, key=lambda end: end[0])[1]

    def _climb(self, setting: dict, images: list[int], max_sweeps: int | None):
        best, last, n_sweeps = self.score(setting, images), -1.0, 0
        while best > last and (max_sweeps is None or n_sweeps < max_sweeps):
            last, n_sweeps = best, n_sweeps + 1
            for name, values in self.family.space.items():
                place = values.index(setting[name])
                reach = REACH if name in self.family.found_by else len(values)
                for value in values[max(0, place - reach) : place + reach + 1]:
                    changed = setting | {name: value}
                    if self._is_hopeless(changed, setting, images):
                        continue
                    score = self.score(changed, images)
                    if score > best:
                        best, setting = score, changed
        return best, setting

    def _is_hopeless(self, changed: dict, setting: dict, images: list[int]) -> bool:
        """Tell by a third of the images, to save time, whether a change is bad."""
        few = images[:: max(1, min(3, len(images) // 2))]
        return self.score(changed, few) < self.score(setting, few) - HOPELESS

    def score(self, setting: dict, images: list[int]) -> float:
        """Compute the mean of the pooled F1 of both classes at both radii."""
        counts = np.sum([self.counts(setting, index) for index in images], axis=0)
        matched, true, pred = np.moveaxis(counts, -1, 0)
        return float(np.mean(2 * matched / np.maximum(true + pred, 1)))

    def counts(self, setting: dict, index: int) -> np.ndarray:
        """Count matched, true and predicted points, by radius and class."""
        key = (index, *(setting[name] for name in self.family.space))
        if key not in self._counts:
            pred = self.family.detect(self.channels[index], setting)
            pred = inside(pred, self.regions[index])
            self._counts[key] = count_points(self.points[index], pred, MAIN_RADII)
        return self._counts[key]
