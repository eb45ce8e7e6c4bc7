# SPDX-License-Identifier: BSD-3-Clause
"""One row a nucleus: place, size, shape and stain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from psmlearn._images._checks import describe
from psmlearn._images._morphometry import convex_areas, perimeters
from psmlearn._images._stains import STAINS, haematoxylin, stain_amounts
from psmlearn._parameters import as_list, check_pixel_size, shown
from psmlearn._typing import Image, Mask
from psmlearn.io import check_mask
from psmlearn.io._batch import ImageBatch, check_one_image
from psmlearn.io._collections import as_array
from psmlearn.io._masks import refuse_other_sizes
from psmlearn.io._paths import as_path, is_path
from psmlearn.io._pixel_size import warn_of_pixel_sizes
from psmlearn.measure._cells import list_regions, look_up
from psmlearn.measure._objects import Objects, list_objects

# By which float32 probabilities may miss 0 and 1.
_ROUNDING = 1e-4
_STAINS = f"haematoxylin, or 2 or 3 of {sorted(STAINS)}"


def nuclei_table(
    labels: Mask,
    image: Image | None = None,
    *,
    pixel_size: float = 0.25,
    stains: Sequence[str] = ("haematoxylin",),
    region: Mask | None = None,
    probabilities: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Measure every nucleus of a label image.

    The time is linear in the pixels, whatever the number of nuclei. A pandas table
    of it is ``pandas.DataFrame(nuclei_table(labels))``;
    :func:`psmlearn.io.write_table` writes it to a file. Names end in the unit where
    there is one: ``um`` for micrometres, ``um2`` for square micrometres, ``od`` for
    optical density.

    Parameters
    ----------
    labels : ndarray of shape (height, width) or (height, width, 2), or path
        Label image: 0 background, 1..n one id per nucleus, -1 unknown. A second
        plane holds the class of each nucleus.
    image : ndarray of shape (height, width[, n_channels]) or path, default=None
        The image, for the stain; with more than three channels the first three count.
    pixel_size : float, default=0.25
        Micrometres per pixel.
    stains : sequence of str, default=("haematoxylin",)
        Stains of the slide: ("haematoxylin", "dab") or ("haematoxylin", "eosin").
        Two or three are unmixed from each other; haematoxylin alone from eosin and
        DAB, as in scikit-image.
    region : ndarray of shape (height, width) or path, default=None
        Nuclei whose centre lies outside are left out. A boolean mask, or whole
        numbers: 0 outside, 1..n regions.
    probabilities : ndarray of shape (height, width) or (height, width, n), \
default=None
        Of any object at each pixel, from 0 to 1; or those of background and objects,
        background first, as ``predict_proba`` gives them.

    Returns
    -------
    columns : dict of str to ndarray of shape (n_nuclei,)
        Ordered by id:

        - ``label``: the id, int.
        - ``class``: the class of most of its pixels, int (of equals the lowest; 0
          and -1 only where there is no other); only where the labels have classes.
        - ``centroid_row``, ``centroid_column``: in pixels, from the middle of the
          upper left pixel.
        - ``bbox_min_row``, ``bbox_min_column``, ``bbox_max_row``,
          ``bbox_max_column``: box in pixels, int; the last ones are beyond it, so that
          ``image[min_row:max_row, min_column:max_column]`` holds the nucleus.
        - ``area_um2``: in square micrometres.
        - ``perimeter_um``: length of the outline through its border pixels [2]_, in
          micrometres; 0 for fewer than three pixels.
        - ``equivalent_diameter_um``: of the disc of the same area, in micrometres.
        - ``major_axis_um``, ``minor_axis_um``: axes of the ellipse of the same second
          moments, in micrometres; 0 for one pixel, the minor one for a line, too.
        - ``eccentricity``: of that ellipse, from 0 (a disc) to 1 (a line).
        - ``solidity``: part of the pixels of the convex hull that are the nucleus,
          above 0 up to 1 (convex).
        - ``mean_haematoxylin_od`` and so on: mean optical density of each stain; only
          with an image.
        - ``confidence``: mean probability of being an object, from 0 to 1; only with
          `probabilities`.
        - ``region``: number of the region; only where regions have numbers.

    Raises
    ------
    TypeError, ValueError
        If sizes differ, a stain is not known, ``pixel_size`` is not a number from 0.01
        to 20, or `probabilities` are none.

    See Also
    --------
    psmlearn.io.write_geojson : Hands the nuclei and their table to QuPath.
    psmlearn.io.write_table : Writes the table as CSV or Parquet.

    Notes
    -----
    Perimeter, axes and solidity are those of :func:`skimage.measure.regionprops`, with
    each nucleus judged on its own where nuclei touch.

    References
    ----------
    .. [1] A. C. Ruifrok and D. A. Johnston, "Quantification of histochemical
       staining by color deconvolution", Analytical and Quantitative Cytology and
       Histology 23(4), 2001.
    .. [2] K. Benkrid and D. Crookes, "Design and FPGA Implementation of a Perimeter
       Estimator", Proceedings of the Irish Machine Vision and Image Processing
       Conference, 2000.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.measure import nuclei_table
    >>> labels = np.zeros((6, 6), dtype=np.int32)
    >>> labels[1:3, 1:5] = 1
    >>> table = nuclei_table(labels, pixel_size=0.5)
    >>> table["area_um2"]
    array([2.])
    >>> table["perimeter_um"], table["solidity"]
    (array([4.]), array([1.]))
    >>> table["centroid_row"]
    array([1.5])
    """
    pixel_size = check_pixel_size(pixel_size)
    given: list[Any] = [labels, image]
    files = [as_path(path) for path in given if is_path(path)]
    refuse_other_sizes(("labels", labels), ("the image", image))
    labels = check_mask(labels, name="labels")
    plane = labels[..., 0] if labels.ndim == 3 else labels
    amounts = {} if image is None else _amounts(image, plane.shape, stains)
    foreground = (
        None if probabilities is None else _foreground(probabilities, plane.shape)
    )
    warn_of_pixel_sizes(files, [pixel_size] * len(files))
    ids, groups = list_objects(labels)
    parts = []
    for objects in groups:
        part = {"class": objects.classes} if labels.ndim == 3 else {}
        part |= _places(objects)
        part |= _shapes(objects, pixel_size)
        for name, amount in amounts.items():
            part[f"mean_{name}_od"] = objects.means_known(amount)
        if foreground is not None:
            part["confidence"] = objects.means_known(foreground)
        parts.append((objects.places, part))
    table = {"label": ids, **_joined(parts)}
    table["perimeter_um"] = perimeters(plane, ids) * pixel_size
    return table if region is None else _inside(table, region, plane.shape)


def _joined(
    parts: list[tuple[np.ndarray, dict[str, np.ndarray]]],
) -> dict[str, np.ndarray]:
    """Put columns of some objects each together, in the order of the ids."""
    order = np.argsort(np.concatenate([places for places, _ in parts]))
    return {
        name: np.concatenate([part[name] for _, part in parts])[order]
        for name in parts[0][1]
    }


def _places(objects: Objects) -> dict[str, np.ndarray]:
    """Centroids and bounding boxes."""
    order = np.argsort(objects.numbers, kind="stable")
    begins = np.flatnonzero(np.diff(objects.numbers[order], prepend=-1))

    def extreme(ufunc: np.ufunc, values: np.ndarray) -> np.ndarray:
        return ufunc.reduceat(values[order], begins) if begins.size else values

    return {
        "centroid_row": objects.means(objects.row),
        "centroid_column": objects.means(objects.column),
        "bbox_min_row": extreme(np.minimum, objects.rows),
        "bbox_min_column": extreme(np.minimum, objects.first),
        "bbox_max_row": extreme(np.maximum, objects.rows) + 1,
        "bbox_max_column": extreme(np.maximum, objects.last) + 1,
    }


def _shapes(objects: Objects, pixel_size: float) -> dict[str, np.ndarray]:
    """Size and shape, in micrometres; perimeters are left for later."""
    n_pixels = objects.n_pixels
    area = n_pixels * pixel_size**2
    index = objects.index
    down = objects.row - objects.means(objects.row)[index]
    right = objects.column - objects.means(objects.column)[index]
    longest, shortest = _principal_variances(
        objects.means(down * down),
        objects.means(right * right),
        objects.means(down * right),
    )
    ratio = np.divide(shortest, longest, out=np.ones_like(longest), where=longest > 0)
    hulls = convex_areas(objects.numbers, objects.rows, objects.first, objects.last)
    return {
        "area_um2": area,
        "perimeter_um": np.empty(objects.n_objects),
        "equivalent_diameter_um": np.sqrt(4.0 * area / np.pi),
        "major_axis_um": 4.0 * np.sqrt(longest) * pixel_size,
        "minor_axis_um": 4.0 * np.sqrt(shortest) * pixel_size,
        "eccentricity": np.sqrt(np.clip(1.0 - ratio, 0.0, 1.0)),
        "solidity": n_pixels / hulls,
    }


def _amounts(
    image: Image, shape: tuple[int, ...], stains: Sequence[str]
) -> dict[str, np.ndarray]:
    """Stains of an image whose size is that of its labels."""
    names = [stains] if isinstance(stains, str) else as_list(stains, "stains", _STAINS)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"stains must be {_STAINS}, got {shown(stains)}.")
    several = set(names) <= set(STAINS) and len(set(names)) == len(names) in (2, 3)
    if names != ["haematoxylin"] and not several:
        raise ValueError(f"stains must be {_STAINS}, got {shown(stains)}.")
    if not is_path(image) and not isinstance(image, ImageBatch):
        image = as_array(image, "image", "expected an image")
        if image.ndim == 3 and image.dtype.kind == "f":
            image = image[..., :3]  # without a map; the alpha of integers tells much
    batch = check_one_image(image)
    pixels = batch[0][..., :3]
    if pixels.shape[:2] != shape:
        raise ValueError(
            f"The image is {pixels.shape[:2]} pixels (height, width) and the labels "
            f"are {shape}; pass the image of these labels."
        )
    if len(names) == 1:
        amounts = haematoxylin(pixels)[..., np.newaxis]
    else:
        amounts = stain_amounts(pixels, names)
    seen = batch.shown(0)
    if seen is not None:
        amounts[~seen] = np.nan
    return {name: amounts[..., index] for index, name in enumerate(names)}


def _inside(
    table: dict[str, np.ndarray], region: Mask, shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Rows of the nuclei whose centre lies in the region."""
    refuse_other_sizes(("region", region), ("labels", np.empty(shape, bool)))
    (plane,) = list_regions([region], 1)
    if plane is None:
        return table
    if plane.shape != shape:
        raise ValueError(
            f"The region is {plane.shape} pixels (height, width) and the labels are "
            f"{shape}; pass the region of these labels."
        )
    centres = np.stack([table["centroid_row"], table["centroid_column"]], axis=1)
    where = look_up(plane, centres)
    table = {name: column[where > 0] for name, column in table.items()}
    if plane.dtype.kind != "b":
        table["region"] = where[where > 0]
    return table


def _foreground(probabilities: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return the probability of any object at each pixel."""
    expected = (
        f"expected {shape} or {(*shape, 'n')}, as predict_proba gives for these labels"
    )
    found = as_array(probabilities, "probabilities", expected)
    with_planes = found.ndim == 3 and found.shape[2] > 1
    if found.shape[:2] != shape or not (found.ndim == 2 or with_planes):
        raise ValueError(f"probabilities have {describe(found)}; {expected}.")
    if found.dtype.kind not in "fb":
        raise TypeError(
            f"probabilities have dtype {found.dtype}; expected floats from 0 to 1."
        )
    # Background first; the others are the classes.
    plane = found if found.ndim == 2 else 1.0 - found[..., 0]
    finite = plane[~np.isnan(plane)]
    if finite.size and not (
        finite.min() >= -_ROUNDING and finite.max() <= 1 + _ROUNDING
    ):
        raise ValueError(
            f"probabilities range from {finite.min():.6g} to {finite.max():.6g}; "
            "expected values from 0 to 1."
        )
    return np.clip(plane, 0.0, 1.0)


def _principal_variances(
    row_variance: np.ndarray, column_variance: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the variances along the long and the short axis of each object."""
    middle = (row_variance + column_variance) / 2.0
    half = np.hypot((row_variance - column_variance) / 2.0, covariance)
    return middle + half, np.maximum(middle - half, 0.0)
