# SPDX-License-Identifier: BSD-3-Clause
"""The tiles or strips of a TIFF page, read one by one."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np

from psmlearn.io._decoded import Decoded, white_of
from psmlearn.io._limits import RefusedError
from psmlearn.io._segment_heads import HEAD_BYTES, declared_segment_size
from psmlearn.io._slide_arrays import tile_dtype
from psmlearn.io._slide_sources import (
    MAX_TILE_BYTES,
    DamagedTileError,
    MissingTileError,
    grid_edges,
)
from psmlearn.io._tiff import _check_page
from psmlearn.io._tiff_colours import arrange_image

_JPEG = (6, 7, 34892, 33007)
_RAW = 1
# Strips without compression are read in parts of so many rows and columns.
_RAW_ROWS, _RAW_COLUMNS = 256, 1024
# What may follow the end, beside zeros; a JPEG that is cut ends anywhere.
_JPEG_END, _END_BYTES = b"\xff\xd9", 32
# Tiles that tell whether a file marks the ends of its JPEGs.
_N_LOOKED_AT = 16


class PageGrid:
    """The pixels of a page, or of one page a channel, as a grid of tiles.

    Parameters
    ----------
    pages : list of TiffPage
        One with all channels, or one for each.
    lock : threading.Lock
        Held while the file is read.

    Raises
    ------
    ValueError
        If the page is broken, or of a kind that is not read.
    ImportError
        If its codec is not installed.
    """

    def __init__(self, pages: list[Any], lock: threading.Lock) -> None:
        page = pages[0]
        self._pages, self._page, self._lock = pages, page, lock
        self.height, self.width = int(page.imagelength), int(page.imagewidth)
        if self.height < 1 or self.width < 1:
            raise RefusedError(f"declares {self.height} x {self.width} pixels")
        _check_page(page, as_labels=False)
        self._check_depth()
        self._planar = page.planarconfig == 2 and page.samplesperpixel > 1
        rows, columns = self._steps()
        self._raw = self._is_raw()
        self.row_edges = grid_edges(self.height, _RAW_ROWS if self._raw else rows)
        self.column_edges = grid_edges(
            self.width, _RAW_COLUMNS if self._raw else columns
        )
        self._step = rows, columns
        self._across = -(-self.width // columns)
        self._per_plane = -(-self.height // rows) * self._across
        self._check_segments(rows, columns)
        for each in pages:
            each.decode  # noqa: B018 - made here: threads must not make it at once
        shape, dtype = self._probe()
        self.n_channels = 1 if len(shape) == 2 else shape[2]
        self.dtype = tile_dtype(dtype)
        if self.n_channels not in (1, 3):
            raise RefusedError(
                f"has {self.n_channels} channels; a slide has 1 or 3: save the channel "
                "that you need, or RGB"
            )

    def _check_depth(self) -> None:
        if len(self._pages) not in (1, 3):
            raise RefusedError(
                f"has {len(self._pages)} channels; a slide has 1 or 3: save the "
                "channel that you need, or RGB"
            )
        shapes = {(p.imagelength, p.imagewidth, p.samplesperpixel) for p in self._pages}
        if len(shapes) > 1 or (len(self._pages) > 1 and self._page.samplesperpixel > 1):
            raise RefusedError("has channels of several kinds; save it as RGB")
        if getattr(self._page, "imagedepth", 1) > 1:
            raise RefusedError("holds a volume; save the plane that you need")

    def _steps(self) -> tuple[int, int]:
        """Return height and width of tiles or strips."""
        page = self._page
        if page.is_tiled:
            rows, columns = int(page.tilelength), int(page.tilewidth)
        else:
            rows, columns = min(int(page.rowsperstrip), self.height), self.width
        if rows < 1 or columns < 1:
            raise RefusedError(f"has tiles or strips of {rows} x {columns} pixels")
        return rows, columns

    def _is_raw(self) -> bool:
        """Tell strips whose rows can be read one by one."""
        page = self._page
        return (
            int(page.compression) == _RAW
            and not page.is_tiled
            and page.bitspersample in (8, 16, 32, 64)
            and int(page.predictor) == 1
            and int(page.fillorder) == 1
            and not page.is_subsampled
            and page.dtype is not None
        )

    def _check_segments(self, rows: int, columns: int) -> None:
        """Refuse headers whose tiles are not those of the size that they tell."""
        import tifffile

        page = self._page
        n_planes = page.samplesperpixel if self._planar else 1
        for each in self._pages:
            numbers = len(each.dataoffsets), len(each.databytecounts)
            expected = self._per_plane * n_planes
            if page.jpegheader is None and min(numbers) < expected:
                raise RefusedError(
                    f"tells {min(numbers)} tiles or strips, where its size of "
                    f"{self.height} x {self.width} asks for {expected}: it is broken"
                )
            if not any(each.databytecounts):
                raise RefusedError("holds no pixels: all of its tiles are missing")
        if self._raw:
            return
        samples = 1 if self._planar else page.samplesperpixel
        n_bytes = rows * columns * samples * (page.bitspersample / 8)
        if n_bytes > MAX_TILE_BYTES:
            raise RefusedError(
                f"is stored in tiles or strips of {rows} x {columns} pixels, which "
                f"take {n_bytes / 2**20:.0f} MB each, above {MAX_TILE_BYTES >> 20}; "
                "save it in tiles, as with vips tiffsave --tile --pyramid --bigtiff"
            )
        try:
            tifffile.TIFF.DECOMPRESSORS[page.compression]
        except KeyError:
            raise ImportError(
                f"{page.parent.filename!r} is compressed with {page.compression.name}, "
                "which needs imagecodecs: pip install psmlearn[wsi]"
            ) from None

    def _probe(self) -> tuple[tuple[int, ...], Any]:
        """Return shape and dtype of a pixel as it will be read."""
        page = self._page
        samples = page.samplesperpixel
        pixel = np.zeros((1, 1, samples) if samples > 1 else (1, 1), page.dtype)
        array = arrange_image(page, pixel).array
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[..., 0]
        if len(self._pages) > 1:
            array = np.stack([array] * len(self._pages), axis=-1)
        return array.shape, array.dtype

    def fetch(self, row: int, column: int) -> np.ndarray:
        """Return a tile (h, w, c), or raise `DamagedTileError`."""
        planes = []
        for page in self._pages:
            n_planes = page.samplesperpixel if self._planar else 1
            parts = [self._plane(page, n, row, column) for n in range(n_planes)]
            array = parts[0] if n_planes == 1 else np.concatenate(parts, axis=2)
            planes.append(self._arrange(page, array))
        return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)

    def _plane(self, page: Any, plane: int, row: int, column: int) -> np.ndarray:
        """Return the samples (h, w, s) of a tile as stored."""
        try:
            if self._raw:
                return self._read_rows(page, plane, row, column)
            return self._decode(page, plane, row, column)
        except (DamagedTileError, MemoryError, OSError):
            raise  # a disk or a share that fails is no damaged tile
        except Exception as error:  # decoders raise nearly anything
            text = " ".join(str(error).split())
            raise DamagedTileError(f"it is damaged ({text[:120]})") from error

    def _decode(self, page: Any, plane: int, row: int, column: int) -> np.ndarray:
        index = plane * self._per_plane + row * self._across + column
        if index >= len(page.dataoffsets):
            raise MissingTileError("it is not in the file")
        data = self._read(page, page.dataoffsets[index], page.databytecounts[index])
        options = {}
        if int(page.compression) in _JPEG:
            if not _has_jpeg_end(data) and self._ends_are_marked:
                raise DamagedTileError("its JPEG ends early")
            options = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        self._check_own_size(page, data)
        array = page.decode(data, index, **options)[0]
        if array is None:
            raise MissingTileError("it is not in the file")
        height = int(self.row_edges[row + 1] - self.row_edges[row])
        width = int(self.column_edges[column + 1] - self.column_edges[column])
        array = array[0, :height, :width]
        if array.shape[:2] != (height, width):
            raise DamagedTileError(
                f"it has {array.shape[0]} x {array.shape[1]} pixels, where the file "
                f"tells {height} x {width}"
            )
        return array

    @cached_property
    def _ends_are_marked(self) -> bool:
        """Tell whether whoever wrote the file ends its JPEGs, as most do."""
        page = self._page
        if page.jpegheader is not None:
            return False  # NDPI: one JPEG, cut at its restart markers
        places = zip(page.dataoffsets, page.databytecounts, strict=False)
        stored = [place for place in places if all(place)]
        marked = []
        for offset, count in stored[:: max(1, len(stored) // _N_LOOKED_AT)]:
            with suppress(DamagedTileError):
                marked.append(_has_jpeg_end(self._read(page, offset, count)))
        return len(marked) < 3 or 2 * sum(marked) >= len(marked)

    def _read_rows(self, page: Any, plane: int, row: int, column: int) -> np.ndarray:
        """Read the part of each row that is wanted, which lies as it is."""
        samples = 1 if self._planar else page.samplesperpixel
        dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
        pixel_bytes = samples * dtype.itemsize
        top, bottom = (int(edge) for edge in self.row_edges[row : row + 2])
        left, right = (int(edge) for edge in self.column_edges[column : column + 2])
        rows = self._step[0]
        lines = []
        for line in range(top, bottom):
            strip, inside = divmod(line, rows)
            strip += plane * self._per_plane
            start = (inside * self.width + left) * pixel_bytes
            n_bytes = (right - left) * pixel_bytes
            count = page.databytecounts[strip]
            if count and start + n_bytes > count:
                raise DamagedTileError("its strip is shorter than its rows")
            n_bytes = n_bytes if count else 0
            lines.append(self._read(page, page.dataoffsets[strip] + start, n_bytes))
        array = np.frombuffer(b"".join(lines), dtype)
        array = array.reshape(bottom - top, right - left, samples)
        return array.astype(dtype.newbyteorder("="))

    def _read(self, page: Any, offset: int, count: int) -> bytes:
        if not count or not offset:
            raise MissingTileError("it is not in the file")
        if count > 2 * MAX_TILE_BYTES:
            raise DamagedTileError(f"it tells {count} bytes")
        file = page.parent.filehandle
        with self._lock:
            if file.closed:
                file.open()
            file.seek(offset)
            data = file.read(count)
        if len(data) < count:
            raise DamagedTileError(
                f"the file ends at byte {file.size}, and it reaches {offset + count}"
            )
        return data

    def _check_own_size(self, page: Any, data: bytes) -> None:
        """Refuse a tile that would be decoded larger than the file tells, and cut."""
        if page.jpegheader is not None or int(page.compression) == _RAW:
            return
        size = declared_segment_size(data[:HEAD_BYTES])
        tall, wide = self._step
        if size is not None and (
            size[0] > -(-tall // 16) * 16 or size[1] > -(-wide // 16) * 16
        ):
            raise DamagedTileError(
                f"it declares {size[0]} x {size[1]} pixels, and the file {tall} x "
                f"{wide}"
            )

    def _arrange(self, page: Any, array: np.ndarray) -> np.ndarray:
        """Make colours of samples; what is transparent comes white."""
        if array.shape[2] == 1:
            array = array[..., 0]
        decoded: Decoded = arrange_image(page, array)
        out = decoded.array
        if decoded.shown is not None:
            out = np.array(out)
            out[~decoded.shown] = white_of(out.dtype)
        if out.dtype == bool:
            out = out.astype(np.uint8) * np.uint8(255)
        return np.ascontiguousarray(out if out.ndim == 3 else out[..., np.newaxis])


def _has_jpeg_end(data: bytes) -> bool:
    """Tell a JPEG that is all there: of others decoders paint the rest grey."""
    data = data.rstrip(b"\0")
    return data.rfind(_JPEG_END) >= max(0, len(data) - _END_BYTES)
