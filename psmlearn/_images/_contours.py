# SPDX-License-Identifier: BSD-3-Clause
"""Objects from closed contours: for each nucleus a level of its own.

The sets above falling levels are nested, so that their pieces form a tree. Each piece
is judged by its outline; the best pieces that do not overlap are the objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage as ndi

from psmlearn._images._ellipses import fit_ellipses, moment_sums
from psmlearn._images._instances import relabel, remove_small
from psmlearn._images._lengths import within_image
from psmlearn._images._prominence import (
    SIDES,
    Neighbourhood,
    inner_edge,
    measure_objects,
    ring_reach,
)
from psmlearn._images._sizes import (
    NUCLEUS_DIAMETER,
    ONE_STAIN_TOO_WIDE,
    halved,
    nuclear_zoom,
)
from psmlearn._images._splitting import grow_from_peaks

__all__ = [
    "ComponentTree",
    "ContourObjects",
    "component_tree",
    "contour_objects",
    "find_diameter",
]

# All below was chosen on the 15 odd-numbered training images of MoNuSeg.
# Levels go up by one part each, from pale counterstain to nearly black.
_LOWEST, _HIGHEST, _N_LEVELS = 0.05, 1.4, 48
# In typical diameters: radius of the opening.
_OPENING = 0.2
# In squares of the typical diameter.
_SMALLEST, _LARGEST, _LARGEST_HOLE = 0.15, 6.25, 2.25
# A gradient as steep as outlines are, in root mean squares of the neighbourhood.
_STEEP = 1.4
_STEEPEST = 2.0
_ELLIPSE_POWER = 4
_LEAST_QUALITY = 0.3
# A piece of which this part lies in nuclear clusters is fully supported.
_SUPPORT = 0.5
# Parts of the neighbourhood's means that an object's area, contrast and gradient reach.
_LEAST_AREA, _LEAST_CONTRAST, _LEAST_GRADIENT = 0.15, 0.45, 0.4
# An inner boundary counts fewer pixels than the outline's length.
_PIXELS_PER_LENGTH = 1.1
_N_BINS, _BINS_PER_STEEP = 12, 8
# Objects of fewer pixels across are not looked at, at half the resolution.
_SMALLEST_TO_HALVE = 8.0


@dataclass(frozen=True)
class ComponentTree:
    """Pieces of the sets ``levels >= t``, for all t from the highest down to 1.

    Attributes
    ----------
    node : ndarray of shape (n_pixels,), int32
        The smallest piece that holds a pixel; -1 where the level is 0.
    parent : ndarray of shape (n_nodes,), int64
        The piece of the next lower level that holds a piece; -1 at level 1. A
        parent's number is above its children's.
    level : ndarray of shape (n_nodes,), int64
    """

    node: np.ndarray
    parent: np.ndarray
    level: np.ndarray

    @cached_property
    def floors(self) -> list[slice]:
        """Nodes of each level, from the highest level down."""
        cuts = np.flatnonzero(np.diff(self.level)) + 1
        bounds = [0, *cuts.tolist(), len(self.level)]
        return [slice(*pair) for pair in zip(bounds[:-1], bounds[1:], strict=True)]

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Add to each node's values, (n_nodes, n), those of all nodes within it."""
        total = np.array(values, np.float64)
        for floor, below in zip(self.floors[:-1], self.floors[1:], strict=True):
            place = self.parent[floor] - below.start
            n_below = below.stop - below.start
            for k in range(total.shape[1]):
                total[below, k] += np.bincount(place, total[floor, k], n_below)
        return total

    def choose(self, values: np.ndarray) -> np.ndarray:
        """Choose nodes that do not overlap, of the greatest sum of values above 0.

        Returns
        -------
        owner : ndarray of shape (n_nodes,), int64
            The chosen node that holds a node, or -1.
        """
        inner = np.zeros(len(values))  # the best that lies within
        for floor, below in zip(self.floors[:-1], self.floors[1:], strict=True):
            best = np.maximum(np.maximum(values[floor], inner[floor]), 0)
            place = self.parent[floor] - below.start
            inner[below] = np.bincount(place, best, below.stop - below.start)
        taken = (values > 0) & (values >= inner)
        owner = np.where(taken, np.arange(len(values)), -1)
        for floor in self.floors[-2::-1]:
            above = owner[self.parent[floor]]
            owner[floor] = np.where(above >= 0, above, owner[floor])
        return owner


@dataclass(frozen=True)
class ContourObjects:
    """What `contour_objects` finds.

    Attributes
    ----------
    labels : ndarray of shape (height, width), int32
        Objects 1..n.
    confidence : ndarray of shape (n,), float64
        Quality of their outlines, in the order of ids, from 0.3 (just taken) to
        2 (an ellipse, twice as steep as the neighbourhood's outlines).
    contrast : ndarray of shape (n,), float64
        Mean height above that of the ring around each.
    """

    labels: np.ndarray
    confidence: np.ndarray
    contrast: np.ndarray


def component_tree(levels: np.ndarray) -> ComponentTree:
    """Build the tree of the pieces (4 neighbours) of all sets ``levels >= t``.

    Parameters
    ----------
    levels : ndarray of shape (height, width), uint8

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._contours import component_tree
    >>> tree = component_tree(np.array([[1, 2, 1, 2, 0]], np.uint8))
    >>> tree.node.tolist(), tree.parent.tolist(), tree.level.tolist()
    ([2, 0, 2, 1, -1], [2, 2, -1], [2, 2, 1])
    """
    flat = levels.ravel()
    order = np.argsort(flat, kind="stable")
    ends = np.cumsum(np.bincount(flat, minlength=256))
    node = np.full(flat.size, -1, np.int32)
    found = np.empty(levels.shape, np.int32)
    pieces = found.ravel()
    parents, heights, first = [], [], 0
    inner = np.empty(0, np.int64)  # a pixel of each piece of the level above
    for level in range(int(flat.max(initial=0)), 0, -1):
        # Bytes are labelled a little faster than bools.
        n_pieces = ndi.label((levels >= level).view(np.uint8), output=found)
        own = order[ends[level - 1] : ends[level]]
        node[own] = pieces[own] + (first - 1)
        holds = pieces[inner]
        parents.append(holds + (first - 1))
        pixel = np.empty(n_pieces + 1, np.int64)
        pixel[pieces[own]] = own
        pixel[holds] = inner
        inner = pixel[1:]
        heights.append(np.full(n_pieces, level))
        first += n_pieces
    parents.append(np.full(len(inner), -1))
    level_of = np.concatenate(heights) if heights else np.empty(0, np.int64)
    return ComponentTree(node, np.concatenate(parents).astype(np.int64), level_of)


def fill_pits(levels: np.ndarray, max_area: float) -> np.ndarray:
    """Raise pits of up to `max_area` pixels to their rim; the image's border has none.

    Each set ``levels >= t`` has its holes up to that area filled.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._contours import fill_pits
    >>> ring = np.array([[0, 3, 2, 0], [3, 1, 2, 0], [0, 3, 3, 0]], np.uint8)
    >>> fill_pits(ring, 1).tolist()
    [[0, 3, 2, 0], [3, 2, 2, 0], [0, 3, 3, 0]]
    """
    top = int(levels.max(initial=0)) + 1
    tree = component_tree((top - levels).astype(np.uint8))
    n_nodes = len(tree.parent)
    at_border = np.zeros(levels.shape, bool)
    at_border[[0, -1]] = at_border[:, [0, -1]] = True
    counts = [
        np.bincount(tree.node, minlength=n_nodes),
        np.bincount(tree.node[at_border.ravel()], minlength=n_nodes),
    ]
    area, n_border = tree.sums(np.column_stack(counts)).T
    height = np.where((area > max_area) | (n_border > 0), tree.level, 0)
    for floor in tree.floors[-2::-1]:
        height[floor] = np.where(
            height[floor] > 0, height[floor], height[tree.parent[floor]]
        )
    return (top - height[tree.node]).astype(np.uint8).reshape(levels.shape)


def open_levels(levels: np.ndarray, radius: int) -> np.ndarray:
    """Opening by a diamond, which the image's border does not cut."""
    for extreme in (np.minimum, np.maximum):
        for _ in range(radius):
            before, levels = levels, levels.copy()
            for here, there in SIDES:
                extreme(levels[here], before[there], out=levels[here])
    return levels


# Places of pixels, and of their neighbours below, above, right and left.


def contour_objects(
    height: np.ndarray,
    *,
    diameter: float,
    smoothing: float = 0.5,
    support: np.ndarray | None = None,
    min_contrast: float = 0.0,
) -> ContourObjects:
    """Find objects by the contours of a height that are closed, even and steep.

    What is even and steep is judged by the neighbourhood, of three running means of 15
    typical diameters: no value of the whole image is used.

    Parameters
    ----------
    height : ndarray of shape (height, width), float32
        High in objects; contours are drawn from 0.05 to 1.4.
    diameter : float
        Typical diameter of an object in pixels.
    smoothing : float, default=0.5
        Deviation of a Gaussian that smooths the height, in pixels.
    support : ndarray of shape (height, width), bool, default=None
        Where objects may be: of what is an object at least half must be there, else
        it counts for less.
    min_contrast : float, default=0.0
        Objects that exceed the ring around them by less are dropped.

    Returns
    -------
    ContourObjects

    Notes
    -----
    The quality of a contour is (area over that of the ellipse of the same moments)^4 x
    mean gradient on the outline, by the neighbourhood's, at most 2 x perimeter of the
    ellipse over its own x share of the outline where the gradient is above half of its
    mean. The set of pieces of greatest (quality - 0.3) x area is taken, objects small,
    faint or soft beside their neighbours are dropped, and others split by distance.
    """
    diameter = within_image(diameter, height.shape)
    smoothing = within_image(smoothing, height.shape)
    smooth = ndi.gaussian_filter(height, smoothing) if smoothing > 0 else height
    gradient = ndi.gaussian_gradient_magnitude(height, max(smoothing, 0.5))
    around = Neighbourhood(height.shape, diameter)
    # Running means of nothing may end below 0.
    steep = _STEEP * np.sqrt(np.maximum(around.mean(gradient**2), 0))
    relative = gradient / np.maximum(steep, 1e-6)
    levels = np.digitize(smooth, np.geomspace(_LOWEST, _HIGHEST, _N_LEVELS))
    levels = fill_pits(levels.astype(np.uint8), _LARGEST_HOLE * diameter**2)
    levels = open_levels(levels, round(_OPENING * diameter))
    tree = component_tree(levels)
    if not len(tree.parent):
        nothing = np.empty(0)
        return ContourObjects(np.zeros(height.shape, np.int32), nothing, nothing)
    area, quality = _judge(tree, levels, relative, support)
    values = (quality - _LEAST_QUALITY) * area
    fits = (area >= _SMALLEST * diameter**2) & (area <= _LARGEST * diameter**2)
    owner = tree.choose(np.where(fits, values, -1))
    ids = np.zeros(len(owner), np.int32)
    chosen = np.unique(owner[owner >= 0])
    ids[chosen] = np.arange(1, len(chosen) + 1)
    labels = np.append(np.where(owner >= 0, ids[owner], 0), 0)[tree.node]
    labels = labels.reshape(height.shape).astype(np.int32)
    reach = ring_reach(diameter)
    kept, contrast = _stand_out(labels, height, gradient, around, reach, min_contrast)
    labels = np.where(kept[labels], labels, 0)
    parts = _split(labels, diameter)
    whole = np.zeros(parts.max(initial=0) + 1, np.int64)
    whole[parts] = labels
    whole = whole[1:] - 1
    return ContourObjects(parts, quality[chosen][whole], contrast[whole])


def find_diameter(
    height: np.ndarray,
    *,
    diameter: float,
    smoothing: float = 0.5,
    support: np.ndarray | None = None,
    min_contrast: float = 0.0,
) -> float:
    """Tell the typical diameter of objects by a first look, at half the resolution.

    Parameters
    ----------
    diameter : float
        What is expected, in pixels: the answer is within 1.6 times that, and it is the
        answer where there are too few objects to tell. The others are those of
        :func:`contour_objects`.
    """
    if min(height.shape) < 2 or diameter < _SMALLEST_TO_HALVE:
        return diameter
    if support is not None:
        support = halved(support.astype(np.float32)) > 0.5
    found = contour_objects(
        halved(height),
        diameter=diameter / 2,
        smoothing=smoothing / 2,
        support=support,
        min_contrast=min_contrast,
    ).labels
    # At this pixel size what is expected is the usual nucleus.
    step = 2 * NUCLEUS_DIAMETER / diameter
    return diameter * nuclear_zoom(found, step, too_wide=ONE_STAIN_TOO_WIDE)


def _judge(
    tree: ComponentTree,
    levels: np.ndarray,
    relative: np.ndarray,
    support: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return area and quality of every piece."""
    n_nodes = len(tree.parent)
    places = np.flatnonzero(tree.node >= 0)
    node = tree.node[places]
    rows, columns = (side.astype(float) for side in np.divmod(places, levels.shape[1]))
    parts = moment_sums(node, rows, columns, n_nodes)
    if support is not None:
        parts.append(np.bincount(node, support.ravel()[places], n_nodes))
    outline = _outline_sums(tree, levels, relative)
    total = tree.sums(np.column_stack([*parts, outline]))
    area = total[:, 0]
    fill, perimeter = fit_ellipses(*total[:, :6].T)
    n_outline = np.maximum(total[:, -_N_BINS - 2], 1)
    steepness = total[:, -_N_BINS - 1] / n_outline
    roundness = perimeter / (_PIXELS_PER_LENGTH * n_outline)
    quality = np.clip(fill, 0, 1) ** _ELLIPSE_POWER
    quality *= np.minimum(steepness, _STEEPEST) * np.clip(roundness, 0, 1)
    quality *= 1 - _share_below(total[:, -_N_BINS:], steepness / 2) / n_outline
    if support is not None:
        quality *= np.clip(total[:, 6] / area / _SUPPORT, 0, 1)
    return area, quality


def _outline_sums(
    tree: ComponentTree, levels: np.ndarray, relative: np.ndarray
) -> np.ndarray:
    """Return, by node, what adds up to number, sum and histogram of outlines.

    A pixel is on the outline of the pieces that hold it and not its lowest neighbour:
    it is added at its own node, and taken away where that neighbour's begins.
    """
    lowest = levels.copy()
    for here, there in SIDES:
        np.minimum(lowest[here], levels[there], out=lowest[here])
    places = np.flatnonzero((lowest < levels).ravel())
    rows, columns = np.divmod(places, levels.shape[1])
    least = lowest.ravel()[places]
    neighbour = np.zeros_like(places)
    for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        row = np.clip(rows + down, 0, levels.shape[0] - 1)
        column = np.clip(columns + right, 0, levels.shape[1] - 1)
        is_lowest = levels[row, column] == least
        neighbour[is_lowest] = (row * levels.shape[1] + column)[is_lowest]
    value = relative.ravel()[places].astype(float)
    place = np.minimum((value * _BINS_PER_STEEP).astype(np.int64), _N_BINS - 1)
    n_nodes = len(tree.parent)
    sums = np.zeros((n_nodes, 2 + _N_BINS))
    for node, sign in ((tree.node[places], 1), (tree.node[neighbour], -1)):
        is_piece = node >= 0
        inside, bins = node[is_piece].astype(np.int64), place[is_piece]
        sums[:, 0] += sign * np.bincount(inside, minlength=n_nodes)
        sums[:, 1] += sign * np.bincount(inside, value[is_piece], n_nodes)
        counts = np.bincount(inside * _N_BINS + bins, minlength=n_nodes * _N_BINS)
        sums[:, 2:] += sign * counts.reshape(n_nodes, _N_BINS)
    return sums


def _share_below(histogram: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Return how many values are below a limit each, interpolating within bins."""
    until = np.cumsum(histogram, axis=1)
    place = np.clip(limit * _BINS_PER_STEEP, 0, _N_BINS - 1e-9)
    index = place.astype(int)
    each = np.arange(len(until))
    own = histogram[each, index]
    return until[each, index] - own + own * (place - index)


def _stand_out(
    labels: np.ndarray,
    height: np.ndarray,
    gradient: np.ndarray,
    around: Neighbourhood,
    reach: int,
    min_contrast: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Tell which ids stand out (0 does not), and each object's contrast."""
    if not labels.any():
        return np.zeros(1, bool), np.empty(0)
    found = measure_objects(labels, height, gradient, reach)
    area, contrast, slope = found.area, found.contrast, found.slope
    usual = found.usual(around)
    kept = area >= _LEAST_AREA * usual[0]
    kept &= contrast >= np.maximum(_LEAST_CONTRAST * usual[1], min_contrast)
    kept &= slope >= _LEAST_GRADIENT * usual[2]
    return np.append(False, kept), contrast


def _split(labels: np.ndarray, diameter: float) -> np.ndarray:
    """Split objects of two, each by the distance to its own outline."""
    inside = labels > 0
    if not inside.any():
        return labels
    distance = ndi.distance_transform_edt(inside & ~inner_edge(labels))
    distance = ndi.gaussian_filter(distance.astype(np.float32) + 1, diameter / 20)
    regions = grow_from_peaks(distance, inside, dip=0.1, least=0.5, diameter=diameter)
    pairs = labels.astype(np.int64) * (int(regions.max()) + 1) + regions
    found = np.unique(pairs[inside], return_inverse=True)[1]
    out = np.zeros(labels.shape, np.int32)
    out[inside] = found + 1
    return relabel(remove_small(out, _SMALLEST / 2 * diameter**2))
