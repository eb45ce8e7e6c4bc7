# SPDX-License-Identifier: BSD-3-Clause
"""Where the tissue of a slide is, from a thumbnail."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from scipy import ndimage as ndi

from psmlearn._images._artefacts import PEN
from psmlearn.exceptions import NoDataWarning
from psmlearn.io import Slide
from psmlearn.preprocessing import TissueDetector, artefact_mask
from psmlearn.slides._plan import Tissue

__all__ = ["find_tissue", "thumbnail"]

# Micrometres of a pixel of the thumbnail, where its sides allow it, and of the rim that
# is read around tissue; how far a stroke of pen may reach beyond what is told of it.
_PIXEL, _COARSEST, _RIM, _EDGE = 4.0, 16.0, 30.0, 10.0
_SIDES = (1024, 4096)
_USUAL_PIXEL = 0.25


def thumbnail(slide: Slide) -> tuple[np.ndarray, float]:
    """Return a small picture of a slide, and micrometres of its pixels."""
    size = slide.pixel_size or _USUAL_PIXEL
    length = max(slide.shape) * size
    least, most = _SIDES
    wished = min(max(math.ceil(length / _PIXEL), least), most)
    picture = slide.thumbnail(max(wished, math.ceil(length / _COARSEST)))
    return picture, length / max(picture.shape[:2])


def find_tissue(
    slide: Slide,
    shape: tuple[int, int],
    exclude: Sequence[str] = ("pen", "fold", "dirt"),
) -> Tissue:
    """Find where a slide is looked at: tissue, and a rim around it.

    Parameters
    ----------
    shape : tuple of two int
        Of what is segmented, in pixels.
    exclude : sequence of str
        Artefacts that are left out, as in
        :class:`~psmlearn.preprocessing.TissueDetector`.
    """
    picture, size = thumbnail(slide)
    detector = TissueDetector(exclude=exclude, pixel_size=size)
    with warnings.catch_warnings():
        # That there is nothing in parts is what a slide looks like.
        warnings.simplefilter("ignore", NoDataWarning)
        usable = detector.fit([picture]).predict([picture])[0]
        spoilt = np.zeros(usable.shape, bool)
        if exclude:
            kinds = artefact_mask(picture, pixel_size=size)
            spoilt = kinds > 0
            if (kinds == PEN).any():  # the stroke's pale edge is no tissue
                away = ndi.distance_transform_edt(kinds != PEN)
                usable &= away > _EDGE / size
    if not usable.any():
        return Tissue(usable, shape)
    near = ndi.distance_transform_edt(~usable) <= _RIM / size
    return Tissue(near & ~spoilt, shape)
