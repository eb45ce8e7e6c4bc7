# SPDX-License-Identifier: BSD-3-Clause
"""Weights as numpy arrays, and weight files read without running code."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path

import numpy as np
import torch
from torch import nn

_logger = logging.getLogger("psmlearn")

# A head depends on the number of outputs; a decoder may be missing, not an encoder.
_HEADS = ("fc.", "head.", "classifier.")
_ENCODER = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4.")

__all__ = ["load_numpy_state", "load_weights", "state_to_numpy"]


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


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is no safetensors file: {error}.") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path} could not be read as plain weights: {str(error).splitlines()[0]} "
            "Save them with torch.save(network.state_dict(), path) or as .safetensors; "
            "files that hold Python objects are refused."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        raise ValueError(f"{path} holds no state dict of tensors.")
    return state


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
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file holds no plain weights or they do not belong to this network.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights={str(path)!r}: there is no such file.")
    state = {key.removeprefix("module."): v for key, v in _read_state(path).items()}
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
    network.load_state_dict(fitting, strict=False)
    if missing:
        _logger.info("%s leaves %d weights as they were.", path, len(missing))
    return missing
