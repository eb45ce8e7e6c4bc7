# SPDX-License-Identifier: BSD-3-Clause
"""Raw maps of whole images, by tiles that share forward passes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from psmlearn._engine._train import autocast
from psmlearn._images._tiles import pad_to_multiple, tile_boxes
from psmlearn.activation._gradient import (
    apply_weights,
    gradient_weights,
    layer_features,
    layer_gradients,
    layercam,
    leading_axis,
    receptive_rows,
)
from psmlearn.activation._pretext import PretextNetwork
from psmlearn.activation._sampling import to_batch

__all__ = ["LayerGeometry", "MapRunner", "MapSpec", "find_geometry", "upsample"]

# Pixels that go through the network at once, and that wait for their turn.
_BATCH_PIXELS = 1 << 20
_CHUNK_PIXELS = 1 << 22
_PROBE_SIDE = 256
# Context for gradients, whose reach is that of the whole network.
_GRADIENT_HALO = 128


@dataclass(frozen=True)
class MapSpec:
    """What `MapRunner` needs to know besides the network."""

    layers: tuple[str, ...]
    method: str
    per_image: bool
    input_scale: str
    precision: str
    tile_size: int

    @property
    def needs_gradients(self) -> bool:
        """Whether mapping an image takes a backward pass."""
        return self.method == "layercam" or (
            self.per_image and self.method != "eigencam"
        )


@dataclass(frozen=True)
class LayerGeometry:
    """Where the cells of a layer's map lie in the image, in pixels.

    Cell i is centred on pixel ``offset + i * stride``; tiles with `halo` pixels of
    context give the whole-image map.
    """

    stride: int
    offset: float
    halo: int


def find_geometry(backbone: nn.Module, in_channels: int, layer: str) -> LayerGeometry:
    """Measure a layer's geometry, or ask the network where it tells."""
    side = _PROBE_SIDE
    n_cells, cell, first, last = receptive_rows(backbone, layer, in_channels, side)
    stride = side // n_cells
    if n_cells > side or side % n_cells:
        raise ValueError(
            f"layers: {layer!r} turns {side} pixels into {n_cells} cells; maps need a "
            "layer whose size divides that of the image (padded convolutions)."
        )
    if hasattr(backbone, "layer_halo"):
        # Odd kernels with symmetric padding: cells sit on pixels 0, stride, ...
        return LayerGeometry(stride, 0.0, backbone.layer_halo(layer))
    if first == 0 or last == side - 1:
        return LayerGeometry(stride, (stride - 1) / 2, _GRADIENT_HALO)
    offset = (first + last) / 2 - cell * stride
    # Rows without gradient at the very rim are possible: one stride to spare.
    return LayerGeometry(stride, offset, (last - first + 1) // 2 + stride)


def _interpolation(size: int, n_cells: int, stride: int, offset: float):
    place = np.clip((np.arange(size) - offset) / stride, 0, n_cells - 1)
    low = np.floor(place).astype(np.intp)
    return low, np.minimum(low + 1, n_cells - 1), (place - low).astype(np.float32)


def upsample(
    raw: np.ndarray, height: int, width: int, geometry: LayerGeometry
) -> np.ndarray:
    """Interpolate a map of cells linearly to pixels, (height, width) float32."""
    stride, offset = geometry.stride, geometry.offset
    if stride == 1:
        return raw[:height, :width].astype(np.float32)
    low, high, share = _interpolation(height, len(raw), stride, offset)
    rows = raw[low] + (raw[high] - raw[low]) * share[:, None]
    low, high, share = _interpolation(width, raw.shape[1], stride, offset)
    pixels, step = rows[:, low], rows[:, high]
    step -= pixels
    step *= share
    pixels += step
    return pixels


class _Job:
    """One image, padded, its tiles, and the maps that they fill."""

    def __init__(
        self,
        image: np.ndarray,
        tile_size: int,
        halo: int,
        alignment: int,
        strides: Sequence[int],
    ) -> None:
        self.padded = pad_to_multiple(image, alignment)
        height, width = self.padded.shape[:2]
        self.boxes = tile_boxes(height, width, tile_size, halo, alignment)
        self.strides = strides
        self.raw = [np.empty((height // s, width // s), np.float32) for s in strides]
        self.totals: list[torch.Tensor | float] = [0.0] * len(strides)
        self.weights: list[torch.Tensor] = []

    @property
    def n_pixels(self) -> int:
        return self.padded.shape[0] * self.padded.shape[1]

    def tile(self, index: int) -> np.ndarray:
        top, left, bottom, right = self.boxes[index][1]
        return self.padded[top:bottom, left:right]

    def core(self, index: int, layer: int) -> tuple[slice, slice]:
        """Return the part of a tile's map that counts."""
        core, tile = self.boxes[index]
        s = self.strides[layer]
        return (
            slice((core[0] - tile[0]) // s, (core[2] - tile[0]) // s),
            slice((core[1] - tile[1]) // s, (core[3] - tile[1]) // s),
        )

    def put(self, index: int, layer: int, values: np.ndarray) -> None:
        top, left, bottom, right = self.boxes[index][0]
        s = self.strides[layer]
        self.raw[layer][top // s : bottom // s, left // s : right // s] = values[
            self.core(index, layer)
        ]


_Tiles = list[tuple[_Job, int]]


class MapRunner:
    """Maps of images by one network, which is not changed.

    Besides the network's own memory, for a batch, an image that waits takes its
    pixels in float32 and 4 bytes for each cell and layer.

    Parameters
    ----------
    network : PretextNetwork
        Frozen, on `device`.
    weights : list of ndarray of shape (n_channels,), default=None
        Channel weights of each layer, as `mean_weights` returns them.
    """

    def __init__(
        self,
        network: PretextNetwork,
        spec: MapSpec,
        geometries: Sequence[LayerGeometry],
        device: torch.device,
        weights: list[np.ndarray] | None = None,
    ) -> None:
        self.network = network
        self.spec = spec
        self.device = device
        self.strides = [geometry.stride for geometry in geometries]
        self.halo = max(geometry.halo for geometry in geometries)
        self.alignment = math.lcm(*self.strides)
        # Our classifiers take any side as far as the layers of a map go.
        if spec.needs_gradients or not hasattr(network.backbone, "layer_halo"):
            own = getattr(network.backbone, "stride", 32)
            self.alignment = math.lcm(self.alignment, own)
        if spec.needs_gradients:
            self.halo = max(self.halo, _GRADIENT_HALO)
        self.weights = [torch.tensor(w, device=device) for w in weights or []]

    # -- images ----------------------------------------------------------------

    def __call__(self, images: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
        """Yield the raw maps of each image, one for each layer."""
        waiting: list[_Job] = []
        for image in images:
            size = max(self.alignment, self.spec.tile_size)
            waiting.append(_Job(image, size, self.halo, self.alignment, self.strides))
            if sum(job.n_pixels for job in waiting) >= _CHUNK_PIXELS:
                yield from self._run(waiting)
                waiting = []
        yield from self._run(waiting)

    def _run(self, jobs: list[_Job]) -> Iterator[list[np.ndarray]]:
        whole = [job for job in jobs if len(job.boxes) == 1]
        cut = [job for job in jobs if len(job.boxes) > 1]
        averaged = self.spec.per_image and self.spec.method != "layercam"
        for tiles in self._batches(whole):
            self._map(tiles, averaged=averaged)
        if averaged:
            # Weights of the whole image first, then the map: two passes.
            for tiles in self._batches(cut):
                self._add_statistics(tiles, *self._compute(tiles, self._gradients()))
            for job in cut:
                job.weights = self._finish(job.totals)
        for tiles in self._batches(cut):
            self._map(tiles, averaged=False)
        for job in jobs:
            yield job.raw

    def _batches(self, jobs: list[_Job]) -> Iterator[_Tiles]:
        by_shape: dict[tuple[int, int], _Tiles] = {}
        for job in jobs:
            for index in range(len(job.boxes)):
                shape = job.tile(index).shape[:2]
                by_shape.setdefault(shape, []).append((job, index))
        for (height, width), tiles in by_shape.items():
            size = max(1, _BATCH_PIXELS // (height * width))
            for start in range(0, len(tiles), size):
                yield tiles[start : start + size]

    def _gradients(self) -> bool:
        return self.spec.method != "eigencam"

    def _map(self, tiles: _Tiles, *, averaged: bool) -> None:
        """Fill in the maps of tiles; with `averaged` find their weights first."""
        by_pixel = self.spec.method == "layercam"
        wanted = by_pixel or (averaged and self._gradients())
        features, gradients = self._compute(tiles, wanted)
        if averaged:
            self._add_statistics(tiles, features, gradients)
            for job, _ in tiles:
                job.weights = self._finish(job.totals)
        for layer, tap in enumerate(features):
            if by_pixel:
                # Times the number of cells: alike in images of all sizes.
                maps = layercam(tap, gradients[layer]) * tap[0, 0].numel()
            else:
                rows = [(job.weights or self.weights)[layer] for job, _ in tiles]
                maps = apply_weights(tap, torch.stack(rows))
            for (job, index), values in zip(tiles, maps.cpu().numpy(), strict=True):
                job.put(index, layer, values)

    # -- batches ---------------------------------------------------------------

    def _compute(self, tiles: _Tiles, with_gradients: bool):
        batch = to_batch(np.stack([job.tile(index) for job, index in tiles]))
        return self._features(batch, with_gradients)

    def _features(self, batch: torch.Tensor, with_gradients: bool):
        """Return features and gradients (or Nones) of images in [0, 1]."""
        network, spec = self.network, self.spec
        with torch.inference_mode(False), torch.no_grad():
            batch = network.scale(batch.to(self.device), spec.input_scale)
            batch = batch.contiguous(memory_format=torch.channels_last)
        with autocast(self.device, spec.precision):
            if with_gradients:
                features, gradients = layer_gradients(
                    network.backbone, batch, spec.layers, network.score
                )
                gradients = [gradient.float() for gradient in gradients]
            else:
                features = layer_features(network.backbone, batch, spec.layers)
                gradients = [None] * len(features)
        return [tap.float() for tap in features], gradients

    def _statistics(self, features: torch.Tensor, gradients) -> torch.Tensor:
        """Return what channel weights are made of; it adds up over tiles.

        With gradients: the number of cells, and the weights times it, (n, 1 + c).
        Without: the second moments of (1, features), (n, 1 + c, 1 + c).
        """
        n, n_channels, height, width = features.shape
        n_cells = height * width
        if self.spec.method == "eigencam":
            flat = features.flatten(2)
            flat = torch.cat([torch.ones_like(flat[:, :1]), flat], dim=1)
            return (flat @ flat.transpose(1, 2)).cpu().double()
        weights = gradient_weights(features, gradients, self.spec.method)
        if self.spec.method == "gradcam":
            weights = weights * n_cells  # the output averages over all cells
        cells = torch.full((n, 1), float(n_cells), device=features.device)
        return torch.cat([cells, weights * n_cells], dim=1).cpu().double()

    def _add_statistics(self, tiles: _Tiles, features, gradients) -> None:
        for layer, (tap, gradient) in enumerate(zip(features, gradients, strict=True)):
            if self.spec.method == "eigencam":
                for row, (job, index) in enumerate(tiles):
                    rows, columns = job.core(index, layer)
                    part = tap[row : row + 1, :, rows, columns]
                    job.totals[layer] += self._statistics(part, None)[0]
                continue
            statistics = self._statistics(tap, gradient)
            for (job, _), values in zip(tiles, statistics, strict=True):
                job.totals[layer] += values

    def _finish(self, totals: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Turn sums into the channel weights of each layer."""
        found = []
        for layer, total in enumerate(totals):
            if self.spec.method != "eigencam":
                weights = total[1:] / total[0]
            else:
                mean = total[0, 1:] / total[0, 0]
                covariance = total[1:, 1:] / total[0, 0] - torch.outer(mean, mean)
                weights = leading_axis(covariance)
                # An axis has no sign of its own: that of the training crops.
                if self.weights and weights @ self.weights[layer].cpu().double() < 0:
                    weights = -weights
            found.append(weights.float().to(self.device))
        return found

    def mean_weights(self, crops: torch.Tensor) -> list[np.ndarray]:
        """Return the channel weights of each layer, averaged over crops in [0, 1]."""
        if self.spec.method == "layercam":
            return []
        size = max(1, _BATCH_PIXELS // (crops.shape[2] * crops.shape[3]))
        totals: list[torch.Tensor | float] = [0.0] * len(self.strides)
        for batch in crops.split(size):
            pairs = zip(*self._features(batch, self._gradients()), strict=True)
            for layer, (tap, gradient) in enumerate(pairs):
                totals[layer] += self._statistics(tap, gradient).sum(dim=0)
        return [weights.cpu().numpy() for weights in self._finish(totals)]
