# SPDX-License-Identifier: BSD-3-Clause
"""The data sets of the accuracy benchmark, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage as ndi
from sklearn.utils import Bunch

from psmlearn.datasets import (
    load_bcdata,
    load_brats,
    load_cpm,
    load_lgg,
    load_monuseg,
    load_point_folder,
)
from psmlearn.io import read_image, read_labels
from psmlearn.metrics._centres import measure_objects

QUICK_IMAGES = 4
QUICK_SIZE = 384
# Of slices: patients, and for each those with a lesion, and as many without.
QUICK_PATIENTS = 2
QUICK_SLICES = 4
# In micrometres. The fields are 40x at half resolution. The glioma's is told nowhere;
# it is guessed from its nuclei, whose true outlines are about 17 pixels wide.
FIELDS_PIXEL_SIZE = 0.5
GLIOMA_PIXEL_SIZE = 0.4


@dataclass(frozen=True)
class DataSet:
    """Images with their truth, and what else rows need to know.

    The kind "he" has true label images. The kind "ki67" has true points with classes,
    1 positive and 2 negative, and regions where these are complete, or None. The kind
    "weak" has true label images too, which only score, and image labels to train on.
    """

    name: str
    images: list
    masks: list[np.ndarray]
    names: list[str]
    groups: np.ndarray
    pixel_size: list[float]
    kind: str = "he"
    points: list[np.ndarray] | None = None
    regions: list[np.ndarray] | None = None
    # Images to train on; None: the images themselves (without labels, or in folds).
    train: DataSet | None = None
    # Whether an image shows a lesion; and which channel is FLAIR.
    image_labels: np.ndarray | None = None
    flair: int | None = None
    # Of slices: those that are trained on, the others are predicted; None: folds.
    trains: np.ndarray | None = None


def load(name: str, data: Path) -> DataSet:
    """Load a data set from the folder of all."""
    return LOADERS[name](data)


def available(data: Path) -> list[str]:
    """List the data sets that the folder holds."""
    there = {name for name, folder in FOLDERS.items() if (data / folder).is_dir()}
    lacking = {name for name, other in TRAINED_ON.items() if other not in there}
    return [name for name in FOLDERS if name in there - lacking]


def quick(dataset: DataSet) -> DataSet:
    """Cut a data set to a few images, and these to their middle."""
    if dataset.kind == "weak":
        return _quick_slices(dataset)
    keep = _spread(range(len(dataset.images)), QUICK_IMAGES)
    if dataset.kind == "ki67":
        return _quick_points(dataset, keep)
    return replace(
        dataset,
        name=f"{dataset.name}-quick",
        images=[centre_crop(read_rgb(dataset.images[i]), QUICK_SIZE) for i in keep],
        masks=[centre_crop(dataset.masks[i], QUICK_SIZE) for i in keep],
        names=[dataset.names[i] for i in keep],
        groups=dataset.groups[list(keep)],
        pixel_size=[dataset.pixel_size[i] for i in keep],
        train=None,
    )


def _spread(places, n: int):
    """Keep so many places, evenly apart."""
    return places[:: max(1, len(places) // n)][:n]


def _quick_slices(dataset: DataSet) -> DataSet:
    """Keep a few slices with and without lesion, of patients that have both."""
    trains = dataset.trains
    everything = np.ones(len(dataset.images), bool)
    kinds = [everything] if trains is None else [trains, ~trains]
    keep = sorted(i for kind in kinds for i in _few_of(dataset, kind))
    return replace(
        dataset,
        name=f"{dataset.name}-quick",
        images=[dataset.images[i] for i in keep],
        masks=[dataset.masks[i] for i in keep],
        names=[dataset.names[i] for i in keep],
        groups=dataset.groups[keep],
        pixel_size=[dataset.pixel_size[i] for i in keep],
        image_labels=dataset.image_labels[keep],
        trains=None if trains is None else trains[keep],
    )


def _few_of(dataset: DataSet, kind: np.ndarray) -> list[int]:
    """Choose slices of the first patients that have both, among those of a kind."""
    shown = dataset.image_labels > 0
    keep: list[int] = []
    n_patients = 0
    for patient in np.unique(dataset.groups[kind]):
        own = kind & (dataset.groups == patient)
        sides = [np.flatnonzero(own & (shown == side)) for side in (False, True)]
        if n_patients < QUICK_PATIENTS and all(map(len, sides)):
            n_patients += 1
            for side in sides:
                keep += _spread(side, QUICK_SLICES).tolist()
    return keep


def _quick_points(dataset: DataSet, keep: range) -> DataSet:
    """Cut images around the middle of their true points."""
    parts: dict[str, list] = {"images": [], "points": [], "regions": []}
    for index in keep:
        image, points = read_image(dataset.images[index]), dataset.points[index]
        corner = np.median(points[:, :2], axis=0) - QUICK_SIZE // 2
        most = np.maximum(np.array(image.shape[:2]) - QUICK_SIZE, 0)
        top, left = np.clip(corner, 0, most).astype(int)
        part = (slice(top, top + QUICK_SIZE), slice(left, left + QUICK_SIZE))
        parts["images"].append(np.ascontiguousarray(image[part][..., :3]))
        moved = points - [top, left, 0]
        inside = (moved[:, :2] > -0.5) & (moved[:, :2] < QUICK_SIZE - 0.5)
        parts["points"].append(moved[inside.all(axis=1)])
        if dataset.regions is not None:
            parts["regions"].append(dataset.regions[index][part])
    return replace(
        dataset,
        name=f"{dataset.name}-quick",
        masks=[],
        names=[dataset.names[i] for i in keep],
        groups=dataset.groups[list(keep)],
        pixel_size=[dataset.pixel_size[i] for i in keep],
        **parts | {"regions": parts["regions"] or None},
    )


def read_rgb(image) -> np.ndarray:
    """Return the colours of an image, read if it is a path."""
    return (read_image(image) if isinstance(image, str) else image)[..., :3]


def centre_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Cut the middle of an image, at most `size` pixels high and wide."""
    height, width = image.shape[:2]
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def _load_monuseg(data: Path, folder: str = "MoNuSegTrainingData") -> DataSet:
    bunch = load_monuseg(data / "monuseg" / folder)
    return DataSet(
        "monuseg",
        bunch.images,
        bunch.masks,
        bunch.names,
        bunch.groups,
        [bunch.pixel_size] * len(bunch.images),
    )


def _load_monuseg_test(data: Path) -> DataSet:
    test = _load_monuseg(data, "MoNuSegTestData")
    return replace(test, name="monuseg-test", train=_load_monuseg(data))


def _load_cpm15(data: Path) -> DataSet:
    bunch = load_cpm(data / "cpm15")
    # Patients are not told: each image counts as one.
    groups = np.array(bunch.names)
    sizes = [float(size) for size in bunch.pixel_size]
    return DataSet("cpm15", bunch.images, bunch.masks, bunch.names, groups, sizes)


def _load_ki67_fields(data: Path) -> DataSet:
    bunch = load_point_folder(
        data / "ki67_fields",
        images=".",
        points=".",
        regions=".",
        point_suffix="_points",
        region_suffix="_roi",
        row="y",
        column="x",
        classes={"positive": 1, "negative": 2},
    )
    return _of_points("ki67-fields", bunch, FIELDS_PIXEL_SIZE, bunch.regions)


def _load_ki67_glioma(data: Path) -> DataSet:
    images = sorted((data / "ki67_glioma").glob("*_quarter.png"))
    masks = [
        np.stack(
            [
                read_labels(path.with_name(f"{path.stem}_{part}.png"), kind=kind)
                for part, kind in (("inst", "ids"), ("class", "classes"))
            ],
            axis=-1,
        )
        for path in images
    ]
    points = [np.column_stack(measure_objects(mask, "mask")) for mask in masks]
    bunch = Bunch(
        images=list(map(str, images)),
        names=[path.stem for path in images],
        points=points,
    )
    dataset = _of_points("ki67-glioma", bunch, GLIOMA_PIXEL_SIZE)
    # File names start with the specimen: 1309620_-A2-27 and -28 are of one.
    groups = np.array([name.split("_")[0] for name in dataset.names])
    return replace(dataset, masks=masks, groups=groups)


def _load_bcdata(data: Path) -> DataSet:
    bunch = load_bcdata(data / "bcdata", subset="test")
    return _of_points("bcdata", bunch, bunch.pixel_size)


def _of_points(name: str, bunch: Bunch, pixel_size: float, regions=None) -> DataSet:
    # Patients are not told: each image counts as one.
    return DataSet(
        name,
        bunch.images,
        [],
        bunch.names,
        np.array(bunch.names),
        [pixel_size] * len(bunch.images),
        kind="ki67",
        points=bunch.points,
        regions=regions,
    )


def _load_lgg(data: Path) -> DataSet:
    # Pre-contrast, FLAIR, post-contrast.
    return _of_slices("lgg", load_lgg(data / "lgg_mri"), flair=1)


def _load_lgg_volumes(data: Path) -> DataSet:
    """Load whole volumes of other patients, behind the slices to train on."""
    known = _load_lgg(data)
    new = _of_slices("lgg-volumes", load_lgg(data / "lgg_volumes"), flair=1)
    both = set(known.groups) & set(new.groups)
    if both:
        raise ValueError(f"lgg_volumes holds patients of lgg_mri: {sorted(both)}")
    n_known, n_new = len(known.images), len(new.images)
    return replace(
        new,
        images=known.images + new.images,
        masks=known.masks + new.masks,
        names=known.names + new.names,
        groups=np.concatenate([known.groups, new.groups]),
        pixel_size=known.pixel_size + new.pixel_size,
        image_labels=np.concatenate([known.image_labels, new.image_labels]),
        trains=np.repeat([True, False], [n_known, n_new]),
    )


def _load_brats(data: Path) -> DataSet:
    # Neighbours are alike, and 1 mm apart: every other slice is enough.
    bunch = load_brats(data / "brats2013", step=2)
    return _of_slices("brats", bunch, bunch.modalities.index("flair"))


def _of_slices(name: str, bunch: Bunch, flair: int) -> DataSet:
    """Halve slices; their labels are those of the full size."""
    images = [read_image(i) if isinstance(i, str) else i for i in bunch.images]
    masks = [halved((mask > 0).astype(np.float32)) >= 0.5 for mask in bunch.masks]
    return DataSet(
        name,
        [halved(image) for image in images],
        [ndi.label(mask, np.ones((3, 3)))[0].astype(np.int32) for mask in masks],
        bunch.names,
        bunch.groups,
        [1000.0] * len(images),
        kind="weak",
        image_labels=np.asarray(bunch.image_labels),
        flair=flair,
    )


def halved(image: np.ndarray) -> np.ndarray:
    """Average squares of 2 x 2 pixels; equal values stay what they are, exactly."""
    height, width = (side // 2 * 2 for side in image.shape[:2])
    values = image[:height, :width].astype(np.float32)
    rows = values[::2] + values[1::2]
    mean = (rows[:, ::2] + rows[:, 1::2]) / 4
    return np.rint(mean).astype(np.uint8) if image.dtype == np.uint8 else mean


FOLDERS = {
    "monuseg": "monuseg/MoNuSegTrainingData",
    "monuseg-test": "monuseg/MoNuSegTestData",
    "cpm15": "cpm15",
    "ki67-fields": "ki67_fields",
    "ki67-glioma": "ki67_glioma",
    "bcdata": "bcdata",
    "lgg": "lgg_mri",
    "lgg-volumes": "lgg_volumes",
    "brats": "brats2013",
}
# What a set needs besides its own folder.
TRAINED_ON = {"lgg-volumes": "lgg"}
LOADERS = {
    "monuseg": _load_monuseg,
    "monuseg-test": _load_monuseg_test,
    "cpm15": _load_cpm15,
    "ki67-fields": _load_ki67_fields,
    "ki67-glioma": _load_ki67_glioma,
    "bcdata": _load_bcdata,
    "lgg": _load_lgg,
    "lgg-volumes": _load_lgg_volumes,
    "brats": _load_brats,
}
# Data sets whose truth is points with classes; the others' is label images.
KI67 = ("ki67-fields", "ki67-glioma", "bcdata")
# Those of which image labels are learnt from.
WEAK = ("lgg", "lgg-volumes", "brats")
