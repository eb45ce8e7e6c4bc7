# SPDX-License-Identifier: BSD-3-Clause
"""Torch as psmlearn expects it, whatever modes and defaults the caller has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

__all__ = ["plain_torch"]

_DEVICE_TYPES = ("cpu", "cuda", "mps", "xpu")
# What makes floats of the default dtype out of nothing, or of numbers of Python.
_MAKERS = frozenset(
    {
        torch.empty,
        torch.empty_strided,
        torch.eye,
        torch.linspace,
        torch.logspace,
        torch.normal,
        torch.ones,
        torch.rand,
        torch.randn,
        torch.zeros,
    }
)
_OF_NUMBERS = frozenset(
    {torch.arange, torch.as_tensor, torch.asarray, torch.full, torch.tensor}
)
_CASTS = {"double", "type", "_make_subclass"}


@contextmanager
def plain_torch() -> Iterator[None]:
    """Gradients, float32, the CPU, and no autocast inside; also a decorator.

    All of it holds in this thread alone: where the process has another default dtype
    it is not changed, but new tensors are given theirs.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in _DEVICE_TYPES:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.get_default_dtype() != torch.float32:
            stack.enter_context(_Float32(torch.get_default_dtype()))
        yield


class _Float32(TorchFunctionMode):
    """Makes float32 of what would have the default dtype."""

    def __init__(self, default: torch.dtype) -> None:
        super().__init__()
        self.default = default

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _MAKERS and kwargs.get("dtype") is None:
            if not self._was_asked_for((args, kwargs)):
                kwargs = {**kwargs, "dtype": torch.float32}
        result = func(*args, **kwargs)
        if (
            isinstance(result, torch.Tensor)
            and result.dtype == self.default
            and getattr(func, "__name__", "") not in _CASTS
            and not self._was_asked_for((args, kwargs))
        ):
            # Nobody asked for the default.
            if func in _OF_NUMBERS:
                return func(*args, **{**kwargs, "dtype": torch.float32})
            return result.to(torch.float32)
        return result

    def _was_asked_for(self, value: object) -> bool:
        """Tell whether a tensor, an array or a dtype among arguments is such."""
        if isinstance(value, dict):
            return any(self._was_asked_for(each) for each in value.values())
        if isinstance(value, list | tuple):
            return any(self._was_asked_for(each) for each in value)
        if isinstance(value, torch.Tensor):
            return value.dtype == self.default
        if isinstance(value, np.ndarray | np.generic):
            return value.dtype.name == str(self.default).removeprefix("torch.")
        return value == self.default if isinstance(value, torch.dtype) else False
