# SPDX-License-Identifier: BSD-3-Clause
"""Locks of files, which the dead do not keep."""

from __future__ import annotations

import os
import sys

__all__ = ["try_lock"]


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed, also by death; tell if nobody else has."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond what is ever read
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # no locks on this disk: each file is still looked at when written
    return True
