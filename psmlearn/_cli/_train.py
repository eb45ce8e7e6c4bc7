# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn train``: train once, without labels, and keep the model."""

from __future__ import annotations

import time
from pathlib import Path

import click

from psmlearn._cli import _chain
from psmlearn._cli._model_path import check_model_path, save
from psmlearn._cli._options import (
    images_argument,
    model_option,
    parse_pixel_size,
    pixel_size_option,
    quiet_option,
    training_options,
)
from psmlearn._cli._results import says_where_it_stopped
from psmlearn._cli._terminal import Terminal, count


@click.command()
@images_argument
@model_option(required=True, help="File to write the model to, such as nuclei.psm.")
@training_options
@pixel_size_option(else_=str(_chain.PIXEL_SIZE))
@click.option(
    "--overwrite", is_flag=True, help="Replace a model that is there; no other file."
)
@quiet_option
def train(
    images: tuple[Path, ...],
    model: Path,
    max_epochs: int | None,
    quick: bool,
    random_state: int,
    device: str,
    classes: str | None,
    pixel_size: str | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Train on IMAGES (files or folders) without labels, and keep the model.

    `psmlearn apply` finds nuclei with it in other images of the same stain and scanner,
    in seconds. The file holds weights and parameters and runs no code; in Python it is
    read by psmlearn.load_model.

    \b
    Examples:
      psmlearn train slides/ --model nuclei.psm
      psmlearn train slides/ --classes ki67 --pixel-size 0.5 --model ki67.psm
    """
    terminal = Terminal()
    terminal.know([str(model)])
    asked = parse_pixel_size(pixel_size)
    start = time.perf_counter()
    with terminal.listening(messages=not quiet), terminal.plain_errors():
        paths = _chain.find_sources(images, False, None, terminal)
        check_model_path(model, paths, overwrite=overwrite)
        with says_where_it_stopped(terminal, len(paths)):
            batch = _chain.check(paths, terminal, "train")
            chosen, _ = _chain.choose_pixel_size(asked, batch, terminal)
            terminal.say(f"training on {count(len(paths), 'image')}, without labels")
            chain = _chain.train(
                batch,
                chosen,
                max_epochs,
                quick,
                random_state,
                device,
                not quiet,
                classes,
            )
            terminal.say(f"trained in {time.perf_counter() - start:.0f} s")
            save(chain, model, terminal)
