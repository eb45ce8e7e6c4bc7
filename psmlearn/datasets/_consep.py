# SPDX-License-Identifier: BSD-3-Clause
"""The CoNSeP data set, as it is downloaded."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from psmlearn._images._checks import as_label_image
from psmlearn.datasets._folders import (
    Skipped,
    find_root,
    find_subfolder,
    list_by_stem,
    natural_key,
    report_missing,
)
from psmlearn.datasets._matlab import read_mat_planes
from psmlearn.datasets._parameters import check_choice, check_flag

_SUBSETS = ("train", "test")
_TYPES = {
    1: "other",
    2: "inflammatory",
    3: "healthy epithelial",
    4: "dysplastic/malignant epithelial",
    5: "fibroblast",
    6: "muscle",
    7: "endothelial",
}
_MERGED_TYPES = {1: "other", 2: "inflammatory", 3: "epithelial", 4: "spindle-shaped"}
_MERGED = np.array([0, 1, 2, 3, 3, 4, 4, 4])
_DESCR = """CoNSeP: colorectal nuclear segmentation and phenotypes
======================================================

41 H&E images of 1000 x 1000 pixels at 40x (0.25 micrometres per pixel) from 16
patients with colorectal adenocarcinoma, 27 for training and 14 for testing,
with 24,319 nuclei of seven types. The set does not tell which images share a
patient: `groups` is None, so split as the set itself is split.
Licence: Apache 2.0 is given for it; the authors ask to cite the paper.

S. Graham et al., "HoVer-Net: Simultaneous Segmentation and Classification of
Nuclei in Multi-Tissue Histology Images", Medical Image Analysis 58, 2019.
"""


def load_consep(
    folder: str | os.PathLike, *, subset: str = "train", merge_types: bool = False
) -> Bunch:
    """Load a part of CoNSeP from the folder it was downloaded to.

    The layout is that of the download: `Train/Images/train_1.png` belongs to
    `Train/Labels/train_1.mat`, and so for `Test`. Nothing is downloaded.

    Parameters
    ----------
    folder : str or os.PathLike
        Such as "CoNSeP", with `Train` and `Test` in it, or a folder with nothing
        but that in it.
    subset : {"train", "test"}, default="train"
    merge_types : bool, default=False
        Whether to merge the types into four, as the paper does: 1 other,
        2 inflammatory, 3 epithelial, 4 spindle-shaped.

    Returns
    -------
    Bunch
        With `images`, a list of absolute paths, 2 before 10; `masks`, a list of
        int32 arrays (height, width, 2): the ids of the file, and the type of
        each nucleus; `target_names`, the names of types 1 to 7 (1 other,
        2 inflammatory, 3 healthy epithelial, 4 dysplastic/malignant epithelial,
        5 fibroblast, 6 muscle, 7 endothelial); `groups`, None; `names`, a list
        of str; `pixel_size`, in micrometres; `DESCR`.

    Raises
    ------
    FileNotFoundError
        If folders, images or labels are missing; the first are named.
    TypeError
        If a parameter is of the wrong kind.
    ValueError
        If `subset` is not one of the above, or a label file is broken, lacks
        `inst_map` or `type_map` or has one twice, or differs in size from its image.

    Notes
    -----
    A nucleus has the type that most of its pixels have in `type_map`, or -1
    (unknown) where they have none.

    References
    ----------
    S. Graham et al., "HoVer-Net: Simultaneous Segmentation and Classification
    of Nuclei in Multi-Tissue Histology Images", Medical Image Analysis 58,
    101563, 2019.

    Examples
    --------
    >>> from psmlearn.datasets import load_consep
    >>> train = load_consep("CoNSeP")  # doctest: +SKIP
    >>> len(train.images), train.masks[0].shape  # doctest: +SKIP
    (27, (1000, 1000, 2))
    """
    check_choice("subset", subset, _SUBSETS)
    check_flag("merge_types", merge_types)
    root = find_root(folder, lambda place: find_subfolder(place, subset))
    images, labels = _find_files(root, subset)
    return Bunch(
        images=list(images.values()),
        masks=[
            _read_mask(labels[name], image, merge_types)
            for name, image in images.items()
        ],
        target_names=list((_MERGED_TYPES if merge_types else _TYPES).values()),
        groups=None,
        names=list(images),
        pixel_size=0.25,
        DESCR=_DESCR,
    )


def _find_files(root: Path, subset: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the images and the label files by name."""
    top = subset.title()
    layout = f"{top}/Images/{subset}_N.png and {top}/Labels/{subset}_N.mat"
    part = find_subfolder(root, subset)
    found = {name: part and find_subfolder(part, name) for name in ("Images", "Labels")}
    missing = [f"{top}/{name}/" for name, folder in found.items() if folder is None]
    report_missing(root, missing, layout)
    folders = [folder for folder in found.values() if folder is not None]
    skipped = Skipped()
    images = list_by_stem(folders[0], (".png",), skipped)
    labels = list_by_stem(folders[1], (".mat",), skipped)
    skipped.tell()
    names = sorted(images | labels, key=natural_key)
    if not names:
        report_missing(root, [f"{top}/Images/{subset}_1.png"], layout)
    missing = [f"{top}/Images/{name}.png" for name in names if name not in images]
    missing += [f"{top}/Labels/{name}.mat" for name in names if name not in labels]
    report_missing(root, missing, layout)
    return {name: images[name] for name in names}, labels


def _read_mask(path: str, image: str, merge_types: bool) -> np.ndarray:
    """Read ids and types of the nuclei of one image."""
    ids, types = read_mat_planes(path, image, ("inst_map", "type_map"))
    ids = as_label_image(ids, f"{path!r}: 'inst_map'")
    if types.min() < 0 or types.max() > max(_TYPES):
        raise ValueError(
            f"{path!r}: 'type_map' holds values from {types.min()} to {types.max()}; "
            f"expected 0 for background and 1 to {max(_TYPES)}."
        )
    if merge_types:
        types = _MERGED[types]
    return np.stack([ids, _one_type_each(ids, types)], axis=-1)


def _one_type_each(ids: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Give every object the type that most of its pixels have; -1 for none."""
    inside = ids > 0
    result = np.where(ids < 0, -1, 0).astype(np.int32)
    objects, index = np.unique(ids[inside], return_inverse=True)
    n_types = max(_TYPES) + 1
    votes = np.bincount(
        index * n_types + types[inside], minlength=len(objects) * n_types
    ).reshape(-1, n_types)
    best = votes[:, 1:].argmax(axis=1) + 1
    best[votes[:, 1:].sum(axis=1) == 0] = -1
    result[inside] = best[index]
    return result
