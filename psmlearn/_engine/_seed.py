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
    the global streams of the CPU and the accelerators, are as before afterwards.
    """
    # torch.manual_seed reaches every accelerator that is in use.
    used = device.type == "cuda" or torch.cuda.is_initialized()
    gpus = list(range(torch.cuda.device_count())) if used else []
    mps_state = torch.mps.get_rng_state() if device.type == "mps" else None
    with (
        torch.random.fork_rng(devices=gpus),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            if mps_state is not None:
                torch.mps.set_rng_state(mps_state)
