# SPDX-License-Identifier: BSD-3-Clause
"""What the segmentation of slides takes from a fitted estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from psmlearn._images._checks import scale_image
from psmlearn.segmentation import NucleiSegmenter, PseudoLabelSegmenter
from psmlearn.segmentation._decoding import Decoding
from psmlearn.segmentation._targets import Distance

__all__ = ["SlideModel", "nuclei_segmenter"]


class SlideModel:
    """A segmenter of nuclei that works on parts of an image.

    Parameters
    ----------
    estimator : NucleiSegmenter or PseudoLabelSegmenter
        Fitted.
    pixel_size : float
        Micrometres per pixel of what it is to segment.

    Raises
    ------
    TypeError, ValueError
        If the estimator is none whose nuclei hang on their surroundings alone.
    """

    def __init__(self, estimator: Any, pixel_size: float) -> None:
        segmenter = nuclei_segmenter(estimator)
        self.segmenter = segmenter
        self.pixel_size = pixel_size
        self.n_channels = segmenter.n_features_in_
        self.halo, self.stride = segmenter._halo_and_stride
        tile = max(self.stride, segmenter.tile_size // self.stride * self.stride)
        self.tile_size = tile
        self.decoding: Decoding = segmenter._decoding(pixel_size)
        self.min_prominence = segmenter.min_prominence
        self._network: Any = None

    @property
    def classes(self) -> np.ndarray | None:
        """The classes of the nuclei."""
        return self.segmenter.classes_

    @property
    def n_outputs(self) -> int:
        """Outputs of the network that are kept: all but the background."""
        return self.segmenter._n_foreground() + self.decoding.targets.n_further

    def scaled(self, pixels: np.ndarray, shown: np.ndarray | None) -> np.ndarray:
        """Return float32 pixels in [0, 1], white where nothing is shown."""
        value_range = self.segmenter._frozen.value_range
        image = scale_image(pixels, None, value_range)
        if shown is not None:
            image[~shown] = 1
        return image

    def answer(
        self, image: np.ndarray, margins: tuple[int, int, int, int]
    ) -> np.ndarray:
        """Return the network's answer for a tile, without context and background.

        Parameters
        ----------
        image : ndarray of shape (height, width, n_channels), float32
            Sides that are multiples of the stride.
        margins : tuple of four int
            Context at the top, left, bottom and right.

        Returns
        -------
        answer : ndarray of shape (height, width, n_outputs), float32
        """
        from psmlearn._engine._crops import to_batch
        from psmlearn._engine._inference import refuse_non_finite_answer

        if self._network is None:
            self._network = self.segmenter._tile_network()
        answer = self._network(to_batch(image[np.newaxis]), margins)[0]
        refuse_non_finite_answer(answer, "the network's answer")
        return answer[1:].transpose(1, 2, 0)

    def stain(self, image: np.ndarray) -> np.ndarray:
        """Return what nuclei stand out in, (height, width) float32."""
        return self.segmenter._stain(image)

    def usual_diameter(self, sizes: np.ndarray) -> float:
        """Return the diameter in pixels of nuclei of so many pixels."""
        return self.segmenter._usual_diameter(sizes, self.pixel_size)


def nuclei_segmenter(estimator: Any) -> NucleiSegmenter:
    """Return the segmenter by which an estimator finds nuclei.

    Raises
    ------
    TypeError, ValueError
        If it does not find them by a segmenter alone.
    """
    check_is_fitted(estimator)
    name = type(estimator).__name__
    if isinstance(estimator, PseudoLabelSegmenter):
        if estimator._stained() is not None:
            raise ValueError(
                f"{name}: with class_source='stain' the nuclei of chromogens are read "
                "from the stain of a whole image, which is not done for slides yet; "
                "set class_source='network', or segment fields of the slide."
            )
        estimator = estimator.segmenter_
    if isinstance(estimator, Pipeline) or not isinstance(estimator, NucleiSegmenter):
        raise TypeError(
            f"A fitted NucleiSegmenter, or a PseudoLabelSegmenter with one, is "
            f"expected to segment a slide, got {type(estimator).__name__}."
        )
    if estimator._frozen.value_range is None:
        raise ValueError(
            f"{name}: value_range=None standardises each image by itself, which parts "
            "of a slide cannot be; train with a value_range."
        )
    targets = estimator._frozen.targets
    if type(targets) is not Distance or _n_classes(estimator) > 1:
        raise ValueError(
            f"{name}: slides are segmented with targets='distance' and nuclei of one "
            f"class; these are {targets} and {_n_classes(estimator)} classes, whose "
            "objects are split by what the whole image holds."
        )
    return estimator


def _n_classes(segmenter: NucleiSegmenter) -> int:
    return 1 if segmenter.classes_ is None else len(segmenter.classes_)
