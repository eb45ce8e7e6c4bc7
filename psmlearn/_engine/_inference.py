# SPDX-License-Identifier: BSD-3-Clause
"""Networks applied to whole images by tiles that share batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from psmlearn._engine._crops import to_batch
from psmlearn._engine._seed import own_draws_of
from psmlearn._engine._state import refuse_non_finite
from psmlearn._engine._train import autocast
from psmlearn._images._tiles import pad_to_multiple, tile_boxes

__all__ = [
    "TileNetwork",
    "TiledImage",
    "predict_images",
    "refuse_non_finite_answer",
    "run_tiled",
    "stack_tiles",
    "tile_batches",
    "working_copy",
]

# Pixels of images that wait for their turn.
_CHUNK_PIXELS = 1 << 22

_N = TypeVar("_N", bound=nn.Module)


def working_copy(network: _N, device: torch.device) -> _N:
    """Return a frozen copy on `device`; the estimator's own stays on the CPU.

    Raises
    ------
    FloatingPointError
        If a weight is not finite.
    """
    refuse_non_finite(network, "The network is damaged")
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    # PyTorch's stubs do not know the memory format of modules.
    return copied.to(device, memory_format=torch.channels_last)  # type: ignore


def refuse_non_finite_answer(values: np.ndarray | torch.Tensor, what: str) -> None:
    """Raise where an answer of a network holds NaN or infinity."""
    if isinstance(values, np.ndarray):
        finite = bool(np.isfinite(values).all())
    else:
        finite = bool(torch.isfinite(values).all())
    if not finite:
        raise FloatingPointError(
            f"{what} is not finite. The weights of the network are damaged, or "
            "training went astray: fit it again, with a lower learning_rate."
        )


class TiledImage:
    """One image, padded to what a network takes, and its overlapping tiles.

    Parameters
    ----------
    image : ndarray of shape (height, width, n_channels)
    tile_size, halo : int
        Side of a tile's core, and its context, in pixels.
    alignment : int
        All tiles start and end at multiples of it.
    """

    def __init__(
        self, image: np.ndarray, tile_size: int, halo: int, alignment: int
    ) -> None:
        self.height, self.width = image.shape[:2]
        self.padded = pad_to_multiple(image, alignment)
        size = max(alignment, tile_size // alignment * alignment)
        height, width = self.padded.shape[:2]
        self.boxes = tile_boxes(height, width, size, halo, alignment)

    @property
    def n_pixels(self) -> int:
        """Pixels of the padded image."""
        return self.padded.shape[0] * self.padded.shape[1]

    def tile(self, index: int) -> np.ndarray:
        """Return the pixels of a tile, halo included."""
        top, left, bottom, right = self.boxes[index][1]
        return self.padded[top:bottom, left:right]

    def margins(self, index: int) -> tuple[int, int, int, int]:
        """Return the context of a tile: pixels at its top, left, bottom and right."""
        core, tile = self.boxes[index]
        return (
            core[0] - tile[0],
            core[1] - tile[1],
            tile[2] - core[2],
            tile[3] - core[3],
        )

    def core(self, index: int, stride: int = 1) -> tuple[slice, slice]:
        """Return the part of a tile's answer that counts, in cells of `stride`."""
        core, tile = self.boxes[index]
        return (
            slice((core[0] - tile[0]) // stride, (core[2] - tile[0]) // stride),
            slice((core[1] - tile[1]) // stride, (core[3] - tile[1]) // stride),
        )

    def place(self, index: int, stride: int = 1) -> tuple[slice, slice]:
        """Return where that part lies in the image's answer."""
        top, left, bottom, right = self.boxes[index][0]
        return (
            slice(top // stride, bottom // stride),
            slice(left // stride, right // stride),
        )


_T = TypeVar("_T", bound=TiledImage)
_R = TypeVar("_R")


def run_tiled(
    images: Iterable[np.ndarray],
    cut: Callable[[np.ndarray], _T],
    run: Callable[[list[_T]], Iterator[_R]],
    chunk_pixels: int = _CHUNK_PIXELS,
) -> Iterator[_R]:
    """Cut images one by one and run them together, so many pixels at a time.

    Parameters
    ----------
    cut : callable
        Makes a `TiledImage` of an image.
    run : callable
        Yields the result of each of some tiled images, in their order.
    """
    waiting: list[_T] = []
    for image in images:
        waiting.append(cut(image))
        if sum(each.n_pixels for each in waiting) >= chunk_pixels:
            yield from run(waiting)
            waiting = []
    yield from run(waiting)


def tile_batches(
    images: Sequence[_T], batch_pixels: int
) -> Iterator[list[tuple[_T, int]]]:
    """Yield the tiles of images in batches of one shape, as (image, number).

    With as much context on each side, too.
    """
    by_shape: dict[tuple[int, ...], list[tuple[_T, int]]] = {}
    for image in images:
        for index in range(len(image.boxes)):
            key = (*image.tile(index).shape[:2], *image.margins(index))
            by_shape.setdefault(key, []).append((image, index))
    for (height, width, *_), tiles in by_shape.items():
        size = max(1, batch_pixels // (height * width))
        for start in range(0, len(tiles), size):
            yield tiles[start : start + size]


def stack_tiles(tiles: Sequence[tuple[_T, int]]) -> torch.Tensor:
    """Return tiles of one shape as a tensor (n, channels, height, width)."""
    return to_batch(np.stack([image.tile(index) for image, index in tiles]))


class _Answered(TiledImage):
    """A tiled image with the output that its tiles fill; `number` is its place."""

    output: np.ndarray = np.empty(0)
    number = 0

    def put(self, index: int, values: np.ndarray) -> None:
        """Write a tile's core; `values` is (channels, height, width) of that."""
        if not self.output.size:
            shape = (*self.padded.shape[:2], values.shape[0])
            self.output = np.empty(shape, np.float32)
        self.output[self.place(index)] = values.transpose(1, 2, 0)


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

    Raises
    ------
    FloatingPointError
        If the network or its answer is not finite.
    """
    answer, numbers = TileNetwork(network, activate, device, precision), count()

    def cut(image: np.ndarray) -> _Answered:
        answered = _Answered(image, tile_size, halo, stride)
        answered.number = next(numbers)
        return answered

    def run(waiting: list[_Answered]) -> Iterator[np.ndarray]:
        for tiles in tile_batches(waiting, batch_pixels):
            image, index = tiles[0]
            answers = answer(stack_tiles(tiles), image.margins(index))
            for (image, index), values in zip(tiles, answers, strict=True):
                what = f"image {image.number}: the network's answer"
                refuse_non_finite_answer(values, what)
                image.put(index, values)
        for image in waiting:
            yield image.output[: image.height, : image.width]

    return run_tiled(
        images,
        cut,
        run,
        max(_CHUNK_PIXELS, batch_pixels),
    )


class TileNetwork:
    """A frozen copy of a network, which answers for batches of tiles.

    Parameters
    ----------
    network : torch.nn.Module
        It is not changed.
    activate : callable
        Turns the network's output into what is returned, such as a softmax.
    """

    def __init__(
        self,
        network: nn.Module,
        activate: Callable[[torch.Tensor], torch.Tensor],
        device: torch.device,
        precision: str = "float32",
    ) -> None:
        self.network = working_copy(network, device)
        self.activate = activate
        self.device = device
        self.precision = precision
        self._draws = own_draws_of(self.network, 0)

    def __call__(
        self, batch: torch.Tensor, margins: tuple[int, int, int, int]
    ) -> np.ndarray:
        """Return the activated answer, (n, n_outputs, height, width) float32.

        Parameters
        ----------
        margins : tuple of four int
            Context at the top, left, bottom and right, of which no answer comes.
        """
        batch = batch.to(self.device).contiguous(memory_format=torch.channels_last)
        told = getattr(self.network, "takes_margins", False) is True
        with torch.inference_mode(), self._draws:
            with autocast(self.device, self.precision):
                outputs = self.network(batch, *([margins] if told else []))
            if not told:
                top, left, bottom, right = margins
                height, width = outputs.shape[2:]
                outputs = outputs[:, :, top : height - bottom, left : width - right]
            answers = self.activate(outputs.float()).float()
        return answers.cpu().numpy()
