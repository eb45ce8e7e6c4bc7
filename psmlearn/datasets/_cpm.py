# SPDX-License-Identifier: BSD-3-Clause
"""The CPM-15, CPM-17 and Kumar sets of nuclei, in the layouts they come in."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from psmlearn._images._checks import as_label_image
from psmlearn.datasets._folders import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    Skipped,
    check_mask_size,
    find_groups,
    find_root,
    find_subfolder,
    list_by_stem,
    list_folders,
    natural_key,
    read_mask,
    report_missing,
    tell_folders,
)
from psmlearn.datasets._matlab import read_mat_planes
from psmlearn.datasets._parameters import check_text
from psmlearn.io._read import read_size

_LAYOUT = (
    "Images/NAME.png (or .tif) beside Labels/NAME.mat (or .png), or in one folder "
    "NAME_image.png beside NAME_inst.png, or NAME.png beside NAME_mask.txt"
)
_IMAGE_ENDING = "_image"
_LABEL_ENDINGS = ("_inst", "_mask")
_OTHER_ENDINGS = (*_LABEL_ENDINGS, "_class", "_type", "_poly", "_overlay")
_PATIENT = r"^TCGA-\w{2}-\w{4}"
# The magnifications that the challenge's notes give: 20x for 1 to 7, then 40x.
_CPM15 = {f"image{n:02d}": 0.5 if n < 8 else 0.25 for n in range(1, 16)}
_DESCR = """CPM-15, CPM-17 and Kumar: nuclei in H&E
========================================

CPM-15: 15 images of glioma at 20x and 40x with 2,905 nuclei. CPM-17: 32 images
for training and 32 for testing, of four cancers at 20x and 40x, with 7,570
nuclei. Both come from challenges of the MICCAI workshop on computational
precision medicine; neither tells patients, so that `groups` is None.
Kumar: 30 images of 1000 x 1000 pixels at 40x of The Cancer Genome Atlas, which
became the training set of MoNuSeg; names begin with the patient.
Licence: CC BY-NC-SA 4.0 for Kumar; none is stated with the CPM sets.

Q. D. Vu et al., "Methods for Segmentation and Classification of Digital
Microscopy Tissue Images", Frontiers in Bioengineering and Biotechnology 7, 2019.
N. Kumar et al., "A Dataset and a Technique for Generalized Nuclear
Segmentation for Computational Pathology", IEEE TMI 36(7), 2017.
"""


def load_cpm(folder: str | os.PathLike, *, subset: str | None = None) -> Bunch:
    """Load CPM-15, CPM-17 or Kumar from the folder it was downloaded to.

    Three layouts are known: `Images` and `Labels` folders, the labels in .mat
    files with the key `inst_map` or in label images; `NAME_image.png` and
    `NAME_inst.png` in one folder; and `NAME.png` and `NAME_mask.txt` in one
    folder, as the challenge gave them out. Nothing is downloaded. Label images
    in other layouts are read by `load_label_folder`.

    Parameters
    ----------
    folder : str or os.PathLike
        Such as "cpm15" or "cpm17/train", or a folder with nothing but that in it.
    subset : str or None, default=None
        A folder within: "train" or "test", for Kumar "test_same" or "test_diff".

    Returns
    -------
    Bunch
        With `images`, a list of absolute paths, 2 before 10; `masks`, a list of
        int32 label images (height, width); `groups`, an array of patients where
        all names begin with one (TCGA-xx-xxxx), else None; `names`, a list of
        str; `pixel_size`, in micrometres: an array for the 15 images of CPM-15,
        0.25 for Kumar, None where it is not known; `DESCR`.

    Raises
    ------
    FileNotFoundError
        If images or labels are missing; the first are named.
    TypeError
        If a parameter is of the wrong kind.
    ValueError
        If a label file is broken or differs in size from its image.

    References
    ----------
    Q. D. Vu et al., "Methods for Segmentation and Classification of Digital
    Microscopy Tissue Images", Frontiers in Bioengineering and Biotechnology 7,
    53, 2019.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from psmlearn.datasets import load_cpm
    >>> from psmlearn.io import write_image, write_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_image(os.path.join(folder, "image01_image.png"),
    ...                 np.zeros((4, 5, 3), dtype=np.uint8))
    ...     write_labels(os.path.join(folder, "image01_inst.png"),
    ...                  np.eye(4, 5, dtype=int))
    ...     data = load_cpm(folder)
    >>> data.names, data.masks[0].shape
    (['image01'], (4, 5))
    """
    if subset is not None:
        check_text("subset", subset)
    root = find_root(folder, lambda place: _is_root(place, subset))
    if subset is not None:
        part = find_subfolder(root, subset)
        if part is None:
            raise FileNotFoundError(
                f"{str(root)!r} has no folder {subset!r}.{tell_folders(root)}"
            )
        root = part
    images, labels = _find_files(root)
    names = list(images)
    masks = [_read_labels(labels[name], image) for name, image in images.items()]
    known = all(re.match(_PATIENT, name) for name in names)
    return Bunch(
        images=list(images.values()),
        masks=masks,
        groups=find_groups(names, _PATIENT) if known else None,
        names=names,
        pixel_size=0.25 if known else _find_pixel_sizes(names),
        DESCR=_DESCR,
    )


def _is_root(place: Path, subset: str | None) -> bool:
    """Tell whether a folder holds the subset, or else images or several parts."""
    if subset is not None:
        return find_subfolder(place, subset) is not None
    if any(find_subfolder(place, name) for name in ("Images", "Labels")):
        return True
    return len(_list_parts(place)) > 1 or bool(list_by_stem(place, IMAGE_SUFFIXES))


def _find_files(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return images and label files by name, or say which are missing."""
    parts = {name: find_subfolder(root, name) for name in ("Images", "Labels")}
    folders = [part for part in parts.values() if part is not None]
    skipped = Skipped()
    if folders:
        missing = [f"{name}/" for name, part in parts.items() if part is None]
        report_missing(root, missing, _LAYOUT)
        images = list_by_stem(folders[0], IMAGE_SUFFIXES, skipped)
        labels = _name_labels(folders[1], (".mat", *LABEL_SUFFIXES), skipped)
    else:
        images = list_by_stem(root, IMAGE_SUFFIXES, skipped)
        labels = _name_labels(root, (".mat",), None)
    images = _name_images(images, skipped)
    skipped.tell()
    if not images:
        raise FileNotFoundError(
            f"{str([*folders, root][0])!r} holds no image; expected {_LAYOUT}."
            + _advise_subset(root)
        )
    missing = [f"the labels of {name}" for name in images if name not in labels]
    missing += [f"the image of {name}" for name in labels if name not in images]
    report_missing(root, missing, _LAYOUT)
    return {name: images[name] for name in sorted(images, key=natural_key)}, labels


def _name_images(files: dict[str, str], skipped: Skipped) -> dict[str, str]:
    """Keep the images among the files of a folder, by name without "_image"."""
    marked = {
        stem.removesuffix(_IMAGE_ENDING): path
        for stem, path in files.items()
        if stem.endswith(_IMAGE_ENDING)
    }
    plain = {
        stem: path
        for stem, path in files.items()
        if not stem.endswith((_IMAGE_ENDING, *_OTHER_ENDINGS))
    }
    if marked:
        for path in plain.values():
            skipped.add(path, f"names of images end in {_IMAGE_ENDING!r} here")
    return marked or plain


def _name_labels(
    folder: Path, plain: tuple[str, ...], skipped: Skipped | None
) -> dict[str, str]:
    """Return label files by name: with an ending, or plain of some suffixes."""
    labels: dict[str, str] = {}
    files = list_by_stem(folder, (".mat", ".txt", *LABEL_SUFFIXES), skipped)
    for stem, path in files.items():
        ending = next((e for e in _LABEL_ENDINGS if stem.endswith(e)), "")
        if not ending and not path.lower().endswith(plain):
            continue
        name = stem.removesuffix(ending)
        if name in labels:
            raise ValueError(
                f"{str(folder)!r} holds two label files of {name!r}: "
                f"{os.path.basename(labels[name])!r} and {os.path.basename(path)!r}; "
                "keep one."
            )
        labels[name] = path
    return labels


def _list_parts(root: Path) -> list[str]:
    """Return the folders within that look like parts of a set."""
    return [path.name for path in list_folders(root) if find_subfolder(path, "Images")]


def _advise_subset(root: Path) -> str:
    """Point to the folders within, where they look like the set's parts."""
    parts = ", ".join(map(repr, _list_parts(root)))
    return f" Its parts are {parts}: give subset." if parts else tell_folders(root)


def _find_pixel_sizes(names: list[str]) -> np.ndarray | None:
    """Return the pixel sizes of CPM-15, told by its fifteen names."""
    if set(names) != set(_CPM15):
        return None
    return np.array([_CPM15[name] for name in names])


def _read_labels(path: str, image: str) -> np.ndarray:
    """Read the label image of an image, of whatever kind its file is."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".mat":
        (ids,) = read_mat_planes(path, image, ("inst_map",))
        return as_label_image(ids, f"{path!r}: 'inst_map'")
    if suffix == ".txt":
        return as_label_image(_read_text(path, image), repr(path))
    return read_mask(path, image)


def _read_text(path: str, image: str) -> np.ndarray:
    """Read ids written as text: width and height, then the pixels row by row."""
    rows, columns = read_size(image)
    # The longest id has ten digits; more than that cannot be those of the image.
    most = 12 * rows * columns + 100
    with open(path, "rb") as file:
        text = file.read(most + 1)
    if len(text) > most:
        raise ValueError(
            f"{path!r} has more than {most} bytes, too many for the ids of its image "
            f"{image!r} of size {(rows, columns)} (height, width)."
        )
    words = text.split()
    try:
        values = np.array([_whole(word) for word in words], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path!r} is no mask of whole numbers: {error}.") from error
    width, height = values[:2].tolist() if len(values) > 1 else (0, 0)
    if len(values) != 2 + width * height:
        raise ValueError(
            f"{path!r} is broken or truncated: it holds {len(values)} numbers; "
            "expected width, height, and then width times height ids."
        )
    check_mask_size(path, (height, width), image)
    return values[2:].reshape(height, width)


def _whole(word: bytes) -> int:
    """Return a whole number; Python would take one with underscores, too."""
    if b"_" in word:
        raise ValueError(f"{word!r:.40} is none")
    return int(word)
