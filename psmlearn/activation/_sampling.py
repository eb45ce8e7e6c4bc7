# SPDX-License-Identifier: BSD-3-Clause
"""Crops for pretexts and calibration, and the values that are regressed."""

from __future__ import annotations

import numpy as np
import torch

from psmlearn._engine._crops import PatchSampler
from psmlearn._images._stains import haematoxylin, optical_density
from psmlearn.io._batch import ImageBatch

__all__ = ["CentreSampler", "make_sampler", "stain_amount", "target_values", "to_batch"]


def stain_amount(image: np.ndarray) -> np.ndarray:
    """Return haematoxylin of three channels, else the density of their mean."""
    if image.shape[-1] == 3:
        return haematoxylin(image)
    grey = image.mean(axis=-1, keepdims=True, dtype=np.float32)
    return optical_density(grey)[..., 0]


def target_values(patches: np.ndarray, target: str) -> np.ndarray:
    """Return the mean stain amount, or the mean grey in [0, 1], of each patch."""
    if target == "grey":
        return patches.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)
    return np.array([stain_amount(patch).mean() for patch in patches], np.float32)


def to_batch(patches: np.ndarray) -> torch.Tensor:
    """Return patches (n, h, w, c) as a tensor (n, c, h, w), channels last inside."""
    return torch.from_numpy(np.ascontiguousarray(patches)).permute(0, 3, 1, 2)


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
        starts = [max(side - size, 0) // 2 for side in sides]
        kept = [min(side, size) for side in sides]
        patch = self.images.crop(index, *starts, *kept)
        before = [(size - side) // 2 for side in kept]
        padding = [
            (first, size - side - first)
            for first, side in zip(before, kept, strict=True)
        ]
        return np.pad(patch, [*padding, (0, 0)], mode="symmetric")


def make_sampler(
    images: ImageBatch, patch_size: int, crop: str
) -> PatchSampler | CentreSampler:
    """Return the sampler that `crop` names, "random" or "center"."""
    if crop == "center":
        return CentreSampler(images, patch_size)
    return PatchSampler(images, patch_size)
