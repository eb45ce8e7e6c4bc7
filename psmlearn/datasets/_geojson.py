# SPDX-License-Identifier: BSD-3-Clause
"""Annotations of QuPath: polygons, cells and points in GeoJSON."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from psmlearn._warnings import warn_user
from psmlearn.datasets._fill import Pixels, fill_parts
from psmlearn.datasets._folders import (
    IMAGE_SUFFIXES,
    Skipped,
    check_folder,
    find_groups,
    is_regular,
    list_by_stem,
    natural_key,
    report_missing,
    tell_kind,
    tell_names,
)
from psmlearn.datasets._lost import Drawn, Lost, measure_area, paint
from psmlearn.datasets._parameters import (
    check_choice,
    check_count,
    check_names,
    compose,
)
from psmlearn.datasets._polygons import (
    as_vertices,
    holds_open_ring,
    read_drawable_size,
    read_json,
)
from psmlearn.exceptions import AnnotationWarning

_OBJECT_TYPES = ("annotation", "detection", "cell", "tile", "tmaCore", "root")
# What QuPath 0.2 wrote in place of object types.
_OLD_TYPES = {f"Path{kind.capitalize()}Object": kind for kind in _OBJECT_TYPES}
_OLD_TYPES |= {"TMACoreObject": "tmaCore", "tma_core": "tmaCore"}
_DESCR = """Annotations in QuPath's GeoJSON
===============================

Licence and origin are those of the folder. Coordinates are pixels of the full
image. Where objects overlap, the later one in the file wins; `class_counts`
tell the classes of objects that are seen, and of points. `groups` are what
`group_pattern` finds in the names, or None: then nothing tells which images
share a patient.

P. Bankhead et al., "QuPath: Open source software for digital pathology image
analysis", Scientific Reports 7, 2017.
"""


_LINES = ("LineString", "MultiLineString")
_MAX_NESTING = 20
_ADVICE = (
    "where annotations are merely the regions looked at, use "
    "object_types=('detection', 'cell')"
)


@dataclass
class _Object:
    """What one feature draws: polygons, lists of rings, the outer one first."""

    name: str
    polygons: list[list[np.ndarray]]
    class_name: str | None
    kind: str


@dataclass
class _Features:
    """What one file holds: objects to paint, and points, with their classes."""

    path: str
    objects: list[_Object] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    point_names: list[str | None] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    planes: set[tuple[str, str]] = field(default_factory=set)


@dataclass
class _Parts:
    """What the geometry of one feature is made of, and on which planes, (z, t)."""

    polygons: list[list[np.ndarray]] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    planes: set[tuple[str, str]] = field(default_factory=set)


def load_geojson(
    folder: str | os.PathLike,
    *,
    annotations: str | os.PathLike | None = None,
    classes: Mapping[str, int] | Sequence[str] | None = None,
    geometry: str = "nucleus",
    object_types: Sequence[str] = ("annotation", "detection", "cell"),
    group_pattern: str | re.Pattern | None = None,
    max_bytes: int | None = None,
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
    max_bytes : int or None, default=None
        Largest annotation file, unpacked, that is read; None for 134217728 (128
        MiB), which takes about 3 GB of memory while it is read.

    Returns
    -------
    Bunch
        With `images`, a list of absolute paths sorted by name; `masks`, a list
        of int32 label images (height, width), or (height, width, 2) with
        `classes`, and None in place of the list if the files hold points alone;
        `points`, a list of float arrays (n, 2), (row, column), or (n, 3) with
        `classes`; `target_names`, names of classes by number, or None;
        `class_counts`, a dict of the number of objects that masks show, and of
        points, by the name of their class ("" for none); `groups`, an array of
        str, or None without `group_pattern`; `names`, a list of str; `pixel_size`,
        None; `DESCR`.

    Raises
    ------
    FileNotFoundError
        If a folder is missing, an image has no file, or a file no image.
    TypeError
        If a parameter is of the wrong kind.
    ValueError
        If a file is broken or no GeoJSON, if a point, or all outlines, lie outside
        of their images, or a parameter has a bad value.

    Notes
    -----
    A pixel belongs to a polygon if its centre lies inside and in none of its
    holes. In QuPath the first pixel reaches from 0 to 1, so a point in its
    middle, (0.5, 0.5) there, is (0, 0) here. Where objects overlap, the later
    one in the file wins. The parts of a GeometryCollection are one object.

    An `AnnotationWarning` tells of objects that masks do not show as they came:
    outside of their image, wholly covered by later ones, without an area, as lines
    are; of annotations that hold detections; of files of which no object is kept,
    or classes that no object has; and of objects on several planes of a stack (z or
    t), which no single image can show.

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
    check_choice("geometry", geometry, ("nucleus", "cell"))
    for kind in check_names("object_types", object_types):
        if kind not in _OBJECT_TYPES:
            raise ValueError(
                f"object_types has {kind!r}; expected one of {_OBJECT_TYPES}."
            )
    if len(object_types) == 0:
        raise ValueError(
            f"object_types is {object_types!r}; expected some of {_OBJECT_TYPES}."
        )
    numbers = _number_classes(classes)
    if max_bytes is not None:
        check_count("max_bytes", max_bytes, 1)
    images, files = _find_files(folder, annotations)
    names = list(images)
    groups = None if group_pattern is None else find_groups(names, group_pattern)
    found = [
        _read_features(files[name], geometry, object_types, max_bytes) for name in names
    ]
    points_alone = any(each.points for each in found) and not any(
        each.objects for each in found
    )
    points = [
        _stack_points(each, image, numbers)
        for each, image in zip(found, images.values(), strict=True)
    ]
    told = Counter(key or "" for each in found for key in each.point_names)
    lost, masks = Lost(_ADVICE), []
    for each, image in zip(found, images.values(), strict=True):
        for kind, name in each.lost:
            lost.add(kind, name, each.path)
        if not points_alone:
            size = read_drawable_size(image)
            mask, shown = _paint(each, size, numbers, lost)
            masks.append(mask)
            told.update(shown)
    lost.tell()
    _tell_doubts(found, numbers)
    return Bunch(
        images=list(images.values()),
        masks=None if points_alone else masks,
        points=points,
        target_names=_name_classes(numbers),
        class_counts=dict(sorted(told.items())),
        groups=groups,
        names=names,
        pixel_size=None,
        DESCR=_DESCR,
    )


def _number_classes(
    classes: Mapping[str, int] | Sequence[str] | None,
) -> dict[str, int] | None:
    """Return the number of each class by its name; numbers run from 1, no gaps."""
    if classes is None:
        return None
    if not isinstance(classes, Mapping):
        listed = check_names("classes", classes)
        if len(set(listed)) != len(listed):
            raise ValueError(f"classes is {classes!r}; a name is there twice.")
        classes = {name: number for number, name in enumerate(listed, start=1)}
    sound = all(
        isinstance(name, str)
        and isinstance(number, Integral)
        and not isinstance(number, bool)
        for name, number in classes.items()
    )
    if not sound or not classes:
        raise TypeError(f"classes is {classes!r}; expected names, or names and ints.")
    numbers = set(classes.values())
    if len(numbers) != max(numbers) or min(numbers) != 1:
        raise ValueError(
            f"classes has the numbers {sorted(numbers)}; expected 1 to the number of "
            "classes, without gaps."
        )
    return {name: int(number) for name, number in classes.items()}


def _name_classes(numbers: dict[str, int] | None) -> list[str] | None:
    """Return a name for each class; of several names, the first."""
    if numbers is None:
        return None
    first = {number: name for name, number in reversed(numbers.items())}
    return [first[number] for number in sorted(first)]


def _tell_doubts(found: list[_Features], numbers: dict[str, int] | None) -> None:
    """Warn of files of which nothing is kept, unused classes, and several planes."""
    told = []
    empty = [each for each in found if each.left_out and not each.objects]
    empty = [each for each in empty if not each.points]
    if empty:
        kinds = sorted({kind for each in empty for kind in each.left_out})
        told.append(
            f"{len(empty)} file(s) hold no object of object_types, but "
            f"{', '.join(kinds)}: {tell_names([repr(each.path) for each in empty])}"
        )
    present = {each.class_name for one in found for each in one.objects}
    present.update(name for one in found for name in one.point_names)
    unknown = sorted(name for name in present if name and name not in (numbers or {}))
    if numbers and unknown:
        used = {numbers[name] for name in present if name in numbers}
        unused = sorted(name for name in numbers if numbers[name] not in used)
        if unused:
            told.append(
                f"no object has the class {tell_names(list(map(repr, unused)))}, and "
                "those of other names count as class 0: "
                f"{tell_names(list(map(repr, unknown)))}"
            )
    several = [each for each in found if len(each.planes) > 1]
    if several:
        names = [f"{each.path!r} ({_tell_planes(each.planes)})" for each in several]
        told.append(
            f"those of {len(several)} file(s) lie on several planes of a stack, and "
            "all are taken for the one plane of their image; export the objects of "
            f"that plane alone: {tell_names(names)}"
        )
    if told:
        warn_user(f"Of the annotations, {'; '.join(told)}.", AnnotationWarning)


def _tell_planes(planes: set[tuple[str, str]]) -> str:
    """Write the planes of a stack, the first of them."""
    ordered = sorted(planes, key=lambda plane: [natural_key(side) for side in plane])
    return tell_names([f"z {z} t {t}" for z, t in ordered])


def _find_files(
    folder: str | os.PathLike, annotations: str | os.PathLike | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Return images and annotation files by name, or say what is missing."""
    root = check_folder(folder)
    beside = root
    if annotations is not None:
        beside = check_folder(annotations, "annotations")
    skipped = Skipped()
    images = list_by_stem(root, IMAGE_SUFFIXES, skipped)
    if not images:
        raise FileNotFoundError(
            f"{str(root)!r} holds no image; expected files ending in "
            f"{', '.join(IMAGE_SUFFIXES)}."
        )
    files: dict[str, str] = {}
    # Scripts of QuPath often keep the image's suffix: "a.png.geojson".
    stems = {compose(Path(path).name): stem for stem, path in images.items()}
    for path in sorted(beside.iterdir()):
        match = re.fullmatch(
            r"([^.].*)\.geojson(\.gz)?", compose(path.name), re.IGNORECASE
        )
        if match is None:
            continue
        if not is_regular(path):
            skipped.add(path, tell_kind(path))
            continue
        name = stems.get(match[1], match[1])
        if name in files:
            raise ValueError(
                f"{str(beside)!r} holds both {Path(files[name]).name!r} and "
                f"{path.name!r}; keep one."
            )
        files[name] = str(path)
    skipped.tell()
    lacking = [f"{name}.geojson" for name in images if name not in files]
    report_missing(beside, lacking, "a NAME.geojson for each image")
    orphans = [f"{name}.*" for name in files if name not in images]
    report_missing(root, orphans, f"an image for each .geojson of {str(beside)!r}")
    return images, files


def _read_features(
    path: str, geometry: str, object_types: Sequence[str], max_bytes: int | None
) -> _Features:
    """Read the objects and points of one file, of the types to keep."""
    # QuPath writes measurements that are NaN; coordinates are checked apart.
    content = read_json(path, allow_nan=True, max_bytes=max_bytes)
    if isinstance(content, dict):
        single = content.get("type") == "Feature"
        content = [content] if single else content.get("features")
    if not isinstance(content, list):
        raise ValueError(
            f"{path!r} is no GeoJSON of features: expected a FeatureCollection, or a "
            "list of features."
        )
    found = _Features(path)
    for index, feature in enumerate(content):
        try:
            _add_feature(feature, index, found, geometry, object_types)
        except ValueError as error:
            raise ValueError(f"{path!r}: feature {index}: {error}.") from error
    return found


def _add_feature(
    feature: object,
    index: int,
    found: _Features,
    geometry: str,
    object_types: Sequence[str],
) -> None:
    """Add what one feature draws, if its type is to be kept."""
    if not isinstance(feature, dict):
        raise ValueError(f"it is {feature!r:.40}; expected an object")
    properties = feature.get("properties")
    properties = {} if properties is None else properties
    if not isinstance(properties, dict):
        raise ValueError(f"its properties are {properties!r:.40}; expected an object")
    kind = _find_type(feature, properties)
    if kind not in object_types:
        found.left_out[kind] += 1
        return
    drawn = feature.get("geometry")
    if geometry == "nucleus":
        drawn = feature.get("nucleusGeometry") or drawn
    label = f"feature {index}"
    if drawn is None:
        found.lost.append(("blank", label))
        return
    name = _find_class(properties)
    parts = _Parts()
    _add_geometry(drawn, parts)
    if parts.polygons:
        found.objects.append(_Object(label, parts.polygons, name, kind))
        if holds_open_ring(parts.polygons):
            found.lost.append(("open", f"a ring of {label}"))
    if parts.polygons or parts.points:
        found.planes |= parts.planes
        if not parts.kinds.isdisjoint(_LINES):
            found.lost.append(("line", f"a part of {label}"))
    else:
        only_lines = parts.kinds and parts.kinds.issubset(_LINES)
        found.lost.append(("line" if only_lines else "blank", label))
    found.points.extend(parts.points)
    found.point_names.extend([name] * len(parts.points))


def _add_geometry(
    drawn: object, parts: _Parts, plane: object = None, depth: int = 0
) -> None:
    """Add a geometry; what it holds lies on its plane, if it tells no other."""
    if not isinstance(drawn, dict):
        raise ValueError(f"its geometry is {drawn!r:.40}; expected an object")
    kind, coordinates = drawn.get("type"), drawn.get("coordinates")
    plane = drawn.get("plane", plane)
    if kind in ("Point", "MultiPoint"):
        pairs = [coordinates] if kind == "Point" else coordinates
        parts.points.extend(as_vertices(pairs, f"its {kind}"))
    elif kind in ("Polygon", "MultiPolygon"):
        told = [coordinates] if kind == "Polygon" else coordinates
        parts.polygons.extend(_read_polygons(told, kind))
    elif kind == "GeometryCollection":
        inner = drawn.get("geometries")
        if not isinstance(inner, list):
            raise ValueError("its GeometryCollection has no list of geometries")
        if depth >= _MAX_NESTING:
            raise ValueError("its GeometryCollection is nested too deeply")
        for each in inner:
            _add_geometry(each, parts, plane, depth + 1)
        return
    elif kind not in _LINES:
        raise ValueError(
            f"its geometry is of type {kind!r:.40}; expected Polygon, MultiPolygon, "
            "Point, MultiPoint or GeometryCollection"
        )
    parts.kinds.add(kind)
    if kind not in _LINES:
        parts.planes.add(_find_plane(plane))


def _find_plane(plane: object) -> tuple[str, str]:
    """Return z and t of QuPath's plane; objects that tell none lie on the first."""
    told = plane if isinstance(plane, dict) else {}
    z, t = (told.get(name) or 0 for name in ("z", "t"))
    return (f"{z!s:.20}", f"{t!s:.20}")


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
    """Return the name of an object's class, if it has one.

    It is a text, a list of texts of a derived class, or an object with either as
    "name" or "names".
    """
    told = properties.get("classification")
    names = _class_names(told)
    if names is None:
        raise ValueError(
            f"its classification is {told!r:.60}; expected a name, a list of names, or "
            "an object with a 'name'"
        )
    return ": ".join(names) or None


def _class_names(told: object) -> list[str] | None:
    """Return the parts of a class's name, none where there is no class."""
    if told is None or told == "":
        return []
    if isinstance(told, str):
        return [told]
    if isinstance(told, dict):
        names = told.get("names")
        return _class_names(told.get("name") if not names else names)
    if not isinstance(told, list):
        return None
    parts = []
    for each in told:
        if isinstance(each, list):
            return None
        names = _class_names(each)
        if names is None:
            return None
        parts.extend(names)
    return parts


def _look_up(numbers: dict[str, int], names: list[str | None]) -> list[int]:
    """Return the number of each class, 0 for the unknown and for none."""
    return [0 if name is None else numbers.get(name, 0) for name in names]


def _paint(
    found: _Features,
    size: tuple[int, int],
    numbers: dict[str, int] | None,
    lost: Lost,
) -> tuple[np.ndarray, list[str]]:
    """Draw the objects of one image; return also the classes of those seen."""
    names = [each.class_name for each in found.objects]
    classes = None if numbers is None else _look_up(numbers, names)
    kinds = {each.kind for each in found.objects}
    mixed = "annotation" in kinds and not kinds.isdisjoint({"detection", "cell"})
    filled = fill_parts(
        [each.polygons for each in found.objects],
        size,
        lambda index: f"{found.path!r}: {found.objects[index].name}",
    )
    objects = (
        _draw(each, pixels, mixed)
        for each, pixels in zip(found.objects, filled, strict=True)
    )
    mask, shown = paint(objects, size, lost, found.path, classes)
    return mask, [name or "" for name, seen in zip(names, shown, strict=True) if seen]


def _draw(each: _Object, pixels: Pixels, mixed: bool) -> Drawn:
    """Draw one object; annotations among detections may be regions."""
    outline = np.concatenate(
        [np.empty((0, 2)), *(ring for rings in each.polygons for ring in rings)]
    )
    holder = mixed and each.kind == "annotation"
    area = partial(measure_area, each.polygons)
    return Drawn(each.name, *pixels, outline, area, holder)


def _stack_points(
    found: _Features, image: str, numbers: dict[str, int] | None
) -> np.ndarray:
    """Return the points of one image, with their classes if asked for."""
    points = np.array(found.points, dtype=np.float64).reshape(-1, 2)
    if len(points):
        size = read_drawable_size(image)
        beside = ((points < -0.5) | (points > np.subtract(size, 0.5))).any(axis=1)
        if beside.any():
            row, column = points[beside][0]
            raise ValueError(
                f"{found.path!r} holds {int(beside.sum())} point(s) outside its image "
                f"{image!r} of {size} (height, width), such as row {row:g}, column "
                f"{column:g}; are they in the coordinates of the whole slide?"
            )
    if numbers is None:
        return points
    classes = _look_up(numbers, found.point_names)
    return np.column_stack([points, np.array(classes, dtype=np.float64)])
