# SPDX-License-Identifier: BSD-3-Clause
"""State of trainings in a folder, from which a later run goes on bit by bit.

A training is known by a key: what it starts from, learns from and how. It is written
between two steps: weights, optimizer, random streams, and what draws and losses
remember. The file is safetensors with JSON in its header, and runs no code.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

import psmlearn
from psmlearn.io import atomic_path
from psmlearn.io._batch import ImageBatch
from psmlearn.io._paths import printable

__all__ = [
    "Checkpoint",
    "Checkpoints",
    "Remembering",
    "active_checkpoints",
    "training_key",
    "using_checkpoints",
]

_logger = logging.getLogger("psmlearn")
_ENTRY = "psmlearn-checkpoint"
_SUFFIX = ".checkpoint"
_ACTIVE: ContextVar[Checkpoints | None] = ContextVar("checkpoints", default=None)


class Remembering:
    """What keeps something from one batch to the next, by the names of `memory`."""

    memory: ClassVar[tuple[str, ...]] = ()

    def get_memory(self) -> dict[str, Any]:
        """Return what is kept: tensors, arrays, plain values."""
        return {name: getattr(self, name) for name in self.memory}

    def set_memory(self, kept: Mapping[str, Any]) -> None:
        """Take back what `get_memory` gave."""
        for name in self.memory:
            setattr(self, name, kept[name])


class Checkpoints:
    """A folder with the state of trainings.

    Parameters
    ----------
    folder : path
        Made at the first writing.
    every : float, default=60.0
        Seconds from one state of a training to the next.
    """

    def __init__(self, folder: str | os.PathLike[str], every: float = 60.0) -> None:
        self.folder = Path(folder)
        self.every = every

    def of(self, key: str) -> Checkpoint:
        """Return that of the training with this key."""
        return Checkpoint(self.folder / f"{key[:40]}{_SUFFIX}", self.every)


class Checkpoint:
    """The state of one training."""

    def __init__(self, path: Path, every: float) -> None:
        self.path = path
        self.every = every
        self._written = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self._written >= self.every

    def read(self) -> Any:
        """Return the state that is there, None where there is none or it is broken."""
        if not self.path.is_file():
            return None
        try:
            return _unpack(self.path)
        except Exception as error:  # whatever is wrong with it, training can begin
            _logger.warning(
                "The checkpoint %s cannot be read (%s); training begins anew.",
                printable(str(self.path)),
                error,
            )
            return None

    def write(self, state: Any) -> None:
        """Write a state in the place of the last one, atomically."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, torch.Tensor] = {}
        told = json.dumps(_pack(state, tensors))
        from safetensors.torch import save_file

        with atomic_path(self.path) as part:
            save_file(tensors, part, metadata={_ENTRY: told})
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
        self._written = time.monotonic()


@contextmanager
def using_checkpoints(checkpoints: Checkpoints | None) -> Iterator[None]:
    """Let the trainings of this thread keep their state there."""
    token = _ACTIVE.set(checkpoints)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def active_checkpoints() -> Checkpoints | None:
    """Return where trainings of this thread are to keep their state."""
    return _ACTIVE.get()


def training_key(parts: Iterable[Any], network: nn.Module, data: Iterable[Any]) -> str:
    """Return what a training is known by.

    Parameters
    ----------
    parts : iterable
        Settings, parameters and states of random streams.
    network : torch.nn.Module
        As it is before the first step.
    data : iterable of ImageBatch, ndarray or tensor
        What is learnt from.
    """
    digest = hashlib.sha256()
    versions = [psmlearn.__version__, torch.__version__, np.__version__]
    for part in [*versions, *parts]:
        digest.update(f"{_plain(part)}\n".encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        _add_array(digest, value.detach().cpu())
    for each in data:
        if isinstance(each, ImageBatch):
            _add_images(digest, each)
        else:
            _add_array(digest, each)
    return digest.hexdigest()


def _add_images(digest: Any, images: ImageBatch) -> None:
    digest.update(f"{images.value_range} {images.label_channel}".encode())
    for item in images._items:
        if isinstance(item, str):
            with open(item, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        else:
            _add_array(digest, item)


def _add_array(digest: Any, values: Any) -> None:
    if isinstance(values, torch.Tensor):
        # Not every dtype of torch has one of numpy's.
        digest.update(f"{values.dtype} {tuple(values.shape)}".encode())
        values = values.contiguous().reshape(-1).view(torch.uint8).numpy()
    array = np.ascontiguousarray(values)
    digest.update(f"{array.dtype} {array.shape}".encode())
    digest.update(array.data if array.size else b"")


def _plain(value: Any) -> str:
    """Return text that is the same in every process."""
    if isinstance(value, Mapping):
        inner = sorted(f"{key}: {_plain(each)}" for key, each in value.items())
        return f"{{{', '.join(inner)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, np.ndarray):
        return f"array({value.dtype}, {value.tolist()})"
    if hasattr(value, "get_params") and not isinstance(value, type):
        return f"{type(value).__qualname__}{_plain(value.get_params())}"
    if callable(value):
        return f"{value.__module__}.{getattr(value, '__qualname__', type(value))}"
    return repr(value)


# -- a state as JSON and tensors ---------------------------------------------------


def _pack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return what JSON can hold, and put tensors and arrays by."""
    if isinstance(value, np.ndarray):
        return {"$array": _put(torch.from_numpy(np.array(value)), tensors)}
    if isinstance(value, torch.Tensor):
        return {"$tensor": _put(value, tensors)}
    if isinstance(value, Mapping):
        pairs = [[_pack(k, tensors), _pack(v, tensors)] for k, v in value.items()]
        return {"$map": pairs}
    if isinstance(value, tuple):
        return {"$tuple": [_pack(each, tensors) for each in value]}
    if isinstance(value, list):
        return [_pack(each, tensors) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"a {type(value).__name__} cannot be kept in a checkpoint; tensors, arrays, "
        "lists, mappings and plain values can."
    )


def _put(tensor: torch.Tensor, tensors: dict[str, torch.Tensor]) -> str:
    """Put a tensor by; a clone, since no two may share memory in this format."""
    name = str(len(tensors))
    tensors[name] = tensor.detach().cpu().contiguous().clone()
    return name


def _unpack(path: Path) -> Any:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        told = json.loads(file.metadata()[_ENTRY])
        return _rebuild(told, file.get_tensor)


def _rebuild(told: Any, tensor: Callable[[str], torch.Tensor]) -> Any:
    if isinstance(told, list):
        return [_rebuild(each, tensor) for each in told]
    if not isinstance(told, dict):
        return told
    ((kind, inner),) = told.items()
    if kind == "$tensor":
        return tensor(inner)
    if kind == "$array":
        return tensor(inner).numpy()
    if kind == "$tuple":
        return tuple(_rebuild(each, tensor) for each in inner)
    return {_rebuild(k, tensor): _rebuild(v, tensor) for k, v in inner}
