# SPDX-License-Identifier: BSD-3-Clause
"""Synthetic stained tissue with exact labels."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from scipy import ndimage, sparse
from sklearn.utils import Bunch, check_random_state

from psmlearn.datasets._shapes import lay_out_nuclei

# Directions of stains in optical density (red, green, blue), about those of
# published stain matrices; they are normalised where they are used.
_STAINS = {
    "haematoxylin": (0.60, 0.70, 0.35),
    "eosin": (0.15, 0.85, 0.48),
    "dab": (0.27, 0.57, 0.78),
}
_DIAMETER = 6.2  # micrometres, mean
_POSITIVE_SHARE = 0.35


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
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Make synthetic histology images of nuclei, with exact labels.

    Irregular nuclei with chromatin texture lie in eosinophilic tissue with
    fibres and white gaps. The stains are mixed in optical density, so stain
    separation works on these images as on real ones.

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
        How much stain colours and strengths differ between images; 0 for none.
    texture : float, default=1.0
        Strength of chromatin, fibres and uneven staining; 0 for flat colours.
    noise : float, default=0.015
        Standard deviation of the camera noise; white is 1.
    pixel_size : float, default=0.25
        Micrometres per pixel; nuclei are about 6 micrometres across.
    stain : {"he", "hdab"}, default="he"
        Haematoxylin and eosin, or haematoxylin with a share of nuclei brown by
        DAB, as in Ki-67 staining.
    random_state : int, RandomState instance or None, default=None
        An int gives the same images each time.

    Returns
    -------
    Bunch
        With `images`, uint8 of shape (n_images, height, width, 3); `masks`,
        int32 of shape (n_images, height, width), ids 1..n; `points`, a list of
        float arrays (n, 2), the centres as (row, column); `classes`, a list of
        int arrays (n,), 1 positive (brown) and 2 negative; `pixel_size`.

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
    """
    _check_counts(n_images=(n_images, 1), n_nuclei=(n_nuclei, 0))
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise ValueError(f"shape is {shape!r}; expected (height, width).")
    _check_counts(height=(shape[0], 1), width=(shape[1], 1))
    _check_numbers(
        touching=(touching, 1.0),
        vesicular=(vesicular, 1.0),
        stain_variation=(stain_variation, np.inf),
        texture=(texture, np.inf),
        noise=(noise, np.inf),
        pixel_size=(pixel_size, np.inf),
    )
    if pixel_size <= 0:
        raise ValueError(f"pixel_size is {pixel_size}; expected above 0.")
    if stain not in ("he", "hdab"):
        raise ValueError(f"stain is {stain!r}; expected 'he' or 'hdab'.")
    shape = (int(shape[0]), int(shape[1]))
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    images = np.empty((n_images, *shape, 3), dtype=np.uint8)
    masks = np.empty((n_images, *shape), dtype=np.int32)
    points, classes = [], []
    for index in range(n_images):
        rng = np.random.default_rng([seed, index])
        masks[index] = lay_out_nuclei(
            rng, shape, n_nuclei, touching, _DIAMETER / pixel_size
        )
        n_placed = int(masks[index].max())
        positive = (rng.random(n_placed) < _POSITIVE_SHARE) & (stain == "hdab")
        densities = _paint_stains(
            rng, masks[index], positive, stain, vesicular, texture, pixel_size
        )
        images[index] = _expose(rng, densities, stain_variation, noise, pixel_size)
        points.append(_centres(masks[index], n_placed))
        classes.append(np.where(positive, 1, 2))
    return Bunch(
        images=images,
        masks=masks,
        points=points,
        classes=classes,
        pixel_size=float(pixel_size),
    )


def _check_counts(**values: tuple[object, int]) -> None:
    for name, (value, least) in values.items():
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}; expected an int.")
        if value < least:
            raise ValueError(f"{name} is {value}; expected at least {least}.")


def _check_numbers(**values: tuple[object, float]) -> None:
    for name, (value, most) in values.items():
        if not isinstance(value, Real) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}; expected a number.")
        if not 0 <= value <= most or np.isinf(value):
            raise ValueError(f"{name} is {value}; expected from 0 to {most}.")


def _smooth_field(
    rng: np.random.Generator, shape: tuple[int, int], scale: float
) -> np.ndarray:
    """Draw a smooth random field of about unit variance: cubic B-splines."""
    rows, columns = (_spline_weights(n, scale) for n in shape)
    knots = rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32)
    # A mean weight of 0.4794 per axis: that of the squared cubic B-spline.
    return (columns @ (rows @ knots).T).T / np.float32(0.4794)


def _spline_weights(n_pixels: int, scale: float) -> sparse.csr_array:
    """Return the weights (n_pixels, n_knots) of cubic B-splines."""
    position = np.arange(n_pixels) / scale
    first = np.floor(position).astype(np.int64)
    t = position - first
    weights = np.stack(
        [
            (1 - t) ** 3,
            3 * t**3 - 6 * t**2 + 4,
            -3 * t**3 + 3 * t**2 + 3 * t + 1,
            t**3,
        ],
        axis=1,
    )
    knots = first[:, np.newaxis] + np.arange(4)
    starts = np.arange(0, 4 * n_pixels + 1, 4)
    return sparse.csr_array(
        ((weights / 6).astype(np.float32).ravel(), knots.ravel(), starts),
        shape=(n_pixels, int(first[-1]) + 4),
    )


def _depth(labels: np.ndarray) -> np.ndarray:
    """Return the distance of each nucleus' pixels from its own border."""
    inner = labels > 0
    for axis in (0, 1):
        differs = np.diff(labels, axis=axis) != 0
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        inner[tuple(before)] &= ~differs
        inner[tuple(after)] &= ~differs
    if inner.all():
        return np.full(labels.shape, np.inf, dtype=np.float32)
    return ndimage.distance_transform_edt(inner).astype(np.float32)


def _paint_stains(
    rng: np.random.Generator,
    labels: np.ndarray,
    positive: np.ndarray,
    stain: str,
    vesicular: float,
    texture: float,
    pixel_size: float,
) -> dict[str, np.ndarray]:
    """Return the amount of each stain per pixel, before the optics."""
    inside = labels > 0
    around = ndimage.gaussian_filter(inside.astype(np.float32), 1.0 / pixel_size)
    tissue, eosin = _paint_tissue(rng, labels.shape, texture, pixel_size)
    tissue = np.maximum(tissue, np.minimum(3 * around, 1))
    eosin = tissue * (eosin + 0.10 * around) * np.where(inside, 0.55, 1.0)
    nuclei = _paint_nuclei(rng, labels, vesicular, texture, pixel_size)
    veil = 0.05 + 0.02 * texture * _smooth_field(rng, labels.shape, 9 / pixel_size)
    background = tissue * np.maximum(veil + 0.12 * around, 0)
    if stain == "he":
        return {
            "haematoxylin": np.where(inside, nuclei, background),
            "eosin": eosin.astype(np.float32),
        }
    brown = np.concatenate([[False], positive])[labels]
    pale = 0.25 * background + 0.12 * eosin
    return {
        "haematoxylin": np.where(inside, np.where(brown, 0.4, 0.8) * nuclei, pale),
        "dab": np.where(brown, 1.2 * nuclei, 0.06 * eosin),
    }


def _paint_tissue(
    rng: np.random.Generator,
    shape: tuple[int, int],
    texture: float,
    pixel_size: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return where there is tissue (0 to 1) and how pink it is."""

    def field(micrometres: float) -> np.ndarray:
        return _smooth_field(rng, shape, max(micrometres / pixel_size, 1.0))

    rows, columns = np.ogrid[: shape[0], : shape[1]]
    angle = rng.uniform(0, np.pi)
    along = (rows * np.sin(angle) + columns * np.cos(angle)) * pixel_size
    waves = np.sin(2 * np.pi * (along / 3.5 + 0.9 * field(12)) + 0.8 * field(3))
    fibres = np.clip(field(15), 0, 1.5) * waves
    eosin = 0.27 * (
        1
        + texture
        * (0.22 * field(20) + 0.10 * field(5) + 0.10 * field(1.2) + 0.18 * fibres)
    )
    edge = field(14) + 0.5 * field(4) + 0.25 * field(1.5)
    gaps = 1 / (1 + np.exp(-6 * (edge - 1.75)))
    tissue = 1 - min(texture, 1.0) * gaps
    return tissue, np.maximum(eosin, 0.02)


def _paint_nuclei(
    rng: np.random.Generator,
    labels: np.ndarray,
    vesicular: float,
    texture: float,
    pixel_size: float,
) -> np.ndarray:
    """Return the haematoxylin inside nuclei: chromatin, rims, nucleoli."""
    n_nuclei = int(labels.max())
    strength = 0.52 * np.exp(rng.normal(0.0, 0.22, n_nuclei + 1))
    pale = rng.random(n_nuclei + 1) < vesicular
    floor = np.where(pale, rng.uniform(0.28, 0.45, n_nuclei + 1), 0.9)
    clumps = np.where(pale, 0.9, 0.55)
    depth = _depth(labels) * pixel_size
    rim = np.exp(-np.square(depth / 0.45))
    fine = _smooth_field(rng, labels.shape, max(0.45 / pixel_size, 1.0))
    coarse = _smooth_field(rng, labels.shape, max(1.1 / pixel_size, 1.0))
    chromatin = texture * (0.22 * fine + 0.26 * coarse)
    # Nucleoli: the highest clumps, well inside.
    nucleoli = np.clip(2.5 * (coarse - 1.3), 0, 1) * (depth > 0.8) * min(texture, 1)
    level = floor[labels] + (1.1 - floor[labels]) * np.maximum(rim, 0.8 * nucleoli)
    level = level * (1 + clumps[labels] * chromatin)
    return np.maximum(strength[labels] * level, 0.08).astype(np.float32)


def _expose(
    rng: np.random.Generator,
    amounts: dict[str, np.ndarray],
    stain_variation: float,
    noise: float,
    pixel_size: float,
) -> np.ndarray:
    """Turn amounts of stain into a picture: optics, colours, light, camera."""
    blur = 0.22 / pixel_size
    density = 0.0
    for name, amount in amounts.items():
        colour = np.array(_STAINS[name]) + rng.normal(0, 0.035 * stain_variation, 3)
        colour = np.clip(colour, 0.02, None)
        colour *= np.exp(rng.normal(0, 0.13 * stain_variation))
        colour /= np.linalg.norm(_STAINS[name])
        sharp = ndimage.gaussian_filter(amount.astype(np.float32), blur)
        density = density + sharp[..., np.newaxis] * colour.astype(np.float32)
    light = 0.955 + 0.01 * stain_variation * np.clip(rng.normal(size=3), -2, 2)
    light = np.clip(light, 0, 1).astype(np.float32)
    picture = light * np.power(np.float32(10), -density)
    if noise > 0:
        grain = rng.standard_normal(picture.shape, dtype=np.float32)
        picture += np.float32(noise) * grain
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def _centres(labels: np.ndarray, n_nuclei: int) -> np.ndarray:
    """Return the centre of mass of each id as (row, column)."""
    rows, columns = np.nonzero(labels)
    ids = labels[rows, columns]
    sums = [np.bincount(ids, w, n_nuclei + 1)[1:] for w in (None, rows, columns)]
    return np.stack(sums[1:], axis=1) / np.maximum(sums[0], 1)[:, np.newaxis]
