# SPDX-License-Identifier: BSD-3-Clause
"""Base classes: image checks in, containers out, and networks as numpy state."""

from __future__ import annotations

import os
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from psmlearn.io._batch import ImageBatch, check_images, resolve_pixel_size
from psmlearn.io._standardised import StandardisedBatch

__all__ = ["BaseImageEstimator", "NetworkEstimator"]

UNIT_RANGE = (0.0, 1.0)


def check_value_range(value_range) -> tuple[float, float] | None:
    """Return the range of images, (0.0, 1.0) or None, or say what is wrong."""
    if value_range is None:
        return None
    numbers = tuple(value_range)
    if all(isinstance(each, Real) for each in numbers) and numbers == UNIT_RANGE:
        return UNIT_RANGE
    raise ValueError(
        f"value_range={value_range!r}: (0.0, 1.0) is expected, or None for images of "
        "any finite values, which are then standardised one by one."
    )


class BaseImageEstimator(BaseEstimator):
    """Base class of all estimators whose X is images.

    Images are a 4-D array ``(n_images, height, width, n_channels)`` or a list of
    arrays ``(height, width[, n_channels])`` and paths; see
    :func:`psmlearn.io.check_images`. Transformers among the subclasses pass
    ``auto_wrap_output_keys=None``, else ragged output meets pandas' wrapping.
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = False
        tags.target_tags.required = False
        return tags

    def _check_images(
        self, X, *, reset: bool, value_range=(0.0, 1.0), label_channel=None
    ) -> ImageBatch:
        """Check all images before any work; learn or compare their channels.

        With ``value_range=None`` any finite values are taken, and each image is
        standardised, channel by channel, when it is asked for.
        """
        images = check_images(
            X,
            caller=type(self).__name__,
            n_channels=None if reset else self.n_features_in_,
            value_range=value_range,
            label_channel=label_channel,
        )
        if reset:
            self.n_features_in_ = images.n_channels
        if value_range is not None or isinstance(images, StandardisedBatch):
            return images
        return StandardisedBatch(images)


def _positive_int() -> Interval:
    return Interval(Integral, 1, None, closed="left")


class NetworkEstimator(BaseImageEstimator):
    """Base class of the estimators that train a network.

    A subclass has all the parameters of `_parameter_constraints` below in its own
    ``__init__`` and stores its network by `_store_network`, as ``network_`` (on the
    CPU, in ``eval`` mode) with the recipe to build it again.
    """

    _parameter_constraints: dict = {
        "network": [str, callable],
        "weights": [str, os.PathLike, None],
        "max_epochs": [_positive_int()],
        "steps_per_epoch": [_positive_int()],
        "batch_size": [_positive_int()],
        "patch_size": [_positive_int()],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [_positive_int()],
        "tol": [Interval(Real, 0, None, closed="left")],
        "tile_size": [_positive_int()],
        "pixel_size": [
            Interval(Real, 0, None, closed="neither"),
            "array-like",
            StrOptions({"file"}),
        ],
        "warm_start": ["boolean"],
        "device": [str],
        "precision": [StrOptions({"float32", "bfloat16"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # -- state: numpy outside, a module inside ---------------------------------

    def _build(self, recipe: dict):
        """Build the network that `recipe` describes, its weights undefined."""
        from psmlearn.networks import build_network

        return build_network(**recipe)

    def _store_network(self, network, recipe: dict) -> None:
        self.network_ = network.eval()
        self._network_recipe = recipe

    def __getstate__(self):
        state = dict(super().__getstate__())
        if "network_" in state:
            from psmlearn._engine._state import state_to_numpy

            state["network_"] = state_to_numpy(state["network_"])
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if isinstance(self.__dict__.get("network_"), dict):
            import torch

            from psmlearn._engine._seed import isolated_torch
            from psmlearn._engine._state import load_numpy_state

            weights = self.network_
            # Building draws weights that are thrown away: keep the global stream.
            with isolated_torch(0, torch.device("cpu")):
                network = self._build(self._network_recipe)
            load_numpy_state(network, weights)
            self.network_ = network.eval()

    # -- shared pieces of fit --------------------------------------------------

    def _resolve_fit_device(self):
        from psmlearn._engine._device import resolve_device

        return resolve_device(self.device)

    def _resolve_predict_device(self):
        from psmlearn._engine._device import resolve_device_or_cpu

        return resolve_device_or_cpu(self.device)

    def _continues(self) -> bool:
        """Whether `fit` starts from the weights of an earlier one."""
        return self.warm_start and hasattr(self, "network_")

    def _train_settings(self, **changes):
        from psmlearn._engine._train import TrainSettings

        settings = {
            "max_epochs": self.max_epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "early_stopping": self.early_stopping,
            "n_iter_no_change": self.n_iter_no_change,
            "tol": self.tol,
            "precision": self.precision,
            "verbose": int(self.verbose),
            "description": type(self).__name__,
        }
        return TrainSettings(**{**settings, **changes})

    def _split_validation(
        self, n_images: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of training and validation images.

        Images that are too few to be set aside serve both: then the fixed
        validation crops come from the training images.
        """
        everything = np.arange(n_images)
        if not self.early_stopping:
            return everything, everything[:0]
        n_validation = round(n_images * self.validation_fraction)
        if n_validation == 0 or n_validation == n_images:
            return everything, everything
        order = rng.permutation(n_images)
        return np.sort(order[n_validation:]), np.sort(order[:n_validation])

    def _record_training(self, result, *, continued: bool) -> None:
        """Set the public attributes from a `TrainResult`."""
        losses = list(result.loss_curve)
        validation = list(result.validation_curve)
        best = float(result.best_loss)
        if continued:
            losses = [*self.loss_curve_, *losses]
            validation = [*self.validation_loss_curve_, *validation]
        self.loss_curve_ = losses
        self.validation_loss_curve_ = validation
        self.best_loss_ = best
        self.n_epochs_ = len(losses)

    def _pixel_sizes(self, images: ImageBatch) -> np.ndarray:
        """Return micrometres per pixel of each image."""
        return resolve_pixel_size(self.pixel_size, images)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def _check_is_fitted(self) -> None:
        check_is_fitted(self)
