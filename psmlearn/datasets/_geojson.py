# SPDX-License-Identifier: BSD-3-Clause
"""Annotations of QuPath: polygons, cells and points in GeoJSON."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from psmlearn.datasets._folders import (
    IMAGE_SUFFIXES,
    check_folder,
    find_groups,
    list_by_stem,
    report_missing,
)
from psmlearn.datasets._polygons import (
    as_vertices,
    fill_parts,
    paint_labels,
    read_drawable_size,
    read_json,
)

_OBJECT_TYPES = ("annotation", "detection", "cell", "tile", "tmaCore", "root")
# What QuPath 0.2 wrote in place of object types.
_OLD_TYPES = {f"Path{kind.capitalize()}Object": kind for kind in _OBJECT_TYPES}
_OLD_TYPES |= {"TMACoreObject": "tmaCore", "tma_core": "tmaCore"}
_DESCR = """Annotations in QuPath's GeoJSON
===============================

Licence and origin are those of the folder. Coordinates are pixels of the full
image. Where objects overlap, the later one in the file wins; `class_counts`
tell which classes the files name. `groups` are what `group_pattern` finds in
the names, or None: then nothing tells which images share a patient.

P. Bankhead et al., "QuPath: Open source software for digital pathology image
analysis", Scientific Reports 7, 2017.
"""


@dataclass
class _Features:
    """What one file holds: objects to paint, and points, with their classes."""

    objects: list[list[list[np.ndarray]]] = field(default_factory=list)
    object_names: list[str | None] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    point_names: list[str | None] = field(default_factory=list)


def load_geojson(
    folder: str | os.PathLike,
    *,
    annotations: str | os.PathLike | None = None,
    classes: Mapping[str, int] | Sequence[str] | None = None,
    geometry: str = "nucleus",
    object_types: Sequence[str] = ("annotation", "detection", "cell"),
    group_pattern: str | re.Pattern | None = None,
) -> Bunch:
    r"""Load images and the GeoJSON files that QuPath exported for them.

    Parameters
    ----------
    folder : str or os.PathLike
        Holds the images (TIFF, PNG, JPEG, BMP or WebP).
    annotations : str, os.PathLike or None, default=None
        Folder of the `NAME.geojson` (or `NAME.geojson.gz`) of each image, where
        NAME may have the image's suffix, too; None if they lie beside the images.
    classes : mapping of str to int, sequence of str or None, default=None
        Numbers of the classes by name; a sequence is numbered from 1. Objects
        of other classes, or of none, get class 0. None leaves classes out.
        Names of derived classes are as QuPath shows them, "Tumor: Positive".
    geometry : {"nucleus", "cell"}, default="nucleus"
        What to take of a cell that has both outlines. One that has no nucleus
        keeps the outline it has.
    object_types : sequence of str, default=("annotation", "detection", "cell")
        QuPath's types to keep, of these and "tile", "tmaCore" and "root".
        Objects that tell none are annotations. Use ("detection", "cell") where
        annotations are merely the regions looked at.
    group_pattern : str, compiled regular expression or None, default=None
        Finds the patient in each name, such as r"TCGA-\w+-\w+"; of an
        expression with a group, that is taken.

    Returns
    -------
    Bunch
        With `images`, a list of absolute paths sorted by name; `masks`, a list
        of int32 label images (height, width), or (height, width, 2) with
        `classes`, and None in place of the list if the files hold points alone;
        `points`, a list of float arrays (n, 2), (row, column), or (n, 3) with
        `classes`; `target_names`, names of classes by number, or None;
        `class_counts`, a dict of the number of objects by the name of their
        class ("" for none); `groups`, an array of str, or None without
        `group_pattern`; `names`, a list of str; `pixel_size`, None; `DESCR`.

    Raises
    ------
    FileNotFoundError
        If a folder is missing, an image has no file, or a file no image.
    ValueError
        If a file is broken or no GeoJSON, or a parameter has a bad value.

    Notes
    -----
    A pixel belongs to a polygon if its centre lies inside and in none of its
    holes. In QuPath the first pixel reaches from 0 to 1, so a point in its
    middle, (0.5, 0.5) there, is (0, 0) here. Where objects overlap, the later
    one in the file wins. Lines, which have no area, are passed over.

    References
    ----------
    P. Bankhead et al., "QuPath: Open source software for digital pathology
    image analysis", Scientific Reports 7, 2017.
    H. Butler et al., "The GeoJSON Format", RFC 7946, 2016.

    Examples
    --------
    >>> import json, os, tempfile
    >>> import numpy as np
    >>> from psmlearn.datasets import load_geojson
    >>> from psmlearn.io import write_image
    >>> content = {"type": "FeatureCollection", "features": [{
    ...     "type": "Feature",
    ...     "geometry": {"type": "Polygon", "coordinates":
    ...                  [[[1, 0], [3, 0], [3, 2], [1, 2], [1, 0]]]},
    ...     "properties": {"objectType": "annotation",
    ...                    "classification": {"name": "Positive"}}}]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(os.path.join(folder, "a.geojson"), "w") as file:
    ...         json.dump(content, file)
    ...     write_image(os.path.join(folder, "a.png"), np.zeros((4, 5), np.uint8))
    ...     data = load_geojson(folder)
    >>> data.masks[0].tolist()[:2], data.class_counts
    ([[0, 1, 1, 0, 0], [0, 1, 1, 0, 0]], {'Positive': 1})
    """
    _check_choice("geometry", geometry, ("nucleus", "cell"))
    if isinstance(object_types, str) or not isinstance(object_types, Sequence):
        raise TypeError(f"object_types is {object_types!r}; expected a list of names.")
    for kind in object_types:
        _check_choice("object_types", kind, _OBJECT_TYPES)
    numbers = _number_classes(classes)
    images, files = _find_files(folder, annotations)
    names = list(images)
    groups = None if group_pattern is None else find_groups(names, group_pattern)
    found = [_read_features(files[name], geometry, object_types) for name in names]
    told = Counter(
        key or "" for each in found for key in each.object_names + each.point_names
    )
    points_alone = any(each.points for each in found) and not any(
        each.objects for each in found
    )
    masks = None
    if not points_alone:
        masks = [
            _paint(each, image, numbers)
            for each, image in zip(found, images.values(), strict=True)
        ]
    return Bunch(
        images=list(images.values()),
        masks=masks,
        points=[_stack_points(each, numbers) for each in found],
        target_names=_name_classes(numbers),
        class_counts=dict(sorted(told.items())),
        groups=groups,
        names=names,
        pixel_size=None,
        DESCR=_DESCR,
    )


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} has {value!r}; expected one of {choices}.")


def _number_classes(
    classes: Mapping[str, int] | Sequence[str] | None,
) -> dict[str, int] | None:
    """Return the number of each class by its name; numbers run from 1, no gaps."""
    if classes is None:
        return None
    if isinstance(classes, str) or not isinstance(classes, Mapping | Sequence):
        raise TypeError(
            f"classes is {classes!r}; expected a list of names, or a dict of numbers."
        )
    if not isinstance(classes, Mapping):
        if len(set(classes)) != len(classes):
            raise ValueError(f"classes is {classes!r}; a name is there twice.")
        classes = {name: number for number, name in enumerate(classes, start=1)}
    sound = all(
        isinstance(name, str) and isinstance(number, Integral)
        for name, number in classes.items()
    )
    if not sound or not classes:
        raise TypeError(f"classes is {classes!r}; expected names, or names and ints.")
    if set(classes.values()) != set(range(1, max(classes.values()) + 1)):
        raise ValueError(
            f"classes has the numbers {sorted(set(classes.values()))}; expected 1 to "
            "the number of classes, without gaps."
        )
    return {name: int(number) for name, number in classes.items()}


def _name_classes(numbers: dict[str, int] | None) -> list[str] | None:
    """Return a name for each class; of several names, the first."""
    if numbers is None:
        return None
    first = {number: name for name, number in reversed(numbers.items())}
    return [first[number] for number in sorted(first)]


def _find_files(
    folder: str | os.PathLike, annotations: str | os.PathLike | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Return images and annotation files by name, or say what is missing."""
    root = check_folder(folder)
    beside = root if annotations is None else check_folder(annotations)
    images = list_by_stem(root, IMAGE_SUFFIXES)
    if not images:
        raise FileNotFoundError(
            f"{str(root)!r} holds no image; expected files ending in "
            f"{', '.join(IMAGE_SUFFIXES)}."
        )
    files: dict[str, str] = {}
    # Scripts of QuPath often keep the image's suffix: "a.png.geojson".
    stems = {Path(path).name: stem for stem, path in images.items()}
    for path in sorted(beside.iterdir()):
        match = re.fullmatch(r"([^.].*)\.geojson(\.gz)?", path.name, re.IGNORECASE)
        if match is None or not path.is_file():
            continue
        name = stems.get(match[1], match[1])
        if name in files:
            raise ValueError(
                f"{str(beside)!r} holds both {Path(files[name]).name!r} and "
                f"{path.name!r}; keep one."
            )
        files[name] = str(path)
    lacking = [f"{name}.geojson" for name in images if name not in files]
    report_missing(beside, lacking, "a NAME.geojson for each image")
    orphans = [f"{name}.*" for name in files if name not in images]
    report_missing(root, orphans, f"an image for each .geojson of {str(beside)!r}")
    return images, files


def _read_features(path: str, geometry: str, object_types: Sequence[str]) -> _Features:
    """Read the objects and points of one file, of the types to keep."""
    # QuPath writes measurements that are NaN; coordinates are checked apart.
    content = read_json(path, allow_nan=True)
    if isinstance(content, dict):
        single = content.get("type") == "Feature"
        content = [content] if single else content.get("features")
    if not isinstance(content, list):
        raise ValueError(
            f"{path!r} is no GeoJSON of features: expected a FeatureCollection, or a "
            "list of features."
        )
    found = _Features()
    for index, feature in enumerate(content):
        try:
            _add_feature(feature, found, geometry, object_types)
        except ValueError as error:
            raise ValueError(f"{path!r}: feature {index}: {error}.") from error
    return found


def _add_feature(
    feature: object, found: _Features, geometry: str, object_types: Sequence[str]
) -> None:
    """Add what one feature draws, if its type is to be kept."""
    if not isinstance(feature, dict):
        raise ValueError(f"it is {feature!r:.40}; expected an object")
    properties = feature.get("properties") or {}
    if not isinstance(properties, dict):
        raise ValueError(f"its properties are {properties!r:.40}; expected an object")
    if _find_type(feature, properties) not in object_types:
        return
    drawn = feature.get("geometry")
    if geometry == "nucleus":
        drawn = feature.get("nucleusGeometry") or drawn
    if drawn is None:
        return
    if not isinstance(drawn, dict):
        raise ValueError(f"its geometry is {drawn!r:.40}; expected an object")
    name = _find_class(properties)
    kind, coordinates = drawn.get("type"), drawn.get("coordinates")
    if kind in ("Point", "MultiPoint"):
        pairs = [coordinates] if kind == "Point" else coordinates
        points = as_vertices(pairs, f"its {kind}")
        found.points.extend(points)
        found.point_names.extend([name] * len(points))
    elif kind in ("Polygon", "MultiPolygon"):
        polygons = [coordinates] if kind == "Polygon" else coordinates
        found.objects.append(_read_polygons(polygons, kind))
        found.object_names.append(name)
    elif kind not in ("LineString", "MultiLineString"):
        raise ValueError(
            f"its geometry is of type {kind!r}; expected Polygon, MultiPolygon, Point "
            "or MultiPoint"
        )


def _read_polygons(polygons: object, kind: str) -> list[list[np.ndarray]]:
    """Return polygons as lists of rings, the outer one first."""
    if not isinstance(polygons, list) or not all(
        isinstance(rings, list) for rings in polygons
    ):
        raise ValueError(f"its {kind} has no lists of rings as coordinates")
    return [[as_vertices(ring, f"its {kind}") for ring in rings] for rings in polygons]


def _find_type(feature: dict, properties: dict) -> str:
    """Return the type of a QuPath object, as of version 0.2 and later."""
    for told in (
        properties.get("objectType"),
        properties.get("object_type"),
        feature.get("id"),
    ):
        if isinstance(told, str):
            told = _OLD_TYPES.get(told, told)
            if told in _OBJECT_TYPES:
                return told
    return "annotation"


def _find_class(properties: dict) -> str | None:
    """Return the name of an object's class, if it has one."""
    told = properties.get("classification")
    if isinstance(told, dict):
        told = told.get("names") or told.get("name")
    if isinstance(told, list):
        told = ": ".join(map(str, told))
    return told if isinstance(told, str) and told else None


def _look_up(numbers: dict[str, int], names: list[str | None]) -> list[int]:
    """Return the number of each class, 0 for the unknown and for none."""
    return [0 if name is None else numbers.get(name, 0) for name in names]


def _paint(found: _Features, image: str, numbers: dict[str, int] | None) -> np.ndarray:
    """Draw the objects of one image."""
    size = read_drawable_size(image)
    classes = None
    if numbers is not None:
        classes = _look_up(numbers, found.object_names)
    return paint_labels(
        (fill_parts(each, size) for each in found.objects), size, classes
    )


def _stack_points(found: _Features, numbers: dict[str, int] | None) -> np.ndarray:
    """Return the points of one image, with their classes if asked for."""
    points = np.array(found.points, dtype=np.float64).reshape(-1, 2)
    if numbers is None:
        return points
    classes = _look_up(numbers, found.point_names)
    return np.column_stack([points, np.array(classes, dtype=np.float64)])
