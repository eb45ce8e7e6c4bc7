# SPDX-License-Identifier: BSD-3-Clause
"""Heads, tissue and lesions of synthetic slices like those of brain MRI."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit

# How bright T1 and FLAIR show it, white matter in T1 being 1.
_SCALP, _SKULL, _FLUID = (1.3, 1.05), (0.12, 0.10), (0.28, 0.16)
_WHITE, _GREY, _FAT = (1.0, 0.50), (0.72, 0.66), (1.45, 1.15)
_LESION = (-0.16, 0.62)  # added to the tissue, in the centre

# Borders, in radii of the head.
_SKULL_FROM, _FLUID_FROM, _BRAIN_TO = 0.92, 0.86, 0.83
_LESIONS_TO = 0.80

_CORE = 0.5  # radius of the bright centre of a lesion, in radii of the lesion
_FAT_SHARE = (0.0015, 0.004)  # of the head
_MAX_TRIES = 20
_N_RAYS = 721


@dataclass(frozen=True)
class Head:
    """The outline of a head and how its scanner shows it."""

    centre: np.ndarray  # (row, column), in parts of the image
    radii: np.ndarray  # of the ellipse, in parts of the shorter side
    tilt: float
    amplitudes: np.ndarray
    phases: np.ndarray
    gain: np.ndarray  # (2,), of T1 and FLAIR

    def polar(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return across (left to right) and along, in radii; the outline is at 1."""
        height, width = shape
        side = min(shape)
        rows = (np.arange(height) + 0.5 - self.centre[0] * height)[:, np.newaxis]
        columns = (np.arange(width) + 0.5 - self.centre[1] * width)[np.newaxis, :]
        cosine, sine = np.cos(self.tilt), np.sin(self.tilt)
        along = (cosine * rows + sine * columns) / (side * self.radii[0])
        across = (cosine * columns - sine * rows) / (side * self.radii[1])
        angle = np.arctan2(along, across)
        waves = 1.0
        for order, (amplitude, phase) in enumerate(
            zip(self.amplitudes, self.phases, strict=True), start=2
        ):
            waves = waves + amplitude * np.cos(order * angle + phase)
        return across / waves, along / waves


def draw_head(rng: np.random.Generator) -> Head:
    """Draw a head of the size, place and tilt that heads have in scans."""
    length = rng.uniform(0.38, 0.44)
    return Head(
        centre=rng.normal(0.5, 0.015, 2),
        radii=np.array([length, length * rng.uniform(0.76, 0.9)]),
        tilt=rng.normal(0.0, 0.14),
        amplitudes=rng.normal(0.0, [0.015, 0.012, 0.008]),
        phases=rng.uniform(0.0, 2 * np.pi, 3),
        gain=rng.uniform(150.0, 400.0, 2),
    )


def move_head(rng: np.random.Generator, head: Head) -> Head:
    """Return the head in another slice of the scan."""
    return Head(
        centre=head.centre + rng.normal(0.0, 0.004, 2),
        radii=head.radii * rng.uniform(0.86, 1.0),
        tilt=head.tilt + rng.normal(0.0, 0.02),
        amplitudes=head.amplitudes + rng.normal(0.0, 0.003, 3),
        phases=head.phases,
        gain=head.gain * rng.uniform(0.9, 1.1, 2),
    )


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, int], scale: float
) -> np.ndarray:
    """Return noise of mean 0 and deviation 1, smooth over `scale` shorter sides."""
    sigma = scale * min(shape)
    factor = max(1, int(sigma / 3))  # coarse where nothing fine is left
    field = rng.standard_normal([-(-side // factor) for side in shape])
    field = ndimage.gaussian_filter(field, sigma / factor, mode="wrap", truncate=3)
    if factor > 1:
        zoom = [side / coarse for side, coarse in zip(shape, field.shape, strict=True)]
        field = ndimage.zoom(field, zoom, order=1, mode="nearest")
    field -= field.mean()
    return field / max(float(field.std()), 1e-12)


@dataclass(frozen=True)
class Slice:
    """The anatomy of a slice: where in the head each pixel is, and what it shows."""

    across: np.ndarray
    along: np.ndarray
    signal: np.ndarray  # (height, width, 2)

    @property
    def radius(self) -> np.ndarray:
        """The distance from the centre, in radii of the head."""
        return np.hypot(self.across, self.along)


def draw_slice(rng: np.random.Generator, head: Head, shape: tuple[int, int]) -> Slice:
    """Draw the tissue of a healthy slice, both channels."""
    across, along = head.polar(shape)
    radius = np.hypot(across, along)
    edge = 1.0 / (min(shape) * head.radii.min())  # about a pixel

    def within(distance: np.ndarray, softness: float = 1.0) -> np.ndarray:
        return expit(-distance / (0.6 * edge * softness))[..., np.newaxis]

    # The cortex is folded: grey matter reaches inward where the field is high.
    folds = smooth_field(rng, shape, 0.022)
    bends = smooth_field(rng, shape, 0.06)
    white = within(radius + 0.05 * folds + 0.04 * bends - 0.66, 1.5)
    wide, long = rng.uniform(0.1, 0.16), rng.uniform(0.12, 0.2)
    out, low = np.abs(across) - rng.uniform(0.27, 0.33), along - rng.normal(0.0, 0.04)
    deep = within(np.hypot(out / wide, low / long) - 1 + 0.1 * bends, 9.0)
    signal = np.array(_GREY) + (np.array(_WHITE) - np.array(_GREY)) * white * (1 - deep)
    ripple = 0.03 * np.stack([folds, bends], axis=-1)
    signal = signal * (1 + ripple + 0.02 * rng.standard_normal((*shape, 2)))

    fluid = _ventricles(rng, across, along) + 0.06 * bends
    gap = np.abs(across) - 0.012 + 0.3 * np.maximum(0.45 - np.abs(along), 0)
    sulci = 0.88 - radius - 0.13 * (folds - 0.6)
    for distance, softness in ((fluid, 6.0), (gap, 1.0), (sulci, 3.0)):
        signal += within(distance, softness) * (np.array(_FLUID) - signal)
    for border, value in (
        (_BRAIN_TO, _FLUID),
        (_FLUID_FROM, _SKULL),
        (_SKULL_FROM, np.array(_SCALP) * rng.uniform(0.85, 1.3)),
    ):
        wall = within(border + 0.012 * bends - radius)
        signal += wall * (np.array(value) * (1 + 0.06 * folds[..., None]) - signal)
    signal *= within(radius - 1)
    return Slice(across, along, signal)


def _ventricles(
    rng: np.random.Generator, across: np.ndarray, along: np.ndarray
) -> np.ndarray:
    """Return how far a pixel is outside of the ventricles, two bent horns."""
    size = rng.uniform(0.5, 1.2)
    long, wide = 0.34 * size, 0.085 * size
    centre = rng.normal(-0.02, 0.03)
    bow = 0.05 + 0.9 * (along - centre) ** 2 + wide
    out = (np.abs(across) - bow) / wide
    return np.hypot(out, (along - centre) / long) - 1


def _blob(
    rng: np.random.Generator, place: Slice, centre: tuple[int, int], irregularity: float
) -> np.ndarray:
    """Return the distance from a centre, along rays of irregular length."""
    height, width = place.across.shape
    rows = (np.arange(height) - centre[0])[:, np.newaxis]
    columns = (np.arange(width) - centre[1])[np.newaxis, :]
    angle = np.arctan2(rows, columns)
    stretch, tilt = rng.uniform(1.0, 1.5), rng.uniform(0.0, np.pi)
    along = rows * np.sin(tilt) + columns * np.cos(tilt)
    across = rows * np.cos(tilt) - columns * np.sin(tilt)
    distance = np.hypot(along / stretch, across * stretch)
    # The rays by a table: cosines of every pixel take long.
    rays = np.linspace(-np.pi, np.pi, _N_RAYS)
    lengths = np.ones(_N_RAYS)
    for order in range(2, 8):
        amplitude = irregularity * rng.normal(0.0, 0.55 / order)
        lengths += amplitude * np.cos(order * rays + rng.uniform(0, 2 * np.pi))
    lengths = np.maximum(lengths, 0.35)
    return distance / lengths[((angle / np.pi + 1) / 2 * (_N_RAYS - 1)).astype(int)]


def _grow(
    distance: np.ndarray, room: np.ndarray, n_pixels: int, seed: tuple[int, int]
) -> tuple[np.ndarray | None, float]:
    """Return the nearest pixels of the room that hang together, and their reach."""
    ranks = np.where(room, distance, np.inf)
    reach = float(np.partition(ranks.ravel(), n_pixels - 1)[n_pixels - 1])
    if not np.isfinite(reach):
        return None, reach
    parts, _ = ndimage.label(ranks <= reach)
    return parts == parts[seed], reach


def add_lesions(
    rng: np.random.Generator,
    place: Slice,
    n_lesions: int,
    area: tuple[float, float],
    contrast: float,
    rim: float,
) -> np.ndarray:
    """Draw lesions into the signal of a slice and return their ids.

    Together they take a share of the head from the range `area`.
    """
    labels = np.zeros(place.across.shape, np.int32)
    n_pixels = rng.uniform(*area) * np.count_nonzero(place.radius <= 1)
    shares = rng.dirichlet(np.full(n_lesions, 8.0)) * n_pixels
    brain = place.radius < _LESIONS_TO
    for number, share in enumerate(np.sort(shares)[::-1], start=1):
        wanted = max(int(round(share)), 4)
        found = None
        for _ in range(_MAX_TRIES):
            taken = ndimage.binary_dilation(labels > 0, iterations=2)
            rows, columns = np.nonzero(brain & ~taken)
            if len(rows) == 0:
                break
            chosen = rng.integers(len(rows))
            seed = (int(rows[chosen]), int(columns[chosen]))
            distance = _blob(rng, place, seed, 1.0)
            found, reach = _grow(distance, brain & ~taken, wanted, seed)
            if found is not None and found.sum() >= 0.95 * wanted:
                break
        if found is None:
            raise ValueError(
                f"n_lesions, lesion_area: {n_lesions} lesions of {int(n_pixels)} "
                "pixels in all do not fit the brain; ask for fewer or smaller ones."
            )
        labels[found] = number
        _shade(rng, place, distance / max(reach, 1e-6), found, contrast, rim)
    return labels


def _shade(
    rng: np.random.Generator,
    place: Slice,
    depth: np.ndarray,
    found: np.ndarray,
    contrast: float,
    rim: float,
) -> None:
    """Change the signal within a lesion: most in its centre, less in its rim."""
    core = expit((_CORE - depth - 0.05 * rng.standard_normal()) / 0.05)
    strength = rim + (1 - rim) * core
    texture = 1 + 0.12 * smooth_field(rng, depth.shape, 0.02)
    soft = ndimage.gaussian_filter(found.astype(float), 0.6)
    # Tissue is lost in a lesion: fluid and grey matter in it look as white does.
    base = np.array(_WHITE)
    flat = 0.7 * (soft * np.minimum(4 * strength, 1))[..., np.newaxis]
    place.signal[...] += flat * (base - place.signal)
    change = (contrast * soft * strength * texture)[..., np.newaxis]
    place.signal[...] += change * np.array(_LESION)


def add_fat(
    rng: np.random.Generator, place: Slice, n_spots: int, keep_off: np.ndarray
) -> None:
    """Draw small spots, bright in both channels, off the lesions."""
    room = (place.radius < _LESIONS_TO) & ~ndimage.binary_dilation(
        keep_off > 0, iterations=3
    )
    size = np.count_nonzero(place.radius <= 1)
    for _ in range(n_spots):
        rows, columns = np.nonzero(room)
        if not len(rows):
            return
        chosen = rng.integers(len(rows))
        seed = (int(rows[chosen]), int(columns[chosen]))
        wanted = max(int(rng.uniform(*_FAT_SHARE) * size), 1)
        found, _ = _grow(_blob(rng, place, seed, 0.5), room, wanted, seed)
        if found is None:
            continue
        soft = ndimage.gaussian_filter(found.astype(float), 0.6)[..., np.newaxis]
        place.signal[...] += soft * (np.array(_FAT) - place.signal)


def scan(
    rng: np.random.Generator, place: Slice, gain: np.ndarray, bias: float, noise: float
) -> np.ndarray:
    """Return the slice as a scanner shows it: uneven, with noise also in the air."""
    shape = place.across.shape
    image = np.empty((*shape, 2), np.float32)
    for channel in range(2):
        field = np.exp(0.09 * bias * smooth_field(rng, shape, 0.25))
        clean = place.signal[..., channel] * field
        parts = 0.035 * noise * rng.standard_normal((2, *shape))
        image[..., channel] = gain[channel] * np.hypot(clean + parts[0], parts[1])
    return image
