# SPDX-License-Identifier: BSD-3-Clause
"""One image of a report: what is measured, drawn and found wrong with it.

What a report keeps of all images are their tables and a few numbers; pictures are
handed on as text, and dropped.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from psmlearn._images._staining import guess_staining
from psmlearn.exceptions import PsmlearnWarning
from psmlearn.inspection._columns import (
    describe_column,
    measured_columns,
)
from psmlearn.inspection._overlay import as_rgb
from psmlearn.inspection._report_checks import Finding, look_at_light
from psmlearn.inspection._report_jpeg import (
    MOST_SIDE,
    data_uri,
    fit_picture,
    thumbnail,
)
from psmlearn.inspection._report_svg import outline_paths
from psmlearn.inspection._report_tables import Source, table_of
from psmlearn.io import check_mask, read_pixel_size
from psmlearn.io._batch import ImageBatch, check_one_image
from psmlearn.io._paths import as_path, is_path, printable
from psmlearn.metrics._checks import check_pairs
from psmlearn.metrics._objects import ObjectMatches, match_objects
from psmlearn.metrics._report import ImageCounts, count_image

DEFAULT_PIXEL = 0.25
RADIUS = 10.0
# Parts of what a page may spend on an image.
_FOR_OUTLINES, _FOR_ROWS = 0.25, 0.2
_FOR_THE_REST = 12_000  # numbers, small histograms, and a thumbnail
_TOLERANCE = 0.1  # by which pixel sizes may differ, as everywhere


@dataclass(eq=False)
class Record:
    """What is kept of one image."""

    index: int
    name: str
    shape: tuple[int, int]
    pixel_size: float
    table: dict[str, Any]
    # Square millimetres that the image shows.
    area: float
    classes: np.ndarray | None
    findings: list[Finding] = field(default_factory=list)
    staining: str | None = None
    matches: ObjectMatches | None = None
    counts: ImageCounts | None = None
    # A small picture for the table of images, a data address; "" where there is none.
    thumbnail: str = ""
    left: str = ""
    rows: str = ""

    @property
    def n_nuclei(self) -> int:
        return len(self.table["label"])

    @property
    def density(self) -> float:
        """Nuclei on a square millimetre."""
        return self.n_nuclei / self.area if self.area else math.nan

    @property
    def anchor(self) -> str:
        return f"image-{self.index + 1}"


def look_at(
    source: Source,
    look_closer: Callable[[Record, np.ndarray, np.ndarray], None],
    *,
    max_bytes: int,
    iou_threshold: float,
) -> Record:
    """Measure one image, draw it, and say what is wrong with it.

    `look_closer` is given the picture and the ids, where there is a picture.
    """
    labels = check_mask(source.labels, name=f"labels[{source.index}]")
    ids = labels[..., 0] if labels.ndim == 3 else labels
    findings: list[Finding] = []
    batch = _read_image(source, ids.shape, findings)
    size = _pixel_size(source, findings)
    staining = None
    shown_part = 1.0
    if batch is not None:
        colours = batch[0]
        colours = colours[..., : 3 if colours.shape[2] >= 3 else 1]
        seen = batch.shown(0)
        staining = guess_staining(colours, seen)
        shown_part = 1.0 if seen is None else float(seen.mean())
        findings += look_at_light(colours, seen, staining, size)
        del colours
    table = table_of(source, labels, batch, size, staining, findings)
    record = Record(
        source.index,
        source.name,
        (ids.shape[0], ids.shape[1]),
        size,
        table,
        ids.size * shown_part * size**2 / 1e6,
        np.asarray(table["class"]) if "class" in table else None,
        findings,
        staining,
    )
    true_ids = _compare(record, source, ids, iou_threshold)
    picture = None if batch is None else as_rgb(batch._as_came(0))
    if picture is not None:
        look_closer(record, picture, ids)
        record.thumbnail = thumbnail(picture)
    record.rows = _write_rows(record, int(max_bytes * _FOR_ROWS))
    record.left = _draw_view(record, picture, ids, true_ids, max_bytes)
    return record


def _read_image(
    source: Source, shape: tuple[int, ...], findings: list[Finding]
) -> ImageBatch | None:
    """Read an image; one whose file is gone or bad is told, and left out."""
    image = source.image
    if image is None:
        findings.append(Finding("image", "There is none: the labels alone are shown."))
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PsmlearnWarning)  # told in the report
            batch = check_one_image(image, name=source.name)
        if batch.shapes[0] != shape:
            raise ValueError(
                f"{source.name}: the image is {batch.shapes[0]} pixels (height, width) "
                f"and its labels are {tuple(shape)}; pass the labels of this image."
            )
    except (OSError, ValueError) as error:
        if not is_path(image):
            raise
        if os.path.exists(as_path(image)):
            why = f"{printable(str(error)).rstrip('.')}. The labels alone are shown."
        else:
            why = "Its file is gone: the labels alone are shown."
        findings.append(Finding("image", why))
        return None
    return batch


def _pixel_size(source: Source, findings: list[Finding]) -> float:
    """Choose the pixel size: what was given, what the file tells, or the default."""
    told = None
    if is_path(source.image) and os.path.exists(as_path(source.image)):
        try:
            told = read_pixel_size(source.image)
        except (OSError, ValueError):
            told = None  # who reads it says what is wrong
    given = source.pixel_size
    if given is None:
        if told is not None:
            return told
        findings.append(
            Finding(
                "pixel size",
                f"No pixel size was given and the file tells none: {DEFAULT_PIXEL:g} "
                "µm is assumed. Areas and densities depend on it.",
            )
        )
        return DEFAULT_PIXEL
    if told is not None and abs(told - given) > _TOLERANCE * max(told, given):
        findings.append(
            Finding(
                "pixel size against file",
                f"{given:g} µm per pixel were used; the file tells {told:g} µm.",
            )
        )
    elif told is None and source.is_assumed:
        findings.append(
            Finding(
                "pixel size",
                f"{given:g} µm per pixel were used; the file does not tell its pixel "
                "size. Areas and densities depend on it.",
            )
        )
    return given


def _compare(
    record: Record, source: Source, ids: np.ndarray, iou_threshold: float
) -> np.ndarray | None:
    """Compare with the truth, where there is any; return its ids."""
    if source.truth is None:
        return None
    truth = check_mask(
        source.truth, name=f"truth[{source.index}]", shape=(ids.shape[0], ids.shape[1])
    )
    true_ids = truth[..., 0] if truth.ndim == 3 else truth
    (pair,) = check_pairs([true_ids], [ids])
    record.matches = match_objects(pair, iou_threshold)
    record.counts = count_image(pair, RADIUS)
    return true_ids


def _draw_view(
    record: Record,
    picture: np.ndarray | None,
    ids: np.ndarray,
    true_ids: np.ndarray | None,
    max_bytes: int,
) -> str:
    """Write the picture with its outlines as SVG, and what is to be said of it."""
    height, width = record.shape
    note = ""
    smallest = 0.5 * max(1.0, max(height, width) / MOST_SIDE)
    paths, unit = _outlines(record, ids, true_ids, smallest, max_bytes)
    drawn = "".join(f'<path class="{group}" d="{d}"/>' for group, d in paths.items())
    if picture is None:
        scale = min(1.0, MOST_SIDE / max(height, width))
        ground = f'<rect width="{width}" height="{height}" fill="#3d3947"/>'
    else:
        left = max_bytes - len(drawn) - len(record.rows) - _FOR_THE_REST
        jpeg, scale = fit_picture(picture, int(left * 3 / 4))  # in base 64
        ground = (
            f'<image width="{width}" height="{height}" href="{data_uri(jpeg)}" '
            'preserveAspectRatio="none"/>'
        )
    if scale < 0.995:
        note = (
            f'<p class="soft small">Shown at {100 * scale:.0f} % of its size, '
            f"{width} × {height} pixels.</p>"
        )
    name = escape(printable(record.name), quote=True)
    return (
        f'<div class="view" data-mode="{"compare" if record.matches else "nuclei"}" '
        f'data-um="{record.pixel_size:.6g}">'
        f'<svg viewBox="0 0 {width} {height}" tabindex="0" role="img" '
        f'aria-label="{name}, with the outlines of its nuclei">{ground}'
        f'<g transform="scale({unit:.6g})">{drawn}</g>'
        '<circle class="spot" display="none"/></svg>'
        f'<div class="bar-scale"></div></div>\n{_tools(record)}{note}'
    )


def _outlines(
    record: Record,
    ids: np.ndarray,
    true_ids: np.ndarray | None,
    unit: float,
    max_bytes: int,
) -> tuple[dict[str, str], float]:
    """Draw outlines by class, and by what the truth says of them."""
    classes = {}
    if record.classes is not None:
        classes = dict(
            zip(record.table["label"].tolist(), record.classes.tolist(), strict=True)
        )
    found = false = np.empty(0, np.int64)
    if record.matches is not None:
        found, false = record.matches.found, record.matches.false
    states = dict.fromkeys(found.tolist(), " found")
    states |= dict.fromkeys(false.tolist(), " false")
    groups = {}
    for label in np.unique(ids[ids > 0]).tolist():
        group = f"o c{classes[label]}" if classes.get(label, 0) > 0 else "o"
        groups[label] = group + states.get(label, "")
    limit = int(max_bytes * _FOR_OUTLINES)
    if true_ids is None or record.matches is None or not record.matches.missed.size:
        return outline_paths(ids, groups, unit=unit, max_chars=limit)
    missed = dict.fromkeys(record.matches.missed.tolist(), "o missed")
    true_paths, unit = outline_paths(
        true_ids, missed, unit=unit, max_chars=max(limit // 2, 1)
    )
    paths, coarser = outline_paths(ids, groups, unit=unit, max_chars=limit // 2)
    if coarser > unit:  # both share one scale
        true_paths, _ = outline_paths(true_ids, missed, unit=coarser, max_chars=1 << 62)
    return {**paths, **true_paths}, coarser


def _tools(record: Record) -> str:
    """Write the buttons of a view."""
    modes = [("nuclei", "Nuclei")]
    if record.matches is not None:
        modes.insert(0, ("compare", "Against truth"))
    modes.append(("none", "No outlines"))
    buttons = [
        f'<button type="button" data-mode-button data-do="mode-{mode}" '
        f'aria-pressed="{"false" if place else "true"}">{text}</button>'
        for place, (mode, text) in enumerate(modes)
    ]
    for do, text, told in (
        ("in", "+", "Zoom in"),
        ("out", "−", "Zoom out"),
        ("whole", "Whole", "Show the whole image"),
        ("full", "Enlarge", "Fill the window"),
    ):
        buttons.append(
            f'<button type="button" data-do="{do}" title="{told}" '
            f'aria-label="{told}">{text}</button>'
        )
    return f'<div class="tools">{"".join(buttons)}</div>'


def _write_rows(record: Record, max_chars: int) -> str:
    """Write the numbers of all nuclei as JSON, from which the page makes a table."""
    table = record.table
    names = ["label", *(["class"] if "class" in table else [])]
    names += measured_columns(table)
    if not record.n_nuclei:
        return ""
    n_rows = min(record.n_nuclei, max(50, max_chars // (8 * (len(names) + 2))))
    titles, values = [], []
    for name in names:
        text, unit = describe_column(name)
        titles.append(f"{text} ({unit})" if unit else text)
        column = np.asarray(table[name])[:n_rows].tolist()
        values.append([_short(each) for each in column])
    data = {
        # Which column are classes: the page knows their names.
        "class": names.index("class") if "class" in names else None,
        "titles": titles,
        "values": values,
        "rows": [_place(each) for each in table["centroid_row"][:n_rows]],
        "columns": [_place(each) for each in table["centroid_column"][:n_rows]],
    }
    text = json.dumps(data, separators=(",", ":"))
    for char in "<>&":  # nothing in it may end the element
        text = text.replace(char, f"\\u{ord(char):04x}")
    some = "" if n_rows == record.n_nuclei else f", the first {n_rows:,} of them"
    return (
        f'<details class="rows"><summary>Table of its {record.n_nuclei:,} '
        f"{'nucleus' if record.n_nuclei == 1 else 'nuclei'}{some}</summary>"
        '<div class="scroll"></div></details>'
        f'<script type="application/json">{text}</script>'
    )


def _short(value: Any) -> Any:
    """Return a number with five digits; None for NaN."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def _place(value: Any) -> float | None:
    return round(float(value), 1) if math.isfinite(value) else None
