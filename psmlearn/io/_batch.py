# SPDX-License-Identifier: BSD-3-Clause
"""Checked images, decoded and scaled on demand: what estimators work on."""

from __future__ import annotations

import operator
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np

from psmlearn._images._checks import (
    UNIT_RANGE,
    drop_alpha,
    is_own_range,
    kind_problem,
    scale_image,
    value_problem,
)
from psmlearn._parameters import is_number
from psmlearn._typing import Image, Images
from psmlearn.io._collections import prefix, raise_problems
from psmlearn.io._inputs import ImageProblems, as_items, check_item
from psmlearn.io._masks import check_masks
from psmlearn.io._paths import as_path
from psmlearn.io._pixel_size import resolve_pixel_size
from psmlearn.io._read import decode_image

__all__ = [
    "FileCache",
    "ImageBatch",
    "check_image",
    "check_images",
    "check_masks",
    "resolve_pixel_size",
]

_CACHE_BYTES = 1 << 30
_LARGEST = float(np.finfo(np.float32).max)


class FileCache:
    """Decoded files, the least recently used ones dropped beyond a size.

    Threads may share it; a pickled cache arrives empty.
    """

    def __init__(self, max_bytes: int = _CACHE_BYTES) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._arrays: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str) -> np.ndarray | None:
        """Return the decoded file, or None where it is not held."""
        with self._lock:
            array = self._arrays.get(path)
            if array is not None:
                self._arrays.move_to_end(path)
            return array

    def put(self, path: str, array: np.ndarray) -> None:
        """Hold a decoded file, if it fits at all."""
        with self._lock:
            if path in self._arrays or array.nbytes > self.max_bytes:
                return
            self._arrays[path] = array
            self.n_bytes += array.nbytes
            while self.n_bytes > self.max_bytes:
                _, oldest = self._arrays.popitem(last=False)
                self.n_bytes -= oldest.nbytes

    def __reduce__(self):
        return FileCache, (self.max_bytes,)


class PackedMask:
    """A boolean mask of eight pixels a byte."""

    def __init__(self, mask: np.ndarray) -> None:
        self.shape = mask.shape
        self._bits = np.packbits(mask)
        self.is_empty = not self._bits.any()

    def unpack(self) -> np.ndarray:
        """Return the mask, (height, width) bool."""
        n_pixels = self.shape[0] * self.shape[1]
        bits = np.unpackbits(self._bits, count=n_pixels)
        return bits.astype(bool).reshape(self.shape)


class ImageBatch(Sequence):
    """Images that have passed `check_images`; `batch[i]` is a float32 array.

    Where an image shows nothing (transparent, not stored, or black padding; see
    `shown`) it comes white, as empty glass; one that shows nothing at all comes as it
    is.

    Arrays are kept as references and converted when asked for; files are
    decoded when asked for, and kept in their own dtype in a bounded cache.
    Reading from several threads is safe. A pickled batch carries the arrays
    and paths, not the cache.

    A batch is taken wherever images are, and keeps in mind what was checked:
    nothing is decoded or looked at again, unless more is asked for than before.

    Attributes
    ----------
    names : list of str
        "image 3" or "image 3 (path)", for messages.
    paths : list of (str or None)
        The file of each image, None for arrays.
    shapes : list of tuple (height, width)
    n_channels : int
    container : {"array", "list"}
        What the images came in, and what `wrap` makes of results.
    value_range : tuple of two floats or None
        Range that values were checked for, and are scaled from; None is any.
    label_channel : int, sequence of int or None
    lost_alpha : bool
        Whether a fourth channel of arrays was taken for alpha, and dropped.
    """

    def __init__(
        self,
        items: list[np.ndarray | str],
        *,
        names: list[str],
        shapes: list[tuple[int, int]],
        n_channels: int,
        container: str = "list",
        value_range: tuple[float, float] | None = (0.0, 1.0),
        label_channel: int | Sequence[int] | None = None,
        cache: FileCache | None = None,
        lost_alpha: bool = False,
        shown: list[PackedMask | None] | None = None,
    ) -> None:
        self._items = items
        self._shown: list[PackedMask | None] = [None] * len(items)
        if shown is not None:
            self._shown = shown
        self._cache = FileCache() if cache is None else cache
        self.names = names
        self.shapes = shapes
        self.n_channels = n_channels
        self.container = container
        self.value_range = value_range
        self.label_channel = label_channel
        self.lost_alpha = lost_alpha

    @property
    def paths(self) -> list[str | None]:
        return [item if isinstance(item, str) else None for item in self._items]

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> ImageBatch: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | ImageBatch:
        if isinstance(index, slice):
            return self.subset(range(len(self))[index])
        return self._scaled(self.stored(index))

    def _scaled(self, array: np.ndarray) -> np.ndarray:
        """Convert what is stored, or a part of it, to float32."""
        return scale_image(array, self.label_channel, self.value_range)

    def __repr__(self) -> str:
        return (
            f"ImageBatch(n_images={len(self)}, n_channels={self.n_channels}, "
            f"container={self.container!r})"
        )

    def shown(self, index: int) -> np.ndarray | None:
        """Return where image `index` shows something, bool (height, width).

        None where it does everywhere.
        """
        mask = self._shown[operator.index(index)]
        return None if mask is None else mask.unpack()

    def shows_nothing(self, index: int) -> bool:
        """Tell whether image `index` is empty all over."""
        mask = self._shown[operator.index(index)]
        return mask is not None and mask.is_empty

    def stored(self, index: int) -> np.ndarray:
        """Return image `index` in its own dtype, (height, width, channels).

        A read-only view, without alpha; nothing is converted, but where nothing is
        shown it is white.
        """
        array = self._as_came(index)
        shown = None if self.shows_nothing(index) else self.shown(index)
        return array if shown is None else self._painted(array, shown)

    def _painted(self, array: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """Return a copy with white where nothing is shown; a map is 0 there."""
        labels = self.label_channels()
        lights = [i for i in range(self.n_channels) if i not in labels]
        has_map = len(lights) in (2, 4)
        white = self._white(array.dtype)
        array = array.copy()
        for place, channel in enumerate(lights):
            is_map = has_map and place == len(lights) - 1
            array[..., channel][~shown] = 0 if is_map else white
        array.flags.writeable = False
        return array

    def _white(self, dtype: np.dtype) -> float:
        if is_own_range(self.value_range):
            return self.value_range[1]
        return np.iinfo(dtype).max if dtype.kind in "iu" else 1

    def _as_came(self, index: int) -> np.ndarray:
        """Return image `index` as `stored` does, whatever a subclass makes of it."""
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of a batch of {len(self)}")
        item = self._items[index]
        if isinstance(item, str):
            return self._load(index, item)
        return _as_stored(item, self.label_channel)

    def crop(
        self, index: int, top: int, left: int, height: int, width: int
    ) -> np.ndarray:
        """Return a part of image `index` as float32, converting only that part."""
        box = np.s_[top : top + height, left : left + width]
        part = self._as_came(index)[box]
        shown = None if self.shows_nothing(index) else self.shown(index)
        if shown is not None and not shown[box].all():
            part = self._painted(part, shown[box])
        return self._scaled(part)

    def _load(self, index: int, path: str) -> np.ndarray:
        """Decode a file, or take it from the cache."""
        array = self._cache.get(path)
        if array is not None:
            return array
        array = _as_stored(decode_image(path).array, self.label_channel)
        expected = (*self.shapes[index], self.n_channels)
        if array.shape != expected:
            raise ValueError(
                f"{self.names[index]} has changed on disk: its shape is "
                f"{array.shape} and was {expected} when it was checked."
            )
        self._cache.put(path, array)
        return array

    def subset(self, indices: Iterable[int]) -> ImageBatch:
        """Return the images at `indices`; arrays and cache are shared."""
        chosen = [operator.index(i) for i in indices]
        return ImageBatch(
            [self._items[i] for i in chosen],
            shown=[self._shown[i] for i in chosen],
            names=[self.names[i] for i in chosen],
            shapes=[self.shapes[i] for i in chosen],
            n_channels=self.n_channels,
            container=self.container,
            value_range=self.value_range,
            label_channel=self.label_channel,
            cache=self._cache,
            lost_alpha=self.lost_alpha,
        )

    def checked_for(
        self,
        value_range: tuple[float, float] | None,
        label_channel: int | Sequence[int] | None,
    ) -> ImageBatch:
        """Return the same images, noted down as checked for other demands."""
        return ImageBatch(
            self._items,
            shown=self._shown,
            names=self.names,
            shapes=self.shapes,
            n_channels=self.n_channels,
            container=self.container,
            value_range=value_range,
            label_channel=label_channel,
            cache=self._cache,
            lost_alpha=self.lost_alpha,
        )

    def _demands(self) -> tuple:
        """Tell what was checked: the range of floats, and what channels hold labels."""
        return self.value_range, self.label_channels()

    def label_channels(self) -> list[int]:
        """List the channels that hold labels, counted from 0."""
        return _label_channels(self.label_channel, self.n_channels)

    def wrap(self, arrays: Iterable[np.ndarray]) -> np.ndarray | list[np.ndarray]:
        """Put one array per image into the container the images came in."""
        results = list(arrays)
        if self.container == "array" and len({a.shape for a in results}) == 1:
            return np.stack(results)
        return results


def check_range(
    value_range: tuple[float, float] | None, caller: str = ""
) -> tuple[float, float] | None:
    """Return a range of values as two floats, or None, or say what is wrong.

    Raises
    ------
    ValueError
        If it is neither None nor two finite numbers, of which the first is lower.
    """
    if value_range is None:
        return None
    low, high = np.nan, np.nan
    given = value_range.tolist() if isinstance(value_range, np.ndarray) else value_range
    if isinstance(given, tuple | list) and len(given) == 2:
        if all(is_number(each) for each in given):
            low, high = (float(each) for each in given)
    if not -_LARGEST < low < high < _LARGEST:
        raise ValueError(
            f"{prefix(caller)}value_range={value_range!r}: the values of black and "
            "white are expected, such as (0, 1) or (0, 4095), or None for images of "
            "any finite values."
        )
    return low, high


def _as_stored(
    array: np.ndarray, label_channel: int | Sequence[int] | None
) -> np.ndarray:
    """Return a read-only view with a channel axis and without alpha."""
    array = drop_alpha(array, label_channel)[0]
    view = array[..., np.newaxis] if array.ndim == 2 else array[...]
    view.flags.writeable = False
    return view


def _label_channels(
    label_channel: int | Sequence[int] | None, n_channels: int
) -> list[int]:
    if label_channel is None:
        return []
    return [int(i) % n_channels for i in np.atleast_1d(label_channel)]


def check_images(
    X: Images | ImageBatch,
    *,
    caller: str = "",
    n_channels: int | None = None,
    value_range: tuple[float, float] | None = (0.0, 1.0),
    label_channel: int | Sequence[int] | None = None,
    cache_bytes: int = _CACHE_BYTES,
) -> ImageBatch:
    """Check every image and return them as an `ImageBatch`.

    Each file is decoded once, here, and every array is looked at, so that no
    work starts on bad images; all problems are told in one error. A batch that was
    checked for as much already comes back as it is.

    Parameters
    ----------
    X : ndarray of shape (n_images, height, width, channels), list or ImageBatch
        A list holds arrays (height, width[, channels]) or paths; a 1-D array of
        paths is taken too. uint8, uint16 and bool are scaled to [0, 1]; floats
        must be finite and within `value_range`. The alpha of RGBA images
        (files, or uint8 and uint16 arrays of four channels) is dropped, with a
        warning where it is not opaque. What is transparent, was not stored (missing
        tiles), or is black where a brightfield image was not scanned, is left out:
        see `ImageBatch.shown`.
    caller : str, default=""
        Name put before errors, such as the estimator's.
    n_channels : int or None, default=None
        Number of channels expected; None takes what the first image has.
    value_range : tuple of two floats or None, default=(0.0, 1.0)
        Range of floats; None takes any finite value, and integers of all kinds. Any
        other range, such as (0, 4095) for 12 bits in uint16, holds for integers as
        well, and is scaled to [0, 1]; a batch so checked is what to hand to
        estimators and measures.
    label_channel : int, sequence of int or None, default=None
        Channels that hold labels: neither scaled nor held to the range.
    cache_bytes : int, default=1073741824
        Size in bytes up to which decoded files are kept.

    Returns
    -------
    ImageBatch

    Raises
    ------
    TypeError
        If `X` is no array or list: a single path, a tensor, a sparse matrix.
    ValueError
        If there is no image, or any image is bad: the first five are named.

    Warns
    -----
    NoDataWarning
        If parts of images are left out.
    ValueRangeWarning
        If an image is so dark for its type that its white may be another one.
    OrientationWarning
        If a file says that it is to be turned.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.io import check_images
    >>> batch = check_images([np.zeros((8, 9, 3), dtype=np.uint8)])
    >>> len(batch), batch.shapes, batch[0].dtype
    (1, [(8, 9)], dtype('float32'))
    >>> check_images(batch) is batch
    True
    """
    if isinstance(X, ImageBatch):
        return _check_again(X, caller, n_channels, value_range, label_channel)
    value_range = check_range(value_range, caller)
    cache = FileCache(cache_bytes)
    items, container = as_items(X, caller, any_range=value_range != UNIT_RANGE)
    found = ImageProblems(n_channels)
    names: list[str] = []
    shapes: list[tuple[int, int]] = []
    shown: list[PackedMask | None] = []
    for index, item in enumerate(items):
        is_file = isinstance(item, str)
        names.append(f"image {index} ({item})" if is_file else f"image {index}")
        checked = check_item(
            item,
            names[-1],
            found,
            value_range=value_range,
            label_channel=label_channel,
        )
        if checked is None:
            continue
        array = checked.array
        shown.append(None if checked.shown is None else PackedMask(checked.shown))
        shapes.append((array.shape[0], array.shape[1]))
        if is_file:
            cache.put(item, _as_stored(array, label_channel))
        else:
            items[index] = array
    raise_problems(found.problems, "image", len(items), caller)
    found.warn(len(items), caller)
    return ImageBatch(
        items,
        shown=shown,
        names=names,
        shapes=shapes,
        n_channels=found.n_channels or 0,
        container=container,
        value_range=value_range,
        label_channel=label_channel,
        cache=cache,
        lost_alpha=found.lost_alpha,
    )


def check_image(
    image: Image,
    *,
    name: str = "image",
    n_channels: int | None = None,
    value_range: tuple[float, float] | None = (0.0, 1.0),
    label_channel: int | Sequence[int] | None = None,
) -> np.ndarray:
    """Check one image, given as an array or a path, and convert it.

    Parameters
    ----------
    image : ndarray of shape (height, width[, channels]), path or ImageBatch of one
        As an image of :func:`check_images`.
    name : str, default="image"
        What to call it in errors.
    n_channels, value_range, label_channel
        As in :func:`check_images`.

    Returns
    -------
    ndarray of shape (height, width, channels), dtype float32
        Fresh, in [0, 1] unless `value_range` is None.

    Raises
    ------
    ValueError
        If it is no image, or there is no such file.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.io import check_image
    >>> check_image(np.full((1, 2), 255, dtype=np.uint8)).tolist()
    [[[1.0], [1.0]]]
    """
    batch = check_one_image(
        image,
        name=name,
        n_channels=n_channels,
        value_range=value_range,
        label_channel=label_channel,
    )
    return batch[0]


def check_one_image(
    image: Image | ImageBatch,
    *,
    name: str = "image",
    n_channels: int | None = None,
    value_range: tuple[float, float] | None = UNIT_RANGE,
    label_channel: int | Sequence[int] | None = None,
) -> ImageBatch:
    """Check one image as `check_image` does; return it as a batch of one."""
    if isinstance(image, ImageBatch):
        if len(image) != 1:
            raise ValueError(
                f"{name}: a batch of {len(image)} images came, and one is expected: "
                "use batch[i : i + 1]."
            )
        return _check_again(image, "", n_channels, value_range, label_channel)
    value_range = check_range(value_range, "")
    found = ImageProblems(n_channels)
    item: np.ndarray | str
    if isinstance(image, str | os.PathLike):
        item = as_path(image)
        name = f"{name} ({item})"
    else:
        item = image
    checked = check_item(
        item, name, found, value_range=value_range, label_channel=label_channel
    )
    raise_problems(found.problems, "image", 1, "")
    found.warn(1, "")
    if checked is None:
        raise AssertionError("a bad image has raised")
    array = _as_stored(checked.array, label_channel)
    return ImageBatch(
        [checked.array],
        names=[name],
        shapes=[(array.shape[0], array.shape[1])],
        n_channels=array.shape[2],
        value_range=value_range,
        label_channel=label_channel,
        lost_alpha=found.lost_alpha,
        shown=[None if checked.shown is None else PackedMask(checked.shown)],
    )


def _check_again(
    batch: ImageBatch,
    caller: str,
    n_channels: int | None,
    value_range: tuple[float, float] | None,
    label_channel: int | Sequence[int] | None,
) -> ImageBatch:
    """Check of a batch only what was not checked before; nothing is decoded twice."""
    found = ImageProblems(n_channels)
    for name in batch.names:
        found.note_channels(batch.n_channels, name)
    raise_problems(found.problems, "image", len(batch), caller)
    labels = _label_channels(label_channel, batch.n_channels)
    if labels and batch.lost_alpha:
        raise ValueError(
            f"{prefix(caller)}the fourth channel of these images was dropped as alpha "
            "when they were checked, and label_channel="
            f"{label_channel} is asked for now; check_images(X, label_channel=...) "
            "keeps it."
        )
    value_range = check_range(value_range, caller)
    old_range, old_labels = batch._demands()
    same = labels == old_labels
    if is_own_range(old_range) and value_range == UNIT_RANGE:
        value_range = old_range  # from there it is scaled to [0, 1]
    if same and value_range == batch.value_range:
        return batch
    if not (same and value_range in (None, old_range)):
        for index, name in enumerate(batch.names):
            array = batch._as_came(index)
            problem = kind_problem(array, any_range=value_range != UNIT_RANGE)
            if problem is None:
                problem = value_problem(
                    array, value_range=value_range, label_channel=label_channel
                )
            if problem is not None:
                found.problems.append(f"{name}: {problem}")
        raise_problems(found.problems, "image", len(batch), caller)
    return batch.checked_for(value_range, label_channel)
