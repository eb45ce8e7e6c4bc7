# SPDX-License-Identifier: BSD-3-Clause
"""Names of temporary files that tell who writes them, so that those of the dead go."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import time
import uuid
from contextlib import suppress
from functools import lru_cache

_PREFIX = ".psmlearn-"
# Host, process, when that began, a number of its own; a suffix.
_NAME = re.compile(
    r"\.psmlearn-([0-9a-f]{8})-([1-9]\d*)-(\d+)-[0-9a-f]{32}(\..*)?", re.DOTALL
)
# What was written before names told this.
_OLD_NAME = re.compile(r"\.psmlearn-[0-9a-f]{32}(\..*)?", re.DOTALL)
_DAY = 24 * 3600
# Longer ones, as of "notes.of a long day", are no kind of file, and too long a name.
_MAX_SUFFIX = 64

_cleared: set[tuple[int, str]] = set()


def temporary_name(suffix: str = "") -> str:
    """Return a new name for a temporary file or folder of this process."""
    if len(suffix) > _MAX_SUFFIX:
        suffix = ""
    process = os.getpid()
    told = _state_of(process)
    began = told[1] if told else 0
    return f"{_PREFIX}{_host()}-{process}-{began}-{uuid.uuid4().hex}{suffix}"


def clear_leftovers(folder: str) -> list[str]:
    """Remove temporary files of processes that are dead; return their names.

    Those of other hosts, of which that is not known, go when they are a day old. What
    a living process of this host writes is never touched.
    """
    removed = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and _is_leftover(entry):
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path)
                    else:
                        os.unlink(entry.path)
                    removed.append(entry.name)
    return sorted(removed)


def clear_leftovers_once(folder: str) -> None:
    """Do so the first time that this process writes to the folder."""
    key = os.getpid(), folder
    if key not in _cleared:
        _cleared.add(key)
        clear_leftovers(folder)


def _is_leftover(entry: os.DirEntry) -> bool:
    """Tell a temporary file that nobody writes any more."""
    match = _NAME.fullmatch(entry.name)
    if match is None and _OLD_NAME.fullmatch(entry.name) is None:
        return False
    if entry.is_symlink():
        return False
    if match is not None and match[1] == _host():
        running = _is_running(int(match[2]), int(match[3]))
        if running is not None:
            return not running
    try:
        age = time.time() - entry.stat(follow_symlinks=False).st_mtime
    except OSError:
        return False
    return age > _DAY


def _is_running(process: int, began: int) -> bool | None:
    """Tell whether a process of this host lives; None where that is not known."""
    if os.name != "posix":  # signal 0 ends a process elsewhere
        return None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, and there
    except OverflowError:
        return None
    told = _state_of(process)
    if told is None or began == 0:
        return True
    # A number is given again; and one that waits to be buried writes no more.
    return told[1] == began and told[0] not in "ZX"


def _state_of(process: int) -> tuple[str, int] | None:
    """Return the state of a process and when it began, where the system tells."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            told = file.read().rpartition(b")")[2].split()
        return told[0].decode(), int(told[19])
    except (OSError, ValueError, IndexError):
        return None


@lru_cache(maxsize=1)
def _host() -> str:
    """Return a short mark of this host since it was started.

    Containers of one host that share a folder have processes of the same number, so
    that the space of numbers takes part.
    """
    parts = [platform.node()]
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        parts.append(file.read().strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
