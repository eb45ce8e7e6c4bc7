# SPDX-License-Identifier: BSD-3-Clause
"""Outlines filled, many at once, in a time linear in rows crossed and pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

# Objects are filled some at a time, and edges crossed with rows some at a time, so
# that memory stays bounded and small enough for the cache.
_VERTICES_AT_ONCE = 1 << 17
_COST_AT_ONCE = 1 << 20
_CROSSINGS_AT_ONCE = 1 << 16
# A simple outline with a vertex in each pixel stays far below; more is a tangle.
_MAX_CROSSINGS = 1 << 28
# As many pixels of a box as a crossing costs that is sorted.
_PIXELS_PER_CROSSING = 16

Pixels = tuple[np.ndarray, np.ndarray]
Rings = Sequence[np.ndarray]
Tell = Callable[[int], str]


@dataclass
class _Pass:
    """Edges, those of an object in a row, and where they cross the rows of its box.

    Attributes
    ----------
    first, last : ndarray of shape (n_edges,)
        The rows that are crossed, the last excluded.
    cross : callable
        Takes edges and rows, and gives the first column behind each crossing.
    """

    first: np.ndarray
    last: np.ndarray
    cross: Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass
class _Layout:
    """Objects in boxes of their own: what is outside of these is not looked at."""

    starts: np.ndarray  # of the edges of each object, and the end of the last
    top: np.ndarray
    left: np.ndarray
    height: np.ndarray
    width: np.ndarray
    passes: list[_Pass]
    # Pixels that are inside anyhow: object, row and column.
    extra: list[np.ndarray] = field(
        default_factory=lambda: [np.zeros(0, dtype=np.intp)] * 3
    )


def fill_polygon(rings: Rings, shape: tuple[int, int]) -> Pixels:
    """Return the pixels whose centres lie inside a polygon.

    By the even-odd rule over all its rings, so that inner ones are holes, and
    with half-open edges, so that polygons that share an edge share no pixel and
    leave none between them.

    Parameters
    ----------
    rings : sequence of ndarray of shape (n_vertices, 2)
        Vertices as (row, column); closing is implied. Rings of fewer than three
        vertices are skipped.
    shape : tuple (height, width)

    Returns
    -------
    rows, columns : ndarray of shape (n_pixels,)

    Raises
    ------
    ValueError
        If it crosses more rows than any outline drawn by a hand or a program.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.datasets._fill import fill_polygon
    >>> square = np.array([[0.5, 0.5], [0.5, 2.5], [2.5, 2.5], [2.5, 0.5]])
    >>> rows, columns = fill_polygon([square], (9, 9))
    >>> rows.tolist(), columns.tolist()
    ([1, 1, 2, 2], [1, 2, 1, 2])
    """
    return next(fill_parts([[rings]], shape))


def fill_parts(
    objects: Sequence[Sequence[Rings]], shape: tuple[int, int], tell: Tell | None = None
) -> Iterator[Pixels]:
    """Yield the pixels of objects in several parts, each part a polygon.

    `tell` gives the name of an object, for errors.
    """
    polygons = [rings for parts in objects for rings in parts]
    owner = [index for index, parts in enumerate(objects) for _ in parts]
    filled = _fill_many(
        polygons,
        lambda some: _lay_polygons(some, shape),
        lambda rings: sum(map(len, rings)),
        None if tell is None else lambda index: tell(owner[index]),
    )
    nothing = np.empty(0, dtype=np.intp)
    for parts in objects:
        if len(parts) == 1:
            yield next(filled)
            continue
        pixels = [next(filled) for _ in parts] or [(nothing, nothing)]
        rows, columns = zip(*pixels, strict=True)
        yield np.concatenate(rows), np.concatenate(columns)


def fill_outline(outline: np.ndarray, shape: tuple[int, int]) -> Pixels:
    """Return the pixels whose centres lie inside an outline or on it.

    The pixels are those of `skimage.draw.polygon`, to the last one, in a time
    that is linear in rows crossed and in pixels, not in their product.

    Parameters
    ----------
    outline : ndarray of shape (n_vertices, 2)
        Vertices as (row, column); closing is implied.
    shape : tuple (height, width)

    Returns
    -------
    rows, columns : ndarray of shape (n_pixels,)

    Raises
    ------
    ValueError
        If it crosses more rows than any outline drawn by a hand or a program.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.datasets._fill import fill_outline
    >>> rows, columns = fill_outline(np.array([[0, 0], [0, 1], [1, 1]]), (9, 9))
    >>> rows.tolist(), columns.tolist()
    ([0, 0, 1], [0, 1, 1])
    """
    return next(fill_outlines([np.asarray(outline, dtype=np.float64)], shape))


def fill_outlines(
    outlines: Sequence[np.ndarray], shape: tuple[int, int], tell: Tell | None = None
) -> Iterator[Pixels]:
    """Yield the pixels inside of outlines or on them, see `fill_outline`."""
    return _fill_many(outlines, lambda some: _lay_outlines(some, shape), len, tell)


def _fill_many(
    shapes: Sequence,
    lay: Callable[[Sequence], _Layout],
    count: Callable[..., int],
    tell: Tell | None,
) -> Iterator[Pixels]:
    """Yield the pixels of many objects, laid out and filled some at a time."""
    n_vertices = np.array([count(each) for each in shapes], dtype=np.int64)
    for start, stop in _cut(n_vertices, _VERTICES_AT_ONCE):
        layout = lay(shapes[start:stop])
        sizes = layout.height * (layout.width + 1)
        crossings = _count_crossings(layout)
        _check_crossings(crossings, start, tell)
        for low, high in _cut(
            sizes + _PIXELS_PER_CROSSING * crossings.sum(axis=0), _COST_AT_ONCE
        ):
            yield from _fill_some(layout, sizes, crossings, low, high)


def _check_crossings(crossings: np.ndarray, start: int, tell: Tell | None) -> None:
    """Refuse objects that cross rows more often than any that are drawn."""
    most = crossings.max(axis=0, initial=0)
    for index in np.flatnonzero(most > _MAX_CROSSINGS).tolist():
        name = "" if tell is None else f"{tell(start + index)}: "
        raise ValueError(
            f"{name}its outline crosses rows of the image {most[index]} times; up to "
            f"{_MAX_CROSSINGS} are drawn: simplify it, or cut it into parts."
        )


def _cut(costs: np.ndarray, limit: int) -> Iterator[tuple[int, int]]:
    """Cut a row of costs into parts of about a limit, or of one cost above it."""
    if len(costs):
        part = (np.cumsum(costs) - costs) // limit
        starts = np.flatnonzero(np.diff(part, prepend=-1))
        yield from pairwise([*starts.tolist(), len(costs)])


def _count_crossings(layout: _Layout) -> np.ndarray:
    """Return how often each object crosses rows, (n_passes, n_objects)."""
    counts = []
    for each in layout.passes:
        total = np.zeros(len(each.first) + 1, dtype=np.int64)
        np.cumsum(np.maximum(each.last - each.first, 0), out=total[1:])
        counts.append(np.diff(total[layout.starts]))
    return np.array(counts)


def _lay_polygons(polygons: Sequence[Rings], shape: tuple[int, int]) -> _Layout:
    """Lay out polygons; an edge holds its upper end, and not its lower one."""
    rings = [[ring for ring in rings if len(ring) >= 3] for rings in polygons]
    start, following, starts = _join(rings, 1)
    falls = (start[:, 0] <= start[following, 0])[:, np.newaxis]
    upper = np.where(falls, start, start[following])
    lower = np.where(falls, start[following], start)
    first, last = (_to_grid(edge[:, 0], shape[0]) for edge in (upper, lower))
    top, bottom = _extremes(first, starts)[0], _extremes(last, starts)[1]
    left, right = (_to_grid(e, shape[1]) for e in _extremes(start[:, 1], starts))

    def cross(edge: np.ndarray, rows: np.ndarray) -> np.ndarray:
        slopes = lower[edge, 1] - upper[edge, 1]
        slopes /= lower[edge, 0] - upper[edge, 0]
        return np.ceil(upper[edge, 1] + (rows - upper[edge, 0]) * slopes)

    return _Layout(
        starts, top, left, bottom - top, right - left, [_Pass(first, last, cross)]
    )


def _lay_outlines(outlines: Sequence[np.ndarray], shape: tuple[int, int]) -> _Layout:
    """Lay out outlines whose edges are inside, in two passes.

    Seen to the right, an edge holds its upper end; seen to the left, its lower
    one: a pixel on the outline is inside for one of them.
    """
    outline, preceding, starts = _join([[outline] for outline in outlines], -1)
    before = outline[preceding]
    low, high = (np.stack(e) for e in zip(
        *(_extremes(outline[:, axis], starts) for axis in (0, 1)), strict=True
    ))  # fmt: skip
    top, left = np.maximum(low, 0).astype(np.intp)
    most = np.subtract(shape, 1)[:, np.newaxis]
    bottom, right = np.minimum(np.ceil(high), most).astype(np.intp)
    owner = np.repeat(np.arange(len(outlines)), np.diff(starts))
    height = np.maximum(bottom - top + 1, 0)
    width = np.maximum(right - left + 1, 0)
    height[width == 0] = 0
    upper = np.minimum(outline[:, 0], before[:, 0])
    lower = np.maximum(outline[:, 0], before[:, 0])

    def cross_at(step: int) -> _Pass:
        first, last = (
            np.clip(
                np.ceil(ends) if step == 0 else np.floor(ends) + 1,
                top[owner],
                (top + height)[owner],
            ).astype(np.intp)
            for ends in (upper, lower)
        )

        def cross(edge: np.ndarray, rows: np.ndarray) -> np.ndarray:
            y0, y1 = outline[edge, 0] - rows, before[edge, 0] - rows
            x0, x1 = outline[edge, 1], before[edge, 1]
            nearest = np.rint(x0 - y0 * (x1 - x0) / (y1 - y0))
            # How far the edge lies to the right, in the terms of scikit-image,
            # since pixels that it all but touches hang on the last bit.
            x0, x1 = x0 - nearest, x1 - nearest
            right_of = (x0 * y1 - x1 * y0) / (y1 - y0)
            return nearest + (right_of > 0 if step == 0 else right_of >= 0)

        return _Pass(first, last, cross)

    vertices = np.rint(outline)
    on_pixel = (np.abs(vertices - outline) < 1e-12).all(axis=1)
    for axis, (least, size) in enumerate(((top, height), (left, width))):
        on_pixel &= vertices[:, axis] >= least[owner]
        on_pixel &= vertices[:, axis] < (least + size)[owner]
    extra = [owner[on_pixel], *vertices[on_pixel].astype(np.intp).T]
    passes = [cross_at(step) for step in (0, 1)]
    return _Layout(starts, top, left, height, width, passes, extra)


def _join(
    objects: Sequence[Rings], step: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join rings; return the vertices, their neighbours, and where objects start."""
    rings = [ring for each in objects for ring in each]
    lengths = np.array([len(ring) for ring in rings], dtype=np.intp)
    ends = np.cumsum(lengths)
    neighbour = np.arange(lengths.sum()) + step
    if step == 1:
        neighbour[ends - 1] = ends - lengths
    else:
        neighbour[ends - lengths] = ends - 1
    n_rings = np.cumsum([0, *(len(each) for each in objects)])
    starts = np.concatenate([[0], ends])[n_rings]
    return np.concatenate([np.empty((0, 2)), *rings]), neighbour, starts


def _extremes(values: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest value of each object, 0 where it has none."""
    filled = starts[:-1] < starts[1:]
    found = []
    for function in (np.minimum, np.maximum):
        each = np.zeros(len(filled), dtype=values.dtype)
        if filled.any():
            each[filled] = function.reduceat(values, starts[:-1][filled])
        found.append(each)
    return found[0], found[1]


def _to_grid(positions: np.ndarray, size: int) -> np.ndarray:
    """Return the first pixel at or after each position, within 0 to `size`."""
    return np.clip(np.ceil(positions), 0, size).astype(np.intp)


def _fill_some(
    layout: _Layout, sizes: np.ndarray, crossings: np.ndarray, low: int, high: int
) -> Iterator[Pixels]:
    """Yield the pixels of the objects from `low` to before `high`.

    All their boxes lie one behind the other in a row of pixels; each line has a
    column more, at which the last crossing of all is.
    """
    base = np.zeros(high - low + 1, dtype=np.intp)
    np.cumsum(sizes[low:high], out=base[1:])
    keys = _find_inside(layout, base, int(crossings[:, low:high].sum()), low, high)
    bounds = np.searchsorted(keys, base)
    number: np.ndarray | int = low
    if high - low > 1:  # else one that may be large
        place = np.repeat(np.arange(high - low), np.diff(bounds))
        keys -= base[place]
        number = low + place
    rows, columns = np.divmod(keys, layout.width[number] + 1)
    rows += layout.top[number]
    columns += layout.left[number]
    for start, stop in pairwise(bounds.tolist()):
        yield rows[start:stop], columns[start:stop]


def _find_inside(
    layout: _Layout, base: np.ndarray, n_crossings: int, low: int, high: int
) -> np.ndarray:
    """Return the places of pixels inside, ordered."""
    owner, rows, columns = layout.extra
    mine = (owner >= low) & (owner < high)
    extra = _place(layout, base, low, owner[mine], rows[mine], columns[mine])
    found = [_cross(layout, each, base, low, high) for each in layout.passes]
    if _PIXELS_PER_CROSSING * n_crossings < base[-1]:
        starts, ends = [extra], [extra + 1]
        for each in found:
            flips = np.sort(np.concatenate([extra[:0], *each]))
            starts.append(flips[::2])
            ends.append(flips[1::2])
        return _expand(np.concatenate(starts), np.concatenate(ends))
    inside = np.zeros(base[-1], dtype=bool)
    for each in found:
        flips = np.zeros(base[-1], dtype=np.uint8)
        for places in each:
            # Sums wrap around at 256, which keeps them odd or even.
            np.add.at(flips, places, np.uint8(1))
        flips &= 1
        # Each line has an even number of crossings, so that the next starts anew.
        inside |= np.bitwise_xor.accumulate(flips).view(bool)
    inside[extra] = True
    return np.flatnonzero(inside)


def _expand(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the numbers in any of some ranges, ordered, each once."""
    if not len(starts):
        return starts
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    apart = starts[1:] > ends[:-1]
    starts = starts[np.append(True, apart)]
    lengths = ends[np.append(apart, True)] - starts
    before = np.cumsum(lengths) - lengths
    numbers = np.repeat(starts - before, lengths)
    numbers += np.arange(len(numbers))
    return numbers


def _cross(
    layout: _Layout, crossed: _Pass, base: np.ndarray, low: int, high: int
) -> Iterator[np.ndarray]:
    """Yield the places where inside and outside change, some at a time."""
    edges = slice(*layout.starts[[low, high]])
    n_edges = np.diff(layout.starts[low : high + 1])
    owner = low + np.repeat(np.arange(high - low), n_edges)
    for edge, rows in _cross_rows(crossed.first[edges], crossed.last[edges]):
        columns = crossed.cross(edge + edges.start, rows)
        number = owner[edge]
        left, width = layout.left[number], layout.width[number]
        columns = np.clip(columns, left, left + width).astype(np.intp)
        yield _place(layout, base, low, number, rows, columns)


def _place(
    layout: _Layout,
    base: np.ndarray,
    low: int,
    number: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
) -> np.ndarray:
    """Return the places of pixels of objects in the row of all boxes."""
    place = (rows - layout.top[number]) * (layout.width[number] + 1)
    return place + columns - layout.left[number] + base[number - low]


def _cross_rows(
    first: np.ndarray, last: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield edges with the rows they cross, from `first` to before `last`."""
    counts = np.maximum(last - first, 0)
    crossing = np.flatnonzero(counts)
    for low, high in _cut(counts[crossing], _CROSSINGS_AT_ONCE):
        part = crossing[low:high]
        edge = np.repeat(part, counts[part])
        before = np.cumsum(counts[part]) - counts[part]
        offset = np.repeat(first[part] - before, counts[part])
        yield edge, offset + np.arange(len(edge))
