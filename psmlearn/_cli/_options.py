# SPDX-License-Identifier: BSD-3-Clause
"""Arguments and options that commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = [
    "NamedPath",
    "images_argument",
    "model_option",
    "output_options",
    "parse_pixel_size",
    "pixel_size_option",
    "quiet_option",
    "training_options",
]


class NamedPath(click.Path):
    """A path that is no empty text, such as that of a variable that is not set."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value == "":
            self.fail("is an empty text; give a path, '.' for this folder.", param, ctx)
        return super().convert(value, param, ctx)


_PIXEL_SIZE_HELP = (
    "Micrometres per pixel, or 'file': as each file tells.  [default: 'file' if all "
    "tell it, else {else_}]"
)

images_argument = click.argument("images", nargs=-1, type=NamedPath(path_type=Path))
quiet_option = click.option("--quiet", is_flag=True, help="No progress bars.")


def pixel_size_option(else_: str) -> Callable[[Any], Any]:
    """Return the option of the pixel size; `else_` is what holds without it."""
    return click.option(
        "--pixel-size",
        metavar="MICROMETRES|file",
        help=_PIXEL_SIZE_HELP.format(else_=else_),
    )


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
    """Add the folder of results, and what may be replaced there."""
    command = click.option(
        "--overwrite",
        is_flag=True,
        help="Replace files in the way that psmlearn did not write, or that were "
        "changed since. Images are never replaced.",
    )(command)
    return click.option(
        "--output",
        "-o",
        default="psmlearn-output",
        show_default=True,
        type=NamedPath(file_okay=False, path_type=Path),
        help="Folder to write to; made where it is missing.",
    )(command)


def training_options(command: Any) -> Any:
    """Add what training asks for."""
    options = [
        click.option(
            "--max-epochs",
            type=click.IntRange(min=1),
            help="Cut each training short after so many epochs.",
        ),
        click.option(
            "--quick",
            is_flag=True,
            help="Train for some minutes only, on small crops: for a first look; less "
            "accurate.",
        ),
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
        click.option(
            "--classes",
            type=click.Choice(["ki67"]),
            help="Tell two classes of nuclei apart: ki67, 1 positive (brown, DAB) and "
            "2 negative (blue, haematoxylin).",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


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
