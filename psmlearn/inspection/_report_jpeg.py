# SPDX-License-Identifier: BSD-3-Clause
"""Pictures of a report as JPEG within the page."""

from __future__ import annotations

import base64
import io
import math

import numpy as np

MOST_SIDE = 2000
_LEAST_SIDE = 160
_QUALITY = 85
_THUMBNAIL = 96


def encode(picture: np.ndarray, quality: int = _QUALITY) -> bytes:
    """Write a picture as JPEG."""
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(picture).save(target, "JPEG", quality=quality, optimize=True)
    return target.getvalue()


def data_uri(jpeg: bytes) -> str:
    """Write JPEG data as an address that holds them."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def thumbnail(picture: np.ndarray) -> str:
    """Draw the middle of an image, a square, small."""
    from PIL import Image, ImageOps

    size = (_THUMBNAIL, _THUMBNAIL)
    small = ImageOps.fit(Image.fromarray(picture), size, Image.Resampling.LANCZOS)
    return data_uri(encode(np.asarray(small), 70))


def fit_picture(picture: np.ndarray, max_bytes: int) -> tuple[bytes, float]:
    """Write a picture as JPEG that is no larger than it may be.

    Returns
    -------
    jpeg : bytes
    scale : float
        Its side over that of the picture, at most 1.
    """
    from PIL import Image

    height, width = picture.shape[:2]
    longest = max(height, width)
    side = min(longest, MOST_SIDE)
    while True:
        small = picture
        if side < longest:
            size = [max(1, round(each * side / longest)) for each in (width, height)]
            small = np.asarray(
                Image.fromarray(picture).resize(
                    (size[0], size[1]), Image.Resampling.LANCZOS
                )
            )
        jpeg = encode(small)
        if len(jpeg) <= max_bytes or side <= _LEAST_SIDE:
            return jpeg, side / longest
        shrunk = side * math.sqrt(max_bytes / len(jpeg)) * 0.95
        side = max(_LEAST_SIDE, min(side - 1, int(shrunk)))
