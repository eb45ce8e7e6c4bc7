# SPDX-License-Identifier: BSD-3-Clause
"""The objects of a slide: found block by block, numbered over all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from psmlearn._images._clumps import Box
from psmlearn.segmentation._blocks import Piece
from psmlearn.slides._plan import Scratch, _common, _slices

__all__ = ["Pieces", "pack_pieces"]


def pack_pieces(pieces: Sequence[Piece], width: int) -> dict[str, np.ndarray]:
    """Return the pieces of a block as arrays.

    Parameters
    ----------
    pieces : sequence of Piece
    width : int
        Of the slide, in pixels.

    Returns
    -------
    arrays : dict
        ``boxes`` (n_pieces, 4); ``counts``, the objects of each; ``ids``, the pixels
        of all pieces one after the other; ``sizes``, ``first`` and ``classes`` of each
        object: its pixels, the place of its first one in the slide, row by row, and
        its class, 0 without classes.
    """
    planes = [
        each.mask if each.mask.ndim == 2 else each.mask[..., 0] for each in pieces
    ]
    counts = [int(plane.max(initial=0)) for plane in planes]
    sizes, first, classes = [], [], []
    for piece, plane, count in zip(pieces, planes, counts, strict=True):
        flat = plane.ravel()
        places = np.flatnonzero(flat)
        sizes.append(np.bincount(flat[places], minlength=count + 1)[1:])
        start = np.empty(count + 1, np.int64)
        start[flat[places][::-1]] = places[::-1]
        rows, columns = np.divmod(start[1:], plane.shape[1])
        first.append((rows + piece.box[0]) * width + columns + piece.box[1])
        has_classes = piece.mask.ndim == 3
        kinds = piece.mask[rows, columns, 1] if has_classes else np.zeros_like(rows)
        classes.append(kinds)
    return {
        "boxes": np.array([piece.box for piece in pieces], np.int64).reshape(-1, 4),
        "counts": np.array(counts, np.int64),
        "ids": _joined([plane.ravel() for plane in planes], np.int32),
        "sizes": _joined(sizes, np.int64),
        "first": _joined(first, np.int64),
        "classes": _joined(classes, np.int64),
    }


def _joined(arrays: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *arrays]).astype(dtype, copy=False)


@dataclass(frozen=True)
class Pieces:
    """Where the pieces of all blocks lie.

    Attributes
    ----------
    boxes : ndarray of shape (n_pieces, 4)
    block : ndarray of shape (n_pieces,)
        The block that each is of.
    place : ndarray of shape (n_pieces,)
        Where its pixels begin among those of the block.
    start : ndarray of shape (n_pieces + 1,)
        Where its objects begin among those of the slide.
    """

    boxes: np.ndarray
    block: np.ndarray
    place: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, scratch: Scratch, blocks: Iterable[int]) -> Pieces:
        """List the pieces of some blocks."""
        boxes, owner, place, counts = [], [], [], []
        for number in blocks:
            arrays = scratch.load("objects", number)
            own = arrays["boxes"]
            areas = (own[:, 2] - own[:, 0]) * (own[:, 3] - own[:, 1])
            boxes.append(own)
            owner.append(np.full(len(own), number))
            place.append(np.cumsum(areas) - areas)
            counts.append(arrays["counts"])
        start = np.concatenate([[0], np.cumsum(_joined(counts, np.int64))])
        return cls(
            np.concatenate([np.empty((0, 4), np.int64), *boxes]),
            _joined(owner, np.int64),
            _joined(place, np.int64),
            start.astype(np.int64),
        )

    @property
    def n_objects(self) -> int:
        return int(self.start[-1])

    def of_block(self, number: int) -> np.ndarray:
        """Return the pieces of a block."""
        return np.flatnonzero(self.block == number)

    def objects_of(self, number: int) -> slice:
        """Return where the objects of a block are among those of the slide."""
        own = self.of_block(number)
        if not len(own):
            return slice(0, 0)
        return slice(int(self.start[own[0]]), int(self.start[own[-1] + 1]))

    def labels(
        self,
        scratch: Scratch,
        box: Box,
        ids: np.ndarray | range,
        only: int | None = None,
    ) -> np.ndarray:
        """Return the label image of a box.

        Parameters
        ----------
        ids : ndarray of shape (n_objects,), int32, or range
            The number that each object gets; 0 leaves it out.
        only : int, default=None
            The block whose objects are drawn; None draws all.

        Returns
        -------
        labels : ndarray of shape (height, width), int32
        """
        top, left, bottom, right = box
        labels = np.zeros((bottom - top, right - left), np.int32)
        meets = (self.boxes[:, 0] < bottom) & (self.boxes[:, 2] > top)
        meets &= (self.boxes[:, 1] < right) & (self.boxes[:, 3] > left)
        if only is not None:
            meets &= self.block == only
        loaded: dict[int, np.ndarray] = {}
        for number in np.flatnonzero(meets):
            block = int(self.block[number])
            if block not in loaded:
                loaded = {block: scratch.load("objects", block)["ids"]}
            self._draw(labels, box, int(number), loaded[block], ids)
        return labels

    def _draw(
        self, labels: np.ndarray, box: Box, number: int, pixels: np.ndarray, ids: Any
    ) -> None:
        own: Any = tuple(int(side) for side in self.boxes[number])
        height, width = own[2] - own[0], own[3] - own[1]
        place = int(self.place[number])
        plane = pixels[place : place + height * width].reshape(height, width)
        part = _common(own, box)
        table = np.zeros(self.start[number + 1] - self.start[number] + 1, np.int32)
        table[1:] = ids[self.start[number] : self.start[number + 1]]
        drawn = table[plane[_slices(part, own)]]
        target = labels[_slices(part, box)]
        np.copyto(target, drawn, where=drawn > 0)


def numbers_by_place(first: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
    """Return the number of each object, from 1, row by row as first pixels come.

    Parameters
    ----------
    first : ndarray of shape (n_objects,), int64
        The places of their first pixels.
    kept : ndarray of shape (n_objects,), bool
        The others get 0.
    """
    ids = np.zeros(len(first), np.int32)
    order = np.argsort(first, kind="stable")
    if kept is not None:
        order = order[kept[order]]
    ids[order] = np.arange(1, len(order) + 1)
    return ids
