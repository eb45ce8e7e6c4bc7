# SPDX-License-Identifier: BSD-3-Clause
"""What the segmenter's network is taught, and what is read from its outputs."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage as ndi

from psmlearn._images._instances import (
    clean_mask,
    decode_instances,
    relabel,
    remove_small,
    split_touching,
)
from psmlearn._images._sizes import NUCLEUS_DIAMETER, nuclear_zoom
from psmlearn.segmentation._classes import class_places
from psmlearn.segmentation._regions import decode_regions
from psmlearn.segmentation._targets import nearest_values, voronoi_labels

__all__ = ["activate", "decode_outputs", "voronoi_crops", "voronoi_planes"]


def activate(
    outputs: torch.Tensor, n_channels: int, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Soft-max of the first channels; the inner distance stays as it is.

    Classes that counted more in training come out likelier by as much: what they
    weighed, `weights`, is taken back, so that the probabilities are those of pixels.
    """
    logits = outputs[:, :n_channels]
    if weights is not None:
        shift = torch.log(torch.cat([weights.new_ones(1), weights])).to(logits)
        logits = logits - shift[:, None, None]
    return torch.cat([logits.softmax(1), outputs[:, n_channels:]], dim=1)


def decode_outputs(
    output: np.ndarray,
    *,
    targets: str,
    classes: np.ndarray | None,
    threshold: float,
    nucleus_diameter: float | str,
    min_area: float,
    pixel_size: float,
) -> np.ndarray:
    """Return the mask of an image from the activated outputs of the network.

    Parameters
    ----------
    output : ndarray of shape (height, width, n_channels), float32
        Background, the classes (one where there are none), and inner distance
        with ``targets="instances"``.
    classes : ndarray of shape (n_classes,) or None
    nucleus_diameter : float or "auto"
        In micrometres; "auto" looks it up in what is found first, and `min_area`
        follows it. Of no meaning with ``targets="regions"``.
    min_area : float
        In square micrometres.
    pixel_size : float
        Micrometres per pixel.

    Returns
    -------
    mask : ndarray of shape (height, width), or (height, width, 2) with classes, int32
    """
    if targets == "regions":
        return decode_regions(
            output,
            classes=classes,
            threshold=threshold,
            min_area=min_area,
            pixel_size=pixel_size,
        )
    is_known = nucleus_diameter != "auto"
    diameter = nucleus_diameter if is_known else NUCLEUS_DIAMETER

    def decode(step):
        return _decode(
            output,
            targets=targets,
            classes=classes,
            threshold=threshold,
            diameter=diameter / step,
            min_area=round(min_area / step**2),
        )

    mask = decode(pixel_size)
    if is_known:
        return mask
    zoom = nuclear_zoom(mask if mask.ndim == 2 else mask[..., 0], pixel_size)
    return mask if zoom == 1 else decode(pixel_size / zoom)


def _decode(output, *, targets, classes, diameter, **options) -> np.ndarray:
    """Return the mask of an image for nuclei of one size; lengths in pixels."""
    options["diameter"] = diameter
    if targets == "voronoi":
        decode, rest = _decode_mask, ()
    else:
        decode, rest = decode_instances, (output[..., -1],)
    if classes is None:
        return decode(output[..., 1], *rest, **options)
    scores = output[..., 1 : 1 + len(classes)]
    probability = scores.sum(axis=-1)
    planes = np.moveaxis(scores, -1, 0)
    smooth = [ndi.gaussian_filter(plane, diameter / 10) for plane in planes]
    likeliest = np.argmax(smooth, axis=0)
    mask = np.zeros((*probability.shape, 2), np.int32)
    # Class by class: touching nuclei of two classes are two, whatever their outline.
    for place, value in enumerate(classes):
        labels = decode(
            np.where(likeliest == place, probability, np.float32(0)), *rest, **options
        )
        # A hole that is filled may be another's nucleus, which comes before.
        own = (labels > 0) & (mask[..., 0] == 0)
        mask[own, 0] = labels[own] + mask[..., 0].max()
        mask[own, 1] = value
    mask[..., 0] = relabel(mask[..., 0])
    return mask


def _decode_mask(probability, *, threshold, diameter, min_area) -> np.ndarray:
    """Split what is likelier than the threshold, by its outline."""
    mask = clean_mask(probability > threshold, min_area=min_area)
    labels = split_touching(mask, diameter=diameter, intensity=probability)
    return relabel(remove_small(labels, min_area))


def voronoi_planes(
    mask: np.ndarray, points: np.ndarray, classes: np.ndarray | None
) -> np.ndarray:
    """Return the planes (height, width, 2 or 4) of the two-stage training.

    Ids and Voronoi labels, with classes then the places of the classes in the mask
    and around the points.
    """
    shape = mask.shape[:2]
    voronoi = voronoi_labels(points, shape)
    if classes is None:
        return np.stack([mask, voronoi], axis=-1)
    if points.shape[1] == 3:
        places = nearest_values(points, class_places(points[:, 2], classes), shape)
    else:  # a detector that knows no classes: the mask tells them
        places = mask[..., 1]
    places = np.where(voronoi > 0, places, 0)
    return np.stack([mask[..., 0], voronoi, mask[..., 1], places], axis=-1)


def voronoi_crops(crops: np.ndarray) -> list[np.ndarray]:
    """Return the targets of mask crops (n, size, size, planes)."""
    places = [crops[..., k].astype(np.int64) for k in range(2, crops.shape[-1])]
    return [crops[..., 1].astype(np.float32), *places]
