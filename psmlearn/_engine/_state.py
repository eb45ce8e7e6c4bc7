# SPDX-License-Identifier: BSD-3-Clause
"""Weights as numpy arrays, weights of files, and weights that are not finite."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from psmlearn._engine._weight_files import check_weight_file, read_weight_file

_logger = logging.getLogger("psmlearn")

# A head depends on the number of outputs; a decoder may be missing, not an encoder.
_HEADS = ("fc.", "head.", "classifier.")
_ENCODER = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4.")

__all__ = [
    "check_weight_file",
    "has_finite_state",
    "load_numpy_state",
    "load_weights",
    "refuse_non_finite",
    "state_to_numpy",
]


def state_to_numpy(network: nn.Module) -> dict[str, np.ndarray]:
    """Return copies of all weights and buffers as numpy arrays."""
    return {
        key: value.detach().cpu().contiguous().numpy().copy()
        for key, value in network.state_dict().items()
    }


def load_numpy_state(network: nn.Module, state: dict[str, np.ndarray]) -> None:
    """Load what `state_to_numpy` returned."""
    network.load_state_dict(
        {key: torch.from_numpy(np.array(value)) for key, value in state.items()}
    )


def load_weights(network: nn.Module, path: str | os.PathLike) -> list[str]:
    """Load a weight file into a network; head and decoder may stay as they are.

    Parameters
    ----------
    network : torch.nn.Module
        Its state-dict keys name what is loaded.
    path : str or path
        A ``.safetensors`` file, or a torch file of tensors (read with
        ``weights_only=True``). Keys as timm and torchvision write them.

    Returns
    -------
    list of str
        The keys of the network that the file did not fill.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    ValueError
        If the file holds no plain weights, weights that are not finite or whole
        numbers in place of floats, or if they do not belong to this network.
    MemoryError
        If there is not enough memory for what the file holds.
    """
    path = os.fsdecode(path)
    state = read_weight_file(path)
    own = network.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    foreign = [k for k in state if k not in fitting and not k.startswith(_HEADS)]
    missing = [k for k in own if k not in fitting]
    filled = {key.split(".")[0] for key in fitting}
    torn = [
        key
        for key in missing
        if not key.startswith(_HEADS)
        and not key.endswith("num_batches_tracked")
        and (key.split(".")[0] in filled or key.startswith(_ENCODER))
    ]
    if foreign or torn or not fitting:
        first = (foreign + torn or missing)[:3]
        raise ValueError(
            f"{path} does not fit {type(network).__name__}: {len(foreign)} of its "
            f"weights are unknown there or have another shape and {len(torn)} are "
            f"missing, such as {', '.join(first)}. Take a file of the same network, "
            "with keys as torchvision or timm name them, and as many channels."
        )
    for key, value in fitting.items():
        fitting[key] = _as_own(value, own[key], f"{path}: the weight {key!r}")
    network.load_state_dict(fitting, strict=False)
    if missing:
        _logger.info("%s leaves %d weights as they were.", path, len(missing))
    return missing


def _as_own(value: torch.Tensor, own: torch.Tensor, what: str) -> torch.Tensor:
    """Return a weight in the dtype of the network's own, if that can be."""
    if own.is_floating_point() and not value.is_floating_point():
        raise ValueError(
            f"{what} holds whole numbers ({value.dtype}) in place of floats: weights "
            "that were quantised must be saved as floats."
        )
    converted = value.to(own.dtype)
    if own.is_floating_point():
        # A mask of a network may hold infinities from the start.
        if torch.isfinite(own).all() and not torch.isfinite(converted).all():
            raise ValueError(
                f"{what} holds NaN or values that are infinite in {own.dtype}; the "
                "network would answer with NaN. Take another file."
            )
    elif value.is_floating_point() and not torch.equal(converted.to(value), value):
        raise ValueError(f"{what} holds fractions in place of whole numbers.")
    return converted


# -- what is not finite ------------------------------------------------------------


def _non_finite(network: nn.Module) -> Iterator[str]:
    """Yield the names of parameters and running statistics that are not finite."""
    learnt: dict[str, torch.Tensor] = dict(network.named_parameters())
    for key, value in network.named_buffers():
        if "running_" in key:  # others may hold infinities, such as masks
            learnt[key] = value
    for key, value in learnt.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            yield key


def has_finite_state(network: nn.Module) -> bool:
    """Tell whether all that a network has learnt is finite."""
    return next(_non_finite(network), None) is None


def refuse_non_finite(network: nn.Module, what: str) -> None:
    """Raise where what a network has learnt is NaN or infinite."""
    key = next(_non_finite(network), None)
    if key is not None:
        raise FloatingPointError(
            f"{what}: the weights {key!r} of the network are not finite. Fit it again, "
            "with a lower learning_rate, and check the images for corrupt ones."
        )
