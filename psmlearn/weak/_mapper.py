# SPDX-License-Identifier: BSD-3-Clause
"""Class activation maps from image labels, with cluster-re-supervision."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any, TypeVar, cast

import numpy as np
import torch
from sklearn.base import TransformerMixin
from torch import nn

from psmlearn._engine._inference import refuse_non_finite_answer, working_copy
from psmlearn._engine._modes import plain_torch
from psmlearn._engine._seed import own_draws_of
from psmlearn._engine._train import autocast
from psmlearn._parameters import LARGEST_PIXEL, LARGEST_VOXEL
from psmlearn._sklearn_compat import Interval, StrOptions, _fit_context
from psmlearn._typing import ImageLabels, Images, Masks, Path, PixelSize, RandomState
from psmlearn._warnings import warn_user
from psmlearn.base import (
    AREA,
    AT_LEAST_0,
    CLUSTERS,
    VALUE_RANGE,
    VOXEL_SIZE,
    EarlyStopping,
    NetworkEstimator,
    Option,
    resolve_option,
)
from psmlearn.exceptions import TrainingWarning
from psmlearn.io._batch import ImageBatch, check_masks, check_range, resolve_pixel_size
from psmlearn.weak._labels import (
    LabelCode,
    as_image_labels,
    label_names,
    learn_labels,
)
from psmlearn.weak._maps import (
    check_threshold,
    class_maps,
    cut,
    grow,
    level_logits,
    passing,
    surely_above,
)
from psmlearn.weak._plan import MapParts, MapPlan
from psmlearn.weak._reconstruction import Reconstruction
from psmlearn.weak._refinement import ClusterRefinement
from psmlearn.weak._resupervision import ClusterResupervision
from psmlearn.weak._training import CAMNetwork, WorkingImages, packed

__all__ = ["ClassActivationMapper"]

# Images of a class that maps are looked at in when the training is done.
_N_LOOKED_AT = 32
# Images up to this side may be one pixel at the deepest level of a network.
_LEAST_SIDE = 16

_O = TypeVar("_O", bound=Option)


class ClassActivationMapper(  # type: ignore[call-arg]
    TransformerMixin, NetworkEstimator, auto_wrap_output_keys=None
):
    """Find objects from image labels alone.

    A network learns the label of each image through maps, whose mean over the image
    is the logit of a class; where it is high is what speaks for the class. Such maps
    find the most telling part of an object. Cluster-re-supervision [1]_ completes
    them: pixels of a batch are clustered by the features of a decoder, clusters vote
    by what the maps show in images with and without the class, and the maps are
    taught the result. The decoder learns to reconstruct a masked channel from the
    others, so that its features tell what pixels look like. Once trained, it refines
    maps too: a pixel gets the mean of what is near and alike. With
    ``resupervision=None, reconstruction=None`` it is a plain class activation map [2]_.

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
    suppression_weight : float, default=0.1
        Weight of the mean of the maps of absent classes. 1 in [1]_, where maps can go
        out altogether.
    resupervision : "cluster", ClusterResupervision or None, default="cluster"
        How clusters of pixels teach the maps: "cluster" with the defaults of
        :class:`~psmlearn.weak.ClusterResupervision`, an object of it, or not.
    reconstruction : "channel", Reconstruction or None, default="channel"
        How the decoder learns what pixels look like: "channel" with the defaults of
        :class:`~psmlearn.weak.Reconstruction`, an object of it, or not; then clusters
        are those of random features, and maps are not refined.
    refinement : "cluster", ClusterRefinement or None, default="cluster"
        How maps are refined: "cluster" with the defaults of
        :class:`~psmlearn.weak.ClusterRefinement`, an object of it, or not, as in [1]_.
        Its `sigma`, and None, take effect without a new `fit`.
    value_range : tuple of two floats or None, default=None
        None standardises each channel of each image within its foreground, by median
        and quartiles, and takes any finite values; (0.0, 1.0) takes images as they
        are, all of them foreground; any other range is brought to it.
    augment : bool, default=True
        Whether images are flipped, turned, and changed in contrast in training.
    threshold : float or (float, float), default=(0.6, 0.7)
        Value of a map above which a pixel belongs to an object; of two, the region
        that it is in must pass the second somewhere. 0.5 in [1]_.
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
    early_stopping : bool or EarlyStopping, default=False
        Keep the weights that tell the labels of images set aside best, and stop
        without gain; see :class:`~psmlearn.base.EarlyStopping`.
    pixel_size : float, sequence of float or "file", default=0.25
        Micrometres per pixel, for `min_area`.
    warm_start : bool, default=False
        Whether `fit` continues from the present weights.
    device : str, default="auto"
        "auto", "cpu", "cuda", "cuda:1", "mps".
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the convolutions. "bfloat16" is faster on GPUs and on CPUs that
        have it; where it is slow, a warning says so.
    random_state : int, RandomState or None, default=None
        With an int the result is the same bit for bit on one machine, as long as
        torch has as many threads there.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    classes_ : ndarray
        All labels, ascending; of several labels at once, the names of their columns,
        or their numbers.
    map_classes_ : ndarray of shape (n_classes,)
        The classes that have maps: all but the negative label.
    refine_centers_ : ndarray of shape (n_centers, n_features), float32, or None
        Clusters that maps are refined by, as many as `refinement` says or as there
        are pixels; None without reconstruction.
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

        ClassActivationMapper(
            base_channels=64, map_scale="raw", suppression_weight=1.0,
            resupervision=ClusterResupervision(
                weight=0.1, voting="any", target="one", area="image", warm_up=0.0),
            reconstruction=Reconstruction(mask_fraction=0.01, target_channel=0),
            refinement=None, threshold=0.5, patch_size=240, learning_rate=1e-5,
        )

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

    _stage = "training maps"
    _parameter_constraints: dict = {
        **NetworkEstimator._parameter_constraints,
        "base_channels": [CLUSTERS],
        "cam_levels": ["array-like"],
        "map_scale": [StrOptions({"margin", "raw"})],
        "negative_label": "no_validation",
        "suppression_weight": [AT_LEAST_0],
        "resupervision": [StrOptions({"cluster"}), ClusterResupervision, None],
        "reconstruction": [StrOptions({"channel"}), Reconstruction, None],
        "refinement": [StrOptions({"cluster"}), ClusterRefinement, None],
        "value_range": VALUE_RANGE,
        "augment": ["boolean"],
        "threshold": [Interval(Real, 0, 1, closed="neither"), "array-like"],
        "min_area": [AREA],
        "require_presence": ["boolean"],
        "pixel_size": VOXEL_SIZE,
    }

    def __init__(
        self,
        *,
        network: str | Callable[..., nn.Module] = "cam_unet",
        weights: Path | None = None,
        base_channels: int = 16,
        cam_levels: Sequence[int] = (3, 5),
        map_scale: str = "margin",
        negative_label: object = "auto",
        suppression_weight: float = 0.1,
        resupervision: str | ClusterResupervision | None = "cluster",
        reconstruction: str | Reconstruction | None = "channel",
        refinement: str | ClusterRefinement | None = "cluster",
        value_range: tuple[float, float] | None = None,
        augment: bool = True,
        threshold: float | tuple[float, float] = (0.6, 0.7),
        min_area: float = 0.0,
        require_presence: bool = False,
        max_epochs: int = 20,
        steps_per_epoch: int = 20,
        batch_size: int = 16,
        patch_size: int = 128,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        early_stopping: bool | EarlyStopping = False,
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
            max_epochs=max_epochs,
            steps_per_epoch=steps_per_epoch,
            batch_size=batch_size,
            patch_size=patch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            early_stopping=early_stopping,
            warm_start=warm_start,
            device=device,
            precision=precision,
            random_state=random_state,
            verbose=verbose,
        )
        self.base_channels = base_channels
        self.cam_levels = cam_levels
        self.map_scale = map_scale
        self.negative_label = negative_label
        self.suppression_weight = suppression_weight
        self.resupervision = resupervision
        self.reconstruction = reconstruction
        self.refinement = refinement
        self.value_range = value_range
        self.augment = augment
        self.threshold = threshold
        self.min_area = min_area
        self.require_presence = require_presence
        self.pixel_size = pixel_size

    # -- fitting ---------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Images,
        y: ImageLabels | Masks | None = None,
        *,
        image_labels: ImageLabels | None = None,
    ) -> ClassActivationMapper:
        """Train on images and their labels.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            Images of any size, as arrays or paths.
        y : array-like of shape (n_images,) or (n_images, n_classes), default=None
            Image labels: numbers or strings, or 0 and 1 for each class where an image
            can show several; columns of a DataFrame or a structured array name the
            classes. Ignored where `image_labels` are given.
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
            If images, labels or parameters are bad: another number of labels than of
            images, one label only, masks in place of labels; before any training.
        FloatingPointError
            If training goes astray: a loss, a weight or a map is not finite. The
            mapper is then as it was before.
        KeyboardInterrupt
            Raised on, with the mapper usable with the weights so far.

        Warns
        -----
        TrainingWarning
            If maps pass `threshold` in less than half of the training images that show
            a class (of 32 of each class at most).
        """
        self._fit(X, y if image_labels is None else image_labels)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    @plain_torch()
    def fit_predict(
        self,
        X: Images,
        y: ImageLabels | Masks | None = None,
        *,
        image_labels: ImageLabels | None = None,
    ) -> np.ndarray | list[np.ndarray]:
        """Train, and return the masks of the training images.

        Their labels are known: images without a class have no object of it; in those
        with it `threshold` is three quarters of the peak of the map at most, and what
        reaches nine tenths of the peak nowhere is left out. Parameters are those of
        `fit`, the result is like that of `predict`.
        """
        images, shown = self._fit(X, y if image_labels is None else image_labels)
        return self._masks(images, shown)

    def _fit(
        self, X: Images, labels: ImageLabels | Masks | None
    ) -> tuple[ImageBatch, np.ndarray]:
        """Train; return the checked images and which classes they show."""
        continued = self._continues()
        device = self._before_work(continued=continued)
        caller = type(self).__name__
        value_range, parts = check_range(self.value_range), self._parts()
        check_threshold(self.threshold)
        with self._keeps_what_was():
            images = self._check_images(X, reset=not continued, value_range=value_range)
            self._pixel_sizes(images)
            checked = as_image_labels(labels, len(images), caller)
            names = label_names(labels)
            code = learn_labels(checked, self.negative_label, caller, names)
            parts.reconstruction.check(images.n_channels)
            self._check_batches()
            if continued:
                self._refuse_changes(code)
            presence = code.presence(checked, caller)
            plan = MapPlan(self, parts, images, presence, code)
            self._fit_plan(plan, device, continued=continued)
            self._warn_of_dark_maps(images, presence > 0)
        return images, presence > 0

    def _parts(self) -> MapParts:
        return MapParts(
            _part(self.resupervision, "cluster", ClusterResupervision(weight=0.0)),
            _part(self.reconstruction, "channel", Reconstruction(weight=0.0)),
            _part(self.refinement, "cluster", ClusterRefinement(sigma=0.0)),
        )

    def _build(self, recipe: dict[str, Any]) -> CAMNetwork:
        return CAMNetwork(**recipe)

    def _check_batches(self) -> None:
        if self.batch_size == 1 and self.patch_size <= _LEAST_SIDE:
            raise ValueError(
                f"batch_size=1 with patch_size={self.patch_size}: batch normalisation "
                "needs more values; take larger batches or a larger patch_size."
            )

    def _refuse_changes(self, code: LabelCode) -> None:
        """Refuse to go on with labels or images of another meaning."""
        known = self._frozen.code
        if (
            not np.array_equal(code.classes, known.classes)
            or not np.array_equal(code.shown, known.shown)
            or code.exclusive != known.exclusive
        ):
            raise ValueError(
                f"{type(self).__name__}: training cannot go on with other labels: they "
                f"were {known.classes.tolist()}, with maps of {known.shown.tolist()}, "
                f"and are {code.classes.tolist()}, with maps of {code.shown.tolist()}, "
                "now; call fit with warm_start=False to start anew."
            )
        self._refuse_other_range(check_range(self.value_range))

    def _warn_of_dark_maps(self, images: ImageBatch, shown: np.ndarray) -> None:
        """Warn where few images that show a class would have any object of it."""
        rng = np.random.default_rng(0)
        rows = [rng.permutation(np.flatnonzero(column)) for column in shown.T]
        rows = [own[:_N_LOOKED_AT] for own in rows]
        seen = np.unique(np.concatenate(rows))
        peaks = [maps.max(axis=(0, 1)) for maps, _ in self._map(images.subset(seen))]
        lit = np.array(peaks) > check_threshold(self.threshold)[1]
        for place, own in enumerate(rows):
            n_lit = lit[np.searchsorted(seen, own), place].sum()
            if n_lit < 0.5 * len(own):
                warn_user(
                    f"{type(self).__name__}: the maps of class "
                    f"{self.map_classes_[place]!s} pass threshold={self.threshold} in "
                    f"{n_lit} of {len(own)} training images that show it, so that "
                    "predict would find nothing in most. Look at transform(X); train "
                    "longer, lower threshold, or see whether plain maps "
                    "(resupervision=None, reconstruction=None) show more.",
                    TrainingWarning,
                )

    # -- mapping ---------------------------------------------------------------

    def _pixel_sizes(self, images: ImageBatch) -> np.ndarray:
        """Return micrometres per pixel of each image, which may be no micrograph."""
        largest = LARGEST_VOXEL if self.value_range is None else LARGEST_PIXEL
        return resolve_pixel_size(self.pixel_size, images, largest=largest)

    def _images_to_map(self, X: Images) -> ImageBatch:
        self._check_is_fitted()
        return self._check_images(X, reset=False, value_range=self._frozen.value_range)

    def _map(self, images: ImageBatch) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the maps (height, width, n_classes) and logits of each image."""
        device, frozen = self._resolve_predict_device(), self._frozen
        refinement = self._parts().refinement
        refines = frozen.centers is not None and refinement.sigma > 0
        for part, working, raw, features in self._seen(images, device, refines):
            maps = class_maps(raw, working.images.shape[-2:], frozen.map_scale)[:, 1:]
            if refines:
                inside = working.inside.to(device)
                centers = torch.tensor(frozen.centers, device=device)
                maps = refinement.refine(maps, features, inside, centers)
                refuse_non_finite_answer(maps, "a refined activation map")
            logits = level_logits(raw)
            for index, shape in enumerate(part.shapes):
                grown = grow(maps[index].cpu(), working.sides[index], shape)
                shown = part.shown(index)
                if shown is not None:
                    grown[~shown] = 0
                yield grown, logits[index]

    def _seen(
        self, images: ImageBatch, device: torch.device, decode: bool
    ) -> Iterator[tuple[ImageBatch, WorkingImages, list[torch.Tensor], Any]]:
        """Yield batches of images, at work, and what the network gives for them."""
        network = working_copy(self.network_, device)
        draws = own_draws_of(network, 0)
        for start in range(0, len(images), self.batch_size):
            part = images[start : start + self.batch_size]
            working = WorkingImages(part, self._frozen.size)
            seen = packed(working.images.to(device).float())
            with torch.inference_mode(), draws, autocast(device, self.precision):
                raw, features = network(seen, decode)
            for level in raw:
                for index, found in enumerate(level, start):
                    what = f"image {index}: its activation map"
                    refuse_non_finite_answer(found, what)
            yield part, working, raw, features

    def _logits(self, images: ImageBatch) -> np.ndarray:
        """Return the logits of images, (n_images, n_levels, 1 + n_classes)."""
        device = self._resolve_predict_device()
        batches = self._seen(images, device, False)
        return np.concatenate([level_logits(raw) for _, _, raw, _ in batches])

    def _masks(
        self, images: ImageBatch, shown: np.ndarray | None = None
    ) -> np.ndarray | list[np.ndarray]:
        """Return the masks of images; `shown` tells what classes they have."""
        sizes = self._pixel_sizes(images)
        found = self._tracked(self._map(images), images)
        return images.wrap(
            [
                self._mask(*each, sizes[index], None if shown is None else shown[index])
                for index, each in enumerate(found)
            ]
        )

    def _mask(
        self,
        maps: np.ndarray,
        logits: np.ndarray,
        size: float,
        shown: np.ndarray | None,
    ) -> np.ndarray:
        """Return the mask of one image; `shown` tells what classes it has."""
        low, high = check_threshold(self.threshold)
        allowed = np.ones(maps.shape[2], bool)
        if shown is not None:
            allowed = shown
        elif self.require_presence:
            allowed = self._frozen.code.told(logits[None])[0]
        maps = np.where(allowed, maps, np.float32(0))
        above = passing(maps, low, high)
        if shown is not None:  # it is known that there is an object
            above = surely_above(maps, low)
        return cut(maps, above, self.min_area / size**2)

    @plain_torch()
    def _predict_with_maps(
        self, X: Images, shown: np.ndarray | None = None
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return mask, maps and probabilities of each image, by one pass.

        `shown` tells what classes they have, as `fit_predict` knows it.
        """
        images = self._images_to_map(X)
        sizes, found = self._pixel_sizes(images), []
        for index, (maps, logits) in enumerate(self._map(images)):
            known = None if shown is None else shown[index]
            told = self._frozen.code.probabilities(logits[None])[0]
            found.append((self._mask(maps, logits, sizes[index], known), maps, told))
        return found

    @plain_torch()
    def transform(self, X: Images) -> np.ndarray | list[np.ndarray]:
        """Return the class activation maps.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            Images as arrays or paths, of any size.

        Returns
        -------
        array or list of ndarray of shape (height, width, n_classes), float32
            In [0, 1], one for each of `map_classes_`; in the container of X.
        """
        images = self._images_to_map(X)
        found = self._tracked(self._map(images), images)
        return images.wrap([maps for maps, _ in found])

    @plain_torch()
    def predict(self, X: Images) -> np.ndarray | list[np.ndarray]:
        """Return the objects as label images.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            Images as arrays or paths, of any size.

        Returns
        -------
        array or list of ndarray of shape (height, width[, 2]), int32
            0 background, 1..n one id per connected region. With several classes the
            second plane holds the class, the place in `map_classes_` from 1.
        """
        return self._masks(self._images_to_map(X))

    # -- image labels ----------------------------------------------------------

    @plain_torch()
    def predict_image_proba(self, X: Images) -> np.ndarray:
        """Return the probabilities of the labels of each image.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            Images as arrays or paths, of any size.

        Returns
        -------
        ndarray of shape (n_images, n_labels), float32
            In the order of `classes_`. They sum to 1, but for labels of several at
            once, where each is that of the class being shown.
        """
        images = self._images_to_map(X)
        return self._frozen.code.probabilities(self._logits(images))

    @plain_torch()
    def predict_image(self, X: Images) -> np.ndarray:
        """Return the likeliest label of each image, shaped as those of `fit`.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            Images as arrays or paths, of any size.

        Returns
        -------
        ndarray of shape (n_images,), or (n_images, n_classes) of 0 and 1
        """
        probabilities = self.predict_image_proba(X)
        if not self._frozen.code.exclusive:
            return (probabilities > 0.5).astype(int)
        return self.classes_[probabilities.argmax(axis=1)]

    @plain_torch()
    def score(self, X: Images, y: Masks | ImageLabels) -> float:
        """Return the Dice coefficient of masks, or the accuracy of image labels.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
        y : sequence of ndarray of shape (height, width[, 2]), or array of labels
            True masks, for the mean over images of the Dice coefficient of the
            foreground; or labels as in `fit`, for the share that is told right.
        """
        caller = f"{type(self).__name__}.score"
        self._check_is_fitted()
        if y is None:
            raise ValueError(f"{caller}: y is needed, true masks or image labels.")
        if self._are_labels(y):
            found = self.predict_image(X)
            labels = as_image_labels(y, len(found), caller)
            self._frozen.code.presence(labels, caller)  # refuses those of another kind
            return float(np.mean(found == labels))
        from psmlearn.metrics import dice_score

        true = check_masks(cast("Masks", y), None, caller=caller)
        return float(dice_score(true, list(self.predict(X))))

    def _are_labels(self, y: Any) -> bool:
        """Tell image labels from masks, which may be paths."""
        if label_names(y):
            return True
        first: Any = next(iter(y), None)
        if isinstance(first, str | os.PathLike):
            return (
                self._frozen.code.exclusive
                and self.classes_.dtype.kind == "U"
                and not os.path.exists(first)
            )
        return np.ndim(first) < 2


def _part(value: str | _O | None, name: str, off: _O) -> _O:
    return off if value is None else resolve_option(value, {name: type(off)})
