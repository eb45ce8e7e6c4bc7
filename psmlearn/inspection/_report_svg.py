# SPDX-License-Identifier: BSD-3-Clause
"""Drawings of a report as SVG text: histograms, and outlines as paths."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from psmlearn._images._outlines import trace_outlines

_LEAST_BINS, _MOST_BINS = 8, 36
_HEIGHT = 92
_WIDTH = 260
_LEFT, _BASE = 4, 76
_LEAST_POINTS = 6


def escaped_number(value: float) -> str:
    """Write a number shortly, a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def histogram_edges(values: np.ndarray, whole: bool = False) -> np.ndarray | None:
    """Choose the bins of a histogram: round edges; what is far out goes to the last.

    None where there is nothing to count.
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    low, high = np.percentile(known, [0.5, 99.5])
    if whole:
        low = min(low, 0.0)
    if high <= low:
        reach = abs(low) * 0.1 or 0.5
        low, high = low - reach, high + reach
    n_bins = np.clip(2 * math.sqrt(known.size), _LEAST_BINS, _MOST_BINS)
    step = _nice_step((high - low) / n_bins)
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return step * np.arange(first, last + 1)


def _nice_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= step * 0.999)


def count_bins(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Count values by bins; what lies beyond is in the first and the last."""
    known = values[np.isfinite(values)]
    return np.histogram(np.clip(known, edges[0], edges[-1]), edges)[0]


def draw_histogram(
    parts: Sequence[tuple[str, np.ndarray]],
    edges: np.ndarray,
    *,
    behind: np.ndarray | None = None,
    middle: float | None = None,
    label: str = "",
) -> str:
    """Draw a histogram of stacked parts, each with the class of its style.

    Parameters
    ----------
    parts : sequence of (str, ndarray of shape (n_bins,))
        Class of the style and counts, from the bottom up.
    edges : ndarray of shape (n_bins + 1,)
    behind : ndarray of shape (n_bins,), default=None
        Counts of all, drawn as a line at the same total.
    middle : float, default=None
        Where to draw the median.
    label : str, default=""
        What it shows, for those who do not see it; already escaped.
    """
    total = np.sum([counts for _, counts in parts], axis=0)
    scaled = None
    if behind is not None and behind.sum() and total.sum():
        scaled = behind * (total.sum() / behind.sum())
    top = max(total.max(), 0 if scaled is None else scaled.max(), 1)
    places = _LEFT + (_WIDTH - 2 * _LEFT) * np.linspace(0, 1, len(edges))
    wide = places[1] - places[0]
    unit = (_BASE - 6) / top
    drawn = [
        f'<svg class="hist" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{label}">',
        f'<line x1="{_LEFT}" x2="{_WIDTH - _LEFT}" y1="{_BASE}" y2="{_BASE}"/>',
    ]
    floor = np.zeros(len(total))
    for style, counts in parts:
        path = "".join(
            f"M{x:.1f} {_BASE - f * unit:.1f}h{max(wide - 1, 1):.1f}v{-n * unit:.1f}"
            f"h{-max(wide - 1, 1):.1f}z"
            for x, f, n in zip(places[:-1] + 0.5, floor, counts, strict=True)
            if n
        )
        drawn.append(f'<path class="bar {style}" d="{path}"/>')
        floor = floor + counts
    if scaled is not None:
        line = "".join(
            f"{'L' if x else 'M'}{places[x]:.1f} {_BASE - n * unit:.1f}h{wide:.1f}"
            for x, n in enumerate(scaled)
        )
        drawn.append(f'<path class="all" d="{line}"/>')
    if middle is not None and math.isfinite(middle):
        x = np.interp(middle, edges, places)
        drawn.append(
            f'<line class="mid" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{_BASE}"/>'
        )
    for x, anchor, value in (
        (_LEFT, "start", edges[0]),
        (_WIDTH / 2, "middle", (edges[0] + edges[-1]) / 2),
        (_WIDTH - _LEFT, "end", edges[-1]),
    ):
        drawn.append(
            f'<text x="{x:g}" y="{_HEIGHT - 3}" text-anchor="{anchor}">'
            f"{escaped_number(float(value))}</text>"
        )
    drawn.append("</svg>")
    return "".join(drawn)


def outline_paths(
    ids: np.ndarray, group_of: dict[int, str], *, unit: float, max_chars: int
) -> tuple[dict[str, str], float]:
    """Draw the outlines of all objects as one SVG path for each group.

    Corners of pixels are smoothed, and points are left out until the paths are short
    enough.

    Parameters
    ----------
    ids : ndarray of shape (height, width), int
    group_of : dict of int to str
        Group of each id; others are left out.
    unit : float
        Pixels of the image that coordinates count in.
    max_chars : int
        How long all paths together may be.

    Returns
    -------
    paths : dict of str to str
        The ``d`` of a path by group.
    unit : float
        What coordinates count in: at least what was asked for.
    """
    rings: list[tuple[str, np.ndarray]] = []
    for outline in trace_outlines(ids):
        group = group_of.get(outline.id)
        if group is not None:
            rings += [
                (group, _smoothed(ring)) for piece in outline.polygons for ring in piece
            ]
    while True:
        paths: dict[str, list[str]] = {}
        for group, ring in rings:
            paths.setdefault(group, []).append(_as_path(ring / unit))
        drawn = {group: "".join(parts) for group, parts in paths.items()}
        if sum(map(len, drawn.values())) <= max_chars:
            return drawn, unit
        if not any(len(ring) > _LEAST_POINTS for _, ring in rings):
            return drawn, unit  # as short as outlines can be
        rings = [(group, _halved(ring)) for group, ring in rings]
        unit *= 1.25


def _smoothed(ring: np.ndarray) -> np.ndarray:
    """Cut the corners of a ring that runs along pixels: no stairs are left."""
    after = np.roll(ring, -1, axis=0)
    steps = after - ring
    lengths = np.abs(steps).sum(axis=1, keepdims=True)
    cut = steps / np.maximum(lengths, 1) * np.minimum(lengths / 2, 0.75)
    both = np.stack([ring + cut, after - cut], axis=1)
    is_short = (lengths[:, 0] <= 1)[:, np.newaxis] & np.array([False, True])
    points = both[~is_short]
    return _halved(points) if len(points) > 4 * _LEAST_POINTS else points


def _halved(ring: np.ndarray) -> np.ndarray:
    """Put the middle in place of two neighbours."""
    if len(ring) <= _LEAST_POINTS:
        return ring
    even = ring[: len(ring) // 2 * 2].reshape(-1, 2, 2).mean(axis=1)
    return np.concatenate([even, ring[-1:]]) if len(ring) % 2 else even


def _as_path(ring: np.ndarray) -> str:
    points = np.rint(ring).astype(np.int64)[:, ::-1]
    steps = np.diff(points, axis=0)
    steps = steps[np.any(steps != 0, axis=1)]
    return f"M{points[0, 0]} {points[0, 1]}l{_joined(steps.ravel())}z"


def _joined(numbers: Iterable[int]) -> str:
    """Write numbers with no more blanks than a path asks for."""
    return " ".join(map(str, numbers)).replace(" -", "-")
