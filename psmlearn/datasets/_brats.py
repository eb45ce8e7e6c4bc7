# SPDX-License-Identifier: BSD-3-Clause
"""Slices of the brain tumours of BraTS, as they are downloaded."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from psmlearn.datasets._folders import (
    Skipped,
    check_folder,
    is_regular,
    report_missing,
    tell_kind,
    tell_names,
)
from psmlearn.datasets._nifti import read_volume, require_nibabel
from psmlearn.datasets._parameters import (
    check_choice,
    check_flag,
    check_names,
    compose,
    show,
)
from psmlearn.datasets._stencils import label_regions

MODALITIES = ("flair", "t1", "t1ce", "t2")
# The last part of a file's name, lower case, over the years of the challenge.
_PARTS = {
    "flair": "flair", "fla": "flair", "t2f": "flair",
    "t1": "t1", "t1n": "t1",
    "t1ce": "t1ce", "t1c": "t1ce", "t1gd": "t1ce",
    "t2": "t2", "t2w": "t2",
    "seg": "seg", "segm": "seg", "otmulticlass": "seg",
    "brainmask": "brain",
}  # fmt: skip
_NEW_PARTS = {"t2f", "t1n", "t2w"}
# Values that make up each target; from 2023 on, 3 is what was 4 before (which
# in 2024 marks the cavity of a resection, no tumour).
_TARGETS = {
    "old": {"whole": (1, 2, 3, 4), "core": (1, 3, 4), "enhancing": (4,)},
    "new": {"whole": (1, 2, 3), "core": (1, 3), "enhancing": (3,)},
}
_SLICES = ("brain", "all")
_LAYOUT = (
    "CASE/CASE_flair.nii.gz, _t1, _t1ce, _t2 and _seg (from 2023 on CASE-t2f.nii.gz, "
    "-t1n, -t1c, -t2w and -seg)"
)
_DESCR = """BraTS: gliomas in multimodal brain MRI
======================================

Axial slices of volumes that are aligned, without the skull, and sampled at
1 mm (`pixel_size` 1000 micrometres). Rows run from front to back, columns from
the patient's right to his left. The channels are MRI sequences, `modalities`,
as float32 in the units of the files, which are outside [0, 1]: give them to
estimators with value_range=None. Outside the brain, the official volumes are
0; standardised ones may hold another constant there. Connected regions of the
target within a slice are the objects of the masks. Group by `groups`, the
patients, when splitting.

Values of the files: 1 necrotic (and, 2017 to 2020, non-enhancing) core,
2 oedema, 3 non-enhancing core (to 2015), 4 enhancing tumour (to 2021); from
2023 on 3 is the enhancing tumour, and 4 (2024) a resection cavity, which no
target takes. The tumours of children (PED) have other values in 2024: for
these, targets are not right.

Licence: that of the challenge's year; registration is needed for most, and
CC BY-NC-SA 3.0 holds for the data of 2012 to 2015.

B. H. Menze et al., "The Multimodal Brain Tumor Image Segmentation Benchmark
(BRATS)", IEEE TMI 34(10), 2015.
S. Bakas et al., "Advancing The Cancer Genome Atlas glioma MRI collections with
expert segmentation labels and radiomic features", Scientific Data 4, 2017.
U. Baid et al., "The RSNA-ASNR-MICCAI BraTS 2021 Benchmark on Brain Tumor
Segmentation and Radiogenomic Classification", arXiv:2107.02314, 2021.
"""


@dataclass
class _Case:
    """The files of one case by modality, "seg" and "brain"."""

    name: str
    files: dict[str, str]
    is_new: bool


def load_brats(
    folder: str | os.PathLike,
    *,
    modalities: Sequence[str] | None = None,
    target: str = "whole",
    classes: bool = False,
    slices: str = "brain",
    step: int = 1,
    cases: Sequence[str] | None = None,
    require_masks: bool = True,
) -> Bunch:
    """Load axial slices of BraTS from the folder it was unpacked to.

    The names of all years are known, and those of the standardised sample of
    2013 that comes with DeepMedic. NIfTI files are read with nibabel
    (`pip install "psmlearn[data]"`).

    Parameters
    ----------
    folder : str or os.PathLike
        Holds a folder for each case, at any depth (such as `HGG/CASE`).
    modalities : sequence of str or None, default=None
        Channels, in this order, of "flair", "t1", "t1ce" and "t2"; None for all
        that are there, in that order.
    target : {"whole", "core", "enhancing"}, default="whole"
        What is segmented: the whole tumour, its core (all but oedema), or its
        enhancing part.
    classes : bool, default=False
        Whether masks have a second plane with the values of the file, which
        tell the kind of tissue.
    slices : {"brain", "all"}, default="brain"
        Slices to keep: those that show any brain (by `brainmask` where there is
        one; else, where a channel differs from its corner), or all.
    step : int, default=1
        Every how many of these slices of a case one is kept.
    cases : sequence of str or None, default=None
        Names of the cases to load; None for all.
    require_masks : bool, default=True
        If False, cases without a segmentation are no error, as those of
        validation sets.

    Returns
    -------
    Bunch
        With `images`, a list of float32 arrays (height, width, n_modalities),
        by case and slice; `masks`, a list of int32 label images (height, width),
        or (height, width, 2) with `classes`, None where there is no
        segmentation (and None in place of the list if there is none at all);
        `image_labels`, an int array (n_images,), 1 where a slice shows the
        target, else 0, and -1 where nothing tells; `groups`, an array of
        patients; `cases` and `slice_numbers`, arrays; `modalities`, a tuple;
        `names`, a list of str; `pixel_size`, in micrometres, or None if cases
        differ; `DESCR`.

    Raises
    ------
    ImportError
        If nibabel is missing.
    FileNotFoundError
        If there are no cases, or files of some are missing.
    TypeError
        If a parameter is of the wrong kind.
    ValueError
        If a file is broken, longer or shorter than it tells, of another checksum,
        of more than 268435456 voxels, holds NaN or unknown values, or differs in
        size from the others of its case, or a parameter has a bad value.

    Notes
    -----
    Slices are held in memory: 4 bytes for each pixel, channel, and mask, so a
    whole case of 155 slices and four channels takes 180 MB; `step` and `cases`
    make it less. Volumes are turned by their headers, so that slices are axial
    and look alike whatever the order in the file.

    References
    ----------
    B. H. Menze et al., "The Multimodal Brain Tumor Image Segmentation Benchmark
    (BRATS)", IEEE Transactions on Medical Imaging 34(10), 2015.
    K. Kamnitsas et al., "Efficient multi-scale 3D CNN with fully connected CRF
    for accurate brain lesion segmentation", Medical Image Analysis 36, 2017.

    Examples
    --------
    >>> from psmlearn.datasets import load_brats
    >>> data = load_brats("brats2013", step=4)  # doctest: +SKIP
    >>> data.modalities, data.images[0].shape  # doctest: +SKIP
    (('flair', 't1ce'), (240, 240, 2))
    """
    _check_parameters(target, slices, step)
    check_flag("classes", classes)
    check_flag("require_masks", require_masks)
    found = _select_cases(_find_cases(check_folder(folder)), cases)
    channels = _choose_modalities(found, modalities)
    wanted = [*channels, "seg"] if require_masks else channels
    report_missing(
        check_folder(folder),
        [f"{case.name}: {part}" for case in found for part in wanted
         if part not in case.files],
        _LAYOUT,
    )  # fmt: skip
    require_nibabel("load_brats")
    parts = [
        _load_case(case, channels, target, classes, slices, step) for case in found
    ]
    counts = [len(part["numbers"]) for part in parts]
    names = np.repeat([case.name for case in found], counts)
    numbers = np.concatenate([part["numbers"] for part in parts])
    sizes = {part["pixel_size"] for part in parts}
    masks = [mask for part in parts for mask in part["masks"]]
    labels = np.array([_tell_label(mask) for mask in masks])
    untold = (labels < 0).all()
    return Bunch(
        images=[image for part in parts for image in part["images"]],
        masks=None if untold else masks,
        image_labels=None if untold else labels,
        groups=np.array([_find_patient(name) for name in names.tolist()]),
        cases=names,
        slice_numbers=numbers,
        modalities=tuple(channels),
        names=[f"{name}_{z:03d}" for name, z in zip(names, numbers, strict=True)],
        pixel_size=sizes.pop() if len(sizes) == 1 else None,
        DESCR=_DESCR,
    )


def _check_parameters(target: str, slices: str, step: int) -> None:
    check_choice("target", target, tuple(_TARGETS["old"]))
    check_choice("slices", slices, _SLICES)
    if not isinstance(step, Integral) or isinstance(step, bool) or step < 1:
        raise ValueError(f"step is {show(step)}; expected an int of at least 1.")


def _find_cases(root: Path) -> list[_Case]:
    """Return all folders below that hold NIfTI files known by their names."""
    cases: dict[str, _Case] = {}
    skipped = Skipped()
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        subfolders[:] = sorted(n for n in subfolders if not n.startswith("."))
        if os.path.realpath(folder) in seen:  # a link that leads back
            subfolders.clear()
            continue
        seen.add(os.path.realpath(folder))
        name = compose(os.path.basename(folder))
        case = _Case(name, {}, bool(re.match(r"brats-[a-z]+-\d", name.lower())))
        for name in sorted(files):
            match = re.fullmatch(r"(.+)\.nii(\.gz)?", name, re.IGNORECASE)
            if match is None or name.startswith("."):
                continue
            stem = match[1].lower().removesuffix("_subtrmeandivstd")
            last = re.split(r"[_-]", stem)[-1]
            part, path = _PARTS.get(last), os.path.join(folder, name)
            if part is None:
                known = ", ".join(sorted(_PARTS))
                skipped.add(path, f"names end in one of {known}")
                continue
            if os.path.islink(path) and not os.path.exists(path):
                raise FileNotFoundError(
                    f"{path!r} is a link to {os.readlink(path)!r}, which is not there."
                )
            if not is_regular(path):
                skipped.add(path, tell_kind(Path(path)))
                continue
            if part in case.files:
                raise ValueError(
                    f"{folder!r} holds two files of {part!r}: "
                    f"{os.path.basename(case.files[part])!r} and {name!r}; keep one."
                )
            case.files[part] = path
            case.is_new |= last in _NEW_PARTS
        if case.files:
            if case.name in cases:
                raise ValueError(f"{str(root)!r} holds the case {case.name!r} twice.")
            cases[case.name] = case
    skipped.tell()
    if not cases:
        raise FileNotFoundError(f"{str(root)!r} holds no cases; expected {_LAYOUT}.")
    return [cases[name] for name in sorted(cases)]


def _select_cases(found: list[_Case], names: Sequence[str] | None) -> list[_Case]:
    """Return the cases asked for, in that order."""
    if names is None:
        return found
    names = [compose(name) for name in check_names("cases", names)]
    by_name = {case.name: case for case in found}
    unknown = [name for name in names if name not in by_name]
    if len(set(names)) != len(names):
        raise ValueError(f"cases is {names!r}; expected each name once.")
    if unknown or len(names) == 0:
        raise ValueError(
            f"cases names {tell_names(unknown) or 'none'}; there are "
            f"{tell_names(list(by_name))}."
        )
    return [by_name[name] for name in names]


def _choose_modalities(
    found: list[_Case], modalities: Sequence[str] | None
) -> list[str]:
    """Return the channels: those asked for, or all that any case has."""
    if modalities is None:
        present = {part for case in found for part in case.files}
        # Where there is none, all are told as missing.
        return [name for name in MODALITIES if name in present] or list(MODALITIES)
    modalities = check_names("modalities", modalities)
    if len(modalities) == 0 or len(set(modalities)) != len(modalities):
        raise ValueError(f"modalities is {modalities!r}; expected each name once.")
    for name in modalities:
        if name not in MODALITIES:
            raise ValueError(f"modalities has {name!r}; expected of {MODALITIES}.")
    return list(modalities)


def _load_case(
    case: _Case,
    channels: list[str],
    target: str,
    classes: bool,
    slices: str,
    step: int,
) -> dict:
    """Read the volumes of a case and cut the slices to keep."""
    volumes, pixel_sizes = {}, set()
    for part in [*channels, "seg", *(["brain"] if slices == "brain" else [])]:
        if part in case.files:
            volumes[part], pixel_size = read_volume(case.files[part])
            pixel_sizes.add(pixel_size)
    shape = volumes[channels[0]].shape
    for part, volume in volumes.items():
        if volume.shape != shape:
            raise ValueError(
                f"{case.files[part]!r} has {volume.shape} (slices, rows, columns), but "
                f"{case.files[channels[0]]!r} has {shape}."
            )
    numbers = np.arange(shape[0])
    if slices == "brain":
        numbers = np.flatnonzero(_find_brain(volumes, channels).any(axis=(1, 2)))
        if len(numbers) == 0:
            raise ValueError(f"Case {case.name!r} shows no brain in any slice.")
    numbers = numbers[::step]
    images = np.stack([volumes[part][numbers] for part in channels], axis=-1)
    masks: list[np.ndarray | None] = [None] * len(numbers)
    if "seg" in volumes:
        values = _TARGETS["new" if case.is_new else "old"][target]
        tissues = (_as_tissues(volumes["seg"][z], case.files["seg"]) for z in numbers)
        masks = [_as_mask(tissue, values, classes) for tissue in tissues]
    return {
        "images": list(images.astype(np.float32, copy=False)),
        "masks": masks,
        "numbers": numbers,
        "pixel_size": pixel_sizes.pop() if len(pixel_sizes) == 1 else None,
    }


def _find_brain(volumes: dict[str, np.ndarray], channels: list[str]) -> np.ndarray:
    """Return where the brain is: by its mask, or where a channel is no background."""
    if "brain" in volumes:
        return volumes["brain"] > 0.5
    corners = [volumes[part] != volumes[part][0, 0, 0] for part in channels]
    return np.logical_or.reduce(corners)


def _as_tissues(values: np.ndarray, path: str) -> np.ndarray:
    """Return the values of a slice's segmentation as ints 0 to 4."""
    tissues = np.rint(values)
    if np.abs(tissues - values).max() > 1e-3 or tissues.min() < 0 or tissues.max() > 4:
        raise ValueError(f"{path!r} holds values that are no labels 0 to 4.")
    return tissues.astype(np.int32)


def _as_mask(tissue: np.ndarray, values: tuple[int, ...], classes: bool) -> np.ndarray:
    """Return the regions of a target in a slice, with their tissue if asked for."""
    inside = np.isin(tissue, values)
    labels = label_regions(inside)
    return np.stack([labels, tissue * inside], axis=-1) if classes else labels


def _tell_label(mask: np.ndarray | None) -> int:
    """Return 1 for a mask of anything, 0 for an empty one, -1 for none."""
    return -1 if mask is None else int(mask.any())


def _find_patient(name: str) -> str:
    """Return the patient of a case: without the number of the visit."""
    for pattern in (
        r"(BraTS-\w+-\d+)-\d+",  # from 2023 on
        r"(Brats1[789]_\w+_\w+)_\d+",  # 2017 to 2019
        r"(brats_\w+_pat\d+)_\d+",  # to 2015
    ):
        match = re.fullmatch(pattern, name, re.IGNORECASE)
        if match:
            return match[1]
    return name
