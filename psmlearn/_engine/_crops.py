# SPDX-License-Identifier: BSD-3-Clause
"""Crops of a batch of images, with their masks, and batches of them as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from psmlearn.io._batch import ImageBatch

__all__ = ["CentreSampler", "PatchSampler", "to_batch"]


def to_batch(patches: np.ndarray) -> torch.Tensor:
    """Return patches (n, h, w, c) as a tensor (n, c, h, w), channels last inside."""
    return torch.from_numpy(np.ascontiguousarray(patches)).permute(0, 3, 1, 2)


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

    def draw(self, rng: np.random.Generator, n_patches: int) -> tuple[np.ndarray, Any]:
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


class CentreSampler:
    """Give the middle square of each image, in random order, round after round.

    Smaller images are continued by reflection, as `PatchSampler` does.
    """

    def __init__(self, images: ImageBatch, patch_size: int) -> None:
        self.images = images
        self.patch_size = patch_size
        self._order: list[int] = []

    def draw(self, rng: np.random.Generator, n_patches: int) -> tuple[np.ndarray, None]:
        """Return patches (n, size, size, c) float32 and None (no masks)."""
        patches = []
        for _ in range(n_patches):
            if not self._order:
                self._order = rng.permutation(len(self.images)).tolist()
            patches.append(self._patch(self._order.pop()))
        return np.stack(patches), None

    def _patch(self, index: int) -> np.ndarray:
        size = self.patch_size
        sides = self.images.shapes[index]
        top, left = (max(side - size, 0) // 2 for side in sides)
        height, width = (min(side, size) for side in sides)
        patch = self.images.crop(index, top, left, height, width)
        before = [(size - side) // 2 for side in (height, width)]
        padding = [
            (first, size - side - first)
            for first, side in zip(before, (height, width), strict=True)
        ]
        return _pad(patch, padding, mode="symmetric")


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
