# SPDX-License-Identifier: BSD-3-Clause
"""A gallery of single nuclei, in the order of a value such as their confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from psmlearn._parameters import (
    check_choice,
    check_number,
    check_pixel_size,
    is_number,
    shown,
)
from psmlearn._typing import Image, Images, Mask, Masks
from psmlearn.inspection._columns import canonical, describe_column
from psmlearn.inspection._crops import OUTLINE, crop_nucleus, draw_tile
from psmlearn.inspection._figures import get_axes, get_image, require_fitted_method
from psmlearn.inspection._overlay import _check_color, as_rgb
from psmlearn.io._masks import check_mask
from psmlearn.io._paths import is_path
from psmlearn.measure import nuclei_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SELECTS = ("lowest", "highest", "quantiles")
_TILE = 96  # pixels of a side
_GAP = 8
_TEXT = 18  # pixels below each tile
_MOST = 400


class Cell(NamedTuple):
    """One nucleus of the gallery."""

    image: int
    label: int
    value: float


class NucleiGalleryDisplay:
    """Crops of single nuclei, sorted by their confidence or any other value.

    All crops show the same physical size around the middle of a nucleus, whose
    outline is drawn. Make one with :meth:`from_predictions` or
    :meth:`from_estimator`; both draw it. All parameters are stored as attributes.

    Parameters
    ----------
    cells : list of tuple (image, label, value)
        The nuclei shown: index of the image, id in its label image, and value.
    tiles : ndarray of shape (n_cells, size, size, 3), uint8
        Their pictures.
    value_name : str, default="value"
        What the value is.
    n_all : int, default=None
        Of how many nuclei they were chosen.
    select : {"lowest", "highest", "quantiles"}, default="lowest"
        How they were chosen.
    width : float, default=None
        Micrometres that a crop shows.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        Their figure.
    im_ : matplotlib AxesImage
        All crops in one picture.
    texts_ : list of matplotlib Text
        The values below the crops.

    See Also
    --------
    SegmentationDisplay : All nuclei of one image.

    Examples
    --------
    >>> from psmlearn.datasets import make_nuclei
    >>> from psmlearn.inspection import NucleiGalleryDisplay
    >>> data = make_nuclei(n_images=1, shape=(96, 96), n_nuclei=6, random_state=0)
    >>> display = NucleiGalleryDisplay.from_predictions(
    ...     data.images, data.masks, values="eccentricity", select="highest",
    ...     n_nuclei=3)
    >>> len(display.cells)
    3
    >>> display.ax_.get_title()
    'Eccentricity: the 3 highest of 6 nuclei'
    """

    def __init__(
        self,
        cells: Sequence[tuple[int, int, float]],
        tiles: np.ndarray,
        *,
        value_name: str = "value",
        n_all: int | None = None,
        select: str = "lowest",
        width: float | None = None,
    ) -> None:
        self.cells = cells
        self.tiles = tiles
        self.value_name = value_name
        self.n_all = n_all
        self.select = select
        self.width = width

    def plot(
        self,
        ax: Axes | None = None,
        *,
        n_columns: int | None = None,
        title: str | None = None,
    ) -> NucleiGalleryDisplay:
        """Draw the crops.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        n_columns : int, default=None
            Crops in a row; at most 8 if None.
        title : str, default=None
            The title; what was chosen if None.

        Returns
        -------
        display : NucleiGalleryDisplay
            This object.
        """
        n_cells = len(self.cells)
        if n_columns is None:
            n_columns = max(1, min(8, n_cells))
        check_number(n_columns, "n_columns", 1, _MOST, whole=True, inclusive=True)
        n_rows = max(1, -(-n_cells // n_columns))
        size = self.tiles.shape[1] if n_cells else _TILE
        across, down = size + _GAP, size + _GAP + _TEXT
        picture = np.full((n_rows * down, n_columns * across, 3), 255, np.uint8)
        inches = (n_columns * across / 90, n_rows * down / 90 + 0.55)
        self.figure_, self.ax_ = get_axes(
            ax, figsize=(max(4.0, inches[0]), inches[1]), layout="constrained"
        )
        self.texts_ = []
        for place, (cell, tile) in enumerate(zip(self.cells, self.tiles, strict=True)):
            top, left = place // n_columns * down, place % n_columns * across
            picture[top : top + size, left : left + size] = tile
            self.texts_.append(
                self.ax_.text(
                    left + size / 2,
                    top + size + 3,
                    f"{cell[2]:.3g}",
                    ha="center",
                    va="top",
                    fontsize=8,
                )
            )
        self.im_ = self.ax_.imshow(picture)
        self.ax_.set_axis_off()
        self.ax_.set_title(self._describe() if title is None else title, fontsize=11)
        if self.width is not None and n_cells:
            self.ax_.text(
                0.0,
                -0.01,
                f"each crop is {self.width:g} µm wide",
                transform=self.ax_.transAxes,
                va="top",
                fontsize=8,
                color="0.35",
            )
        return self

    def _describe(self) -> str:
        n_cells = len(self.cells)
        n_all = n_cells if self.n_all is None else self.n_all
        name = self.value_name
        if not n_cells:
            return f"{name}: no nuclei"
        nuclei = "nucleus" if n_all == 1 else "nuclei"
        if n_cells == n_all:
            return (
                f"{name}: all {n_all} {nuclei}" if n_all > 1 else f"{name}: 1 nucleus"
            )
        if self.select == "quantiles":
            return f"{name}: {n_cells} of {n_all} nuclei, from lowest to highest"
        return f"{name}: the {n_cells} {self.select} of {n_all} {nuclei}"

    @classmethod
    def from_predictions(
        cls,
        X: Images | Image,
        y: Masks,
        *,
        values: str | Mapping | Sequence | np.ndarray = "area_um2",
        value_name: str | None = None,
        select: str = "lowest",
        n_nuclei: int = 24,
        width: float = 20.0,
        pixel_size: float = 0.25,
        color: Sequence[int] = OUTLINE,
        ax: Axes | None = None,
        **plot_options: Any,
    ) -> NucleiGalleryDisplay:
        """Draw a gallery of the nuclei of given label images.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels), list, or one image
            The images.
        y : list of label images, a stack, or one label image
            Their label images.
        values : str, array or list of arrays, default="area_um2"
            What to sort by. A str is a column of
            :func:`psmlearn.measure.nuclei_table`. Else the values of all nuclei of
            each image, by ascending id: an array for one image, a list of arrays for
            several. Nuclei whose value is NaN are left out.
        value_name : str, default=None
            What to call the values; the column with its unit, or "value", if None.
        select : {"lowest", "highest", "quantiles"}, default="lowest"
            Which nuclei to show: those of the lowest values, lowest first; of the
            highest, highest first; or evenly from the lowest to the highest.
        n_nuclei : int, default=24
            How many; from 1 to 400.
        width : float, default=20.0
            Width and height of each crop in micrometres.
        pixel_size : float, default=0.25
            Micrometres per pixel of the images.
        color : three integers, default=(255, 225, 25)
            Colour of the outlines, red, green and blue from 0 to 255.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        **plot_options
            Further parameters of :meth:`plot`.

        Returns
        -------
        display : NucleiGalleryDisplay

        Raises
        ------
        ValueError
            If numbers or sizes of images, label images and values differ, there is no
            such column, or a parameter makes no sense.
        """
        check_choice(select, "select", _SELECTS)
        check_number(n_nuclei, "n_nuclei", 1, _MOST, whole=True, inclusive=True)
        check_number(width, "width", 1, 1000, inclusive=True)
        pixel_size = check_pixel_size(pixel_size)
        color = _check_color(color)
        images, labels = _as_lists(X, y)
        of_image = _list_values(values, images, labels, pixel_size)
        if value_name is None:
            value_name = _title(values) if isinstance(values, str) else "value"
        cells = [
            Cell(index, int(number), float(value))
            for index, (numbers, found) in enumerate(of_image)
            for number, value in zip(numbers, found, strict=True)
            if not np.isnan(value)
        ]
        chosen = _choose(cells, select, int(n_nuclei))
        side = max(3, round(width / pixel_size))
        tiles = _draw_all(chosen, images, labels, side, color)
        display = cls(
            chosen,
            tiles,
            value_name=value_name,
            n_all=len(cells),
            select=select,
            width=width,
        )
        return display.plot(ax, **plot_options)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Images | Image,
        *,
        values: str = "confidence",
        select: str = "lowest",
        n_nuclei: int = 24,
        width: float = 20.0,
        pixel_size: float = 0.25,
        color: Sequence[int] = OUTLINE,
        ax: Axes | None = None,
        **plot_options: Any,
    ) -> NucleiGalleryDisplay:
        """Segment images with a fitted estimator and draw a gallery of their nuclei.

        Parameters
        ----------
        estimator : estimator with ``predict``, for confidence with ``predict_proba``
            A fitted segmenter, or a pipeline that ends in one.
        X : ndarray of shape (n_images, height, width, n_channels), list, or one image
            The images.
        values : str, default="confidence"
            What to sort by: "confidence", the mean over the pixels of a nucleus of
            the probability that they are no background; or a column of
            :func:`psmlearn.measure.nuclei_table`.
        select : {"lowest", "highest", "quantiles"}, default="lowest"
            Which nuclei to show, as in :meth:`from_predictions`.
        n_nuclei : int, default=24
            How many; from 1 to 400.
        width : float, default=20.0
            Width and height of each crop in micrometres.
        pixel_size : float, default=0.25
            Micrometres per pixel of the images.
        color : three integers, default=(255, 225, 25)
            Colour of the outlines, red, green and blue from 0 to 255.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        **plot_options
            Further parameters of :meth:`plot`.

        Returns
        -------
        display : NucleiGalleryDisplay
        """
        require_fitted_method(estimator, "predict")
        images = _as_images(X)
        labels = list(estimator.predict(images))
        found: Any = values
        if values == "confidence":
            require_fitted_method(estimator, "predict_proba")
            found = [
                nuclei_table(ids, probabilities=probabilities)["confidence"]
                for ids, probabilities in zip(
                    labels, estimator.predict_proba(images), strict=True
                )
            ]
        return cls.from_predictions(
            images,
            labels,
            values=found,
            value_name=_title(values),
            select=select,
            n_nuclei=n_nuclei,
            width=width,
            pixel_size=pixel_size,
            color=color,
            ax=ax,
            **plot_options,
        )


def _title(column: str) -> str:
    text, unit = describe_column(column)
    return f"{text} ({unit})" if unit else text


def _as_images(X: Any) -> list[Any]:
    """List images; one alone is a list of one."""
    if is_path(X) or (isinstance(X, np.ndarray) and X.ndim in (2, 3)):
        return [X]
    return [X[index] for index in range(len(X))]


def _as_lists(X: Any, y: Any) -> tuple[list[Any], list[np.ndarray]]:
    """List images, unread, and their checked label images."""
    images = _as_images(X)
    given = [y] if len(images) == 1 and _is_one_mask(y) else list(y)
    if len(given) != len(images):
        raise ValueError(
            f"y holds {len(given)} label images for {len(images)} images; expected one "
            "for each."
        )
    return images, [check_mask(each, name=f"y[{i}]") for i, each in enumerate(given)]


def _is_one_mask(y: Any) -> bool:
    if is_path(y):
        return True
    if not isinstance(y, np.ndarray):
        return False
    return y.ndim == 2 or (y.ndim == 3 and y.shape[-1] == 2 and y.shape[0] != 1)


def _plane(labels: np.ndarray) -> np.ndarray:
    return labels[..., 0] if labels.ndim == 3 else labels


def _list_values(
    values: Any, images: list[Any], labels: list[np.ndarray], pixel_size: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return ids and values of the nuclei of each image."""
    if isinstance(values, str):
        return [
            _column(values, mask, image, pixel_size)
            for mask, image in zip(labels, images, strict=True)
        ]
    if len(images) == 1 and len(values) and is_number(values[0]):
        values = [values]
    if len(images) == 1 and len(values) == 0:
        values = [values]
    if len(values) != len(images):
        raise ValueError(
            f"values holds {len(values)} arrays for {len(images)} images; expected one "
            "for each."
        )
    found = []
    for index, (each, mask) in enumerate(zip(values, labels, strict=True)):
        plane = _plane(mask)
        ids = np.unique(plane[plane > 0])
        numbers = np.asarray(each, dtype=np.float64)
        if numbers.shape != ids.shape:
            raise ValueError(
                f"values[{index}] has shape {numbers.shape} for {ids.size} nuclei; "
                "expected one number for each, by ascending id."
            )
        found.append((ids, numbers))
    return found


def _column(
    name: str, mask: Mask, image: Image, pixel_size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and a column of the table of nuclei; the image only for its stain."""
    stain = name.startswith("mean_")
    stains = ("haematoxylin", "dab") if "dab" in name else ("haematoxylin",)
    table = canonical(
        nuclei_table(
            mask, image if stain else None, pixel_size=pixel_size, stains=stains
        )
    )
    numeric = [key for key in table if key != "label"]
    if name not in numeric:
        raise ValueError(
            f"values must be one of {numeric}, or the values themselves, got "
            f"{shown(name)}."
        )
    return table["label"], np.asarray(table[name], dtype=np.float64)


def _choose(cells: list[Cell], select: str, n_nuclei: int) -> list[Cell]:
    """Pick nuclei by their place in the order of the values."""
    order = sorted(cells, key=lambda cell: cell.value, reverse=select == "highest")
    if select != "quantiles" or len(order) <= n_nuclei:
        return order[:n_nuclei]
    places = np.linspace(0, len(order) - 1, n_nuclei).round().astype(int)
    return [order[place] for place in places]


def _draw_all(
    cells: list[Cell],
    images: list[Any],
    labels: list[np.ndarray],
    side: int,
    color: np.ndarray,
) -> np.ndarray:
    """Draw the tiles, each image read once."""
    tiles = np.zeros((len(cells), _TILE, _TILE, 3), np.uint8)
    for index in sorted({cell.image for cell in cells}):
        picture, plane = as_rgb(get_image(images[index])), _plane(labels[index])
        if picture.shape[:2] != plane.shape:
            raise ValueError(
                f"image {index} is {picture.shape[:2]} pixels (height, width) and its "
                f"labels are {plane.shape}; pass the labels of this image."
            )
        table = nuclei_table(plane)
        centres = np.stack([table["centroid_row"], table["centroid_column"]], axis=1)
        for place, cell in enumerate(cells):
            if cell.image == index:
                centre = centres[np.searchsorted(table["label"], cell.label)]
                crop, mask = crop_nucleus(
                    picture, plane, cell.label, tuple(centre), side
                )
                tiles[place] = draw_tile(crop, mask, _TILE, color=color)
    return tiles
