# SPDX-License-Identifier: BSD-3-Clause
"""Whole slides: levels by pixel size, and boxes of any of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from psmlearn._parameters import check_number, check_pixel_size, is_number, shown
from psmlearn._warnings import warn_user
from psmlearn.exceptions import PixelSizeWarning
from psmlearn.io._resample import Axis, resample
from psmlearn.io._slide_arrays import map_of
from psmlearn.io._slide_open import open_source
from psmlearn.io._slide_sources import SlideSource, downsample

# A level is taken as it is where its pixels differ by no more than this part; and a
# file that tells another pixel size by more is told of.
_TOLERANCE = 0.05
# Pixels of a level that thumbnails take at a time, along a side.
_BLOCK = 1024


@dataclass(frozen=True)
class SlideLevel:
    """A resolution that a slide is stored in.

    Attributes
    ----------
    height, width : int
        In pixels of this level.
    downsample : float
        Pixels of full resolution along one of this level, from 1 on.
    """

    height: int
    width: int
    downsample: float


class Slide:
    """A slide of any size, of which boxes are read as they are needed.

    SVS, NDPI, SCN, OME-TIFF and other TIFF are read tile by tile, with what tiffslide
    knows of vendors' files where it is installed (``pip install psmlearn[wsi]``); MRXS,
    DICOM and others through OpenSlide (``psmlearn[openslide]``); OME-Zarr and zarr
    arrays with zarr. Labels, macro pictures and thumbnails are never taken for levels.
    Tiles that are damaged or missing are white and told in `problems`. Decoded tiles
    are kept, up to 256 MB for all slides of a process, so that neighbouring boxes
    decode none twice. Many threads may read at a time.

    Parameters
    ----------
    source : str, os.PathLike, ndarray, numpy.memmap, dask array, zarr array or group
        Arrays have the shape (height, width[, channels]); 1 or 3 channels, or 4 with
        alpha, which is dropped: what is transparent is white.
    pixel_size : float, default=None
        Micrometres per pixel of full resolution, from 0.01 to 20. None takes what the
        file tells; where both are there, this one holds.

    Attributes
    ----------
    name : str
        Name of the file; "array", "dask array" or "zarr" where there is none.
    path : str or None
        None for what is no file.
    shape : tuple of int
        Height and width of full resolution.
    n_channels : {1, 3}
    dtype : numpy.dtype
        As stored; bool is read as uint8, 0 and 255.
    pixel_size : float or None
        Micrometres per pixel of full resolution; None where nobody tells.
    levels : tuple of SlideLevel
        What is stored, each with `height`, `width` and `downsample`; full resolution
        first.
    associated : tuple of str
        Names of pictures beside the slide, such as "label", "macro" and "thumbnail".

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no slide, or broken; the path is named. If `pixel_size` is out of its
        range.
    TypeError
        If `source` is none of these.
    ImportError
        If a package is missing that reads it; it is named.

    Warns
    -----
    PixelSizeWarning
        If the file tells a pixel size that differs by more than 5 %.

    See Also
    --------
    is_slide : Tell a file that should be opened so.
    read_image : Read a picture at once.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.io import Slide
    >>> array = np.zeros((600, 1000, 3), dtype=np.uint8)
    >>> with Slide(array, pixel_size=0.25) as slide:
    ...     view = slide.view(pixel_size=0.5)
    ...     print(slide.shape, view.shape, view.read(0, 0, 100, 200).shape)
    (600, 1000) (300, 500) (100, 200, 3)
    """

    def __init__(self, source: Any, *, pixel_size: float | None = None) -> None:
        given = None if pixel_size is None else check_pixel_size(pixel_size)
        self._open(source, given)
        told = self._source.pixel_size
        if given is not None and told is not None:
            if abs(given - told) > _TOLERANCE * told:
                warn_user(
                    f"pixel_size={given:g} goes against {self.name!r}, which tells "
                    f"{told:g} micrometres; {given:g} is used",
                    PixelSizeWarning,
                )

    def _open(self, source: Any, given: float | None) -> None:
        self._given = given
        self._closed = False
        self._process = os.getpid()
        self._origin = source if not isinstance(source, os.PathLike) else str(source)
        opened: SlideSource = open_source(source)
        self._source = opened
        self.name: str = opened.name
        self.path: str | None = opened.path
        self.n_channels: int = opened.n_channels
        self.dtype: np.dtype = opened.dtype
        self.associated: tuple[str, ...] = opened.associated
        sizes = [(level.height, level.width) for level in opened.levels]
        self.shape: tuple[int, int] = sizes[0]
        self.levels: tuple[SlideLevel, ...] = tuple(
            SlideLevel(*size, downsample(self.shape, size)) for size in sizes
        )
        self.pixel_size: float | None = opened.pixel_size if given is None else given

    def __repr__(self) -> str:
        size = "" if self.pixel_size is None else f", pixel_size={self.pixel_size:g}"
        return f"Slide({self.name!r}, shape={self.shape}{size})"

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        origin = self._origin
        mapped = map_of(origin) if isinstance(origin, np.ndarray) else None
        if isinstance(origin, str):
            origin = os.path.abspath(origin)
        return {
            "origin": mapped or origin,
            "mapped": bool(mapped),
            "given": self._given,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        origin = state["origin"]
        if state["mapped"]:
            origin = np.memmap(mode="r", **origin)
        self._open(origin, state["given"])

    @property
    def problems(self) -> list[str]:
        """What was found damaged or missing so far, each once; 200 are listed."""
        return self._source.notes.listed()

    def view(self, pixel_size: float | None = None) -> SlideView:
        """Return the slide as a picture of a pixel size.

        A level whose pixel size is within 5 % is read as it is. Otherwise the next
        finer level is reduced, each pixel being the mean of the area that it covers.

        Parameters
        ----------
        pixel_size : float, default=None
            Micrometres per pixel; None is full resolution.

        Returns
        -------
        SlideView

        Raises
        ------
        ValueError
            If the slide's own pixel size is not known.

        Warns
        -----
        PixelSizeWarning
            If the wish is finer than full resolution, which is then interpolated.
        """
        if pixel_size is None:
            return SlideView(self, 0, self.shape, 1.0, self.pixel_size)
        wish = check_pixel_size(pixel_size)
        own = self.pixel_size
        if own is None:
            raise ValueError(
                f"{self.name!r} does not tell its pixel size, so that none of "
                f"{wish:g} micrometres can be made; give it, as in "
                "Slide(source, pixel_size=0.25)."
            )
        sizes = [own * level.downsample for level in self.levels]
        nearest = min(range(len(sizes)), key=lambda i: abs(sizes[i] - wish))
        if abs(sizes[nearest] - wish) <= _TOLERANCE * wish:
            level = self.levels[nearest]
            shape = level.height, level.width
            return SlideView(self, nearest, shape, 1.0, sizes[nearest])
        finer = [i for i, size in enumerate(sizes) if size < wish]
        if not finer:
            warn_user(
                f"{self.name!r} has pixels of {own:g} micrometres, and {wish:g} is "
                "finer: they are interpolated, and show no more than there is",
                PixelSizeWarning,
            )
        index = finer[-1] if finer else 0
        return self._resampled(index, wish / sizes[index], wish)

    def _resampled(
        self, index: int, factor: float, pixel_size: float | None
    ) -> SlideView:
        level = self.levels[index]
        height, width = (
            max(1, int(side / factor + 0.5)) for side in (level.height, level.width)
        )
        return SlideView(self, index, (height, width), factor, pixel_size)

    def thumbnail(self, max_size: int = 2048) -> np.ndarray:
        """Return the whole slide, small: averaged down from the best level.

        Parameters
        ----------
        max_size : int, default=2048
            The most pixels of its longer side, from 1 on. A slide that is smaller
            comes as it is.

        Returns
        -------
        ndarray of shape (height, width, n_channels), dtype uint8
            16 bits are scaled by their range, floats from [0, 1]; other values by the
            least and the most that are there.
        """
        check_number(max_size, "max_size", 1, whole=True, inclusive=True)
        sides = [max(level.height, level.width) for level in self.levels]
        enough = [i for i, side in enumerate(sides) if side >= max_size]
        index = enough[-1] if enough else 0
        factor = max(1.0, sides[index] / max_size)
        view = self._resampled(index, factor, None)
        out = np.empty((*view.shape, self.n_channels), self.dtype)
        for top, left, bottom, right in self._blocks(view, index, factor):
            out[top:bottom, left:right] = view.read(top, left, bottom, right)
        return _as_bytes(out)

    def _blocks(
        self, view: SlideView, index: int, factor: float
    ) -> Iterator[tuple[int, int, int, int]]:
        """Cut a view into boxes of about the tiles it is made of, each decoded once."""
        piece = self._source.levels[index].pieces[0]
        steps = [
            max(1, int(max(_BLOCK, int(edges[1])) / factor))
            for edges in (piece.row_edges, piece.column_edges)
        ]
        height, width = view.shape
        for top in range(0, height, steps[0]):
            for left in range(0, width, steps[1]):
                bottom, right = min(height, top + steps[0]), min(width, left + steps[1])
                yield top, left, bottom, right

    def fingerprint(self) -> dict[str, Any]:
        """Return what tells a slide that has changed since it was opened.

        Returns
        -------
        dict
            With "size" in bytes, "mtime_ns" (both None where they are not known),
            "shape", "dtype", "levels" and "pixel_size"; for arrays in memory
            "crc32", that of a sample of their pixels. JSON can hold it.

        Raises
        ------
        OSError
            If the file is no longer there.
        """
        return {
            **self._source.fingerprint(),
            "name": self.name,
            "shape": list(self.shape),
            "n_channels": self.n_channels,
            "dtype": str(self.dtype),
            "levels": [[level.height, level.width] for level in self.levels],
            "pixel_size": self.pixel_size,
        }

    def close(self) -> None:
        """Close the file and forget its tiles; nothing can be read any more."""
        if not self._closed:
            self._closed = True
            self._source.close()

    def _read(self, level: int, box: tuple[int, int, int, int]) -> np.ndarray:
        if self._closed:
            raise ValueError(f"{self.name!r} is closed; open it again with Slide(...).")
        if os.getpid() != self._process:
            # Forked processes share the place in an open file.
            self.__setstate__(self.__getstate__())
        return self._source.read(level, box)


class SlideView:
    """A slide as a picture of one pixel size; made by :meth:`Slide.view`.

    Attributes
    ----------
    slide : Slide
    level : int
        What is read of `slide.levels`.
    shape : tuple of int
        Height and width.
    pixel_size : float or None
        The true one, in micrometres.
    downsample : float
        Pixels of full resolution along one of the view.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.io import Slide
    >>> view = Slide(np.eye(6, dtype=np.uint8) * 240, pixel_size=0.25).view(0.5)
    >>> view.read(0, 0, 2, 3)[..., 0]
    array([[120,   0,   0],
           [  0, 120,   0]], dtype=uint8)
    """

    def __init__(
        self,
        slide: Slide,
        level: int,
        shape: tuple[int, int],
        factor: float,
        pixel_size: float | None,
    ) -> None:
        self.slide = slide
        self.level = level
        self.shape = shape
        self.pixel_size = pixel_size
        self.downsample = slide.levels[level].downsample * factor
        self._factor = factor

    def __repr__(self) -> str:
        size = "" if self.pixel_size is None else f", pixel_size={self.pixel_size:g}"
        return f"SlideView({self.slide.name!r}, shape={self.shape}{size})"

    def read(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """Read a box, given in pixels of the view.

        A box is a crop of the whole view, bit for bit, wherever it lies.

        Parameters
        ----------
        top, left, bottom, right : int
            Rows top to bottom - 1 and columns left to right - 1, within the view.

        Returns
        -------
        ndarray of shape (bottom - top, right - left, n_channels)
            In the dtype of the slide, C-contiguous, and the caller's own.

        Raises
        ------
        ValueError
            If the box is empty or reaches beyond the view; if the slide is closed.
        OSError
            If the file cannot be read any more.
        """
        box = self._check_box((top, left, bottom, right))
        if self._factor == 1:
            return self.slide._read(self.level, box)
        level = self.slide.levels[self.level]
        rows = Axis(level.height, self.shape[0], self._factor)
        columns = Axis(level.width, self.shape[1], self._factor)

        def read(*part: int) -> np.ndarray:
            return self.slide._read(self.level, part)  # type: ignore[arg-type]

        return resample(read, rows, columns, box)

    def _check_box(self, box: tuple) -> tuple[int, int, int, int]:
        if not all(is_number(edge, whole=True) for edge in box):
            raise TypeError(f"box {shown(box)}: expected four whole numbers.")
        top, left, bottom, right = (int(edge) for edge in box)
        height, width = self.shape
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise ValueError(
                f"box (top {top}, left {left}, bottom {bottom}, right {right}) is not "
                f"within the view of {self.slide.name!r}, {height} x {width} pixels, "
                "or is empty."
            )
        return top, left, bottom, right


def _as_bytes(array: np.ndarray) -> np.ndarray:
    """Scale a picture to uint8."""
    if array.dtype == np.uint8:
        return array
    values = array.astype(np.float64)
    low, high = 0.0, 1.0
    if array.dtype == np.uint16:
        high = 65535.0
    else:
        finite = values[np.isfinite(values)]
        least, most = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
        if array.dtype.kind != "f" or least < 0 or most > 1:
            low, high = float(least), float(most)
    scaled = np.nan_to_num((values - low) / ((high - low) or 1.0), nan=0.0)
    return np.rint(scaled.clip(0, 1) * 255).astype(np.uint8)
