# SPDX-License-Identifier: BSD-3-Clause
"""The folder of results: what it will hold is known and checked before any work."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from psmlearn._cli._ledger import (
    LEDGER_NAME,
    Ledger,
    Record,
    digest,
    read_ledger,
    write_record,
)
from psmlearn._cli._sources import fold_name
from psmlearn._cli._terminal import N_TOLD
from psmlearn.io import atomic_path
from psmlearn.io._leftovers import clear_leftovers, temporary_name
from psmlearn.io._locks import try_lock
from psmlearn.io._paths import printable

# A disk says so where a name is too long, or has letters that it cannot hold.
_NAME_ERRORS = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}
# Names that no disk refuses, so that nothing has to be tried.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}")
_SHORT_LENGTHS = (200, 120, 60, 30)
_OWN = "of an earlier run"


class OutputFolder:
    """A folder that this run alone writes to, and in which it replaces only its own.

    Use it in a ``with`` statement: the folder is made where it is missing, locked, and
    tried; what killed runs have left of temporary files is removed. A folder that
    nothing is written to is left as it was.

    Parameters
    ----------
    path : Path
    overwrite : bool, default=False
        Whether files that psmlearn wrote, and nobody changed since, may be replaced.
        Others never are.
    resume : bool, default=False
        Whether those of the same run may be.

    Raises
    ------
    OSError
        If the folder cannot be made or written to.
    ValueError
        If another run writes to it.
    """

    def __init__(
        self, path: Path, *, overwrite: bool = False, resume: bool = False
    ) -> None:
        self.path = path
        self.overwrite = overwrite
        self.resume = resume
        self._ledger = Ledger([])
        self._inputs: _Files = _Files([])
        self._sources: set[str] = set()
        self._stack = ExitStack()
        self._descriptor = -1
        self.n_written = 0
        # What this run is known by, once that is clear.
        self.run: str | None = None
        self._keeps: frozenset[str] = frozenset()
        self._contents: dict[str, str] = {}

    def __enter__(self) -> OutputFolder:
        with ExitStack() as stack:
            _make_folder(self.path, stack)
            _try_to_write(self.path)
            self._descriptor = _lock(self.path, stack)
            self._ledger = read_ledger(self.path)
            clear_leftovers(str(self.path))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def fit_names(
        self, names: Sequence[str], endings: Sequence[str]
    ) -> list[str | None]:
        """Return names that the disk can hold with any of the endings, None for none.

        Most are as they came. What is too long is cut, and letters that the disk
        does not take are replaced.
        """
        taken = {fold_name(name) for name in names}
        longest = max(endings, key=lambda ending: len(ending.encode()))
        fitting: list[str | None] = []
        with _probe_folder(self.path) as probe:
            for name in names:
                fits: str | None = name
                if not _holds(probe, name, longest):
                    fits = _other_name(probe, name, longest, taken)
                if fits is not None:
                    taken.add(fold_name(fits))
                fitting.append(fits)
        return fitting

    def look(
        self,
        files: Mapping[str, str | None],
        images: Iterable[str],
        run: str,
        contents: Mapping[str, str] | None = None,
    ) -> set[str]:
        """Learn what this run is about; return those of its files that are done.

        Parameters
        ----------
        files : mapping of str to (str or None)
            Name of each file, and the path of the image that it comes from: None for
            several.
        images : iterable of str
            All images of this run.
        run : str
            What this run is known by: files of the same are there already.
        contents : mapping of str to str, default=None
            Checksums of images: one that has changed since is not done.
        """
        self._inputs = _Files(images)
        places = {self._relative(source) for source in files.values() if source}
        self._sources = {place for place in places if place}
        self.run = run
        self._contents = dict(contents or {})
        return {name for name, source in files.items() if self._is_done(name, source)}

    def _run_of(self, source: str | None) -> str | None:
        """Return what the results of an image as it is now are known by."""
        content = None if source is None else self._contents.get(source)
        if self.run is None or content is None:
            return self.run
        return hashlib.sha256(f"{self.run} {content}".encode()).hexdigest()[:32]

    def _is_done(self, name: str, source: str | None) -> bool:
        path = str(self.path / name)
        if name not in self._ledger or not os.path.isfile(path):
            return False
        if os.path.islink(path):
            return False
        record = self._ledger.match(path, name)
        if record is None or record.run != self._run_of(source):
            return False
        return source is None or record.source == self._relative(source)

    def check(self, files: Mapping[str, str | None], keeps: Iterable[str] = ()) -> None:
        """Refuse to go on where a file that is to be written would replace another.

        Parameters
        ----------
        files : mapping of str to (str or None)
            As in `look`, which comes first.
        keeps : iterable of str
            Files that may be replaced by those of the same name of a later run, since
            these hold what they held.

        Raises
        ------
        FileExistsError
            If any is there that may not be replaced: the first five are named.
        """
        self._keeps = frozenset(keeps)
        reasons = {name: self._why_not(name, source) for name, source in files.items()}
        bad = {name: why for name, why in reasons.items() if why}
        if bad:
            raise FileExistsError(self._refusal(bad))

    def _refusal(self, bad: Mapping[str, str]) -> str:
        told = [f"{printable(name)} ({why})" for name, why in bad.items()][:N_TOLD]
        more = f" and {len(bad) - N_TOLD} more" if len(bad) > N_TOLD else ""
        advice = "Give another --output, or move them away"
        if all(why == _OWN for why in bad.values()):
            advice = "--overwrite replaces them; or give another --output"
        return (
            f"In {printable(str(self.path))!r} results would replace "
            f"{', '.join(told)}{more}. {advice}."
        )

    def _why_not(self, name: str, source: str | None) -> str | None:
        """Say why a file may not be replaced; None where it may, or is not there."""
        path = str(self.path / name)
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(found.st_mode):
            return "a folder"
        if path in self._inputs:
            return "an image of this run"
        if not stat.S_ISREG(found.st_mode):
            return "no regular file"
        if name not in self._ledger:
            return "not written by psmlearn"
        record = self._ledger.match(path, name)
        if record is None:
            return "changed since psmlearn wrote it"
        if self.resume and self.run is not None and record.run == self._run_of(source):
            return None
        if name in self._keeps:
            return None
        if not self.overwrite:
            return _OWN
        if source is None:
            # Of several images: of these and further ones it may be.
            others = set((record.source or "").split("\0")) - self._sources - {""}
            return _of_other(min(others)) if others else None
        if record.source != self._relative(source):
            return _of_other(record.source or "several")
        return None

    def _relative(self, source: str | None) -> str | None:
        """Return the path of an image from here, by which it is told from others."""
        if source is None:
            return None
        place = os.path.realpath(source)
        try:
            return os.path.relpath(place, os.path.realpath(self.path))
        except ValueError:  # on another drive
            return place

    @contextmanager
    def writing(
        self, names: Sequence[str], source: str | None = None
    ) -> Iterator[list[str]]:
        """Give temporary paths of files that appear together, when all are written.

        Raises
        ------
        FileExistsError
            If somebody put a file there since `check`.
        """
        with ExitStack() as stack:
            paths = [
                stack.enter_context(atomic_path(self.path / name)) for name in names
            ]
            yield paths
            # Noted first: what is killed in between leaves no file of nobody's.
            for name, temporary in zip(names, paths, strict=True):
                self._note(name, source, temporary)
        self.n_written += len(names)

    def _note(self, name: str, source: str | None, temporary: str) -> None:
        """Enter a file into the list, unless it would replace another's."""
        why = self._why_not(name, source)
        if why:
            raise FileExistsError(self._refusal({name: why}))
        size = os.stat(temporary).st_size
        place = self._relative(source)
        if place is None:
            place = "\0".join(sorted(self._sources))
        record = Record(name, size, digest(temporary), place, self._run_of(source))
        if self._ledger.add(record):
            write_record(self._descriptor, record)


class _Files:
    """Files that are there, under whatever name."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._places: set[str] = set()
        self._numbers: set[tuple[int, int]] = set()
        for path in paths:
            self._places.add(os.path.realpath(path))
            with suppress(OSError):
                self._numbers.add(_number(path))

    def __contains__(self, path: str) -> bool:
        if os.path.realpath(path) in self._places:
            return True
        try:
            return _number(path) in self._numbers
        except OSError:
            return False


def _of_other(source: str) -> str:
    return f"result of another image, {printable(source)}"


def _number(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _make_folder(path: Path, stack: ExitStack) -> None:
    """Make a folder; those that stay empty go in the end."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for each in reversed(missing):
        stack.callback(_remove_empty, each)
    path.mkdir(parents=True, exist_ok=True)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _lock(folder: Path, stack: ExitStack) -> int:
    """Open the list of own files, for one run at a time."""
    path = os.path.join(folder, LEDGER_NAME)
    read_ledger(folder)  # before anything else of that name is opened
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    flags |= getattr(os, "O_BINARY", 0)
    while True:
        descriptor = os.open(path, flags, 0o666)
        if not try_lock(descriptor):
            os.close(descriptor)
            raise ValueError(
                f"Another run of psmlearn writes to {printable(str(folder))!r}; wait "
                "until it is done, or give another --output."
            )
        # A run that wrote nothing takes the list away when it ends.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                break
        os.close(descriptor)
    stack.callback(_unlock, descriptor, path)
    return descriptor


def _unlock(descriptor: int, path: str) -> None:
    with suppress(OSError):
        if os.fstat(descriptor).st_size == 0:
            os.unlink(path)
    os.close(descriptor)


def _try_to_write(folder: Path) -> None:
    """Find out now whether files can be made, and not after hours of training."""
    try:
        with _probe_folder(folder) as probe, open(probe / "a", "wb") as file:
            file.write(b"a" * 4096)
    except OSError as error:
        raise type(error)(
            f"Cannot write to {printable(str(folder))!r}: {error.strerror or error}."
        ) from error


@contextmanager
def _probe_folder(folder: Path) -> Iterator[Path]:
    """Make a folder for trials within, which goes in the end."""
    probe = folder / temporary_name(".probe")
    probe.mkdir()
    try:
        yield probe
    finally:
        shutil.rmtree(probe, ignore_errors=True)


def _holds(folder: Path, name: str, ending: str) -> bool:
    """Tell whether the disk can hold a file of that name."""
    name += ending
    if _PLAIN_NAME.fullmatch(name):
        return True
    try:
        with open(folder / name, "wb"):
            pass
    except OSError as error:
        if error.errno in _NAME_ERRORS:
            return False
        raise
    except ValueError:  # no bytes can be made of it
        return False
    os.unlink(folder / name)
    return True


def _other_name(folder: Path, name: str, ending: str, taken: set[str]) -> str | None:
    """Return another name that fits, cut or of plain letters; None if none does."""
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    for each in (name, plain):
        for length in _SHORT_LENGTHS:
            number = 1
            cut = found = _cut(each, length)
            while fold_name(found) in taken:
                number += 1
                found = f"{cut}-{number}"
            if _holds(folder, found, ending):
                return found
    return None


def _cut(name: str, length: int) -> str:
    """Cut a name to so many bytes."""
    while name and len(name.encode("utf-8", "surrogatepass")) > length:
        name = name[:-1]
    return name
