# SPDX-License-Identifier: BSD-3-Clause
"""The data sets of the accuracy benchmark, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from psmlearn.datasets import load_cpm, load_monuseg
from psmlearn.io import read_image

QUICK_IMAGES = 4
QUICK_SIZE = 384


@dataclass(frozen=True)
class DataSet:
    """Images with their true label images, and what else rows need to know."""

    name: str
    images: list
    masks: list[np.ndarray]
    names: list[str]
    groups: np.ndarray
    pixel_size: list[float]
    # Images to train on; None: the images themselves (without labels, or in folds).
    train: DataSet | None = None


def load(name: str, data: Path) -> DataSet:
    """Load a data set from the folder of all."""
    return LOADERS[name](data)


def available(data: Path) -> list[str]:
    """List the data sets that the folder holds."""
    return [name for name, folder in FOLDERS.items() if (data / folder).is_dir()]


def quick(dataset: DataSet) -> DataSet:
    """Cut a data set to the middle of a few of its images."""
    step = max(1, len(dataset.images) // QUICK_IMAGES)
    keep = range(0, step * QUICK_IMAGES, step)
    images = [read_image(dataset.images[i])[..., :3] for i in keep]
    return replace(
        dataset,
        name=f"{dataset.name}-quick",
        images=[centre_crop(image, QUICK_SIZE) for image in images],
        masks=[centre_crop(dataset.masks[i], QUICK_SIZE) for i in keep],
        names=[dataset.names[i] for i in keep],
        groups=dataset.groups[list(keep)],
        pixel_size=[dataset.pixel_size[i] for i in keep],
        train=None,
    )


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


FOLDERS = {
    "monuseg": "monuseg/MoNuSegTrainingData",
    "monuseg-test": "monuseg/MoNuSegTestData",
    "cpm15": "cpm15",
}
LOADERS = {
    "monuseg": _load_monuseg,
    "monuseg-test": _load_monuseg_test,
    "cpm15": _load_cpm15,
}
