# SPDX-License-Identifier: BSD-3-Clause
"""What a run is known by, and what it leaves to go on from when it is broken off."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from psmlearn._cli._terminal import Terminal, tell_some
from psmlearn.io import atomic_path
from psmlearn.io._paths import printable

__all__ = ["FOLDER_NAME", "Identity", "State"]

FOLDER_NAME = ".psmlearn-resume"
_TOLD_NAME = "run.json"
_MODEL_NAME = "model.psm"
_MARK = "psmlearn_resume"


class Identity:
    """What decides over the results of a run: the same gives the same, bit by bit.

    Parameters
    ----------
    told : mapping of str to value
        Of JSON: command, version, parameters, checksums of images or model.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        text = json.dumps(told, sort_keys=True, default=str)
        self.told: dict[str, Any] = json.loads(text)
        self.name = hashlib.sha256(text.encode()).hexdigest()[:32]

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Tell what is different from another, in words."""
        return [
            f"{key} ({_short(other.get(key))} then, {_short(self.told.get(key))} now)"
            for key in sorted({*self.told, *other})
            if self.told.get(key) != other.get(key)
        ]


class State:
    """A folder with the checkpoints, and then the model, of a run that is not done.

    Parameters
    ----------
    path : Path
    identity : Identity
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        self.path = path
        self.identity = identity

    @property
    def model(self) -> Path:
        """Where the trained model is kept."""
        return self.path / _MODEL_NAME

    def open(self, terminal: Terminal, *, resume: bool, overwrite: bool) -> None:
        """Go on with what is there, or begin anew.

        Raises
        ------
        ValueError
            If what is there is of another run, or no state of one.
        """
        told = self._read()
        if told is None:
            if resume and not overwrite:
                terminal.say("nothing was broken off here: it begins anew", err=True)
        elif not resume:
            terminal.say(
                "begins anew; --resume would have gone on with what was broken off",
                err=True,
            )
            self.clear()
        elif differences := self.identity.differences(told):
            if not overwrite:
                raise ValueError(
                    f"What was broken off in {printable(str(self.path))!r} is of "
                    f"another run: {tell_some(differences)}. Leave --resume out to "
                    "begin anew."
                )
            terminal.say("what was broken off is of another run: begins anew", err=True)
            self.clear()
        self._write()

    def _read(self) -> dict[str, Any] | None:
        """Return the identity of the run that the folder is of, None without one."""
        if not os.path.lexists(self.path):
            return None
        try:
            if os.path.islink(self.path):
                raise ValueError("a link")
            told = json.loads((self.path / _TOLD_NAME).read_text(encoding="utf-8"))
            return dict(told[_MARK])
        except FileNotFoundError:
            if not os.listdir(self.path):
                return None
        except (OSError, ValueError, TypeError, KeyError):
            pass
        raise ValueError(
            f"{printable(str(self.path))!r} is not what psmlearn keeps under this "
            "name; move it away."
        )

    def _write(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        with (
            atomic_path(self.path / _TOLD_NAME) as part,
            open(part, "w", encoding="utf-8") as file,
        ):
            json.dump({_MARK: self.identity.told}, file)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Keep the state of trainings here."""
        from psmlearn.persistence import checkpoints

        with checkpoints(self.path):
            yield

    def keep_model(self, chain: Any) -> None:
        """Keep a trained model in the place of the state of its training."""
        from psmlearn.persistence import save_model

        # What cannot be stored is trained again from its checkpoints.
        with suppress(TypeError):
            save_model(chain, self.model)
            for each in self.path.glob("*.checkpoint"):
                each.unlink()

    def clear(self) -> None:
        """Take the folder away."""
        shutil.rmtree(self.path, ignore_errors=True)

    def clear_unused(self) -> None:
        """Take the folder away unless there is something to go on from."""
        with suppress(OSError):
            if set(os.listdir(self.path)) <= {_TOLD_NAME}:
                self.clear()


def _short(value: Any) -> str:
    text = printable(str(value))
    return text if len(text) <= 60 else f"{text[:57]}..."
