# SPDX-License-Identifier: BSD-3-Clause
"""Slides that tests write and read."""

from __future__ import annotations

import io
import re
import struct

import numpy as np
import tifffile
from PIL import Image


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


def write_ndpi(path, image, factors=(1, 4), pixel_size=0.23) -> None:
    """Write JPEGs of one strip with restart markers, as Hamamatsu does, and a macro."""
    pages = [(reduced(image, factor), 20.0 / factor) for factor in factors]
    pages.append((picture(40, 120), -1.0))
    data = bytearray(b"II*\0" + bytes(8))
    link = 4
    for page, lens in pages:
        buffer = io.BytesIO()
        Image.fromarray(page).save(
            buffer, "JPEG", quality=95, subsampling=0, restart_marker_blocks=8
        )
        jpeg = buffer.getvalue()
        header = jpeg.index(b"\xff\xda")
        header += 2 + int.from_bytes(jpeg[header + 2 : header + 4], "big")
        found = re.finditer(rb"\xff[\xd0-\xd7]", jpeg[header:])
        starts = [header, *(header + match.end() for match in found)]
        places = {"jpeg": len(data)}
        data += jpeg
        density = round(1e7 / (pixel_size * image.shape[0] / len(page)))
        for name, value in {
            "bits": struct.pack("<3H", 8, 8, 8),
            "resolution": struct.pack("<2I", density, 1000),
            "starts": struct.pack(f"<{len(starts)}I", *starts),
        }.items():
            places[name] = len(data)
            data += value
        lens_bits = struct.unpack("<I", struct.pack("<f", lens))[0]
        tags = [
            (256, 4, 1, page.shape[1]), (257, 4, 1, page.shape[0]),
            (258, 3, 3, places["bits"]), (259, 3, 1, 7), (262, 3, 1, 6),
            (271, 2, 4, 0x0041_4D48),
            (273, 4, 1, places["jpeg"]), (277, 3, 1, 3), (278, 4, 1, page.shape[0]),
            (279, 4, 1, len(jpeg)), (282, 5, 1, places["resolution"]),
            (283, 5, 1, places["resolution"]), (296, 3, 1, 3), (65420, 4, 1, 1),
            (65421, 11, 1, lens_bits), (65426, 4, len(starts), places["starts"]),
        ]  # fmt: skip
        data[link : link + 8] = struct.pack("<Q", len(data))
        data += struct.pack("<H", len(tags))
        data += b"".join(struct.pack("<HHII", *tag) for tag in tags)
        link = len(data)
        data += bytes(8 + 4 * len(tags))
    path.write_bytes(data)


def write_scn(path, areas, width, height) -> None:
    """Write scanned areas (image, top, left), as Leica does, with a macro before.

    A pixel takes 500 nm.
    """
    xml = [
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/'
        f'10/01"><collection name="c" sizeX="{width * 500}" sizeY="{height * 500}">'
        + _scn_image(0, (0, 0), (width, height), [(0, 64, 48)])
    ]
    pages = [picture(48, 64)]
    for image, top, left in areas:
        small = reduced(image, 4)
        dimensions = [
            (len(pages) + i, part.shape[1], part.shape[0])
            for i, part in enumerate((image, small))
        ]
        size = image.shape[1], image.shape[0]
        xml.append(_scn_image(len(xml), (left, top), size, dimensions))
        pages += [image, small]
    xml.append("</collection></scn>")
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for index, page in enumerate(pages):
            writer.write(
                page, tile=(64, 64), photometric="rgb", compression="zlib",
                metadata=None, description="".join(xml) if index == 0 else None,
            )  # fmt: skip


def _scn_image(number, place, size, dimensions) -> str:
    levels = "".join(
        f'<dimension sizeX="{w}" sizeY="{h}" r="{r}" ifd="{ifd}"/>'
        for r, (ifd, w, h) in enumerate(dimensions)
    )
    view = (
        f'<view sizeX="{size[0] * 500}" sizeY="{size[1] * 500}" '
        f'offsetX="{place[0] * 500}" offsetY="{place[1] * 500}"/>'
    )
    return (
        f'<image name="image_{number}"><creationDate>2020</creationDate>'
        '<device model="a" version="b"/>'
        f'<pixels sizeX="{dimensions[0][1]}" sizeY="{dimensions[0][2]}">{levels}'
        f"</pixels>{view}<scanSettings><objectiveSettings><objective>20</objective>"
        "</objectiveSettings><illuminationSettings><numericalAperture>0.4"
        "</numericalAperture><illuminationSource>brightfield</illuminationSource>"
        "</illuminationSettings></scanSettings></image>"
    )
