# SPDX-License-Identifier: BSD-3-Clause
"""Read image files without losing bits, and refuse what cannot be trusted."""

from __future__ import annotations

import os
import stat

import numpy as np

from psmlearn._images._checks import as_label_image
from psmlearn._warnings import warn_user
from psmlearn.exceptions import NoDataWarning, OrientationWarning
from psmlearn.io._decoded import Decoded
from psmlearn.io._limits import MAX_LABEL_PIXELS, MAX_PIXELS, RefusedError
from psmlearn.io._paths import ZARR_MARKS, as_path
from psmlearn.io._pillow import read_pillow_size, read_with_pillow
from psmlearn.io._tiff import read_tiff, read_tiff_size

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)


def sniff_format(path: str) -> str:
    """Tell the format of a file by its first bytes, never by its name.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is a folder, a pipe, empty, not readable, or no image of a known format.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            with open(path, "rb") as file:
                start = file.read(12)
    except FileNotFoundError:
        raise FileNotFoundError(f"No such image file: {path!r}.") from None
    except OSError as error:
        raise ValueError(f"{path!r} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # such as a null character in the name
        raise ValueError(f"{path!r} is no path: {error}.") from error
    if stat.S_ISDIR(mode):
        zarr = any(os.path.isfile(os.path.join(path, mark)) for mark in ZARR_MARKS)
        raise ValueError(
            f"{path!r} is a folder of zarr; read it with psmlearn.io.Slide."
            if zarr
            else f"{path!r} is a folder; give its image files, as with "
            f"sorted(pathlib.Path(folder).glob('*.png'))."
        )
    if not stat.S_ISREG(mode):
        # Reading from a pipe may wait for ever.
        raise ValueError(f"{path!r} is no regular file but a pipe, socket or device.")
    if not start:
        raise ValueError(f"{path!r} is empty (0 bytes).")
    for signature, name in _SIGNATURES:
        if start.startswith(signature):
            return name
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    raise ValueError(
        f"{path!r} is not a TIFF, PNG, JPEG, BMP or WebP file: it starts with "
        f"{start[:8]!r}."
    )


def read_size(path: str) -> tuple[int, int]:
    """Return height and width as declared, decoding nothing.

    Files that are too small for so many pixels are refused, as they are by decoding.
    """
    kind = sniff_format(path)
    try:
        if kind == "TIFF":
            height, width = read_tiff_size(path)
        else:
            height, width = read_pillow_size(path, kind)
        if height < 1 or width < 1:
            raise ValueError(f"it declares {height} x {width} pixels")
    except MemoryError as error:
        raise MemoryError(f"{path!r} needs more memory than there is.") from error
    except Exception as error:  # decoders raise nearly anything on broken files
        raise ValueError(f"{path!r} is a broken {kind} file: {error}.") from error
    return height, width


def decode_image(
    path: str, *, as_labels: bool = False, max_pixels: int = MAX_PIXELS
) -> Decoded:
    """Decode a file as stored, without alpha."""
    kind = sniff_format(path)
    try:
        if kind == "TIFF":
            return read_tiff(path, as_labels=as_labels, max_pixels=max_pixels)
        return read_with_pillow(path, kind, as_labels=as_labels, max_pixels=max_pixels)
    except MemoryError as error:
        raise MemoryError(f"{path!r} needs more memory than there is.") from error
    except RefusedError as error:
        raise ValueError(f"{path!r} {error}.") from error
    except Exception as error:  # decoders raise nearly anything on broken files
        raise ValueError(
            f"{path!r} is a broken or truncated {kind} file: {error}."
        ) from error


def decode_labels(path: str, *, max_pixels: int = MAX_LABEL_PIXELS) -> Decoded:
    """Decode a file of ids or of a region; refuse what has an alpha that shows."""
    decoded = decode_image(path, as_labels=True, max_pixels=max_pixels)
    if not decoded.opaque:
        raise ValueError(
            f"{path!r} has transparent pixels, so it does not tell what they are; save "
            "the ids alone, without alpha."
        )
    return decoded


def refuse_lossy(decoded: Decoded, path: str, what: str) -> None:
    """Refuse a file whose values were changed by compression."""
    if decoded.lossy:
        raise ValueError(
            f"{path!r} is compressed with losses, as JPEG is: its values are not those "
            f"that were saved, and {what}. Save masks as PNG, or as TIFF with LZW or "
            "deflate."
        )


def warn_of_orientation(turned: list[tuple[str, int]]) -> None:
    """Warn once of files that a viewer would show turned or mirrored.

    Parameters
    ----------
    turned : list of (path, orientation tag)
        Those with a tag of 1 are passed over.
    """
    told = [f"{path!r} ({tag})" for path, tag in turned if tag != 1]
    if told:
        more = f" and {len(told) - 5} more" if len(told) > 5 else ""
        warn_user(
            f"{', '.join(told[:5])}{more} have an orientation tag: viewers turn or "
            "mirror them, and they are read as stored; what was drawn in such a viewer "
            "does not fit. Save them upright, as with "
            "PIL.ImageOps.exif_transpose(image).",
            OrientationWarning,
        )


def read_image(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image file as it is stored, losing no bits.

    The format is told by the content. TIFF, PNG, JPEG, BMP and WebP are read.
    Palettes and YCbCr become RGB; the alpha of RGBA and grey-alpha is dropped,
    with a warning where it is not opaque; white-is-zero TIFFs are turned, and
    their missing tiles are white. 16-bit colours stay 16-bit (PNG, and
    compressed TIFF, need imagecodecs for that). Refused, each with a hint:
    CMYK, Lab and other modes that need a colour profile, files of several
    pages, planes or frames, unusual bit depths, files that declare more pixels
    than `max_pixels` or than they can hold. The orientation tag of cameras is
    told, and not applied.

    Parameters
    ----------
    path : str or os.PathLike
    max_pixels : int, default=2147483648
        Largest height times width that is decoded, of 4 GiB at most; a larger
        number raises both.

    Returns
    -------
    ndarray of shape (height, width) or (height, width, n_channels)
        In the dtype of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is broken, truncated or refused; the path is named.
    MemoryError
        If there is not as much memory; the path is named.

    Warns
    -----
    NoDataWarning
        If an alpha that is not opaque was dropped.
    OrientationWarning
        If viewers would show the file turned or mirrored.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from psmlearn.io import read_image, write_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "grey.png")
    ...     write_image(path, np.zeros((4, 5), dtype=np.uint8))
    ...     read_image(path).shape
    (4, 5)
    """
    path = as_path(path)
    decoded = decode_image(path, max_pixels=max_pixels)
    if not decoded.opaque:
        warn_user(f"dropped the alpha of {path!r}, which is not opaque", NoDataWarning)
    warn_of_orientation([(path, decoded.orientation)])
    return decoded.array


def read_labels(
    path: str | os.PathLike, *, kind: str = "ids", max_pixels: int = MAX_LABEL_PIXELS
) -> np.ndarray:
    """Read a label image: TIFF or PNG of ids, as int32.

    The indices of a palette image are its ids, greys of few bits are as stored.
    Refused are labels drawn in RGB, floats, files with losses such as JPEG, and
    masks that do not tell objects apart: of one value in several pieces, of greys
    along edges, of classes.

    Parameters
    ----------
    path : str or os.PathLike
    kind : {"ids", "classes"}, default="ids"
        What the file holds: an id for each object, or the class of each pixel,
        which may lie anywhere.
    max_pixels : int, default=268435456
        Largest height times width that is decoded, 2**28 if not told.

    Returns
    -------
    ndarray of shape (height, width) or (height, width, 2), dtype int32
        0 background, 1..n ids, -1 unknown; a second plane holds classes.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is broken, or does not hold labels; the path is named.
    MemoryError
        If there is not as much memory; the path is named.

    Warns
    -----
    AnnotationWarning
        If the only object may be one, cut by the border, and may be several; if the
        values may be greys or classes.
    OrientationWarning
        If viewers would show the file turned or mirrored.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from psmlearn.io import read_labels, write_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "nuclei.tif")
    ...     write_labels(path, np.array([[0, 1], [2, 2]]))
    ...     read_labels(path)
    array([[0, 1],
           [2, 2]], dtype=int32)
    """
    if kind not in ("ids", "classes"):
        raise ValueError(f"kind must be 'ids' or 'classes', got {kind!r}.")
    path = as_path(path)
    decoded = decode_labels(path, max_pixels=max_pixels)
    refuse_lossy(decoded, path, f"no {kind}")
    warn_of_orientation([(path, decoded.orientation)])
    return as_label_image(decoded.array, repr(path), kind=kind)
