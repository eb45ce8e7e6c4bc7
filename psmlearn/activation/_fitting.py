# SPDX-License-Identifier: BSD-3-Clause
"""How a mapper is fitted: from checked parameters to a calibrated network."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Self

import numpy as np
import torch

from psmlearn._engine._seed import draw_seed, isolated_torch
from psmlearn._engine._train import TrainResult, train_network
from psmlearn._sklearn_compat import Interval, StrOptions
from psmlearn.activation._base import MapTransformer
from psmlearn.activation._pretext import (
    PRETEXTS,
    PretextLoss,
    PretextNetwork,
    PretextTask,
    resolve_task,
)
from psmlearn.activation._sampling import make_sampler, to_batch
from psmlearn.activation._training import (
    N_SAMPLE,
    learn_scales,
    make_draws,
    make_recipe,
    resume_network,
    start_network,
)
from psmlearn.io._batch import ImageBatch

__all__ = ["PretextMapper"]

_AT_LEAST_0 = Interval(Real, 0, None, closed="left")


class PretextMapper(MapTransformer, auto_wrap_output_keys=None):
    """Base class: a mapper whose network learns a pretext task."""

    _parameter_constraints: dict = {
        **MapTransformer._parameter_constraints,
        "pretext": [StrOptions(set(PRETEXTS))],
        "target": [StrOptions({"haematoxylin", "grey"})],
        "loss": [StrOptions({"auto", "l1", "mse"})],
        "embedding_dim": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "margin": [StrOptions({"auto"}), _AT_LEAST_0],
        "variance_weight": [_AT_LEAST_0],
        "train_heads": ["boolean"],
        "crop": [StrOptions({"random", "center"})],
        "augment": ["boolean"],
        "output_unit": [
            StrOptions({"principal"}),
            Interval(Integral, 0, None, closed="left"),
        ],
        "schedule": [StrOptions({"one_cycle", "constant"})],
        "max_gradient_norm": [Interval(Real, 0, None, closed="neither"), None],
    }

    def _fit(self, X, *, continued: bool, **changes) -> Self:
        device = self._resolve_fit_device()
        task = self._resolve_task()
        images = self._check_images(X, reset=not continued)
        self._check_polarity(images.n_channels)
        seed = draw_seed(self.random_state)
        # Later calls with the same seed go on to other crops.
        rng = np.random.default_rng([seed, self.n_epochs_ if continued else 0])
        with isolated_torch(int(rng.integers(2**31)), device):
            self._train(task, images, device, rng, continued, changes)
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

    def _build(self, recipe: dict) -> PretextNetwork:
        return PretextNetwork(**recipe)

    def _prepare(
        self,
        task: PretextTask,
        images: ImageBatch,
        rng: np.random.Generator,
        continued: bool,
    ) -> tuple[PretextNetwork, dict, list]:
        """Return the network to train, its recipe, and the layers' geometries."""
        recipe = make_recipe(self.network, images.n_channels, task)
        if continued:
            network = resume_network(recipe, self._network_recipe, self.network_)
            recipe = self._network_recipe
        else:
            network, recipe = start_network(recipe, self.patch_size, self.weights)
            learn_scales(
                network, self._sample(images, rng), self.input_scale, self.target
            )
        if not task.train_heads:
            network.freeze_heads()
        return network, recipe, self._find_geometries(network, images.n_channels)

    def _sample(self, images: ImageBatch, rng: np.random.Generator) -> np.ndarray:
        sampler = make_sampler(images, self.patch_size, self.crop)
        return sampler.draw(rng, N_SAMPLE)[0]

    def _train(
        self,
        task: PretextTask,
        images: ImageBatch,
        device: torch.device,
        rng: np.random.Generator,
        continued: bool,
        changes: dict,
    ) -> None:
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
        seen = images.subset(training)
        network, recipe, geometries = self._prepare(task, seen, rng, continued)
        draw, draw_validation = make_draws(
            images,
            training,
            held_out,
            target=self.target if self.pretext == "mean_value" else None,
            crop=self.crop,
            patch_size=self.patch_size,
            batch_size=self.batch_size,
            validation_seed=int(rng.integers(2**31)),
        )
        result = TrainResult()

        def finish() -> None:
            crops = to_batch(self._sample(seen, rng))
            self._calibrate(network, geometries, seen, crops, device, rng)
            self._store_network(network, recipe)
            self._record_training(result, continued=continued)
            self.device_ = str(device)

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
