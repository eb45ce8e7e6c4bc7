# SPDX-License-Identifier: BSD-3-Clause
"""Tell greys, lossy masks and class images from label images and numbered regions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# The first look takes bands of rows, of about so many pixels in all.
_BAND, _LOOKED_AT = 64, 1 << 18
# More pieces to an id, or more runs that follow on other ids, lead to a second look.
_MANY_PIECES, _MANY_TOUCHING = 1.3, 0.5
# Of fewer pixels, nothing is said: objects are as small as edges there.
_FEWEST_PIXELS = 256
# A piece below this part of the largest of its id is a speck.
_SPECKS = 0.1
# An id of pieces that reach so many times as far as its largest piece, or of so many
# pieces, is no object, however its lobes lie.
_FAR, _MANY = 4, 5
# Of edges of greys: how many of the values, and of the pixels beside them.
_MOST_RIMS, _FEWEST_RIMS, _FEWEST_DOUBTED, _BODY = 0.8, 8, 4, 0.5


class _Ids(NamedTuple):
    """What is told of each id, in rising order of ids."""

    values: np.ndarray
    areas: np.ndarray
    n_pieces: np.ndarray
    scattered: np.ndarray
    rims: np.ndarray


def greys_problem(ids: np.ndarray, doubts: list[str] | None = None) -> str | None:
    """Say why a plane of several values holds greys or classes, and no ids.

    Ids are connected, but for those that others or the border cut; classes lie
    scattered, and so do greys along the edges of a mask that was resized or compressed.

    Parameters
    ----------
    ids : ndarray of shape (height, width), integer
    doubts : list of str or None, default=None
        Takes what is likely only.

    Returns
    -------
    str or None
    """
    if ids.size < _FEWEST_PIXELS or not _looks_odd(ids):
        return None
    found = _describe(ids)
    n_ids = len(found.values)
    if n_ids < 2:
        return None
    n_pieces = int(found.n_pieces.sum())
    n_scattered = int(found.n_pieces[found.scattered].sum())
    holds = f"holds {n_ids} values in {n_pieces} separate pieces"
    advice = (
        "as classes and the greys of resized or JPEG masks do; expected one id for "
        "each object, as skimage.measure.label(mask > 127) gives for a grey mask, or "
        "label(mask) for classes"
    )
    if n_scattered >= 4 and n_scattered > n_pieces / 2:
        return f"{holds}, {advice}"
    n_rims = int(found.rims.sum())
    body = found.areas[~found.rims].sum() >= _BODY * found.areas.sum()
    most = n_rims >= _MOST_RIMS * n_ids
    rims = f"holds {n_ids} values, {n_rims} of them as thin edges of others"
    if most and n_rims >= _FEWEST_RIMS and body:
        return f"{rims}, {advice}"
    if doubts is None:
        return None
    n_several = int((found.n_pieces > 1).sum())
    if n_several > n_ids / 2 and n_several >= 2:
        doubts.append(f"{holds}, {advice}")
    elif n_rims > n_ids / 2 and n_rims >= _FEWEST_DOUBTED and body:
        doubts.append(f"{rims}, {advice}")
    return None


def region_greys_problem(region: np.ndarray) -> str | None:
    """Say why a plane of several values holds greys, and no numbered regions.

    A region may have several parts, but it is more than the edge of another.
    """
    if region.size < _FEWEST_PIXELS or not _looks_odd(region):
        return None
    found = _describe(region)
    n_rims = int(found.rims.sum())
    if n_rims < 2 or n_rims < len(found.values) / 2:
        return None
    return (
        f"holds {len(found.values)} values besides 0, {n_rims} of them as thin edges "
        "of others, as greys and masks that were resized or went through JPEG do; "
        "expected a boolean mask (region > 127, say), or whole numbers: 0 outside, "
        "1..n regions"
    )


def _looks_odd(ids: np.ndarray) -> bool:
    """Take a first look, at a part of a large plane, which most sound ones pass."""
    height, width = ids.shape
    n_bands = max(1, _LOOKED_AT // (_BAND * width))
    if n_bands * _BAND < height:
        tops = np.linspace(0, height - _BAND, n_bands + 2).astype(int)[1:-1]
        gap = np.zeros((1, width), ids.dtype)
        ids = np.concatenate([p for t in tops for p in (ids[t : t + _BAND], gap)])
    inside = ids > 0
    across = ids[:, 1:] == ids[:, :-1]
    starts = inside.copy()
    starts[:, 1:] &= ~across
    n_starts = np.count_nonzero(starts)
    if not n_starts:
        return False
    n_touching = np.count_nonzero(starts[:, 1:] & inside[:, :-1])
    if n_touching > _MANY_TOUCHING * n_starts:
        return True
    # Pieces less holes, by Euler's formula: pixels, pairs and squares of one value.
    down = (ids[1:] == ids[:-1]) & inside[1:]
    across &= inside[:, 1:]
    n_squares = np.count_nonzero(down[:, 1:] & down[:, :-1] & across[1:] & across[:-1])
    n_pairs = np.count_nonzero(across) + np.count_nonzero(down)
    n_pieces = np.count_nonzero(inside) - n_pairs + n_squares
    return bool(n_pieces > _MANY_PIECES * len(np.unique(ids[starts])))


def _describe(ids: np.ndarray) -> _Ids:
    """Measure the pieces of each id, and whether it is but an edge of others."""
    from skimage.measure import label  # imported by few masks only

    inside = np.where(ids > 0, ids, 0)
    pieces = label(inside, background=0, connectivity=2)
    areas = np.bincount(pieces.ravel())[1:]
    low, high = _boxes(pieces, len(areas))
    owners = np.zeros(len(areas) + 1, inside.dtype)
    owners[pieces.ravel()] = inside.ravel()
    values, places = np.unique(owners[1:], return_inverse=True)
    largest = _most(areas, places, len(values))
    sides = (high - low).max(axis=1)
    # What the border or unknown pixels may have cut is one piece.
    open_ends = (low == 0).any(axis=1) | (high == ids.shape).any(axis=1)
    if ids.dtype.kind == "i" and (ids < 0).any():
        open_ends |= (
            np.bincount(pieces[_beside(ids < 0)], minlength=len(owners))[1:] > 0
        )
    whole = (areas > _SPECKS * largest[places]) & ~open_ends
    n_pieces = np.bincount(places[whole], minlength=len(values))
    n_pieces = n_pieces + (
        np.bincount(places[~whole & open_ends], minlength=len(values)) > 0
    )
    piece = _most(
        np.where(areas > _SPECKS * largest[places], sides, 0), places, len(values)
    )
    top = -_most(np.where(whole[:, None], -low, -(2**40)), places, len(values))
    end = _most(np.where(whole[:, None], high, 0), places, len(values))
    reach = (end - top).max(axis=1)
    scattered = (n_pieces > 1) & ((n_pieces >= _MANY) | (reach >= _FAR * piece))
    return _Ids(
        values,
        np.bincount(places, areas, len(values)).astype(np.int64),
        np.maximum(n_pieces, 1),
        scattered,
        _are_rims(inside, values),
    )


def _boxes(pieces: np.ndarray, n_pieces: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first row and column of each piece, and those after the last."""
    low = np.zeros((n_pieces + 1, 2), np.int64)
    high = np.zeros((n_pieces + 1, 2), np.int64)
    for axis, lines in enumerate((pieces, pieces.T)):
        flat = lines.ravel()
        places = np.repeat(np.arange(len(lines)), lines.shape[1])
        high[flat, axis] = places + 1  # the last one stays
        low[flat[::-1], axis] = places[::-1]
    return low[1:], high[1:]


def _most(numbers: np.ndarray, places: np.ndarray, n_places: int) -> np.ndarray:
    """Return the largest number of each place."""
    most = np.full((n_places, *numbers.shape[1:]), np.iinfo(np.int64).min)
    np.maximum.at(most, places, numbers)
    return most


def _beside(mask: np.ndarray) -> np.ndarray:
    """Return the 8 neighbours of a mask, and itself."""
    tall = mask.copy()
    tall[1:] |= mask[:-1]
    tall[:-1] |= mask[1:]
    wide = tall.copy()
    wide[:, 1:] |= tall[:, :-1]
    wide[:, :-1] |= tall[:, 1:]
    return wide


def _are_rims(inside: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Tell values that fill no square of 3 x 3 and touch others, as edges do."""
    padded = np.pad(inside, 1, mode="edge")
    middle = padded[1:-1, 1:-1]
    height, width = inside.shape
    filled = inside > 0
    touching = np.zeros(inside.shape, dtype=bool)
    for row in range(3):
        for column in range(3):
            other = padded[row : row + height, column : column + width]
            same = other == middle
            filled &= same
            touching |= ~same & (other > 0)
    touching &= inside > 0
    return ~np.isin(values, inside[filled]) & np.isin(values, inside[touching])
