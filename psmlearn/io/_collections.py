# SPDX-License-Identifier: BSD-3-Clause
"""What users hand in, taken apart into items with a name for errors each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

from psmlearn._images._checks import is_foreign_tensor
from psmlearn.io._paths import as_path, is_path

_N_TOLD = 5


def prefix(caller: str) -> str:
    """Return what errors begin with."""
    return f"{caller}: " if caller else ""


def refuse_kind(value: object, what: str, caller: str) -> NoReturn:
    """Raise a TypeError that says how to mend a collection of a wrong kind."""
    name = type(value).__name__
    if isinstance(value, str) or is_path(value):
        advice = f"one path ({value!s}); give a list of paths, [path]"
    elif value is None:
        advice = f"None; give a list of {what}s"
    elif is_foreign_tensor(value):
        advice = (
            f"a {type(value).__module__.split('.')[0]} {name}; give a numpy array, "
            "channels last: numpy.moveaxis(tensor.cpu().numpy(), 1, -1)"
        )
    elif hasattr(value, "tocsr"):
        advice = (
            "a sparse matrix. Sparse data was passed, but dense data is required: "
            "use .toarray()"
        )
    elif isinstance(value, Mapping):
        advice = f"a {name}; give its list of {what}s, such as bunch.{what}s"
    elif isinstance(value, Iterable) and not hasattr(value, "__array__"):
        advice = f"a {name}; give a list: list({what}s)"
    else:
        advice = f"a {name}; give an array or a list of arrays or paths"
    raise TypeError(f"{prefix(caller)}{what}s came as {advice}.")


def is_collection(value: object) -> bool:
    """Tell what may hold several images: lists, tuples, arrays and the like."""
    if isinstance(value, list | tuple | np.ndarray):
        return True
    return (
        hasattr(value, "__array__")
        and hasattr(value, "__len__")
        and not hasattr(value, "tocsr")
        and not hasattr(value, "tobitmap")
        and not is_foreign_tensor(value)
    )


def path_array_as_list(array: np.ndarray) -> list[str] | None:
    """Return the paths of a 1-D array of paths, or None if it is not one."""
    if array.ndim != 1 or array.dtype.kind not in "UTO" or array.size == 0:
        return None
    values = array.tolist()
    return [as_path(v) for v in values] if all(map(is_path, values)) else None


def list_items(
    given: Any,
    name: str,
    expected: str,
    is_one: Callable[[np.ndarray], bool],
    *,
    numbered: str | None = None,
) -> list[tuple[str, Any]]:
    """Take masks, points or regions apart: items, each with what to call it.

    Parameters
    ----------
    given : path, array, list or other iterable
        One path is one item. An array of numbers is one item or a stack, an array of
        paths or objects is a list.
    name : str
        What to call it all in errors, such as "y_true".
    expected : str
        What errors say is expected: "expected label images".
    is_one : callable
        Takes an array of numbers and tells one item from a stack, or refuses it.
    numbered : str, default=None
        What to call an item, with a place for its number; None is ``name[{}]``, and
        the name itself for one alone.

    Returns
    -------
    list of (name, item)
        Paths are plain str, and are named beside the number.

    Raises
    ------
    TypeError
        If it is nothing that holds items.
    """
    alone = name if numbered is None else numbered.format(0)
    numbered = f"{name}[{{}}]" if numbered is None else numbered
    if is_path(given):
        return [_with_path(alone, given)]
    if isinstance(given, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; use array.filled(0) first.")
    if isinstance(given, list | tuple):
        items: Iterable[Any] = given
    elif hasattr(given, "__array__") and not hasattr(given, "tocsr"):
        array = as_array(given, name, expected)
        if array.dtype.kind in "OSUT" and array.ndim == 1:
            items = array.tolist()
        elif is_one(array):
            return [(alone, array)]
        else:
            items = array
    elif isinstance(given, bytes | Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"{name} is {_kind(given)}; {expected}, as arrays or paths.")
    elif hasattr(given, "tocsr"):
        raise TypeError(f"{name} is a sparse matrix; use .toarray().")
    else:
        items = given
    return [
        _with_path(numbered.format(index), item)
        if is_path(item)
        else (numbered.format(index), item)
        for index, item in enumerate(items)
    ]


def as_array(item: Any, name: str, expected: str) -> np.ndarray:
    """Take one item that is no path as an array of numbers.

    Raises
    ------
    TypeError
        If it holds no numbers.
    ValueError
        If it is ragged, or a masked array.
    """
    if isinstance(item, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; use array.filled(0) first.")
    if hasattr(item, "tocsr"):
        raise TypeError(f"{name} is a sparse matrix; use .toarray().")
    try:
        array = np.asarray(item)
    except ValueError as error:
        raise ValueError(f"{name} is no array: {error}; {expected}.") from error
    except (TypeError, RuntimeError) as error:
        # Such as tensors on another device, or that take part in a gradient.
        raise TypeError(f"{name} is no array: {error}; {expected}.") from error
    if array.dtype.kind in "OSU" and array.ndim == 0:
        advice = "use tensor.cpu().numpy()" if is_foreign_tensor(item) else expected
        raise TypeError(f"{name} is {_kind(item)}; {advice}.")
    return array


def raise_problems(problems: list[str], what: str, n_items: int, caller: str) -> None:
    """Raise one ValueError that lists the first problems, if there are any."""
    if not problems:
        return
    if len(problems) == 1:
        raise ValueError(f"{prefix(caller)}{problems[0]}.")
    told = "\n".join(f"- {problem}" for problem in problems[:_N_TOLD])
    more = len(problems) - _N_TOLD
    rest = f"\n- and {more} more" if more > 0 else ""
    raise ValueError(
        f"{prefix(caller)}{len(problems)} of {n_items} {what}s are bad:\n{told}{rest}"
    )


def _with_path(name: str, path: Any) -> tuple[str, str]:
    text = as_path(path)
    return f"{name} ({text})", text


def _kind(value: object) -> str:
    return repr(value) if isinstance(value, bytes) else f"a {type(value).__name__}"
