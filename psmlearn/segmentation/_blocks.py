# SPDX-License-Identifier: BSD-3-Clause
"""Nuclei read block by block, as they would be from the whole image at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from psmlearn._images import _clumps
from psmlearn._images._clumps import (
    Box,
    Clumps,
    cut_giants,
    find_clumps,
    grown_box,
    is_giant,
)
from psmlearn._images._instances import number_by_place
from psmlearn.segmentation._classes import ids_of
from psmlearn.segmentation._decoding import Decoding

__all__ = ["BlockReader", "Piece", "cropped", "first_in"]

# Pixels that are read around a block at first, and around what goes on beyond them.
_MARGIN, _STEP = 128, 64
# Rows that are reduced at a time for the first look.
_STRIP = 512


@dataclass(frozen=True)
class Piece:
    """Some objects of an image.

    Attributes
    ----------
    box : tuple of four int
        Where the mask lies.
    mask : ndarray of shape (height, width), or (height, width, 2) with classes, int32
        Ids 1..n by place, 0 where these objects are not.
    """

    box: Box
    mask: np.ndarray


@dataclass(frozen=True)
class BlockReader:
    """Reads the objects of blocks of an image that is never held whole.

    An object belongs to the block of its first pixel, row by row. What hangs on more
    than the block is read again in a part that holds its clump, so that the objects
    are the same, bit for bit, whatever the blocks.

    Attributes
    ----------
    read : callable
        ``read(box)`` gives the network's activated outputs,
        (height, width, n_channels) float32.
    shape : tuple of two int
        Of the image.
    decoding : Decoding
        What objects are read by.
    decode : callable
        ``decode(outputs)`` gives the mask of a part.
    reach : int
        What has a say in an object lies so near to its clump, in pixels.
    max_hole_area : float
        Holes of a clump, in pixels.
    """

    read: Callable[[Box], np.ndarray]
    shape: tuple[int, int]
    decoding: Decoding
    decode: Callable[[np.ndarray], np.ndarray]
    reach: int
    max_hole_area: float

    @classmethod
    def of_nuclei(
        cls,
        read: Callable[[Box], np.ndarray],
        shape: tuple[int, int],
        decoding: Decoding,
        zoom: float = 1.0,
    ) -> BlockReader:
        """Return the reader of nuclei that are so much larger than usual ones."""
        decode = partial(decoding.read, zoom=zoom)
        bounds = decoding.bounds(zoom)
        return cls(read, shape, decoding, decode, *bounds)

    @classmethod
    def of_first_look(
        cls,
        read: Callable[[Box], np.ndarray],
        shape: tuple[int, int],
        decoding: Decoding,
    ) -> BlockReader:
        """Return the reader of a first look; boxes are at its resolution."""
        step = decoding.first_step

        def read_coarse(box: Box) -> np.ndarray:
            top, left, bottom, right = (step * side for side in box)
            strips = [
                decoding.coarse(read((row, left, min(row + _STRIP, bottom), right)))
                for row in range(top, bottom, _STRIP)
            ]
            return np.concatenate(strips)

        coarse = (shape[0] // step, shape[1] // step)
        bounds = decoding.bounds(1.0)
        return cls(read_coarse, coarse, decoding, decoding.first_look, *bounds)

    def objects(self, core: Box) -> Iterator[Piece]:
        """Yield the objects of a block."""
        box = grown_box(core, max(_MARGIN, 2 * self.reach), self.shape)
        output = self.read(box)
        clumps = self._clumps(output, box)
        inner = _shifted(core, box)
        mine = clumps.within(inner)
        if not len(mine):
            return
        giant = np.zeros(len(mine), bool)
        if max(clumps.labels.shape) > _clumps.LARGEST_CLUMP:
            giant[:] = [is_giant(clumps.boxes[n - 1]) for n in mine]
        is_cut = clumps.is_cut[mine]
        yield from self._kept(output, box, clumps, mine[~is_cut & ~giant], core)
        followed: set[int] = set()
        waiting = {int(n): _first_pixel(clumps, n, box) for n in mine[is_cut]}
        giants = {int(n) for n in mine[giant]}
        for number, pixel in waiting.items():
            if number in followed or number in giants:
                continue
            found = self._followed(pixel)
            if found is None:
                giants.add(number)
                continue
            whole, part, part_clumps, own = found
            for other, place in waiting.items():
                if _label_at(part_clumps, place, part) == own:
                    followed.add(other)
            yield from self._kept(whole, part, part_clumps, np.array([own]), core)
        if giants:
            is_of_giant = np.isin(clumps.labels, list(giants))
            yield from self._of_giants(is_of_giant, box, core)

    def _clumps(self, output: np.ndarray, box: Box) -> Clumps:
        mask = self.decoding.foreground(output) > self.decoding.threshold
        return find_clumps(
            mask,
            box,
            self.shape,
            reach=self.reach,
            max_hole_area=self.max_hole_area,
        )

    def _followed(
        self, pixel: tuple[int, int]
    ) -> tuple[np.ndarray, Box, Clumps, int] | None:
        """Return a part with the whole clump of a pixel; None for a giant."""
        row, column = pixel
        seen: Box = (row, column, row + 1, column + 1)
        least = margin = max(_STEP, 2 * self.reach)
        while True:
            # Seen further, what goes on is a giant.
            side = max(seen[2] - seen[0], seen[3] - seen[1])
            further = _clumps.LARGEST_CLUMP - side + self.reach + 1
            box = grown_box(seen, min(margin, max(least, further)), self.shape)
            output = self.read(box)
            clumps = self._clumps(output, box)
            own = _label_at(clumps, pixel, box)
            place = clumps.box(own)
            if is_giant(place):
                return None
            if not clumps.is_cut[own]:
                return output, box, clumps, own
            seen = (
                box[0] + place[0].start,
                box[1] + place[1].start,
                box[0] + place[0].stop,
                box[1] + place[1].stop,
            )
            margin *= 2

    def _kept(
        self,
        output: np.ndarray,
        box: Box,
        clumps: Clumps,
        wanted: np.ndarray,
        core: Box,
    ) -> Iterator[Piece]:
        """Yield the objects of some clumps whose first pixel is in a block."""
        if not len(wanted):
            return
        is_wanted = np.zeros(len(clumps.is_cut), bool)
        is_wanted[wanted] = True
        shown = is_wanted[clumps.labels]
        # Of a part that is much larger than its clumps the rest need not be read.
        rows, columns = (
            slice(max(0, int(at[0]) - self.reach), int(at[-1]) + 1 + self.reach)
            for at in (np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0)))
        )
        output, shown = output[rows, columns], shown[rows, columns]
        if self.decoding.clumps_alone:
            # What is whole stays: it may lie in a hole of what is wanted.
            other = clumps.is_cut & ~is_wanted
            other[0] = False
            output = self.decoding.blanked(output, other[clumps.labels[rows, columns]])
        corner = box[0] + rows.start, box[1] + columns.start
        mask = self.decode(output)
        ids = ids_of(mask)
        kept = first_in(ids, _shifted(core, (*corner, 0, 0)), shown)
        if kept.any():
            yield cropped(np.where(kept[ids], ids, 0), mask, corner)

    def _of_giants(self, giants: np.ndarray, box: Box, core: Box) -> Iterator[Piece]:
        """Yield the objects of clumps that are cut along lines of the image."""
        side = _clumps.GRID
        for top in range(core[0] // side * side, core[2], side):
            for left in range(core[1] // side * side, core[3], side):
                cell = (top, left, top + side, left + side)
                part = (
                    max(cell[0], core[0]),
                    max(cell[1], core[1]),
                    min(cell[2], core[2]),
                    min(cell[3], core[3]),
                )
                known = giants[_slices(_shifted(part, box))]
                if known.any():
                    yield from self._of_cell(cell, part, known, core)

    def _of_cell(
        self, cell: Box, part: Box, known: np.ndarray, core: Box
    ) -> Iterator[Piece]:
        box = grown_box(cell, 2 * self.reach, self.shape)
        output = self.read(box)
        clumps = self._clumps(output, box)
        inner = _slices(_shifted(part, box))
        mask = self.decoding.foreground(output) > self.decoding.threshold
        giants = np.unique(clumps.labels[inner][known])
        lines = cut_giants(mask, clumps.labels, giants[giants > 0], box)
        output = self.decoding.blanked(output, lines)
        pieces = self._clumps(output, box)
        own = np.unique(pieces.labels[inner][known])
        yield from self._kept(output, box, pieces, own[own > 0], core)


def _shifted(box: Box, to: Box) -> Box:
    """Return a box as it is seen from the corner of another."""
    top, left = to[:2]
    return box[0] - top, box[1] - left, box[2] - top, box[3] - left


def _slices(box: Box) -> tuple[slice, slice]:
    return slice(box[0], box[2]), slice(box[1], box[3])


def _first_pixel(clumps: Clumps, number: int, box: Box) -> tuple[int, int]:
    rows, columns = clumps.box(number)
    row, column = np.argwhere(clumps.labels[rows, columns] == number)[0]
    return box[0] + rows.start + int(row), box[1] + columns.start + int(column)


def _label_at(clumps: Clumps, pixel: tuple[int, int], box: Box) -> int:
    """Return the clump at a pixel; 0 beyond the part."""
    row, column = pixel[0] - box[0], pixel[1] - box[1]
    height, width = clumps.labels.shape
    if not (0 <= row < height and 0 <= column < width):
        return 0
    return int(clumps.labels[row, column])


def first_in(ids: np.ndarray, core: Box, shown: np.ndarray | None = None) -> np.ndarray:
    """Tell which ids, 0 first, have their first pixel in a box, and where shown."""
    flat = ids.ravel()
    places = np.flatnonzero(flat)
    first = np.zeros(int(flat.max(initial=0)) + 1, np.int64)
    first[flat[places][::-1]] = places[::-1]
    rows, columns = np.divmod(first, ids.shape[1])
    inside = (rows >= core[0]) & (rows < core[2])
    inside &= (columns >= core[1]) & (columns < core[3])
    if shown is not None:
        inside &= shown.ravel()[first]
    inside[0] = False
    return inside


def cropped(ids: np.ndarray, mask: np.ndarray, corner: tuple[int, int]) -> Piece:
    """Return the objects of a mask, of which some ids are kept, as a piece.

    Parameters
    ----------
    ids : ndarray of shape (height, width)
        Those that are kept; there is one at least.
    mask : ndarray of shape (height, width[, 2])
    corner : tuple of two int
        Where in the image it lies.
    """
    rows = np.flatnonzero(ids.any(axis=1))
    columns = np.flatnonzero(ids.any(axis=0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    cut = number_by_place(ids[top:bottom, left:right])
    if mask.ndim == 3:
        classes = mask[top:bottom, left:right, 1]
        cut = np.stack([cut, np.where(cut > 0, classes, 0)], axis=-1)
    box = (corner[0] + top, corner[1] + left, corner[0] + bottom, corner[1] + right)
    return Piece(box, cut)
