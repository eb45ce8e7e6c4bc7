# SPDX-License-Identifier: BSD-3-Clause
"""The samples of a TIFF page as colours, or as ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from psmlearn.io._decoded import Decoded, split_alpha, white_of
from psmlearn.io._limits import RefusedError

_UNSPECIFIED, _ASSOCIATED, _UNASSOCIATED = 0, 1, 2
# Rows converted together: their floats stay small.
_BLOCK = 1 << 18


def arrange_image(page: Any, array: np.ndarray) -> Decoded:
    """Make colours of samples: apply a palette, turn white-is-zero, drop alpha."""
    photometric = page.photometric.name
    if photometric == "PALETTE":
        return _colour(page, array)
    if photometric == "MINISWHITE" and array.dtype.kind in "bu":
        array = ~array
    if is_plain_ycbcr(page):
        array = _ycbcr_to_rgb(page, array)
    if array.ndim != 3 or array.dtype.kind != "u":
        return Decoded(array)
    place, kind = _find_alpha(page, array.shape[2])
    if place is None:
        return Decoded(array)
    if kind == _ASSOCIATED:
        array = _undo_premultiplied(array, place)
    elif kind == _UNSPECIFIED and not array[..., place].any():
        return Decoded(np.ascontiguousarray(array[..., :place]))  # never filled in
    return split_alpha(array, place)


def _colour(page: Any, array: np.ndarray) -> Decoded:
    """Look up the colours of a palette; a second sample may be an alpha."""
    colours = np.asarray(page.colormap)
    if array.ndim == 2:
        return Decoded(_apply_palette(colours, array))
    place, kind = _find_alpha(page, array.shape[2])
    if array.shape[2] != 2 or place != 1 or kind == _ASSOCIATED:
        raise RefusedError(
            f"has a palette and {array.shape[2]} samples per pixel; convert it to RGB "
            "first"
        )
    alpha = array[..., 1]
    found = Decoded(_apply_palette(colours, array[..., 0]))
    if alpha.min() >= white_of(array.dtype):
        return found
    return found._replace(opaque=False, shown=alpha > 0 if not alpha.all() else None)


def arrange_labels(page: Any, array: np.ndarray) -> Decoded:
    """Make ids of samples: as stored, but where white-is-zero says otherwise."""
    if page.photometric.name == "MINISWHITE" and array.dtype.kind in "bu":
        white = 2**page.bitspersample - 1
        array = ~array if array.dtype == bool else array.dtype.type(white) - array
        refuse_turned_ids(array, white)
    if array.ndim == 3 and array.shape[2] == 2:
        place, kind = _find_alpha(page, 2)
        if place == 1 and kind != _UNSPECIFIED:
            return split_alpha(array)
    return Decoded(array)


def refuse_turned_ids(array: np.ndarray, white: int) -> None:
    """Refuse white-is-zero files of more than black and white.

    Viewers show 0 as white there, other readers give the ids as they are stored; of
    black and white alone it is clear what is meant.
    """
    black_and_white = np.array_equal(np.unique(array), [0, white])
    if array.dtype != bool and not black_and_white:
        raise RefusedError(
            "is stored with 0 for white (photometric interpretation 0), so it is not "
            "clear which values are ids; save it with 0 for black"
        )


def is_plain_ycbcr(page: Any) -> bool:
    """Tell samples of luma and chroma that the codec does not turn into RGB."""
    aperio = 33003  # JPEG 2000 of YCbCr, whatever the photometric interpretation
    codec = int(page.compression)
    if codec == aperio:
        return True
    return page.photometric.name == "YCBCR" and codec not in _DECODED_TO_RGB


# The kinds of JPEG, JPEG XR, WebP and JPEG XL.
_DECODED_TO_RGB = frozenset((6, 7, 22610, 33007, 34892, 34934, 50001, 50002))


def _ycbcr_to_rgb(page: Any, array: np.ndarray) -> np.ndarray:
    """Convert luma and chroma of 8 bits as the tags of the file say (TIFF 6.0)."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] < 3:
        raise RefusedError(
            f"holds YCbCr colours of shape {array.shape} and dtype {array.dtype}; "
            "convert it to RGB first"
        )
    red, green, blue = _ratios(page, "YCbCrCoefficients", (299, 587, 114), 1000)
    limits = _ratios(page, "ReferenceBlackWhite", (0, 255, 128, 255, 128, 255), 1)
    low, high = np.array(limits[::2]), np.array(limits[1::2])
    if not (np.isfinite(limits).all() and (high > low).all() and green > 0):
        raise RefusedError("has YCbCr tags that make no sense; convert it to RGB first")
    scale = np.array([255.0, 127.0, 127.0]) / (high - low)
    out = array.copy()
    step = max(1, _BLOCK // array.shape[1])
    for top in range(0, len(array), step):
        part = (array[top : top + step, :, :3] - low) * scale
        luma, cb, cr = np.moveaxis(part, -1, 0)
        r = luma + cr * (2 - 2 * red)
        b = luma + cb * (2 - 2 * blue)
        g = (luma - blue * b - red * r) / green
        rgb = np.stack([r, g, b], axis=-1)
        out[top : top + step, :, :3] = np.rint(rgb).clip(0, 255).astype(np.uint8)
    return out


def _ratios(page: Any, name: str, default: tuple[int, ...], by: int) -> list[float]:
    """Return the numbers of a tag of rationals, or those of the standard."""
    tag = page.tags.get(name)
    flat = [] if tag is None else np.ravel(tag.value).tolist()
    if len(flat) == len(default):
        return [float(value) for value in flat]
    if len(flat) != 2 * len(default):
        return [value / by for value in default]
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return [over / under if under else np.nan for over, under in pairs]


def _apply_palette(colours: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Look colours up; TIFF palettes are 16-bit, mostly 8-bit ones stretched."""
    if not (colours % 257).any():
        colours = (colours // 257).astype(np.uint8)
    elif not (colours % 256).any():
        colours = (colours // 256).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(colours[:, indices], 0, -1))


def _find_alpha(page: Any, n_channels: int) -> tuple[int | None, int]:
    """Return the channel that is an alpha, marked so or the fourth of RGB; its kind."""
    extra = [int(sample) for sample in page.extrasamples or ()]
    for place, kind in enumerate(extra, start=n_channels - len(extra)):
        if kind in (_ASSOCIATED, _UNASSOCIATED) and place > 0:
            return place, kind
    if n_channels == 4 and page.photometric.name in ("RGB", "YCBCR"):
        return 3, _UNSPECIFIED
    return None, _UNSPECIFIED


def _undo_premultiplied(array: np.ndarray, place: int) -> np.ndarray:
    """Divide colours by the alpha that they were multiplied with."""
    alpha = array[..., place, np.newaxis].astype(np.float64)
    white = white_of(array.dtype)
    if alpha.min() >= white:
        return array
    colours = np.rint(array * (white / np.maximum(alpha, 1.0)))
    colours = np.minimum(colours, white).astype(array.dtype)
    colours[..., place:] = array[..., place:]
    return colours
