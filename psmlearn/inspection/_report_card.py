# SPDX-License-Identifier: BSD-3-Clause
"""The parts of a report's page that show nuclei: histograms, oddities and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from psmlearn.inspection._columns import describe_column
from psmlearn.inspection._report_checks import KINDS, SHORT_STAININGS
from psmlearn.inspection._report_image import Record
from psmlearn.inspection._report_oddities import Oddities
from psmlearn.inspection._report_page import (
    Page,
    as_percent,
    as_share,
    drawn_columns,
    median,
    n_of_class,
    score_names,
    score_of,
    together,
    told,
)
from psmlearn.inspection._report_svg import (
    count_bins,
    draw_histogram,
    escaped_number,
    histogram_edges,
)

_MINIS = 4  # histograms of each image


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
    for name in drawn_columns(page.records):
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
        pairs.append((page.class_texts[number], f"{n_of_class(record, number):,}"))
    if page.index is not None:
        share = page.index.per_image["index"][record.index]
        pairs.append(("Labelling index", as_percent(share)))
    for name in drawn_columns([record])[:8]:
        text, unit = describe_column(name)
        middle = escaped_number(median(together([record], name)))
        pairs.append((f"{text}, median", f"{middle} {unit}".strip()))
    if record.index in page.scored:
        pairs += [
            (text, as_share(score_of(page, name, record)))
            for name, text in score_names(page)
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
            f"({n_of_class(record, number):,})</li>"
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
