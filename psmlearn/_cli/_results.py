# SPDX-License-Identifier: BSD-3-Clause
"""What is written of each image, and what is said of it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from psmlearn._cli._outputs import SAMPLE, OutputFolder
from psmlearn._cli._sources import Stamp, unique_names
from psmlearn._cli._terminal import PLAIN_ERRORS, Terminal, count, tell_error, tell_some
from psmlearn.exceptions import CountWarning

if TYPE_CHECKING:
    import numpy as np

    from psmlearn.io import ImageBatch

    Table = dict[str, np.ndarray]

__all__ = ["Job", "Kinds", "plan", "says_where_it_stopped", "segment_all"]

_SAMPLE_NAME = "sample"
_INDEX_NAME = "labelling_index.csv"
_STAINS = ("haematoxylin", "dab")
_NOTHING_FOUND = (
    "no nucleus was found in any image: look whether the pixel size is right, whether "
    "these images are stained and scanned as those that the model was trained on, and "
    "at their overlays; a training that was cut short (--max-epochs) finds nothing, too"
)
# Those of LabellingIndexDisplay: told apart by the colour-blind, too.
_CLASS_COLORS = {1: (255, 70, 60), 2: (0, 215, 255)}


@dataclass(frozen=True)
class Job:
    """One image: where it comes from, and what its results are called."""

    name: str
    # None is no file.
    path: str | None
    stamp: Stamp | None
    files: tuple[str, ...]


@dataclass(frozen=True)
class Kinds:
    """Which kinds of results a model gives."""

    with_classes: bool
    with_map: bool

    @classmethod
    def of(cls, model: Any) -> Kinds:
        """Tell those of a fitted chain or segmenter."""
        segmenter = getattr(model, "segmenter_", model)
        with_classes = (
            getattr(segmenter, "classes_", None) is not None
            or len(getattr(segmenter, "class_names_", ())) > 1
        )
        steps = getattr(getattr(model, "labeler_", None), "named_steps", {})
        return cls(with_classes, "maps" in steps and not with_classes)

    @property
    def endings(self) -> tuple[str, ...]:
        """What the names of the files of an image end in."""
        own = ["_overlay.png", "_labels.tif", "_nuclei.csv", "_nuclei.geojson"]
        own += ["_map.png"] if self.with_map else []
        return (*own, "_points.csv") if self.with_classes else tuple(own)


def plan(
    paths: Sequence[str | None],
    kinds: Kinds,
    folder: OutputFolder,
    terminal: Terminal,
) -> list[Job]:
    """Name all files that will be written, and refuse what is in their way."""
    files = [path for path in paths if path is not None]
    wanted = unique_names(files) if files else [_SAMPLE_NAME]
    terminal.know(wanted)
    names = folder.fit_names(wanted, kinds.endings)
    for old, new in zip(wanted, names, strict=True):
        if old != new:
            terminal.say(f"results of {old} are called {new}", err=True)
    files_of = [tuple(name + ending for ending in kinds.endings) for name in names]
    targets = {
        file: path or SAMPLE
        for path, written in zip(paths, files_of, strict=True)
        for file in written
    }
    several: dict[str, str | None] = {}
    if kinds.with_classes:
        several[_INDEX_NAME] = None
    folder.check(targets | several, files)
    return [
        Job(name, path, Stamp.of(path), written)
        for name, path, written in zip(names, paths, files_of, strict=True)
    ]


def segment_all(
    model: Any,
    kinds: Kinds,
    batch: ImageBatch,
    sizes: np.ndarray,
    jobs: Sequence[Job],
    folder: OutputFolder,
    terminal: Terminal,
    start: float,
) -> None:
    """Predict all images, one by one, write what they give, and say how it went.

    Raises
    ------
    click.ClickException
        In the end, if any image has no results.
    """
    tables: dict[str, Table] = {}
    failures: dict[str, Exception] = {}
    try:
        for index, job in enumerate(jobs):
            try:
                table = _segment_one(
                    model, kinds, batch, index, sizes[index], job, folder
                )
            except Exception as error:  # others are not to suffer from it
                failures[job.name] = error
                terminal.say(f"{job.name}: failed: {tell_error(error)}", err=True)
            else:
                tables[job.name] = table
                terminal.say(_describe(job.name, table))
        if kinds.with_classes and tables:
            _write_index(folder, tables, list(failures), terminal)
    except KeyboardInterrupt:
        raise _StoppedError(len(tables), folder.path) from None
    n_nuclei = sum(table["label"].size for table in tables.values())
    terminal.say(
        f"{count(n_nuclei, 'nucleus', 'nuclei')} in {count(len(tables), 'image')}, "
        f"{time.perf_counter() - start:.0f} s in all"
    )
    if tables and not n_nuclei:
        terminal.say(_NOTHING_FOUND, err=True)
    if tables:
        written = [f"*{ending}" for ending in kinds.endings]
        written += [_INDEX_NAME] if kinds.with_classes else []
        terminal.say(f"written to {folder.path}: {', '.join(written)}")
    _raise_failures(failures, len(jobs), terminal)


def _segment_one(
    model: Any,
    kinds: Kinds,
    batch: ImageBatch,
    index: int,
    pixel_size: float,
    job: Job,
    folder: OutputFolder,
) -> Table:
    """Predict one image and write all its files, or none of them; return its table."""
    from psmlearn.inspection import color_map, overlay_labels
    from psmlearn.io import (
        write_geojson,
        write_image,
        write_labels,
        write_points,
        write_table,
    )
    from psmlearn.measure import nuclei_table

    one = batch[index : index + 1]
    labels = model.predict(one)[0]
    with_classes = labels.ndim == 3
    image = batch[index]
    activation_map = None
    if kinds.with_map:
        maps = model.labeler_.named_steps["maps"].transform(one)
        activation_map = color_map(maps[0][..., -1])
    if job.stamp is not None:
        job.stamp.check()
    # Two stains are told from each other; haematoxylin alone from eosin, as well.
    stains = _STAINS if with_classes and image.shape[2] >= 3 else _STAINS[:1]
    table = nuclei_table(labels, image, pixel_size=float(pixel_size), stains=stains)
    colors = _CLASS_COLORS if with_classes else None
    overlay = overlay_labels(image, labels, class_colors=colors)
    with folder.writing(job.files, job.path or SAMPLE) as paths:
        places = dict(zip(kinds.endings, paths, strict=True))
        write_image(places["_overlay.png"], overlay)
        write_labels(places["_labels.tif"], labels)
        write_table(places["_nuclei.csv"], table)
        write_geojson(places["_nuclei.geojson"], labels, table=table)
        if activation_map is not None:
            write_image(places["_map.png"], activation_map)
        if kinds.with_classes:
            write_points(places["_points.csv"], _points_of(table))
    return table


def _points_of(table: Table) -> np.ndarray:
    import numpy as np

    return np.column_stack(
        [table[key] for key in ("centroid_row", "centroid_column", "class")]
    )


def _describe(name: str, table: Table) -> str:
    """Say in one line what was found in an image."""
    n_nuclei = table["label"].size
    text = f"{name}: {count(n_nuclei, 'nucleus', 'nuclei')}"
    if "class" in table:
        n_positive, n_negative = ((table["class"] == each).sum() for each in (1, 2))
        text += f" ({n_positive} positive, {n_negative} negative)"
    if n_nuclei:
        text += f", mean area {table['area_um2'].mean():.1f} square micrometres"
    return text


def _write_index(
    folder: OutputFolder,
    tables: dict[str, Table],
    failed: list[str],
    terminal: Terminal,
) -> None:
    """Write and say the labelling index of the images that have results."""
    from psmlearn.io import write_table
    from psmlearn.measure import labelling_index

    # The same numbers as stain_intensity gives, but measured once.
    has_stain = all("mean_dab_od" in table for table in tables.values())
    with warnings.catch_warnings():
        # The result says it, too.
        warnings.simplefilter("ignore", CountWarning)
        result = labelling_index(
            [_points_of(table) for table in tables.values()],
            intensity=(
                [table["mean_dab_od"] for table in tables.values()]
                if has_stain
                else None
            ),
            names=list(tables),
        )
    with folder.writing([_INDEX_NAME]) as (path,):
        write_table(path, result.table)
    terminal.say(str(result))
    if failed:
        terminal.say(f"the labelling index is without {tell_some(failed)}", err=True)


@contextmanager
def says_where_it_stopped(terminal: Terminal, n_images: int) -> Iterator[None]:
    """End at Ctrl-C with a word on what is there; see `segment_all` for results."""
    try:
        yield
    except _StoppedError as stop:
        text = f"stopped, with {stop.n_done} of {count(n_images, 'image')} done"
        if stop.n_done:
            text += f"; their results are in {stop.folder}"
        terminal.say(text, err=True)
        raise click.exceptions.Exit(130) from None
    except KeyboardInterrupt:
        terminal.say(f"stopped, with 0 of {count(n_images, 'image')} done", err=True)
        raise click.exceptions.Exit(130) from None


class _StoppedError(Exception):
    """Ctrl-C while results are written."""

    def __init__(self, n_done: int, folder: Path) -> None:
        super().__init__()
        self.n_done = n_done
        self.folder = folder


def _raise_failures(
    failures: dict[str, Exception], n_images: int, terminal: Terminal
) -> None:
    """End with an error if any image has no results."""
    for error in failures.values():
        if not isinstance(error, (*PLAIN_ERRORS, RuntimeError)):
            raise error  # not of the image: whoever mends it needs the traceback
    if failures:
        raise terminal.failure(
            f"{len(failures)} of {count(n_images, 'image')} failed and have no new "
            f"results: {tell_some(failures)}."
        )
