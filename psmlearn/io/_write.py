# SPDX-License-Identifier: BSD-3-Clause
"""Write images, label images and tables: whole, or not at all."""

from __future__ import annotations

import csv
import hashlib
import os
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from itertools import chain
from numbers import Number
from typing import Any, TextIO, TypeVar, cast

import numpy as np

from psmlearn._images._checks import as_label_image, describe
from psmlearn._parameters import check_pixel_size, is_number, shown
from psmlearn.io._paths import as_path, atomic_path, names_target

# A spreadsheet runs a cell that begins with one of these as a formula; in East Asia
# with their wide forms, too, which are the same after NFKC but for the minus sign.
_FORMULA_SIGNS = ("=", "+", "-", "@", "\u2212")
# Of some programs what follows these, which they drop.
_CELL_BREAKS = ("\t", "\r", "\n")
# Spaces, control characters and marks without width, such as that of byte order.
_DROPPED_KINDS = ("Z", "Cc", "Cf")

# Ids of the same label images are the same, so that a file can be made again.
_SPACE = uuid.UUID("0b8f6f6e-5d0c-4f4b-8a55-7e0d5b1f6a3d")

_Write = TypeVar("_Write", bound=Callable[..., None])


def names_its_file(write: _Write) -> _Write:
    """Name the file when memory or the disk ends."""

    @wraps(write)
    def named(path: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        with names_target(path):
            write(path, *args, **kwargs)

    return cast(_Write, named)


def check_suffix(path: str | os.PathLike, allowed: tuple[str, ...]) -> str:
    """Return the suffix of a path, in lower case, if it is an allowed one."""
    suffix = os.path.splitext(as_path(path))[1].lower()
    if suffix not in allowed:
        raise ValueError(
            f"Cannot write {as_path(path)!r}: its suffix is {suffix!r}; expected "
            f"{' or '.join(allowed)}."
        )
    return suffix


@names_its_file
def write_labels(
    path: str | os.PathLike,
    labels: np.ndarray,
    *,
    kind: str = "ids",
    pixel_size: float | None = None,
) -> None:
    """Write a label image as a compressed TIFF (or a 16-bit PNG), atomically.

    TIFFs hold uint16 where the ids fit, int32 elsewhere; `read_labels`, tifffile,
    QuPath, ImageJ and napari read them. ImageJ shows int32 as floats, which are exact
    up to an id of 16,777,216, and opens one plane only; of two, write the first, import
    the file by Bio-Formats, or hand on ROIs by :func:`~psmlearn.io.write_rois`.

    Parameters
    ----------
    path : str or os.PathLike
        Ends in .tif, .tiff or .png; a PNG takes one plane of ids 0 to 65535.
    labels : ndarray of shape (height, width) or (height, width, 2)
        Integer ids, 0 background, -1 unknown; a second plane holds classes, and
        is the second sample of each pixel in the file.
    kind : {"ids", "classes"}, default="ids"
        What the (first) plane holds: an id for each object, or the class of each
        pixel, which may lie anywhere.
    pixel_size : float, default=None
        Micrometres per pixel, from 0.01 to 20. It is told by the resolution tags of a
        TIFF, in pixels per centimetre, which ImageJ shows in micrometres, and by OME
        metadata, for QuPath, Bio-Formats and tifffile; in a PNG by pHYs.

    Raises
    ------
    TypeError
        If `labels` is no array.
    ValueError
        If `labels` is no label image, or a PNG cannot hold it.
    OSError
        If there is no such folder, or it cannot be written to; `path` is named.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from psmlearn.io import read_labels, write_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "nuclei.tif")
    ...     write_labels(path, np.array([[0, 70000]]))
    ...     read_labels(path)
    array([[    0, 70000]], dtype=int32)
    """
    suffix = check_suffix(path, (".tif", ".tiff", ".png"))
    pixel_size = None if pixel_size is None else check_pixel_size(pixel_size)
    if kind not in ("ids", "classes"):
        raise ValueError(f"kind must be 'ids' or 'classes', got {kind!r}.")
    try:
        labels = as_label_image(labels, "labels", kind=kind)
    except ValueError as error:
        # The pieces of one value are in order where they are classes.
        if "pieces" not in str(error) and "0/255" not in str(error):
            raise
        told = str(error).rstrip(".")
        raise ValueError(f"{told}; write a class image with kind='classes'.") from None
    fits = labels.min() >= 0 and labels.max() <= 65535
    if suffix == ".png":
        if not fits or labels.ndim != 2:
            raise ValueError(
                f"Cannot write {as_path(path)!r}: a PNG holds one plane of ids from 0 "
                f"to 65535, and labels have {describe(labels)} and values from "
                f"{labels.min()} to {labels.max()}; use .tif."
            )
        _save_png(path, labels.astype(np.uint16), pixel_size)
        return
    import tifffile

    array = labels.astype(np.uint16) if fits else labels
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            array,
            photometric="minisblack",
            planarconfig="contig" if labels.ndim == 3 else None,
            compression="zlib",
            **({} if pixel_size is None else _resolution(array, pixel_size)),
        )


@names_its_file
def write_map(
    path: str | os.PathLike, values: np.ndarray, *, pixel_size: float | None = None
) -> None:
    """Write a map (height, width) of floats as a compressed float32 TIFF, atomically.

    The pixel size is told as by `write_labels`.
    """
    check_suffix(path, (".tif", ".tiff"))
    pixel_size = None if pixel_size is None else check_pixel_size(pixel_size)
    import tifffile

    array = np.ascontiguousarray(values, dtype=np.float32)
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            array,
            photometric="minisblack",
            compression="zlib",
            **({} if pixel_size is None else _resolution(array, pixel_size)),
        )


def _resolution(array: np.ndarray, pixel_size: float) -> dict[str, Any]:
    """Return what tifffile writes of a pixel size: tags and OME metadata."""
    # What is written twice is the same twice.
    text = f"{array.shape} {array.dtype} {pixel_size}".encode()
    told = hashlib.sha256(text + np.ascontiguousarray(array).tobytes()).hexdigest()
    return {
        "resolution": (1e4 / pixel_size, 1e4 / pixel_size),
        "resolutionunit": "CENTIMETER",
        "ome": True,
        "metadata": {
            "axes": "YX" if array.ndim == 2 else "YXS",
            "UUID": str(uuid.uuid5(_SPACE, told)),
            "Creator": "psmlearn",
            **{f"PhysicalSize{axis}": pixel_size for axis in "XY"},
            **{f"PhysicalSize{axis}Unit": "\u00b5m" for axis in "XY"},
        },
    }


def _save_png(
    path: str | os.PathLike,
    array: np.ndarray,
    pixel_size: float | None,
    compress_level: int = 6,
) -> None:
    from PIL import Image

    options: dict[str, Any] = {"compress_level": compress_level}
    if pixel_size is not None:
        # Pillow makes pixels per metre of them, as PNG has it.
        options["dpi"] = (25400.0 / pixel_size, 25400.0 / pixel_size)
    with atomic_path(path) as temporary:
        Image.fromarray(array).save(temporary, format="PNG", **options)


@names_its_file
def write_image(
    path: str | os.PathLike,
    array: np.ndarray,
    *,
    pixel_size: float | None = None,
    compress_level: int = 6,
) -> None:
    """Write an image as PNG, atomically.

    Parameters
    ----------
    path : str or os.PathLike
        Ends in .png.
    array : ndarray of shape (height, width) or (height, width, n_channels)
        One channel of uint8, uint16, bool or floats, or three or four channels
        of uint8 or floats. Floats must be within [0, 1] and are rounded to
        8 bits.
    pixel_size : float, default=None
        Micrometres per pixel, from 0.01 to 20; PNG holds it as whole pixels per metre
        (pHYs), which :func:`~psmlearn.io.read_pixel_size` reads.
    compress_level : int, default=6
        From 0 (not at all) to 9; the pixels are the same. Pictures of tissue take a
        fifth of the time by 1, and about an eighth more room.

    Raises
    ------
    TypeError
        If `array` is no array.
    ValueError
        If a PNG cannot hold it, or there is no such `compress_level`.
    OSError
        If there is no such folder, or it cannot be written to; `path` is named.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from psmlearn.io import read_image, write_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "map.png")
    ...     write_image(path, np.array([[0.0, 1.0]]))
    ...     read_image(path)
    array([[  0, 255]], dtype=uint8)
    """
    check_suffix(path, (".png",))
    if not is_number(compress_level, whole=True) or not 0 <= compress_level <= 9:
        raise ValueError(
            f"compress_level is {shown(compress_level)}; expected a whole number from "
            "0 to 9."
        )
    pixel_size = None if pixel_size is None else check_pixel_size(pixel_size)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected a numpy array, got a {type(array).__name__}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    grey = array.ndim == 2
    known = array.dtype == np.uint8 or array.dtype.kind in "bf"
    if (
        array.size == 0
        or not (grey or (array.ndim == 3 and array.shape[2] in (3, 4)))
        or not (known or (grey and array.dtype == np.uint16))
    ):
        raise ValueError(
            f"Cannot write {as_path(path)!r}: got {describe(array)}; expected grey "
            "(uint8, uint16, bool, float) or 3 or 4 channels (uint8, bool, float)."
        )
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(
                f"Cannot write {as_path(path)!r}: floats from {array.min():.6g} to "
                f"{array.max():.6g}; expected values within [0, 1]."
            )
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype.kind == "b":
        array = array.astype(np.uint8) * np.uint8(255)
    _save_png(path, np.ascontiguousarray(array), pixel_size, int(compress_level))


@names_its_file
def write_table(
    path: str | os.PathLike, columns: Mapping[str, Sequence | np.ndarray]
) -> None:
    """Write columns of one length as CSV or Parquet, atomically.

    Parquet keeps the types, and the units that names end in (``area_um2``), as
    ``unit`` in the metadata of each field. It needs pyarrow: ``pip install
    psmlearn[parquet]``.

    In a CSV, text that a spreadsheet would run as a formula gets a leading apostrophe,
    also where spaces, newlines or marks without width stand before its sign, or the
    sign is a wide one; numbers are written so that they read back the same. What of a
    file name is no text is written as an escape, such as ``\\udcfc``.

    Parameters
    ----------
    path : str or os.PathLike
        Ends in .csv or .parquet.
    columns : mapping of str to sequence
        Column names and their values.

    Raises
    ------
    ImportError
        If a Parquet file is asked for, and pyarrow is not installed.
    ValueError
        If there is no column, or they differ in length; if a column holds what
        Parquet has no type for.
    OSError
        If there is no such folder, or it cannot be written to; `path` is named.

    Examples
    --------
    >>> import os, tempfile
    >>> from pathlib import Path
    >>> from psmlearn.io import write_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "nuclei.csv")
    ...     write_table(path, {"label": [1, 2], "area_um2": [30.5, 41.0]})
    ...     Path(path).read_text().split()
    ['label,area_um2', '1,30.5', '2,41.0']
    """
    if check_suffix(path, (".csv", ".parquet")) == ".parquet":
        from psmlearn.io._parquet import write_parquet

        write_parquet(path, columns)
        return
    values = list_values(path, columns)
    with atomic_path(path) as temporary, open_csv(temporary) as file:
        write_rows(file, chain([tuple(columns)], zip(*values, strict=True)))


def list_values(
    path: str | os.PathLike, columns: Mapping[str, Sequence | np.ndarray]
) -> list[list]:
    """Return columns as lists, if they have one length."""
    values = [np.asarray(column).tolist() for column in columns.values()]
    lengths = {
        name: len(column) if isinstance(column, list) else None
        for name, column in zip(columns, values, strict=True)
    }
    if len(set(lengths.values())) != 1 or None in lengths.values():
        raise ValueError(
            f"Cannot write {as_path(path)!r}: expected columns of one length, got "
            f"{lengths}."
        )
    return values


def open_csv(path: str) -> TextIO:
    """Open a file for rows; file names may hold bytes that are no text."""
    return open(path, "w", newline="", encoding="utf-8", errors="backslashreplace")


def write_rows(file: TextIO, rows: Iterable[tuple]) -> None:
    """Write rows of a CSV, none of which a spreadsheet takes for a formula."""
    writer = csv.writer(file, lineterminator="\n")
    # The plain one leaves a lone "\r" bare, which readers take for a line's end.
    careful = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    for row in rows:
        cells = [_safe_cell(value) for value in row]
        breaks = any(isinstance(cell, str) and "\r" in cell for cell in cells)
        (careful if breaks else writer).writerow(cells)


def _safe_cell(value: object) -> object:
    """Keep text from being run as a formula when a spreadsheet opens it."""
    if value is None or isinstance(value, Number):
        return value
    text = str(value)
    return f"'{text}" if _begins_like_formula(text) else text


def _begins_like_formula(text: str) -> bool:
    """Tell what a spreadsheet may run, whatever it drops before."""
    if text.startswith(_CELL_BREAKS):
        return True
    for char in text:
        if not unicodedata.category(char).startswith(_DROPPED_KINDS):
            return unicodedata.normalize("NFKC", char).startswith(_FORMULA_SIGNS)
    return False
