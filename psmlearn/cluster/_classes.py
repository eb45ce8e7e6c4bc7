# SPDX-License-Identifier: BSD-3-Clause
"""Classes of nuclei, named by stain: which are brown, which are blue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy import ndimage as ndi
from skimage.filters import apply_hysteresis_threshold

from psmlearn._images._artefacts import FOLD, artefact_mask
from psmlearn._images._staining import guess_staining, is_fluorescence
from psmlearn._images._stains import (
    check_stains,
    haematoxylin,
    optical_density,
    stain_amounts,
    stain_vector,
)
from psmlearn._warnings import warn_user
from psmlearn.cluster._features import pixel_noise, smooth, wide_mean
from psmlearn.exceptions import StainWarning
from psmlearn.io._batch import ImageBatch

# The name of a stain, or its optical densities.
Stain: TypeAlias = str | Sequence[float] | np.ndarray
Classes: TypeAlias = Literal["ki67", "he"] | Mapping[str, Stain]
# Class ids are the places in these, from 1. The last stain is the counterstain.
PRESETS: dict[str, dict[str, Stain]] = {
    "ki67": {"positive": "dab", "negative": "haematoxylin"},
    "he": {"nucleus": "haematoxylin"},
}
# Light of the empty slide: the palest pixels, if they are pale at all.
_PALE = 0.98
_LEAST_LIGHT = 0.5
# Pixels of these mean densities show a stain's colour: less is tissue or glass, more
# is too dark to have one. A brown haze is no chromogen: there it takes more.
_COUNTERSTAIN_RANGE = (0.08, 0.6)
_CHROMOGEN_RANGE = (0.2, 1.0)
_MARGIN = 0.04  # of the cosine
# Of a chromogen's object with its rim, what is not too pale or dark to have a colour
# has its colour in this part at least, or else the object is mostly of another colour,
# as where blue lies over brown: neither holds of neutral grains. Of 234 nuclei marked
# positive in 7 sharp fields none is taken for a grain, of 827 in 14 blurred ones 14.
_COLOUR_RANGE = (0.1, 1.0)
_LEAST_COLOURED = 0.02
_MOST_SPREAD = 0.12  # of the channels' densities, by their mean, of what is grey
_GREY = 0.6
_BLACK = 1.7
_LEAST_DEGREES = 10.0
_LEAST_PIXELS = 200
_MOST_DEGREES = 30.0
_STEP = 5
# A chromogen's pixels above this part of `min_stain` belong to a nucleus that passes.
_WEAK = 2 / 3
# Beyond this many times `min_stain` a pixel adds no more to its surroundings.
_CAP = 3.0
# Optical density, over all channels, beyond which 8 bits tell no colour; a black blot
# is a chromogen's where this part of it looks like it.
_SATURATED, _LEAST_KNOWN = 2.5, 0.3
# How near to a chromogen's nucleus nothing else is looked for, in micrometres.
_RIM = 0.5
# Its rim ends where its smoothed mask is below this.
_TRACE = 0.1
# The palest tenth of a fold has at least this part of its middle density.
_EVEN = 0.42
# The darkest counterstain is cut: it would hide pale nuclei beside it.
_DARKEST = 0.99
_LEAST_WEIGHT = 0.02


@dataclass
class StainedImage:
    """What the stains of an image tell.

    Attributes
    ----------
    chromogen : ndarray of shape (height, width), uint8
        Place (from 1) of the chromogen that stains a pixel's nucleus, 0 for none.
    chromogen_stains : ndarray of shape (n_chromogens, height, width), float32
        Amount of each chromogen, smoothed; cut where more says no more.
    full_stains : ndarray of shape (n_chromogens, height, width), float32
        The same amounts, not cut.
    unsaturated : ndarray of shape (n_chromogens, height, width), float32
        Optical density of the light that each chromogen takes least of: nuclei that
        are black in all other light are told apart by it.
    ground : ndarray of shape (height, width), bool
        Where neither a chromogen nor an artefact is near.
    counterstain : ndarray of shape (height, width), float32
        Amount of the counterstain, smoothed; the nuclei of chromogens painted over with
        what surrounds them, so that pale nuclei beside them are found.
    noise : float
        Deviation that single-pixel noise alone would leave in `counterstain`.
    vectors : ndarray of shape (n_stains, 3)
        The stains' densities.
    """

    chromogen: np.ndarray
    chromogen_stains: np.ndarray
    full_stains: np.ndarray
    unsaturated: np.ndarray
    ground: np.ndarray
    counterstain: np.ndarray
    noise: float
    vectors: np.ndarray


def resolve_classes(classes: str | Mapping[str, Stain]) -> dict[str, Stain]:
    """Return the stains by the names of their classes.

    Raises
    ------
    ValueError, TypeError
        If a preset or stain is unknown, or there are none, or too many.
    """
    if isinstance(classes, str):
        if classes not in PRESETS:
            raise ValueError(
                f"classes={classes!r} is not known; give one of {sorted(PRESETS)} or a "
                "dict of names and stains."
            )
        return PRESETS[classes]
    if not isinstance(classes, Mapping) or not 1 <= len(classes) <= 3:
        raise ValueError(
            "classes: a preset's name or a dict of 1 to 3 names and their stains is "
            f"expected, got {classes!r}"
        )
    if not all(isinstance(name, str) for name in classes):
        raise TypeError(f"classes: the names must be str, got {classes!r}")
    try:
        vectors = [stain_vector(stain) for stain in classes.values()]
    except (TypeError, ValueError) as error:
        raise type(error)(f"classes={classes!r}: {error}") from error
    if len(vectors) > 1:
        try:
            check_stains(vectors)
        except ValueError as error:
            raise ValueError(f"classes={classes!r}: {error}") from error
    return dict(classes)


def stain_image(
    colors: np.ndarray,
    stains: list[Stain],
    *,
    estimate: bool,
    min_stain: float,
    smoothing: float,
    background_sigma: float,
    pixel_size: float,
    clean: Callable[[np.ndarray], np.ndarray],
    shown: np.ndarray | None = None,
) -> StainedImage:
    """Unmix an image and find the nuclei of its chromogens; lengths in pixels.

    Parameters
    ----------
    colors : ndarray of shape (height, width, 3), float32
    stains : list of str or vectors
        Two or three, of the classes: chromogens first, the counterstain last.
    estimate : bool
        Whether the stains' colours are looked up in the image.
    min_stain : float
        Density of a chromogen above its surroundings that makes a nucleus its own.
    pixel_size : float
        Micrometres per pixel.
    clean : callable
        Takes a mask and returns it without specks and holes.
    shown : ndarray of shape (height, width), bool, default=None
        Where the image shows something.
    """
    light = _even_light(colors, shown)
    vectors = np.stack([stain_vector(stain) for stain in stains])
    if estimate:
        vectors = estimate_vectors(light, vectors)
    amounts = stain_amounts(light, vectors, clip=False)
    # Smoothed before they are cut at 0: noise around 0 is no stain.
    planes = [
        np.maximum(smooth(np.ascontiguousarray(amounts[..., k]), smoothing), 0)
        for k in range(len(stains))
    ]
    raw, counterstain = np.maximum(amounts[..., -1], 0), planes[-1]
    density = optical_density(light)
    darkness = smooth(np.linalg.norm(density, axis=-1), smoothing)
    is_black = darkness > _SATURATED
    chromogen = _find_chromogens(
        planes[:-1], min_stain, background_sigma, clean, is_black
    )
    for number, plane in enumerate(planes[:-1], start=1):
        own = is_black & (chromogen == number)
        plane[own] = np.maximum(plane, darkness)[own]
    artefacts = _find_artefacts(colors, smoothing, pixel_size)
    artefacts |= _find_neutral(chromogen, light, vectors, smoothing, _RIM / pixel_size)
    chromogen[artefacts] = 0
    if shown is not None:
        chromogen[~shown] = 0
        artefacts |= ~shown
    hidden = ((chromogen > 0) | artefacts).astype(np.float32)
    kept = smooth(hidden, _RIM / pixel_size) < _TRACE
    noise = pixel_noise(raw, counterstain, smoothing, kept)
    counterstain = _paint_over(counterstain, kept, background_sigma)
    # Beside a mass of a chromogen its nuclei would else seem faint.
    full = np.stack(planes[:-1])
    clear = [density[..., vector.argmin()] for vector in vectors[:-1]]
    return StainedImage(
        chromogen,
        np.minimum(full, np.float32(_CAP * min_stain)),
        full,
        np.stack(clear),
        kept,
        counterstain,
        noise,
        vectors,
    )


def _find_artefacts(
    colors: np.ndarray, smoothing: float, pixel_size: float
) -> np.ndarray:
    """Find pen, dirt and folds; a dense nest of nuclei, which has gaps, is no fold."""
    marks = artefact_mask(colors, pixel_size=pixel_size)
    found = (marks > 0) & (marks != FOLD)
    folds, n_folds = ndi.label(marks == FOLD)
    if n_folds:
        density = smooth(optical_density(colors).mean(axis=-1), smoothing)
        for number, box in enumerate(ndi.find_objects(folds), start=1):
            inside = folds[box] == number
            pale, middle = np.quantile(density[box][inside], (0.1, 0.5))
            found[box] |= inside & (pale > _EVEN * middle)
    return found


def _find_chromogens(
    planes: list[np.ndarray],
    min_stain: float,
    sigma: float,
    clean: Callable[[np.ndarray], np.ndarray],
    is_black: np.ndarray,
) -> np.ndarray:
    """Tell for each pixel whose chromogen stains its nucleus, from 1; 0 for none.

    What is black has no colour left to tell stains by: it goes with its surroundings.
    """
    chromogen = np.zeros(planes[0].shape, np.uint8)
    strongest = np.zeros(planes[0].shape, np.float32)
    for number, plane in enumerate(planes, start=1):
        capped = np.minimum(plane, np.float32(_CAP * min_stain))
        above = plane - wide_mean(capped, sigma)
        mask = apply_hysteresis_threshold(above, _WEAK * min_stain, min_stain)
        mask &= above > strongest
        chromogen[mask] = number
        strongest[mask] = above[mask]
    blots, n_blots = ndi.label(is_black)
    for number in range(1, len(planes) + 1) if n_blots else ():
        own = np.bincount(blots[chromogen == number], minlength=n_blots + 1)
        is_own = own > _LEAST_KNOWN * np.bincount(blots.ravel())
        is_own[0] = False
        chromogen[is_own[blots]] = number
    return _cleaned(chromogen, clean(chromogen > 0))


def _find_neutral(
    chromogen: np.ndarray,
    light: np.ndarray,
    vectors: np.ndarray,
    smoothing: float,
    rim: float,
) -> np.ndarray:
    """Find objects, dark enough for a chromogen's, that nowhere show its colour.

    A saturated nucleus is black within, but its rim has the colour; carbon, dust and
    ink are grey all over.
    """
    neutral = np.zeros(chromogen.shape, bool)
    if not chromogen.any():
        return neutral
    density = optical_density(
        ndi.gaussian_filter(light, (smoothing, smoothing, 0), mode="reflect")
    )
    mean = density.mean(axis=-1)
    is_readable = (mean > _COLOUR_RANGE[0]) & (mean < _COLOUR_RANGE[1])
    spread = density.max(axis=-1) - density.min(axis=-1)
    # What is darker has no colour left.
    weight = np.where((mean > _COLOUR_RANGE[0]) & (mean < _BLACK), mean**2, 0).ravel()
    grey = weight * (spread < _MOST_SPREAD * mean).ravel()
    for number, vector in enumerate(vectors[:-1], start=1):
        if vector.sum() / np.sqrt(3) > np.cos(np.deg2rad(_LEAST_DEGREES)):
            continue  # itself a grey
        away = (vector - 1 / np.sqrt(3)).astype(np.float32)
        is_own = is_readable & (density @ away > 0)  # nearer to it than to grey
        parts, n_parts = ndi.label(chromogen == number)
        grown = ndi.grey_dilation(parts, size=2 * max(1, round(rim)) + 1)
        n_readable = np.bincount(grown[is_readable], minlength=n_parts + 1)
        n_own = np.bincount(grown[is_own], minlength=n_parts + 1)
        total = np.bincount(parts.ravel(), weight, n_parts + 1)
        of_grey = np.bincount(parts.ravel(), grey, n_parts + 1)
        is_grey = (n_own < _LEAST_COLOURED * n_readable) & (of_grey > _GREY * total)
        is_grey[0] = False
        neutral |= is_grey[parts]
    return neutral


def _cleaned(chromogen: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Cut to a cleaned mask; pixels that cleaning added go to the nearest."""
    added = mask & (chromogen == 0)
    if added.any():
        rows, columns = ndi.distance_transform_edt(
            chromogen == 0, return_distances=False, return_indices=True
        )
        chromogen = chromogen[rows, columns]
    return np.where(mask, chromogen, 0).astype(np.uint8, copy=False)


def _even_light(colors: np.ndarray, shown: np.ndarray | None) -> np.ndarray:
    """Divide by the light of the empty slide, if there is some."""
    thinned = colors[::3, ::3].reshape(-1, 3)
    if shown is not None and shown[::3, ::3].any():
        thinned = thinned[shown[::3, ::3].ravel()]
    white = np.quantile(thinned, _PALE, axis=0)
    return np.minimum(colors / np.maximum(white, _LEAST_LIGHT).astype(np.float32), 1)


def estimate_vectors(light: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Look up the stains' densities in an image.

    A stain's direction is the median of the pixels that are clearly nearer to it than
    to the others (where stains mix, or saturate to black, none is). It stays as named
    where they are few or lie far away.

    Parameters
    ----------
    light : ndarray of shape (height, width, 3), float32
    vectors : ndarray of shape (n_stains, 3)
        The stains as named, at length 1; the counterstain last.
    """
    density = optical_density(light[::2, ::2]).reshape(-1, 3)
    mean = density.mean(axis=1)
    length = np.linalg.norm(density, axis=1)
    directions = density / np.maximum(length, 1e-6)[:, np.newaxis]
    likeness = directions @ vectors.T.astype(np.float32)
    found = vectors.copy()
    for k, vector in enumerate(vectors):
        last = k == len(vectors) - 1
        low, high = _COUNTERSTAIN_RANGE if last else _CHROMOGEN_RANGE
        margin = likeness[:, k] - np.delete(likeness, k, axis=1).max(axis=1)
        own = directions[(margin > _MARGIN) & (mean > low) & (mean < high)]
        if len(own) < _LEAST_PIXELS:
            continue
        median = np.median(own, axis=0)
        median /= np.linalg.norm(median)
        if median @ vector > np.cos(np.deg2rad(_MOST_DEGREES)):
            found[k] = median
    return found


def _paint_over(amount: np.ndarray, kept: np.ndarray, sigma: float) -> np.ndarray:
    """Replace what is not kept by the mean around it; cut the darkest of the rest."""
    values = amount[kept][::_STEP]
    if not values.size:
        return amount
    amount = np.minimum(amount, np.quantile(values, _DARKEST).astype(np.float32))
    if kept.all():
        return amount
    return np.where(kept, amount, _mean_around(amount, kept, sigma))


def drop_faint(
    ids: np.ndarray,
    stain: np.ndarray,
    ground: np.ndarray,
    *,
    least: float,
    sigma: float,
    diameter: float,
) -> np.ndarray:
    """Drop objects that hardly stand out; the smaller, the more they must.

    Parameters
    ----------
    ids : ndarray of shape (height, width), int32
    stain : ndarray of shape (height, width), float32
    ground : ndarray of shape (height, width), bool
        What counts as surroundings.
    least : float
        Density by which an object of a nucleus' size must exceed its surroundings;
        one of half the diameter must by twice as much.
    sigma : float
        Deviation of the blur that gives the surroundings, in pixels.
    diameter : float
        Of a nucleus, in pixels.
    """
    around = _mean_around(stain, ground, sigma)
    inside = ids > 0
    numbers = ids[inside]
    areas = np.bincount(numbers, minlength=1)
    excess = np.bincount(numbers, (stain - around)[inside], len(areas))
    sides = np.sqrt(areas) / diameter
    seen = excess / np.maximum(areas, 1) * np.minimum(sides, 1) >= least
    return np.where(seen[ids], ids, 0)


def _mean_around(values: np.ndarray, kept: np.ndarray, sigma: float) -> np.ndarray:
    """Mean of the kept pixels around each pixel."""
    weight = wide_mean(kept.astype(np.float32), sigma)
    around = wide_mean(np.where(kept, values, np.float32(0)), sigma)
    around /= np.maximum(weight, np.float32(_LEAST_WEIGHT))
    return around


def single_stain(colors: np.ndarray, stain: Stain) -> np.ndarray:
    """Return the amount of one stain, told from haematoxylin, or from eosin."""
    if isinstance(stain, str) and stain == "haematoxylin":
        return haematoxylin(colors)
    vector = stain_vector(stain)
    near = vector @ stain_vector("haematoxylin") > np.cos(np.deg2rad(_MOST_DEGREES))
    other = "eosin" if near else "haematoxylin"
    return np.ascontiguousarray(stain_amounts(colors, [vector, other])[..., 0])


_STAININGS = {
    "he": "haematoxylin and eosin: pink, with no brown",
    "fluorescence": "fluorescence: bright on a dark ground",
}


def warn_of_staining(
    images: ImageBatch,
    classes: Classes | None,
    caller: str,
) -> None:
    """Warn of images that are no brightfield, or cannot hold the classes' stains."""
    n_classes = 0 if classes is None else len(resolve_classes(classes))
    kinds = dict(_STAININGS)
    if n_classes < 2 or classes is None:
        del kinds["he"]
    elif set(map(str, resolve_classes(classes).values())) != {"dab", "haematoxylin"}:
        del kinds["he"]  # a stain of one's own may be pink
    found = []
    for index in range(len(images)):
        light, shown = _colours(images[index]), images.shown(index)
        if n_classes < 2:
            staining = "fluorescence" if is_fluorescence(light, shown) else ""
        else:
            staining = guess_staining(light, shown)
        found.append(kinds.get(staining))
    wrong = [i for i, kind in enumerate(found) if kind]
    if not wrong:
        return
    first = wrong[0]
    told = f"{caller}: {len(wrong)} of {len(images)} images do not look like "
    if n_classes < 2:
        told += (
            f"brightfield; {images.names[first]} looks like {found[first]}. Nuclei are "
            "looked for where it is dark: if they are bright, masks of such images "
            "mean nothing; leave them out, or invert them (1 - image)."
        )
    else:
        told += (
            f"the stains of classes={classes!r}; {images.names[first]} looks like "
            f"{found[first]}. Classes of such images mean nothing; leave them out, or "
            "use classes=None."
        )
    warn_user(told, StainWarning)


def _colours(image: np.ndarray) -> np.ndarray:
    """Return an image without its map."""
    return image[..., :3] if image.shape[2] >= 3 else image[..., :1]
