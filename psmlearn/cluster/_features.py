# SPDX-License-Identifier: BSD-3-Clause
"""Pixels to features: the map and the colour of an image, fused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np
from scipy import ndimage as ndi

from psmlearn._images._lengths import within_image
from psmlearn._images._stains import haematoxylin

if TYPE_CHECKING:
    from psmlearn.cluster._classes import StainedImage

# Deviations below these are no signal: an even map or image is not blown up.
_LEAST_MAP = 0.02
_LEAST_STAIN = 0.02
_TAIL = 0.03
_N_QUANTILE = 100_000
CHANNELS = {
    1: "grey",
    2: "grey and a map",
    3: "RGB",
    4: "RGB and a map",
}


@dataclass
class PixelFeatures:
    """What an image gives to clustering, and to naming its clusters.

    Attributes
    ----------
    planes : ndarray of shape (n_features, n_pixels), float32
        The features; not yet on one scale for "concat".
    stain : ndarray of shape (height, width), float32
        Smoothed amount of haematoxylin.
    map : ndarray of shape (height, width), float32 or None
    noise : float
        Deviation that single-pixel noise alone would leave in `stain`.
    raw : ndarray of shape (height, width), float32, or None
        The amount of haematoxylin before it was smoothed; None with several stains.
    stained : StainedImage or None
        What several stains tell, where they tell classes.
    shown : ndarray of shape (height, width), bool, or None
        Where the image shows something; the rest counts for nothing.
    score : ndarray of shape (n_pixels,), float32
        How much a pixel looks like a nucleus, by stain and map; clusters are named
        by it. There after `put_on_scale`.
    """

    planes: np.ndarray
    stain: np.ndarray
    map: np.ndarray | None
    noise: float
    raw: np.ndarray | None = None
    stained: StainedImage | None = None
    shown: np.ndarray | None = None
    score: np.ndarray = field(init=False)

    @property
    def seen_planes(self) -> np.ndarray:
        """The features of the pixels that show something."""
        return self.seen(self.planes)

    def seen(self, values: np.ndarray) -> np.ndarray:
        """Return those of the pixels that show something; pixels are the last axis."""
        return values if self.shown is None else values[..., self.shown.ravel()]

    def put_on_scale(self, scale: FeatureScale | None, map_weight: float) -> None:
        """Scale the planes of "concat" in place and score the pixels."""
        if scale is not None:
            self.score = scale.apply(self.planes).sum(axis=0)
            return
        means = [self.stain] if self.map is None else [self.stain, self.map]
        planes = np.stack([plane.ravel() for plane in means])
        own = fit_scale(self.seen(planes), map_weight)
        self.score = own.apply(planes).sum(axis=0)


def split_map(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Take a stacked image apart: colours, and the map if it has one."""
    if image.shape[-1] in (2, 4):
        return image[..., :-1], image[..., -1]
    return image, None


def jet_table() -> np.ndarray:
    """Return the colours of the jet ramp, (256, 3) uint8 in the order blue, green, red.

    Each colour is a trapezoid of slope 4 over [0, 1]: blue is full around 1/4, green
    around 1/2, red around 3/4.
    """
    x = np.arange(256) / 255
    tops = np.array([0.25, 0.5, 0.75])
    ramp = np.clip(1.5 - 4 * np.abs(x[:, np.newaxis] - tops), 0, 1)
    return np.rint(np.round(255 * ramp, 6)).astype(np.uint8)


def jet_planes(colors: np.ndarray, heat: np.ndarray, image_weight: float) -> np.ndarray:
    """Fuse as the paper does: heat colours plus the weighted image, times 255.

    The heat colours come in the order blue, green, red, the image's in red, green,
    blue: the first plane is heat-blue plus red.
    """
    table = jet_table().astype(np.float32)
    level = np.clip(heat * np.float32(255), 0, 255).astype(np.uint8)
    fused = table[level]
    fused += np.float32(255 * image_weight) * colors
    return np.ascontiguousarray(fused.reshape(-1, 3).T)


def wide_mean(plane: np.ndarray, sigma: float) -> np.ndarray:
    """Blur widely: three running means in place of a Gaussian of deviation `sigma`."""
    sigma = within_image(sigma, plane.shape)
    size = int((np.sqrt(4 * sigma**2 + 1) - 1) / 2) * 2 + 1  # odd: no shift
    # The variances of three means add up to sigma**2, if some are 2 pixels wider.
    n_wider = round((12 * sigma**2 - 3 * (size**2 - 1)) / (4 * size + 4))
    for n in range(3):
        width = size + 2 * (n < n_wider)
        plane = ndi.uniform_filter(plane, width, mode="reflect")
    return plane


def smooth(plane: np.ndarray, sigma: float) -> np.ndarray:
    """Blur by a Gaussian of deviation `sigma` pixels; 0 for none."""
    if sigma <= 0:
        return plane
    sigma = within_image(sigma, plane.shape)
    return ndi.gaussian_filter(plane, sigma, mode="reflect", truncate=3.0)


def concat_planes(
    stain: np.ndarray,
    heat: np.ndarray | None,
    *,
    background_sigma: float,
    background_weight: float,
    is_relative: bool = False,
) -> np.ndarray:
    """Stack the amount of haematoxylin above its surroundings and the map.

    With `is_relative` the excess counts less in darker surroundings: else the edge of
    a section, far darker than any nucleus, has the clusters to itself.
    """
    local = stain
    if background_weight > 0:
        background = wide_mean(stain, background_sigma)
        local = stain - np.float32(background_weight) * background
        if is_relative:
            local /= 1 + background
    planes = [local.ravel()]
    if heat is not None:
        planes.append(heat.ravel())
    return np.stack(planes)


@dataclass
class FeatureScale:
    """Limits and factors that put the "concat" features on one scale.

    Attributes
    ----------
    low, high : ndarray of shape (n_features, 1), float32
        Values beyond are cut: a few very dark pixels (pigment, folds, dust) would
        else draw a centre to themselves.
    factor : ndarray of shape (n_features, 1), float32
    """

    low: np.ndarray
    high: np.ndarray
    factor: np.ndarray

    def apply(self, planes: np.ndarray) -> np.ndarray:
        """Scale `planes` in place and return them."""
        np.clip(planes, self.low, self.high, out=planes)
        planes *= self.factor
        return planes


def fit_scale(planes: np.ndarray, map_weight: float) -> FeatureScale:
    """Learn limits and factors from pixels, given as (n_features, n_pixels)."""
    step = max(1, planes.shape[1] // _N_QUANTILE)
    thinned = planes[:, ::step]
    low, high = np.quantile(thinned, (_TAIL, 1 - _TAIL), axis=1, keepdims=True)
    cut = np.clip(thinned, low, high)
    deviations = cut.std(axis=1, keepdims=True)
    least = np.array([[_LEAST_STAIN], [_LEAST_MAP]])[: len(planes)]
    weights = np.array([[1.0], [map_weight]])[: len(planes)]
    factor = weights / np.maximum(deviations, least)
    return FeatureScale(*(x.astype(np.float32) for x in (low, high, factor)))


def pixel_features(
    image: np.ndarray,
    *,
    fusion: str,
    smoothing: float,
    background_sigma: float,
    background_weight: float,
    image_weight: float,
    amount: Callable[[np.ndarray], np.ndarray] = haematoxylin,
    unmix: Callable[[np.ndarray], StainedImage] | None = None,
    shown: np.ndarray | None = None,
) -> PixelFeatures:
    """Compute the features of one image; lengths in pixels.

    Parameters
    ----------
    image : ndarray of shape (height, width, 1 to 4), float32
        Grey or RGB, with a map behind it for 2 and 4 channels.
    amount : callable, default=haematoxylin
        Gives the amount of the stain of nuclei from the colours.
    unmix : callable, default=None
        Given where several stains tell classes; then `amount` is not asked. Takes the
        colours and gives a `StainedImage`.
    shown : ndarray of shape (height, width), bool, default=None
        Where the image shows something.
    """
    colors, heat = split_map(image)
    raw, stained = None, None
    if unmix is None:
        raw = amount(colors)
        stain = smooth(raw, smoothing)
        noise = pixel_noise(raw, stain, smoothing, shown)
    else:
        stained = unmix(np.ascontiguousarray(colors))
        stain, noise = stained.counterstain, stained.noise
    if fusion == "jet":
        # The estimator has seen to it that there is a map.
        planes = jet_planes(colors, cast(np.ndarray, heat), image_weight)
    else:
        planes = concat_planes(
            stain,
            None if heat is None else smooth(np.ascontiguousarray(heat), smoothing),
            background_sigma=background_sigma,
            background_weight=background_weight,
            is_relative=unmix is not None,
        )
    return PixelFeatures(planes, stain, heat, noise, raw, stained, shown)


def pixel_noise(
    raw: np.ndarray,
    smoothed: np.ndarray,
    sigma: float,
    where: np.ndarray | None = None,
) -> float:
    """Deviation that white noise, as strong as what smoothing took, leaves."""
    if sigma <= 0:
        return 0.0
    taken = raw[::3, ::3] - smoothed[::3, ::3]
    if where is not None:
        taken = taken[where[::3, ::3]]
        if not taken.size:
            return 0.0
    kept = 1 / (2 * np.sqrt(np.pi) * sigma)
    return float(taken.std()) * min(kept, 1.0)
