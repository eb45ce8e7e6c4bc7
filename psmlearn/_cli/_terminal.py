# SPDX-License-Identifier: BSD-3-Clause
"""What commands say: plain lines that are safe to show, each warning once."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TextIO

import click

from psmlearn.exceptions import PsmlearnWarning
from psmlearn.io._paths import printable

N_TOLD = 5
# The exit status where some images have results, and others have not.
SOME_FAILED = 3
# What is wrong with files or the machine, and told in one line without a traceback.
PLAIN_ERRORS = (ValueError, TypeError, OSError, FloatingPointError, MemoryError)
# What a log begins with, so that nobody else's file is written to.
_LOG_LINE = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")


class Terminal:
    """Lines to standard output, to standard error, and to a log.

    Parameters
    ----------
    quiet : bool, default=False
        Whether the library's messages, and bars, are left out.
    log_file : path, default=None
        All lines are added to it, with the time; the library's in any case.
    """

    def __init__(self, *, quiet: bool = False, log_file: Path | None = None) -> None:
        self.quiet = quiet
        self._log_file = log_file
        self._log: TextIO | None = None
        self._escaped: dict[str, str] = {}
        self._told: set[str] = set()
        self._kinds: set[type[Warning]] = set()
        self._muted: set[type[Warning]] = set()

    @property
    def verbose(self) -> int:
        """Whether bars are shown: on a terminal, unless it is to be quiet."""
        try:
            return int(not self.quiet and sys.stderr.isatty())
        except (AttributeError, ValueError):  # there is none, or it is closed
            return 0

    def know(self, names: Iterable[str]) -> None:
        """Learn names of files, so that they stay one line within longer texts."""
        odd = {name: printable(name) for name in names if not name.isprintable()}
        self._escaped |= odd
        # A path holds names: the longer go first.
        self._escaped = dict(
            sorted(self._escaped.items(), key=lambda item: -len(item[0]))
        )

    def plain(self, text: str) -> str:
        """Return text without what would steer a terminal; it may have lines."""
        for name, escaped in self._escaped.items():
            text = text.replace(name, escaped)
        return "\n".join(printable(line) for line in text.split("\n"))

    def say(self, text: str, *, err: bool = False) -> None:
        """Write text; a terminal that lacks a letter, or is gone, ends no run."""
        text = self.plain(text)
        self._write_log(text)
        stream = sys.stderr if err else sys.stdout
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        with suppress(OSError, ValueError), _beside_bars():
            # ValueError: the stream is closed.
            click.echo(text, err=err)

    def log(self, text: str) -> None:
        """Write text to the log alone."""
        self._write_log(self.plain(text))

    def _write_log(self, text: str) -> None:
        if self._log is not None:
            now = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
            with suppress(OSError):  # a full disk ends no run for its log
                for line in text.split("\n"):
                    self._log.write(f"{now} {line}\n")
                self._log.flush()

    def mute_told(self) -> None:
        """Say no more of the kinds of warnings that were given so far."""
        self._muted |= self._kinds

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Show warnings, and the library's messages where they are wanted."""
        logger = logging.getLogger("psmlearn")
        level, handler = logger.level, _Handler(self)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            with self._logging(), warnings.catch_warnings():
                warnings.filterwarnings("always", category=PsmlearnWarning)
                warnings.showwarning = self._show  # type: ignore[assignment]
                yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)

    @contextmanager
    def _logging(self) -> Iterator[None]:
        """Keep the log open."""
        if self._log_file is None:
            yield
            return
        try:
            self._log = _open_log(self._log_file)
        except OSError as error:
            raise self.failure(tell_error(error)) from error
        with self._log:
            self.log(f"psmlearn {' '.join(sys.argv[1:])}")
            try:
                yield
            except click.ClickException as error:
                self.log(f"Error: {error.format_message()}")
                raise
            finally:
                self._log.flush()
        self._log = None

    def _show(
        self, message: Warning | str, category: type[Warning], *place: object
    ) -> None:
        """Say a warning in one line, without the place in the code."""
        text = str(message)
        if text not in self._told and category not in self._muted:
            self._told.add(text)
            if issubclass(category, PsmlearnWarning):
                self._kinds.add(category)
            self.say(f"Warning: {text}", err=True)

    @contextmanager
    def plain_errors(self) -> Iterator[None]:
        """Turn what is wrong with the input into one line, without a traceback."""
        try:
            yield
        except PLAIN_ERRORS as error:
            raise self.failure(tell_error(error)) from error

    def failure(self, text: str, status: int = 1) -> click.ClickException:
        """Return the error that ends a command with a text, and 1 or `SOME_FAILED`."""
        kind = _SomeFailed if status == SOME_FAILED else click.ClickException
        return kind(self.plain(text))


class _SomeFailed(click.ClickException):
    """The end of a command that has done a part of its work."""

    exit_code = SOME_FAILED


class _Handler(logging.Handler):
    """Messages of the library as lines."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self.terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if self.terminal.verbose or record.levelno >= logging.WARNING:
            self.terminal.say(text, err=True)
        else:
            self.terminal.log(text)


def _open_log(path: Path) -> TextIO:
    """Open a log to be added to, if nothing else is there."""
    told = printable(str(path))
    if os.path.lexists(path):
        if not path.is_file():
            raise FileExistsError(f"{told!r} is no file to write a log to.")
        with open(path, "rb") as file:
            head = file.read(64)
        if head and not _LOG_LINE.match(head):
            raise FileExistsError(
                f"{told!r} is there and is no log of psmlearn; name another --log-file."
            )
    try:
        return open(path, "a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise type(error)(
            f"Cannot write the log {told!r}: {error.strerror or error}."
        ) from error


@contextmanager
def _beside_bars() -> Iterator[None]:
    """Let a line stand above the bars that are shown."""
    from tqdm import tqdm

    if not getattr(tqdm, "_instances", None):
        yield
        return
    with tqdm.external_write_mode():
        yield


def tell_error(error: BaseException) -> str:
    """Return what an error says; its kind where that is nothing or not for users."""
    text = str(error)
    if isinstance(error, MemoryError):
        return text if text.startswith("Cannot") else f"Not enough memory. {text}"
    if isinstance(error, PLAIN_ERRORS) and text:
        return text
    return f"{type(error).__name__}: {text}"


def tell_some(names: Iterable[str]) -> str:
    """Write the first names, each in one line, and how many there are beyond."""
    names = list(names)
    more = len(names) - N_TOLD
    told = ", ".join(map(printable, names[:N_TOLD]))
    return told + (f" and {more} more" if more > 0 else "")


def count(number: int, one: str, many: str | None = None) -> str:
    """Write a number of things."""
    return f"{number} {one if number == 1 else many or one + 's'}"
