# SPDX-License-Identifier: BSD-3-Clause
"""Protocol ``weak``: how masks that are learnt from image labels are scored.

Images are slices, patients are volumes. Slice Dice is the mean over the slices that
hold a lesion. Volume Dice is the mean over patients of the Dice of all their slices
stacked, so that a false alarm in an empty slice counts. Both are pooled over folds.
An image without lesion is clean where nothing was found in it. AUC of image labels is
the mean over folds (other folds, other networks); accuracy is pooled.

``transfer``, on sets that have images to train on: all of these train once, and what is
scored are the whole volumes of other patients, by halves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from benchmarks.accuracy.datasets import DataSet

N_FOLDS = 4
# Masks of the test patients of these folds were looked at while the method was made.
LOOKED_AT = {"lgg": (0, 1)}
# Those of the first half of the patients, by name.
HALF_LOOKED_AT = ("lgg-volumes",)
N_DRAWS = 10_000
PLAIN, GATED = "plain", "gated"
LABELER, GATED_LABELER = "labeler", "labeler gated"
# Of maps as they are, and of those of a plain mapper refined by values of pixels.
UNREFINED, REFINED = "unrefined", "refined"
DICE = ("slice_dice", "volume_dice")


@dataclass(frozen=True)
class Outcome:
    """What a run found, image by image, in the data set's order.

    Attributes
    ----------
    counts : dict of str to ndarray of shape (n_images, 3)
        Pixels found rightly, true, and found, of each kind of prediction. "gated" is
        "plain" without objects in images that the classifier denies them.
    groups : ndarray of shape (n_images,)
        Patients.
    folds : ndarray of shape (n_images,)
        The fold in which an image was predicted; -1 where its fold was not run.
    scores : ndarray of shape (n_images,) or None
        How likely an image holds a lesion; None for rows that do not tell.
    shown : ndarray of shape (n_images,), bool, or None
        Whether the image is said to hold one.
    labels : ndarray of shape (n_images,), bool
        Whether it does, by its label.
    """

    counts: dict[str, np.ndarray]
    groups: np.ndarray
    folds: np.ndarray
    scores: np.ndarray | None
    shown: np.ndarray | None
    labels: np.ndarray


def split(dataset: DataSet) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split by patient: training and test images of each fold."""
    if dataset.trains is not None:
        return [(np.flatnonzero(dataset.trains), np.flatnonzero(~dataset.trains))]
    n_folds = min(N_FOLDS, len(set(dataset.groups)))
    images = np.zeros(len(dataset.images))
    return list(GroupKFold(n_folds).split(images, groups=dataset.groups))


def parts(dataset: str, outcome: Outcome) -> dict[str, np.ndarray]:
    """Name the parts that are reported, each a mask over images."""
    ran = outcome.folds >= 0
    if dataset in HALF_LOOKED_AT:
        patients = np.unique(outcome.groups[ran])
        looked_at = np.isin(outcome.groups, patients[: len(patients) // 2])
    elif dataset in LOOKED_AT:
        looked_at = np.isin(outcome.folds, LOOKED_AT[dataset])
    else:
        return {"all": ran}
    return {"report": ran & ~looked_at, "development": ran & looked_at, "all": ran}


def count(true: list[np.ndarray], pred: list[np.ndarray]) -> np.ndarray:
    """Count pixels found rightly, true, and found: (n_images, 3)."""
    pairs = zip(true, pred, strict=True)
    masks = [(np.asarray(t) > 0, np.asarray(p) > 0) for t, p in pairs]
    return np.array([[(t & p).sum(), t.sum(), p.sum()] for t, p in masks], float)


def dice(counts: np.ndarray) -> np.ndarray:
    """Compute Dice of counts (..., 3); 1 where there is nothing, and nothing found."""
    both, true, pred = np.moveaxis(counts, -1, 0)
    total = true + pred
    return np.divide(2 * both, total, out=np.ones_like(total), where=total > 0)


def make_outcome(
    dataset: DataSet,
    masks: dict[str, list[np.ndarray]],
    folds: np.ndarray,
    scores: np.ndarray | None = None,
    shown: np.ndarray | None = None,
) -> Outcome:
    """Count what was found, and what of it the classifier lets through."""
    counts = {name: count(dataset.masks, found) for name, found in masks.items()}
    if shown is not None:
        source, gated = (PLAIN, GATED)
        if LABELER in counts:
            # Only the labeler knows image labels; the network after it does not.
            source, gated = (LABELER, GATED_LABELER)
        counts[gated] = counts[source] * np.where(shown[:, None], 1, [0, 1, 0])
    labels = np.asarray(dataset.image_labels) > 0
    return Outcome(counts, dataset.groups, folds, scores, shown, labels)


def summarise(outcome: Outcome, variant: str, part: np.ndarray) -> dict[str, float]:
    """Compute all scores of a kind of prediction over a part of the images."""
    sums = _patient_sums(outcome, variant, part)
    scores = dict(zip(DICE, map(float, _pooled(sums, np.ones(len(sums)))), strict=True))
    counts = outcome.counts[variant][part]
    empty = counts[:, 1] == 0
    scores["clean"] = float((counts[empty, 2] == 0).mean()) if empty.any() else np.nan
    # Where there is a labeler, the classifier is its own.
    tells_labels = (LABELER in outcome.counts) == variant.startswith(LABELER)
    if outcome.scores is not None and tells_labels:
        scores["image_auc"] = _mean_auc(outcome, part)
        agree = outcome.shown[part] == outcome.labels[part]
        scores["image_accuracy"] = float(agree.mean()) if agree.size else np.nan
    return scores


def _mean_auc(outcome: Outcome, part: np.ndarray) -> float:
    """Average the AUC of the folds; a fold of one label has none."""
    found = []
    for fold in np.unique(outcome.folds[part]):
        rows = part & (outcome.folds == fold)
        if len(set(outcome.labels[rows])) == 2:
            found.append(roc_auc_score(outcome.labels[rows], outcome.scores[rows]))
    return float(np.mean(found)) if found else np.nan


def _patient_sums(outcome: Outcome, variant: str, part: np.ndarray) -> np.ndarray:
    """Sum by patient: Dice of lesion slices, their number, Dice of the volume."""
    counts, groups = outcome.counts[variant], outcome.groups
    of_slices, has_lesion = dice(counts), counts[:, 1] > 0
    sums = []
    for patient in np.unique(groups[part]):
        rows = part & (groups == patient)
        lesions = rows & has_lesion
        volume = dice(counts[rows].sum(axis=0))
        sums.append([of_slices[lesions].sum(), lesions.sum(), volume])
    return np.array(sums, float).reshape(-1, 3)


def _pooled(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pool over patients, drawn as often as the weights (..., n_patients) tell."""
    in_slices, n_slices, volumes = np.moveaxis(weights @ sums, -1, 0)
    n_patients = weights.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([in_slices / n_slices, volumes / n_patients])


def compare(
    better: list[tuple[Outcome, str]],
    worse: list[tuple[Outcome, str]],
    parts_of: str,
    part: str,
    n_draws: int = N_DRAWS,
) -> dict[str, tuple[float, float, float]]:
    """Compare two kinds of prediction: gain in Dice and its 95 % interval.

    A paired bootstrap: patients are drawn with replacement, the same for both and for
    all seeds; the gain is the mean over seeds.

    Parameters
    ----------
    better, worse : list of (Outcome, str)
        Runs and the kind of their prediction, a pair for each seed, seeds in the same
        order.
    parts_of : str
        Name of the data set.
    part : str
        Name of the part that is compared; images that one of the runs has not
        predicted are left out.
    n_draws : int
        Number of draws.

    Returns
    -------
    dict of str to tuple
        Gain, lower and upper end, of each of `DICE`.
    """
    everyone = [outcome for outcome, _ in [*better, *worse]]
    common = np.all([parts(parts_of, o)[part] for o in everyone], axis=0)
    sums = [[_patient_sums(o, v, common) for o, v in side] for side in (better, worse)]
    n_patients = len(sums[0][0])
    if not n_patients:
        return dict.fromkeys(DICE, (np.nan, np.nan, np.nan))
    rng = np.random.default_rng(0)
    draws = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), n_draws)
    weights = np.concatenate([np.ones((1, n_patients)), draws])
    means = [np.mean([_pooled(s, weights) for s in side], axis=0) for side in sums]
    gains = means[0] - means[1]
    # A draw of patients without any lesion slice has no slice Dice.
    ends = np.nanquantile(gains[:, 1:], (0.025, 0.975), axis=1)
    return {
        name: (float(gains[i, 0]), float(ends[0, i]), float(ends[1, i]))
        for i, name in enumerate(DICE)
    }
