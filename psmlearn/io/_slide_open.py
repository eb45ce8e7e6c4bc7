# SPDX-License-Identifier: BSD-3-Clause
"""Find out what reads a slide, and which files should be read as slides."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from psmlearn._parameters import shown
from psmlearn.io._logs import silenced
from psmlearn.io._paths import as_path, is_path
from psmlearn.io._read import sniff_format
from psmlearn.io._slide_arrays import ArraySource, DaskSource
from psmlearn.io._slide_openslide import OpenSlideSource
from psmlearn.io._slide_sources import SlideSource
from psmlearn.io._slide_tiff import TiffSource
from psmlearn.io._slide_zarr import ZarrSource, is_zarr_folder

# What tiffslide does not read. Of DICOM, folders of many files hold one slide.
_OPENSLIDE_SUFFIXES = (".mrxs", ".vms", ".vmu", ".dcm", ".czi", ".svslide")
_TIFF_SUFFIXES = (".svs", ".ndpi", ".scn", ".bif")
_SLIDE_PIXELS = 50_000_000


def open_source(source: Any) -> SlideSource:
    """Open whatever `Slide` takes."""
    if is_path(source):
        return _open_path(as_path(source))
    if isinstance(source, np.ndarray):
        return ArraySource(source)
    if all(hasattr(source, name) for name in ("dask", "chunks", "compute")):
        return DaskSource(source)
    if type(source).__module__.partition(".")[0] == "zarr":
        return ZarrSource(source)
    raise TypeError(
        f"a slide is a path, a numpy, zarr or dask array, or a zarr group; got "
        f"{shown(source)}, a {type(source).__name__}."
    )


def _open_path(path: str) -> SlideSource:
    if os.path.isdir(path):
        return ZarrSource(path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix in _OPENSLIDE_SUFFIXES and os.path.isfile(path):
        return OpenSlideSource(path)
    try:
        kind = sniff_format(path)
    except ValueError as error:
        return _by_openslide(path, error)
    if kind != "TIFF":
        raise ValueError(
            f"{path!r} is a {kind} file, which is decoded at once: use "
            "psmlearn.io.read_image, or Slide(read_image(path), pixel_size=...)."
        )
    try:
        return TiffSource(path)
    except ValueError as error:
        return _by_openslide(path, error)


def _by_openslide(path: str, error: ValueError) -> SlideSource:
    """Open with OpenSlide what is no TIFF, or none that is read; or tell of that."""
    try:
        import openslide

        # Of TIFF without a vendor it takes the first three channels, and no 16 bits.
        if openslide.OpenSlide.detect_format(path) not in (None, "generic-tiff"):
            return OpenSlideSource(path)
    except (ImportError, OSError):  # not installed, or its library is missing
        raise error from None
    except (ValueError, openslide.OpenSlideError):
        raise error from None
    raise error


def is_slide(path: str | os.PathLike) -> bool:
    """Tell a file or folder that should be opened as a :class:`Slide`.

    Those are slides by their suffix (SVS, NDPI, SCN, BIF, MRXS, VMS, CZI, DICOM and
    others), folders of zarr, and TIFF in tiles or with a pyramid of more than 50
    megapixels, or with a scanner's header. Only headers are looked at.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    bool
        False, too, for what is not there, or cannot be read.

    Examples
    --------
    >>> from psmlearn.io import is_slide
    >>> is_slide("no such file.png")
    False
    """
    path = as_path(path)
    try:
        if os.path.isdir(path):
            return is_zarr_folder(path)
        if not os.path.isfile(path):
            return False
        suffix = os.path.splitext(path)[1].lower()
        if suffix in (*_OPENSLIDE_SUFFIXES, *_TIFF_SUFFIXES):
            return True
        return sniff_format(path) == "TIFF" and _is_large_tiff(path)
    except Exception:  # on broken files readers raise nearly anything
        return False


def _is_large_tiff(path: str) -> bool:
    """Tell a TIFF in tiles or with a pyramid that is large, or a scanner's."""
    from tifffile import TiffFile

    with silenced("tifffile"), TiffFile(path) as tiff:
        if any(getattr(tiff, f"is_{kind}") for kind in ("svs", "ndpi", "scn", "bif")):
            return True
        page = tiff.pages.first
        if page.imagelength * page.imagewidth <= _SLIDE_PIXELS:
            return False
        return bool(page.is_tiled or page.subifds or _has_reduced(tiff))


def _has_reduced(tiff: Any) -> bool:
    """Tell a file whose second page is a reduction of the first."""
    if len(tiff.pages) < 2:
        return False
    first, second = tiff.pages[0], tiff.pages[1]
    smaller = second.imagelength < first.imagelength
    return bool(second.is_reduced or (smaller and second.imagewidth < first.imagewidth))
