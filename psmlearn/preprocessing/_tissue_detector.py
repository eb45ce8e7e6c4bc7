# SPDX-License-Identifier: BSD-3-Clause
"""TissueDetector: the regions of images that are worth looking at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.utils.validation import check_is_fitted

from psmlearn._images._artefacts import DIRT, FOLD, PEN, artefact_mask
from psmlearn._images._tissue import tissue_mask
from psmlearn._sklearn_compat import _fit_context
from psmlearn._typing import Images, PixelSize
from psmlearn.base import PIXEL_SIZE, BaseImageEstimator
from psmlearn.io._batch import resolve_pixel_size

__all__ = ["TissueDetector"]

_KINDS = {"pen": PEN, "fold": FOLD, "dirt": DIRT}


class TissueDetector(BaseImageEstimator):
    """Find the tissue of images, without pen marks, folds and dirt.

    The masks serve as `regions` wherever cells are counted. Nothing is learnt: `fit`
    checks the images and notes their channels.

    Parameters
    ----------
    exclude : sequence of {"pen", "fold", "dirt"} or None, \
default=("pen", "fold", "dirt")
        Artefacts that are taken out of the tissue; None or empty takes out none.
    pixel_size : float, sequence of float or "file", default=0.25
        Micrometres per pixel, for all images or one each; "file" reads it from the
        images' files.

    Attributes
    ----------
    n_features_in_ : int
        Channels of the images.

    See Also
    --------
    tissue_mask : The tissue of one image.
    artefact_mask : The artefacts of one image.

    Notes
    -----
    Images are brightfield: RGB or grey, the first three channels count. The masks are
    bool, not label images.

    Examples
    --------
    >>> from psmlearn.datasets import make_nuclei
    >>> from psmlearn.preprocessing import TissueDetector
    >>> images = make_nuclei(2, (96, 96), random_state=0).images
    >>> TissueDetector().fit(images).predict(images).mean(axis=(1, 2)) > 0.9
    array([ True,  True])
    """

    _parameter_constraints: dict = {
        "exclude": [list, tuple, set, frozenset, None],
        "pixel_size": PIXEL_SIZE,
    }

    def __init__(
        self,
        *,
        exclude: Sequence[str] | None = ("pen", "fold", "dirt"),
        pixel_size: PixelSize = 0.25,
    ) -> None:
        self.exclude = exclude
        self.pixel_size = pixel_size

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Images, y: object = None) -> TissueDetector:
        """Check the images.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            Images, or paths of their files.
        y : None
            Ignored.

        Returns
        -------
        self : TissueDetector
        """
        self._kinds()
        with self._keeps_what_was():
            images = self._check_images(X, reset=True)
            resolve_pixel_size(self.pixel_size, images)
        return self

    def predict(self, X: Images) -> np.ndarray | list[np.ndarray]:
        """Find the tissue of images.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            Images, or paths of their files.

        Returns
        -------
        masks : ndarray or list of ndarray of shape (height, width), bool
            True on tissue that no excluded artefact spoils, in the container of `X`.
        """
        check_is_fitted(self)
        kinds = self._kinds()
        images = self._check_images(X, reset=False)
        sizes = resolve_pixel_size(self.pixel_size, images)
        return images.wrap(
            _usable(images[index], float(size), kinds, images.shown(index))
            for index, size in enumerate(sizes)
        )

    def _kinds(self) -> list[int]:
        unknown = [kind for kind in self.exclude or () if not _is_kind(kind)]
        if unknown:
            raise ValueError(
                f"exclude: {unknown[0]!r} is no artefact; expected any of "
                f"{list(_KINDS)}"
            )
        return [_KINDS[kind] for kind in self.exclude or ()]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")


def _is_kind(kind: object) -> bool:
    return isinstance(kind, str) and kind in _KINDS


def _usable(
    image: np.ndarray, pixel_size: float, kinds: list[int], shown: np.ndarray | None
) -> np.ndarray:
    image = image[..., : 3 if image.shape[2] >= 3 else 1]
    tissue = tissue_mask(image, pixel_size=pixel_size)
    if kinds and tissue.any():
        tissue &= ~np.isin(artefact_mask(image, pixel_size=pixel_size), kinds)
    return tissue if shown is None else tissue & shown
