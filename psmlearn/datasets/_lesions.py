# SPDX-License-Identifier: BSD-3-Clause
"""Synthetic slices like those of brain MRI, with and without lesions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from psmlearn._typing import RandomState
from psmlearn.datasets._paint_mri import (
    add_fat,
    add_lesions,
    draw_head,
    draw_slice,
    move_head,
    scan,
)
from psmlearn.datasets._parameters import (
    check_count,
    check_extent,
    check_number,
    draw_seed,
    show,
)

_LEAST_SIDE = 32
_MOST_AREA = 0.25  # of the head; more would not fit the brain
_MOST_EACH = 1000
_LARGEST = 100.0  # of strengths, whose usual value is 1

_DESCR = """\
Synthetic slices of two modalities, made to look like T1 and FLAIR MRI of a brain, with
irregular lesions in a part of them. Lesions are bright in FLAIR and a little dark in
T1, most in their centre and less in their rim; small spots of fat, in all slices, are
bright in both. Brightness differs between slices and within them. Nothing here was
measured on a patient: the images serve to try methods, not to judge them.
"""


def make_lesions(
    n_images: int = 40,
    shape: tuple[int, int] = (128, 128),
    *,
    lesion_fraction: float = 0.5,
    n_lesions: tuple[int, int] = (1, 2),
    lesion_area: tuple[float, float] = (0.02, 0.08),
    contrast: float = 1.0,
    rim: float = 0.45,
    n_distractors: tuple[int, int] = (1, 3),
    bias: float = 1.0,
    noise: float = 1.0,
    n_slices: int = 4,
    random_state: RandomState = None,
) -> Bunch:
    """Make synthetic slices like brain MRI, with lesions in some, and exact masks.

    For methods that learn masks from image labels: a lesion is bright in the second
    channel (FLAIR) and slightly dark in the first (T1), with a bright centre and a
    paler rim. Scalp and spots of fat are bright in both channels of all slices, so
    that brightness alone does not tell.

    Parameters
    ----------
    n_images : int, default=40
        The first images are the same whatever their number.
    shape : tuple (height, width), default=(128, 128)
        At least 32 each.
    lesion_fraction : float in [0, 1], default=0.5
        Share of the images with lesions, rounded to whole images; they take turns
        with the others.
    n_lesions : tuple of int (least, most), default=(1, 2)
        Lesions in an image that has any.
    lesion_area : tuple of float (least, most), default=(0.02, 0.08)
        Share of the head that all lesions of an image take, at most 0.25.
    contrast : float, default=1.0
        How much lesions differ from tissue; 0 makes them look like white matter.
    rim : float in [0, 1], default=0.45
        Strength of the rim of a lesion, the centre being 1.
    n_distractors : tuple of int (least, most), default=(1, 3)
        Spots of fat in an image.
    bias : float, default=1.0
        How much brightness drifts over an image; 0 for none.
    noise : float, default=1.0
        Strength of the noise, in air and tissue; 0 for none.
    n_slices : int, default=4
        Images of one patient, whose head and scanner they share.
    random_state : int, RandomState instance or None, default=None
        An int gives the same images each time.

    Returns
    -------
    Bunch
        With

        - `images`, float32 of shape (n_images, height, width, 2), in arbitrary units
          from 0 to some hundred: estimators need ``value_range=None``;
        - `masks`, int32 of shape (n_images, height, width), one id a lesion;
        - `image_labels`, int of shape (n_images,), 1 where there are lesions;
        - `groups`, int of shape (n_images,), the patients;
        - `modalities`, the names of the channels;
        - `DESCR`, a description.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong kind or out of its range.

    Examples
    --------
    >>> from psmlearn.datasets import make_lesions
    >>> data = make_lesions(4, (64, 64), random_state=0)
    >>> data.images.shape, data.modalities
    ((4, 64, 64, 2), ['T1', 'FLAIR'])
    >>> data.image_labels.tolist(), data.masks.any(axis=(1, 2)).tolist()
    ([1, 0, 1, 0], [True, False, True, False])
    """
    check_count("n_images", n_images, 1)
    check_count("n_slices", n_slices, 1)
    shape = _check_shape(shape)
    check_extent(n_images, shape)
    for name, value, most in (
        ("lesion_fraction", lesion_fraction, 1.0),
        ("rim", rim, 1.0),
        ("contrast", contrast, _LARGEST),
        ("bias", bias, _LARGEST),
        ("noise", noise, _LARGEST),
    ):
        check_number(name, value, most)
    n_lesions = _check_range("n_lesions", n_lesions, check_count, 1)
    n_distractors = _check_range("n_distractors", n_distractors, check_count, 0)
    lesion_area = _check_range("lesion_area", lesion_area, check_number, _MOST_AREA)
    for name, pair in (("n_lesions", n_lesions), ("n_distractors", n_distractors)):
        if pair[1] > _MOST_EACH:
            raise ValueError(f"{name} is {pair}; expected up to {_MOST_EACH}.")
    if lesion_area[0] <= 0:
        raise ValueError(f"lesion_area is {lesion_area}; expected above 0.")
    seed = draw_seed(random_state)
    turns = np.floor(np.arange(n_images + 1) * lesion_fraction + 0.5)
    labels = np.diff(turns).astype(int)
    groups = np.arange(n_images) // min(n_slices, n_images)
    images = np.empty((n_images, *shape, 2), np.float32)
    masks = np.zeros((n_images, *shape), np.int32)
    for index, (label, patient) in enumerate(zip(labels, groups, strict=True)):
        rng = np.random.default_rng([seed, 1, index])
        head = draw_head(np.random.default_rng([seed, 0, int(patient)]))
        head = move_head(rng, head)
        place = draw_slice(rng, head, shape)
        if label:
            count = int(rng.integers(n_lesions[0], n_lesions[1], endpoint=True))
            masks[index] = add_lesions(rng, place, count, lesion_area, contrast, rim)
        low, high = n_distractors
        count = int(rng.integers(low, high, endpoint=True))
        add_fat(rng, place, count, masks[index])
        images[index] = scan(rng, place, head.gain, bias, noise)
    return Bunch(
        images=images,
        masks=masks,
        image_labels=labels,
        groups=groups,
        modalities=["T1", "FLAIR"],
        DESCR=_DESCR,
    )


def _check_shape(shape: object) -> tuple[int, int]:
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise ValueError(f"shape is {show(shape)}; expected (height, width).")
    check_count("height", shape[0], _LEAST_SIDE)
    check_count("width", shape[1], _LEAST_SIDE)
    return int(shape[0]), int(shape[1])


def _check_range(
    name: str, value: Sequence, check: Callable[[str, Any, Any], None], bound: float
) -> tuple:
    """Check (least, most), each by `check` with its bound."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise TypeError(f"{name} is {show(value)}; expected a pair (least, most).")
    for part, end in zip(("least", "most"), value, strict=True):
        check(f"{name} ({part})", end, bound)
    if value[0] > value[1]:
        raise ValueError(f"{name} is {value!r}; expected (least, most), in this order.")
    return tuple(value)
