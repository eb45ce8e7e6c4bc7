# SPDX-License-Identifier: BSD-3-Clause
"""Texts that several docstrings share, each kept once and filled in at import."""

from __future__ import annotations

import re
import textwrap
from typing import TypeVar

__all__ = ["SNIPPETS", "add_snippets", "fill_docstring"]

_Documented = TypeVar("_Documented")
_PLACEHOLDER = re.compile(r"^([ \t]*)%\((\w+)\)s[ \t]*$", re.MULTILINE)

SNIPPETS: dict[str, str] = {}
"""The texts by name, without indentation."""


def add_snippets(**texts: str) -> None:
    """Register texts that docstrings may name.

    Parameters
    ----------
    **texts : str
        By name; indented as one likes, since the common indentation is dropped. A
        text may be an entry of a parameter, or a description for entries that differ
        in their first line, such as the default.

    Raises
    ------
    ValueError
        If there is another text of that name.

    Examples
    --------
    >>> from psmlearn._docstrings import SNIPPETS, add_snippets
    >>> add_snippets(_shown='''
    ...     n_seen : int
    ...         How many there are.
    ... ''')
    >>> SNIPPETS.pop("_shown")
    'n_seen : int\\n    How many there are.'
    """
    for name, text in texts.items():
        text = textwrap.dedent(text).strip("\n").rstrip()
        if SNIPPETS.setdefault(name, text) != text:
            raise ValueError(f"There is another text {name!r} for docstrings.")


def fill_docstring(documented: _Documented) -> _Documented:
    """Fill the shared texts into the docstring of a function or class.

    A line that holds nothing but ``%(name)s`` is replaced by the text of that name,
    indented as that line is. Texts may name other texts. Where there are no
    docstrings (``python -OO``) nothing is done.

    Parameters
    ----------
    documented : function, method or class
        Whose own docstring is filled; the object itself is returned, so that
        signature, types and pickles stay as they are.

    Returns
    -------
    documented : function, method or class

    Raises
    ------
    ValueError
        If there is no text of that name.

    Examples
    --------
    >>> from psmlearn._docstrings import SNIPPETS, add_snippets, fill_docstring
    >>> add_snippets(_shown="Greater than 0.")
    >>> @fill_docstring
    ... def draw(radius):
    ...     '''Draw.
    ...
    ...     radius : float
    ...         %(_shown)s
    ...     '''
    >>> print(draw.__doc__.splitlines()[3].strip())
    Greater than 0.
    >>> del SNIPPETS["_shown"]
    """
    text = documented.__doc__
    if text:
        documented.__doc__ = _fill(text, getattr(documented, "__qualname__", "?"))
    return documented


def _fill(text: str, where: str) -> str:
    def replace(found: re.Match[str]) -> str:
        indent, name = found.groups()
        if name not in SNIPPETS:
            raise ValueError(
                f"The docstring of {where} names the text {name!r}, which there is "
                f"not; known are {sorted(SNIPPETS)}."
            )
        return textwrap.indent(_fill(SNIPPETS[name], where), indent)

    return _PLACEHOLDER.sub(replace, text)
