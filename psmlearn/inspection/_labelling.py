# SPDX-License-Identifier: BSD-3-Clause
"""Positive and negative nuclei on their image, with the labelling index."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from psmlearn._parameters import as_numbers
from psmlearn.inspection._figures import get_axes, get_image, require_fitted_method
from psmlearn.inspection._overlay import as_rgb, class_color, overlay_labels
from psmlearn.io._point_checks import load_points_or_mask
from psmlearn.measure import Hotspot, LabellingIndex, labelling_index
from psmlearn.measure._cells import list_regions, read_cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

# Far apart in lightness and on the blue to yellow axis, which all kinds of colour
# vision keep, and neither close to brown, blue or paper.
_POSITIVE = (255, 70, 60)
_NEGATIVE = (0, 215, 255)
_HOTSPOT = "#ffe119"
# Colour of what does not count, and how much of it lies over the image.
_OUTSIDE, _VEIL = 255.0, 0.65
_LINE_LENGTH = 112


class LabellingIndexDisplay:
    """Positive and negative nuclei on their image, with index, interval and counts.

    Make one with :meth:`from_predictions` or :meth:`from_estimator`; both draw it.
    All parameters are stored as attributes. All nuclei in the region are counted; a
    pathologist counts tumour cells. For research use only.

    Parameters
    ----------
    image : ndarray of shape (height, width) or (height, width, n_channels)
        The image.
    y : ndarray of shape (height, width, 2) or (n_points, 3)
        Its label image with classes, or its points of row, column and class.
    result : LabellingIndex
        What to write beside it.
    region : ndarray of shape (height, width), default=None
        Where nuclei counted.
    hotspot : Hotspot, default=None
        A field to draw.
    positive, negative : int, default=1 and 2
        The two classes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        Their figure.
    im_ : matplotlib AxesImage
        The picture.
    text_ : matplotlib Text
        What is written below it.

    See Also
    --------
    psmlearn.measure.labelling_index : The numbers alone.
    psmlearn.measure.find_hotspot : The field with the highest index.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.inspection import LabellingIndexDisplay
    >>> image = np.full((64, 64, 3), 255, dtype=np.uint8)
    >>> points = np.array([[10, 12, 1], [30, 40, 2], [50, 20, 2], [55, 50, 2]])
    >>> display = LabellingIndexDisplay.from_predictions(image, points, min_cells=0)
    >>> display.ax_.get_title(loc="left")
    'Labelling index 25.0 % (95 % interval 4.6 to 69.9 %)'
    """

    def __init__(
        self,
        image: np.ndarray,
        y: np.ndarray,
        *,
        result: LabellingIndex,
        region: np.ndarray | None = None,
        hotspot: Hotspot | None = None,
        positive: int = 1,
        negative: int = 2,
    ) -> None:
        self.image = image
        self.y = y
        self.result = result
        self.region = region
        self.hotspot = hotspot
        self.positive = positive
        self.negative = negative

    def plot(
        self,
        ax: Axes | None = None,
        *,
        positive_color: Sequence[int] = _POSITIVE,
        negative_color: Sequence[int] = _NEGATIVE,
        thickness: int | None = None,
        title: str | None = None,
    ) -> LabellingIndexDisplay:
        """Draw the nuclei that count, and write the result.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        positive_color, negative_color : three integers
            Colours of the two classes, red, green and blue from 0 to 255. The default
            pair, red and cyan, also tells them apart for the colour-blind.
        thickness : int, default=None
            Width of the outlines in pixels, or of the points; by the size of the image
            if None.
        title : str, default=None
            The title; index and interval if None.

        Returns
        -------
        display : LabellingIndexDisplay
            This object.
        """
        picture = as_rgb(self.image)
        height, width = picture.shape[:2]
        if thickness is None:
            thickness = max(1, round(max(height, width) / 500))
        colors = {self.positive: positive_color, self.negative: negative_color}
        picture = self._veil(picture)
        if np.ndim(self.y) == 3:
            labels = self._counted_labels()
            picture = overlay_labels(
                picture, labels, class_colors=colors, thickness=thickness
            )
        title, text = self._texts(title)
        tall = float(np.clip(7.5 * height / width, 2.0, 12.0))
        size = (7.5, tall + 0.65 + 0.16 * (1 + text.count("\n")))
        self.figure_, self.ax_ = get_axes(ax, figsize=size, layout="constrained")
        self.im_ = self.ax_.imshow(picture)
        if np.ndim(self.y) == 2:
            self._draw_points(colors, thickness)
        self._draw_hotspot()
        self._write(title, text)
        self._add_legend(colors)
        return self

    def _veil(self, picture: np.ndarray) -> np.ndarray:
        """Make pale what lies outside of the region."""
        if self.region is None:
            return picture
        outside = np.asarray(self.region) <= 0
        pale = (1 - _VEIL) * picture[outside] + _VEIL * _OUTSIDE
        picture[outside] = np.rint(pale).astype(np.uint8)
        return picture

    def _regions(self) -> list[np.ndarray] | None:
        return None if self.region is None else [self.region]

    def _counted_labels(self) -> np.ndarray:
        """The label image without the nuclei that do not count."""
        labels = np.array(self.y, dtype=np.int32)
        ids = np.unique(labels[..., 0])
        # One read without the region tells the class of all, one with it who is in.
        (everyone,) = read_cells([labels], None, None)
        (cells,) = read_cells([labels], self._regions(), None)
        counts = np.isin(everyone.classes, (self.positive, self.negative))
        counts &= cells.is_inside
        is_kept = np.zeros(len(ids), dtype=bool)
        is_kept[ids > 0] = counts
        labels[~is_kept[np.searchsorted(ids, labels[..., 0])]] = 0
        return labels

    def _draw_points(self, colors: dict[int, Sequence[int]], thickness: int) -> None:
        (cells,) = read_cells([np.asarray(self.y)], self._regions(), None)
        for number in colors:
            rows, columns = cells.points[cells.classes == number].T
            self.ax_.scatter(
                columns,
                rows,
                s=10 * max(1, thickness) ** 0.5,
                color=[class_color(number, colors)],
                edgecolors="black",
                linewidths=0.5,
            )

    def _draw_hotspot(self) -> None:
        from matplotlib.patches import Circle, Rectangle

        spot = self.hotspot
        if spot is None or spot.image is None:
            return
        make: Callable[..., Patch]
        if spot.field == "circle":
            make = partial(Circle, (spot.column, spot.row), spot.radius)
        else:
            where = (spot.column - spot.radius, spot.row - spot.radius)
            make = partial(Rectangle, where, 2 * spot.radius, 2 * spot.radius)
        # A dark rim, so that it shows on paper and on tissue.
        for color, line_width in (("black", 4.0), (_HOTSPOT, 2.0)):
            patch = make(fill=False, ec=color, lw=line_width)
            self.ax_.add_patch(patch)

    def _texts(self, title: str | None) -> tuple[str, str]:
        """Title, and all that is needed to read the numbers."""
        first, _, *lines = self.result.summary()
        if title is not None:
            lines = [first, *lines]
        if self.hotspot is not None:
            lines.append(self.hotspot.summary()[0])
        lines += [f"Warning: {text}" for text in self.result.warnings]
        lines.append(self.result.notice)
        text = "\n".join(textwrap.fill(line, _LINE_LENGTH) for line in lines)
        return first if title is None else title, text

    def _write(self, title: str, text: str) -> None:
        self.ax_.set(xticks=[], yticks=[])
        self.ax_.spines[:].set_visible(False)
        self.ax_.set_title(title, loc="left", pad=24)
        self.text_ = self.ax_.set_xlabel(text, loc="left", fontsize="small")
        self.text_.set_multialignment("left")

    def _add_legend(self, colors: dict[int, Sequence[int]]) -> None:
        """Say between title and picture which colour is what."""
        from matplotlib.lines import Line2D

        texts = {
            self.positive: f"positive ({self.result.n_positive})",
            self.negative: f"negative ({self.result.n_negative})",
        }
        options: dict[str, Any] = {"ls": "", "marker": "o", "mec": "0.2", "ms": 8}
        handles = [
            Line2D([], [], mfc=class_color(number, colors), label=text, **options)
            for number, text in texts.items()
        ]
        if self.hotspot is not None and self.hotspot.image is not None:
            handles.append(Line2D([], [], color=_HOTSPOT, lw=2.5, label="hotspot"))
        self.ax_.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            borderaxespad=0.2,
            borderpad=0.0,
            handletextpad=0.4,
            ncols=3,
            frameon=False,
        )

    @classmethod
    def from_predictions(
        cls,
        image: np.ndarray | str | os.PathLike,
        y: ArrayLike | str | os.PathLike,
        *,
        region: np.ndarray | None = None,
        hotspot: Hotspot | None = None,
        intensity: ArrayLike | None = None,
        positive: int = 1,
        negative: int = 2,
        confidence_level: float = 0.95,
        min_cells: int = 500,
        ax: Axes | None = None,
        **plot_options: Any,
    ) -> LabellingIndexDisplay:
        """Count the nuclei of one image and draw them.

        Parameters
        ----------
        image : ndarray or path
            One image.
        y : ndarray or path
            Its label image (height, width, 2) with classes, or its points (n, 3) of
            row, column and class.
        region : ndarray of shape (height, width), default=None
            Mask of where nuclei count; the rest is drawn pale.
        hotspot : Hotspot, default=None
            What :func:`~psmlearn.measure.find_hotspot` found in this image.
        intensity : array of shape (n_nuclei,), default=None
            What :func:`~psmlearn.measure.stain_intensity` gives for this image: adds
            H-score and Allred score.
        positive, negative, confidence_level, min_cells
            As in :func:`~psmlearn.measure.labelling_index`.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        **plot_options
            Further parameters of :meth:`plot`.

        Returns
        -------
        display : LabellingIndexDisplay
        """
        if hotspot is not None and not isinstance(hotspot, Hotspot):
            raise TypeError(
                f"hotspot must be what find_hotspot gives, or None, got {hotspot!r}."
            )
        pixels = get_image(image)
        given = load_points_or_mask(y, "y")
        y = np.empty((0, 3)) if given.shape == (0,) else given
        if region is not None:
            (region,) = list_regions([region], 1)
        for name, plane in (("labels", y if y.ndim == 3 else None), ("region", region)):
            if plane is not None and plane.shape[:2] != pixels.shape[:2]:
                raise ValueError(
                    f"The image is {pixels.shape[:2]} pixels (height, width) and the "
                    f"{name} {plane.shape[:2]}; pass those of this image."
                )
        result = labelling_index(
            [y],
            regions=None if region is None else [region],
            intensity=None if intensity is None else _of_one_image(intensity),
            positive=positive,
            negative=negative,
            confidence_level=confidence_level,
            min_cells=min_cells,
        )
        display = cls(
            pixels,
            y,
            result=result,
            region=region,
            hotspot=hotspot,
            positive=positive,
            negative=negative,
        )
        return display.plot(ax, **plot_options)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        image: np.ndarray | str | os.PathLike,
        *,
        ax: Axes | None = None,
        **options: Any,
    ) -> LabellingIndexDisplay:
        """Find the nuclei of one image with a fitted estimator and draw them.

        Parameters
        ----------
        estimator : estimator with ``predict``
            A fitted segmenter, detector or clusterer that knows classes.
        image : ndarray or path
            One image.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        **options
            Further parameters of :meth:`from_predictions`.

        Returns
        -------
        display : LabellingIndexDisplay
        """
        require_fitted_method(estimator, "predict")
        pixels = get_image(image)
        y = estimator.predict([pixels])[0]
        return cls.from_predictions(pixels, y, ax=ax, **options)


def _of_one_image(intensity: ArrayLike) -> list[np.ndarray]:
    """Put the intensities of one image into a list, as `labelling_index` takes it."""
    return [as_numbers(intensity, "intensity", "one number for each nucleus")]
