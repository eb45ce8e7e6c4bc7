# SPDX-License-Identifier: BSD-3-Clause
"""Batches of random crops with all targets of a network, as tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from psmlearn._engine._crops import PatchSampler
from psmlearn.io._batch import ImageBatch
from psmlearn.segmentation._targets import distance_target

__all__ = ["Targets", "make_draw"]

# Of mask crops (n, size, size[, planes]) a function that returns further targets.
Targets = Callable[[np.ndarray], list[np.ndarray]]


def make_draw(
    images: ImageBatch,
    masks: Sequence[np.ndarray],
    targets: Targets,
    *,
    patch_size: int,
    batch_size: int,
    with_distance: bool = True,
) -> Callable[[np.random.Generator], tuple[torch.Tensor, ...]]:
    """Return a function that draws images, ids, inner distance and further targets.

    Parameters
    ----------
    masks : sequence of ndarray of shape (height, width[, planes])
        Plane 0 holds the ids of the objects.
    with_distance : bool, default=True
        Else the distance, which takes its time, comes as zeros.
    """
    sampler = PatchSampler(images, patch_size, masks)

    def draw(rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        patches, crops = sampler.draw(rng, batch_size)
        labels = crops if crops.ndim == 3 else crops[..., 0]
        if with_distance:
            distance = np.stack([distance_target(label) for label in labels])
        else:
            distance = np.zeros(labels.shape, np.float32)
        return (
            torch.from_numpy(patches).permute(0, 3, 1, 2),
            torch.from_numpy(labels.astype(np.int64)),
            *(torch.from_numpy(target) for target in [distance, *targets(crops)]),
        )

    return draw
