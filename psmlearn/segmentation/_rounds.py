# SPDX-License-Identifier: BSD-3-Clause
"""Rounds of training that go on from each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from psmlearn.segmentation._classes import known_classes

__all__ = ["check_warm_rounds", "one_round"]

# Of the side of crops, in the first round, and of the steps, in each later one.
_FIRST_SIDE, _LATER_STEPS = 5 / 7, 1 / 4
# Of the networks that are known by name.
_STRIDE = 32

_NEEDED = ("warm_start", "steps_per_epoch", "patch_size")


def check_warm_rounds(segmenter: Any) -> None:
    """Refuse a segmenter whose training cannot go on.

    Raises
    ------
    ValueError
    """
    known = segmenter.get_params(deep=False)
    missing = [name for name in _NEEDED if name not in known]
    if missing:
        raise ValueError(
            f"warm_rounds=True: {type(segmenter).__name__} has no {missing[0]}, and "
            "its training cannot go on from one round to the next; expected a "
            "segmenter of psmlearn, such as NucleiSegmenter, or warm_rounds=False."
        )


@contextmanager
def one_round(
    segmenter: Any, index: int, masks: Sequence[np.ndarray]
) -> Iterator[None]:
    """Have a segmenter train for round `index`, from 0, of several.

    The first takes smaller crops; later ones go on from its weights for a quarter of
    the steps, or, where `masks` have other classes than it knows, begin anew.
    Afterwards its parameters are as they were.
    """
    before = segmenter.get_params(deep=False)
    changed: dict[str, Any] = {}
    if index == 0:
        changed = {"patch_size": _first_side(segmenter)}
    elif _knows(segmenter, masks):
        n_steps = max(1, round(_LATER_STEPS * before["steps_per_epoch"]))
        changed = {"steps_per_epoch": n_steps, "warm_start": True}
    segmenter.set_params(**changed)
    try:
        yield
    finally:
        segmenter.set_params(**{name: before[name] for name in changed})


def _knows(segmenter: Any, masks: Sequence[np.ndarray]) -> bool:
    """Tell whether masks have the classes that a segmenter has learnt."""
    learnt = getattr(segmenter, "classes_", None)
    if learnt is None or any(mask.ndim == 2 for mask in masks):
        return True
    return np.array_equal(known_classes(mask[..., 1] for mask in masks), learnt)


def _first_side(segmenter: Any) -> int:
    """Return the side of the first round's crops, a multiple of the stride."""
    side = int(segmenter.patch_size)
    if not isinstance(getattr(segmenter, "network", None), str):
        return side  # what strides a network of one's own has is not known
    unit = math.gcd(side, _STRIDE)
    return max(unit, round(_FIRST_SIDE * side / unit) * unit)
