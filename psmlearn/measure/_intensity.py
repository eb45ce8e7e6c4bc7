# SPDX-License-Identifier: BSD-3-Clause
"""Stain intensity of every nucleus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from psmlearn._images._checks import as_label_image
from psmlearn._images._stains import optical_density, stain_amounts
from psmlearn._parameters import as_list, as_numbers, check_number
from psmlearn._typing import Image, Images, Points, Regions
from psmlearn.io import ImageBatch, check_images
from psmlearn.io._masks import refuse_other_sizes
from psmlearn.io._paths import is_path
from psmlearn.io._point_checks import (
    as_points,
    load_points_or_mask,
    tell_points_beside,
)
from psmlearn.measure._cells import list_cells, list_regions, look_up
from psmlearn.metrics._centres import measure_objects
from psmlearn.metrics._object_classes import number_ids

Intensities: TypeAlias = np.ndarray | Sequence[np.ndarray | Sequence[float] | float]

_EXPECTED = "a list with the intensities of each image, as stain_intensity gives them"
_EXPECTED_ONE = (
    "a list of finite numbers, one a nucleus (NaN for those that do not count)"
)
# Pixels below points looked at together.
_CHUNK = 1 << 20
# A radius that is allowed whatever the size of the image.
_LEAST_LIMIT = 100


def stain_intensity(
    X: Images | Image,
    y: Points,
    *,
    stain: str | Sequence[float] = "dab",
    counterstain: str | Sequence[float] = "haematoxylin",
    regions: Regions | None = None,
    radius: float | None = None,
) -> list[np.ndarray]:
    """Measure the mean amount of a stain in every nucleus.

    The image is unmixed into the two stains (Ruifrok and Johnston [1]_), and the
    amount of the one is averaged over the pixels of each nucleus. It is the "Nucleus:
    DAB OD mean" of QuPath, for the same stain vectors.

    Parameters
    ----------
    X : ndarray of shape (n_images, height, width, n_channels), list, image or path
        Images or paths, with three channels; with one (grey) it is the optical
        density that is averaged. One image alone, (height, width[, channels]), or
        one path will do.
    y : list of arrays or paths, array or path
        For each image a label image (height, width) or (height, width, 2), or points
        (n_points, 2) or (n_points, 3) in pixels. Files are label images, or tables
        (.csv) of points.
    stain, counterstain : str or three floats, default="dab" and "haematoxylin"
        Names ("dab", "haematoxylin", "eosin") or optical densities of red, green and
        blue light.
    regions : list of arrays or paths, array or None, default=None
        Masks (height, width), one for each image; nuclei whose centre lies outside
        get NaN, and so do not count in any score.
    radius : float, default=None
        Of the disc around each point, in pixels; needed for points, such as 5 at
        0.25 micrometres per pixel.

    Returns
    -------
    intensity : list of ndarray of shape (n_nuclei,), float64
        For each image the mean optical density of each nucleus, in the order of the
        ids (as in :func:`nuclei_table`) or of the points.

    Raises
    ------
    ValueError
        If numbers or sizes differ, the stains cannot be told apart, or points come
        without a radius.

    References
    ----------
    .. [1] A. C. Ruifrok and D. A. Johnston, "Quantification of histochemical
       staining by color deconvolution", Analytical and Quantitative Cytology and
       Histology 23(4), 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.measure import stain_intensity
    >>> image = np.ones((8, 8, 3))
    >>> image[2:5, 2:5] = 10 ** -np.array([0.27, 0.57, 0.78])  # brown
    >>> labels = np.zeros((8, 8), dtype=np.int32)
    >>> labels[2:5, 2:5] = 1
    >>> stain_intensity([image], [labels])[0].round(2)
    array([1.])
    """
    images = _check_images(X)
    named = list_cells(y)
    if len(named) != len(images):
        raise ValueError(
            f"y holds {len(named)} masks or sets of points, but there are "
            f"{len(images)} images; expected one for each image."
        )
    if radius is not None:
        check_number(radius, "radius", 0)
    planes = list_regions(regions, len(named), images.shapes)
    measured, placed = [], []
    for index, ((name, item), plane) in enumerate(zip(named, planes, strict=True)):
        amount = _amount(images[index], stain, counterstain)
        shown = images.shown(index)
        if shown is not None:
            amount[~shown] = np.nan
        values, points = _measure(amount, item, name, radius)
        placed.append((name, points, amount.shape))
        if plane is not None:
            _check_size(plane.shape, amount.shape, f"regions[{index}]")
            values[look_up(plane, points) <= 0] = np.nan
        measured.append(values)
    tell_points_beside(placed)
    return measured


def _check_images(X: Images | Image) -> ImageBatch:
    """Check the images; one alone is a list of one."""
    images: Any = X
    if is_path(X):
        images = [X]
    elif isinstance(X, np.ndarray) and X.dtype.kind in "biuf":
        grey_or_colours = X.ndim == 3 and X.shape[2] in (1, 3, 4)
        images = [X] if X.ndim == 2 or grey_or_colours else X
    return check_images(images, caller="stain_intensity")


def check_intensity(
    intensity: Intensities | None, is_inside: list[np.ndarray]
) -> list[np.ndarray] | None:
    """Take the intensities of the nuclei inside, image by image."""
    if intensity is None:
        return None
    values = as_intensities(intensity)
    if len(values) != len(is_inside):
        raise ValueError(
            f"intensity holds {len(values)} images, but y holds {len(is_inside)}."
        )
    kept = []
    for index, (one, inside) in enumerate(zip(values, is_inside, strict=True)):
        if len(one) != len(inside):
            raise ValueError(
                f"intensity[{index}] holds {len(one)} values, but y[{index}] holds "
                f"{len(inside)} nuclei; measure these with stain_intensity."
            )
        kept.append(one[inside])
    return kept


def as_intensities(intensity: Intensities) -> list[np.ndarray]:
    """Bring intensities into a list of float arrays, one an image."""
    parts = as_list(intensity, "intensity", _EXPECTED)
    if isinstance(intensity, np.ndarray) and intensity.ndim == 1:
        is_one = intensity.dtype != object
    else:
        is_one = not isinstance(intensity, np.ndarray) and all(map(np.isscalar, parts))
    if is_one and (parts or isinstance(intensity, np.ndarray)):
        parts = [intensity if isinstance(intensity, np.ndarray) else parts]
    arrays = []
    for index, part in enumerate(parts):
        one = as_numbers(part, f"intensity[{index}]", _EXPECTED_ONE)
        if one.ndim != 1 or np.isinf(one).any():
            raise ValueError(
                f"intensity[{index}] must be {_EXPECTED_ONE}, got shape {one.shape}."
            )
        arrays.append(one)
    return arrays


def _amount(
    image: np.ndarray,
    stain: str | Sequence[float],
    counterstain: str | Sequence[float],
) -> np.ndarray:
    if image.shape[2] == 1:
        return optical_density(image)[..., 0]
    return stain_amounts(image[..., :3], [stain, counterstain])[..., 0]


def _measure(
    amount: np.ndarray, item: Any, name: str, radius: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean amount of each nucleus of one image, and its centre."""
    refuse_other_sizes((name, item), ("its image", amount))
    item = load_points_or_mask(item, name)
    if item.shape == (0,):
        item = np.empty((0, 2))
    if item.ndim == 2 and item.shape[1] in (2, 3) and item.shape != amount.shape:
        points = as_points(item, name)[:, :2]
        if radius is None:
            raise ValueError(
                f"{name} holds points; give the radius in pixels of the disc around "
                "each, such as radius=5."
            )
        largest = max(*amount.shape, _LEAST_LIMIT)
        if radius > largest:
            raise ValueError(
                f"radius is {radius:g} pixels, but the image of {name} is "
                f"{amount.shape} (height, width); expected at most {largest}, such as "
                "radius=5."
            )
        return _disc_means(amount, points, radius), points
    labels = as_label_image(item, name)
    plane = labels[..., 0] if labels.ndim == 3 else labels
    _check_size(plane.shape, amount.shape, name)
    rows, columns = np.nonzero(plane > 0)
    ids, index = number_ids(plane[rows, columns])
    points, _ = measure_objects(plane, name)
    return object_means(amount[rows, columns], index, ids.size), points


def object_means(values: np.ndarray, index: np.ndarray, n: int) -> np.ndarray:
    """Mean of each object's values that are not NaN; NaN where none is."""
    known = ~np.isnan(values)
    counts = np.bincount(index[known], minlength=n)
    sums = np.bincount(index[known], weights=values[known], minlength=n)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _disc_means(amount: np.ndarray, points: np.ndarray, radius: float) -> np.ndarray:
    """Mean over the pixels of the image within a radius of each point."""
    height, width = amount.shape
    # Beyond the image there is nothing to average.
    radius, reach = float(radius), int(radius) + 1
    down, right = np.mgrid[
        -min(reach, height) : min(reach, height) + 1,
        -min(reach, width) : min(reach, width) + 1,
    ].reshape(2, -1)
    means = np.empty(len(points))
    step = max(1, _CHUNK // len(down))
    for start in range(0, len(points), step):
        part = points[start : start + step]
        # Of a disc around a point beside the image, what is in it lies near its edge.
        middle = np.rint(part).clip(0, (height - 1, width - 1)).astype(np.int64)
        rows = middle[:, :1] + down
        columns = middle[:, 1:] + right
        distance = np.hypot(rows - part[:, :1], columns - part[:, 1:])
        counts = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        counts &= distance <= max(radius, 0.71)  # never no pixel at all
        values = amount[rows.clip(0, height - 1), columns.clip(0, width - 1)]
        counts &= ~np.isnan(values)
        total = counts.sum(axis=1)
        sums = np.where(counts, values, 0).sum(axis=1, dtype=float)
        means[start : start + step] = np.divide(
            sums, total, out=np.full(len(part), np.nan), where=total > 0
        )
    return means


def _check_size(shape: tuple[int, int], expected: tuple[int, int], name: str) -> None:
    if shape != expected:
        raise ValueError(
            f"{name} has height and width {shape} but its image has {expected}; "
            "expected one size."
        )
