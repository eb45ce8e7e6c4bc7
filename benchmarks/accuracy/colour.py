# SPDX-License-Identifier: BSD-3-Clause
"""Positive and negative nuclei by colour thresholds from scikit-image.

Three families of what one can build in an afternoon. Each first finds candidates in an
image (the slow part, kept), then decides which of them stay and of which class they
are. What their parameters may be stands in `FAMILIES`; `tuning` chooses. Lengths are in
pixels, amounts of stain and darkness in units of optical density.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage as ndi
from skimage.color import rgb2hed, rgb2hsv, rgb2lab
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.morphology import disk
from skimage.segmentation import watershed

POSITIVE, NEGATIVE = 1, 2
# What tells brown from blue, and the cuts that are tried, from blue to brown.
COLOURS = {
    "dab": (0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.16, 0.2, 0.3),
    "dab_share": (0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6),
    "lab_b": (-20, -17.5, -15, -12.5, -10, -7.5, -5, -2.5, 0, 2.5, 5),
    "hue": (0.04, 0.05, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4),
}
COLOUR_SMOOTHING = 2
# Blobs fainter than this are never looked at.
FAINTEST = 0.01
BLUE = 0.6
# Optical density by which a nucleus is darker than what lies around it.
STEP = 0.04
MAX_HOLE_AREA = 60
MARGIN = 30
KEPT_RESPONSES = 10


class Channels:
    """Channels of one image, computed when they are asked for, and kept."""

    def __init__(self, image: np.ndarray, region: np.ndarray | None = None):
        self.image = image[..., :3]
        # Objects are looked for where they count; thresholds are the whole image's.
        self.box = _box(region) if region is not None else (slice(None),) * 2
        self._channels: dict = {}
        self._responses: dict = {}
        self._candidates: dict = {}

    def get(self, name: str, white: bool) -> np.ndarray:
        """Return a channel; `white` first divides by the colour of bright glass."""
        if (name, white) not in self._channels:
            self._channels |= {(k, white): v for k, v in self._compute(white).items()}
        return self._channels[name, white]

    def _compute(self, white: bool) -> dict[str, np.ndarray]:
        rgb = self.image.astype(np.float32) / np.float32(255)
        if white:
            glass = np.percentile(rgb[::4, ::4], 95, axis=(0, 1))
            rgb = np.clip(rgb / np.maximum(glass, 0.2), 0, 1).astype(np.float32)
        density = -np.log10(np.maximum(rgb, 1 / 255))
        # scikit-image divides by the logarithm of 1e-6; six times that is density.
        stains = 6 * rgb2hed(rgb)
        haematoxylin, dab = (_blur(stains[..., i]) for i in (0, 2))
        hue = np.abs(rgb2hsv(rgb)[..., 0] - BLUE)
        channels = {
            "haematoxylin": stains[..., 0],
            "stain": stains[..., 2],
            "both": stains[..., 0] + stains[..., 2],
            "density": density.mean(axis=-1),
            "red": density[..., 0],
            "dab": dab,
            "dab_share": dab / np.maximum(haematoxylin + dab, 1e-3),
            "lab_b": _blur(rgb2lab(rgb)[..., 2]),
            "hue": _blur(np.minimum(hue, 1 - hue)),
        }
        return {name: value.astype(np.float32) for name, value in channels.items()}

    def smooth(self, name: str, white: bool, sigma: float) -> np.ndarray:
        """Return a smoothed channel."""
        return self.response(
            ("smooth", name, white, sigma),
            lambda: ndi.gaussian_filter(self.get(name, white), sigma),
        )

    def select(self, name: str, white: bool, sigma: float, window, level: float):
        """Smooth a channel and threshold it: image, mask in the box, and its depth.

        The threshold is so many times Otsu's, or with a window so many steps above the
        mean of the surroundings.
        """
        image = self.smooth(name, white, sigma)

        def compute():
            if window is None:
                # One value everywhere is no nucleus.
                is_flat = image.min() == image.max()
                mask = (image > level * threshold_otsu(image)) & (not is_flat)
            else:
                mask = image - ndi.gaussian_filter(image, window / 6) > level * STEP
            mask = clean(mask[self.box])
            return mask, depth(mask)

        return image, *self.response((name, white, sigma, window, level), compute)

    def response(self, key: tuple, compute: Callable[[], Any]) -> Any:
        """Keep the images computed from channels that were used last."""
        value = self._responses.pop(key, None)
        self._responses[key] = compute() if value is None else value
        if len(self._responses) > KEPT_RESPONSES:
            del self._responses[next(iter(self._responses))]
        return self._responses[key]

    def candidates(self, family: Family, setting: dict) -> dict[str, np.ndarray]:
        """Find the candidates of a family, once for each setting of its `find`."""
        where = {name: setting[name] for name in family.found_by}
        key = (family.name, *where.values())
        if key not in self._candidates:
            self._candidates[key] = family.find(self, **where)
        return self._candidates[key]


@dataclass(frozen=True)
class Family:
    """A way to find and to decide, and the values that its parameters may have."""

    name: str
    title: str
    find: Callable[..., dict[str, np.ndarray]]
    decide: Callable[[dict, dict], np.ndarray]
    # Parameters of `find`, of `decide`, and settings where the search begins.
    found_by: dict[str, list]
    decided_by: dict[str, list]
    starts: list[dict] = field(default_factory=list)

    @property
    def space(self) -> dict[str, list]:
        """All parameters with the values that are tried."""
        return self.found_by | self.decided_by

    def detect(self, channels: Channels, setting: dict) -> np.ndarray:
        """Detect nuclei: row, column and class of each."""
        return self.decide(channels.candidates(self, setting), setting)


def find_blobs(channels, white, channel, sigma, min_distance):
    """Find peaks of the Laplacian of Gaussian, the larger of two scales if two."""

    def respond():
        image = channels.get(channel, white)
        scales = sigma if isinstance(sigma, tuple) else (sigma,)
        return np.max(
            [-(s**2) * ndi.gaussian_laplace(image, s) for s in scales], axis=0
        )

    response = channels.response(("blobs", white, channel, sigma), respond)
    places = peak_local_max(
        response,
        min_distance=min_distance,
        threshold_abs=FAINTEST,
        exclude_border=False,
    )
    pixels = tuple(places.T)
    found = {name: channels.get(name, white)[pixels] for name in COLOURS}
    return found | {"place": places.astype(float), "strength": response[pixels]}


def decide_blobs(found, setting):
    """Keep what is strong enough for its class."""
    is_positive = _is_positive(found, setting)
    least = np.where(is_positive, setting["least_positive"], setting["least_negative"])
    return _points(found["place"], is_positive, found["strength"] >= least)


def find_dark_objects(
    channels, white, channel, sigma, window, level, split, min_distance
):
    """Threshold darkness by Otsu or locally, then split by a watershed."""
    image, mask, height = channels.select(channel, white, sigma, window, level)
    if split == "darkness":
        height = image[channels.box]
    labels = split_objects(mask, height, min_distance)
    return _measure(labels, channels, white, COLOURS)


def decide_objects(found, setting):
    """Keep what is large enough."""
    keep = found["area"] >= setting["min_area"]
    return _points(found["place"], _is_positive(found, setting), keep)


def find_stained_objects(
    channels,
    white,
    sigma,
    blue_window,
    blue_level,
    brown_window,
    brown_level,
    min_distance,
):
    """Threshold each stain by Otsu or locally; what is brown is not blue."""
    parts = []
    brown, blue = (brown_window, brown_level), (blue_window, blue_level)
    for name, threshold in (("stain", brown), ("haematoxylin", blue)):
        _, mask, height = channels.select(name, white, sigma, *threshold)
        key = ("objects", name, white, sigma, threshold, min_distance)
        labels = channels.response(
            key, lambda m=mask, h=height: split_objects(m, h, min_distance)
        )
        is_positive = name == "stain"
        if is_positive:
            brown_mask = mask
        part = _measure(labels, channels, white, ())
        in_brown = np.bincount(labels[brown_mask], minlength=len(part["area"]) + 1)[1:]
        keep = is_positive | (in_brown < 0.5 * part["area"])
        part["is_positive"] = np.full(len(keep), is_positive)
        parts.append({name: value[keep] for name, value in part.items()})
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def decide_stained_objects(found, setting):
    """Keep what is large enough."""
    keep = found["area"] >= setting["min_area"]
    return _points(found["place"], found["is_positive"], keep)


def clean(mask: np.ndarray) -> np.ndarray:
    """Open a mask a little and fill its small holes."""
    mask = ndi.binary_opening(mask, disk(1))
    holes, _ = ndi.label(~mask)
    is_small = np.bincount(holes.ravel()) <= MAX_HOLE_AREA
    is_small[0] = False
    return mask | is_small[holes]


def depth(mask: np.ndarray) -> np.ndarray:
    """Measure, a little smoothed, how far inside a mask its pixels are."""
    distance = ndi.distance_transform_edt(mask).astype(np.float32)
    return ndi.gaussian_filter(distance, 1)


def split_objects(
    mask: np.ndarray, height: np.ndarray, min_distance: int
) -> np.ndarray:
    """Split a mask by a watershed from the peaks of `height`."""
    peaks = peak_local_max(
        np.where(mask, height, 0), min_distance=min_distance, exclude_border=False
    )
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-height, markers, mask=mask)


def _measure(labels, channels, white, names) -> dict[str, np.ndarray]:
    """Measure place, area and mean colours of objects."""
    rows, columns = np.nonzero(labels)
    ids = labels[rows, columns]
    areas = np.bincount(ids)[1:] if ids.size else np.zeros(0, int)

    def mean(values):
        sums = np.bincount(ids, values, minlength=areas.size + 1)[1:]
        return sums / np.maximum(areas, 1)

    found = {
        name: mean(channels.get(name, white)[channels.box][rows, columns])
        for name in names
    }
    top, left = (part.start or 0 for part in channels.box)
    place = np.stack([mean(rows) + top, mean(columns) + left], axis=1)
    return found | {"place": place, "area": areas}


def _is_positive(found: dict, setting: dict) -> np.ndarray:
    name, cut = setting["brown"]
    return found[name] > cut


def _points(place: np.ndarray, is_positive: np.ndarray, keep: np.ndarray) -> np.ndarray:
    classes = np.where(is_positive, POSITIVE, NEGATIVE)
    return np.column_stack([place, classes])[keep]


def _box(region: np.ndarray) -> tuple[slice, slice]:
    """Find the box of a region, with a margin of some nuclei."""
    lines = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    return tuple(
        slice(max(0, line[0] - MARGIN), line[-1] + MARGIN + 1)
        if line.size
        else slice(0)
        for line in lines
    )


def _blur(image: np.ndarray) -> np.ndarray:
    return ndi.gaussian_filter(image, COLOUR_SMOOTHING)


_BROWN = {"brown": [(name, cut) for name, cuts in COLOURS.items() for cut in cuts]}
_AREAS = [10, 20, 30, 45, 60, 80, 100, 130]
_DISTANCES = [2, 3, 4, 5, 6, 7, 8]
_LEAST = [
    0.01,
    0.015,
    0.02,
    0.025,
    0.03,
    0.04,
    0.05,
    0.06,
    0.07,
    0.08,
    0.1,
    0.12,
    0.14,
    0.17,
    0.2,
    0.25,
]
_WINDOWS = [None, 31, 41, 51, 71, 101, 201]
_LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
_LEVELS += [1.0, 1.1, 1.2, 1.3, 1.45, 1.6, 2.0, 2.5]
_MIDDLE = {"white": False, "brown": ("dab_share", 0.3)}
FAMILIES = {
    "log-hue": Family(
        "log-hue",
        "LoG blobs, class by colour",
        find_blobs,
        decide_blobs,
        {
            "white": [False, True],
            "channel": ["density", "red", "both"],
            "sigma": [2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, (2, 4), (3, 5), (4, 6), (5, 8)],
            "min_distance": _DISTANCES,
        },
        {"least_negative": _LEAST, "least_positive": _LEAST, **_BROWN},
        [
            _MIDDLE
            | {"channel": "density", "sigma": 4, "min_distance": 4}
            | {"least_negative": 0.06, "least_positive": 0.1}
        ],
    ),
    "local-dab": Family(
        "local-dab",
        "Threshold of darkness, watershed, class by colour",
        find_dark_objects,
        decide_objects,
        {
            "white": [False, True],
            "channel": ["density", "red", "both"],
            "sigma": [0.7, 1, 1.5, 2, 2.5, 3, 4],
            "window": _WINDOWS,
            "level": _LEVELS,
            "split": ["distance", "darkness"],
            "min_distance": _DISTANCES,
        },
        {"min_area": _AREAS, **_BROWN},
        [
            _MIDDLE
            | {"channel": "density", "sigma": 2, "window": 51, "level": 0.5}
            | {"split": "distance", "min_distance": 5, "min_area": 30}
        ],
    ),
    "stains": Family(
        "stains",
        "Threshold of each stain, watershed",
        find_stained_objects,
        decide_stained_objects,
        {
            "white": [False, True],
            "sigma": [0.7, 1, 1.5, 2, 2.5, 3],
            "blue_window": _WINDOWS,
            "blue_level": _LEVELS,
            "brown_window": _WINDOWS,
            "brown_level": _LEVELS,
            "min_distance": _DISTANCES,
        },
        {"min_area": _AREAS},
        [
            {"white": False, "sigma": 1.5, "min_distance": 5, "min_area": 30}
            | {"blue_window": window, "blue_level": level}
            | {"brown_window": None, "brown_level": brown_level}
            for window, level, brown_level in ((None, 1.0, 1.0), (51, 0.5, 0.4))
        ],
    ),
}
