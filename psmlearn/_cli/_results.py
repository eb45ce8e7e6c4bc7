# SPDX-License-Identifier: BSD-3-Clause
"""What a run writes of each image, whatever it is that it finds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from psmlearn._cli._outputs import OutputFolder
from psmlearn._cli._sources import Stamp, unique_names
from psmlearn._cli._terminal import Terminal

if TYPE_CHECKING:
    from psmlearn.io import ImageBatch

__all__ = ["Job", "Results", "name_jobs"]


@dataclass(frozen=True)
class Job:
    """One image: where it comes from, and what its results are called."""

    name: str
    path: str
    stamp: Stamp | None
    files: tuple[str, ...]


class Results(ABC):
    """The kinds of files of a run, how they are made, and what is said of them.

    What is found in an image is its *finding*: what the files of all images are made
    of, and what is said; it is never None.
    """

    # What the last stage is called.
    stage: ClassVar[str]

    @property
    @abstractmethod
    def endings(self) -> tuple[str, ...]:
        """What the names of the files of an image end in."""

    def endings_of(self, path: str) -> tuple[str, ...]:
        """What the names of the files of one image end in."""
        return self.endings

    @property
    def shared(self) -> tuple[str, ...]:
        """Names of the files that are of all images."""
        return ()

    @abstractmethod
    def write(
        self,
        model: Any,
        batch: ImageBatch,
        index: int,
        pixel_size: float | None,
        job: Job,
        folder: OutputFolder,
    ) -> Any:
        """Write all files of one image, or none of them; return what was found."""

    @abstractmethod
    def read(
        self, folder: Path, jobs: Sequence[Job], finished: set[str]
    ) -> dict[str, Any]:
        """Return what was found in images before, by name, as far as files tell it.

        Parameters
        ----------
        folder : Path
        jobs : sequence of Job
            All of whose files are there.
        finished : set of str
            Names of all files that this run has written.
        """

    def find_again(self, model: Any, batch: ImageBatch, index: int, job: Job) -> Any:
        """Find anew what no file tells of an image whose files are there."""
        raise NotImplementedError(f"the files of {job.name} tell all")

    @abstractmethod
    def describe(self, name: str, finding: Any) -> str:
        """Say in one line what was found in an image."""

    def numbers(self, finding: Any) -> dict[str, Any]:
        """Return what ``run.json`` tells of an image."""
        return {}

    def write_shared(
        self,
        folder: OutputFolder,
        jobs: Sequence[Job],
        findings: Mapping[str, Any],
        failed: Sequence[str],
        terminal: Terminal,
    ) -> None:
        """Write the files that are of all images."""
        return

    @abstractmethod
    def summary(self, findings: Mapping[str, Any]) -> str:
        """Say in a few words what was found in all images."""

    def doubt(self, findings: Mapping[str, Any]) -> str | None:
        """Say what looks wrong with all of it; None where nothing does."""
        return None


def name_jobs(
    paths: Sequence[str],
    results: Results,
    folder: OutputFolder,
    terminal: Terminal,
) -> tuple[list[Job], list[tuple[str, str, Stamp | None]]]:
    """Name the results of all images.

    Returns
    -------
    jobs : list of Job
    nameless : list of (name, path, stamp)
        Images whose results the disk can give no name.
    """
    wanted = unique_names(paths)
    terminal.know(wanted)
    jobs, nameless = [], []
    names = folder.fit_names(wanted, results.endings)
    for path, old, new in zip(paths, wanted, names, strict=True):
        stamp = Stamp.of(path)
        if new is None:
            nameless.append((old, path, stamp))
            continue
        if old != new:
            terminal.say(f"results of {old} are called {new}", err=True)
        written = tuple(new + ending for ending in results.endings_of(path))
        jobs.append(Job(new, path, stamp, written))
    return jobs, nameless
