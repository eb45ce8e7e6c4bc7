# SPDX-License-Identifier: BSD-3-Clause
"""A plain U-Net whose tiled output equals its whole-image output."""

from __future__ import annotations

import numbers

import torch
from torch import nn
from torch.nn import functional

__all__ = ["UNet"]

_NORMS = ("batch", "instance")


def check_size(value: object, name: str) -> int:
    """Return a positive integer, or say what came instead."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    return int(value)


def check_batch(images: torch.Tensor, in_channels: int, stride: int) -> None:
    """Refuse a batch that the network cannot take, naming the fix."""
    shape = tuple(images.shape)
    if images.ndim != 4 or shape[1] != in_channels:
        raise ValueError(
            f"The network takes a batch of shape (n, {in_channels}, height, width), "
            f"got {shape}."
        )
    if min(shape[2:]) < 1 or shape[2] % stride or shape[3] % stride:
        raise ValueError(
            f"Height and width must be multiples of {stride}, got "
            f"{shape[2]} x {shape[3]}; pad the images first."
        )


def init_weights(network: nn.Module) -> None:
    """Draw convolutions by Kaiming's rule and set batch norms to the identity."""
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            # Kernel 2, stride 2: each output pixel sees one tap of every channel.
            nn.init.normal_(module.weight, std=module.in_channels**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


class _InstanceNorm(nn.GroupNorm):
    """What `torch.nn.InstanceNorm2d` does, faster and for single pixels too."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.group_norm(
            features, self.num_groups, self.weight, self.bias, self.eps
        )


def _normalisation(norm: str, n_channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(n_channels)
    return _InstanceNorm(n_channels, n_channels)


def _double_conv(in_channels: int, out_channels: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        _normalisation(norm, out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        _normalisation(norm, out_channels),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Plain U-Net with transposed convolutions.

    With batch normalisation nothing in it looks further than ``receptive_radius``
    pixels in ``eval`` mode (no pooled statistics of the whole image), so tiles that
    start at multiples of ``stride`` and carry ``halo`` pixels of context, clipped at
    the image border, give the whole-image output up to float rounding.

    With instance normalisation [2]_ the mean and spread of each feature over the input
    are taken out: what matters is how a place differs from the rest of its image. That
    suits images of one subject each whose contrast varies, such as slices of scans,
    given whole; tiles are not exact then.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    out_channels : int
        Channels of the output, logits at the size of the input.
    base_channels : int, default=16
        Channels at full resolution; they double at each of the `depth` halvings.
    depth : int, default=4
        Number of halvings.
    norm : {"batch", "instance"}, default="batch"
        Normalisation after each convolution.

    Attributes
    ----------
    stride : int
        Height and width of the input must be multiples of it, ``2 ** depth``.
    receptive_radius : int
        Pixels beyond an output pixel that can change it, ``7 * stride - 5``.
    halo : int
        Context that makes tiles exact with batch normalisation, ``7 * stride``.
    exact_tiling : bool
        True with batch normalisation.
    takes_margins : bool
        Whether `forward` can leave out what is context only: with batch normalisation.

    References
    ----------
    .. [1] O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for
       Biomedical Image Segmentation", MICCAI 2015.
    .. [2] D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance Normalization: The Missing
       Ingredient for Fast Stylization", arXiv:1607.08022, 2016.

    Examples
    --------
    >>> import torch
    >>> from psmlearn.networks import UNet
    >>> network = UNet(3, 2).eval()
    >>> network.stride, network.halo
    (16, 112)
    >>> with torch.inference_mode():
    ...     network(torch.zeros(1, 3, 32, 48)).shape
    torch.Size([1, 2, 32, 48])
    """

    exact_tiling = True
    takes_margins = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        base_channels: int = 16,
        depth: int = 4,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if norm not in _NORMS:
            raise ValueError(f"norm must be one of {_NORMS}, got {norm!r}.")
        if norm != "batch":
            self.exact_tiling = self.takes_margins = False
        self.in_channels = check_size(in_channels, "in_channels")
        self.out_channels = check_size(out_channels, "out_channels")
        base_channels = check_size(base_channels, "base_channels")
        depth = check_size(depth, "depth")
        self.stride = 2**depth
        # Two 3x3 convolutions a level on the way down and up sum to this radius.
        self.receptive_radius = 7 * self.stride - 5
        self.halo = 7 * self.stride
        widths = [base_channels * 2**level for level in range(depth + 1)]
        self.encoder = nn.ModuleList(
            _double_conv(before, after, norm)
            for before, after in zip(
                [self.in_channels, *widths[:-1]], widths, strict=True
            )
        )
        # The decoder runs from the deepest level up.
        self.upsamplers = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, 2, stride=2)
            for width in reversed(widths[:-1])
        )
        self.decoder = nn.ModuleList(
            _double_conv(2 * width, width, norm) for width in reversed(widths[:-1])
        )
        self.head = nn.Conv2d(base_channels, self.out_channels, 1)
        init_weights(self)
        # Logits of about unit size: no normalisation follows to rescale them.
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="linear")

    def forward(
        self, images: torch.Tensor, margins: tuple[int, int, int, int] = (0, 0, 0, 0)
    ) -> torch.Tensor:
        """Give logits of shape (n, out_channels, height, width).

        Parameters
        ----------
        images : tensor of shape (n, in_channels, height, width)
        margins : tuple of four int, default=(0, 0, 0, 0)
            Pixels at the top, left, bottom and right that are context only, multiples
            of `stride`: the logits of the rest come, as they would be cut from all.
        """
        check_batch(images, self.in_channels, self.stride)
        levels = self._margins(margins)
        skips = []
        features = self.encoder[0](images)
        for level, block in enumerate(self.encoder[1:]):
            skips.append(_cut(features, _less(levels[level], margins, level)))
            features = block(functional.max_pool2d(features, 2))
        kept = tuple(side // self.stride for side in margins)
        for upsample, block in zip(self.upsamplers, self.decoder, strict=True):
            level = len(skips) - 1
            # What is left of the context, of that at this level.
            before = tuple(2 * side for side in kept)
            features = _cut(upsample(features), _difference(before, levels[level]))
            features = block(torch.cat([skips.pop(), features], dim=1))
            kept = levels[level]
        return self.head(_cut(features, kept))

    def _margins(
        self, margins: tuple[int, int, int, int]
    ) -> list[tuple[int, int, int, int]]:
        """Return the context that the decoder needs, from the finest level on."""
        needed, levels = 0, []
        for level in range(len(self.decoder)):
            # Two convolutions see two pixels beyond what is asked of them.
            needed += 2
            levels.append(tuple(min(needed, side // 2**level) for side in margins))
            needed = -(-needed // 2)
        return levels


def _less(
    levels: tuple[int, ...], margins: tuple[int, ...], level: int
) -> tuple[int, ...]:
    return _difference(tuple(side // 2**level for side in margins), levels)


def _difference(more: tuple[int, ...], less: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a - b for a, b in zip(more, less, strict=True))


def _cut(features: torch.Tensor, margins: tuple[int, ...]) -> torch.Tensor:
    """Return features without so many pixels at the top, left, bottom and right."""
    if not any(margins):
        return features
    top, left, bottom, right = margins
    height, width = features.shape[2:]
    return features[:, :, top : height - bottom, left : width - right]
