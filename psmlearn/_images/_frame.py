# SPDX-License-Identifier: BSD-3-Clause
"""Black that is no tissue: padding, unscanned strips, missing tiles, dark corners."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from psmlearn._images._tissue import highest, lowest

# Parts of full light. Where nothing was scanned is darker than _BLACK, and beside it
# lies tissue or glass, brighter than _BRIGHT: saturated DAB is as black, but its rim is
# dark. Of black borders of 14 scans 0.77 of what lies beside is bright and more; of
# black nuclei at the border of 14 fields 0.32 and less.
_BLACK = 0.04
_BRIGHT = 0.25
_LEAST_BRIGHT = 0.55
_BESIDE = (2, 3)
_LEAST_RUN = 8
_LONG_RUN = 0.25  # of the shorter side
# Of blocks: they fill a rectangle.
_LEAST_BLOCK = 256
_SOLID = 0.9
# A black border's rows and columns are darker than this, but for this part of their
# pixels: nuclei are not, side by side along a whole edge.
_DARK = 0.15
_STRAY = 0.05
# What is blurred or compressed ends softly: so many pixels of dark belong to it.
_SOFT = 3
# The rest is brightfield: pale somewhere, and not dark in the middle.
_PALEST = 0.3
_MIDDLE = 0.4
# Where the rest has no colour, nearly all of the black must be without noise, so much
# of the border be shown, within whole rows and columns of black, and so much of what
# is shown be one piece.
_NO_LIGHT = 0.008
# Whatever the colours, black that holds most of the border must be as even as this.
_EVEN = 0.006
_LEAST_AIR = 0.1
_LEAST_BORDER = 0.5
_LARGEST_PIECE = 0.5
_GREY = 0.03


def shown_mask(
    image: np.ndarray,
    limits: tuple[float, float] | None = None,
    *,
    only_colours: bool = False,
) -> np.ndarray | None:
    """Tell what a brightfield image shows from black where nothing was scanned.

    Black that touches the border, or is a solid block, counts as not scanned if what
    lies beside it is bright; and so does an image that is black all over.

    Parameters
    ----------
    image : ndarray of shape (height, width[, n_channels])
        Of any dtype of real numbers. Of more than three channels the first three are
        looked at, of two the first.
    limits : tuple of two floats, default=None
        The values of no and of full light; None is 0, and the largest integer of the
        dtype, or 1.

    only_colours : bool, default=False
        Whether an image without colours, or black all over, is shown whole.

    Returns
    -------
    shown : ndarray of shape (height, width), bool, or None
        False where nothing is shown; None where all of the image is shown, and where
        a dark ground may be fluorescence's or a scan's.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._frame import shown_mask
    >>> image = np.full((40, 60, 3), 200, np.uint8)
    >>> shown_mask(image) is None
    True
    >>> image[:, :9] = 0
    >>> int((~shown_mask(image)).sum())
    360
    """
    colours = _colours(np.asarray(image))
    dark, full = _limits(colours, limits)
    high = highest(colours)
    span = full - dark
    limit = dark + _DARK * span
    if (high <= dark + _BLACK * span).all():
        # Nothing is there, whatever the image is of; but for one that is not even.
        is_empty = high.max() <= dark and not only_colours
        return np.zeros(high.shape, bool) if is_empty else None
    box = _inner_box(high, limit)
    empty = np.ones(high.shape, bool)
    empty[box] = False
    inner = high[box]
    for level in _levels_of_black(inner, dark, span):
        # Without a grey level first: saturated nuclei may lie beside.
        for width in (0.0, _BLACK) if level == dark else (_BLACK,):
            black = np.abs(inner.astype(np.float32) - level) <= width * span
            empty[box] |= _beside_bright(inner, black, dark, full)
    if not empty.any():
        return None
    empty = _softened(empty, high, dark + _DARK * (full - dark))
    if not _is_brightfield(colours, high, empty, dark, full):
        return None
    if _is_air(high, empty, span):
        return None
    # Without colour light on a dark ground looks alike; but a scan lies amid its air,
    # which has noise, and objects that shine are many.
    if _has_no_colour(colours, high, empty, dark, full) and (
        only_colours
        or np.quantile(high[empty], 1 - _STRAY) > dark + _NO_LIGHT * (full - dark)
        or _border(empty[box]).mean() > 1 - _LEAST_BORDER
        or _is_scattered(~empty)
    ):
        return None
    return ~empty


def is_black(image: np.ndarray) -> bool:
    """Tell whether a float image is black all over, but for stray pixels."""
    return bool(np.quantile(highest(image), 1 - _STRAY) < _DARK)


def _colours(image: np.ndarray) -> np.ndarray:
    """Return the channels of light: without alpha, a map or ids."""
    if image.ndim == 2:
        return image[..., np.newaxis]
    return image[..., :3] if image.shape[2] >= 3 else image[..., :1]


def _limits(
    colours: np.ndarray, limits: tuple[float, float] | None
) -> tuple[float, float]:
    if limits is not None:
        return limits
    if colours.dtype.kind in "iu":
        return 0.0, float(np.iinfo(colours.dtype).max)
    return 0.0, 1.0


def _border(mask: np.ndarray) -> np.ndarray:
    """Return the values along the four sides."""
    return np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])


def _levels_of_black(high: np.ndarray, dark: float, span: float) -> list[float]:
    """List the greys that padding may have: no light, and the commonest dark ones."""
    step = max(1, int(np.sqrt(_LEAST_BLOCK)) // 4)
    levels: list[float] = []
    for values in (_border(high), high[::step, ::step].ravel()):
        values = values[values <= dark + _DARK * span]
        if values.size < _LEAST_RUN:
            continue
        bins = np.linspace(dark, dark + _DARK * span, 17)
        most = int(np.argmax(np.histogram(values, bins)[0]))
        level = float((bins[most] + bins[most + 1]) / 2)
        if level <= dark + _BLACK * span:
            level = float(dark)
        levels.append(level)
    return sorted(set(levels))


def _inner_box(high: np.ndarray, limit: float) -> tuple[slice, slice]:
    """Return the rows and columns that are left within whole dark ones."""
    sides = (high[0], high[-1], high[:, 0], high[:, -1])
    if not any(np.quantile(side, 1 - _STRAY) < limit for side in sides):
        return np.s_[:, :]
    rows, columns = (
        _between(np.quantile(high, 1 - _STRAY, axis=axis) < limit) for axis in (1, 0)
    )
    return rows, columns


def _between(is_dark: np.ndarray) -> slice:
    """Cut what is dark at both ends of a side."""
    if is_dark.all():
        return slice(0, len(is_dark))
    return slice(int(np.argmin(is_dark)), len(is_dark) - int(np.argmin(is_dark[::-1])))


def _beside_bright(
    high: np.ndarray, black: np.ndarray, dark: float, full: float
) -> np.ndarray:
    """Find black parts at the border, and solid blocks, beside which it is bright."""
    parts, n_parts = ndimage.label(black)
    areas = np.bincount(parts.ravel(), minlength=n_parts + 1)
    runs = np.bincount(_border(parts), minlength=n_parts + 1)
    sides = [
        np.unique(side) for side in (parts[0], parts[-1], parts[:, 0], parts[:, -1])
    ]
    n_sides = np.bincount(np.concatenate(sides), minlength=n_parts + 1)
    # A nucleus at the border touches it shortly, and one side alone.
    reaches = (runs >= min(_LEAST_RUN, *high.shape)) & (
        (n_sides > 1) | (runs >= _LONG_RUN * min(high.shape))
    )
    empty = np.zeros(high.shape, bool)
    boxes = ndimage.find_objects(parts)
    looked_at = np.flatnonzero(reaches | (areas >= _LEAST_BLOCK))
    for number in looked_at[looked_at > 0]:
        box = boxes[number - 1]
        size = np.prod([cut.stop - cut.start for cut in box])
        if reaches[number] or areas[number] >= _SOLID * size:
            _add_if_bright(empty, parts, int(number), box, high, dark, full)
    return empty


def _add_if_bright(
    empty: np.ndarray,
    parts: np.ndarray,
    number: int,
    box: tuple[slice, ...],
    high: np.ndarray,
    dark: float,
    full: float,
) -> None:
    """Mark a part as empty if most of what lies a little beside it is bright."""
    near, far = _BESIDE
    around = tuple(slice(max(cut.start - far, 0), cut.stop + far) for cut in box)
    inside = parts[around] == number
    grown = ndimage.binary_dilation(inside, np.ones((3, 3)), iterations=near - 1)
    beside = ndimage.binary_dilation(grown, np.ones((3, 3)), iterations=far - near + 1)
    beside &= ~grown
    if not beside.any():
        return
    if (high[around][beside] > dark + _BRIGHT * (full - dark)).mean() > _LEAST_BRIGHT:
        empty[around] |= inside


def _softened(empty: np.ndarray, high: np.ndarray, limit: float) -> np.ndarray:
    """Add the dark pixels beside, of soft ends, and specks of noise within."""
    size = 2 * _SOFT + 1
    near = ndimage.maximum_filter(empty, size)
    return empty | (near & (high < limit))


def _is_brightfield(
    colours: np.ndarray, high: np.ndarray, empty: np.ndarray, dark: float, full: float
) -> bool:
    """Tell whether the rest is of a slide in full light."""
    shown = ~empty
    if not shown.any():
        return False
    span = full - dark
    rest = high[shown]
    low = lowest(colours)[shown]
    if np.median(rest) < dark + _MIDDLE * span:
        return False
    return bool(np.percentile(low, 98) >= dark + _PALEST * span)


def _has_no_colour(
    colours: np.ndarray, high: np.ndarray, empty: np.ndarray, dark: float, full: float
) -> bool:
    """Tell whether what is neither dark nor glaring is grey."""
    span = full - dark
    middle = ~empty & (high > dark + 0.2 * span) & (high < dark + 0.9 * span)
    if not middle.any():
        return True
    spread = high[middle].astype(float) - lowest(colours)[middle]
    return bool(np.percentile(spread, 90) <= _GREY * span)


def _is_air(high: np.ndarray, empty: np.ndarray, span: float) -> bool:
    """Tell black with noise that holds most of the border: a scan lies amid its air."""
    if _border(empty).mean() <= 1 - _LEAST_BORDER or empty.mean() < _LEAST_AIR:
        return False
    values = high[empty].astype(np.float32)
    return bool(np.quantile(np.abs(values - np.median(values)), 0.9) > _EVEN * span)


def _is_scattered(shown: np.ndarray) -> bool:
    """Tell whether no piece is most of what is shown."""
    pieces, _ = ndimage.label(shown)
    areas = np.bincount(pieces.ravel())[1:]
    return bool(areas.max() <= _LARGEST_PIECE * areas.sum())
