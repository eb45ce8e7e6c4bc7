# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn maps``: self-activation maps of images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from psmlearn._cli import _chain
from psmlearn._cli._config import config_option, parts_of_config, set_part
from psmlearn._cli._model_path import (
    MAPPER,
    check_model_path,
    find_part,
    load_fitted,
    map_of,
    quiet,
)
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
from psmlearn._cli._outputs import OutputFolder
from psmlearn._cli._record import RunRecord
from psmlearn._cli._results import Job, Results
from psmlearn._cli._terminal import Terminal, count
from psmlearn._cli._training import Fit, open_folder, train_and_write
from psmlearn._cli._work import (
    Work,
    chain_parameters,
    device_name,
    model_identity,
    says_where_it_stopped,
    training_identity,
)
from psmlearn.io._paths import printable

if TYPE_CHECKING:
    from psmlearn.io import ImageBatch

__all__ = ["maps"]

_PRETEXTS = ("mean_value", "similarity", "contrastive", "rotation", "simsiam")
_METHODS = ("gradcam", "layercam", "gradcam++", "eigencam")
_NETWORKS = ("resnet18", "resnet34", "resnet50", "res2net101_26w_4s")
# Options that are parameters of the mapper, and mean nothing where it is trained.
_PARAMETERS = ("pretext", "method", "layers", "network", "patch_size", "max_epochs")
_OF_TRAINING = (*_PARAMETERS, "random_state", "config", "save_model")


@dataclass(frozen=True)
class MapResults(Results):
    """The map of an image: its values, and a picture of it."""

    stage = "writing maps"

    @property
    def endings(self) -> tuple[str, ...]:
        return ("_map.png", "_map.tif")

    def write(
        self,
        model: Any,
        batch: ImageBatch,
        index: int,
        pixel_size: float | None,
        job: Job,
        folder: OutputFolder,
    ) -> dict[str, Any]:
        from psmlearn.inspection import color_map
        from psmlearn.io import write_image
        from psmlearn.io._write import write_map

        values = map_of(model, batch[index : index + 1])
        if job.stamp is not None:
            job.stamp.check()
        picture = color_map(values)
        with folder.writing(job.files, job.path) as (shown, written):
            write_image(shown, picture, pixel_size=pixel_size)
            write_map(written, values, pixel_size=pixel_size)
        low, high = float(values.min()), float(values.max())
        return {"low": low, "high": high, "mean": float(values.mean())}

    def read(
        self, folder: Path, jobs: Sequence[Job], finished: set[str]
    ) -> dict[str, dict[str, Any]]:
        return {job.name: {} for job in jobs}

    def describe(self, name: str, finding: dict[str, Any]) -> str:
        return (
            f"{name}: map from {finding['low']:.2f} to {finding['high']:.2f}, mean "
            f"{finding['mean']:.2f}"
        )

    def summary(self, findings: Mapping[str, Any]) -> str:
        return count(len(findings), "map")


@click.command()
@images_options
@folder_options
@model_option(
    required=False,
    help="Take the mapper of this model, of `maps`, `train` or `segment`; nothing is "
    "trained.",
    exists=True,
)
@click.option(
    "--pretext",
    type=click.Choice(_PRETEXTS),
    help="What the network learns of the images.  [default: mean_value]",
)
@click.option(
    "--method",
    type=click.Choice(_METHODS),
    help="How features and gradients make a map.  [default: gradcam]",
)
@click.option(
    "--layers",
    multiple=True,
    metavar="NAME",
    help="Layer of the network whose features are mapped; may be repeated, then maps "
    "are averaged.  [default: layer1]",
)
@click.option(
    "--network",
    type=click.Choice(_NETWORKS),
    help="The network that trains itself.  [default: resnet18]",
)
@click.option(
    "--patch-size",
    type=click.IntRange(min=8),
    help="Side of the crops in pixels.  [default: 128]",
)
@network_options(n_epochs=5)
@config_option
@pixel_size_option(else_=None)
@click.option(
    "--save-model",
    type=NamedPath(dir_okay=False, path_type=Path),
    help="Keep the trained mapper in this file, such as maps.psm.",
)
@run_options
@click.pass_context
def maps(context: click.Context, **options: Any) -> None:
    """Show where a network that trained itself on IMAGES looks, without labels.

    A network learns a pretext task on crops of the images (files or folders); where
    its shallow features matter to it is a map, high on nuclei. For each image it
    writes the map as TIFF (float32, 0 to 1, on one scale for all images) and as picture
    (PNG: black is low, violet, orange, pale yellow is high); and run.json, which
    tells what was done.

    With --model the mapper is one that is there: that of `psmlearn maps --save-model`,
    or of a model of `psmlearn train`. Of --config, a file that `train` wrote, only
    [maps] counts, and options of the command line come first.

    \b
    Examples:
      psmlearn maps slides/ --output maps/
      psmlearn maps slides/ --pretext similarity --output maps/ --save-model maps.psm
      psmlearn maps new-slides/ --model maps.psm --output new-maps/
      psmlearn maps slides/ --layers layer1 --layers layer2 --method layercam
    """
    _refuse_training_options(context)
    terminal, output = make_terminal(options), options["output"]
    asked = parse_pixel_size(options["pixel_size"])
    start, record = time.perf_counter(), RunRecord("maps")
    named = [options["model"], options["save_model"]]
    terminal.know([str(each) for each in (output, *named) if each is not None])
    with terminal.listening(), terminal.plain_errors():
        given = _load_mapper(options)
        mapper = None if given is not None else _make_mapper(options, terminal)
        paths = _chain.find_sources(make_search(options), False, output, terminal)
        with open_folder(options) as folder:
            if options["save_model"] is not None:
                again = options["overwrite"] or options["resume"]
                check_model_path(options["save_model"], paths, overwrite=again)
            work = Work(folder, MapResults(), terminal, record)
            with says_where_it_stopped(terminal, work):
                strict = options["strict"]
                work.name(paths, strict=strict)
                sources = [job.path for job in work.jobs]
                batch, _, bad = _chain.check(sources, terminal, "maps", strict=strict)
                work.leave_out(bad)
                sizes = _chain.known_pixel_sizes(asked, batch, terminal)
                if given is not None:
                    _apply(given, work, batch, paths, sizes, options)
                    work.finish(start)
                else:
                    _train(mapper, work, batch, paths, sizes, options, start)
        work.raise_failures()


def _refuse_training_options(context: click.Context) -> None:
    """Refuse options of a training that --model makes needless."""
    if context.params["model"] is None:
        return
    for name in _OF_TRAINING:
        source = context.get_parameter_source(name)
        if source is ParameterSource.COMMANDLINE:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(
                f"{option} is for a training, and --model takes a mapper that is "
                "trained; leave one of them out."
            )


def _load_mapper(options: dict[str, Any]) -> Any:
    """Return the model of --model that has a mapper; None without --model."""
    path = options["model"]
    if path is None:
        return None
    model = load_fitted(path, options["device"])
    if find_part(model, MAPPER) is None:
        raise ValueError(
            f"{printable(str(path))} holds a {type(model).__name__} without a "
            "SelfActivationMapper; a model of `psmlearn maps --save-model`, `train` or "
            "`segment` is expected (with --classes ki67 they have none)."
        )
    return quiet(model)


def _make_mapper(options: dict[str, Any], terminal: Terminal) -> Any:
    """Return an unfitted mapper with the parameters that are asked for."""
    from psmlearn.activation import SelfActivationMapper

    mapper = SelfActivationMapper(
        device=options["device"],
        random_state=options["random_state"],
        verbose=terminal.verbose,
    )
    set_part("maps", mapper, parts_of_config().get("maps", {}))
    given = {key: options[key] for key in _PARAMETERS if options[key]}
    if "layers" in given:
        given["layers"] = list(given["layers"])
    return mapper.set_params(**given)


def _apply(
    model: Any,
    work: Work,
    batch: ImageBatch,
    paths: Sequence[str],
    sizes: Sequence[float | None],
    options: dict[str, Any],
) -> None:
    """Write the maps of a model that is there."""
    path, device = options["model"], device_name(options["device"])
    told = {"pixel_size": options["pixel_size"]}
    identity = model_identity("maps", path, device, **told)
    work.record.set(model=str(path), device=device)
    work.begin(identity, paths, sizes)
    work.terminal.say(f"{path}: maps of {count(len(work.left), 'image')}")
    work.write(model, batch, strict=options["strict"])


def _train(
    mapper: Any,
    work: Work,
    batch: ImageBatch,
    paths: Sequence[str],
    sizes: Sequence[float | None],
    options: dict[str, Any],
    start: float,
) -> None:
    """Train a mapper, and write its maps."""
    device = device_name(options["device"])
    stamps = [job.stamp for job in work.jobs]
    identity = training_identity(
        "maps", mapper, stamps, device, pixel_size=options["pixel_size"]
    )
    work.record.set(
        parameters=chain_parameters(mapper),
        random_state=options["random_state"],
        device=device,
    )
    work.begin(identity, paths, sizes)
    fit = Fit(
        train=lambda: mapper.fit(batch),
        load=lambda path: load_fitted(path, options["device"]),
        text=f"training on {count(len(work.jobs), 'image')}, without labels",
        stages=[mapper._stage],
        keep=options["save_model"],
    )
    train_and_write(fit, work, batch, identity, options, start)
