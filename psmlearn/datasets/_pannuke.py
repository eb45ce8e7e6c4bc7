# SPDX-License-Identifier: BSD-3-Clause
"""The PanNuke data set, as it is downloaded."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from psmlearn.datasets._folders import (
    find_root,
    is_regular,
    list_folders,
    report_missing,
)
from psmlearn.datasets._lost import Lost
from psmlearn.datasets._parameters import show

_FOLDS = (1, 2, 3)
_CLASSES = {
    1: "neoplastic",
    2: "inflammatory",
    3: "connective",
    4: "dead",
    5: "epithelial",
}
_MAX_ID = (1 << 24) - 1
_PARTS = {"images": "images", "types": "images", "masks": "masks"}
_DESCR = """PanNuke: nuclei of 19 tissues
=============================

7901 H&E images of 256 x 256 pixels at 40x (0.25 micrometres per pixel) in three
folds (2656, 2523 and 2722 images), with about 190,000 nuclei of five types,
labelled semi-automatically. The set does not tell which images share a patient:
`groups` is None. Its folds are the published splits: `folds` tells them, and
sklearn.model_selection.PredefinedSplit(folds) splits by them.
Licence: CC BY-NC-SA 4.0.

J. Gamper et al., "PanNuke: An Open Pan-Cancer Histology Dataset for Nuclei
Instance Segmentation and Classification", ECDP 2019.
J. Gamper et al., "PanNuke Dataset Extension, Insights and Baselines",
arXiv:2003.10778, 2020.
"""


@dataclass
class _Fold:
    """The arrays of one fold, as they lie on the disk, not yet read."""

    number: int
    paths: dict[str, str]
    images: np.memmap
    masks: np.memmap
    types: np.ndarray


def load_pannuke(
    folder: str | os.PathLike, *, folds: int | Sequence[int] = (1, 2, 3)
) -> Bunch:
    """Load folds of PanNuke from the folder they were downloaded to.

    The layout is that of the download, `Fold 1/images/fold1/images.npy` (and
    `types.npy`) and `Fold 1/masks/fold1/masks.npy`; "fold_1" and "Fold1" are
    found as well, and folders unpacked into one another. The files are read
    image by image, never as a whole: the result takes 0.7 megabytes an image,
    5.6 gigabytes for all folds. Nothing is downloaded.

    Parameters
    ----------
    folder : str or os.PathLike
        Holds the folds, or nothing but the folder that does.
    folds : int or sequence of int from {1, 2, 3}, default=(1, 2, 3)
        The folds to load, in this order.

    Returns
    -------
    Bunch
        With `images`, uint8 of shape (n_images, height, width, 3); `masks`,
        int32 of shape (n_images, height, width, 2): ids 1..n, and the class of
        each nucleus; `target_names`, the names of classes 1 to 5 (1 neoplastic,
        2 inflammatory, 3 connective, 4 dead, 5 epithelial); `folds`, an int
        array (n_images,); `tissues`, a str array (n_images,); `groups`, None;
        `names`, a list of str ("fold1_0"); `pixel_size`, in micrometres;
        `DESCR`.

    Raises
    ------
    FileNotFoundError
        If files are missing; the first are named.
    TypeError, ValueError
        If `folds` is none of the above, or a file is broken, or holds arrays of
        other shapes or values than the set's; the file is named.

    Notes
    -----
    The files hold ids per class, which repeat from class to class; here each
    nucleus of an image has an id of its own. Where nuclei of two classes
    overlap, the class of the higher number is seen; nuclei that are wholly covered
    are told by an `AnnotationWarning`.

    References
    ----------
    J. Gamper et al., "PanNuke: An Open Pan-Cancer Histology Dataset for Nuclei
    Instance Segmentation and Classification", European Congress on Digital
    Pathology, 2019.

    Examples
    --------
    >>> from psmlearn.datasets import load_pannuke
    >>> data = load_pannuke("PanNuke", folds=1)  # doctest: +SKIP
    >>> data.images.shape, data.tissues[0]  # doctest: +SKIP
    ((2656, 256, 256, 3), 'Breast')
    """
    chosen = _check_folds(folds)
    root = find_root(folder, _is_root)
    parts = [_open_fold(fold, paths) for fold, paths in _find_files(root, chosen)]
    sizes = {part.images.shape[1:3] for part in parts}
    if len(sizes) > 1:
        raise ValueError(f"The folds in {str(root)!r} differ in image size: {sizes}.")
    n_images = sum(len(part.images) for part in parts)
    size = sizes.pop()
    images = np.empty((n_images, *size, 3), dtype=np.uint8)
    masks = np.empty((n_images, *size, 2), dtype=np.int32)
    names: list[str] = []
    lost = Lost()
    for part in parts:
        for index in range(len(part.images)):
            images[len(names)] = _as_uint8(part, index)
            masks[len(names)] = _merge_classes(part, index, lost)
            names.append(f"fold{part.number}_{index}")
    lost.tell()
    return Bunch(
        images=images,
        masks=masks,
        target_names=list(_CLASSES.values()),
        folds=np.repeat(chosen, [len(part.images) for part in parts]),
        tissues=np.concatenate([part.types for part in parts]),
        groups=None,
        names=names,
        pixel_size=0.25,
        DESCR=_DESCR,
    )


def _check_folds(folds: int | Sequence[int]) -> list[int]:
    """Return the folds as a list of different numbers."""
    chosen: list[Any] = [folds]
    if isinstance(folds, Sequence | np.ndarray) and np.ndim(folds):
        chosen = list(folds)
    good = all(
        isinstance(fold, Integral) and not isinstance(fold, bool) and fold in _FOLDS
        for fold in chosen
    )
    if not good or not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"folds is {show(folds)}; expected one or several of {_FOLDS}, each once."
        )
    return [int(fold) for fold in chosen]


def _is_root(place: Path) -> bool:
    """Tell whether a folder is one of a fold, or holds some."""
    known = {*(f"fold{fold}" for fold in _FOLDS), *_PARTS.values()}
    return any(_plain(path.name) in known for path in (place, *list_folders(place)))


def _find_files(root: Path, folds: list[int]) -> list[tuple[int, dict[str, str]]]:
    """Return the paths of the three files of each fold, or say which are missing."""
    found, missing = [], []
    for fold in folds:
        paths = {}
        for name, part in _PARTS.items():
            path = _find_file(root, fold, part, f"{name}.npy")
            if path is None:
                missing.append(f"Fold {fold}/{part}/fold{fold}/{name}.npy")
            else:
                paths[name] = str(path)
        found.append((fold, paths))
    report_missing(
        root,
        missing,
        "'Fold 1/images/fold1/images.npy', 'Fold 1/images/fold1/types.npy' and "
        "'Fold 1/masks/fold1/masks.npy', and so for each fold asked for",
    )
    return found


def _find_file(root: Path, fold: int, part: str, name: str) -> Path | None:
    """Find a file below folders of the fold's and the part's names."""
    wanted = f"fold{fold}"
    place, is_fold = root, _plain(root.name) == wanted
    for step in (wanted, wanted, part, wanted):
        below = _descend(place, step)
        if below is not None:
            place = below
            is_fold = is_fold or step == wanted
    path = place / name
    # A file that no folder says to be of this fold may be of another.
    return path if is_fold and is_regular(path) else None


def _descend(folder: Path, name: str) -> Path | None:
    for path in list_folders(folder):
        if _plain(path.name) == name:
            return path
    return None


def _plain(name: str) -> str:
    """Write "Fold 1", "fold_1" and "Fold-1" alike."""
    return name.lower().translate({ord(sign): None for sign in " _-"})


def _open_fold(number: int, paths: dict[str, str]) -> _Fold:
    """Map the arrays of a fold, and check what their headers say."""
    arrays = {name: _open(path) for name, path in paths.items()}
    images, masks, types = (arrays[name] for name in ("images", "masks", "types"))
    for name, n_channels in (("images", 3), ("masks", 6)):
        array = arrays[name]
        if (
            array.ndim != 4
            or array.shape[3] != n_channels
            or 0 in array.shape
            or array.dtype.kind not in "iuf"
        ):
            raise ValueError(
                f"{paths[name]!r} holds {array.dtype} of shape {array.shape}; expected "
                f"numbers of shape (n_images, 256, 256, {n_channels})."
            )
    if masks.shape[:3] != images.shape[:3]:
        raise ValueError(
            f"{paths['masks']!r} holds {masks.shape[:3]} (n_images, height, width), "
            f"but {paths['images']!r} holds {images.shape[:3]}."
        )
    if types.shape != images.shape[:1] or types.dtype.kind not in "US":
        raise ValueError(
            f"{paths['types']!r} holds {types.dtype} of shape {types.shape}; expected "
            f"one text for each of the {len(images)} images."
        )
    return _Fold(number, paths, images, masks, np.array(types).astype(str))


def _open(path: str) -> np.memmap:
    """Map an array from a file, without reading it."""
    try:
        return np.lib.format.open_memmap(path, mode="r")  # never unpickles
    except Exception as error:  # a broken header raises many kinds of errors
        raise ValueError(f"{path!r} is a broken .npy file: {error}.") from error


def _as_uint8(fold: _Fold, index: int) -> np.ndarray:
    """Read one image; the files hold 0 to 255, mostly as floats."""
    where = f"{fold.paths['images']!r}: image {index}"
    stored = _read(fold.images, index)
    _check_range(stored, 255, where)
    if stored.max() <= 1 and (stored % 1).any():
        raise ValueError(f"{where} is scaled to [0, 1]; expected 0 to 255.")
    return np.rint(stored).astype(np.uint8)


def _check_range(stored: np.ndarray, most: int, where: str) -> None:
    # Not a number compares as false.
    if not (stored.min() >= 0 and stored.max() <= most):
        raise ValueError(
            f"{where} holds values from {stored.min()} to {stored.max()}; expected 0 "
            f"to {most}."
        )


def _merge_classes(fold: _Fold, index: int, lost: Lost) -> np.ndarray:
    """Turn the ids per class of one image into ids 1..n and a plane of classes."""
    where = f"{fold.paths['masks']!r}: image {index}"
    stored = _read(fold.masks, index)[..., : len(_CLASSES)]  # without background
    stored = np.ascontiguousarray(np.moveaxis(stored, -1, 0))
    _check_range(stored, _MAX_ID, where)
    planes = stored.astype(np.int32)
    if (planes != stored).any():
        raise ValueError(f"{where} holds ids that are not whole numbers.")
    codes = np.zeros(planes.shape[1:], dtype=np.int32)
    for label, plane in zip(_CLASSES, planes, strict=True):
        # Each class has a range of ids to itself.
        np.copyto(codes, plane + label * (_MAX_ID + 1), where=plane > 0)
    if (np.count_nonzero(planes, axis=0) > 1).any():
        _note_covered(planes, codes, lost, where)
    classes = codes // (_MAX_ID + 1)
    inside = codes > 0
    codes[inside] = np.unique(codes[inside], return_inverse=True)[1] + 1
    return np.stack([codes, classes], axis=-1)


def _note_covered(
    planes: np.ndarray, codes: np.ndarray, lost: Lost, where: str
) -> None:
    """Note the nuclei that planes of higher classes hide wholly."""
    seen = np.unique(codes)
    for label, plane in zip(_CLASSES, planes, strict=True):
        stored = np.unique(plane[plane > 0])
        hidden = ~np.isin(stored + label * (_MAX_ID + 1), seen)
        for number in stored[hidden].tolist():
            lost.add("covered", f"{_CLASSES[label]} nucleus {number} of {where}", "")


def _read(array: np.memmap, index: int) -> np.ndarray:
    """Read one image of a mapped array, not through the map: its pages would stay."""
    if not array.flags.c_contiguous:
        return np.array(array[index])
    shape = array.shape[1:]
    n_values = math.prod(shape)
    offset = array.offset + index * n_values * array.itemsize
    return np.fromfile(
        str(array.filename), dtype=array.dtype, count=n_values, offset=offset
    ).reshape(shape)
