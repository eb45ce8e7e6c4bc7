# SPDX-License-Identifier: BSD-3-Clause
"""What the segmentation networks are trained on, made from points and masks."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi


def _check_points(points, shape):
    """Give rounded (row, column) pixels of points, and the image's shape."""
    shape = tuple(int(side) for side in shape)
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(
            f"shape: (height, width) of 1 or more is expected, got {shape}"
        )
    points = np.asarray(points, dtype=np.float64)
    if points.size == 0:
        return np.empty((0, 2), np.intp), shape
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise ValueError(
            "points: shape (n_points, 2), or 3 with classes, is expected, got "
            f"{points.shape}"
        )
    places = points[:, :2]
    if not np.isfinite(places).all():
        raise ValueError("points: finite rows and columns are expected, got NaN or inf")
    outside = ((places < -0.5) | (places > np.array(shape) - 0.5)).any(axis=1)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"points: point {first} at (row, column) {tuple(places[first].tolist())} "
            f"is outside the image of {shape[0]} rows and {shape[1]} columns"
        )
    # Halves go up, whatever the parity, so that shifted points shift as a whole.
    pixels = np.floor(places + 0.5).astype(np.intp)
    return np.minimum(pixels, np.array(shape) - 1), shape


def _background_at(pixels, shape):
    """Raster that is False at the points alone."""
    raster = np.ones(shape, bool)
    raster[pixels[:, 0], pixels[:, 1]] = False
    return raster


def _nearest_pixel(pixels, shape):
    """Flat index of the nearest point's pixel, everywhere: the Voronoi cells."""
    rows, columns = ndi.distance_transform_edt(
        _background_at(pixels, shape), return_distances=False, return_indices=True
    )
    if shape[0] * shape[1] > np.iinfo(rows.dtype).max:
        rows = rows.astype(np.int64)
    rows *= shape[1]
    rows += columns
    return rows


def _differs_from_neighbour(labels):
    """Where a pixel's upper, lower, left or right neighbour has another label."""
    edges = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        differ = labels[tuple(before)] != labels[tuple(after)]
        edges[tuple(before)] |= differ
        edges[tuple(after)] |= differ
    return edges


def _stamp_discs(labels, pixels, radius):
    """Set discs around pixels to 1, cut at the image's border."""
    height, width = labels.shape
    reach = int(radius)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.stack([rows, columns], axis=-1)[rows**2 + columns**2 <= radius**2]
    places = (pixels[:, np.newaxis] + disc).reshape(-1, 2)
    inside = ((places >= 0) & (places < (height, width))).all(axis=1)
    labels[tuple(places[inside].T)] = 1


def voronoi_labels(points, shape, *, point_radius=2, edge_width=1):
    """Sparse training labels from points: discs and the edges of Voronoi cells.

    Parameters
    ----------
    points : array-like of shape (n_points, 2 or 3)
        Rows and columns in pixels, rounded to whole pixels; a third column (classes)
        is not read. Points on one pixel count once.
    shape : (height, width)
    point_radius : float, default=2
        Radius of the discs in pixels; 0 marks the points' own pixels.
    edge_width : int, default=1
        Pixels that each cell gives to its edge: those within this city-block
        distance of another cell. An edge is twice as wide, the image's border is
        none, and 0 draws no edges.

    Returns
    -------
    labels : ndarray of shape (height, width), int32
        1 in the discs (which override edges), 0 on the edges, -1 (unknown) elsewhere.
        Without any point nothing can be nucleus, so all is 0.

    References
    ----------
    H. Qu et al., "Weakly supervised deep nuclei segmentation using points annotation
    in histopathology images", MIDL 2019.

    Examples
    --------
    >>> from psmlearn.segmentation._rasters import voronoi_labels
    >>> voronoi_labels([(0, 1), (0, 6)], (1, 8), point_radius=1)
    array([[1, 1, 1, 0, 0, 1, 1, 1]], dtype=int32)
    """
    pixels, shape = _check_points(points, shape)
    if not point_radius >= 0:
        raise ValueError(f"point_radius: 0 or more is expected, got {point_radius}")
    if edge_width != int(edge_width) or edge_width < 0:
        raise ValueError(f"edge_width: 0, 1, 2, ... is expected, got {edge_width}")
    if len(pixels) == 0:
        return np.zeros(shape, np.int32)
    labels = np.full(shape, -1, np.int32)
    if edge_width > 0:
        edges = _differs_from_neighbour(_nearest_pixel(pixels, shape))
        if edge_width > 1:
            edges = ndi.binary_dilation(edges, iterations=int(edge_width) - 1)
        labels[edges] = 0
    _stamp_discs(labels, pixels, float(point_radius))
    return labels


def nearest_values(points, values, shape):
    """Give every pixel the value of the nearest point.

    Parameters
    ----------
    points : array-like of shape (n_points, 2 or 3)
        Rows and columns in pixels, rounded to whole pixels.
    values : array-like of shape (n_points,), int
        Of points on one pixel the last counts.
    shape : (height, width)

    Returns
    -------
    ndarray of shape (height, width), int32
        0 where there is no point at all.

    Examples
    --------
    >>> from psmlearn.segmentation._rasters import nearest_values
    >>> nearest_values([(0, 1), (0, 6)], [1, 2], (1, 8))
    array([[1, 1, 1, 1, 2, 2, 2, 2]], dtype=int32)
    """
    pixels, shape = _check_points(points, shape)
    raster = np.zeros(shape, np.int32)
    if len(pixels) == 0:
        return raster
    raster[pixels[:, 0], pixels[:, 1]] = values
    return raster.ravel()[_nearest_pixel(pixels, shape)]


def distance_target(labels):
    """Normalised distance of every pixel to the boundary of its own object.

    Parameters
    ----------
    labels : ndarray of shape (height, width), int
        Label image: 0 background, -1 unknown, ids above.

    Returns
    -------
    distance : ndarray of shape (height, width), float32
        One plus the Euclidean distance to the nearest boundary pixel of the object
        (one with a neighbour above, below, left or right that is not of it),
        divided by the object's largest: 1 at its innermost pixels, small at its
        boundary; 0 on background and unknown. Touching objects bound each other; the
        image's border bounds none.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.segmentation._rasters import distance_target
    >>> distance_target(np.array([[0, 1, 1, 1, 2, 2]])).tolist()
    [[0.0, 0.5, 1.0, 0.5, 0.5, 1.0]]
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise ValueError(
            "labels: a (height, width) label image of whole numbers is expected, got "
            f"shape {labels.shape} of {labels.dtype}"
        )
    target = np.zeros(labels.shape, np.float32)
    inside = labels > 0
    if not inside.any():
        return target
    edges = _differs_from_neighbour(labels)
    if not edges.any():  # one object fills the image: it has no boundary
        target.fill(1)
        return target
    distance = ndi.distance_transform_edt(~edges)[inside]
    distance += 1
    ids = labels[inside]
    if ids.max() > 4 * labels.size:  # a table by id would be larger than the image
        ids = np.unique(ids, return_inverse=True)[1]
    largest = np.zeros(int(ids.max()) + 1)
    np.maximum.at(largest, ids, distance)
    distance /= largest[ids]
    target[inside] = distance
    return target


def points_to_heatmap(points, shape, sigma):
    """Heat map of points: the largest of Gaussians of height 1 around them.

    Parameters
    ----------
    points : array-like of shape (n_points, 2 or 3)
        Rows and columns in pixels, rounded to whole pixels; a third column (classes)
        is not read.
    shape : (height, width)
    sigma : float
        Standard deviation of the Gaussians in pixels.

    Returns
    -------
    heatmap : ndarray of shape (height, width), float32
        Values in [0, 1]: 1 at the points; 0 everywhere without any.

    Examples
    --------
    >>> from psmlearn.segmentation._rasters import points_to_heatmap
    >>> points_to_heatmap([(0, 1)], (1, 3), sigma=1).round(3).tolist()
    [[0.6069999933242798, 1.0, 0.6069999933242798]]
    """
    pixels, shape = _check_points(points, shape)
    if not sigma > 0:
        raise ValueError(f"sigma: a number above 0 is expected, got {sigma}")
    if len(pixels) == 0:
        return np.zeros(shape, np.float32)
    distance = ndi.distance_transform_edt(_background_at(pixels, shape))
    heatmap = np.multiply(distance, 1 / sigma, dtype=np.float64).astype(np.float32)
    np.square(heatmap, out=heatmap)
    heatmap *= -0.5
    with np.errstate(under="ignore"):  # far away it is 0
        return np.exp(heatmap, out=heatmap)
