# SPDX-License-Identifier: BSD-3-Clause
"""Objects that masks do not show as they came: painted, counted and told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from psmlearn._warnings import warn_user
from psmlearn.exceptions import AnnotationWarning

_N_TOLD = 5
# Small objects at a border are cut by half quite often, and nobody minds.
_LEAST_REACH = 0.1
# How often objects may cover their image, one above the other, and pixels in all.
_PIXELS_AT_ONCE = 1 << 20
_MAX_LAYERS, _MAX_PAINTED = 100, 1 << 28
_KINDS = {
    "outside": "lie outside of their image and are left out",
    "cut": "reach beyond their image with more than half of their area",
    "covered": "are wholly covered by later ones",
    "empty": "cover the centre of no pixel",
    "open": "have too few vertices to enclose anything",
    "line": "are lines, arrows or rulers, which have no area",
    "blank": "have no geometry",
    "useless": "are negative, but cut no other",
    "holder": "hold others of a kind of their own, and count beside them",
}


@dataclass
class Drawn:
    """The pixels of one object within its image.

    Attributes
    ----------
    name : str
        What to call it in warnings, such as "feature 3".
    rows, columns : ndarray of shape (n_pixels,)
    outline : ndarray of shape (n_vertices, 2) or None
        All its vertices, where it has some: they tell whether it leaves the image.
    area : callable or None
        Gives its area in pixels, with the part beyond the image.
    holder : bool
        Whether it may be a region that was looked at, rather than a nucleus.
    """

    name: str
    rows: np.ndarray
    columns: np.ndarray
    outline: np.ndarray | None = None
    area: Callable[[], float] | None = None
    holder: bool = False


class Lost:
    """What the masks of one load do not show as it came, told at its end.

    Parameters
    ----------
    advice : str, default=""
        What may be done about objects that cover others.
    """

    def __init__(self, advice: str = "") -> None:
        self.advice = advice
        self.n_objects = 0
        self._counts = dict.fromkeys(_KINDS, 0)
        self._names: dict[str, list[str]] = {kind: [] for kind in _KINDS}

    def add(self, kind: str, name: str, source: str, count: int = 1) -> None:
        """Note an object, or `count` of them, by its name and the file it is in."""
        self._counts[kind] += count
        if len(self._names[kind]) < _N_TOLD:
            self._names[kind].append(f"{name} of {source!r}" if source else repr(name))

    def tell(self) -> None:
        """Warn once of all that was noted.

        Raises
        ------
        ValueError
            If all objects of the load lie outside of their images.
        """
        n_outside = self._counts["outside"]
        if n_outside and n_outside == self.n_objects:
            raise ValueError(
                f"All {n_outside} object(s) lie outside of their images, such as "
                f"{self._names['outside'][0]}. Are they in the coordinates of the "
                "whole slide beside a part of it, or of another magnification? Shift "
                "or scale them to the image's own pixels."
            )
        parts = []
        for kind, text in _KINDS.items():
            count, names = self._counts[kind], self._names[kind]
            if count:
                more = f" and {count - len(names)} more" if count > len(names) else ""
                parts.append(f"{count} {text} ({', '.join(names)}{more})")
        if not parts:
            return
        if n_outside or self._counts["cut"]:
            parts.append("outlines must be in the pixels of their own image")
        if self.advice and (self._counts["covered"] or self._counts["holder"]):
            parts.append(self.advice)
        warn_user(f"Of the annotated objects, {'; '.join(parts)}.", AnnotationWarning)


def paint(
    objects: Iterable[Drawn],
    shape: tuple[int, int],
    lost: Lost,
    source: str,
    classes: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Paint objects into a label image; where they overlap, the later one wins.

    Parameters
    ----------
    objects : iterable of Drawn
    shape : tuple (height, width)
    lost : Lost
        Learns which of them are not seen.
    source : str
        The file that the objects come from.
    classes : sequence of int or None, default=None
        The class of each object.

    Returns
    -------
    labels : ndarray of shape (height, width) or (height, width, 2), dtype int32
        Ids 1..n in the order given, of the objects that are visible; the second
        plane holds the classes, if there are any.
    shown : ndarray of shape (n_objects,), dtype bool
        Which of them are visible.

    Raises
    ------
    ValueError
        If they lie above one another more often than any nuclei do.
    """
    labels = np.zeros(shape, dtype=np.int32)
    names: list[str] = []
    lost_already, holders, holding = [False], [False], set()
    any_holder = False
    n_painted, most = 0, max(_MAX_LAYERS * labels.size, _MAX_PAINTED)
    for number, drawn in enumerate(objects, start=1):
        n_painted += len(drawn.rows)
        if n_painted > most:
            raise ValueError(
                f"{source or drawn.name!r}: its objects hold more than {most} pixels, "
                f"on an image of {shape[0]} x {shape[1]}: they cover one another."
            )
        names.append(drawn.name)
        holders.append(drawn.holder)
        lost_already.append(_note_beside(drawn, shape, lost, source))
        any_holder = any_holder or drawn.holder
        if any_holder and not drawn.holder and len(drawn.rows):
            below = labels[drawn.rows, drawn.columns]
            if holders[below[0]] and (below == below[0]).all():
                holding.add(int(below[0]))
        labels[drawn.rows, drawn.columns] = number
    n_objects = len(names)
    lost.n_objects += n_objects
    present = np.zeros(n_objects + 1, dtype=bool)
    for block in _blocks(shape):
        present[labels[block]] = True
    present[0] = False
    for number in np.flatnonzero(~present[1:] & ~np.array(lost_already[1:], bool)):
        lost.add("covered", names[number], source)
    for number in sorted(holding):
        if present[number]:
            lost.add("holder", names[number - 1], source)
    return _number(labels, present, classes), present[1:]


def _number(
    labels: np.ndarray, present: np.ndarray, classes: Sequence[int] | None
) -> np.ndarray:
    """Number the objects that are seen anew, and add their classes."""
    new = (np.cumsum(present) * present).astype(np.int32)
    if classes is None:
        if not present[1:].all():
            for block in _blocks(labels.shape):
                labels[block] = new[labels[block]]
        return labels
    told = np.array([0, *classes], dtype=np.int32)
    both = np.empty((*labels.shape, 2), dtype=np.int32)
    for block in _blocks(labels.shape):
        both[block] = np.stack([new[labels[block]], told[labels[block]]], axis=-1)
    return both


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield rows that are few enough for copies not to count."""
    step = max(1, _PIXELS_AT_ONCE // max(1, shape[1]))
    for top in range(0, shape[0], step):
        yield slice(top, top + step)


def _note_beside(drawn: Drawn, shape: tuple[int, int], lost: Lost, source: str) -> bool:
    """Note an object without a pixel, or largely beside; tell whether it has none."""
    n_pixels = len(drawn.rows)
    reach = 0.0
    if drawn.outline is not None and len(drawn.outline):
        low, high = drawn.outline.min(axis=0), drawn.outline.max(axis=0)
        beyond = np.maximum(-0.5 - low, high - np.subtract(shape, 0.5))
        reach = float((beyond / shape).max())
    if n_pixels == 0:
        lost.add("outside" if reach > 0 else "empty", drawn.name, source)
        return True
    if reach > _LEAST_REACH and drawn.area is not None and n_pixels < drawn.area() / 2:
        lost.add("cut", drawn.name, source)
    return False


def measure_area(polygons: Iterable[Sequence[np.ndarray]]) -> float:
    """Return the area of an object of several polygons, without their holes."""
    total = 0.0
    for rings in polygons:
        areas = [_ring_area(ring) for ring in rings]
        total += areas[0] - sum(areas[1:]) if areas else 0.0
    return max(total, 0.0)


def _ring_area(ring: np.ndarray) -> float:
    """Return the area that a ring encloses, by its vertices."""
    if len(ring) < 3:
        return 0.0
    rows, columns = (ring - ring[0]).T
    return 0.5 * abs(float(rows @ np.roll(columns, 1) - columns @ np.roll(rows, 1)))
