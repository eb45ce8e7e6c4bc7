# SPDX-License-Identifier: BSD-3-Clause
"""Label planes in MATLAB files, every tag checked before a number is taken.

SciPy's reader trusts what a file says of its types, and one that lies ends the
interpreter; so numbers are read here, and everything else is passed over.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections import Counter
from dataclasses import dataclass

import numpy as np

from psmlearn.datasets._folders import check_mask_size, is_regular, tell_names

_HEADER = 128
_HDF5 = b"\x89HDF\r\n\x1a\n"
_COMPRESSED, _MATRIX = 15, 14
# Types of the numbers in a file, and the names of classes of arrays.
_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8",
    12: "i8", 13: "u8",
}  # fmt: skip
_CLASSES = {
    1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 6: "double",
    7: "single", 8: "int8", 9: "uint8", 10: "int16", 11: "uint16", 12: "int32",
    13: "uint32", 14: "int64", 15: "uint64", 16: "function", 17: "opaque",
}  # fmt: skip
_NUMBERS = frozenset(range(6, 16))
_OPAQUE = 17
_COMPLEX, _LOGICAL = 0x0800, 0x0200
_MAX_NAME = 1 << 10
_MAX_DIMENSIONS = 32
# Flags, dimensions and name, with their tags.
_MAX_HEAD = 16 + 8 + 4 * _MAX_DIMENSIONS + 8 + _MAX_NAME + 64
_MAX_BYTES = 1 << 31
_V4_TYPES = {0: "f8", 1: "f4", 2: "i4", 3: "i2", 4: "u2", 5: "u1"}
_V4_NAMES = {"f8": "double", "f4": "single", "i4": "int32", "i2": "int16",
             "u2": "uint16", "u1": "uint8"}  # fmt: skip


@dataclass
class _Variable:
    """What a file tells of one of its arrays, before its numbers are read."""

    name: str
    kind: str
    shape: tuple[int, ...]
    is_number: bool
    is_complex: bool
    dtype: str  # of version 4; later ones tell it with the numbers
    start: int  # of the element, or its numbers in version 4
    n_bytes: int
    compressed: bool = False


def read_mat_planes(path: str, image: str, keys: tuple[str, ...]) -> list[np.ndarray]:
    """Read planes of whole numbers, each of the size of an image.

    Parameters
    ----------
    path : str
        A .mat file of MATLAB 4 to 7.2.
    image : str
        Path of the image that the planes belong to.
    keys : tuple of str
        Names of the planes.

    Returns
    -------
    list of ndarray of shape (height, width), dtype int64
        In the order of `keys`.

    Raises
    ------
    ValueError
        If the file is broken, of MATLAB 7.3, lacks a key or has one twice, or holds
        no such planes; the path is named, and the keys that were found.
    """
    data = _read_file(path)
    try:
        order, found = _list_variables(data)
    except (ValueError, struct.error, zlib.error, RecursionError) as error:
        raise ValueError(f"{path!r} is a broken MATLAB file: {error}.") from error
    by_name = {each.name: each for each in found}
    counts = Counter(each.name for each in found)
    twice = sorted(name for name, count in counts.items() if name and count > 1)
    if twice:
        raise ValueError(
            f"{path!r} holds {tell_names(twice)} twice; which is right is not known."
        )
    chosen = []
    for key in keys:
        if key not in by_name:
            raise ValueError(
                f"{path!r} has no key {key!r}; it holds "
                f"{tell_names(sorted(by_name)) or 'no key at all'}."
            )
        each = by_name[key]
        if not each.is_number or len(each.shape) != 2:
            raise ValueError(
                f"{path!r}: {key!r} is {each.kind} of shape {each.shape}; expected "
                "numbers of shape (height, width)."
            )
        if each.is_complex:
            raise ValueError(
                f"{path!r}: {key!r} holds values that are not finite real numbers."
            )
        check_mask_size(path, each.shape, image)  # before anything is decoded
        chosen.append(each)
    try:
        arrays = [_read_numbers(data, order, each) for each in chosen]
    except (ValueError, struct.error, zlib.error) as error:
        raise ValueError(f"{path!r} is a broken MATLAB file: {error}.") from error
    except MemoryError as error:
        raise MemoryError(f"{path!r} needs more memory than there is.") from error
    return [
        _as_whole(array, f"{path!r}: {key!r}")
        for key, array in zip(keys, arrays, strict=True)
    ]


def _read_file(path: str) -> bytes:
    """Read a file that is no HDF5, and not too large."""
    if not is_regular(path):
        raise FileNotFoundError(f"No such MATLAB file: {path!r}.")
    n_bytes = os.path.getsize(path)
    if n_bytes > _MAX_BYTES:
        raise ValueError(
            f"{path!r} has {n_bytes} bytes; MATLAB files of up to {_MAX_BYTES} are "
            "read."
        )
    with open(path, "rb") as file:
        data = file.read()
    is_new = data[124:128] in (b"\x00\x02IM", b"\x02\x00MI")
    if is_new or _HDF5 in (data[:8], data[512:520]):
        raise ValueError(
            f"{path!r} is of MATLAB 7.3 (HDF5), which is not read; save it with "
            "save(..., '-v7') or scipy.io.savemat."
        )
    return data


def _list_variables(data: bytes) -> tuple[str, list[_Variable]]:
    """Return the order of bytes, and every array of a file by its head."""
    if len(data) < 20:
        raise ValueError(f"it has {len(data)} bytes")
    if 0 in data[:4]:
        return _list_version_4(data)
    if data[124:128] == b"\x00\x01IM":
        order = "<"
    elif data[124:128] == b"\x01\x00MI":
        order = ">"
    else:
        raise ValueError("its header is that of no known version")
    found, place = [], _HEADER
    while place < len(data):
        kind, n_bytes, start, end = _read_tag(data, place, order, len(data))
        if kind == _COMPRESSED:
            head = zlib.decompressobj().decompress(data[start:end], 8 + _MAX_HEAD)
            inner, told, begin, _ = _read_tag(head, 0, order, 8 + _MAX_BYTES)
            if inner != _MATRIX:
                raise ValueError(f"the element at byte {place} packs no array")
            variable = _read_head(head[begin:], order)
            variable.n_bytes, variable.compressed = told, True
        elif kind == _MATRIX:
            variable = _read_head(data[start : min(end, start + _MAX_HEAD)], order)
            variable.n_bytes = n_bytes
        else:
            raise ValueError(f"the element at byte {place} is of type {kind}")
        variable.start = place
        found.append(variable)
        # Packed elements are not filled up to eight bytes, others are.
        place = end if kind == _COMPRESSED else start + (n_bytes + 7) // 8 * 8
    return order, found


def _read_tag(
    data: bytes, place: int, order: str, limit: int
) -> tuple[int, int, int, int]:
    """Return type, number of bytes, start and end of the element at a place."""
    if place + 8 > len(data):
        raise ValueError(f"it ends within an element, at byte {place}")
    kind, n_bytes = struct.unpack_from(f"{order}II", data, place)
    start = place + 8
    if kind >> 16:  # a small one, within its tag
        kind, n_bytes, start = kind & 0xFFFF, kind >> 16, place + 4
        if n_bytes > 4:
            raise ValueError(f"the element at byte {place} tells a wrong size")
    if start + n_bytes > limit:
        raise ValueError(f"the element at byte {place} reaches beyond its end")
    return kind, n_bytes, start, start + n_bytes


def _next_element(
    data: bytes, place: int, order: str, limit: int | None = None
) -> tuple[int, int, int, int]:
    """Return type, start and end of a part of an array, and where the next begins."""
    limit = len(data) if limit is None else limit
    kind, n_bytes, start, end = _read_tag(data, place, order, limit)
    after = place + 8 if start == place + 4 else start + (n_bytes + 7) // 8 * 8
    return kind, start, end, after


def _read_head(data: bytes, order: str) -> _Variable:
    """Return what the beginning of an array tells: its flags, sides and name."""
    kind, start, end, place = _next_element(data, 0, order)
    if _TYPES.get(kind) != "u4" or end - start != 8:
        raise ValueError("an array lacks its flags")
    (flags,) = struct.unpack_from(f"{order}I", data, start)
    number, flags = flags & 0xFF, flags & 0xFF00
    if number not in _CLASSES:
        raise ValueError(f"an array is of the unknown class {number}")
    shape: tuple[int, ...] = ()
    if number != _OPAQUE:  # these have no sides
        kind, start, end, place = _next_element(data, place, order)
        count = (end - start) // 4
        sound = _TYPES.get(kind) in ("i4", "u4") and (end - start) % 4 == 0
        if not sound or not 2 <= count <= _MAX_DIMENSIONS:
            raise ValueError("an array lacks its dimensions")
        shape = struct.unpack_from(f"{order}{count}i", data, start)
        if min(shape) < 0:
            raise ValueError(f"an array has the shape {shape}")
    kind, start, end, _ = _next_element(data, place, order)
    if kind not in (1, 2, 16) or end - start > _MAX_NAME:
        raise ValueError("an array lacks its name")
    name = data[start:end].decode("latin-1").rstrip("\0")
    is_logical = bool(flags & _LOGICAL)
    return _Variable(
        name=name,
        kind="logical" if is_logical else _CLASSES[number],
        shape=shape,
        is_number=number in _NUMBERS,
        is_complex=bool(flags & _COMPLEX),
        dtype="",
        start=0,
        n_bytes=0,
    )


def _read_numbers(data: bytes, order: str, each: _Variable) -> np.ndarray:
    """Return the numbers of an array, (rows, columns)."""
    n_values = math.prod(each.shape)
    if each.dtype:
        found = np.frombuffer(data, each.dtype, n_values, each.start)
        return found.reshape(each.shape, order="F")
    if each.n_bytes > _MAX_HEAD + 8 * n_values + 16:
        raise ValueError(
            f"{each.name!r} tells {each.n_bytes} bytes, more than its {n_values} "
            "numbers need"
        )
    _, n_bytes, start, end = _read_tag(data, each.start, order, len(data))
    content = memoryview(data)[start:end]
    if each.compressed:
        content = memoryview(_unpack(content, 8 + each.n_bytes, each.name))[8:]
    part = bytes(content[:_MAX_HEAD])
    place = 0
    for _ in range(3):  # flags, dimensions and name
        _, _, _, place = _next_element(part, place, order)
    kind, start, end, after = _next_element(
        bytes(content[: place + 8]), place, order, len(content)
    )
    if kind not in _TYPES:
        raise ValueError(f"{each.name!r} holds numbers of the unknown type {kind}")
    dtype = np.dtype(order + _TYPES[kind])
    if end - start != n_values * dtype.itemsize:
        raise ValueError(
            f"{each.name!r} holds {end - start} bytes of {dtype.name} for {n_values} "
            "numbers"
        )
    if after < len(content):
        raise ValueError(f"{each.name!r} holds more than its numbers")
    return np.frombuffer(content[start:end], dtype).reshape(each.shape, order="F")


def _unpack(packed: memoryview, n_bytes: int, name: str) -> bytes:
    """Unpack an element to its end, where its checksum lies, and no further."""
    stream = zlib.decompressobj()
    content = stream.decompress(packed, n_bytes + 1)
    if len(content) <= n_bytes:
        content += stream.flush()
    if len(content) != n_bytes or not stream.eof or stream.unused_data:
        raise ValueError(f"{name!r} is cut short, or longer than it tells")
    return content


def _list_version_4(data: bytes) -> tuple[str, list[_Variable]]:
    """Return the order of bytes, and every array of a file of MATLAB 4."""
    (number,) = struct.unpack_from("<i", data)
    order = "<" if 0 <= number < 5000 else ">"
    found, place = [], 0
    while place < len(data):
        if place + 20 > len(data):
            raise ValueError(f"it ends within an array, at byte {place}")
        number, rows, columns, imaginary, n_name = struct.unpack_from(
            f"{order}5i", data, place
        )
        thousands, number = divmod(number, 1000)
        hundreds, number = divmod(number, 100)
        tens, kind = divmod(number, 10)
        if thousands != (order == ">") or hundreds or tens not in _V4_TYPES:
            raise ValueError(f"the array at byte {place} is of no known type")
        if kind not in (0, 1, 2) or imaginary not in (0, 1) or min(rows, columns) < 0:
            raise ValueError(f"the array at byte {place} has a broken head")
        if not 0 < n_name <= _MAX_NAME:
            raise ValueError(f"the array at byte {place} has no name")
        dtype = _V4_TYPES[tens]
        start = place + 20 + n_name
        n_bytes = rows * columns * np.dtype(dtype).itemsize
        name = data[place + 20 : start].decode("latin-1").partition("\0")[0]
        place = start + n_bytes * (1 + imaginary)
        if place > len(data):
            raise ValueError(f"the array {name!r} reaches beyond its end")
        found.append(
            _Variable(
                name=name,
                kind=("", "char", "sparse")[kind] or _V4_NAMES[dtype],
                shape=(rows, columns),
                is_number=kind == 0,
                is_complex=bool(imaginary),
                dtype=order + dtype,
                start=start,
                n_bytes=n_bytes,
            )
        )
    return order, found


def _as_whole(array: np.ndarray, name: str) -> np.ndarray:
    """Return numbers as int64; MATLAB keeps ids as double."""
    if array.dtype.kind == "u" and array.itemsize == 8 and array.size:
        if array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{name} holds the value {array.max()}.")
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite real numbers.")
    if array.size and np.abs(array).max() >= 2.0**63:
        raise ValueError(f"{name} holds values too large for ids.")
    whole = array.astype(np.int64)
    if (whole != array).any():
        raise ValueError(f"{name} holds values that are not whole numbers.")
    return whole
