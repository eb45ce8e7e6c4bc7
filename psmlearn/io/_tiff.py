# SPDX-License-Identifier: BSD-3-Clause
"""Decode TIFF with tifffile, or with Pillow where imagecodecs is missing."""

from __future__ import annotations

import os

import numpy as np

from psmlearn.io._limits import RefusedError, check_declared_size
from psmlearn.io._pillow import read_with_pillow, split_alpha

_PHOTOMETRICS = ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE", "YCBCR")


def read_tiff(
    path: str, *, as_labels: bool, max_pixels: int
) -> tuple[np.ndarray, bool]:
    """Decode the one page of a TIFF; return it without alpha, and if opaque."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page = _only_page(tiff)
        check_declared_size(page.imagelength, page.imagewidth, max_pixels)
        _check_page(page)
        _check_extent(page, os.path.getsize(path))
        try:
            array = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            return _read_without_codecs(path, page, as_labels, max_pixels)
        return _arrange(page, array, as_labels)


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
    pairs = zip(page.dataoffsets, page.databytecounts, strict=False)
    for offset, count in pairs:
        if count == 0 or offset + count > n_bytes:
            raise ValueError(
                f"its pixels should reach byte {offset + count} and it has {n_bytes}"
            )


def _read_without_codecs(
    path: str, page, as_labels: bool, max_pixels: int
) -> tuple[np.ndarray, bool]:
    """Read with Pillow what it reads without loss: 8 bit, or grey."""
    if page.samplesperpixel > 1 and page.bitspersample != 8:
        raise RefusedError(
            f"has {page.bitspersample}-bit colours compressed with "
            f"{page.compression.name}: pip install imagecodecs (or psmlearn[data])"
        )
    return read_with_pillow(path, "TIFF", as_labels=as_labels, max_pixels=max_pixels)


def _arrange(page, array: np.ndarray, as_labels: bool) -> tuple[np.ndarray, bool]:
    """Put channels last, apply a palette, turn white-is-zero, drop alpha."""
    if page.axes == "SYX":
        array = np.moveaxis(array, 0, -1)
    if as_labels:
        return array, True
    photometric = page.photometric.name
    if photometric == "PALETTE":
        return _apply_palette(np.asarray(page.colormap), array), True
    if photometric == "MINISWHITE" and array.dtype.kind in "bu":
        array = ~array
    if array.dtype.kind == "u" and _has_alpha(page, array):
        return split_alpha(array)
    return array, True


def _apply_palette(colours: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Look colours up; TIFF palettes are 16-bit, mostly 8-bit ones stretched."""
    if not (colours % 257).any():
        colours = (colours // 257).astype(np.uint8)
    elif not (colours % 256).any():
        colours = (colours // 256).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(colours[:, indices], 0, -1))


def _has_alpha(page, array: np.ndarray) -> bool:
    """Tell if the last sample is an alpha: RGB with one more, or marked so."""
    if array.ndim != 3 or array.shape[2] not in (2, 4):
        return False
    if array.shape[2] == 4 and page.photometric.name in ("RGB", "YCBCR"):
        return True
    extra = [int(sample) for sample in page.extrasamples or ()]
    return extra in ([1], [2])
