# SPDX-License-Identifier: BSD-3-Clause
"""Checks of numbers, names and choices that functions take as parameters.

Estimators say by `_parameter_constraints` what is allowed; these do so for functions.
True and False are no numbers, though Python counts with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

__all__ = [
    "LARGEST_PIXEL",
    "LARGEST_VOXEL",
    "SMALLEST_PIXEL",
    "UNIT_HINT",
    "as_list",
    "as_numbers",
    "check_choice",
    "check_flag",
    "check_names",
    "check_number",
    "check_pixel_size",
    "is_number",
]

SMALLEST_PIXEL, LARGEST_PIXEL = 0.01, 20.0
"""Micrometres that a pixel of a micrograph may measure: beyond, a unit is mistaken."""

LARGEST_VOXEL = 10_000.0
"""The same for images of any kind, such as MRI."""

UNIT_HINT = "0.25 micrometres are 250 nanometres, or 0.00025 millimetres"


def is_number(value: object, *, whole: bool = False) -> bool:
    """Tell a number, or a whole one; True and False are none."""
    kind = Integral if whole else Real
    if not isinstance(value, kind) or isinstance(value, bool | np.bool_):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def as_numbers(value: Any, name: str, expected: str) -> np.ndarray:
    """Take a sequence of numbers as floats, or say what was expected.

    NaN and infinity pass; texts and True and False, which numpy would convert, do not.

    Raises
    ------
    TypeError, ValueError
        If it is no sequence, or holds what is no number.
    """
    problem = f"{name} must be {expected}, got {shown(value)}."
    if isinstance(value, str | bytes | dict | set) or np.ma.isMaskedArray(value):
        raise TypeError(problem)
    try:
        array = np.asarray(value)
    except ValueError:  # of several lengths
        raise ValueError(problem) from None
    if array.ndim == 0:
        raise TypeError(problem)
    if array.dtype.kind == "O" and all(map(is_number, array.ravel().tolist())):
        return array.astype(np.float64)
    # Among floats numpy takes True for 1.
    hidden = isinstance(value, list | tuple) and any(
        isinstance(one, bool | np.bool_) for one in value
    )
    if array.size and (array.dtype.kind not in "iuf" or hidden):
        raise TypeError(problem)
    return array.astype(np.float64)


def check_number(
    value: Any,
    name: str,
    low: float,
    high: float = math.inf,
    *,
    whole: bool = False,
    inclusive: bool = False,
) -> None:
    """Refuse what is no number above `low` and below `high`.

    Parameters
    ----------
    value : object
    name : str
        What errors call it.
    low, high : float
        With `inclusive` they are allowed themselves.
    whole : bool, default=False
        Whether it must be a whole number.
    inclusive : bool, default=False

    Raises
    ------
    ValueError
        If it is none; also where it is no number at all.
    """
    fits = is_number(value, whole=whole)
    if fits:
        fits = low < value < high or (inclusive and value in (low, high))
    if fits:
        return
    what = "a whole number" if whole else "a number"
    if inclusive:
        limit = f"from {low:g} on" if high == math.inf else f"from {low:g} to {high:g}"
    else:
        limit = f"above {low:g}" + ("" if high == math.inf else f" and below {high:g}")
    raise ValueError(f"{name} must be {what} {limit}, got {shown(value)}.")


def check_flag(value: Any, name: str) -> bool:
    """Return a bool, or refuse what is none."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise TypeError(f"{name} must be True or False, got {shown(value)}.")


def check_choice(value: Any, name: str, choices: Sequence[str | None]) -> None:
    """Refuse what is none of some names (and None, if that is among them)."""
    if value is None or isinstance(value, str):
        if value in choices:
            return
    told = [repr(choice) for choice in choices]
    listed = " or ".join([", ".join(told[:-1]), told[-1]] if told[1:] else told)
    raise ValueError(f"{name} must be {listed}, got {shown(value)}.")


def as_list(value: Any, name: str, expected: str) -> list:
    """Take a sequence apart; a text alone is none.

    Raises
    ------
    TypeError
        If it is no sequence.
    """
    one = isinstance(value, str | bytes | dict) or not isinstance(value, Iterable)
    if one or getattr(value, "ndim", 1) == 0:
        raise TypeError(f"{name} must be {expected}, got {shown(value)}.")
    return list(value)


def check_names(
    names: Any, n_named: int, name: str = "names", kind: str = "image"
) -> list[str]:
    """Return names of images as a list, or say what is wrong with them."""
    listed = as_list(names, name, f"a list with one name for each {kind}")
    for index, one in enumerate(listed):
        # Numbers serve as names of slides; True and lists are a slip.
        if not isinstance(one, str) and not is_number(one, whole=True):
            raise TypeError(
                f"{name}[{index}] must be a str, got {shown(one)}; give one name for "
                f"each {kind}."
            )
    if len(listed) != n_named:
        raise ValueError(
            f"{name} holds {len(listed)} names, but there are {n_named} "
            f"{'classes' if kind == 'class' else f'{kind}s'}."
        )
    return [str(one) for one in listed]


def check_pixel_size(
    value: Any, name: str = "pixel_size", *, largest: float = LARGEST_PIXEL
) -> float:
    """Return micrometres per pixel, or say what is wrong with them.

    Raises
    ------
    TypeError
        If it is no number.
    ValueError
        If it is below 0.01 or above `largest`.
    """
    if not is_number(value):
        raise TypeError(
            f"{name} must be a number of micrometres per pixel, got {shown(value)}."
        )
    # A hair more, so that sizes that were scaled and back are what they were.
    if not SMALLEST_PIXEL * (1 - 1e-9) <= value <= largest * (1 + 1e-9):
        raise ValueError(
            f"{name} must be a positive number of micrometres per pixel, from "
            f"{SMALLEST_PIXEL:g} to {largest:g}, got {shown(value)}. Is it given in "
            f"another unit? {UNIT_HINT}."
        )
    return float(value)


def shown(value: object) -> str:
    """Write a value for an error, cut where it is long."""
    if isinstance(value, int) and abs(value) > 10**30:
        return f"an int of {value.bit_length()} bits"  # which may be too long to write
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:97]}..."
