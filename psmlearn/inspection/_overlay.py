# SPDX-License-Identifier: BSD-3-Clause
"""Outlines and colour maps as plain uint8 pictures, without matplotlib."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy import ndimage

from psmlearn._images._checks import as_float_image, as_label_image
from psmlearn._parameters import check_number, is_number, shown
from psmlearn.io._collections import as_array
from psmlearn.metrics._object_classes import one_class_each

# Widest outline in pixels; pixels that are looked at together.
_THICKEST, _STRIP_SIZE = 1000, 1 << 18
# Seven bright colours, then again: neighbours rarely share one, and each stands out
# from pink, purple, brown and blue stains.
_PALETTE = np.array(
    [
        (255, 225, 25),
        (0, 230, 118),
        (0, 229, 255),
        (255, 145, 0),
        (198, 255, 0),
        (255, 255, 255),
        (255, 82, 82),
    ],
    dtype=np.uint8,
)
# Black, violet, red, orange, pale yellow: dark to light without a turn back, so that
# it also reads in grey.
_HEAT = np.array(
    [(0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191)],
    dtype=float,
)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Return a fresh uint8 (height, width, 3) picture of an image."""
    pixels = as_array(image, "image", "expected an image")
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels.copy()
    if pixels.ndim == 3 and pixels.shape[2] > 3:
        pixels = pixels[..., :3]  # beyond are alpha, maps and labels
    pixels = as_float_image(pixels, "image")
    pixels = pixels if pixels.shape[2] == 3 else pixels[..., :1]
    scaled = np.rint(pixels * 255.0).astype(np.uint8)
    return np.repeat(scaled, 3, axis=2) if scaled.shape[2] == 1 else scaled


def _inner_edges(labels: np.ndarray, thickness: int) -> np.ndarray:
    """Pixels of objects that have another id within ``thickness`` pixels."""
    edges = np.zeros(labels.shape, dtype=bool)
    down = labels[1:] != labels[:-1]
    right = labels[:, 1:] != labels[:, :-1]
    edges[1:] |= down
    edges[:-1] |= down
    edges[:, 1:] |= right
    edges[:, :-1] |= right
    if thickness > 1:
        edges = ndimage.binary_dilation(edges, iterations=thickness - 1)
    return edges & (labels > 0)


def overlay_labels(
    image: np.ndarray,
    labels: np.ndarray,
    *,
    color: Sequence[int] | str = (255, 225, 25),
    thickness: int = 1,
    class_colors: Mapping[int, Sequence[int]] | None = None,
) -> np.ndarray:
    """Draw the outline of every object on an image.

    The time is linear in the pixels, whatever the number of objects.

    Parameters
    ----------
    image : ndarray of shape (height, width) or (height, width, n_channels)
        The image; with more than three channels the first three are shown. Values
        as everywhere: uint8, uint16, bool, or floats in [0, 1].
    labels : ndarray of shape (height, width) or (height, width, 2)
        Label image: 0 background, 1..n one id per object. Unknown pixels (-1) are
        not outlined. With classes in a second plane, ``color="classes"`` shows them:
        an object has that of most of its pixels.
    color : {"objects", "classes"} or three integers, default=(255, 225, 25)
        One colour (red, green, blue; 0 to 255) for all outlines, or one that changes
        with the object or with its class.
    thickness : int, default=1
        Width of the outline in pixels. It is drawn inside the object, so outlines of
        touching objects stay apart.
    class_colors : dict of int to three integers, default=None
        Colours of classes, in place of the palette's; sets ``color="classes"``.

    Returns
    -------
    overlay : ndarray of shape (height, width, 3), uint8
        A new picture; the image is left as it is.

    Raises
    ------
    ValueError
        If the sizes differ, or a colour or the thickness makes no sense.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.inspection import overlay_labels
    >>> image = np.zeros((5, 5), dtype=np.uint8)
    >>> labels = np.zeros((5, 5), dtype=np.int32)
    >>> labels[1:4, 1:4] = 1
    >>> overlay_labels(image, labels, color=(9, 0, 0))[..., 0]
    array([[0, 0, 0, 0, 0],
           [0, 9, 9, 9, 0],
           [0, 9, 0, 9, 0],
           [0, 9, 9, 9, 0],
           [0, 0, 0, 0, 0]], dtype=uint8)
    """
    overlay = as_rgb(image)
    labels = as_label_image(labels, "labels")
    classes = labels[..., 1] if labels.ndim == 3 else None
    ids = labels[..., 0] if labels.ndim == 3 else labels
    if ids.shape != overlay.shape[:2]:
        raise ValueError(
            f"The image is {overlay.shape[:2]} pixels (height, width) and the labels "
            f"are {ids.shape}; pass the labels of this image."
        )
    is_whole = is_number(thickness, whole=True)
    if not is_whole or not 1 <= thickness <= _THICKEST:
        raise ValueError(
            f"thickness must be an integer of at least 1, and at most {_THICKEST}, got "
            f"{shown(thickness)}."
        )
    if classes is not None:
        classes = one_class_each(ids, classes)
    if class_colors is not None:
        class_colors = check_class_colors(class_colors)
        color = "classes"
    _check_scheme(color, ids, classes)
    for rows, edges in _edges_by_strips(ids, int(thickness)):
        kinds = None if classes is None else classes[rows][edges]
        overlay[rows][edges] = _outline_colors(
            color, ids[rows][edges], kinds, class_colors or {}
        )
    return overlay


def _edges_by_strips(
    ids: np.ndarray, thickness: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield rows and their inner edges; arrays of a strip stay in the cache."""
    height, width = ids.shape
    # Rows beyond a strip count, too: a strip is much higher than they are.
    step = max(_STRIP_SIZE // width, 4 * thickness, 1)
    for top in range(0, height, step):
        first, last = max(0, top - thickness), min(height, top + step + thickness)
        edges = _inner_edges(ids[first:last], thickness)
        yield slice(top, top + step), edges[top - first :][:step]


def _check_scheme(
    color: Sequence[int] | str, ids: np.ndarray, classes: np.ndarray | None
) -> None:
    """Refuse what is neither a colour nor a scheme that these labels have."""
    if not isinstance(color, str):
        _check_color(color)
    elif color not in ("objects", "classes"):
        raise ValueError(
            f"color must be 'objects', 'classes' or three integers, got {color!r}."
        )
    elif color == "classes" and classes is None:
        raise ValueError(
            "color='classes' needs labels of shape (height, width, 2) with the class "
            f"in the second plane, got shape {ids.shape}."
        )


def _outline_colors(
    color: Sequence[int] | str,
    ids: np.ndarray,
    classes: np.ndarray | None,
    class_colors: Mapping[int, Sequence[int]],
) -> np.ndarray:
    """Return the colour of each of some pixels, or of all of them."""
    if not isinstance(color, str):
        return _check_color(color)
    if color == "objects":
        return _PALETTE[ids % len(_PALETTE)]
    kinds = np.asarray(classes)
    colors = _PALETTE[(kinds - 1) % len(_PALETTE)]
    for number, one in class_colors.items():
        colors[kinds == number] = _check_color(one)
    return colors


def class_color(
    number: int, class_colors: Mapping[int, Sequence[int]] | None = None
) -> tuple[float, float, float]:
    """Colour of a class for matplotlib, three numbers from 0 to 1."""
    own = (class_colors or {}).get(number)
    color = _PALETTE[(number - 1) % len(_PALETTE)] if own is None else _check_color(own)
    red, green, blue = (float(part) / 255 for part in color)
    return red, green, blue


def check_class_colors(
    class_colors: Mapping[int, Sequence[int]],
) -> Mapping[int, Sequence[int]]:
    """Refuse what is no dict of colours by class."""
    if not isinstance(class_colors, Mapping) or not all(
        is_number(number, whole=True) for number in class_colors
    ):
        raise TypeError(
            "class_colors must be a dict of three integers by class, such as "
            f"{{1: (255, 0, 0)}}, got {shown(class_colors)}."
        )
    for number, color in class_colors.items():
        _check_color(color, f"class_colors[{number}]")
    return class_colors


def _check_color(color: Sequence[int], name: str = "color") -> np.ndarray:
    try:
        values = np.asarray(color)
    except ValueError:  # lists of several lengths
        values = np.empty(0)
    if (
        values.shape != (3,)
        or values.dtype.kind not in "iu"
        or values.min() < 0
        or values.max() > 255
    ):
        raise ValueError(
            f"{name} must be three integers from 0 to 255, got {shown(color)}."
        )
    return values.astype(np.uint8)


def color_map(
    activation_map: np.ndarray, *, low: float = 0.0, high: float = 1.0
) -> np.ndarray:
    """Turn a map into a picture: black is low, violet, orange, pale yellow is high.

    Parameters
    ----------
    activation_map : ndarray of shape (height, width)
        The values; finite.
    low, high : float, default=0.0 and 1.0
        The values shown as the darkest and the lightest colour. They are fixed, so
        that maps of several images can be compared by eye.

    Returns
    -------
    picture : ndarray of shape (height, width, 3), uint8

    Raises
    ------
    ValueError
        If the map is not 2-D or not finite, or ``low`` is not below ``high``.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.inspection import color_map
    >>> color_map(np.array([[0.0, 1.0]]))
    array([[[  0,   0,   4],
            [252, 253, 191]]], dtype=uint8)
    """
    given = as_array(activation_map, "The map (activation_map)", "expected numbers")
    if given.dtype.kind not in "biuf":
        raise TypeError(
            f"The map (activation_map) must hold numbers, got dtype {given.dtype}."
        )
    values = given.astype(np.float32)
    if values.ndim != 2:
        raise ValueError(
            f"A map (activation_map) has shape (height, width), got {values.shape}; "
            "of a stack of image and map pass the last channel: stack[..., -1]."
        )
    for name, value in (("low", low), ("high", high)):
        check_number(value, name, -1e30, 1e30)
    if not low < high:
        raise ValueError(f"low must be below high, got {low!r} and {high!r}.")
    if not np.isfinite(values).all():
        raise ValueError(
            "The map (activation_map) holds NaN or infinite values; it must be finite."
        )
    steps = np.linspace(0, len(_HEAT) - 1, 256)
    table = np.stack(
        [np.interp(steps, np.arange(len(_HEAT)), channel) for channel in _HEAT.T],
        axis=1,
    )
    table = np.rint(table).astype(np.uint8)
    scaled = (values - low) / (high - low)
    return table[np.rint(np.clip(scaled, 0.0, 1.0) * 255.0).astype(np.uint8)]
