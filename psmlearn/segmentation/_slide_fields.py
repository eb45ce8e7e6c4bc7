# SPDX-License-Identifier: BSD-3-Clause
"""Fields in place of the slides among images to train on."""

from __future__ import annotations

from typing import Any

import numpy as np

from psmlearn._parameters import check_pixel_size, shown
from psmlearn._typing import RandomState
from psmlearn.io import Slide, is_slide
from psmlearn.io._collections import path_array_as_list
from psmlearn.io._paths import is_path
from psmlearn.preprocessing._slide_fields import sample_fields
from psmlearn.segmentation._labelers import last_step

__all__ = ["fields_of", "pixel_size_of_fields", "slides_among"]


def slides_among(X: Any) -> tuple[list[Any], list[Any]]:
    """Return the slides among what is given to train on, and the rest.

    Parameters
    ----------
    X : Slide, path or list of them and of images
        Of anything else there are no slides.
    """
    given = path_array_as_list(X) if isinstance(X, np.ndarray) else X
    if isinstance(given, Slide) or is_path(given):
        given = [given]
    if not isinstance(given, list | tuple):
        return [], []
    of_slide = [
        isinstance(item, Slide) or (is_path(item) and is_slide(item)) for item in given
    ]
    return (
        [item for item, slide in zip(given, of_slide, strict=True) if slide],
        [item for item, slide in zip(given, of_slide, strict=True) if not slide],
    )


def fields_of(
    slides: list[Any], pixel_size: Any, random_state: RandomState
) -> list[np.ndarray]:
    """Return fields of slides, read at so many micrometres per pixel.

    Raises
    ------
    ValueError
        If `pixel_size` is no number, or no slide has tissue; and as
        :func:`psmlearn.slides.sample_fields` raises.
    """
    if isinstance(pixel_size, str) or np.ndim(pixel_size):
        raise ValueError(
            "pixel_size: fields of slides are read at one number of micrometres per "
            f"pixel, got {shown(pixel_size)}."
        )
    size = check_pixel_size(pixel_size)
    return sample_fields(slides, pixel_size=size, random_state=random_state).images


def pixel_size_of_fields(labeler: Any, segmenter: Any, default: Any) -> Any:
    """Return the pixel size that given parts work at; else the default one."""
    for part in (segmenter, labeler):
        if part is not None:
            return getattr(last_step(part), "pixel_size", default)
    return default
