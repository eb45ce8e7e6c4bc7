# SPDX-License-Identifier: BSD-3-Clause
"""Model files of the command line: what may be replaced, and how they are applied."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psmlearn._cli._chain import PIXEL_SIZE
from psmlearn._cli._terminal import Terminal
from psmlearn.io._paths import printable

if TYPE_CHECKING:
    import numpy as np

    from psmlearn.io import ImageBatch

__all__ = [
    "check_model_path",
    "MAPPER",
    "find_part",
    "load",
    "load_fitted",
    "map_of",
    "own_pixel_size",
    "quiet",
    "save",
    "set_pixel_size",
]

MAPPER = "SelfActivationMapper"


def check_model_path(
    path: Path, images: Sequence[str | None], *, overwrite: bool
) -> None:
    """Refuse, before any work, a place that a model cannot be written to.

    Raises
    ------
    FileNotFoundError
        If the folder is not there.
    FileExistsError
        If a file is there: a model may be replaced with `overwrite`, others never.
    """
    from psmlearn.persistence import ModelFileError, read_model_header

    told = printable(str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {printable(str(path.parent))!r} to write {told!r} to."
        )
    if not os.path.lexists(path):
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(f"{told!r} cannot be written: no permission.")
        return
    if any(
        image and os.path.realpath(image) == os.path.realpath(path) for image in images
    ):
        raise FileExistsError(
            f"{told!r} is an image of this run; name another --model."
        )
    try:
        read_model_header(path)
    except (ModelFileError, OSError):
        raise FileExistsError(
            f"{told!r} is there and is no model of psmlearn; it is never replaced. "
            "Name another --model."
        ) from None
    if not overwrite:
        raise FileExistsError(
            f"{told!r} is there; --overwrite replaces it, or name another --model."
        )


def save(chain: Any, path: Path, terminal: Terminal) -> None:
    """Write a model and say so."""
    from psmlearn.persistence import save_model

    save_model(chain, path)
    size = os.path.getsize(path) / 1e6
    terminal.say(f"model written to {path} ({size:.1f} MB)")


def load(path: Path, device: str) -> Any:
    """Read a model that predicts label images.

    Raises
    ------
    ValueError
        If it holds something else, or a model that is not fitted.
    """
    model = load_fitted(path, device)
    if not hasattr(model, "predict"):
        hint = ""
        if find_part(model, MAPPER) is not None:
            hint = "; `psmlearn maps --model` writes its maps"
        raise ValueError(
            f"{printable(str(path))} holds a {type(model).__name__}, which finds no "
            f"nuclei; a model of `psmlearn train` or `psmlearn weak` is expected{hint}."
        )
    return model


def load_fitted(path: Path, device: str) -> Any:
    """Read a model of any kind.

    Raises
    ------
    ValueError
        If it is not fitted.
    """
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    from psmlearn.persistence import load_model

    model = load_model(path)
    try:
        check_is_fitted(model)
    except NotFittedError:
        raise ValueError(
            f"{printable(str(path))} holds a {type(model).__name__} that is not fitted."
        ) from None
    _set_everywhere(model, "device", device)
    return model


def find_part(model: Any, name: str) -> tuple[Any, Any] | None:
    """Return the part of a model, or of its labeler, whose class is called so.

    Returns
    -------
    before : Pipeline or None
        What images pass before they come to it.
    part : estimator
    """
    from sklearn.pipeline import Pipeline

    labeler = getattr(model, "labeler_", model)
    steps = labeler.steps if isinstance(labeler, Pipeline) else [("", labeler)]
    for place, (_, step) in enumerate(steps):
        if type(step).__name__ == name:
            return (labeler[:place] if place else None), step
    return None


def map_of(model: Any, one: ImageBatch) -> np.ndarray:
    """Return the activation map of an image, seen as the model's mapper sees it.

    Returns
    -------
    ndarray of shape (height, width), float32
    """
    found = find_part(model, MAPPER)
    if found is None:
        raise TypeError(f"a {type(model).__name__} makes no self-activation maps")
    before, mapper = found
    seen: Any = one if before is None else before.transform(one)
    return mapper.transform(seen)[0][..., -1]


def own_pixel_size(model: Any) -> float | str:
    """Return the pixel size of a model's training; "file" where there were several."""
    for part in (*reversed(_fitted_parts(model)), model):
        for key, value in part.get_params().items():
            if key.split("__")[-1] == "pixel_size":
                return value if isinstance(value, (float, int)) else "file"
    return PIXEL_SIZE


def set_pixel_size(model: Any, size: float | str) -> None:
    """Set the pixel size of the images that come now."""
    _set_everywhere(model, "pixel_size", size)


def quiet(model: Any) -> Any:
    """Return a model that shows no bars of its own."""
    if hasattr(model, "get_params"):
        _set_everywhere(model, "verbose", 0)
    return model


def _set_everywhere(model: Any, name: str, value: Any) -> None:
    """Set a parameter of a model, and of all that is in it, fitted or not."""
    for part in (*_fitted_parts(model), model):
        keys = [key for key in part.get_params() if key.split("__")[-1] == name]
        part.set_params(**dict.fromkeys(keys, value))


def _fitted_parts(model: Any) -> list[Any]:
    """Return the fitted parts of a chain, the labeler first."""
    parts = [getattr(model, name, None) for name in ("labeler_", "segmenter_")]
    return [part for part in parts if part is not None]
