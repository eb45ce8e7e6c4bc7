# SPDX-License-Identifier: BSD-3-Clause
"""From images to a trained chain: what is read, at which pixel size, and the fit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from psmlearn._cli._config import set_parameters
from psmlearn._cli._sources import Search, find_images
from psmlearn._cli._terminal import Terminal, count
from psmlearn.io._paths import printable

if TYPE_CHECKING:
    import numpy as np

    from psmlearn.io import ImageBatch
    from psmlearn.segmentation import PseudoLabelSegmenter

__all__ = [
    "PIXEL_SIZE",
    "Training",
    "check",
    "choose_pixel_size",
    "find_sources",
    "known_pixel_sizes",
    "make_chain",
    "stages_of",
    "train",
]

# As load_sample_images tells it; kept here so that --help needs no loaders.
SAMPLE_PIXEL_SIZE = 0.18
PIXEL_SIZE = 0.25


@dataclass(frozen=True)
class Training:
    """What a training is asked for.

    Attributes
    ----------
    parameters : mapping of str to mapping
        Of the parts, by `CONFIG_PARTS`, as --config gives them.
    """

    max_epochs: int | None = None
    random_state: int = 0
    device: str = "auto"
    classes: str | None = None
    quick: bool = False
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def find_sources(
    search: Search, sample: bool, output: Path | None, terminal: Terminal
) -> list[str]:
    """Return the path of each image, or of those that come with psmlearn."""
    if not sample:
        return list(find_images(search, output, terminal))
    if search.images or search.lists:
        raise click.UsageError("Give IMAGES or --sample, not both.")
    from psmlearn.datasets import load_sample_images

    return list(load_sample_images().filenames)


def check(
    paths: Sequence[str],
    terminal: Terminal,
    command: str,
    *,
    strict: bool,
    value_range: tuple[float, float] | None = (0.0, 1.0),
) -> tuple[ImageBatch, list[int], dict[int, Exception]]:
    """Look at all images before any work.

    What is told of them is not told again by the training. A `value_range` of None
    takes any finite values.

    Returns
    -------
    batch : ImageBatch
        The good ones.
    places : list of int
        Theirs among `paths`.
    bad : dict of int to Exception
        What is wrong with the others, by place; none with `strict`.

    Raises
    ------
    ValueError, TypeError, OSError
        If all images are bad; with `strict` if any is.
    """
    from psmlearn.io import check_images

    sources = list(paths)
    caller = f"psmlearn {command}"
    try:
        batch = check_images(sources, caller=caller, value_range=value_range)
        places, bad = list(range(len(paths))), {}
    except (ValueError, TypeError, OSError):
        if strict or len(sources) == 1:
            raise
        bad = _find_bad(sources, caller, value_range)
        places = [place for place in range(len(paths)) if place not in bad]
        if not places or not bad:
            raise
        good = [sources[place] for place in places]
        batch = check_images(good, caller=caller, value_range=value_range)
    terminal.mute_told()
    return batch, places, bad


def _find_bad(
    sources: list[Any], caller: str, value_range: tuple[float, float] | None
) -> dict[int, Exception]:
    """Look at each image by itself; return what is wrong, by place."""
    from psmlearn.io import check_images

    bad: dict[int, Exception] = {}
    channels: dict[int, int] = {}
    for place, source in enumerate(sources):
        try:
            one = check_images([source], caller=caller, value_range=value_range)
            channels[place] = one.n_channels
        except (ValueError, TypeError, OSError) as error:
            bad[place] = _without_number(error)
    if channels:
        counted = Counter(channels.values())
        usual, n_usual = counted.most_common(1)[0]
        for place, number in channels.items():
            if number != usual:
                bad[place] = ValueError(
                    f"{printable(str(sources[place]))} has {count(number, 'channel')}, "
                    f"and {n_usual} others have {usual}"
                )
    return dict(sorted(bad.items()))


def _without_number(error: Exception) -> Exception:
    """Return an error about one image of one: its number says nothing."""
    found = re.match(r"(?s)(?:psmlearn \w+: )?image 0 \((.*?)\)(: )?(.*)", str(error))
    if found is None:
        return error
    path, colon, text = found.groups()
    # Most errors name the file themselves.
    return ValueError(text if colon and path in text else f"{path}{colon or ''}{text}")


def choose_pixel_size(
    asked: float | str | None,
    batch: ImageBatch,
    terminal: Terminal,
    *,
    default: float | str = PIXEL_SIZE,
    whose: str = "the default",
) -> tuple[float | str, np.ndarray, bool]:
    """Return the pixel size to use, that of each image, and whether it is assumed.

    It is said, too.

    Without a word of the user it is what the files tell, if all of them do, else
    `default`, which is `whose`.
    """
    from psmlearn.io import resolve_pixel_size

    sizes: np.ndarray | None = None
    assumed = False
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
            assumed = True
            why += "; give it by --pixel-size if that is wrong"
    if sizes is None:
        sizes = resolve_pixel_size(chosen, batch)
    low, high = sizes.min(), sizes.max()
    size = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    terminal.say(f"pixel size {size} micrometres, {why}")
    terminal.mute_told()
    return chosen, sizes, assumed


def known_pixel_sizes(
    asked: float | str | None, batch: ImageBatch, terminal: Terminal
) -> list[float | None]:
    """Return the pixel size of each image as far as it is known, and say so.

    It is written into files; nothing that is found depends on it.

    Raises
    ------
    ValueError
        If "file" is asked for and a file does not tell, or a number is implausible.
    """
    from psmlearn._parameters import LARGEST_VOXEL, check_pixel_size
    from psmlearn.io import resolve_pixel_size

    if asked == "file":
        sizes: list[float | None] = resolve_pixel_size("file", batch).tolist()
    elif asked is not None:
        size = check_pixel_size(asked, "--pixel-size", largest=LARGEST_VOXEL)
        sizes = [size] * len(batch)
    else:
        sizes = [_read_pixel_size(path) for path in batch.paths]
    known = [size for size in sizes if size is not None]
    if not known:
        terminal.say("pixel size not known: no file tells it, and none is written")
        return sizes
    low, high = min(known), max(known)
    text = f"pixel size {low:g}" + ("" if low == high else f" to {high:g}")
    n_silent = len(sizes) - len(known)
    why = "as the files tell" if asked in (None, "file") else "as given"
    why += f"; {count(n_silent, 'file')} without" if n_silent else ""
    terminal.say(f"{text} micrometres, {why}")
    return sizes


def _read_pixel_size(path: str | None) -> float | None:
    """Return what a file tells of its pixel size, if that can be read."""
    from psmlearn.io import read_pixel_size

    try:
        return None if path is None else read_pixel_size(path)
    except ValueError:
        return None


def make_chain(
    batch: ImageBatch, pixel_size: float | str, training: Training, verbose: int
) -> PseudoLabelSegmenter:
    """Return the default chain for checked images, with parameters of one's own.

    Raises
    ------
    ValueError
        If a part has no such parameter, or would not take the value.
    """
    from psmlearn.segmentation import PseudoLabelSegmenter
    from psmlearn.segmentation._defaults import default_chain, default_rounds

    known = cast("Literal['ki67'] | None", training.classes)  # click has checked it
    labeler, segmenter = default_chain(
        batch,
        classes=known,
        pixel_size=pixel_size,
        device=training.device,
        max_epochs=training.max_epochs,
        quick=training.quick,
    )
    n_rounds = default_rounds(known, quick=training.quick)
    chain = PseudoLabelSegmenter(
        labeler,
        segmenter,
        n_rounds=n_rounds,
        warm_rounds=n_rounds > 1,
        random_state=training.random_state,
        verbose=verbose,
    )
    set_parameters(chain, training.parameters)
    return chain


def train(chain: PseudoLabelSegmenter, batch: ImageBatch) -> Any:
    """Fit a chain to checked images."""
    return chain.fit(batch)


def stages_of(chain: PseudoLabelSegmenter) -> list[str]:
    """Return what the stages of a training are called."""
    from psmlearn.segmentation._pseudo_label import chain_stages

    return chain_stages(chain.labeler, chain.segmenter, int(chain.n_rounds))
