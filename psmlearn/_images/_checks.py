# SPDX-License-Identifier: BSD-3-Clause
"""Checks and conversions of one image or one mask, given as an array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
from scipy import ndimage

from psmlearn._images._greys import greys_problem
from psmlearn._warnings import warn_user
from psmlearn.exceptions import AnnotationWarning

_MAX_INTEGER = {1: np.float32(255), 2: np.float32(65535)}
_MAX_ID = np.iinfo(np.int32).max
UNIT_RANGE = (0.0, 1.0)
# A brightfield image is pale somewhere. One whose brightest value is below this part of
# full light is of another range, or of something else.
_LEAST_LIGHT = 0.25
_LEAST_LIGHT_OF_16_BITS = 0.5
_HOT, _LEAST_REST = 1e-4, 0.02
_LEAST_LIT, _FEW, _ROUNDING = 0.005, 16, 1e-4
_USUAL_WHITES = (255, 1023, 4095, 16383, 32767)
# Pieces of an object of which all but the largest, by its area, may be specks.
_SPECKS, _MOST_PIECES = 0.1, 4
_STEP = 13


def describe(array: np.ndarray) -> str:
    """Say in words what an array is: its shape and dtype."""
    return f"shape {array.shape}, dtype {array.dtype}"


def is_foreign_tensor(value: object) -> bool:
    """Tell a tensor of another library (torch, jax, tensorflow) by its type."""
    module = type(value).__module__.split(".")[0]
    return module in ("torch", "jax", "jaxlib", "tensorflow")


def is_own_range(
    value_range: tuple[float, float] | None,
) -> TypeGuard[tuple[float, float]]:
    """Tell a range that the user gave from [0, 1], and from any range (None)."""
    return value_range is not None and tuple(value_range) != UNIT_RANGE


def _dtype_problem(array: np.ndarray, any_range: bool) -> str | None:
    """Say why the dtype cannot hold an image, or None."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind in "bf" or (kind == "u" and size in _MAX_INTEGER):
        return None
    if kind in "iu" and any_range:  # such as the int16 of many scanners
        return None
    if kind == "c":
        return (
            f"Complex data not supported: dtype {array.dtype}; give the magnitude "
            "or the real part"
        )
    if kind in "iu":
        low, high = (array.min(), array.max()) if array.size else (0, 0)
        if low >= 0 and high <= 65535:
            target = "uint8" if high <= 255 else "uint16"
            advice = f"its values fit: use image.astype(numpy.{target}), or give"
        else:
            advice = f"its values run from {low} to {high}: give"
        return (
            f"dtype {array.dtype} has no known white; {advice} the range, as with "
            f"psmlearn.io.check_images(images, value_range=({min(low, 0)}, "
            f"{_usual_white(int(high))}))"
        )
    advice = (
        "give a list of numeric arrays, one per image"
        if kind == "O"
        else "expected uint8, uint16, bool or floats"
    )
    return f"dtype {array.dtype} is not an image; {advice}"


def _shape_problem(array: np.ndarray) -> str | None:
    """Say why the shape cannot be an image's, or None."""
    if array.ndim not in (2, 3):
        return (
            f"has {array.ndim} dimensions (shape {array.shape}); expected "
            "(height, width) or (height, width, channels)"
        )
    if array.size == 0:
        return f"is empty: shape {array.shape}; every side must be at least 1"
    if array.ndim == 3 and array.shape[0] <= 4 and array.shape[2] > 16:
        return (
            f"looks channels-first: shape {array.shape}; expected (height, width, "
            "channels), use numpy.moveaxis(image, 0, -1)"
        )
    return None


def _range_problem(
    low: float, high: float, value_range: tuple[float, float] | None
) -> str | None:
    """Say why values between `low` and `high` are refused, or None."""
    if np.isnan(low) or np.isnan(high):
        return "holds NaN; fill it first, as with numpy.nan_to_num"
    if np.isinf(low) or np.isinf(high):
        return "holds infinity; clip or mask it first"
    if max(-low, high) > float(np.finfo(np.float32).max):
        return f"holds values from {low:.6g} to {high:.6g}, too large for float32"
    if value_range is None or (low >= value_range[0] and high <= value_range[1]):
        return None
    came = f"holds values from {low:.6g} to {high:.6g}; expected "
    if is_own_range(value_range):
        limits = f"({value_range[0]:g}, {value_range[1]:g})"
        return (
            came + f"what is within value_range={limits}: clip it, or widen the range"
        )
    came += "floats within [0, 1]: "
    if low < 0:
        return came + "rescale the image"
    if high <= 2:
        return came + "use numpy.clip(image, 0, 1), or rescale the image"
    if high <= 65535:
        return came + f"divide by {255 if high <= 255 else 65535}"
    return came + "rescale the image"


def _usual_white(highest: int) -> int:
    """Return the largest value of as many bits as are usual and needed."""
    fitting = [white for white in (*_USUAL_WHITES, 65535) if white >= highest]
    return fitting[0] if fitting else highest


def range_doubt(array: np.ndarray) -> str | None:
    """Say which white is likelier where an image fills but a part of its range.

    A few hot pixels, and pixels of the very white (of padding), say nothing.

    Returns
    -------
    str or None
        What it looks like, and the `value_range` to give; None where nothing is odd.
    """
    kind, size = array.dtype.kind, array.dtype.itemsize
    if array.size == 0 or kind not in "uf":
        return None
    full = float(np.iinfo(array.dtype).max) if kind == "u" else 1.0
    least = _LEAST_LIGHT_OF_16_BITS if (kind, size) == ("u", 2) else _LEAST_LIGHT
    top = array.max()
    if top > least * full:
        white = array == full
        rest = array.size - np.count_nonzero(white)
        bright = np.count_nonzero(array > least * full) - (array.size - rest)
        if bright > _HOT * rest or rest < _LEAST_REST * array.size:
            return None
        dim = array[array <= least * full]
        top = dim.max() if dim.size else top
    if array.min() == top or np.count_nonzero(array > top / 2) < max(
        _LEAST_LIT * array.size, _FEW
    ):
        return None  # blank, but for a few pixels
    if kind == "f":
        if top < _ROUNDING:
            return None
        told = f"its brightest value is {top:.3g} of 1"
        if top <= 1 / 255:
            told += ", as if it had been divided twice: value_range=(0, 1 / 255)"
        return told
    likely = "" if size == 1 else f": value_range=(0, {_usual_white(int(top))})"
    return f"its brightest value is {top} of {full:.0f}{likely}"


def _label_channel_problem(channel: np.ndarray) -> str | None:
    """Say why a channel cannot hold labels, or None."""
    if channel.dtype.kind != "f":
        return None
    if not np.isfinite(channel).all():
        return "holds NaN or infinity in its label channel"
    if channel.min() < -1 or (channel != np.rint(channel)).any():
        return (
            "holds values in its label channel that are not labels; expected whole "
            "numbers of at least -1"
        )
    return None


def kind_problem(array: np.ndarray, *, any_range: bool = False) -> str | None:
    """Say why dtype or shape cannot be those of an image, or None.

    Integers without a known white are images only where any range will do.
    """
    return _dtype_problem(array, any_range) or _shape_problem(array)


def _label_channels(label_channel: int | Sequence[int] | None) -> list[int]:
    """Return the channels that hold labels, as a list."""
    return [] if label_channel is None else np.ravel(label_channel).tolist()


def value_problem(
    array: np.ndarray,
    *,
    value_range: tuple[float, float] | None = (0.0, 1.0),
    label_channel: int | Sequence[int] | None = None,
) -> str | None:
    """Say why the values of an image of a sound kind are refused, or None.

    Floats, and what has a range of its own, are looked at by their extremes: no copy
    is made.
    """
    n_channels = array.shape[2] if array.ndim == 3 else 1
    if label_channel is None:
        looked_at = "fiu" if is_own_range(value_range) else "f"
        if array.dtype.kind not in looked_at:
            return None
        return _range_problem(float(array.min()), float(array.max()), value_range)
    labels = _label_channels(label_channel)
    for label in labels:
        if not -n_channels <= label < n_channels:
            return f"has {n_channels} channels, so no label_channel={label}"
    planes = array.reshape(array.shape[:2] + (n_channels,))
    labels = [label % n_channels for label in labels]
    for channel in range(n_channels):
        plane = planes[..., channel]
        if channel in labels:
            problem = _label_channel_problem(plane)
        else:
            problem = value_problem(plane, value_range=value_range)
        if problem is not None:
            return problem
    return None


def drop_alpha(
    array: np.ndarray, label_channel: int | Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Drop the alpha of an RGBA image; return it as well, None where there is none.

    Four channels of uint8 or uint16 are RGBA; four channels of floats are an
    image and a map, and are kept, as is a stack that has a label channel. Of two
    channels the second is alpha where it holds nothing but no and full light.
    """
    if label_channel is not None or array.ndim != 3 or array.dtype.kind != "u":
        return array, None
    if array.shape[2] == 4:
        return array[..., :3], array[..., 3]
    if array.shape[2] == 2:
        alpha = array[..., 1]
        opaque = alpha == np.iinfo(array.dtype).max
        if opaque.any() and (opaque | (alpha == 0)).all():
            return array[..., :1], alpha
    return array, None


def scale_image(
    array: np.ndarray,
    label_channel: int | Sequence[int] | None = None,
    value_range: tuple[float, float] | None = UNIT_RANGE,
) -> np.ndarray:
    """Convert a checked image to a fresh float32 array (height, width, channels).

    uint8 and uint16 are divided (not multiplied by the inverse), so that they
    agree bit for bit with floats that the caller has divided himself. What is within
    a range of its own, of floats or integers, is brought to [0, 1].
    """
    if array.ndim == 2:
        array = array[..., np.newaxis]
    scaled = np.empty(array.shape, dtype=np.float32)
    white = _MAX_INTEGER.get(array.dtype.itemsize)
    if is_own_range(value_range) and array.dtype.kind != "b":
        # In float64, which holds integers of 32 bits; the same bits where 24 will do.
        low, high = value_range
        values = np.subtract(array, low, dtype=np.float64)
        values /= high - low
        scaled[...] = values
    elif array.dtype.kind == "u" and white is not None:
        np.true_divide(array, white, out=scaled, dtype=np.float32)
    else:
        scaled[...] = array
    if label_channel is not None:
        scaled[..., label_channel] = array[..., label_channel]
    return scaled


def as_float_image(
    array: np.ndarray,
    name: str,
    *,
    value_range: tuple[float, float] | None = (0.0, 1.0),
    label_channel: int | Sequence[int] | None = None,
) -> np.ndarray:
    """Check one image and convert it to float32.

    Parameters
    ----------
    array : ndarray of shape (height, width) or (height, width, channels)
        uint8, uint16 and bool are scaled to [0, 1]; floats must be finite and
        within `value_range`. Four channels of uint8 or uint16 are RGBA: the
        alpha is dropped.
    name : str
        What to call the image in errors, such as "image 3".
    value_range : tuple of two floats or None, default=(0.0, 1.0)
        Range of floats; None takes any finite value.
    label_channel : int, sequence of int or None, default=None
        Channels that hold labels: neither scaled nor held to the range.

    Returns
    -------
    ndarray of shape (height, width, channels), dtype float32
        Always a fresh C-contiguous array, never a view of the input.

    Raises
    ------
    TypeError
        If `array` is not an array.
    ValueError
        If its dtype, shape or values cannot be an image's.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._checks import as_float_image
    >>> as_float_image(np.full((4, 5), 255, dtype=np.uint8), "image 0").shape
    (4, 5, 1)
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is a {type(array).__name__}; expected a numpy array")
    problem = kind_problem(array, any_range=value_range != UNIT_RANGE)
    if problem is None:
        array, _ = drop_alpha(array, label_channel)
        problem = value_problem(
            array, value_range=value_range, label_channel=label_channel
        )
    if problem is not None:
        raise ValueError(f"{name}: {problem}.")
    return scale_image(array, label_channel, value_range)


def stencil_problem(ids: np.ndarray, doubts: list[str] | None = None) -> str | None:
    """Say why a plane of ids is a mask of foreground whose objects are not told apart.

    One value in several pieces (8-connected; unknown pixels join what they touch) is
    no id. It may be one where a nucleus was cut by the border of a crop, or where all
    but one piece are specks.

    Parameters
    ----------
    ids : ndarray of shape (height, width), integer or bool
    doubts : list of str or None, default=None
        Takes what is said of such a nucleus, which is no problem.

    Returns
    -------
    str or None
    """
    value = int(ids.max())
    few = ids[::_STEP, ::_STEP]  # most masks tell by them that they hold several
    if value < 1 or ((few > 0) & (few != value)).any():
        return None
    if np.count_nonzero(ids > 0) != np.count_nonzero(ids == value):
        return None
    pieces = _pieces(ids, value)
    advice = "use skimage.measure.label(mask > 0), which gives each object its own id"
    if value == 255 and (ids.dtype.itemsize == 1 or len(pieces) > 1):
        return f"is a 0/255 mask, not a label image: {advice}"
    if len(pieces) < 2:
        return None
    holds = f"holds one value, {value}, in {len(pieces)} separate pieces"
    white = ids.dtype.kind == "b" or (
        ids.dtype.kind == "u" and value == np.iinfo(ids.dtype).max
    )
    if white or not _may_be_one(pieces, ids.shape):
        return f"{holds}, which would count as one object: {advice}"
    if doubts is not None:
        doubts.append(f"{holds}, which count as one object; if they are more, {advice}")
    return None


def _pieces(
    ids: np.ndarray, value: int, *, alone: bool = False
) -> list[tuple[int, tuple[slice, ...]]]:
    """Return area and bounding box of each piece of an object.

    One piece has no box, unless it is asked for `alone`, too.
    """
    own = ids == value
    unknown = ids < 0 if ids.dtype.kind == "i" else None
    joined = own if unknown is None else own | unknown
    pieces, n_pieces = ndimage.label(joined, structure=np.ones((3, 3)))
    if n_pieces < 2 and not alone:
        return [(0, ())] * n_pieces
    pieces[~own] = 0
    areas = np.bincount(pieces.ravel(), minlength=n_pieces + 1)[1:]
    boxes = ndimage.find_objects(pieces, n_pieces)
    return [(int(n), box) for n, box in zip(areas, boxes, strict=True) if n]


def inner_pieces(ids: np.ndarray) -> int:
    """Count the separate pieces of one value in a block of a label image.

    Only those are counted that end within the block, so that they are pieces of the
    whole image, too; 0 where the block holds several values above 0, or unknown
    pixels, which may join pieces.
    """
    value = int(ids.max(initial=0))
    if value < 1 or ((ids != 0) & (ids != value)).any():
        return 0
    height, width = ids.shape
    return sum(
        0 < rows.start and rows.stop < height and 0 < cols.start and cols.stop < width
        for _, (rows, cols) in _pieces(ids, value, alone=True)
    )


def spread_problem(value: int, n_pieces: int, dtype: np.dtype) -> str | None:
    """Say why the only value of a label image, in so many pieces, is no id.

    As `stencil_problem`, where the image is never there as a whole: pieces may have
    been missed, so that few of them may be one object that was cut.
    """
    white = dtype.kind == "b" or (dtype.kind == "u" and value == np.iinfo(dtype).max)
    advice = "use skimage.measure.label(mask > 0), which gives each object its own id"
    if value == 255 and dtype.itemsize == 1:
        return f"is a 0/255 mask, not a label image: {advice}"
    if n_pieces > (1 if white else _MOST_PIECES):
        return (
            f"holds one value, {value}, in {n_pieces} or more separate pieces, which "
            f"would count as one object: {advice}"
        )
    return None


def _may_be_one(
    pieces: list[tuple[int, tuple[slice, ...]]], shape: tuple[int, ...]
) -> bool:
    """Tell pieces of one nucleus: specks beside it, or two along a border of the crop.

    Either way the value may be an id.
    """
    if len(pieces) > _MOST_PIECES:
        return False
    areas = [area for area, _ in pieces]
    if sum(areas) - max(areas) <= _SPECKS * max(areas):
        return True
    if len(pieces) > 2:
        return False
    (top, left), (other_top, other_left) = (box for _, box in pieces)
    return any(
        (one.start == other.start == 0) or (one.stop == other.stop == side)
        for one, other, side in (
            (top, other_top, shape[0]),
            (left, other_left, shape[1]),
        )
    )


def ids_problem(ids: np.ndarray, doubts: list[str] | None = None) -> str | None:
    """Say why values are no ids; see `stencil_problem` and `greys_problem`."""
    problem = stencil_problem(ids, doubts)
    if problem is not None or ids.dtype.kind == "b":
        return problem
    return greys_problem(ids, doubts)


def label_problem(
    array: np.ndarray, doubts: list[str] | None = None, kind: str = "ids"
) -> str | None:
    """Say why an array cannot be a label image, or None; see `as_label_image`."""
    if isinstance(array, np.ma.MaskedArray):
        return "is a masked array; use array.filled(0) first"
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 2):
        advice = ""
        if array.ndim == 3 and array.shape[2] in (3, 4):
            advice = "; labels drawn in colours must be turned into ids first"
        return (
            f"has shape {array.shape}; expected (height, width) ids, or (height, "
            f"width, 2) with the classes in the second plane{advice}"
        )
    if array.size == 0:
        return f"is empty: shape {array.shape}"
    ids = array[..., 0] if array.ndim == 3 else array
    if array.dtype.kind == "b":
        return stencil_problem(ids, doubts) if kind == "ids" else None
    if array.dtype.kind not in "iu":
        return (
            f"has dtype {array.dtype}; expected integer ids, 0 for background: use "
            "mask.astype(numpy.int32) if the values are ids, or "
            "skimage.measure.label(mask > 0.5) if they are a foreground map"
        )
    low, high = int(array.min()), int(array.max())
    if low < -1:
        return (
            f"holds the value {low}; expected 0 for background, 1..n for objects and "
            "-1 for unknown"
        )
    if high > _MAX_ID:
        return f"holds the id {high}, above {_MAX_ID}; relabel it from 1"
    return ids_problem(ids, doubts) if kind == "ids" else None


def as_label_image(
    array: np.ndarray, name: str, doubts: list[str] | None = None, kind: str = "ids"
) -> np.ndarray:
    """Check one label image and convert it to int32.

    Parameters
    ----------
    array : ndarray of shape (height, width) or (height, width, 2)
        Integer (or bool) ids: 0 background, 1..n one id per object, -1 unknown;
        a second plane holds the classes. Floats are refused, and so is a mask
        whose only value besides 0 lies in several pieces, or whose values lie
        scattered as greys and classes do.
    name : str
        What to call the mask in errors, such as "mask 3".
    doubts : list of str or None, default=None
        Takes what would be warned of, for a caller that warns once for all masks.
    kind : {"ids", "classes"}, default="ids"
        What the first plane holds. The pixels of a class may lie anywhere.

    Returns
    -------
    ndarray of shape (height, width) or (height, width, 2), dtype int32
        The input itself where it is int32 already: do not write to it.

    Raises
    ------
    TypeError
        If `array` is not an array.
    ValueError
        If its dtype, shape or values cannot be a label image's.

    Warns
    -----
    AnnotationWarning
        If the only object may be one, and may be several; if the values may be greys.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._checks import as_label_image
    >>> as_label_image(np.array([[0, 1], [2, -1]]), "mask 0").dtype
    dtype('int32')
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is a {type(array).__name__}; expected a numpy array")
    found: list[str] = []
    problem = label_problem(array, found, kind)
    if problem is not None:
        raise ValueError(f"{name} {problem}.")
    if found and doubts is None:
        warn_user(f"{name} {found[0]}.", AnnotationWarning)
    elif doubts is not None:
        doubts.extend(f"{name} {doubt}" for doubt in found)
    return np.asarray(array, dtype=np.int32)
