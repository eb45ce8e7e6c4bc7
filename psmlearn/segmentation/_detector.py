# SPDX-License-Identifier: BSD-3-Clause
"""Detection of nuclei: one point each."""

from __future__ import annotations

import os
from numbers import Real

import numpy as np
import torch
from scipy import ndimage as ndi
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from skimage.feature import peak_local_max
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from torch.nn import functional

from psmlearn._images._instances import centroids
from psmlearn.io._batch import ImageBatch
from psmlearn.segmentation._base import PixelNetworkEstimator
from psmlearn.segmentation._losses import known_mean, mask_loss
from psmlearn.segmentation._targets import points_to_heatmap

__all__ = ["NucleiDetector"]

# The heat map is cut with the ids, as whole numbers up to this one.
_HEAT_LEVELS = 255


class NucleiDetector(PixelNetworkEstimator):
    """Find one point in every nucleus.

    Parameters
    ----------
    network : str or callable, default="unet"
        "unet", "resunet34", or a factory ``f(in_channels, out_channels) ->
        torch.nn.Module`` whose output has the size of its input.
    weights : str or path, default=None
        Weight file to start from, read without running code.
    targets : {"heatmap", "mask"}, default="heatmap"
        "heatmap": Gaussians around the centres of the nuclei. "mask": the
        foreground of the masks, the first stage of [1]_.
    min_distance : float, default=1.5
        Least distance between two points in micrometres.
    merge_distance : float, default=0.0
        Points linked by city-block steps below this many micrometres become one,
        their mean; [1]_ merges below 20 pixels (5.0), which joins neighbours.
    smoothing : float, default=0.575
        Standard deviation of the blur of the probability in micrometres.
    label_channel : int, default=None
        Channel of X that holds the masks to train on; y is ignored then.
    map_channel : {"drop", "input"} or int, default="drop"
        What becomes of the activation map in X; see :class:`NucleiSegmenter`.
    nucleus_diameter : float, default=5.0
        Typical diameter of a nucleus in micrometres; the Gaussians have a fifth of
        it as standard deviation.
    threshold : float, default=0.4
        Least (blurred) probability of a point.
    stain_jitter : float, default=1.0
        Strength of the variation of stains in training; 0 for none.
    appearance_randomisation : float, default=0.5
        Share of the nuclei whose inside is made pale in training; needs masks.
    n_views : int, default=1
        Flips and rotations averaged in prediction, 1 to 8.
    max_epochs, steps_per_epoch, batch_size, patch_size, learning_rate, weight_decay, \
early_stopping, validation_fraction, n_iter_no_change, tol, tile_size, pixel_size, \
warm_start, device, precision, random_state, verbose
        As in :class:`NucleiSegmenter`.

    Attributes
    ----------
    network_, n_features_in_, n_epochs_, loss_curve_, validation_loss_curve_, \
best_loss_, device_
        As in :class:`NucleiSegmenter`.

    References
    ----------
    .. [1] P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior
       Self-activation Maps", MICCAI 2023.

    Examples
    --------
    >>> from psmlearn import NucleiDetector
    >>> from psmlearn.datasets import make_nuclei
    >>> data = make_nuclei(n_images=2, shape=(64, 64), n_nuclei=8, random_state=0)
    >>> detector = NucleiDetector(max_epochs=1, steps_per_epoch=2, patch_size=32,
    ...                           batch_size=2, random_state=0)
    >>> points = detector.fit(data.images, data.masks).predict(data.images)
    >>> len(points), points[0].shape[1]
    (2, 2)
    """

    _parameter_constraints: dict = {
        **PixelNetworkEstimator._parameter_constraints,
        "targets": [StrOptions({"heatmap", "mask"})],
        "min_distance": [Interval(Real, 0, None, closed="left")],
        "merge_distance": [Interval(Real, 0, None, closed="left")],
        "smoothing": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        network="unet",
        weights=None,
        targets="heatmap",
        min_distance=1.5,
        merge_distance=0.0,
        smoothing=0.575,
        label_channel=None,
        map_channel="drop",
        nucleus_diameter=5.0,
        threshold=0.4,
        stain_jitter=1.0,
        appearance_randomisation=0.5,
        n_views=1,
        max_epochs=20,
        steps_per_epoch=30,
        batch_size=8,
        patch_size=224,
        learning_rate=2e-3,
        weight_decay=1e-4,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-4,
        tile_size=1024,
        pixel_size=0.25,
        warm_start=False,
        device="auto",
        precision="float32",
        random_state=None,
        verbose=0,
    ):
        self.network = network
        self.weights = weights
        self.targets = targets
        self.min_distance = min_distance
        self.merge_distance = merge_distance
        self.smoothing = smoothing
        self.label_channel = label_channel
        self.map_channel = map_channel
        self.nucleus_diameter = nucleus_diameter
        self.threshold = threshold
        self.stain_jitter = stain_jitter
        self.appearance_randomisation = appearance_randomisation
        self.n_views = n_views
        self.max_epochs = max_epochs
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.patch_size = patch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.tile_size = tile_size
        self.pixel_size = pixel_size
        self.warm_start = warm_start
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None) -> NucleiDetector:
        """Train on images and their masks or points.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images, or stacks with the masks in `label_channel`.
        y : list of masks (height, width) or of points (n_points, 2), default=None
            Points are floats, row and column in pixels. Ignored where
            `label_channel` is given.

        Returns
        -------
        self : NucleiDetector

        Raises
        ------
        ValueError
            If images, masks or points are not what was expected; before training.
        """
        return self._fit(X, y, continued=self._continues())

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None) -> NucleiDetector:
        """Train one epoch more at a constant rate; parameters as in `fit`."""
        return self._fit(
            X,
            y,
            continued=hasattr(self, "network_"),
            max_epochs=1,
            schedule="constant",
        )

    def _fit(self, X, y, *, continued: bool, **how) -> NucleiDetector:
        images = self._check_images(
            X, reset=not continued, label_channel=self.label_channel
        )
        if self.targets == "mask":
            masks = self._training_masks(images, y)
            self._train_pixels(
                images,
                masks,
                2,
                lambda crops: [],
                lambda logits, labels, distance: mask_loss(logits, labels),
                continued=continued,
                **how,
            )
        else:
            self._train_pixels(
                images,
                self._heat_planes(images, y),
                2,
                lambda crops: [crops[..., 1] / np.float32(_HEAT_LEVELS)],
                _heatmap_loss,
                continued=continued,
                **how,
            )
        return self

    def _heat_planes(self, images: ImageBatch, y) -> list[np.ndarray]:
        """Return (height, width, 2): ids, and the heat map in whole steps."""
        if self.label_channel is None and _are_points(y, images):
            points = _check_points(y, images)
            masks = [np.zeros(shape, np.int32) for shape in images.shapes]
        else:
            masks = self._training_masks(images, y)
            points = [centroids(mask) for mask in masks]
        planes = []
        for mask, found, diameter in zip(
            masks, points, self._diameters(images), strict=True
        ):
            heat = points_to_heatmap(found, mask.shape, diameter / 5)
            heat = np.round(heat * _HEAT_LEVELS).astype(np.int32)
            planes.append(np.stack([mask, heat], axis=-1))
        return planes

    def predict(self, X) -> list[np.ndarray]:
        """Return the points of each image.

        Returns
        -------
        points : list of ndarray of shape (n_points, 2), float64
            Row and column in pixels, one array an image.
        """
        self._check_is_fitted()
        images = self._check_images(X, reset=False, label_channel=self.label_channel)
        outputs = self._predict_pixels(images, lambda outputs: outputs.softmax(1))
        return [
            self._peaks(output[..., 1], pixel_size)
            for output, pixel_size in zip(
                outputs, self._pixel_sizes(images), strict=True
            )
        ]

    def _peaks(self, probability: np.ndarray, pixel_size: float) -> np.ndarray:
        smooth = ndi.gaussian_filter(probability, self.smoothing / pixel_size)
        points = peak_local_max(
            smooth,
            min_distance=max(1, round(self.min_distance / pixel_size)),
            # A blurred Gaussian of height 1 is lower: half of what is left of it.
            threshold_abs=self.threshold * self._blurred_height(pixel_size),
            exclude_border=False,
        ).astype(float)
        return _merge_near(points, self.merge_distance / pixel_size)

    def _blurred_height(self, pixel_size: float) -> float:
        """Return the height at its centre of a perfect answer after the blur."""
        if self.targets == "mask":
            return 1.0
        heat = (self.nucleus_diameter / 5) ** 2
        return heat / (heat + self.smoothing**2)


def _heatmap_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    distance: torch.Tensor,
    heat: torch.Tensor,
) -> torch.Tensor:
    """Cross entropy against a soft target; unknown pixels do not count."""
    log_probability = functional.log_softmax(logits, 1)
    values = -(heat * log_probability[:, 1] + (1 - heat) * log_probability[:, 0])
    return known_mean(values, labels >= 0)


def _are_points(y, images: ImageBatch) -> bool:
    """Whether y is a list of (n, 2 or 3) arrays that are no masks of the images."""
    if not isinstance(y, (list, tuple)) or not y:
        return False
    if any(isinstance(item, (str, bytes, os.PathLike)) for item in y):
        return False
    arrays = [np.asarray(item) for item in y]
    shapes = [*images.shapes, *[None] * len(arrays)]
    return all(
        a.size == 0
        or (
            a.ndim == 2
            and a.shape[1] in (2, 3)
            and (a.dtype.kind == "f" or (a.dtype.kind in "iu" and a.shape != shape))
        )
        for a, shape in zip(arrays, shapes, strict=False)
    )


def _check_points(y, images: ImageBatch) -> list[np.ndarray]:
    if len(y) != len(images):
        raise ValueError(
            f"{len(y)} arrays of points were given for {len(images)} images."
        )
    points = []
    for i, (item, shape) in enumerate(zip(y, images.shapes, strict=True)):
        found = np.asarray(item, float).reshape(-1, np.shape(item)[-1] or 2)[:, :2]
        if (
            not np.isfinite(found).all()
            or ((found < -0.5) | (found > np.subtract(shape, 0.5))).any()
        ):
            raise ValueError(
                f"The points of {images.names[i]} leave the image of shape {shape}; "
                "points are (row, column) in pixels."
            )
        points.append(found)
    return points


def _merge_near(points: np.ndarray, distance: float) -> np.ndarray:
    """Replace points linked by city-block steps below `distance` by their mean."""
    if distance <= 0 or len(points) < 2:
        return points
    pairs = KDTree(points).query_pairs(distance, p=1, output_type="ndarray")
    if not len(pairs):
        return points
    links = coo_array(
        (np.ones(len(pairs), bool), pairs.T), shape=(len(points), len(points))
    )
    n_groups, group = connected_components(links, directed=False)
    size = np.bincount(group, minlength=n_groups)
    means = [np.bincount(group, points[:, k], n_groups) / size for k in (0, 1)]
    return np.stack(means, axis=1)
