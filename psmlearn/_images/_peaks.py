# SPDX-License-Identifier: BSD-3-Clause
"""Peaks of a plane that lie apart."""

from __future__ import annotations

import numpy as np

__all__ = ["peaks_apart"]


def peaks_apart(plane: np.ndarray, apart: int, threshold: float) -> np.ndarray:
    """Return the local maxima above a threshold, highest first.

    As ``skimage.feature.peak_local_max(plane, apart, threshold_abs=threshold,
    exclude_border=False)``, whose time grows with the square of the number of peaks;
    this one's grows with the pixels.

    Parameters
    ----------
    plane : ndarray of shape (height, width), float
    apart : int
        Peaks are highest within so many rows and columns, and no closer; at least 1.
    threshold : float

    Returns
    -------
    points : ndarray of shape (n_peaks, 2), int64
        Row and column; of equal ones that are too close the first along the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._peaks import peaks_apart
    >>> peaks_apart(np.array([[0.0, 2, 1, 0, 0, 3, 3]]), 2, 0.5).tolist()
    [[0, 5], [0, 1]]
    """
    from skimage.feature import peak_local_max

    side = 2 * apart + 1
    # With a footprint scikit-image leaves out its own spacing, and all else is its own.
    found = peak_local_max(
        plane,
        min_distance=1,
        footprint=np.ones((side, side), bool),
        threshold_abs=threshold,
        exclude_border=False,
    )
    return found if apart == 1 else found[_are_apart(found, plane.shape, apart)]


def _are_apart(points: np.ndarray, shape: tuple[int, ...], spacing: int) -> np.ndarray:
    """Keep points, one after the other, that are not too close to those kept so far."""
    taken = np.zeros(shape, bool)
    kept = np.zeros(len(points), bool)
    for index, (row, column) in enumerate(points.tolist()):
        if not taken[row, column]:
            kept[index] = True
            taken[
                max(0, row - spacing + 1) : row + spacing,
                max(0, column - spacing + 1) : column + spacing,
            ] = True
    return kept
