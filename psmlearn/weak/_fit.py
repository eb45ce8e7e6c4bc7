# SPDX-License-Identifier: BSD-3-Clause
"""How a mapper of image labels is fitted."""

from __future__ import annotations

import copy
import warnings
from typing import Self

import numpy as np
import torch
from psmlearn.activation._cam_training import (
    CAMLoss,
    CAMNetwork,
    LossWeights,
    WorkingImages,
)
from psmlearn.activation._class_mapping import ClassMapper
from psmlearn.activation._image_labels import as_image_labels, learn_labels
from psmlearn.activation._refinement import find_centers, sample_pixels
from psmlearn.activation._resupervision import Resupervision
from sklearn.exceptions import ConvergenceWarning

from psmlearn._engine._inference import working_copy
from psmlearn._engine._seed import draw_seed, isolated_torch
from psmlearn._engine._state import load_weights
from psmlearn._engine._train import TrainResult, autocast, train_network
from psmlearn.base import check_value_range

__all__ = ["WeakMapper"]

_N_VALIDATION_BATCHES = 4
# Images and pixels that the clusters of refinement are found on, at most.
_N_CENTER_IMAGES, _N_CENTER_PIXELS = 256, 40_000
# Images of a class that maps are looked at in when the training is done.
_N_LOOKED_AT = 32
# Images up to this side may be one pixel at the deepest level of a network.
_LEAST_SIDE = 16


class _Shuffled:
    """Indices in random order, all of them before any comes again."""

    def __init__(self, indices: np.ndarray) -> None:
        self.indices = indices
        self.waiting = indices[:0]

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        while len(self.waiting) < n:
            self.waiting = np.concatenate([self.waiting, rng.permutation(self.indices)])
        drawn, self.waiting = self.waiting[:n], self.waiting[n:]
        return drawn


class WeakMapper(ClassMapper):
    """Base class: a network of maps that is trained with image labels."""

    # -- fitting ---------------------------------------------------------------

    def _fit(self, X, labels) -> Self:
        device = self._resolve_fit_device()
        continued = self._continues()
        caller = type(self).__name__
        known = getattr(self, "n_features_in_", None)
        try:
            images = self._check_images(
                X, reset=not continued, value_range=check_value_range(self.value_range)
            )
            self._pixel_sizes(images)
            labels = as_image_labels(labels, len(images), caller)
            code = learn_labels(labels, self.negative_label, caller)
            self._check_sizes(images.n_channels)
            if continued:
                self._refuse_changes(code)
        except ValueError:
            if known is not None:  # what was fitted before can still be used
                self.n_features_in_ = known
            raise
        presence = code.presence(labels, caller)
        seed = draw_seed(self.random_state)
        # Later calls with the same seed go on to other batches.
        rng = np.random.default_rng([seed, self.n_epochs_ if continued else 0])
        with isolated_torch(int(rng.integers(2**31)), device):
            self._train(images, presence, code, device, rng, continued)
        self._warn_of_dark_maps(images, presence > 0)
        return self

    def _refuse_changes(self, code) -> None:
        """Refuse to go on with labels or images of another meaning."""
        known = self._code
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
        if check_value_range(self.value_range) != self._trained_range:
            raise ValueError(
                f"Training cannot go on with value_range={self.value_range}: it was "
                f"{self._trained_range}; call fit with warm_start=False to start anew."
            )

    def _check_sizes(self, n_channels: int) -> None:
        channel = self.target_channel
        if channel != "random" and not 0 <= channel < n_channels:
            raise ValueError(
                f"target_channel={channel} is not a channel of images with "
                f"{n_channels} channels, counted from 0."
            )
        if self.batch_size == 1 and self.patch_size <= _LEAST_SIDE:
            raise ValueError(
                f"batch_size=1 with patch_size={self.patch_size}: batch normalisation "
                "needs more values; take larger batches or a larger patch_size."
            )

    def _build(self, recipe: dict) -> CAMNetwork:
        return CAMNetwork(**recipe)

    def _start(self, n_channels: int, n_maps: int, continued: bool):
        """Return the network to train, and its recipe."""
        options = {
            "base_channels": self.base_channels,
            "cam_levels": tuple(self.cam_levels),
        }
        recipe = {
            "network": self.network,
            "in_channels": n_channels,
            "n_maps": n_maps,
            "options": options,
        }
        if continued and recipe != self._network_recipe:
            raise ValueError(
                "Training cannot go on with another network: it was made as "
                f"{self._network_recipe}, and the parameters now ask for "
                f"{recipe}; call fit with warm_start=False to start anew."
            )
        network = copy.deepcopy(self.network_) if continued else self._build(recipe)
        stride = getattr(network.backbone, "stride", 1)
        if isinstance(stride, int) and self.patch_size % stride:
            raise ValueError(
                f"patch_size={self.patch_size} must be a multiple of {stride}, the "
                f"stride of {type(network.backbone).__name__}."
            )
        if self.weights is not None and not continued:
            load_weights(network.backbone, self.weights)
        return network, recipe

    def _train(self, images, presence, code, device, rng, continued) -> None:
        network, recipe = self._start(images.n_channels, 1 + len(code.shown), continued)
        training, held_out = self._split_labelled(presence, rng)
        working = WorkingImages(images, self.patch_size)
        shown = torch.from_numpy(presence)

        def batch(indices: np.ndarray) -> tuple[torch.Tensor, ...]:
            places = torch.from_numpy(indices)
            return working.images[places], working.inside[places], shown[places]

        order = _Shuffled(training)
        validation_seed = int(rng.integers(2**31))

        def draw_validation():
            held = _Shuffled(held_out)
            stream = np.random.default_rng(validation_seed)
            return [
                batch(held.draw(stream, self.batch_size))
                for _ in range(_N_VALIDATION_BATCHES)
            ]

        result = TrainResult()
        usable = False
        try:
            train_network(
                network,
                lambda stream: batch(order.draw(stream, self.batch_size)),
                self._make_loss(network, code, presence[training]),
                settings=self._train_settings(),
                device=device,
                rng=rng,
                result=result,
                draw_validation=draw_validation,
            )
            usable = True
        except KeyboardInterrupt:
            usable = True
            raise
        finally:
            if usable:
                # First what may fail, so that all is stored or nothing.
                centers = self._find_centers(network, working, device, rng)
                self._store_network(network, recipe)
                self._store_meaning(code, centers)
                self._record_training(result, continued=continued)
                self.device_ = str(device)

    def _store_meaning(self, code, centers: np.ndarray | None) -> None:
        """Keep what maps mean, and how they were made."""
        self._code = code
        self._size = self.patch_size
        self._trained_range = check_value_range(self.value_range)
        self._trained_scale = self.map_scale
        self.classes_ = code.classes
        self.map_classes_ = code.shown
        self.refine_centers_ = centers

    def _warn_of_dark_maps(self, images, shown: np.ndarray) -> None:
        """Warn where few images that show a class would have any object of it."""
        rng = np.random.default_rng(0)
        rows = [rng.permutation(np.flatnonzero(column)) for column in shown.T]
        rows = [own[:_N_LOOKED_AT] for own in rows]
        seen = np.unique(np.concatenate(rows))
        peaks = [maps.max(axis=(0, 1)) for maps, _ in self._map(images.subset(seen))]
        lit = np.array(peaks) > self.threshold
        for place, own in enumerate(rows):
            n_lit = lit[np.searchsorted(seen, own), place].sum()
            if n_lit < 0.5 * len(own):
                warnings.warn(
                    f"{type(self).__name__}: the maps of class "
                    f"{self.map_classes_[place]!s} pass threshold={self.threshold} in "
                    f"{n_lit} of {len(own)} training images that show it, so that "
                    "predict would find nothing in most. Look at transform(X); train "
                    "longer, lower threshold, or see whether plain maps "
                    "(cluster_weight=0, reconstruction_weight=0) show more.",
                    ConvergenceWarning,
                    stacklevel=5,
                )

    def _find_centers(
        self, network: CAMNetwork, working: WorkingImages, device, rng
    ) -> np.ndarray | None:
        """Cluster pixels of the training images by the features of the decoder."""
        if not self.reconstruction_weight:  # nothing has taught the decoder
            return None
        network = working_copy(network, device)
        drawn = np.arange(len(working))
        if len(drawn) > _N_CENTER_IMAGES:
            drawn = np.sort(rng.choice(drawn, _N_CENTER_IMAGES, replace=False))
        pixels = []
        for start in range(0, len(drawn), self.batch_size):
            part = torch.from_numpy(drawn[start : start + self.batch_size])
            seen = working.images[part].to(device).float()
            seen = seen.contiguous(memory_format=torch.channels_last)
            with torch.inference_mode(), autocast(device, self.precision):
                _, features = network(seen, True)
            n_pixels = len(part) * _N_CENTER_PIXELS // len(drawn)
            pixels.append(sample_pixels(features, working.inside[part], n_pixels, rng))
        pixels = np.concatenate(pixels)
        if not np.isfinite(pixels).all():
            raise FloatingPointError(
                "The features of the decoder are not finite. Lower learning_rate, and "
                "check the images for constant or corrupt ones."
            )
        if not len(pixels):  # no image has any foreground
            return np.zeros((1, pixels.shape[1]), np.float32)
        return find_centers(pixels, self.refine_clusters, int(rng.integers(2**31)))

    def _split_labelled(self, presence, rng) -> tuple[np.ndarray, np.ndarray]:
        """Set images aside; where a label would be missing, all images serve both."""
        training, held_out = self._split_validation(len(presence), rng)
        kinds = presence.any(axis=0) & ~presence.all(axis=0)
        for part in (training, held_out):
            shown = presence[part]
            if len(part) and (shown.any(axis=0) & ~shown.all(axis=0) != kinds).any():
                everything = np.arange(len(presence))
                return everything, everything
        return training, held_out

    def _make_loss(self, network: CAMNetwork, code, presence: np.ndarray) -> CAMLoss:
        weights = LossWeights(
            self.classification_weight,
            self.suppression_weight,
            self.cluster_weight,
            self.reconstruction_weight,
            self.mask_patch_size,
            self.mask_fraction,
            self.target_channel,
        )
        resupervision = Resupervision(
            self.n_clusters,
            self.voting,
            self.vote_threshold,
            self.cluster_target,
            self.cluster_area,
        )
        class_weights = torch.from_numpy(code.weights(presence, self.class_weight))
        return CAMLoss(
            network,
            weights,
            class_weights,
            code.exclusive,
            resupervision,
            map_scale=self.map_scale,
            augment=self.augment,
            n_warm_up=int(self.warm_up * self.max_epochs * self.steps_per_epoch),
        )
