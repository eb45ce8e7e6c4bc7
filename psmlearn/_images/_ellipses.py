# SPDX-License-Identifier: BSD-3-Clause
"""How near pieces come to ellipses, from sums that add up over their parts."""

from __future__ import annotations

import numpy as np

__all__ = ["fit_ellipses", "moment_sums"]


def moment_sums(
    ids: np.ndarray, rows: np.ndarray, columns: np.ndarray, n_ids: int
) -> list[np.ndarray]:
    """Return, by id, what :func:`fit_ellipses` takes.

    Parameters
    ----------
    ids : ndarray of shape (n_pixels,), int
        From 0 to ``n_ids - 1``.
    rows, columns : ndarray of shape (n_pixels,), float64
        Where the pixels are.

    Returns
    -------
    sums : list of six ndarray of shape (n_ids,), float64
        Of 1, row, column, row squared, column squared, and row times column.
    """
    weights = (rows, columns, rows * rows, columns * columns, rows * columns)
    count = np.bincount(ids, minlength=n_ids).astype(float)
    return [count, *(np.bincount(ids, weight, n_ids) for weight in weights)]


def fit_ellipses(
    area: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    row_row: np.ndarray,
    column_column: np.ndarray,
    row_column: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return area over that of the ellipse of the same moments, and its perimeter.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._ellipses import fit_ellipses, moment_sums
    >>> rows, columns = np.mgrid[-20:21, -20:21].reshape(2, -1).astype(float)
    >>> disc = (rows**2 + columns**2 < 400).astype(int)
    >>> fill, perimeter = fit_ellipses(*moment_sums(disc, rows, columns, 2))
    >>> fill.round(2).tolist(), perimeter.round().tolist()  # the ground comes first
    ([0.14, 1.0], [201.0, 125.0])
    """
    row, column = row / area, column / area
    # A pixel is a square, not a point.
    first = row_row / area - row**2 + 1 / 12
    second = column_column / area - column**2 + 1 / 12
    mixed = row_column / area - row * column
    determinant = np.maximum(first * second - mixed**2, 1e-6)
    half = (first + second) / 2
    root = np.sqrt(np.maximum(half**2 - determinant, 0))
    long, short = 2 * np.sqrt(half + root), 2 * np.sqrt(np.maximum(half - root, 1e-6))
    # Ramanujan's.
    perimeter = np.pi * (
        3 * (long + short) - np.sqrt((3 * long + short) * (long + 3 * short))
    )
    return area / (4 * np.pi * np.sqrt(determinant)), perimeter
