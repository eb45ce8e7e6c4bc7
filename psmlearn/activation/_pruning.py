# SPDX-License-Identifier: BSD-3-Clause
"""What of a network its maps are made of; the rest need not be stored."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import nn

from psmlearn.activation._gradients import layer_features
from psmlearn.activation._maps import MapSpec
from psmlearn.activation._pretexts import PretextNetwork

__all__ = ["drop_unused", "used_weights"]

_PROBE_SIDE = 64


def used_weights(network: PretextNetwork, spec: MapSpec) -> set[str]:
    """Return the keys of the weights that maps are made with.

    All of them where mapping takes a backward pass. Else the modules count that a pass
    up to the last of the layers calls: networks of psmlearn use no module's weights but
    by calling it.
    """
    keys = set(network.state_dict())
    if spec.needs_gradients:
        return keys
    backbone = copy.deepcopy(network.backbone).to("meta").eval()
    n_channels = len(network.input_mean)
    probe = torch.zeros(1, n_channels, _PROBE_SIDE, _PROBE_SIDE, device="meta")
    called: set[nn.Module] = set()
    handles = [
        module.register_forward_pre_hook(lambda module, inputs: called.add(module))
        for module in backbone.modules()
    ]
    try:
        layer_features(backbone, probe, spec.layers)
    finally:
        for handle in handles:
            handle.remove()
    used = {
        f"backbone.{name}.{key}" if name else f"backbone.{key}"
        for name, module in backbone.named_modules()
        if module in called
        for key in _own_keys(module)
    }
    # Scales of the input, and what else is the whole's own.
    return {key for key in keys if key in used or "." not in key}


def drop_unused(network: PretextNetwork, stored: Iterable[str]) -> bool:
    """Leave out of a network, in place, the modules of which nothing is stored.

    Returns
    -------
    is_cut : bool
        Whether there were any.
    """
    stored = set(stored)
    missing = [key for key in network.state_dict() if key not in stored]
    for key in missing:
        parent: nn.Module = network
        *path, _ = key.split(".")
        for depth, name in enumerate(path, 1):
            child = getattr(parent, name)
            inside = ".".join(path[:depth]) + "."
            if not any(each.startswith(inside) for each in stored):
                setattr(parent, name, nn.Identity())
                break
            parent = child
    return bool(missing)


def _own_keys(module: nn.Module) -> list[str]:
    """Return the names of a module's own parameters and buffers."""
    own = [
        *module.named_parameters(recurse=False),
        *module.named_buffers(recurse=False),
    ]
    return [name for name, _ in own]
