# SPDX-License-Identifier: BSD-3-Clause
"""Volumes in NIfTI files, read to their end and turned into axial slices."""

from __future__ import annotations

import io
import math
import os
import zlib
from typing import Any, BinaryIO

import numpy as np

from psmlearn.datasets._folders import is_regular
from psmlearn.io._logs import silenced

MAX_VOXELS = 1 << 28
"""1 GiB as float32: thirty times a volume of BraTS."""
_MAX_SIDE = 1 << 15
# Headers of both versions, with room for extensions.
_MAX_OFFSET = 1 << 24
_GZIP = b"\x1f\x8b"
_WITH_HEADER = 16 + zlib.MAX_WBITS
_PIECE = 1 << 14
# Micrometres of the units of length; files that tell none are in mm.
_UNITS = {0: 1000.0, 1: 1e6, 2: 1000.0, 3: 1.0}
_MAX_RATIO = 1100  # gzip makes files at most 1032 times smaller


def require_nibabel(caller: str) -> None:
    """Say how to install nibabel where it is missing."""
    try:
        import nibabel  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{caller} reads NIfTI files with nibabel, which is missing: pip install "
            '"psmlearn[data]" (or nibabel).'
        ) from error


def read_volume(path: str) -> tuple[np.ndarray, float | None]:
    """Read a volume as axial slices: (slices, rows, columns).

    Whatever the order in the file, slices run up, rows from front to back and
    columns from the patient's right to his left. Packed files are read to their
    end, so that their checksum is compared.

    Parameters
    ----------
    path : str

    Returns
    -------
    volume : ndarray of shape (n_slices, height, width), dtype float32
    pixel_size : float or None
        Micrometres within a slice, by the unit that the file tells (mm where it
        tells none); None if pixels are not square.

    Raises
    ------
    ValueError
        If the file is broken, longer or shorter than it tells, of more than
        `MAX_VOXELS` voxels, not of three sides, in no known unit of length, or
        holds NaN or infinity; the path is named.
    """
    from nibabel import orientations

    if not is_regular(path):
        raise FileNotFoundError(f"No such NIfTI file: {path!r}.")
    try:
        with silenced("nibabel.global"):
            image = _read_image(path)
        turn = orientations.ornt_transform(
            orientations.io_orientation(image.affine),
            orientations.axcodes2ornt(("L", "P", "S")),
        )
        image = image.as_reoriented(turn)
        with np.errstate(all="ignore"):  # what is not finite is told below
            volume = np.asarray(image.dataobj, dtype=np.float32).transpose(2, 1, 0)
        zooms = np.array(image.header.get_zooms()[:2], dtype=float)
        zooms *= _UNITS[int(image.header["xyzt_units"]) & 7]
    except MemoryError as error:
        raise MemoryError(f"{path!r} needs more memory than there is.") from error
    except Exception as error:  # decoders raise nearly anything on broken files
        raise ValueError(f"{path!r} is a broken NIfTI file: {error}.") from error
    if not np.isfinite(volume).all():
        raise ValueError(f"{path!r} holds NaN or infinity.")
    is_square = np.isfinite(zooms).all() and zooms[0] > 0
    is_square = is_square and abs(zooms[0] - zooms[1]) < 1e-3 * zooms[0]
    return volume, round(float(zooms[0]), 3) if is_square else None


def _read_image(path: str) -> Any:
    """Return an image of nibabel's in memory, neither longer nor shorter than told."""
    import nibabel

    with open(path, "rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        stream: Any = _Unpacked(file) if packed else file
        start = _read(stream, 4)
        sizes = {int.from_bytes(start, order) for order in ("little", "big")}
        kind: Any
        if 348 in sizes:
            kind = nibabel.Nifti1Image
        elif 540 in sizes:
            kind = nibabel.Nifti2Image
        else:
            raise ValueError("it does not begin as one")
        start += _read(stream, kind.header_class.sizeof_hdr - 4)
        header = kind.header_class.from_fileobj(io.BytesIO(start), check=True)
        n_bytes = _count_bytes(header, os.path.getsize(path))
        offset = int(header["vox_offset"])
        head = bytearray(start + _read(stream, offset - len(start)))
        # One byte more: behind the last of a packed file lies its checksum.
        voxels = stream.read(n_bytes + 1)
    if len(voxels) != n_bytes:
        least = "more than " if len(voxels) > n_bytes else ""
        raise ValueError(
            f"it holds {least}{min(len(voxels), n_bytes)} bytes of voxels; expected "
            f"{n_bytes} for its shape, {header.get_data_shape()}"
        )
    _check_extensions(head, header)
    # The voxels need no extensions, so that nobody has to read them.
    head[header.sizeof_hdr : header.sizeof_hdr + 4] = bytes(4)
    if len(header.get_data_shape()) > 3:
        header.set_data_shape(_trim(header.get_data_shape()))
        head[: header.sizeof_hdr] = header.binaryblock
    image = kind.from_bytes(head + voxels)
    if not np.isfinite(image.affine).all():
        raise ValueError("its orientation is not finite")
    return image


class _Unpacked:
    """A packed file, unpacked piece by piece; zlib compares its checksums.

    The gzip of the standard library does the same, in small pieces, half as fast.
    What follows a member is copied, so that pieces are small: there may be many.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._rest = b""
        self._stream = zlib.decompressobj(_WITH_HEADER)

    def read(self, n_bytes: int) -> bytearray:
        """Return the next bytes, fewer only at the end, which must be a sound one."""
        content = bytearray()
        while len(content) < n_bytes:
            if self._stream.eof and not self._begin_member():
                break
            piece = self._rest or self._file.read(_PIECE)
            part = self._stream.decompress(piece, n_bytes - len(content))
            if not (piece or part or self._stream.eof):
                raise ValueError("it ends before its checksum")
            content += part
            self._rest = self._stream.unconsumed_tail
            if self._stream.eof:
                self._rest = self._stream.unused_data
        return content

    def _begin_member(self) -> bool:
        """Go on to the next member, past zeros that fill a block, if there is one."""
        self._rest = self._rest.lstrip(b"\0")
        while not self._rest:
            piece = self._file.read(_PIECE)
            if not piece:
                return False
            self._rest = piece.lstrip(b"\0")
        self._stream = zlib.decompressobj(_WITH_HEADER)
        return True


def _read(stream: BinaryIO | _Unpacked, n_bytes: int) -> bytes | bytearray:
    content = stream.read(n_bytes)
    if len(content) < n_bytes:
        raise ValueError("it ends within its header")
    return content


def _check_extensions(content: bytearray, header: Any) -> None:
    """Refuse extensions that do not fill the place between header and voxels."""
    place, end = header.sizeof_hdr, int(header["vox_offset"])
    present, place = content[place] != 0, place + 4
    while present and place + 8 <= end:
        size = int.from_bytes(
            content[place : place + 4],
            "big" if header.endianness == ">" else "little",
            signed=True,
        )
        if size < 8 or place + size > end:
            raise ValueError(
                f"the extension at byte {place} tells {size} bytes; its voxels begin "
                f"at byte {end}"
            )
        place += size


def _trim(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without last sides of 1, as of a single moment, beyond three."""
    n_sides = len(shape)
    while n_sides > 3 and shape[n_sides - 1] == 1:
        n_sides -= 1
    return shape[:n_sides]


def _count_bytes(header: Any, n_stored: int) -> int:
    """Return how many bytes the voxels have, by their header, if that is sane."""
    shape, dtype = _trim(header.get_data_shape()), header.get_data_dtype()
    if header["magic"].tobytes().rstrip(b"\0") not in (b"n+1", b"n+2"):
        raise ValueError("its header is not one of a single file")
    if len(shape) != 3 or not all(0 < side <= _MAX_SIDE for side in shape):
        raise ValueError(f"its shape is {shape}; expected three sides")
    if math.prod(shape) * dtype.itemsize > _MAX_RATIO * n_stored:
        raise ValueError(f"it is too small for its shape, {shape}")
    if math.prod(shape) > MAX_VOXELS:
        raise ValueError(f"its shape is {shape}; up to {MAX_VOXELS} voxels are read")
    unit = int(header["xyzt_units"]) & 7
    if unit not in _UNITS:
        raise ValueError(f"its unit of length is number {unit}, which there is not")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ValueError(f"its dtype is {dtype}")
    offset = float(header["vox_offset"])
    least = header.sizeof_hdr + 4
    if not least <= offset <= _MAX_OFFSET or offset != int(offset):
        raise ValueError(f"its voxels begin at byte {offset:g}")
    return math.prod(shape) * dtype.itemsize
