# SPDX-License-Identifier: BSD-3-Clause
"""Lengths are bounded by the image, so that none takes forever."""

from __future__ import annotations


def within_image(length: float, shape: tuple[int, ...]) -> float:
    """Cut a length in pixels to what an image can tell: twice its longer side.

    Below a thousand pixels nothing is cut.

    Examples
    --------
    >>> from psmlearn._images._lengths import within_image
    >>> within_image(20.0, (8, 8)), within_image(1e9, (8, 900))
    (20.0, 1800)
    """
    return min(length, max(1000, 2 * max(shape)))
