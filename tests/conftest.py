# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures and skips shared by all tests."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run; HYPOTHESIS_PROFILE=explore looks for new ones.
# How long one takes hangs on what else the machine does.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

# Workers of pytest-xdist share the cores: one thread each.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Figures are drawn without a display, also where one is there.
os.environ.setdefault("MPLBACKEND", "Agg")

# The CPU build of torch often sits beside a torchvision that raises on import: the
# whole suite runs with such a module first on the path, in sub-processes as well.
_POISON = str(Path(__file__).parent / "poison")
collect_ignore = ["poison"]
sys.path.insert(0, _POISON)
os.environ["PYTHONPATH"] = os.pathsep.join(
    [_POISON, *filter(None, [os.environ.get("PYTHONPATH")])]
)

DATA_VARIABLE = "PSMLEARN_DATA"


def _missing_data() -> str | None:
    """Say why the real images cannot be used, or None where they can."""
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        return f"needs the real images: set {DATA_VARIABLE} to their folder"
    if not Path(folder).is_dir():
        return f"{DATA_VARIABLE} names {folder!r}, which is not a folder"
    return None


def _missing_gpu() -> str | None:
    """Say why no CUDA device can be used, or None where one can."""
    if importlib.util.find_spec("torch") is None:
        return "needs torch and a CUDA device"
    import torch

    return None if torch.cuda.is_available() else "needs a CUDA device"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, with the reason."""
    reasons = {"data": _missing_data}
    if any("gpu" in item.keywords for item in items):
        reasons["gpu"] = _missing_gpu
    for marker, find_reason in reasons.items():
        reason = find_reason()
        if reason is None:
            continue
        for item in items:
            if item.get_closest_marker(marker) is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish() -> None:
    """Spare each ``gc.collect()`` of a test the millions of objects of the imports."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real images; a test that asks for it is skipped without."""
    reason = _missing_data()
    if reason is not None:
        pytest.skip(reason)
    return Path(os.environ[DATA_VARIABLE])


@pytest.fixture
def figure():
    """Hand out an empty matplotlib figure and close all figures afterwards."""
    plt = pytest.importorskip("matplotlib.pyplot")
    yield plt.figure()
    plt.close("all")
