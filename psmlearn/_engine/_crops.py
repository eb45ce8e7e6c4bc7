# SPDX-License-Identifier: BSD-3-Clause
"""Crops of a batch of images, with their masks, and batches of them as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from psmlearn._engine._checkpoint import Remembering
from psmlearn.io._batch import ImageBatch

__all__ = ["CentreSampler", "PatchSampler", "to_batch"]


def to_batch(patches: np.ndarray) -> torch.Tensor:
    """Return patches (n, h, w, c) as a tensor (n, c, h, w), channels last inside."""
    return torch.from_numpy(np.ascontiguousarray(patches)).permute(0, 3, 1, 2)


# A patch of which less is shown is drawn again, so many times at most.
_LEAST_SHOWN = 0.5
_N_TRIES = 20
_N_KEPT = 64


class PatchSampler:
    """Draw square patches at random places of random images.

    Patches in which the image shows little are drawn again; where it shows nothing
    their masks are unknown (-1).

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
        self._kept: dict[int, np.ndarray | None] = {}
        self._with_something: list[int] | None = None

    def draw(self, rng: np.random.Generator, n_patches: int) -> tuple[np.ndarray, Any]:
        """Return patches (n, size, size, c) float32 and their masks, or None."""
        patches, crops = [], []
        for drawn in rng.integers(len(self.images), size=n_patches):
            index = self._with_content(int(drawn), rng)
            (rows, above), (columns, left) = self._place(index, rng)
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
                shown = self._shown(index)
                if shown is not None:  # unknown, not background
                    outside = ~shown[rows, columns]
                    mask = mask.copy()
                    mask[outside] = -1
                crops.append(_pad(mask, padding, constant_values=-1))
        return np.stack(patches), np.stack(crops) if crops else None

    def _with_content(self, index: int, rng: np.random.Generator) -> int:
        """Return the image, or one drawn in its place where it shows nothing."""
        if not self.images.shows_nothing(index):
            return index
        if self._with_something is None:
            every = range(len(self.images))
            self._with_something = [
                i for i in every if not self.images.shows_nothing(i)
            ]
        if not self._with_something:
            return index
        return self._with_something[rng.integers(len(self._with_something))]

    def _place(
        self, index: int, rng: np.random.Generator
    ) -> tuple[tuple[slice, int], tuple[slice, int]]:
        """Draw rows and columns; again, while they show little of the image."""
        height, width = self.images.shapes[index]
        shown = self._shown(index)
        for _ in range(_N_TRIES):
            rows, columns = (
                _cut(rng, side, self.patch_size) for side in (height, width)
            )
            if shown is None or shown[rows[0], columns[0]].mean() >= _LEAST_SHOWN:
                break
        return rows, columns

    def _shown(self, index: int) -> np.ndarray | None:
        """Return where an image shows something; the last ones are kept."""
        if index not in self._kept:
            if len(self._kept) >= _N_KEPT:
                self._kept.clear()
            self._kept[index] = self.images.shown(index)
        return self._kept[index]

    def _padding(self, cut: slice, before: int) -> tuple[int, int]:
        return before, self.patch_size - (cut.stop - cut.start) - before


class CentreSampler(Remembering):
    """Give the middle square of each image, in random order, round after round.

    Smaller images are continued by reflection, as `PatchSampler` does.
    """

    memory = ("_order",)

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
