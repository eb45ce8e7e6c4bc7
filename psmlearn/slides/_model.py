# SPDX-License-Identifier: BSD-3-Clause
"""What the segmentation of slides takes from a fitted estimator."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from psmlearn._images._checks import scale_image
from psmlearn.cluster import SemanticClusterer
from psmlearn.segmentation import NucleiSegmenter, PseudoLabelSegmenter
from psmlearn.segmentation._decoding import Decoding
from psmlearn.segmentation._labelers import last_step
from psmlearn.segmentation._stain_classes import StainedNuclei
from psmlearn.segmentation._targets import Distance, Voronoi

__all__ = ["SlideModel", "nuclei_segmenter"]


class SlideModel:
    """A segmenter of nuclei that works on parts of an image.

    Parameters
    ----------
    estimator : NucleiSegmenter or PseudoLabelSegmenter
        Fitted.
    pixel_size : float
        Micrometres per pixel of what it is to segment.

    Attributes
    ----------
    saved : estimator
        What workers need of it.
    stained : StainedNuclei or None
        What finds the nuclei of chromogens by their stain.

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
        self.stained = _stained(estimator, pixel_size)
        self.saved = segmenter if self.stained is None else estimator
        self.class_names = _class_names(estimator, segmenter)
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
    """Return the segmenter by whose network an estimator finds nuclei.

    Raises
    ------
    TypeError, ValueError
        If it does not find them by a segmenter alone.
    """
    check_is_fitted(estimator)
    name = type(estimator).__name__
    by_stain = False
    if isinstance(estimator, PseudoLabelSegmenter):
        by_stain = estimator._stained() is not None
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
    if by_stain and estimator.min_prominence:
        raise ValueError(
            f"{name}: min_prominence={estimator.min_prominence} beside nuclei that the "
            "stain tells is not done for slides; set the segmenter's min_prominence=0, "
            "or class_source='network'."
        )
    targets = estimator._frozen.targets
    if type(targets) not in (Distance, Voronoi):
        raise ValueError(
            f"{name}: slides are segmented with targets 'distance' or 'voronoi'; these "
            f"are {targets}, whose objects may hang on what the whole image holds."
        )
    return estimator


def _stained(estimator: Any, pixel_size: float) -> StainedNuclei | None:
    """Return what finds the nuclei of chromogens, if anything does."""
    if not isinstance(estimator, PseudoLabelSegmenter):
        return None
    found = estimator._stained()
    if found is None:
        return None
    labeler = deepcopy(found.labeler)
    sizes = [
        name
        for name in labeler.get_params(deep=True)
        if name.rpartition("__")[2] == "pixel_size"
    ]
    labeler.set_params(**dict.fromkeys(sizes, pixel_size))
    return StainedNuclei(labeler, found.n_classes)


def _class_names(estimator: Any, segmenter: NucleiSegmenter) -> dict[int, str]:
    """Return the names of the classes, as far as they have any; else their numbers."""
    classes = segmenter.classes_
    if classes is None:
        return {}
    names = {int(value): f"class {value}" for value in classes}
    labeler = last_step(getattr(estimator, "labeler_", None))
    if isinstance(labeler, SemanticClusterer):
        names |= dict(enumerate(labeler.class_names_, start=1))
    return names
