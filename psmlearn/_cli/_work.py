# SPDX-License-Identifier: BSD-3-Clause
"""A run over images: what is to be done, what is done already, and how it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from psmlearn._cli._outputs import OutputFolder
from psmlearn._cli._record import RUN_NAME, RunRecord, read_record
from psmlearn._cli._report import REPORT_NAME, check_target, write_report_of
from psmlearn._cli._results import (
    INDEX_NAME,
    Job,
    Kinds,
    describe,
    name_jobs,
    read_table,
    segment_one,
    write_index,
)
from psmlearn._cli._resume import Identity
from psmlearn._cli._sources import Stamp
from psmlearn._cli._terminal import (
    N_TOLD,
    PLAIN_ERRORS,
    SOME_FAILED,
    Terminal,
    count,
    tell_error,
)
from psmlearn._progress import announce, track

if TYPE_CHECKING:
    import numpy as np

    from psmlearn._cli._results import Table
    from psmlearn.io import ImageBatch

__all__ = [
    "FINDING",
    "Work",
    "chain_parameters",
    "device_name",
    "model_identity",
    "says_where_it_stopped",
    "training_identity",
]

# What the last stage is called.
FINDING = "finding nuclei"
_NOTHING_FOUND = (
    "no nucleus was found in any image: look whether the pixel size is right, whether "
    "these images are stained and scanned as those that the model was trained on, and "
    "at their overlays; a training that was cut short (--max-epochs) finds nothing, too"
)


class Work:
    """The images of a run, and what becomes of them.

    Parameters
    ----------
    folder : OutputFolder
    kinds : Kinds
    terminal : Terminal
    record : RunRecord
    report : bool, default=False
        Whether a report is to be written in the end.
    """

    def __init__(
        self,
        folder: OutputFolder,
        kinds: Kinds,
        terminal: Terminal,
        record: RunRecord,
        *,
        report: bool = False,
    ) -> None:
        self._reports = report
        self.folder = folder
        self.kinds = kinds
        self.terminal = terminal
        self.record = record
        self.jobs: list[Job] = []
        self.done: set[str] = set()
        self._failures: dict[str, Exception] = {}
        self._stamps: dict[str, Stamp | None] = {}
        self._tables: dict[str, Table] = {}
        self._sizes: dict[str, float] = {}

    @property
    def left(self) -> list[Job]:
        """Images that have no results yet."""
        return [job for job in self.jobs if job.name not in self.done]

    def name(self, paths: Sequence[str], *, strict: bool) -> None:
        """Name the results of images; those that the disk has no name for fail."""
        self.jobs, nameless = name_jobs(paths, self.kinds, self.folder, self.terminal)
        for name, path, stamp in nameless:
            self._fail(
                name,
                OSError(f"the disk holds no file called after {path!r}; rename it"),
                stamp,
                strict=strict,
            )
        if not self.jobs:
            raise next(iter(self._failures.values()))

    def leave_out(self, bad: dict[int, Exception]) -> None:
        """Take bad images, by their places, out of the work, and say why."""
        for place, error in bad.items():
            job = self.jobs[place]
            self._fail(job.name, error, job.stamp)
        self.jobs = [job for i, job in enumerate(self.jobs) if i not in bad]

    def begin(
        self, identity: Identity, paths: Sequence[str], sizes: np.ndarray
    ) -> None:
        """Find what is done already, and refuse what is in the way of the rest."""
        if self._reports:
            again = self.folder.overwrite or self.folder.resume
            check_target(self.folder.path / REPORT_NAME, overwrite=again)
        self._sizes = {
            job.name: float(size) for job, size in zip(self.jobs, sizes, strict=True)
        }
        targets = {file: job.path for job in self.jobs for file in job.files}
        finished = self.folder.look(targets, paths, identity.name)
        if self.folder.resume:
            self.done = {j.name for j in self.jobs if finished.issuperset(j.files)}
        wanted: dict[str, str | None] = {
            file: job.path for job in self.left for file in job.files
        }
        if self.kinds.with_classes:
            wanted[INDEX_NAME] = None
        self.folder.check({**wanted, RUN_NAME: None}, keeps=[RUN_NAME])
        self.record.identify(identity)
        if self.done:
            self.terminal.say(
                f"{count(len(self.done), 'image')} of {len(self.jobs)} "
                f"{'was' if len(self.done) == 1 else 'were'} done before"
            )
        for job in self.jobs:
            if job.name in self.done:
                path = self.folder.path / f"{job.name}_nuclei.csv"
                self._tables[job.name] = read_table(path)

    def segment(self, model: Any, batch: ImageBatch, *, strict: bool) -> None:
        """Predict all images that are left, one by one, and write what they give."""
        places = {job.name: place for place, job in enumerate(self.jobs)}
        announce(FINDING)
        left = self.left
        bar = track(left, len(left), FINDING, verbose=self.terminal.verbose)
        for job in bar:
            place = places[job.name]
            try:
                table = segment_one(
                    model,
                    self.kinds,
                    batch,
                    place,
                    self._sizes[job.name],
                    job,
                    self.folder,
                )
            except Exception as error:  # others are not to suffer from it
                self._fail(job.name, error, job.stamp, strict=strict)
            else:
                self._tables[job.name] = table
                self.terminal.say(describe(job.name, table))
        self.record.time("finding nuclei")

    def _fail(
        self,
        name: str,
        error: Exception,
        stamp: Stamp | None,
        *,
        strict: bool = False,
    ) -> None:
        """Note that an image has no results; with `strict` that ends the run."""
        self._failures[name] = error
        self._stamps[name] = stamp
        self.terminal.say(f"{name}: failed: {tell_error(error)}", err=True)
        if strict:
            raise self.terminal.failure(f"stopped at {name} (--strict).", SOME_FAILED)

    def finish(self, start: float) -> None:
        """Write what is of all images, and say how it went."""
        known = [job.name for job in self.jobs if job.name in self._tables]
        tables = {name: self._tables[name] for name in known}
        if self.kinds.with_classes and tables:
            write_index(self.folder, tables, list(self._failures), self.terminal)
        n_nuclei = sum(table["label"].size for table in tables.values())
        self.terminal.say(
            f"{count(n_nuclei, 'nucleus', 'nuclei')} in {count(len(tables), 'image')}, "
            f"{time.perf_counter() - start:.0f} s in all"
        )
        if tables and not n_nuclei:
            self.terminal.say(_NOTHING_FOUND, err=True)
        if tables:
            self.write_record("some failed" if self._failures else "done")
            written = [f"*{ending}" for ending in self.kinds.endings]
            written += [INDEX_NAME] if self.kinds.with_classes else []
            self.terminal.say(
                f"written to {self.folder.path}: {', '.join([*written, RUN_NAME])}"
            )

    @property
    def has_failed(self) -> bool:
        """Whether any image has no results."""
        return bool(self._failures)

    @property
    def n_done(self) -> int:
        """Images that have results."""
        return len(self._tables)

    def report(self) -> None:
        """Write the report, if one is asked for."""
        path = self.folder.path / REPORT_NAME
        if not self._reports or not self._tables:
            return
        if not self.left and path.exists():
            self.terminal.say(f"the report is there: {path}")
        else:
            write_report_of(self.folder.path, path, None, 10**8, self.terminal)

    def write_record(self, status: str) -> None:
        """Write ``run.json``, with what it told of runs before."""
        record, before = self.record, read_record(self.folder.path / RUN_NAME)
        record.inputs = []
        for job in self.jobs:
            table = self._tables.get(job.name)
            told: dict[str, Any] = {"pixel_size_um": self._sizes.get(job.name)}
            if table is not None:
                told["n_nuclei"] = int(table["label"].size)
            if job.name not in self._failures:
                record.add_input(job.name, job.stamp, **told)
        for name, error in self._failures.items():
            record.add_input(name, self._stamps[name], error=tell_error(error))
        record.set(
            status=status,
            results=list(self.kinds.endings),
            pixel_sizes=self._sizes,
        )
        with (
            self.folder.writing([RUN_NAME]) as (path,),
            open(path, "w", encoding="utf-8") as file,
        ):
            file.write(record.text(before))

    def raise_failures(self) -> None:
        """End with an error if any image has no results.

        Raises
        ------
        click.ClickException
        """
        for error in self._failures.values():
            if not isinstance(error, (*PLAIN_ERRORS, RuntimeError)):
                raise error  # not of the image: whoever mends it needs the traceback
        if self._failures:
            first = list(self._failures.items())[:N_TOLD]
            told = "; ".join(f"{name}: {tell_error(error)}" for name, error in first)
            if len(self._failures) > N_TOLD:
                told += f"; and {len(self._failures) - N_TOLD} more"
            n_images = len(self.jobs) + sum(
                name not in {job.name for job in self.jobs} for name in self._failures
            )
            raise self.terminal.failure(
                f"{len(self._failures)} of {count(n_images, 'image')} failed and have "
                f"no new results; --resume tries them again: {told}",
                SOME_FAILED,
            )


@contextmanager
def says_where_it_stopped(terminal: Terminal, work: Work) -> Iterator[None]:
    """End at Ctrl-C with a word on what is there."""
    try:
        yield
    except KeyboardInterrupt:
        n_images = count(len(work.jobs), "image")
        text = f"stopped, with {work.n_done} of {n_images} done"
        if work.n_done:
            work.write_record("stopped")
            text += f"; their results are in {work.folder.path}"
        if work.folder.run is not None:
            text += "; --resume goes on from here"
        terminal.say(text, err=True)
        raise click.exceptions.Exit(130) from None


def model_digest(path: Path) -> str:
    """Return the checksum of a model file."""
    stamp = Stamp.of(str(path))
    return "" if stamp is None else stamp.sha256


def training_identity(
    command: str, chain: Any, stamps: Sequence[Stamp | None], device: str, **told: Any
) -> Identity:
    """Return what decides over a training and its results."""
    return Identity(
        {
            "command": command,
            **_versions(),
            "device": device,
            "parameters": json.dumps(chain_parameters(chain), sort_keys=True),
            "images": [None if stamp is None else stamp.sha256 for stamp in stamps],
            **told,
        }
    )


def model_identity(command: str, path: Path, device: str, **told: Any) -> Identity:
    """Return what decides over the results of a model, image by image."""
    return Identity(
        {
            "command": command,
            **_versions(),
            "device": device,
            "model": model_digest(path),
            **told,
        }
    )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    import psmlearn

    return {"psmlearn": psmlearn.__version__, "torch": version("torch")}


def chain_parameters(chain: Any) -> dict[str, Any]:
    """Return the parameters of a chain that decide over what it does."""
    values = chain.get_params(deep=True)
    return {
        key: repr(value)
        for key, value in values.items()
        if key.split("__")[-1] not in ("verbose", "device", "steps", "memory")
        and not hasattr(value, "get_params")
    }


def device_name(device: str) -> str:
    """Return the kind of device that a choice stands for."""
    from psmlearn._engine._device import resolve_device

    return resolve_device(device).type
