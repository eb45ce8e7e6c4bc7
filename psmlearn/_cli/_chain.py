# SPDX-License-Identifier: BSD-3-Clause
"""From images to a trained chain: what is read, at which pixel size, and the fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from psmlearn._cli._sources import find_images
from psmlearn._cli._terminal import Terminal

if TYPE_CHECKING:
    import numpy as np

    from psmlearn.io import ImageBatch

__all__ = ["PIXEL_SIZE", "check", "choose_pixel_size", "find_sources", "train"]

# As load_sample_images tells it; kept here so that --help needs no loaders.
SAMPLE_PIXEL_SIZE = 0.18
PIXEL_SIZE = 0.25


def find_sources(
    images: tuple[Path, ...], sample: bool, output: Path | None, terminal: Terminal
) -> list[str]:
    """Return the path of each image, or of those that come with psmlearn."""
    if not sample:
        return list(find_images(images, output, terminal))
    if images:
        raise click.UsageError("Give IMAGES or --sample, not both.")
    from psmlearn.datasets import load_sample_images

    return list(load_sample_images().filenames)


def check(paths: Sequence[str], terminal: Terminal, command: str) -> ImageBatch:
    """Look at all images; what is told of them is not told again by the training."""
    from psmlearn.io import check_images

    batch = check_images(list(paths), caller=f"psmlearn {command}")
    terminal.mute_told()
    return batch


def choose_pixel_size(
    asked: float | str | None,
    batch: ImageBatch,
    terminal: Terminal,
    *,
    default: float | str = PIXEL_SIZE,
    whose: str = "the default",
) -> tuple[float | str, np.ndarray]:
    """Return the pixel size to use and that of each image, and say which it is.

    Without a word of the user it is what the files tell, if all of them do, else
    `default`, which is `whose`.
    """
    from psmlearn.io import resolve_pixel_size

    sizes: np.ndarray | None = None
    if asked is not None:
        chosen, why = asked, "as given" if asked != "file" else "as the files tell"
    else:
        told = [_read_pixel_size(path) for path in batch.paths]
        n_silent = sum(size is None for size in told)
        chosen, why = "file", "as the files tell"
        if n_silent:
            who = "no file tells" if n_silent == len(told) else "not all files tell"
            chosen, why = default, f"{whose}: {who} its own"
        else:
            try:
                sizes = resolve_pixel_size("file", batch)
            except ValueError as error:
                chosen, why = default, f"{whose}: {str(error).rstrip('.')}"
        if chosen != "file":
            why += "; give it by --pixel-size if that is wrong"
    if sizes is None:
        sizes = resolve_pixel_size(chosen, batch)
    low, high = sizes.min(), sizes.max()
    size = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    terminal.say(f"pixel size {size} micrometres, {why}")
    terminal.mute_told()
    return chosen, sizes


def _read_pixel_size(path: str | None) -> float | None:
    """Return what a file tells of its pixel size, if that can be read."""
    from psmlearn.io import read_pixel_size

    try:
        return None if path is None else read_pixel_size(path)
    except ValueError:
        return None


def train(
    batch: ImageBatch,
    pixel_size: float | str,
    max_epochs: int | None,
    quick: bool,
    random_state: int,
    device: str,
    verbose: int,
    classes: str | None,
) -> Any:
    """Fit the default chain on checked images."""
    from psmlearn.segmentation import PseudoLabelSegmenter
    from psmlearn.segmentation._defaults import default_chain, default_rounds

    known = cast("Literal['ki67'] | None", classes)  # click has checked it
    labeler, segmenter = default_chain(
        batch,
        classes=known,
        pixel_size=pixel_size,
        device=device,
        verbose=int(verbose),
        max_epochs=max_epochs,
        quick=quick,
    )
    model = PseudoLabelSegmenter(
        labeler,
        segmenter,
        n_rounds=default_rounds(known, quick=quick),
        random_state=random_state,
    )
    return model.fit(batch)
