# SPDX-License-Identifier: BSD-3-Clause
"""Res2Net-101 (base width 26, scale 4) with timm's parameter names."""

from __future__ import annotations

import torch
from torch import nn

from psmlearn.networks._resnet import ResNet, conv3x3

__all__ = ["res2net101_26w_4s"]

_SCALE = 4
_BASE_WIDTH = 26


class Res2NetBlock(nn.Module):
    """Bottleneck whose 3x3 convolution is a cascade over groups of channels.

    Of the `scale` groups all but the last are convolved; within a stage each takes
    the result of the one before as well. The first block of a stage breaks the
    cascade and averages the last group down instead of copying it.
    """

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, stride: int, shortcut: nn.Module | None
    ) -> None:
        super().__init__()
        group = width * _BASE_WIDTH // 64
        out_channels = width * self.expansion
        # Only the first block of a stage has a shortcut, whatever its stride.
        self.cascade = shortcut is None
        self.conv1 = nn.Conv2d(in_channels, group * _SCALE, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(group * _SCALE)
        self.convs = nn.ModuleList(
            conv3x3(group, group, stride) for _ in range(_SCALE - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(group) for _ in range(_SCALE - 1))
        self.pool = nn.AvgPool2d(3, stride=stride, padding=1)
        self.conv3 = nn.Conv2d(group * _SCALE, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def radius(self, stride: int) -> int:
        """Receptive radius in pixels of the block's input."""
        del stride  # a strided block has no cascade
        return len(self.convs) if self.cascade else 1

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Add the residual to the (projected) input."""
        hidden = self.relu(self.bn1(self.conv1(features)))
        *groups, last = hidden.chunk(_SCALE, dim=1)
        parts: list[torch.Tensor] = []
        for conv, norm, group in zip(self.convs, self.bns, groups, strict=True):
            if self.cascade and parts:
                group = group + parts[-1]
            parts.append(self.relu(norm(conv(group))))
        parts.append(last if self.cascade else self.pool(last))
        residual = self.bn3(self.conv3(torch.cat(parts, dim=1)))
        if self.downsample is not None:
            features = self.downsample(features)
        return self.relu(residual + features)


def res2net101_26w_4s(in_channels: int = 3, out_channels: int = 1000) -> ResNet:
    """Build a Res2Net-101 of base width 26 and scale 4, randomly initialised.

    Parameters
    ----------
    in_channels : int, default=3
        Channels of the images.
    out_channels : int, default=1000
        Outputs of the last linear layer.

    Returns
    -------
    ResNet
        State-dict keys and shapes are those of timm's model of this name.

    References
    ----------
    S.-H. Gao et al., "Res2Net: A New Multi-Scale Backbone Architecture",
    IEEE TPAMI 43(2), 2021.

    Examples
    --------
    >>> from psmlearn.networks import res2net101_26w_4s
    >>> network = res2net101_26w_4s()
    >>> sum(weight.numel() for weight in network.parameters())
    45206688
    """
    return ResNet(Res2NetBlock, (3, 4, 23, 3), in_channels, out_channels)
