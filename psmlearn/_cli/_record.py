# SPDX-License-Identifier: BSD-3-Clause
"""``run.json``: what was done, to what, by which versions, and how long it took."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psmlearn
from psmlearn._cli._resume import Identity
from psmlearn._cli._sources import Stamp

__all__ = ["RUN_NAME", "RunRecord", "plain", "read_record"]

RUN_NAME = "run.json"
_MARK = "psmlearn_run"
_VERSION = 1
_PACKAGES = ("numpy", "scipy", "scikit-learn", "scikit-image", "torch", "pillow")
# Runs of before that are kept in short.
_N_EARLIER = 20
_SHORT = ("run", "command", "started", "status", "psmlearn_version", "n_images")


class RunRecord:
    """What is known of a run, growing while it goes on.

    Parameters
    ----------
    command : str
    """

    def __init__(self, command: str) -> None:
        self._start = time.perf_counter()
        self._last = self._start
        self._told: dict[str, Any] = {
            _MARK: _VERSION,
            "command": command,
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "status": "stopped",
            "psmlearn_version": psmlearn.__version__,
            "versions": _versions(),
            "platform": f"{platform.system()} {platform.machine()}",
            "times": {},
        }
        self.inputs: list[dict[str, Any]] = []

    def set(self, **told: Any) -> None:
        """Add what is known by now."""
        self._told.update(told)

    def identify(self, identity: Identity) -> None:
        """Add what the run is known by."""
        self.set(run=identity.name)

    def time(self, stage: str) -> None:
        """End a stage that began where the last one ended."""
        now = time.perf_counter()
        self._told["times"][stage] = round(now - self._last, 3)
        self._last = now

    def add_input(self, name: str, stamp: Stamp | None, **told: Any) -> None:
        """Add an image: its file as it was looked at first, and what came of it."""
        file: dict[str, Any] = {"path": None}
        if stamp is not None:
            file = {
                "path": os.path.abspath(stamp.path),
                "bytes": stamp.size,
                "sha256": stamp.sha256,
            }
        self.inputs.append({"name": name, **file, **told})

    def text(self, before: Mapping[str, Any] | None = None) -> str:
        """Return the file's text; `before` is what it held so far."""
        seconds = round(time.perf_counter() - self._start, 3)
        told = {**self._told, "n_images": len(self.inputs), "inputs": self.inputs}
        told["times"] = {**told["times"], "all": seconds}
        told["earlier_runs"] = _earlier(before)
        return json.dumps(plain(told), indent=1, allow_nan=False) + "\n"


def _earlier(before: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the runs that a record tells of, in short, the last one first."""
    if before is None:
        return []
    last = {key: before.get(key) for key in _SHORT}
    others = before.get("earlier_runs")
    return [last, *(others if isinstance(others, list) else [])][:_N_EARLIER]


def read_record(path: Path) -> dict[str, Any] | None:
    """Return what a record of psmlearn holds; None where there is none."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) and _MARK in told else None


@cache
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def plain(value: Any) -> Any:
    """Return what JSON can hold; NaN is null, objects are told in words."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, str):
        # A name may hold bytes that are no text.
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Sequence):
        return [plain(each) for each in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return repr(value)
