# SPDX-License-Identifier: BSD-3-Clause
"""Base classes: image checks in, containers out, options, and one way to train."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from psmlearn._callbacks import CallbackMixin, EpochHooks
from psmlearn._images._checks import UNIT_RANGE
from psmlearn._parameters import (
    LARGEST_PIXEL,
    LARGEST_VOXEL,
    SMALLEST_PIXEL,
    UNIT_HINT,
)
from psmlearn._progress import announce, track
from psmlearn._sklearn_compat import Interval, StrOptions
from psmlearn.io._batch import ImageBatch, check_images
from psmlearn.io._standardised import StandardisedBatch

if TYPE_CHECKING:
    import torch
    from torch import nn

    from psmlearn._engine._checkpoint import Checkpoint
    from psmlearn._engine._plan import TrainingPlan

__all__ = ["BaseImageEstimator", "EarlyStopping", "NetworkEstimator", "Option"]

POSITIVE = Interval(Real, 0, None, closed="neither")
VALUE_RANGE = ["array-like", None]
AT_LEAST_0 = Interval(Real, 0, None, closed="left")
AT_LEAST_1 = Interval(Integral, 1, None, closed="left")
# What is beyond these no image holds, no machine finishes, or is in another unit.
COUNT = Interval(Integral, 1, 1_000_000, closed="both")
SIDE = Interval(Integral, 1, 16_384, closed="both")
CLUSTERS = Interval(Integral, 1, 1000, closed="both")
LENGTH = Interval(Real, 0, 10_000, closed="right")
LENGTH_OR_0 = Interval(Real, 0, 10_000, closed="both")
AREA = Interval(Real, 0, 1e12, closed="both")
CHANNEL = Interval(Integral, -1000, 1000, closed="both")
# As "random_state" of scikit-learn, but True is no seed.
RANDOM_STATE = [
    Interval(Integral, 0, 2**32 - 1, closed="both"),
    np.random.RandomState,
    None,
]
_LARGEST_BATCH = 2**28
# What scikit-learn keeps on an estimator while it is fitted.
_OF_CALLBACKS = {"_callback_fit_ctx", "_skl_callbacks_to_teardown"}


class _Micrometres(Interval):
    """Micrometres per pixel."""

    def __init__(self, largest: float) -> None:
        super().__init__(Real, SMALLEST_PIXEL, largest, closed="both")

    def __str__(self) -> str:
        return f"{super().__str__()} (micrometres per pixel; {UNIT_HINT})"


PIXEL_SIZE = [_Micrometres(LARGEST_PIXEL), "array-like", StrOptions({"file"})]
# Of estimators for images of any kind, such as MRI.
VOXEL_SIZE = [_Micrometres(LARGEST_VOXEL), "array-like", StrOptions({"file"})]

_O = TypeVar("_O", bound="Option")
_T = TypeVar("_T")


def check_batch(batch_size: int, patch_size: int) -> None:
    """Refuse a batch that no machine holds."""
    n_pixels = int(batch_size) * int(patch_size) ** 2
    if n_pixels > _LARGEST_BATCH:
        raise ValueError(
            f"batch_size={batch_size} crops of patch_size={patch_size} are {n_pixels} "
            f"pixels, and at most {_LARGEST_BATCH} are taken; lower one of the two."
        )


class Option(BaseEstimator):
    """Base class of options that have options of their own.

    A parameter such as `pretext` takes a name, which stands for defaults, or an object
    of a subclass. Like the kernels of scikit-learn's Gaussian processes it has
    `get_params` and `set_params`, so that a search reaches what is inside:
    ``{"pretext__margin": [0.3, 0.5]}``. A subclass says by `_parameter_constraints`
    what its parameters may be; its owner checks them in `fit`, on a copy.

    Examples
    --------
    >>> from sklearn.base import clone
    >>> from psmlearn import SelfActivationMapper
    >>> from psmlearn.activation import Contrastive
    >>> mapper = SelfActivationMapper(pretext=Contrastive(margin=0.3))
    >>> clone(mapper).set_params(pretext__margin=0.7).pretext
    Contrastive(margin=0.7)
    """

    _parameter_constraints: dict = {}


class EarlyStopping(Option):
    """When training stops for want of gain on images set aside.

    Parameters
    ----------
    validation_fraction : float, default=0.1
        Share of the images set aside; with too few images, fixed crops of the
        training images are used.
    n_iter_no_change : int, default=10
        Epochs without gain after which training stops.
    tol : float, default=1e-4
        Least gain that counts.

    Examples
    --------
    >>> from psmlearn import NucleiSegmenter
    >>> from psmlearn.base import EarlyStopping
    >>> NucleiSegmenter(early_stopping=EarlyStopping(n_iter_no_change=3))
    NucleiSegmenter(early_stopping=EarlyStopping(n_iter_no_change=3))
    """

    _parameter_constraints: dict = {
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [COUNT],
        "tol": [AT_LEAST_0],
    }

    def __init__(
        self,
        *,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
    ) -> None:
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol

    def set_aside(
        self, n_images: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of training and validation images.

        Images that are too few to be set aside serve both: then the fixed validation
        batches come from the training images. A subclass may choose them otherwise,
        by patient say.

        Parameters
        ----------
        n_images : int
        rng : numpy.random.Generator
            All that is random comes from it.

        Returns
        -------
        training, held_out : ndarray of int
            Places among the images, ascending.
        """
        everything = np.arange(n_images)
        n_validation = round(n_images * self.validation_fraction)
        if n_validation in (0, n_images):
            return everything, everything
        order = rng.permutation(n_images)
        return np.sort(order[n_validation:]), np.sort(order[:n_validation])


def resolve_option(value: str | _O, named: Mapping[str, type[_O]]) -> _O:
    """Return a copy of an option, or the one that a name stands for, checked."""
    option = named[value]() if isinstance(value, str) else clone(value)
    option._validate_params()
    return option


class BaseImageEstimator(BaseEstimator):
    """Base class of all estimators whose X is images.

    Images are a 4-D array ``(n_images, height, width, n_channels)`` or a list of
    arrays ``(height, width[, n_channels])`` and paths; see
    :func:`psmlearn.io.check_images`. Transformers among the subclasses pass
    ``auto_wrap_output_keys=None``, else ragged output meets pandas' wrapping.
    """

    n_features_in_: int

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = False
        tags.target_tags.required = False
        return tags

    def _check_images(
        self, X, *, reset: bool, value_range=UNIT_RANGE, label_channel=None
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

    @contextmanager
    def _keeps_what_was(self) -> Iterator[None]:
        """Leave an estimator as it was, fitted or not, where a fit does not end well.

        Ctrl-C after the fit has stored something (``_frozen`` is new) leaves that.
        """
        before = dict(self.__dict__)
        try:
            yield
        except BaseException as error:
            stored = self.__dict__.get("_frozen") is not before.get("_frozen")
            if isinstance(error, Exception) or not stored:
                self._put_back(before)
            raise

    def _put_back(self, before: dict[str, Any]) -> None:
        """Take on attributes of before, and lose those that have come since."""
        # Callbacks of scikit-learn are still to be told that it is over.
        for name in self.__dict__.keys() - before.keys() - _OF_CALLBACKS:
            del self.__dict__[name]
        self.__dict__.update(before)


class NetworkEstimator(CallbackMixin, BaseImageEstimator):
    """Base class of the estimators that train a network.

    A subclass passes the parameters below on to this ``__init__``, checks its images
    in `fit`, and hands a :class:`psmlearn._engine._plan.TrainingPlan` to `_fit_plan`:
    there is no other way to train. What prediction takes from `fit`, whatever
    `set_params` has changed since, is ``_frozen``, a dataclass of the estimator's file.
    """

    # What its training is called where stages are numbered.
    _stage = "training"
    network_: nn.Module
    n_epochs_: int
    loss_curve_: list[float]
    validation_loss_curve_: list[float]
    best_loss_: float
    device_: str
    _network_recipe: dict[str, Any]
    _frozen: Any
    _parameter_constraints: dict = {
        "network": [str, callable],
        "weights": [str, os.PathLike, None],
        "max_epochs": [COUNT],
        "steps_per_epoch": [COUNT],
        "batch_size": [COUNT],
        "patch_size": [SIDE],
        "learning_rate": [POSITIVE],
        "weight_decay": [AT_LEAST_0],
        "early_stopping": ["boolean", EarlyStopping],
        "warm_start": ["boolean"],
        "device": [str],
        "precision": [StrOptions({"float32", "bfloat16"})],
        "random_state": RANDOM_STATE,
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        network: str | Callable[..., nn.Module],
        weights: str | os.PathLike[str] | None,
        max_epochs: int,
        steps_per_epoch: int,
        batch_size: int,
        patch_size: int,
        learning_rate: float,
        weight_decay: float,
        early_stopping: bool | EarlyStopping,
        warm_start: bool,
        device: str,
        precision: str,
        random_state: int | np.random.RandomState | None,
        verbose: int,
    ) -> None:
        self.network = network
        self.weights = weights
        self.max_epochs = max_epochs
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.patch_size = patch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.warm_start = warm_start
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    # -- state: numpy outside, a module inside ---------------------------------

    def _build(self, recipe: dict[str, Any]) -> nn.Module:
        """Build the network that `recipe` describes, its weights undefined."""
        from psmlearn.networks import build_network

        return build_network(**recipe)

    def __getstate__(self):
        state = dict(super().__getstate__())
        for name in (*_OF_CALLBACKS, "_skl_callbacks", "_parent_callback_ctx"):
            state.pop(name, None)
        if "network_" in state:
            from psmlearn._engine._state import state_to_numpy

            state["network_"] = state_to_numpy(state["network_"])
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if isinstance(self.__dict__.get("network_"), dict):
            from psmlearn._engine._modes import plain_torch
            from psmlearn._engine._seed import OwnDraws

            weights: Any = self.network_
            with plain_torch():
                with OwnDraws(0):  # of weights that are thrown away
                    network = self._build(self._network_recipe)
                self._load_stored(network, weights)
            self.network_ = network.eval()

    def _load_stored(self, network: Any, weights: dict[str, np.ndarray]) -> None:
        """Fill a new network with the weights that `__getstate__` gave."""
        from psmlearn._engine._state import load_numpy_state

        load_numpy_state(network, weights)

    def _needed_weights(self, network: Any, frozen: Any) -> set[str]:
        """Return the keys of the weights that `_load_stored` has to be given."""
        return set(network.state_dict())

    # -- the one way to train --------------------------------------------------

    @contextmanager
    def _keeps_what_was(self) -> Iterator[None]:
        """As of all estimators; and torch is as it is expected inside."""
        from psmlearn._engine._modes import plain_torch

        with super()._keeps_what_was(), plain_torch():
            yield

    def _continues(self) -> bool:
        """Whether `fit` starts from the weights of an earlier one."""
        return self.warm_start and hasattr(self, "network_")

    def _fit_plan(
        self,
        plan: TrainingPlan,
        device: torch.device,
        *,
        continued: bool,
        one_epoch: bool = False,
    ) -> None:
        """Train the network of a plan and store it, with what is frozen.

        Parameters
        ----------
        plan : TrainingPlan
        device : torch.device
            From `_before_work`, which refuses an absent one before any work.
        continued : bool
            Whether the weights that are there are trained on.
        one_epoch : bool, default=False
            As `partial_fit` does: one epoch at a constant rate, on all images.
        """
        from psmlearn._engine._modes import plain_torch
        from psmlearn._engine._seed import OwnDraws, may_draw
        from psmlearn._engine._state import has_finite_state
        from psmlearn._engine._train import TrainResult, train_network

        announce(self._stage)
        seed, rng = self._streams(plan, continued)
        stopping = None if one_epoch else self._early_stopping()
        settings = self._train_settings(plan, stopping, one_epoch)
        draws = OwnDraws(seed)
        with plain_torch():
            training = np.arange(plan.n_images)
            held_out = training[:0]
            if stopping is not None:
                training, held_out = plan.split(*stopping.set_aside(plan.n_images, rng))
            with draws:
                network, recipe = self._start(plan, training, rng, continued)
            validation_seed = int(rng.integers(2**31))

            def draw_validation():
                fixed = plan.make_draw(held_out)
                stream = np.random.default_rng(validation_seed)
                return [fixed(stream) for _ in range(plan.n_validation_batches)]

            result = TrainResult()

            def store() -> None:
                # First what may fail, so that all is stored or nothing.
                with draws:
                    frozen, public = plan.freeze(network, training, device, rng)
                self.__dict__.update(
                    public,
                    **self._history(result, continued),
                    network_=network.eval(),
                    device_=str(device),
                    _network_recipe=recipe,
                    _frozen=frozen,
                )

            draw, loss = plan.make_draw(training), plan.make_loss(network, training)
            drawing = any(may_draw(part) for part in (network, *plan.loss_parts))
            hooks = EpochHooks(self, settings.max_epochs)
            checkpoint = self._checkpoint(plan, network, settings, [seed, rng])
            try:
                train_network(
                    network,
                    draw,
                    loss,
                    settings=settings,
                    device=device,
                    rng=rng,
                    result=result,
                    draw_validation=draw_validation,
                    draws=draws if drawing else None,
                    checkpoint=checkpoint,
                    remembering=tuple(plan.remembering),
                    hooks=hooks,
                )
            except KeyboardInterrupt:
                # Not even one epoch is no reason to lose what was learnt before.
                worth = result.loss_curve or not self.__sklearn_is_fitted__()
                if worth and has_finite_state(network):
                    store()
                raise
            store()
        hooks.close()

    def _checkpoint(
        self,
        plan: TrainingPlan,
        network: nn.Module,
        settings: Any,
        streams: list[Any],
    ) -> Checkpoint | None:
        """Return where the state of a training is kept, None if it is not."""
        from psmlearn._engine._checkpoint import active_checkpoints, training_key

        checkpoints = active_checkpoints()
        if checkpoints is None:
            return None
        seed, rng = streams
        told = {
            key: value
            for key, value in self.get_params().items()
            if key.split("__")[-1] not in ("verbose", "random_state", "device")
        }
        parts = [
            type(self).__qualname__,
            told,
            replace(settings, verbose=0),
            seed,
            rng.bit_generator.state,
        ]
        return checkpoints.of(training_key(parts, network, plan.data()))

    def _streams(
        self, plan: TrainingPlan, continued: bool
    ) -> tuple[int, np.random.Generator]:
        """Return the seed of torch, and the stream that all else is drawn from."""
        from psmlearn._engine._seed import draw_seed

        seed = draw_seed(self.random_state)
        # Later calls with the same seed go on to other batches.
        rng = np.random.default_rng([seed, self.n_epochs_ if continued else 0])
        if continued or not plan.takes_seed:
            seed = int(rng.integers(2**31))
        return seed, rng

    def _early_stopping(self) -> EarlyStopping | None:
        if isinstance(self.early_stopping, EarlyStopping):
            return resolve_option(self.early_stopping, {})
        return EarlyStopping() if self.early_stopping else None

    def _train_settings(
        self, plan: TrainingPlan, stopping: EarlyStopping | None, one_epoch: bool
    ):
        from psmlearn._engine._train import TrainSettings

        patience: dict[str, Any] = {}
        if stopping is not None:
            patience = {
                "n_iter_no_change": stopping.n_iter_no_change,
                "tol": stopping.tol,
            }
        return TrainSettings(
            max_epochs=1 if one_epoch else self.max_epochs,
            steps_per_epoch=self.steps_per_epoch,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            early_stopping=stopping is not None,
            precision=self.precision,
            schedule="constant" if one_epoch else plan.schedule,
            max_gradient_norm=plan.max_gradient_norm,
            verbose=int(self.verbose),
            description=type(self).__name__,
            **patience,
        )

    def _start(
        self,
        plan: TrainingPlan,
        places: np.ndarray,
        rng: np.random.Generator,
        continued: bool,
    ) -> tuple[nn.Module, dict[str, Any]]:
        """Return the network to train, new or a copy of the present one."""
        from psmlearn._engine._state import load_weights

        if continued:
            self._refuse_other_network(plan)
            network = copy.deepcopy(self.network_)
            recipe = {**self._network_recipe, **plan.changeable}
        else:
            network = self._build({**plan.recipe, **plan.changeable})
            recipe = {**plan.start(network, places, rng), **plan.changeable}
            if self.weights is not None:
                load_weights(plan.backbone(network), self.weights)
        plan.check(network)
        return network, recipe

    def _refuse_other_network(self, plan: TrainingPlan) -> None:
        """Refuse to go on with another network than the one that is there."""
        for key, value in plan.recipe.items():
            known = self._network_recipe.get(key)
            if known != value:
                what = plan.asked_by.get(key, key)
                raise ValueError(
                    f"{type(self).__name__}: training cannot go on with another "
                    f"network: {what} was {known!r} and is {value!r} now. Call fit "
                    "with warm_start=False to start anew."
                )

    def _refuse_other_range(self, value_range: tuple[float, float] | None) -> None:
        """Refuse to go on with images of another range than was trained on."""
        if value_range != self._frozen.value_range:
            raise ValueError(
                f"{type(self).__name__}: training cannot go on with value_range="
                f"{value_range}: it was {self._frozen.value_range}. Call fit with "
                "warm_start=False to start anew."
            )

    def _history(self, result, continued: bool) -> dict[str, Any]:
        """Return the public attributes that tell how a training went."""
        losses = list(result.loss_curve)
        validation = list(result.validation_curve)
        if continued:
            losses = [*self.loss_curve_, *losses]
            validation = [*self.validation_loss_curve_, *validation]
        return {
            "loss_curve_": losses,
            "validation_loss_curve_": validation,
            "best_loss_": float(result.best_loss),
            "n_epochs_": len(losses),
        }

    # -- for prediction --------------------------------------------------------

    def _before_work(self, *, continued: bool = False) -> torch.device:
        """Refuse options, devices and weight files that are not; return the device."""
        from psmlearn._engine._device import resolve_device, warn_of_slow_bfloat16
        from psmlearn._engine._state import check_weight_file

        check_batch(self.batch_size, self.patch_size)
        self._early_stopping()
        if self.weights is not None and not continued:
            check_weight_file(self.weights)
        device = resolve_device(self.device)
        warn_of_slow_bfloat16(device, self.precision)
        return device

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of options and parts by two underscores.

        Raises
        ------
        ValueError
            If a parameter is unknown, or an option is there by name only, which has
            no parameters to set.
        """
        for key in params:
            name, _, inner = key.partition("__")
            value = params.get(name, getattr(self, name, None))
            if inner and isinstance(value, str):
                raise ValueError(
                    f"{name}={value!r} is a name, and has no {inner!r} to set; give an "
                    f"object to begin with, as {type(self).__name__}({name}=...) takes."
                )
        return super().set_params(**params)

    def _resolve_predict_device(self) -> torch.device:
        from psmlearn._engine._device import (
            resolve_device_or_cpu,
            warn_of_slow_bfloat16,
        )

        device = resolve_device_or_cpu(self.device)
        warn_of_slow_bfloat16(device, self.precision)
        return device

    def _tracked(self, results: Iterable[_T], images: ImageBatch) -> Iterator[_T]:
        """Go through the results of images, behind a bar where `verbose` asks."""
        name = f"{type(self).__name__}, images"
        return track(results, len(images), name, verbose=int(self.verbose))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def _check_is_fitted(self) -> None:
        check_is_fitted(self)
