# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn report``: one HTML file of a folder of results."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from psmlearn._cli._ledger import LEDGER_NAME, read_ledger
from psmlearn._cli._options import NamedPath, make_terminal, run_options
from psmlearn._cli._record import RUN_NAME
from psmlearn._cli._sources import find_masks, fold_name
from psmlearn._cli._terminal import Terminal, count, tell_some
from psmlearn._cli._weak_results import PROBABILITIES_NAME
from psmlearn._progress import progress_bar
from psmlearn.io._paths import printable, stem_of

if TYPE_CHECKING:
    from psmlearn.inspection._report_slides import SlideRow
    from psmlearn.inspection._report_tables import Source

__all__ = ["REPORT_NAME", "check_target", "report", "write_report_of"]

REPORT_NAME = "report.html"
_LABELS, _TABLE = "_labels.tif", "_nuclei.csv"
_SLIDE, _TISSUE = "_slide.json", "_tissue.png"
_SIZES = "pixel_sizes"
_CHANGED = "its label image was changed since psmlearn wrote it"
_GONE = "its label image is gone from the folder"
_STOPPED = "the run was broken off before it; --resume goes on"
_EARLIER = " (what is shown of it is of an earlier run)"
# What a report has near its beginning.
_MARK = b'name="generator" content="psmlearn'


@dataclass(frozen=True)
class _Result:
    """What a run wrote of one image."""

    name: str
    labels: Path
    table: Path | None
    # Path of the image; None where that is not known.
    source: str | None

    @property
    def shown_name(self) -> str:
        return self.name if self.source is None else os.path.basename(self.source)


@click.command()
@click.argument("folder", type=NamedPath(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--truth",
    type=NamedPath(exists=True, file_okay=False, path_type=Path),
    help="Folder of true label images, found by the names of the images: adds scores.",
)
@click.option(
    "--output",
    "-o",
    type=NamedPath(dir_okay=False, path_type=Path),
    help="File to write, ending in .html.  [default: report.html in FOLDER]",
)
@click.option(
    "--max-size",
    type=click.FloatRange(min=1),
    default=100.0,
    show_default=True,
    help="Megabytes that the file keeps to; pictures are made smaller to meet it.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace a report that is there; no other file."
)
@run_options
def report(**options: Any) -> None:
    """Write one HTML file of the results in FOLDER, which segment or apply wrote.

    It shows counts, densities, histograms, unusual nuclei, warnings, and each image
    with outlines that can be zoomed into. The file holds all that it shows and loads
    nothing, so that it can be sent. Images are looked up where they were; the labels
    of one that is gone are shown alone.

    \b
    Examples:
      psmlearn report results/
      psmlearn report results/ --truth masks/ --output scored.html
    """
    terminal, folder = make_terminal(options), options["folder"]
    with terminal.listening(), terminal.plain_errors():
        _refuse_regions(folder)
        target = options["output"] or folder / REPORT_NAME
        check_target(target, overwrite=options["overwrite"])
        max_bytes = int(options["max_size"] * 1e6)
        write_report_of(folder, target, options["truth"], max_bytes, terminal)


def _refuse_regions(folder: Path) -> None:
    """Refuse results of ``psmlearn weak``: regions, which a report calls nuclei."""
    if (folder / PROBABILITIES_NAME).is_file():
        raise ValueError(
            f"{str(folder)!r} holds regions that psmlearn weak found, and a report is "
            "of nuclei: look at *_overlay.png and *_map.png, and at "
            f"{PROBABILITIES_NAME}"
        )


def write_report_of(
    folder: Path,
    target: Path,
    truth: Path | None,
    max_bytes: int,
    terminal: Terminal,
) -> None:
    """Write the report of a folder of results, and say where it is."""
    from psmlearn.inspection._report import write_report

    run = _read_run(folder)
    slides = _find_slides(folder)
    results, changed = _find_results(folder, terminal, optional=bool(slides))
    failures = _find_failures(run, results, changed, {each.name for each in slides})
    true = _find_truth(results, truth, terminal)
    sources = [
        _as_source(index, result, run, true.get(result.name))
        for index, result in enumerate(results)
    ]
    n_images = len(sources)
    parts = [count(n_images, "image")] if n_images or not slides else []
    parts += [count(len(slides), "slide")] if slides else []
    images = " and ".join(parts)
    with progress_bar(n_images, "report", verbose=terminal.verbose) as bar:
        records = write_report(
            target,
            sources,
            parameters=run,
            failures=failures,
            title=f"{images} in {folder.resolve().name}",
            max_bytes=max_bytes,
            watch=lambda: bar.update(1),
            slides=slides,
        )
    n_nuclei = sum(record.n_nuclei for record in records)
    n_warned = sum(bool(record.findings) for record in records)
    n_nuclei += sum(each.n_nuclei for each in slides)
    nuclei = count(n_nuclei, "nucleus", "nuclei")
    warned = f", warnings on {n_warned}" if records else ""
    without = f", {len(failures)} without results" if failures else ""
    terminal.say(f"report of {nuclei} in {images}{warned}{without}: {target}")


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse a file that cannot be written, or may not be replaced.

    Raises
    ------
    ValueError, FileExistsError
    """
    told = printable(str(target))
    if target.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--output {told!r} has to end in .html.")
    if not os.path.lexists(target):
        return
    if not _is_report(target):
        raise FileExistsError(
            f"{told!r} is there and no report of psmlearn; it is never replaced."
        )
    if not overwrite:
        raise FileExistsError(f"{told!r} is there; --overwrite replaces it.")


def _is_report(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with open(path, "rb") as file:
        return _MARK in file.read(4096)


def _read_run(folder: Path) -> dict[str, Any] | None:
    """Read what a run wrote of itself; None where it wrote nothing."""
    try:
        text = (folder / RUN_NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        run = json.loads(text)
    except (ValueError, RecursionError):
        run = None
    if not isinstance(run, dict):
        told = printable(str(folder / RUN_NAME))
        raise ValueError(f"{told!r} is no JSON object; move it away.")
    return run


def _find_slides(folder: Path) -> list[SlideRow]:
    """List the slides whose results lie in a folder, by name."""
    from psmlearn.inspection._report_slides import SlideRow

    ledger = read_ledger(folder)
    slides = []
    for path in sorted(folder.glob(f"*{_SLIDE}")):
        if path.name not in ledger or ledger.match(str(path), path.name) is None:
            continue
        told = json.loads(path.read_text(encoding="utf-8"))
        name = path.name.removesuffix(_SLIDE)
        picture: Path | None = folder / (name + _TISSUE)
        if picture is not None and not (picture.name in ledger and picture.is_file()):
            picture = None
        slides.append(
            SlideRow(
                name,
                int(told["n_nuclei"]),
                float(told["tissue_mm2"]),
                len(told["problems"]),
                None if picture is None else str(picture),
                told.get("n_of_class", {}),
            )
        )
    return slides


def _find_results(
    folder: Path, terminal: Terminal, *, optional: bool = False
) -> tuple[list[_Result], list[str]]:
    """List the images whose results lie in a folder, by name; none if `optional`.

    Returns
    -------
    results : list of _Result
    changed : list of str
        Names of those whose label image is not what psmlearn wrote.

    Raises
    ------
    click.UsageError
        If there are none.
    """
    ledger = read_ledger(folder)
    results, changed = [], []
    for labels in sorted(folder.glob(f"*{_LABELS}")):
        if labels.name not in ledger:
            continue
        name = labels.name.removesuffix(_LABELS)
        record = ledger.match(str(labels), labels.name)
        if record is None:
            changed.append(name)
            continue
        table: Path | None = folder / (name + _TABLE)
        if table is not None and not (table.name in ledger and table.is_file()):
            table = None
        source = record.source
        if source is not None:
            source = os.path.normpath(os.path.join(os.path.realpath(folder), source))
        results.append(_Result(name, labels, table, source))
    if changed:
        files = [name + _LABELS for name in changed]
        terminal.say(
            f"left out, changed since psmlearn wrote them: {tell_some(files)}",
            err=True,
        )
    if not results and not optional:
        raise click.UsageError(
            f"{printable(str(folder))!r} holds no results: no label images that "
            f"{LEDGER_NAME} lists. Name a folder that `psmlearn segment` or `psmlearn "
            "apply` wrote."
        )
    terminal.know(result.shown_name for result in results)
    return results, changed


def _find_failures(
    run: Mapping[str, Any] | None,
    results: list[_Result],
    changed: list[str],
    slides: set[str],
) -> dict[str, str]:
    """Return the images of a run that have no results, or none of it, and why."""
    failures = dict.fromkeys(changed, _CHANGED)
    inputs = _inputs_of(run)
    found = {result.name for result in results} | slides
    for name, each in inputs.items():
        error = each.get("error")
        if error is not None:
            failures[name] = str(error) + (_EARLIER if name in found else "")
        elif name not in found and name not in failures:
            unknown = run and run.get("status") == "stopped" and "n_nuclei" not in each
            failures[name] = _STOPPED if unknown else _GONE
    shown: dict[str, str] = {}
    for name, reason in failures.items():
        path = inputs.get(name, {}).get("path")
        text = os.path.basename(path) if isinstance(path, str) else name
        shown[text if text not in shown else f"{text} ({name})"] = reason
    return shown


def _inputs_of(run: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """Return what a run says of its images, by name, if it wrote label images."""
    if run is None or _LABELS not in (run.get("results") or ()):
        return {}
    inputs = run.get("inputs")
    return {
        each["name"]: each
        for each in (inputs if isinstance(inputs, list) else ())
        if isinstance(each, Mapping) and isinstance(each.get("name"), str)
    }


def _find_truth(
    results: list[_Result], truth: Path | None, terminal: Terminal
) -> dict[str, str]:
    """Return the path of the true label image of each result that has one."""
    if truth is None:
        return {}
    masks = find_masks(truth)
    found = {}
    for result in results:
        for name in (stem_of(result.shown_name), result.name):
            if fold_name(name) in masks:
                found[result.name] = masks[fold_name(name)]
                break
    alone = [result.shown_name for result in results if result.name not in found]
    if not found:
        raise click.UsageError(
            f"No mask in {printable(str(truth))!r} has the name of an image: there are "
            f"{tell_some(masks) or 'none'}, and images {tell_some(alone)}."
        )
    if alone:
        terminal.say(f"not scored, without truth: {tell_some(alone)}", err=True)
    return found


def _as_source(
    index: int, result: _Result, run: Mapping[str, Any] | None, truth: str | None
) -> Source:
    """Put together what is known of an image."""
    from psmlearn.inspection._report_tables import Source

    size = _size_of_run(run, result)
    is_assumed = size is None or bool((run or {}).get("pixel_size_assumed"))
    if size is None:
        size = _size_of_labels(result)
    if size is None and result.table is not None:
        size = _size_of_table(result)
    return Source(
        index,
        result.shown_name,
        result.source,
        str(result.labels),
        None if result.table is None else str(result.table),
        truth,
        size,
        is_assumed,
    )


def _size_of_run(run: Mapping[str, Any] | None, result: _Result) -> float | None:
    """Look up the pixel size that a run says it used."""
    sizes = None if run is None else run.get(_SIZES)
    if isinstance(sizes, int | float):
        return _plausible(sizes)
    if not isinstance(sizes, Mapping):
        return None
    for key in (result.source, result.shown_name, result.name):
        value = sizes.get(key)
        if isinstance(value, Mapping):
            value = next((v for v in value.values() if _plausible(v) is not None), None)
        if _plausible(value) is not None:
            return _plausible(value)
    return None


def _plausible(value: Any) -> float | None:
    from psmlearn._parameters import check_pixel_size

    try:
        return check_pixel_size(value)
    except (TypeError, ValueError):
        return None


def _size_of_labels(result: _Result) -> float | None:
    """Read the pixel size that was written into the label image."""
    from psmlearn.io import read_pixel_size

    try:
        return read_pixel_size(result.labels)
    except ValueError:
        return None


def _size_of_table(result: _Result) -> float | None:
    """Tell the pixel size from the areas of nuclei in micrometres and in pixels."""
    import numpy as np

    from psmlearn.inspection._columns import canonical
    from psmlearn.inspection._report_tables import read_table
    from psmlearn.io import read_labels

    table = canonical(read_table(str(result.table)))
    if "area_um2" not in table or not len(table["label"]):
        return None
    labels = read_labels(result.labels)
    ids = labels[..., 0] if labels.ndim == 3 else labels
    numbers, n_pixels = np.unique(ids[ids > 0], return_counts=True)
    areas = dict(zip(table["label"].tolist(), table["area_um2"].tolist(), strict=True))
    ratios = [
        areas[number] / n
        for number, n in zip(numbers.tolist(), n_pixels.tolist(), strict=True)
        if number in areas
    ]
    if not ratios:
        return None
    # As it was given: areas are rounded in the last digits.
    return _plausible(float(f"{np.sqrt(np.median(ratios)):.6g}"))
