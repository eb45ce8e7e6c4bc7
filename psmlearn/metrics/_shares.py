# SPDX-License-Identifier: BSD-3-Clause
"""From numbers of matches, true and predicted ones to numerators and denominators.

Each takes counts of shape (..., 3), of an image or pooled over several, and gives
shape (..., 2), as `average_scores` asks of its `combine`.
"""

from __future__ import annotations

import numpy as np


def f1(counts: np.ndarray) -> np.ndarray:
    """Twice the matches, over all there are in both."""
    n_matches, n_true, n_pred = np.moveaxis(counts, -1, 0)
    return np.stack([2 * n_matches, n_true + n_pred], axis=-1)


def precision(counts: np.ndarray) -> np.ndarray:
    """The matches over the predicted ones; 0 where there are true ones alone."""
    n_matches, n_true, n_pred = np.moveaxis(counts, -1, 0)
    return np.stack([n_matches, np.where(n_pred > 0, n_pred, n_true)], axis=-1)


def recall(counts: np.ndarray) -> np.ndarray:
    """The matches over the true ones; 0 where there are predicted ones alone."""
    n_matches, n_true, n_pred = np.moveaxis(counts, -1, 0)
    return np.stack([n_matches, np.where(n_true > 0, n_true, n_pred)], axis=-1)


def average_precision(counts: np.ndarray) -> np.ndarray:
    """The matches over all there are, of which the two of a match count once."""
    n_matches, n_true, n_pred = np.moveaxis(counts, -1, 0)
    return np.stack([n_matches, n_true + n_pred - n_matches], axis=-1)
