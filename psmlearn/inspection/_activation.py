# SPDX-License-Identifier: BSD-3-Clause
"""Activation maps on their image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from psmlearn._parameters import check_flag, check_number
from psmlearn.inspection._figures import get_axes, get_image, require_fitted_method
from psmlearn.inspection._overlay import as_rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ActivationMapDisplay:
    """An activation map, alone or over its image.

    Make one with :meth:`from_maps` or :meth:`from_estimator`; both draw it. All
    parameters are stored as attributes.

    Parameters
    ----------
    image : ndarray of shape (height, width) or (height, width, n_channels)
        The image.
    activation_map : ndarray of shape (height, width)
        The map, on the scale 0 to 1.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        Their figure.
    im_ : matplotlib AxesImage
        The map.

    See Also
    --------
    color_map : The map alone, as a uint8 picture.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.inspection import ActivationMapDisplay
    >>> image = np.zeros((8, 8, 3), dtype=np.uint8)
    >>> display = ActivationMapDisplay.from_maps(image, np.eye(8), title="diagonal")
    >>> display.ax_.get_title()
    'diagonal'
    """

    def __init__(self, image: np.ndarray, activation_map: np.ndarray) -> None:
        self.image = image
        self.activation_map = activation_map

    def plot(
        self,
        ax: Axes | None = None,
        *,
        alpha: float = 1.0,
        cmap: str = "magma",
        low: float | None = 0.0,
        high: float | None = 1.0,
        colorbar: bool = False,
        title: str | None = None,
    ) -> ActivationMapDisplay:
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        alpha : float, default=1.0
            Opacity of the map over the image, from 0 (image alone) to 1 (map alone).
        cmap : str, default="magma"
            Name of a matplotlib colour map.
        low, high : float or None, default=0.0 and 1.0
            Values of the darkest and the lightest colour; None takes the smallest
            and the largest of this map, so that maps cannot be compared any more.
        colorbar : bool, default=False
            Whether to draw the scale.
        title : str, default=None
            The title; none if None.

        Returns
        -------
        display : ActivationMapDisplay
            This object.
        """
        check_number(alpha, "alpha", 0, 1, inclusive=True)
        check_flag(colorbar, "colorbar")
        for name, value in (("low", low), ("high", high)):
            if value is not None:
                check_number(value, name, -1e30, 1e30)
        if not isinstance(cmap, str) and not hasattr(cmap, "with_extremes"):
            raise TypeError(
                f"cmap must be the name of a colour map of matplotlib, got {cmap!r}."
            )
        self.figure_, self.ax_ = get_axes(ax)
        if alpha < 1.0:
            self.ax_.imshow(as_rgb(self.image), interpolation="nearest")
        self.im_ = self.ax_.imshow(
            self.activation_map,
            alpha=alpha,
            cmap=cmap,
            vmin=low,
            vmax=high,
            interpolation="nearest",
        )
        self.ax_.set_axis_off()
        if title is not None:
            self.ax_.set_title(title)
        if colorbar:
            self.figure_.colorbar(self.im_, ax=self.ax_, fraction=0.046, pad=0.02)
        return self

    @classmethod
    def from_maps(
        cls,
        image: np.ndarray | str | os.PathLike,
        activation_map: np.ndarray,
        *,
        ax: Axes | None = None,
        **plot_options: Any,
    ) -> ActivationMapDisplay:
        """Draw a given map.

        Parameters
        ----------
        image : ndarray or path
            One image.
        activation_map : ndarray of shape (height, width) or (height, width, n)
            Its map; of a stack of image and map the last channel is taken.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        **plot_options
            Further parameters of :meth:`plot`.

        Returns
        -------
        display : ActivationMapDisplay

        Raises
        ------
        ValueError
            If the sizes of image and map differ.
        """
        pixels = get_image(image)
        values = np.asarray(activation_map)
        values = values[..., -1] if values.ndim == 3 else values
        if values.shape != pixels.shape[:2]:
            raise ValueError(
                f"The image is {pixels.shape[:2]} pixels (height, width) and the map "
                f"is {values.shape}; pass the map of this image."
            )
        return cls(pixels, values).plot(ax, **plot_options)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        image: np.ndarray | str | os.PathLike,
        *,
        ax: Axes | None = None,
        **plot_options: Any,
    ) -> ActivationMapDisplay:
        """Map one image with a fitted mapper and draw the map.

        Parameters
        ----------
        estimator : estimator with ``transform``
            A fitted mapper, such as :class:`~psmlearn.SelfActivationMapper`.
        image : ndarray or path
            One image.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        **plot_options
            Further parameters of :meth:`plot`.

        Returns
        -------
        display : ActivationMapDisplay
        """
        require_fitted_method(estimator, "transform")
        pixels = get_image(image)
        stack = estimator.transform([pixels])[0]
        return cls.from_maps(pixels, stack, ax=ax, **plot_options)
