# SPDX-License-Identifier: BSD-3-Clause
"""Refuse files by what they declare, before any pixel is decoded."""

from __future__ import annotations

MAX_PIXELS = 2**31


class RefusedError(ValueError):
    """A file that is sound but not accepted; the message lacks the path."""


def check_declared_size(height: int, width: int, max_pixels: int) -> None:
    """Refuse a picture whose header declares more pixels than the limit."""
    if height * width > max_pixels:
        raise RefusedError(
            f"declares {height} x {width} pixels, above max_pixels={max_pixels}; cut "
            "it into tiles, or raise max_pixels if you trust the file"
        )
