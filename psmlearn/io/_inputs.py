# SPDX-License-Identifier: BSD-3-Clause
"""What users hand in as images, taken apart and checked item by item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from psmlearn._images._checks import (
    UNIT_RANGE,
    describe,
    drop_alpha,
    is_foreign_tensor,
    is_own_range,
    kind_problem,
    range_doubt,
    value_problem,
)
from psmlearn._images._frame import shown_mask
from psmlearn._warnings import warn_user
from psmlearn.exceptions import NoDataWarning, ValueRangeWarning
from psmlearn.io._collections import (
    is_collection,
    path_array_as_list,
    prefix,
    refuse_kind,
)
from psmlearn.io._decoded import Decoded
from psmlearn.io._paths import as_path, is_path
from psmlearn.io._read import decode_image, warn_of_orientation
from psmlearn.io._slide import Slide
from psmlearn.io._slide_open import is_slide

_N_TOLD = 5
SLIDE_ADVICE = (
    "A slide is trained on by fields of it, PseudoLabelSegmenter().fit(slides) or "
    "fit(psmlearn.slides.sample_fields(slides).images), and its nuclei are found by "
    "psmlearn.slides.segment_slide(model, slide, output)"
)


class CheckedImage(NamedTuple):
    """One image that has passed the checks.

    Attributes
    ----------
    array : ndarray of shape (height, width[, n_channels])
        As stored, without alpha.
    shown : ndarray of shape (height, width), bool, or None
        False where nothing is shown: transparent, not stored, or black padding. None
        where all is.
    """

    array: np.ndarray
    shown: np.ndarray | None


class ImageProblems:
    """What the checks of one call have found so far."""

    def __init__(self, n_channels: int | None) -> None:
        self.n_channels = n_channels
        self.source: str | None = None
        self.problems: list[str] = []
        self.translucent: list[str] = []
        self.empty: list[str] = []
        self.doubts: list[tuple[np.dtype, str]] = []
        self.met: set[np.dtype] = set()
        self.turned: list[tuple[str, int]] = []
        self.lost_alpha = False

    def note_channels(self, n_channels: int, name: str) -> bool:
        """Compare a channel count with the one expected; tell if it agrees."""
        if self.n_channels is None:
            self.n_channels, self.source = n_channels, name
        if n_channels == self.n_channels:
            return True
        expected = f"expected {self.n_channels}"
        if self.source is not None:
            expected += f", as in {self.source}"
        self.problems.append(
            f"{name} has {n_channels} channel(s); {expected}{_advice(n_channels, self)}"
        )
        return False

    def note_light(self, dtype: np.dtype, doubt: str | None) -> None:
        """Note what is said of an image's white, or that its type's white is met."""
        if doubt is None:
            self.met.add(dtype)
        else:
            self.doubts.append((dtype, doubt))

    def warn(self, n_images: int, caller: str) -> None:
        """Tell, once each, what was left out and what cannot be known."""
        start = prefix(caller)
        if self.translucent:
            warn_user(
                f"{start}dropped the alpha of {len(self.translucent)} image(s) that "
                f"are not opaque: {_first(self.translucent)}",
                NoDataWarning,
            )
        if self.empty:
            warn_user(
                f"{start}{len(self.empty)} of {n_images} image(s) show nothing in "
                "parts (transparent, not stored, or black padding), which are left "
                f"out: {_first(self.empty)}",
                NoDataWarning,
            )
        # Where others of 8 bits, or floats, are bright, dark ones are merely dark.
        doubts = [
            told
            for dtype, told in self.doubts
            if dtype.itemsize == 2 or dtype not in self.met
        ]
        if doubts:
            warn_user(
                f"{start}{len(doubts)} of {n_images} image(s) are very dark for "
                "their type, so that their white may be another one: "
                f"{_first(doubts)}. If it is, give "
                "psmlearn.io.check_images(images, value_range=(0, white)), or scale "
                "them.",
                ValueRangeWarning,
            )
        warn_of_orientation(self.turned)


def _first(names: list[str]) -> str:
    more = len(names) - _N_TOLD
    return ", ".join(names[:_N_TOLD]) + (f" and {more} more" if more > 0 else "")


def _advice(n_channels: int, found: ImageProblems) -> str:
    """Say how to mend a channel count."""
    if n_channels == 1 and found.n_channels == 3:
        return "; use skimage.color.gray2rgb(image) if grey is what you mean"
    if n_channels == 4 and found.n_channels == 3:
        return "; use image[..., :3] if the fourth is alpha"
    return ""


def as_items(X: Any, caller: str, *, any_range: bool = False) -> tuple[list[Any], str]:
    """Take a collection of images apart: items and the kind of container."""
    if isinstance(X, Slide):
        raise TypeError(f"{prefix(caller)}X is a Slide, and no image. {SLIDE_ADVICE}.")
    if not is_collection(X):
        refuse_kind(X, "image", caller)
    if isinstance(X, list | tuple):
        if len(X) == 0:
            raise ValueError(
                f"{prefix(caller)}Found no image: the list is empty; at least one "
                "image is required."
            )
        return [as_path(x) if is_path(x) else x for x in X], "list"
    array = np.asarray(X)
    paths = path_array_as_list(array)
    if paths is not None:
        return paths, "list"
    problem = _array_problem(array, X, any_range)
    if problem is not None:
        raise ValueError(f"{prefix(caller)}{problem}.")
    return list(array), "array"


def _array_problem(array: np.ndarray, given, any_range: bool) -> str | None:
    """Say why an array cannot hold images, or None."""
    if isinstance(given, np.ma.MaskedArray):
        return "images came as a masked array; use X.filled(value)"
    if array.dtype.kind == "O":
        return (
            f"images came as an object array of shape {array.shape}; give a list "
            "of arrays or paths: list(X)"
        )
    if array.ndim == 4 and array.shape[0] == 0:
        return f"Found no image: X has shape {array.shape}; at least one is required"
    if array.ndim in (2, 3):
        reading = (
            "(height, width[, channels]) is one image: use [image], or "
            "image[numpy.newaxis]"
        )
        if array.ndim == 3:
            reading += "; a stack of grey images needs X[..., numpy.newaxis]"
        return (
            f"images came as an array of {array.ndim} dimensions ({describe(array)}); "
            f"expected (n_images, height, width, channels). {reading}"
        )
    if array.ndim != 4:
        return (
            f"images came as an array of {array.ndim} dimensions ({describe(array)}); "
            "expected (n_images, height, width, channels), or a list of images"
        )
    problem = kind_problem(array[0], any_range=any_range)
    return f"image 0 of {len(array)}: {problem}" if problem else None


def check_item(
    item,
    name: str,
    found: ImageProblems,
    *,
    value_range: tuple[float, float] | None,
    label_channel: int | Sequence[int] | None,
) -> CheckedImage | None:
    """Check one image; return it as stored, or None with the problem noted."""
    decoded = _as_array(item, name, found)
    if decoded is None:
        return None
    array, shown = decoded.array, decoded.shown
    translucent = not decoded.opaque and shown is None
    problem = kind_problem(array, any_range=value_range != UNIT_RANGE)
    if problem is None:
        kept, alpha = drop_alpha(array, label_channel)
        if alpha is not None:
            found.lost_alpha = True
            shown, translucent = _shown_by_alpha(alpha)
            array = kept
        n_channels = array.shape[2] if array.ndim == 3 else 1
        if not found.note_channels(n_channels, name):
            return None
        problem = value_problem(
            array, value_range=value_range, label_channel=label_channel
        )
    if problem is not None:
        found.problems.append(f"{name}: {problem}")
        return None
    doubt = None
    if value_range == UNIT_RANGE:
        doubt = range_doubt(_light(array, label_channel))
    is_black = False
    if doubt is None:
        by_value = _shown_by_value(_light(array, label_channel), value_range)
        # Like a white one, an image black all over is blank: its result tells it.
        is_black = shown is None and by_value is not None and not by_value.any()
        shown = _and(shown, by_value)
    if translucent:
        found.translucent.append(name)
    if decoded.orientation != 1:
        found.turned.append((name, decoded.orientation))
    if shown is not None and not is_black:
        found.empty.append(f"{name} ({_percent(shown)})")
    elif not is_black and value_range == UNIT_RANGE:
        found.note_light(array.dtype, None if doubt is None else f"{name}: {doubt}")
    return CheckedImage(array, shown)


def _shown_by_alpha(alpha: np.ndarray) -> tuple[np.ndarray | None, bool]:
    """Tell where an alpha channel is not 0, and whether it is between 0 and full."""
    full = np.iinfo(alpha.dtype).max
    lowest = alpha.min()
    if lowest == full:
        return None, False
    shown = alpha > 0
    return (None if lowest else shown), bool((alpha[shown] < full).any())


def _percent(shown: np.ndarray) -> str:
    share = 100 * (1 - float(shown.mean()))
    return f"{share:.0f} %" if share >= 1 else f"{share:.1g} %"


def _and(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _light(array: np.ndarray, label_channel: int | Sequence[int] | None) -> np.ndarray:
    """Return the channels that hold no labels."""
    if label_channel is None or array.ndim == 2:
        return array
    return np.delete(array, np.ravel(label_channel).astype(int), axis=2)


def _shown_by_value(
    array: np.ndarray, value_range: tuple[float, float] | None
) -> np.ndarray | None:
    """Find black padding; images of more channels than colours have no black.

    What may be a scan of any kind must have the colours of a slide, and a known white.
    """
    n_channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype.kind == "b" or n_channels > 4 or array.size == 0:
        return None
    if value_range is None:
        if array.dtype.kind != "u" or n_channels != 3:
            return None
        return shown_mask(array, only_colours=True)
    return shown_mask(array, value_range if is_own_range(value_range) else None)


def _as_array(item, name: str, found: ImageProblems) -> Decoded | None:
    """Decode or convert one item; a wrong kind is noted and gives None."""
    if isinstance(item, str):
        try:
            return decode_image(item)
        except (OSError, ValueError) as error:
            told = str(error).rstrip(".")
            advice = f". {SLIDE_ADVICE}" if is_slide(item) else ""
            found.problems.append(f"{name}: {told}{advice}")
            return None
    if isinstance(item, np.ma.MaskedArray):
        problem = "is a masked array; use image.filled(value)"
    elif isinstance(item, np.ndarray):
        return Decoded(np.asarray(item))
    elif is_foreign_tensor(item):
        problem = (
            f"is a {type(item).__module__.split('.')[0]} {type(item).__name__}; use "
            "tensor.cpu().numpy(), channels last"
        )
    elif hasattr(item, "tocsr"):
        problem = "is a sparse matrix; use .toarray()"
    elif isinstance(item, Slide):
        problem = f"is a Slide, and no image. {SLIDE_ADVICE}"
    elif hasattr(item, "__array__") and not np.isscalar(item):
        return Decoded(np.asarray(item))
    else:
        problem = (
            f"is a {type(item).__name__}; expected an array (height, width[, "
            "channels]) or a path"
        )
    found.problems.append(f"{name} {problem}")
    return None
