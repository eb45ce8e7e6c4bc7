# SPDX-License-Identifier: BSD-3-Clause
"""The parts of a report's page around its pictures, as HTML text.

Every text that came from outside goes through `told`: nothing else may.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from psmlearn.inspection._columns import describe_column, measured_columns
from psmlearn.inspection._report_checks import KINDS, SHORT_STAININGS
from psmlearn.inspection._report_image import Oddities, Record
from psmlearn.inspection._report_style import SCRIPT, STYLE
from psmlearn.inspection._report_svg import (
    count_bins,
    draw_histogram,
    escaped_number,
    histogram_edges,
)
from psmlearn.io._paths import printable
from psmlearn.measure import LabellingIndex

# Of these areas tell enough.
_NOT_DRAWN = {"equivalent_diameter_um", "perimeter_um", "minor_axis_um"}
_FIRST_DRAWN = ("area_um2", "eccentricity", "solidity", "major_axis_um")
_MOST_DRAWN, _MINIS = 12, 4
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
    versions: Mapping[str, str]
    made: str

    @property
    def classes(self) -> list[int]:
        return sorted(self.class_texts)


def told(value: object) -> str:
    """Write text from outside: visible characters, and nothing that is markup."""
    return escape(printable(str(value)), quote=True)


def head(page: Page) -> str:
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
    sections = [("summary", "Summary"), ("warnings", "Warnings"), ("images", "Images")]
    if page.scores is not None:
        sections.append(("scores", "Scores"))
    sections += [("distributions", "Distributions"), ("unusual", "Unusual nuclei")]
    sections += [("pictures", "Pictures"), ("parameters", "Parameters")]
    links = "".join(f'<li><a href="#{to}">{text}</a></li>' for to, text in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{told(page.title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<header><h1>{told(page.title)}</h1><p class="soft">{told(page.made)}</p>'
        f'</header>\n<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>\n'
    )


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


def _median(values: np.ndarray) -> float:
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
    if area:
        tiles.append((f"{n_nuclei / area:,.0f}", "nuclei on a mm²"))
    middle = _median(together(records, "area_um2"))
    if math.isfinite(middle):
        tiles.append((f"{middle:.3g} µm²", "median area of a nucleus"))
    for number in page.classes:
        n_of_class = sum(_n_of_class(record, number) for record in records)
        tiles.append((f"{n_of_class:,}", page.class_texts[number]))
    if page.index is not None and math.isfinite(page.index.index):
        low, high = (100 * each for each in page.index.interval)
        tiles.append(
            (
                f"{100 * page.index.index:.1f} %",
                f"labelling index, 95 % interval {low:.1f} to {high:.1f} %",
            )
        )
    confidence = _median(together(records, "confidence"))
    if math.isfinite(confidence):
        tiles.append((f"{confidence:.2f}", "median confidence"))
    if page.scores is not None:
        for name, text in _score_names(page):
            mean = page.scores["scores"][name]["macro"]
            tiles.append((_share(mean), f"{text}, mean of images"))
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


def _n_of_class(record: Record, number: int) -> int:
    return 0 if record.classes is None else int((record.classes == number).sum())


def _score_names(page: Page) -> list[tuple[str, str]]:
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
    names = _score_names(page) if page.scores is not None else []
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
            n_of_class = _n_of_class(record, number)
            cells.append(_cell(n_of_class, f"{n_of_class:,}"))
        if page.index is not None:
            share = page.index.per_image["index"][place]
            cells.append(_cell(share, _percent(share)))
        cells += [_cell(_median(together([record], name))) for name in columns]
        for name, _ in names:
            score = _score(page, name, record)
            cells.append(_cell(score, _share(score)))
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


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if math.isfinite(share) else "–"


def _share(score: float) -> str:
    return f"{score:.3f}" if math.isfinite(score) else "–"


def _score(page: Page, name: str, record: Record) -> float:
    if page.scores is None or record.index not in page.scored:
        return math.nan
    return page.scores["scores"][name]["per_image"][page.scored[record.index]]


def _shared_columns(page: Page) -> list[str]:
    """Columns of which the table of images tells the median."""
    drawn = _drawn_columns(page.records)
    chosen = [name for name in drawn if name == "area_um2" or name.startswith("mean_")]
    return (chosen + [name for name in drawn if name == "confidence"])[:5]


def _drawn_columns(records: Iterable[Record]) -> list[str]:
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
                _cell(score[kind], _share(score[kind]))
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


@dataclass(frozen=True)
class Distribution:
    """The histogram of a column over all images."""

    name: str
    title: str
    edges: np.ndarray
    counts: np.ndarray


def make_distributions(page: Page) -> list[Distribution]:
    """Bin all columns that are drawn, over all images."""
    made = []
    for name in _drawn_columns(page.records):
        values = together(page.records, name)
        edges = histogram_edges(values, whole=name in ("area_um2", "major_axis_um"))
        if edges is not None:
            text, unit = describe_column(name)
            title = f"{text} ({unit})" if unit else text
            made.append(Distribution(name, title, edges, count_bins(values, edges)))
    return made


def _parts(
    page: Page, records: Sequence[Record], each: Distribution
) -> list[tuple[str, np.ndarray]]:
    """Split counts by class, where there are classes."""
    if not page.classes:
        return [("", count_bins(together(records, each.name), each.edges))]
    parts = []
    for number in page.classes:
        values = [
            np.asarray(record.table[each.name], dtype=np.float64)[
                np.asarray(record.classes) == number
            ]
            for record in records
            if each.name in record.table and record.classes is not None
        ]
        joined = np.concatenate(values) if values else np.empty(0)
        parts.append((f"c{number}", count_bins(joined, each.edges)))
    return parts


def distributions(page: Page, made: Sequence[Distribution]) -> str:
    """Write the histograms over all images."""
    plots = []
    for each in made:
        values = together(page.records, each.name)
        known = values[np.isfinite(values)]
        low, middle, high = np.percentile(known, [25, 50, 75])
        svg = draw_histogram(
            _parts(page, page.records, each),
            each.edges,
            middle=float(middle),
            label=f"Histogram of {told(each.title)}",
        )
        quartiles = f"{escaped_number(low)} to {escaped_number(high)}"
        plots.append(
            f'<figure class="plot"><figcaption>{told(each.title)}<span>median '
            f"{escaped_number(middle)}, half of all {quartiles}</span></figcaption>"
            f"{svg}</figure>"
        )
    if not plots:
        body = '<p class="ok">There is no nucleus to draw.</p>'
    else:
        body = _class_key(page) + f'<div class="plots">{"".join(plots)}</div>'
        body += (
            '<p class="soft small">Dashed: the median. The first and the last bar hold '
            "what lies beyond.</p>"
        )
    return f'<section id="distributions"><h2>Distributions</h2>{body}</section>\n'


def _class_key(page: Page) -> str:
    if not page.classes:
        return ""
    keys = "".join(
        f'<li><i class="c{number}"></i>{told(page.class_texts[number])}</li>'
        for number in page.classes
    )
    return f'<ul class="key">{keys}</ul>'


def unusual(page: Page) -> str:
    """Write the nuclei at the ends of all orders."""
    parts = []
    for title, column, _, whole in Oddities.ORDERS:
        found = page.oddities.found.get(title, [])
        if not found:
            continue
        text, unit = describe_column(column)
        tiles = "".join(
            f'<li><button type="button" data-card="image-{each.record + 1}" '
            f'data-go="{each.row:.1f} {each.column:.1f} {each.label}" '
            f'title="{told(each.name)}, nucleus {each.label}">'
            f'<img src="{each.tile}" alt="" width="104" height="104" loading="lazy">'
            f"{escaped_number(each.value)} {unit}"
            f"<span>{told(each.name)}</span></button></li>"
            for each in found
        )
        cut = ", without those that the border cuts" if whole else ""
        parts.append(
            f'<h4>{told(title)} <span class="soft small">by {told(text.lower())}{cut}'
            f'</span></h4><ul class="odd">{tiles}</ul>'
        )
    body = "".join(parts) or '<p class="ok">There is none to show.</p>'
    note = (
        '<p class="soft small">Crops are 30 µm wide; a click shows the place.</p>'
        if parts
        else ""
    )
    return f'<section id="unusual"><h2>Unusual nuclei</h2>{body}{note}</section>\n'


def card_head(record: Record) -> str:
    """Write what goes before the picture of an image."""
    warned = "".join(
        f"<li><b>{told(KINDS[finding.kind])}.</b> {told(finding.text)}</li>"
        for finding in record.findings
    )
    warned = f'<ul class="findings">{warned}</ul>' if warned else ""
    return (
        f'<article class="card" id="{record.anchor}"><h3>{told(record.name)}</h3>'
        f'{warned}<div class="cols"><div>'
    )


def card_side(page: Page, record: Record, made: Sequence[Distribution]) -> str:
    """Write what goes beside the picture of an image: its numbers and histograms."""
    height, width = record.shape
    pairs = [
        ("Nuclei", f"{record.n_nuclei:,}"),
        ("Nuclei on a mm²", escaped_number(record.density)),
        ("Shown", f"{record.area:.3g} mm²"),
    ]
    for number in page.classes:
        pairs.append((page.class_texts[number], f"{_n_of_class(record, number):,}"))
    if page.index is not None:
        share = page.index.per_image["index"][list(page.records).index(record)]
        pairs.append(("Labelling index", _percent(share)))
    for name in _drawn_columns([record])[:8]:
        text, unit = describe_column(name)
        middle = escaped_number(_median(together([record], name)))
        pairs.append((f"{text}, median", f"{middle} {unit}".strip()))
    if record.index in page.scored:
        pairs += [
            (text, _share(_score(page, name, record)))
            for name, text in _score_names(page)
        ]
    pairs.append(("Size", f"{width} × {height} px"))
    pairs.append(("Pixel", f"{record.pixel_size:.4g} µm"))
    if record.staining is not None:
        pairs.append(("Looks like", SHORT_STAININGS[record.staining]))
    listed = "".join(f"<dt>{told(a)}</dt><dd>{told(b)}</dd>" for a, b in pairs)
    minis = ""
    if record.n_nuclei:
        minis = "".join(
            _mini(page, record, each)
            for each in _of_interest(made)
            if each.name in record.table
        )
        minis = f'<div class="minis">{minis}</div>' if minis else ""
        if minis and len(page.records) > 1:
            minis += '<p class="soft small">Line: all images, at the same total.</p>'
    return f"</div><div>{_keys(page, record)}<dl>{listed}</dl>{minis}</div></div>"


def _of_interest(made: Sequence[Distribution]) -> list[Distribution]:
    """Choose the few histograms of each image: size, shape, stain and confidence."""
    wanted = ("area_um2", "eccentricity", "mean_dab_od", "mean_haematoxylin_od")
    order = [
        each for name in (*wanted, "confidence") for each in made if each.name == name
    ]
    rest = [each for each in made if each not in order]
    return (order + rest)[:_MINIS]


def _mini(page: Page, record: Record, each: Distribution) -> str:
    svg = draw_histogram(
        _parts(page, [record], each),
        each.edges,
        behind=each.counts if len(page.records) > 1 else None,
        label=f"Histogram of {told(each.title)} in {told(record.name)}",
    )
    return f"<figure><figcaption>{told(each.title)}</figcaption>{svg}</figure>"


def _keys(page: Page, record: Record) -> str:
    """Write what the colours of the outlines are."""
    lists = []
    if record.matches is not None:
        parts = (
            ("find", "found", record.matches.found.size),
            ("miss", "missed", record.matches.missed.size),
            ("fals", "false", record.matches.false.size),
        )
        keys = "".join(
            f'<li><i class="{style}"></i>{text} ({number:,})</li>'
            for style, text, number in parts
        )
        lists.append(f'<ul class="key" data-legend="compare">{keys}</ul>')
    if page.classes:
        keys = "".join(
            f'<li><i class="c{number}"></i>{told(page.class_texts[number])} '
            f"({_n_of_class(record, number):,})</li>"
            for number in page.classes
        )
    else:
        keys = f'<li><i class="plain"></i>nuclei ({record.n_nuclei:,})</li>'
    hidden = " hidden" if lists else ""
    lists.append(f'<ul class="key" data-legend="nuclei"{hidden}>{keys}</ul>')
    return "".join(lists)


def pictures_head() -> str:
    """Write what goes before the first picture."""
    return (
        '<section id="pictures"><h2>Pictures</h2><p class="soft small">Zoom with the '
        "buttons, a double click, a pinch, Ctrl and the wheel, or + and − (0 shows the "
        "whole); move by dragging or with the arrow keys; o changes the outlines, f "
        "fills the window.</p>\n"
    )


def settings(page: Page) -> str:
    """Write parameters and versions."""
    parts = []
    if page.parameters:
        parts.append(_settings(page.parameters))
    parts.append(f"<h4>Versions</h4>{_settings(page.versions)}")
    return (
        '<section id="parameters"><h2>Parameters and versions</h2>'
        f"{''.join(parts)}</section>\n"
    )


def _settings(values: Mapping[Any, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{told(key)}</th><td>{_setting(value)}</td></tr>'
        for key, value in values.items()
    )
    return f'<div class="scroll"><table class="settings">{rows}</table></div>'


def _setting(value: Any, depth: int = 0) -> str:
    """Write a value from JSON, or of a parameter."""
    if isinstance(value, Mapping) and value and depth < 5:
        if len(value) > 8:
            inner = "".join(_setting_row(k, v, depth) for k, v in value.items())
            return (
                f"<details><summary>{len(value):,} entries</summary>"
                f"<table>{inner}</table></details>"
            )
        inner = "".join(_setting_row(key, each, depth) for key, each in value.items())
        return f"<table>{inner}</table>"
    if isinstance(value, list | tuple) and value and depth < 5:
        if all(not isinstance(each, Mapping | list | tuple) for each in value):
            text = ", ".join(_plain(each) for each in value[:200])
            more = f" and {len(value) - 200:,} more" if len(value) > 200 else ""
            if len(value) > 8:
                return (
                    f"<details><summary>{len(value):,} entries</summary>{text}{more}"
                    "</details>"
                )
            return text
        items = "".join(_setting_row(n, each, depth) for n, each in enumerate(value, 1))
        return (
            f"<details><summary>{len(value):,} entries</summary><table>{items}</table>"
            "</details>"
        )
    return _plain(value)


def _setting_row(key: Any, value: Any, depth: int) -> str:
    told_value = _setting(value, depth + 1)
    return f'<tr><th scope="row">{told(key)}</th><td>{told_value}</td></tr>'


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return told(value)
