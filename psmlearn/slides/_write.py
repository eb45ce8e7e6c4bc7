# SPDX-License-Identifier: BSD-3-Clause
"""Results of a slide, written block by block."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
from PIL import Image

from psmlearn._progress import track
from psmlearn.io import TableWriter, atomic_path, write_label_pyramid
from psmlearn.io._geojson_writer import join_geojson
from psmlearn.preprocessing._slide_tissue import thumbnail
from psmlearn.slides._model import SlideModel
from psmlearn.slides._outlines import nuclei_of_block, outlines_path
from psmlearn.slides._plan import SlidePlan
from psmlearn.slides._run import Found
from psmlearn.slides._stages import no_rows

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
    # Two at a time: both spend most of their time packing, outside Python.
    with ThreadPoolExecutor(1) as pool:
        objects = pool.submit(_write_objects, plan, model, found, files)
        for kind in ("labels", "zarr"):
            if kind in files:
                rows = _Rows(plan, found, verbose)
                write_label_pyramid(
                    files[kind], rows.read, plan.shape, pixel_size=plan.pixel_size
                )
        objects.result()
    _write_tissue(plan, files["tissue"])


def _write_objects(
    plan: SlidePlan, model: SlideModel, found: Found, files: dict[str, str]
) -> None:
    """Write outlines and tables."""
    if "geojson" in files:
        paths = [outlines_path(plan, number) for number in found.blocks]
        join_geojson(files["geojson"], paths)
    with ExitStack() as stack:
        tables = [
            stack.enter_context(TableWriter(files[kind]))
            for kind in ("table", "parquet")
            if kind in files
        ]
        empty = no_rows(plan, model, found.stains) if tables else {}
        for table in tables:
            table.add(empty)
            for number in found.blocks:
                table.add(nuclei_of_block(plan, found.ids, number) or empty)


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
