# SPDX-License-Identifier: BSD-3-Clause
"""What a class activation mapper trains: its images, network and loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from psmlearn._engine._augment import random_dihedral
from psmlearn._engine._checkpoint import Remembering
from psmlearn.io._batch import ImageBatch
from psmlearn.io._standardised import StandardisedBatch
from psmlearn.networks import CAMUNet, build_network
from psmlearn.weak._maps import class_maps, image_logits, label_loss, suppression_loss
from psmlearn.weak._reconstruction import Reconstruction
from psmlearn.weak._resupervision import ResupervisionLoss
from psmlearn.weak._subject import center_and_scale

__all__ = ["CAMLoss", "CAMNetwork", "Shuffled", "WorkingImages", "packed"]

# Of images in [0, 1] that are taken as they are.
_CENTER, _SPREAD = 0.5, 0.25
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
            values, subject = _seen(images, index)
            planes = torch.from_numpy(values).permute(2, 0, 1)
            planes = _resize(planes, (height, width))
            self.images[index, :, :height, :width] = planes.half()
            inside = _resize(torch.tensor(subject)[None].float(), (height, width))
            self.inside[index, :height, :width] = inside[0] > 0.5

    def __len__(self) -> int:
        return len(self.images)


def _seen(images: ImageBatch, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image about 0, of about unit spread, and its foreground."""
    if isinstance(images, StandardisedBatch):
        subject = images.foreground(index)
        return center_and_scale(images.given(index), subject), subject
    image, shown = images[index], images.shown(index)
    subject = np.ones(image.shape[:2], bool) if shown is None else shown
    return (image - _CENTER) / _SPREAD, subject


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


class Shuffled(Remembering):
    """Indices in random order, all of them before any comes again."""

    memory = ("waiting",)

    def __init__(self, indices: np.ndarray) -> None:
        self.indices = indices
        self.waiting = indices[:0]

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Return the next `n` of them."""
        while len(self.waiting) < n:
            self.waiting = np.concatenate([self.waiting, rng.permutation(self.indices)])
        drawn, self.waiting = self.waiting[:n], self.waiting[n:]
        return drawn


class CAMNetwork(nn.Module):
    """A network of maps with the head that reconstructs channels.

    Parameters
    ----------
    network : str or callable
        "cam_unet", or ``f(in_channels, n_maps)`` that returns a network whose
        ``forward(images, decode)`` gives a list of raw maps and the features of
        pixels, as that of `psmlearn.networks.CAMUNet`.
    in_channels, n_maps : int
    base_channels : int
    cam_levels : sequence of int
        Like `base_channels`, of "cam_unet" alone.
    """

    def __init__(
        self,
        network: str | Callable[..., nn.Module],
        in_channels: int,
        n_maps: int,
        base_channels: int = 16,
        cam_levels: Sequence[int] = (3, 5),
    ) -> None:
        super().__init__()
        if network == "cam_unet":
            self.backbone: nn.Module = CAMUNet(
                in_channels, n_maps, base_channels, cam_levels
            )
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

    def forward(
        self, images: torch.Tensor, decode: bool = False
    ) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Give raw maps, and features where they are asked for."""
        return self.backbone(images, decode)


class CAMLoss(Remembering):
    """The loss of a batch; see :func:`psmlearn._engine._train.train_network`.

    Called with images (n, c, size, size), their foreground, and what they show.

    Parameters
    ----------
    network : CAMNetwork
    class_weights : tensor
        See `label_loss`.
    exclusive : bool
        Whether an image shows one class at most.
    resupervision : ResupervisionLoss
    reconstruction : Reconstruction
        Both may have a weight of 0.
    suppression_weight : float
    map_scale : {"margin", "raw"}
    augment : bool, default=True
    """

    memory = ("_n_steps",)

    def __init__(
        self,
        network: CAMNetwork,
        class_weights: torch.Tensor,
        exclusive: bool,
        resupervision: ResupervisionLoss,
        reconstruction: Reconstruction,
        *,
        suppression_weight: float,
        map_scale: str,
        augment: bool = True,
    ) -> None:
        self.network = network
        self.class_weights = class_weights
        self.exclusive = exclusive
        self.resupervision = resupervision
        self.reconstruction = reconstruction
        self.suppression_weight = suppression_weight
        self.map_scale = map_scale
        self.augment = augment
        self._n_steps = 0

    @property
    def parts_with_memory(self) -> list[Remembering]:
        """This loss, and what of it keeps something from batch to batch."""
        return [self, self.resupervision.clusters, self.resupervision.votes]

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
        if not training or generator is None:
            # What is asked for is the label; clusters are moving.
            raw, _ = self.network(packed(images))
            return self._label_losses(raw, presence)
        if self.augment:
            images, inside = random_dihedral([images, inside], generator)
            images = _vary(images, inside, generator)
        reconstruction, resupervision = self.reconstruction, self.resupervision
        seen = images
        channel = reconstruction.draw_channel(images.shape[1], generator)
        if reconstruction.weight:
            seen = reconstruction.mask(images, channel, generator)
        decodes = bool(reconstruction.weight or resupervision.weight)
        raw, features = self.network(packed(seen), decodes)
        maps = class_maps(raw, images.shape[-2:], self.map_scale)
        loss = self._label_losses(raw, presence)
        loss = loss + self.suppression_weight * suppression_loss(maps, presence)
        if reconstruction.weight:
            found = self.network.reconstruct(features)
            error = reconstruction.loss(found, images, inside, channel)
            loss = loss + reconstruction.weight * error
        self._n_steps += 1
        if resupervision.weight and self._n_steps > resupervision.n_warm_up:
            error = resupervision(
                maps,
                features,
                inside,
                presence,
                self.class_weights.to(maps.device),
                self.exclusive,
                generator,
            )
            loss = loss + resupervision.weight * error
        return loss

    def _label_losses(
        self, raw: Sequence[torch.Tensor], presence: torch.Tensor
    ) -> torch.Tensor:
        weights = self.class_weights.to(presence.device)
        total = presence.new_zeros(())
        for level in raw:
            logits = image_logits(level)
            total = total + label_loss(
                logits, presence, weights, exclusive=self.exclusive
            )
        return total


def packed(images: torch.Tensor) -> torch.Tensor:
    """Put channels last, which convolutions are fastest with."""
    return images.contiguous(memory_format=torch.channels_last)


def _vary(
    images: torch.Tensor, inside: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Change contrast and brightness of each channel a little."""
    shape = (2, *images.shape[:2], 1, 1)
    gain, shift = torch.randn(shape, generator=generator).to(images)
    return images * (1 + _GAIN * gain) + _SHIFT * shift * inside[:, None]
