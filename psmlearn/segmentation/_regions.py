# SPDX-License-Identifier: BSD-3-Clause
"""Masks of regions: what is connected is one, whatever its outline."""

from __future__ import annotations

import numpy as np

from psmlearn._images._regions import connected_regions, regions_of_classes

__all__ = ["decode_regions"]


def decode_regions(
    output: np.ndarray,
    *,
    classes: np.ndarray | None,
    threshold: float,
    min_area: float,
    pixel_size: float,
) -> np.ndarray:
    """Return the regions of an image from the activated outputs of the network.

    Parameters
    ----------
    output : ndarray of shape (height, width, 1 + n_classes), float32
        Background and the classes, one where there are none. Regions of two classes
        are two though they touch; a pixel is of the class that is likeliest there.
    classes : ndarray of shape (n_classes,) or None
    threshold : float
        Probability of foreground above which a pixel counts.
    min_area : float
        In square micrometres.
    pixel_size : float
        Micrometres per pixel.

    Returns
    -------
    mask : ndarray of shape (height, width), or (height, width, 2) with classes, int32
    """
    least = round(min_area / pixel_size**2)
    if classes is None:
        return connected_regions(output[..., 1] > threshold, least)
    scores = output[..., 1 : 1 + len(classes)]
    inside = scores.sum(axis=-1) > threshold
    return regions_of_classes(inside, scores.argmax(axis=-1), classes, least)
