# SPDX-License-Identifier: BSD-3-Clause
"""Detection of nuclei: one point each."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import torch
from scipy import ndimage as ndi
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from torch import nn

from psmlearn._engine._modes import plain_torch
from psmlearn._images._lengths import within_image
from psmlearn._images._peaks import peaks_apart
from psmlearn._sklearn_compat import Interval, StrOptions, _fit_context
from psmlearn._typing import Images, Masks, Path, PixelSize, Points, RandomState
from psmlearn.base import (
    AT_LEAST_0,
    LENGTH,
    LENGTH_OR_0,
    EarlyStopping,
    resolve_option,
)
from psmlearn.io._batch import ImageBatch
from psmlearn.segmentation._appearance import vary_stains
from psmlearn.segmentation._pixels import PixelNetworkEstimator
from psmlearn.segmentation._targets import Foreground, Heatmap, Targets

__all__ = ["NucleiDetector"]

_TARGETS: dict[str, type[Targets]] = {"heatmap": Heatmap, "mask": Foreground}


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
    targets : {"heatmap", "mask"}, Heatmap or Foreground, default="heatmap"
        "heatmap" (:class:`~psmlearn.segmentation.Heatmap`): Gaussians around the
        centres of the nuclei. "mask" (:class:`~psmlearn.segmentation.Foreground`): the
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
    max_epochs, steps_per_epoch, batch_size, patch_size, learning_rate, weight_decay, \
early_stopping, tile_size, pixel_size, warm_start, device, precision, random_state, \
verbose
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

    _stage = "training the detector"
    _parameter_constraints: dict = {
        **PixelNetworkEstimator._parameter_constraints,
        "targets": [StrOptions(set(_TARGETS)), Heatmap, Foreground],
        "min_distance": [LENGTH_OR_0],
        "merge_distance": [Interval(Real, 0, 1000, closed="both")],
        "smoothing": [LENGTH_OR_0],
        "nucleus_diameter": [LENGTH],
        "stain_jitter": [AT_LEAST_0],
        "appearance_randomisation": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        *,
        network: str | Callable[..., nn.Module] = "unet",
        weights: Path | None = None,
        targets: str | Targets = "heatmap",
        min_distance: float = 1.5,
        merge_distance: float = 0.0,
        smoothing: float = 0.575,
        label_channel: int | None = None,
        class_channel: int | None = None,
        class_weight: str | dict | None = "sqrt",
        map_channel: str | int = "drop",
        nucleus_diameter: float = 5.0,
        threshold: float = 0.4,
        stain_jitter: float = 1.0,
        appearance_randomisation: float = 0.5,
        max_epochs: int = 20,
        steps_per_epoch: int = 30,
        batch_size: int = 8,
        patch_size: int = 224,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-4,
        early_stopping: bool | EarlyStopping = True,
        tile_size: int = 1024,
        pixel_size: PixelSize = 0.25,
        warm_start: bool = False,
        device: str = "auto",
        precision: str = "float32",
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            network=network,
            weights=weights,
            label_channel=label_channel,
            class_channel=class_channel,
            class_weight=class_weight,
            map_channel=map_channel,
            threshold=threshold,
            max_epochs=max_epochs,
            steps_per_epoch=steps_per_epoch,
            batch_size=batch_size,
            patch_size=patch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            early_stopping=early_stopping,
            tile_size=tile_size,
            pixel_size=pixel_size,
            warm_start=warm_start,
            device=device,
            precision=precision,
            random_state=random_state,
            verbose=verbose,
        )
        self.targets = targets
        self.min_distance = min_distance
        self.merge_distance = merge_distance
        self.smoothing = smoothing
        self.nucleus_diameter = nucleus_diameter
        self.stain_jitter = stain_jitter
        self.appearance_randomisation = appearance_randomisation

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Images, y: Masks | Points | None = None) -> NucleiDetector:
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
        FloatingPointError
            If training goes astray: a loss or a weight is not finite. The detector is
            then as it was before.
        """
        return self._fit(X, y, continued=self._continues())

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Images, y: Masks | Points | None = None) -> NucleiDetector:
        """Train for one epoch on the given images, at a constant learning rate.

        The first call starts a network, later ones go on with it; no image is set
        aside.

        Parameters
        ----------
        X, y
            As in `fit`.

        Returns
        -------
        self : NucleiDetector
        """
        return self._fit(X, y, continued=hasattr(self, "network_"), one_epoch=True)

    def _fit(
        self, X: Images, y: Any, *, continued: bool, one_epoch: bool = False
    ) -> NucleiDetector:
        targets = resolve_option(self.targets, _TARGETS)
        self._fit_pixels(X, y, targets, continued=continued, one_epoch=one_epoch)
        return self

    def _vary(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        distance: torch.Tensor,
        further: list[torch.Tensor],
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        images = vary_stains(
            images,
            labels,
            distance,
            strength=self.stain_jitter,
            share=self.appearance_randomisation,
            generator=generator,
        )
        return images, labels, further

    def _diameters(self, images: ImageBatch) -> np.ndarray:
        """Return the nucleus diameter in pixels for each image."""
        return self.nucleus_diameter / self._pixel_sizes(images)

    @plain_torch()
    def predict(self, X: Images) -> list[np.ndarray]:
        """Return the points of each image.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images as in `fit`, of any size.

        Returns
        -------
        points : list of ndarray of shape (n_points, 2 or 3), float64
            Row and column in pixels, one array an image; with the class where
            classes were learnt.
        """
        images = self._images_to_predict(X)
        outputs = self._predict_pixels(images)
        return [
            self._peaks(output[..., 1:], pixel_size)
            for output, pixel_size in zip(
                outputs, self._pixel_sizes(images), strict=True
            )
        ]

    @plain_torch()
    def predict_proba(self, X: Images) -> np.ndarray | list[np.ndarray]:
        """Return the probability of each pixel to be a nucleus' centre.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images as in `fit`, of any size.

        Returns
        -------
        probabilities : array or list of ndarray of shape \
(height, width, 1 + n_classes), float32
            Background first, then the classes in the order of `classes_`, or nucleus
            where there are none; they sum to 1. With ``targets="mask"`` those of
            foreground, not of centres.
        """
        images = self._images_to_predict(X)
        return images.wrap(list(self._predict_pixels(images)))

    def _peaks(self, scores: np.ndarray, pixel_size: float) -> np.ndarray:
        """Return the points of an image, (n, 2 or 3), from (height, width, classes)."""
        shape = scores.shape[:2]
        sigma = within_image(self.smoothing / pixel_size, shape)
        apart = within_image(self.min_distance / pixel_size, shape)
        smooth = [
            ndi.gaussian_filter(scores[..., k], sigma) for k in range(scores.shape[-1])
        ]
        points = peaks_apart(
            smooth[0] if len(smooth) == 1 else np.sum(smooth, axis=0),
            max(1, round(apart)),
            # A blurred Gaussian of height 1 is lower: half of what is left of it.
            self.threshold
            * self._frozen.targets.peak_height(self.nucleus_diameter, self.smoothing),
        )
        distance = self.merge_distance / pixel_size
        if self.classes_ is None:
            return merge_near(points.astype(float), distance)
        rows, columns = points.T
        found = np.column_stack([points, *[plane[rows, columns] for plane in smooth]])
        found = merge_near(found.astype(float), distance)
        likeliest = self.classes_[found[:, 2:].argmax(axis=1)]
        return np.column_stack([found[:, :2], likeliest])


def merge_near(points: np.ndarray, distance: float) -> np.ndarray:
    """Replace points linked by city-block steps below `distance` by their mean.

    Parameters
    ----------
    points : ndarray of shape (n_points, 2 or more), float
        Row, column, and whatever else is to be averaged.
    distance : float
        In pixels; 0 merges nothing.
    """
    if distance <= 0 or len(points) < 2:
        return points
    pairs = KDTree(points[:, :2]).query_pairs(distance, p=1, output_type="ndarray")
    if not len(pairs):
        return points
    links = coo_array(
        (np.ones(len(pairs), bool), pairs.T), shape=(len(points), len(points))
    )
    n_groups, group = connected_components(links, directed=False)
    size = np.bincount(group, minlength=n_groups)
    means = [
        np.bincount(group, points[:, k], n_groups) / size
        for k in range(points.shape[1])
    ]
    return np.stack(means, axis=1)
