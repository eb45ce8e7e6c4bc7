# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn info``: what an image or a model file holds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from psmlearn._cli._options import NamedPath
from psmlearn._cli._terminal import Terminal
from psmlearn.io._paths import printable

_STAININGS = {
    "he": "haematoxylin and eosin",
    "hdab": "haematoxylin and DAB, or haematoxylin alone",
    "fluorescence": "fluorescence: bright objects on a dark ground",
    "blank": "nothing stained",
    "other": "another staining, or grey",
}


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=NamedPath(exists=True, path_type=Path)
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, a list of objects.")
def info(files: tuple[Path, ...], as_json: bool) -> None:
    """Tell what FILES hold: images, label images or models.

    Of an image its size, channels, values, the pixel size that the file tells, and what
    its colours look like. Of a whole slide its levels, each with how many times it is
    smaller, and the pictures that the scanner put beside it. Of a model its parts, with
    pixel size, classes, seed and epochs, and which psmlearn wrote it.

    \b
    Examples:
      psmlearn info slide.tif nuclei.psm
      psmlearn info slide.svs
    """
    terminal = Terminal()
    terminal.know(map(str, files))
    with terminal.listening(), terminal.plain_errors():
        told = [{"file": str(path), **_look_at(path)} for path in files]
    if as_json:
        click.echo(json.dumps(told, indent=1))
        return
    for each in told:
        terminal.say(each.pop("file"))
        for key, value in each.items():
            terminal.say(f"  {key}: {value}")


def _look_at(path: Path) -> dict[str, Any]:
    from psmlearn.io import is_slide
    from psmlearn.persistence import ModelFileError, read_model_header

    if is_slide(path):
        return _look_at_slide(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"{printable(str(path))!r} is a folder; name its files."
        )
    try:
        header = read_model_header(path)
    except ModelFileError as error:
        if path.suffix.lower() in (".psm", ".safetensors"):
            raise error from None
        return _look_at_image(path)
    return _look_at_model(header, path)


def _look_at_slide(path: Path) -> dict[str, Any]:
    from psmlearn.io import Slide

    with Slide(path) as slide:
        height, width = slide.shape
        size = slide.pixel_size
        levels = [
            f"{level.height} x {level.width} ({level.downsample:g})"
            for level in slide.levels
        ]
        return {
            "format": "whole slide",
            "size": f"{height} x {width} pixels (height x width)",
            "levels": ", ".join(levels),
            "channels": slide.n_channels,
            "values": str(slide.dtype),
            "pixel size": (
                "not told by the file" if size is None else f"{size:g} micrometres"
            ),
            "pictures beside it": ", ".join(slide.associated) or "none",
        }


def _look_at_image(path: Path) -> dict[str, Any]:
    import numpy as np

    from psmlearn.io import read_image, read_pixel_size
    from psmlearn.io._read import sniff_format

    image = read_image(path)
    height, width = image.shape[:2]
    told: dict[str, Any] = {
        "format": sniff_format(str(path)),
        "size": f"{height} x {width} pixels (height x width)",
        "channels": 1 if image.ndim == 2 else image.shape[2],
        "values": f"{image.min()} to {image.max()}, {image.dtype}",
    }
    try:
        size = read_pixel_size(path)
        told["pixel size"] = (
            "not told by the file" if size is None else f"{size:g} micrometres"
        )
    except ValueError as error:
        told["pixel size"] = f"not clear: {error}"
    if image.ndim == 3 and image.shape[2] >= 3 and image.dtype.kind in "uf":
        told["looks like"] = _STAININGS.get(_guess(path), "not told")
    elif image.ndim == 2 and np.issubdtype(image.dtype, np.integer):
        ids = np.unique(image)
        told["different values"] = int(ids.size)
    return told


def _guess(path: Path) -> str:
    """Guess the staining of an image as the estimators do."""
    from psmlearn._images._staining import guess_staining
    from psmlearn.io import check_images

    try:
        batch = check_images([path], caller="psmlearn info")
    except ValueError:
        return ""
    return guess_staining(batch[0][..., :3], batch.shown(0))


def _look_at_model(header: dict[str, Any], path: Path) -> dict[str, Any]:
    parts = {
        place: _describe(name, state)
        for place, name, state in _parts(header["model"], "")
    }
    return {
        "model": parts.pop("", "unknown"),
        "written by": f"psmlearn {header['psmlearn_version']}",
        "bytes": os.path.getsize(path),
        **parts,
    }


def _describe(name: str, state: dict[str, Any]) -> str:
    """Write an estimator with what is asked for most."""
    values = [
        f"{key}={value}"
        for key in ("pixel_size", "classes", "random_state", "n_epochs_")
        if (value := _plain(state.get(key))) is not None
    ]
    return f"{name}({', '.join(values)})" if values else name


def _parts(value: Any, place: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield fitted estimators within what a file tells, by their places."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from _parts(each, f"{place}.{index}" if place else str(index))
        return
    if not isinstance(value, dict) or "$object" not in value:
        return
    name, state = value["$object"]
    yield place, str(name), state
    for key, each in state.items():
        if key in ("labeler_", "segmenter_", "detector_", "steps"):
            inner = f"{place}.{key}" if place else key
            if key != "steps":
                yield from _parts(each, inner)
                continue
            for step, part in each:
                yield from _parts(part, f"{place}.{step}" if place else step)


def _plain(value: Any) -> Any:
    """Return a value that is told as it is; None for what is not."""
    return value if isinstance(value, (bool, int, float, str)) else None
