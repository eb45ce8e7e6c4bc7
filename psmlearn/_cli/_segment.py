# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn segment``: find nuclei in images, trained on them without labels."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from psmlearn._cli._outputs import SAMPLE, OutputFolder
from psmlearn._cli._sources import Stamp, find_images, unique_names
from psmlearn._cli._terminal import PLAIN_ERRORS, Terminal, count, tell_error, tell_some
from psmlearn.exceptions import CountWarning

if TYPE_CHECKING:
    import numpy as np

    from psmlearn.io import ImageBatch

    Table = dict[str, np.ndarray]

_SAMPLE_NAME = "sample"
# The file does not tell; judged by the size of its nuclei, as of a 20x scan.
_SAMPLE_PIXEL_SIZE = 0.5
_PIXEL_SIZE = 0.25
_INDEX_NAME = "labelling_index.csv"
_STAINS = ("haematoxylin", "dab")
# Those of LabellingIndexDisplay: told apart by the colour-blind, too.
_CLASS_COLORS = {1: (255, 70, 60), 2: (0, 215, 255)}
# Of each image, with classes or without.
_ENDINGS = ("_overlay.png", "_map.png", "_labels.tif", "_nuclei.csv")
_ENDINGS_OF_CLASSES = ("_overlay.png", "_labels.tif", "_nuclei.csv", "_points.csv")


@dataclass(frozen=True)
class _Job:
    """One image: where it comes from, and what its results are called."""

    name: str
    # None is no file.
    path: str | None
    stamp: Stamp | None
    files: tuple[str, ...]


class _NamedPath(click.Path):
    """A path that is no empty text, such as that of a variable that is not set."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value == "":
            self.fail("is an empty text; give a path, '.' for this folder.", param, ctx)
        return super().convert(value, param, ctx)


@click.command()
@click.argument("images", nargs=-1, type=_NamedPath(path_type=Path))
@click.option("--sample", is_flag=True, help="Use scikit-image's sample image.")
@click.option(
    "--output",
    "-o",
    default="psmlearn-output",
    show_default=True,
    type=_NamedPath(file_okay=False, path_type=Path),
    help="Folder to write to; made where it is missing.",
)
@click.option(
    "--max-epochs",
    type=click.IntRange(min=1),
    help="Cut each training short after so many epochs.",
)
@click.option(
    "--random-state",
    type=click.IntRange(min=0, max=2**32 - 1),
    default=0,
    show_default=True,
)
@click.option(
    "--pixel-size",
    metavar="MICROMETRES|file",
    help="Micrometres per pixel, or 'file': as each file tells.  [default: 'file' "
    f"if all tell it, else {_PIXEL_SIZE}; {_SAMPLE_PIXEL_SIZE} for --sample]",
)
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda or mps."
)
@click.option(
    "--classes",
    type=click.Choice(["ki67"]),
    help="Tell two classes of nuclei apart: ki67, 1 positive (brown, DAB) and "
    "2 negative (blue, haematoxylin).",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace files in the way that psmlearn did not write, or that were changed "
    "since. Images are never replaced.",
)
@click.option("--quiet", is_flag=True, help="No progress bars.")
def segment(
    images: tuple[Path, ...],
    sample: bool,
    output: Path,
    max_epochs: int | None,
    random_state: int,
    pixel_size: str | None,
    device: str,
    classes: str | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Find every nucleus in IMAGES (files or folders), trained on them without labels.

    For each image it writes an overlay of the outlines (PNG), the activation map
    (PNG), the label image (TIFF: 0 background, 1..n nuclei) and a table of nuclei
    (CSV).

    With --classes ki67 there is no map; the label images have the class as their
    second sample, and the table of nuclei the class and the mean amounts of
    haematoxylin and DAB; the points of each image (row, column, class) and the
    labelling index, the share of positive nuclei, with H-score and Allred score, per
    image and overall, are written as CSV, too. It counts all nuclei, not tumour cells
    alone; for research use only.

    What psmlearn wrote to a folder is listed in its psmlearn-files.jsonl: another run
    replaces that, and no other file.
    """
    terminal = Terminal()
    terminal.know([str(output)])
    asked = _parse_pixel_size(pixel_size)
    start = time.perf_counter()
    tables: dict[str, Table] = {}
    failures: dict[str, Exception] = {}
    with terminal.listening(messages=not quiet), terminal.plain_errors():
        paths = _find_sources(images, sample, output, terminal)
        with (
            OutputFolder(output, overwrite=overwrite) as folder,
            _says_where_it_stopped(terminal, folder, tables, len(paths)),
        ):
            jobs = _plan(paths, classes, folder, terminal)
            batch = _check(paths, terminal)
            chosen, sizes = _choose_pixel_size(asked, batch, terminal)
            terminal.say(f"training on {count(len(jobs), 'image')}, without labels")
            model = _train(
                batch, chosen, max_epochs, random_state, device, not quiet, classes
            )
            terminal.say(f"trained in {time.perf_counter() - start:.0f} s")
            terminal.mute_told()
            for index, job in enumerate(jobs):
                try:
                    table = _segment_one(model, batch, index, sizes[index], job, folder)
                except Exception as error:  # others are not to suffer from it
                    failures[job.name] = error
                    terminal.say(f"{job.name}: failed: {tell_error(error)}", err=True)
                else:
                    tables[job.name] = table
                    terminal.say(_describe(job.name, table))
            if classes and tables:
                _write_index(folder, tables, list(failures), terminal)
        n_nuclei = sum(table["label"].size for table in tables.values())
        terminal.say(
            f"{count(n_nuclei, 'nucleus', 'nuclei')} in {count(len(tables), 'image')}, "
            f"{time.perf_counter() - start:.0f} s in all"
        )
        if tables:
            kinds = [f"*{ending}" for ending in _endings(classes)]
            kinds += [_INDEX_NAME] if classes else []
            terminal.say(f"written to {output}: {', '.join(kinds)}")
        _raise_failures(failures, len(jobs), terminal)


def _parse_pixel_size(text: str | None) -> float | str | None:
    if text is None or text == "file":
        return text
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither a number nor 'file'.", param_hint="--pixel-size"
        ) from None


def _endings(classes: str | None) -> tuple[str, ...]:
    return _ENDINGS_OF_CLASSES if classes else _ENDINGS


def _find_sources(
    images: tuple[Path, ...], sample: bool, output: Path, terminal: Terminal
) -> list[str | None]:
    """Return the path of each image; None is the sample."""
    if not sample:
        return list(find_images(images, output, terminal))
    if images:
        raise click.UsageError("Give IMAGES or --sample, not both.")
    return [None]


def _plan(
    paths: Sequence[str | None],
    classes: str | None,
    folder: OutputFolder,
    terminal: Terminal,
) -> list[_Job]:
    """Name all files that will be written, and refuse what is in their way."""
    files = [path for path in paths if path is not None]
    wanted = unique_names(files) if files else [_SAMPLE_NAME]
    terminal.know(wanted)
    endings = _endings(classes)
    names = folder.fit_names(wanted, endings)
    for old, new in zip(wanted, names, strict=True):
        if old != new:
            terminal.say(f"results of {old} are called {new}", err=True)
    files_of = [tuple(name + ending for ending in endings) for name in names]
    targets = {
        file: path or SAMPLE
        for path, written in zip(paths, files_of, strict=True)
        for file in written
    }
    several: dict[str, str | None] = {_INDEX_NAME: None} if classes else {}
    folder.check(targets | several, files)
    return [
        _Job(name, path, Stamp.of(path), written)
        for name, path, written in zip(names, paths, files_of, strict=True)
    ]


def _check(paths: Sequence[str | None], terminal: Terminal) -> ImageBatch:
    """Look at all images; what is told of them is not told again by the training."""
    from psmlearn.datasets import load_sample_image
    from psmlearn.io import check_images

    sources = [load_sample_image() if path is None else path for path in paths]
    batch = check_images(sources, caller="psmlearn segment")
    terminal.mute_told()
    return batch


def _choose_pixel_size(
    asked: float | str | None, batch: ImageBatch, terminal: Terminal
) -> tuple[float | str, np.ndarray]:
    """Return the pixel size to use and that of each image, and say which it is.

    Without a word of the user it is what the files tell, if all of them do.
    """
    from psmlearn.io import resolve_pixel_size

    sizes: np.ndarray | None = None
    if asked is not None:
        chosen, why = asked, "as given" if asked != "file" else "as the files tell"
    elif batch.paths == [None]:
        chosen, why = _SAMPLE_PIXEL_SIZE, "that of the sample"
    else:
        told = [_read_pixel_size(path) for path in batch.paths]
        n_silent = sum(size is None for size in told)
        chosen, why = "file", "as the files tell"
        if n_silent:
            who = "no file tells" if n_silent == len(told) else "not all files tell"
            chosen, why = _PIXEL_SIZE, f"the default: {who} its own"
        else:
            try:
                sizes = resolve_pixel_size("file", batch)
            except ValueError as error:
                chosen, why = _PIXEL_SIZE, f"the default: {str(error).rstrip('.')}"
        if chosen != "file":
            why += "; give it by --pixel-size if that is wrong"
    if sizes is None:
        sizes = resolve_pixel_size(chosen, batch)
    low, high = sizes.min(), sizes.max()
    size = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    terminal.say(f"pixel size {size} micrometres, {why}")
    terminal.mute_told()
    return chosen, sizes


def _read_pixel_size(path: str | None) -> float | None:
    """Return what a file tells of its pixel size, if that can be read."""
    from psmlearn.io import read_pixel_size

    try:
        return None if path is None else read_pixel_size(path)
    except ValueError:
        return None


def _train(
    batch: ImageBatch,
    pixel_size: float | str,
    max_epochs: int | None,
    random_state: int,
    device: str,
    verbose: int,
    classes: str | None,
) -> Any:
    """Fit the default chain on checked images."""
    from psmlearn.segmentation import PseudoLabelSegmenter
    from psmlearn.segmentation._defaults import default_chain, default_rounds

    known = cast("Literal['ki67'] | None", classes)  # click has checked it
    labeler, segmenter = default_chain(
        batch,
        classes=known,
        pixel_size=pixel_size,
        device=device,
        verbose=int(verbose),
        max_epochs=max_epochs,
    )
    model = PseudoLabelSegmenter(
        labeler, segmenter, n_rounds=default_rounds(known), random_state=random_state
    )
    return model.fit(batch)


def _segment_one(
    model: Any,
    batch: ImageBatch,
    index: int,
    pixel_size: float,
    job: _Job,
    folder: OutputFolder,
) -> Table:
    """Predict one image and write all its files, or none of them; return its table."""
    from psmlearn.inspection import color_map, overlay_labels
    from psmlearn.measure import nuclei_table

    one = batch[index : index + 1]
    labels = model.predict(one)[0]
    with_classes = labels.ndim == 3
    maps = None if with_classes else model.labeler_.named_steps["maps"].transform(one)
    image = batch[index]
    if job.stamp is not None:
        job.stamp.check()
    # Two stains are told from each other; haematoxylin alone from eosin, as well.
    stains = _STAINS if with_classes and image.shape[2] >= 3 else _STAINS[:1]
    table = nuclei_table(labels, image, pixel_size=float(pixel_size), stains=stains)
    colors = _CLASS_COLORS if with_classes else None
    overlay = overlay_labels(image, labels, class_colors=colors)
    shown = None if maps is None else color_map(maps[0][..., -1])
    with folder.writing(job.files, job.path or SAMPLE) as paths:
        _write_one(paths, overlay, shown, labels, table)
    return table


def _write_one(
    paths: Sequence[str],
    overlay: np.ndarray,
    activation_map: np.ndarray | None,
    labels: np.ndarray,
    table: Table,
) -> None:
    """Write the files of one image, to paths in the order of their endings."""
    from psmlearn.io import write_image, write_labels, write_points, write_table

    endings = _ENDINGS_OF_CLASSES if activation_map is None else _ENDINGS
    places = dict(zip(endings, paths, strict=True))
    write_image(places["_overlay.png"], overlay)
    write_labels(places["_labels.tif"], labels)
    write_table(places["_nuclei.csv"], table)
    if activation_map is None:
        write_points(places["_points.csv"], _points_of(table))
    else:
        write_image(places["_map.png"], activation_map)


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
        text += f", mean area {table['area'].mean():.1f} square micrometres"
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
    has_stain = all("mean_dab" in table for table in tables.values())
    with warnings.catch_warnings():
        # The result says it, too.
        warnings.simplefilter("ignore", CountWarning)
        result = labelling_index(
            [_points_of(table) for table in tables.values()],
            intensity=[t["mean_dab"] for t in tables.values()] if has_stain else None,
            names=list(tables),
        )
    with folder.writing([_INDEX_NAME]) as (path,):
        write_table(path, result.table)
    terminal.say(str(result))
    if failed:
        terminal.say(f"the labelling index is without {tell_some(failed)}", err=True)


@contextmanager
def _says_where_it_stopped(
    terminal: Terminal, folder: OutputFolder, tables: dict[str, Table], n_images: int
) -> Iterator[None]:
    """End at Ctrl-C with a word on what is there."""
    try:
        yield
    except KeyboardInterrupt:
        text = f"stopped, with {len(tables)} of {count(n_images, 'image')} done"
        if tables:
            text += f"; their results are in {folder.path}"
        terminal.say(text, err=True)
        raise click.exceptions.Exit(130) from None


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
