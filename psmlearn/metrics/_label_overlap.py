# SPDX-License-Identifier: BSD-3-Clause
"""The overlaps of two label images that are seen block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from psmlearn._images._checks import inner_pieces, spread_problem
from psmlearn._images._greys import greys_problem
from psmlearn._parameters import check_flag, is_number, shown
from psmlearn._typing import Labels
from psmlearn.metrics._checks import (
    MaskPair,
    check_class_values,
    check_labels,
    check_values,
    check_zero_division,
    split_planes,
)
from psmlearn.metrics._overlap import (
    Runs,
    classes_of_ids,
    foreground_runs,
    overlap_by_class,
    overlap_of_runs,
)
from psmlearn.metrics._overlap_parts import (
    Centres,
    is_partial,
    merge_centres,
    merge_runs,
    sum_centres,
)
from psmlearn.metrics._report import (
    ClassCounts,
    ImageCounts,
    check_one_radius,
    check_thresholds,
    count_points,
    score_classes,
    score_one,
)

# What came since the last merge waits until it is as much as all before, so that
# merging takes a time that is linear but for a logarithm; and until it is worth it.
_LEAST_WAITING = 1 << 16
# Of smaller blocks it is not asked whether they hold greys: objects that their
# borders cut are as thin as edges there.
_LEAST_LOOKED_AT = 1 << 18
_OF_PIXELS = ("dice", "iou")

# Of each side, which centres count, without and with a look at the classes.
KnownCentres = list[tuple[np.ndarray, np.ndarray]]


class Plan(NamedTuple):
    """What is to be scored, checked."""

    labels: list[int] | None
    thresholds: np.ndarray
    radius: float | None
    zero_division: float


class Side(NamedTuple):
    """What was seen of the values of one of the two label images.

    `n_pieces` counts pieces of blocks that hold one value, which is asked for where
    there is no other in all the image.
    """

    dtype: np.dtype
    n_pieces: int = 0


class LabelOverlap:
    """The overlaps of two label images, gathered block by block.

    All scores of pixels and objects follow from areas and overlaps, which add up over
    blocks: where ids hold all over the image, as those of
    :func:`~psmlearn.slides.segment_slide` do, the scores are those of the whole
    image, to the last bit. Parts may be gathered by several processes and put
    together by ``+``, in any order.

    Parameters
    ----------
    with_classes : bool, default=False
        Whether blocks hold classes in a second plane, to score `labels`.
    binary : bool, default=False
        Whether objects are not told apart: boolean and 0/255 masks will do, and only
        Dice and IoU are told.

    Attributes
    ----------
    nbytes : int
        What is held: 24 bytes for each object, and for each pair that overlaps; with
        classes up to 40; with offsets 32 for each object besides. As much may wait to
        be merged.

    See Also
    --------
    score_label_blocks : All of it in one call.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import LabelOverlap, aggregated_jaccard_score
    >>> true = np.repeat([[1, 1, 0, 70_000, 70_000, 0]], 4, axis=0)
    >>> pred = np.repeat([[0, 5, 0, 6, 6, 6]], 4, axis=0)
    >>> left = LabelOverlap().update(true[:, :4], pred[:, :4])
    >>> right = LabelOverlap().update(true[:, 4:], pred[:, 4:])
    >>> (left + right).scores(iou_thresholds=0.5)["aji"]
    0.6
    >>> aggregated_jaccard_score(true, pred)
    0.6
    """

    def __init__(self, *, with_classes: bool = False, binary: bool = False) -> None:
        self.with_classes = check_flag(with_classes, "with_classes")
        self.binary = check_flag(binary, "binary")
        self._parts: list[Runs] = []
        self._n_merged = self._n_waiting = 0
        self._centres: tuple[list[Centres], list[Centres]] = ([], [])
        self._is_placed = True
        self._is_partial = False
        self._sides: list[Side] | None = None

    def __repr__(self) -> str:
        return f"LabelOverlap(with_classes={self.with_classes}, binary={self.binary})"

    @property
    def nbytes(self) -> int:
        parts: list[Any] = [*self._parts, *self._centres[0], *self._centres[1]]
        return sum(
            field.nbytes for part in parts for field in part if field is not None
        )

    def update(
        self,
        y_true: np.ndarray,
        y_pred: np.ndarray,
        *,
        region: np.ndarray | None = None,
        offset: tuple[int, int] | None = None,
    ) -> LabelOverlap:
        """Take a block of both label images; each pixel is to come once.

        Parameters
        ----------
        y_true, y_pred : ndarray of shape (height, width) or (height, width, 2)
            Integers: 0 is background, each id above 0 an object, -1 unknown, as in
            every score. The second plane holds the classes.
        region : ndarray of shape (height, width), bool, default=None
            Pixels outside are not scored.
        offset : (int, int), default=None
            Row and column of the block's first pixel. Only the centres of objects
            need it: `radius` of `scores`.

        Returns
        -------
        self : LabelOverlap

        Raises
        ------
        ValueError
            If the blocks differ in size, are no integers, hold values below -1, or
            greys; if classes are missing.
        """
        place = None if offset is None else _check_offset(offset)
        self._take(self._pair(y_true, y_pred, region), place)
        return self

    def _take(self, pair: MaskPair, offset: tuple[int, int] | None) -> bool:
        """Take a block; tell whether all of its pixels count."""
        runs = foreground_runs(pair)
        sides = [
            self._look_at(pair.true, runs.true, runs.true_classes, pair.true_name),
            self._look_at(pair.pred, runs.pred, runs.pred_classes, pair.pred_name),
        ]
        self._sides = _joined(self._sides, sides)
        if self.binary:
            true, pred = np.minimum(runs.true, 1), np.minimum(runs.pred, 1)
            runs = runs._replace(true=true, pred=pred)
        self._parts.append(merge_runs([runs]))
        self._n_waiting += 1 + self._parts[-1].sizes.size
        self._is_placed &= offset is not None
        if offset is not None and not self.binary:
            for centres, ids in zip(self._centres, (pair.true, pair.pred), strict=True):
                centres.append(sum_centres(ids, offset))
        self._merge_if_many()
        is_whole = not is_partial(pair)
        self._is_partial |= not is_whole
        return is_whole

    def __add__(self, other: LabelOverlap) -> LabelOverlap:
        """Put together what was gathered of two parts of one pair of images."""
        if not isinstance(other, LabelOverlap):
            return NotImplemented
        if repr(self) != repr(other):
            raise ValueError(
                f"{self} and {other} hold different things; make both alike."
            )
        both = LabelOverlap(with_classes=self.with_classes, binary=self.binary)
        both._parts = [*self._parts, *other._parts]
        both._centres = (
            [*self._centres[0], *other._centres[0]],
            [*self._centres[1], *other._centres[1]],
        )
        both._is_placed = self._is_placed and other._is_placed
        both._is_partial = self._is_partial or other._is_partial
        both._sides = _joined(self._sides, other._sides)
        both._n_merged = max(self._n_merged, other._n_merged)
        both._n_waiting = self._n_waiting + other._n_waiting
        both._n_waiting += min(self._n_merged, other._n_merged)
        both._merge_if_many()
        return both

    def scores(
        self,
        *,
        labels: Labels | None = None,
        iou_thresholds: float | Sequence[float] = (0.5, 0.7, 0.9),
        radius: float | None = None,
        zero_division: float = 1.0,
    ) -> dict[str, Any]:
        """Score what was gathered.

        Parameters
        ----------
        labels : int, sequence of int or None, default=None
            Classes to score one by one as well, from 1 on; needs ``with_classes``.
        iou_thresholds : float or sequence of float, default=(0.5, 0.7, 0.9)
            As in :func:`segmentation_report`.
        radius : float or None, default=None
            Largest distance of the centres of two objects that match, in pixels. It
            needs every block's offset. Where pixels are unknown or outside of a
            region, it must be looked up what lies at the centres:
            :func:`score_label_blocks` does.
        zero_division : {0.0, 1.0, np.nan}, default=1.0
            Score where there is nothing to score.

        Returns
        -------
        dict
            As :func:`score_label_blocks` gives it.

        Raises
        ------
        ValueError
            If a parameter has no known value, or asks for what was not gathered; if a
            side holds one value in many pieces, which tells no objects apart.
        """
        plan = check_plan(labels, iou_thresholds, radius, zero_division, self)
        if plan.radius is None:
            return self._score(plan, None)
        if self._is_partial:
            raise ValueError(
                "radius asks for centres, but pixels are unknown or outside of the "
                "region, so that what lies at the centres must be looked up: use "
                "score_label_blocks, or radius=None."
            )
        whole = [np.ones(len(self._points(side)), bool) for side in (0, 1)]
        return self._score(plan, [(whole[0], whole[0]), (whole[1], whole[1])])

    def _pair(
        self,
        y_true: np.ndarray,
        y_pred: np.ndarray,
        region: np.ndarray | None,
        place: str = "",
    ) -> MaskPair:
        """Bring a block of both into a pair, after a look at kinds and shapes."""
        names = f"y_true{place}", f"y_pred{place}"
        (true_ids, true_classes), (pred_ids, pred_classes) = (
            split_planes(np.asarray(block), name, self.binary, self.with_classes)
            for name, block in zip(names, (y_true, y_pred), strict=True)
        )
        if true_ids.shape != pred_ids.shape:
            raise ValueError(
                f"{names[0]} has height and width {true_ids.shape} but {names[1]} has "
                f"{pred_ids.shape}; expected blocks of the same size."
            )
        if region is not None:
            region = np.asarray(region)
            if region.dtype != bool or region.shape != true_ids.shape:
                raise ValueError(
                    f"region{place} has shape {region.shape} and dtype {region.dtype}; "
                    f"expected booleans of shape {true_ids.shape}: use region > 0 if "
                    "it is drawn in numbers."
                )
        return MaskPair(
            true_ids,
            pred_ids,
            *names,
            true_classes,
            pred_classes,
            region,
            self.binary,
        )

    def _look_at(
        self, mask: np.ndarray, ids: np.ndarray, classes: np.ndarray | None, name: str
    ) -> Side:
        """Refuse values that are no ids, as far as a block tells."""
        check_values(ids, mask, name, binary=True)
        if classes is not None:
            check_class_values(classes, name)
        if self.binary:
            return Side(mask.dtype)
        positive = ids[ids > 0]
        if not positive.size:
            return Side(mask.dtype)
        if positive.min() == positive.max():
            return Side(mask.dtype, inner_pieces(mask))
        if mask.dtype.kind == "u" and mask.size >= _LEAST_LOOKED_AT:
            problem = greys_problem(mask)
            if problem is not None:
                raise ValueError(f"{name} {problem}.")
        return Side(mask.dtype)

    def _merge_if_many(self) -> None:
        if self._n_waiting > max(_LEAST_WAITING, self._n_merged):
            self._merge()

    def _merge(self) -> None:
        """Bring all that came into one table, in order of the ids."""
        if len(self._parts) > 1:
            self._parts[:] = [merge_runs(self._parts)]
        for centres in self._centres:
            if len(centres) > 1:
                centres[:] = [merge_centres(centres)]
        self._n_merged = sum(part.sizes.size for part in self._parts)
        self._n_waiting = 0

    def _runs(self) -> Runs:
        self._merge()
        if not self._parts:
            raise ValueError("No block was taken; give them to `update` first.")
        return self._parts[0]

    def _points(self, side: int) -> np.ndarray:
        self._merge()
        centres = self._centres[side]
        return centres[0].points if centres else np.empty((0, 2))

    def _score(self, plan: Plan, known: KnownCentres | None) -> dict[str, Any]:
        """Score by a checked plan."""
        counts = self._count(plan.radius, known)
        told = score_one(counts, plan.thresholds, plan.radius, plan.zero_division)
        if plan.radius is None:
            told.pop("count_error")  # of centres that count
        if self.binary:
            told = {name: told[name] for name in _OF_PIXELS}
        if plan.labels is not None:
            found = score_classes(
                [self._count_classes(plan, known)],
                plan.labels,
                plan.radius,
                plan.zero_division,
            )
            if self.binary:
                found = [{name: each[name] for name in _OF_PIXELS} for each in found]
            names = [f"class {label}" for label in plan.labels]
            told["classes"] = dict(zip(names, found, strict=True))
        return told

    def _count(self, radius: float | None, known: KnownCentres | None) -> ImageCounts:
        """Count what the scores need, whatever the classes."""
        runs = self._runs()
        self._refuse_stencils(runs)
        points = (0, 0, 0)
        if known is not None:
            true, pred = (self._points(side)[known[side][0]] for side in (0, 1))
            points = count_points(true, pred, radius)
        plain = runs._replace(true_classes=None, pred_classes=None)
        return ImageCounts(overlap_of_runs(plain), points, None)

    def _count_classes(self, plan: Plan, known: KnownCentres | None) -> ClassCounts:
        """Count what the scores of classes need."""
        runs, labels = self._runs(), plan.labels or []
        points = []
        if known is not None and plan.radius is not None:
            both = []
            for side, (ids, classes) in enumerate(
                ((runs.true, runs.true_classes), (runs.pred, runs.pred_classes))
            ):
                kinds = np.asarray(classes).astype(np.int64)
                best = classes_of_ids(ids, kinds, runs.sizes)[2]
                counts = known[side][1]
                both.append((self._points(side)[counts], best[counts]))
            (true, true_kinds), (pred, pred_kinds) = both
            points = [
                count_points(true[true_kinds == n], pred[pred_kinds == n], plan.radius)
                for n in labels
            ]
        return ClassCounts(
            overlap_by_class(runs, labels, by_object=True),
            overlap_by_class(runs, labels, by_object=False),
            points,
        )

    def _refuse_stencils(self, runs: Runs) -> None:
        """Refuse a side with one value, if it is seen that it is no id."""
        if self.binary:
            return
        for name, ids, side in zip(
            ("y_true", "y_pred"), (runs.true, runs.pred), self._sides or [], strict=True
        ):
            values = ids[ids > 0]
            if not values.size or values.min() != values.max():
                continue
            problem = spread_problem(int(values[0]), side.n_pieces, side.dtype)
            if problem is not None:
                raise ValueError(f"{name} {problem}; or take binary=True.")


def check_plan(
    labels: Labels | None,
    iou_thresholds: float | Sequence[float],
    radius: float | None,
    zero_division: float,
    overlap: LabelOverlap,
) -> Plan:
    """Refuse what cannot be scored of what is gathered."""
    classes, _ = check_labels(labels)
    if classes is not None and not overlap.with_classes:
        raise ValueError(
            "labels asks for classes, which were not gathered: make "
            "LabelOverlap(with_classes=True)."
        )
    thresholds = check_thresholds(iou_thresholds)
    radius = None if overlap.binary else check_one_radius(radius)
    if radius is not None and not overlap._is_placed:
        raise ValueError(
            "radius asks for centres, but blocks came without their place: give "
            "`offset` to `update`, or take radius=None."
        )
    return Plan(classes, thresholds, radius, check_zero_division(zero_division))


def _check_offset(offset: Any) -> tuple[int, int]:
    """Take row and column of a block's first pixel."""
    sides = list(offset) if np.iterable(offset) else []
    if len(sides) != 2 or not all(is_number(n, whole=True) and n >= 0 for n in sides):
        raise ValueError(
            f"offset is {shown(offset)}; expected row and column of the block's first "
            "pixel, whole numbers from 0 on."
        )
    return int(sides[0]), int(sides[1])


def _joined(sides: list[Side] | None, others: list[Side] | None) -> list[Side] | None:
    """Put together what was seen of two parts."""
    if sides is None or others is None:
        return sides or others
    return [
        Side(np.promote_types(one.dtype, two.dtype), one.n_pieces + two.n_pieces)
        for one, two in zip(sides, others, strict=True)
    ]
