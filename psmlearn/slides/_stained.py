# SPDX-License-Identifier: BSD-3-Clause
"""Nuclei that a chromogen stains: read from fields of the slide, put before others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from psmlearn._images._clumps import Box
from psmlearn.io import ImageBatch
from psmlearn.segmentation._blocks import Piece, cropped, first_in
from psmlearn.segmentation._classes import ids_of
from psmlearn.segmentation._stain_classes import (
    StainedNuclei,
    not_found,
    without_stained,
)
from psmlearn.slides._plan import SlidePlan, _common, _slices

__all__ = ["put_stained_first", "settle", "stained_nuclei"]


def stained_nuclei(
    plan: SlidePlan, stained: StainedNuclei, image: np.ndarray, number: int
) -> None:
    """Keep the nuclei that stains tell whose first pixel is in a tile's core.

    Parameters
    ----------
    stained : StainedNuclei
        What finds them.
    image : ndarray of shape (height, width, n_channels), float32
        The tile with its context.
    """
    core, tile = plan.tiles[number]
    tile = plan.clipped(tile)
    # As a batch, in which no black corner of a part is taken for padding.
    batch: Any = ImageBatch(
        [image], names=["slide"], shapes=[image.shape[:2]], n_channels=image.shape[2]
    )
    with warnings.catch_warnings():
        # Of one tile nobody can say what a slide is stained by.
        warnings.filterwarnings("ignore", ".* do not look like the stains")
        (mask,) = stained.find(batch)
    ids = mask[..., 0]
    inner: Box = (
        core[0] - tile[0],
        core[1] - tile[1],
        core[2] - tile[0],
        core[3] - tile[1],
    )
    ids = np.where(first_in(ids, inner)[ids], ids, 0)
    _save(plan, "stained", number, ids, mask[..., 1], tile)


def _save(
    plan: SlidePlan,
    stage: str,
    number: int,
    ids: np.ndarray,
    classes: np.ndarray,
    box: Box,
) -> None:
    """Keep some nuclei of a part, and their classes, which 0 is none of."""
    if not ids.any():
        plan.scratch.save(stage, number, {})
        return
    piece = cropped(ids, np.stack([ids, classes], axis=-1), (box[0], box[1]))
    plan.scratch.save(stage, number, {"box": np.array(piece.box), "mask": piece.mask})


def _load(plan: SlidePlan, stage: str, number: int) -> Piece | None:
    """Return the nuclei of a tile; None where none are."""
    if not plan.scratch.has(stage, number):
        return None
    arrays = plan.scratch.load(stage, number)
    if "mask" not in arrays:
        return None
    top, left, bottom, right = arrays["box"].tolist()
    return Piece((top, left, bottom, right), arrays["mask"])


def settle(plan: SlidePlan, number: int) -> None:
    """Keep the nuclei of a tile that no tile before it has.

    Two tiles may see a nucleus of their border a little differently. What loses half
    of itself to a tile before is that nucleus seen again.
    """
    own = _load(plan, "stained", number)
    if own is None:
        plan.scratch.save("settled", number, {})
        return
    taken = np.zeros(own.mask.shape[:2], bool)
    for other in plan.tiles_near(own.box, plan.halo):
        before = _load(plan, "stained", other) if other < number else None
        if before is not None:
            part = _common(before.box, own.box)
            if part[0] < part[2] and part[1] < part[3]:
                ids = before.mask[..., 0][_slices(part, before.box)]
                taken[_slices(part, own.box)] |= ids > 0
    ids = own.mask[..., 0]
    is_less = np.zeros(int(ids.max()) + 1, bool)
    is_less[ids[taken]] = True
    is_less[0] = False
    left = without_stained(np.where(is_less[ids], ids, 0), taken)
    # What no other tile has stays as it is.
    ids = np.where(is_less[ids], np.where(left > 0, left + ids.max(), 0), ids)
    _save(plan, "settled", number, ids, own.mask[..., 1], own.box)


def _settled(plan: SlidePlan, box: Box) -> np.ndarray:
    """Return ids and classes of the nuclei of chromogens in a box, (h, w, 2) int32."""
    mask = np.zeros((box[2] - box[0], box[3] - box[1], 2), np.int32)
    n_objects = 0
    for number in plan.tiles_near(box, plan.halo):
        piece = _load(plan, "settled", number)
        if piece is None:
            continue
        part = _common(piece.box, box)
        if part[0] < part[2] and part[1] < part[3]:
            found = piece.mask[_slices(part, piece.box)]
            inside = found[..., 0] > 0
            target = mask[_slices(part, box)]
            target[inside, 0] = found[inside, 0] + n_objects
            target[inside, 1] = found[inside, 1]
        n_objects += int(piece.mask[..., 0].max())
    return mask


def put_stained_first(
    plan: SlidePlan,
    pieces: Sequence[Piece],
    block: Box,
    counterstain: int,
    foreground: Callable[[Box], np.ndarray],
) -> list[Piece]:
    """Return the nuclei of a block: those of stains, and the network's beside.

    Parameters
    ----------
    pieces : sequence of Piece
        The network's, whose nuclei are of the counterstain, of whatever class.
    counterstain : int
        Its class.
    foreground : callable
        Returns which pixels of a box the network has found.
    """
    merged = []
    for piece in pieces:
        settled = _settled(plan, piece.box)
        stained = (settled[..., 0] > 0) & (settled[..., 1] <= counterstain)
        ids = without_stained(ids_of(piece.mask), stained)
        if ids.any():
            classes = np.full_like(ids, counterstain)
            corner = (piece.box[0], piece.box[1])
            merged.append(cropped(ids, np.stack([ids, classes], axis=-1), corner))
    for number in plan.tiles_near(block, plan.halo):
        settled_piece = _load(plan, "settled", number)
        if settled_piece is not None:
            merged += _of_stains(settled_piece, block, counterstain, foreground)
    return merged


def _of_stains(
    found: Piece,
    block: Box,
    counterstain: int,
    foreground: Callable[[Box], np.ndarray],
) -> list[Piece]:
    """Return those of a tile's nuclei that are a block's own, debris left out."""
    top, left = corner = (found.box[0], found.box[1])
    ids, classes = found.mask[..., 0], found.mask[..., 1]
    core: Box = (block[0] - top, block[1] - left, block[2] - top, block[3] - left)
    ids = np.where((classes > 0) & first_in(ids, core)[ids], ids, 0)
    if not ids.any():
        return []
    own = cropped(ids, found.mask, corner)
    ids, classes = own.mask[..., 0], own.mask[..., 1]
    is_pale = classes > counterstain
    if is_pale.any():
        beside = not_found(np.where(is_pale, ids, 0), foreground(own.box))
        ids = np.where(is_pale, beside, ids)
        if not ids.any():
            return []
        classes = np.minimum(classes, counterstain)
        corner = (own.box[0], own.box[1])
        own = cropped(ids, np.stack([ids, classes], axis=-1), corner)
    return [own]
