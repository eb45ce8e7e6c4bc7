# SPDX-License-Identifier: BSD-3-Clause
"""Self-activation maps: images in, images with a map as further channel out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.base import TransformerMixin
from torch import nn

from psmlearn._engine._crops import CentreSampler, PatchSampler, to_batch
from psmlearn._engine._inference import working_copy
from psmlearn._engine._modes import plain_torch
from psmlearn._engine._plan import TrainingPlan
from psmlearn._engine._state import load_numpy_state
from psmlearn._engine._train import ComputeLoss, DrawBatch
from psmlearn._parameters import as_list
from psmlearn._sklearn_compat import (
    Interval,
    StrOptions,
    _check_feature_names_in,
    _fit_context,
)
from psmlearn._typing import Images, Path, RandomState
from psmlearn.activation._gradients import METHODS
from psmlearn.activation._maps import (
    Calibration,
    LayerGeometry,
    MapRunner,
    MapSpec,
    calibrate,
    combine_maps,
    direction_of_outputs,
    find_geometry,
)
from psmlearn.activation._pretexts import (
    PRETEXTS,
    Pretext,
    PretextNetwork,
    measure_outputs,
)
from psmlearn.activation._pruning import drop_unused, used_weights
from psmlearn.base import (
    POSITIVE,
    SIDE,
    EarlyStopping,
    NetworkEstimator,
    resolve_option,
)
from psmlearn.io._batch import ImageBatch
from psmlearn.networks import ResNet

__all__ = ["SelfActivationMapper"]

# Networks whose modules are all used by calling them.
_PRUNABLE = (ResNet,)

_INPUT_SCALES = {"standard", "unit", "byte"}
# Crops that means, principal direction and channel weights are taken over.
_N_SAMPLE = 64


@dataclass(frozen=True)
class _Frozen:
    """What maps are made with: how, where, and on which scale."""

    spec: MapSpec
    geometries: list[LayerGeometry]
    weights: list[np.ndarray]
    calibration: Calibration


# scikit-learn has no stubs, so that mypy does not know its __init_subclass__.
class SelfActivationMapper(  # type: ignore[call-arg]
    TransformerMixin, NetworkEstimator, auto_wrap_output_keys=None
):
    """Maps of where a network that trained itself on the images looks.

    A network learns a pretext task on random crops of unlabelled images. The
    gradient of its output by the features of a shallow layer weighs these features
    into a map (Grad-CAM), which is high on nuclei and on one scale for all images.

    Parameters
    ----------
    network : str or callable, default="resnet18"
        "resnet18", "resnet34", "resnet50", "res2net101_26w_4s", or a factory
        ``f(in_channels, n_outputs)`` or ``f(in_channels)`` of a torch module.
    weights : str or path, default=None
        File of weights to start from: ``.safetensors``, or a torch file of tensors,
        with the names of timm and torchvision. None starts at random.
    pretext : str or Pretext, default="mean_value"
        What the network learns, by name with its defaults or as an object with its own
        options: "mean_value" (:class:`~psmlearn.activation.MeanValue`), regress the
        mean haematoxylin of a crop; "similarity" (:class:`~psmlearn.activation
        .Similarity`), two views of a crop shall have similar embeddings; "contrastive"
        (:class:`~psmlearn.activation.Contrastive`), more similar than other crops;
        "rotation" (:class:`~psmlearn.activation.Rotation`), tell by how many quarter
        turns a crop was turned; "simsiam" (:class:`~psmlearn.activation.SimSiam`),
        predict one view's embedding from the other; or one's own subclass of
        :class:`~psmlearn.activation.Pretext`.
    layers : str or list of str, default="layer1"
        Modules of the network whose features are mapped; maps of several are
        averaged. Later stages are coarser.
    method : {"gradcam", "layercam", "gradcam++", "eigencam"}, default="gradcam"
        How features and gradients make a map; "eigencam" takes features alone.
    output : {"stack", "maps"}, default="stack"
        Whether `transform` gives the images with the map last, or maps alone.
    crop : {"random", "center"}, default="random"
        Whether crops are cut anywhere or from the middle of each image.
    input_scale : {"standard", "unit", "byte"}, default="standard"
        Standardised by channel, [0, 1] or [0, 255].
    map_input_scale : {"standard", "unit", "byte"}, default=None
        Scale for mapping; None is `input_scale`.
    output_unit : int or "principal", default="principal"
        Which output is differentiated; "principal" is the direction along which
        the outputs of training crops vary most.
    channel_weights : {"fit", "image"}, default="fit"
        Whether gradients are averaged over training crops once, so that
        `transform` needs the first layers only, or over each image. Not for
        "layercam", which has none.
    scale : {"fit", "image"}, default="fit"
        Whether 0 and 1 are the 1st and 99th percentiles of the maps of training
        crops, or each image's extremes (then empty images look full).
    polarity : {"auto", "haematoxylin", "dark", "bright"}, default="auto"
        The sign of a map is chosen to correlate with this over training pixels:
        "auto" is haematoxylin with three channels, else darkness. None leaves it.
    max_epochs, steps_per_epoch, batch_size : int, default=5, 30 and 8
        An epoch is `steps_per_epoch` batches of `batch_size` crops.
    patch_size : int, default=128
        Side of the crops in pixels.
    learning_rate, weight_decay : float, default=3e-4 and 1e-4
        Of AdamW.
    schedule : {"one_cycle", "constant"}, default="one_cycle"
        Course of the learning rate.
    max_gradient_norm : float, default=5.0
        Longer gradients are shortened to it; None leaves them.
    early_stopping : bool or EarlyStopping, default=False
        Stop, and keep the best weights, by the loss on crops of held-out images; see
        :class:`~psmlearn.base.EarlyStopping`.
    tile_size : int, default=1024
        Side in pixels of the tiles of large images.
    warm_start : bool, default=False
        Whether `fit` goes on from the last weights.
    device : str, default="auto"
        "cpu", "cuda", "mps" or the fastest there is.
    precision : {"float32", "bfloat16"}, default="float32"
        As in :class:`~psmlearn.NucleiSegmenter`.
    random_state : int, RandomState or None, default=None
        The same int gives the same bits on the same machine with as many threads.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    network_ : torch.nn.Module
        Its `backbone` is the network; maps are made of the modules of that.
    layers_ : list of str
    polarity_ : ndarray of shape (n_layers,)
        1 or -1, what each layer's map was multiplied with.
    channel_weights_ : list of ndarray of shape (n_features,)
        For each layer, averaged over training crops; empty for "layercam".
    map_ranges_ : ndarray of shape (n_layers, 2)
        What becomes 0 and 1.
    loss_curve_, validation_loss_curve_ : list of float
        By epoch.
    best_loss_ : float
    n_epochs_ : int
    n_features_in_ : int
        Channels of the images.
    device_ : str
        Where it was trained.

    Notes
    -----
    The sign follows a stain or darkness, never a label: nuclei are what takes up
    haematoxylin. Upright and turned tissue look alike, so "rotation" has little to
    learn from histology. Beside images and result, `transform` takes 4 bytes for
    each layer and cell of a map (1 in 16 pixels for "layer1") and the network's
    memory for 1 Mpixel or one tile.

    The published reference code [1]_ is reached by parameters::

        paper = dict(
            network="res2net101_26w_4s", layers=["layer1.0", "layer1.1", "layer1.2"],
            crop="center", patch_size=512, batch_size=4,
            input_scale="byte", map_input_scale="unit", output_unit=0,
            channel_weights="image", scale="image", polarity=None,
            learning_rate=1e-4, weight_decay=0, schedule="constant",
            max_gradient_norm=None, max_epochs=100, steps_per_epoch=7,
        )
        similarity = dict(
            pretext=Similarity(loss_function="l1", augment=False),
            batch_size=1, steps_per_epoch=27,
        )
        contrastive = dict(pretext=Contrastive(loss_function="mse", augment=False))
        rotation = dict(pretext=Rotation(
            loss_function="mse", embedding_dim=1000, augment=False))
        simsiam = dict(pretext=SimSiam(
            loss_function="l1", embedding_dim=1000, train_heads=False, augment=False))
        mean_value = dict(pretext=MeanValue(
            loss_function="l1", target="grey", augment=False))
        SelfActivationMapper(**{**paper, **similarity})

    with `steps_per_epoch` for 30 images. It maps centre crops: pass these.

    References
    ----------
    .. [1] P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior
       Self-activation Maps", MICCAI 2023, arXiv:2308.11144.

    Examples
    --------
    >>> from psmlearn import SelfActivationMapper
    >>> from psmlearn.datasets import make_nuclei
    >>> images = make_nuclei(n_images=2, shape=(96, 96), random_state=0).images
    >>> mapper = SelfActivationMapper(
    ...     max_epochs=1, steps_per_epoch=1, patch_size=32, random_state=0)
    >>> mapper.fit_transform(images).shape
    (2, 96, 96, 4)
    """

    network_: PretextNetwork
    _frozen: _Frozen
    # Whether the last training was one that another may follow.
    _goes_on = False
    _stage = "training maps"
    _parameter_constraints: dict = {
        **NetworkEstimator._parameter_constraints,
        "pretext": [StrOptions(set(PRETEXTS)), Pretext],
        "layers": [str, "array-like"],
        "method": [StrOptions(set(METHODS))],
        "output": [StrOptions({"stack", "maps"})],
        "crop": [StrOptions({"random", "center"})],
        "input_scale": [StrOptions(_INPUT_SCALES)],
        "map_input_scale": [StrOptions(_INPUT_SCALES), None],
        "output_unit": [
            StrOptions({"principal"}),
            Interval(Integral, 0, 1_000_000, closed="both"),
        ],
        "channel_weights": [StrOptions({"fit", "image"})],
        "scale": [StrOptions({"fit", "image"})],
        "polarity": [StrOptions({"auto", "haematoxylin", "dark", "bright"}), None],
        "schedule": [StrOptions({"one_cycle", "constant"})],
        "max_gradient_norm": [POSITIVE, None],
        "tile_size": [SIDE],
    }

    def __init__(
        self,
        *,
        network: str | Callable[..., nn.Module] = "resnet18",
        weights: Path | None = None,
        pretext: str | Pretext = "mean_value",
        layers: str | Sequence[str] = "layer1",
        method: str = "gradcam",
        output: str = "stack",
        crop: str = "random",
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
        learning_rate: float = 3e-4,
        weight_decay: float = 1e-4,
        schedule: str = "one_cycle",
        max_gradient_norm: float | None = 5.0,
        early_stopping: bool | EarlyStopping = False,
        tile_size: int = 1024,
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
        self.pretext = pretext
        self.layers = layers
        self.method = method
        self.output = output
        self.crop = crop
        self.input_scale = input_scale
        self.map_input_scale = map_input_scale
        self.output_unit = output_unit
        self.channel_weights = channel_weights
        self.scale = scale
        self.polarity = polarity
        self.schedule = schedule
        self.max_gradient_norm = max_gradient_norm
        self.tile_size = tile_size

    # -- fitting ---------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Images, y: object = None) -> SelfActivationMapper:
        """Train on crops of the images and put the maps on one scale.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            Images as arrays or paths; one is enough.
        y : object, default=None
            Ignored: no label is used.

        Returns
        -------
        SelfActivationMapper
            The mapper itself.

        Raises
        ------
        ValueError
            If images, parameters or the device are bad; before any training.
        FloatingPointError
            If training goes astray: a loss, a weight or a map is not finite. The
            mapper is then as it was before.
        KeyboardInterrupt
            Raised on, with the mapper usable with the weights so far.
        """
        return self._fit(X, continued=self._continues())

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Images, y: object = None) -> SelfActivationMapper:
        """Train for one epoch on the given images, at a constant learning rate.

        The first call starts a network and learns the scale of its input, later
        ones go on with both. Maps are put on the scale of the images of the call.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            Images as arrays or paths.
        y : object, default=None
            Ignored.

        Returns
        -------
        SelfActivationMapper
            The mapper itself.
        """
        return self._fit(X, continued=hasattr(self, "network_"), one_epoch=True)

    def _fit(
        self, X: Images, *, continued: bool, one_epoch: bool = False
    ) -> SelfActivationMapper:
        if continued and getattr(self.network_, "is_cut", False):
            raise ValueError(
                f"{type(self).__name__}: this one was stored without the layers that "
                "its maps do not need, so that its training cannot go on. Fit it anew; "
                "with warm_start=True, or after partial_fit, all layers are stored."
            )
        device = self._before_work(continued=continued)
        pretext = resolve_option(self.pretext, PRETEXTS)
        pretext.check(self.batch_size)
        self._check_output_unit(pretext)
        with self._keeps_what_was():
            images = self._check_images(X, reset=not continued)
            self._check_polarity(images.n_channels)
            plan = _PretextPlan(self, pretext, images)
            self._fit_plan(plan, device, continued=continued, one_epoch=one_epoch)
            self._goes_on = one_epoch
        return self

    def _build(self, recipe: dict[str, Any]) -> PretextNetwork:
        return PretextNetwork(**recipe)

    # -- what is stored: the layers that maps are made of ----------------------

    def __getstate__(self):
        state = super().__getstate__()
        if "network_" in state and not (self.warm_start or self._goes_on):
            needed = self._needed_weights(self.network_, self._frozen)
            weights = state["network_"]
            state["network_"] = {key: weights[key] for key in weights if key in needed}
        return state

    def _needed_weights(self, network: Any, frozen: Any) -> set[str]:
        if not isinstance(network.backbone, _PRUNABLE):
            return set(network.state_dict())
        return used_weights(network, frozen.spec)

    def _load_stored(self, network: Any, weights: dict[str, np.ndarray]) -> None:
        network.is_cut = drop_unused(network, weights)
        load_numpy_state(network, weights)

    def _check_output_unit(self, pretext: Pretext) -> None:
        unit, n_outputs = self.output_unit, pretext.n_outputs
        if isinstance(unit, Integral) and unit >= n_outputs:
            raise ValueError(
                f"output_unit={unit}: the network has {n_outputs} output(s), counted "
                "from 0."
            )

    def _check_polarity(self, n_channels: int) -> None:
        if self.polarity == "haematoxylin" and n_channels not in (1, 3):
            raise ValueError(
                "polarity='haematoxylin' needs images of 3 channels (or 1 of grey), "
                f"got {n_channels}; use 'dark', 'bright' or 'auto'."
            )

    def _map_spec(self) -> MapSpec:
        given = [self.layers] if isinstance(self.layers, str) else self.layers
        names = tuple(as_list(given, "layers", "a name or a list of names"))
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError(
                "layers: the name of a module of the network or a list of names is "
                f"expected, got {self.layers!r}."
            )
        return MapSpec(
            layers=names,
            method=self.method,
            per_image=self.channel_weights == "image",
            input_scale=self.map_input_scale or self.input_scale,
            precision=self.precision,
            tile_size=self.tile_size,
        )

    # -- mapping ---------------------------------------------------------------

    @plain_torch()
    def transform(self, X: Images) -> np.ndarray | list[np.ndarray]:
        """Map images.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            Images as arrays or paths, of any size.

        Returns
        -------
        ndarray or list of ndarray, float32
            An array if `X` is one, else a list. With ``output="stack"`` each image
            is (height, width, n_channels + 1), in [0, 1], its map last; with
            ``"maps"`` it is (height, width, 1).

        Raises
        ------
        ValueError
            If an image is bad or has another number of channels than in `fit`.
        FloatingPointError
            If the network, or a map, is not finite.
        """
        self._check_is_fitted()
        images = self._check_images(X, reset=False)
        device = self._resolve_predict_device()
        frozen = self._frozen
        spec = replace(frozen.spec, tile_size=self.tile_size, precision=self.precision)
        network = working_copy(self.network_, device)
        runner = MapRunner(network, spec, frozen.geometries, device, frozen.weights)
        return images.wrap(
            [
                self._result(images[index], raw, images.shown(index))
                for index, raw in enumerate(self._tracked(runner(images), images))
            ]
        )

    def _result(
        self, image: np.ndarray, raw: list[np.ndarray], shown: np.ndarray | None
    ) -> np.ndarray:
        height, width, n_channels = image.shape
        geometries, calibration = self._frozen.geometries, self._frozen.calibration
        combined = combine_maps(
            raw, (height, width), geometries, calibration, self.scale, shown
        )
        if self.output == "maps":
            return combined[..., np.newaxis]
        stack = np.empty((height, width, n_channels + 1), np.float32)
        stack[..., :-1] = image
        stack[..., -1] = combined
        return stack

    def get_feature_names_out(
        self, input_features: Sequence[str] | None = None
    ) -> np.ndarray:
        """Return the names of the channels that `transform` gives.

        Parameters
        ----------
        input_features : sequence of str, default=None
            Names of the channels of the images; if None, "red", "green" and "blue"
            for three channels, else "channel0", "channel1", ...

        Returns
        -------
        ndarray of str objects
            These names and "activation", or "activation" alone.
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


class _PretextPlan(TrainingPlan[PretextNetwork]):
    """What a mapper trains: a network that learns a pretext on crops."""

    n_validation_batches = 4

    def __init__(
        self, mapper: SelfActivationMapper, pretext: Pretext, images: ImageBatch
    ) -> None:
        recipe = {
            "network": mapper.network,
            "in_channels": images.n_channels,
            "n_outputs": pretext.n_outputs,
            "heads": pretext.heads,
        }
        super().__init__(recipe, len(images))
        self.changeable = {"input_scale": mapper.input_scale}
        self.asked_by = {
            "n_outputs": "the number of outputs (pretext)",
            "heads": "the heads of the pretext",
        }
        self.schedule = mapper.schedule
        self.max_gradient_norm = mapper.max_gradient_norm
        self.mapper = mapper
        self.pretext = pretext
        self.loss_parts = (pretext,)
        self.images = images
        self.spec = mapper._map_spec()
        self.geometries: list[LayerGeometry] = []

    def _sampler(self, places: np.ndarray) -> PatchSampler | CentreSampler:
        kind = CentreSampler if self.mapper.crop == "center" else PatchSampler
        return kind(self.images.subset(places), self.mapper.patch_size)

    def _sample(self, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self._sampler(places).draw(rng, _N_SAMPLE)[0]

    def backbone(self, network: PretextNetwork) -> nn.Module:
        """Weight files are those of the backbone."""
        return network.backbone

    def start(
        self, network: PretextNetwork, places: np.ndarray, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Complete the network, and take its scales from training crops."""
        n_outputs = measure_outputs(
            network.backbone, self.images.n_channels, self.mapper.patch_size
        )
        network.set_readout(n_outputs)
        if isinstance(network.backbone, ResNet):
            _silence_residuals(network.backbone)
        self._learn_scales(network, self._sample(places, rng))
        return {**self.recipe, "n_backbone_outputs": n_outputs}

    def _learn_scales(self, network: PretextNetwork, patches: np.ndarray) -> None:
        mean = patches.mean(axis=(0, 1, 2), dtype=np.float64)
        std = patches.std(axis=(0, 1, 2), dtype=np.float64)
        std = np.where(std > 1e-6, std, 1.0)  # the spread of constant values
        network.input_mean.copy_(torch.from_numpy(mean)[:, None, None])
        network.input_std.copy_(torch.from_numpy(std)[:, None, None])
        values = self.pretext.targets(patches)
        if values is not None:
            scale = self.pretext.target_scale(values, self.mapper.input_scale)
            network.target_mean.fill_(scale[0])
            network.target_std.fill_(scale[1])

    def check(self, network: PretextNetwork) -> None:
        """Measure the layers; raises where a map cannot be made of them."""
        trains = self.pretext.train_heads
        network.projector.requires_grad_(trains)
        network.predictor.requires_grad_(trains)
        network.input_scale = self.mapper.input_scale
        self.geometries = [
            find_geometry(network.backbone, self.images.n_channels, name)
            for name in self.spec.layers
        ]

    def data(self) -> list[Any]:
        """Images alone."""
        return [self.images]

    def make_draw(self, places: np.ndarray) -> DrawBatch:
        """Draw crops (n, c, size, size) in [0, 1] and their targets (n,)."""
        sampler, batch_size = self._sampler(places), self.mapper.batch_size
        if isinstance(sampler, CentreSampler):
            self.remembering.append(sampler)

        def draw(rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
            patches, _ = sampler.draw(rng, batch_size)
            values = self.pretext.targets(patches)
            if values is None:
                values = np.zeros(batch_size)
            values = np.asarray(values, np.float32)
            return to_batch(patches), torch.from_numpy(values)

        return draw

    def make_loss(self, network: PretextNetwork, places: np.ndarray) -> ComputeLoss:
        """Return the pretext's loss; validation sees the same views every time."""

        def loss(
            crops: torch.Tensor,
            targets: torch.Tensor,
            *,
            training: bool,
            generator: torch.Generator | None,
        ) -> torch.Tensor:
            generator = generator or torch.Generator().manual_seed(0)
            return self.pretext.loss(network, crops, targets, generator)

        return loss

    def freeze(
        self,
        network: PretextNetwork,
        places: np.ndarray,
        device: torch.device,
        rng: np.random.Generator,
    ) -> tuple[_Frozen, dict[str, Any]]:
        """Learn direction, channel weights, polarity and range of the maps."""
        crops = to_batch(self._sample(places, rng))
        spec, mapper = self.spec, self.mapper
        frozen = working_copy(network, device)
        direction = direction_of_outputs(
            frozen, crops, mapper.output_unit, spec.input_scale
        )
        network.direction.copy_(direction)
        frozen.direction.copy_(direction)
        runner = MapRunner(frozen, spec, self.geometries, device)
        weights = runner.mean_weights(crops)
        runner = MapRunner(frozen, spec, self.geometries, device, weights)
        images = self.images.subset(places)
        calibration = calibrate(runner, self.geometries, images, mapper.polarity, rng)
        public = {
            "channel_weights_": weights,
            "polarity_": calibration.polarity,
            "map_ranges_": calibration.ranges,
            "layers_": list(spec.layers),
        }
        return _Frozen(spec, self.geometries, weights, calibration), public


def _silence_residuals(backbone: ResNet) -> None:
    """Let every block start as its shortcut (P. Goyal et al., arXiv:1706.02677).

    After few steps of training the output then still depends on shallow features
    almost linearly, and mean gradients tell what they stand for.
    """
    for block in backbone.modules():
        if hasattr(block, "downsample"):
            last = getattr(block, "bn3", None) or block.get_submodule("bn2")
            nn.init.zeros_(last.get_parameter("weight"))
