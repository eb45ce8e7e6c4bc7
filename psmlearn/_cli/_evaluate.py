# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn evaluate``: score label images against true ones."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import click

from psmlearn._cli._options import NamedPath
from psmlearn._cli._sources import find_masks
from psmlearn._cli._terminal import Terminal, count, tell_some
from psmlearn.io import atomic_path, write_table
from psmlearn.io._paths import IMAGE_SUFFIXES, printable

_MEASURED_BY_ALL = ("macro", "micro", "std")


@click.command()
@click.argument("predictions", type=NamedPath(exists=True, path_type=Path))
@click.argument("truth", type=NamedPath(exists=True, path_type=Path))
@click.option(
    "--radius",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Largest distance of two centres that match, in pixels.",
)
@click.option(
    "--csv",
    "table",
    type=NamedPath(dir_okay=False, path_type=Path),
    help="Write the scores of each image, and over all, to this file.",
)
@click.option(
    "--json",
    "record",
    type=NamedPath(dir_okay=False, path_type=Path),
    help="Write all scores with all digits to this file.",
)
@click.option("--overwrite", is_flag=True, help="Replace these files.")
def evaluate(
    predictions: Path,
    truth: Path,
    radius: float,
    table: Path | None,
    record: Path | None,
    overwrite: bool,
) -> None:
    """Score the label images PREDICTIONS against those of TRUTH (files or folders).

    Of two folders files of one name go together, whatever their format; endings such
    as _labels, _mask or _inst do not count as part of the name. It tells AJI, Dice,
    panoptic quality, precision, recall and F1 of objects and of centres: the mean over
    images, over the pooled counts, and the worst image. Label images of slides, TIFF in
    tiles of more than 2**28 pixels, are read block by block.

    \b
    Examples:
      psmlearn evaluate results/ masks/
      psmlearn evaluate results/ masks/ --csv scores.csv --json scores.json
      psmlearn evaluate a_labels.tif a_true.tif
    """
    from psmlearn.metrics._label_blocks import report_files
    from psmlearn.metrics._report import format_report

    terminal = Terminal()
    with terminal.listening(), terminal.plain_errors():
        names, found, true = _pairs(predictions, truth, terminal)
        _check_targets(table, record, [*found, *true], overwrite=overwrite)
        told = report_files(true, found, names, radius)
        terminal.say(f"{count(len(names), 'image')} scored")
        terminal.say(format_report(told, digits=3))
        if table is not None:
            write_table(table, _columns(told))
            terminal.say(f"written to {table}")
        if record is not None:
            with atomic_path(record) as part, open(part, "w", encoding="utf-8") as file:
                json.dump(_plain(told), file, indent=1, allow_nan=False)
            terminal.say(f"written to {record}")


def _check_targets(
    table: Path | None, record: Path | None, masks: list[str], *, overwrite: bool
) -> None:
    """Refuse files that cannot be written, or may not be replaced, before any work."""
    if table is not None and table.suffix.lower() != ".csv":
        raise ValueError(f"--csv {printable(str(table))!r} has to end in .csv.")
    inputs = {os.path.realpath(mask) for mask in masks}
    for target in (table, record):
        if target is None:
            continue
        told = printable(str(target))
        if os.path.realpath(target) in inputs:
            raise FileExistsError(f"{told!r} is to be scored; name another file.")
        if target.suffix.lower() in IMAGE_SUFFIXES:
            raise FileExistsError(f"{told!r} is called an image; name another file.")
        if os.path.lexists(target) and not overwrite:
            raise FileExistsError(f"{told!r} is there; --overwrite replaces it.")


def _pairs(
    predictions: Path, truth: Path, terminal: Terminal
) -> tuple[list[str], list[str], list[str]]:
    """Return names, and the paths of predicted and true masks, that go together.

    Raises
    ------
    click.UsageError
        If one is a folder and the other none, or nothing goes together.
    """
    if predictions.is_dir() != truth.is_dir():
        raise click.UsageError("Give two files, or two folders.")
    if not truth.is_dir():
        return [truth.name], [str(predictions)], [str(truth)]
    found, true = find_masks(predictions), find_masks(truth)
    both = [key for key in true if key in found]
    if not both:
        raise click.UsageError(
            f"No mask in {printable(str(predictions))} has the name of one in "
            f"{printable(str(truth))}: there are {tell_some(found) or 'none'}, and "
            f"{tell_some(true) or 'none'}."
        )
    for folder, these, others in ((predictions, found, true), (truth, true, found)):
        alone = [Path(these[key]).name for key in these if key not in others]
        if alone:
            terminal.say(f"not scored, alone in {folder}: {tell_some(alone)}", err=True)
    names = [Path(true[key]).name for key in both]
    return names, [found[key] for key in both], [true[key] for key in both]


def _plain(value: Any) -> Any:
    """Return what JSON can hold: NaN, a score that is not defined, becomes null."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _columns(told: dict[str, Any]) -> dict[str, list[Any]]:
    """Return a row for each image, and one for each mean over all."""
    columns: dict[str, list[Any]] = {"image": [*told["image_names"], *_MEASURED_BY_ALL]}
    for name, score in told["scores"].items():
        over_all = [score[kind] for kind in _MEASURED_BY_ALL]
        columns[name] = [*score["per_image"], *over_all]
    return columns
