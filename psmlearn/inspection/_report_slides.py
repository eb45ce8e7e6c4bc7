# SPDX-License-Identifier: BSD-3-Clause
"""Whole slides in a report: counts, and what was looked at."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from psmlearn.inspection._report_jpeg import data_uri, fit_picture

__all__ = ["SlideRow", "section"]

_PICTURE_BYTES = 200_000


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
    """

    name: str
    n_nuclei: int
    tissue_mm2: float
    n_problems: int = 0
    picture: str | None = None


def section(slides: Sequence[SlideRow]) -> str:
    """Return the part of a page that is about slides; "" without any."""
    if not slides:
        return ""
    rows = "\n".join(map(_row, slides))
    return (
        '<section id="slides"><h2>Whole slides</h2>\n'
        "<p>Nuclei on the tissue that was looked at; the rest of each picture is "
        "dimmed.</p>\n"
        '<div class="scroll"><table><thead><tr><th>slide</th><th>nuclei</th>'
        "<th>tissue, mm²</th><th>nuclei per mm²</th><th>unread tiles</th>"
        f"<th>looked at</th></tr></thead><tbody>\n{rows}\n"
        "</tbody></table></div></section>\n"
    )


def _row(slide: SlideRow) -> str:
    name = html.escape(slide.name)
    density = "–"
    if slide.tissue_mm2 > 0:
        density = f"{slide.n_nuclei / slide.tissue_mm2:,.0f}"
    picture = ""
    if slide.picture is not None:
        picture = f'<img src="{_address(slide.picture)}" alt="tissue of {name}">'
    return (
        f"<tr><td>{name}</td><td>{slide.n_nuclei:,}</td><td>{slide.tissue_mm2:.2f}</td>"
        f"<td>{density}</td><td>{slide.n_problems}</td><td>{picture}</td></tr>"
    )


def _address(path: str) -> str:
    from PIL import Image

    with Image.open(path) as image:
        image.thumbnail((480, 480))
        picture = np.asarray(image.convert("RGB"))
    return data_uri(fit_picture(picture, _PICTURE_BYTES)[0])
