# SPDX-License-Identifier: BSD-3-Clause
"""Synthetic stained tissue with exact labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import cast

import numpy as np
from sklearn.utils import Bunch

from psmlearn._parameters import check_pixel_size
from psmlearn._typing import RandomState
from psmlearn.datasets._artefacts import add_artefacts
from psmlearn.datasets._paint import (
    BRIGHTNESS,
    HE_COLOURS,
    mix_stains,
    paint_he,
    photograph,
)
from psmlearn.datasets._paint_ki67 import draw_colours, paint_ki67
from psmlearn.datasets._parameters import (
    check_choice,
    check_count,
    check_extent,
    check_flag,
    check_number,
    draw_seed,
    show,
)
from psmlearn.datasets._shapes import lay_out_nuclei

_DIAMETER = 6.2  # micrometres, mean
_POSITIVE, _NEGATIVE = 1, 2
_LARGEST = 100.0  # of strengths, whose usual value is 1


def make_nuclei(
    n_images: int = 4,
    shape: tuple[int, int] = (256, 256),
    *,
    n_nuclei: int = 40,
    touching: float = 0.3,
    vesicular: float = 0.25,
    stain_variation: float = 1.0,
    texture: float = 1.0,
    noise: float = 0.015,
    pixel_size: float = 0.25,
    stain: str = "he",
    positive_fraction: float | Sequence[float] = 0.3,
    weak: float = 0.2,
    background: float = 1.0,
    artefacts: bool = False,
    random_state: RandomState = None,
) -> Bunch:
    """Make synthetic histology images of nuclei, with exact labels.

    Irregular nuclei with chromatin texture lie in tissue with fibres and white
    gaps. The stains are mixed in optical density, so stain separation works on
    these images as on real ones.

    Parameters
    ----------
    n_images : int, default=4
        The first images are the same whatever their number.
    shape : tuple (height, width), default=(256, 256)
    n_nuclei : int, default=40
        Nuclei per image (fewer where no more fit); 0 gives bare tissue.
    touching : float in [0, 1], default=0.3
        Share of the nuclei that touch another, in pairs.
    vesicular : float in [0, 1], default=0.25
        Share of the nuclei that are pale inside, with a dark rim and nucleoli.
    stain_variation : float, default=1.0
        How much stain colours and strengths differ between images, up to 100; 0 for
        none.
    texture : float, default=1.0
        Strength of chromatin, fibres and uneven staining, up to 100; 0 for flat
        colours.
    noise : float, default=0.015
        Standard deviation of the camera noise, up to 100; white is 1.
    pixel_size : float, default=0.25
        Micrometres per pixel, from 0.01 to 20; nuclei are about 6 micrometres across.
    stain : {"he", "ki67"}, default="he"
        Haematoxylin and eosin; or Ki-67 immunohistochemistry, with two classes
        of nuclei: positive ones, brown by DAB, from tan to nearly black, and
        negative ones, pale blue by haematoxylin. Its nuclei lie where those of
        "he" do, with the same `random_state`.
    positive_fraction : float in [0, 1] or one for each image, default=0.3
        Share of positive nuclei, rounded to whole nuclei; 0 and 1 give images
        without one of the classes. For "ki67" only.
    weak : float in [0, 1], default=0.2
        Share of the negative nuclei that are hardly darker than the tissue: a
        threshold that the dark brown ones set misses them. For "ki67" only.
    background : float, default=1.0
        Strength of the brown haze in tissue and cytoplasm, up to 100; 0 for none, 3
        for a stain that failed. For "ki67" only.
    artefacts : bool, default=False
        Whether to lay a fold, a stroke of a pen and specks of dirt over each
        image. What they hide stays in masks and points.
    random_state : int, RandomState instance or None, default=None
        An int gives the same images each time.

    Returns
    -------
    Bunch
        With

        - `images`, uint8 of shape (n_images, height, width, 3);
        - `masks`, int32 of shape (n_images, height, width), ids 1..n; for
          "ki67" (n_images, height, width, 2), the second plane holding the
          class: 1 positive, 2 negative, 0 background;
        - `points`, a list of float arrays (n, 2), the centres as (row, column)
          in the order of the ids; for "ki67" (n, 3), the class in the third
          column;
        - `target_names`, the names of classes 1 and 2, or None for "he";
        - `artefacts`, bool of shape (n_images, height, width), True where the
          image is spoilt;
        - `pixel_size`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong kind or out of its range.

    Examples
    --------
    >>> from psmlearn.datasets import make_nuclei
    >>> data = make_nuclei(2, (64, 96), n_nuclei=8, random_state=0)
    >>> data.images.shape, data.masks.shape, len(data.points[0])
    ((2, 64, 96, 3), (2, 64, 96), 8)
    >>> data = make_nuclei(2, (64, 96), n_nuclei=8, stain="ki67", random_state=0)
    >>> data.masks.shape, data.points[0][:, 2].astype(int).tolist()
    ((2, 64, 96, 2), [2, 2, 2, 2, 2, 1, 1, 2])
    """
    recipe = _Recipe(
        shape, n_nuclei, touching, vesicular, stain_variation, texture, noise,
        pixel_size, stain, weak, background, artefacts,
    )  # fmt: skip
    check_count("n_images", n_images, 1)
    shape = recipe.check()
    check_extent(n_images, shape)
    fractions = _check_fractions(positive_fraction, n_images)
    seed = draw_seed(random_state)
    images = np.empty((n_images, *shape, 3), dtype=np.uint8)
    planes = () if stain == "he" else (2,)
    masks = np.empty((n_images, *shape, *planes), dtype=np.int32)
    spoilt = np.zeros((n_images, *shape), dtype=bool)
    points = []
    for index, fraction in enumerate(fractions):
        images[index], labels, classes, spoilt[index] = recipe.make(
            [seed, index], fraction
        )
        centres = _centres(labels, len(classes))
        if stain == "he":
            masks[index] = labels
        else:
            masks[index, ..., 0] = labels
            masks[index, ..., 1] = np.append(0, classes)[labels]
            centres = np.column_stack([centres, classes])
        points.append(centres)
    return Bunch(
        images=images,
        masks=masks,
        points=points,
        target_names=None if stain == "he" else ["positive", "negative"],
        artefacts=spoilt,
        pixel_size=float(pixel_size),
    )


@dataclass(frozen=True)
class _Recipe:
    """How the images of a set are made, as the parameters of `make_nuclei`."""

    shape: tuple[int, int]
    n_nuclei: int
    touching: float
    vesicular: float
    stain_variation: float
    texture: float
    noise: float
    pixel_size: float
    stain: str
    weak: float
    background: float
    artefacts: bool

    def check(self) -> tuple[int, int]:
        """Refuse bad values; return height and width as int."""
        check_count("n_nuclei", self.n_nuclei, 0)
        if not isinstance(self.shape, tuple | list) or len(self.shape) != 2:
            raise ValueError(f"shape is {show(self.shape)}; expected (height, width).")
        check_count("height", self.shape[0], 1)
        check_count("width", self.shape[1], 1)
        for name in ("touching", "vesicular", "weak"):
            check_number(name, getattr(self, name), 1.0)
        for name in ("stain_variation", "texture", "noise", "background"):
            check_number(name, getattr(self, name), _LARGEST)
        check_pixel_size(self.pixel_size)
        check_choice("stain", self.stain, ("he", "ki67"))
        check_flag("artefacts", self.artefacts)
        return int(self.shape[0]), int(self.shape[1])

    def make(
        self, seed: list[int], positive_fraction: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return an image, its ids, the class of each id, and what is spoilt."""
        rng = np.random.default_rng(seed)
        shape = (int(self.shape[0]), int(self.shape[1]))
        labels = lay_out_nuclei(
            rng, shape, self.n_nuclei, self.touching, _DIAMETER / self.pixel_size
        )
        rank = rng.random(int(labels.max())).argsort().argsort()
        n_positive = int(np.floor(positive_fraction * len(rank) + 0.5))
        positive = rank < n_positive
        how = (self.vesicular, self.texture, self.pixel_size)
        colours: Mapping[str, Sequence[float] | np.ndarray]
        if self.stain == "he":
            colours, brightness = HE_COLOURS, BRIGHTNESS
            amounts = paint_he(rng, labels, *how)
        else:
            colours, brightness = draw_colours(rng, self.stain_variation)
            amounts = paint_ki67(
                rng, labels, positive, self.weak, self.background, *how
            )
        density = mix_stains(
            rng, amounts, colours, self.stain_variation, self.pixel_size
        )
        spoilt = np.zeros(shape, dtype=bool)
        if self.artefacts:
            # Their own stream: without them, the image is the same elsewhere.
            own = np.random.default_rng([*seed, 1])
            density, spoilt = add_artefacts(own, density, self.pixel_size)
        image = photograph(rng, density, brightness, self.stain_variation, self.noise)
        return image, labels, np.where(positive, _POSITIVE, _NEGATIVE), spoilt


def _check_fractions(value: float | Sequence[float], n_images: int) -> list[float]:
    """Return the share of positive nuclei of each image."""
    if isinstance(value, Real):
        check_number("positive_fraction", cast("float", value), 1.0)
        return [float(value)] * n_images
    if not isinstance(value, list | tuple | np.ndarray) or np.shape(value) == ():
        raise TypeError(
            f"positive_fraction is {show(value)}; expected a number, or one per image."
        )
    if len(value) != n_images:
        raise ValueError(
            f"positive_fraction has {len(value)} values for {n_images} images; "
            "expected one per image."
        )
    for index, share in enumerate(value):
        check_number(f"positive_fraction[{index}]", share, 1.0)
    return [float(share) for share in value]


def _centres(labels: np.ndarray, n_nuclei: int) -> np.ndarray:
    """Return the centre of mass of each id as (row, column)."""
    rows, columns = np.nonzero(labels)
    ids = labels[rows, columns]
    sums = [np.bincount(ids, w, n_nuclei + 1)[1:] for w in (None, rows, columns)]
    return np.stack(sums[1:], axis=1) / np.maximum(sums[0], 1)[:, np.newaxis]
