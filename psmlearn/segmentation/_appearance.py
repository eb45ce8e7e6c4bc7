# SPDX-License-Identifier: BSD-3-Clause
"""How images look to the network: their range, and its variation in training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from psmlearn._engine._augment import (
    appearance_randomisation,
    noise_and_blur,
    stain_jitter,
)
from psmlearn._images._standardise import MIDDLE

__all__ = [
    "ScaledNetwork",
    "channel_jitter",
    "scale_images",
    "vary_channels",
    "vary_stains",
]


def scale_images(images: torch.Tensor) -> torch.Tensor:
    """Bring images in [0, 1] to what networks are trained on."""
    return (images - 0.5) / 0.25


class ScaledNetwork(nn.Module):
    """A network on images in [0, 1], scaled as in training."""

    def __init__(self, network: nn.Module, channels: list[int]):
        super().__init__()
        self.network = network
        self.channels = channels

    @property
    def takes_margins(self) -> bool:
        """Whether the network can leave out what is context only."""
        return getattr(self.network, "takes_margins", False) is True

    def forward(self, images: torch.Tensor, *margins: Any) -> torch.Tensor:
        return self.network(scale_images(images[:, self.channels]), *margins)


def channel_jitter(
    images: torch.Tensor, strength: float, generator: torch.Generator
) -> torch.Tensor:
    """Vary contrast and brightness of each channel by itself.

    Parameters
    ----------
    images : tensor of shape (n, channels, height, width)
        Standardised, in [0, 1].
    strength : float
        0 changes nothing; 1 scales a channel about the middle of its subject by up
        to 10 per cent, and shifts it by up to 0.02.
    generator : torch.Generator
        Of the CPU.
    """
    if strength == 0:
        return images
    draws = torch.rand((2, *images.shape[:2], 1, 1), generator=generator) * 2 - 1
    scale, shift = draws.to(images) * strength
    images = (images - MIDDLE) * (1 + 0.1 * scale) + MIDDLE + 0.02 * shift
    return images.clamp(0, 1)


def vary_stains(
    images: torch.Tensor,
    labels: torch.Tensor,
    distance: torch.Tensor | None,
    *,
    strength: float,
    share: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Vary stains, noise and objects; a map among the channels is left alone.

    Parameters
    ----------
    images : tensor of shape (n, channels, height, width)
        In [0, 1]: one channel or three, and maps.
    labels : tensor of shape (n, height, width), int64
        Ids of the objects.
    distance : tensor of shape (n, height, width) or None
        Their inner distance; without it they are left alone.
    strength : float
        Of stains and noise; 0 for none.
    share : float
        Of the objects whose inside is made pale.
    generator : torch.Generator
        Of the CPU.
    """
    n_colours = 3 if images.shape[1] >= 3 else 1
    colours, others = images[:, :n_colours], images[:, n_colours:]
    if distance is not None:
        colours = appearance_randomisation(colours, labels, distance, share, generator)
    colours = stain_jitter(colours, strength, generator)
    colours = noise_and_blur(colours, min(1.0, strength), generator)
    return torch.cat([colours, others], 1)


def vary_channels(
    images: torch.Tensor,
    labels: torch.Tensor,
    distance: torch.Tensor | None,
    *,
    strength: float,
    share: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Vary the channels of standardised images; parameters as in `vary_stains`.

    No channel is a colour here, or a map: all vary alike, each by itself.
    """
    if distance is not None:
        images = appearance_randomisation(images, labels, distance, share, generator)
    images = channel_jitter(images, strength, generator)
    return noise_and_blur(images, min(1.0, strength), generator)
