# SPDX-License-Identifier: BSD-3-Clause
"""The stages of a slide, one after the other, on this machine or on many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from psmlearn._images._lengths import within_image
from psmlearn._images._prominence import FIELDS, Measures, prominence_of
from psmlearn.slides._model import SlideModel
from psmlearn.slides._outlines import keep_ids
from psmlearn.slides._pieces import Pieces, numbers_by_place
from psmlearn.slides._plan import SlidePlan

__all__ = ["Found", "Workers", "find_nuclei"]


class Workers(Protocol):
    """Who does a stage: this process, or others."""

    def run(self, stage: str, numbers: Sequence[int], **options: Any) -> None:
        """Do a stage for some parts; returns when all are done."""


@dataclass(frozen=True)
class Found:
    """The nuclei of a slide.

    Attributes
    ----------
    pieces : Pieces
    ids : ndarray of shape (n_objects,), int32
        The number of each object, by place; 0 for what is no nucleus.
    blocks : list of int
        Those with tissue.
    zoom : float
        How much larger than usual nuclei are.
    stains : tuple of str
        Those that were measured.
    classes : ndarray of shape (n_objects,), int64
        Of each object; 0 without classes.
    """

    pieces: Pieces
    ids: np.ndarray
    blocks: list[int]
    zoom: float
    stains: tuple[str, ...]
    classes: np.ndarray

    @property
    def n_nuclei(self) -> int:
        return int(self.ids.max(initial=0))

    def n_of_class(self, value: int) -> int:
        """Return how many nuclei are of a class."""
        return int(((self.ids > 0) & (self.classes == value)).sum())


def find_nuclei(
    plan: SlidePlan,
    model: SlideModel,
    workers: Workers,
    *,
    stains: tuple[str, ...] = ("haematoxylin",),
    outlines: bool = False,
) -> Found:
    """Find, number and measure the nuclei of a slide, and draw them if asked for."""
    tiles = plan.tiles_to_answer()
    workers.run("answer", tiles)
    if model.stained is not None:
        workers.run("find_stained", tiles)
        workers.run("settle_stained", tiles)
    blocks, zoom = plan.blocks_to_read(), 1.0
    if model.decoding.looks_first:
        workers.run("first_look", blocks)
        sizes = [plan.scratch.load("look", number)["sizes"] for number in blocks]
        zoom = model.decoding.zoom(np.concatenate([np.empty(0, np.int64), *sizes]))
    workers.run("read_objects", blocks, zoom=zoom)
    pieces = Pieces.of(plan.scratch, blocks)
    objects = _of_objects(plan, blocks, ("first", "sizes", "classes"))
    diameter = model.usual_diameter(objects["sizes"])
    workers.run("measure", blocks, pieces=pieces, diameter=diameter, stains=stains)
    first, kept = objects["first"], None
    if model.min_prominence and len(first):
        kept = _stand_out(plan, model, blocks, first, diameter)
    ids = numbers_by_place(first, kept)
    if outlines:
        keep_ids(plan, ids)
        workers.run("outline", blocks, pieces=pieces)
    return Found(pieces, ids, blocks, zoom, stains, objects["classes"])


def _of_objects(
    plan: SlidePlan, blocks: Sequence[int], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return what was kept of all objects of the slide."""
    loaded: dict[str, list[np.ndarray]] = {name: [np.empty(0, int)] for name in names}
    for number in blocks:
        arrays = plan.scratch.load("objects", number)
        for name in names:
            loaded[name].append(arrays[name])
    return {name: np.concatenate(parts) for name, parts in loaded.items()}


def _stand_out(
    plan: SlidePlan,
    model: SlideModel,
    blocks: Sequence[int],
    first: np.ndarray,
    diameter: float,
) -> np.ndarray:
    """Tell which objects stand out, as those around them usually do."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in FIELDS}
    for number in blocks:
        arrays = plan.scratch.load("measures", number)
        for name in FIELDS:
            if f"measure_{name}" in arrays:
                parts[name].append(arrays[f"measure_{name}"])
    # Sums are taken in the order of a whole image, for the sake of their last bits.
    order = np.argsort(first, kind="stable")
    values = [np.concatenate(parts[name])[order] for name in FIELDS]
    length = within_image(diameter, plan.shape)
    prominence = prominence_of(Measures(*values), plan.shape, length)
    kept = np.empty(len(first), bool)
    kept[order] = prominence >= model.min_prominence
    return kept
