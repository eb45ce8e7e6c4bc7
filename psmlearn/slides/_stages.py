# SPDX-License-Identifier: BSD-3-Clause
"""What is done of each part of a slide: it is kept in files, and can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from psmlearn._images._clumps import Box, grown_box
from psmlearn._images._lengths import within_image
from psmlearn._images._prominence import (
    FIELDS,
    measure_objects,
    outline_gradient,
    ring_reach,
)
from psmlearn.io import ImageBatch
from psmlearn.measure import nuclei_table
from psmlearn.metrics._object_classes import number_ids
from psmlearn.segmentation._blocks import BlockReader
from psmlearn.slides._model import SlideModel
from psmlearn.slides._outlines import outline
from psmlearn.slides._pieces import Pieces, pack_pieces
from psmlearn.slides._plan import SlidePlan, _common, _slices
from psmlearn.slides._stained import put_stained_first, settle, stained_nuclei

__all__ = ["STAGES", "no_rows"]


def answer(plan: SlidePlan, model: SlideModel, number: int) -> None:
    """Keep the network's answer for a tile."""
    whole = plan.clipped(plan.tiles[number][0])
    shown = plan.tissue.shown(whole)
    core, tile = _narrowed(plan, number, shown)
    image = _padded(plan, model, tile)
    context = (
        core[0] - tile[0],
        core[1] - tile[1],
        tile[2] - core[2],
        tile[3] - core[3],
    )
    answered = model.answer(image, context)
    part = plan.clipped(core)
    answered = answered[: part[2] - part[0], : part[3] - part[1]]
    if shown is None:
        kept = np.ascontiguousarray(answered)
    else:
        kept = np.zeros((*shown.shape, answered.shape[2]), np.float32)
        place = _slices(part, whole)
        kept[place] = np.where(shown[place][..., np.newaxis], answered, 0)
    plan.scratch.save_array(f"answers/{number}", kept)


def find_stained(plan: SlidePlan, model: SlideModel, number: int) -> None:
    """Keep the nuclei of chromogens in a tile."""
    tile = plan.clipped(plan.tiles[number][1])
    if model.stained is not None:
        stained_nuclei(plan, model.stained, _read(plan, model, tile), number)


def settle_stained(plan: SlidePlan, model: SlideModel, number: int) -> None:
    """Keep those of them that no tile before has."""
    settle(plan, number)


def _narrowed(
    plan: SlidePlan, number: int, shown: np.ndarray | None
) -> tuple[Box, Box]:
    """Return what is to be answered of a tile, and that with its context.

    Of a core that is partly looked at, the box of that part: what a tile gives hangs
    on its context alone.
    """
    core, tile = plan.tiles[number]
    if shown is None:
        return core, tile
    stride, ends = plan.stride, []
    for axis in (0, 1):
        seen = np.flatnonzero(shown.any(axis=1 - axis))
        first = int(seen[0]) // stride * stride
        last = -(-(int(seen[-1]) + 1) // stride) * stride
        ends.append((core[axis] + first, core[axis] + last))
    (top, bottom), (left, right) = ends
    core = (top, left, bottom, right)
    grown = (top - plan.halo, left - plan.halo, bottom + plan.halo, right + plan.halo)
    return core, _common(grown, tile)


def _padded(plan: SlidePlan, model: SlideModel, tile: Box) -> np.ndarray:
    """Return the pixels of a tile, mirrored where it goes beyond the slide."""
    image = _read(plan, model, plan.clipped(tile))
    for axis in (0, 1):
        missing = tile[2 + axis] - plan.clipped(tile)[2 + axis]
        if missing:
            pads = [(0, 0)] * image.ndim
            pads[axis] = (0, missing)
            # As a whole image is enlarged; see pad_to_multiple.
            mode: Any = "reflect" if missing < plan.shape[axis] else "edge"
            image = np.pad(image, pads, mode=mode)
    return image


def _read(plan: SlidePlan, model: SlideModel, box: Box) -> np.ndarray:
    """Return pixels in [0, 1], white where the slide is not looked at."""
    return model.scaled(plan.view.read(*box), plan.tissue.shown(box))


def first_look(plan: SlidePlan, model: SlideModel, number: int) -> None:
    """Keep how large the objects of a block are, at a first look."""
    step = model.decoding.first_step
    top, left, bottom, right = plan.blocks[number]
    reader = BlockReader.of_first_look(plan.read_outputs, plan.shape, model.decoding)
    height, width = reader.shape
    core = (
        -(-top // step),
        -(-left // step),
        min(height, -(-bottom // step)),
        min(width, -(-right // step)),
    )
    pieces = (
        list(reader.objects(core)) if core[0] < core[2] and core[1] < core[3] else []
    )
    sizes = pack_pieces(pieces, width)["sizes"]
    plan.scratch.save("look", number, {"sizes": sizes})


def read_objects(plan: SlidePlan, model: SlideModel, number: int, zoom: float) -> None:
    """Keep the objects of a block."""
    reader = BlockReader.of_nuclei(plan.read_outputs, plan.shape, model.decoding, zoom)
    block = plan.blocks[number]
    pieces = list(reader.objects(block))
    if model.stained is not None:
        decoding = model.decoding

        def is_found(box: Box) -> np.ndarray:
            shares = decoding.foreground(plan.read_outputs(box))
            return shares > decoding.threshold

        pieces = put_stained_first(
            plan, pieces, block, model.stained.n_classes, is_found
        )
    plan.scratch.save("objects", number, pack_pieces(pieces, plan.shape[1]))


def measure(
    plan: SlidePlan,
    model: SlideModel,
    number: int,
    pieces: Pieces,
    diameter: float,
    stains: tuple[str, ...],
) -> None:
    """Keep a table of the objects of a block, and how much they stand out.

    Objects are named by their place among those of the slide, from 1.
    """
    own = pieces.of_block(number)
    if not len(own):
        plan.scratch.save("measures", number, {})
        return
    boxes = pieces.boxes[own]
    box: Box = (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
    diameter = within_image(diameter, plan.shape)
    reach = ring_reach(diameter)
    # The gradient's filter reaches four deviations, of 0.5 pixels at least.
    part = grown_box(box, reach + 8 + int(0.2 * diameter), plan.shape)
    labels = pieces.labels(plan.scratch, part, range(1, pieces.n_objects + 1))
    image = _read(plan, model, part)
    mine = pieces.objects_of(number)
    arrays: dict[str, Any] = {}
    if model.min_prominence:
        found, compact = number_ids(labels.ravel())
        compact = compact.reshape(labels.shape).astype(np.int32)
        if found[0] != 0:
            compact, found = compact + 1, np.append(0, found)
        height = model.stain(image)
        gradient = outline_gradient(height, diameter)
        measures = measure_objects(compact, height, gradient, reach, corner=part[:2])
        is_mine = (found[1:] > mine.start) & (found[1:] <= mine.stop)
        for name in FIELDS:
            arrays[f"measure_{name}"] = getattr(measures, name)[is_mine]
    labels[(labels <= mine.start) | (labels > mine.stop)] = 0
    if model.classes is not None:
        kinds = plan.scratch.load("objects", number)["classes"]
        kinds = np.append(0, kinds)[np.where(labels > 0, labels - mine.start, 0)]
        labels = np.stack([labels, kinds], axis=-1)
    arrays |= _table(plan, model, labels, image, part, stains)
    plan.scratch.save("measures", number, arrays)


def _table(
    plan: SlidePlan,
    model: SlideModel,
    labels: np.ndarray,
    image: np.ndarray,
    part: Box,
    stains: tuple[str, ...],
) -> dict[str, np.ndarray]:
    """Return the table of objects, in pixels of the slide."""
    # As a batch, in which no black corner of a part is taken for padding.
    colours: Any = ImageBatch(
        [image], names=["slide"], shapes=[image.shape[:2]], n_channels=image.shape[2]
    )
    table = nuclei_table(
        labels,
        colours if stains else None,
        pixel_size=plan.pixel_size,
        stains=stains or ("haematoxylin",),
        probabilities=np.clip(model.decoding.foreground(plan.read_outputs(part)), 0, 1),
    )
    for name, values in table.items():
        if name.endswith("_row"):
            table[name] = values + part[0]
        elif name.endswith("_column"):
            table[name] = values + part[1]
    return table


def no_rows(
    plan: SlidePlan, model: SlideModel, stains: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Return the columns of the table, without rows."""
    labels = np.zeros((1, 1) if model.classes is None else (1, 1, 2), np.int32)
    image = np.ones((1, 1, model.n_channels), np.float32)
    return _table(plan, model, labels, image, (0, 0, 1, 1), stains)


STAGES: dict[str, Callable[..., None]] = {
    "answer": answer,
    "find_stained": find_stained,
    "settle_stained": settle_stained,
    "first_look": first_look,
    "read_objects": read_objects,
    "measure": measure,
    "outline": outline,
}
