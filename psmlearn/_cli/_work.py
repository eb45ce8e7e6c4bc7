# SPDX-License-Identifier: BSD-3-Clause
"""A run over images: what is to be done, what is done already, and how it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from psmlearn._cli._outputs import OutputFolder
from psmlearn._cli._record import RUN_NAME, RunRecord, read_record
from psmlearn._cli._report import REPORT_NAME, check_target, write_report_of
from psmlearn._cli._results import Job, Results, name_jobs
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
    from psmlearn.io import ImageBatch

__all__ = [
    "Work",
    "chain_parameters",
    "device_name",
    "model_identity",
    "says_where_it_stopped",
    "training_identity",
]


class Work:
    """The images of a run, and what becomes of them.

    Parameters
    ----------
    folder : OutputFolder
    results : Results
    terminal : Terminal
    record : RunRecord
    report : bool, default=False
        Whether a report is to be written in the end.
    """

    def __init__(
        self,
        folder: OutputFolder,
        results: Results,
        terminal: Terminal,
        record: RunRecord,
        *,
        report: bool = False,
    ) -> None:
        self._reports = report
        self.folder = folder
        self.results = results
        self.terminal = terminal
        self.record = record
        self.jobs: list[Job] = []
        self.done: set[str] = set()
        self._failures: dict[str, Exception] = {}
        self._stamps: dict[str, Stamp | None] = {}
        self._findings: dict[str, Any] = {}
        self._sizes: dict[str, float | None] = {}

    @property
    def left(self) -> list[Job]:
        """Images that have no results yet."""
        return [job for job in self.jobs if job.name not in self.done]

    @property
    def untold(self) -> list[Job]:
        """Images that have results, which do not tell all that is asked for."""
        known = self._findings
        return [j for j in self.jobs if j.name in self.done and j.name not in known]

    @property
    def needs_model(self) -> bool:
        """Whether there is anything to be found."""
        return bool(self.left or self.untold)

    def name(self, paths: Sequence[str], *, strict: bool) -> None:
        """Name the results of images; those that the disk has no name for fail."""
        self.jobs, nameless = name_jobs(paths, self.results, self.folder, self.terminal)
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
        self,
        identity: Identity,
        paths: Sequence[str],
        sizes: Sequence[float | None],
    ) -> None:
        """Find what is done already, and refuse what is in the way of the rest.

        `sizes` are those of pixels, of each image; None is not known.
        """
        if self._reports:
            again = self.folder.overwrite or self.folder.resume
            check_target(self.folder.path / REPORT_NAME, overwrite=again)
        self._sizes = {
            job.name: None if size is None else float(size)
            for job, size in zip(self.jobs, sizes, strict=True)
        }
        shared: dict[str, str | None] = dict.fromkeys(self.results.shared)
        targets: dict[str, str | None] = {
            file: job.path for job in self.jobs for file in job.files
        }
        contents = {j.path: j.stamp.sha256 for j in self.jobs if j.stamp is not None}
        finished = self.folder.look(
            {**targets, **shared}, paths, identity.name, contents
        )
        if self.folder.resume:
            self.done = {j.name for j in self.jobs if finished.issuperset(j.files)}
        wanted: dict[str, str | None] = {
            file: job.path for job in self.left for file in job.files
        }
        self.folder.check({**wanted, **shared, RUN_NAME: None}, keeps=[RUN_NAME])
        self.record.identify(identity)
        if self.done:
            self.terminal.say(
                f"{count(len(self.done), 'image')} of {len(self.jobs)} "
                f"{'was' if len(self.done) == 1 else 'were'} done before"
            )
        done = [job for job in self.jobs if job.name in self.done]
        self._findings.update(self.results.read(self.folder.path, done, finished))

    def write(self, model: Any, batch: ImageBatch | None, *, strict: bool) -> None:
        """Predict all images that are left, one by one, and write what they give."""
        # Without images there are slides alone, which are not looked up in it.
        images = cast("ImageBatch", batch)
        places = {job.name: place for place, job in enumerate(self.jobs)}
        stage, folder, results = self.results.stage, self.folder, self.results
        announce(stage)
        untold = {job.name for job in self.untold}
        jobs = [
            job for job in self.jobs if job.name in untold or job.name not in self.done
        ]
        for job in track(jobs, len(jobs), stage, verbose=self.terminal.verbose):
            place, size = places[job.name], self._sizes[job.name]
            try:
                if job.name in untold:
                    found = results.find_again(model, images, place, job)
                else:
                    found = results.write(model, images, place, size, job, folder)
            except Exception as error:  # others are not to suffer from it
                self._fail(job.name, error, job.stamp, strict=strict)
            else:
                self._findings[job.name] = found
                if job.name not in untold:
                    self.terminal.say(results.describe(job.name, found))
        self.record.time(stage)

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
        known = [job for job in self.jobs if job.name in self._findings]
        found = {job.name: self._findings[job.name] for job in known}
        failed = list(self._failures)
        self.results.write_shared(self.folder, known, found, failed, self.terminal)
        self.terminal.say(
            f"{self.results.summary(found)}, {time.perf_counter() - start:.0f} s in all"
        )
        if doubt := self.results.doubt(found):
            self.terminal.say(doubt, err=True)
        if found:
            self.write_record("some failed" if self._failures else "done")
            own = [self.results.endings_of(job.path) for job in known]
            written = [f"*{ending}" for ending in dict.fromkeys(chain(*own))]
            written += self.results.shared
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
        return len(self.done | set(self._findings))

    def report(self) -> None:
        """Write the report, if one is asked for."""
        path = self.folder.path / REPORT_NAME
        if not self._reports or not self._findings:
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
            found = self._findings.get(job.name)
            told: dict[str, Any] = {"pixel_size_um": self._sizes.get(job.name)}
            if found is not None:
                told.update(self.results.numbers(found))
            if job.name not in self._failures:
                record.add_input(job.name, job.stamp, **told)
        for name, error in self._failures.items():
            record.add_input(name, self._stamps[name], error=tell_error(error))
        record.set(
            status=status,
            results=list(self.results.endings),
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
