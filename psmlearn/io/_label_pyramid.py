# SPDX-License-Identifier: BSD-3-Clause
"""Label images of any size as tiled pyramids, which are never held whole."""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from psmlearn._images._checks import describe
from psmlearn._parameters import check_pixel_size, is_number, shown
from psmlearn.io._objects import ClassColors, ClassNames
from psmlearn.io._paths import as_path, atomic_folder, atomic_path
from psmlearn.io._write import check_suffix, names_its_file

__all__ = ["write_label_pyramid"]

# TIFFs of fewer bytes, before they are compressed, have offsets of 32 bits.
_MAX_PLAIN = 2**32 - 2**26
_MAX_SIDE = 2**31 - 1
# Ids of the same label images are the same, so that a file can be made again.
_SPACE = uuid.UUID("7a1e5d0c-94b5-4d6f-8f6e-0d5f7d7a2c11")


@names_its_file
def write_label_pyramid(
    path: str | os.PathLike[str],
    read: Callable[[int, int, int, int], np.ndarray],
    shape: tuple[int, int],
    *,
    pixel_size: float | None = None,
    tile: int = 512,
    classes: Mapping[int, str] | Sequence[str] | None = None,
) -> None:
    """Write a label image of any size as a tiled pyramid, atomically.

    The image is asked for tile by tile, each once, from left to right and from above.
    Of lower levels, half as wide and high each until one tile holds all, each pixel is
    the upper left one of the four above it, so that every value is one of an object.
    Memory holds a row of tiles of the second level; lower levels wait in files without
    a name, beside `path`, which take up to 1.4 bytes for each pixel.

    A TIFF is an OME-TIFF as Bio-Formats, QuPath, tifffile and OMERO have it: levels are
    SubIFDs, tiles are compressed by deflate, and from 4 GB on, uncompressed, it is a
    BigTIFF. A folder ``.zarr`` is OME-Zarr 0.4 (Zarr version 2) with the metadata of
    label images; blank tiles take no room. It needs zarr: ``pip install
    psmlearn[wsi]``.

    Parameters
    ----------
    path : str or os.PathLike
        Ends in .tif or .tiff (such as .ome.tif), or in .zarr (such as .ome.zarr).
    read : callable
        ``read(top, left, bottom, right)`` returns whole numbers of shape (bottom - top,
        right - left), at least 0: ids, which may exceed 65,535, or classes. The file
        holds uint32.
    shape : (int, int)
        Height and width.
    pixel_size : float, default=None
        Micrometres per pixel, from 0.01 to 20, told in metadata.
    tile : int, default=512
        Side of a tile in pixels, a multiple of 16 from 64 to 4096.
    classes : mapping of int to str or sequence of str, default=None
        Names of the values where these are classes and no ids; a sequence is numbered
        from 1. A Zarr tells them, and their colours, as properties of the labels, a
        TIFF in its description.

    Raises
    ------
    ImportError
        If a Zarr is asked for, and zarr is not installed.
    TypeError, ValueError
        If a parameter is not what is expected, or what `read` returns.
    FileExistsError
        If a folder that is no Zarr lies where one is to be.
    OSError
        If there is no such folder, or it cannot be written to; `path` is named.

    See Also
    --------
    write_labels : Of a label image that is at hand.

    Notes
    -----
    ``read_labels`` reads the whole image of a TIFF, ``tifffile.imread(path, level=2)``
    that of a lower level, ``zarr.open(path)["0"]`` opens that of a Zarr.

    References
    ----------
    J. Moore et al., "OME-NGFF: a next-generation file format for expanding bioimaging
    data-access strategies", Nature Methods 18, 2021.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from psmlearn.io import read_labels, write_label_pyramid
    >>> labels = np.repeat(np.arange(70_000, 70_200), 200).reshape(200, 200)
    >>> def read(top, left, bottom, right):
    ...     return labels[top:bottom, left:right]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "nuclei.ome.tif")
    ...     write_label_pyramid(path, read, labels.shape, tile=64, pixel_size=0.25)
    ...     (read_labels(path) == labels).all()
    np.True_
    """
    suffix = check_suffix(path, (".tif", ".tiff", ".zarr"))
    if pixel_size is not None:
        pixel_size = check_pixel_size(pixel_size)
    if not is_number(tile, whole=True) or not 64 <= tile <= 4096 or tile % 16:
        raise ValueError(
            f"tile is {shown(tile)}; expected a multiple of 16 from 64 to 4096."
        )
    names = {} if classes is None else ClassNames(classes).known
    target = os.path.abspath(as_path(path))
    with _Levels(read, _check_shape(shape), int(tile), target) as levels:
        if suffix == ".zarr":
            _write_zarr(path, levels, pixel_size, names)
        else:
            _write_tiff(path, levels, pixel_size, names)


def _check_shape(shape: Any) -> tuple[int, int]:
    try:
        sides = list(shape)
    except TypeError:
        sides = []
    if len(sides) != 2 or not all(
        is_number(side, whole=True) and 1 <= side <= _MAX_SIDE for side in sides
    ):
        raise ValueError(
            f"shape is {shown(shape)}; expected height and width, whole numbers of at "
            "least 1."
        )
    return int(sides[0]), int(sides[1])


class _Levels:
    """The levels of a pyramid, tile by tile; the first gives rise to the others.

    Parameters
    ----------
    read : callable
    shape : (int, int)
    tile : int
    target : str
        Levels wait in files in the folder of this one.
    """

    def __init__(
        self,
        read: Callable[[int, int, int, int], np.ndarray],
        shape: tuple[int, int],
        tile: int,
        target: str,
    ) -> None:
        self._read, self.tile, self._target = read, tile, target
        self.shapes = [shape]
        while max(self.shapes[-1]) > tile:
            height, width = self.shapes[-1]
            self.shapes.append((-(-height // 2), -(-width // 2)))
        self._files: list[Any] = []
        self._digest = hashlib.sha256(repr(shape).encode())

    def __enter__(self) -> _Levels:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    @property
    def digest(self) -> str:
        """What tells the pixels, once all were read."""
        return self._digest.hexdigest()

    def tiles(self, level: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield row and column of the first pixel, and the pixels, uint32, in order.

        The first level is to be gone through before all others.
        """
        return self._first() if level == 0 else self._further(level)

    def _first(self) -> Iterator[tuple[int, int, np.ndarray]]:
        height, width = self.shapes[0]
        folder = os.path.dirname(self._target)
        # They have no name (on Windows until they are closed), so that none is left.
        self._files = [tempfile.TemporaryFile(dir=folder) for _ in self.shapes[1:]]
        for top in range(0, height, self.tile):
            bottom = min(top + self.tile, height)
            halves = []
            for left in range(0, width, self.tile):
                box = top, left, bottom, min(left + self.tile, width)
                pixels = self._checked(box)
                self._digest.update(pixels.data)
                halves.append(pixels[::2, ::2])
                # Before the last tile is given: who takes it need not ask for more.
                if self._files and box[3] == width:
                    self._keep(top, np.concatenate(halves, axis=1))
                yield top, left, pixels

    def _keep(self, top: int, rows: np.ndarray) -> None:
        """Append rows of the second level, and what is left of them in further ones."""
        first = top // 2  # tiles begin at even rows
        for number, file in enumerate(self._files):
            if number:
                rows = rows[first % 2 :: 2, ::2]
                first = -(-first // 2)
            file.write(np.ascontiguousarray(rows).data)

    def _further(self, level: int) -> Iterator[tuple[int, int, np.ndarray]]:
        height, width = self.shapes[level]
        file = self._files[level - 1]
        file.seek(0)
        for top in range(0, height, self.tile):
            n_rows = min(self.tile, height - top)
            rows = np.frombuffer(file.read(4 * n_rows * width), np.uint32)
            rows = rows.reshape(n_rows, width)
            for left in range(0, width, self.tile):
                yield top, left, np.ascontiguousarray(rows[:, left : left + self.tile])

    def _checked(self, box: tuple[int, int, int, int]) -> np.ndarray:
        """Read a box, and refuse what is no piece of a label image of its size."""
        top, left, bottom, right = box
        found = np.asarray(self._read(*box))
        problem = f"read{box} returned {describe(found)}"
        if found.shape != (bottom - top, right - left) or found.dtype.kind not in "biu":
            raise ValueError(
                f"{problem}; expected whole numbers of shape "
                f"{(bottom - top, right - left)}."
            )
        low, high = int(found.min()), int(found.max())
        if low < 0 or high > np.iinfo(np.uint32).max:
            raise ValueError(
                f"{problem}, with values from {low} to {high}; expected ids from 0 to "
                f"{np.iinfo(np.uint32).max}: set what is unknown to 0."
            )
        return np.ascontiguousarray(found, dtype=np.uint32)


def _write_tiff(
    path: str | os.PathLike,
    levels: _Levels,
    pixel_size: float | None,
    names: Mapping[int, str],
) -> None:
    """Write an OME-TIFF whose lower levels are SubIFDs."""
    import tifffile

    n_pixels = sum(height * width for height, width in levels.shapes)
    options: dict[str, Any] = {
        "dtype": np.uint32,
        "photometric": "minisblack",
        "compression": "zlib",
        # Half as large again as by 6, in a third of the time.
        "compressionargs": {"level": 3},
        "tile": (levels.tile, levels.tile),
        "maxworkers": 1,
    }
    holder = str(uuid.uuid5(_SPACE, "to be replaced"))
    with atomic_path(path) as part:
        with tifffile.TiffWriter(
            part, bigtiff=4 * n_pixels > _MAX_PLAIN, ome=True
        ) as file:
            for level, shape in enumerate(levels.shapes):
                own = _first_page(len(levels.shapes) - 1, pixel_size, names, holder)
                file.write(
                    (pixels for _, _, pixels in levels.tiles(level)),
                    shape=shape,
                    **options,
                    **(own if level == 0 else {"subfiletype": 1, "metadata": None}),
                    **_resolution(levels, level, pixel_size),
                )
        _set_uuid(part, holder, str(uuid.uuid5(_SPACE, levels.digest)))


def _first_page(
    n_lower: int, pixel_size: float | None, names: Mapping[int, str], holder: str
) -> dict[str, Any]:
    """Return what the first page alone tells."""
    metadata: dict[str, Any] = {"axes": "YX", "UUID": holder, "Creator": "psmlearn"}
    if pixel_size is not None:
        metadata |= {f"PhysicalSize{axis}": pixel_size for axis in "XY"}
        metadata |= {f"PhysicalSize{axis}Unit": "\u00b5m" for axis in "XY"}
    if names:
        told = ", ".join(f"{number} = {name}" for number, name in names.items())
        metadata["Description"] = f"Classes: {told}"
    return {"subifds": n_lower, "metadata": metadata}


def _resolution(
    levels: _Levels, level: int, pixel_size: float | None
) -> dict[str, Any]:
    """Return the resolution tags of a level."""
    if pixel_size is None:
        return {}
    per_cm = 1e4 / pixel_size / 2**level
    return {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}


def _set_uuid(path: str, holder: str, told: str) -> None:
    """Put the id that the pixels give in the place of one that was there before."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        tag = file.pages.first.tags["ImageDescription"]
        offset, count = tag.valueoffset, tag.count
    with open(path, "r+b") as raw:
        raw.seek(offset)
        text = raw.read(count).replace(holder.encode(), told.encode())
        raw.seek(offset)
        raw.write(text)


def _write_zarr(
    path: str | os.PathLike,
    levels: _Levels,
    pixel_size: float | None,
    names: Mapping[int, str],
) -> None:
    """Write OME-Zarr 0.4: a group of arrays, one a level."""
    try:
        import zarr
    except ImportError as error:
        raise ImportError(
            f"Cannot write {as_path(path)!r}: it is written with zarr, which is not "
            "installed: pip install psmlearn[wsi]; or write a TIFF"
        ) from error
    # Shuffled bytes are more: ids differ in all of theirs.
    compressor: dict[str, Any] = {
        "id": "blosc",
        "cname": "zstd",
        "clevel": 3,
        "shuffle": 0,
    }
    with atomic_folder(path, (".zgroup", "zarr.json")) as part:
        group = zarr.open_group(part, mode="a", zarr_format=2)
        for level, shape in enumerate(levels.shapes):
            array = group.create_array(
                str(level),
                shape=shape,
                chunks=(min(levels.tile, shape[0]), min(levels.tile, shape[1])),
                dtype="uint32",
                fill_value=0,
                compressors=compressor,
                chunk_key_encoding={"name": "v2", "separator": "/"},
            )
            for top, left, pixels in levels.tiles(level):
                height, width = pixels.shape
                array[top : top + height, left : left + width] = pixels
        group.attrs.update(_zarr_metadata(levels, pixel_size, names, as_path(path)))


def _zarr_metadata(
    levels: _Levels, pixel_size: float | None, names: Mapping[int, str], path: str
) -> dict[str, Any]:
    """Return metadata of OME-Zarr 0.4: of a pyramid, and of a label image."""
    unit = {} if pixel_size is None else {"unit": "micrometer"}
    step = 1.0 if pixel_size is None else pixel_size
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [step * 2**level, step * 2**level]}
            ],
        }
        for level in range(len(levels.shapes))
    ]
    multiscale = {
        "version": "0.4",
        "name": os.path.basename(path),
        "axes": [{"name": axis, "type": "space", **unit} for axis in "yx"],
        "datasets": datasets,
        "type": "nearest",
    }
    label: dict[str, Any] = {"version": "0.4"}
    if names:
        colors = ClassColors(None)
        label["colors"] = [
            {"label-value": number, "rgba": [*colors.of(name), 255]}
            for number, name in names.items()
        ]
        label["properties"] = [
            {"label-value": number, "class": name} for number, name in names.items()
        ]
    return {"multiscales": [multiscale], "image-label": label}
