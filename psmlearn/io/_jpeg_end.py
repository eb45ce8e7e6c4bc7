# SPDX-License-Identifier: BSD-3-Clause
"""Make a JPEG whose pixels end early fail, where decoders would paint the rest grey."""

from __future__ import annotations

import re

# Within pixels these are no marker: a stuffed 255, a restart, fill.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SEQUENTIAL = (0xC0, 0xC1)
_END, _SCAN = 0xD9, 0xDA
# What the decoder looks ahead. It needs none of it where no pixels are missing.
_AHEAD = bytes(16)


def without_end(data: bytes) -> bytes | None:
    """Return a JPEG of one sequential scan with its end marker replaced by filler.

    A decoder that comes to the end marker early takes all that is missing for zeros;
    of a file that just ends it tells. None where this says nothing: of progressive
    files, several scans, or no end.
    """
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC, *_SEQUENTIAL):
            return None
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == _SCAN:
            found = _MARKER.search(data, place)
            if found is None or data[found.start() + 1] != _END:
                return None
            return data[: found.start()] + _AHEAD
    return None
