# SPDX-License-Identifier: BSD-3-Clause
"""Outlines of nuclei on their image."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from psmlearn._images._checks import as_label_image
from psmlearn._parameters import check_number, shown
from psmlearn.inspection._figures import get_axes, get_image, require_fitted_method
from psmlearn.inspection._overlay import class_color, overlay_labels
from psmlearn.io._masks import load_mask
from psmlearn.metrics._centres import measure_objects

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class SegmentationDisplay:
    """Outlines of segmented nuclei on their image.

    Make one with :meth:`from_predictions` or :meth:`from_estimator`; both draw it.
    All parameters are stored as attributes.

    Parameters
    ----------
    image : ndarray of shape (height, width) or (height, width, n_channels)
        The image.
    labels : ndarray of shape (height, width) or (height, width, 2)
        Label image of the nuclei.
    true_labels : ndarray of shape (height, width) or (height, width, 2), default=None
        Label image of the true nuclei, where they are known.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        Their figure.
    im_ : matplotlib AxesImage
        The picture.

    See Also
    --------
    overlay_labels : The picture alone, as an array.

    Examples
    --------
    >>> from psmlearn.datasets import make_nuclei
    >>> from psmlearn.inspection import SegmentationDisplay
    >>> data = make_nuclei(n_images=1, shape=(64, 64), n_nuclei=5, random_state=0)
    >>> display = SegmentationDisplay.from_predictions(data.images[0], data.masks[0])
    >>> display.ax_.get_title()
    '5 nuclei'
    """

    def __init__(
        self,
        image: np.ndarray,
        labels: np.ndarray,
        *,
        true_labels: np.ndarray | None = None,
    ) -> None:
        self.image = image
        self.labels = labels
        self.true_labels = true_labels

    def plot(
        self,
        ax: Axes | None = None,
        *,
        color: Sequence[int] | str = (255, 225, 25),
        true_color: Sequence[int] = (0, 229, 255),
        thickness: int = 1,
        title: str | None = None,
        class_names: Mapping[int, str] | None = None,
        class_colors: Mapping[int, Sequence[int]] | None = None,
    ) -> SegmentationDisplay:
        """Draw the outlines.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        color : {"objects", "classes"} or three integers, default=(255, 225, 25)
            Colour of the outlines, as in :func:`overlay_labels`.
        true_color : three integers, default=(0, 229, 255)
            Colour of the true outlines, drawn below the others.
        thickness : int, default=1
            Width of the outlines in pixels.
        title : str, default=None
            The title; the number of nuclei if None.
        class_names : dict of int to str, default=None
            Names of the classes, such as ``{1: "positive", 2: "negative"}``: the
            outlines show the classes, and a legend says how many nuclei each has.
        class_colors : dict of int to three integers, default=None
            Colours of classes, as in :func:`overlay_labels`.

        Returns
        -------
        display : SegmentationDisplay
            This object.
        """
        if class_names is not None and not isinstance(class_names, Mapping):
            raise TypeError(
                "class_names must be a dict of names by class, such as "
                f"{{1: 'positive'}}, got {shown(class_names)}."
            )
        for number in class_names or ():
            check_number(number, "class_names: each class", 0, whole=True)
        picture = self.image
        if self.true_labels is not None:
            picture = overlay_labels(
                picture,
                as_label_image(self.true_labels, "true_labels"),
                color=true_color,
                thickness=thickness,
            )
        picture = overlay_labels(
            picture,
            self.labels,
            color=color if class_names is None else "classes",
            thickness=thickness,
            class_colors=class_colors,
        )
        self.figure_, self.ax_ = get_axes(ax)
        self.im_ = self.ax_.imshow(picture)
        self.ax_.set_axis_off()
        self.ax_.set_title(self._count() if title is None else title)
        if class_names is not None:
            self._add_legend(class_names, class_colors)
        return self

    def _add_legend(
        self,
        class_names: Mapping[int, str],
        class_colors: Mapping[int, Sequence[int]] | None,
    ) -> None:
        """Say below the picture which colour is which class."""
        from matplotlib.patches import Patch

        numbers = measure_objects(np.asarray(self.labels), "labels")[1]
        handles = [
            Patch(
                facecolor=class_color(number, class_colors),
                edgecolor="0.3",
                label=f"{name} ({np.count_nonzero(numbers == number)})",
            )
            for number, name in class_names.items()
        ]
        self.ax_.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            ncols=min(len(handles), 4),
            frameon=False,
        )

    def _count(self) -> str:
        ids = np.asarray(self.labels)
        ids = ids[..., 0] if ids.ndim == 3 else ids
        n_nuclei = np.unique(ids[ids > 0]).size
        return f"{n_nuclei} {'nucleus' if n_nuclei == 1 else 'nuclei'}"

    @classmethod
    def from_predictions(
        cls,
        image: np.ndarray | str | os.PathLike,
        labels: np.ndarray,
        *,
        true_labels: np.ndarray | None = None,
        ax: Axes | None = None,
        **plot_options: Any,
    ) -> SegmentationDisplay:
        """Draw the outlines of a given label image.

        Parameters
        ----------
        image : ndarray or path
            One image.
        labels : ndarray of shape (height, width) or (height, width, 2)
            Its label image.
        true_labels : ndarray, default=None
            The true label image, drawn in a second colour.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        **plot_options
            Further parameters of :meth:`plot`.

        Returns
        -------
        display : SegmentationDisplay
        """
        display = cls(
            get_image(image), load_mask(labels, "labels"), true_labels=true_labels
        )
        return display.plot(ax, **plot_options)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        image: np.ndarray | str | os.PathLike,
        *,
        true_labels: np.ndarray | None = None,
        ax: Axes | None = None,
        **plot_options: Any,
    ) -> SegmentationDisplay:
        """Segment one image with a fitted estimator and draw the outlines.

        Parameters
        ----------
        estimator : estimator with ``predict``
            A fitted segmenter, clusterer or pipeline that ends in one.
        image : ndarray or path
            One image.
        true_labels : ndarray, default=None
            The true label image, drawn in a second colour.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        **plot_options
            Further parameters of :meth:`plot`.

        Returns
        -------
        display : SegmentationDisplay
        """
        require_fitted_method(estimator, "predict")
        pixels = get_image(image)
        labels = estimator.predict([pixels])[0]
        return cls.from_predictions(
            pixels, labels, true_labels=true_labels, ax=ax, **plot_options
        )
