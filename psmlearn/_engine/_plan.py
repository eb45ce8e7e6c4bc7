# SPDX-License-Identifier: BSD-3-Clause
"""What an estimator says of its own training; the rest is the same for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import nn

from psmlearn._engine._checkpoint import Remembering
from psmlearn._engine._train import ComputeLoss, DrawBatch

__all__ = ["TrainingPlan", "check_stride", "own_number"]

_N = TypeVar("_N", bound=nn.Module)


class TrainingPlan(ABC, Generic[_N]):
    """Network, batches, loss of one `fit`, and what is frozen at its end.

    :meth:`psmlearn.base.NetworkEstimator._fit_plan` carries it out: device, seed,
    validation split, warm start, early stopping, Ctrl-C and storing are its matter.

    Attributes
    ----------
    recipe : dict
        How the network is built; training goes on with one of the same recipe only.
    n_images : int
        Images that may be set aside for validation.
    n_validation_batches : int
    schedule : {"one_cycle", "constant"}
    max_gradient_norm : float or None
    changeable : dict
        What of the recipe may change where training goes on.
    asked_by : dict of {str: str}
        What entries of the recipe are called in messages, by the parameters behind.
    loss_parts : tuple
        Objects with code of the loss, which may be their user's own.
    takes_seed : bool
        Whether a new network is drawn from the seed itself, not from the stream that
        it starts.
    """

    n_validation_batches = 2
    schedule = "one_cycle"
    max_gradient_norm: float | None = 5.0
    loss_parts: tuple[object, ...] = ()
    takes_seed = False
    changeable: dict[str, Any] = {}
    asked_by: dict[str, str] = {}

    def __init__(self, recipe: dict[str, Any], n_images: int) -> None:
        self.recipe = recipe
        self.n_images = n_images
        # What draws and losses of this training keep from batch to batch.
        self.remembering: list[Remembering] = []

    def split(
        self, training: np.ndarray, held_out: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Change the places of training and validation images, if need be."""
        return training, held_out

    def backbone(self, network: _N) -> nn.Module:
        """Return the part of the network that weight files are for."""
        return network

    def start(
        self, network: _N, places: np.ndarray, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Make a new network ready; return its complete recipe.

        Parameters
        ----------
        network : torch.nn.Module
            Just built; weight files are loaded afterwards.
        places : ndarray of int
            The training images.
        """
        return self.recipe

    def check(self, network: _N) -> None:  # noqa: B027 - nothing by default
        """Refuse, or adapt, a network before it is trained, new or not."""

    @abstractmethod
    def data(self) -> Iterable[Any]:
        """Give all that is learnt from: batches of images, arrays and tensors."""

    @abstractmethod
    def make_draw(self, places: np.ndarray) -> DrawBatch:
        """Return ``f(rng) -> tensors``: one batch of the images at `places`."""

    @abstractmethod
    def make_loss(self, network: _N, places: np.ndarray) -> ComputeLoss:
        """Return the loss, as :func:`train_network` calls it."""

    @abstractmethod
    def freeze(
        self,
        network: _N,
        places: np.ndarray,
        device: torch.device,
        rng: np.random.Generator,
    ) -> tuple[Any, dict[str, Any]]:
        """Return what prediction takes from this training, and public attributes.

        Called when the training ended or was interrupted, before anything is stored:
        where it fails, nothing is.
        """


def own_number(network: nn.Module, name: str, default: int) -> int:
    """Return what a network says of itself; a convolution's stride is no answer."""
    value = getattr(network, name, default)
    return value if isinstance(value, int) else default


def check_stride(network: nn.Module, patch_size: int) -> None:
    """Refuse patches whose side the network cannot halve as often as it wants to."""
    stride = own_number(network, "stride", 1)
    if patch_size % stride:
        raise ValueError(
            f"patch_size={patch_size} must be a multiple of {stride}, the stride of "
            f"{type(network).__name__}."
        )
