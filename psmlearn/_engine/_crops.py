# SPDX-License-Identifier: BSD-3-Clause
"""Random crops of a batch of images, with their masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from psmlearn.io._batch import ImageBatch

__all__ = ["PatchSampler"]


class PatchSampler:
    """Draw square patches at random places of random images.

    Parameters
    ----------
    images : ImageBatch
        Only the parts that are drawn are converted.
    patch_size : int
        Side of the patches in pixels. Smaller images are continued by reflection,
        where their masks are unknown (-1).
    masks : sequence of ndarray of shape (height, width[, 2]), default=None
        Label images that are cropped alike.
    """

    def __init__(
        self,
        images: ImageBatch,
        patch_size: int,
        masks: Sequence[np.ndarray] | None = None,
    ):
        self.images = images
        self.patch_size = patch_size
        self.masks = masks

    def draw(
        self, rng: np.random.Generator, n_patches: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return patches (n, size, size, c) float32 and their masks, or None."""
        patches, crops = [], []
        for index in rng.integers(len(self.images), size=n_patches):
            height, width = self.images.shapes[index]
            rows, above = _cut(rng, height, self.patch_size)
            columns, left = _cut(rng, width, self.patch_size)
            patch = self.images.crop(
                index,
                rows.start,
                columns.start,
                rows.stop - rows.start,
                columns.stop - columns.start,
            )
            padding = [self._padding(rows, above), self._padding(columns, left)]
            patches.append(_pad(patch, padding, mode="symmetric"))
            if self.masks is not None:
                mask = self.masks[index][rows, columns]
                crops.append(_pad(mask, padding, constant_values=-1))
        return np.stack(patches), np.stack(crops) if crops else None

    def _padding(self, cut: slice, before: int) -> tuple[int, int]:
        return before, self.patch_size - (cut.stop - cut.start) - before


def _cut(rng: np.random.Generator, side: int, size: int) -> tuple[slice, int]:
    """Return the slice to cut, and how far into the patch it starts."""
    spare = side - size
    if spare >= 0:
        start = int(rng.integers(spare + 1))
        return slice(start, start + size), 0
    return slice(0, side), int(rng.integers(-spare + 1))


def _pad(array: np.ndarray, padding: list[tuple[int, int]], **how) -> np.ndarray:
    if not any(side for pair in padding for side in pair):
        return array
    return np.pad(array, [*padding, *[(0, 0)] * (array.ndim - 2)], **how)
