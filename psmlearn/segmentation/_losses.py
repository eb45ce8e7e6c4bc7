# SPDX-License-Identifier: BSD-3-Clause
"""Pixel losses on logits; unknown pixels (labels below 0) never count."""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = [
    "class_loss",
    "foreground_logits",
    "heatmap_loss",
    "instance_loss",
    "known_mean",
    "mask_loss",
    "pixel_loss",
    "region_loss",
    "voronoi_loss",
]


def known_mean(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return the mean of `values` where `known`; 0 where nothing is."""
    return (values * known).sum() / known.sum().clamp_min(1)


def mask_loss(
    logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """Cross entropy of background against foreground.

    Parameters
    ----------
    logits : tensor of shape (n, 2, height, width)
    labels : tensor of shape (n, height, width), int64
        Ids of objects; 0 is background, -1 unknown.
    weight : tensor of shape (n, height, width), default=1.0
        How much each pixel counts.
    """
    values = functional.cross_entropy(logits, (labels > 0).long(), reduction="none")
    return known_mean(values, weight * (labels >= 0))


def foreground_logits(logits: torch.Tensor) -> torch.Tensor:
    """Return the logits of background and of all classes together.

    Their soft-max gives the foreground the summed probability of the classes.

    Parameters
    ----------
    logits : tensor of shape (n, 1 + n_classes, height, width)

    Returns
    -------
    tensor of shape (n, 2, height, width)
    """
    return torch.cat([logits[:, :1], logits[:, 1:].logsumexp(1, keepdim=True)], 1)


def class_loss(
    logits: torch.Tensor,
    places: torch.Tensor,
    weights: torch.Tensor,
    share: torch.Tensor | float = 1.0,
) -> torch.Tensor:
    """Cross entropy of the classes given foreground, weighted by class.

    Pixels of unknown class do not count, nor does anything but the ratio of the
    weights.

    Parameters
    ----------
    logits : tensor of shape (n, n_classes, height, width)
        Of the classes, without the background.
    places : tensor of shape (n, height, width), int64
        Place of the class from 1; 0 or less where it is unknown.
    weights : tensor of shape (n_classes,)
    share : tensor of shape (n, height, width), default=1.0
        How much each pixel counts.
    """
    known = places > 0
    targets = (places - 1).clamp_min(0)
    values = functional.cross_entropy(logits, targets, reduction="none")
    weight = weights.to(logits.device)[targets] * known * share
    return (values * weight).sum() / weight.sum().clamp_min(1e-3)


def place_weights(places: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weight of each pixel by its class; 1 where there is none.

    Nuclei of a rare class, which would be lost among the pixels, are thus found.
    """
    table = torch.cat([weights.new_ones(1), weights]).to(places.device)
    return table[places.clamp_min(0)]


def pixel_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    distance: torch.Tensor,
    places: torch.Tensor | None = None,
    *,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross entropy of background, and of the classes where there are.

    Parameters
    ----------
    logits : tensor of shape (n, 1 + n_classes, height, width)
    distance : tensor of shape (n, height, width)
        Not used.
    places : tensor of shape (n, height, width), int64, default=None
        Places of the classes; see :func:`class_loss`.
    """
    if places is None or weights is None:
        return mask_loss(logits, labels)
    weight = place_weights(places, weights)
    loss = mask_loss(foreground_logits(logits), labels, weight)
    return loss + class_loss(logits[:, 1:], places, weights)


def region_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    distance: torch.Tensor,
    places: torch.Tensor | None = None,
    *,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross entropy, and 1 less the Dice coefficient of the foreground.

    Of the batch, and of its images with objects, half each: so what is small counts
    too. Regions are rare and their masks uncertain: by cross entropy alone a network
    stays below one half where it is right more often than not. Arguments are those of
    :func:`pixel_loss`.
    """
    loss = pixel_loss(logits, labels, distance, places, weights=weights)
    found = foreground_logits(logits).softmax(1)[:, 1]
    known, true = (labels >= 0).to(found.dtype), (labels > 0).to(found.dtype)
    overlap = (found * true).sum((1, 2))
    total = (found * known + true).sum((1, 2))
    # 1 is a pixel: nothing to find and nothing found is no loss.
    of_batch = 1 - (2 * overlap.sum() + 1) / (total.sum() + 1)
    of_images = 1 - (2 * overlap + 1) / (total + 1)
    return loss + (of_batch + known_mean(of_images, true.amax((1, 2)))) / 2


def instance_loss(
    outputs: torch.Tensor,
    labels: torch.Tensor,
    distance: torch.Tensor,
    places: torch.Tensor | None = None,
    *,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross entropy on all channels but the last, and L1 of the inner distance.

    Parameters
    ----------
    outputs : tensor of shape (n, 2 + n_classes, height, width)
        Background, the classes (one where there are none), inner distance.
    places : tensor of shape (n, height, width), int64, default=None
        Places of the classes; see :func:`class_loss`.
    """
    error = (outputs[:, -1] - distance).abs()
    loss = pixel_loss(outputs[:, :-1], labels, distance, places, weights=weights)
    return loss + known_mean(error, labels >= 0)


def heatmap_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    distance: torch.Tensor,
    heat: torch.Tensor,
    places: torch.Tensor | None = None,
    *,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross entropy against a soft target; unknown pixels do not count."""
    has_classes = places is not None and weights is not None
    both = foreground_logits(logits) if has_classes else logits
    log_probability = functional.log_softmax(both, 1)
    values = -(heat * log_probability[:, 1] + (1 - heat) * log_probability[:, 0])
    known = labels >= 0
    if places is None or weights is None:
        return known_mean(values, known)
    loss = known_mean(values, known * (1 + heat * (place_weights(places, weights) - 1)))
    return loss + class_loss(logits[:, 1:], places, weights, heat * known)


def voronoi_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    distance: torch.Tensor,
    voronoi: torch.Tensor,
    places: torch.Tensor | None = None,
    voronoi_places: torch.Tensor | None = None,
    *,
    weight: float = 1.5,
    mask_foreground: bool = True,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross entropy on mask and Voronoi labels, the loss of the two-stage training.

    Parameters
    ----------
    distance : tensor of shape (n, height, width)
        Not used: the two-stage training has no distance output.
    voronoi : tensor of shape (n, height, width)
        0 on cell edges, 1 around points, -1 unknown.
    places, voronoi_places : tensor of shape (n, height, width), int64, default=None
        Places of the classes in the mask and around the points.
    weight : float, default=1.5
        Of the Voronoi part.
    mask_foreground : bool, default=True
        False takes the mask's foreground as unknown, as the paper's code does.
    """
    masked = labels if mask_foreground else labels.masked_fill(labels > 0, -1)
    if places is None:
        return mask_loss(logits, masked) + weight * mask_loss(logits, voronoi.long())
    if not mask_foreground:
        places = places.new_zeros(places.shape)
    first = pixel_loss(logits, masked, distance, places, weights=weights)
    second = pixel_loss(
        logits, voronoi.long(), distance, voronoi_places, weights=weights
    )
    return first + weight * second
