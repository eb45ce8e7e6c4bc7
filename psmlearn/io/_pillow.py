# SPDX-License-Identifier: BSD-3-Clause
"""Decode PNG, JPEG, BMP and WebP (and some TIFF) with Pillow, safely."""

from __future__ import annotations

import importlib
import io
import os
import re
from typing import Any

import numpy as np

from psmlearn.io._decoded import Decoded, as_orientation, split_alpha
from psmlearn.io._jpeg_end import without_end
from psmlearn.io._limits import (
    DEFLATE_RATIO,
    RefusedError,
    check_declared_size,
    check_plausible_size,
)
from psmlearn.io._png_chunks import check_png_chunks

# The classes are opened directly: Image.open warns above 89 Mpixel, and the
# limit it warns by is a global that is not ours to change.
_READERS = {
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
}
_PLAIN_MODES = ("1", "L", "RGB", "RGBA", "LA", "I", "F")
_ORIENTATION = 0x0112
# Of a JPEG of blank blocks, coarsely sampled; a BMP stays far below.
_PIXELS_PER_BYTE = 2000
_CHUNK = 1 << 16


class _BoundedFile(io.BufferedReader):
    """A file that is not asked for more than it has, whatever its chunks declare.

    Memory for as much is taken before a byte is read.
    """

    def __init__(self, path: str) -> None:
        super().__init__(io.FileIO(path))
        self._n_bytes = os.path.getsize(path)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _CHUNK:
            size = min(size, max(0, self._n_bytes - self.tell()))
        return super().read(size)


def read_with_pillow(
    path: str, kind: str, *, as_labels: bool, max_pixels: int
) -> Decoded:
    """Decode a file, without alpha."""
    with _BoundedFile(path) as file, _reader(kind)(file, path) as image:
        file_size = os.path.getsize(path)
        _check_size(image, kind, file_size, max_pixels)
        if kind == "PNG":
            check_png_chunks(file, file_size)
        if getattr(image, "n_frames", 1) > 1:
            raise RefusedError(f"holds {image.n_frames} frames; save the one you need")
        checked = without_end(_read_all(file)) if kind == "JPEG" else None
        if checked is None:
            decoded = _decode(image, path, kind, as_labels)
        else:
            with _reader(kind)(io.BytesIO(checked), path) as endless:
                decoded = _decode(endless, path, kind, as_labels)
        return decoded._replace(orientation=_orientation(image), lossy=kind == "JPEG")


def _read_all(file: io.BufferedReader) -> bytes:
    """Read a file whole; the place in it is left as it was."""
    before = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(before)
    return data


def _check_size(image: Any, kind: str, file_size: int, max_pixels: int) -> None:
    """Refuse a picture by the size that it declares, before it is decoded."""
    n_channels, depth = _depth(image, kind)
    check_declared_size(image.height, image.width, max_pixels, n_channels * depth)
    _check_plausible(image, kind, file_size)


def _depth(image: Any, kind: str) -> tuple[int, int]:
    """Return the channels of a picture as decoded, and the bytes of each."""
    deep = _is_reduced(image, kind) or image.mode.startswith("I;16")
    n_channels = 3 if image.mode == "P" else len(image.getbands())
    return n_channels, {"I": 4, "F": 4}.get(image.mode, 2 if deep else 1)


def _check_plausible(image: Any, kind: str, file_size: int) -> None:
    """Find files that are too small for what they declare."""
    n_pixels = image.height * image.width
    n_channels, depth = _depth(image, kind)
    if kind == "PNG":
        bits = {"1": 1, "P": 1, "L": 2}.get(image.mode, 8 * n_channels * depth)
        check_plausible_size(n_pixels * bits / 8, file_size, DEFLATE_RATIO)
    elif kind in ("JPEG", "BMP"):
        check_plausible_size(n_pixels, file_size, _PIXELS_PER_BYTE)


def _decode(image: Any, path: str, kind: str, as_labels: bool) -> Decoded:
    """Decode an opened file of one frame."""
    if _is_reduced(image, kind):
        if kind != "PNG":
            raise RefusedError(_sixteen_bit_advice())
        array, steps = _read_deep_png(path), 1
    elif image.mode in ("P", "PA"):
        return _read_palette(image, as_labels)
    elif image.mode in _PLAIN_MODES or image.mode.startswith("I;16"):
        steps = _grey_steps(image)
        array = np.array(image)
    else:
        raise RefusedError(
            f"has colour mode {image.mode}, which needs a colour profile to be "
            "turned into RGB; convert it first, as with "
            "PIL.ImageCms or image.convert('RGB')"
        )
    if kind == "PNG" and array.dtype == np.int32:
        array = array.astype(np.uint16)  # older Pillow widens 16-bit grey
    if array.ndim == 3 and array.shape[2] in (2, 4):
        if kind == "BMP" and not array[..., -1].any():
            return Decoded(np.ascontiguousarray(array[..., :-1]))  # never filled in
        return split_alpha(array)
    if as_labels:
        return Decoded(array // steps if steps > 1 else array)
    return _apply_colour_key(array, image.info.get("transparency"), steps)


def _grey_steps(image: Any) -> int:
    """Return by how much Pillow stretches greys of 2 and 4 bits, else 1."""
    layout = str(image.tile[0][3]) if image.tile else ""
    found = re.search(r"L;([24])", layout)
    return 255 // (2 ** int(found[1]) - 1) if found else 1


def _apply_colour_key(array: np.ndarray, key: Any, steps: int) -> Decoded:
    """Tell pixels of the one colour that stands for transparent, if there is one."""
    if key is None or isinstance(key, bytes):
        return Decoded(array)
    key = np.asarray(key)
    hidden = array == (key > 0 if array.dtype == bool else key * steps)
    if array.ndim == 3:
        hidden = hidden.all(axis=2)
    return Decoded(array, False, ~hidden) if hidden.any() else Decoded(array)


def _orientation(image: Any) -> int:
    """Return the orientation tag; what cannot be read is none."""
    try:
        return as_orientation(image.getexif().get(_ORIENTATION))
    except Exception:  # broken EXIF raises nearly anything, and spoils no pixel
        return 1


def read_pillow_size(path: str, kind: str) -> tuple[int, int]:
    """Return height and width as declared, if the file can hold them."""
    with _BoundedFile(path) as file, _reader(kind)(file, path) as image:
        _check_plausible(image, kind, os.path.getsize(path))
        return image.height, image.width


def _reader(kind: str) -> type:
    module, name = _READERS[kind]
    return getattr(importlib.import_module(module), name)


def _is_reduced(image: Any, kind: str) -> bool:
    """Tell if Pillow would cut 16-bit colours to 8 bit without a word."""
    if kind not in ("PNG", "TIFF") or image.mode not in ("RGB", "RGBA", "LA"):
        return False
    return any(";16" in str(tile[3]) for tile in image.tile)


def _sixteen_bit_advice() -> str:
    return (
        "has 16 bits per colour channel and is read by imagecodecs alone: "
        "pip install imagecodecs (or psmlearn[data])"
    )


def _read_deep_png(path: str) -> np.ndarray:
    """Read a 16-bit colour PNG, which Pillow cannot, at full depth."""
    try:
        from imagecodecs import png_decode
    except ImportError:
        raise RefusedError(_sixteen_bit_advice()) from None
    with open(path, "rb") as file:
        return png_decode(file.read())


def _read_palette(image: Any, as_labels: bool) -> Decoded:
    """Return the colours of a palette image, or its indices as labels."""
    if as_labels:
        return Decoded(np.array(image if image.mode == "P" else image.getchannel(0)))
    if image.mode == "PA" or "transparency" in image.info:
        return split_alpha(np.array(image.convert("RGBA")))
    return Decoded(np.array(image.convert("RGB")))
