# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn segment``: find nuclei in images, trained on them without labels."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from psmlearn._cli import _chain
from psmlearn._cli._chain import Training
from psmlearn._cli._model_path import check_model_path, load
from psmlearn._cli._nuclei import NucleiResults
from psmlearn._cli._options import (
    images_options,
    make_search,
    make_terminal,
    make_training,
    model_option,
    output_options,
    parse_pixel_size,
    pixel_size_option,
    run_options,
    training_options,
)
from psmlearn._cli._record import RunRecord
from psmlearn._cli._slides import (
    fields_options,
    images_first,
    training_images,
    with_slides,
    workers_options,
)
from psmlearn._cli._terminal import count
from psmlearn._cli._training import Fit, open_folder, train_and_write
from psmlearn._cli._work import (
    Work,
    chain_parameters,
    device_name,
    says_where_it_stopped,
    training_identity,
)

__all__ = ["run_segment", "segment"]


@click.command()
@images_options
@click.option(
    "--sample", is_flag=True, help="Use the three fields of H&E that come with it."
)
@output_options
@training_options()
@fields_options
@workers_options
@pixel_size_option(
    else_=f"{_chain.PIXEL_SIZE}; {_chain.SAMPLE_PIXEL_SIZE} for --sample"
)
@model_option(required=False, help="Keep the trained model in this file, too.")
@run_options
def segment(**options: Any) -> None:
    """Find every nucleus in IMAGES (files or folders), trained on them without labels.

    For each image it writes an overlay of the outlines (PNG), the activation map
    (PNG), the label image (TIFF: 0 background, 1..n nuclei), a table of nuclei (CSV)
    and their outlines for QuPath (GeoJSON); and run.json, which tells what was done.

    With --classes ki67 there is no map; the label images have the class as their
    second sample, and the table of nuclei the class and the mean amounts of
    haematoxylin and DAB; the points of each image (row, column, class) and the
    labelling index, the share of positive nuclei, with H-score and Allred score, per
    image and overall, are written as CSV, too. It counts all nuclei, not tumour cells
    alone; for research use only.

    Of whole slides (SVS, NDPI, large TIFF, OME-Zarr) fields of tissue are trained on,
    and each slide is segmented in bounded memory; see `psmlearn apply`.

    What psmlearn wrote to a folder is listed in its psmlearn-files.jsonl: no other
    file is ever replaced. A run that was broken off, by Ctrl-C or a loss of power, goes
    on with --resume, in the middle of training too. Images that cannot be read are
    told in the end, and the exit status is 3.

    \b
    Examples:
      psmlearn segment --sample --quick --output demo/
      psmlearn segment slides/ --pixel-size 0.25 --output nuclei/
      psmlearn segment slides/ --recursive --pattern '*_HE.tif' --output nuclei/
      psmlearn segment slides/ --model nuclei.psm --output nuclei/ --resume
    """
    run_segment("segment", make_training(options), **options)


def run_segment(command: str, training: Training, **options: Any) -> None:
    """Train on images, and find nuclei in them."""
    terminal, model = make_terminal(options), options["model"]
    output: Path = options["output"]
    terminal.know([str(output), *([str(model)] if model else [])])
    asked = parse_pixel_size(options["pixel_size"])
    start, record = time.perf_counter(), RunRecord(command)
    with_classes = training.classes is not None
    results = NucleiResults(with_classes, not with_classes, options["also"])
    strict = options["strict"]
    with terminal.listening(), terminal.plain_errors():
        results.check()
        search = make_search(options, slides=True)
        sample = options.get("sample", False)
        paths = images_first(_chain.find_sources(search, sample, output, terminal))
        size = None if isinstance(asked, str) else asked
        results = with_slides(results, paths, asked, size, options, terminal)
        with open_folder(options) as folder:
            if model is not None:
                again = options["overwrite"] or options["resume"]
                check_model_path(model, paths, overwrite=again)
            work = Work(folder, results, terminal, record, report=options["report"])
            with says_where_it_stopped(terminal, work):
                work.name(paths, strict=strict)
                given = [job.path for job in work.jobs]
                found = training_images(
                    given,
                    asked,
                    options,
                    terminal,
                    command,
                    **_default_size(options),
                )
                batch, chosen = found.batch, found.size
                work.leave_out(found.bad)
                sizes = [*found.sizes, *found.of_slides]
                chain = _chain.make_chain(batch, chosen, training, terminal.verbose)
                record.set(
                    parameters=chain_parameters(chain),
                    random_state=training.random_state,
                    pixel_size=chosen,
                    pixel_size_assumed=found.assumed,
                    device=device_name(training.device),
                    fields=found.places,
                )
                identity = training_identity(
                    command,
                    chain,
                    [job.stamp for job in work.jobs],
                    device_name(training.device),
                    **found.told,
                )
                work.begin(identity, paths, sizes)
                n_images = count(len(work.jobs), "image")
                fit = Fit(
                    train=lambda: _chain.train(chain, batch),
                    load=lambda path: load(path, chain.device),
                    text=f"training on {n_images}, without labels",
                    stages=_chain.stages_of(chain),
                    keep=model,
                )
                train_and_write(fit, work, batch, identity, options, start)
            work.report()
        work.raise_failures()


def _default_size(options: dict[str, Any]) -> dict[str, Any]:
    """Return what holds where nobody tells the pixel size."""
    if options.get("sample"):
        return {"default": _chain.SAMPLE_PIXEL_SIZE, "whose": "that of the sample"}
    return {}
