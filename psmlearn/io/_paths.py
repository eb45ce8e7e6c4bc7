# SPDX-License-Identifier: BSD-3-Clause
"""Paths: telling them from other things, showing them, and writing atomically."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from psmlearn.io._leftovers import clear_leftovers_once, temporary_name

# How files are named that `read_image` reads; it goes by what they hold.
IMAGE_SUFFIXES = (
    *(".tif", ".tiff", ".btf", ".tf8"),
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif"),
    *(".bmp", ".dib", ".webp"),
)
# Of which the part before the last is a suffix, too.
_OF_OME = (".ome.tif", ".ome.tiff", ".ome.zarr")
# What of a folder says that zarr wrote it.
ZARR_MARKS = (".zgroup", ".zarray", "zarr.json")
# Of the disk, not of anything else that a block may be about.
_DISK_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
}


def is_path(value: object) -> bool:
    """Tell a path: a str or an os.PathLike."""
    return isinstance(value, str | os.PathLike)


def as_path(value: str | os.PathLike) -> str:
    """Return a path as a plain str, whatever kind it came in."""
    if not is_path(value):
        raise TypeError(f"expected a path (str or os.PathLike), got {value!r}")
    return str(os.fsdecode(value))


def printable(text: str) -> str:
    """Return text that is safe to show: what is no visible character is escaped.

    File names may hold newlines, what moves the cursor of a terminal or turns the
    direction of writing, and bytes that are no text at all.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[str]:
    """Give a temporary path that takes the place of `path` at success.

    The temporary file lies in the same folder (which must exist) and has the
    same suffix. If the block raises, it is removed, and a file that was there
    before is left as it was. What a killed process of this host has left of its
    own is removed when a folder is first written to.

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
    IsADirectoryError
        If `path` is a folder.
    OSError
        If the disk is full or may not be written to; `path` is named.
    MemoryError
        If the block runs out of memory; `path` is named.

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
    clear_leftovers_once(folder)
    temporary = os.path.join(folder, temporary_name(os.path.splitext(name)[1]))
    with names_target(target, temporary):
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        mode = stat.S_IMODE(os.stat(temporary).st_mode)
        try:
            yield temporary
            if os.path.exists(target):
                shutil.copymode(target, temporary)
            elif stat.S_IMODE(os.stat(temporary).st_mode) != mode:
                os.chmod(temporary, mode)  # some libraries make files for their owner
            os.replace(temporary, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise


def stem_of(path: str | os.PathLike[str]) -> str:
    """Return the name of a file without its suffix, and without that of OME before it.

    Examples
    --------
    >>> from psmlearn.io._paths import stem_of
    >>> stem_of("slides/a.b.svs"), stem_of("a.ome.zarr"), stem_of("a.OME.tif")
    ('a.b', 'a', 'a')
    """
    name = os.path.basename(os.path.normpath(as_path(path)))
    for suffix in _OF_OME:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return os.path.splitext(name)[0] or name


@contextmanager
def names_target(
    path: str | os.PathLike, temporary: str | None = None
) -> Iterator[None]:
    """Name the file in errors of the disk and of memory, which name none.

    `temporary` is a name that the user has never heard of.
    """
    target = as_path(path)
    try:
        yield
    except MemoryError as error:
        text = _without_name(str(error), target, temporary) or "not enough memory"
        if text.startswith("Cannot write "):  # another file, written within
            raise
        raise MemoryError(f"Cannot write {target!r}: {text}") from error
    except OSError as error:
        if error.filename is None:
            unnamed = error.errno in _DISK_ERRORS
        else:
            unnamed = error.filename == temporary
        if unnamed:
            raise OSError(error.errno, error.strerror, target) from error
        if type(error) is OSError and error.errno is None:
            text = _without_name(str(error), target, temporary)
            if text.startswith("Cannot write "):
                raise
            raise OSError(f"Cannot write {target!r}: {text}") from error
        raise


def _without_name(text: str, *names: str | None) -> str:
    """Take from an error what a writer within has put before it."""
    for name in names:
        text = text.removeprefix(f"Cannot write {name!r}: ")
    return text


@contextmanager
def atomic_folder(path: str | os.PathLike, marks: tuple[str, ...]) -> Iterator[str]:
    """Give a temporary folder that takes the place of `path` at success.

    As `atomic_path`; a folder that was there goes only after the new one is whole.

    Parameters
    ----------
    path : str or os.PathLike
    marks : tuple of str
        Names of files by any of which a folder that may be replaced is known.

    Yields
    ------
    str
        The temporary folder, which is empty.

    Raises
    ------
    FileNotFoundError
        If there is no folder to hold it.
    FileExistsError
        If `path` is a file, or a folder of something else.
    OSError
        If the disk is full or may not be written to; `path` is named.
    """
    target = as_path(path)
    folder = os.path.dirname(os.path.abspath(target))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"Cannot write {target!r}: no folder {folder!r}.")
    if os.path.lexists(target) and not _may_go(target, marks):
        raise FileExistsError(
            f"Cannot write {target!r}: something else lies there (no {marks[0]!r} is "
            "in it); remove it, or give another name."
        )
    clear_leftovers_once(folder)
    temporary, old = (os.path.join(folder, temporary_name()) for _ in range(2))
    with names_target(target, temporary):
        os.mkdir(temporary)
        try:
            yield temporary
            if os.path.lexists(target):
                os.rename(target, old)
                try:
                    os.rename(temporary, target)
                except BaseException:
                    os.rename(old, target)
                    raise
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.rename(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _may_go(path: str, marks: tuple[str, ...]) -> bool:
    """Tell a folder that is empty, or of the kind that replaces it."""
    if os.path.islink(path) or not os.path.isdir(path):
        return False
    found = os.listdir(path)
    return not found or any(mark in found for mark in marks)
