# SPDX-License-Identifier: BSD-3-Clause
"""Volumes in NIfTI files, read with nibabel and turned into axial slices."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from psmlearn.io._limits import MAX_PIXELS

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
    columns from the patient's right to his left.

    Parameters
    ----------
    path : str

    Returns
    -------
    volume : ndarray of shape (n_slices, height, width), dtype float32
    pixel_size : float or None
        Micrometres within a slice; None if pixels are not square.

    Raises
    ------
    ValueError
        If the file is broken, not of three sides, or holds NaN or infinity; the
        path is named.
    """
    import nibabel
    from nibabel import orientations

    try:
        image: Any = nibabel.load(path)  # typed without what all NIfTI images have
        shape = image.shape
        if len(shape) != 3 or not 0 < np.prod(shape, dtype=float) <= MAX_PIXELS:
            raise ValueError(f"its shape is {shape}; expected three sides")
        if image.get_data_dtype().kind not in "iuf":
            raise ValueError(f"its dtype is {image.get_data_dtype()}")
        n_bytes = math.prod(shape) * image.get_data_dtype().itemsize
        if n_bytes > _MAX_RATIO * os.path.getsize(path):
            # Memory for all of it would be taken before the end is met.
            raise ValueError(f"it is too small for its shape, {shape}")
        turn = orientations.ornt_transform(
            orientations.io_orientation(image.affine),
            orientations.axcodes2ornt(("L", "P", "S")),
        )
        image = image.as_reoriented(turn)
        volume = np.asarray(image.dataobj, dtype=np.float32).transpose(2, 1, 0)
        zooms = np.array(image.header.get_zooms()[:2], dtype=float)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise nearly anything on broken files
        raise ValueError(f"{path!r} is a broken NIfTI file: {error}.") from error
    if not np.isfinite(volume).all():
        raise ValueError(f"{path!r} holds NaN or infinity.")
    is_square = np.isfinite(zooms).all() and zooms[0] > 0
    is_square = is_square and abs(zooms[0] - zooms[1]) < 1e-3 * zooms[0]
    return volume, round(1000.0 * zooms[0], 3) if is_square else None
