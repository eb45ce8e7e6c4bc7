# SPDX-License-Identifier: BSD-3-Clause
"""The list, in a folder, of the files that psmlearn wrote there.

One JSON object a line: what a file is called, its size and hash, the image that it
comes from, and the run that wrote it. Lines are added before a file takes its name, so
that a run that is killed leaves no file that looks like somebody else's; a line more
does no harm.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

LEDGER_NAME = "psmlearn-files.jsonl"
_MARK = "psmlearn_files"
_VERSION = 1


@dataclass(frozen=True)
class Record:
    """One file that was written."""

    name: str
    size: int
    sha256: str
    # Path of the image, from the folder, so that both can be moved together; None for
    # what comes of several.
    source: str | None
    # What the run is known by; the same images, model and parameters give the same.
    run: str | None = None


class Ledger:
    """Files that were written to a folder, by their names."""

    def __init__(self, records: list[Record]) -> None:
        self._records: dict[str, list[Record]] = {}
        for record in records:
            self.add(record)

    def __contains__(self, name: str) -> bool:
        return name in self._records

    def add(self, record: Record) -> bool:
        """Take a record; tell whether it is new."""
        known = self._records.setdefault(record.name, [])
        if record in known:
            return False
        known.append(record)
        return True

    def match(self, path: str, name: str) -> Record | None:
        """Return the last record that a file still agrees with."""
        size, found = os.stat(path).st_size, None
        for record in reversed(self._records.get(name, [])):
            if record.size == size:
                found = found or digest(path)
                if record.sha256 == found:
                    return record
        return None


def digest(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_ledger(folder: str | os.PathLike) -> Ledger:
    """Read the list of a folder; one that is not there is empty.

    Raises
    ------
    ValueError
        If a file of that name is something else.
    """
    path = os.path.join(folder, LEDGER_NAME)
    try:
        kind = os.lstat(path).st_mode
    except OSError:
        return Ledger([])
    if not stat.S_ISREG(kind):
        raise ValueError(_not_ours(path))
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    if not any(lines):
        return Ledger([])
    head = _parse(lines[0])
    if not (isinstance(head, dict) and _MARK in head):
        raise ValueError(_not_ours(path))
    if head[_MARK] != _VERSION:
        raise ValueError(
            f"{path!r} is of version {head[_MARK]!r}, which this psmlearn does not "
            "know; give another --output, or update psmlearn."
        )
    records = [_as_record(_parse(line)) for line in lines[1:]]
    return Ledger([record for record in records if record is not None])


def write_record(descriptor: int, record: Record) -> None:
    """Add a line to an open list, whole or not at all."""
    size = os.fstat(descriptor).st_size
    lines = [json.dumps(asdict(record))]
    if size == 0:
        lines.insert(0, json.dumps({_MARK: _VERSION}))
    else:
        os.lseek(descriptor, size - 1, os.SEEK_SET)
        if os.read(descriptor, 1) != b"\n":
            lines.insert(0, "")  # what was killed in the middle of a line
    data = "".join(f"{line}\n" for line in lines).encode("ascii")
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except BaseException:
        os.ftruncate(descriptor, size)
        raise


def _parse(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _as_record(value: object) -> Record | None:
    """Take a line apart; one that is none makes nobody's file ours."""
    if not isinstance(value, dict):
        return None
    name, size, found = (value.get(key) for key in ("name", "size", "sha256"))
    if not (isinstance(name, str) and isinstance(size, int) and isinstance(found, str)):
        return None
    source, run = (
        each if isinstance(each, str) else None
        for each in (value.get("source"), value.get("run"))
    )
    return Record(name, size, found, source, run)


def _not_ours(path: str) -> str:
    return (
        f"{path!r} is not the list of files that psmlearn keeps under this name in "
        f"{str(Path(path).parent)!r}; move it away, or give another --output."
    )
