# SPDX-License-Identifier: BSD-3-Clause
"""Networks of other segmenters of nuclei, to count and time them beside ours.

They are built from what is published of them, with random weights: layers, widths and
arithmetic are theirs, so that cost and number of parameters are; there is no more to
them. Their own code and weights are not needed, nor Keras for StarDist's.

References
----------
.. [1] S. Graham et al., "HoVer-Net: Simultaneous segmentation and classification of
   nuclei in multi-tissue histology images", Medical Image Analysis 58, 2019.
.. [2] U. Schmidt et al., "Cell Detection with Star-convex Polygons", MICCAI 2018.
.. [3] C. Stringer et al., "Cellpose: a generalist algorithm for cellular
   segmentation", Nature Methods 18, 2021.
.. [4] M. Pachitariu, M. Rariden, C. Stringer, "Cellpose-SAM: superhuman
   generalization for cellular segmentation", bioRxiv, 2025.
.. [5] A. Kirillov et al., "Segment Anything", ICCV 2023.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import nn
from torch.nn import functional

__all__ = ["CellposeNet", "CellposeSAM", "HoVerNet", "StarDistNet"]


def _conv_after_norm(
    before: int, after: int, kernel: int, *, with_relu: bool = True, **options: Any
) -> nn.Sequential:
    """Return normalisation, rectifier and convolution, in this order."""
    relu = [nn.ReLU(inplace=True)] if with_relu else []
    conv = nn.Conv2d(before, after, kernel, **options)
    return nn.Sequential(nn.BatchNorm2d(before), *relu, conv)


def _double(features: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(features, scale_factor=2, mode="nearest")


def _crop(features: torch.Tensor, side: int) -> torch.Tensor:
    """Return the middle of square features."""
    start = (features.shape[-1] - side) // 2
    return features[..., start : start + side, start : start + side]


class _ResidualStage(nn.Module):
    """Bottlenecks of ResNet-50, each normalised before its convolutions."""

    def __init__(self, before: int, width: int, n_units: int, stride: int) -> None:
        super().__init__()
        after = 4 * width
        self.shortcut = nn.Conv2d(before, after, 1, stride=stride, bias=False)
        self.units = nn.ModuleList()
        for unit in range(n_units):
            # The stage before has normalised what comes to the first unit.
            first = (
                _conv_after_norm(after, width, 1, bias=False)
                if unit
                else nn.Conv2d(before, width, 1, bias=False)
            )
            step = 1 if unit else stride
            middle = _conv_after_norm(
                width, width, 3, stride=step, padding=1, bias=False
            )
            last = _conv_after_norm(width, after, 1, bias=False)
            self.units.append(nn.Sequential(first, middle, last))
        self.finish = nn.Sequential(nn.BatchNorm2d(after), nn.ReLU(inplace=True))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        total = self.shortcut(features)
        for unit in self.units:
            features = total = total + unit(features)
        return self.finish(total)


class _DenseStage(nn.Module):
    """Units that add 32 channels each to what came; a unit costs a border of 1."""

    def __init__(self, width: int, n_units: int) -> None:
        super().__init__()
        self.units = nn.ModuleList()
        for _ in range(n_units):
            squeeze = _conv_after_norm(width, 128, 1, bias=False)
            grow = _conv_after_norm(128, 32, 3, groups=4, bias=False)
            self.units.append(nn.Sequential(squeeze, grow))
            width += 32
        self.finish = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        for unit in self.units:
            new = unit(features)
            features = torch.cat([_crop(features, new.shape[-1]), new], dim=1)
        return self.finish(features)


class _Branch(nn.Module):
    """One of the decoders, without padding but at the last level."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.deep = nn.Sequential(
            nn.Conv2d(1024, 256, 3, bias=False),
            _DenseStage(256, 8),
            nn.Conv2d(512, 512, 1, bias=False),
        )
        self.middle = nn.Sequential(
            nn.Conv2d(512, 128, 3, bias=False),
            _DenseStage(128, 4),
            nn.Conv2d(256, 256, 1, bias=False),
        )
        self.fine = nn.Sequential(
            nn.Conv2d(256, 64, 3, padding=1, bias=False),
            _conv_after_norm(64, n_outputs, 1),
        )

    def forward(self, levels: list[torch.Tensor]) -> torch.Tensor:
        *skips, features = levels
        for block in (self.deep, self.middle, self.fine):
            features = _double(features)
            features = block(features + _crop(skips.pop(), features.shape[-1]))
        return features


class HoVerNet(nn.Module):
    """HoVer-Net in its "fast" mode: 256 pixels a side in, 164 out.

    Parameters
    ----------
    n_types : int, default=6
        Outputs of the branch of types, beside those of pixels and of distances: the
        background and the five types of PanNuke.
    """

    in_channels = 3

    def __init__(self, n_types: int = 6) -> None:
        super().__init__()
        # Unlike ResNet-50 it begins at full resolution, which is what it costs.
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.ModuleList(
            [
                _ResidualStage(64, 64, 3, stride=1),
                _ResidualStage(256, 128, 4, stride=2),
                _ResidualStage(512, 256, 6, stride=2),
                _ResidualStage(1024, 512, 3, stride=2),
            ]
        )
        self.bottom = nn.Conv2d(2048, 1024, 1, bias=False)
        self.branches = nn.ModuleList(_Branch(n) for n in (n_types, 2, 2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give the outputs of all branches, (n, n_types + 4, side, side)."""
        levels = [self.stem(images)]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        levels = [*levels[1:-1], self.bottom(levels[-1])]
        return torch.cat([branch(levels) for branch in self.branches], dim=1)


def _two_convs(before: int, middle: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, middle, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(middle, after, 3, padding=1),
        nn.ReLU(inplace=True),
    )


class StarDistNet(nn.Module):
    """StarDist's "2D_versatile_he": a U-Net at half resolution, and 32 rays."""

    in_channels = 3

    def __init__(self) -> None:
        super().__init__()
        # Two convolutions at full resolution, then the grid of (2, 2).
        self.stem = _two_convs(3, 32, 32)
        self.encoder = nn.ModuleList(
            [_two_convs(32, 32, 32), _two_convs(32, 64, 64), _two_convs(64, 128, 128)]
        )
        self.bottom = _two_convs(128, 256, 128)
        self.decoder = nn.ModuleList(
            [
                _two_convs(128 + 128, 128, 64),
                _two_convs(64 + 64, 64, 32),
                _two_convs(32 + 32, 32, 32),
            ]
        )
        self.features = nn.Sequential(
            nn.Conv2d(32, 128, 3, padding=1), nn.ReLU(inplace=True)
        )
        self.probability = nn.Conv2d(128, 1, 1)
        self.rays = nn.Conv2d(128, 32, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give probability and rays at half resolution, (n, 33, side, side)."""
        features, skips = functional.max_pool2d(self.stem(images), 2), []
        for block in self.encoder:
            skips.append(block(features))
            features = functional.max_pool2d(skips[-1], 2)
        features = self.bottom(features)
        for block in self.decoder:
            features = block(torch.cat([_double(features), skips.pop()], dim=1))
        features = self.features(features)
        return torch.cat([self.probability(features), self.rays(features)], dim=1)


class _Down(nn.Module):
    """Four convolutions in two residual pairs."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.shortcut = _conv_after_norm(before, after, 1, with_relu=False)
        self.first = nn.Sequential(
            _conv_after_norm(before, after, 3, padding=1),
            _conv_after_norm(after, after, 3, padding=1),
        )
        self.second = nn.Sequential(
            *(_conv_after_norm(after, after, 3, padding=1) for _ in range(2))
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        features = self.shortcut(features) + self.first(features)
        return features + self.second(features)


class _Up(nn.Module):
    """The same, with the style of the image added before three of the four."""

    def __init__(self, before: int, after: int, n_style: int) -> None:
        super().__init__()
        self.shortcut = _conv_after_norm(before, after, 1, with_relu=False)
        self.first = _conv_after_norm(before, after, 3, padding=1)
        self.convs = nn.ModuleList(
            _conv_after_norm(after, after, 3, padding=1) for _ in range(3)
        )
        self.styles = nn.ModuleList(nn.Linear(n_style, after) for _ in range(3))

    def forward(
        self, features: torch.Tensor, skip: torch.Tensor, style: torch.Tensor
    ) -> torch.Tensor:
        shifts = [linear(style)[:, :, None, None] for linear in self.styles]
        features, inner = self.shortcut(features), self.first(features) + skip
        features = features + self.convs[0](inner + shifts[0])
        inner = self.convs[1](features + shifts[1])
        return features + self.convs[2](inner + shifts[2])


class CellposeNet(nn.Module):
    """The residual U-Net of Cellpose 1 to 3, of two channels in and three out."""

    in_channels = 2

    def __init__(self) -> None:
        super().__init__()
        widths = [32, 64, 128, 256]
        self.encoder = nn.ModuleList(
            _Down(before, after)
            for before, after in itertools.pairwise([self.in_channels, *widths])
        )
        # From the deepest level up.
        self.decoder = nn.ModuleList(
            _Up(before, after, widths[-1])
            for before, after in itertools.pairwise([256, *reversed(widths)])
        )
        self.head = _conv_after_norm(widths[0], 3, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give two flows and a logit for each pixel, (n, 3, side, side)."""
        levels = [self.encoder[0](images)]
        for block in self.encoder[1:]:
            levels.append(block(functional.max_pool2d(levels[-1], 2)))
        style = functional.normalize(levels[-1].mean(dim=(2, 3)))
        features = self.decoder[0](levels[-1], levels[-1], style)
        for block, skip in zip(self.decoder[1:], levels[-2::-1], strict=True):
            features = block(_double(features), skip, style)
        return self.head(features)


class _Attention(nn.Module):
    """Attention of all tokens to all, with an offset by rows and by columns apart."""

    def __init__(self, width: int, n_heads: int, n_offsets: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.by_row = nn.Parameter(torch.zeros(n_offsets, width // n_heads))
        self.by_column = nn.Parameter(torch.zeros(n_offsets, width // n_heads))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        n, height, width, n_channels = tokens.shape
        parts = self.query_key_value(tokens).view(
            n, height * width, 3, self.n_heads, -1
        )
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
        # (n, heads, rows, columns, channels): what a token asks of rows and columns.
        asked = query.reshape(n, self.n_heads, height, width, -1)
        rows = torch.einsum("nhyxc,ykc->nhyxk", asked, _offsets(self.by_row, height))
        columns = torch.einsum(
            "nhyxc,xkc->nhyxk", asked, _offsets(self.by_column, width)
        )
        shares = scores.view(*asked.shape[:4], height, width)
        shares = shares + rows[..., None] + columns[..., None, :]
        shares = shares.view(scores.shape).softmax(dim=-1)
        answer = (shares @ value).transpose(1, 2)
        return self.mix(answer.reshape(n, height, width, n_channels))


def _offsets(table: torch.Tensor, side: int) -> torch.Tensor:
    """Return the vector of each pair of places; the table is stretched to fit."""
    stretched = functional.interpolate(
        table.T[None], size=2 * side - 1, mode="linear"
    ).squeeze(0)
    places = torch.arange(side, device=table.device)
    return stretched.T[places[:, None] - places + side - 1]


class _Block(nn.Module):
    """A layer of the transformer."""

    def __init__(self, width: int, n_heads: int, n_offsets: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(
            nn.LayerNorm(width, eps=1e-6), _Attention(width, n_heads, n_offsets)
        )
        self.think = nn.Sequential(
            nn.LayerNorm(width, eps=1e-6),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attend(tokens)
        return tokens + self.think(tokens)


class _ChannelNorm(nn.LayerNorm):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class CellposeSAM(nn.Module):
    """SAM's encoder (ViT-L) as Cellpose-SAM has it, and the readout of pixels.

    Patches are of 8 pixels instead of 16, tiles of 256 instead of 1024, and all
    layers attend to the whole tile.

    Parameters
    ----------
    n_layers, width, n_heads, side : int
        Others than the defaults are for tests.
    """

    in_channels = 3
    patch = 8

    def __init__(
        self, n_layers: int = 24, width: int = 1024, n_heads: int = 16, side: int = 256
    ) -> None:
        super().__init__()
        n_patches = side // self.patch
        self.embed = nn.Conv2d(3, width, self.patch, stride=self.patch)
        self.places = nn.Parameter(torch.zeros(1, n_patches, n_patches, width))
        # Three of four layers had windows of 14 patches, and have their offsets yet;
        # the others those of an image of 64 patches.
        self.blocks = nn.Sequential(
            *(
                _Block(width, n_heads, 2 * (64 if layer % 6 == 5 else 14) - 1)
                for layer in range(n_layers)
            )
        )
        self.neck = nn.Sequential(
            nn.Conv2d(width, 256, 1, bias=False),
            _ChannelNorm(256, eps=1e-6),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            _ChannelNorm(256, eps=1e-6),
        )
        self.head = nn.Conv2d(256, 3 * self.patch**2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give two flows and a logit for each pixel, (n, 3, side, side)."""
        tokens = self.embed(images).permute(0, 2, 3, 1) + self.places
        features = self.neck(self.blocks(tokens).permute(0, 3, 1, 2))
        return functional.pixel_shuffle(self.head(features), self.patch)
