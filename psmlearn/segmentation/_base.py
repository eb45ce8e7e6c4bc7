# SPDX-License-Identifier: BSD-3-Clause
"""What detector and segmenter share: channels, masks, training, probabilities."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from torch import nn

from psmlearn._engine._augment import random_affine, random_dihedral
from psmlearn._engine._inference import predict_images
from psmlearn._engine._seed import draw_seed, isolated_torch
from psmlearn._engine._state import load_weights
from psmlearn._engine._train import TrainResult, train_network
from psmlearn._sklearn_compat import Interval, StrOptions
from psmlearn.base import UNIT_RANGE, NetworkEstimator, check_value_range
from psmlearn.io._batch import ImageBatch
from psmlearn.networks import build_network
from psmlearn.segmentation._appearance import (
    ScaledNetwork,
    scale_images,
    vary_channels,
    vary_stains,
)
from psmlearn.segmentation._classes import (
    class_counts,
    class_places,
    class_weights,
    known_classes,
)
from psmlearn.segmentation._drawing import Targets, make_draw
from psmlearn.segmentation._masks import refuse_forgotten_classes, training_masks
from psmlearn.segmentation._outputs import activate

__all__ = ["PixelNetworkEstimator", "Targets"]

_N_VALIDATION_BATCHES = 2
_TILE_HALO = 128


class PixelNetworkEstimator(NetworkEstimator):
    """Base class of the estimators whose network answers for every pixel."""

    _parameter_constraints: dict = {
        **NetworkEstimator._parameter_constraints,
        "label_channel": [Integral, None],
        "class_channel": [Integral, None],
        "class_weight": [StrOptions({"balanced", "sqrt"}), dict, None],
        "map_channel": [StrOptions({"drop", "input"}), Integral],
        "stain_jitter": [Interval(Real, 0, None, closed="left")],
        "appearance_randomisation": [Interval(Real, 0, 1, closed="both")],
        "nucleus_diameter": [Interval(Real, 0, None, closed="neither")],
        "threshold": [Interval(Real, 0, 1, closed="neither")],
        "n_views": [Interval(Integral, 1, 8, closed="both")],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.label_channel is None
        return tags

    # -- images, and which of their channels are what --------------------------

    def _value_range_of(self, *, reset: bool) -> tuple[float, float] | None:
        """Return the range that is asked for, or the one that was trained on."""
        trained = getattr(self, "_trained_range", UNIT_RANGE)
        if not reset:
            return trained
        return check_value_range(getattr(self, "value_range", UNIT_RANGE))

    def _check_stacks(self, X, *, reset: bool) -> ImageBatch:
        """Check the images; their channels of labels are exempt from the range."""
        channels = self.label_channel
        if self.class_channel is not None:
            if channels is None:
                raise ValueError(
                    f"class_channel={self.class_channel} needs label_channel: it says "
                    "which channel of X holds the ids."
                )
            channels = (channels, self.class_channel)
        try:
            return self._check_images(
                X,
                reset=reset,
                value_range=self._value_range_of(reset=reset),
                label_channel=channels,
            )
        except ValueError:
            # Ids beyond 1 are no image; better told as what they are.
            if channels is not None and self.class_channel is None:
                refuse_forgotten_classes(X, channels, type(self).__name__)
            raise

    def _label_channels(self, n_channels: int) -> list[int]:
        """Return the channels that hold ids and classes, in this order."""
        channels = []
        for name in ("label_channel", "class_channel"):
            index = getattr(self, name)
            if index is None:
                continue
            if not -n_channels <= index < n_channels or index % n_channels in channels:
                raise ValueError(
                    f"{name}={index} is not a channel of images with {n_channels} "
                    "channels" + (" left for it." if channels else ".")
                )
            channels.append(index % n_channels)
        return channels

    def _input_channels(self, n_channels: int) -> list[int]:
        """Return the channels that the network sees."""
        labels = self._label_channels(n_channels)
        channels = [i for i in range(n_channels) if i not in labels]
        if isinstance(self.map_channel, Integral):
            index = int(self.map_channel)
            if not -n_channels <= index < n_channels or index % n_channels in labels:
                raise ValueError(
                    f"map_channel={index} is not a channel to drop from images with "
                    f"{n_channels} channels and label_channel={self.label_channel}."
                )
            channels = [i for i in channels if i != index % n_channels]
        elif self.map_channel == "drop" and labels:
            # The stack of SemanticClusterer: image, map, labels.
            if len(channels) in (2, 4):
                channels = channels[:-1]
        if not channels:
            raise ValueError(
                f"No channel of the {n_channels} is left for the network: "
                f"label_channel={self.label_channel}, map_channel={self.map_channel}."
            )
        return channels

    def _training_masks(self, images: ImageBatch, y) -> list[np.ndarray]:
        """Return the masks to train on, from channels of X or from y, checked."""
        channels = self._label_channels(images.n_channels)
        if len(channels) == 1:
            refuse_forgotten_classes(images, channels[0], type(self).__name__)
        return training_masks(images, y, channels, type(self).__name__)

    # -- classes ---------------------------------------------------------------

    def _find_classes(
        self, values: Sequence[np.ndarray] | None, continued: bool
    ) -> np.ndarray | None:
        """Return the classes to learn, ascending; None where there are none.

        Parameters
        ----------
        values : sequence of ndarray or None
            The classes of pixels or points; 0 and -1 are unknown.
        """
        found = None if values is None else known_classes(values)
        if continued:
            known = getattr(self, "classes_", None)
            if (found is None) != (known is None) or (
                found is not None and not np.isin(found, known).all()
            ):
                raise ValueError(
                    "warm_start and partial_fit go on with the classes that are there, "
                    f"{_listed(known)}; y now holds {_listed(found)}. Fit with "
                    "warm_start=False to start anew."
                )
            return known
        if found is not None and not len(found):
            raise ValueError(
                f"{type(self).__name__}: the class of every object is unknown, so no "
                "class can be learnt; pass [mask[..., 0] for mask in y], or points of "
                "two columns, to learn objects alone."
            )
        return found

    def _number_classes(
        self, masks: Sequence[np.ndarray], classes: np.ndarray
    ) -> torch.Tensor:
        """Turn the planes of classes into places, in place; return the weights."""
        for mask in masks:
            mask[..., 1] = class_places(mask[..., 1], classes)
        counts = class_counts((mask[..., 1] for mask in masks), len(classes))
        return self._class_weights(classes, counts)

    def _class_weights(self, classes: np.ndarray, counts: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(class_weights(self.class_weight, classes, counts))

    def _n_foreground(self) -> int:
        """Return how many channels of the network are foreground."""
        classes = getattr(self, "classes_", None)
        return 1 if classes is None else len(classes)

    def _activation(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return what turns outputs into probabilities, and leaves the distance."""
        weights = self._trained_weights
        if weights is not None:
            weights = torch.tensor(weights)
        return partial(activate, n_channels=1 + self._n_foreground(), weights=weights)

    # -- training --------------------------------------------------------------

    def _train_pixels(
        self,
        images: ImageBatch,
        masks: Sequence[np.ndarray],
        n_outputs: int,
        targets: Targets,
        loss: Callable[..., torch.Tensor],
        *,
        classes: np.ndarray | None = None,
        weights: torch.Tensor | None = None,
        continued: bool = False,
        max_epochs: int | None = None,
        schedule: str = "one_cycle",
    ) -> None:
        """Train a network with `n_outputs` channels and store it.

        Parameters
        ----------
        masks : sequence of ndarray of shape (height, width[, planes])
            Plane 0 holds the ids of the objects.
        targets : callable
            Further targets from mask crops, arrays of the same size.
        loss : callable
            ``f(outputs, labels, distance, *targets) -> scalar``; `distance` is the
            inner distance of the objects.
        classes : ndarray of shape (n_classes,), default=None
            What is learnt, for `classes_`.
        weights : tensor of shape (n_classes,), default=None
            How much the classes count in `loss`; prediction takes it back.
        """
        device = self._resolve_fit_device()
        self._pixel_sizes(images)
        seed = draw_seed(self.random_state)
        rng = np.random.default_rng(seed)
        if continued:
            # Else an int seed would show the same crops again and again.
            rng = np.random.default_rng([seed, self.n_epochs_])
            seed = int(rng.integers(2**31))
        channels = self._input_channels(images.n_channels)
        settings = self._train_settings(
            schedule=schedule, max_epochs=max_epochs or self.max_epochs
        )
        train, validation = self._split_validation(len(images), rng)
        draw = self._make_draw(images, masks, train, targets)
        fixed = self._make_draw(images, masks, validation, targets)
        validation_seed = int(rng.integers(2**31))

        def draw_validation():
            stream = np.random.default_rng(validation_seed)
            return [fixed(stream) for _ in range(_N_VALIDATION_BATCHES)]

        with isolated_torch(seed, device):
            network, recipe = self._initial_network(len(channels), n_outputs, continued)
            compute_loss = self._make_loss(network, channels, loss)
            result = TrainResult()
            usable = False
            try:
                train_network(
                    network,
                    draw,
                    compute_loss,
                    settings=settings,
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
                    self._channels = channels
                    self._targets = self.targets
                    self._trained_range = self._value_range_of(reset=not continued)
                    self.classes_ = classes
                    self._trained_weights = (
                        None if weights is None else weights.numpy().copy()
                    )
                    self._record_training(result, continued=continued)
                    self.device_ = str(device)

    def _initial_network(
        self, n_inputs: int, n_outputs: int, continued: bool
    ) -> tuple[nn.Module, dict]:
        recipe = {
            "name_or_factory": self.network,
            "in_channels": n_inputs,
            "out_channels": n_outputs,
        }
        if continued:
            if recipe != self._network_recipe:
                raise ValueError(
                    "warm_start and partial_fit go on with the network that is there, "
                    f"made as {self._network_recipe}; the parameters now ask for "
                    f"{recipe}. Fit with warm_start=False to start anew."
                )
            return copy.deepcopy(self.network_), recipe
        network = build_network(**recipe)
        stride = _pixels(network, "stride", 1)
        if self.patch_size % stride:
            raise ValueError(
                f"patch_size={self.patch_size} must be a multiple of {stride}, the "
                f"stride of {type(network).__name__}."
            )
        if self.weights is not None:
            load_weights(network, self.weights)
        return network, recipe

    def _make_draw(self, images, masks, indices, targets):
        return make_draw(
            images.subset(indices),
            [masks[i] for i in indices],
            targets,
            patch_size=self.patch_size,
            batch_size=self.batch_size,
            with_distance=self._knows_distance(),
        )

    def _make_loss(self, network, channels, loss):
        def compute_loss(images, labels, distance, *targets, training, generator):
            images = images[:, channels]
            targets = [distance, *targets]
            if training:
                images, labels, *targets = random_dihedral(
                    [images, labels, *targets], generator
                )
                if not self._knows_distance():  # objects of no known size
                    planes = [labels, *targets[1:]]
                    images, planes = random_affine(images, planes, generator)
                    labels, *targets[1:] = planes
                images = self._change_appearance(images, labels, targets[0], generator)
            images = scale_images(images).contiguous(memory_format=torch.channels_last)
            return loss(network(images).float(), labels, *targets)

        return compute_loss

    def _knows_distance(self) -> bool:
        """Tell whether objects are told apart, and their inside from their rim."""
        return self.targets != "regions"

    def _change_appearance(self, images, labels, distance, generator):
        standardised = getattr(self, "value_range", UNIT_RANGE) is None
        vary = vary_channels if standardised else vary_stains
        return vary(
            images,
            labels,
            distance if self._knows_distance() else None,
            strength=self.stain_jitter,
            share=self.appearance_randomisation,
            generator=generator,
        )

    # -- prediction ------------------------------------------------------------

    def _predict_pixels(
        self, images: ImageBatch, activate: Callable[[torch.Tensor], torch.Tensor]
    ) -> Iterator[np.ndarray]:
        """Yield the activated outputs of each image, (height, width, channels)."""
        return predict_images(
            ScaledNetwork(self.network_, self._channels),
            images,
            activate,
            tile_size=self.tile_size,
            batch_pixels=self.batch_size * self.patch_size**2,
            device=self._resolve_predict_device(),
            precision=self.precision,
            halo=_pixels(self.network_, "halo", _TILE_HALO),
            stride=_pixels(self.network_, "stride", 32),
            n_views=self.n_views,
        )

    def _diameters(self, images: ImageBatch) -> np.ndarray:
        """Return the nucleus diameter in pixels for each image."""
        return self.nucleus_diameter / self._pixel_sizes(images)


def _pixels(network: nn.Module, name: str, default: int) -> int:
    """Return what a network says of itself; a convolution's stride is no answer."""
    value = getattr(network, name, default)
    return value if isinstance(value, int) else default


def _listed(classes: np.ndarray | None) -> str:
    return "none" if classes is None else str(classes.tolist())
