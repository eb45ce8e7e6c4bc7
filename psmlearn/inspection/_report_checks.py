# SPDX-License-Identifier: BSD-3-Clause
"""What a report warns of: in one image, and in one image beside the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from psmlearn._images._artefacts import DIRT, FOLD, PEN, artefact_mask
from psmlearn._images._tissue import average, tissue_mask

KINDS = {
    "image": "No image",
    "nothing": "No nuclei",
    "pixel size": "Pixel size not told by the file",
    "pixel size against file": "Pixel size against the file",
    "empty": "Black border or empty area",
    "staining": "Staining other than most",
    "focus": "Out of focus",
    "artefacts": "Pen, folds or dirt",
    "size": "Unusual size of nuclei",
    "count": "Number of nuclei unlike the others",
    "table": "Table and labels differ",
    "truth": "No truth",
}
STAININGS = {
    "he": "haematoxylin and eosin",
    "hdab": "haematoxylin with DAB, or alone",
    "fluorescence": "fluorescence",
    "blank": "nothing stained",
    "other": "another staining, or grey",
}
SHORT_STAININGS = {
    "he": "H&E",
    "hdab": "IHC (DAB)",
    "fluorescence": "fluorescence",
    "blank": "not stained",
    "other": "other, or grey",
}
_LEAST_HIDDEN = 0.01
_LEAST_TISSUE = 0.05
_LEAST_ARTEFACT = 0.01
# Detail of a few pixels over that four times as large. Of 84 sharp fields from six
# sources the least is 0.243; blurred by 4 pixels the most is 0.205.
_SHARP = 0.23
_FOCUS_SCALE = 2.0
_LEAST_CONTRAST = 0.01
_LEAST_SIDE = 64
# Square micrometres of a median nucleus, beyond which the pixel size is in doubt.
_SMALLEST, _LARGEST = 8.0, 250.0
_LEAST_NUCLEI = 10
# By robust deviation and by factor, of five images and more.
_LEAST_IMAGES, _FAR, _FACTOR = 5, 3.5, 3.0


@dataclass(frozen=True)
class Finding:
    """One warning."""

    kind: str
    text: str


def look_at_light(
    image: np.ndarray, shown: np.ndarray | None, staining: str, pixel_size: float
) -> list[Finding]:
    """Look for what spoils an image, by its pixels alone.

    Parameters
    ----------
    image : ndarray of shape (height, width, 1 or 3), float
        Values in [0, 1].
    shown : ndarray of shape (height, width), bool, or None
        Where it shows something.
    staining : str
        As `guess_staining` tells it.
    pixel_size : float
        Micrometres per pixel.
    """
    found = []
    hidden = 0.0 if shown is None else 1.0 - float(shown.mean())
    if hidden >= _LEAST_HIDDEN:
        found.append(
            Finding(
                "empty",
                f"{_percent(hidden)} of the image shows nothing: black border, missing "
                "or transparent. It does not count in the density.",
            )
        )
    if staining == "blank":
        found.append(Finding("empty", "Nothing in the image is stained."))
    if staining in ("he", "hdab"):
        tissue = tissue_mask(image, pixel_size=pixel_size)
        if shown is not None:
            tissue &= shown
        part = float(tissue.mean()) / max(1.0 - hidden, 1e-6)
        if part < _LEAST_TISSUE:
            found.append(Finding("empty", f"{_percent(part)} of the image is tissue."))
        found += _artefacts(image, shown, pixel_size)
    if staining != "blank" and is_blurred(image, shown):
        found.append(
            Finding("focus", "The image has no fine detail: it may be out of focus.")
        )
    return found


def _artefacts(
    image: np.ndarray, shown: np.ndarray | None, pixel_size: float
) -> list[Finding]:
    kinds = artefact_mask(image, pixel_size=pixel_size)
    if shown is not None:
        kinds = kinds[shown]
    parts = []
    for kind, text in ((PEN, "pen"), (FOLD, "folds"), (DIRT, "dirt")):
        part = float((kinds == kind).mean())
        if part >= _LEAST_ARTEFACT:
            parts.append(f"{text} ({_percent(part)} of the image)")
    if not parts:
        return []
    return [Finding("artefacts", f"It may show {' and '.join(parts)}.")]


def is_blurred(image: np.ndarray, shown: np.ndarray | None = None) -> bool:
    """Tell an image that lacks detail of a few pixels, though not of more.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import ndimage
    >>> from psmlearn.inspection._report_checks import is_blurred
    >>> dots = np.zeros((128, 128, 1))
    >>> dots[::8, ::8] = 1
    >>> is_blurred(ndimage.gaussian_filter(dots, (1, 1, 0)))
    False
    >>> noise = np.random.default_rng(0).random((128, 128, 1))
    >>> is_blurred(ndimage.gaussian_filter(noise, (6, 6, 0)) * 5 - 2)
    True
    """
    light = average(np.asarray(image, dtype=np.float32))
    if min(light.shape) < _LEAST_SIDE:
        return False
    if shown is not None:
        light = np.where(shown, light, light[shown].mean() if shown.any() else 0)
    fine = ndimage.gaussian_filter(light, _FOCUS_SCALE)
    coarse = fine - ndimage.gaussian_filter(light, 4 * _FOCUS_SCALE)
    detail = light - fine
    if shown is not None:
        inner = ndimage.binary_erosion(shown, iterations=8, border_value=1)
        if not inner.any():
            return False
        coarse, detail = coarse[inner], detail[inner]
    contrast = float(coarse.std())
    return contrast > _LEAST_CONTRAST and float(detail.std()) < _SHARP * contrast


def look_at_numbers(
    n_nuclei: int, areas: np.ndarray | None, staining: str | None
) -> list[Finding]:
    """Look at what was found in one image."""
    if not n_nuclei:
        why = "" if staining != "blank" else " Nothing in it is stained."
        return [Finding("nothing", f"No nucleus was found.{why}")]
    if areas is None or n_nuclei < _LEAST_NUCLEI:
        return []
    middle = float(np.nanmedian(areas))
    if _SMALLEST <= middle <= _LARGEST or math.isnan(middle):
        return []
    return [
        Finding(
            "size",
            f"The median nucleus has {middle:.3g} µm²; 15 to 150 are usual. Is the "
            "pixel size right?",
        )
    ]


def odd_stainings(stainings: Sequence[str | None]) -> dict[int, Finding]:
    """Tell images whose staining is not that of most."""
    counts = Counter(each for each in stainings if each not in (None, "blank"))
    if not counts:
        return {}
    (usual, n_usual), *_ = counts.most_common(1)
    if n_usual * 2 <= sum(counts.values()) or n_usual < 2:
        return {}
    return {
        index: Finding(
            "staining",
            f"It looks like {STAININGS[each]}; most look like {STAININGS[str(usual)]}.",
        )
        for index, each in enumerate(stainings)
        if each not in (None, "blank", usual)
    }


def odd_counts(densities: Sequence[float]) -> dict[int, Finding]:
    """Tell images with far more or fewer nuclei on a square millimetre than others."""
    values = np.asarray(densities, dtype=np.float64)
    known = np.isfinite(values) & (values > 0)
    if np.count_nonzero(known) < _LEAST_IMAGES:
        return {}
    logs = np.log(values, out=np.full(values.shape, np.nan), where=known)
    middle = float(np.median(logs[known]))
    spread = 1.4826 * float(np.median(np.abs(logs[known] - middle)))
    usual = math.exp(middle)
    found = {}
    for index in np.flatnonzero(known):
        away = abs(logs[index] - middle)
        if away > _FAR * spread and away > math.log(_FACTOR):
            found[int(index)] = Finding(
                "count",
                f"{values[index]:,.0f} nuclei on a square millimetre; {usual:,.0f} is "
                "the median of all images.",
            )
    return found


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %" if part >= 0.1 else f"{100 * part:.1f} %"
