# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn apply``: find nuclei with a model that is there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from psmlearn._cli._results import Results
from psmlearn._cli._slides import (
    SlidesToo,
    check_jobs,
    images_first,
    with_slides,
    workers_options,
)
from psmlearn._cli._terminal import Terminal, count
from psmlearn._cli._weak_results import WeakResults
from psmlearn._cli._work import Work, device_name, model_identity, says_where_it_stopped

if TYPE_CHECKING:
    from psmlearn.io import ImageBatch

__all__ = ["apply"]


@click.command()
@images_options
@model_option(required=True, help="A model that psmlearn wrote.", exists=True)
@output_options
@pixel_size_option(else_="that of the model's training")
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda or mps."
)
@workers_options
@run_options
def apply(**options: Any) -> None:
    """Find every nucleus in IMAGES (files or folders) with a trained MODEL.

    It writes what `psmlearn segment` writes; of a model of `psmlearn weak`, what that
    writes: label images, overlays, maps, and the probabilities of image labels. Nothing
    is trained: images are best of the stain and scanner that the model was trained on.
    With --resume what is done already stays, and images that have come since are added.

    Whole slides (SVS, NDPI, large TIFF, OME-Zarr) are segmented one after the other, in
    bounded memory: label image (tiled OME-TIFF), outlines (GeoJSON), table, a picture
    of the tissue that was looked at, and counts (JSON).

    \b
    Examples:
      psmlearn apply new-slides/ --model nuclei.psm --output nuclei/
      psmlearn apply new-slides/ --model nuclei.psm --output nuclei/ --resume
      psmlearn apply slide.svs --model nuclei.psm --output nuclei/ --workers 4
    """
    model: Path = options["model"]
    output: Path = options["output"]
    terminal, strict = make_terminal(options), options["strict"]
    terminal.know([str(output), str(model)])
    asked = parse_pixel_size(options["pixel_size"])
    start, record = time.perf_counter(), RunRecord("apply")
    with terminal.listening(), terminal.plain_errors():
        chain = quiet(load(model, options["device"]))
        results = _results(chain, options)
        is_weak = isinstance(results, WeakResults)
        search = make_search(options, slides=not is_weak)
        paths = _chain.find_sources(search, False, output, terminal)
        if not is_weak:
            paths = images_first(paths)
            results = with_slides(
                results, paths, asked, own_pixel_size(chain), options, terminal
            )
        if isinstance(results, SlidesToo):
            results.check_model(chain)
        with OutputFolder(
            output, overwrite=options["overwrite"], resume=options["resume"]
        ) as folder:
            work = Work(folder, results, terminal, record, report=options["report"])
            with says_where_it_stopped(terminal, work):
                work.name(paths, strict=strict)
                batch, of_slides, bad = check_jobs(
                    work.jobs,
                    asked,
                    terminal,
                    "apply",
                    with_slides=not is_weak,
                    strict=strict,
                    value_range=None if is_weak else (0.0, 1.0),
                )
                work.leave_out(bad)
                choose = _note_pixel_size if is_weak else _choose_pixel_size
                chosen = asked
                sizes: list[float | None] = []
                if batch is not None:
                    chosen, sizes = choose(chain, asked, batch, terminal, record)
                device = device_name(options["device"])
                identity = model_identity("apply", model, device, pixel_size=chosen)
                record.set(model=str(model), device=device)
                work.begin(identity, paths, [*sizes, *of_slides])
                if work.left:
                    n_left = count(len(work.left), "image")
                    terminal.say(f"{model}: applied to {n_left}")
                work.write(chain, batch, strict=strict)
                work.finish(start)
            work.report()
        work.raise_failures()


def _results(model: Any, options: dict[str, Any]) -> Results:
    """Return what a model writes.

    Raises
    ------
    click.UsageError
        If something else is asked for, too, that it does not give.
    """
    weak = WeakResults.of(model)
    if weak is None:
        nuclei = NucleiResults.of(model, options["also"])
        nuclei.check()
        return nuclei
    for name in ("also", "report"):
        if options[name]:
            raise click.UsageError(
                f"--{name} is of nuclei, and this model finds regions by what it "
                "learnt from image labels; leave it out."
            )
    return weak


def _choose_pixel_size(
    chain: Any,
    asked: float | str | None,
    batch: ImageBatch,
    terminal: Terminal,
    record: RunRecord,
) -> tuple[float | str | None, list[float | None]]:
    """Let a model of nuclei look for them at the size of the pixels."""
    chosen, sizes, assumed = _chain.choose_pixel_size(
        asked,
        batch,
        terminal,
        default=own_pixel_size(chain),
        whose="that of the model",
    )
    record.set(pixel_size=chosen, pixel_size_assumed=assumed)
    set_pixel_size(chain, chosen)
    return chosen, sizes.tolist()


def _note_pixel_size(
    chain: Any,
    asked: float | str | None,
    batch: ImageBatch,
    terminal: Terminal,
    record: RunRecord,
) -> tuple[float | str | None, list[float | None]]:
    """Note the size of pixels: regions by image labels do not depend on it."""
    return asked, _chain.known_pixel_sizes(asked, batch, terminal)
