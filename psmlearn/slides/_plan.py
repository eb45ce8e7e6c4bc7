# SPDX-License-Identifier: BSD-3-Clause
"""What is to be done of a slide, and where what is done so far lies."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from psmlearn._images._clumps import Box, grown_box
from psmlearn._images._tiles import tile_boxes
from psmlearn.io import Slide, atomic_path
from psmlearn.preprocessing._slide_tissue import Tissue

__all__ = ["PROBLEMS", "Scratch", "SlidePlan"]

PROBLEMS = "problems"
"""The stage of what could not be read."""

_MORE = "and more tiles, shown white"


class Scratch:
    """A folder of what is done so far; each file is there whole, or not at all."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def path(self, stage: str, name: int | str) -> str:
        """Return where a stage keeps what it made of a part."""
        return os.path.join(self.folder, stage, f"{name}.npz")

    def array_path(self, name: int | str) -> str:
        """Return where an array that is read by parts lies."""
        return os.path.join(self.folder, f"{name}.npy")

    def has(self, stage: str, name: int | str) -> bool:
        """Tell whether a part is done."""
        return os.path.exists(self.path(stage, name))

    def save(self, stage: str, name: int | str, arrays: Mapping[str, Any]) -> None:
        """Write arrays."""
        path = self.path(stage, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays)

    def load(self, stage: str, name: int | str) -> dict[str, np.ndarray]:
        """Read arrays."""
        with np.load(self.path(stage, name), allow_pickle=False) as arrays:
            return dict(arrays)

    def save_array(self, name: int | str, array: np.ndarray) -> None:
        """Write an array that is read by parts."""
        path = self.array_path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.save(file, array, allow_pickle=False)

    def open_array(self, name: int | str) -> np.ndarray:
        """Open an array, of which only the parts that are used are read."""
        return np.load(self.array_path(name), mmap_mode="r", allow_pickle=False)


@dataclass(frozen=True)
class SlidePlan:
    """A slide, cut into tiles for the network and blocks for all else.

    Attributes
    ----------
    slide : Slide
    wished : float or None
        Micrometres per pixel at which it is read; None is full resolution.
    pixel_size : float
        What is read then, in truth.
    shape : tuple of two int
        Of that, in pixels.
    tile_size, halo, stride : int
        Of the network's tiles, which never change with the blocks.
    block_size : int
    first_block : tuple of two int
        Row and column of the first pixel of a block.
    tissue : Tissue
    folder : str
        Where what is done so far lies.
    n_outputs : int
        Planes of the network's answer.
    run : str
        What tells this run from another one of the slide.
    """

    slide: Slide
    wished: float | None
    pixel_size: float
    shape: tuple[int, int]
    tile_size: int
    halo: int
    stride: int
    block_size: int
    first_block: tuple[int, int]
    tissue: Tissue
    folder: str
    n_outputs: int
    run: str = ""

    @cached_property
    def view(self) -> Any:
        """The slide as it is read."""
        return self.slide.view(self.wished)

    @cached_property
    def scratch(self) -> Scratch:
        """Where what is done so far lies."""
        return Scratch(self.folder)

    @cached_property
    def _told_problems(self) -> set[str]:
        return set()

    def keep_problems(self, name: str) -> None:
        """Write down what of the slide could not be read since it was last asked."""
        told = [_MORE if _is_more(each) else each for each in self.slide.problems]
        new = [each for each in told if each not in self._told_problems]
        if new:
            self.scratch.save(PROBLEMS, name, {"text": np.array(new)})
            self._told_problems.update(new)

    def problems(self) -> list[str]:
        """Return what could not be read, by whatever process, in alphabetical order."""
        self.keep_problems("last")
        found: set[str] = set()
        folder = os.path.join(self.folder, PROBLEMS)
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            arrays = self.scratch.load(PROBLEMS, name.removesuffix(".npz"))
            found.update(arrays["text"].tolist())
        return sorted(found, key=lambda line: (line == _MORE, line))

    @property
    def model_path(self) -> str:
        """Where the model lies that workers read."""
        return os.path.join(self.folder, "model.psm")

    def told(self) -> dict[str, Any]:
        """Return what results hang on, as plain values."""
        mask = np.ascontiguousarray(self.tissue.mask)
        digest = hashlib.sha256(mask.tobytes() + str(mask.shape).encode())
        names = ("wished", "pixel_size", "shape", "tile_size", "halo", "stride")
        return {
            "slide": _plain(self.slide.fingerprint()),
            "tissue": digest.hexdigest(),
            "n_outputs": self.n_outputs,
            "block_size": self.block_size,
            "first_block": list(self.first_block),
            **{name: _plain(getattr(self, name)) for name in names},
        }

    def save(self) -> None:
        """Write the plan into its folder, for workers.

        Raises
        ------
        ValueError
            If the slide is no file.
        """
        if self.slide.path is None:
            raise ValueError(
                "Workers open the slide by themselves: give the path of a slide, or "
                "write the array to a file (OME-TIFF, OME-Zarr) first."
            )
        self.scratch.save("plan", "tissue", {"mask": self.tissue.mask})
        values = {
            **self.told(),
            "path": os.path.abspath(self.slide.path),
            "given": self.slide.pixel_size,
            "run": self.run,
        }
        path = os.path.join(self.folder, "plan.json")
        with atomic_path(path) as temporary:
            Path(temporary).write_text(json.dumps(values), encoding="utf-8")

    @classmethod
    def load(cls, folder: str) -> SlidePlan:
        """Read the plan of a folder."""
        text = Path(folder, "plan.json").read_text(encoding="utf-8")
        values = json.loads(text)
        slide = Slide(values["path"], pixel_size=values["given"])
        if _plain(slide.fingerprint()) != values["slide"]:
            raise ValueError(f"{values['path']!r} changed while it was read.")
        shape = tuple(values["shape"])
        mask = Scratch(folder).load("plan", "tissue")["mask"]
        names = ("wished", "pixel_size", "tile_size", "halo", "stride", "block_size")
        return cls(
            slide=slide,
            shape=shape,
            first_block=tuple(values["first_block"]),
            tissue=Tissue(mask, shape),
            folder=folder,
            n_outputs=values["n_outputs"],
            run=values["run"],
            **{name: values[name] for name in names},
        )

    @cached_property
    def tiles(self) -> list[tuple[Box, Box]]:
        """The core of each tile, and the tile, as whole images are cut."""
        height, width = (-(-side // self.stride) * self.stride for side in self.shape)
        return tile_boxes(height, width, self.tile_size, self.halo, self.stride)

    @cached_property
    def _tile_starts(self) -> tuple[np.ndarray, np.ndarray]:
        """First rows, and first columns, of the tiles' cores."""
        tops = np.unique([core[0] for core, _ in self.tiles])
        lefts = np.unique([core[1] for core, _ in self.tiles])
        return tops, lefts

    def tiles_near(self, box: Box, margin: int = 0) -> list[int]:
        """Return the tiles, ascending, whose cores come so near to a box."""
        tops, lefts = self._tile_starts
        top, left, bottom, right = grown_box(box, margin, self.shape)
        return [
            row * len(lefts) + column
            for row in _between(tops, top, bottom)
            for column in _between(lefts, left, right)
        ]

    @cached_property
    def blocks(self) -> list[Box]:
        """The blocks, row by row."""
        spans = []
        for side, first in zip(self.shape, self.first_block, strict=True):
            starts = sorted({0, *range(first, side, self.block_size)})
            spans.append(list(zip(starts, [*starts[1:], side], strict=True)))
        return [
            (top, left, bottom, right)
            for top, bottom in spans[0]
            for left, right in spans[1]
        ]

    def tiles_to_answer(self) -> list[int]:
        """Return the tiles with tissue."""
        return [
            number
            for number, (core, _) in enumerate(self.tiles)
            if self.tissue.any_in(self.clipped(core))
        ]

    def tile_mm2(self, number: int) -> float:
        """Return how much of a tile is looked at, in square millimetres."""
        core = self.clipped(self.tiles[number][0])
        shown = self.tissue.shown(core)
        whole = (core[2] - core[0]) * (core[3] - core[1])
        n_pixels = whole if shown is None else int(shown.sum())
        return n_pixels * self.pixel_size**2 / 1e6

    def blocks_to_read(self) -> list[int]:
        """Return the blocks with tissue."""
        return [
            number
            for number, block in enumerate(self.blocks)
            if self.tissue.any_in(block)
        ]

    def clipped(self, box: Box) -> Box:
        """Return a box within the slide."""
        return (*box[:2], min(box[2], self.shape[0]), min(box[3], self.shape[1]))

    def read_outputs(self, box: Box) -> np.ndarray:
        """Return the network's answers in a box, the background first.

        Where no tile was answered for, nothing is there.
        """
        shape = (box[2] - box[0], box[3] - box[1], 1 + self.n_outputs)
        outputs = np.zeros(shape, np.float32)
        for number in self.tiles_near(box):
            core = self.clipped(self.tiles[number][0])
            try:
                answer = self.scratch.open_array(f"answers/{number}")
            except FileNotFoundError:
                continue
            part = _common(core, box)
            outputs[_slices(part, box)][..., 1:] = answer[_slices(part, core)]
        return outputs


def _is_more(problem: str) -> bool:
    """Tell the line that only counts what a slide does not list."""
    return problem.startswith("and ")


def _plain(value: Any) -> Any:
    """Return a value as it comes back from JSON."""
    return json.loads(json.dumps(value))


def _between(starts: np.ndarray, first: int, last: int) -> range:
    """Return the spans, given by their starts, that meet ``first:last``."""
    return range(
        int(np.searchsorted(starts, first, "right")) - 1,
        int(np.searchsorted(starts, last, "left")),
    )


def _common(first: Box, second: Box) -> Box:
    top, left = (max(sides) for sides in zip(first[:2], second[:2], strict=True))
    bottom, right = (min(sides) for sides in zip(first[2:], second[2:], strict=True))
    return top, left, bottom, right


def _slices(box: Box, of: Box) -> tuple[slice, slice]:
    """Return where a box lies in another."""
    return (
        slice(box[0] - of[0], box[2] - of[0]),
        slice(box[1] - of[1], box[3] - of[1]),
    )
