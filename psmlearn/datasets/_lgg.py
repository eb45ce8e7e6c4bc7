# SPDX-License-Identifier: BSD-3-Clause
"""Slices of lower-grade gliomas, as they are downloaded."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from psmlearn.datasets._folders import (
    Skipped,
    find_root,
    find_subfolder,
    list_by_stem,
    list_folders,
    report_missing,
)
from psmlearn.datasets._stencils import label_regions, read_stencil
from psmlearn.io._read import read_size, warn_of_orientation

_SUFFIXES = (".tif", ".tiff", ".png")
_LAYOUT = (
    "PATIENT/PATIENT_N.tif and PATIENT/PATIENT_N_mask.tif (or .png), as in the folder "
    "'kaggle_3m'"
)
_DESCR = """LGG: lower-grade gliomas in brain MRI
=====================================

Axial slices of 256 x 256 pixels of 110 patients of The Cancer Genome Atlas
(3,929 slices in the whole set, 1,373 of them with a lesion). The channels are
the sequences before contrast, FLAIR and after contrast, uint8; where one was
missing, it is a copy of FLAIR. The FLAIR abnormality was outlined by hand.
Connected regions of it are the objects of the masks; `image_labels` tell
whether a slice shows any. The files do not tell the size of a pixel. Group by
`groups`, the patients, when splitting. Licence: CC BY-NC-SA 4.0.

M. Buda, A. Saha, M. A. Mazurowski, "Association of genomic subtypes of
lower-grade gliomas with shape features automatically extracted by a deep
learning algorithm", Computers in Biology and Medicine 109, 2019.
M. A. Mazurowski et al., "Radiogenomics of lower-grade glioma:
algorithmically-assessed tumor shape is associated with tumor genomic subtypes
and patient outcomes in a multi-institutional study with The Cancer Genome
Atlas data", Journal of Neuro-Oncology 133, 2017.
"""


def load_lgg(folder: str | os.PathLike) -> Bunch:
    """Load the LGG brain MRI slices from the folder they were unpacked to.

    Parameters
    ----------
    folder : str or os.PathLike
        Holds a folder for each patient (TCGA_xx_xxxx_date), with `NAME_N.tif`
        and `NAME_N_mask.tif` for each slice N; both may be PNG. A folder that
        holds `kaggle_3m`, or nothing but another folder, is taken for that one.

    Returns
    -------
    Bunch
        With `images`, a list of absolute paths, by patient and then by number
        of slice; `masks`, a list of int32 label images (height, width), one id
        per connected region; `image_labels`, an int array (n_images,), 1 where
        a slice shows a lesion and else 0; `groups`, an array of patients
        (TCGA_xx_xxxx); `slice_numbers`, an int array (n_images,); `names`, a
        list of str; `pixel_size`, None; `DESCR`.

    Raises
    ------
    FileNotFoundError
        If the folder, or an image or mask of a slice, is missing.
    ValueError
        If a mask is broken, of another size than its image, or not of two
        values.

    Notes
    -----
    Masks of the whole set take up to 1 GB (262 kB a slice with a lesion).

    References
    ----------
    M. Buda, A. Saha, M. A. Mazurowski, "Association of genomic subtypes of
    lower-grade gliomas with shape features automatically extracted by a deep
    learning algorithm", Computers in Biology and Medicine 109, 2019.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from psmlearn.datasets import load_lgg
    >>> from psmlearn.io import write_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     name = "TCGA_CS_4941_19960909"
    ...     os.mkdir(os.path.join(folder, name))
    ...     stem = os.path.join(folder, name, name)
    ...     for number in (2, 10):
    ...         write_image(f"{stem}_{number}.png", np.zeros((4, 5, 3), np.uint8))
    ...         write_image(f"{stem}_{number}_mask.png",
    ...                     np.full((4, 5), number == 10))
    ...     data = load_lgg(folder)
    >>> data.slice_numbers.tolist(), data.image_labels.tolist()
    ([2, 10], [0, 1])
    >>> data.groups.tolist()
    ['TCGA_CS_4941', 'TCGA_CS_4941']
    """
    root = find_root(folder, _is_root)
    root = find_subfolder(root, "kaggle_3m") or root
    slices: list[tuple[str, int, str, str]] = []
    missing: list[str] = []
    skipped = Skipped()
    for patient in list_folders(root):
        _collect(patient, slices, missing, skipped)
    skipped.tell()
    report_missing(root, missing, _LAYOUT)
    if not slices:
        raise FileNotFoundError(f"{str(root)!r} holds no slices; expected {_LAYOUT}.")
    turned: list[tuple[str, int]] = []
    masks = [
        label_regions(read_stencil(mask, read_size(image), image, turned))
        for _, _, image, mask in slices
    ]
    warn_of_orientation(turned)
    patients, numbers, images, _ = zip(*slices, strict=True)
    return Bunch(
        images=list(images),
        masks=masks,
        image_labels=np.array([int(mask.any()) for mask in masks]),
        groups=np.array([_person(patient) for patient in patients]),
        slice_numbers=np.array(numbers),
        names=[Path(image).stem for image in images],
        pixel_size=None,
        DESCR=_DESCR,
    )


def _is_root(place: Path) -> bool:
    """Tell whether a folder holds patients, or the folder of them."""
    if find_subfolder(place, "kaggle_3m") is not None:
        return True
    return any(list_by_stem(patient, _SUFFIXES) for patient in list_folders(place))


def _collect(
    patient: Path,
    slices: list[tuple[str, int, str, str]],
    missing: list[str],
    skipped: Skipped,
) -> None:
    """Add the slices of a patient, by number, and note what lacks its partner."""
    files = list_by_stem(patient, _SUFFIXES, skipped)
    found = {stem: re.fullmatch(r"(.+_(\d+))(_mask)?", stem) for stem in files}
    numbers = {match[1]: int(match[2]) for match in found.values() if match}
    if not numbers and patient.name.startswith("TCGA_"):
        missing.append(f"{patient.name}/{patient.name}_1.tif and all other slices")
    for stem in (stem for stem, match in found.items() if match is None):
        skipped.add(files[stem], "names end in the number of the slice")
    for stem, number in sorted(numbers.items(), key=lambda item: item[::-1]):
        image, mask = files.get(stem), files.get(f"{stem}_mask")
        if image is not None and mask is not None:
            slices.append((patient.name, number, image, mask))
        elif mask is not None:
            missing.append(f"{patient.name}/{stem}{Path(mask).suffix}")
        elif image is not None:
            missing.append(f"{patient.name}/{stem}_mask{Path(image).suffix}")


def _person(name: str) -> str:
    """Return the patient in a folder's name: without the date of the scan."""
    match = re.match(r"TCGA_\w{2}_\w{4}(?=_)", name)
    return match[0] if match else name
