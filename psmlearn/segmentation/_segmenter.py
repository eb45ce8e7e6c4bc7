# SPDX-License-Identifier: BSD-3-Clause
"""Segmentation of nuclei by a network trained on (pseudo) masks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from numbers import Real

import numpy as np

from psmlearn._sklearn_compat import HasMethods, Interval, StrOptions, _fit_context
from psmlearn.base import UNIT_RANGE
from psmlearn.io._batch import ImageBatch, check_masks
from psmlearn.segmentation._appearance import refuse_other_range
from psmlearn.segmentation._base import PixelNetworkEstimator
from psmlearn.segmentation._classes import class_jaccard, mask_points
from psmlearn.segmentation._losses import instance_loss, region_loss, voronoi_loss
from psmlearn.segmentation._masks import class_planes
from psmlearn.segmentation._outputs import (
    decode_outputs,
    voronoi_crops,
    voronoi_planes,
)
from psmlearn.segmentation._two_stage import fit_detector

__all__ = ["NucleiSegmenter"]


class NucleiSegmenter(PixelNetworkEstimator):
    """Find the outline of every nucleus with a network trained on masks.

    The masks may be pseudo masks: nothing here asks where they come from. With
    ``targets="instances"`` the network learns foreground and the inner distance of
    each object, from which touching nuclei are told apart by a watershed. With masks
    of shape (height, width, 2) it also learns the class of the nuclei, and all that
    it predicts has classes, and touching nuclei of two classes are told apart. With
    ``targets="voronoi"`` it is the two-stage training of [1]_: a detector learns the
    mask, its points give Voronoi labels, and the network learns both. With
    ``targets="regions"`` it learns foreground alone, for what is no nucleus, such as
    tumours: each connected region of it is one object.

    Parameters
    ----------
    network : str or callable, default="unet"
        "unet", "unet_in", "resunet34", or a factory ``f(in_channels, out_channels)``
        of a network whose output has the size of its input. Tiled prediction equals
        whole-image prediction with "unet"; "unet_in" judges by contrast within what it
        sees, for images that show a subject whole, no larger than `tile_size`.
    weights : str or path, default=None
        Weight file to start from, read without running code.
    targets : {"instances", "voronoi", "regions"}, default="instances"
        What the network learns. "regions" are 8-connected and never split, filled or
        made pale (`nucleus_diameter`, `appearance_randomisation` do not matter); in
        training they are turned, scaled and shifted a little.
    detector : NucleiDetector, default=None
        The first stage of "voronoi"; None takes one with the same training parameters.
    voronoi_weight : float, default=1.5
        Weight of the Voronoi labels beside the mask.
    mask_foreground : bool, default=True
        Whether "voronoi" learns the masks' foreground; [1]_'s code does not (False).
    label_channel : int, default=None
        Channel of X that holds the masks to train on; y is ignored then.
    class_channel : int, default=None
        Channel of X that holds the classes of these masks.
    class_weight : {"sqrt", "balanced"}, dict or None, default="sqrt"
        How much the pixels of a class count in training, that nuclei of a rare one
        be found. "balanced" is the inverse of their number, "sqrt" the square root
        of that, both 1 on average; a dict gives weights by class, 1 to those that
        it leaves out.
    map_channel : {"drop", "input"} or int, default="drop"
        What becomes of the activation map in X. "drop": where `label_channel` is
        given, the last of two or four remaining channels is the map and is not an
        input of the network. "input": it is one. An int names the channel to drop.
    nucleus_diameter : float or "auto", default=5.0
        Typical diameter of a nucleus in micrometres, for splitting. "auto" looks it
        up in each image, and `min_area`, made for nuclei of 5.0, follows it.
    min_area : float, default=4.0
        Smaller objects are dropped, in square micrometres.
    threshold : float, default=0.5
        Foreground probability from which a pixel belongs to a nucleus.
    stain_jitter : float, default=1.0
        Strength of the variation of stains, or channels, in training; 0 for none.
    appearance_randomisation : float, default=0.5
        Share of the nuclei whose inside is made pale in training, so that vesicular
        nuclei are learnt from solid ones.
    value_range : (0.0, 1.0) or None, default=(0.0, 1.0)
        Range of floats in X. None takes any finite values, such as those of an MRI
        scan: each channel of an image is standardised by its median and quartiles
        within the subject, around which empty ground is left out. No channel is
        taken for a stain then, in training each varies by itself.
    n_views : int, default=1
        Flips and rotations averaged in prediction, 1 to 8.
    max_epochs : int, default=20
        Epochs of training.
    steps_per_epoch : int, default=30
        Batches of random crops in an epoch.
    batch_size : int, default=8
        Crops in a batch.
    patch_size : int, default=224
        Side of the crops in pixels, a multiple of the network's stride.
    learning_rate : float, default=2e-3
        Peak of the one-cycle schedule.
    weight_decay : float, default=1e-4
        Of AdamW.
    early_stopping : bool, default=True
        Keep the weights that do best on images set aside, with their (pseudo)
        masks, and stop after `n_iter_no_change` epochs without gain.
    validation_fraction : float, default=0.1
        Share of the images set aside; with too few images, fixed crops of the
        training images are used.
    n_iter_no_change : int, default=10
        Patience of early stopping in epochs.
    tol : float, default=1e-4
        Least gain that counts.
    tile_size : int, default=1024
        Side of the tiles in prediction, in pixels; a halo is added.
    pixel_size : float, sequence of float or "file", default=0.25
        Micrometres per pixel: one for all, one per image, or read from the files.
    warm_start : bool, default=False
        Whether `fit` continues from the present weights.
    device : str, default="auto"
        "auto", "cpu", "cuda", "cuda:1", "mps".
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the convolutions.
    random_state : int, RandomState or None, default=None
        With an int the result is the same bit for bit on a CPU.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    network_ : torch.nn.Module
        The trained network, on the CPU.
    n_features_in_ : int
        Channels of X in `fit`.
    n_epochs_ : int
        Epochs done.
    loss_curve_, validation_loss_curve_ : list of float
        Losses by epoch.
    best_loss_ : float
        Lowest loss: of validation with early stopping, else of training.
    device_ : str
        Where the training ran.
    classes_ : ndarray of shape (n_classes,) or None
        The classes of the nuclei, ascending; None where the masks had none.
    detector_ : NucleiDetector
        The first stage (``targets="voronoi"``).

    References
    ----------
    .. [1] P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior
       Self-activation Maps", MICCAI 2023.

    Examples
    --------
    >>> from psmlearn import NucleiSegmenter
    >>> from psmlearn.datasets import make_nuclei
    >>> data = make_nuclei(n_images=2, shape=(64, 64), n_nuclei=8, random_state=0)
    >>> segmenter = NucleiSegmenter(max_epochs=1, steps_per_epoch=2, patch_size=32,
    ...                             batch_size=2, random_state=0)
    >>> segmenter.fit(data.images, data.masks).predict(data.images).shape
    (2, 64, 64)
    """

    _parameter_constraints: dict = {
        **PixelNetworkEstimator._parameter_constraints,
        "targets": [StrOptions({"instances", "voronoi", "regions"})],
        "value_range": [tuple, list, None],
        "detector": [HasMethods(["fit", "predict"]), None],
        "voronoi_weight": [Interval(Real, 0, None, closed="left")],
        "mask_foreground": ["boolean"],
        "nucleus_diameter": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"auto"}),
        ],
        "min_area": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        network="unet",
        weights=None,
        targets="instances",
        detector=None,
        voronoi_weight=1.5,
        mask_foreground=True,
        label_channel=None,
        class_channel=None,
        class_weight="sqrt",
        map_channel="drop",
        nucleus_diameter=5.0,
        min_area=4.0,
        threshold=0.5,
        stain_jitter=1.0,
        appearance_randomisation=0.5,
        value_range=UNIT_RANGE,
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
        self.detector = detector
        self.voronoi_weight = voronoi_weight
        self.mask_foreground = mask_foreground
        self.label_channel = label_channel
        self.class_channel = class_channel
        self.class_weight = class_weight
        self.map_channel = map_channel
        self.nucleus_diameter = nucleus_diameter
        self.min_area = min_area
        self.threshold = threshold
        self.stain_jitter = stain_jitter
        self.appearance_randomisation = appearance_randomisation
        self.value_range = value_range
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

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None) -> NucleiSegmenter:
        """Train on images and masks.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images, or stacks with the masks in `label_channel`.
        y : array or list of ndarray of shape (height, width[, 2]), default=None
            Label images: 0 background, ids from 1, -1 unknown; arrays or paths. The
            second plane holds the classes, from 1; an object of class 0 is learnt as
            nucleus of unknown class. Ignored where `label_channel` is given.

        Returns
        -------
        self : NucleiSegmenter

        Raises
        ------
        ValueError
            If images or masks are not what was expected; before training.
        """
        continued = self._continues()
        if continued:
            refuse_other_range(self.value_range, self._value_range_of(reset=False))
        images = self._check_stacks(X, reset=not continued)
        masks = self._training_masks(images, y)
        classes = self._find_classes(class_planes(masks), continued)
        if self.targets == "voronoi":
            self._fit_voronoi(images, masks, classes, continued)
        else:
            self._fit_masks(images, masks, classes, continued)
        return self

    def _fit_masks(self, images, masks, classes, continued: bool) -> None:
        loss, n_outputs = instance_loss, 3
        if self.targets == "regions":
            loss, n_outputs = region_loss, 2
        weights, n_planes = None, 1
        if classes is not None:
            weights = self._number_classes(masks, classes)
            loss, n_planes = partial(loss, weights=weights), 2
            n_outputs += len(classes) - 1
        self._train_pixels(
            images,
            masks,
            n_outputs,
            lambda crops: [crops[..., k].astype(np.int64) for k in range(1, n_planes)],
            loss,
            classes=classes,
            weights=weights,
            continued=continued,
        )

    def _fit_voronoi(self, images, masks, classes, continued: bool) -> None:
        channels = self._input_channels(images.n_channels)
        self.detector_, points = fit_detector(self, images, masks, channels)
        options = {
            "weight": self.voronoi_weight,
            "mask_foreground": self.mask_foreground,
        }
        if classes is not None:
            options["weights"] = self._number_classes(masks, classes)
        planes = [
            voronoi_planes(mask, found, classes)
            for mask, found in zip(masks, points, strict=True)
        ]
        self._train_pixels(
            images,
            planes,
            1 + (1 if classes is None else len(classes)),
            voronoi_crops,
            partial(voronoi_loss, **options),
            classes=classes,
            weights=options.get("weights"),
            continued=continued,
        )

    def predict(self, X) -> np.ndarray | list[np.ndarray]:
        """Return the label image of each image.

        Returns
        -------
        masks : array or list of ndarray of shape (height, width[, 2]), int32
            0 background, 1..n one id per nucleus; in the container of X. Where
            classes were learnt the second plane holds that of each nucleus.
        """
        images = self._images_to_predict(X)
        return images.wrap(list(self._predict_masks(images)))

    def predict_proba(self, X) -> np.ndarray | list[np.ndarray]:
        """Return the probabilities of background and nucleus at each pixel.

        Returns
        -------
        probabilities : array or list of ndarray of shape \
(height, width, 1 + n_classes), float32
            Background first, then the classes in the order of `classes_`, or nucleus
            where there are none; they sum to 1.
        """
        images = self._images_to_predict(X)
        n_channels = 1 + self._n_foreground()
        outputs = self._predict_pixels(images, self._activation())
        return images.wrap([output[..., :n_channels].copy() for output in outputs])

    def detect(self, X) -> list[np.ndarray]:
        """Return the centroids of the nuclei.

        Returns
        -------
        points : list of ndarray of shape (n_points, 2 or 3), float64
            Row and column in pixels, and the class where classes were learnt.
        """
        images = self._images_to_predict(X)
        return [mask_points(mask) for mask in self._predict_masks(images)]

    def score(self, X, y) -> float:
        """Return the aggregated Jaccard index, the mean over images.

        Parameters
        ----------
        y : array or list of ndarray of shape (height, width[, 2])
            True label images. Where they have classes and classes were learnt, it is
            the mean over the classes too; images without a class do not count in it.
        """
        masks = check_masks(y, None, caller=f"{type(self).__name__}.score")
        return class_jaccard(
            masks, list(self.predict(X)), getattr(self, "classes_", None)
        )

    def _images_to_predict(self, X) -> ImageBatch:
        self._check_is_fitted()
        return self._check_stacks(X, reset=False)

    def _predict_masks(self, images: ImageBatch) -> Iterator[np.ndarray]:
        outputs = self._predict_pixels(images, self._activation())
        for output, size in zip(outputs, self._pixel_sizes(images), strict=True):
            yield decode_outputs(
                output,
                targets=self._targets,
                classes=getattr(self, "classes_", None),
                threshold=self.threshold,
                nucleus_diameter=self.nucleus_diameter,
                min_area=self.min_area,
                pixel_size=size,
            )
