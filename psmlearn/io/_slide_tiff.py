# SPDX-License-Identifier: BSD-3-Clause
"""Slides in TIFF: what tiffslide tells of the file, and tiles read one by one.

tiffslide (where it is installed) knows vendors' headers; tiles are read from the
pages that it has opened, since one that is damaged must not spoil a region.
"""

from __future__ import annotations

import os
import threading
import warnings
from contextlib import suppress
from typing import Any

from psmlearn._parameters import LARGEST_PIXEL, SMALLEST_PIXEL
from psmlearn.io._limits import RefusedError
from psmlearn.io._logs import silenced
from psmlearn.io._pixel_size import read_pixel_size
from psmlearn.io._slide_pages import PageGrid
from psmlearn.io._slide_sources import Level, Piece, SlideSource, fitting_levels

_INSTALL = "pip install psmlearn[wsi]"
# What scanners call the pictures beside the slide.
_BESIDE = ("label", "macro", "thumbnail", "map", "overview")


class TiffSource(SlideSource):
    """SVS, NDPI, SCN, OME-TIFF, pyramidal TIFF, and any huge TIFF.

    Parameters
    ----------
    path : str

    Raises
    ------
    ValueError
        If it is no such file, or is broken; the path is named.
    ImportError
        If its tiles need a package that is not installed.
    """

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        with silenced("tifffile"):
            try:
                self._tiff, self._told = _open(path)
            except (MemoryError, ImportError):
                raise
            except Exception as error:  # tifffile raises nearly anything
                raise ValueError(
                    f"{path!r} is a broken or truncated TIFF: {error}. Copy it again "
                    "from the scanner or the archive."
                ) from error
            try:
                self._lay_out(path)
            except BaseException:
                self._tiff.close()
                raise
        self.path = path

    def _lay_out(self, path: str) -> None:
        """Find levels, colours and pixel size."""
        try:
            index, series = self._main_series()
            shapes, levels, dropped = self._levels(index, series)
        except RefusedError as error:
            raise ValueError(f"{path!r} {error}.") from error
        except (MemoryError, ImportError):
            raise
        except Exception as error:
            raise ValueError(
                f"{path!r} is a broken TIFF: {error}. Copy it again from the scanner "
                "or the archive."
            ) from error
        first = levels[0][0][2]
        super().__init__(os.path.basename(path), first.n_channels, first.dtype)
        for text in dropped:
            self.notes.add(text, text)
        for shape, placed in zip(shapes, levels, strict=True):
            pieces = [
                Piece(top, left, grid.row_edges, grid.column_edges, grid.fetch)
                for top, left, grid in placed
            ]
            self.levels.append(Level(shape[0], shape[1], tuple(pieces)))
        self.pixel_size = self._pixel_size(path)

    def _main_series(self) -> tuple[int, list]:
        """Return the series that is the slide, and all of them."""
        series = self._tiff.series
        if not series:
            raise RefusedError("holds no picture")
        if self._tiff.is_scn and "tiffslide.series-index" not in self._told:
            raise ImportError(
                f"{self._tiff.filename!r} is a Leica slide, which tiffslide reads: "
                f"{_INSTALL}"
            )
        return int(self._told.get("tiffslide.series-index", 0)), list(series)

    def _levels(self, index: int, series: list) -> tuple[list, list, list[str]]:
        """Return shapes of levels, their grids with places, and what was left out."""
        composition = self._told.get("tiffslide.series-composition")
        if composition is not None:
            return self._composed(composition, series)
        main = series[index]
        candidates: list[tuple[Any, str | None]] = [(one, None) for one in main.levels]
        names = []
        for place, other in enumerate(s for i, s in enumerate(series) if i != index):
            name = _short_name((other.name or "").lower(), place)
            if name in _BESIDE or not _may_be_level(main, other):
                names.append(name)
            else:
                candidates.append((other, name))
        first = self._grid(main.levels[0])
        grids, dropped = [first], []
        owners: list[str | None] = [None]
        for level, owner in candidates[1:]:
            try:
                grid = self._grid(level)
            except (ValueError, IndexError, AttributeError) as error:
                dropped.append(f"a level of {level.shape} is left out: {error}")
                continue
            if grid.n_channels == first.n_channels and grid.dtype == first.dtype:
                grids.append(grid)
                owners.append(owner)
        shapes = [(grid.height, grid.width) for grid in grids]
        kept = fitting_levels(shapes)
        others = [owner for i, owner in enumerate(owners) if i not in kept]
        names += [owner for owner in others if owner]
        self.associated = tuple(dict.fromkeys(names))
        return [shapes[i] for i in kept], [[(0, 0, grids[i])] for i in kept], dropped

    def _composed(self, composition: Any, series: list) -> tuple[list, list, list]:
        """Return the levels of a slide of several scanned areas."""
        shapes, levels = [], []
        for level, shape in enumerate(composition["level_shapes"]):
            placed = []
            for index, offsets in composition["located_series"].items():
                top, left = (int(offset) for offset in offsets[level][:2])
                placed.append((top, left, self._grid(series[index].levels[level])))
            shapes.append((int(shape[0]), int(shape[1])))
            levels.append(placed)
        taken = set(composition["located_series"])
        beside = [s for i, s in enumerate(series) if i not in taken]
        names = [_short_name((s.name or "").lower(), i) for i, s in enumerate(beside)]
        self.associated = tuple(names)
        kept = fitting_levels(shapes)
        return [shapes[i] for i in kept], [levels[i] for i in kept], []

    def _grid(self, level: Any) -> PageGrid:
        """Return the tiles of one level, whose channels may be pages of their own."""
        axes, shape = level.axes, level.shape
        sides = zip(axes, shape, strict=True)
        extra = [axis for axis, n in sides if axis not in "YXSC" and n > 1]
        if extra or "Y" not in axes or "X" not in axes:
            raise RefusedError(
                f"holds a stack of axes {axes} and shape {tuple(shape)}; a slide is "
                "one plane: save the one you need, as with tifffile.imread(path, key=0)"
            )
        pages = list(level.pages)
        if any(page is None for page in pages):
            raise RefusedError("lacks pages that its header tells of")
        return PageGrid([page.aspage() for page in pages], self._lock)

    def _pixel_size(self, path: str) -> float | None:
        """Return what the file tells; vendors of several pictures by tiffslide."""
        told = [self._told.get(f"tiffslide.mpp-{axis}") for axis in "xy"]
        by_vendor = None
        with suppress(TypeError, ValueError):
            sizes = [float(value) for value in told]  # type: ignore[arg-type]
            if all(SMALLEST_PIXEL <= size <= LARGEST_PIXEL for size in sizes):
                by_vendor = sum(sizes) / 2
        if self._tiff.is_scn or self._tiff.is_philips:
            return by_vendor
        try:
            own = read_pixel_size(path)
        except ValueError:
            own = None
        return by_vendor if own is None else own

    def fingerprint(self) -> dict[str, Any]:
        told = os.stat(str(self.path))
        return {"size": told.st_size, "mtime_ns": told.st_mtime_ns}

    def close(self) -> None:
        super().close()
        self._tiff.close()


def _open(path: str) -> tuple[Any, dict[str, Any]]:
    """Open a TIFF, and return with it what tiffslide tells of it."""
    try:
        from tiffslide import TiffSlide
    except ImportError:
        from tifffile import TiffFile

        return TiffFile(path), {}
    with warnings.catch_warnings():
        # It warns of vendors whose headers it reads in part.
        warnings.simplefilter("ignore")
        slide = TiffSlide(path)
        try:
            told = dict(slide.properties)
        except MemoryError:
            raise
        except Exception:  # of headers that it does not know
            told = {}
    return slide.ts_tifffile, told


def _may_be_level(main: Any, other: Any) -> bool:
    """Tell a series that is stored as a reduction of the main one would be."""
    one, two = main.keyframe, other.keyframe
    stored_alike = one.is_tiled == two.is_tiled or two.is_reduced
    return stored_alike and one.samplesperpixel == two.samplesperpixel


def _short_name(name: str, place: int) -> str:
    """Return what a picture beside the slide is called."""
    for word in _BESIDE:
        if word in name:
            return word
    return name or f"picture {place + 1}"
