# SPDX-License-Identifier: BSD-3-Clause
"""Masks to objects: cleaning, splitting what touches, tables of label images."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi
from skimage.measure import label

from psmlearn._images._lengths import within_image
from psmlearn._images._splitting import (
    grow_from_peaks,
    split_by_distance,
)

HOLE = 0.4
"""Squares of the diameter: a pale inside up to half a nucleus is filled; larger gaps
may be tissue."""

# A dip between two peaks splits them if it is deeper than this part of the lower
# peak: two equal discs are split where their centres are a radius or so apart.
_SPLIT_DIP = 0.1
# Predicted distances that are low and high in nuclei.
_DISTANCES = (0.3, 0.63)
# Pixels looked at together.
_PIECE = 1 << 18


def _check_labels(labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise ValueError(
            "labels: a (height, width) label image of whole numbers is expected, got "
            f"shape {labels.shape} of {labels.dtype}"
        )
    return labels


def _check_mask(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != bool:
        raise ValueError(
            "mask: a (height, width) mask of bool is expected, got "
            f"shape {mask.shape} of {mask.dtype}"
        )
    return mask


def _positive(value: float, name: str) -> float:
    if not value > 0:
        raise ValueError(f"{name}: a number above 0 is expected, got {value!r}")
    return float(value)


def _dense(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number the ids without gaps.

    Returns the ids (ascending), the flat places of their pixels, and each of these
    pixels' number (0..n-1).
    """
    flat = np.ascontiguousarray(labels).ravel()
    places = np.flatnonzero(flat > 0)
    values = flat[places]
    if values.size == 0 or values.max() > 4 * flat.size:
        ids, numbers = np.unique(values, return_inverse=True)
        return ids, places, numbers.reshape(-1)
    present = np.bincount(values) > 0
    ids = np.flatnonzero(present)
    return ids, places, (np.cumsum(present) - 1)[values]


def areas(labels: np.ndarray) -> np.ndarray:
    """Pixels of every object, in the order of ascending ids.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._instances import areas
    >>> areas(np.array([[7, 7, 0, 2, -1]])).tolist()
    [1, 2]
    """
    ids, _, numbers = _dense(_check_labels(labels))
    return np.bincount(numbers, minlength=len(ids))


def centroids(labels: np.ndarray) -> np.ndarray:
    """Centres (row, column) of every object, in the order of ascending ids.

    Returns
    -------
    points : ndarray of shape (n_objects, 2), float64

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._instances import centroids
    >>> centroids(np.array([[7, 7, 0, 2, -1]])).tolist()
    [[0.0, 3.0], [0.0, 0.5]]
    """
    labels = _check_labels(labels)
    ids, places, numbers = _dense(labels)
    if len(ids) == 0:
        return np.empty((0, 2))
    rows, columns = np.divmod(places, labels.shape[1])
    n_pixels = np.bincount(numbers)
    sums = [np.bincount(numbers, weights=side) for side in (rows, columns)]
    return np.stack(sums, axis=1) / n_pixels[:, np.newaxis]


def relabel(labels: np.ndarray) -> np.ndarray:
    """Number the objects 1..n in the order of their ids; 0 and -1 stay.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._instances import relabel
    >>> relabel(np.array([[7, 7, 0, 2, -1]])).tolist()
    [[2, 2, 0, 1, -1]]
    """
    labels = _check_labels(labels)
    _, places, numbers = _dense(labels)
    out = np.minimum(labels, 0).astype(np.int32)
    out.ravel()[places] = numbers + 1
    return out


def number_by_place(labels: np.ndarray) -> np.ndarray:
    """Number the objects 1..n, row by row as their first pixels come; 0 and -1 stay.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._instances import number_by_place
    >>> number_by_place(np.array([[7, 7, 0, 2, -1]])).tolist()
    [[1, 1, 0, 2, -1]]
    """
    labels = _check_labels(labels)
    _, places, numbers = _dense(labels)
    out = np.minimum(labels, 0).astype(np.int32)
    out.ravel()[places] = place_order(numbers)[numbers]
    return out


def place_order(numbers: np.ndarray) -> np.ndarray:
    """Return the rank, from 1, of each object by its first pixel.

    Parameters
    ----------
    numbers : ndarray of shape (n_pixels,), int
        The object, 0..n-1, of each pixel of any object, row by row; all n occur.
    """
    n = int(numbers.max()) + 1 if len(numbers) else 0
    first = np.empty(n, np.int64)
    # Written from the last to the first, so that the first stays.
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    rank = np.empty(n, np.int32)
    rank[np.argsort(first)] = np.arange(1, n + 1)
    return rank


def remove_small(labels: np.ndarray, min_area: float) -> np.ndarray:
    """Set objects of fewer than `min_area` pixels to background; other ids stay.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._instances import remove_small
    >>> remove_small(np.array([[7, 7, 0, 2, -1]]), 2).tolist()
    [[7, 7, 0, 0, -1]]
    """
    labels = _check_labels(labels)
    ids, places, numbers = _dense(labels)
    out = labels.astype(np.int32)
    small = np.bincount(numbers, minlength=len(ids)) < min_area
    if small.any():
        out.ravel()[places[small[numbers]]] = 0
    return out


def _touching_border(labels: np.ndarray) -> np.ndarray:
    """Labels met on the outermost rows and columns."""
    sides = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    return np.unique(np.concatenate(sides))


def fill_small_holes(mask: np.ndarray, max_area: float) -> np.ndarray:
    """Fill enclosed background of `max_area` pixels or fewer."""
    return fill_and_find_grounds(mask, max_area)[0]


def fill_and_find_grounds(
    mask: np.ndarray, max_area: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fill enclosed background of `max_area` pixels or fewer, and number all of it.

    Returns
    -------
    filled : ndarray of shape (height, width), bool
    grounds : ndarray of shape (height, width), int32
        The background's parts from 1; 0 is the mask.
    is_small : ndarray of shape (n_grounds + 1,), bool
        Whether a part has so few pixels, enclosed or not; with a `max_area` below 1
        none is looked for.
    """
    if max_area < 1:
        return mask, np.zeros(mask.shape, np.int32), np.zeros(1, bool)
    grounds, n_grounds = ndi.label(~mask)
    is_small = np.bincount(grounds.ravel(), minlength=n_grounds + 1) <= max_area
    is_small[0] = False
    if not is_small.any():
        return mask, grounds, is_small
    fill = is_small.copy()
    fill[_touching_border(grounds)] = False
    fill[0] = True  # the mask itself
    return fill[grounds], grounds, is_small


def _open(mask: np.ndarray, radius: float) -> np.ndarray:
    """Opening by a disc; the image's border takes nothing away."""
    if radius <= 0 or mask.all() or not mask.any():
        return mask
    kept = ndi.distance_transform_edt(mask) > radius
    if not kept.any():
        return kept
    return ndi.distance_transform_edt(~kept) <= radius


def clean_mask(
    mask: np.ndarray,
    *,
    min_area: float = 0,
    max_hole_area: float = 0,
    opening_radius: float = 0,
) -> np.ndarray:
    """Clean a mask: fill small holes, open, drop small objects.

    Parameters
    ----------
    mask : ndarray of shape (height, width), bool
    min_area : int, default=0
        Objects (joined above, below, left or right) of fewer pixels are dropped.
    max_hole_area : int, default=0
        Enclosed background of this many pixels or fewer is filled. Background that
        reaches the image's border is not enclosed.
    opening_radius : float, default=0
        Radius in pixels of the disc that the mask is opened by; 0 for none. Objects cut
        by the image's border are opened as if they went on behind it.

    Returns
    -------
    cleaned : ndarray of shape (height, width), bool

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._instances import clean_mask
    >>> mask = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [1, 1, 1, 0, 0]], bool)
    >>> clean_mask(mask, min_area=2, max_hole_area=1).astype(int)
    array([[1, 1, 1, 0, 0],
           [1, 1, 1, 0, 0],
           [1, 1, 1, 0, 0]])
    """
    mask = _open(fill_small_holes(_check_mask(mask), max_hole_area), opening_radius)
    if min_area > 1:
        objects, n_objects = ndi.label(mask)
        keep = np.bincount(objects.ravel(), minlength=n_objects + 1) >= min_area
        keep[0] = False
        mask = keep[objects]
    return np.array(mask)  # never the input itself


def fill_holes_per_label(labels: np.ndarray) -> np.ndarray:
    """Fill background that a single object encloses.

    Background that reaches the image's border, another object or an unknown pixel
    stays.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._instances import fill_holes_per_label
    >>> fill_holes_per_label(np.array([[3, 3, 3], [3, 0, 3], [3, 3, 3]])).tolist()
    [[3, 3, 3], [3, 3, 3], [3, 3, 3]]
    """
    labels = _check_labels(labels)
    out = labels.astype(np.int32, order="C")
    holes, n_holes = ndi.label(out == 0)
    enclosed = np.ones(n_holes + 1, bool)
    enclosed[_touching_border(holes)] = False
    enclosed[0] = False  # what is no background
    if not enclosed.any():
        return out
    flat, owners = holes.ravel(), out.ravel()
    places = _places_of(enclosed, flat)
    hole = flat[places]
    lowest = np.full(n_holes + 1, np.iinfo(np.int32).max, np.int32)
    highest = np.full(n_holes + 1, -1, np.int32)
    for step in (-labels.shape[1], -1, 1, labels.shape[1]):
        beside = owners[places + step]  # never beyond the border
        is_other = beside != 0
        np.minimum.at(lowest, hole[is_other], beside[is_other])
        np.maximum.at(highest, hole[is_other], beside[is_other])
    fill = np.where(lowest == highest, np.maximum(highest, 0), 0)
    owners[places] = fill[hole]
    return out


def _places_of(wanted: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return where numbers are wanted ones, by pieces that stay in the cache."""
    found = [
        np.flatnonzero(wanted[numbers[start : start + _PIECE]]) + start
        for start in range(0, len(numbers), _PIECE)
    ]
    return np.concatenate(found)


def split_touching(
    mask: np.ndarray,
    *,
    diameter: float,
    intensity: np.ndarray | None = None,
    levels: tuple[float, float] | None = None,
) -> np.ndarray:
    """Split touching nuclei of a mask, by the shape of their outline.

    Peaks of the smoothed distance to the background grow by watershed; two regions
    with no real valley between their peaks, measured against the lower peak's own
    height, stay one. So a long nucleus is not cut; clumps much larger than a nucleus
    are cut at shallower valleys.

    Parameters
    ----------
    mask : ndarray of shape (height, width), bool
    diameter : float
        Typical diameter of a nucleus in pixels. A third more or less does no harm.
    intensity : ndarray of shape (height, width), default=None
        Image that is high in nuclei (such as the amount of haematoxylin). Smoothed,
        it weights the distance. It helps where the mask is rough (a threshold), and
        harms where the outlines are right.
    levels : (float, float), default=None
        What is low and high in it; None takes the 5th and 95th percentile of the mask.
        With levels a clump is split as it would be in any other image.

    Returns
    -------
    labels : ndarray of shape (height, width), int32
        Objects 1..n; the mask's pixels, all of them.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._instances import split_touching
    >>> rows, columns = np.mgrid[:32, :50]
    >>> left = (rows - 16) ** 2 + (columns - 15) ** 2 < 100
    >>> right = (rows - 16) ** 2 + (columns - 33) ** 2 < 100
    >>> int(split_touching(left | right, diameter=20).max())
    2
    """
    mask = _check_mask(mask)
    diameter = _positive(diameter, "diameter")
    diameter = within_image(diameter, mask.shape)
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    if mask.all():
        return np.ones(mask.shape, np.int32)
    height = ndi.distance_transform_edt(mask).astype(np.float32)
    height = ndi.gaussian_filter(height, diameter / 12, truncate=3)
    if intensity is not None:
        intensity = np.asarray(intensity, np.float32)
        if intensity.shape != mask.shape:
            raise ValueError(
                f"intensity: the mask's shape {mask.shape} is expected, got "
                f"{intensity.shape}"
            )
        smooth = ndi.gaussian_filter(intensity, diameter / 4, truncate=3)
        low, high = np.percentile(smooth[mask], (5, 95)) if levels is None else levels
        if high > low:
            height *= 0.5 + np.clip((smooth - low) / (high - low), 0, 1)
    labels = grow_from_peaks(height, mask, dip=_SPLIT_DIP, least=0.5, diameter=diameter)
    # Regions may be joined through one that went elsewhere: an object is one piece.
    return label(labels, background=0, connectivity=2).astype(np.int32, copy=False)


def decode_instances(
    probability: np.ndarray,
    distance: np.ndarray,
    *,
    threshold: float = 0.5,
    diameter: float,
    min_area: float = 0,
    by_shape: bool = True,
) -> np.ndarray:
    """Objects from a network's foreground probability and inner distance.

    Parameters
    ----------
    probability : ndarray of shape (height, width), float
        Probability of foreground.
    distance : ndarray of shape (height, width), float
        Predicted normalised inner distance: 1 at an object's centre, near 0 at its
        boundary and in the background.
    threshold : float, default=0.5
        Pixels of higher probability are foreground.
    diameter : float
        Typical diameter of a nucleus in pixels.
    min_area : int, default=0
        Objects of fewer pixels are dropped.
    by_shape : bool, default=True
        Whether touching objects are cut along the valleys of the distance so that the
        parts come near to ellipses; else by the outline, the distance as a weight.

    Returns
    -------
    labels : ndarray of shape (height, width), int32
        Objects 1..n without holes.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._instances import decode_instances
    >>> inner = np.array([[0, 0.4, 0.9, 0.2, 0.1, 0.8, 0.9, 0.0]], np.float32)
    >>> decode_instances(inner > 0, inner, diameter=4).tolist()
    [[0, 1, 1, 1, 2, 2, 2, 0]]
    """
    probability = np.asarray(probability, np.float32)
    distance = np.asarray(distance, np.float32)
    if probability.ndim != 2 or probability.shape != distance.shape:
        raise ValueError(
            "probability, distance: two (height, width) arrays of one shape are "
            f"expected, got {probability.shape} and {distance.shape}"
        )
    diameter = _positive(diameter, "diameter")
    max_hole_area = HOLE * diameter**2
    mask = clean_mask(
        probability > threshold, min_area=min_area, max_hole_area=max_hole_area
    )
    distance = np.clip(distance, 0, 1)
    if by_shape:
        labels = split_by_distance(mask, distance, diameter=diameter)
    else:
        labels = split_touching(
            mask, diameter=diameter, intensity=distance, levels=_DISTANCES
        )
    return relabel(remove_small(fill_holes_per_label(labels), min_area))
