# SPDX-License-Identifier: BSD-3-Clause
"""The BCData set of Ki-67 cells, as it is downloaded."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from psmlearn.datasets._folders import (
    Skipped,
    find_root,
    list_by_stem,
    natural_key,
    report_missing,
)
from psmlearn.datasets._parameters import check_choice
from psmlearn.io._read import read_size

_SUBSETS = ("train", "validation", "test")
_CLASSES = {1: "positive", 2: "negative"}
_KEY = "coordinates"
MAX_POINTS = 1 << 22
"""Of one file; an image of BCData has some hundred."""
# Chunks are unpacked whole, however few points they hold.
_MAX_CHUNK_BYTES, _MAX_CHUNKS = 1 << 22, 1 << 14
_GZIP, _FILTERS = 1, {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
_DESCR = """BCData: cells of breast cancer in Ki-67 stain
=============================================

1338 images of 640 x 640 pixels of immunohistochemistry (DAB and haematoxylin)
at 40x (0.25 micrometres per pixel is the usual size at 40x; the files do not
tell it), with the centre of every tumour cell: 1 positive (brown), 2 negative
(blue). 803 images are for training, 133 for validation, 402 for test. The set
does not tell which images share a patient: `groups` is None, so split as the
set itself is split.
Licence: none is stated with the download; it was published for research.

Z. Huang et al., "BCData: A Large-Scale Dataset and Benchmark for Cell
Detection and Counting", MICCAI 2020.
"""


def load_bcdata(folder: str | os.PathLike, *, subset: str = "train") -> Bunch:
    """Load a part of BCData from the folder it was downloaded to.

    The layout is that of the download: `images/test/0.png` belongs to
    `annotations/test/positive/0.h5` and `annotations/test/negative/0.h5`.
    Nothing is downloaded. It needs h5py.

    Parameters
    ----------
    folder : str or os.PathLike
        Such as "BCData", with `images` and `annotations` in it, or a folder with
        nothing but that in it.
    subset : {"train", "validation", "test"}, default="train"

    Returns
    -------
    Bunch
        With `images`, a list of absolute paths, 2 before 10; `points`, a list
        of float arrays (n_points, 3): row, column and class, 1 positive and 2
        negative; `target_names`, the names of classes 1 and 2; `groups`, None;
        `names`, a list of str; `pixel_size`, in micrometres; `DESCR`.

    Raises
    ------
    FileNotFoundError
        If folders, images or annotations are missing; the first are named.
    ImportError
        If h5py is missing.
    TypeError
        If a parameter is of the wrong kind.
    ValueError
        If `subset` is not one of the above, or an annotation is broken, holds
        no `coordinates` of shape (n_points, 2), links to another file, or holds a
        point outside its image.

    Notes
    -----
    The files hold points as (x, y), whole numbers; here they are (row, column).
    Points in other layouts, such as CSV tables, are for `load_point_folder`.

    References
    ----------
    Z. Huang et al., "BCData: A Large-Scale Dataset and Benchmark for Cell
    Detection and Counting", Medical Image Computing and Computer Assisted
    Intervention (MICCAI), 2020.

    Examples
    --------
    >>> from psmlearn.datasets import load_bcdata
    >>> test = load_bcdata("BCData", subset="test")  # doctest: +SKIP
    >>> len(test.images), test.points[0].shape  # doctest: +SKIP
    (402, (138, 3))
    """
    check_choice("subset", subset, _SUBSETS)
    root = find_root(folder, _is_root)
    images, annotations = _find_files(root, subset)
    points = []
    for name, image in images.items():
        size = read_size(image)
        of_classes = [
            _read_points(files[name], image, size, label)
            for label, files in annotations.items()
        ]
        points.append(np.concatenate(of_classes))
    return Bunch(
        images=list(images.values()),
        points=points,
        target_names=list(_CLASSES.values()),
        groups=None,
        names=list(images),
        pixel_size=0.25,
        DESCR=_DESCR,
    )


def _is_root(folder: Path) -> bool:
    """Tell whether a folder looks like the download."""
    return any((folder / name).is_dir() for name in ("images", "annotations"))


def _find_files(
    root: Path, subset: str
) -> tuple[dict[str, str], dict[int, dict[str, str]]]:
    """Return the images by name, and the annotations of each class by name."""
    layout = f"images/{subset}/N.png, annotations/{subset}/{{positive,negative}}/N.h5"
    image_folder = f"images/{subset}"
    folders = {
        label: f"annotations/{subset}/{name}" for label, name in _CLASSES.items()
    }
    parts = (image_folder, *folders.values())
    missing = [f"{part}/" for part in parts if not (root / part).is_dir()]
    report_missing(root, missing, layout)
    skipped = Skipped()
    images = list_by_stem(root / image_folder, (".png",), skipped)
    annotations = {
        label: list_by_stem(root / part, (".h5",), skipped, (".hdf5", ".hdf", ".mat"))
        for label, part in folders.items()
    }
    skipped.tell()
    names = sorted(set(images).union(*annotations.values()), key=natural_key)
    if not names:
        report_missing(root, [f"{image_folder}/0.png"], layout)
    missing = [f"{image_folder}/{name}.png" for name in names if name not in images]
    for label, part in folders.items():
        files = annotations[label]
        missing += [f"{part}/{name}.h5" for name in names if name not in files]
    report_missing(root, missing, layout)
    return {name: images[name] for name in names}, annotations


def _read_points(
    path: str, image: str, size: tuple[int, int], label: int
) -> np.ndarray:
    """Return the points of one file as (row, column, class)."""
    coordinates = _read_coordinates(path, size)
    if not np.isfinite(coordinates).all():
        raise ValueError(f"{path!r} holds points that are not finite.")
    points = np.column_stack(
        [coordinates[:, ::-1], np.full(len(coordinates), float(label))]
    )
    outside = ((points[:, :2] < 0) | (points[:, :2] >= size)).any(axis=1)
    if outside.any():
        row, column, _ = points[outside][0]
        raise ValueError(
            f"{path!r} holds {int(outside.sum())} point(s) outside its image {image!r} "
            f"of {size} (height, width), such as row {row:g}, column {column:g}."
        )
    return points


def _read_coordinates(path: str, size: tuple[int, int]) -> np.ndarray:
    """Return what a file holds, (n_points, 2) as (x, y), looking before reading."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError('BCData needs h5py: pip install "psmlearn[data]".') from error
    try:
        with h5py.File(path, "r") as file:
            link = file.get(_KEY, getlink=True)
            if link is not None and not isinstance(link, h5py.HardLink):
                raise ValueError(f"its {_KEY!r} is a link, which may lead elsewhere")
            if link is None or not isinstance(file[_KEY], h5py.Dataset):
                keys = ", ".join(sorted(file)) or "no key at all"
                raise ValueError(f"it has no dataset {_KEY!r}; it holds {keys}")
            dataset = file[_KEY]
            if dataset.is_virtual or dataset.external:
                raise ValueError(f"its {_KEY!r} takes its values from other files")
            told: tuple[int, ...] | None = dataset.shape
            shape = (0,) if told is None else told
            if 0 in shape:  # written as (0,), (0, 2) or without any extent
                return np.zeros((0, 2))
            if len(shape) != 2 or shape[1] != 2:
                raise ValueError(
                    f"its {_KEY!r} has shape {shape}; expected (n_points, 2)"
                )
            if dataset.dtype.kind not in "iuf":
                raise ValueError(
                    f"its {_KEY!r} has dtype {dataset.dtype}; expected numbers"
                )
            if shape[0] > min(size[0] * size[1], MAX_POINTS):
                raise ValueError(
                    f"it has more points ({shape[0]}) than pixels, or than the "
                    f"{MAX_POINTS} that are read"
                )
            if dataset.dtype.itemsize > 16:
                raise ValueError(f"its {_KEY!r} has dtype {dataset.dtype}")
            _check_chunks(dataset)
            return dataset[()].astype(np.float64)
    except MemoryError as error:
        raise MemoryError(f"{path!r} needs more memory than there is.") from error
    except Exception as error:  # HDF5 raises many kinds of errors on broken files
        raise ValueError(
            f"{path!r} is broken or no annotation of BCData: {error}."
        ) from error


def _check_chunks(dataset: Any) -> None:
    """Refuse chunks that hold, or unpack to, far more than the points in them."""
    if dataset.chunks is None:
        return
    n_bytes = int(np.prod(dataset.chunks, dtype=float)) * dataset.dtype.itemsize
    if n_bytes > max(_MAX_CHUNK_BYTES, 4 * dataset.nbytes):
        raise ValueError(
            f"its {_KEY!r} of shape {dataset.shape} is stored in chunks of "
            f"{dataset.chunks}, {n_bytes} bytes each"
        )
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
    if len(set(filters)) < len(filters) or not set(filters).issubset(_FILTERS):
        raise ValueError(
            f"its {_KEY!r} is stored by the filters {filters}; expected some of "
            f"{', '.join(_FILTERS.values())}, each once"
        )
    sides = zip(dataset.shape, dataset.chunks, strict=True)
    n_chunks = int(np.prod([-(-side // step) for side, step in sides], dtype=float))
    if n_chunks > _MAX_CHUNKS:
        raise ValueError(
            f"its {_KEY!r} is stored in {n_chunks} chunks; up to {_MAX_CHUNKS} are read"
        )
    for index in range(dataset.id.get_num_chunks()):
        info = dataset.id.get_chunk_info(index)
        if info.size > n_bytes + 4096:  # what cannot be packed grows a little
            raise ValueError(f"its {_KEY!r} has a chunk of {info.size} stored bytes")
        if _GZIP not in filters or info.filter_mask & 1 << filters.index(_GZIP):
            continue
        _, packed = dataset.id.read_direct_chunk(info.chunk_offset)
        # Its checksum, too, is four bytes.
        room = n_bytes + 4
        if len(zlib.decompressobj().decompress(packed, room + 1)) > room:
            raise ValueError(
                f"its {_KEY!r} has a chunk that unpacks to more than {n_bytes} bytes"
            )
