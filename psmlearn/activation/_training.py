# SPDX-License-Identifier: BSD-3-Clause
"""What a pretext's training starts from: network, scales and batches."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import torch

from psmlearn._engine._state import load_weights
from psmlearn.activation._pretext import (
    PretextNetwork,
    PretextTask,
    measure_outputs,
)
from psmlearn.activation._sampling import make_sampler, target_values, to_batch
from psmlearn.io._batch import ImageBatch
from psmlearn.networks import ResNet

__all__ = ["N_SAMPLE", "learn_scales", "make_draws", "resume_network", "start_network"]

# Crops that means, principal direction and channel weights are taken over.
N_SAMPLE = 64
_N_VALIDATION_BATCHES = 4


def make_recipe(network: str | Callable, in_channels: int, task: PretextTask) -> dict:
    """Say how the network of a task is built, but for what must be measured."""
    return {
        "network": network,
        "in_channels": in_channels,
        "n_outputs": task.n_outputs,
        "heads": task.heads,
    }


def start_network(
    recipe: dict, patch_size: int, weights: str | os.PathLike | None
) -> tuple[PretextNetwork, dict]:
    """Build a new network; return it with the complete recipe."""
    network = PretextNetwork(**recipe)
    n_outputs = measure_outputs(network.backbone, recipe["in_channels"], patch_size)
    network.set_readout(n_outputs)
    if isinstance(network.backbone, ResNet):
        _silence_residuals(network.backbone)
    if weights is not None:
        load_weights(network.backbone, weights)
    return network, {**recipe, "n_backbone_outputs": n_outputs}


def _silence_residuals(backbone: ResNet) -> None:
    """Let every block start as its shortcut (P. Goyal et al., arXiv:1706.02677).

    After few steps of training the output then still depends on shallow features
    almost linearly, and mean gradients tell what they stand for.
    """
    for block in backbone.modules():
        if hasattr(block, "downsample"):
            last = block.bn3 if hasattr(block, "bn3") else block.bn2
            torch.nn.init.zeros_(last.weight)


def resume_network(
    recipe: dict, known_recipe: dict, stored: PretextNetwork
) -> PretextNetwork:
    """Copy a trained network, if it is the one that is asked for."""
    for key, value in recipe.items():
        if known_recipe[key] != value:
            raise ValueError(
                f"Training cannot go on with another network: {key} was "
                f"{known_recipe[key]!r} and is {value!r} now; call fit with "
                "warm_start=False to start anew."
            )
    network = PretextNetwork(**known_recipe)
    network.load_state_dict(stored.state_dict())
    return network


def _safe(std: np.ndarray) -> np.ndarray:
    """Replace the spread of constant values by 1."""
    return np.where(std > 1e-6, std, 1.0)


def learn_scales(
    network: PretextNetwork, patches: np.ndarray, input_scale: str, target: str
) -> None:
    """Take the scales of input and target from training crops (n, h, w, c)."""
    mean = patches.mean(axis=(0, 1, 2), dtype=np.float64)
    std = _safe(patches.std(axis=(0, 1, 2), dtype=np.float64))
    network.input_mean.copy_(torch.from_numpy(mean)[:, None, None])
    network.input_std.copy_(torch.from_numpy(std)[:, None, None])
    if input_scale == "standard":
        values = target_values(patches, target)
        network.target_mean.fill_(float(values.mean()))
        network.target_std.fill_(float(_safe(values.std())))
    elif input_scale == "byte" and target == "grey":
        network.target_std.fill_(1 / 255)  # grey levels, as the input is


def make_draws(
    images: ImageBatch,
    training: np.ndarray,
    held_out: np.ndarray,
    *,
    target: str | None,
    crop: str,
    patch_size: int,
    batch_size: int,
    validation_seed: int,
) -> tuple[Callable, Callable]:
    """Return what draws a training batch, and the fixed validation batches.

    A batch is crops (n, c, size, size) in [0, 1] and their targets (n,), which are
    zeros where `target` is None.
    """
    sampler = make_sampler(images.subset(training), patch_size, crop)

    def draw_from(source, rng):
        patches, _ = source.draw(rng, batch_size)
        values = np.zeros(batch_size, np.float32)
        if target is not None:
            values = target_values(patches, target)
        return to_batch(patches), torch.from_numpy(values)

    def draw(rng):
        return draw_from(sampler, rng)

    def draw_validation():
        rng = np.random.default_rng(validation_seed)
        source = make_sampler(images.subset(held_out), patch_size, crop)
        return [draw_from(source, rng) for _ in range(_N_VALIDATION_BATCHES)]

    return draw, draw_validation
