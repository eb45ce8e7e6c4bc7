# SPDX-License-Identifier: BSD-3-Clause
"""U-Net with a ResNet-34 encoder, the segmentation network of the PSM papers."""

from __future__ import annotations

import torch
from torch import nn

from psmlearn.networks._resnet import resnet34
from psmlearn.networks._unet import check_batch, check_size, init_weights

__all__ = ["ResUNet34"]


class _UpBlock(nn.Module):
    """Double the size, join the skip, and convolve twice."""

    def __init__(
        self, in_channels: int, skip_channels: int, out_channels: int, dropout: float
    ) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        layers = []
        for channels in (out_channels + skip_channels, out_channels):
            layers += [
                nn.Conv2d(channels, out_channels, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.BatchNorm2d(out_channels),
                nn.Dropout2d(dropout),
            ]
        self.convs = nn.Sequential(*layers)

    def forward(self, features: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Give features at the size of `skip`."""
        return self.convs(torch.cat([self.up(features), skip], dim=1))


class ResUNet34(nn.Module):
    """U-Net with a ResNet-34 encoder.

    The encoder's modules bear torchvision's names at the top level, so a weight
    file of a ResNet-34 fills them, its `fc` aside.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    out_channels : int
        Channels of the output, logits at the size of the input.
    dropout : float, default=0.1
        Share of the decoder's channels dropped in training, in [0, 1).

    Attributes
    ----------
    stride : int
        Height and width of the input must be multiples of it: 32.
    receptive_radius : int
        Pixels beyond an output pixel that can change it: 540.
    halo : int
        Context for tiles: 256. It leaves small differences at their borders;
        only 544 pixels would make them exact.
    exact_tiling : bool
        Always False.

    References
    ----------
    "Exploring Unsupervised Cell Recognition with Prior Self-activation Maps",
    MICCAI 2023, arXiv:2308.11144.

    Examples
    --------
    >>> import torch
    >>> from psmlearn.networks import ResUNet34
    >>> network = ResUNet34(3, 2).eval()
    >>> with torch.inference_mode():
    ...     network(torch.zeros(1, 3, 32, 64)).shape
    torch.Size([1, 2, 32, 64])
    """

    stride = 32
    receptive_radius = 540
    halo = 256
    exact_tiling = False
    conv1: nn.Module
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(
        self, in_channels: int, out_channels: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.out_channels = check_size(out_channels, "out_channels")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout!r}.")
        encoder = resnet34(in_channels, 1)
        self.in_channels = encoder.in_channels
        for name, module in encoder.named_children():
            if name not in ("avgpool", "fc"):
                self.add_module(name, module)
        self.decoder = nn.ModuleList(
            _UpBlock(before, skip, after, dropout)
            for before, skip, after in (
                (512, 256, 256),
                (256, 128, 128),
                (128, 64, 64),
                (64, 64, 64),
            )
        )
        self.head = nn.ConvTranspose2d(64, self.out_channels, 2, stride=2)
        init_weights(self.decoder)
        init_weights(self.head)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give logits of shape (n, out_channels, height, width)."""
        check_batch(images, self.in_channels, self.stride)
        features = self.relu(self.bn1(self.conv1(images)))
        skips = [features]
        features = self.maxpool(features)
        for stage in (self.layer1, self.layer2, self.layer3):
            features = stage(features)
            skips.append(features)
        features = self.layer4(features)
        for block in self.decoder:
            features = block(features, skips.pop())
        return self.head(features)
