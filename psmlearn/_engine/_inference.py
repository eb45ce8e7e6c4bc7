# SPDX-License-Identifier: BSD-3-Clause
"""Networks applied to whole images by tiles that share batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from psmlearn._engine._augment import dihedral, undo_dihedral
from psmlearn._engine._train import autocast
from psmlearn._images._tiles import pad_to_multiple, tile_boxes

__all__ = ["predict_images", "working_copy"]

_CHUNK_PIXELS = 1 << 22


def working_copy(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a frozen copy on `device`; the estimator's own stays on the CPU."""
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    return copied.to(device, memory_format=torch.channels_last)


def predict_images(
    network: nn.Module,
    images: Sequence[np.ndarray],
    activate: Callable[[torch.Tensor], torch.Tensor],
    *,
    tile_size: int,
    batch_pixels: int,
    device: torch.device,
    precision: str = "float32",
    halo: int = 128,
    stride: int = 16,
    n_views: int = 1,
) -> Iterator[np.ndarray]:
    """Yield the activated output of each image, (height, width, channels) float32.

    Parameters
    ----------
    network : torch.nn.Module
        Takes (n, channels, height, width) tensors with sides that are multiples of
        `stride` and returns outputs of the same size. It is not changed.
    images : sequence of ndarray of shape (height, width, n_channels)
        Read one at a time.
    activate : callable
        Turns the network's output into what is returned, such as a softmax.
    tile_size : int
        Side of the cores of the tiles in pixels; images up to this size go whole.
    batch_pixels : int
        Pixels that go through the network at once, at most, a tile at the least.
    n_views : int, default=1
        Number of flips and rotations that are averaged, 1 to 8.
    """
    network = working_copy(network, device)
    run = _Runner(network, activate, batch_pixels, device, precision, n_views)
    size = max(stride, tile_size // stride * stride)
    waiting: list[_Job] = []
    for image in images:
        waiting.append(_Job(image, size, halo, stride))
        if sum(job.n_pixels for job in waiting) >= max(_CHUNK_PIXELS, batch_pixels):
            yield from run(waiting)
            waiting = []
    yield from run(waiting)


class _Job:
    """One image, padded, its tiles, and the output that they fill."""

    def __init__(self, image: np.ndarray, tile_size: int, halo: int, stride: int):
        self.height, self.width = image.shape[:2]
        self.padded = pad_to_multiple(image, stride)
        self.boxes = tile_boxes(*self.padded.shape[:2], tile_size, halo, stride)
        self.output: np.ndarray | None = None
        self.n_pixels = self.padded.shape[0] * self.padded.shape[1]

    def tile(self, index: int) -> np.ndarray:
        top, left, bottom, right = self.boxes[index][1]
        return self.padded[top:bottom, left:right]

    def put(self, index: int, values: np.ndarray) -> None:
        """Write a tile's core; `values` is (channels, height, width) of the tile."""
        core, tile = self.boxes[index]
        if self.output is None:
            shape = (*self.padded.shape[:2], values.shape[0])
            self.output = np.empty(shape, np.float32)
        rows = slice(core[0] - tile[0], core[2] - tile[0])
        columns = slice(core[1] - tile[1], core[3] - tile[1])
        self.output[core[0] : core[2], core[1] : core[3]] = values[
            :, rows, columns
        ].transpose(1, 2, 0)


class _Runner:
    """Run the tiles of some jobs, those of one shape together."""

    def __init__(self, network, activate, batch_pixels, device, precision, n_views):
        self.network = network
        self.activate = activate
        self.batch_pixels = batch_pixels
        self.device = device
        self.precision = precision
        self.n_views = n_views

    def __call__(self, jobs: list[_Job]) -> Iterator[np.ndarray]:
        by_shape: dict[tuple[int, int], list[tuple[_Job, int]]] = {}
        for job in jobs:
            for index in range(len(job.boxes)):
                shape = job.tile(index).shape[:2]
                by_shape.setdefault(shape, []).append((job, index))
        for (height, width), tiles in by_shape.items():
            size = max(1, self.batch_pixels // (height * width))
            for start in range(0, len(tiles), size):
                self._batch(tiles[start : start + size])
        for job in jobs:
            yield job.output[: job.height, : job.width]

    def _batch(self, tiles: list[tuple[_Job, int]]) -> None:
        stacked = np.stack([job.tile(index) for job, index in tiles])
        batch = torch.from_numpy(stacked).permute(0, 3, 1, 2).to(self.device)
        with torch.inference_mode():
            outputs = self._forward(batch).float().cpu().numpy()
        for (job, index), values in zip(tiles, outputs, strict=True):
            job.put(index, values)

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        total = 0
        for element in range(self.n_views):
            view = dihedral(batch, element)
            view = view.contiguous(memory_format=torch.channels_last)
            with autocast(self.device, self.precision):
                output = self.network(view)
            total = total + undo_dihedral(self.activate(output.float()), element)
        return total / self.n_views
