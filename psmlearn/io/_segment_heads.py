# SPDX-License-Identifier: BSD-3-Clause
"""The sizes that strips and tiles declare themselves, whatever the TIFF says."""

from __future__ import annotations

import struct

HEAD_BYTES = 1 << 16
_JPEG_2000_SIZES = b"\xff\x4f\xff\x51"


def declared_segment_size(head: bytes) -> tuple[int, int] | None:
    """Return height and width by the first bytes of a strip or tile, if they tell.

    PNG, JPEG, JPEG 2000 and WebP do.
    """
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack(">II", head[16:24])
            return height, width
        if head.startswith(b"\xff\xd8"):
            return _jpeg_size(head)
        if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            return _webp_size(head)
        place = head.find(_JPEG_2000_SIZES, 0, 4096)
        if place == 0 or (place > 0 and head[4:8] == b"jP  "):
            sides = struct.unpack(">IIII", head[place + 8 : place + 24])
            return sides[1] - sides[3], sides[0] - sides[2]
    except (struct.error, IndexError):
        return None
    return None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(head) and head[place] == 0xFF:
        marker = head[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", head[place + 5 : place + 9])
            return height, width
        place += 2 + int.from_bytes(head[place + 2 : place + 4], "big")
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(head[24:27], "little")
        return int.from_bytes(head[27:30], "little") + 1, width + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return height & 0x3FFF, width & 0x3FFF
    return None
