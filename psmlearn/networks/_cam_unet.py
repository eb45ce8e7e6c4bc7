# SPDX-License-Identifier: BSD-3-Clause
"""A U-Net whose encoder classifies through maps and whose decoder gives features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from psmlearn.networks._unet import check_batch, check_size, init_weights

__all__ = ["CAMUNet"]

_SLOPE = 0.01


def _block(in_channels: int, out_channels: int, n_convs: int = 2) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(n_convs):
        layers += [
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.LeakyReLU(_SLOPE, inplace=True),
        ]
        in_channels = out_channels
    return nn.Sequential(*layers)


class CAMUNet(nn.Module):
    """U-Net with class activation maps at two levels of its encoder.

    A 1x1 convolution without bias turns the features of a level into one map for
    the background and each class; the mean of a map is the logit of its class. The
    decoder gives features at full resolution, for clustering, reconstruction and
    refinement of the maps.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    out_channels : int
        Maps of each level: the background and the classes.
    base_channels : int, default=16
        Channels at full resolution; they double at each halving. 64 in [1]_.
    cam_levels : sequence of int, default=(3, 5)
        Levels that have maps, 1 (full resolution) to `depth` + 1.
    depth : int, default=4
        Number of halvings.

    Attributes
    ----------
    stride : int
        Height and width of the input must be multiples of it, ``2 ** depth``.
    feature_channels : int
        Channels of the decoder's features, `base_channels`.

    References
    ----------
    .. [1] Kuang et al., "Cluster-Re-Supervision: Bridging the Gap Between
       Image-Level and Pixel-Wise Labels for Weakly Supervised Medical Image
       Segmentation", IEEE JBHI 27(10), 2023, doi:10.1109/JBHI.2023.3300179.

    Examples
    --------
    >>> import torch
    >>> from psmlearn.networks import CAMUNet
    >>> network = CAMUNet(2, 2).eval()
    >>> with torch.inference_mode():
    ...     maps, features = network(torch.zeros(1, 2, 32, 32), decode=True)
    >>> [tuple(level.shape) for level in maps], tuple(features.shape)
    ([(1, 2, 8, 8), (1, 2, 2, 2)], (1, 16, 32, 32))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        base_channels: int = 16,
        cam_levels: Sequence[int] = (3, 5),
        depth: int = 4,
    ) -> None:
        super().__init__()
        self.in_channels = check_size(in_channels, "in_channels")
        self.out_channels = check_size(out_channels, "out_channels")
        base_channels = check_size(base_channels, "base_channels")
        depth = check_size(depth, "depth")
        self.cam_levels = tuple(check_size(v, "cam_levels") for v in cam_levels)
        if not self.cam_levels or max(self.cam_levels) > depth + 1:
            raise ValueError(
                f"cam_levels: levels from 1 to {depth + 1} are expected, at least one, "
                f"got {self.cam_levels}."
            )
        self.stride = 2**depth
        self.feature_channels = base_channels
        widths = [base_channels * 2**level for level in range(depth + 1)]
        self.encoder = nn.ModuleList(
            _block(before, after)
            for before, after in zip(
                [self.in_channels, *widths[:-1]], widths, strict=True
            )
        )
        heads = [
            nn.Conv2d(widths[level - 1], self.out_channels, 1, bias=False)
            for level in self.cam_levels
        ]
        self.cam_heads = nn.ModuleList(heads)
        # The decoder runs from the deepest level up.
        self.upsamplers = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, 2, stride=2)
            for width in reversed(widths[:-1])
        )
        self.decoder = nn.ModuleList(
            _block(2 * width, width) for width in reversed(widths[:-1])
        )
        init_weights(self)
        for head in heads:
            nn.init.kaiming_uniform_(head.weight, a=5**0.5)

    def forward(
        self, images: torch.Tensor, decode: bool = False
    ) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Give the maps of each level, and features where they are asked for."""
        check_batch(images, self.in_channels, self.stride)
        levels = [self.encoder[0](images)]
        for block in self.encoder[1:]:
            levels.append(block(functional.max_pool2d(levels[-1], 2)))
        maps = [
            head(levels[level - 1])
            for head, level in zip(self.cam_heads, self.cam_levels, strict=True)
        ]
        if not decode:
            return maps, None
        features = levels.pop()
        for upsample, block in zip(self.upsamplers, self.decoder, strict=True):
            features = block(torch.cat([levels.pop(), upsample(features)], dim=1))
        return maps, features
