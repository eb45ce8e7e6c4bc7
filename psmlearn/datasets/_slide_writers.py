# SPDX-License-Identifier: BSD-3-Clause
"""Write slides row of tiles by row: Aperio's SVS, OME-TIFF and OME-Zarr."""

from __future__ import annotations

import json
import os
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

import numpy as np

from psmlearn.io import atomic_path
from psmlearn.io._leftovers import clear_leftovers_once, temporary_name
from psmlearn.io._paths import as_path, names_target

TILE = 256
_CHUNK = 512
FACTOR = 4
"""Pixels of a level along one of the next."""

_THUMBNAIL_SIDE = 1024
_BIG_PIXELS = 1_000_000_000
_SPACE = uuid.UUID("6a1b9c8e-6f0e-4a58-9a3f-0d6f3f1d7a52")

Paint = Callable[[tuple[int, int, int, int]], np.ndarray]


class Pyramid:
    """Levels of a picture that is painted once, from top to bottom.

    Reductions wait in temporary files until their turn, so that no more than a row of
    tiles is in memory.

    Parameters
    ----------
    paint : callable
        Gives a box (top, left, bottom, right) of the finest level.
    shape : tuple of int
    n_levels : int
    folder : str
        Where temporary files may be.
    """

    def __init__(
        self, paint: Paint, shape: tuple[int, int], n_levels: int, folder: str
    ) -> None:
        self._paint, self._folder = paint, folder
        self.shapes = [shape]
        while len(self.shapes) < n_levels:
            height, width = self.shapes[-1]
            if min(height, width) < FACTOR:
                break
            self.shapes.append((height // FACTOR, width // FACTOR))
        self._files: list[IO[bytes]] = []
        self._stack = ExitStack()
        step = max(1, -(-max(shape) // _THUMBNAIL_SIDE))
        self._step = step
        self.thumbnail = np.empty((-(-shape[0] // step), -(-shape[1] // step), 3), "u1")

    def __enter__(self) -> Pyramid:
        for _ in self.shapes[1:]:
            path = os.path.join(self._folder, temporary_name(".raw"))
            file = open(path, "w+b")
            self._stack.callback(os.unlink, path)
            self._stack.callback(file.close)
            self._files.append(file)
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def rows(self, level: int, step: int) -> Iterator[np.ndarray]:
        """Yield a level in rows of `step` pixels; the finest comes first, once."""
        height, width = self.shapes[level]
        for top in range(0, height, step):
            bottom = min(height, top + step)
            if level:
                file = self._files[level - 1]
                file.seek(top * width * 3)
                data = file.read((bottom - top) * width * 3)
                yield np.frombuffer(data, np.uint8).reshape(-1, width, 3)
                continue
            part = self._paint((top, 0, bottom, width))
            first = -(-top // self._step)
            seen = part[first * self._step - top :: self._step, :: self._step]
            self.thumbnail[first : first + len(seen)] = seen
            self._keep_reduced(part)
            yield part

    def _keep_reduced(self, part: np.ndarray) -> None:
        for file in self._files:
            part = _reduce(part)
            file.write(part.tobytes())


def _reduce(part: np.ndarray) -> np.ndarray:
    """Average blocks; what does not fill one is left out, as scanners do."""
    height, width = part.shape[0] // FACTOR, part.shape[1] // FACTOR
    cut = part[: height * FACTOR, : width * FACTOR]
    rows = cut[::FACTOR].astype(np.uint16)
    for offset in range(1, FACTOR):
        rows += cut[offset::FACTOR]
    rows = rows.reshape(height, width, FACTOR, 3)
    sums = rows[:, :, 0].copy()
    for offset in range(1, FACTOR):
        sums += rows[:, :, offset]
    return ((sums + FACTOR * FACTOR // 2) // (FACTOR * FACTOR)).astype(np.uint8)


def write_svs(
    path: str, paint: Paint, shape: tuple[int, int], n_levels: int, pixel_size: float
) -> None:
    """Write tiles of JPEG as Aperio does, with thumbnail, label and macro."""
    import tifffile

    _require_jpeg(path)
    height, width = shape
    folder = os.path.dirname(os.path.abspath(path))
    told = f"Aperio Image Library v12.0.15\r\n{width}x{height}"
    power = 10 / pixel_size
    description = (
        f"{told} [0,0 {width}x{height}] ({TILE}x{TILE}) JPEG/RGB Q=90|"
        f"AppMag = {power:g}|MPP = {pixel_size:.4f}"
    )
    tiles: dict[str, Any] = {
        "tile": (TILE, TILE),
        "photometric": "rgb",  # which becomes YCbCr
        "subsampling": (2, 2),
        "compression": "jpeg",
        "compressionargs": {"level": 90},
        "metadata": None,
        "dtype": np.uint8,
    }
    with (
        names_target(path),
        atomic_path(path) as temporary,
        Pyramid(paint, shape, n_levels, folder) as pyramid,
        tifffile.TiffWriter(temporary, bigtiff=height * width > _BIG_PIXELS) as writer,
    ):
        for level, size in enumerate(pyramid.shapes):
            text = f"{told} -> {size[1]}x{size[0]} JPEG/RGB Q=90"
            writer.write(
                _tiles(pyramid.rows(level, TILE)),
                shape=(*size, 3),
                description=text if level else description,
                **tiles,
            )
            if level == 0:
                _write_picture(writer, pyramid.thumbnail, f"{told} -> thumbnail")
        label, macro = _beside(pyramid.thumbnail)
        _write_picture(writer, label, "Aperio Image Library\r\nlabel 240x240", 1)
        _write_picture(writer, macro, "Aperio Image Library\r\nmacro", 9)


def _require_jpeg(path: str) -> None:
    try:
        import imagecodecs  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"Cannot write {path!r}: JPEG in TIFF needs imagecodecs; pip install "
            "psmlearn[data], or write .ome.tif or .ome.zarr."
        ) from error


def _write_picture(writer: Any, picture: np.ndarray, text: str, kind: int = 0) -> None:
    writer.write(
        picture,
        photometric="rgb",
        compression="zlib",
        description=text,
        subfiletype=kind,
        metadata=None,
    )


def _beside(thumbnail: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw a label and the glass with both on it."""
    label = np.full((240, 240, 3), 250, np.uint8)
    for row in range(40, 200, 32):
        label[row : row + 12, 30 : 210 - row // 2] = 30
    step = max(1, -(-max(thumbnail.shape[:2]) // 400))
    small = thumbnail[::step, ::step]
    macro = np.full((max(260, len(small) + 20), small.shape[1] + 280, 3), 225, np.uint8)
    macro[10:250, 10:250] = label
    macro[10 : 10 + len(small), 260 : 260 + small.shape[1]] = small
    return label, macro


def _tiles(rows: Iterator[np.ndarray], side: int = TILE) -> Iterator[np.ndarray]:
    """Cut rows into whole tiles, white beyond the picture."""
    for row in rows:
        height, width = row.shape[:2]
        for left in range(0, width, side):
            part = row[:, left : left + side]
            if part.shape[:2] != (side, side):
                tile = np.full((side, side, 3), 255, np.uint8)
                tile[:height, : part.shape[1]] = part
                part = tile
            yield np.ascontiguousarray(part)


def write_ome_tiff(
    path: str, paint: Paint, shape: tuple[int, int], n_levels: int, pixel_size: float
) -> None:
    """Write tiles without loss, reductions in SubIFDs, and OME's pixel size."""
    import tifffile

    height, width = shape
    folder = os.path.dirname(os.path.abspath(path))
    name = f"{shape} {n_levels} {pixel_size} {os.path.basename(path)}"
    metadata: dict[str, Any] = {
        "axes": "YXS",
        # What is written twice is the same twice.
        "UUID": str(uuid.uuid5(_SPACE, name)),
        "Creator": "psmlearn",
    }
    for axis in "XY":
        metadata[f"PhysicalSize{axis}"] = pixel_size
        metadata[f"PhysicalSize{axis}Unit"] = "\u00b5m"
    tiles: dict[str, Any] = {
        "tile": (TILE, TILE),
        "photometric": "rgb",
        "compression": "zlib",
        "compressionargs": {"level": 1},
        "dtype": np.uint8,
    }
    with (
        names_target(path),
        atomic_path(path) as temporary,
        Pyramid(paint, shape, n_levels, folder) as pyramid,
        tifffile.TiffWriter(
            temporary, bigtiff=3 * height * width > _BIG_PIXELS, ome=True
        ) as writer,
    ):
        for level, size in enumerate(pyramid.shapes):
            if level:
                options: dict[str, Any] = {"subfiletype": 1, "metadata": None}
            else:
                options = {"subifds": len(pyramid.shapes) - 1, "metadata": metadata}
            rows = _tiles(pyramid.rows(level, TILE))
            writer.write(rows, shape=(*size, 3), **options, **tiles)


def write_ome_zarr(
    path: str, paint: Paint, shape: tuple[int, int], n_levels: int, pixel_size: float
) -> None:
    """Write OME-Zarr 0.4 (zarr v2), chunks without loss."""
    with atomic_folder(path) as temporary:
        with Pyramid(paint, shape, n_levels, temporary) as pyramid:
            _write_json(temporary, ".zgroup", {"zarr_format": 2})
            _write_json(temporary, ".zattrs", _multiscales(pyramid.shapes, pixel_size))
            for level, size in enumerate(pyramid.shapes):
                _write_array(
                    os.path.join(temporary, str(level)),
                    size,
                    pyramid.rows(level, _CHUNK),
                )


def _multiscales(shapes: list[tuple[int, int]], pixel_size: float) -> dict[str, Any]:
    space = {"type": "space", "unit": "micrometer"}
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {
                    "type": "scale",
                    "scale": [
                        1.0,
                        pixel_size * shapes[0][0] / height,
                        pixel_size * shapes[0][1] / width,
                    ],
                }
            ],
        }
        for level, (height, width) in enumerate(shapes)
    ]
    axes = [{"name": "c", "type": "channel"}] + [
        {"name": name, **space} for name in "yx"
    ]
    return {
        "multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets}],
        "_creator": {"name": "psmlearn"},
    }


def _write_array(
    folder: str, shape: tuple[int, int], rows: Iterator[np.ndarray]
) -> None:
    """Write an array (3, height, width) of zarr v2, one file a chunk."""
    os.makedirs(os.path.join(folder, "0"))
    told = {
        "zarr_format": 2,
        "shape": [3, *shape],
        "chunks": [3, _CHUNK, _CHUNK],
        "dtype": "|u1",
        "compressor": {"id": "zlib", "level": 1},
        "fill_value": 0,
        "order": "C",
        "filters": None,
        "dimension_separator": "/",
    }
    _write_json(folder, ".zarray", told)
    across = -(-shape[1] // _CHUNK)
    for number, tile in enumerate(_tiles(rows, _CHUNK)):
        row, column = divmod(number, across)
        inside = os.path.join(folder, "0", str(row))
        if column == 0:
            os.mkdir(inside)
        data = np.ascontiguousarray(np.moveaxis(tile, -1, 0)).tobytes()
        with open(os.path.join(inside, str(column)), "wb") as file:
            file.write(zlib.compress(data, 1))


def _write_json(folder: str, name: str, told: dict[str, Any]) -> None:
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(told, file, indent=1)


@contextmanager
def atomic_folder(path: str) -> Iterator[str]:
    """Give a temporary folder that takes the place of `path` at success.

    A folder that is there is replaced only if zarr wrote it.
    """
    target = as_path(path)
    folder = os.path.dirname(os.path.abspath(target))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"Cannot write {target!r}: no folder {folder!r}.")
    marks = [os.path.join(target, mark) for mark in (".zgroup", "zarr.json")]
    if os.path.lexists(target) and not any(map(os.path.isfile, marks)):
        raise FileExistsError(
            f"Cannot write {target!r}: it is there, and is no zarr; choose another "
            "name."
        )
    clear_leftovers_once(folder)
    temporary = os.path.join(folder, temporary_name(".zarr"))
    with names_target(target, temporary):
        os.mkdir(temporary)
        try:
            yield temporary
            old = os.path.join(folder, temporary_name(".zarr"))
            with suppress(FileNotFoundError):
                os.rename(target, old)
            os.rename(temporary, target)
            shutil.rmtree(old, ignore_errors=True)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
