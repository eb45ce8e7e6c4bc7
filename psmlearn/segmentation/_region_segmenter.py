# SPDX-License-Identifier: BSD-3-Clause
"""Segmentation of regions of any size, such as tumours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from psmlearn._engine._augment import random_affine
from psmlearn._images._regions import connected_regions, regions_of_classes
from psmlearn._parameters import LARGEST_PIXEL, LARGEST_VOXEL
from psmlearn._sklearn_compat import _fit_context
from psmlearn._typing import Images, Masks, Path, PixelSize, RandomState
from psmlearn.base import (
    AREA,
    AT_LEAST_0,
    VALUE_RANGE,
    VOXEL_SIZE,
    EarlyStopping,
)
from psmlearn.io._batch import check_range
from psmlearn.segmentation._appearance import vary_channels
from psmlearn.segmentation._pixels import MaskSegmenter
from psmlearn.segmentation._targets import Regions

__all__ = ["RegionSegmenter"]


class RegionSegmenter(MaskSegmenter):
    """Find connected regions of any size with a network trained on masks.

    For what is no nucleus, such as tumours and lesions, in images of any range, such
    as scans: the network learns foreground by cross entropy and Dice coefficient, and
    each connected region of it is one object. In training images are turned, scaled
    and shifted a little, and each channel varies by itself. The masks may be pseudo
    masks, such as those of :class:`ClassActivationMapper`; pixels of -1 are unknown.
    With masks of shape (height, width, 2) it learns classes, too.

    Parameters
    ----------
    network : str or callable, default="unet_in"
        "unet_in", which judges by contrast within what it sees, for images that show a
        subject whole, no larger than `tile_size`; "unet", "resunet34", or a factory
        ``f(in_channels, out_channels)`` of a network whose output has the size of its
        input.
    weights : str or path, default=None
        Weight file to start from, read without running code.
    label_channel : int, default=None
        Channel of X that holds the masks to train on; y is ignored then.
    class_channel : int, default=None
        Channel of X that holds the classes of these masks.
    class_weight : {"sqrt", "balanced"}, dict or None, default="sqrt"
        How much the pixels of a class count in training; see
        :class:`NucleiSegmenter`.
    map_channel : {"drop", "input"} or int, default="input"
        "drop": where `label_channel` is given, the last of two or four remaining
        channels is no input of the network. An int names the channel to drop.
    min_area : float, default=0.0
        Smaller regions are dropped, in square micrometres.
    threshold : float, default=0.5
        Foreground probability from which a pixel belongs to a region.
    jitter : float, default=3.0
        Strength of the variation of each channel's contrast and brightness in
        training; 1 is up to 10 per cent, 0 none.
    value_range : tuple of two floats or None, default=None
        None takes any finite values: each channel of an image is standardised by its
        median and quartiles within the subject, around which empty ground is left out.
        (0.0, 1.0) takes images as they are; any other range is brought to it.
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
    F. Isensee et al., "nnU-Net: a self-configuring method for deep learning-based
    biomedical image segmentation", Nature Methods 18, 2021 (loss and normalisation).

    Examples
    --------
    >>> from psmlearn import RegionSegmenter
    >>> from psmlearn.datasets import make_lesions
    >>> data = make_lesions(n_images=8, shape=(64, 64), random_state=0)
    >>> segmenter = RegionSegmenter(max_epochs=1, steps_per_epoch=2, patch_size=32,
    ...                             batch_size=2, random_state=0)
    >>> segmenter.fit(data.images, data.masks).predict(data.images).shape
    (8, 64, 64)
    """

    _stage = "training the segmenter"
    _parameter_constraints: dict = {
        **MaskSegmenter._parameter_constraints,
        "min_area": [AREA],
        "pixel_size": VOXEL_SIZE,
        "jitter": [AT_LEAST_0],
        "value_range": VALUE_RANGE,
    }

    def __init__(
        self,
        *,
        network: str | Callable[..., nn.Module] = "unet_in",
        weights: Path | None = None,
        label_channel: int | None = None,
        class_channel: int | None = None,
        class_weight: str | dict | None = "sqrt",
        map_channel: str | int = "input",
        min_area: float = 0.0,
        threshold: float = 0.5,
        jitter: float = 3.0,
        value_range: tuple[float, float] | None = None,
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
        self.min_area = min_area
        self.jitter = jitter
        self.value_range = value_range

    @property
    def _largest_pixel(self) -> float:  # type: ignore[override]
        """Images of any range may be no micrographs."""
        return LARGEST_VOXEL if self.value_range is None else LARGEST_PIXEL

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Images, y: Masks | None = None) -> RegionSegmenter:
        """Train on images and masks.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images, or stacks with the masks in `label_channel`.
        y : array or list of ndarray of shape (height, width[, 2]), default=None
            Label images: 0 background, ids from 1, -1 unknown; arrays or paths. The
            second plane holds the classes, from 1. Ignored where `label_channel` is
            given.

        Returns
        -------
        self : RegionSegmenter

        Raises
        ------
        ValueError
            If images or masks are not what was expected; before training.
        FloatingPointError
            If training goes astray: a loss or a weight is not finite. The segmenter
            is then as it was before.
        """
        value_range = check_range(self.value_range)
        self._fit_pixels(
            X, y, Regions(), value_range=value_range, continued=self._continues()
        )
        return self

    def _vary(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        distance: torch.Tensor,
        further: list[torch.Tensor],
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        images, planes = random_affine(images, [labels, *further], generator)
        images = vary_channels(
            images,
            planes[0],
            None,
            strength=self.jitter,
            share=0.0,
            generator=generator,
        )
        return images, planes[0], planes[1:]

    def _decode(self, output: np.ndarray, pixel_size: float) -> np.ndarray:
        return decode_regions(
            output,
            classes=self.classes_,
            threshold=self.threshold,
            min_area=self.min_area,
            pixel_size=pixel_size,
        )


def decode_regions(
    output: np.ndarray,
    *,
    classes: np.ndarray | None,
    threshold: float,
    min_area: float,
    pixel_size: float,
) -> np.ndarray:
    """Return the regions of an image from the activated outputs of the network.

    Parameters
    ----------
    output : ndarray of shape (height, width, 1 + n_classes), float32
        Background and the classes, one where there are none. Regions of two classes
        are two though they touch; a pixel is of the class that is likeliest there.
    classes : ndarray of shape (n_classes,) or None
    threshold : float
        Probability of foreground above which a pixel counts.
    min_area : float
        In square micrometres.
    pixel_size : float
        Micrometres per pixel.

    Returns
    -------
    mask : ndarray of shape (height, width), or (height, width, 2) with classes, int32
    """
    least = round(min_area / pixel_size**2)
    if classes is None:
        return connected_regions(output[..., 1] > threshold, least)
    scores = output[..., 1 : 1 + len(classes)]
    inside = scores.sum(axis=-1) > threshold
    return regions_of_classes(inside, scores.argmax(axis=-1), classes.tolist(), least)
