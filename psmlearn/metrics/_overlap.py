# SPDX-License-Identifier: BSD-3-Clause
"""Overlaps of the objects of two label images, in one pass over the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from psmlearn.metrics._checks import MaskPair, check_class_values, check_values
from psmlearn.metrics._object_classes import commonest
from psmlearn.metrics._object_classes import number_ids as number_values

# Pixels looked at together: their temporaries stay in the processor's cache.
_BLOCK_SIZE = 1 << 18


@dataclass(frozen=True)
class Overlap:
    """Areas of the objects of two label images, and of their overlaps.

    Objects are numbered from 0 in the order of their ids. Unknown pixels (-1 in
    either image) count nowhere; objects that lie in them whole do not appear.

    Attributes
    ----------
    true_areas : ndarray of shape (n_true,), int64
        Pixels of each true object.
    pred_areas : ndarray of shape (n_pred,), int64
        Pixels of each predicted object.
    rows, cols : ndarray of shape (n_pairs,), int64
        The true and the predicted object of each pair that overlaps, ordered by
        row and then by column.
    areas : ndarray of shape (n_pairs,), int64
        Pixels that the two of each pair share, at least 1.
    """

    true_areas: np.ndarray
    pred_areas: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    areas: np.ndarray

    @property
    def unions(self) -> np.ndarray:
        """Pixels of the union of the two of each pair."""
        return self.true_areas[self.rows] + self.pred_areas[self.cols] - self.areas

    @property
    def ious(self) -> np.ndarray:
        """Intersection over union of each pair."""
        return self.areas / self.unions


class Runs(NamedTuple):
    """Stretches of pixels in order along which nothing changes: one entry for each.

    Fields are arrays of shape (n_runs,); the last three are None where the pair
    has no such planes. No score depends on the order, nor on whether what is alike
    comes as one entry or as several.
    """

    true: np.ndarray
    pred: np.ndarray
    sizes: np.ndarray
    true_classes: np.ndarray | None = None
    pred_classes: np.ndarray | None = None
    inside: np.ndarray | None = None


def overlap(pair: MaskPair) -> Overlap:
    """Tell how the objects of two label images overlap.

    Parameters
    ----------
    pair : MaskPair
        Two integer label images of one size; ids may have gaps and be huge.

    Returns
    -------
    Overlap

    Notes
    -----
    Label images are first cut into runs, stretches of a row along which neither
    of the ids changes: some twentieth as many as pixels. All that follows (checks
    of the values, numbering, counting) works on the runs that are not background
    in both. Only where each pixel has its own id are there as many as pixels.
    """
    return overlap_of_runs(checked_runs(pair))


def overlap_of_runs(runs: Runs) -> Overlap:
    """Tell how objects overlap, of runs of the whole image."""
    known = _is_known(runs)
    if known.all():
        return _tabulate(runs.true, runs.pred, runs.sizes)
    return _tabulate(runs.true[known], runs.pred[known], runs.sizes[known])


def overlap_with_ids(pair: MaskPair) -> tuple[Overlap, np.ndarray, np.ndarray]:
    """Tell how objects overlap, and the ids of the true and the predicted ones.

    Ids are in the order in which `Overlap` numbers the objects.
    """
    runs = checked_runs(pair)
    known = _is_known(runs)
    true, pred = runs.true[known], runs.pred[known]
    table = _tabulate(true, pred, runs.sizes[known])
    return table, np.unique(true[true > 0]), np.unique(pred[pred > 0])


def overlap_by_class(
    runs: Runs, labels: list[int], *, by_object: bool
) -> list[Overlap]:
    """Tell how the objects of each class overlap.

    Parameters
    ----------
    runs : Runs
        Of the whole image, with classes.
    labels : list of int
        Classes from 1 on.
    by_object : bool
        Whether all pixels of an object have the class of most of them; else each
        pixel has its own.

    Returns
    -------
    list of Overlap, one for each class
        Of the pixels of that class. Pixels whose class is -1 in either image count
        nowhere.
    """
    known = _is_known(runs)
    true_classes, pred_classes = runs.true_classes, runs.pred_classes
    if by_object:
        true_classes = _classes_of_objects(runs.true, true_classes, runs.sizes)
        pred_classes = _classes_of_objects(runs.pred, pred_classes, runs.sizes)
    tables = []
    for label in labels:
        in_true = known & (true_classes == label)
        in_pred = known & (pred_classes == label)
        here = np.flatnonzero(in_true | in_pred)
        true = np.where(in_true[here], runs.true[here], 0)
        pred = np.where(in_pred[here], runs.pred[here], 0)
        tables.append(_tabulate(true, pred, runs.sizes[here]))
    return tables


def _classes_of_objects(
    ids: np.ndarray, classes: np.ndarray | None, sizes: np.ndarray
) -> np.ndarray:
    """Give all runs of an object the class of most of its pixels."""
    found = np.array(classes, dtype=np.int64)
    numbers, best = classes_of_ids(ids, found, sizes)[1:]
    found[ids > 0] = best[numbers]
    return found


def classes_of_ids(
    ids: np.ndarray, classes: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the class of most pixels of each id above 0.

    Returns
    -------
    values : ndarray of shape (n_objects,), int64
        The ids, rising.
    numbers : ndarray of shape (n_object_runs,), int64
        Of each run of an object, the place of its id in `values`.
    best : ndarray of shape (n_objects,)
        The classes.
    """
    is_object = ids > 0
    values, numbers = number_values(ids[is_object])
    return values, numbers, commonest(numbers, classes[is_object], sizes[is_object])


def checked_runs(pair: MaskPair) -> Runs:
    """List the runs of a pair, after a look at its values."""
    runs = foreground_runs(pair)
    check_values(runs.true, pair.true, pair.true_name, pair.binary)
    check_values(runs.pred, pair.pred, pair.pred_name, pair.binary)
    sides = (
        (runs.true_classes, pair.true_name),
        (runs.pred_classes, pair.pred_name),
    )
    for classes, name in sides:
        if classes is not None:
            check_class_values(classes, name)
    return runs


def foreground_runs(pair: MaskPair) -> Runs:
    """List the runs that are not background in both."""
    optional = (pair.true_classes, pair.pred_classes, pair.region)
    planes = [pair.true, pair.pred, *(p for p in optional if p is not None)]
    height, width = pair.true.shape
    n_rows = max(1, _BLOCK_SIZE // width)
    parts = []
    for top in range(0, height, n_rows):
        # Views where the block lies in order in memory, else copies of it.
        blocks = [np.ravel(plane[top : top + n_rows]) for plane in planes]
        starts_here = np.ones(blocks[0].size, dtype=bool)
        np.not_equal(blocks[0][1:], blocks[0][:-1], out=starts_here[1:])
        for block in blocks[1:]:
            starts_here[1:] |= block[1:] != block[:-1]
        starts = np.flatnonzero(starts_here)
        sizes = np.diff(starts, append=starts_here.size)
        true, pred, *others = (block[starts] for block in blocks)
        keep = (true != 0) | (pred != 0)
        numbers = [values[keep].astype(np.int64, copy=False) for values in (true, pred)]
        parts.append((*numbers, sizes[keep], *(values[keep] for values in others)))
    true, pred, sizes, *others = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    found = iter(others)
    return Runs(true, pred, sizes, *(p if p is None else next(found) for p in optional))


def _is_known(runs: Runs) -> np.ndarray:
    """Tell which runs count: known in both images, and inside the region."""
    known = (runs.true >= 0) & (runs.pred >= 0)
    if runs.true_classes is not None:
        known &= (runs.true_classes != -1) & (runs.pred_classes != -1)
    if runs.inside is not None:
        known &= runs.inside
    return known


def _tabulate(true: np.ndarray, pred: np.ndarray, sizes: np.ndarray) -> Overlap:
    """Count areas and overlaps from runs without unknown ones."""
    true, true_areas = number_ids(true, sizes)
    pred, pred_areas = number_ids(pred, sizes)
    both = (true >= 0) & (pred >= 0)
    rows, cols, areas = _count_pairs(
        true[both], pred[both], sizes[both], (true_areas.size, pred_areas.size)
    )
    return Overlap(true_areas, pred_areas, rows, cols, areas)


def number_ids(ids: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the ids above 0 from 0 on (background becomes -1), and sum their sizes."""
    if not ids.size:
        return ids, sizes
    if ids.max() <= 4 * ids.size:
        areas = np.bincount(ids, weights=sizes)
        present = areas > 0
        present[0] = True
        numbers = np.cumsum(present) - 2
        areas = areas[present][1:]
        return numbers[ids], areas.astype(np.int64)
    # Huge ids: a table as long as the largest would outgrow the image.
    values, numbers = np.unique(ids, return_inverse=True)
    areas = np.bincount(numbers, weights=sizes).astype(np.int64)
    if values[0] == 0:
        return numbers - 1, areas[1:]
    return numbers, areas


def _count_pairs(
    rows: np.ndarray, cols: np.ndarray, sizes: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum the sizes of the runs of each (row, column) pair."""
    n_rows, n_cols = shape
    if n_rows * n_cols <= rows.size:
        table = np.bincount(rows * n_cols + cols, weights=sizes)
        found = np.flatnonzero(table)
        pair_rows, pair_cols = np.divmod(found, n_cols)
        return pair_rows, pair_cols, table[found].astype(np.int64)
    # Sparse: a counting sort by row, then a sort within each row.
    table = sparse.csr_array((sizes, (rows, cols)), shape=shape)
    table.sum_duplicates()
    pair_rows = np.repeat(np.arange(n_rows), np.diff(table.indptr))
    return pair_rows, table.indices.astype(np.int64), table.data
