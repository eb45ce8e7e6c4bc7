# SPDX-License-Identifier: BSD-3-Clause
"""Tables and outlines of the nuclei of a block, by their numbers in the slide."""

from __future__ import annotations

import os

import numpy as np

from psmlearn._images._clumps import Box
from psmlearn.io import GeoJSONWriter
from psmlearn.slides._model import SlideModel
from psmlearn.slides._pieces import Pieces
from psmlearn.slides._plan import SlidePlan

__all__ = ["keep_ids", "nuclei_of_block", "outline", "outlines_path"]

_IDS = "ids"


def keep_ids(plan: SlidePlan, ids: np.ndarray) -> None:
    """Write down the number of each object, for whoever draws outlines."""
    plan.scratch.save_array(_IDS, ids)


def outlines_path(plan: SlidePlan, number: int) -> str:
    """Return where the outlines of a block lie."""
    return os.path.join(plan.folder, "outlines", f"{number}.geojson")


def _titles(model: SlideModel) -> dict[int, str] | None:
    """Return the names of the classes as QuPath has them."""
    names = model.class_names
    return {value: name.capitalize() for value, name in names.items()} or None


def nuclei_of_block(
    plan: SlidePlan, ids: np.ndarray, number: int
) -> dict[str, np.ndarray] | None:
    """Return the table of the nuclei of a block; None where none are."""
    arrays = plan.scratch.load("measures", number)
    if "label" not in arrays:
        return None
    columns = {
        name: values
        for name, values in arrays.items()
        if not name.startswith("measure_")
    }
    columns["label"] = ids[columns["label"] - 1].astype(np.int64)
    kept = np.flatnonzero(columns["label"])
    kept = kept[np.argsort(columns["label"][kept])]
    return {name: values[kept] for name, values in columns.items()}


def outline(plan: SlidePlan, model: SlideModel, number: int, pieces: Pieces) -> None:
    """Keep the outlines of the nuclei of a block, in pixels of full resolution."""
    path, step = outlines_path(plan, number), plan.view.downsample
    os.makedirs(os.path.dirname(path), exist_ok=True)
    ids = plan.scratch.open_array(_IDS)
    columns = nuclei_of_block(plan, ids, number)
    with GeoJSONWriter(path, classes=_titles(model), downsample=step) as writer:
        if columns is None or not len(columns["label"]):
            return
        kinds = None
        if "class" in columns:
            labels, classes = columns["label"].tolist(), columns["class"].tolist()
            kinds = dict(zip(labels, classes, strict=True))
        boxes = pieces.boxes[pieces.of_block(number)]
        first, last = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        box: Box = (*first.tolist(), *last.tolist())
        drawn = pieces.labels(plan.scratch, box, ids, only=number)
        corner = (box[0] * step, box[1] * step)
        writer.add(drawn, measurements=columns, classes=kinds, offset=corner)
