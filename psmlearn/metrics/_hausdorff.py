# SPDX-License-Identifier: BSD-3-Clause
"""The Hausdorff distance of objects, and of whole masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from psmlearn._parameters import check_flag, is_number, shown
from psmlearn._typing import Labels, Masks, Regions
from psmlearn.metrics._areas import partners
from psmlearn.metrics._checks import (
    Average,
    MaskPair,
    by_object,
    check_average,
    check_labels,
    check_pairs,
)
from psmlearn.metrics._overlap import Overlap, number_ids
from psmlearn.metrics._scoring import average_scores, stack_counts, tables_of
from psmlearn.metrics._texts import fill_docstring

# Objects looked at first in the search for the closest one.
_N_NEAR = 8
# A box so many times smaller than an object saves looking at all its pixels.
_MUCH_LARGER = 4


@fill_docstring
def hausdorff_distance(
    y_true: Masks,
    y_pred: Masks,
    *,
    level: Literal["object", "mask"] = "object",
    percentile: float = 100.0,
    outline: bool = False,
    labels: Labels | None = None,
    regions: Regions | None = None,
    average: Average = "macro",
    zero_division: float = 0.0,
) -> float | np.ndarray:
    """Measure how far the outlines are apart: the Hausdorff distance, in pixels.

    The distance of two sets of pixels is the largest distance of a pixel of one to
    the nearest pixel of the other, in both directions. At the level of objects, as
    in the GlaS challenge, each object is given the one of the other mask with which
    it shares most pixels as a partner, or where it shares none the one with the
    least distance. The distances of the pairs are averaged with the objects' areas
    as weights, once over the true objects and once over the predicted ones; the
    result is the mean of the two.

    Parameters
    ----------
    %(y_true_masks)s
    y_pred : list of arrays or paths, array or path
        Predicted label images, of the same number and sizes. A pixel that is -1
        in either of the two belongs to no object.
    level : {"object", "mask"}, default="object"
        "mask" measures the whole foreground of an image as one object; boolean
        masks will then do.
    percentile : float, default=100.0
        Percentile of the pixels' distances to take in each direction in place of
        the largest, above 0 and at most 100. The larger of the two directions
        counts. Partners are chosen by the largest distance all the same.
    outline : bool, default=False
        False takes all pixels of an object, of which those shared with its partner
        lie at distance 0. True takes only those on its outline, of which one of 4
        neighbours is no part of it.
    labels : int, sequence of int or None, default=None
        Classes to measure, from 1 on, of masks with classes: pixels of other
        classes are background, those of class -1 in either mask belong to no
        object. An image with a class in neither mask measures `zero_division`, and
        lowers the macro mean if that is 0: take NaN, or "micro". None takes all
        objects and does not look at classes.
    regions : list of arrays or paths, array, path or None, default=None
        Boolean masks (height, width), one for each image: pixels outside belong to
        no object, objects are cut at the edge. None in a list is a whole image.
    average : {"macro", "micro"} or None, default="macro"
        "macro" is the mean of the images' distances, "micro" averages over the
        objects, or masks, of all images together, None is each image's distance.
    zero_division : {0.0, np.nan}, default=0.0
        Distance of an image with no object in either mask. With NaN such images
        are left out of the macro mean.

    Returns
    -------
    float or ndarray
        Distance in pixels, at least 0; 0 is perfect, and lower is better. An array
        of shape (n_images, n_labels) without the axes that do not apply: images if
        averaged, labels if not a sequence.

    Raises
    ------
    %(raises_of_masks)s

    Notes
    -----
    Where just one of the two masks is empty, each object of the other counts the
    diagonal of the image, the most that a distance can be, so that means stay
    finite; the GlaS code gives infinity.

    The default equals the GlaS code and, for two objects,
    `skimage.metrics.hausdorff_distance` of their masks. The "HD95" of medical
    imaging is measured between outlines: ``percentile=95, outline=True`` is that of
    MONAI; MedPy takes the percentile of both directions' distances together.

    It takes no mask of an object's own: each pixel is compared with the outline of
    its object's partner by a tree.

    References
    ----------
    %(reference_of_glas)s
    .. [2] D. P. Huttenlocher et al., "Comparing images using the Hausdorff distance",
       IEEE Transactions on Pattern Analysis and Machine Intelligence 15(9), 1993.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import hausdorff_distance
    >>> true = np.array([[1, 1, 0, 0, 2, 2], [1, 1, 0, 0, 2, 2]])
    >>> pred = np.array([[1, 1, 1, 0, 2, 0], [1, 1, 1, 0, 2, 0]])
    >>> hausdorff_distance([true], [pred])
    1.0
    >>> hausdorff_distance([true], [np.where(pred == 1, 1, 0)])
    1.75
    """
    _check_parameters(level, percentile, outline, zero_division)
    check_average(average)
    classes, is_scalar = check_labels(labels)
    pairs = check_pairs(
        y_true,
        y_pred,
        binary=level == "mask",
        classes=classes is not None,
        regions=regions,
    )

    counts = [count_distances(p, classes, level, percentile, outline) for p in pairs]
    return average_scores(
        stack_counts(counts, is_scalar), average, zero_division, mean_of_present_sides
    )


def count_distances(
    pair: MaskPair,
    classes: list[int] | None,
    level: str = "object",
    percentile: float = 100.0,
    outline: bool = False,
) -> list[np.ndarray]:
    """Sum each side's distance times area, and area, by class.

    Returns
    -------
    list of ndarray of shape (4,)
        One for each class, or for all objects, as `mean_of_present_sides` takes
        them.
    """
    if not pair.binary:
        pair = by_object(pair)
    # The tables also see to the values of the masks.
    tables = tables_of(pair, classes)
    labels: Sequence[int | None] = classes or [None]
    planes = (_known_ids(pair, label) for label in labels)
    return [
        _count_table(table, *ids, level, percentile, outline)
        for table, ids in zip(tables, planes, strict=True)
    ]


def mean_of_present_sides(counts: np.ndarray) -> np.ndarray:
    """Bring sums of both sides into one quotient, leaving out a side of no objects."""
    sums, areas = counts[..., 0::2], counts[..., 1::2]
    means = np.divide(sums, areas, out=np.zeros_like(sums), where=areas > 0)
    return np.stack([means.sum(axis=-1), (areas > 0).sum(axis=-1)], axis=-1)


def _check_parameters(
    level: str, percentile: float, outline: bool, zero_division: float
) -> None:
    if not isinstance(level, str) or level not in ("object", "mask"):
        raise ValueError(f"level must be 'object' or 'mask'; got {shown(level)}.")
    check_flag(outline, "outline")
    if not is_number(percentile) or not 0 < percentile <= 100:
        raise ValueError(
            f"percentile must be above 0 and at most 100; got {percentile!r}."
        )
    value = float(zero_division) if is_number(zero_division) else math.inf
    if value != 0 and not math.isnan(value):
        raise ValueError(f"zero_division must be 0 or NaN; got {zero_division!r}.")


def _known_ids(pair: MaskPair, label: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Set to 0 what does not count: other classes, unknown, outside the region."""
    known = (pair.true >= 0) & (pair.pred >= 0)
    if pair.region is not None:
        known &= pair.region
    if label is None:
        return np.where(known, pair.true, 0), np.where(known, pair.pred, 0)
    known &= (pair.true_classes != -1) & (pair.pred_classes != -1)
    return (
        np.where(known & (pair.true_classes == label), pair.true, 0),
        np.where(known & (pair.pred_classes == label), pair.pred, 0),
    )


def _count_table(
    table: Overlap,
    true_ids: np.ndarray,
    pred_ids: np.ndarray,
    level: str,
    percentile: float,
    outline: bool,
) -> np.ndarray:
    """Sum each side's distance times area, and area."""
    if level == "mask":
        true_ids, pred_ids = true_ids > 0, pred_ids > 0
    true, pred = Shapes(true_ids), Shapes(pred_ids)
    if not (true.n_objects and pred.n_objects):
        diagonal = math.hypot(*true_ids.shape)
        areas = np.array([true.areas.sum(), pred.areas.sum()], dtype=np.float64)
        return np.stack([diagonal * areas, areas], axis=1).ravel()
    pairs = _Distances(true, pred, percentile, outline)
    if level == "mask":
        true_distances = pred_distances = np.array([pairs.between(0, 0)])
    else:
        true_distances, pred_distances = _partner_distances(table, pairs)
    return np.array(
        [
            (true.areas * true_distances).sum(),
            true.areas.sum(),
            (pred.areas * pred_distances).sum(),
            pred.areas.sum(),
        ]
    )


def _partner_distances(
    table: Overlap, pairs: _Distances
) -> tuple[np.ndarray, np.ndarray]:
    """Measure the distance of each true, and each predicted object to its partner."""
    by_true, by_pred = partners(table)
    partner_of_true = np.full(table.true_areas.size, -1)
    partner_of_true[table.rows[by_true]] = table.cols[by_true]
    partner_of_pred = np.full(table.pred_areas.size, -1)
    partner_of_pred[table.cols[by_pred]] = table.rows[by_pred]
    for row in np.flatnonzero(partner_of_true < 0).tolist():
        partner_of_true[row] = pairs.closest_pred(row)
    for col in np.flatnonzero(partner_of_pred < 0).tolist():
        partner_of_pred[col] = pairs.closest_true(col)
    return (
        np.array([pairs.between(i, j) for i, j in enumerate(partner_of_true.tolist())]),
        np.array([pairs.between(i, j) for j, i in enumerate(partner_of_pred.tolist())]),
    )


class _Distances:
    """Distances between the objects of two label images, each measured once."""

    def __init__(
        self, true: Shapes, pred: Shapes, percentile: float, outline: bool
    ) -> None:
        self._true, self._pred = true, pred
        self._percentile, self._outline = percentile, outline
        self._found: dict[tuple[int, int, float], float] = {}

    def between(self, row: int, col: int) -> float:
        """Measure the distance of a true and a predicted object."""
        return self._between(row, col, self._percentile)

    def closest_pred(self, row: int) -> int:
        """Find the predicted object with the least distance to a true one."""
        box = self._true.boxes[row]
        return _closest(box, self._pred, lambda col: self._between(row, col, 100.0))

    def closest_true(self, col: int) -> int:
        """Find the true object with the least distance to a predicted one."""
        box = self._pred.boxes[col]
        return _closest(box, self._true, lambda row: self._between(row, col, 100.0))

    def _between(self, row: int, col: int, percentile: float) -> float:
        key = (row, col, percentile)
        if key not in self._found:
            self._found[key] = max(
                self._from(self._true, row, self._pred, col, percentile),
                self._from(self._pred, col, self._true, row, percentile),
            )
        return self._found[key]

    def _from(
        self, source: Shapes, i: int, target: Shapes, j: int, percentile: float
    ) -> float:
        """Tell how far the pixels of one object are from the other."""
        if self._outline:
            distances = target.distances(source.outline(i), j)
            return float(np.percentile(distances, percentile))
        if percentile == 100:
            places = target.without(_extremes(source, i, target.boxes[j]), j)
            return float(target.distances(places, j).max(initial=0.0))
        places = target.without(source.pixels(i), j)
        distances = np.zeros(source.areas[i])
        distances[: places.size] = target.distances(places, j)
        return float(np.percentile(distances, percentile))


def _extremes(source: Shapes, i: int, box: np.ndarray) -> np.ndarray:
    """List pixels of an object among which is the one farthest from what is in a box.

    From a pixel outside the box a step away from the box leads farther from all that
    is in it, so the farthest pixel is on the outline, or in the box.
    """
    top, left, bottom, right = box
    if source.areas[i] <= _MUCH_LARGER * (bottom - top + 1) * (right - left + 1):
        return source.pixels(i)
    return np.concatenate([source.outline(i), source.pixels_in_box(i, box)])


def _closest(box: np.ndarray, shapes: Shapes, measure: Callable[[int], float]) -> int:
    """Find the first of the objects at the least distance from one with that box."""
    best, best_distance = -1, math.inf
    n_near = _N_NEAR
    seen: set[int] = set()
    while len(seen) < shapes.n_objects:
        gaps, indices = shapes.near(box, n_near)
        for gap, index in zip(gaps, indices.tolist(), strict=True):
            if gap > best_distance:
                return best
            # Boxes that are as near as each other may come in another order now.
            if index in seen:
                continue
            seen.add(index)
            distance = measure(index)
            if (distance, index) < (best_distance, best):
                best, best_distance = index, distance
        n_near *= 4
    return best


# Up to so many distances a table of them all is faster than a tree.
_SMALL_TABLE = 1 << 12


class Shapes:
    """The objects of a label image, each as a set of pixels.

    Parameters
    ----------
    ids : ndarray of shape (height, width), int
        0 is background, each id above 0 an object.

    Attributes
    ----------
    n_objects : int
        Objects are numbered from 0 in the order of their ids.
    areas : ndarray of shape (n_objects,), int64
        Pixels of each.
    boxes : ndarray of shape (n_objects, 4), int64
        First row, first column, last row and last column of each.
    """

    def __init__(self, ids: np.ndarray) -> None:
        self._width = ids.shape[1]
        inside = np.flatnonzero(ids)
        numbers, self.areas = number_ids(
            np.ravel(ids)[inside].astype(np.int64, copy=False),
            np.ones(inside.size, dtype=np.int64),
        )
        self.n_objects = self.areas.size
        self._numbers = np.full(ids.size, -1, dtype=np.int32)
        self._numbers[inside] = numbers
        self._pixels, self._starts = _group(inside, numbers, self.n_objects)
        outline = np.flatnonzero(_is_outline(self._numbers.reshape(ids.shape)))
        self._outline, self._outline_starts = _group(
            outline, self._numbers[outline], self.n_objects
        )
        self.boxes = self._find_boxes()
        self._trees: dict[int, KDTree] = {}
        self._box_tree: KDTree | None = None

    def pixels(self, index: int) -> np.ndarray:
        """List the places in the flattened image of an object's pixels."""
        return self._pixels[self._starts[index] : self._starts[index + 1]]

    def outline(self, index: int) -> np.ndarray:
        """List the places of the pixels of which one of 4 neighbours is no part."""
        starts = self._outline_starts
        return self._outline[starts[index] : starts[index + 1]]

    def pixels_in_box(self, index: int, box: np.ndarray) -> np.ndarray:
        """List the places of an object's pixels inside a box."""
        top, left, bottom, right = box
        plane = self._numbers.reshape(-1, self._width)
        inside = plane[top : bottom + 1, left : right + 1] == index
        rows, columns = np.nonzero(inside)
        return (rows + top) * self._width + columns + left

    def without(self, places: np.ndarray, index: int) -> np.ndarray:
        """Leave out the places that belong to an object."""
        return places[self._numbers[places] != index]

    def distances(self, places: np.ndarray, index: int) -> np.ndarray:
        """Measure how far places are from the outline of an object."""
        outline = self.outline(index)
        if places.size * outline.size <= _SMALL_TABLE:
            return cdist(self._points(places), self._points(outline)).min(axis=1)
        if index not in self._trees:
            self._trees[index] = KDTree(self._points(outline))
        return self._trees[index].query(self._points(places))[0]

    def near(self, box: np.ndarray, n_objects: int) -> tuple[np.ndarray, np.ndarray]:
        """List the objects whose boxes are most like a box.

        Returns
        -------
        gaps : ndarray of float
            The largest difference of a side, in rising order: no object's Hausdorff
            distance to one with that box is less.
        indices : ndarray of int
            The objects.
        """
        if self._box_tree is None:
            self._box_tree = KDTree(self.boxes)
        k = np.arange(1, min(n_objects, self.n_objects) + 1)
        return self._box_tree.query(box, k, p=np.inf)

    def _points(self, places: np.ndarray) -> np.ndarray:
        return np.stack(np.divmod(places, self._width), axis=1).astype(np.float64)

    def _find_boxes(self) -> np.ndarray:
        if not self.n_objects:
            return np.empty((0, 4), dtype=np.int64)
        rows, columns = np.divmod(self._outline, self._width)
        starts = self._outline_starts[:-1]
        first = [np.minimum.reduceat(values, starts) for values in (rows, columns)]
        last = [np.maximum.reduceat(values, starts) for values in (rows, columns)]
        return np.stack([*first, *last], axis=1)


def _group(
    places: np.ndarray, numbers: np.ndarray, n_objects: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sort places by object, and tell where each object's begin and end."""
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=n_objects))
    return places[order], np.concatenate([[0], ends])


def _is_outline(numbers: np.ndarray) -> np.ndarray:
    """Mark the pixels of objects with a neighbour, or a border, that is not theirs."""
    outline = np.ones(numbers.shape, dtype=bool)
    centre = numbers[1:-1, 1:-1]
    outline[1:-1, 1:-1] = (
        (centre != numbers[:-2, 1:-1])
        | (centre != numbers[2:, 1:-1])
        | (centre != numbers[1:-1, :-2])
        | (centre != numbers[1:-1, 2:])
    )
    return outline & (numbers >= 0)
