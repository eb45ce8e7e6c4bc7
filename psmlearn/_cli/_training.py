# SPDX-License-Identifier: BSD-3-Clause
"""Commands that train and predict in one: one that was broken off goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psmlearn._cli._model_path import check_model_path, quiet, save
from psmlearn._cli._outputs import OutputFolder
from psmlearn._cli._resume import FOLDER_NAME, Identity, State
from psmlearn._cli._work import Work
from psmlearn._progress import stages

if TYPE_CHECKING:
    from psmlearn.io import ImageBatch

__all__ = ["Fit", "open_folder", "train_and_write"]


@dataclass(frozen=True)
class Fit:
    """How the model of a run comes to be.

    Attributes
    ----------
    train : callable
        Returns the trained model.
    load : callable
        Reads the one of a run that was broken off.
    text : str
        Says what is trained on.
    stages : sequence of str
        What the stages of the training are called.
    keep : Path or None
        File to keep the model in.
    """

    train: Callable[[], Any]
    load: Callable[[Path], Any]
    text: str
    stages: Sequence[str]
    keep: Path | None


def open_folder(options: dict[str, Any]) -> OutputFolder:
    """Return the folder of results that the options name."""
    return OutputFolder(
        options["output"], overwrite=options["overwrite"], resume=options["resume"]
    )


def train_and_write(
    fit: Fit,
    work: Work,
    batch: ImageBatch | None,
    identity: Identity,
    options: dict[str, Any],
    start: float,
) -> None:
    """Train, and write what the model finds in the images that are left.

    Nothing is trained where all is done, or where a run that was broken off has left
    its model.
    """
    state = State(work.folder.path / FOLDER_NAME, identity)
    try:
        if work.needs_model:
            with stages([*fit.stages, work.results.stage]):
                model = _fitted(fit, work, state, options, start)
                work.write(model, batch, strict=options["strict"])
        work.finish(start)
        if not work.has_failed:
            state.clear()
    finally:
        state.clear_unused()


def _is_same(first: Path, second: Path) -> bool:
    """Tell two files of the same content."""
    if not (first.is_file() and second.is_file()):
        return False
    return first.read_bytes() == second.read_bytes()


def _fitted(
    fit: Fit, work: Work, state: State, options: dict[str, Any], start: float
) -> Any:
    """Return a fitted model: that of a run that was broken off, if there is one."""
    terminal = work.terminal
    state.open(terminal, resume=options["resume"], overwrite=options["overwrite"])
    if state.model.exists():
        terminal.say("the model was trained before the run was broken off")
        fitted = fit.load(state.model)
    else:
        terminal.say(fit.text)
        with state.training():
            fitted = fit.train()
        state.keep_model(fitted)
        terminal.say(f"trained in {time.perf_counter() - start:.0f} s")
    work.record.time("training")
    if fit.keep is not None and not _is_same(state.model, fit.keep):
        check_model_path(fit.keep, [], overwrite=options["overwrite"])
        save(fitted, fit.keep, terminal)
    terminal.mute_told()
    return quiet(fitted)
