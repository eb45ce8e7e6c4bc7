# SPDX-License-Identifier: BSD-3-Clause
"""What a mapper learns after training: direction, weights, polarity and range."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from psmlearn._engine._crops import PatchSampler
from psmlearn.activation._mapping import (
    LayerGeometry,
    MapRunner,
    upsample,
)
from psmlearn.activation._pretext import PretextNetwork
from psmlearn.activation._sampling import stain_amount
from psmlearn.io._batch import ImageBatch

__all__ = [
    "Calibration",
    "calibrate",
    "combine_maps",
    "direction_of_outputs",
    "principal_direction",
]

_N_CROPS = 32
_CROP_SIDE = 256
_PERCENTILES = (1, 99)
# Cells at the rim of a crop see the padding.
_RIM = 4


@dataclasses.dataclass(frozen=True)
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
        direction[unit] = 1
        return direction
    device = network.direction.device
    with torch.no_grad():
        outputs = [
            network(batch.to(device), input_scale).float().cpu()
            for batch in crops.split(16)
        ]
    return principal_direction(torch.cat(outputs))


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
    raw = list(runner(crops))
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


def _stretch(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / (high - low + 1e-7)


def combine_maps(
    raw: Sequence[np.ndarray],
    shape: tuple[int, int],
    geometries: Sequence[LayerGeometry],
    calibration: Calibration,
    scale: str,
) -> np.ndarray:
    """Return the mean map of all layers in [0, 1], (height, width) float32."""
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
        total = _stretch(total)
    return np.clip(total, 0, 1, out=total)
