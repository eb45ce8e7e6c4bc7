# SPDX-License-Identifier: BSD-3-Clause
"""Decode TIFF with tifffile, or with Pillow where imagecodecs is missing."""

from __future__ import annotations

import os

import numpy as np

from psmlearn.io._decoded import (
    Decoded,
    as_orientation,
    paint_missing,
    split_alpha,
    white_of,
)
from psmlearn.io._limits import RefusedError, check_declared_size
from psmlearn.io._pillow import read_with_pillow

_PHOTOMETRICS = ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE", "YCBCR")
# Codecs that may change values: the kinds of JPEG, JPEG 2000, JPEG XR, JPEG XL, WebP.
_LOSSY = frozenset(
    (6, 7, 22610, 33003, 33004, 33005, 33007, 34712, 34892, 34934, 50001, 50002)
)
_UNSPECIFIED, _ASSOCIATED, _UNASSOCIATED = 0, 1, 2


def read_tiff(path: str, *, as_labels: bool, max_pixels: int) -> Decoded:
    """Decode the one page of a TIFF, without alpha."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page = _only_page(tiff)
        check_declared_size(page.imagelength, page.imagewidth, max_pixels)
        _check_page(page)
        _check_extent(page, os.path.getsize(path))
        stored = _stored(page)
        try:
            decoded = _arrange(page, page.asarray(), as_labels)
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            if stored is not None:
                raise RefusedError(
                    f"lacks tiles and is compressed with {page.compression.name}: pip "
                    "install imagecodecs (or psmlearn[data])"
                ) from error
            decoded = _read_without_codecs(path, page, as_labels, max_pixels)
        if stored is not None:
            decoded = paint_missing(decoded, stored, as_labels)
        return decoded._replace(
            orientation=_orientation(page),
            lossy=int(page.compression) in _LOSSY,
        )


def read_tiff_size(path: str) -> tuple[int, int]:
    """Return height and width of the first page, decoding nothing."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        return page.imagelength, page.imagewidth


def _only_page(tiff):
    """Return the page to read: the only one of full size, or an error."""
    pages = list(tiff.pages)
    if not pages:
        raise ValueError("it holds no page")
    full = [pages[0]] + [page for page in pages[1:] if not page.is_reduced]
    if len(full) > 1:
        raise RefusedError(
            f"holds {len(full)} pages; an image is one page: save the one you need, "
            "channels last, as with tifffile.imread(path, key=0)"
        )
    return pages[0]


def _check_page(page) -> None:
    """Refuse colour spaces and sample layouts that have no clear RGB or grey."""
    photometric = getattr(page.photometric, "name", str(page.photometric))
    if photometric not in _PHOTOMETRICS:
        kind = "CMYK" if photometric == "SEPARATED" else photometric
        raise RefusedError(
            f"has colour mode {kind}, which needs a colour profile to be turned into "
            "RGB; convert it first"
        )
    if page.axes not in ("YX", "YXS", "SYX"):
        raise RefusedError(f"has axes {page.axes}; expected one flat image")
    if page.bitspersample not in (1, 8, 16, 32, 64):
        raise RefusedError(
            f"has {page.bitspersample} bits per sample, so its white is unclear; "
            "save it with 8 or 16 bits"
        )


def _check_extent(page, n_bytes: int) -> None:
    """Find truncated files: tifffile fills missing strips and tiles with zeros."""
    counts = page.databytecounts
    if not any(counts):
        raise ValueError("it holds no pixels: all of its strips or tiles are missing")
    for offset, count in zip(page.dataoffsets, counts, strict=False):
        if count and offset + count > n_bytes:
            raise ValueError(
                f"its pixels should reach byte {offset + count} and it has {n_bytes}"
            )


def _stored(page) -> np.ndarray | None:
    """Tell the pixels of strips and tiles that are there; None where all are.

    Scanners and converters leave out blank ones, which have 0 bytes.
    """
    missing = [i for i, count in enumerate(page.databytecounts) if not count]
    if not missing:
        return None
    height, width = page.imagelength, page.imagewidth
    if page.is_tiled:
        tall, wide = page.tilelength, page.tilewidth
    else:
        tall, wide = page.rowsperstrip, width
    down, across = -(-height // tall), -(-width // wide)
    stored = np.ones((height, width), dtype=bool)
    for index in missing:
        row, column = divmod(index % (down * across), across)
        top, left = row * tall, column * wide
        stored[top : top + tall, left : left + wide] = False
    return stored


def _read_without_codecs(path: str, page, as_labels: bool, max_pixels: int) -> Decoded:
    """Read with Pillow what it reads without loss: 8 bit, or grey."""
    if page.samplesperpixel > 1 and page.bitspersample != 8:
        raise RefusedError(
            f"has {page.bitspersample}-bit colours compressed with "
            f"{page.compression.name}: pip install imagecodecs (or psmlearn[data])"
        )
    decoded = read_with_pillow(path, "TIFF", as_labels=as_labels, max_pixels=max_pixels)
    return decoded._replace(array=_turn_back(decoded.array, _orientation(page)))


def _orientation(page) -> int:
    tag = page.tags.get("Orientation")
    return 1 if tag is None else as_orientation(tag.value)


def _turn_back(array: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the turn by the orientation tag, which Pillow applies to TIFF alone."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    if orientation in (3, 4, 6, 7):
        array = array[::-1]
    if orientation in (2, 3, 7, 8):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _arrange(page, array: np.ndarray, as_labels: bool) -> Decoded:
    """Put channels last, apply a palette, turn white-is-zero, drop alpha."""
    if page.axes == "SYX":
        array = np.moveaxis(array, 0, -1)
    if as_labels:
        return Decoded(array)
    photometric = page.photometric.name
    if photometric == "PALETTE":
        return Decoded(_apply_palette(np.asarray(page.colormap), array))
    if photometric == "MINISWHITE" and array.dtype.kind in "bu":
        array = ~array
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


def _apply_palette(colours: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Look colours up; TIFF palettes are 16-bit, mostly 8-bit ones stretched."""
    if not (colours % 257).any():
        colours = (colours // 257).astype(np.uint8)
    elif not (colours % 256).any():
        colours = (colours // 256).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(colours[:, indices], 0, -1))


def _find_alpha(page, n_channels: int) -> tuple[int | None, int]:
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
