# SPDX-License-Identifier: BSD-3-Clause
"""Progress of what takes long: bars, and stages such as "2 of 4: pseudo masks"."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from tqdm.auto import tqdm

__all__ = ["announce", "progress_bar", "stages", "track"]

_logger = logging.getLogger("psmlearn")
_T = TypeVar("_T")
# What is done sooner needs no bar.
_DELAY = 2.0


@contextmanager
def progress_bar(
    total: float, description: str, *, verbose: int, done: float = 0, unit: str = ""
) -> Iterator[tqdm]:
    """Give a bar with the time left, shown where `verbose`, after two seconds.

    It counts steps, or whatever `unit` names.
    """
    bar = tqdm(
        total=total,
        initial=done,
        desc=description,
        disable=verbose < 1,
        delay=_DELAY,
        dynamic_ncols=True,
        unit=unit or "it",
        unit_scale=bool(unit),
    )
    try:
        yield bar
    finally:
        bar.close()


def track(
    items: Iterable[_T], total: int, description: str, *, verbose: int
) -> Iterator[_T]:
    """Yield items, under a bar."""
    with progress_bar(total, description, verbose=verbose) as bar:
        for item in items:
            yield item
            bar.update()


class _Stages:
    """Names of stages, in order, and how many have begun."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.n_begun = 0

    def begin(self, name: str) -> None:
        """Say that a stage begins; one that is not ahead is part of another."""
        if name not in self.names[self.n_begun :]:
            return
        self.n_begun = self.names.index(name, self.n_begun) + 1
        _logger.info("%d of %d: %s", self.n_begun, len(self.names), name)


_STAGES: ContextVar[_Stages | None] = ContextVar("stages", default=None)


@contextmanager
def stages(names: Sequence[str]) -> Iterator[None]:
    """Number the stages inside; within others it does nothing, they are numbered."""
    if _STAGES.get() is not None:
        yield
        return
    token = _STAGES.set(_Stages(names))
    try:
        yield
    finally:
        _STAGES.reset(token)


def announce(name: str) -> None:
    """Say that a stage begins, where stages are numbered."""
    if (planned := _STAGES.get()) is not None:
        planned.begin(name)
