# SPDX-License-Identifier: BSD-3-Clause
"""Pixel losses on logits; unknown pixels (labels below 0) never count."""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["instance_loss", "known_mean", "mask_loss", "voronoi_loss"]


def known_mean(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return the mean of `values` where `known`; 0 where nothing is."""
    return (values * known).sum() / known.sum().clamp_min(1)


def mask_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy of background against foreground.

    Parameters
    ----------
    logits : tensor of shape (n, 2, height, width)
    labels : tensor of shape (n, height, width), int64
        Ids of objects; 0 is background, -1 unknown.
    """
    values = functional.cross_entropy(logits, (labels > 0).long(), reduction="none")
    return known_mean(values, labels >= 0)


def instance_loss(
    outputs: torch.Tensor, labels: torch.Tensor, distance: torch.Tensor
) -> torch.Tensor:
    """Cross entropy on the first two channels and L1 of the inner distance."""
    error = (outputs[:, 2] - distance).abs()
    return mask_loss(outputs[:, :2], labels) + known_mean(error, labels >= 0)


def voronoi_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    distance: torch.Tensor,
    voronoi: torch.Tensor,
    *,
    weight: float = 1.5,
    mask_foreground: bool = True,
) -> torch.Tensor:
    """Cross entropy on mask and Voronoi labels, the loss of the two-stage training.

    Parameters
    ----------
    distance : tensor of shape (n, height, width)
        Not used: the two-stage training has no distance output.
    voronoi : tensor of shape (n, height, width)
        0 on cell edges, 1 around points, -1 unknown.
    weight : float, default=1.5
        Of the Voronoi part.
    mask_foreground : bool, default=True
        False takes the mask's foreground as unknown, as the paper's code does.
    """
    if not mask_foreground:
        labels = labels.masked_fill(labels > 0, -1)
    return mask_loss(logits, labels) + weight * mask_loss(logits, voronoi.long())
