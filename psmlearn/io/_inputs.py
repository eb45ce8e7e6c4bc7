# SPDX-License-Identifier: BSD-3-Clause
"""What users hand in as images, taken apart and checked item by item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from psmlearn._images._checks import (
    describe,
    drop_alpha,
    is_foreign_tensor,
    kind_problem,
    value_problem,
)
from psmlearn.io._collections import (
    is_collection,
    path_array_as_list,
    prefix,
    refuse_kind,
)
from psmlearn.io._paths import as_path, is_path
from psmlearn.io._read import decode_image


class ImageProblems:
    """What the checks of one call have found so far."""

    def __init__(self, n_channels: int | None) -> None:
        self.n_channels = n_channels
        self.source: str | None = None
        self.problems: list[str] = []
        self.translucent: list[str] = []
        self.lost_alpha = False

    def note_channels(self, n_channels: int, name: str) -> bool:
        """Compare a channel count with the one expected; tell if it agrees."""
        if self.n_channels is None:
            self.n_channels, self.source = n_channels, name
        if n_channels == self.n_channels:
            return True
        expected = f"expected {self.n_channels}"
        if self.source is not None:
            expected += f", as in {self.source}"
        self.problems.append(
            f"{name} has {n_channels} channel(s); {expected}{_advice(n_channels, self)}"
        )
        return False


def _advice(n_channels: int, found: ImageProblems) -> str:
    """Say how to mend a channel count."""
    if n_channels == 1 and found.n_channels == 3:
        return "; use skimage.color.gray2rgb(image) if grey is what you mean"
    if n_channels == 4 and found.n_channels == 3:
        return "; use image[..., :3] if the fourth is alpha"
    return ""


def as_items(X: Any, caller: str, *, any_range: bool = False) -> tuple[list[Any], str]:
    """Take a collection of images apart: items and the kind of container."""
    if not is_collection(X):
        refuse_kind(X, "image", caller)
    if isinstance(X, list | tuple):
        if len(X) == 0:
            raise ValueError(
                f"{prefix(caller)}Found no image: the list is empty; at least one "
                "image is required."
            )
        return [as_path(x) if is_path(x) else x for x in X], "list"
    array = np.asarray(X)
    paths = path_array_as_list(array)
    if paths is not None:
        return paths, "list"
    problem = _array_problem(array, X, any_range)
    if problem is not None:
        raise ValueError(f"{prefix(caller)}{problem}.")
    return list(array), "array"


def _array_problem(array: np.ndarray, given, any_range: bool) -> str | None:
    """Say why an array cannot hold images, or None."""
    if isinstance(given, np.ma.MaskedArray):
        return "images came as a masked array; use X.filled(value)"
    if array.dtype.kind == "O":
        return (
            f"images came as an object array of shape {array.shape}; give a list "
            "of arrays or paths: list(X)"
        )
    if array.ndim == 4 and array.shape[0] == 0:
        return f"Found no image: X has shape {array.shape}; at least one is required"
    if array.ndim in (2, 3):
        reading = (
            "(height, width[, channels]) is one image: use [image], or "
            "image[numpy.newaxis]"
        )
        if array.ndim == 3:
            reading += "; a stack of grey images needs X[..., numpy.newaxis]"
        return (
            f"images came as an array of {array.ndim} dimensions ({describe(array)}); "
            f"expected (n_images, height, width, channels). {reading}"
        )
    if array.ndim != 4:
        return (
            f"images came as an array of {array.ndim} dimensions ({describe(array)}); "
            "expected (n_images, height, width, channels), or a list of images"
        )
    problem = kind_problem(array[0], any_range=any_range)
    return f"image 0 of {len(array)}: {problem}" if problem else None


def check_item(
    item,
    name: str,
    found: ImageProblems,
    *,
    value_range: tuple[float, float] | None,
    label_channel: int | Sequence[int] | None,
) -> np.ndarray | None:
    """Check one image; return it as stored, or None with the problem noted."""
    array, opaque = _as_array(item, name, found)
    if array is None:
        return None
    problem = kind_problem(array, any_range=value_range is None)
    if problem is None:
        kept, item_opaque = drop_alpha(array, label_channel)
        found.lost_alpha |= kept.ndim == 3 and kept.shape != array.shape
        array = kept
        if not (opaque and item_opaque):
            found.translucent.append(name)
        n_channels = array.shape[2] if array.ndim == 3 else 1
        if not found.note_channels(n_channels, name):
            return None
        problem = value_problem(
            array, value_range=value_range, label_channel=label_channel
        )
    if problem is not None:
        found.problems.append(f"{name}: {problem}")
        return None
    return array


def _as_array(item, name: str, found: ImageProblems) -> tuple[np.ndarray | None, bool]:
    """Decode or convert one item; a wrong kind is noted and gives None."""
    if isinstance(item, str):
        try:
            decoded = decode_image(item)
            return decoded.array, decoded.opaque
        except (OSError, ValueError) as error:
            found.problems.append(f"{name}: {str(error).rstrip('.')}")
            return None, True
    if isinstance(item, np.ma.MaskedArray):
        problem = "is a masked array; use image.filled(value)"
    elif isinstance(item, np.ndarray):
        return np.asarray(item), True
    elif is_foreign_tensor(item):
        problem = (
            f"is a {type(item).__module__.split('.')[0]} {type(item).__name__}; use "
            "tensor.cpu().numpy(), channels last"
        )
    elif hasattr(item, "tocsr"):
        problem = "is a sparse matrix; use .toarray()"
    elif hasattr(item, "__array__") and not np.isscalar(item):
        return np.asarray(item), True
    else:
        problem = (
            f"is a {type(item).__name__}; expected an array (height, width[, "
            "channels]) or a path"
        )
    found.problems.append(f"{name} {problem}")
    return None, True
