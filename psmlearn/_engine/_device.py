# SPDX-License-Identifier: BSD-3-Clause
"""Choice of the device, loud where an explicit one is absent."""

from __future__ import annotations

import torch

from psmlearn._warnings import warn_user
from psmlearn.exceptions import DeviceWarning

__all__ = ["available_devices", "resolve_device", "resolve_device_or_cpu"]


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
