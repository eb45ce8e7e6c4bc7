# SPDX-License-Identifier: BSD-3-Clause
"""Warnings that point to the line of whoever called the package."""

from __future__ import annotations

import sys
import warnings

__all__ = ["warn_user"]

# Frames of these are nobody's own: scikit-learn wraps `fit`, and runs Pipelines.
_PASSED_BY = ("psmlearn", "sklearn", "contextlib")


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, with the place of the nearest caller outside of the package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _PASSED_BY:
            break
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
