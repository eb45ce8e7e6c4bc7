# SPDX-License-Identifier: BSD-3-Clause
"""One row a nucleus: place, size, shape and stain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

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
from psmlearn.measure._intensity import object_means
from psmlearn.metrics._centres import measure_objects

_STAINS = f"haematoxylin, or 2 or 3 of {sorted(STAINS)}"


def nuclei_table(
    labels: Mask,
    image: Image | None = None,
    *,
    pixel_size: float = 0.25,
    stains: Sequence[str] = ("haematoxylin",),
    region: Mask | None = None,
) -> dict[str, np.ndarray]:
    """Measure every nucleus of a label image.

    The time is linear in the pixels, whatever the number of nuclei. A pandas table
    of it is ``pandas.DataFrame(nuclei_table(labels))``.

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

    Returns
    -------
    columns : dict of str to ndarray of shape (n_nuclei,)
        Ordered by id:

        - ``label``: the id, int.
        - ``class``: the class of most of its pixels, int (of equals the lowest; 0
          and -1 only where there is no other); only where the labels have classes.
        - ``centroid_row``, ``centroid_column``: in pixels, from the middle of the
          upper left pixel.
        - ``area``: in square micrometres.
        - ``equivalent_diameter``: of the disc of the same area, in micrometres.
        - ``eccentricity``: of the ellipse of the same second moments, from 0 (a
          disc) to 1 (a line).
        - ``mean_haematoxylin`` and so on: mean optical density of each stain; only
          with an image.
        - ``region``: number of the region; only where regions have numbers.

    Raises
    ------
    ValueError
        If the sizes differ, a stain is not known or ``pixel_size`` is not a positive
        number.

    References
    ----------
    .. [1] A. C. Ruifrok and D. A. Johnston, "Quantification of histochemical
       staining by color deconvolution", Analytical and Quantitative Cytology and
       Histology 23(4), 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.measure import nuclei_table
    >>> labels = np.zeros((6, 6), dtype=np.int32)
    >>> labels[1:3, 1:5] = 1
    >>> table = nuclei_table(labels, pixel_size=0.5)
    >>> table["area"]
    array([2.])
    >>> table["centroid_row"]
    array([1.5])
    """
    pixel_size = check_pixel_size(pixel_size)
    given: list[Any] = [labels, image]
    files = [as_path(path) for path in given if is_path(path)]
    refuse_other_sizes(("labels", labels), ("the image", image))
    labels = check_mask(labels, name="labels")
    classes = labels[..., 1] if labels.ndim == 3 else None
    plane = labels[..., 0] if labels.ndim == 3 else labels
    amounts = {} if image is None else _amounts(image, plane.shape, stains)
    warn_of_pixel_sizes(files, [pixel_size] * len(files))

    rows, columns = np.nonzero(plane > 0)
    ids, index = np.unique(plane[rows, columns], return_inverse=True)
    n_pixels = np.bincount(index, minlength=ids.size)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(index, weights=values, minlength=ids.size) / n_pixels

    row, column = mean(rows), mean(columns)
    area = n_pixels * pixel_size**2
    table: dict[str, np.ndarray] = {"label": ids.astype(np.int64)}
    if classes is not None:
        table["class"] = np.asarray(measure_objects(labels, "labels")[1])
    table["centroid_row"] = row
    table["centroid_column"] = column
    table["area"] = area
    table["equivalent_diameter"] = np.sqrt(4.0 * area / np.pi)
    down, right = rows - row[index], columns - column[index]
    table["eccentricity"] = _eccentricity(
        mean(down * down), mean(right * right), mean(down * right)
    )
    for name, amount in amounts.items():
        table[f"mean_{name}"] = object_means(amount[rows, columns], index, ids.size)
    return table if region is None else _inside(table, region, plane.shape)


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


def _eccentricity(
    row_variance: np.ndarray, column_variance: np.ndarray, covariance: np.ndarray
) -> np.ndarray:
    """Eccentricity of the ellipse with these second moments; 0 for one pixel."""
    middle = (row_variance + column_variance) / 2.0
    half = np.hypot((row_variance - column_variance) / 2.0, covariance)
    longest = middle + half
    ratio = np.divide(
        middle - half, longest, out=np.ones_like(longest), where=longest > 0
    )
    return np.sqrt(np.clip(1.0 - ratio, 0.0, 1.0))
