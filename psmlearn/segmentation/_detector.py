# SPDX-License-Identifier: BSD-3-Clause
"""Detection of nuclei: one point each."""

from __future__ import annotations

from functools import partial
from numbers import Real

import numpy as np
from scipy import ndimage as ndi
from skimage.feature import peak_local_max
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from psmlearn.io._batch import ImageBatch
from psmlearn.io._point_checks import are_points, check_points
from psmlearn.segmentation._base import PixelNetworkEstimator
from psmlearn.segmentation._classes import class_counts, class_places, mask_points
from psmlearn.segmentation._losses import heatmap_loss, pixel_loss
from psmlearn.segmentation._masks import class_planes
from psmlearn.segmentation._points import merge_near as _merge_near
from psmlearn.segmentation._targets import nearest_values, points_to_heatmap

__all__ = ["NucleiDetector"]

# The heat map is cut with the ids, as whole numbers up to this one.
_HEAT_LEVELS = 255


class NucleiDetector(PixelNetworkEstimator):
    """Find one point in every nucleus.

    From masks (height, width, 2) or points (n, 3) it learns the classes of the nuclei
    too, and its points are (n, 3): row, column, and the class that is likeliest
    around the point.

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
    class_channel : int, default=None
        Channel of X that holds the classes of these masks.
    class_weight : {"sqrt", "balanced"}, dict or None, default="sqrt"
        How much the nuclei of a class count in training; see
        :class:`NucleiSegmenter`. With points it is their number that tells.
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
best_loss_, device_, classes_
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
        class_channel=None,
        class_weight="sqrt",
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
        self.class_channel = class_channel
        self.class_weight = class_weight
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
        y : list of masks (height, width[, 2]) or of points (n_points, 2 or 3), \
default=None
            Points are floats, row and column in pixels, and the class, 0 where it is
            unknown. Ignored where `label_channel` is given.

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
        images = self._check_stacks(X, reset=not continued)
        if self.targets == "mask":
            self._fit_masks(images, y, continued=continued, **how)
        else:
            self._fit_heat(images, y, continued=continued, **how)
        return self

    def _fit_masks(self, images: ImageBatch, y, *, continued: bool, **how) -> None:
        masks = self._training_masks(images, y)
        classes = self._find_classes(class_planes(masks), continued)
        loss, n_planes, weights = pixel_loss, 1, None
        if classes is not None:
            weights = self._number_classes(masks, classes)
            loss, n_planes = partial(pixel_loss, weights=weights), 2
        self._train_pixels(
            images,
            masks,
            1 + (1 if classes is None else len(classes)),
            lambda crops: [crops[..., k].astype(np.int64) for k in range(1, n_planes)],
            loss,
            classes=classes,
            weights=weights,
            continued=continued,
            **how,
        )

    def _fit_heat(self, images: ImageBatch, y, *, continued: bool, **how) -> None:
        masks, points = self._points_to_learn(images, y)
        values = [found[:, 2] for found in points] if points[0].shape[1] == 3 else None
        classes = self._find_classes(values, continued)
        loss, weights = heatmap_loss, None
        if classes is not None:
            places = [class_places(each, classes) for each in values]
            weights = self._class_weights(classes, class_counts(places, len(classes)))
            loss = partial(heatmap_loss, weights=weights)
        planes = []
        for i, diameter in enumerate(self._diameters(images)):
            heat = points_to_heatmap(points[i], masks[i].shape, diameter / 5)
            heat = np.round(heat * _HEAT_LEVELS).astype(np.int32)
            stack = [masks[i], heat]
            if classes is not None:
                stack.append(nearest_values(points[i], places[i], masks[i].shape))
            planes.append(np.stack(stack, axis=-1))
        self._train_pixels(
            images,
            planes,
            1 + (1 if classes is None else len(classes)),
            _heat_crops,
            loss,
            classes=classes,
            weights=weights,
            continued=continued,
            **how,
        )

    def _points_to_learn(self, images: ImageBatch, y) -> tuple[list, list]:
        """Return the ids (0 where only points are known) and the points."""
        if self.label_channel is None and are_points(y, images):
            masks = [np.zeros(shape, np.int32) for shape in images.shapes]
            return masks, check_points(y, images)
        masks = self._training_masks(images, y)
        points = [mask_points(mask) for mask in masks]
        return [mask if mask.ndim == 2 else mask[..., 0] for mask in masks], points

    def predict(self, X) -> list[np.ndarray]:
        """Return the points of each image.

        Returns
        -------
        points : list of ndarray of shape (n_points, 2 or 3), float64
            Row and column in pixels, one array an image; with the class where
            classes were learnt.
        """
        self._check_is_fitted()
        images = self._check_stacks(X, reset=False)
        outputs = self._predict_pixels(images, self._activation())
        return [
            self._peaks(output[..., 1:], pixel_size)
            for output, pixel_size in zip(
                outputs, self._pixel_sizes(images), strict=True
            )
        ]

    def predict_proba(self, X) -> np.ndarray | list[np.ndarray]:
        """Return the probability of each pixel to be a nucleus' centre.

        Returns
        -------
        probabilities : array or list of ndarray of shape \
(height, width, 1 + n_classes), float32
            Background first, then the classes in the order of `classes_`, or nucleus
            where there are none; they sum to 1. With ``targets="mask"`` those of
            foreground, not of centres.
        """
        self._check_is_fitted()
        images = self._check_stacks(X, reset=False)
        return images.wrap(list(self._predict_pixels(images, self._activation())))

    def _peaks(self, scores: np.ndarray, pixel_size: float) -> np.ndarray:
        """Return the points of an image, (n, 2 or 3), from (height, width, classes)."""
        classes = getattr(self, "classes_", None)
        sigma = self.smoothing / pixel_size
        smooth = [
            ndi.gaussian_filter(scores[..., k], sigma) for k in range(scores.shape[-1])
        ]
        points = peak_local_max(
            smooth[0] if len(smooth) == 1 else np.sum(smooth, axis=0),
            min_distance=max(1, round(self.min_distance / pixel_size)),
            # A blurred Gaussian of height 1 is lower: half of what is left of it.
            threshold_abs=self.threshold * self._blurred_height(pixel_size),
            exclude_border=False,
        )
        distance = self.merge_distance / pixel_size
        if classes is None:
            return _merge_near(points.astype(float), distance)
        rows, columns = points.T
        found = np.column_stack([points, *[plane[rows, columns] for plane in smooth]])
        found = _merge_near(found.astype(float), distance)
        return np.column_stack([found[:, :2], classes[found[:, 2:].argmax(axis=1)]])

    def _blurred_height(self, pixel_size: float) -> float:
        """Return the height at its centre of a perfect answer after the blur."""
        if self.targets == "mask":
            return 1.0
        heat = (self.nucleus_diameter / 5) ** 2
        return heat / (heat + self.smoothing**2)


def _heat_crops(crops: np.ndarray) -> list[np.ndarray]:
    """Return heat map and places of the classes from crops of ids, heat, places."""
    places = [crops[..., k].astype(np.int64) for k in range(2, crops.shape[-1])]
    return [crops[..., 1] / np.float32(_HEAT_LEVELS), *places]
