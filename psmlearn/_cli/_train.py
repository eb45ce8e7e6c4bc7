# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn train``: train once, without labels, and keep the model."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from psmlearn._cli import _chain
from psmlearn._cli._config import CONFIG_MARK, config_text
from psmlearn._cli._model_path import check_model_path, save
from psmlearn._cli._options import (
    images_options,
    make_search,
    make_terminal,
    make_training,
    model_option,
    parse_pixel_size,
    pixel_size_option,
    run_options,
    training_options,
)
from psmlearn._cli._record import RunRecord, read_record
from psmlearn._cli._resume import State
from psmlearn._cli._slides import fields_options, images_first, training_images
from psmlearn._cli._sources import Stamp
from psmlearn._cli._terminal import (
    N_TOLD,
    SOME_FAILED,
    Terminal,
    count,
    tell_error,
)
from psmlearn._cli._work import (
    chain_parameters,
    device_name,
    training_identity,
)
from psmlearn._progress import stages
from psmlearn.io import atomic_path
from psmlearn.io._locks import try_lock
from psmlearn.io._paths import printable, stem_of

__all__ = ["train"]


@click.command()
@images_options
@model_option(required=True, help="File to write the model to, such as nuclei.psm.")
@training_options()
@fields_options
@pixel_size_option(else_=str(_chain.PIXEL_SIZE))
@click.option(
    "--resume", is_flag=True, help="Go on with a training that was broken off."
)
@click.option(
    "--overwrite", is_flag=True, help="Replace a model that is there; no other file."
)
@run_options
def train(**options: Any) -> None:
    """Train on IMAGES (files or folders) without labels, and keep the model.

    `psmlearn apply` finds nuclei with it in other images of the same stain and scanner,
    in seconds. The file holds weights and parameters and runs no code; in Python it is
    read by psmlearn.load_model. Beside it, nuclei.toml tells all parameters, to be
    changed and used again by --config, and nuclei.run.json what it was trained on.

    Of whole slides (SVS, NDPI, large TIFF, OME-Zarr) fields of tissue are trained on,
    drawn over all of them so that each kind of stain is there.

    The state of training is kept every minute, in a hidden folder beside the model:
    after Ctrl-C or a loss of power --resume goes on, with the same result.

    \b
    Examples:
      psmlearn train slides/ --model nuclei.psm
      psmlearn train slides/ --model nuclei.psm --resume
      psmlearn train slides/*.svs --fields 40 --model nuclei.psm
      psmlearn train slides/ --config nuclei.toml --random-state 1 --model other.psm
      psmlearn train slides/ --classes ki67 --pixel-size 0.5 --model ki67.psm
    """
    terminal, model = make_terminal(options), options["model"]
    terminal.know([str(model)])
    asked, training = parse_pixel_size(options["pixel_size"]), make_training(options)
    start, record = time.perf_counter(), RunRecord("train")
    with terminal.listening(), terminal.plain_errors():
        search = make_search(options, slides=True)
        paths = images_first(_chain.find_sources(search, False, None, terminal))
        again = options["overwrite"] or options["resume"]
        check_model_path(model, paths, overwrite=again)
        beside = _Beside(model, overwrite=again)
        stamps = [Stamp.of(path) for path in paths]
        found = training_images(paths, asked, options, terminal, "train")
        batch, bad, chosen, assumed = found.batch, found.bad, found.size, found.assumed
        places = [place for place in range(len(paths)) if place not in bad]
        for error in bad.values():
            terminal.say(f"left out: {tell_error(error)}", err=True)
        chain = _chain.make_chain(batch, chosen, training, terminal.verbose)
        device = device_name(training.device)
        kept = [stamps[place] for place in places]
        identity = training_identity("train", chain, kept, device, **found.told)
        if options["resume"] and beside.is_of(identity.name):
            terminal.say(f"{model} is trained already, by these images and parameters")
            return
        if model.exists() and not options["overwrite"]:
            check_model_path(model, paths, overwrite=False)
        state = State(model.parent / f".{model.name}.resume", identity)
        with _only_run(state, terminal):
            state.open(
                terminal, resume=options["resume"], overwrite=options["overwrite"]
            )
            n_images = count(len(batch), "image")
            terminal.say(f"training on {n_images}, without labels")
            with state.training(), stages(_chain.stages_of(chain)):
                fitted = _chain.train(chain, batch)
            record.time("training")
            terminal.say(f"trained in {time.perf_counter() - start:.0f} s")
            save(fitted, model, terminal)
            given = {key: options[key] for key in ("max_epochs", "classes")}
            told = {"pixel_size": chosen, **given, "device": training.device}
            told["random_state"] = training.random_state
            told.update(found.told)
            beside.write_config(config_text(chain, told))
            record.identify(identity)
            record.set(
                parameters=chain_parameters(chain),
                pixel_size=chosen,
                pixel_size_assumed=assumed,
                device=device,
                random_state=training.random_state,
                model=str(model),
                status="some failed" if bad else "done",
                fields=found.places,
            )
            _add_inputs(record, paths, stamps, bad)
            beside.write_record(record)
            state.clear()
        _raise_bad(bad, len(paths), terminal)


class _Beside:
    """The files beside a model: its parameters, and what it was trained on."""

    def __init__(self, model: Path, *, overwrite: bool) -> None:
        self.config = model.with_suffix(".toml")
        self.record = model.with_suffix(".run.json")
        for path, is_ours in ((self.config, _is_config), (self.record, read_record)):
            if not os.path.lexists(path):
                continue
            told = printable(str(path))
            if path == model or not path.is_file() or not is_ours(path):
                raise FileExistsError(
                    f"{told!r} is there and not written by psmlearn; it is never "
                    "replaced. Name another --model."
                )
            if not overwrite:
                raise FileExistsError(f"{told!r} is there; --overwrite replaces it.")

    def is_of(self, run: str) -> bool:
        """Tell whether the model that is there comes of the same run."""
        told = read_record(self.record)
        return told is not None and told.get("run") == run and self.config.exists()

    def write_config(self, text: str) -> None:
        """Write the parameters."""
        _write(self.config, text)

    def write_record(self, record: RunRecord) -> None:
        """Write what the model was trained on."""
        _write(self.record, record.text(read_record(self.record)))


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as part, open(part, "w", encoding="utf-8") as file:
        file.write(text)


def _is_config(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(CONFIG_MARK)) == CONFIG_MARK.encode()


@contextmanager
def _only_run(state: State, terminal: Terminal) -> Iterator[None]:
    """Refuse a second training of one model; say at Ctrl-C how to go on."""
    lock = state.path.with_suffix(".lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not try_lock(descriptor):
            raise ValueError(
                f"Another run of psmlearn trains {printable(str(state.path))!r}; wait "
                "until it is done, or name another --model."
            )
        try:
            yield
        except KeyboardInterrupt:
            terminal.say("stopped; --resume goes on from here", err=True)
            raise click.exceptions.Exit(130) from None
        finally:
            state.clear_unused()
            with suppress(OSError):  # Windows takes no open file away
                lock.unlink()
    finally:
        os.close(descriptor)


def _add_inputs(
    record: RunRecord,
    paths: list[str],
    stamps: list[Stamp | None],
    bad: dict[int, Exception],
) -> None:
    for place, path in enumerate(paths):
        error = bad.get(place)
        told = {} if error is None else {"error": tell_error(error)}
        record.add_input(stem_of(path), stamps[place], **told)


def _raise_bad(bad: dict[int, Exception], n_images: int, terminal: Terminal) -> None:
    """End with status 3 where images were left out."""
    if not bad:
        return
    told = "; ".join(tell_error(error) for error in list(bad.values())[:N_TOLD])
    more = f"; and {len(bad) - N_TOLD} more" if len(bad) > N_TOLD else ""
    raise terminal.failure(
        f"{len(bad)} of {count(n_images, 'image')} left out: {told}{more}", SOME_FAILED
    )
