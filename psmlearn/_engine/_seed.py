# SPDX-License-Identifier: BSD-3-Clause
"""Random streams of our own: torch's global one is neither read nor moved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["OwnDraws", "draw_seed", "own_draws_of"]

# What draws and takes no generator borrows the global stream, for its call.
_BORROWING = Lock()
# Modules of torch that may draw when they are trained; others of torch do not.
_DRAWING = ("dropout", "rnn", "transformer", "FractionalMax", "RReLU", "Multihead")
_KNOWN = ("torch.nn.modules.", "psmlearn.")


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Return one integer seed drawn from `random_state`."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


class OwnDraws(TorchDispatchMode):
    """Inside, all that torch draws in this thread comes from generators of our own.

    They give what the global ones would after ``torch.manual_seed(seed)``, whoever
    calls: initialisation, dropout, networks of others. Each block goes on where the
    last one of the same object ended. Other threads neither notice nor disturb it.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}
        self._refuses = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not _is_random(func) or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        if self._refuses:
            raise RuntimeError(
                "The network draws random numbers in its backward pass, as dropout "
                "does under activation checkpointing; they would not be those of the "
                "forward pass. Turn checkpointing, or dropout, off."
            )
        own = self._generator(_device_of(args, kwargs))
        seeded = _with_generator(func)
        if seeded is not None:
            return seeded(*args, **{**kwargs, "generator": own})
        with _BORROWING:
            shared = _global_generator(own.device)
            found = shared.get_state()
            shared.set_state(own.get_state())
            try:
                return func(*args, **kwargs)
            finally:
                own.set_state(shared.get_state())
                shared.set_state(found)

    @contextmanager
    def refused(self) -> Iterator[None]:
        """Let nothing be drawn inside."""
        self._refuses = True
        try:
            with self:
                yield
        finally:
            self._refuses = False

    def get_state(self) -> dict[str, torch.Tensor]:
        """Return where the streams are, by device."""
        return {str(device): g.get_state() for device, g in self._generators.items()}

    def set_state(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what `get_state` gave."""
        for name, kept in state.items():
            self._generator(torch.device(name)).set_state(kept)

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            generator = torch.Generator(device).manual_seed(self._seed)
            self._generators[device] = generator
        return self._generators[device]


def own_draws_of(network: nn.Module, seed: int) -> AbstractContextManager:
    """Return the context for passes through a network: own draws, if it may draw.

    To look at each operation takes 10 microseconds, which is spared where nothing
    draws.
    """
    return OwnDraws(seed) if may_draw(network) else nullcontext()


def may_draw(part: object) -> bool:
    """Tell whether a network, or an object with a loss, may draw from torch.

    Our own losses draw from the generator that they are given.
    """
    parts = part.modules() if isinstance(part, nn.Module) else [part]
    names = {f"{type(each).__module__}.{type(each).__qualname__}" for each in parts}
    return any(
        not name.startswith(_KNOWN) or any(word in name for word in _DRAWING)
        for name in names
    )


@cache
def _is_random(func: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags


@cache
def _with_generator(func: Any) -> Any:
    """Return an operation in the form that takes a generator, None if it has none."""
    packet, own = func.overloadpacket, func._schema.overload_name
    names = [own or "default", f"{own}_generator" if own else "generator"]
    wanted = {each.name for each in func._schema.arguments} | {"generator"}
    for name in names:
        if name in packet.overloads():
            found = getattr(packet, name)
            if {each.name for each in found._schema.arguments} == wanted:
                return found
    return None


def _device_of(args: tuple, kwargs: dict[str, Any]) -> torch.device:
    """Return the device that an operation draws on."""
    if kwargs.get("device") is not None:
        return _numbered(torch.device(kwargs["device"]))
    for value in (*args, *kwargs.values()):
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, torch.Tensor):
                return _numbered(each.device)
    return torch.device("cpu")


def _numbered(device: torch.device) -> torch.device:
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _global_generator(device: torch.device) -> torch.Generator:
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index]
    if device.type == "mps":
        return torch.mps._get_default_mps_generator()
    return torch.default_generator
