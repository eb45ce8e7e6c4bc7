# SPDX-License-Identifier: BSD-3-Clause
"""Checks of what loaders and makers are asked for, each naming the parameter."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
from sklearn.utils import check_random_state

from psmlearn._typing import RandomState

MAX_MADE_PIXELS = 1 << 28
"""Of all images that are made at once: with masks, 3 GiB."""


def check_path(name: str, value: object) -> str:
    """Return a path as a str."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(
            f"{name} is {show(value)}; expected a path (str or os.PathLike)."
        )
    path = os.fsdecode(value)
    try:
        os.stat(path)
    except (ValueError, OSError) as error:  # null characters, lone surrogates
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            raise ValueError(
                f"{name} is {show(path)}, which cannot be a path: {error.args[-1]}."
            ) from error
    return path


def check_absolute(name: str, value: object) -> Path:
    """Return a path as an absolute Path; an empty one is no path."""
    path = check_path(name, value)
    if not path:
        raise FileNotFoundError(f"{name} is '', which is no path.")
    return Path(path).absolute()


def check_text(name: str, value: object) -> str:
    """Return a text, composed, so that names compare whatever wrote them."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {show(value)}; expected a str.")
    return compose(value)


def check_flag(name: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {show(value)}; expected True or False.")
    return bool(value)


def check_choice(name: str, value: object, choices: Sequence[str | None]) -> None:
    """Refuse what is none of some texts (or None, where that is one of them)."""
    told = f"{name} is {show(value)}; expected one of {tuple(choices)}."
    if not isinstance(value, str) and not (value is None and None in choices):
        raise TypeError(told)
    if value not in choices:
        raise ValueError(told)


def check_names(name: str, value: object) -> list[str]:
    """Return a list of texts; a text alone is none."""
    if isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; expected a list of names, [{value!r}].")
    if (
        not isinstance(value, Sequence | np.ndarray)
        or isinstance(value, bytes | bytearray | memoryview)
        or np.ndim(np.empty(0) if isinstance(value, Sequence) else value) != 1
    ):
        raise TypeError(f"{name} is {show(value)}; expected a list of names.")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise TypeError(f"{name}[{index}] is {show(item)}; expected a str.")
    return [str(item) for item in value]


def check_numbered(name: str, value: object) -> dict[str, int]:
    """Return a mapping of texts to whole numbers from 0 on."""
    if not isinstance(value, Mapping) or not value:
        raise TypeError(
            f"{name} is {show(value)}; expected a dict of a number for each text."
        )
    for text, number in value.items():
        if not isinstance(text, str):
            raise TypeError(f"{name} has the key {show(text)}; expected a str.")
        if not isinstance(number, Integral) or isinstance(number, bool):
            raise TypeError(f"{name}[{text!r}] is {show(number)}; expected an int.")
        if not 0 <= int(number) < 1 << 31:
            raise ValueError(f"{name}[{text!r}] is {number}; expected 0 or more.")
    return {text: int(number) for text, number in value.items()}


def check_pattern(value: object) -> re.Pattern:
    """Return group_pattern compiled, for composed texts."""
    if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
        return value
    if not isinstance(value, str):
        raise TypeError(
            f"group_pattern is {show(value)}; expected a str, or a regular "
            "expression compiled from one."
        )
    try:
        return re.compile(compose(value))
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(
            f"group_pattern {value!r} is no regular expression: {error}."
        ) from error


def check_count(name: str, value: object, least: float) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} is {show(value)}; expected an int.")
    if value < least:
        raise ValueError(f"{name} is {value}; expected at least {least:g}.")


def check_number(name: str, value: Any, most: float, least: float = 0.0) -> None:
    # A Fraction is a number, too, but not one that numpy reckons with.
    plain = isinstance(value, int | float | np.integer | np.floating)
    if not plain or isinstance(value, bool):
        raise TypeError(f"{name} is {show(value)}; expected a number.")
    if not least <= value <= most:
        raise ValueError(
            f"{name} is {show(value)}; expected from {least:g} to {most:g}."
        )


def check_extent(n_images: int, shape: tuple[int, int]) -> None:
    """Refuse images that take more memory than there is likely to be."""
    n_pixels = int(n_images) * int(shape[0]) * int(shape[1])
    if n_pixels > MAX_MADE_PIXELS:
        raise ValueError(
            f"n_images={n_images} of shape {tuple(map(int, shape))} hold {n_pixels} "
            f"pixels; up to {MAX_MADE_PIXELS} in all are made at once."
        )


def draw_seed(random_state: RandomState) -> int:
    """Return a seed drawn from what came as random_state."""
    if isinstance(random_state, bool | np.bool_):
        raise TypeError(f"random_state is {random_state}; expected an int.")
    try:
        stream = check_random_state(random_state)
    except (TypeError, ValueError) as error:
        raise type(error)(f"random_state is {show(random_state)}: {error}.") from error
    return int(stream.randint(np.iinfo(np.int32).max))


def compose(text: str) -> str:
    """Write accents composed: macOS takes them apart in the names of files."""
    return normalize("NFC", text)


def show(value: object) -> str:
    """Write a value as an error shows it, cut where it is long."""
    try:
        text = repr(value)
    except Exception:  # a foreign class may fail at anything
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
