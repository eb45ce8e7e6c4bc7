# SPDX-License-Identifier: BSD-3-Clause
"""Chunks of a PNG: checksums, which decoders do not compare for pixels, and pHYs."""

from __future__ import annotations

import zlib
from typing import BinaryIO

_SIGNATURE, _BLOCK = 8, 1 << 20


def check_png_chunks(file: BinaryIO, file_size: int) -> None:
    """Refuse a PNG of which a chunk does not fit its CRC, or ends early.

    The place in the file is left as it was.
    """
    before = file.tell()
    place = _SIGNATURE
    file.seek(place)
    while place + 8 <= file_size:
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        name = ascii(kind.decode("latin-1"))
        if place + 12 + length > file_size:
            raise ValueError(
                f"its chunk {name} at byte {place} should have {length} bytes, and the "
                f"file ends at {file_size}"
            )
        checksum = zlib.crc32(kind)
        missing = length
        while missing:
            part = file.read(min(missing, _BLOCK))
            if not part:
                raise ValueError(f"its chunk {name} at byte {place} ends early")
            checksum = zlib.crc32(part, checksum)
            missing -= len(part)
        if int.from_bytes(file.read(4), "big") != checksum:
            raise ValueError(
                f"its chunk {name} at byte {place} does not fit its checksum (CRC), so "
                "its bytes were changed; copy or download it again"
            )
        if kind == b"IEND":
            break
        place += 12 + length
    file.seek(before)


def read_pixels_per_metre(file: BinaryIO) -> tuple[int, int] | None:
    """Return the pixels per metre along x and y that a PNG tells before its pixels."""
    file.seek(_SIGNATURE)
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind in (b"IDAT", b"IEND"):
            break
        if kind != b"pHYs":
            file.seek(length + 4, 1)
            continue
        told = file.read(9)
        x, y = int.from_bytes(told[:4], "big"), int.from_bytes(told[4:8], "big")
        # Without a unit it is the shape of pixels alone.
        return (x, y) if told[8:] == b"\1" and x and y else None
    return None
