# SPDX-License-Identifier: BSD-3-Clause
"""Choice of the device, loud where an explicit one is absent."""

from __future__ import annotations

import time
from functools import cache

import torch
from torch.nn import functional

from psmlearn._warnings import warn_user
from psmlearn.exceptions import DeviceWarning

__all__ = [
    "available_devices",
    "resolve_device",
    "resolve_device_or_cpu",
    "warn_of_slow_bfloat16",
]

# Times that bfloat16 must take those of float32 to be called slow: short timings vary.
_SLOW = 1.3
_SIDE, _N_CHANNELS, _N_TIMES = 128, 32, 5


def available_devices() -> list[str]:
    """Return the devices of this machine, fastest first; ``"cpu"`` is the last."""
    names = []
    if torch.cuda.is_available():
        names += ["cuda"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def resolve_device(device: str) -> torch.device:
    """Return the torch device that `device` means on this machine.

    Parameters
    ----------
    device : str
        ``"auto"`` (the fastest there is), ``"cpu"``, ``"cuda"``, ``"cuda:1"``,
        ``"mps"``.

    Raises
    ------
    ValueError
        If the named device is not on this machine.
    """
    names = available_devices()
    if device == "auto":
        return torch.device(names[0])
    if device in names:
        return torch.device(device)
    raise ValueError(
        f"device={device!r} is not on this machine; it has {', '.join(names)}. "
        "Use one of these, or device='auto'."
    )


def resolve_device_or_cpu(device: str) -> torch.device:
    """Return the device, or the CPU with a warning where it is absent.

    A model trained on another machine must still predict here.
    """
    try:
        return resolve_device(device)
    except ValueError as error:
        warn_user(f"{error} Predicting on the CPU.", DeviceWarning)
        return torch.device("cpu")


def warn_of_slow_bfloat16(device: torch.device, precision: str) -> None:
    """Warn where bfloat16 is slower than float32: on CPUs that only imitate it."""
    if precision != "bfloat16" or device.type != "cpu":
        return
    ratio = _time_of_bfloat16()
    if ratio > _SLOW:
        warn_user(
            f"precision='bfloat16' takes {ratio:.1f} times as long as 'float32' on "
            "this CPU, by a short timing of a convolution; take 'float32' here.",
            DeviceWarning,
        )


@cache
def _time_of_bfloat16() -> float:
    """Return how many times as long a convolution takes in bfloat16 on this CPU."""
    features = torch.zeros(1, _N_CHANNELS, _SIDE, _SIDE, device="cpu")
    features = features.contiguous(memory_format=torch.channels_last)
    weight = torch.zeros(_N_CHANNELS, _N_CHANNELS, 3, 3, device="cpu")
    seconds = []
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            inputs, kernel = features.to(dtype), weight.to(dtype)
            took = []
            for _ in range(_N_TIMES):  # the first prepares the rest
                start = time.perf_counter()
                functional.conv2d(inputs, kernel, padding=1)
                took.append(time.perf_counter() - start)
            seconds.append(min(took))
    return seconds[1] / seconds[0]
