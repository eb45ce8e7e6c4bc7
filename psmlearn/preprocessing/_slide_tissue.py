# SPDX-License-Identifier: BSD-3-Clause
"""Where the tissue of a slide is, from a thumbnail."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from psmlearn._images._artefacts import PEN
from psmlearn._images._clumps import Box
from psmlearn.exceptions import NoDataWarning
from psmlearn.io import Slide
from psmlearn.preprocessing._functions import artefact_mask
from psmlearn.preprocessing._tissue_detector import TissueDetector

__all__ = ["Tissue", "find_tissue", "thumbnail"]

# Micrometres of a pixel of the thumbnail, where its sides allow it, and of the rim that
# is read around tissue; how far a stroke of pen may reach beyond what is told of it.
_PIXEL, _COARSEST, _RIM, _EDGE = 4.0, 16.0, 30.0, 10.0
_SIDES = (1024, 4096)
_USUAL_PIXEL = 0.25


@dataclass(frozen=True)
class Tissue:
    """Where a slide is looked at, on a coarse grid.

    Attributes
    ----------
    mask : ndarray of shape (rows, columns), bool
    shape : tuple of two int
        Of what is segmented, in pixels.
    """

    mask: np.ndarray
    shape: tuple[int, int]

    def shown(self, box: Box) -> np.ndarray | None:
        """Return which pixels of a box are looked at; None where all are."""
        rows, columns = (
            np.arange(first, last) * cells // side
            for first, last, cells, side in zip(
                box[:2], box[2:], self.mask.shape, self.shape, strict=True
            )
        )
        if self.mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all():
            return None
        return self.mask[np.ix_(rows, columns)]

    def any_in(self, box: Box) -> bool:
        """Tell whether any pixel of a box is looked at."""
        (top, left), (bottom, right) = (
            [
                side * cells // whole
                for side, cells, whole in zip(
                    corner, self.mask.shape, self.shape, strict=True
                )
            ]
            for corner in (box[:2], (box[2] - 1, box[3] - 1))
        )
        return bool(self.mask[top : bottom + 1, left : right + 1].any())

    @property
    def share(self) -> float:
        """The part of the slide that is looked at, from 0 to 1."""
        return float(self.mask.mean())


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
