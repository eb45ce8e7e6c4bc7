# SPDX-License-Identifier: BSD-3-Clause
"""Overlaps of the objects of two label images, in one pass over the pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from psmlearn.metrics._checks import MaskPair, check_values

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
    true, pred, sizes = _foreground_runs(pair.true, pair.pred)
    check_values(true, pair.true, pair.true_name)
    check_values(pred, pair.pred, pair.pred_name)
    known = (true >= 0) & (pred >= 0)
    if not known.all():
        true, pred, sizes = true[known], pred[known], sizes[known]
    true, true_areas = _number(true, sizes)
    pred, pred_areas = _number(pred, sizes)
    both = (true >= 0) & (pred >= 0)
    rows, cols, areas = _count_pairs(
        true[both], pred[both], sizes[both], (true_areas.size, pred_areas.size)
    )
    return Overlap(true_areas, pred_areas, rows, cols, areas)


def _foreground_runs(
    true: np.ndarray, pred: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the ids and the length of each run that is not background in both."""
    height, width = true.shape
    n_rows = max(1, _BLOCK_SIZE // width)
    parts = []
    for top in range(0, height, n_rows):
        # A view where the block lies in order in memory, else a copy of it.
        true_ids = np.ravel(true[top : top + n_rows])
        pred_ids = np.ravel(pred[top : top + n_rows])
        starts_here = np.ones(true_ids.size, dtype=bool)
        np.not_equal(true_ids[1:], true_ids[:-1], out=starts_here[1:])
        starts_here[1:] |= pred_ids[1:] != pred_ids[:-1]
        starts = np.flatnonzero(starts_here)
        sizes = np.diff(starts, append=true_ids.size)
        true_ids, pred_ids = true_ids[starts], pred_ids[starts]
        keep = (true_ids != 0) | (pred_ids != 0)
        parts.append(
            (
                true_ids[keep].astype(np.int64),
                pred_ids[keep].astype(np.int64),
                sizes[keep].astype(np.int64, copy=False),
            )
        )
    true_runs, pred_runs, sizes_runs = zip(*parts, strict=True)
    return (
        np.concatenate(true_runs),
        np.concatenate(pred_runs),
        np.concatenate(sizes_runs),
    )


def _number(ids: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
