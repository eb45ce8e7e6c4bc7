# SPDX-License-Identifier: BSD-3-Clause
"""Damage files at random and read them, in a process with limits.

``python image_fuzzing.py kind first count folder`` prints a line for each reader that
does anything but read the file or raise a ValueError or OSError that names it.
"""

from __future__ import annotations

import io
import resource
import signal
import struct
import sys
import traceback
import warnings
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from psmlearn.io import (
    check_masks,
    read_image,
    read_labels,
    read_pixel_size,
    read_points,
)
from psmlearn.io._read import read_size

MEMORY = 3 << 30
SECONDS_A_FILE = 20
TIFFS = {
    "tiff-raw": {},
    "tiff-strips": {"rowsperstrip": 8},
    "tiff-deflate": {"compression": "zlib", "predictor": True},
    "tiff-lzw": {"compression": "lzw", "rowsperstrip": 8},
    "tiff-packbits": {"compression": "packbits"},
    "tiff-jpeg": {"compression": "jpeg"},
    "tiff-zstd": {"compression": "zstd"},
    "tiff-tiles": {"tile": (16, 16), "compression": "zlib"},
    "tiff-big": {"bigtiff": True, "byteorder": ">"},
    "tiff-imagej": {"imagej": True},
}
KINDS = (
    "png",
    "png-grey16",
    "png-palette",
    "png-rgb16",
    "jpeg",
    "jpeg-progressive",
    "webp",
    "webp-lossless",
    "bmp",
    *TIFFS,
    "tiff-ids",
    "tiff-bits",
    "tiff-palette",
    "csv",
)
EXTREMES = (0, 1, 2, 7, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1)


def sound_file(kind: str) -> bytes:
    """Make a small file of one kind."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (40, 52, 3), dtype=np.uint8)
    rgb[:, 20:] = 240
    ids = np.repeat(np.arange(40, dtype=np.uint16)[:, None], 52, axis=1)
    out = io.BytesIO()
    if kind == "csv":
        rows = "".join(f"{i},{i * 2.5},{i % 3}\n" for i in range(30))
        return f"row,column,class\n{rows}".encode()
    if kind in TIFFS:
        tifffile.imwrite(out, rgb, photometric="rgb", **TIFFS[kind])
    elif kind == "tiff-ids":
        tifffile.imwrite(out, ids, photometric="minisblack", compression="zlib")
    elif kind == "tiff-bits":
        Image.fromarray(ids > 20).save(out, format="TIFF", compression="group4")
    elif kind == "tiff-palette":
        Image.fromarray(rgb).quantize(16).save(out, format="TIFF")
    elif kind == "png-rgb16":
        import imagecodecs

        return imagecodecs.png_encode(rgb.astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(ids if kind == "png-grey16" else rgb)
        if kind == "png-palette":
            picture = picture.quantize(16)
        exif = Image.Exif()
        exif[274] = 6
        options = {
            "jpeg-progressive": {"progressive": True, "exif": exif},
            "jpeg": {"exif": exif},
            "webp-lossless": {"lossless": True, "exif": exif},
        }
        name = kind.partition("-")[0].upper()
        picture.save(out, format=name, **options.get(kind, {}))
    return out.getvalue()


def damage(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """Change a file in one to four places."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        if len(changed) < 4:
            break
        # Headers and directories are at the ends; what lies between are pixels.
        place = int(rng.integers(len(changed)))
        if rng.random() < 0.6:
            place = int(rng.integers(min(len(changed), 400)))
            place = len(changed) - 1 - place if rng.random() < 0.3 else place
        size = int(rng.integers(1, 9))
        what = rng.integers(7)
        if what == 0:
            changed[place] ^= 1 << int(rng.integers(8))
        elif what == 1:
            changed[place : place + size] = rng.bytes(size)
        elif what == 2:
            value = EXTREMES[rng.integers(len(EXTREMES))]
            order = "<" if rng.random() < 0.5 else ">"
            packed = struct.pack(order + "I", value)
            packed = packed[:2] if rng.random() < 0.3 else packed
            changed[place : place + len(packed)] = packed
        elif what == 3:
            del changed[place : place + size]
        elif what == 4:
            changed[place:place] = rng.bytes(size)
        elif what == 5 and rng.random() < 0.5:
            del changed[place:]
        else:
            start = int(rng.integers(len(changed)))
            changed[place : place + 16] = changed[start : start + 16]
    if kind.startswith("png") and rng.random() < 0.7:
        return mend_checksums(bytes(changed))
    return bytes(changed)


def mend_checksums(data: bytes) -> bytes:
    """Make the checksums of a PNG right again, so that its contents are reached."""
    out, place = bytearray(data[:8]), 8
    while place + 12 <= len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        if place + 12 + size > len(data):
            break
        body = data[place + 4 : place + 8 + size]
        out += data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + size
    return bytes(out) + data[place:]


def readers(kind: str):
    """Return what reads files of a kind."""
    if kind == "csv":
        return (read_points,)
    return read_image, read_labels, read_size, read_pixel_size, read_as_mask


def read_as_mask(path):
    return check_masks([path])


def try_all(kind: str, seed: int, folder: Path) -> list[str]:
    """Read one damaged file in all ways; tell what was not promised."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    path = folder / f"{kind}-{seed}.{'csv' if kind == 'csv' else 'img'}"
    path.write_bytes(damage(sound_file(kind), kind, rng))
    wrong = []
    for read in readers(kind):
        try:
            read(str(path))
        except (ValueError, OSError) as error:
            if path.name not in str(error):
                wrong.append(f"{kind} {seed} {read.__name__}: no name in {error!r}")
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            wrong.append(f"{kind} {seed} {read.__name__}: {error!r} at {place}")
    path.unlink()
    return wrong


def main(kind: str, first: str, count: str, folder: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    seeds = Path(folder, "seed.txt")
    for seed in range(int(first), int(first) + int(count)):
        seeds.write_text(str(seed))  # what is left of a process that was killed
        signal.alarm(SECONDS_A_FILE)
        for line in try_all(kind, seed, Path(folder)):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    signal.alarm(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
