# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn weak``: regions from labels of whole images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from psmlearn._cli import _chain
from psmlearn._cli._image_labels import ImageLabels, read_image_labels
from psmlearn._cli._model_path import check_model_path, load
from psmlearn._cli._options import (
    NamedPath,
    folder_options,
    images_options,
    make_search,
    make_terminal,
    model_option,
    network_options,
    parse_pixel_size,
    pixel_size_option,
    run_options,
)
from psmlearn._cli._record import RunRecord
from psmlearn._cli._terminal import Terminal, count, tell_some
from psmlearn._cli._training import Fit, open_folder, train_and_write
from psmlearn._cli._weak_results import WeakResults
from psmlearn._cli._work import (
    Work,
    chain_parameters,
    device_name,
    says_where_it_stopped,
    training_identity,
)

if TYPE_CHECKING:
    from psmlearn.io import ImageBatch

__all__ = ["weak"]


@click.command()
@images_options
@click.option(
    "--labels",
    required=True,
    type=NamedPath(exists=True, dir_okay=False, path_type=Path),
    help="CSV with columns image (file name, or path from the CSV) and label; or image "
    "and a column of 0 and 1 for each class.",
)
@folder_options
@click.option(
    "--negative-label",
    metavar="NAME",
    help="The label of images without any object.  [default: 0, the lesser of two "
    "numbers, 'false' or 'no']",
)
@click.option(
    "--no-negative",
    is_flag=True,
    help="No label is that of images without any object: all are told from each other.",
)
@click.option(
    "--segmenter",
    is_flag=True,
    help="Train a U-Net on the regions that the labels gave, which then finds them at "
    "the full size of the images.",
)
@click.option(
    "--patch-size",
    type=click.IntRange(min=16),
    help="Side of the square that whole images are scaled to, in pixels.  "
    "[default: 128]",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Value of a map above which a pixel is of a region.  [default: 0.6, and 0.7 "
    "somewhere in the region]",
)
@network_options(n_epochs=20)
@pixel_size_option(else_=None)
@model_option(required=False, help="Keep the trained model in this file, too.")
@run_options
def weak(**options: Any) -> None:
    """Find the regions that tell IMAGES with a label from those without.

    It learns from labels of whole images, such as whether a slice shows a lesion, where
    the lesion is. For each image it writes the label image (TIFF: 0 background, 1..n
    regions; with several classes the class as second sample), an overlay of the
    outlines, and the map of each class (PNG); for all of them image_probabilities.csv:
    the label that was given, and how likely each is; and run.json.

    The CSV has a head. Images are named by file name, or by path from the CSV, with
    or without suffix. Those without a line are predicted, too. Regions keep to the
    labels: an image without a class has no region of it (with --segmenter they are the
    U-Net's). Values may be of any range: each image is standardised by itself.

    It finds what distinguishes the labels, be it the scanner: look at the maps. For
    research use only.

    \b
    Examples:
      psmlearn weak slices/ --labels labels.csv --output regions/
      psmlearn weak slices/ --labels labels.csv --negative-label healthy
      psmlearn weak slices/ --labels labels.csv --segmenter --model lesions.psm
      psmlearn apply new-slices/ --model lesions.psm --output new-regions/
    """
    if options["no_negative"] and options["negative_label"] is not None:
        raise click.UsageError("Give --negative-label or --no-negative, not both.")
    terminal, model = make_terminal(options), options["model"]
    output: Path = options["output"]
    terminal.know([str(e) for e in (output, model, options["labels"]) if e is not None])
    asked = parse_pixel_size(options["pixel_size"])
    start, record = time.perf_counter(), RunRecord("weak")
    with terminal.listening(), terminal.plain_errors():
        paths = _chain.find_sources(make_search(options), False, output, terminal)
        labels = read_image_labels(options["labels"], paths)
        results = _results(labels, paths, options)
        _tell_labels(labels, paths, results, terminal)
        with open_folder(options) as folder:
            if model is not None:
                again = options["overwrite"] or options["resume"]
                check_model_path(model, paths, overwrite=again)
            work = Work(folder, results, terminal, record)
            with says_where_it_stopped(terminal, work):
                strict = options["strict"]
                work.name(paths, strict=strict)
                batch, _, bad = _chain.check(
                    [job.path for job in work.jobs],
                    terminal,
                    "weak",
                    strict=strict,
                    value_range=None,
                )
                work.leave_out(bad)
                # Those that are left out may have been all of a class.
                _results(labels, [str(job.path) for job in work.jobs], options)
                sizes = _chain.known_pixel_sizes(asked, batch, terminal)
                _train(work, results, batch, paths, sizes, options, start)
        work.raise_failures()


def _results(
    labels: ImageLabels, paths: Sequence[str], options: dict[str, Any]
) -> WeakResults:
    """Return what is to be written, if images of `paths` can be learnt from."""
    known = [path for path in paths if path in labels.rows]
    code = labels.learn(known, options["negative_label"], options["no_negative"])
    return WeakResults(code, labels)


def _tell_labels(
    labels: ImageLabels, paths: Sequence[str], results: WeakResults, terminal: Terminal
) -> None:
    """Say how many images have which label, and which have none."""
    known = [path for path in paths if path in labels.rows]
    rows = [labels.rows[path] for path in known]
    if labels.columns:
        told = [
            f"{name} {sum(row[place] for row in rows)}"
            for place, name in enumerate(labels.columns)
        ]
    else:
        told = [
            f"{name} {sum(str(row[0]) == name for row in rows)}"
            for name in results.classes
        ]
    n_known = count(len(known), "image")
    terminal.say(f"{labels.path}: labels of {n_known}: {', '.join(told)}")
    if len(known) < len(paths):
        others = [path for path in paths if path not in labels.rows]
        terminal.say(f"predicted only, without a label: {tell_some(others)}", err=True)


def _make_model(labels: ImageLabels, options: dict[str, Any], verbose: int) -> Any:
    """Return an unfitted mapper, or one that teaches a U-Net."""
    from psmlearn.segmentation import PseudoLabelSegmenter, RegionSegmenter
    from psmlearn.weak import ClassActivationMapper

    common: dict[str, Any] = {"device": options["device"], "verbose": verbose}
    if options["max_epochs"] is not None:
        common["max_epochs"] = options["max_epochs"]
    own = {key: options[key] for key in ("patch_size", "threshold") if options[key]}
    mapper = ClassActivationMapper(
        negative_label=labels.negative(
            options["negative_label"], options["no_negative"]
        ),
        **common,
        **own,
    )
    seed = options["random_state"]
    if not options["segmenter"]:
        return mapper.set_params(random_state=seed)
    return PseudoLabelSegmenter(
        mapper,
        RegionSegmenter(**common),
        n_rounds=1,
        random_state=seed,
        verbose=verbose,
    )


def _train(
    work: Work,
    results: WeakResults,
    batch: ImageBatch,
    paths: Sequence[str],
    sizes: Sequence[float | None],
    options: dict[str, Any],
    start: float,
) -> None:
    """Train on the images that have a label, and write what is found in all."""
    labels, terminal = results.given, work.terminal
    model = _make_model(labels, options, terminal.verbose)
    device = device_name(options["device"])
    images = [str(job.path) for job in work.jobs]
    identity = training_identity(
        "weak",
        model,
        [job.stamp for job in work.jobs],
        device,
        labels=[labels.shown(path) for path in images],
        columns=labels.columns,
        pixel_size=options["pixel_size"],
    )
    endings = dict(zip(results.mapped, results.endings[2:], strict=True))
    work.record.set(
        parameters=chain_parameters(model),
        random_state=options["random_state"],
        device=device,
        labels=str(options["labels"]),
        classes=results.classes,
        maps=endings,
    )
    work.begin(identity, paths, sizes)
    known = [place for place, path in enumerate(images) if path in labels.rows]
    given = labels.named([images[place] for place in known])
    learnt_from = batch.subset(known)
    fit = Fit(
        train=lambda: model.fit(learnt_from, image_labels=given),
        load=lambda path: load(path, options["device"]),
        text=f"training on the labels of {count(len(known), 'image')}",
        stages=_stages(model),
        keep=options["model"],
    )
    train_and_write(fit, work, batch, identity, options, start)


def _stages(model: Any) -> list[str]:
    return _chain.stages_of(model) if hasattr(model, "labeler") else [model._stage]
