# SPDX-License-Identifier: BSD-3-Clause
"""StainNormalizer: images of many laboratories as if from one."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from psmlearn._images._artefacts import artefact_mask
from psmlearn._images._stains import Stain
from psmlearn._parameters import as_list, check_number, is_number
from psmlearn._sklearn_compat import Interval, StrOptions, _fit_context
from psmlearn._typing import Images, PixelSize, RandomState
from psmlearn.base import CHANNEL, PIXEL_SIZE, RANDOM_STATE, BaseImageEstimator
from psmlearn.io._batch import ImageBatch, resolve_pixel_size
from psmlearn.preprocessing import _colour

__all__ = ["StainNormalizer"]


# scikit-learn has no stubs, so that mypy does not know its __init_subclass__.
class StainNormalizer(  # type: ignore[call-arg]
    TransformerMixin, BaseImageEstimator, auto_wrap_output_keys=None
):
    """Bring the stains of images to those of the images it was fitted on.

    `fit` learns the target from all its images together; `transform` brings each
    image to it by itself. Both look at stained pixels only, without pen marks, folds
    and dirt, and at a sample of them.

    Parameters
    ----------
    method : {"macenko", "reinhard"}, default="macenko"
        "macenko": the image is separated into two stains, their colours are replaced
        by the target's and their amounts brought to its strength. "reinhard": mean
        and deviation of the colours, in CIE Lab, become those of the target.
    stains : sequence of 2 str or vectors or None, default=None
        For "macenko", the stains of all images, as in `stain_vector`; then only
        strengths are brought together. None estimates those of the target and those
        of each image.
    density_threshold : float, default=0.1
        Mean optical density above which a pixel counts as stained.
    angle_percentile : float, default=1.0
        For "macenko", percentage of pixels beyond each estimated stain.
    exclude_artefacts : bool, default=True
        Whether pen marks, folds and dirt are left out of what is learnt. They are
        transformed like everything else.
    n_samples : int, default=100000
        Stained pixels drawn from all images of `fit`, and from each of `transform`.
    label_channel : int, sequence of int or None, default=None
        Channels beyond the third that hold labels and may exceed [0, 1].
    pixel_size : float, sequence of float or "file", default=0.25
        Micrometres per pixel, for finding artefacts.
    random_state : int, RandomState instance or None, default=None
        Draws the samples. `transform` repeats itself in any case.

    Attributes
    ----------
    stains_ : ndarray of shape (2, 3)
        Target's stains, haematoxylin first if estimated; "macenko" only.
    strengths_ : ndarray of shape (2,)
        99th percentile of the amount of each; "macenko" only.
    means_, deviations_ : ndarray of shape (3,)
        Target's colours in Lab; "reinhard" only.
    n_features_in_ : int
        Channels of the images.

    See Also
    --------
    separate_stains : Amounts of stains, without changing the image.

    Notes
    -----
    Images are RGB; further channels (maps, labels) are handed on as they are. An image
    that has fewer than 100 stained pixels, or no colour at all, comes back unchanged.
    One that shows but one stain (two estimates within 10 degrees) is given the nearer
    target's colour and strength. A stain that is as good as absent is not blown up to
    the target's strength, and none is by more than 4 times. The light of the empty
    slide is taken to be white: balance images with tinted glass first.

    Strength carries meaning in immunohistochemistry, and an image without any DAB
    has nothing to estimate its colour from: give ``stains=("haematoxylin", "dab")``
    there, and measure intensities (H-score) on the images as they came.

    References
    ----------
    M. Macenko et al., "A method for normalizing histology slides for quantitative
    analysis", ISBI 2009.

    E. Reinhard et al., "Color transfer between images", IEEE Computer Graphics and
    Applications 21(5), 2001.

    Examples
    --------
    >>> from psmlearn.datasets import make_nuclei
    >>> from psmlearn.preprocessing import StainNormalizer
    >>> images = make_nuclei(3, (96, 96), random_state=0).images
    >>> normalizer = StainNormalizer(random_state=0).fit(images[:2])
    >>> normalizer.transform(images[2:]).shape
    (1, 96, 96, 3)
    """

    _parameter_constraints: dict = {
        "method": [StrOptions({"macenko", "reinhard"})],
        "stains": ["array-like", None],
        "density_threshold": [Interval(Real, 0, None, closed="left")],
        "angle_percentile": [Interval(Real, 0, 50, closed="left")],
        "exclude_artefacts": ["boolean"],
        "n_samples": [Interval(Integral, 100, None, closed="left")],
        "label_channel": [CHANNEL, "array-like", None],
        "pixel_size": PIXEL_SIZE,
        "random_state": RANDOM_STATE,
    }

    def __init__(
        self,
        method: str = "macenko",
        *,
        stains: Sequence[Stain] | None = None,
        density_threshold: float = 0.1,
        angle_percentile: float = 1.0,
        exclude_artefacts: bool = True,
        n_samples: int = 100_000,
        label_channel: int | Sequence[int] | None = None,
        pixel_size: PixelSize = 0.25,
        random_state: RandomState = None,
    ) -> None:
        self.method = method
        self.stains = stains
        self.density_threshold = density_threshold
        self.angle_percentile = angle_percentile
        self.exclude_artefacts = exclude_artefacts
        self.n_samples = n_samples
        self.label_channel = label_channel
        self.pixel_size = pixel_size
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Images, y: object = None) -> StainNormalizer:
        """Learn the target's stains from images.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            RGB images, or paths of their files.
        y : None
            Ignored.

        Returns
        -------
        self : StainNormalizer

        Raises
        ------
        ValueError
            If the images show no stain to learn from.
        """
        with self._keeps_what_was():
            self._learn(X)
        return self

    def _learn(self, X: Images) -> None:
        """Check the images, and learn from their stained pixels."""
        given = self._given_stains()
        images = self._rgb_images(X, reset=True)
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        quota = max(1, -(-self.n_samples // len(images)))
        sizes = resolve_pixel_size(self.pixel_size, images)
        pixels = np.concatenate(
            [
                self._stained(images[index][..., :3], float(size), quota)[0]
                for index, size in enumerate(sizes)
            ]
        )
        if len(pixels) < _colour.MIN_PIXELS or not _colour.is_coloured(pixels):
            raise ValueError(
                "StainNormalizer: the images show no stain to learn from: fewer than "
                f"{_colour.MIN_PIXELS} coloured pixels have a mean optical density "
                f"above {self.density_threshold:g}"
            )
        for name in ("stains_", "strengths_", "means_", "deviations_"):
            self.__dict__.pop(name, None)  # of an earlier fit by the other method
        if self.method == "reinhard":
            self.means_, self.deviations_ = _colour.lab_moments(pixels)
        else:
            self.stains_, self.strengths_ = _colour.learn_stains(
                pixels, given, self.angle_percentile
            )

    def transform(self, X: Images) -> np.ndarray | list[np.ndarray]:
        """Bring images to the target's stains.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            RGB images, or paths of their files.

        Returns
        -------
        images : ndarray or list of ndarray of shape (height, width, n_channels)
            float32 in [0, 1], in the container of `X`.
        """
        check_is_fitted(self)
        given = self._given_stains()
        images = self._rgb_images(X, reset=False)
        sizes = resolve_pixel_size(self.pixel_size, images)
        return images.wrap(
            self._normalize(images[index], float(size), given)
            for index, size in enumerate(sizes)
        )

    def _normalize(
        self, image: np.ndarray, pixel_size: float, given: np.ndarray | None
    ) -> np.ndarray:
        colours = np.ascontiguousarray(image[..., :3])
        pixels, density = self._stained(colours, pixel_size, self.n_samples)
        if len(pixels) < _colour.MIN_PIXELS or not _colour.is_coloured(pixels):
            return image
        if self.method == "reinhard":
            done = _colour.to_moments(
                colours,
                density,
                _colour.lab_moments(pixels),
                (self.means_, self.deviations_),
                self.density_threshold,
            )
        else:
            source = _colour.source_stains(
                pixels, given, self.angle_percentile, self.stains_
            )
            done = _colour.to_stains(
                colours, pixels, source, self.stains_, self.strengths_
            )
        image[..., :3] = done
        return image

    def _stained(
        self, colours: np.ndarray, pixel_size: float, quota: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw stained pixels of one image, (n, 3); return the mean density, too."""
        density = _colour.mean_density(colours)
        wanted = density > self.density_threshold
        if self.exclude_artefacts and wanted.any():
            wanted &= artefact_mask(colours, pixel_size=pixel_size) == 0
        chosen = np.flatnonzero(wanted)
        if len(chosen) > quota:
            rng = np.random.default_rng(self._seed)
            chosen = chosen[np.sort(rng.integers(len(chosen), size=quota))]
        return colours.reshape(-1, 3)[chosen], density

    def _given_stains(self) -> np.ndarray | None:
        if self.stains is None:
            return None
        if self.method != "macenko":
            raise ValueError(
                f'stains: method="{self.method}" knows no stains; leave it None, or '
                'use method="macenko"'
            )
        return _colour.check_two_stains(self.stains)

    def _rgb_images(self, X: Images, *, reset: bool) -> ImageBatch:
        labels = self.label_channel
        if labels is not None and not is_number(labels, whole=True):
            labels = as_list(labels, "label_channel", "a channel or a list of channels")
            for label in labels:
                check_number(label, "Each label_channel", -1000, 1000, whole=True)
        images = self._check_images(X, reset=reset, label_channel=labels)
        if images.n_channels < 3:
            raise ValueError(
                "StainNormalizer: stains are told by 3 channels (RGB), the images have "
                f"n_channels={images.n_channels}"
            )
        for label in np.ravel([] if labels is None else labels):
            if label % images.n_channels < 3:
                raise ValueError(
                    f"label_channel={int(label)}: the first 3 channels are the colours"
                )
        return images

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "stains_") or hasattr(self, "means_")
