# SPDX-License-Identifier: BSD-3-Clause
"""Decode TIFF with tifffile, or with Pillow where imagecodecs is missing."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from psmlearn.io._decoded import Decoded, as_orientation, paint_missing
from psmlearn.io._limits import (
    DEFLATE_RATIO,
    RefusedError,
    check_declared_size,
    check_plausible_size,
)
from psmlearn.io._logs import silenced
from psmlearn.io._pillow import read_with_pillow
from psmlearn.io._segment_heads import HEAD_BYTES, declared_segment_size
from psmlearn.io._tiff_colours import (
    arrange_image,
    arrange_labels,
    is_plain_ycbcr,
    refuse_turned_ids,
)

_PHOTOMETRICS = ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE", "YCBCR")
# Codecs that may change values: the kinds of JPEG, JPEG 2000, JPEG XR, JPEG XL, WebP.
_LOSSY = frozenset(
    (6, 7, 22610, 33003, 33004, 33005, 33007, 34712, 34892, 34934, 50001, 50002)
)
# The most bytes that one of the file can stand for, by codec.
_RATIOS = {1: 1, 5: 4096, 8: DEFLATE_RATIO, 32773: 64, 32946: DEFLATE_RATIO}


def read_tiff(path: str, *, as_labels: bool, max_pixels: int) -> Decoded:
    """Decode the one page of a TIFF, without alpha."""
    import tifffile

    with silenced("tifffile"), tifffile.TiffFile(path) as tiff:
        page = _only_page(tiff)
        pixel_bytes = page.samplesperpixel * _bits(page) / 8
        check_declared_size(
            page.imagelength, page.imagewidth, max_pixels, pixel_bytes, tiff=True
        )
        _check_page(page, as_labels)
        _check_segments(page, os.path.getsize(path))
        _check_own_sizes(page)
        stored = _stored(page)
        try:
            decoded = _arrange(page, page.asarray(), as_labels)
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            if stored is not None:
                raise RefusedError(
                    f"lacks tiles and is compressed with {page.compression.name}: pip "
                    "install imagecodecs (or psmlearn[data])"
                ) from error
            decoded = _read_without_codecs(path, page, as_labels, max_pixels)
        if stored is not None:
            decoded = paint_missing(decoded, stored, as_labels)
        return decoded._replace(
            orientation=_orientation(page), lossy=int(page.compression) in _LOSSY
        )


def read_tiff_size(path: str) -> tuple[int, int]:
    """Return height and width of the first page, if the file can hold them."""
    import tifffile

    with silenced("tifffile"), tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        if page.imagelength > 0 and page.imagewidth > 0:
            _check_segments(page, os.path.getsize(path))
        return page.imagelength, page.imagewidth


def _only_page(tiff: Any) -> Any:
    """Return the page to read: the only one of full size, or an error."""
    pages = list(tiff.pages)
    if not pages:
        raise ValueError("it holds no page")
    first = pages[0]
    n_pixels = first.imagelength * first.imagewidth
    full = [first] + [
        page
        for page in pages[1:]
        # One that is called reduced and is not is a picture of its own.
        if not page.is_reduced or page.imagelength * page.imagewidth >= n_pixels
    ]
    n_pages = len(full) if len(full) > 1 else _count_planes(pages[0])
    if n_pages > 1:
        holds = f"holds {n_pages} pages"
        if len(full) == 1:
            holds = f"holds one page, and its description tells of {n_pages} planes"
        raise RefusedError(
            f"{holds}; an image is one page: save the one you need, channels last, as "
            "with tifffile.imread(path, key=0); a slide is read with "
            "psmlearn.io.Slide(path)"
        )
    return pages[0]


def _count_planes(page: Any) -> int:
    """Count the planes that lie behind one page without pages of their own.

    ImageJ, tifffile and MetaMorph write such stacks, and tell so.
    """
    if page.is_stk:
        planes = page.tags.get("UIC2tag")
        return 1 if planes is None else int(planes.count)
    description = page.description or ""
    if page.is_imagej:
        names = ("images", "channels", "slices", "frames")
        found = [re.search(rf"^{name}=(\d+)\s*$", description, re.M) for name in names]
        images, *sides = (int(match[1]) if match else 1 for match in found)
        n_planes = max(images, int(np.prod(sides, dtype=float)))
        if n_planes == page.samplesperpixel > 1:
            # Samples of one page may be told as channels; no other planes follow, then.
            room = page.parent.filehandle.size - min(page.dataoffsets, default=0)
            return n_planes if room >= n_planes * page.nbytes else 1
        return n_planes
    if page.is_shaped:
        found = re.search(r'"?shape"?\s*[:=]\s*[\[(]([\d,\s]*)[\])]', description)
        sides = [int(side) for side in re.findall(r"\d+", found[1])] if found else []
        shape = list(page.shape)
        # A description of another size was left over from another image.
        if len(sides) > len(shape) and sides[-len(shape) :] == shape:
            return int(np.prod(sides[: -len(shape)], dtype=float))
    return 1


def _bits(page: Any) -> int:
    """Return the bits of a sample, the most where they differ."""
    return int(np.max(page.bitspersample))


def _check_page(page: Any, as_labels: bool) -> None:
    """Refuse colour spaces and sample layouts that have no clear RGB or grey."""
    photometric = getattr(page.photometric, "name", str(page.photometric))
    if photometric not in _PHOTOMETRICS:
        kind = "CMYK" if photometric == "SEPARATED" else photometric
        raise RefusedError(
            f"has colour mode {kind}, which needs a colour profile to be turned into "
            "RGB; convert it first"
        )
    if page.axes not in ("YX", "YXS", "SYX"):
        raise RefusedError(f"has axes {page.axes}; expected one flat image")
    # Ids are numbers, whatever their bits; of an image the white must be known.
    sizes = (1, 2, 4, 8, 16, 32, 64) if as_labels else (1, 8, 16, 32, 64)
    if page.bitspersample not in sizes:
        raise RefusedError(
            f"has {page.bitspersample} bits per sample, so its white is unclear; "
            "save it with 8 or 16 bits"
        )
    if is_plain_ycbcr(page) and page.is_subsampled:
        raise RefusedError(
            "has YCbCr colours with fewer samples of chroma than of luma, and no JPEG; "
            "convert it to RGB first"
        )


def _check_segments(page: Any, file_size: int) -> None:
    """Find strips and tiles that are not all there: tifffile makes zeros of them."""
    counts = page.databytecounts
    if not any(counts):
        raise ValueError("it holds no pixels: all of its strips or tiles are missing")
    for offset, count in zip(page.dataoffsets, counts, strict=False):
        if count and offset + count > file_size:
            raise ValueError(
                f"its pixels should reach byte {offset + count} and it has {file_size}"
            )
    _check_numbers(page)
    n_samples = page.samplesperpixel
    row_bytes = -(-page.imagewidth * n_samples * _bits(page) // 8)
    ratio = _RATIOS.get(int(page.compression))
    if ratio is not None and all(counts):
        n_bytes = sum(counts)
        check_plausible_size(page.imagelength * row_bytes, n_bytes, ratio)


def _check_own_sizes(page: Any) -> None:
    """Refuse strips and tiles that declare more pixels than the TIFF has for them.

    They would be decoded, whatever memory it takes, and cut.
    """
    if page.jpegheader is not None or int(page.compression) in _RATIOS:
        return
    tall, wide = _segment_size(page)
    if not page.is_tiled:
        tall = min(tall, page.imagelength)
    file = page.parent.filehandle
    for index, (offset, count) in enumerate(
        zip(page.dataoffsets, page.databytecounts, strict=False)
    ):
        if not count:
            continue
        file.seek(offset)
        size = declared_segment_size(file.read(min(count, HEAD_BYTES)))
        # JPEG goes by blocks of up to 16 pixels.
        if size is not None and (
            size[0] > -(-tall // 16) * 16 or size[1] > -(-wide // 16) * 16
        ):
            raise ValueError(
                f"its strip or tile {index} declares {size[0]} x {size[1]} pixels, and "
                f"the file has {tall} x {wide} for it"
            )


def _check_numbers(page: Any) -> None:
    """Refuse other numbers of strips or tiles than the size of the image asks for."""
    if page.jpegheader is not None:
        return  # NDPI: one strip, which tifffile cuts
    tall, wide = _segment_size(page)
    if tall < 1 or wide < 1:
        raise ValueError(f"its strips or tiles are {tall} x {wide} pixels")
    expected = -(-page.imagelength // tall) * -(-page.imagewidth // wide)
    if page.planarconfig == 2:
        expected *= page.samplesperpixel
    names = ("TileOffsets", "StripOffsets"), ("TileByteCounts", "StripByteCounts")
    numbers = []
    for pair in names:
        tags = [page.tags[name] for name in pair if name in page.tags]
        numbers.append(np.size(tags[0].value) if tags else expected)
    if numbers[0] != numbers[1] or numbers[0] < expected:
        raise ValueError(
            f"it tells {numbers[0]} offsets and {numbers[1]} byte counts of strips or "
            f"tiles, where its size asks for {expected}"
        )
    if int(page.compression) == 1:
        _check_raw_counts(page, tall, wide, expected)


def _check_raw_counts(page: Any, tall: int, wide: int, expected: int) -> None:
    """Refuse strips (or one tile) without compression that are too short.

    All are read at once, whatever their byte counts; of many tiles tifffile tells.
    """
    if page.is_subsampled or (page.is_tiled and expected > 1):
        return
    n_samples = 1 if page.planarconfig == 2 else page.samplesperpixel
    row_bytes = -(-min(wide, page.imagewidth) * n_samples * _bits(page) // 8)
    down = -(-page.imagelength // tall)
    last = page.imagelength - (down - 1) * tall
    for index, count in enumerate(page.databytecounts[:expected]):
        needed = row_bytes * (last if index % down == down - 1 else tall)
        if 0 < count < needed:
            raise ValueError(
                f"its strip {index} has {count} bytes, and {needed} are needed"
            )


def _segment_size(page: Any) -> tuple[int, int]:
    """Return height and width of strips or tiles."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return page.rowsperstrip, page.imagewidth


def _stored(page: Any) -> np.ndarray | None:
    """Tell the pixels of strips and tiles that are there; None where all are.

    Scanners and converters leave out blank ones, which have 0 bytes.
    """
    missing = [i for i, count in enumerate(page.databytecounts) if not count]
    if not missing:
        return None
    height, width = page.imagelength, page.imagewidth
    tall, wide = _segment_size(page)
    down, across = -(-height // tall), -(-width // wide)
    stored = np.ones((height, width), dtype=bool)
    for index in missing:
        row, column = divmod(index % (down * across), across)
        top, left = row * tall, column * wide
        stored[top : top + tall, left : left + wide] = False
    return stored


def _arrange(page: Any, array: np.ndarray, as_labels: bool) -> Decoded:
    """Put channels last and make colours or ids of the samples."""
    if page.axes == "SYX":
        array = np.moveaxis(array, 0, -1)
    return arrange_labels(page, array) if as_labels else arrange_image(page, array)


def _read_without_codecs(
    path: str, page: Any, as_labels: bool, max_pixels: int
) -> Decoded:
    """Read with Pillow what it reads without loss: 8 bit, or grey."""
    turned = page.photometric.name == "MINISWHITE"
    deep = page.bitspersample > 8
    if deep and (page.samplesperpixel > 1 or turned):
        kind = "white-is-zero values" if turned else "colours"
        raise RefusedError(
            f"has {page.bitspersample}-bit {kind} compressed with "
            f"{page.compression.name}: pip install imagecodecs (or psmlearn[data])"
        )
    decoded = read_with_pillow(path, "TIFF", as_labels=as_labels, max_pixels=max_pixels)
    if as_labels and turned:
        refuse_turned_ids(decoded.array, 2**page.bitspersample - 1)
    turn = _orientation(page)
    shown = None if decoded.shown is None else _turn_back(decoded.shown, turn)
    return decoded._replace(array=_turn_back(decoded.array, turn), shown=shown)


def _orientation(page: Any) -> int:
    tag = page.tags.get("Orientation")
    return 1 if tag is None else as_orientation(tag.value)


def _turn_back(array: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the turn by the orientation tag, which Pillow applies to TIFF alone."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    if orientation in (3, 4, 6, 7):
        array = array[::-1]
    if orientation in (2, 3, 7, 8):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)
