# SPDX-License-Identifier: BSD-3-Clause
"""Paths: telling them from other things, and writing to them atomically."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def is_path(value: object) -> bool:
    """Tell a path: a str or an os.PathLike."""
    return isinstance(value, str | os.PathLike)


def as_path(value: str | os.PathLike) -> str:
    """Return a path as a plain str, whatever kind it came in."""
    if not is_path(value):
        raise TypeError(f"expected a path (str or os.PathLike), got {value!r}")
    return str(os.fsdecode(value))


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[str]:
    """Give a temporary path that takes the place of `path` at success.

    The temporary file lies in the same folder (which must exist) and has the
    same suffix. If the block raises, it is removed, and a file that was there
    before is left as it was.

    Parameters
    ----------
    path : str or os.PathLike

    Yields
    ------
    str
        The temporary path to write to.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.

    Examples
    --------
    >>> import os, tempfile
    >>> from psmlearn.io import atomic_path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = os.path.join(folder, "notes.txt")
    ...     with atomic_path(target) as temporary, open(temporary, "w") as file:
    ...         _ = file.write("whole or not at all")
    ...     os.listdir(folder)
    ['notes.txt']
    """
    target = as_path(path)
    folder, name = os.path.split(os.path.abspath(target))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"Cannot write {target!r}: no folder {folder!r}.")
    if os.path.isdir(target):
        raise IsADirectoryError(f"Cannot write {target!r}: it is a folder.")
    temporary = os.path.join(
        folder, f".psmlearn-{uuid.uuid4().hex}{os.path.splitext(name)[1]}"
    )
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        if os.path.exists(target):
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
