# SPDX-License-Identifier: BSD-3-Clause
"""Arguments and options that commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from psmlearn._cli._chain import Training
from psmlearn._cli._config import config_option, parts_of_config
from psmlearn._cli._nuclei import ALSO
from psmlearn._cli._sources import Search
from psmlearn._cli._terminal import Terminal

__all__ = [
    "NamedPath",
    "folder_options",
    "images_options",
    "make_search",
    "make_terminal",
    "make_training",
    "model_option",
    "network_options",
    "output_options",
    "parse_pixel_size",
    "pixel_size_option",
    "run_options",
    "training_options",
]


class NamedPath(click.Path):
    """A path that is no empty text, such as that of a variable that is not set."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value == "":
            self.fail("is an empty text; give a path, '.' for this folder.", param, ctx)
        return super().convert(value, param, ctx)


_KNOWN_SIZE_HELP = (
    "Micrometres per pixel, or 'file': as each file tells; it is written into the "
    "results.  [default: as files tell, if they do]"
)
_PIXEL_SIZE_HELP = (
    "Micrometres per pixel, or 'file': as each file tells.  [default: 'file' if all "
    "tell it, else {else_}]"
)


def images_options(command: Any) -> Any:
    """Add IMAGES, and what tells which of the images of folders are meant."""
    options = [
        click.argument("images", nargs=-1, type=NamedPath(path_type=Path)),
        click.option(
            "--list",
            "lists",
            multiple=True,
            type=NamedPath(exists=True, dir_okay=False, path_type=Path),
            help="Text file with a path a line, from where it lies; may be repeated.",
        ),
        click.option(
            "--pattern",
            "patterns",
            multiple=True,
            metavar="GLOB",
            help="Of folders, images whose name or path fits, such as '*_HE.tif'; may "
            "be repeated.",
        ),
        click.option(
            "--recursive", is_flag=True, help="Search folders within folders, too."
        ),
        click.option(
            "--strict",
            is_flag=True,
            help="Stop at the first bad image. Else others go on, and the exit status "
            "is 3.",
        ),
    ]
    return _add(options, command)


def make_search(options: dict[str, Any], *, slides: bool = False) -> Search:
    """Return what `images_options` gave; `slides` are looked for, too, if so."""
    return Search(
        options["images"],
        options["lists"],
        options["patterns"],
        options["recursive"],
        slides,
    )


def run_options(command: Any) -> Any:
    """Add what is said, and where."""
    options = [
        click.option("--quiet", is_flag=True, help="No progress, no stages."),
        click.option(
            "--log-file",
            type=NamedPath(path_type=Path),
            help="Add all that is said, with the time, to this file.",
        ),
    ]
    return _add(options, command)


def make_terminal(options: dict[str, Any]) -> Terminal:
    """Return what `run_options` asked for."""
    return Terminal(quiet=options["quiet"], log_file=options["log_file"])


def _add(options: list[Callable[[Any], Any]], command: Any) -> Any:
    for option in reversed(options):
        command = option(command)
    return command


def pixel_size_option(*, else_: str | None) -> Callable[[Any], Any]:
    """Return the option of the pixel size; `else_` is what holds without it.

    With None it is no more than written down.
    """
    told = _KNOWN_SIZE_HELP if else_ is None else _PIXEL_SIZE_HELP.format(else_=else_)
    return click.option("--pixel-size", metavar="MICROMETRES|file", help=told)


def model_option(
    *, required: bool, help: str, exists: bool = False
) -> Callable[[Any], Any]:
    """Return the option of the model file."""
    return click.option(
        "--model",
        "-m",
        required=required,
        type=NamedPath(exists=exists, dir_okay=False, path_type=Path),
        help=help,
    )


def output_options(command: Any) -> Any:
    """Add the folder of results, what may be replaced there, and further kinds."""
    also = [
        click.option(
            "--also",
            multiple=True,
            type=click.Choice(ALSO),
            help="Write this for each image, too: outlines for ImageJ, objects as "
            "COCO JSON, the table as Parquet; may be repeated.",
        ),
        click.option(
            "--report",
            is_flag=True,
            help="Write report.html in the end, as `psmlearn report` does.",
        ),
    ]
    folder, *others = _folder_options()
    return _add([folder, *also, *others], command)


def folder_options(command: Any) -> Any:
    """Add the folder of results, and what may be replaced there."""
    return _add(_folder_options(), command)


def _folder_options() -> list[Any]:
    return [
        click.option(
            "--output",
            "-o",
            default="psmlearn-output",
            show_default=True,
            type=NamedPath(file_okay=False, path_type=Path),
            help="Folder to write to; made where it is missing.",
        ),
        click.option(
            "--resume",
            is_flag=True,
            help="Go on with a run that was broken off; what it finished stays.",
        ),
        click.option(
            "--overwrite",
            is_flag=True,
            help="Replace results of earlier runs of these images. What psmlearn did "
            "not write, or was changed since, is never replaced.",
        ),
    ]


def training_options(*, with_classes: bool = True) -> Callable[[Any], Any]:
    """Return what adds what training asks for, with --classes or without."""
    epochs = click.option(
        "--max-epochs",
        type=click.IntRange(min=1),
        help="Cut each training short after so many epochs.",
    )
    classes = click.option(
        "--classes",
        type=click.Choice(["ki67"]),
        help="Tell two classes of nuclei apart: ki67, 1 positive (brown, DAB) and "
        "2 negative (blue, haematoxylin).",
    )
    quick = click.option(
        "--quick",
        is_flag=True,
        help="Train for some minutes only, on small crops: for a first look; less "
        "accurate.",
    )
    chosen = [epochs, quick, *_seed_and_device(), *([classes] if with_classes else [])]
    return lambda command: config_option(_add(chosen, command))


def network_options(*, n_epochs: int) -> Callable[[Any], Any]:
    """Return what adds how long networks are trained, by which seed, and where."""
    epochs = click.option(
        "--max-epochs",
        type=click.IntRange(min=1),
        help=f"Epochs of training.  [default: {n_epochs}]",
    )
    return lambda command: _add([epochs, *_seed_and_device()], command)


def _seed_and_device() -> list[Any]:
    return [
        click.option(
            "--random-state",
            type=click.IntRange(min=0, max=2**32 - 1),
            default=0,
            show_default=True,
        ),
        click.option(
            "--device",
            default="auto",
            show_default=True,
            help="auto, cpu, cuda or mps.",
        ),
    ]


def make_training(options: dict[str, Any], **others: Any) -> Training:
    """Return what `training_options` gave, with what --config says of parts."""
    names = ("max_epochs", "random_state", "device", "classes", "quick")
    given = {name: options[name] for name in names if name in options}
    return Training(**given, **others, parameters=parts_of_config())


def parse_pixel_size(text: str | None) -> float | str | None:
    """Return a number, "file", or None where nothing was given."""
    if text is None or text == "file":
        return text
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither a number nor 'file'.", param_hint="--pixel-size"
        ) from None
