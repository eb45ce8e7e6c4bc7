# SPDX-License-Identifier: BSD-3-Clause
"""What estimators that give maps share: calibration and `transform`."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from sklearn.base import TransformerMixin

from psmlearn._engine._inference import working_copy
from psmlearn._sklearn_compat import StrOptions, _check_feature_names_in
from psmlearn.activation._calibration import (
    calibrate,
    combine_maps,
    direction_of_outputs,
)
from psmlearn.activation._gradient import METHODS
from psmlearn.activation._mapping import MapRunner, MapSpec, find_geometry
from psmlearn.activation._pretext import PretextNetwork
from psmlearn.base import NetworkEstimator
from psmlearn.io._batch import ImageBatch

__all__ = ["INPUT_SCALES", "MapTransformer"]

INPUT_SCALES = ("standard", "unit", "byte")


class MapTransformer(TransformerMixin, NetworkEstimator, auto_wrap_output_keys=None):
    """Base class: a trained network's maps, on one scale for all images."""

    _parameter_constraints: dict = {
        **NetworkEstimator._parameter_constraints,
        "layers": [str, "array-like"],
        "method": [StrOptions(set(METHODS))],
        "output": [StrOptions({"stack", "maps"})],
        "input_scale": [StrOptions(set(INPUT_SCALES))],
        "map_input_scale": [StrOptions(set(INPUT_SCALES)), None],
        "channel_weights": [StrOptions({"fit", "image"})],
        "scale": [StrOptions({"fit", "image"})],
        "polarity": [StrOptions({"auto", "haematoxylin", "dark", "bright"}), None],
    }

    # -- calibration -----------------------------------------------------------

    def _layer_names(self) -> tuple[str, ...]:
        names = (self.layers,) if isinstance(self.layers, str) else tuple(self.layers)
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError(
                "layers: the name of a module of the network or a list of names is "
                f"expected, got {self.layers!r}."
            )
        return names

    def _check_polarity(self, n_channels: int) -> None:
        if self.polarity == "haematoxylin" and n_channels not in (1, 3):
            raise ValueError(
                "polarity='haematoxylin' needs images of 3 channels (or 1 of grey), "
                f"got {n_channels}; use 'dark', 'bright' or 'auto'."
            )

    def _map_spec(self, layers: tuple[str, ...]) -> MapSpec:
        return MapSpec(
            layers=layers,
            method=self.method,
            per_image=self.channel_weights == "image",
            input_scale=self.map_input_scale or self.input_scale,
            precision=self.precision,
            tile_size=self.tile_size,
        )

    def _find_geometries(self, network: PretextNetwork, n_channels: int) -> list:
        """Measure the layers; raises where a map cannot be made of them."""
        return [
            find_geometry(network.backbone, n_channels, name)
            for name in self._layer_names()
        ]

    def _calibrate(
        self,
        network: PretextNetwork,
        geometries: list,
        images: ImageBatch,
        crops: torch.Tensor,
        device: torch.device,
        rng: np.random.Generator,
    ) -> None:
        """Learn direction, channel weights, polarity and range of the maps."""
        spec = self._map_spec(self._layer_names())
        frozen = working_copy(network, device)
        direction = direction_of_outputs(
            frozen, crops, self.output_unit, spec.input_scale
        )
        network.direction.copy_(direction)
        frozen.direction.copy_(direction)
        runner = MapRunner(frozen, spec, geometries, device)
        weights = runner.mean_weights(crops)
        runner = MapRunner(frozen, spec, geometries, device, weights)
        calibration = calibrate(runner, geometries, images, self.polarity, rng)
        self._spec, self._geometries = spec, geometries
        self._calibration = calibration
        self.channel_weights_ = weights
        self.polarity_ = calibration.polarity
        self.map_ranges_ = calibration.ranges
        self.layers_ = list(spec.layers)

    # -- mapping ---------------------------------------------------------------

    def transform(self, X) -> np.ndarray | list[np.ndarray]:
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
        """
        self._check_is_fitted()
        images = self._check_images(X, reset=False)
        device = self._resolve_predict_device()
        spec = dataclasses.replace(
            self._spec, tile_size=self.tile_size, precision=self.precision
        )
        with torch.inference_mode(False):
            network = working_copy(self.network_, device)
            runner = MapRunner(
                network, spec, self._geometries, device, self.channel_weights_
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
