# SPDX-License-Identifier: BSD-3-Clause
"""Protocol ``ki67``: how positive and negative nuclei are scored.

Points are matched one to one within 5, 6, 10 and 12 pixels of the file, class by class
(a nucleus of the wrong class is a miss of one and a false alarm of the other), where
the truth is complete. Precision, recall and F1 are of the counts pooled over all
images. MP and MN are the mean absolute errors of the counts of an image, MA their mean.
The labelling index is the positive share of an image's nuclei.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.stats import pearsonr, spearmanr

from psmlearn.metrics import match_points
from psmlearn.metrics._centres import measure_objects

POSITIVE, NEGATIVE = 1, 2
CLASSES = {"positive": POSITIVE, "negative": NEGATIVE}
RADII = (5, 6, 10, 12)
# What a row is judged by, as is what the baselines' parameters are chosen by.
MAIN_RADII = (6, 10)
N_DRAWS = 10_000
# A method is to be better than the best baseline by as much F1, in each class.
TARGET = 0.03


def as_points(prediction: np.ndarray) -> np.ndarray:
    """Turn a mask with classes into points; points stay."""
    if prediction.ndim == 3:
        prediction = np.column_stack(measure_objects(prediction, "prediction"))
    return np.asarray(prediction, float).reshape(-1, 3)


def inside(points: np.ndarray, region: np.ndarray | None) -> np.ndarray:
    """Keep the points that lie on a region; pixels are centred on whole numbers."""
    if region is None:
        return points
    pixels = np.floor(points[:, :2] + 0.5).astype(int)
    is_inside = ((pixels >= 0) & (pixels < region.shape)).all(axis=1)
    row, column = pixels[is_inside].T
    return points[is_inside][region[row, column]]


def count_points(true: np.ndarray, pred: np.ndarray, radii=RADII) -> np.ndarray:
    """Count matched, true and predicted points of an image: (radii, classes, 3)."""
    counts = np.zeros((len(radii), len(CLASSES), 3), np.int64)
    for column, label in enumerate(CLASSES.values()):
        of_true, of_pred = true[true[:, 2] == label], pred[pred[:, 2] == label]
        for row, radius in enumerate(radii):
            matched = len(match_points(of_true, of_pred, radius=radius)[0])
            counts[row, column] = matched, len(of_true), len(of_pred)
    return counts


def count_images(dataset, predictions: list[np.ndarray]) -> np.ndarray:
    """Count the points of all images, in their regions: (images, radii, classes, 3)."""
    regions = dataset.regions or [None] * len(dataset.points)
    images = zip(dataset.points, predictions, regions, strict=True)
    counts = [
        count_points(inside(true, region), inside(as_points(pred), region))
        for true, pred, region in images
    ]
    return np.stack(counts)


def pooled(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute precision, recall and F1 of counts (..., 3); 1 where there is nothing."""
    matched, true, pred = np.moveaxis(np.asarray(counts, float), -1, 0)
    return (
        _share(matched, pred, true),
        _share(matched, true, pred),
        _share(2 * matched, true + pred, 0 * true),
    )


def _share(part: np.ndarray, whole: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Divide; with nothing to divide by, 1 if the other side is empty too, else 0."""
    empty = np.where(other > 0, 0.0, 1.0)
    return np.divide(part, whole, out=empty, where=whole > 0)


def labelling_index(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the true and the predicted labelling index of each image, in percent."""
    numbers = counts[:, 0, :, 1:].astype(float)
    total = numbers.sum(axis=1)
    share = np.full(total.shape, np.nan)
    np.divide(numbers[:, 0], total, out=share, where=total > 0)
    return tuple(100 * share.T)


def summarise(counts: np.ndarray) -> dict[str, float]:
    """Compute all scores of a run from the counts of its images."""
    scores = {}
    names = ("precision", "recall", "f1")
    for name, values in zip(names, pooled(counts.sum(axis=0)), strict=True):
        for row, radius in enumerate(RADII):
            for column, label in enumerate(CLASSES):
                scores[f"{name}_{label}_{radius}px"] = float(values[row, column])
    overall = pooled(counts.sum(axis=(0, 2)))[2]
    for radius, value in zip(RADII, overall, strict=True):
        # Nuclei of both classes pooled; a wrong class counts as wrong.
        scores[f"f1_overall_{radius}px"] = float(value)
    error = np.abs(counts[:, 0, :, 1] - counts[:, 0, :, 2]).mean(axis=0)
    scores |= {"mp": float(error[0]), "mn": float(error[1]), "ma": float(error.mean())}
    return scores | _compare_index(*labelling_index(counts))


def _compare_index(true: np.ndarray, pred: np.ndarray) -> dict[str, float]:
    known = ~(np.isnan(true) | np.isnan(pred))
    true, pred = true[known], pred[known]
    # An image in which nothing was found has no index: told, not hidden.
    scores = {"n_without_index": float((~known).sum())}
    scores["index_error"] = float(np.abs(true - pred).mean()) if true.size else np.nan
    can_vary = true.size > 2 and np.ptp(true) > 0 and np.ptp(pred) > 0
    for name, correlate in (("pearson", pearsonr), ("spearman", spearmanr)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = correlate(true, pred)[0] if can_vary else np.nan
        scores[f"index_{name}"] = float(value)
    return scores


def criterion(counts: np.ndarray) -> float:
    """Compute the mean of the pooled F1 of both classes at the main radii."""
    rows = [RADII.index(radius) for radius in MAIN_RADII]
    return float(pooled(counts.sum(axis=0)[rows])[2].mean())


def compare(
    counts: list[np.ndarray], baseline: np.ndarray, n_draws: int = N_DRAWS
) -> dict[str, tuple[float, float, float]]:
    """Compare pooled F1 with a baseline: difference and its 95 % interval.

    A paired bootstrap: images are drawn with replacement, the same for both, and F1 is
    pooled over those drawn. Of several seeds the mean F1 is compared.

    Parameters
    ----------
    counts : list of ndarray of shape (images, radii, classes, 3)
        Counts of each seed.
    baseline : ndarray of shape (images, radii, classes, 3)
        Counts of the baseline.
    n_draws : int
        Number of draws.

    Returns
    -------
    dict of str to tuple
        Difference, lower and upper end, by score.
    """
    n_images = len(baseline)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(n_images, np.full(n_images, 1 / n_images), n_draws)
    weights = np.concatenate([np.ones((1, n_images)), weights])

    def score(one):
        return pooled(np.tensordot(weights, one, 1))[2]

    gains = np.mean([score(one) for one in counts], axis=0) - score(baseline)
    lower, upper = np.quantile(gains[1:], (0.025, 0.975), axis=0)
    return {
        f"f1_{label}_{radius}px": (gains[0, i, j], lower[i, j], upper[i, j])
        for i, radius in enumerate(RADII)
        for j, label in enumerate(CLASSES)
    }
