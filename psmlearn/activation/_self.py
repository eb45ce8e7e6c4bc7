# SPDX-License-Identifier: BSD-3-Clause
"""Self-activation maps: images in, images with a map as further channel out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_feature_names_in

from psmlearn._engine._inference import working_copy
from psmlearn._engine._seed import draw_seed, isolated_torch
from psmlearn._engine._state import load_weights
from psmlearn._engine._train import TrainResult, train_network
from psmlearn.activation._calibration import calibrate, combine_maps, set_direction
from psmlearn.activation._gradient import METHODS
from psmlearn.activation._mapping import MapRunner, MapSpec, find_geometry
from psmlearn.activation._pretext import (
    PRETEXTS,
    PretextLoss,
    PretextNetwork,
    PretextTask,
    measure_outputs,
    resolve_task,
)
from psmlearn.activation._sampling import make_sampler, target_values, to_batch
from psmlearn.base import NetworkEstimator
from psmlearn.io._batch import ImageBatch

__all__ = ["SelfActivationMapper"]

_N_VALIDATION_BATCHES = 4
# Crops that means, principal direction and channel weights are taken over.
_N_SAMPLE = 64
_SCALES = {"standard", "unit", "byte"}


class SelfActivationMapper(
    TransformerMixin, NetworkEstimator, auto_wrap_output_keys=None
):
    """DOC"""

    _parameter_constraints: dict = {
        **NetworkEstimator._parameter_constraints,
        "pretext": [StrOptions(set(PRETEXTS))],
        "target": [StrOptions({"haematoxylin", "grey"})],
        "layers": [str, "array-like"],
        "method": [StrOptions(set(METHODS))],
        "output": [StrOptions({"stack", "maps"})],
        "loss": [StrOptions({"auto", "l1", "mse"})],
        "embedding_dim": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "margin": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "variance_weight": [Interval(Real, 0, None, closed="left")],
        "train_heads": ["boolean"],
        "crop": [StrOptions({"random", "center"})],
        "augment": ["boolean"],
        "input_scale": [StrOptions(_SCALES)],
        "map_input_scale": [StrOptions(_SCALES), None],
        "output_unit": [
            StrOptions({"principal"}),
            Interval(Integral, 0, None, closed="left"),
        ],
        "channel_weights": [StrOptions({"fit", "image"})],
        "scale": [StrOptions({"fit", "image"})],
        "polarity": [StrOptions({"auto", "haematoxylin", "dark", "bright"}), None],
        "schedule": [StrOptions({"one_cycle", "constant"})],
        "max_gradient_norm": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        *,
        network: str | Callable = "resnet18",
        weights: str | os.PathLike | None = None,
        pretext: str = "mean_value",
        target: str = "haematoxylin",
        layers: str | Sequence[str] = "layer1",
        method: str = "gradcam",
        output: str = "stack",
        loss: str = "auto",
        embedding_dim: int | str = "auto",
        margin: float | str = "auto",
        variance_weight: float = 1.0,
        train_heads: bool = True,
        crop: str = "random",
        augment: bool = True,
        input_scale: str = "standard",
        map_input_scale: str | None = None,
        output_unit: str | int = "principal",
        channel_weights: str = "fit",
        scale: str = "fit",
        polarity: str | None = "auto",
        max_epochs: int = 5,
        steps_per_epoch: int = 30,
        batch_size: int = 8,
        patch_size: int = 128,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        schedule: str = "one_cycle",
        max_gradient_norm: float | None = 5.0,
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
        self.pretext = pretext
        self.target = target
        self.layers = layers
        self.method = method
        self.output = output
        self.loss = loss
        self.embedding_dim = embedding_dim
        self.margin = margin
        self.variance_weight = variance_weight
        self.train_heads = train_heads
        self.crop = crop
        self.augment = augment
        self.input_scale = input_scale
        self.map_input_scale = map_input_scale
        self.output_unit = output_unit
        self.channel_weights = channel_weights
        self.scale = scale
        self.polarity = polarity
        self.max_epochs = max_epochs
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.patch_size = patch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.max_gradient_norm = max_gradient_norm
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

    # -- fitting ---------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None) -> SelfActivationMapper:
        """Train the network on random crops of the images and calibrate its maps.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            Images as arrays or paths; one is enough.
        y : object, default=None
            Ignored: no label is used.

        Returns
        -------
        SelfActivationMapper
            Itself.

        Raises
        ------
        ValueError
            If images or parameters are bad, or the device is not on this machine;
            before any training.
        KeyboardInterrupt
            Raised on, after the maps were calibrated with the weights so far.
        """
        return self._fit(X, continued=self._continues())

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None) -> SelfActivationMapper:
        """Train for one epoch on the given images, at a constant learning rate.

        The first call starts a network (and learns the scale of its input), later
        ones go on with it; maps are calibrated anew on the images of the last call.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            Images as arrays or paths.
        y : object, default=None
            Ignored.

        Returns
        -------
        SelfActivationMapper
            Itself.
        """
        return self._fit(
            X,
            continued=hasattr(self, "network_"),
            max_epochs=1,
            schedule="constant",
            early_stopping=False,
        )

    def _fit(self, X, *, continued: bool, **changes) -> SelfActivationMapper:
        device = self._resolve_fit_device()
        task = self._resolve_task()
        images = self._check_images(X, reset=not continued)
        self._check_polarity(images.n_channels)
        seed = draw_seed(self.random_state)
        # Later calls with the same seed go on to other crops.
        rng = np.random.default_rng([seed, self.n_epochs_ if continued else 0])
        settings = self._train_settings(
            **{
                "schedule": self.schedule,
                "max_gradient_norm": self.max_gradient_norm,
                **changes,
            }
        )
        training, held_out = np.arange(len(images)), np.arange(0)
        if settings.early_stopping:
            training, held_out = self._split_validation(len(images), rng)
        with isolated_torch(int(rng.integers(2**31)), device):
            network, recipe = self._start_network(task, images.n_channels, continued)
            layers = self._layer_names()
            geometries = [
                find_geometry(network.backbone, images.n_channels, name)
                for name in layers
            ]
            training_images = images.subset(training)
            if not continued:
                self._learn_scales(network, training_images, rng)
            result = TrainResult()

            def finish() -> None:
                self.layers_, self._geometries = layers, geometries
                self._calibrate(network, training_images, device, rng)
                self._store_network(network, recipe)
                self._record_training(result, continued=continued)
                self.device_ = str(device)

            draw, draw_validation = self._make_draws(images, training, held_out, rng)
            try:
                train_network(
                    network,
                    draw,
                    PretextLoss(network, task, self.input_scale),
                    settings=settings,
                    device=device,
                    rng=rng,
                    result=result,
                    draw_validation=draw_validation,
                )
            except KeyboardInterrupt:
                finish()
                raise
            finish()
        return self

    def _resolve_task(self) -> PretextTask:
        task = resolve_task(
            self.pretext,
            loss=self.loss,
            embedding_dim=self.embedding_dim,
            margin=self.margin,
            variance_weight=self.variance_weight,
            train_heads=self.train_heads,
            augment=self.augment,
            batch_size=self.batch_size,
        )
        if self.output_unit != "principal" and self.output_unit >= task.n_outputs:
            raise ValueError(
                f"output_unit={self.output_unit}: the network has {task.n_outputs} "
                "output(s), counted from 0."
            )
        return task

    def _check_polarity(self, n_channels: int) -> None:
        if self.polarity == "haematoxylin" and n_channels not in (1, 3):
            raise ValueError(
                "polarity='haematoxylin' needs images of 3 channels (or 1 of grey), "
                f"got {n_channels}; use 'dark', 'bright' or 'auto'."
            )

    def _layer_names(self) -> tuple[str, ...]:
        names = (self.layers,) if isinstance(self.layers, str) else tuple(self.layers)
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError(
                "layers: the name of a module of the network or a list of names is "
                f"expected, got {self.layers!r}."
            )
        return names

    def _build(self, recipe: dict) -> PretextNetwork:
        return PretextNetwork(**recipe)

    def _start_network(
        self, task: PretextTask, n_channels: int, continued: bool
    ) -> tuple[PretextNetwork, dict]:
        recipe = {
            "network": self.network,
            "in_channels": n_channels,
            "n_outputs": task.n_outputs,
            "heads": task.heads,
        }
        if continued:
            known = self._network_recipe
            changed = [key for key, value in recipe.items() if known[key] != value]
            if changed:
                raise ValueError(
                    f"Training cannot go on with another network: {changed[0]} was "
                    f"{known[changed[0]]!r} and is {recipe[changed[0]]!r}; use fit "
                    "with warm_start=False."
                )
            network, recipe = self._build(known), known
            network.load_state_dict(self.network_.state_dict())
        else:
            network = self._build(recipe)
            n_outputs = measure_outputs(network.backbone, n_channels, self.patch_size)
            recipe["n_backbone_outputs"] = n_outputs
            network.set_readout(n_outputs)
            if self.weights is not None:
                load_weights(network.backbone, self.weights)
        if not task.train_heads:
            network.freeze_heads()
        return network, recipe

    def _learn_scales(
        self, network: PretextNetwork, images: ImageBatch, rng: np.random.Generator
    ) -> None:
        """Take the scale of input and target from a sample of training crops."""
        sampler = make_sampler(images, self.patch_size, self.crop)
        patches = sampler.draw(rng, _N_SAMPLE)[0]
        mean = patches.mean(axis=(0, 1, 2), dtype=np.float64)
        std = patches.std(axis=(0, 1, 2), dtype=np.float64)
        network.input_mean.copy_(torch.from_numpy(mean)[:, None, None])
        network.input_std.copy_(torch.from_numpy(_safe(std))[:, None, None])
        if self.input_scale == "standard":
            values = target_values(patches, self.target)
            network.target_mean.fill_(float(values.mean()))
            network.target_std.fill_(float(_safe(values.std())))
        elif self.input_scale == "byte" and self.target == "grey":
            network.target_std.fill_(1 / 255)  # grey levels, as the input is

    def _make_draws(self, images: ImageBatch, training, held_out, rng):
        """Return what draws a training batch and the fixed validation batches."""
        sampler = make_sampler(images.subset(training), self.patch_size, self.crop)
        validation_seed = int(rng.integers(2**31))

        def draw_from(source, generator):
            patches, _ = source.draw(generator, self.batch_size)
            values = np.zeros(len(patches), np.float32)
            if self.pretext == "mean_value":
                values = target_values(patches, self.target)
            return to_batch(patches), torch.from_numpy(values)

        def draw(generator):
            return draw_from(sampler, generator)

        def draw_validation():
            generator = np.random.default_rng(validation_seed)
            source = make_sampler(images.subset(held_out), self.patch_size, self.crop)
            return [
                draw_from(source, generator) for _ in range(_N_VALIDATION_BATCHES)
            ]

        return draw, draw_validation

    def _map_spec(self) -> MapSpec:
        return MapSpec(
            layers=self.layers_,
            method=self.method,
            per_image=self.channel_weights == "image",
            input_scale=self.map_input_scale or self.input_scale,
            precision=self.precision,
            tile_size=self.tile_size,
        )

    def _calibrate(
        self,
        network: PretextNetwork,
        images: ImageBatch,
        device: torch.device,
        rng: np.random.Generator,
    ) -> None:
        """Learn direction, channel weights, polarity and range of the maps."""
        spec = self._map_spec()
        sampler = make_sampler(images, self.patch_size, self.crop)
        crops = to_batch(sampler.draw(rng, _N_SAMPLE)[0])
        frozen = working_copy(network, device)
        set_direction(frozen, crops, self.output_unit, spec.input_scale)
        network.direction.copy_(frozen.direction)
        runner = MapRunner(frozen, spec, self._geometries, device)
        weights = runner.mean_weights(crops)
        runner = MapRunner(frozen, spec, self._geometries, device, weights)
        self._calibration = calibrate(
            runner, self._geometries, images, self.polarity, rng
        )
        self.channel_weights_ = weights
        self.polarity_ = self._calibration.polarity
        self.map_ranges_ = self._calibration.ranges
        self._fitted_spec = spec

    # -- mapping ---------------------------------------------------------------

    def transform(self, X) -> np.ndarray | list[np.ndarray]:
        """Map the images.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            Images as arrays or paths, of any size.

        Returns
        -------
        ndarray or list of ndarray, float32
            An array if X is one, else a list. With ``output="stack"`` each image
            is (height, width, n_channels + 1), in [0, 1] with the map last; with
            ``"maps"`` it is (height, width, 1).
        """
        self._check_is_fitted()
        images = self._check_images(X, reset=False)
        device = self._resolve_predict_device()
        with torch.inference_mode(False):
            runner = MapRunner(
                working_copy(self.network_, device),
                self._fitted_spec,
                self._geometries,
                device,
                self.channel_weights_,
            )
            results = [
                self._result(image, raw)
                for image, raw in zip(images, runner(images), strict=True)
            ]
        return images.wrap(results)

    def _result(self, image: np.ndarray, raw: list[np.ndarray]) -> np.ndarray:
        height, width, n_channels = image.shape
        combined = combine_maps(
            raw, (height, width), self._geometries, self._calibration, self.scale
        )
        if self.output == "maps":
            return combined[..., np.newaxis]
        stack = np.empty((height, width, n_channels + 1), np.float32)
        stack[..., :-1] = image
        stack[..., -1] = combined
        return stack

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        """Return the names of the channels that `transform` gives.

        Parameters
        ----------
        input_features : sequence of str, default=None
            Names of the channels of the images; "red", "green", "blue" for three
            channels and "channel0", ... else.

        Returns
        -------
        ndarray of str objects
            The channels' names and "activation", or that alone.
        """
        self._check_is_fitted()
        if input_features is None:
            input_features = ["red", "green", "blue"]
            if self.n_features_in_ != 3:
                input_features = [f"channel{i}" for i in range(self.n_features_in_)]
        names = _check_feature_names_in(self, input_features)
        if self.output == "maps":
            return np.array(["activation"], dtype=object)
        return np.array([*names, "activation"], dtype=object)


def _safe(std: np.ndarray) -> np.ndarray:
    """Replace spreads of constant values by 1."""
    return np.where(std > 1e-6, std, 1.0)
