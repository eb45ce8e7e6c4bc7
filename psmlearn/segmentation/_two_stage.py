# SPDX-License-Identifier: BSD-3-Clause
"""The two-stage training: points of a detector give the segmenter's labels."""

from __future__ import annotations

import numpy as np
from sklearn.base import clone

from psmlearn.segmentation._detector import NucleiDetector

__all__ = ["fit_detector"]

# What the detector has by the same name, but not of the same meaning or at all.
_OWN = {"targets", "threshold", "label_channel", "class_channel", "map_channel"}


def fit_detector(segmenter, images, masks, channels: list[int]):
    """Train the first stage of a segmenter; return it and the points it finds.

    Parameters
    ----------
    segmenter : NucleiSegmenter
        Whose detector is taken, or one with its training parameters.
    images : ImageBatch
    masks : list of ndarray of shape (height, width[, 2])
    channels : list of int
        Those that the networks see.
    """
    detector = _make_detector(segmenter)
    pictures = images
    # A detector knows images in [0, 1] only: it gets them standardised already.
    if len(channels) < images.n_channels or segmenter.value_range is None:
        pictures = [np.ascontiguousarray(image[..., channels]) for image in images]
    return detector, detector.fit(pictures, masks).predict(pictures)


def _make_detector(segmenter):
    if segmenter.detector is not None:
        return clone(segmenter.detector)
    shared = segmenter.get_params(deep=False)
    own = set(_OWN)
    if segmenter.nucleus_diameter == "auto":
        own.add("nucleus_diameter")
    if segmenter.value_range is None:
        shared["stain_jitter"] = 0.0  # channels of any kind are no stains
    names = set(NucleiDetector._get_param_names()) & set(shared) - own
    return NucleiDetector(**{name: shared[name] for name in names})
