# SPDX-License-Identifier: BSD-3-Clause
"""Freed memory is kept for a while, where the C library can."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from psmlearn._engine import _pages
from psmlearn._engine._pages import kept_pages


class _Told:
    """Stands for the C library, and notes what it is told."""

    def __init__(self):
        self.calls = []

    def mallopt(self, name, value):
        self.calls.append((name, value))

    def malloc_trim(self, pad):
        self.calls.append("trim")


@pytest.fixture
def told(monkeypatch):
    library = _Told()
    monkeypatch.setattr(_pages, "_tunable", lambda: library)
    return library


def test_it_holds_inside_and_is_undone_once(told):
    with kept_pages():
        assert told.calls == [(-4, 0), (-1, 2**31 - 1)]
        with kept_pages():
            pass
        assert len(told.calls) == 2
    assert told.calls[2:] == [(-4, 65536), (-3, 32 << 20), (-1, 64 << 20), "trim"]


def test_it_is_undone_after_an_error_and_by_the_last_thread(told):
    inside, leave = threading.Event(), threading.Event()

    def other():
        with kept_pages():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    with pytest.raises(KeyError), kept_pages():
        raise KeyError
    assert "trim" not in told.calls
    leave.set()
    thread.join()
    assert told.calls[-1] == "trim"


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_memory_that_somebody_tunes_is_left_alone(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert _pages._tunable.__wrapped__() is None


def test_results_are_the_same():
    def work():
        rng = np.random.default_rng(0)
        arrays = [rng.normal(size=(1500, 1500)) for _ in range(3)]
        return sum(array @ array.T for array in arrays).sum()

    plain = work()
    with kept_pages():
        assert work() == plain
