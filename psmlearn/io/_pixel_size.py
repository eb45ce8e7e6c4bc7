# SPDX-License-Identifier: BSD-3-Clause
"""The size of a pixel in micrometres, as files and users tell it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from psmlearn._parameters import (
    LARGEST_PIXEL,
    SMALLEST_PIXEL,
    check_pixel_size,
    shown,
)
from psmlearn._typing import Path, PixelSize
from psmlearn._warnings import warn_user
from psmlearn.exceptions import PixelSizeWarning
from psmlearn.io._logs import silenced
from psmlearn.io._paths import as_path, is_path
from psmlearn.io._png_chunks import read_pixels_per_metre
from psmlearn.io._read import sniff_format

if TYPE_CHECKING:
    from psmlearn.io._batch import FileCache, ImageBatch

# A file's pixel size that differs by more than this part is told.
_TOLERANCE = 0.1
_N_TOLD = 5
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
    """Read the pixel size a TIFF or PNG tells, in micrometres.

    Of a TIFF are looked at, in this order: OME (PhysicalSizeX), Aperio (MPP), ImageJ
    (unit), and the resolution tags; of a PNG its pHYs. What is not within 0.01
    and 20 micrometres is passed over: a resolution meant for printing, or a mistaken
    unit.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    float or None
        Micrometres per pixel; None where the file does not tell, tells less than
        0.01 or more than 20, is neither TIFF nor PNG, or where pixels are not square
        (by more than 1 %).

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
    kind = sniff_format(path)
    if kind == "PNG":
        with open(path, "rb") as file:
            pixels = read_pixels_per_metre(file)
        return None if pixels is None else _square((1e6 / pixels[0], 1e6 / pixels[1]))
    if kind != "TIFF":
        return None
    try:
        with silenced("tifffile"), tifffile.TiffFile(path) as tiff:
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
    # Beyond, a resolution tag speaks of printing (72 dpi is 353 um).
    if not all(SMALLEST_PIXEL <= size <= LARGEST_PIXEL for size in sizes):
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
    return _square((unit / along_columns, unit / along_rows))


def _number(text: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")


@dataclass
class _Told:
    """What the files of a batch tell, read once, and whether it was warned of."""

    sizes: dict[str, float | None] = field(default_factory=dict)
    warned_of: set[tuple[Path, float, float]] = field(default_factory=set)


# Batches of the same files share their cache, so what was read goes with it.
_TOLD: WeakKeyDictionary[FileCache, _Told] = WeakKeyDictionary()


def resolve_pixel_size(
    pixel_size: PixelSize, images: ImageBatch, *, largest: float = LARGEST_PIXEL
) -> np.ndarray:
    """Return the pixel size of each image in micrometres.

    Where numbers are given and files tell others, by more than a tenth, a
    `PixelSizeWarning` says so.

    Parameters
    ----------
    pixel_size : float, sequence of floats or "file"
        Micrometres per pixel, from 0.01 on: one number, one per image, or "file" to
        read it from each file.
    images : ImageBatch
    largest : float, default=20.0
        Largest pixel that is no mistake. Images of other kinds than micrographs,
        such as MRI, have larger ones.

    Returns
    -------
    ndarray of shape (n_images,), dtype float64

    Raises
    ------
    TypeError
        If `pixel_size` is none of these.
    ValueError
        If a size is not within the limits, their number differs from that of the
        images, or a file does not tell its own.

    Warns
    -----
    PixelSizeWarning
        If files tell another size than is given; once for the same images.

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
        told = _TOLD.setdefault(images._cache, _Told())
        read = [
            None if path is None else _read_once(path, told) for path in images.paths
        ]
        silent = [n for n, s in zip(images.names, read, strict=True) if s is None]
        if silent:
            raise ValueError(
                f"pixel_size='file', but {len(silent)} image(s) do not tell theirs, or "
                f"none within {SMALLEST_PIXEL:g} and {LARGEST_PIXEL:g} micrometres: "
                f"{', '.join(silent[:_N_TOLD])}; give pixel_size in micrometres."
            )
        return np.asarray(read, dtype=np.float64)
    sizes = _given_sizes(pixel_size, len(images), largest)
    if any(images.paths):
        told = _TOLD.setdefault(images._cache, _Told())
        warn_of_pixel_sizes(images.paths, sizes, told=told)
    return sizes


def _given_sizes(pixel_size: PixelSize, n_images: int, largest: float) -> np.ndarray:
    """Check numbers of micrometres, one or one per image; return one per image."""
    try:
        n_dims = np.ndim(pixel_size)
    except ValueError:  # lists of several lengths
        n_dims = 2
    if n_dims == 0 or isinstance(pixel_size, dict | set):
        expected = "a number in micrometres, one per image, or 'file'"
        try:
            return np.full(n_images, check_pixel_size(pixel_size, largest=largest))
        except TypeError:
            raise TypeError(
                f"pixel_size is {shown(pixel_size)}, a {type(pixel_size).__name__}; "
                f"expected {expected}."
            ) from None
    given = list(pixel_size)  # type: ignore[arg-type]
    if n_dims > 1 or len(given) != n_images:
        raise ValueError(
            f"pixel_size is {shown(pixel_size)}, {len(given)} entries for {n_images} "
            "images; expected one number, or one per image."
        )
    return np.array(
        [
            check_pixel_size(size, f"pixel_size[{index}]", largest=largest)
            for index, size in enumerate(given)
        ],
        dtype=np.float64,
    )


def warn_of_pixel_sizes(
    paths: Sequence[Path | None],
    sizes: Iterable[float],
    *,
    told: _Told | None = None,
) -> None:
    """Warn once of files that tell another pixel size than is used.

    Only headers are read. Files that tell none, or cannot be read, say nothing.

    Parameters
    ----------
    paths : sequence of str or None
        The file of each image; None for arrays.
    sizes : iterable of float
        The micrometres per pixel that are used for each.
    told : _Told, default=None
        What is known of these files; None reads them.
    """
    told = _Told() if told is None else told
    differ: list[tuple[Path, float, float]] = []
    for path, used in zip(paths, sizes, strict=True):
        if path is None:
            continue
        try:
            own = _read_once(as_path(path), told)
        except (OSError, ValueError):  # who decodes it tells what is wrong
            continue
        if own is not None and abs(own - used) > _TOLERANCE * max(own, used):
            differ.append((path, own, float(used)))
    # Parts of a batch that was told of are not told of again.
    differ = [each for each in differ if each not in told.warned_of]
    if not differ:
        return
    told.warned_of.update(differ)
    named = [f"{path} ({own:g}, not {used:g})" for path, own, used in differ[:_N_TOLD]]
    more = len(differ) - _N_TOLD
    rest = f" and {more} more" if more > 0 else ""
    warn_user(
        f"pixel_size goes against {len(differ)} file(s), which tell other micrometres "
        f'per pixel: {", ".join(named)}{rest}. pixel_size="file" takes what the files '
        "tell.",
        PixelSizeWarning,
    )


def _read_once(path: str, told: _Told) -> float | None:
    """Read what a file tells, unless it was read before."""
    if path not in told.sizes:
        told.sizes[path] = read_pixel_size(path)
    return told.sizes[path]
