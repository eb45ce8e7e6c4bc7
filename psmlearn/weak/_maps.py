# SPDX-License-Identifier: BSD-3-Clause
"""Class activation maps: from raw maps, their losses, and regions cut from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from skimage.filters import apply_hysteresis_threshold
from torch.nn import functional

from psmlearn._images._regions import connected_regions, regions_of_classes
from psmlearn._parameters import is_number

__all__ = [
    "check_threshold",
    "class_maps",
    "cut",
    "grow",
    "image_logits",
    "label_loss",
    "level_logits",
    "passing",
    "suppression_loss",
    "surely_above",
]

# Where an image is known to show a class, this part of the greatest value of its map
# is enough for a pixel, and what reaches that one nowhere is no object.
_OF_PEAK, _SURE_OF_PEAK = 0.75, 0.9


def image_logits(raw: torch.Tensor) -> torch.Tensor:
    """Return the logits of an image, (n, 1 + n_classes): the means of its maps."""
    return raw.float().mean(dim=(2, 3))


def level_logits(raw: Sequence[torch.Tensor]) -> np.ndarray:
    """Return the logits (n, n_levels, 1 + n_classes) that raw maps tell."""
    logits = torch.stack([image_logits(level).float() for level in raw])
    return logits.permute(1, 0, 2).cpu().numpy()


def class_maps(
    raw: Sequence[torch.Tensor], size: Sequence[int], scale: str = "margin"
) -> torch.Tensor:
    """Multiply the maps of all levels, each scaled to [0, 1].

    The scale of an image is joint: over background, classes and pixels. So a class
    that is absent stays dark, which a scale of its own would not allow.

    Parameters
    ----------
    raw : sequence of tensor of shape (n, 1 + n_classes, height, width)
        The maps of each level, of any size.
    size : sequence of int
        Height and width of the result.
    scale : {"margin", "raw"}, default="margin"
        From the least to the greatest value of the maps ("raw"), or of the maps less
        their mean over background and classes ("margin").

    Returns
    -------
    tensor of shape (n, 1 + n_classes, *size)
        In [0, 1]; background first.
    """
    product = torch.ones((), device=raw[0].device)
    for maps in raw:
        maps = functional.interpolate(
            maps.float(), size=size, mode="bilinear", align_corners=False
        )
        if scale == "margin":
            # What is added to all maps at once changes no label: a network is free to
            # tell a class by a dark background alone, and its map would show nothing.
            maps = maps - maps.mean(dim=1, keepdim=True)
        low = maps.amin(dim=(1, 2, 3), keepdim=True)
        high = maps.amax(dim=(1, 2, 3), keepdim=True)
        product = product * (maps - low) / (high - low).clamp_min(1e-6)
    return product


def label_loss(
    logits: torch.Tensor,
    presence: torch.Tensor,
    weights: torch.Tensor,
    *,
    exclusive: bool,
    share: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross entropy of image labels, weighted by class.

    Parameters
    ----------
    logits : tensor of shape (n, 1 + n_classes)
        Background first.
    presence : tensor of shape (n, n_classes)
        1 where the image shows the class, else 0.
    weights : tensor of shape (1 + n_classes,) or (2, n_classes)
        Of the background and each class where they exclude each other; else of
        absence and presence of each class.
    exclusive : bool
        Whether an image shows one class at most. Else each class is told from the
        background by itself.
    share : tensor of shape (n,) or (n, n_classes), default=None
        How much each term counts, in place of the mean over all.
    """
    logits = logits.float()
    if exclusive:
        place = torch.where(presence.any(1), presence.float().argmax(1) + 1, 0)
        values = functional.cross_entropy(logits, place, reduction="none")
        weight = weights[place]
    else:
        margin = logits[:, 1:] - logits[:, :1]
        values = functional.binary_cross_entropy_with_logits(
            margin, presence.float(), reduction="none"
        )
        weight = torch.where(presence > 0, weights[1], weights[0])
    if share is not None:
        weight = weight * share
    # 0 where nothing counts: neither a division by zero nor a wrong direction.
    return (values * weight).sum() / weight.sum().clamp_min(1e-6)


def suppression_loss(maps: torch.Tensor, presence: torch.Tensor) -> torch.Tensor:
    """Return the mean of the maps of what an image does not show.

    The background counts as shown where no class is.

    Parameters
    ----------
    maps : tensor of shape (n, 1 + n_classes, height, width)
        In [0, 1], background first.
    presence : tensor of shape (n, n_classes)
    """
    shown = torch.cat([(presence == 0).all(1, keepdim=True), presence > 0], dim=1)
    absent = (~shown).to(maps.dtype)
    return (maps.mean(dim=(2, 3)) * absent).sum() / absent.sum().clamp_min(1)


def check_threshold(threshold: float | Sequence[float]) -> tuple[float, float]:
    """Return what a pixel and what its region must pass, or say what is wrong."""
    given = threshold.tolist() if isinstance(threshold, np.ndarray) else threshold
    pair: list[Any] = list(given) if isinstance(given, tuple | list) else [given] * 2
    low, high = np.nan, np.nan
    if len(pair) == 2 and all(is_number(each) for each in pair):
        low, high = (float(each) for each in pair)
    if not 0 < low <= high < 1:
        raise ValueError(
            f"threshold={threshold!r}: a number between 0 and 1 is expected, or two, "
            "the second of which a region must pass somewhere, such as (0.6, 0.7)."
        )
    return low, high


def passing(maps: np.ndarray, low: float, high: float) -> np.ndarray:
    """Tell where maps (height, width, n_classes) pass `low`, in regions passing `high`.

    By sides: what touches at a corner alone is another region.
    """
    if low == high:
        return maps > np.float32(low)
    ends = np.float32(low), np.float32(high)
    above = [
        apply_hysteresis_threshold(plane, *ends) for plane in np.moveaxis(maps, -1, 0)
    ]
    return np.stack(above, axis=-1)


def surely_above(maps: np.ndarray, threshold: float) -> np.ndarray:
    """Tell where maps (height, width, n_classes) are high, near what is highest.

    By sides: what touches at a corner alone is a speck.
    """
    peaks = maps.max(axis=(0, 1))
    levels = np.minimum(np.float32(threshold), _OF_PEAK * peaks)
    above = [
        apply_hysteresis_threshold(maps[..., k], levels[k], _SURE_OF_PEAK * peaks[k])
        for k in range(maps.shape[2])
    ]
    return np.stack(above, axis=-1)


def cut(maps: np.ndarray, above: np.ndarray, min_area: float) -> np.ndarray:
    """Return the regions of maps (height, width, n_classes) where they are `above`."""
    if maps.shape[2] == 1:
        return connected_regions(above[..., 0], min_area)
    classes = range(1, maps.shape[2] + 1)
    place = np.where(above, maps, -1).argmax(axis=-1)
    return regions_of_classes(above.max(axis=-1), place, classes, min_area)


def grow(
    maps: torch.Tensor, side: tuple[int, int], shape: tuple[int, int]
) -> np.ndarray:
    """Bring maps (n_classes, size, size) to an image, (height, width, n_classes)."""
    maps = maps[:, : side[0], : side[1]].float()
    if tuple(shape) != tuple(side):
        maps = functional.interpolate(
            maps[None], size=shape, mode="bilinear", align_corners=False
        )[0]
    return maps.permute(1, 2, 0).contiguous().numpy()
