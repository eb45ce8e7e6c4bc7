# SPDX-License-Identifier: BSD-3-Clause
"""The size of a pixel in micrometres, as files and users tell it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import numpy as np

from psmlearn._typing import PixelSize
from psmlearn.io._paths import as_path, is_path
from psmlearn.io._read import sniff_format

if TYPE_CHECKING:
    from psmlearn.io._batch import ImageBatch

# Outside of this, a resolution tag speaks of printing (72 dpi is 353 um).
_PLAUSIBLE = (0.01, 20.0)
_UNITS = {
    "nm": 1e-3,
    "um": 1.0,
    "\u00b5m": 1.0,
    "\u03bcm": 1.0,
    "\\u00b5m": 1.0,
    "\\u00B5m": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "inch": 25400.0,
}


def read_pixel_size(path: str | os.PathLike) -> float | None:
    """Read the pixel size a TIFF tells, in micrometres.

    Looked at in this order: OME (PhysicalSizeX), Aperio (MPP), ImageJ (unit),
    and the resolution tags where they amount to 0.01 to 20 micrometres, which
    leaves out resolutions meant for printing.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    float or None
        Micrometres per pixel; None where the file does not tell, where it is
        no TIFF, and where pixels are not square (by more than 1 %).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read; the path is named.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import tifffile
    >>> from psmlearn.io import read_pixel_size
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "image.tif")
    ...     tifffile.imwrite(path, np.zeros((4, 4), dtype=np.uint8),
    ...                      resolution=(40000, 40000), resolutionunit="CENTIMETER")
    ...     read_pixel_size(path)
    0.25
    """
    import tifffile

    path = as_path(path)
    if sniff_format(path) != "TIFF":
        return None
    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            description = page.description or ""
            tags = _resolution_tags(page)
    except MemoryError:
        raise
    except Exception as error:  # tifffile raises nearly anything on broken files
        raise ValueError(f"{path!r} is a broken TIFF file: {error}.") from error
    for read in (_read_ome, _read_aperio):
        sizes = read(description)
        if sizes is not None:
            return _square(sizes)
    return _read_resolution(description, tags)


def _resolution_tags(page) -> tuple[float, float, int] | None:
    """Return pixels per unit along rows and columns, and the unit's code."""
    values = []
    for name in ("XResolution", "YResolution"):
        tag = page.tags.get(name)
        if tag is None or not isinstance(tag.value, tuple) or 0 in tag.value[:2]:
            return None
        values.append(tag.value[0] / tag.value[1])
    unit = page.tags.get("ResolutionUnit")
    return values[0], values[1], 2 if unit is None else int(unit.value)


def _square(sizes: tuple[float, float]) -> float | None:
    """Return the mean of both sizes if they agree, and are possible at all."""
    if not all(np.isfinite(s) and s > 0 for s in sizes):
        return None
    if abs(sizes[0] - sizes[1]) > 0.01 * max(sizes):
        return None
    return float(sum(sizes) / 2)


def _read_ome(description: str) -> tuple[float, float] | None:
    """Read PhysicalSizeX and PhysicalSizeY of an OME header."""
    if "<OME" not in description:
        return None
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        root = fromstring(description, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError):
        return None
    for element in root.iter():
        if element.tag.endswith("}Pixels") and "PhysicalSizeX" in element.attrib:
            sizes = []
            for axis in "XY":
                size = element.get(f"PhysicalSize{axis}", element.get("PhysicalSizeX"))
                unit = element.get(f"PhysicalSize{axis}Unit", "\u00b5m")
                sizes.append(_number(size) * _UNITS.get(unit, np.nan))
            return sizes[0], sizes[1]
    return None


def _read_aperio(description: str) -> tuple[float, float] | None:
    """Read "|MPP = 0.2520|" of an Aperio header."""
    match = re.search(r"\|\s*MPP\s*=\s*([0-9.eE+-]+)", description)
    if match is None:
        return None
    size = _number(match.group(1))
    return size, size


def _read_resolution(
    description: str, tags: tuple[float, float, int] | None
) -> float | None:
    """Read the resolution tags, in ImageJ's unit or in inches or centimetres."""
    if tags is None:
        return None
    along_columns, along_rows, code = tags
    unit = None
    if description.startswith("ImageJ="):
        match = re.search(r"^unit=(.+)$", description, re.MULTILINE)
        unit = _UNITS.get(match.group(1).strip()) if match else None
    if unit is None:
        unit = {2: _UNITS["inch"], 3: _UNITS["cm"]}.get(code)
    if unit is None:
        return None
    size = _square((unit / along_columns, unit / along_rows))
    return size if size and _PLAUSIBLE[0] <= size <= _PLAUSIBLE[1] else None


def _number(text: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")


def resolve_pixel_size(pixel_size: PixelSize, images: ImageBatch) -> np.ndarray:
    """Return the pixel size of each image in micrometres.

    Parameters
    ----------
    pixel_size : float, sequence of floats or "file"
        Micrometres per pixel: one number, one per image, or "file" to read it
        from each file.
    images : ImageBatch

    Returns
    -------
    ndarray of shape (n_images,), dtype float64

    Raises
    ------
    TypeError
        If `pixel_size` is none of these.
    ValueError
        If a size is not a positive finite number, their number differs from
        that of the images, or a file does not tell its own.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.io import check_images, resolve_pixel_size
    >>> resolve_pixel_size(0.5, check_images(np.zeros((2, 8, 8, 3))))
    array([0.5, 0.5])
    """
    if is_path(pixel_size):
        if pixel_size != "file":
            raise ValueError(
                f"pixel_size is {pixel_size!r}; expected a number in micrometres, "
                "one per image, or 'file'."
            )
        read = [read_pixel_size(path) if path else None for path in images.paths]
        silent = [n for n, s in zip(images.names, read, strict=True) if s is None]
        if silent:
            raise ValueError(
                f"pixel_size='file', but {len(silent)} image(s) do not tell theirs: "
                f"{', '.join(silent[:5])}; give pixel_size in micrometres."
            )
        return np.asarray(read, dtype=np.float64)
    try:
        if pixel_size is None:  # numpy would make it a NaN
            raise TypeError
        sizes = np.asarray(pixel_size, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            f"pixel_size is a {type(pixel_size).__name__}; expected a number in "
            "micrometres, one per image, or 'file'."
        ) from None
    if sizes.ndim > 1 or (sizes.ndim == 1 and len(sizes) != len(images)):
        raise ValueError(
            f"pixel_size has shape {sizes.shape} for {len(images)} images; expected "
            "one number, or one per image."
        )
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(
            f"pixel_size is {pixel_size!r}; expected positive micrometres per pixel."
        )
    return np.broadcast_to(sizes, (len(images),)).copy()
