# SPDX-License-Identifier: BSD-3-Clause
"""Plain baseline for lesions that are bright in FLAIR: one threshold for all images."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi
from sklearn.base import BaseEstimator

from benchmarks.accuracy.weak import count, dice
from psmlearn._images._standardise import standardise

# Standardised values: 0.4 is the median of the brain, 0.1 a robust deviation.
THRESHOLDS = np.round(np.arange(0.3, 1.0, 0.01), 2)


class FlairThreshold(BaseEstimator):
    """Standardise FLAIR within the head, smooth it, and threshold it.

    The threshold is chosen on the training images. With masks: the one with the best
    mean of two Dice, that of the slices with lesions and that of all pixels pooled.
    With image labels: the one that tells best, by the greatest smoothed value, which
    images hold a lesion (balanced accuracy).

    Parameters
    ----------
    channel : int
        Place of FLAIR among the channels.
    smoothing : float
        Sigma of the Gaussian in pixels.
    """

    def __init__(self, channel: int = 0, smoothing: float = 1.5):
        self.channel = channel
        self.smoothing = smoothing

    def fit(self, images, masks=None, *, image_labels=None) -> FlairThreshold:
        """Choose the threshold by masks, or by image labels."""
        smooth = self._smooth(images)
        self.tells_labels_ = image_labels is not None
        if self.tells_labels_:
            self.threshold_ = _separate([s.max() for s in smooth], image_labels)
        else:
            scores = [_score(masks, smooth, t) for t in THRESHOLDS]
            self.threshold_ = float(THRESHOLDS[int(np.argmax(scores))])
        return self

    def predict(self, images) -> list[np.ndarray]:
        """Return label images of what is brighter than the threshold."""
        smooth = self._smooth(images)
        return [ndi.label(s > self.threshold_)[0].astype(np.int32) for s in smooth]

    def score_images(self, images) -> np.ndarray:
        """Return the greatest smoothed value of each image."""
        return np.array([s.max() for s in self._smooth(images)])

    def _smooth(self, images) -> list[np.ndarray]:
        return [
            ndi.gaussian_filter(standardise(image)[..., self.channel], self.smoothing)
            for image in images
        ]


def _score(masks, smooth: list[np.ndarray], threshold: float) -> float:
    counts = count(masks, [s > threshold for s in smooth])
    of_slices = dice(counts[counts[:, 1] > 0])
    return float((of_slices.mean() + dice(counts.sum(axis=0))) / 2)


def _separate(values, labels) -> float:
    """Find the value above which labels are positive, at best balanced accuracy."""
    values, is_positive = np.asarray(values), np.asarray(labels) > 0
    steps = np.unique(values)
    middles = (steps[1:] + steps[:-1]) / 2 if steps.size > 1 else steps
    above = values[:, None] > middles
    accuracy = above[is_positive].mean(axis=0) + (~above[~is_positive]).mean(axis=0)
    return float(middles[int(np.argmax(accuracy))])
