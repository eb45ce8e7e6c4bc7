# SPDX-License-Identifier: BSD-3-Clause
"""Slides that tests write and read."""

from __future__ import annotations

import numpy as np
import tifffile


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a smooth picture with some noise, which JPEG keeps well."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(y / p + x / q) for p, q in ((37, 53), (23, 71), (61, 29))]
    values = 140 + 90 * np.stack(waves, axis=-1) + rng.normal(0, 4, (height, width, 3))
    return values.clip(0, 255).astype(np.uint8)


def reduced(image: np.ndarray, factor: int) -> np.ndarray:
    """Average whole blocks, rounding half up."""
    height, width = (side // factor for side in image.shape[:2])
    cut = image[: height * factor, : width * factor].astype(np.int64)
    sums = cut.reshape(height, factor, width, factor, -1).sum(axis=(1, 3))
    area = factor * factor
    return ((2 * sums + area) // (2 * area)).astype(image.dtype)


def write_pyramid(path, image, factors=(4, 16), tile=64, **options) -> None:
    """Write a TIFF in tiles, with reductions in SubIFDs."""
    options = {"photometric": "rgb", "compression": "zlib", **options}
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            image, tile=(tile, tile), subifds=len(factors), metadata=None, **options
        )
        for factor in factors:
            part = reduced(image, factor)
            writer.write(part, tile=(tile, tile), subfiletype=1, **options)


def segments(path, key=0) -> list[tuple[int, int]]:
    """Return offset and byte count of each tile or strip of a page."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[key]
        return list(zip(page.dataoffsets, page.databytecounts, strict=True))


def overwrite(path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def set_tile_bytes(path, index: int, count: int) -> None:
    """Change what the first page tells of the bytes of a tile."""
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[0].tags["TileByteCounts"]
        counts = list(tag.value)
        size = tag.valuebytecount // len(counts)
        place, order = tag.valueoffset + index * size, tiff.byteorder
    counts[index] = count
    overwrite(path, place, count.to_bytes(size, "little" if order == "<" else "big"))


def whole(view) -> np.ndarray:
    return view.read(0, 0, *view.shape)
