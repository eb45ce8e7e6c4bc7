# SPDX-License-Identifier: BSD-3-Clause
"""Decoded tiles of slides, kept within a bound of bytes."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np

CACHE_BYTES = 256 << 20
"""The most that decoded tiles of all slides of this process take."""


class TileCache:
    """Arrays by key, the least recently used of which go first; for many threads.

    Parameters
    ----------
    max_bytes : int
        An array that is larger is handed out and not kept.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._arrays: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self._making: dict[tuple, threading.Event] = {}

    def get(self, key: tuple[Hashable, ...], make: Callable[[], np.ndarray]):
        """Return the array of a key, made once however many threads ask for it."""
        while True:
            with self._lock:
                found = self._arrays.get(key)
                if found is not None:
                    self._arrays.move_to_end(key)
                    return found
                other = self._making.get(key)
                if other is None:
                    mine = self._making[key] = threading.Event()
                    break
            other.wait()
        try:
            array = make()
            array.setflags(write=False)
            self._keep(key, array)
            return array
        finally:
            with self._lock:
                del self._making[key]
            mine.set()

    def _keep(self, key: tuple, array: np.ndarray) -> None:
        with self._lock:
            if array.nbytes > self.max_bytes:
                return
            self._arrays[key] = array
            self.n_bytes += array.nbytes
            while self.n_bytes > self.max_bytes:
                self.n_bytes -= self._arrays.popitem(last=False)[1].nbytes

    def drop(self, owner: Hashable) -> None:
        """Forget all arrays whose key begins with `owner`."""
        with self._lock:
            for key in [key for key in self._arrays if key[0] == owner]:
                self.n_bytes -= self._arrays.pop(key).nbytes

    def forget(self) -> None:
        """Begin anew, in a process that was forked while threads were reading."""
        self.__init__(self.max_bytes)  # type: ignore[misc]


TILES = TileCache()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TILES.forget)
