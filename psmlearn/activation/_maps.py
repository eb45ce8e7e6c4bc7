# SPDX-License-Identifier: BSD-3-Clause
"""Raw maps of whole images by tiles, and their calibration to one scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from psmlearn._engine._crops import PatchSampler
from psmlearn._engine._inference import (
    TiledImage,
    refuse_non_finite_answer,
    run_tiled,
    stack_tiles,
    tile_batches,
)
from psmlearn._engine._seed import own_draws_of
from psmlearn._engine._train import autocast
from psmlearn._images._stains import stain_amount
from psmlearn.activation._gradients import (
    apply_weights,
    gradient_weights,
    layer_features,
    layer_gradients,
    layercam,
    leading_axis,
    receptive_rows,
)
from psmlearn.activation._pretexts import PretextNetwork
from psmlearn.io._batch import ImageBatch

__all__ = [
    "Calibration",
    "LayerGeometry",
    "MapRunner",
    "MapSpec",
    "calibrate",
    "combine_maps",
    "direction_of_outputs",
    "find_geometry",
    "upsample",
]

# Pixels that go through the network at once.
_BATCH_PIXELS = 1 << 20
_PROBE_SIDE = 256
# Context for gradients, whose reach is that of the whole network.
_GRADIENT_HALO = 128
# Crops that signs and ranges are learnt on, and the percentiles that become 0 and 1.
_N_CROPS = 32
_CROP_SIDE = 256
_PERCENTILES = (1, 99)
# Cells at the rim of a crop see the padding.
_RIM = 4


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
        halo: Callable[[str], int] = backbone.layer_halo  # type: ignore[assignment]
        return LayerGeometry(stride, 0.0, halo(layer))
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


class _Mapped(TiledImage):
    """A tiled image with the maps of all layers that its tiles fill."""

    def __init__(
        self,
        image: np.ndarray,
        tile_size: int,
        halo: int,
        alignment: int,
        strides: Sequence[int],
    ) -> None:
        super().__init__(image, tile_size, halo, alignment)
        height, width = self.padded.shape[:2]
        self.strides = strides
        self.raw = [np.empty((height // s, width // s), np.float32) for s in strides]
        self.totals: list[torch.Tensor | float] = [0.0] * len(strides)
        self.weights: list[torch.Tensor] = []

    def put(self, index: int, layer: int, values: np.ndarray) -> None:
        """Write the core of a tile's map."""
        stride = self.strides[layer]
        self.raw[layer][self.place(index, stride)] = values[self.core(index, stride)]


_Tiles = list[tuple[_Mapped, int]]


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
        self.draws = own_draws_of(network, 0)
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

    def __call__(
        self, images: Iterable[np.ndarray], kind: str = "image"
    ) -> Iterator[list[np.ndarray]]:
        """Yield the raw maps of each image, one for each layer.

        Messages count the images as those of a `kind`.
        """

        def cut(image: np.ndarray) -> _Mapped:
            size = self.spec.tile_size
            return _Mapped(image, size, self.halo, self.alignment, self.strides)

        for index, raw in enumerate(run_tiled(images, cut, self._run)):
            for cells in raw:
                what = f"{kind} {index}: its activation map"
                refuse_non_finite_answer(cells, what)
            yield raw

    def _run(self, jobs: list[_Mapped]) -> Iterator[list[np.ndarray]]:
        whole = [job for job in jobs if len(job.boxes) == 1]
        parted = [job for job in jobs if len(job.boxes) > 1]
        averaged = self.spec.per_image and self.spec.method != "layercam"
        for tiles in tile_batches(whole, _BATCH_PIXELS):
            self._map(tiles, averaged=averaged)
        if averaged:
            # Weights of the whole image first, then the map: two passes.
            for tiles in tile_batches(parted, _BATCH_PIXELS):
                self._add_statistics(tiles, *self._compute(tiles, self._gradients()))
            for job in parted:
                job.weights = self._finish(job.totals)
        for tiles in tile_batches(parted, _BATCH_PIXELS):
            self._map(tiles, averaged=False)
        for job in jobs:
            yield job.raw

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
        return self._features(stack_tiles(tiles), with_gradients)

    def _features(self, batch: torch.Tensor, with_gradients: bool):
        """Return features and gradients (or Nones) of images in [0, 1]."""
        network, spec = self.network, self.spec
        with torch.inference_mode(False), torch.no_grad():
            batch = network.scale(batch.to(self.device), spec.input_scale)
            batch = batch.contiguous(memory_format=torch.channels_last)
        with self.draws, autocast(self.device, spec.precision):
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
                    rows, columns = job.core(index, self.strides[layer])
                    part = tap[row : row + 1, :, rows, columns]
                    job.totals[layer] += self._statistics(part, None)[0]
                continue
            statistics = self._statistics(tap, gradient)
            for (job, _), values in zip(tiles, statistics, strict=True):
                job.totals[layer] += values

    def _finish(self, totals: Sequence[Any]) -> list[torch.Tensor]:
        """Turn sums into the channel weights of each layer."""
        found = []
        for layer, total in enumerate(totals):
            refuse_non_finite_answer(total, f"layer {self.spec.layers[layer]!r}")
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


@dataclass(frozen=True)
class Calibration:
    """Sign and range of the maps of each layer."""

    polarity: np.ndarray
    ranges: np.ndarray


def principal_direction(outputs: torch.Tensor) -> torch.Tensor:
    """Return the axis of largest variance of (n, d) outputs, largest entry > 0."""
    if outputs.shape[1] == 1:
        return torch.ones(1)
    centred = outputs.double() - outputs.double().mean(dim=0)
    axis = torch.linalg.svd(centred, full_matrices=False)[2][0]
    return (axis * axis[axis.abs().argmax()].sign()).float()


def direction_of_outputs(
    network: PretextNetwork, crops: torch.Tensor, unit: str | int, input_scale: str
) -> torch.Tensor:
    """Return the axis of the outputs to differentiate along, (n_outputs,).

    `unit` is the index of one output, or "principal": the axis along which the
    outputs of `crops`, in [0, 1], vary most.
    """
    if unit != "principal":
        direction = torch.zeros(network.n_outputs)
        direction[int(unit)] = 1
        return direction
    device = network.direction.device
    with torch.no_grad():
        outputs = [
            network(batch.to(device), input_scale).float().cpu()
            for batch in crops.split(16)
        ]
    joined = torch.cat(outputs)
    refuse_non_finite_answer(joined, "the network's answer for training crops")
    return principal_direction(joined)


def reference_values(image: np.ndarray, polarity: str) -> np.ndarray:
    """Return what maps are to rise with, in every pixel."""
    if polarity == "haematoxylin" or (polarity == "auto" and image.shape[-1] == 3):
        return stain_amount(image)
    grey = image.mean(axis=-1, dtype=np.float32)
    return grey if polarity == "bright" else -grey


def calibration_crops(images: ImageBatch, rng: np.random.Generator) -> np.ndarray:
    """Draw squares of up to 256 pixels, no larger than the largest image."""
    side = min(_CROP_SIDE, max(max(shape) for shape in images.shapes))
    return PatchSampler(images, side).draw(rng, _N_CROPS)[0]


def _sign(maps: list[np.ndarray], references: list[np.ndarray]) -> int:
    values = np.concatenate([m[::2, ::2].ravel() for m in maps]).astype(np.float64)
    wanted = np.concatenate([r[::2, ::2].ravel() for r in references])
    covariance = np.mean((values - values.mean()) * (wanted - wanted.mean()))
    return -1 if covariance < 0 else 1


def _range(raw: list[np.ndarray], sign: int) -> tuple[float, float]:
    inner = [m[_RIM:-_RIM, _RIM:-_RIM] if min(m.shape) > 3 * _RIM else m for m in raw]
    values = sign * np.concatenate([m.ravel() for m in inner])
    low, high = np.percentile(values, _PERCENTILES)
    if not high - low > 1e-6 * max(abs(low), abs(high)):
        high = low + max(abs(low), 1.0)  # constant images: a map of zeros
    return float(low), float(high)


def calibrate(
    runner: MapRunner,
    geometries: Sequence[LayerGeometry],
    images: ImageBatch,
    polarity: str | None,
    rng: np.random.Generator,
) -> Calibration:
    """Choose the sign of each layer's map and learn its range, on training crops."""
    crops = calibration_crops(images, rng)
    side = crops.shape[1]
    raw = list(runner(crops, "training crop"))
    references = (
        [] if polarity is None else [reference_values(crop, polarity) for crop in crops]
    )
    signs, ranges = [], []
    for layer, geometry in enumerate(geometries):
        cells = [maps[layer] for maps in raw]
        sign = 1
        if polarity is not None:
            pixels = [upsample(m, side, side, geometry) for m in cells]
            sign = _sign(pixels, references)
        signs.append(sign)
        ranges.append(_range(cells, sign))
    return Calibration(np.array(signs, np.int8), np.array(ranges))


def _stretch(values: np.ndarray, shown: np.ndarray | None = None) -> np.ndarray:
    seen = values if shown is None or not shown.any() else values[shown]
    low, high = seen.min(), seen.max()
    return (values - low) / (high - low + 1e-7)


def combine_maps(
    raw: Sequence[np.ndarray],
    shape: tuple[int, int],
    geometries: Sequence[LayerGeometry],
    calibration: Calibration,
    scale: str,
    shown: np.ndarray | None = None,
) -> np.ndarray:
    """Return the mean map of all layers in [0, 1], (height, width) float32.

    Where the image shows nothing it is 0, and does not count in the range.
    """
    total = np.zeros(shape, np.float32)
    for layer, (cells, geometry) in enumerate(zip(raw, geometries, strict=True)):
        cells = cells * np.float32(calibration.polarity[layer])
        if scale == "fit":
            low, high = calibration.ranges[layer].astype(np.float32)
            cells = np.clip((cells - low) / (high - low), 0, 1)
        else:
            cells = np.maximum(_stretch(cells), 0)
        total += upsample(cells, *shape, geometry)
    total /= len(raw)
    if scale == "image":
        total = _stretch(total, shown)
    if shown is not None:
        total[~shown] = 0
    return np.clip(total, 0, 1, out=total)
