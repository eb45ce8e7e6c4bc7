# SPDX-License-Identifier: BSD-3-Clause
"""Reconstruction: a decoder learns what pixels look like from a masked channel."""

from __future__ import annotations

from numbers import Real

import torch

from psmlearn._sklearn_compat import Interval, StrOptions
from psmlearn.base import AT_LEAST_0, CHANNEL, SIDE, Option

__all__ = ["Reconstruction"]

# Values of standardised images beyond it are not to be reconstructed.
_RANGE = 3.0


class Reconstruction(Option):
    """A masked channel is reconstructed from the others.

    It alone teaches the decoder what pixels look like: without it, the clusters of
    re-supervision are those of random features, and maps are not refined.

    Parameters
    ----------
    weight : float, default=0.1
        Weight in the loss; 0 leaves reconstruction out.
    mask_patch_size : int, default=4
        Side of the squares that are masked, in pixels at `patch_size`.
    mask_fraction : float, default=0.25
        Share of the squares that is masked. 0.01 in the code of [1]_.
    target_channel : int or "random", default="random"
        The channel that is masked and reconstructed; "random" draws one a batch. A
        single channel reconstructs itself.

    References
    ----------
    .. [1] Kuang et al., "Cluster-Re-Supervision: Bridging the Gap Between
       Image-Level and Pixel-Wise Labels for Weakly Supervised Medical Image
       Segmentation", IEEE JBHI 27(10), 2023, doi:10.1109/JBHI.2023.3300179.

    Examples
    --------
    >>> from psmlearn import ClassActivationMapper
    >>> from psmlearn.weak import Reconstruction
    >>> ClassActivationMapper(reconstruction=Reconstruction(target_channel=0))
    ClassActivationMapper(reconstruction=Reconstruction(target_channel=0))
    """

    _parameter_constraints: dict = {
        "weight": [AT_LEAST_0],
        "mask_patch_size": [SIDE],
        "mask_fraction": [Interval(Real, 0, 1, closed="left")],
        "target_channel": [StrOptions({"random"}), CHANNEL],
    }

    def __init__(
        self,
        *,
        weight: float = 0.1,
        mask_patch_size: int = 4,
        mask_fraction: float = 0.25,
        target_channel: int | str = "random",
    ) -> None:
        self.weight = weight
        self.mask_patch_size = mask_patch_size
        self.mask_fraction = mask_fraction
        self.target_channel = target_channel

    def check(self, n_channels: int) -> None:
        """Refuse a channel that the images do not have."""
        channel = self.target_channel
        if channel != "random" and not 0 <= int(channel) < n_channels:
            raise ValueError(
                f"target_channel={channel} is not a channel of images with "
                f"{n_channels} channels, counted from 0."
            )

    def draw_channel(self, n_channels: int, generator: torch.Generator) -> int:
        """Return the channel of a batch."""
        if self.target_channel == "random":
            return int(torch.randint(n_channels, (1,), generator=generator))
        return int(self.target_channel)

    def mask(
        self, images: torch.Tensor, channel: int, generator: torch.Generator
    ) -> torch.Tensor:
        """Blank random squares of the channel that is reconstructed."""
        side = self.mask_patch_size
        n_rows, n_columns = (-(-length // side) for length in images.shape[-2:])
        drawn = torch.rand(len(images), n_rows, n_columns, generator=generator)
        kept = (drawn >= self.mask_fraction).to(images)
        kept = kept.repeat_interleave(side, 1).repeat_interleave(side, 2)
        seen = images.clone()
        seen[:, channel] *= kept[:, : images.shape[2], : images.shape[3]]
        return seen

    def loss(
        self,
        found: torch.Tensor,
        images: torch.Tensor,
        inside: torch.Tensor,
        channel: int,
    ) -> torch.Tensor:
        """Return the L1 distance within the foreground.

        Parameters
        ----------
        found : tensor of shape (n, n_channels, height, width)
            What the network reconstructs; of it, `channel` counts.
        images : tensor of the same shape
            Not masked.
        inside : tensor of shape (n, height, width), bool
        channel : int
        """
        target = images[:, channel].clamp(-_RANGE, _RANGE)
        error = (found[:, channel].float() - target).abs()
        return (error * inside).sum() / inside.sum().clamp_min(1)
