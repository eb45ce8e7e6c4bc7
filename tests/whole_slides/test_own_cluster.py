# SPDX-License-Identifier: BSD-3-Clause
"""The workers that psmlearn starts keep memory, and are seldom looked after."""

import os
import sys

import pytest

from psmlearn.slides import _workers
from psmlearn.slides._workers import cluster

pytest.importorskip("distributed", reason="Dask is not installed")


def _limits():
    return {key: value for key, value in os.environ.items() if key[:7] == "MALLOC_"}


def _is_profiled():
    import dask

    return dask.config.get("distributed.worker.profile.enabled")


def test_workers_that_are_started_keep_memory(monkeypatch):
    import dask

    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "123456789")
    before = dask.config.get("distributed.nanny.pre-spawn-environ")
    environment = dict(os.environ)
    with cluster(1) as client:
        (limits,) = client.run(_limits).values()
        (is_profiled,) = client.run(_is_profiled).values()
    # What the user has set stays.
    assert limits.pop("MALLOC_TRIM_THRESHOLD_") == "123456789"
    assert limits == {"MALLOC_MMAP_MAX_": "0", "MALLOC_TOP_PAD_": str(2**26)}
    assert not is_profiled
    assert dask.config.get("distributed.nanny.pre-spawn-environ") == before
    assert dict(os.environ) == environment


def test_memory_is_given_back_where_too_much_is_held(monkeypatch):
    asked = []
    monkeypatch.setattr(_workers, "_malloc_trim", lambda: asked.append)
    _workers._give_back(1 << 50)
    assert asked == []
    if not sys.platform.startswith("linux"):
        pytest.skip("tells what a process holds on Linux only")
    _workers._give_back(1000)
    assert asked == [0]


def test_where_nothing_can_be_given_back_nothing_is(monkeypatch):
    monkeypatch.setattr(_workers.sys, "platform", "darwin")
    _workers._malloc_trim.cache_clear()
    try:
        assert _workers._malloc_trim() is None
        _workers._give_back(0)
    finally:
        _workers._malloc_trim.cache_clear()
