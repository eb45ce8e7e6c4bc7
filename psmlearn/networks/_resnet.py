# SPDX-License-Identifier: BSD-3-Clause
"""Residual networks with torchvision's and timm's parameter names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from psmlearn.networks._unet import check_batch, check_size, init_weights

__all__ = ["ResNet", "resnet18", "resnet34", "resnet50"]

_STAGES = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Build a padded 3x3 convolution without bias."""
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


class Block(Protocol):
    """A kind of residual block: its class, and what it multiplies channels by."""

    expansion: int

    def __call__(
        self, in_channels: int, width: int, stride: int, shortcut: nn.Module | None
    ) -> nn.Module:
        """Build a block."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18 and -34)."""

    expansion = 1

    def __init__(
        self, in_channels: int, width: int, stride: int, shortcut: nn.Module | None
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut

    @staticmethod
    def radius(stride: int) -> int:
        """Receptive radius in pixels of the block's input."""
        return 1 + stride

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Add the residual to the (projected) input."""
        residual = self.relu(self.bn1(self.conv1(features)))
        residual = self.bn2(self.conv2(residual))
        if self.downsample is not None:
            features = self.downsample(features)
        return self.relu(residual + features)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (ResNet-50).

    The stride sits on the 3x3 convolution (version 1.5), as in the weights that
    torchvision and timm publish.
    """

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, stride: int, shortcut: nn.Module | None
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    @staticmethod
    def radius(stride: int) -> int:
        """Receptive radius in pixels of the block's input."""
        del stride  # one 3x3 convolution, whatever its stride
        return 1

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Add the residual to the (projected) input."""
        residual = self.relu(self.bn1(self.conv1(features)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        if self.downsample is not None:
            features = self.downsample(features)
        return self.relu(residual + features)


def build_stage(
    block: Block, in_channels: int, width: int, n_blocks: int, stride: int
) -> nn.Sequential:
    """Build `n_blocks` blocks, the first of which changes channels and size."""
    out_channels = width * block.expansion
    shortcut = None
    if stride != 1 or in_channels != out_channels:
        shortcut = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )
    blocks = [block(in_channels, width, stride, shortcut)]
    blocks += [block(out_channels, width, 1, None) for _ in range(n_blocks - 1)]
    return nn.Sequential(*blocks)


class ResNet(nn.Module):
    """Residual network: four stages, global average, one linear layer.

    Parameters
    ----------
    block : type
        Kind of residual block.
    n_blocks : sequence of 4 int
        Blocks in each stage.
    in_channels : int, default=3
        Channels of the images.
    out_channels : int, default=1000
        Outputs of the linear layer `fc`.

    Attributes
    ----------
    stride : int
        Always 32; smaller sides pass, but tiles must start at its multiples.
    halo : int
        `layer_halo("layer1")`.
    exact_tiling : bool
        Always False: the network's output is an average over the whole image.
        The map of a stage is exact under tiling with `layer_halo` of that stage.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image
    Recognition", CVPR 2016.
    """

    stride = 32
    exact_tiling = False

    def __init__(
        self,
        block: Block,
        n_blocks: Sequence[int],
        in_channels: int = 3,
        out_channels: int = 1000,
    ) -> None:
        super().__init__()
        self.in_channels = check_size(in_channels, "in_channels")
        self.out_channels = check_size(out_channels, "out_channels")
        self.conv1 = nn.Conv2d(self.in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for stage, n in enumerate(n_blocks):
            width = 64 * 2**stage
            blocks = build_stage(block, channels, width, n, 1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", blocks)
            channels = width * block.expansion
        self.n_features = channels
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, self.out_channels)
        init_weights(self)
        self.halo = self.layer_halo("layer1")

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Give the map of the last stage, (n, n_features, height/32, width/32)."""
        check_batch(images, self.in_channels, 1)
        features = images
        for name in _STAGES:
            features = getattr(self, name)(features)
        return features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give the outputs of the linear layer, (n, out_channels)."""
        features = self.avgpool(self.forward_features(images))
        return self.fc(torch.flatten(features, 1))

    def layer_stride(self, layer_name: str) -> int:
        """Pixels of the image for each step of a layer's map.

        Parameters
        ----------
        layer_name : str
            A stage ("layer1" ... "layer4", or "conv1", "maxpool"), or a module
            inside one ("layer2.0.conv1"), which counts as its whole stage.

        Returns
        -------
        int
            Between 2 and 32.

        Raises
        ------
        ValueError
            If the network has no such layer.
        """
        return self._reach(layer_name)[1]

    def layer_halo(self, layer_name: str) -> int:
        """Context that makes the tiles of a layer's map exact.

        Parameters
        ----------
        layer_name : str
            As in `layer_stride`.

        Returns
        -------
        int
            The receptive radius in pixels of the image, rounded up to a multiple
            of 32. Tiles must start at multiples of 32 and end there or at the
            image border; `eval` mode.

        Raises
        ------
        ValueError
            If the network has no such layer.
        """
        return 32 * math.ceil(self._reach(layer_name)[0] / 32)

    def _reach(self, layer_name: str) -> tuple[int, int]:
        """Receptive radius and step of a layer, in pixels of the image."""
        stage = str(layer_name).split(".")[0]
        names = [name for name, _ in self.named_modules()]
        if stage not in _STAGES or layer_name not in names:
            raise ValueError(
                f"The network has no layer {layer_name!r}; expected one of "
                f"{', '.join(_STAGES)}, or a module inside one of them."
            )
        radius, step = 3, 2
        if _STAGES.index(stage) >= _STAGES.index("maxpool"):
            radius, step = radius + step, 2 * step
        for name in _STAGES[4 : _STAGES.index(stage) + 1]:
            for i, block in enumerate(getattr(self, name)):
                stride = 2 if i == 0 and name != "layer1" else 1
                radius += step * block.radius(stride)
                step *= stride
        return radius, step


def resnet18(in_channels: int = 3, out_channels: int = 1000) -> ResNet:
    """Build a ResNet-18, randomly initialised.

    Parameters
    ----------
    in_channels : int, default=3
        Channels of the images.
    out_channels : int, default=1000
        Outputs of the last linear layer.

    Returns
    -------
    ResNet
        State-dict keys and shapes are torchvision's and timm's.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image
    Recognition", CVPR 2016.

    Examples
    --------
    >>> from psmlearn.networks import resnet18
    >>> network = resnet18()
    >>> sum(weight.numel() for weight in network.parameters())
    11689512
    """
    return ResNet(BasicBlock, (2, 2, 2, 2), in_channels, out_channels)


def resnet34(in_channels: int = 3, out_channels: int = 1000) -> ResNet:
    """Build a ResNet-34, randomly initialised.

    Parameters
    ----------
    in_channels : int, default=3
        Channels of the images.
    out_channels : int, default=1000
        Outputs of the last linear layer.

    Returns
    -------
    ResNet
        State-dict keys and shapes are torchvision's and timm's.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image
    Recognition", CVPR 2016.

    Examples
    --------
    >>> from psmlearn.networks import resnet34
    >>> resnet34(out_channels=1).layer_stride("layer2")
    8
    """
    return ResNet(BasicBlock, (3, 4, 6, 3), in_channels, out_channels)


def resnet50(in_channels: int = 3, out_channels: int = 1000) -> ResNet:
    """Build a ResNet-50 (version 1.5), randomly initialised.

    Parameters
    ----------
    in_channels : int, default=3
        Channels of the images.
    out_channels : int, default=1000
        Outputs of the last linear layer.

    Returns
    -------
    ResNet
        State-dict keys and shapes are torchvision's and timm's.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image
    Recognition", CVPR 2016.

    Examples
    --------
    >>> from psmlearn.networks import resnet50
    >>> resnet50(out_channels=1).n_features
    2048
    """
    return ResNet(Bottleneck, (3, 4, 6, 3), in_channels, out_channels)
