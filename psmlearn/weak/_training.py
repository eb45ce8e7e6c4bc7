# SPDX-License-Identifier: BSD-3-Clause
"""What a class activation mapper trains: its images, network and loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from psmlearn.activation._cam_maps import (
    class_maps,
    image_logits,
    label_loss,
    suppression_loss,
)
from psmlearn.activation._resupervision import Resupervision
from torch import nn
from torch.nn import functional

from psmlearn._engine._augment import random_dihedral
from psmlearn.io._batch import ImageBatch
from psmlearn.networks import CAMUNet, build_network

__all__ = ["CAMLoss", "CAMNetwork", "LossWeights", "WorkingImages"]

# Standardised images are (spreads from the median + 4) / 10; see `standardise`.
_CENTER, _SPREAD = 0.4, 0.1
_RANGE = 3.0
_GAIN, _SHIFT = 0.1, 0.1


class WorkingImages:
    """Images at the size that the network sees, two bytes a value.

    An image is scaled so that its longer side fills a square, and lies in its upper
    left corner; what it leaves free has the value of the centre of the range.

    Attributes
    ----------
    images : tensor of shape (n, channels, size, size), float16
        About 0, of about unit spread.
    inside : tensor of shape (n, size, size), bool
        The foreground of the images.
    sides : list of (int, int)
        Height and width that an image has there.
    """

    def __init__(self, images: ImageBatch, size: int) -> None:
        shape = (len(images), images.n_channels, size, size)
        self.images = torch.zeros(shape, dtype=torch.float16)
        self.inside = torch.zeros((shape[0], size, size), dtype=torch.bool)
        self.sides = [_fitting(*side, size) for side in images.shapes]
        for index, (height, width) in enumerate(self.sides):
            image = images[index]
            # The middle of images in [0, 1] that are taken as they are.
            center, spread = _CENTER, _SPREAD
            if images.value_range is not None:
                center, spread = 0.5, 0.25
            planes = torch.from_numpy((image - center) / spread).permute(2, 0, 1)
            planes = _resize(planes, (height, width))
            self.images[index, :, :height, :width] = planes.half()
            inside = torch.ones(1, *image.shape[:2])
            if images.value_range is None:
                inside = torch.tensor(images.foreground(index))[None].float()
            inside = _resize(inside, (height, width))[0] > 0.5
            self.inside[index, :height, :width] = inside

    def __len__(self) -> int:
        return len(self.images)


def _fitting(height: int, width: int, size: int) -> tuple[int, int]:
    """Return the size of an image whose longer side is made `size`."""
    scale = size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _resize(planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(planes.shape[1:]) == tuple(size):
        return planes
    return functional.interpolate(
        planes[None], size=size, mode="bilinear", align_corners=False, antialias=True
    )[0]


class CAMNetwork(nn.Module):
    """A network of maps with the head that reconstructs channels.

    Parameters
    ----------
    network : str or callable
        "cam_unet", or ``f(in_channels, n_maps)`` that returns a network whose
        ``forward(images, decode)`` gives a list of raw maps and the features of
        pixels, as that of `psmlearn.networks.CAMUNet`.
    in_channels, n_maps : int
    options : dict
        For "cam_unet".
    """

    def __init__(
        self, network: str | Callable, in_channels: int, n_maps: int, options: dict
    ) -> None:
        super().__init__()
        if network == "cam_unet":
            self.backbone: nn.Module = CAMUNet(in_channels, n_maps, **options)
        else:
            self.backbone = build_network(network, in_channels, n_maps)
        n_features = getattr(self.backbone, "feature_channels", None)
        if not isinstance(n_features, int):
            raise TypeError(
                f"network: {type(self.backbone).__name__} must tell the number of "
                "channels of its features as `feature_channels`, and its forward(images"
                ", decode) return raw maps of each level and these features; see "
                "psmlearn.networks.CAMUNet."
            )
        self.reconstruct = nn.Conv2d(n_features, in_channels, 1)

    def forward(self, images: torch.Tensor, decode: bool = False):
        """Give raw maps, and features where they are asked for."""
        return self.backbone(images, decode)


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of the loss, and how channels are masked."""

    classification: float
    suppression: float
    cluster: float
    reconstruction: float
    mask_patch_size: int
    mask_fraction: float
    target_channel: int | str


class CAMLoss:
    """The loss of a batch; see :func:`psmlearn._engine._train.train_network`.

    Called with images (n, c, size, size), their foreground, and what they show.
    """

    def __init__(
        self,
        network: CAMNetwork,
        weights: LossWeights,
        class_weights: torch.Tensor,
        exclusive: bool,
        resupervision: Resupervision,
        *,
        map_scale: str = "margin",
        augment: bool = True,
        n_warm_up: int = 0,
    ) -> None:
        self.network = network
        self.weights = weights
        self.class_weights = class_weights
        self.exclusive = exclusive
        self.resupervision = resupervision
        self.map_scale = map_scale
        self.augment = augment
        self.n_warm_up = n_warm_up
        self._n_steps = 0

    def __call__(
        self,
        images: torch.Tensor,
        inside: torch.Tensor,
        presence: torch.Tensor,
        *,
        training: bool,
        generator: torch.Generator | None,
    ) -> torch.Tensor:
        images = images.float()
        if not training:  # what is asked for is the label; clusters are moving
            raw, _ = self.network(_packed(images))
            return self._label_losses(raw, presence)
        if self.augment:
            images, inside = random_dihedral([images, inside], generator)
            images = _vary(images, inside, generator)
        weights, seen = self.weights, images
        channel = self._draw_channel(images.shape[1], generator)
        if weights.reconstruction:
            seen = self._masked(images, channel, generator)
        decodes = bool(weights.reconstruction or weights.cluster)
        raw, features = self.network(_packed(seen), decodes)
        maps = class_maps(raw, images.shape[-2:], self.map_scale)
        loss = weights.classification * self._label_losses(raw, presence)
        loss = loss + weights.suppression * suppression_loss(maps, presence)
        if weights.reconstruction:
            error = self._reconstruction(features, images, inside, channel)
            loss = loss + weights.reconstruction * error
        self._n_steps += 1
        if weights.cluster and self._n_steps > self.n_warm_up:
            error = self.resupervision(
                maps,
                features,
                inside,
                presence,
                self.class_weights.to(maps.device),
                self.exclusive,
                generator,
            )
            loss = loss + weights.cluster * error
        return loss

    def _label_losses(self, raw, presence) -> torch.Tensor:
        class_weights = self.class_weights.to(presence.device)
        return sum(
            label_loss(
                image_logits(level), presence, class_weights, exclusive=self.exclusive
            )
            for level in raw
        )

    def _draw_channel(self, n_channels: int, generator) -> int:
        if self.weights.target_channel == "random":
            return int(torch.randint(n_channels, (1,), generator=generator))
        return int(self.weights.target_channel)

    def _masked(self, images, channel, generator) -> torch.Tensor:
        """Blank random squares of the channel that is reconstructed."""
        side = self.weights.mask_patch_size
        n_rows, n_columns = (-(-length // side) for length in images.shape[-2:])
        drawn = torch.rand(len(images), n_rows, n_columns, generator=generator)
        kept = (drawn >= self.weights.mask_fraction).to(images)
        kept = kept.repeat_interleave(side, 1).repeat_interleave(side, 2)
        seen = images.clone()
        seen[:, channel] *= kept[:, : images.shape[2], : images.shape[3]]
        return seen

    def _reconstruction(self, features, images, inside, channel) -> torch.Tensor:
        """L1 of the reconstructed channel within the foreground."""
        found = self.network.reconstruct(features)[:, channel].float()
        target = images[:, channel].clamp(-_RANGE, _RANGE)
        return ((found - target).abs() * inside).sum() / inside.sum().clamp_min(1)


def _packed(images: torch.Tensor) -> torch.Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _vary(images, inside, generator) -> torch.Tensor:
    """Change contrast and brightness of each channel a little."""
    shape = (2, *images.shape[:2], 1, 1)
    gain, shift = torch.randn(shape, generator=generator).to(images)
    return images * (1 + _GAIN * gain) + _SHIFT * shift * inside[:, None]
