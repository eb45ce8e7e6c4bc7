# SPDX-License-Identifier: BSD-3-Clause
"""The parts of a report's page around its pictures, as HTML text.

Every text that came from outside goes through `told`: nothing else may.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from psmlearn.inspection._columns import describe_column, measured_columns
from psmlearn.inspection._report_checks import KINDS
from psmlearn.inspection._report_image import Record
from psmlearn.inspection._report_oddities import Oddities
from psmlearn.inspection._report_style import SCRIPT, STYLE
from psmlearn.inspection._report_svg import (
    escaped_number,
)
from psmlearn.io._paths import printable
from psmlearn.measure import LabellingIndex

# Of these areas tell enough.
_NOT_DRAWN = {"equivalent_diameter_um", "perimeter_um", "minor_axis_um"}
_FIRST_DRAWN = ("area_um2", "eccentricity", "solidity", "major_axis_um")
_MOST_DRAWN = 12
_MOST_NAMED = 12
_MOST_LISTED = 50
# Scores of the table of images, and what they are called.
SCORES = {
    "object_f1@{iou}": "F1",
    "pq": "PQ",
    "aji": "AJI",
    "dice": "Dice",
}


@dataclass(frozen=True)
class Page:
    """What all parts of a page know."""

    title: str
    records: Sequence[Record]
    oddities: Oddities
    class_texts: Mapping[int, str]
    class_colors: Mapping[int, Sequence[int]]
    index: LabellingIndex | None
    scores: dict[str, Any] | None
    # Which row of the scores an image has.
    scored: Mapping[int, int]
    iou_threshold: float
    parameters: Mapping[str, Any] | None
    # Why images have no results, by name.
    failures: Mapping[str, str]
    versions: Mapping[str, str]
    made: str

    @property
    def classes(self) -> list[int]:
        return sorted(self.class_texts)


def told(value: object) -> str:
    """Write text from outside: visible characters, and nothing that is markup."""
    return escape(printable(str(value)), quote=True)


def head(page: Page, *, with_slides: bool = False) -> str:
    """Write all that goes before the first section."""
    style = STYLE + "".join(
        f"[data-mode=nuclei] .c{number}{{stroke:{_hex(color)}}}\n"
        f".bar.c{number},.key .c{number}{{fill:{_hex(color)};"
        f"background:{_hex(color)}}}\n"
        for number, color in page.class_colors.items()
    )
    style += (
        ".key .plain,.key .miss{background:#ffe119}.key .find{background:#00e5ff}"
        ".key .fals{background:#ff3d00}\n"
    )
    policy = (
        "default-src 'none'; img-src data:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(SCRIPT)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    names = json.dumps({str(key): text for key, text in page.class_texts.items()})
    sections = _sections(page, with_slides=with_slides)
    links = "".join(f'<li><a href="#{to}">{text}</a></li>' for to, text in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="generator" content="psmlearn">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{told(page.title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<header><h1>{told(page.title)}</h1><p class="soft">{told(page.made)}</p>'
        f'</header>\n<nav aria-label="Sections"><ul>{links}</ul></nav>\n'
        f'<main data-classes="{told(names)}">\n'
    )


def _sections(page: Page, *, with_slides: bool) -> list[tuple[str, str]]:
    """List the sections of a page by their ids; slides alone have a few only."""
    of_images = bool(page.records) or not with_slides
    sections = [("summary", "Summary")] if of_images else []
    if page.failures:
        sections.append(("failed", "Without results"))
    if with_slides:
        sections.append(("slides", "Whole slides"))
    if of_images:
        sections += [("warnings", "Warnings"), ("images", "Images")]
        if page.scores is not None:
            sections.append(("scores", "Scores"))
        sections += [("distributions", "Distributions"), ("unusual", "Unusual nuclei")]
        sections.append(("pictures", "Pictures"))
    return [*sections, ("parameters", "Parameters")]


def tail() -> str:
    """Write all that goes behind the last section."""
    return (
        "</main>\n<footer>For research use only, not for diagnosis. This page holds "
        "all that it shows, and loads nothing.</footer>\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


def _hex(color: Sequence[int]) -> str:
    return "#" + "".join(f"{int(part):02x}" for part in color)


def count(number: int, one: str, many: str) -> str:
    """Write a number of things."""
    return f"{number:,} {one if number == 1 else many}"


def together(records: Iterable[Record], name: str) -> np.ndarray:
    """Join a column of all images that have it."""
    columns = [
        np.asarray(record.table[name], dtype=np.float64)
        for record in records
        if name in record.table
    ]
    return np.concatenate(columns) if columns else np.empty(0)


def median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else math.nan


def summary(page: Page) -> str:
    """Write the numbers that are asked for first."""
    records = page.records
    n_nuclei = sum(record.n_nuclei for record in records)
    area = sum(record.area for record in records)
    tiles = [
        (f"{len(records):,}", "image" if len(records) == 1 else "images"),
        (f"{n_nuclei:,}", "nucleus" if n_nuclei == 1 else "nuclei"),
    ]
    if page.failures:
        n_failed = len(page.failures)
        images = "image" if n_failed == 1 else "images"
        tiles.insert(1, (f"{n_failed:,}", f"{images} without results"))
    if area:
        tiles.append((f"{n_nuclei / area:,.0f}", "nuclei on a mm²"))
    middle = median(together(records, "area_um2"))
    if math.isfinite(middle):
        tiles.append((f"{middle:.3g} µm²", "median area of a nucleus"))
    for number in page.classes:
        total = sum(n_of_class(record, number) for record in records)
        tiles.append((f"{total:,}", page.class_texts[number]))
    if page.index is not None and math.isfinite(page.index.index):
        low, high = (100 * each for each in page.index.interval)
        tiles.append(
            (
                f"{100 * page.index.index:.1f} %",
                f"labelling index, 95 % interval {low:.1f} to {high:.1f} %",
            )
        )
    confidence = median(together(records, "confidence"))
    if math.isfinite(confidence):
        tiles.append((f"{confidence:.2f}", "median confidence"))
    if page.scores is not None:
        for name, text in score_names(page):
            mean = page.scores["scores"][name]["macro"]
            tiles.append((as_share(mean), f"{text}, mean of images"))
    boxes = "".join(
        f'<div class="tile"><b>{told(value)}</b><span>{told(text)}</span></div>'
        for value, text in tiles
    )
    note = ""
    if page.index is not None:
        note = "".join(
            f'<p class="soft small">{told(t)}</p>' for t in page.index.warnings
        )
        note += f'<p class="soft small">{told(page.index.notice)}</p>'
    return (
        f'<section id="summary" aria-label="Summary"><div class="tiles">{boxes}</div>'
        f"{note}</section>\n"
    )


def failed(page: Page) -> str:
    """Write which images have no results, and why."""
    if not page.failures:
        return ""
    rows = [
        f"<li><b>{told(name)}</b> {told(reason)}</li>"
        for name, reason in page.failures.items()
    ]
    listed = f'<ul class="findings">{"".join(rows[:_MOST_LISTED])}</ul>'
    if len(rows) > _MOST_LISTED:
        more = f"{len(rows) - _MOST_LISTED:,} more"
        listed += (
            f'<details><summary>{more}</summary><ul class="findings">'
            f"{''.join(rows[_MOST_LISTED:])}</ul></details>"
        )
    return (
        '<section id="failed"><h2>Images without results</h2><p class="soft">'
        f"{count(len(rows), 'image', 'images')}. What follows is without them, but for "
        "results of an earlier run.</p>"
        f"{listed}</section>\n"
    )


def n_of_class(record: Record, number: int) -> int:
    return 0 if record.classes is None else int((record.classes == number).sum())


def score_names(page: Page) -> list[tuple[str, str]]:
    return [
        (name.format(iou=f"{page.iou_threshold:g}"), text)
        for name, text in SCORES.items()
    ]


def findings(page: Page) -> str:
    """Write the warnings, by their kinds."""
    items = []
    for kind, title in KINDS.items():
        hit = [
            (record, finding)
            for record in page.records
            for finding in record.findings
            if finding.kind == kind
        ]
        if not hit:
            continue
        texts = {finding.text for _, finding in hit}
        if len(texts) == 1:
            links = ", ".join(_link(record) for record, _ in hit[:_MOST_NAMED])
            if len(hit) > _MOST_NAMED:
                links += f" and {len(hit) - _MOST_NAMED:,} more"
            body = f"{told(hit[0][1].text)} {links}"
        else:
            rows = "".join(
                f"<li>{_link(record)}: {told(finding.text)}</li>"
                for record, finding in hit[:_MOST_LISTED]
            )
            if len(hit) > _MOST_LISTED:
                rows += f"<li>and {len(hit) - _MOST_LISTED:,} more</li>"
            body = f"<ul>{rows}</ul>"
        images = count(len({record.index for record, _ in hit}), "image", "images")
        items.append(
            f'<li data-kind="{told(kind)}"><b>{told(title)}</b> '
            f'<span class="soft">({images})</span> {body}</li>'
        )
    if items:
        listed = f'<ul class="findings">{"".join(items)}</ul>'
    else:
        listed = '<p class="ok">Nothing to warn of.</p>'
    return f'<section id="warnings"><h2>Warnings</h2>{listed}</section>\n'


def _link(record: Record) -> str:
    return f'<a href="#{record.anchor}">{told(record.name)}</a>'


def _cell(value: float, text: str | None = None) -> str:
    shown = escaped_number(value) if text is None else told(text)
    number = f"{value:.8g}" if math.isfinite(value) else ""
    return f'<td data-v="{number}">{shown}</td>'


def _heads(titles: Sequence[tuple[str, bool]]) -> str:
    """Write a head of buttons; each with whether the largest comes first."""
    cells = []
    for text, down in titles:
        if not text:
            cells.append('<td class="thumb"></td>')
            continue
        kind = ' class="name"' if text == "Image" else ""
        first = ' data-first="down"' if down else ""
        cells.append(
            f'<th scope="col"{kind}{first}><button type="button">{told(text)}'
            "</button></th>"
        )
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def image_table(page: Page) -> str:
    """Write the table of images."""
    records = page.records
    columns = _shared_columns(page)
    titles = [
        ("", False),
        ("Image", False),
        ("Warnings", True),
        ("Nuclei", True),
        ("Nuclei on a mm²", True),
    ]
    titles += [(page.class_texts[number], True) for number in page.classes]
    if page.index is not None:
        titles.append(("Labelling index", True))
    for name in columns:
        text, unit = describe_column(name)
        titles.append((f"{text}, median" + (f" ({unit})" if unit else ""), True))
    names = score_names(page) if page.scores is not None else []
    titles += [(text, False) for _, text in names]
    titles += [("Width × height (px)", True), ("Pixel (µm)", False)]
    rows = []
    for place, record in enumerate(records):
        cells = [_thumbnail(record), f'<td class="name">{_link(record)}</td>']
        n_warned = len(record.findings)
        badge = f'<span class="badge">{n_warned}</span>' if n_warned else "0"
        cells.append(f'<td data-v="{n_warned}">{badge}</td>')
        cells.append(_cell(record.n_nuclei, f"{record.n_nuclei:,}"))
        cells.append(_cell(record.density))
        for number in page.classes:
            number_of = n_of_class(record, number)
            cells.append(_cell(number_of, f"{number_of:,}"))
        if page.index is not None:
            share = page.index.per_image["index"][place]
            cells.append(_cell(share, as_percent(share)))
        cells += [_cell(median(together([record], name))) for name in columns]
        for name, _ in names:
            score = score_of(page, name, record)
            cells.append(_cell(score, as_share(score)))
        height, width = record.shape
        cells.append(_cell(width * height, f"{width} × {height}"))
        cells.append(_cell(record.pixel_size, f"{record.pixel_size:.4g}"))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        '<section id="images"><h2>Images</h2><div class="scroll">'
        f'<table class="sortable">{_heads(titles)}<tbody>{"".join(rows)}</tbody>'
        '</table></div><p class="soft small">A click on a head sorts. Nuclei on a mm² '
        "count on what the image shows, tissue or not.</p></section>\n"
    )


def _thumbnail(record: Record) -> str:
    if not record.thumbnail:
        return '<td class="thumb"></td>'
    return (
        f'<td class="thumb"><a href="#{record.anchor}" tabindex="-1">'
        f'<img src="{record.thumbnail}" alt="" width="64" height="64" loading="lazy">'
        "</a></td>"
    )


def as_percent(share: float) -> str:
    return f"{100 * share:.1f} %" if math.isfinite(share) else "–"


def as_share(score: float) -> str:
    return f"{score:.3f}" if math.isfinite(score) else "–"


def score_of(page: Page, name: str, record: Record) -> float:
    if page.scores is None or record.index not in page.scored:
        return math.nan
    return page.scores["scores"][name]["per_image"][page.scored[record.index]]


def _shared_columns(page: Page) -> list[str]:
    """Columns of which the table of images tells the median."""
    drawn = drawn_columns(page.records)
    chosen = [name for name in drawn if name == "area_um2" or name.startswith("mean_")]
    return (chosen + [name for name in drawn if name == "confidence"])[:5]


def drawn_columns(records: Iterable[Record]) -> list[str]:
    """Columns of numbers that are drawn, in the order of interest."""
    names: dict[str, None] = {}
    for record in records:
        names |= dict.fromkeys(measured_columns(record.table))
    first = [name for name in _FIRST_DRAWN if name in names]
    rest = [name for name in names if name not in first and name not in _NOT_DRAWN]
    return (first + rest)[:_MOST_DRAWN]


def score_table(page: Page) -> str:
    """Write the scores over all images."""
    if page.scores is None:
        return ""
    texts = {
        "dice": "Dice",
        "iou": "IoU",
        "object_dice": "Object Dice",
        "aji": "AJI",
        "aji_plus": "AJI+",
        "pq": "PQ",
        "dq": "DQ",
        "sq": "SQ",
    }
    iou = f"{page.iou_threshold:g}"
    for name in ("precision", "recall"):
        texts[f"object_{name}@{iou}"] = f"{name.capitalize()} of nuclei, IoU > {iou}"
    texts[f"object_f1@{iou}"] = f"F1 of nuclei, IoU > {iou}"
    for name in page.scores["scores"]:
        if name.startswith("detection_f1@"):
            texts[name] = f"F1 of centres, within {page.scores['radius']:g} pixels"
    rows = []
    for name, text in texts.items():
        score = page.scores["scores"][name]
        worst = "–" if score["worst_image"] is None else told(score["worst_image"])
        rows.append(
            f'<tr><th scope="row">{told(text)}</th>'
            + "".join(
                _cell(score[kind], as_share(score[kind]))
                for kind in ("macro", "micro", "std", "worst")
            )
            + f'<td class="name">{worst}</td></tr>'
        )
    heads = "".join(
        f'<th scope="col"{kind}>{text}</th>'
        for text, kind in (
            ("Score", ""),
            ("Mean of images", ""),
            ("All nuclei together", ""),
            ("Deviation", ""),
            ("Worst", ""),
            ("Worst image", ' class="name"'),
        )
    )
    n_scored = page.scores["n_images"]
    n_true, n_pred = page.scores["n_true_objects"], page.scores["n_pred_objects"]
    return (
        '<section id="scores"><h2>Scores against the truth</h2>'
        f'<p class="soft">{count(n_scored, "image", "images")}, {n_true:,} true and '
        f"{n_pred:,} predicted nuclei. PQ, DQ and SQ at IoU > 0.5.</p>"
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>\n"
    )
