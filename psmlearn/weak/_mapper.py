# SPDX-License-Identifier: BSD-3-Clause
"""Class activation maps from image labels, with cluster-re-supervision."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from numbers import Integral, Real

import numpy as np
from psmlearn.activation._image_labels import as_image_labels
from psmlearn.activation._resupervision import VOTINGS
from psmlearn.activation._weak import WeakMapper
from sklearn.base import TransformerMixin

from psmlearn._sklearn_compat import Interval, StrOptions, _fit_context
from psmlearn.base import NetworkEstimator

__all__ = ["ClassActivationMapper"]

_AT_LEAST_0 = Interval(Real, 0, None, closed="left")
_AT_LEAST_1 = Interval(Integral, 1, None, closed="left")
_SHARE = Interval(Real, 0, 1, closed="neither")


class ClassActivationMapper(TransformerMixin, WeakMapper, auto_wrap_output_keys=None):
    """Find objects from image labels alone.

    A network learns the label of each image through maps, whose mean over the image
    is the logit of a class; where it is high is what speaks for the class. Such maps
    find the most telling part of an object. Cluster-re-supervision [1]_ completes
    them: pixels of a batch are clustered by the features of a decoder, clusters vote
    by what the maps show in images with and without the class, and the maps are
    taught the result. The decoder learns to reconstruct a masked channel from the
    others, so that its features tell what pixels look like. Once trained, it refines
    maps too: a pixel gets the mean of what is near and alike. With ``cluster_weight=0,
    reconstruction_weight=0`` it is a plain class activation map.

    As labeler, ``PseudoLabelSegmenter(ClassActivationMapper(...), segmenter)``, it
    teaches a segmenter. Objects are connected regions; touching ones are not split.

    Parameters
    ----------
    network : str or callable, default="cam_unet"
        "cam_unet", or a factory ``f(in_channels, n_maps)`` of a network that answers
        as :class:`psmlearn.networks.CAMUNet` does.
    weights : str or path, default=None
        Weight file of the network to start from, read without running code.
    base_channels : int, default=16
        Channels of "cam_unet" at full resolution, doubled at each halving. 64 in [1]_.
    cam_levels : sequence of int, default=(3, 5)
        Levels of the encoder whose maps are multiplied, 1 (full resolution) to 5.
    map_scale : {"margin", "raw"}, default="margin"
        What of a level's maps is brought to [0, 1], from the least to the greatest
        value over background, classes and pixels: the maps less their mean over
        background and classes, or as they are, as in [1]_, where a class may be told by
        a dark background alone and its own map shows nothing.
    negative_label : object, default="auto"
        The label of images without any object. "auto" takes the lesser of two
        numbers, and 0 among several; None says that there is none (labels exclude
        each other, and each has a map).
    class_weight : {"balanced"} or None, default="balanced"
        Whether images of rare labels count more in training.
    classification_weight : float, default=1.0
        Weight of the image labels in the loss.
    suppression_weight : float, default=0.1
        Weight of the mean of the maps of absent classes. 1 in [1]_, where maps can go
        out altogether.
    cluster_weight : float, default=1.0
        Weight of cluster-re-supervision. 0.1 in [1]_.
    reconstruction_weight : float, default=0.1
        Weight of the reconstruction of a channel. It alone teaches the decoder what
        pixels look like: with 0 clusters are those of random features, and maps are
        not refined.
    n_clusters : int, default=10
        Clusters of pixels over a batch.
    voting : {"lift", "share", "any"}, default="lift"
        When a cluster counts for a class. "share": its map is above that of the
        background in enough of the images of the class. "lift": it must also stand
        out, with at least twice the mean of the image and half of the greatest mean
        of all clusters; else all clusters of an image can rise together. Where it takes
        8 times as much of the images of the class as of others, it need only be above
        the mean, and others do not make it background. "any": the rule of [1]_: one
        image of the class is enough, and one other image makes it background.
    vote_threshold : float, default=0.5
        Share of images that is enough; not used by "any".
    cluster_target : {"label", "one"}, default="label"
        What pixels of a cluster that counts for a class are taught: the label of
        their image, or 1 in all images as in the code of [1]_.
    cluster_area : {"cluster", "image"}, default="cluster"
        Whether the loss is a mean over clusters, or over the image as in [1]_, where
        a small cluster counts little.
    warm_up : float, default=0.15
        Share of the training before cluster-re-supervision sets in: maps of a network
        that knows nothing yet have nothing to vote with. 0 in [1]_.
    mask_patch_size : int, default=4
        Side of the squares that are masked for reconstruction, in pixels at
        `patch_size`.
    mask_fraction : float, default=0.25
        Share of the squares that is masked. 0.01 in the code of [1]_.
    target_channel : int or "random", default="random"
        The channel that is masked and reconstructed; "random" draws one a batch. A
        single channel reconstructs itself.
    value_range : (0.0, 1.0) or None, default=None
        None standardises each channel of each image within its foreground, by median
        and quartiles, and takes any finite values; (0.0, 1.0) takes images as they
        are, all of them foreground.
    augment : bool, default=True
        Whether images are flipped, turned, and changed in contrast in training.
    refine_clusters : int, default=32
        Clusters that the maps are refined by: a pixel takes the mean of the map over
        near pixels of its cluster. They are found at the end of `fit`, by the features
        of the decoder; a change takes effect with the next one.
    refine_sigma : float, default=0.125
        What is near: standard deviation of the Gaussian weights of that mean, as share
        of `patch_size`. 0 leaves the maps as they are, as in [1]_.
    threshold : float, default=0.6
        Value of a map above which a pixel belongs to an object. 0.5 in [1]_.
    min_area : float, default=0.0
        Smaller regions are dropped, in square micrometres.
    require_presence : bool, default=False
        Whether an image has no object of a class that the classifier denies it.
    max_epochs : int, default=20
        Epochs of training.
    steps_per_epoch : int, default=20
        Batches in an epoch.
    batch_size : int, default=16
        Images in a batch.
    patch_size : int, default=128
        Side of the square that whole images are scaled to for the network, in
        pixels: a label says nothing of a crop.
    learning_rate : float, default=1e-3
        Peak of the one-cycle schedule.
    weight_decay : float, default=1e-2
        Of AdamW.
    early_stopping : bool, default=False
        Keep the weights that tell the labels of images set aside best, and stop
        after `n_iter_no_change` epochs without gain.
    validation_fraction : float, default=0.1
        Share of the images set aside.
    n_iter_no_change : int, default=10
        Patience of early stopping in epochs.
    tol : float, default=1e-4
        Least gain that counts.
    tile_size : int, default=1024
        Not used, but a parameter of all networks: whole images are seen at once.
    pixel_size : float, sequence of float or "file", default=0.25
        Micrometres per pixel, for `min_area`.
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
    classes_ : ndarray
        All labels, ascending; of several labels at once, their columns.
    map_classes_ : ndarray of shape (n_classes,)
        The classes that have maps: all but the negative label.
    refine_centers_ : ndarray of shape (n_centers, n_features), float32, or None
        Clusters that maps are refined by, `refine_clusters` or as many as there are
        pixels; None for ``reconstruction_weight=0``.
    network_ : torch.nn.Module
        The trained network, on the CPU.
    n_features_in_ : int
        Channels of X in `fit`.
    n_epochs_ : int
        Epochs done.
    loss_curve_, validation_loss_curve_ : list of float
        Losses by epoch.
    best_loss_ : float
        Lowest loss.
    device_ : str
        Where the training ran.

    Notes
    -----
    All images of `fit` are held at `patch_size`, 2 bytes a value: 0.1 MB an image of
    3 channels at 128; of images at their own size up to 2 GB are kept besides.

    An image that is far from square leaves most of the square empty, and its maps are
    coarse; cut it first. Levels go with the size: ``cam_levels=(2, 4)`` has as many
    places at 64 pixels as (3, 5) at 128.

    Refined maps are 0 outside the foreground. Refining takes 4 bytes for each pixel at
    `patch_size` and cluster, three times: 6 MB at 128.

    An array of uint8 or uint16 with four channels is taken for RGBA: give floats where
    the fourth is a modality.

    The configuration that is nearest to the code of [1]_::

        ClassActivationMapper(base_channels=64, map_scale="raw",
                              suppression_weight=1.0, cluster_weight=0.1,
                              voting="any", warm_up=0.0,
                              cluster_target="one", cluster_area="image",
                              mask_fraction=0.01, target_channel=0, patch_size=240,
                              refine_sigma=0.0, threshold=0.5, learning_rate=1e-5)

    References
    ----------
    .. [1] Kuang et al., "Cluster-Re-Supervision: Bridging the Gap Between
       Image-Level and Pixel-Wise Labels for Weakly Supervised Medical Image
       Segmentation", IEEE JBHI 27(10), 2023, doi:10.1109/JBHI.2023.3300179.
    .. [2] B. Zhou et al., "Learning Deep Features for Discriminative Localization",
       CVPR 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn import ClassActivationMapper
    >>> images = np.random.default_rng(0).random((4, 32, 32, 2), dtype=np.float32)
    >>> labels = [0, 1, 0, 1]
    >>> images[1::2, 8:16, 8:16] += 2
    >>> mapper = ClassActivationMapper(patch_size=32, max_epochs=1, steps_per_epoch=2,
    ...                                batch_size=4, random_state=0)
    >>> mapper.fit(images, labels).transform(images).shape
    (4, 32, 32, 1)
    >>> mapper.predict(images).shape, mapper.predict_image_proba(images).shape
    ((4, 32, 32), (4, 2))
    """

    _parameter_constraints: dict = {
        **NetworkEstimator._parameter_constraints,
        "base_channels": [_AT_LEAST_1],
        "cam_levels": ["array-like"],
        "map_scale": [StrOptions({"margin", "raw"})],
        "negative_label": "no_validation",
        "class_weight": [StrOptions({"balanced"}), None],
        "classification_weight": [_AT_LEAST_0],
        "suppression_weight": [_AT_LEAST_0],
        "cluster_weight": [_AT_LEAST_0],
        "reconstruction_weight": [_AT_LEAST_0],
        "n_clusters": [_AT_LEAST_1],
        "voting": [StrOptions(set(VOTINGS))],
        "vote_threshold": [_SHARE],
        "cluster_target": [StrOptions({"label", "one"})],
        "cluster_area": [StrOptions({"cluster", "image"})],
        "warm_up": [Interval(Real, 0, 1, closed="left")],
        "mask_patch_size": [_AT_LEAST_1],
        "mask_fraction": [Interval(Real, 0, 1, closed="left")],
        "target_channel": [StrOptions({"random"}), Integral],
        "value_range": ["array-like", None],
        "augment": ["boolean"],
        "refine_clusters": [_AT_LEAST_1],
        "refine_sigma": [_AT_LEAST_0],
        "threshold": [_SHARE],
        "min_area": [_AT_LEAST_0],
        "require_presence": ["boolean"],
    }

    def __init__(
        self,
        *,
        network: str | Callable = "cam_unet",
        weights: str | os.PathLike | None = None,
        base_channels: int = 16,
        cam_levels: Sequence[int] = (3, 5),
        map_scale: str = "margin",
        negative_label: object = "auto",
        class_weight: str | None = "balanced",
        classification_weight: float = 1.0,
        suppression_weight: float = 0.1,
        cluster_weight: float = 1.0,
        reconstruction_weight: float = 0.1,
        n_clusters: int = 10,
        voting: str = "lift",
        vote_threshold: float = 0.5,
        cluster_target: str = "label",
        cluster_area: str = "cluster",
        warm_up: float = 0.15,
        mask_patch_size: int = 4,
        mask_fraction: float = 0.25,
        target_channel: int | str = "random",
        value_range: tuple[float, float] | None = None,
        augment: bool = True,
        refine_clusters: int = 32,
        refine_sigma: float = 0.125,
        threshold: float = 0.6,
        min_area: float = 0.0,
        require_presence: bool = False,
        max_epochs: int = 20,
        steps_per_epoch: int = 20,
        batch_size: int = 16,
        patch_size: int = 128,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        tile_size: int = 1024,
        pixel_size: float | Sequence[float] | str = 0.25,
        warm_start: bool = False,
        device: str = "auto",
        precision: str = "float32",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.network = network
        self.weights = weights
        self.base_channels = base_channels
        self.cam_levels = cam_levels
        self.map_scale = map_scale
        self.negative_label = negative_label
        self.class_weight = class_weight
        self.classification_weight = classification_weight
        self.suppression_weight = suppression_weight
        self.cluster_weight = cluster_weight
        self.reconstruction_weight = reconstruction_weight
        self.n_clusters = n_clusters
        self.voting = voting
        self.vote_threshold = vote_threshold
        self.cluster_target = cluster_target
        self.cluster_area = cluster_area
        self.warm_up = warm_up
        self.mask_patch_size = mask_patch_size
        self.mask_fraction = mask_fraction
        self.target_channel = target_channel
        self.value_range = value_range
        self.augment = augment
        self.refine_clusters = refine_clusters
        self.refine_sigma = refine_sigma
        self.threshold = threshold
        self.min_area = min_area
        self.require_presence = require_presence
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
    def fit(self, X, y=None, *, image_labels=None) -> ClassActivationMapper:
        """Train on images and their labels.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images of any size, as arrays or paths.
        y : array-like of shape (n_images,) or (n_images, n_classes), default=None
            Image labels: numbers or strings, or 0 and 1 for each class where an image
            can show several. Ignored where `image_labels` are given.
        image_labels : array-like, default=None
            Image labels, where y is something else: masks that a scorer needs. In
            cross-validation they are sliced with the images, if they are asked for by
            ``set_fit_request(image_labels=True)`` (metadata routing).

        Returns
        -------
        ClassActivationMapper
            The mapper itself.

        Raises
        ------
        ValueError
            If images or labels are bad: another number of labels than of images, one
            label only, masks in place of labels; before any training.

        Warns
        -----
        ConvergenceWarning
            If maps pass `threshold` in less than half of the training images that show
            a class (of 32 of each class at most).
        """
        return self._fit(X, y if image_labels is None else image_labels)

    def fit_predict(self, X, y=None, *, image_labels=None):
        """Train, and return the masks of the training images.

        Their labels are known: images without a class have no object of it; in those
        with it `threshold` is three quarters of the peak of the map at most, and what
        reaches nine tenths of the peak nowhere is left out. Parameters are those of
        `fit`, the result is like that of `predict`.
        """
        labels = y if image_labels is None else image_labels
        self.fit(X, labels)
        images = self._images_to_map(X)
        labels = as_image_labels(labels, len(images), f"{type(self).__name__}.fit")
        shown = self._code.presence(labels, f"{type(self).__name__}.fit") > 0
        return self._masks(images, shown)
