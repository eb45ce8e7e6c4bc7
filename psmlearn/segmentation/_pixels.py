# SPDX-License-Identifier: BSD-3-Clause
"""What the estimators share whose network answers for every pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import nn

from psmlearn._engine._augment import random_dihedral
from psmlearn._engine._crops import PatchSampler, to_batch
from psmlearn._engine._inference import TileNetwork, predict_images
from psmlearn._engine._modes import plain_torch
from psmlearn._engine._plan import TrainingPlan, check_stride, own_number
from psmlearn._engine._train import ComputeLoss, DrawBatch
from psmlearn._parameters import LARGEST_PIXEL
from psmlearn._sklearn_compat import Interval, StrOptions
from psmlearn._typing import Images, Masks, Path, PixelSize, RandomState
from psmlearn.base import (
    CHANNEL,
    PIXEL_SIZE,
    SIDE,
    UNIT_RANGE,
    EarlyStopping,
    NetworkEstimator,
)
from psmlearn.io._batch import ImageBatch, check_masks, resolve_pixel_size
from psmlearn.segmentation._appearance import ScaledNetwork, scale_images
from psmlearn.segmentation._classes import (
    class_counts,
    class_jaccard,
    class_places,
    class_weights,
    known_classes,
    mask_points,
)
from psmlearn.segmentation._masks import refuse_forgotten_classes, training_masks
from psmlearn.segmentation._rasters import distance_target
from psmlearn.segmentation._targets import Examples, Targets

__all__ = ["MaskSegmenter", "PixelNetworkEstimator", "activate"]

_TILE_HALO, _STRIDE = 128, 32


@dataclass(frozen=True)
class _Frozen:
    """What prediction takes from `fit`.

    Attributes
    ----------
    channels : list of int
        Those that the network sees.
    targets : Targets
        What it was taught.
    value_range : tuple of float or None
        Of the images.
    weights : ndarray of shape (n_classes,) or None
        How much classes counted; it is taken back.
    """

    channels: list[int]
    targets: Targets
    value_range: tuple[float, float] | None
    weights: np.ndarray | None


class PixelNetworkEstimator(NetworkEstimator):
    """Base class of detector, segmenter of nuclei and segmenter of regions.

    A subclass hands to `_fit_pixels` what it teaches, and says by `_vary` how images
    are varied in training.
    """

    classes_: np.ndarray | None
    _frozen: _Frozen

    _parameter_constraints: dict = {
        **NetworkEstimator._parameter_constraints,
        "label_channel": [CHANNEL, None],
        "class_channel": [CHANNEL, None],
        "class_weight": [StrOptions({"balanced", "sqrt"}), dict, None],
        "map_channel": [StrOptions({"drop", "input"}), CHANNEL],
        "threshold": [Interval(Real, 0, 1, closed="neither")],
        "tile_size": [SIDE],
        "pixel_size": PIXEL_SIZE,
    }
    # Micrometres; larger ones are of another unit.
    _largest_pixel = LARGEST_PIXEL

    def __init__(
        self,
        *,
        network: str | Callable[..., nn.Module],
        weights: Path | None,
        label_channel: int | None,
        class_channel: int | None,
        class_weight: str | dict | None,
        map_channel: str | int,
        threshold: float,
        max_epochs: int,
        steps_per_epoch: int,
        batch_size: int,
        patch_size: int,
        learning_rate: float,
        weight_decay: float,
        early_stopping: bool | EarlyStopping,
        tile_size: int,
        pixel_size: PixelSize,
        warm_start: bool,
        device: str,
        precision: str,
        random_state: RandomState,
        verbose: int,
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
        self.label_channel = label_channel
        self.class_channel = class_channel
        self.class_weight = class_weight
        self.map_channel = map_channel
        self.threshold = threshold
        self.tile_size = tile_size
        self.pixel_size = pixel_size

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.label_channel is None
        return tags

    # -- images, and which of their channels are what --------------------------

    def _check_stacks(
        self, X: Images, *, reset: bool, value_range: tuple[float, float] | None
    ) -> ImageBatch:
        """Check the images; their channels of labels are exempt from the range."""
        channels: int | tuple[int, int] | None = self.label_channel
        if self.class_channel is not None:
            if self.label_channel is None:
                raise ValueError(
                    f"class_channel={self.class_channel} needs label_channel: it says "
                    "which channel of X holds the ids."
                )
            channels = (self.label_channel, self.class_channel)
        try:
            return self._check_images(
                X, reset=reset, value_range=value_range, label_channel=channels
            )
        except ValueError:
            # Ids beyond 1 are no image; better told as what they are.
            if self.label_channel is not None and self.class_channel is None:
                name = type(self).__name__
                refuse_forgotten_classes(X, self.label_channel, name)
            raise

    def _label_channels(self, n_channels: int) -> list[int]:
        """Return the channels that hold ids and classes, in this order."""
        channels: list[int] = []
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

    def _training_masks(self, images: ImageBatch, y: Any) -> list[np.ndarray]:
        """Return the masks to train on, from channels of X or from y, checked."""
        channels = self._label_channels(images.n_channels)
        if len(channels) == 1:
            refuse_forgotten_classes(images, channels[0], type(self).__name__)
        return training_masks(images, y, channels, type(self).__name__)

    def _pixel_sizes(self, images: ImageBatch) -> np.ndarray:
        """Return micrometres per pixel of each image."""
        return resolve_pixel_size(self.pixel_size, images, largest=self._largest_pixel)

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
            known = self.classes_
            if (found is None) != (known is None) or (
                found is not None
                and known is not None
                and not np.isin(found, known).all()
            ):
                raise ValueError(
                    f"{type(self).__name__}: training goes on with the classes that "
                    f"are there, {_listed(known)}; y now holds {_listed(found)}. Call "
                    "fit with warm_start=False to start anew."
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

    # -- training --------------------------------------------------------------

    def _fit_pixels(
        self,
        X: Images,
        y: Any,
        targets: Targets,
        *,
        value_range: tuple[float, float] | None = UNIT_RANGE,
        continued: bool,
        one_epoch: bool = False,
    ) -> None:
        """Check all that came, and train a network on the targets."""
        device = self._before_work(continued=continued)
        with self._keeps_what_was():
            if continued:
                self._refuse_other_range(value_range)
                self._refuse_other_targets(targets)
            images = self._check_stacks(X, reset=not continued, value_range=value_range)
            self._pixel_sizes(images)
            channels = self._input_channels(images.n_channels)
            examples = targets.examples(self, images, y, continued)
            weights = examples.weights
            kept = None if weights is None else weights.numpy().copy()
            frozen = _Frozen(channels, targets, value_range, kept)
            plan = _PixelPlan(self, images, examples, frozen)
            self._fit_plan(plan, device, continued=continued, one_epoch=one_epoch)

    def _refuse_other_targets(self, targets: Targets) -> None:
        known = self._frozen.targets
        if type(targets) is not type(known):
            raise ValueError(
                f"{type(self).__name__}: training cannot go on with targets={targets}: "
                f"they were {known}. Call fit with warm_start=False to start anew."
            )

    def _vary(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        distance: torch.Tensor,
        further: list[torch.Tensor],
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """Vary images, ids and further targets of a training batch."""
        raise NotImplementedError

    # -- prediction ------------------------------------------------------------

    def _images_to_predict(self, X: Images) -> ImageBatch:
        self._check_is_fitted()
        value_range = self._frozen.value_range
        return self._check_stacks(X, reset=False, value_range=value_range)

    def _predict_pixels(self, images: ImageBatch) -> Iterator[np.ndarray]:
        """Yield the activated outputs of each image, (height, width, channels).

        Where an image shows nothing it is background.
        """
        outputs = self._tracked(self._network_outputs(images), images)
        for index, output in enumerate(outputs):
            shown = images.shown(index)
            if shown is not None:
                output = output.copy()
                output[~shown] = 0
                output[~shown, 0] = 1
            yield output

    def _network_outputs(self, images: ImageBatch) -> Iterator[np.ndarray]:
        halo, stride = self._halo_and_stride
        return predict_images(
            ScaledNetwork(self.network_, self._frozen.channels),
            images,
            self._activation(),
            tile_size=self.tile_size,
            batch_pixels=self.batch_size * self.patch_size**2,
            device=self._resolve_predict_device(),
            precision=self.precision,
            halo=halo,
            stride=stride,
        )

    def _activation(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return what makes probabilities of the network's output."""
        weights = self._frozen.weights
        return partial(
            activate,
            n_channels=1 + self._n_foreground(),
            weights=None if weights is None else torch.tensor(weights),
        )

    def _tile_network(self) -> TileNetwork:
        """Return the network that answers for tiles of images in [0, 1]."""
        return TileNetwork(
            ScaledNetwork(self.network_, self._frozen.channels),
            self._activation(),
            self._resolve_predict_device(),
            self.precision,
        )

    @property
    def _halo_and_stride(self) -> tuple[int, int]:
        """What tiles need around them, and are multiples of, in pixels."""
        return (
            own_number(self.network_, "halo", _TILE_HALO),
            own_number(self.network_, "stride", _STRIDE),
        )

    def _n_foreground(self) -> int:
        """Return how many channels of the network are foreground."""
        return 1 if self.classes_ is None else len(self.classes_)


class MaskSegmenter(PixelNetworkEstimator):
    """Base class of the estimators that give label images.

    A subclass says by `_decode` how objects are read from the outputs of an image.
    """

    def _decode(self, output: np.ndarray, pixel_size: float) -> np.ndarray:
        """Return the label image of activated outputs (height, width, channels)."""
        raise NotImplementedError

    def _predict_masks(self, images: ImageBatch) -> Iterator[np.ndarray]:
        for mask, _ in self._predict_both(images):
            yield mask

    def _predict_both(
        self, images: ImageBatch
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the label image of each image, and the outputs it was read from."""
        sizes = self._pixel_sizes(images)
        for index, output in enumerate(self._predict_pixels(images)):
            mask = self._decode(output, sizes[index])
            yield self._without_doubtful(mask, images, index, sizes[index]), output

    @plain_torch()
    def _predict_with_proba(self, X: Images) -> tuple[Any, list[np.ndarray]]:
        """Return what `predict` and `predict_proba` do, by one pass of the network."""
        images = self._images_to_predict(X)
        n_channels = 1 + self._n_foreground()
        masks, probabilities = [], []
        for mask, output in self._predict_both(images):
            masks.append(mask)
            probabilities.append(output[..., :n_channels].copy())
        return images.wrap(masks), probabilities

    def _without_doubtful(
        self, mask: np.ndarray, images: ImageBatch, index: int, pixel_size: float
    ) -> np.ndarray:
        """Return the mask without what the image itself says is no object."""
        return mask

    @plain_torch()
    def predict(self, X: Images) -> np.ndarray | list[np.ndarray]:
        """Return the label image of each image.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images as in `fit`, of any size.

        Returns
        -------
        masks : array or list of ndarray of shape (height, width[, 2]), int32
            0 background, 1..n one id per object; in the container of X. Where
            classes were learnt the second plane holds that of each object.
        """
        images = self._images_to_predict(X)
        return images.wrap(list(self._predict_masks(images)))

    @plain_torch()
    def predict_proba(self, X: Images) -> np.ndarray | list[np.ndarray]:
        """Return the probabilities of background and objects at each pixel.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images as in `fit`, of any size.

        Returns
        -------
        probabilities : array or list of ndarray of shape \
(height, width, 1 + n_classes), float32
            Background first, then the classes in the order of `classes_`, or objects
            where there are none; they sum to 1.
        """
        images = self._images_to_predict(X)
        n_channels = 1 + self._n_foreground()
        outputs = self._predict_pixels(images)
        return images.wrap([output[..., :n_channels].copy() for output in outputs])

    @plain_torch()
    def detect(self, X: Images) -> list[np.ndarray]:
        """Return the centroids of the objects.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images as in `fit`, of any size.

        Returns
        -------
        points : list of ndarray of shape (n_points, 2 or 3), float64
            Row and column in pixels, and the class where classes were learnt.
        """
        images = self._images_to_predict(X)
        return [mask_points(mask) for mask in self._predict_masks(images)]

    @plain_torch()
    def score(self, X: Images, y: Masks) -> float:
        """Return the aggregated Jaccard index, the mean over images.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images as in `fit`, of any size.
        y : array or list of ndarray of shape (height, width[, 2])
            True label images. Where they have classes and classes were learnt, it is
            the mean over the classes too; images without a class do not count in it.
        """
        masks = check_masks(y, None, caller=f"{type(self).__name__}.score")
        return class_jaccard(masks, list(self.predict(X)), self.classes_)


class _PixelPlan(TrainingPlan):
    """What a pixel network is trained on: crops of images and of their masks."""

    # The seed itself starts the network; the stream that it starts draws crops.
    takes_seed = True
    asked_by = {
        "name_or_factory": "network",
        "out_channels": "the number of outputs (targets, classes of y)",
    }

    def __init__(
        self,
        learner: PixelNetworkEstimator,
        images: ImageBatch,
        examples: Examples,
        frozen: _Frozen,
    ) -> None:
        classes, targets = examples.classes, frozen.targets
        n_foreground = 1 if classes is None else len(classes)
        recipe = {
            "name_or_factory": learner.network,
            "in_channels": len(frozen.channels),
            "out_channels": 1 + n_foreground + targets.n_further,
        }
        super().__init__(recipe, len(images))
        self.learner = learner
        self.images = images
        self.examples = examples
        self.frozen = frozen
        self.targets = targets
        # By `_vary` a learner has a part in it.
        self.loss_parts = (targets, learner)

    def check(self, network: nn.Module) -> None:
        """Patches must fit the stride of the network."""
        check_stride(network, self.learner.patch_size)

    def data(self) -> list[Any]:
        """Images, and what is to be found in them."""
        weights = [] if self.examples.weights is None else [self.examples.weights]
        return [self.images, *self.examples.planes, *weights]

    def make_draw(self, places: np.ndarray) -> DrawBatch:
        """Draw images, ids, inner distance (zeros if unused) and further targets."""
        planes = [self.examples.planes[i] for i in places]
        learner, targets = self.learner, self.targets
        sampler = PatchSampler(self.images.subset(places), learner.patch_size, planes)

        def draw(rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
            patches, crops = sampler.draw(rng, learner.batch_size)
            labels = crops if crops.ndim == 3 else crops[..., 0]
            if targets.with_distance:
                distance = np.stack([distance_target(label) for label in labels])
            else:
                distance = np.zeros(labels.shape, np.float32)
            further = [distance, *targets.further(crops)]
            return (
                to_batch(patches),
                torch.from_numpy(labels.astype(np.int64)),
                *(torch.from_numpy(target) for target in further),
            )

        return draw

    def make_loss(self, network: nn.Module, places: np.ndarray) -> ComputeLoss:
        """Return the loss of the targets, on varied images where they train."""
        channels, vary = self.frozen.channels, self.learner._vary
        loss = self.targets.loss()
        if self.examples.weights is not None:
            loss = partial(loss, weights=self.examples.weights)

        def compute_loss(
            images: torch.Tensor,
            labels: torch.Tensor,
            distance: torch.Tensor,
            *further: torch.Tensor,
            training: bool,
            generator: torch.Generator,
        ) -> torch.Tensor:
            images, others = images[:, channels], list(further)
            if training:
                images, labels, distance, *others = random_dihedral(
                    [images, labels, distance, *others], generator
                )
                images, labels, others = vary(
                    images, labels, distance, others, generator
                )
            images = scale_images(images).contiguous(memory_format=torch.channels_last)
            output = network(images)
            _check_answer(network, output, images, self.recipe["out_channels"])
            return loss(output.float(), labels, distance, *others)

        return compute_loss

    def freeze(
        self,
        network: nn.Module,
        places: np.ndarray,
        device: torch.device,
        rng: np.random.Generator,
    ) -> tuple[_Frozen, dict[str, Any]]:
        """Keep channels, targets and range; the classes are public."""
        return self.frozen, {**self.examples.public, "classes_": self.examples.classes}


def _check_answer(
    network: nn.Module, output: Any, images: torch.Tensor, n_channels: int
) -> None:
    """Refuse a network of one's own that does not answer for every pixel.

    Raises
    ------
    TypeError, ValueError
        In terms of the network, before torch fails somewhere in the loss.
    """
    name, expected = (
        type(network).__name__,
        (len(images), n_channels, *images.shape[2:]),
    )
    if not isinstance(output, torch.Tensor):
        raise TypeError(
            f"network: {name} returned a {type(output).__name__}; its forward(images) "
            f"must return one tensor, here of shape {expected}."
        )
    if output.shape != expected:
        raise ValueError(
            f"network: {name} returned a tensor of shape {tuple(output.shape)} for "
            f"images of shape {tuple(images.shape)}; {expected} is expected: the "
            "out_channels that it was built with, at the size of the images. Pad its "
            "convolutions, or scale its answer up."
        )


def activate(
    outputs: torch.Tensor, n_channels: int, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Soft-max of the first channels; the inner distance stays as it is.

    Classes that counted more in training come out likelier by as much: what they
    weighed, `weights`, is taken back, so that the probabilities are those of pixels.
    """
    logits = outputs[:, :n_channels]
    if weights is not None:
        shift = torch.log(torch.cat([weights.new_ones(1), weights])).to(logits)
        logits = logits - shift[:, None, None]
    return torch.cat([logits.softmax(1), outputs[:, n_channels:]], dim=1)


def _listed(classes: np.ndarray | None) -> str:
    return "none" if classes is None else str(classes.tolist())
