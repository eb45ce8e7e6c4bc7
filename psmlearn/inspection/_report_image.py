# SPDX-License-Identifier: BSD-3-Clause
"""One image of a report: what is measured, drawn and found wrong with it.

What a report keeps of all images are their tables and a few numbers; pictures are
handed on as text, and dropped.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from psmlearn._images._staining import guess_staining
from psmlearn.exceptions import PsmlearnWarning
from psmlearn.inspection._columns import (
    canonical,
    describe_column,
    measured_columns,
)
from psmlearn.inspection._crops import crop_nucleus, draw_tile
from psmlearn.inspection._overlay import as_rgb
from psmlearn.inspection._report_checks import Finding, look_at_light
from psmlearn.inspection._report_svg import outline_paths
from psmlearn.io import check_mask, read_pixel_size
from psmlearn.io._batch import ImageBatch, check_one_image
from psmlearn.io._paths import as_path, is_path, printable
from psmlearn.measure import nuclei_table
from psmlearn.metrics._checks import check_pairs
from psmlearn.metrics._objects import ObjectMatches, match_objects
from psmlearn.metrics._report import ImageCounts, count_image

DEFAULT_PIXEL = 0.25
RADIUS = 10.0
_MOST_SIDE = 2000
_LEAST_SIDE = 160
_QUALITY = 85
_TILE, _TILE_UM = 112, 30.0
_THUMBNAIL = 96
# Parts of what a page may spend on an image.
_FOR_OUTLINES, _FOR_ROWS = 0.25, 0.2
_TOLERANCE = 0.1  # by which pixel sizes may differ, as everywhere


@dataclass(frozen=True)
class Source:
    """What came of one image."""

    index: int
    name: str
    image: Any
    labels: Any
    table: Any = None
    truth: Any = None
    pixel_size: float | None = None
    # Whether the pixel size was given, or is what somebody has assumed.
    is_assumed: bool = False


@dataclass
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


@dataclass(frozen=True)
class Oddity:
    """A nucleus at the end of an order."""

    key: float
    value: float
    record: int
    name: str
    label: int
    row: float
    column: float
    tile: str


class Oddities:
    """The most unusual nuclei of all images, with their crops."""

    # Title, column, whether high values are unusual, whether nuclei that the border
    # cuts are left out.
    ORDERS = (
        ("Largest", "area_um2", True, False),
        ("Smallest", "area_um2", False, True),
        ("Most elongated", "eccentricity", True, True),
        ("Least convex", "solidity", False, True),
        ("Least confident", "confidence", False, False),
    )

    def __init__(self, n_kept: int = 10) -> None:
        self.n_kept = n_kept
        self.found: dict[str, list[Oddity]] = {}

    def look(self, record: Record, picture: np.ndarray, ids: np.ndarray) -> None:
        """Take those of an image that go before what was seen so far."""
        for title, column, high, whole in self.ORDERS:
            if column in record.table:
                self._look(title, column, high, whole, record, picture, ids)

    def _look(
        self,
        title: str,
        column: str,
        high: bool,
        whole: bool,
        record: Record,
        picture: np.ndarray,
        ids: np.ndarray,
    ) -> None:
        table = record.table
        values = np.asarray(table[column], dtype=np.float64)
        keys = -values if high else values
        usable = np.isfinite(values) & np.isfinite(table["centroid_row"])
        if whole:
            usable &= ~_is_cut(table, record.shape)
        kept = self.found.setdefault(title, [])
        order = np.argsort(np.where(usable, keys, np.inf), kind="stable")
        side = max(5, round(_TILE_UM / record.pixel_size))
        for place in order[: self.n_kept]:
            worst = kept[-1].key if len(kept) == self.n_kept else np.inf
            if not usable[place] or keys[place] >= worst:
                break
            label = int(table["label"][place])
            centre = (
                float(table["centroid_row"][place]),
                float(table["centroid_column"][place]),
            )
            tile = draw_tile(
                *crop_nucleus(picture, ids, label, centre, side), _TILE, thickness=1
            )
            kept.append(
                Oddity(
                    float(keys[place]),
                    float(values[place]),
                    record.index,
                    record.name,
                    label,
                    *centre,
                    data_uri(encode(tile, 80)),
                )
            )
            kept.sort(key=lambda each: each.key)
            del kept[self.n_kept :]


def _is_cut(table: Mapping[str, Any], shape: tuple[int, int]) -> np.ndarray:
    """Tell nuclei that touch the border of their image."""
    if "bbox_min_row" not in table:
        return np.zeros(len(table["label"]), bool)
    return (
        (np.asarray(table["bbox_min_row"]) <= 0)
        | (np.asarray(table["bbox_min_column"]) <= 0)
        | (np.asarray(table["bbox_max_row"]) >= shape[0])
        | (np.asarray(table["bbox_max_column"]) >= shape[1])
    )


def encode(picture: np.ndarray, quality: int = _QUALITY) -> bytes:
    """Write a picture as JPEG."""
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(picture).save(target, "JPEG", quality=quality, optimize=True)
    return target.getvalue()


def data_uri(jpeg: bytes) -> str:
    """Write JPEG data as an address that holds them."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _thumbnail(picture: np.ndarray) -> str:
    """Draw the middle of an image, a square, small."""
    from PIL import Image, ImageOps

    size = (_THUMBNAIL, _THUMBNAIL)
    small = ImageOps.fit(Image.fromarray(picture), size, Image.Resampling.LANCZOS)
    return data_uri(encode(np.asarray(small), 70))


def fit_picture(picture: np.ndarray, max_bytes: int) -> tuple[bytes, float]:
    """Write a picture as JPEG that is no larger than it may be.

    Returns
    -------
    jpeg : bytes
    scale : float
        Its side over that of the picture, at most 1.
    """
    from PIL import Image

    height, width = picture.shape[:2]
    longest = max(height, width)
    side = min(longest, _MOST_SIDE)
    while True:
        small = picture
        if side < longest:
            size = [max(1, round(each * side / longest)) for each in (width, height)]
            small = np.asarray(
                Image.fromarray(picture).resize(
                    (size[0], size[1]), Image.Resampling.LANCZOS
                )
            )
        jpeg = encode(small)
        if len(jpeg) <= max_bytes or side <= _LEAST_SIDE:
            return jpeg, side / longest
        shrunk = side * math.sqrt(max_bytes / len(jpeg)) * 0.95
        side = max(_LEAST_SIDE, min(side - 1, int(shrunk)))


def look_at(
    source: Source,
    oddities: Oddities,
    *,
    max_bytes: int,
    iou_threshold: float,
    class_texts: Mapping[int, str] | None,
) -> Record:
    """Measure one image, draw it, and say what is wrong with it."""
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
    table = _table_of(source, labels, batch, size, staining, findings)
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
        oddities.look(record, picture, ids)
        record.thumbnail = _thumbnail(picture)
    record.left = _draw_view(record, picture, ids, true_ids, max_bytes)
    record.rows = _write_rows(record, class_texts, int(max_bytes * _FOR_ROWS))
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


def read_table(path: str | os.PathLike) -> dict[str, Any]:
    """Read a table of nuclei from CSV; what is no number stays text."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    if not rows:
        raise ValueError(f"{printable(str(path))!r} is an empty file, and no table.")
    columns: dict[str, Any] = {}
    for index, name in enumerate(rows[0]):
        cells = [row[index] if index < len(row) else "" for row in rows[1:]]
        try:
            numbers = np.array([float(cell or "nan") for cell in cells])
        except ValueError:
            columns[name] = np.array(cells)
            continue
        whole = numbers.size and np.isfinite(numbers).all() and name in _WHOLE
        columns[name] = numbers.astype(np.int64) if whole or not cells else numbers
    return columns


_WHOLE = {"label", "class", "region"}


def _table_of(
    source: Source,
    labels: np.ndarray,
    batch: ImageBatch | None,
    size: float,
    staining: str | None,
    findings: list[Finding],
) -> dict[str, Any]:
    """Return the table of an image by today's names; measured where none came."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PsmlearnWarning)
        if source.table is None:
            if batch is None or batch.n_channels < 3 or staining not in ("he", "hdab"):
                return nuclei_table(labels, pixel_size=size)
            two = labels.ndim == 3 or staining == "hdab"
            stains = ("haematoxylin", "dab") if two else ("haematoxylin",)
            return nuclei_table(
                labels,
                batch,  # type: ignore[arg-type]
                pixel_size=size,
                stains=stains,
            )
        own = nuclei_table(labels, pixel_size=size)
    table = _given_table(source)
    if "class" in table and np.asarray(table["class"]).dtype.kind not in "iu":
        del table["class"]
    known = np.searchsorted(own["label"], table["label"])
    known = np.minimum(known, max(len(own["label"]) - 1, 0))
    there = (
        own["label"][known] == table["label"]
        if len(own["label"])
        else np.zeros(len(table["label"]), bool)
    )
    n_lacking = len(own["label"]) - int(np.count_nonzero(there))
    if n_lacking or not there.all():
        findings.append(
            Finding(
                "table",
                f"The table has {len(table['label'])} nuclei and the label image "
                f"{len(own['label'])}; numbers are those of the table.",
            )
        )
    for name in ("class", "centroid_row", "centroid_column"):
        if name not in table and name in own:
            column = np.full(len(there), 0 if name == "class" else np.nan)
            column[there] = own[name][known[there]]
            table[name] = column.astype(own[name].dtype)
    return table


def _given_table(source: Source) -> dict[str, Any]:
    """Check a table that came, or read it."""
    given = source.table
    name = f"tables[{source.index}]"
    if is_path(given):
        given = read_table(as_path(given))
        name += f" ({printable(str(source.table))})"
    try:
        columns = {str(key): np.asarray(given[key]) for key in given}
    except (TypeError, KeyError, IndexError):
        raise TypeError(
            f"{name} must be a dict of columns, a pandas table or the path of a CSV "
            f"file, got {type(given).__name__}."
        ) from None
    lengths = {column.shape for column in columns.values()}
    if "label" not in columns or len(lengths) != 1 or len(lengths.pop()) != 1:
        raise ValueError(
            f"{name} must have a column 'label', and columns of one length; it has "
            f"{list(columns)}."
        )
    if columns["label"].dtype.kind not in "iu" and len(columns["label"]):
        raise ValueError(f"{name}: the column 'label' must hold whole numbers.")
    columns["label"] = columns["label"].astype(np.int64)
    return canonical(columns)


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
    if picture is None:
        scale = min(1.0, _MOST_SIDE / max(height, width))
        ground = f'<rect width="{width}" height="{height}" fill="#3d3947"/>'
    else:
        left = max_bytes * (1 - _FOR_OUTLINES - _FOR_ROWS) * 3 / 4
        jpeg, scale = fit_picture(picture, int(left))
        ground = (
            f'<image width="{width}" height="{height}" href="{data_uri(jpeg)}" '
            'preserveAspectRatio="none"/>'
        )
    if scale < 0.995:
        note = (
            f'<p class="soft small">Shown at {100 * scale:.0f} % of its size, '
            f"{width} × {height} pixels.</p>"
        )
    paths, unit = _outlines(record, ids, true_ids, 0.5 / scale, max_bytes)
    drawn = "".join(f'<path class="{group}" d="{d}"/>' for group, d in paths.items())
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


def _write_rows(
    record: Record, class_texts: Mapping[int, str] | None, max_chars: int
) -> str:
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
        if name == "class" and class_texts:
            values.append([class_texts.get(each, each) for each in column])
        else:
            values.append([_short(each) for each in column])
    data = {
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
