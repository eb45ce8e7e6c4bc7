# SPDX-License-Identifier: BSD-3-Clause
"""Fields to train on, drawn from the tissue of slides."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage as ndi
from sklearn.utils import Bunch, check_random_state

from psmlearn._images._checks import scale_image
from psmlearn._images._kmeans import assign, find_centers
from psmlearn._images._stains import optical_density
from psmlearn._parameters import check_number, check_pixel_size, shown
from psmlearn._typing import RandomState
from psmlearn._warnings import warn_user
from psmlearn.exceptions import NoDataWarning, PixelSizeWarning
from psmlearn.io import Slide
from psmlearn.io._paths import is_path, printable
from psmlearn.preprocessing._slide_tissue import _RIM, find_tissue, thumbnail

__all__ = ["sample_fields"]

# The part of a field that must be tissue, and what its stain is described by.
_LEAST_TISSUE = 0.5
_QUANTILES = (0.1, 0.5, 0.9)
_N_INIT = 4
_N_TOLD = 5
# Parts of a side that further grids are moved by, where one gives too few fields.
_SHIFTS = ((0.0, 0.0), (0.5, 0.5), (0.5, 0.0), (0.0, 0.5))


def sample_fields(
    slides: Any,
    *,
    n_fields: int = 30,
    field_size: int = 1000,
    pixel_size: float | None = 0.25,
    random_state: RandomState = None,
    tissue: str | Sequence[np.ndarray] | None = "auto",
) -> Bunch:
    """Draw fields to train on from the tissue of slides, spread by stain.

    ``PseudoLabelSegmenter().fit(sample_fields(slides).images)`` trains on slides. No
    label is looked at. Fields lie on a grid that is moved by chance, and show tissue in
    at least half of their pixels. K-means of the mean and the quantiles of their
    optical densities, on thumbnails, makes `n_fields` groups of like stain over all
    slides, and each group gives one: of the slide that has given the fewest so far,
    the field nearest to the middle of the group. So what is rare is drawn, too. Where
    grid and groups give too few, further fields lie between; no two overlap.

    Only the thumbnail of one slide is held at a time, and the fields that are drawn.

    Parameters
    ----------
    slides : path, Slide, array, or list of them
        What :class:`psmlearn.io.Slide` takes. Their order does not matter.
    n_fields : int, default=30
        Over all slides together.
    field_size : int, default=1000
        Side of a field in its own pixels, from 32 on; a slide that is smaller is one
        field.
    pixel_size : float or None, default=0.25
        Micrometres per pixel at which fields are read; None is full resolution, as it
        is of a slide that does not tell its own.
    random_state : int, RandomState instance or None, default=None
        An int gives the same fields each time.
    tissue : "auto", None, or list of ndarray of shape (rows, columns), default="auto"
        Where fields are drawn: "auto" finds tissue without pen, folds and black
        ground; a boolean mask of any resolution for each slide; None is everywhere.

    Returns
    -------
    Bunch
        With

        - `images`, list of ndarray of shape (height, width, n_channels), in the dtype
          of the slides; slide by slide, and row by row in each;
        - `places`, list of dict, one for each: "slide", the name; "path", str or None;
          "row" and "column" of its first pixel, in pixels of full resolution;
          "pixel_size" of the field in micrometres, None where it is not known.

    Raises
    ------
    ValueError
        If no slide has tissue for a field, the slides are named; if a slide has other
        channels than the rest; if a parameter is out of its range.
    TypeError, FileNotFoundError, ImportError
        As :class:`psmlearn.io.Slide` raises them.

    Warns
    -----
    NoDataWarning
        If there are fewer fields than asked for, or a slide has none.
    PixelSizeWarning
        If a slide does not tell its pixel size.

    See Also
    --------
    segment_slide : Find the nuclei of a whole slide.

    Examples
    --------
    >>> from psmlearn.datasets import make_nuclei
    >>> from psmlearn.slides import sample_fields
    >>> slides = list(make_nuclei(2, (300, 400), n_nuclei=150, random_state=0).images)
    >>> drawn = sample_fields(slides, n_fields=4, field_size=128, pixel_size=None,
    ...                       random_state=0, tissue=None)
    >>> [image.shape for image in drawn.images]
    [(128, 128, 3), (128, 128, 3), (128, 128, 3), (128, 128, 3)]
    >>> sorted(drawn.places[0])
    ['column', 'path', 'pixel_size', 'row', 'slide']
    """
    check_number(n_fields, "n_fields", 1, whole=True, inclusive=True)
    check_number(field_size, "field_size", 32, whole=True, inclusive=True)
    wished = None if pixel_size is None else check_pixel_size(pixel_size)
    given = _as_sources(slides)
    masks = _check_tissue(tissue, len(given))
    seed = int(check_random_state(random_state).randint(2**31))
    looks = [
        _look(source, mask, int(field_size), wished, seed)
        for source, mask in zip(given, masks, strict=True)
    ]
    # Alike whatever the order they came in.
    looks.sort(key=lambda look: look.key)
    _check_channels(looks)
    candidates = _Candidates.of(looks)
    chosen = candidates.choose(int(n_fields), seed)
    _tell(looks, candidates, chosen, int(n_fields), int(field_size))
    return _read(looks, candidates, chosen)


@dataclass(frozen=True)
class _Look:
    """What is known of a slide: where fields may lie, and what their stain is like.

    Attributes
    ----------
    key : str
        What tells it from others, wherever it lies.
    boxes : ndarray of shape (n, 4)
        In pixels of the view.
    grids : ndarray of shape (n,)
        The grid that each is of.
    stains : ndarray of shape (n, n_features), float32
    """

    source: Any
    key: str
    name: str
    n_channels: int
    wished: float | None
    boxes: np.ndarray
    grids: np.ndarray
    stains: np.ndarray


@dataclass(frozen=True)
class _Candidates:
    """The fields that may be drawn, of all slides."""

    owner: np.ndarray
    boxes: np.ndarray
    grids: np.ndarray
    stains: np.ndarray

    @classmethod
    def of(cls, looks: Sequence[_Look]) -> _Candidates:
        counts = [len(look.boxes) for look in looks]
        return cls(
            np.repeat(np.arange(len(looks)), counts),
            np.concatenate([look.boxes for look in looks]),
            np.concatenate([look.grids for look in looks]),
            np.concatenate([look.stains for look in looks]),
        )

    def choose(self, n_fields: int, seed: int) -> list[int]:
        """Return the fields that are drawn, one for each group of like stain first."""
        first = np.flatnonzero(self.grids == 0)
        if not len(self.boxes):
            return []
        if len(first) > n_fields:
            chosen = self._one_a_group(first, n_fields, seed)
        else:
            chosen = first.tolist()
        while len(chosen) < n_fields:
            free = np.flatnonzero(self._is_free(chosen))
            if not len(free):
                break
            chosen.append(self._most_different(free, chosen))
        return sorted(chosen, key=lambda i: (self.owner[i], *self.boxes[i, :2]))

    def _one_a_group(self, places: np.ndarray, n_fields: int, seed: int) -> list[int]:
        stains = self.stains[places]
        centers = find_centers(stains, n_fields, seed, n_init=_N_INIT)
        groups = assign(stains.T, centers)
        away = np.linalg.norm(stains - centers[groups], axis=1)
        counts = np.zeros(self.owner.max() + 1, np.int64)
        picked: dict[int, int] = {}
        sizes = np.bincount(groups, minlength=len(centers))
        # Small groups have the least choice of slides.
        for group in np.argsort(sizes, kind="stable"):
            members = np.flatnonzero(groups == group)
            if len(members):
                owners = self.owner[places[members]]
                order = np.lexsort((members, away[members], counts[owners]))
                picked[int(group)] = int(members[order[0]])
                counts[owners[order[0]]] += 1
        self._give_each_slide_one(picked, counts, places, groups, away)
        return places[list(picked.values())].tolist()

    def _give_each_slide_one(
        self,
        picked: dict[int, int],
        counts: np.ndarray,
        places: np.ndarray,
        groups: np.ndarray,
        away: np.ndarray,
    ) -> None:
        """Let a slide without a field take the place of one that gave several."""
        owners = self.owner[places]
        for slide in np.flatnonzero(counts == 0):
            own = np.flatnonzero(owners == slide)
            for member in own[np.argsort(away[own], kind="stable")]:
                before = picked[int(groups[member])]
                if counts[owners[before]] > 1:
                    counts[owners[before]] -= 1
                    counts[slide] += 1
                    picked[int(groups[member])] = int(member)
                    break

    def _is_free(self, chosen: Sequence[int]) -> np.ndarray:
        """Tell which fields overlap none of those that are drawn."""
        free = np.ones(len(self.boxes), bool)
        for place in chosen:
            top, left, bottom, right = self.boxes[place]
            meets = (self.boxes[:, 0] < bottom) & (self.boxes[:, 2] > top)
            meets &= (self.boxes[:, 1] < right) & (self.boxes[:, 3] > left)
            free &= ~(meets & (self.owner == self.owner[place]))
        return free

    def _most_different(self, free: np.ndarray, chosen: Sequence[int]) -> int:
        """Return the field, of a slide that gave few, whose stain is least like."""
        if not chosen:
            return int(free[0])
        given = np.bincount(self.owner[list(chosen)], minlength=self.owner.max() + 1)
        away = np.full(len(free), np.inf)
        for place in chosen:
            difference = self.stains[free] - self.stains[place]
            away = np.minimum(away, np.linalg.norm(difference, axis=1))
        # Those of the first grid first, which take no room from each other.
        later = self.grids[free] > 0
        order = np.lexsort((free, -away, given[self.owner[free]], later))
        return int(free[order[0]])


def _as_sources(slides: Any) -> list[Any]:
    if is_path(slides) or not isinstance(slides, list | tuple):
        slides = [slides]
    if not slides:
        raise ValueError("slides: the list is empty; at least one slide is required.")
    return [os.fspath(each) if is_path(each) else each for each in slides]


def _check_tissue(tissue: Any, n_slides: int) -> list[Any]:
    if tissue is None or (isinstance(tissue, str) and tissue == "auto"):
        return [tissue] * n_slides
    if isinstance(tissue, list | tuple) and len(tissue) == n_slides:
        masks = [np.asarray(mask) for mask in tissue]
        if all(m.ndim == 2 and m.dtype == bool and m.size for m in masks):
            return masks
    raise ValueError(
        "tissue must be 'auto', None, or a list with a boolean mask (rows, columns) "
        f"for each slide, {n_slides} in all; got {shown(tissue)}."
    )


@contextmanager
def _opened(source: Any) -> Iterator[Slide]:
    """Give a slide; one of the caller's stays open."""
    if isinstance(source, Slide):
        yield source
        return
    with Slide(source) as slide:
        yield slide


def _view_of(slide: Slide, wished: float | None) -> Any:
    return slide.view(None if slide.pixel_size is None else wished)


def _look(
    source: Any, tissue: Any, field_size: int, wished: float | None, seed: int
) -> _Look:
    """Look at a slide, small; its fields and their stains are listed."""
    with _opened(source) as slide:
        if slide.pixel_size is None and wished is not None:
            warn_user(
                f"slide {printable(slide.name)} does not tell its pixel size: full "
                f"resolution is taken for {wished:g} micrometres a pixel. Give the "
                "true one: Slide(path, pixel_size=...).",
                PixelSizeWarning,
            )
        view = _view_of(slide, wished)
        picture, size = thumbnail(slide)
        if picture.ndim == 2:
            picture = picture[..., np.newaxis]
        told = {k: v for k, v in slide.fingerprint().items() if k != "mtime_ns"}
        key = json.dumps([slide.name, told], sort_keys=True, default=str)
        rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
        boxes, grids = _grid(view.shape, field_size, rng)
        mask = _mask_of(slide, view.shape, tissue, picture.shape[:2], size)
        parts = _in_thumbnail(boxes, view.shape, picture.shape[:2])
        kept = np.flatnonzero(_share_of(mask, parts) >= _LEAST_TISSUE)
        density = optical_density(scale_image(picture))
        stains = [_describe(density, mask, part) for part in parts[kept]]
        n_features = slide.n_channels * (1 + len(_QUANTILES))
        return _Look(
            source,
            key,
            slide.name,
            slide.n_channels,
            wished,
            boxes[kept],
            grids[kept],
            np.array(stains, np.float32).reshape(len(kept), n_features),
        )


def _grid(
    shape: tuple[int, int], field_size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the fields of all grids, and the number of the grid of each."""
    sides = [min(field_size, side) for side in shape]
    # Moved within what is over, so that no grid has fewer fields than there is room.
    offsets = [
        int(rng.integers(whole % side + 1))
        for whole, side in zip(shape, sides, strict=True)
    ]
    boxes, grids = [], []
    for number, shift in enumerate(_SHIFTS):
        starts = []
        for whole, side, offset, part in zip(shape, sides, offsets, shift, strict=True):
            first = (offset + int(part * side)) % side
            starts.append(np.arange(first, whole - side + 1, side))
        tops, lefts = (axis.ravel() for axis in np.meshgrid(*starts, indexing="ij"))
        boxes.append(np.stack([tops, lefts, tops + sides[0], lefts + sides[1]], 1))
        grids.append(np.full(len(tops), number))
    return np.concatenate(boxes), np.concatenate(grids)


def _mask_of(
    slide: Slide,
    shape: tuple[int, int],
    tissue: Any,
    small: tuple[int, int],
    size: float,
) -> np.ndarray:
    """Return where tissue is, as large as the thumbnail, of so many micrometres."""
    if tissue is None:
        return np.ones(small, bool)
    mask = find_tissue(slide, shape).mask if isinstance(tissue, str) else tissue
    if isinstance(tissue, str) and not mask.all():
        # What is read around tissue is none.
        mask = ndi.distance_transform_edt(mask) > _RIM / size
    rows, columns = (
        np.arange(side) * cells // side
        for side, cells in zip(small, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]


def _in_thumbnail(
    boxes: np.ndarray, shape: tuple[int, int], small: tuple[int, int]
) -> np.ndarray:
    """Return where boxes of the view lie in a thumbnail; one pixel at least."""
    scale = np.array([*small, *small]) / np.array([*shape, *shape])
    parts = np.floor(boxes * scale).astype(np.int64)
    most = np.array(small)
    parts[:, :2] = np.minimum(parts[:, :2], most - 1)
    parts[:, 2:] = np.clip(parts[:, 2:], parts[:, :2] + 1, most)
    return parts


def _share_of(mask: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return the share of each box that is tissue."""
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    sums[1:, 1:] = mask.cumsum(0, dtype=np.int64).cumsum(1)
    top, left, bottom, right = parts.T
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left]
    return (inside + sums[top, left]) / ((bottom - top) * (right - left))


def _describe(density: np.ndarray, mask: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return mean and quantiles of the densities of the tissue in a box."""
    top, left, bottom, right = part
    values = density[top:bottom, left:right][mask[top:bottom, left:right]]
    quantiles = np.quantile(values, _QUANTILES, axis=0)
    return np.concatenate([values.mean(axis=0), quantiles.ravel()])


def _check_channels(looks: Sequence[_Look]) -> None:
    for look in looks[1:]:
        if look.n_channels != looks[0].n_channels:
            raise ValueError(
                f"slide {printable(look.name)} has {look.n_channels} channel(s), and "
                f"{printable(looks[0].name)} has {looks[0].n_channels}; all slides "
                "must have as many."
            )


def _tell(
    looks: Sequence[_Look],
    candidates: _Candidates,
    chosen: Sequence[int],
    n_fields: int,
    field_size: int,
) -> None:
    """Say which slides give nothing, and where there is too little."""
    size = f"{field_size} x {field_size} pixels, half of them tissue"
    bare = [look.name for look in looks if not len(look.boxes)]
    if not chosen:
        raise ValueError(
            f"No slide has tissue for a field of {size}: {_first(bare)}. Give a "
            "smaller field_size to sample_fields, or tissue=None to draw everywhere."
        )
    if bare:
        warn_user(
            f"{len(bare)} of {len(looks)} slide(s) have no tissue for a field of "
            f"{size}: {_first(bare)}",
            NoDataWarning,
        )
    if len(chosen) < n_fields:
        warn_user(
            f"there is tissue for {len(chosen)} of {n_fields} fields of {size}",
            NoDataWarning,
        )


def _first(names: Sequence[str]) -> str:
    more = len(names) - _N_TOLD
    told = ", ".join(map(printable, names[:_N_TOLD]))
    return told + (f" and {more} more" if more > 0 else "")


def _read(
    looks: Sequence[_Look], candidates: _Candidates, chosen: Sequence[int]
) -> Bunch:
    """Read the fields that are drawn, slide by slide."""
    images: list[np.ndarray] = []
    places: list[dict[str, Any]] = []
    for number, look in enumerate(looks):
        own = [place for place in chosen if candidates.owner[place] == number]
        if not own:
            continue
        with _opened(look.source) as slide:
            view = _view_of(slide, look.wished)
            for place in own:
                box = candidates.boxes[place].tolist()
                images.append(view.read(*box))
                places.append(
                    {
                        "slide": slide.name,
                        "path": slide.path,
                        "row": round(box[0] * view.downsample),
                        "column": round(box[1] * view.downsample),
                        "pixel_size": view.pixel_size,
                    }
                )
    return Bunch(images=images, places=places)
