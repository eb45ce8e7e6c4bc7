# SPDX-License-Identifier: BSD-3-Clause
"""Keep what file libraries log of odd files away while we read: errors tell it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silenced(name: str) -> Iterator[None]:
    """Drop what a logger says in this thread; its level and handlers stay."""
    own = threading.get_ident()
    logger = logging.getLogger(name)

    def is_of_others(record: logging.LogRecord) -> bool:
        return record.thread != own

    logger.addFilter(is_of_others)
    try:
        yield
    finally:
        logger.removeFilter(is_of_others)
