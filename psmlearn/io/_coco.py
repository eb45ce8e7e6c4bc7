# SPDX-License-Identifier: BSD-3-Clause
"""Objects of label images in the JSON of COCO."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from psmlearn import __version__
from psmlearn._images._checks import as_label_image
from psmlearn._images._run_lengths import RunLengths, encode_objects
from psmlearn._parameters import as_list, shown
from psmlearn._typing import Masks
from psmlearn.io._masks import list_masks, load_mask
from psmlearn.io._objects import ClassNames, object_classes, open_text, table_values
from psmlearn.io._paths import as_path, atomic_path, is_path
from psmlearn.io._write import check_suffix, names_its_file

__all__ = ["write_coco"]

_ONE_CLASS = "nucleus"
_NO_CLASS = "Unclassified"


@names_its_file
def write_coco(
    path: str | os.PathLike[str],
    labels: Masks,
    file_names: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    classes: Mapping[int, str] | Sequence[str] | None = None,
    tables: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Write the objects of label images as COCO instances, atomically.

    Segmentations are run lengths, so the very pixels come back, holes too, from
    :func:`psmlearn.datasets.load_coco`. Images are taken one by one.

    Parameters
    ----------
    path : str or os.PathLike
        Ends in .json, or in .json.gz to be packed.
    labels : list of ndarray of shape (height, width[, 2]) and paths, or one
        Ids; a second plane holds classes. Unknown pixels (-1) are written as crowds of
        every category, which scores of COCO leave out.
    file_names : sequence of str or os.PathLike, or one
        Name of each image, relative to the folder of images; they are not looked at.
    classes : mapping of int to str or sequence of str, default=None
        Names of the classes; a sequence is numbered from 1. None writes "Positive" and
        "Negative" for 1 and 2, and "Class 3" and so on for others.
    tables : sequence of mappings of str to array-like, or one, default=None
        For each image measurements with the ids in "label", such as
        :func:`psmlearn.measure.nuclei_table` gives them; "confidence" is written as
        the "score".

    Raises
    ------
    TypeError, ValueError
        If labels, names or tables are not what is expected, or differ in number; if
        some labels have classes and others have not.
    OSError
        If the file cannot be written.

    Notes
    -----
    Images and annotations are numbered from 1 in their order. The ids of categories
    are the numbers of the classes; without classes there is the category "nucleus".
    Objects without a class, beside others with one, are "Unclassified", a category
    after all others, and come last. "label" holds the id in the label image.

    References
    ----------
    T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.

    Examples
    --------
    >>> import json, os, tempfile
    >>> import numpy as np
    >>> from psmlearn.io import write_coco
    >>> labels = np.array([[0, 1, 1], [0, 1, 0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "instances.json")
    ...     write_coco(path, labels, "slide1.png")
    ...     with open(path) as file:
    ...         content = json.load(file)
    >>> content["images"]
    [{'id': 1, 'file_name': 'slide1.png', 'height': 2, 'width': 3}]
    >>> nucleus = content["annotations"][0]
    >>> nucleus["bbox"], nucleus["area"], nucleus["segmentation"]
    ([1, 0, 2, 2], 3, {'size': [2, 3], 'counts': '231'})
    """
    plain = as_path(path)
    inner = plain[:-3] if plain.lower().endswith(".gz") else plain
    check_suffix(inner, (".json",))
    named = list_masks(labels, "labels", with_classes=True)
    names = _file_names(file_names, len(named))
    listed = _tables(tables, len(named))
    content = _Content(ClassNames(classes))
    with atomic_path(path) as part, open_text(part, packed=inner != plain) as file:
        info = {"description": f"Objects of label images, by psmlearn {__version__}"}
        file.write(f'{{"info": {json.dumps(info)},\n"annotations": [')
        separator = "\n"
        found = (
            content.objects(called, item, name, table)
            for (called, item), name, table in zip(named, names, listed, strict=True)
        )
        for annotation in chain(chain.from_iterable(found), content.rest()):
            file.write(f"{separator}{json.dumps(annotation)}")
            separator = ",\n"
        for key, entries in (
            ("images", content.images),
            ("categories", content.categories()),
        ):
            lines = ",\n".join(map(json.dumps, entries))
            file.write(f'\n],\n"{key}": [\n{lines}')
        file.write("\n]}\n")


class _Content:
    """What is known of a file after the images that have been gone through."""

    def __init__(self, names: ClassNames) -> None:
        self.names = names
        self.images: list[dict[str, Any]] = []
        self.with_classes: bool | None = None
        self.used: set[int] = set(names.known)
        # Their categories are known when all images have been gone through.
        self.unclassed: list[dict[str, Any]] = []
        self.unknown: list[dict[str, Any]] = []
        self.n_annotations = 0

    def objects(
        self, called: str, item: Any, name: str, table: Mapping[str, Any] | None
    ) -> Iterator[dict[str, Any]]:
        """Yield the objects of the next image."""
        mask = as_label_image(load_mask(item, called), called)
        self._check_kind(mask, called)
        plane = mask[..., 0] if mask.ndim == 3 else mask
        scores = _scores(table, plane, called)
        size = list(plane.shape)
        image = len(self.images) + 1
        self.images.append(
            {"id": image, "file_name": name, "height": size[0], "width": size[1]}
        )
        kinds = object_classes(mask)
        self.used |= set(kinds.values())
        for runs in encode_objects(plane):
            told = _annotation(image, runs, size) | {"iscrowd": 0, "label": runs.id}
            if runs.id in scores:
                told["score"] = scores[runs.id]
            if self.with_classes and runs.id not in kinds:
                self.unclassed.append(told)
            else:
                yield self._numbered(told, kinds.get(runs.id, 1))
        for runs in encode_objects((plane < 0).astype(np.int8)):
            self.unknown.append(_annotation(image, runs, size) | {"iscrowd": 1})

    def rest(self) -> Iterator[dict[str, Any]]:
        """Yield what has no class, then what is unknown, once for each category."""
        categories = [category["id"] for category in self.categories()]
        for told in self.unclassed:
            yield self._numbered(told, categories[-1])
        for told in self.unknown:
            for category in categories:
                yield self._numbered(told, category)

    def categories(self) -> list[dict[str, Any]]:
        """List all classes that are named or found."""
        if not self.with_classes:
            return [{"id": 1, "name": _ONE_CLASS}]
        numbers = sorted(self.used)
        told: list[dict[str, Any]] = [
            {"id": number, "name": self.names.of(number)} for number in numbers
        ]
        if self.unclassed:
            told.append({"id": max(numbers, default=0) + 1, "name": _NO_CLASS})
        return told

    def _check_kind(self, mask: np.ndarray, called: str) -> None:
        with_classes = mask.ndim == 3
        if self.with_classes not in (None, with_classes):
            raise ValueError(
                f"{called} has {'classes' if with_classes else 'no classes'}, other "
                "than the label images before; expected all with classes, or none."
            )
        self.with_classes = with_classes

    def _numbered(self, told: dict[str, Any], category: int) -> dict[str, Any]:
        self.n_annotations += 1
        return {"id": self.n_annotations, "category_id": category, **told}


def _annotation(image: int, runs: RunLengths, size: list[int]) -> dict[str, Any]:
    return {
        "image_id": image,
        "bbox": runs.box,
        "area": runs.area,
        "segmentation": {"size": size, "counts": runs.counts},
    }


def _scores(
    table: Mapping[str, Any] | None, plane: np.ndarray, called: str
) -> dict[int, float]:
    """Return the confidence of each object that has one."""
    if table is None:
        return {}
    present = np.unique(plane[plane > 0])
    return table_values(table, present, f"the table of {called}").get("confidence", {})


def _file_names(given: Any, n_images: int) -> list[str]:
    """Return the names of the images, with slashes, or say what is wrong."""
    listed = as_list(
        [given] if is_path(given) else given, "file_names", "a list of names of images"
    )
    if len(listed) != n_images:
        raise ValueError(
            f"file_names holds {len(listed)} name(s) for {n_images} label image(s); "
            "expected one for each."
        )
    names = []
    for index, one in enumerate(listed):
        if not is_path(one):
            raise TypeError(f"file_names[{index}] is {shown(one)}; expected a name.")
        name = as_path(one)
        place = PureWindowsPath(name) if os.name == "nt" else PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or place.name == "":
            raise ValueError(
                f"file_names[{index}] is {shown(name)}; expected a name relative to "
                "the folder of images, and within it."
            )
        names.append(place.as_posix())
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise ValueError(
            f"file_names holds {shown(twice[0])} twice; expected a name for each image."
        )
    return names


def _tables(given: Any, n_images: int) -> list[Mapping[str, Any] | None]:
    if given is None:
        return [None] * n_images
    if isinstance(given, Mapping) or hasattr(given, "columns"):
        given = [given]
    listed = as_list(given, "tables", "a list of tables, one for each image")
    if len(listed) != n_images:
        raise ValueError(
            f"tables holds {len(listed)} table(s) for {n_images} label image(s); "
            "expected one for each."
        )
    return listed
