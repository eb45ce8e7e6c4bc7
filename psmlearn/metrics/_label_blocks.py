# SPDX-License-Identifier: BSD-3-Clause
"""Scores of label images that are read by boxes, since they are too large to hold."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from psmlearn._images._checks import describe
from psmlearn._parameters import check_number, is_number, shown
from psmlearn._typing import Labels
from psmlearn.io._limits import MAX_LABEL_PIXELS
from psmlearn.io._masks import declared_size, load_mask
from psmlearn.io._paths import as_path, is_path
from psmlearn.io._read import sniff_format
from psmlearn.io._slide import Slide
from psmlearn.metrics._checks import MaskPair, check_pairs
from psmlearn.metrics._label_overlap import KnownCentres, LabelOverlap, check_plan
from psmlearn.metrics._report import ImageCounts, count_image, score_counts

_EXPECTED = (
    "expected an array or a zarr array, a path of a tiled TIFF or a zarr, a Slide, a "
    "SlideResult, or a function read(top, left, bottom, right)"
)

_BLOCK_SIZE = 2048

Box = tuple[int, int, int, int]


class _Boxes(NamedTuple):
    """What gives boxes of one plane or pair of planes."""

    name: str
    read: Callable[..., Any]
    shape: tuple[int, int] | None
    slide: Slide | None = None

    def block(self, box: Box) -> np.ndarray:
        """Read a box, and refuse what has not its size."""
        top, left, bottom, right = box
        found = np.asarray(self.read(*box))
        if found.ndim == 3 and found.shape[2] == 1:
            found = found[..., 0]
        size = bottom - top, right - left
        if found.shape[:2] != size or found.ndim > 3:
            raise ValueError(
                f"{self.name} gave {describe(found)} for the box {box}; expected "
                f"shape {size}, or {(*size, 2)} with the classes in the second plane."
            )
        if self.slide is not None and self.slide.problems:
            raise ValueError(
                f"{self.name} is damaged: {self.slide.problems[0]}. Write it again, or "
                "score what is sound with a region."
            )
        return found


class _Images(NamedTuple):
    """The two label images, and the region, as they are read."""

    true: _Boxes
    pred: _Boxes
    region: _Boxes | None
    shape: tuple[int, int]
    step: int

    def boxes(self) -> Iterator[Box]:
        """Yield the boxes of all blocks, row by row."""
        height, width = self.shape
        for top in range(0, height, self.step):
            for left in range(0, width, self.step):
                bottom = min(top + self.step, height)
                yield top, left, bottom, min(left + self.step, width)

    def pair(self, box: Box, overlap: LabelOverlap) -> MaskPair:
        """Read a block of all, checked by what is to take it."""
        region = None
        if self.region is not None:
            region = self.region.block(box)
            if self.region.slide is not None:  # which knows no booleans
                region = region != 0
        place = f", from row {box[0]}, column {box[1]} on,"
        return overlap._pair(self.true.block(box), self.pred.block(box), region, place)


def score_label_blocks(
    y_true: Any,
    y_pred: Any,
    *,
    shape: tuple[int, int] | None = None,
    block_size: int = 2048,
    labels: Labels | None = None,
    region: Any = None,
    iou_thresholds: float | Sequence[float] = (0.5, 0.7, 0.9),
    radius: float | None = 10.0,
    binary: bool = False,
    zero_division: float = 1.0,
) -> dict[str, Any]:
    """Score a label image that is read by boxes, such as that of a whole slide.

    The scores equal those of the image in memory, to the last bit, whatever the size
    of the blocks: areas and overlaps of objects add up over blocks. Ids hold all over
    the image, as :func:`~psmlearn.slides.segment_slide` writes them.

    Parameters
    ----------
    y_true, y_pred : array, path, Slide, SlideResult or callable
        The label images, of one size: 0 is background, each id above 0 an object, -1
        unknown. What has a shape and is sliced (numpy, memmap, zarr or dask array),
        (height, width) or (height, width, 2) with the classes in the second plane; a
        path of a tiled TIFF or of a zarr, as :func:`~psmlearn.io.write_label_pyramid`
        writes them; what :func:`~psmlearn.slides.segment_slide` gives; or a function
        ``read(top, left, bottom, right)`` that returns such an array of a box.
    shape : (int, int), default=None
        Height and width; needed where both are functions.
    block_size : int, default=2048
        Side of the blocks that are read, in pixels: a multiple of the tiles' side is
        fastest.
    labels : int, sequence of int or None, default=None
        Classes to score one by one as well, from 1 on, of masks with classes.
    region : as `y_true`, default=None
        Booleans: pixels outside are not scored, objects are cut at the edge. In a
        file all but 0 is inside.
    iou_thresholds : float or sequence of float, default=(0.5, 0.7, 0.9)
        IoU above which two objects match, in [0, 1): for precision, recall, F1 and
        average precision of objects. PQ, DQ, SQ and the scores of classes keep to
        0.5.
    radius : float or None, default=10.0
        Largest distance of the centres of two objects that match, in pixels. None
        leaves out the scores of centres and the count error.
    binary : bool, default=False
        Whether objects are not told apart: boolean and 0/255 masks will do, such as
        those of tissue, and only Dice and IoU are told.
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score where there is nothing to score.

    Returns
    -------
    dict
        Numbers by their names in :func:`segmentation_report`: "n_true_objects",
        "n_pred_objects", "dice", "iou", "object_dice", "object_iou", "aji",
        "aji_plus", "pq", "dq", "sq"; for each threshold "object_f1@0.5",
        "object_precision@0.5", "object_recall@0.5" and
        "object_average_precision@0.5"; "detection_f1@10", "detection_precision@10",
        "detection_recall@10" and "count_error". With `labels` "classes", by "class 1"
        and so on a dict as in the report.

    Raises
    ------
    ValueError
        If sizes differ or are not known, if blocks are no integers, hold values below
        -1, greys, or no classes where `labels` asks for them, if a side is a 0/255
        mask or one value in many pieces, if tiles are damaged, or if a parameter has
        no known value.
    FileNotFoundError
        If there is no file of a path.
    TypeError
        If something is none of what can be read by boxes.

    See Also
    --------
    LabelOverlap : The same of blocks that come from elsewhere, in several processes.
    segmentation_report : Of images that fit in memory.

    Notes
    -----
    Memory holds a block of each image, some 10 bytes a pixel while it is looked at,
    and what :class:`LabelOverlap` holds of objects and pairs: at its peak, with all
    that scores take, some 450 bytes for each pair of objects that overlap. Of files
    decoded tiles are kept besides, up to 256 MB.

    Each block is read once; those with unknown pixels, or beyond the region, a second
    time where centres are scored, since it counts what lies at the centre. The
    Hausdorff distance asks for the pixels of objects and is not told.

    Where a mask tells no objects apart, functions of images in memory look at all of
    it. Here it is noticed by what lies within single blocks: greys in blocks of 512 x
    512 pixels on, one value in pieces that end within their block.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import score_label_blocks
    >>> true = np.zeros((3000, 3000), dtype=np.int32)
    >>> true[100:120, 1015:1035], true[50:70, 50:70] = 1, 70_000
    >>> pred = np.where(true == 1, 3, 0)
    >>> def read(top, left, bottom, right):
    ...     return pred[top:bottom, left:right]
    >>> scores = score_label_blocks(true, read, block_size=1024)
    >>> scores["aji"], scores["object_recall@0.5"], scores["n_true_objects"]
    (0.5, 0.5, 2)
    """
    check_number(block_size, "block_size", 1, whole=True, inclusive=True)
    overlap = LabelOverlap(with_classes=labels is not None, binary=binary)
    plan = check_plan(labels, iou_thresholds, radius, zero_division, overlap)
    with ExitStack() as stack:
        images = _open_images(y_true, y_pred, region, shape, int(block_size), stack)
        known = _gather(images, overlap, with_centres=plan.radius is not None)
        return overlap._score(plan, known)


def report_files(
    y_true: Sequence[str], y_pred: Sequence[str], names: list[str], radius: float
) -> dict[str, Any]:
    """Report on files one after the other; what is too large to hold goes by blocks.

    The rest is as in `segmentation_report`, which holds all of them.
    """
    counts = []
    for files in zip(y_true, y_pred, strict=True):
        sizes = [declared_size(path) or (0, 0) for path in files]
        if max(math.prod(size) for size in sizes) > MAX_LABEL_PIXELS:
            counts.append(_count_files(*files, radius))
        else:
            (pair,) = check_pairs(*files)
            counts.append(count_image(pair, radius))
    return score_counts(counts, names, np.array([0.5, 0.7, 0.9]), radius)


def _count_files(y_true: str, y_pred: str, radius: float) -> ImageCounts:
    overlap = LabelOverlap()
    with ExitStack() as stack:
        images = _open_images(y_true, y_pred, None, None, _BLOCK_SIZE, stack)
        return overlap._count(radius, _gather(images, overlap, with_centres=True))


def _open_images(
    y_true: Any, y_pred: Any, region: Any, shape: Any, step: int, stack: ExitStack
) -> _Images:
    """Find what reads each, and one size of all."""
    true, pred = _open(y_true, "y_true", stack), _open(y_pred, "y_pred", stack)
    inside = None if region is None else _open(region, "region", stack)
    sizes = [("shape", None if shape is None else _check_shape(shape))]
    sizes += [(each.name, each.shape) for each in (true, pred, inside) if each]
    known = [(name, size) for name, size in sizes if size is not None]
    if not known:
        raise ValueError(
            "Functions do not tell the size of the image: give shape=(height, width)."
        )
    for name, size in known[1:]:
        if size != known[0][1]:
            raise ValueError(
                f"{known[0][0]} is {known[0][1]} (height, width) but {name} {size}; "
                "expected one size."
            )
    return _Images(true, pred, inside, known[0][1], step)


def _check_shape(shape: Any) -> tuple[int, int]:
    sides = list(shape) if np.iterable(shape) else []
    if len(sides) != 2 or not all(is_number(n, whole=True) and n >= 1 for n in sides):
        raise ValueError(
            f"shape is {shown(shape)}; expected height and width, whole numbers of at "
            "least 1."
        )
    return int(sides[0]), int(sides[1])


def _open(source: Any, name: str, stack: ExitStack) -> _Boxes:
    """Find out how boxes of a source are read."""
    files = getattr(source, "files", None)
    if hasattr(source, "read_labels") and isinstance(files, dict):
        # A SlideResult opens its file for each box; where there is none, it tells.
        source = source.labels_path
    if is_path(source):
        source = _open_path(as_path(source), name, stack)
    if isinstance(source, Slide):
        view = source.view()
        return _Boxes(name, view.read, view.shape, source)
    shape = getattr(source, "shape", None)
    if callable(source):
        return _Boxes(name, source, None if shape is None else _check_shape(shape))
    if shape is None or not hasattr(source, "__getitem__"):
        raise TypeError(f"{name} is {shown(source)}; {_EXPECTED}.")
    if len(shape) != 2 and (len(shape) != 3 or shape[2] != 2):
        raise ValueError(
            f"{name} has shape {tuple(shape)}; expected (height, width) ids, or "
            "(height, width, 2) with the classes in the second plane."
        )

    def read(top: int, left: int, bottom: int, right: int) -> Any:
        return source[top:bottom, left:right]

    return _Boxes(name, read, _check_shape(shape[:2]))


def _open_path(path: str, name: str, stack: ExitStack) -> Slide | np.ndarray:
    """Open a TIFF or zarr to be read by boxes; what is none is decoded at once."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"{name}: there is no {path!r}.")
    if not os.path.isdir(path) and sniff_format(path) != "TIFF":
        return load_mask(path, name)
    try:
        slide = stack.enter_context(Slide(path))
    except ValueError as error:
        if math.prod(declared_size(path) or (0,)) > MAX_LABEL_PIXELS:
            raise ValueError(f"{name}: {error}") from error
        return load_mask(path, name)  # such as of two planes
    if slide.n_channels != 1:
        raise ValueError(
            f"{name}: {path!r} has {slide.n_channels} channels; expected one plane of "
            "ids. Give ids and classes of two files by a function that stacks them."
        )
    return slide


def _gather(
    images: _Images, overlap: LabelOverlap, *, with_centres: bool
) -> KnownCentres | None:
    """Take all blocks, and tell which centres count."""
    partial = []
    for number, box in enumerate(images.boxes()):
        offset = (box[0], box[1]) if with_centres else None
        if not overlap._take(images.pair(box, overlap), offset):
            partial.append((number, box))
    if not with_centres:
        return None
    places = [np.floor(overlap._points(n) + 0.5).astype(np.int64) for n in (0, 1)]
    n_across = -(-images.shape[1] // images.step)
    blocks = [(p // images.step) @ np.array([n_across, 1]) for p in places]
    orders = [np.argsort(block, kind="stable") for block in blocks]
    blocks = [block[order] for block, order in zip(blocks, orders, strict=True)]
    known = [(np.ones(len(p), bool), np.ones(len(p), bool)) for p in places]
    for number, box in partial:
        here = [
            order[slice(*np.searchsorted(block, [number, number + 1]))]
            for block, order in zip(blocks, orders, strict=True)
        ]
        if any(each.size for each in here):
            _look_up(images.pair(box, overlap), box, places, here, known)
    return known


def _look_up(
    pair: MaskPair,
    box: Box,
    places: list[np.ndarray],
    here: list[np.ndarray],
    known: KnownCentres,
) -> None:
    """Cross out the centres of a block where nothing counts."""
    for side, numbers in enumerate(here):
        rows, columns = (places[side][numbers] - box[:2]).T
        counts = (pair.true[rows, columns] != -1) & (pair.pred[rows, columns] != -1)
        if pair.region is not None:
            counts &= pair.region[rows, columns]
        known[side][0][numbers] = counts
        for classes in (pair.true_classes, pair.pred_classes):
            if classes is not None:
                counts = counts & (classes[rows, columns] != -1)
        known[side][1][numbers] = counts
