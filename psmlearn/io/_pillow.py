# SPDX-License-Identifier: BSD-3-Clause
"""Decode PNG, JPEG, BMP and WebP (and some TIFF) with Pillow, safely."""

from __future__ import annotations

import importlib

import numpy as np

from psmlearn.io._limits import RefusedError, check_declared_size

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


def read_with_pillow(
    path: str, kind: str, *, as_labels: bool, max_pixels: int
) -> tuple[np.ndarray, bool]:
    """Decode a file; return the array without alpha, and if it was opaque."""
    with open(path, "rb") as file, _reader(kind)(file, path) as image:
        check_declared_size(image.height, image.width, max_pixels)
        if getattr(image, "n_frames", 1) > 1:
            raise RefusedError(f"holds {image.n_frames} frames; save the one you need")
        if _is_reduced(image, kind):
            if kind != "PNG":
                raise RefusedError(_sixteen_bit_advice())
            return split_alpha(_read_deep_png(path))
        if image.mode in ("P", "PA"):
            return _read_palette(image, as_labels)
        if image.mode not in _PLAIN_MODES and not image.mode.startswith("I;16"):
            raise RefusedError(
                f"has colour mode {image.mode}, which needs a colour profile to be "
                "turned into RGB; convert it first, as with "
                "PIL.ImageCms or image.convert('RGB')"
            )
        array = np.array(image)
    if kind == "PNG" and array.dtype == np.int32:
        array = array.astype(np.uint16)  # older Pillow widens 16-bit grey
    return split_alpha(array)


def read_pillow_size(path: str, kind: str) -> tuple[int, int]:
    """Return height and width as declared, decoding nothing."""
    with open(path, "rb") as file, _reader(kind)(file, path) as image:
        return image.height, image.width


def _reader(kind: str) -> type:
    module, name = _READERS[kind]
    return getattr(importlib.import_module(module), name)


def split_alpha(array: np.ndarray) -> tuple[np.ndarray, bool]:
    """Drop the last channel of grey-alpha and RGBA; tell if it was opaque."""
    if array.ndim != 3 or array.shape[2] not in (2, 4):
        return array, True
    if array.dtype.kind == "u":
        opaque = array[..., -1].min() == np.iinfo(array.dtype).max
    else:
        opaque = array[..., -1].min() >= 1
    colours = array[..., 0] if array.shape[2] == 2 else array[..., :3]
    return np.ascontiguousarray(colours), bool(opaque)


def _is_reduced(image, kind: str) -> bool:
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


def _read_palette(image, as_labels: bool) -> tuple[np.ndarray, bool]:
    """Return the colours of a palette image, or its indices as labels."""
    if as_labels:
        return np.array(image if image.mode == "P" else image.getchannel(0)), True
    if image.mode == "PA" or "transparency" in image.info:
        return split_alpha(np.array(image.convert("RGBA")))
    return np.array(image.convert("RGB")), True
