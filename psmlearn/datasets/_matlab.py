# SPDX-License-Identifier: BSD-3-Clause
"""Label planes in MATLAB files, checked before they are decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from psmlearn.datasets._folders import check_mask_size, tell_names

_NUMBERS = {"double", "single", "logical"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


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
        If the file is broken, of MATLAB 7.3, lacks a key, or holds no such
        planes; the path is named, and the keys that were found.
    """
    from scipy.io import loadmat, whosmat

    declared = _decode(whosmat, path)
    found = {name: (shape, kind) for name, shape, kind in declared}
    for key in keys:
        if key not in found:
            raise ValueError(
                f"{path!r} has no key {key!r}; it holds "
                f"{tell_names(sorted(found)) or 'no key at all'}."
            )
        shape, kind = found[key]
        if kind not in _NUMBERS or len(shape) != 2:
            raise ValueError(
                f"{path!r}: {key!r} is {kind} of shape {shape}; expected numbers of "
                "shape (height, width)."
            )
        check_mask_size(path, shape, image)
    arrays = _decode(loadmat, path, variable_names=list(keys))
    return [_as_whole(arrays[key], f"{path!r}: {key!r}") for key in keys]


def _decode(function: Callable[..., Any], path: str, **options: Any) -> Any:
    """Call a reader of SciPy's, and name the file in whatever it raises."""
    try:
        return function(path, appendmat=False, **options)
    except MemoryError:
        raise
    except NotImplementedError as error:
        raise ValueError(
            f"{path!r} is of MATLAB 7.3 (HDF5), which is not read; save it with "
            "save(..., '-v7') or scipy.io.savemat."
        ) from error
    except Exception as error:  # decoders raise nearly anything on broken files
        raise ValueError(f"{path!r} is a broken MATLAB file: {error}.") from error


def _as_whole(array: np.ndarray, name: str) -> np.ndarray:
    """Return numbers as int64; MATLAB keeps ids as double."""
    if array.dtype.kind in "biu":
        return array.astype(np.int64)
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite real numbers.")
    whole = array.astype(np.int64)
    if (whole != array).any():
        raise ValueError(f"{name} holds values that are not whole numbers.")
    return whole
