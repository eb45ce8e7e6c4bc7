# SPDX-License-Identifier: BSD-3-Clause
"""How a mapper of image labels is fitted, and what it answers."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
import torch
from torch.nn import functional

from psmlearn._engine._seed import draw_seed, isolated_torch
from psmlearn._engine._state import load_weights
from psmlearn._engine._train import TrainResult, autocast, train_network
from psmlearn._images._regions import connected_regions, regions_of_classes
from psmlearn.activation._cam_maps import class_maps, image_logits
from psmlearn.activation._cam_training import (
    CAMLoss,
    CAMNetwork,
    LossWeights,
    WorkingImages,
)
from psmlearn.activation._image_labels import as_image_labels, learn_labels
from psmlearn.activation._resupervision import Resupervision
from psmlearn.base import NetworkEstimator
from psmlearn.io._batch import ImageBatch, check_masks

__all__ = ["WeakMapper"]

_N_VALIDATION_BATCHES = 4


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


class WeakMapper(NetworkEstimator):
    """Base class: a network of maps that is trained with image labels."""

    # -- fitting ---------------------------------------------------------------

    def _fit(self, X, labels) -> Self:
        device = self._resolve_fit_device()
        continued = self._continues()
        caller = type(self).__name__
        images = self._check_images(
            X, reset=not continued, value_range=self._value_range()
        )
        self._pixel_sizes(images)
        labels = as_image_labels(labels, len(images), caller)
        code = learn_labels(labels, self.negative_label, caller)
        if continued and not np.array_equal(code.classes, self._code.classes):
            raise ValueError(
                f"{caller}: training cannot go on with other labels: they were "
                f"{self._code.classes.tolist()} and are {code.classes.tolist()} now; "
                "call fit with warm_start=False to start anew."
            )
        self._check_sizes(images.n_channels)
        presence = code.presence(labels, caller)
        seed = draw_seed(self.random_state)
        # Later calls with the same seed go on to other batches.
        rng = np.random.default_rng([seed, self.n_epochs_ if continued else 0])
        with isolated_torch(int(rng.integers(2**31)), device):
            self._train(images, presence, code, device, rng, continued)
        return self

    def _value_range(self):
        if self.value_range is None:
            return None
        value_range = tuple(self.value_range)
        if value_range != (0.0, 1.0):
            raise ValueError(
                "value_range: (0.0, 1.0), or None to standardise images of any range, "
                f"is expected, got {value_range}."
            )
        return value_range

    def _check_sizes(self, n_channels: int) -> None:
        channel = self.target_channel
        if channel != "random" and not 0 <= channel < n_channels:
            raise ValueError(
                f"target_channel={channel} is not a channel of images with "
                f"{n_channels} channels, counted from 0."
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
        if continued:
            if recipe != self._network_recipe:
                raise ValueError(
                    "Training cannot go on with another network: it was made as "
                    f"{self._network_recipe}, and the parameters now ask for "
                    f"{recipe}; call fit with warm_start=False to start anew."
                )
            return copy.deepcopy(self.network_), recipe
        network = self._build(recipe)
        stride = getattr(network.backbone, "stride", 1)
        if isinstance(stride, int) and self.patch_size % stride:
            raise ValueError(
                f"patch_size={self.patch_size} must be a multiple of {stride}, the "
                f"stride of {type(network.backbone).__name__}."
            )
        if self.weights is not None:
            load_weights(network.backbone, self.weights)
        return network, recipe

    def _train(self, images, presence, code, device, rng, continued) -> None:
        network, recipe = self._start(images.n_channels, 1 + len(code.shown), continued)
        training, held_out = self._split_validation(len(images), rng)
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
                self._store_network(network, recipe)
                self._code = code
                self._size = self.patch_size
                self.classes_ = code.classes
                self.map_classes_ = code.shown
                self._record_training(result, continued=continued)
                self.device_ = str(device)

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
            augment=self.augment,
            n_warm_up=int(self.warm_up * self.max_epochs * self.steps_per_epoch),
        )

    # -- mapping ---------------------------------------------------------------

    def _images_to_map(self, X) -> ImageBatch:
        self._check_is_fitted()
        return self._check_images(X, reset=False, value_range=self._value_range())

    def _map(
        self, images: ImageBatch, *, maps: bool = True
    ) -> Iterator[tuple[np.ndarray | None, np.ndarray]]:
        """Yield the maps (height, width, n_classes) and logits of each image."""
        from psmlearn._engine._inference import working_copy

        device = self._resolve_predict_device()
        network = working_copy(self.network_, device)
        for start in range(0, len(images), self.batch_size):
            part = images[start : start + self.batch_size]
            working = WorkingImages(part, self._size)
            seen = working.images.to(device).float()
            seen = seen.contiguous(memory_format=torch.channels_last)
            with torch.inference_mode(), autocast(device, self.precision):
                raw, _ = network(seen)
                logits = torch.stack([image_logits(level).float() for level in raw])
                found = class_maps(raw, seen.shape[-2:])[:, 1:] if maps else None
            logits = logits.permute(1, 0, 2).cpu().numpy()
            for index, shape in enumerate(part.shapes):
                grown = None
                if maps:
                    grown = _grow(found[index].cpu(), working.sides[index], shape)
                yield grown, logits[index]

    def _masks(self, images: ImageBatch, shown: np.ndarray | None = None):
        """Return the masks of images; `shown` tells what classes they have."""
        sizes = self._pixel_sizes(images)
        masks = []
        for index, (maps, logits) in enumerate(self._map(images)):
            allowed = np.ones(maps.shape[2], bool)
            if shown is not None:
                allowed = shown[index]
            elif self.require_presence:
                allowed = self._class_probabilities(logits[None])[0] > 0.5
            maps[..., ~allowed] = 0
            min_area = self.min_area / sizes[index] ** 2
            inside = maps.max(axis=-1) > self.threshold
            if maps.shape[2] == 1:
                masks.append(connected_regions(inside, min_area))
                continue
            classes = np.arange(1, maps.shape[2] + 1)
            masks.append(
                regions_of_classes(inside, maps.argmax(axis=-1), classes, min_area)
            )
        return images.wrap(masks)

    def transform(self, X) -> np.ndarray | list[np.ndarray]:
        """Return the class activation maps.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images as arrays or paths, of any size.

        Returns
        -------
        array or list of ndarray of shape (height, width, n_classes), float32
            In [0, 1], one for each of `map_classes_`; in the container of X.
        """
        images = self._images_to_map(X)
        return images.wrap([maps for maps, _ in self._map(images)])

    def predict(self, X) -> np.ndarray | list[np.ndarray]:
        """Return the objects as label images.

        Returns
        -------
        array or list of ndarray of shape (height, width[, 2]), int32
            0 background, 1..n one id per connected region. With several classes the
            second plane holds the class, the place in `map_classes_` from 1.
        """
        return self._masks(self._images_to_map(X))

    # -- image labels ----------------------------------------------------------

    def predict_image_proba(self, X) -> np.ndarray:
        """Return the probabilities of the labels of each image.

        Returns
        -------
        ndarray of shape (n_images, n_labels), float32
            In the order of `classes_`. They sum to 1, but for labels of several at
            once, where each is that of the class being shown.
        """
        images = self._images_to_map(X)
        logits = np.stack([logits for _, logits in self._map(images, maps=False)])
        return self._label_probabilities(logits)

    def predict_image(self, X) -> np.ndarray:
        """Return the likeliest label of each image, shaped as those of `fit`."""
        probabilities = self.predict_image_proba(X)
        if not self._code.exclusive:
            return (probabilities > 0.5).astype(int)
        return self.classes_[probabilities.argmax(axis=1)]

    def _label_probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Turn logits (n, n_levels, 1 + n_classes) into what `classes_` are told."""
        code, logits = self._code, torch.from_numpy(logits)
        if not code.exclusive:
            return torch.sigmoid(logits[..., 1:] - logits[..., :1]).mean(1).numpy()
        if code.negative is None:
            return logits[..., 1:].softmax(-1).mean(1).numpy()
        found = logits.softmax(-1).mean(1).numpy()
        # The background comes first in the network, the negative label in its place.
        order = np.r_[
            np.flatnonzero(code.classes == code.negative),
            np.flatnonzero(code.classes != code.negative),
        ]
        placed = np.empty_like(found)
        placed[:, order] = found
        return placed

    def _class_probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the probabilities of the classes that have maps."""
        found = self._label_probabilities(logits)
        return found[:, np.isin(self._code.classes, self._code.shown)]

    def score(self, X, y) -> float:
        """Return the Dice coefficient of masks, or the accuracy of image labels.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
        y : sequence of ndarray of shape (height, width[, 2]), or array of labels
            True masks, for the mean over images of the Dice coefficient of the
            foreground; or labels as in `fit`, for the share that is told right.
        """
        caller = f"{type(self).__name__}.score"
        self._check_is_fitted()
        if self._are_labels(y):
            found = self.predict_image(X)
            return float(np.mean(found == as_image_labels(y, len(found), caller)))
        from psmlearn.metrics import dice_score

        return dice_score(check_masks(y, None, caller=caller), list(self.predict(X)))

    def _are_labels(self, y: Sequence) -> bool:
        """Tell image labels from masks, which may be paths."""
        first = y[0]
        if isinstance(first, str | os.PathLike):
            return str(first) in self.classes_.astype(str)
        return np.ndim(first) < 2


def _grow(
    maps: torch.Tensor, side: tuple[int, int], shape: tuple[int, int]
) -> np.ndarray:
    """Bring maps (n_classes, size, size) to an image, (height, width, n_classes)."""
    maps = maps[:, : side[0], : side[1]].float()
    if tuple(shape) != tuple(side):
        maps = functional.interpolate(
            maps[None], size=shape, mode="bilinear", align_corners=False
        )[0]
    return maps.permute(1, 2, 0).contiguous().numpy()
