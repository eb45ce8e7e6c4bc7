# SPDX-License-Identifier: BSD-3-Clause
"""Slides that OpenSlide reads and tiffslide does not: MRXS, VMS, DICOM and others."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Any

import numpy as np

from psmlearn._parameters import LARGEST_PIXEL, SMALLEST_PIXEL
from psmlearn.io._slide_sources import (
    DamagedTileError,
    Level,
    Piece,
    SlideSource,
    fitting_levels,
    grid_edges,
)

_STEP = 512


class OpenSlideSource(SlideSource):
    """A slide opened by openslide-python.

    Parameters
    ----------
    path : str

    Raises
    ------
    ValueError
        If OpenSlide does not know the file, or it is broken; the path is named.
    ImportError
        If it is not installed.
    """

    def __init__(self, path: str) -> None:
        try:
            import openslide
        except (ImportError, OSError) as error:  # or its library is missing
            raise ImportError(
                f"{path!r} is read with OpenSlide: pip install psmlearn[openslide]"
            ) from error
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise ValueError(
                f"{path!r} is no slide that OpenSlide knows: {error}"
            ) from error
        except openslide.OpenSlideError as error:
            raise ValueError(f"{path!r} is a broken slide: {error}.") from error
        super().__init__(os.path.basename(path), 3, np.uint8)
        self.path, self._lock = path, threading.Lock()
        self._error = openslide.OpenSlideError
        self.associated = tuple(sorted(self._slide.associated_images))
        shapes = [(h, w) for w, h in self._slide.level_dimensions]
        for index in fitting_levels(shapes):
            height, width = shapes[index]
            edges = grid_edges(height, _STEP), grid_edges(width, _STEP)
            piece = Piece(0, 0, *edges, self._reader(index))
            self.levels.append(Level(height, width, (piece,)))
        with suppress(KeyError, ValueError):
            told = self._slide.properties
            sizes = [float(told[f"openslide.mpp-{axis}"]) for axis in "xy"]
            if all(SMALLEST_PIXEL <= size <= LARGEST_PIXEL for size in sizes):
                self.pixel_size = sum(sizes) / 2

    def _reader(self, index: int) -> Any:
        width, height = self._slide.level_dimensions[index]
        full = self._slide.dimensions

        def fetch(row: int, column: int) -> np.ndarray:
            top, left = row * _STEP, column * _STEP
            size = min(_STEP, width - left), min(_STEP, height - top)
            # OpenSlide takes places of the finest level: they are rounded up, as it
            # rounds down.
            place = -(-left * full[0] // width), -(-top * full[1] // height)
            return self._region(place, index, size)

        return fetch

    def _region(
        self, place: tuple[int, int], index: int, size: tuple[int, int]
    ) -> np.ndarray:
        """Return a region on white; one that fails does not spoil the next."""
        try:
            region = np.asarray(self._slide.read_region(place, index, size))
        except self._error as error:
            with self._lock, suppress(self._error):
                import openslide

                # A handle that has failed fails for ever.
                self._slide = openslide.OpenSlide(str(self.path))
            raise DamagedTileError(f"it is damaged ({error})") from error
        alpha = region[..., 3:].astype(np.uint16)
        colours = region[..., :3] * alpha + 255 * (255 - alpha)
        return ((colours + 127) // 255).astype(np.uint8)

    def fingerprint(self) -> dict[str, Any]:
        told = os.stat(str(self.path))
        return {"size": told.st_size, "mtime_ns": told.st_mtime_ns}

    def close(self) -> None:
        super().close()
        self._slide.close()
