# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn segment``: find nuclei in images, trained on them without labels."""

from __future__ import annotations

import time
from pathlib import Path

import click

from psmlearn._cli import _chain
from psmlearn._cli._model_path import check_model_path, save
from psmlearn._cli._options import (
    images_argument,
    model_option,
    output_options,
    parse_pixel_size,
    pixel_size_option,
    quiet_option,
    training_options,
)
from psmlearn._cli._outputs import OutputFolder
from psmlearn._cli._results import Kinds, plan, says_where_it_stopped, segment_all
from psmlearn._cli._terminal import Terminal, count


@click.command()
@images_argument
@click.option(
    "--sample", is_flag=True, help="Use the three fields of H&E that come with it."
)
@output_options
@training_options
@pixel_size_option(
    else_=f"{_chain.PIXEL_SIZE}; {_chain.SAMPLE_PIXEL_SIZE} for --sample"
)
@model_option(required=False, help="Keep the trained model in this file, too.")
@quiet_option
def segment(
    images: tuple[Path, ...],
    sample: bool,
    output: Path,
    overwrite: bool,
    max_epochs: int | None,
    quick: bool,
    random_state: int,
    device: str,
    classes: str | None,
    pixel_size: str | None,
    model: Path | None,
    quiet: bool,
) -> None:
    """Find every nucleus in IMAGES (files or folders), trained on them without labels.

    For each image it writes an overlay of the outlines (PNG), the activation map
    (PNG), the label image (TIFF: 0 background, 1..n nuclei), a table of nuclei (CSV)
    and their outlines for QuPath (GeoJSON).

    With --classes ki67 there is no map; the label images have the class as their
    second sample, and the table of nuclei the class and the mean amounts of
    haematoxylin and DAB; the points of each image (row, column, class) and the
    labelling index, the share of positive nuclei, with H-score and Allred score, per
    image and overall, are written as CSV, too. It counts all nuclei, not tumour cells
    alone; for research use only.

    What psmlearn wrote to a folder is listed in its psmlearn-files.jsonl: another run
    replaces that, and no other file.

    \b
    Examples:
      psmlearn segment --sample --quick --output demo/
      psmlearn segment slides/ --pixel-size 0.25 --output nuclei/
      psmlearn segment slides/ --model nuclei.psm --output nuclei/
    """
    terminal = Terminal()
    terminal.know([str(output), *([str(model)] if model else [])])
    asked = parse_pixel_size(pixel_size)
    start = time.perf_counter()
    kinds = Kinds(with_classes=classes is not None, with_map=classes is None)
    with terminal.listening(messages=not quiet), terminal.plain_errors():
        paths = _chain.find_sources(images, sample, output, terminal)
        if model is not None:
            check_model_path(model, paths, overwrite=overwrite)
        with (
            OutputFolder(output, overwrite=overwrite) as folder,
            says_where_it_stopped(terminal, len(paths)),
        ):
            jobs = plan(paths, kinds, folder, terminal)
            batch = _chain.check(paths, terminal, "segment")
            chosen, sizes = _chain.choose_pixel_size(
                asked,
                batch,
                terminal,
                default=_chain.SAMPLE_PIXEL_SIZE if sample else _chain.PIXEL_SIZE,
                whose="that of the sample" if sample else "the default",
            )
            terminal.say(f"training on {count(len(jobs), 'image')}, without labels")
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
            if model is not None:
                save(chain, model, terminal)
            terminal.mute_told()
            segment_all(chain, kinds, batch, sizes, jobs, folder, terminal, start)
