# SPDX-License-Identifier: BSD-3-Clause
"""Results of a slide, written block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from PIL import Image

from psmlearn._images._clumps import Box
from psmlearn._progress import track
from psmlearn.io import GeoJSONWriter, TableWriter, atomic_path, write_label_pyramid
from psmlearn.slides._model import SlideModel
from psmlearn.slides._plan import SlidePlan
from psmlearn.slides._run import Found
from psmlearn.slides._stages import no_rows
from psmlearn.slides._tissue import thumbnail

__all__ = ["FORMATS", "write_results"]

FORMATS = {
    "labels": ".labels.ome.tif",
    "zarr": ".labels.ome.zarr",
    "geojson": ".geojson.gz",
    "table": ".csv",
    "parquet": ".parquet",
}
"""What can be written, and the end of its name."""

_TILE = 512


def write_results(
    plan: SlidePlan,
    model: SlideModel,
    found: Found,
    files: dict[str, str],
    verbose: int,
) -> None:
    """Write the files of a slide."""
    with ExitStack() as stack:
        outlines = None
        if "geojson" in files:
            outlines = stack.enter_context(
                GeoJSONWriter(
                    files["geojson"],
                    classes=_titles(model),
                    downsample=plan.view.downsample,
                )
            )
        tables = [
            stack.enter_context(TableWriter(files[kind]))
            for kind in ("table", "parquet")
            if kind in files
        ]
        if outlines is not None or tables:
            blocks = track(found.blocks, len(found.blocks), "outlines", verbose=verbose)
            empty = no_rows(plan, model, found.stains)
            for table in tables:
                table.add(empty)
            for number in blocks:
                _write_block(plan, found, number, outlines, tables, empty)
    for kind in ("labels", "zarr"):
        if kind in files:
            rows = _Rows(plan, found, verbose)
            write_label_pyramid(
                files[kind], rows.read, plan.shape, pixel_size=plan.pixel_size
            )
    _write_tissue(plan, files["tissue"])


def _titles(model: SlideModel) -> dict[int, str] | None:
    """Return the names of the classes as QuPath has them."""
    names = model.class_names
    return {value: name.capitalize() for value, name in names.items()} or None


def _write_block(
    plan: SlidePlan,
    found: Found,
    number: int,
    outlines: Any,
    tables: Sequence[TableWriter],
    empty: dict[str, np.ndarray],
) -> None:
    """Write the outlines and the rows of the nuclei of a block."""
    columns = _columns(plan, found, number, empty)
    for table in tables:
        table.add(columns)
    if outlines is None or not len(columns["label"]):
        return
    own = found.pieces.of_block(number)
    boxes = found.pieces.boxes[own]
    box: Box = (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
    labels = found.pieces.labels(plan.scratch, box, found.ids, only=number)
    step = plan.view.downsample
    corner = (box[0] * step, box[1] * step)
    kinds = None
    if "class" in columns:
        pairs = zip(columns["label"].tolist(), columns["class"].tolist(), strict=True)
        kinds = dict(pairs)
    outlines.add(labels, measurements=columns, classes=kinds, offset=corner)


def _columns(
    plan: SlidePlan, found: Found, number: int, empty: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the table of the nuclei of a block, by their numbers."""
    arrays = plan.scratch.load("measures", number)
    if "label" not in arrays:
        return empty
    columns = {
        name: values
        for name, values in arrays.items()
        if not name.startswith("measure_")
    }
    columns["label"] = found.ids[columns["label"] - 1].astype(np.int64)
    kept = np.flatnonzero(columns["label"])
    kept = kept[np.argsort(columns["label"][kept])]
    return {name: values[kept] for name, values in columns.items()}


class _Rows:
    """Label images of tiles, made a row of tiles at a time."""

    def __init__(self, plan: SlidePlan, found: Found, verbose: int) -> None:
        self.plan = plan
        self.found = found
        tops = range(0, plan.shape[0], _TILE)
        self._bar: Iterator[int] = track(tops, len(tops), "labels", verbose=verbose)
        self._top = -1
        self._row = np.empty((0, 0), np.int32)

    def read(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """Return the label image of a tile."""
        if top != self._top:
            next(self._bar, None)
            box = (top, 0, bottom, self.plan.shape[1])
            self._row = self.found.pieces.labels(self.plan.scratch, box, self.found.ids)
            self._top = top
        return self._row[: bottom - top, left:right]


def _write_tissue(plan: SlidePlan, path: str) -> None:
    """Write a thumbnail on which what was not looked at is dimmed."""
    picture, _ = thumbnail(plan.slide)
    height, width = picture.shape[:2]
    mask = plan.tissue.mask
    rows, columns = (
        np.arange(side) * cells // side
        for side, cells in zip((height, width), mask.shape, strict=True)
    )
    seen = mask[np.ix_(rows, columns)]
    dimmed = np.where(seen[..., np.newaxis], picture, picture // 2)
    with atomic_path(path) as temporary:
        Image.fromarray(dimmed.squeeze()).save(temporary)
