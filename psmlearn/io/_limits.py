# SPDX-License-Identifier: BSD-3-Clause
"""Refuse files by what they declare, before any pixel is decoded."""

from __future__ import annotations

MAX_PIXELS = 2**31
MAX_LABEL_PIXELS = 2**28
"""Of label images and regions, whose sizes need not be those of an image."""
MAX_BYTES = 2**32
"""Of pixels as decoded, where `max_pixels` is not raised above `MAX_PIXELS`."""


DEFLATE_RATIO = 1032
"""The most bytes that one of a deflate stream can stand for."""


class RefusedError(ValueError):
    """A file that is sound but not accepted; the message lacks the path."""


def check_declared_size(
    height: int,
    width: int,
    max_pixels: int,
    pixel_bytes: float = 1,
    *,
    tiff: bool = False,
) -> None:
    """Refuse a picture whose header declares no pixels, or more than the limits.

    Of a `tiff` boxes can be read.
    """
    if height < 1 or width < 1:
        raise RefusedError(f"declares {height} x {width} pixels, so it has none")
    read = "read boxes of it with psmlearn.io.Slide, " if tiff else ""
    advice = f"{read}cut it into tiles, or raise max_pixels if you trust the file"
    if height * width > max_pixels:
        raise RefusedError(
            f"declares {height} x {width} pixels, above max_pixels={max_pixels}; "
            f"{advice}"
        )
    max_bytes = MAX_BYTES * max(1.0, max_pixels / MAX_PIXELS)
    if height * width * pixel_bytes > max_bytes:
        raise RefusedError(
            f"declares {height} x {width} pixels of {pixel_bytes:g} bytes, above "
            f"{max_bytes / 2**30:g} GiB; {advice}"
        )


def check_plausible_size(n_bytes: float, file_size: int, ratio: int) -> None:
    """Find files too small for what they declare, before memory is taken for it.

    Parameters
    ----------
    n_bytes : float
        What the pixels take, packed but not compressed.
    file_size : int
    ratio : int
        The most that a byte of the file can stand for.
    """
    if n_bytes > ratio * file_size + 65536:
        raise ValueError(
            f"it declares {n_bytes:.0f} bytes of pixels, more than its {file_size} "
            "bytes can hold"
        )
