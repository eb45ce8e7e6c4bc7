# SPDX-License-Identifier: BSD-3-Clause
"""Whole slides in a report: counts, and what was looked at."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from psmlearn.inspection._report_jpeg import data_uri, fit_picture

__all__ = ["SlideRow", "section"]

_PICTURE_BYTES = 200_000
# The class whose share is the labelling index.
_POSITIVE = "positive"


@dataclass(frozen=True)
class SlideRow:
    """What is told of a slide.

    Attributes
    ----------
    name : str
    n_nuclei : int
    tissue_mm2 : float
        Area that was looked at.
    n_problems : int
        Tiles that could not be read.
    picture : str or None
        Path of the picture of the tissue.
    n_of_class : dict of str to int
        Nuclei by class; empty without classes.
    """

    name: str
    n_nuclei: int
    tissue_mm2: float
    n_problems: int = 0
    picture: str | None = None
    n_of_class: Mapping[str, int] = field(default_factory=dict)


def section(slides: Sequence[SlideRow]) -> str:
    """Return the part of a page that is about slides; "" without any."""
    if not slides:
        return ""
    classes = list(dict.fromkeys(name for each in slides for name in each.n_of_class))
    rows = "\n".join(_row(each, classes) for each in slides)
    heads = "".join(f"<th>{html.escape(title)}</th>" for title in _titles(classes))
    return (
        '<section id="slides"><h2>Whole slides</h2>\n'
        "<p>Nuclei on the tissue that was looked at; the rest of each picture is "
        "dimmed.</p>\n"
        '<div class="scroll"><table><thead><tr><th>slide</th><th>nuclei</th>'
        f"{heads}<th>tissue, mm²</th><th>nuclei per mm²</th><th>unread tiles</th>"
        f"<th>looked at</th></tr></thead><tbody>\n{rows}\n"
        "</tbody></table></div></section>\n"
    )


def _titles(classes: Sequence[str]) -> list[str]:
    """Return what the columns of the classes are called."""
    return [*classes, *(["positive, %"] if _POSITIVE in classes else [])]


def _row(slide: SlideRow, classes: Sequence[str]) -> str:
    name = html.escape(slide.name)
    density = "–"
    if slide.tissue_mm2 > 0:
        density = f"{slide.n_nuclei / slide.tissue_mm2:,.0f}"
    picture = ""
    if slide.picture is not None:
        picture = f'<img src="{_address(slide.picture)}" alt="tissue of {name}">'
    counts = [slide.n_of_class.get(each) for each in classes]
    cells = ["–" if each is None else f"{each:,}" for each in counts]
    if _POSITIVE in classes:
        cells.append(_share(slide))
    by_class = "".join(f"<td>{each}</td>" for each in cells)
    return (
        f"<tr><td>{name}</td><td>{slide.n_nuclei:,}</td>{by_class}"
        f"<td>{slide.tissue_mm2:.2f}</td>"
        f"<td>{density}</td><td>{slide.n_problems}</td><td>{picture}</td></tr>"
    )


def _share(slide: SlideRow) -> str:
    """Return the labelling index in percent."""
    n_positive = slide.n_of_class.get(_POSITIVE)
    n_nuclei = sum(slide.n_of_class.values())
    if n_positive is None or not n_nuclei:
        return "–"
    return f"{100 * n_positive / n_nuclei:.1f}"


def _address(path: str) -> str:
    from PIL import Image

    with Image.open(path) as image:
        image.thumbnail((480, 480))
        picture = np.asarray(image.convert("RGB"))
    return data_uri(fit_picture(picture, _PICTURE_BYTES)[0])
