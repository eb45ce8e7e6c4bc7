# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn apply``: find nuclei with a model that is there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from psmlearn._cli import _chain
from psmlearn._cli._model_path import load, own_pixel_size, quiet, set_pixel_size
from psmlearn._cli._nuclei import NucleiResults
from psmlearn._cli._options import (
    images_options,
    make_search,
    make_terminal,
    model_option,
    output_options,
    parse_pixel_size,
    pixel_size_option,
    run_options,
)
from psmlearn._cli._outputs import OutputFolder
from psmlearn._cli._record import RunRecord
from psmlearn._cli._terminal import count
from psmlearn._cli._work import Work, device_name, model_identity, says_where_it_stopped

__all__ = ["apply"]


@click.command()
@images_options
@model_option(required=True, help="A model that psmlearn wrote.", exists=True)
@output_options
@pixel_size_option(else_="that of the model's training")
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda or mps."
)
@run_options
def apply(**options: Any) -> None:
    """Find every nucleus in IMAGES (files or folders) with a trained MODEL.

    It writes what `psmlearn segment` writes. Nothing is trained: images are best of the
    stain and scanner that the model was trained on. With --resume what is done already
    stays, and images that have come since are added.

    \b
    Examples:
      psmlearn apply new-slides/ --model nuclei.psm --output nuclei/
      psmlearn apply new-slides/ --model nuclei.psm --output nuclei/ --resume
    """
    model: Path = options["model"]
    output: Path = options["output"]
    terminal, strict = make_terminal(options), options["strict"]
    terminal.know([str(output), str(model)])
    asked = parse_pixel_size(options["pixel_size"])
    start, record = time.perf_counter(), RunRecord("apply")
    with terminal.listening(), terminal.plain_errors():
        chain = quiet(load(model, options["device"]))
        results = NucleiResults.of(chain, options["also"])
        results.check()
        paths = _chain.find_sources(make_search(options), False, output, terminal)
        with OutputFolder(
            output, overwrite=options["overwrite"], resume=options["resume"]
        ) as folder:
            work = Work(folder, results, terminal, record, report=options["report"])
            with says_where_it_stopped(terminal, work):
                work.name(paths, strict=strict)
                given = [job.path for job in work.jobs]
                batch, _, bad = _chain.check(given, terminal, "apply", strict=strict)
                work.leave_out(bad)
                chosen, sizes, assumed = _chain.choose_pixel_size(
                    asked,
                    batch,
                    terminal,
                    default=own_pixel_size(chain),
                    whose="that of the model",
                )
                device = device_name(options["device"])
                identity = model_identity("apply", model, device, pixel_size=chosen)
                record.set(model=str(model), pixel_size=chosen, device=device)
                record.set(pixel_size_assumed=assumed)
                work.begin(identity, paths, sizes.tolist())
                n_left = count(len(work.left), "image")
                terminal.say(f"{model}: applied to {n_left}")
                set_pixel_size(chain, chosen)
                work.write(chain, batch, strict=strict)
                work.finish(start)
            work.report()
