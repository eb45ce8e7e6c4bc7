# SPDX-License-Identifier: BSD-3-Clause
"""What a run was made on: machine, versions, and the memory it took."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
from pathlib import Path

import numpy as np
import scipy
import skimage
import sklearn
import torch

import psmlearn


def describe() -> dict:
    """Tell processor, cores, threads and GPU."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **_gpu(),
    }


def peak_memory() -> float:
    """Measure the peak of this process in GiB.

    The operating system hands `ru_maxrss` on from parent to child, so that it may be
    the parent's; Linux tells the process's own peak.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 2**20


def _gpu() -> dict:
    if not torch.cuda.is_available():
        return {"gpu": None}
    peak = torch.cuda.max_memory_allocated() / 2**30
    return {"gpu": torch.cuda.get_device_name(), "gpu_peak_memory_gib": peak}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()


def versions() -> dict[str, str]:
    """Tell the versions of Python and libraries, and the commit."""
    modules = (np, scipy, sklearn, skimage, torch, psmlearn)
    found = {module.__name__: module.__version__ for module in modules}
    return {"python": platform.python_version(), **found, "commit": commit()}


def commit() -> str:
    """Name the commit of this repository."""
    command = ["git", "describe", "--always", "--dirty"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"
