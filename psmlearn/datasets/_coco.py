# SPDX-License-Identifier: BSD-3-Clause
"""Instances in the JSON of COCO: polygons, run lengths, crowds, categories."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeGuard

import numpy as np
from sklearn.utils import Bunch

from psmlearn.datasets._fill import Pixels, fill_parts
from psmlearn.datasets._folders import (
    check_folder,
    find_file,
    find_groups,
    report_missing,
    tell_bad_name,
)
from psmlearn.datasets._lost import Drawn, Lost, measure_area, paint
from psmlearn.datasets._parameters import check_absolute, check_count, compose
from psmlearn.datasets._polygons import (
    as_vertices,
    holds_open_ring,
    read_drawable_size,
    read_json,
)

_DESCR = """Instances in COCO's format
==========================

Licence and origin are those that the JSON file tells ("info", "licenses").
Classes are 1 to C in the order of the category ids, `target_names` their
names. Where objects overlap, the later one in the file wins; crowds, which
hold objects nobody separated, are unknown (-1). `groups` are what
`group_pattern` finds in the names, or None: then nothing tells which images
share a patient.

T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.
"""


def load_coco(
    json_file: str | os.PathLike,
    *,
    image_folder: str | os.PathLike | None = None,
    group_pattern: str | re.Pattern | None = None,
    max_bytes: int | None = None,
) -> Bunch:
    r"""Load images and instances that a COCO JSON file describes.

    Parameters
    ----------
    json_file : str or os.PathLike
        Such as "instances_train.json": with "images", "annotations" and
        "categories". Segmentations may be polygons, in one or several parts, or
        run lengths (RLE), plain or compressed.
    image_folder : str, os.PathLike or None, default=None
        Where the images lie; None for the folder of the file.
    group_pattern : str, compiled regular expression or None, default=None
        Finds the patient in each name, such as r"TCGA-\w+-\w+"; of an
        expression with a group, that is taken.
    max_bytes : int or None, default=None
        Largest JSON file that is read; None for 134217728 (128 MiB), which takes
        about 3 GB of memory while it is read.

    Returns
    -------
    Bunch
        With `images`, a list of absolute paths in the order of the file;
        `masks`, a list of int32 arrays (height, width, 2), ids and classes;
        `target_names`, the names of classes 1 to C; `category_ids` and
        `image_ids`, arrays of the ids in the file; `groups`, an array of str,
        or None without `group_pattern`; `names`, a list of str; `pixel_size`,
        None; `DESCR`.

    Raises
    ------
    FileNotFoundError
        If the file or images are missing.
    IsADirectoryError
        If `json_file` is a folder.
    TypeError
        If a parameter is of the wrong kind.
    ValueError
        If the file is broken or no COCO file of instances, holds NaN or
        Infinity, names unknown images or categories, tells another size than an
        image has, or if all objects lie outside of their images.

    Notes
    -----
    A pixel belongs to a polygon if its centre lies inside. Where objects
    overlap, the later one in the file wins; objects wholly covered, or outside of
    their image, have no id and are told by an `AnnotationWarning`. Names of images
    may have the backslashes of Windows. Annotations with `iscrowd` are unknown, -1,
    where no other object lies. All masks are held in memory: 8 bytes a pixel.

    References
    ----------
    T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.

    Examples
    --------
    >>> import json, os, tempfile
    >>> import numpy as np
    >>> from psmlearn.datasets import load_coco
    >>> from psmlearn.io import write_image
    >>> content = {
    ...     "images": [{"id": 7, "file_name": "a.png", "height": 4, "width": 5}],
    ...     "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "iscrowd": 0,
    ...                      "segmentation": [[1, 0, 3, 0, 3, 2, 1, 2]]}],
    ...     "categories": [{"id": 3, "name": "nucleus"}],
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "instances.json")
    ...     with open(path, "w") as file:
    ...         json.dump(content, file)
    ...     write_image(os.path.join(folder, "a.png"), np.zeros((4, 5), np.uint8))
    ...     data = load_coco(path)
    >>> data.target_names, data.masks[0][..., 0].tolist()[:2]
    (['nucleus'], [[0, 1, 1, 0, 0], [0, 1, 1, 0, 0]])
    """
    path = str(check_absolute("json_file", json_file))
    if max_bytes is not None:
        check_count("max_bytes", max_bytes, 1)
    root = check_folder(
        os.path.dirname(path) if image_folder is None else image_folder,
        "image_folder",
    )
    content = read_json(path, max_bytes=max_bytes)
    entries = _read_images(content, path)
    categories = _read_categories(content, path)
    annotations = _read_annotations(content, path, entries, categories)
    files = _find_images(root, entries, path)
    names = [
        str(_place(entry["file_name"]).with_suffix("")) for entry in entries.values()
    ]
    groups = None if group_pattern is None else find_groups(names, group_pattern)
    sizes = {
        key: _check_size(str(files[key]), entry, path) for key, entry in entries.items()
    }
    classes = {key: index for index, key in enumerate(categories, start=1)}
    lost = Lost()
    masks = [
        _paint(annotations[key], sizes[key], classes, path, lost) for key in annotations
    ]
    lost.tell()
    return Bunch(
        images=[str(file) for file in files.values()],
        masks=masks,
        target_names=list(categories.values()),
        category_ids=np.array(list(categories)),
        image_ids=np.array(list(entries)),
        groups=groups,
        names=names,
        pixel_size=None,
        DESCR=_DESCR,
    )


def _read_section(content: object, name: str, path: str) -> list[dict]:
    """Return a list of the file's objects, such as its images."""
    section = content.get(name) if isinstance(content, dict) else None
    if not isinstance(section, list) or not all(isinstance(e, dict) for e in section):
        raise ValueError(
            f"{path!r} is no COCO file of instances: it lacks a list of objects under "
            f"{name!r}; expected 'images', 'annotations' and 'categories'."
        )
    return section


def _is_key(value: object, *kinds: type) -> TypeGuard[Any]:
    """Tell an id: an int of 64 bits (which bool is not), or what else is allowed."""
    if isinstance(value, int):
        return not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63
    return isinstance(value, kinds)


def _read_images(content: object, path: str) -> dict[int | str, dict]:
    """Return the images by id."""
    images: dict[int | str, dict] = {}
    seen = set()
    for index, image in enumerate(_read_section(content, "images", path)):
        key, name = image.get("id"), image.get("file_name")
        if not _is_key(key, int, str) or not isinstance(name, str) or not name:
            raise ValueError(
                f"{path!r}: image {index} of its list lacks an 'id' or a 'file_name'."
            )
        if bad := tell_bad_name(name):
            raise ValueError(
                f"{path!r}: image {key!r:.40} has file_name {name!r:.60}, but {bad}."
            )
        windows = PureWindowsPath(name)
        if windows.anchor or ".." in windows.parts or "\0" in name:
            raise ValueError(
                f"{path!r}: image {key!r} has file_name {name!r}, which leads out of "
                "the image folder; expected a name within."
            )
        place = str(_place(name))
        if key in images or place in seen:
            raise ValueError(f"{path!r} holds image {key!r} ({name!r}) twice.")
        images[key] = image
        seen.add(place)
    if not images:
        raise ValueError(f"{path!r} holds no image.")
    if len({type(key) for key in images}) > 1:
        raise ValueError(f"{path!r} has ids of images that are ints, and others texts.")
    return images


def _place(name: str) -> PurePosixPath:
    """Return the place that a file's name tells: without "./" and backslashes."""
    return PurePosixPath(compose(name).replace("\\", "/"))


def _find_images(root: Path, entries: dict, path: str) -> dict[int | str, Path]:
    """Return the file of each image, or say which are missing."""
    found = {key: find_file(root, entry["file_name"]) for key, entry in entries.items()}
    report_missing(
        root,
        [entries[key]["file_name"] for key, file in found.items() if file is None],
        f"the images that {path!r} names (give their folder as image_folder)",
    )
    return {key: file for key, file in found.items() if file is not None}


def _read_categories(content: object, path: str) -> dict[int, str]:
    """Return the names of categories, sorted by id."""
    categories: dict[int, str] = {}
    for category in _read_section(content, "categories", path):
        key, name = category.get("id"), category.get("name")
        if not _is_key(key, int) or not isinstance(name, str) or key in categories:
            raise ValueError(
                f"{path!r}: category {key!r} ({name!r}) lacks an int 'id' or a 'name', "
                "or is there twice."
            )
        categories[key] = name
    if not categories:
        raise ValueError(f"{path!r} holds no category.")
    return dict(sorted(categories.items()))


def _read_annotations(
    content: object, path: str, images: dict, categories: dict
) -> dict[int | str, list[dict]]:
    """Return the annotations of each image, in the order of the file."""
    annotations: dict[int | str, list[dict]] = {key: [] for key in images}
    for index, annotation in enumerate(_read_section(content, "annotations", path)):
        name = f"{path!r}: annotation {annotation.get('id', index)!r}"
        image, category = annotation.get("image_id"), annotation.get("category_id")
        if not _is_key(image, int, str) or image not in images:
            raise ValueError(
                f"{name} has image_id {image!r}, which no image of the file has."
            )
        if not _is_key(category, int) or category not in categories:
            raise ValueError(
                f"{name} has category_id {category!r}, which no category of the file "
                f"has; they are {list(categories)[:5]}."
            )
        if annotation.get("iscrowd", 0) not in (0, 1):
            raise ValueError(
                f"{name} has iscrowd {annotation['iscrowd']!r}; expected 0 or 1."
            )
        annotations[image].append(annotation)
    return annotations


def _check_size(file: str, entry: dict, path: str) -> tuple[int, int]:
    """Return the size of an image, if the JSON agrees with it (or is silent)."""
    size = read_drawable_size(file)
    told = (entry.get("height", size[0]), entry.get("width", size[1]))
    if told != size:
        raise ValueError(
            f"{file!r} has size {size} (height, width), but {path!r} says {told}."
        )
    return size


def _paint(
    annotations: list[dict],
    size: tuple[int, int],
    classes: dict,
    path: str,
    lost: Lost,
) -> np.ndarray:
    """Draw the annotations of one image: ids and classes, crowds as unknown."""
    single = [a for a in annotations if not a.get("iscrowd", 0)]
    mask, _ = paint(
        _draw(single, size, path, lost),
        size,
        lost,
        path,
        [classes[annotation["category_id"]] for annotation in single],
    )
    crowds = [a for a in annotations if a.get("iscrowd", 0)]
    for crowd in _draw(crowds, size, path, lost):
        if not len(crowd.rows):
            lost.add("empty", f"the crowd of {crowd.name}", path)
        free = mask[crowd.rows, crowd.columns, 0] == 0
        mask[crowd.rows[free], crowd.columns[free]] = -1
    return mask


def _draw(
    annotations: list[dict], size: tuple[int, int], path: str, lost: Lost
) -> Iterator[Drawn]:
    """Yield annotations drawn, or raise an error that names the one that fails."""
    labels = [
        f"annotation {annotation.get('id')!r:.40} of image {annotation['image_id']!r}"
        for annotation in annotations
    ]
    told = [
        _read_polygons(annotation.get("segmentation"), f"{path!r}: {label}")
        for annotation, label in zip(annotations, labels, strict=True)
    ]
    filled = fill_parts(
        [polygons or [] for polygons in told],
        size,
        lambda index: f"{path!r}: {labels[index]}",
    )
    for annotation, label, polygons, pixels in zip(
        annotations, labels, told, filled, strict=True
    ):
        if polygons is None:
            runs = annotation["segmentation"]
            yield Drawn(label, *_decode_runs(runs, size, f"{path!r}: {label}"))
            continue
        if holds_open_ring(polygons):
            lost.add("open", f"a part of {label}", path)
        outline = np.concatenate([rings[0] for rings in polygons])
        yield Drawn(label, *pixels, outline, partial(measure_area, polygons))


def _read_polygons(segmentation: object, name: str) -> list[list[np.ndarray]] | None:
    """Return the parts of a segmentation, each one ring; None for run lengths."""
    if isinstance(segmentation, dict):
        return None
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError(
            f"{name} has no segmentation; expected polygons or run lengths (boxes "
            "alone are no masks)."
        )
    polygons = []
    for part in segmentation:
        if not isinstance(part, list) or len(part) % 2:
            raise ValueError(
                f"{name} has a part that is no list [x, y, x, y, ...] of a polygon."
            )
        pairs = [list(pair) for pair in zip(part[::2], part[1::2], strict=True)]
        try:
            polygons.append([as_vertices(pairs, "its polygon")])
        except ValueError as error:
            raise ValueError(f"{name}: {error}.") from error
    return polygons


def _decode_runs(segmentation: dict, size: tuple[int, int], name: str) -> Pixels:
    """Return the pixels of run lengths: column by column, background first."""
    told, counts = segmentation.get("size"), segmentation.get("counts")
    if told != list(size):
        raise ValueError(
            f"{name} has run lengths of size {told}, but the image has {list(size)}."
        )
    try:
        runs = np.asarray(decode_counts(counts) if isinstance(counts, str) else counts)
    except ValueError as error:
        raise ValueError(f"{name} has broken run lengths: {error}.") from error
    n_pixels = size[0] * size[1]
    sound = runs.ndim == 1 and runs.size > 0 and runs.dtype.kind in "iu"
    if sound:
        sound = runs.min() >= 0 and runs.max() <= n_pixels and runs.sum() == n_pixels
    if not sound:
        raise ValueError(
            f"{name} has broken run lengths: expected ints of at least 0 that sum up "
            f"to {n_pixels}, the pixels of the image."
        )
    starts, lengths = (np.cumsum(runs) - runs)[1::2], runs[1::2]
    before = np.cumsum(lengths) - lengths
    flat = np.repeat(starts - before, lengths) + np.arange(lengths.sum())
    return flat % size[0], flat // size[0]


def decode_counts(text: str) -> list[int]:
    """Decode the compressed string of run lengths.

    Each number is cut into groups of five bits, the lowest first, and each
    group is a character, chr(48 + group), with 32 added where another follows;
    the fifth bit of the last is the sign. From the fourth on, a number is the
    difference from the one two before it.

    Raises
    ------
    ValueError
        If the text ends within a number, or holds another character.

    Examples
    --------
    >>> from psmlearn.datasets._coco import decode_counts
    >>> decode_counts("122O")
    [1, 2, 2, 1]
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 60:
            raise ValueError(f"{character!r} is not expected in a compressed string")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the compressed string ends within a number")
    return counts
