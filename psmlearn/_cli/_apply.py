# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn apply``: find nuclei with a model that is there."""

from __future__ import annotations

import time
from pathlib import Path

import click

from psmlearn._cli import _chain
from psmlearn._cli._model_path import load, own_pixel_size, set_pixel_size
from psmlearn._cli._options import (
    images_argument,
    model_option,
    output_options,
    parse_pixel_size,
    pixel_size_option,
    quiet_option,
)
from psmlearn._cli._outputs import OutputFolder
from psmlearn._cli._results import Kinds, plan, says_where_it_stopped, segment_all
from psmlearn._cli._terminal import Terminal, count


@click.command()
@images_argument
@model_option(required=True, help="A model that psmlearn wrote.", exists=True)
@output_options
@pixel_size_option(else_="that of the model's training")
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda or mps."
)
@quiet_option
def apply(
    images: tuple[Path, ...],
    model: Path,
    output: Path,
    overwrite: bool,
    pixel_size: str | None,
    device: str,
    quiet: bool,
) -> None:
    """Find every nucleus in IMAGES (files or folders) with a trained MODEL.

    It writes what `psmlearn segment` writes. Nothing is trained: images are best of the
    stain and scanner that the model was trained on.

    \b
    Examples:
      psmlearn apply new-slides/ --model nuclei.psm --output nuclei/
    """
    terminal = Terminal()
    terminal.know([str(output), str(model)])
    asked = parse_pixel_size(pixel_size)
    start = time.perf_counter()
    with terminal.listening(messages=not quiet), terminal.plain_errors():
        chain = load(model, device)
        kinds = Kinds.of(chain)
        paths = _chain.find_sources(images, False, output, terminal)
        with (
            OutputFolder(output, overwrite=overwrite) as folder,
            says_where_it_stopped(terminal, len(paths)),
        ):
            jobs = plan(paths, kinds, folder, terminal)
            batch = _chain.check(paths, terminal, "apply")
            chosen, sizes = _chain.choose_pixel_size(
                asked,
                batch,
                terminal,
                default=own_pixel_size(chain),
                whose="that of the model",
            )
            terminal.say(f"{model}: applied to {count(len(jobs), 'image')}")
            set_pixel_size(chain, chosen)
            segment_all(chain, kinds, batch, sizes, jobs, folder, terminal, start)
