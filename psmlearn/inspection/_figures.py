# SPDX-License-Identifier: BSD-3-Clause
"""What the displays share: axes, and one image from what the caller passed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from psmlearn.io import read_image
from psmlearn.io._collections import as_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


def get_axes(ax: Axes | None, **figure_options: Any) -> tuple[Figure | SubFigure, Axes]:
    """Return the figure and the axes to draw on; new ones where none are given."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "The displays draw with matplotlib, which is not installed: "
            "pip install psmlearn[plot]"
        ) from error
    axes: Axes = plt.subplots(**figure_options)[1] if ax is None else ax
    return axes.figure, axes


def get_image(image: Any) -> np.ndarray:
    """Return one image as an array; a path is read."""
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    if isinstance(image, np.ma.MaskedArray):
        raise ValueError("The image is a masked array; use image.filled(value).")
    pixels = as_array(image, "image", "expected one image")
    if pixels.ndim not in (2, 3):
        raise ValueError(
            "image: a display shows one of shape (height, width) or (height, width, "
            f"n_channels), got shape {pixels.shape}; of several pass one: images[0]."
        )
    return pixels


def require_fitted_method(estimator: Any, method: str) -> None:
    """Raise where an estimator cannot give what the display needs."""
    if not hasattr(estimator, method):
        raise TypeError(
            f"{type(estimator).__name__} has no method {method!r}; pass a fitted "
            f"estimator that has it."
        )
