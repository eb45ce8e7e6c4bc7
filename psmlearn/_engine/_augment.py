# SPDX-License-Identifier: BSD-3-Clause
"""Random changes of training patches, on tensors (n, channels, height, width)."""

from __future__ import annotations

import torch
from skimage.color import hed_from_rgb, rgb_from_hed
from torch.nn import functional

__all__ = [
    "appearance_randomisation",
    "dihedral",
    "noise_and_blur",
    "random_affine",
    "random_dihedral",
    "stain_jitter",
]

_MIN_INTENSITY = 1 / 255
# Degrees, logarithm of the scale, and part of the side, at most.
_TURN, _SCALE, _SHIFT = 15.0, 0.125, 0.025


def dihedral(images: torch.Tensor, element: int) -> torch.Tensor:
    """Apply one of the eight flips and rotations to the last two dimensions.

    Elements 0 to 3 are quarter turns, 4 to 7 the same after a mirroring of rows.
    """
    if element >= 4:
        images = images.flip(-2)
    return torch.rot90(images, element % 4, (-2, -1))


def random_dihedral(
    tensors: list[torch.Tensor], generator: torch.Generator
) -> list[torch.Tensor]:
    """Flip and turn each sample at random, alike in all `tensors` (square sides)."""
    elements = torch.randint(8, (len(tensors[0]),), generator=generator).tolist()

    def turn(tensor: torch.Tensor) -> torch.Tensor:
        pairs = zip(tensor, elements, strict=True)
        return torch.stack([dihedral(sample, element) for sample, element in pairs])

    return [turn(tensor) for tensor in tensors]


def random_affine(
    images: torch.Tensor, planes: list[torch.Tensor], generator: torch.Generator
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Turn, scale and shift each sample a little.

    What comes in from outside repeats the border of the image, and is -1 in planes.

    Parameters
    ----------
    images : tensor of shape (n, channels, height, width)
        Square; interpolated.
    planes : list of tensor of shape (n, height, width), int64
        Ids or classes, which are not.
    generator : torch.Generator
        Of the CPU.
    """
    turn, scale, *shift = _uniform((4, len(images)), -1, 1, images, generator)
    angle, factor = torch.deg2rad(_TURN * turn), torch.exp(_SCALE * scale)
    cosine, sine = factor * torch.cos(angle), factor * torch.sin(angle)
    # Places go from -1 to 1: twice the part of the side.
    right, down = (2 * _SHIFT * part for part in shift)
    matrix = torch.stack([cosine, -sine, right, sine, cosine, down], 1).view(-1, 2, 3)
    with torch.autocast(images.device.type, enabled=False):  # places need all bits
        grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    # As padding_mode="border", which not all devices know.
    rim = 1 - 1 / images.shape[-1]
    inner = grid.clamp(-rim, rim)
    images = functional.grid_sample(images, inner, align_corners=False)
    if planes:
        # Zeros are what comes in.
        stacked = torch.stack(planes, 1) + 1
        moved = functional.grid_sample(
            stacked.to(images.dtype), grid, mode="nearest", align_corners=False
        )
        planes = list((moved.round().long() - 1).unbind(1))
    return images, planes


def _uniform(
    shape: tuple[int, ...], low: float, high: float, like: torch.Tensor, generator
) -> torch.Tensor:
    values = torch.rand(shape, generator=generator) * (high - low) + low
    return values.to(like.device)


def stain_jitter(
    images: torch.Tensor, strength: float, generator: torch.Generator
) -> torch.Tensor:
    """Vary the amounts and colours of the stains in optical density.

    Parameters
    ----------
    images : tensor of shape (n, channels, height, width)
        In [0, 1]. With three channels the haematoxylin, eosin and DAB amounts are
        scaled and shifted and the colour axes mixed slightly; with another number
        of channels each channel's density is scaled and shifted by itself.
    strength : float
        0 changes nothing; 1 scales a stain by up to 25 per cent.
    generator : torch.Generator
        Of the CPU.
    """
    if strength == 0:
        return images
    n, n_channels = images.shape[:2]
    density = -torch.log10(images.clamp_min(_MIN_INTENSITY))
    scale = _uniform((n, n_channels), -0.25, 0.25, images, generator) * strength + 1
    shift = _uniform((n, n_channels), -0.02, 0.02, images, generator) * strength
    if n_channels == 3:
        to_stain = torch.as_tensor(hed_from_rgb, dtype=images.dtype).to(images.device)
        to_rgb = torch.as_tensor(rgb_from_hed, dtype=images.dtype).to(images.device)
        mixing = torch.eye(3).to(images) + strength * _uniform(
            (n, 3, 3), -0.05, 0.05, images, generator
        )
        # One matrix and one shift for each image: stains, scaled, back to colours.
        matrix = torch.einsum("ij,nj,jk,nkl->nil", to_stain, scale, to_rgb, mixing)
        shift = torch.einsum("nj,jk,nkl->nl", shift, to_rgb, mixing)
        density = torch.einsum("nchw,ncd->ndhw", density, matrix)
        density = density + shift[:, :, None, None]
    else:
        density = density * scale[:, :, None, None] + shift[:, :, None, None]
    return torch.pow(10.0, -density.clamp_min(0))


def noise_and_blur(
    images: torch.Tensor, strength: float, generator: torch.Generator
) -> torch.Tensor:
    """Blur three samples in ten slightly and add a little Gaussian noise."""
    if strength == 0:
        return images
    blurred = functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    chosen = torch.rand(len(images), generator=generator) < 0.3
    images = torch.where(chosen.to(images.device)[:, None, None, None], blurred, images)
    amount = _uniform((len(images), 1, 1, 1), 0, 0.02 * strength, images, generator)
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    return (images + amount * noise).clamp(0, 1)


def _surroundings(images: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
    """Return the mean background colour around each pixel, over some 80 pixels."""
    # A quarter of the resolution is enough for means over so large a window.
    weight = functional.avg_pool2d(background, 4, ceil_mode=True)
    colour = functional.avg_pool2d(images * background, 4, ceil_mode=True)

    def smooth(x: torch.Tensor) -> torch.Tensor:
        for _ in range(2):
            x = functional.avg_pool2d(x, 11, 1, 5, count_include_pad=False)
        return x

    mean = smooth(colour) / smooth(weight).clamp_min(1e-3)
    return functional.interpolate(mean, size=images.shape[-2:], mode="bilinear")


def appearance_randomisation(
    images: torch.Tensor,
    labels: torch.Tensor,
    distance: torch.Tensor,
    probability: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Make the inside of some objects pale, so that their outline alone tells them.

    Pseudo-labels know solid dark nuclei best. Blending an object's inside towards
    the colour around it, through smooth noise and with the rim kept, turns a solid
    nucleus into a vesicular one whose outline is known.

    Parameters
    ----------
    images : tensor of shape (n, channels, height, width)
        In [0, 1].
    labels : tensor of shape (n, height, width), int64
        Ids of the objects, 0 background, -1 unknown.
    distance : tensor of shape (n, height, width)
        Inner distance, 1 at an object's centre, 0 outside.
    probability : float
        Share of the objects that are changed.
    generator : torch.Generator
        Of the CPU.
    """
    if probability == 0:
        return images
    n, _, height, width = images.shape
    background = (labels == 0).to(images)[:, None]
    surroundings = _surroundings(images, background)
    ids = labels.clamp_min(0)
    n_ids = int(ids.max()) + 1
    chosen = torch.rand((n, n_ids), generator=generator) < probability
    amount = torch.rand((n, n_ids), generator=generator) * chosen
    amount[:, 0] = 0
    rim = torch.rand((n, n_ids), generator=generator) * 0.5
    noise = torch.rand((n, 1, -(-height // 6), -(-width // 6)), generator=generator)
    noise = functional.interpolate(
        noise.to(images.device), size=(height, width), mode="bilinear"
    )[:, 0]

    def spread(table: torch.Tensor) -> torch.Tensor:
        return table.to(images.device).gather(1, ids.flatten(1)).view_as(ids)

    ramp = ((distance - spread(rim)) / 0.3).clamp(0, 1)
    blend = (spread(amount) * ramp * (0.4 + 1.2 * noise)).clamp(0, 1)[:, None]
    return images * (1 - blend) + surroundings * blend
