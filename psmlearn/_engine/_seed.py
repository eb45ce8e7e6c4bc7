# SPDX-License-Identifier: BSD-3-Clause
"""Random streams and grad mode, left as they were found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state

__all__ = ["draw_seed", "isolated_torch"]


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Return one integer seed drawn from `random_state`."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


@contextmanager
def isolated_torch(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch and enable gradients inside the block only.

    The caller may sit in ``torch.no_grad`` or ``torch.inference_mode``; both, and
    the global streams of the CPU and of `device`, are as before afterwards.
    """
    kind = device.type if device.type != "cpu" else "cuda"
    devices = [device] if device.type != "cpu" else []
    with (
        torch.random.fork_rng(devices=devices, device_type=kind),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        torch.manual_seed(seed)
        yield
