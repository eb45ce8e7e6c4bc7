# SPDX-License-Identifier: BSD-3-Clause
"""Who works on a slide: this process, or workers of Dask."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from psmlearn._engine._modes import plain_torch
from psmlearn.persistence import load_model
from psmlearn.slides._model import SlideModel
from psmlearn.slides._outlines import outlines_path
from psmlearn.slides._plan import SlidePlan
from psmlearn.slides._stages import STAGES

__all__ = ["KEPT", "DaskWorkers", "ThisProcess", "cluster"]

Watch = Callable[[Sequence[int], Iterable[int], str], Iterable[int]]
"""``watch(todo, done, stage)`` passes on the parts that are done as they come."""

KEPT = {
    "find_stained": "stained",
    "settle_stained": "settled",
    "first_look": "look",
    "read_objects": "objects",
    "measure": "measures",
}
"""Where stages keep what they make, but for the network's answers."""

# A part whose worker died so often is not tried again: it kills them.
_RETRIES = 3

# Dask has its workers give memory back at once, and to take it again, page by page,
# costs over a quarter of their time. These keep up to 256 MB (glibc's allocator).
_ALLOCATOR = {
    "MALLOC_MMAP_MAX_": 0,
    "MALLOC_TRIM_THRESHOLD_": 1 << 28,
    "MALLOC_TOP_PAD_": 1 << 26,
}

# Of a worker, libraries included; with more it gives back what is free after a task.
_KEPT_MEMORY = 1_600_000_000

# Tasks take seconds: to look after them many times a second costs 4 % of two cores.
_CONFIGURATION = {
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.worker.memory.monitor-interval": "1s",
    "distributed.worker.profile.enabled": False,
    **{
        f"distributed.nanny.pre-spawn-environ.{name}": value
        for name, value in _ALLOCATOR.items()
    },
}


def remaining(plan: SlidePlan, stage: str, numbers: Sequence[int]) -> list[int]:
    """Return the parts that a stage has not done yet."""
    scratch = plan.scratch
    if stage == "answer":
        paths = {number: scratch.array_path(f"answers/{number}") for number in numbers}
    elif stage == "outline":
        paths = {number: outlines_path(plan, number) for number in numbers}
    else:
        paths = {number: scratch.path(KEPT[stage], number) for number in numbers}
    return [number for number in numbers if not os.path.exists(paths[number])]


class ThisProcess:
    """Does one part after the other.

    Parameters
    ----------
    plan : SlidePlan
    model : SlideModel
    watch : callable
        See `Watch`.
    """

    def __init__(self, plan: SlidePlan, model: SlideModel, watch: Watch) -> None:
        self.plan = plan
        self.model = model
        self.watch = watch

    def run(self, stage: str, numbers: Sequence[int], **options: Any) -> None:
        """Do a stage for some parts."""
        todo = remaining(self.plan, stage, numbers)

        def done() -> Iterator[int]:
            for number in todo:
                STAGES[stage](self.plan, self.model, number, **options)
                self.plan.keep_problems(f"{stage}-{number}")
                yield number

        for _ in self.watch(todo, done(), stage):
            pass


class DaskWorkers:
    """Has the parts done by the workers of a Dask cluster.

    Each part is a task of its own, which writes its file and can be repeated: a worker
    that dies costs the part that it was at. The model and the slide are read once by
    each worker.

    Parameters
    ----------
    plan : SlidePlan
        Saved in its folder, which all workers see.
    client : distributed.Client
    watch : callable
        See `Watch`.
    resources : dict, default=None
        What a worker must have for the network, such as ``{"GPU": 1}``.
    """

    def __init__(
        self,
        plan: SlidePlan,
        client: Any,
        watch: Watch,
        resources: dict[str, float] | None = None,
    ) -> None:
        self.plan = plan
        self.client = client
        self.watch = watch
        self.resources = resources

    def run(self, stage: str, numbers: Sequence[int], **options: Any) -> None:
        """Do a stage for some parts."""
        from distributed import as_completed

        todo = remaining(self.plan, stage, numbers)
        futures = self.client.map(
            work,
            todo,
            folder=self.plan.folder,
            run=self.plan.run,
            stage=stage,
            options=options,
            pure=False,
            retries=_RETRIES,
            resources=self.resources if stage == "answer" else None,
            key=f"psmlearn-{stage}-{self.plan.run[:8]}",
        )

        def done() -> Iterator[int]:
            for _, number in as_completed(futures, with_results=True):
                yield number

        try:
            for _ in self.watch(todo, done(), stage):
                pass
        finally:
            self.client.cancel(futures)


def work(
    number: int, *, folder: str, run: str, stage: str, options: dict[str, Any]
) -> int:
    """Do a stage for one part, in a worker."""
    plan, model = _opened(folder, run)
    if not remaining(plan, stage, [number]):
        return number
    with plain_torch():
        STAGES[stage](plan, model, number, **options)
    plan.keep_problems(f"{stage}-{number}")
    _give_back(_KEPT_MEMORY)
    return number


def _give_back(beyond: int) -> None:
    """Give memory that is free back, where this process holds more than so many bytes.

    What is kept falls to pieces as parts of all sizes come.
    """
    trim = _malloc_trim()
    if trim is None:
        return
    n_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    if n_pages * os.sysconf("SC_PAGE_SIZE") > beyond:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Return what gives memory back; None where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    trim.argtypes = [ctypes.c_size_t]
    return trim


@lru_cache(maxsize=1)
def _opened(folder: str, run: str) -> tuple[SlidePlan, SlideModel]:
    """Return a plan and its model, read once by each process."""
    import torch

    torch.set_num_threads(1)
    plan = SlidePlan.load(folder)
    if plan.run != run:
        raise RuntimeError(f"{folder!r} holds another run now: {plan.run} is not {run}")
    return plan, SlideModel(load_model(plan.model_path), plan.pixel_size)


@contextmanager
def cluster(workers: Any) -> Iterator[Any]:
    """Give the client of a cluster.

    Parameters
    ----------
    workers : int, str or distributed.Client
        Processes of this machine that are started, and stopped in the end; the address
        of a scheduler; or a client of it.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError(
            "workers needs Dask, which was not found: pip install 'psmlearn[dask]'"
        ) from error
    if isinstance(workers, Client):
        yield workers
        return
    if isinstance(workers, str):
        with Client(workers) as client:
            yield client
        return
    with (
        _same_environment(),
        dask.config.set(_CONFIGURATION),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            local_directory=None,
        ) as local,
        Client(local) as client,
    ):
        yield client


@contextmanager
def _same_environment() -> Iterator[None]:
    """Take back what is set of this process's environment: Dask leaves it there."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
