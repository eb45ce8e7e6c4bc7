# SPDX-License-Identifier: BSD-3-Clause
"""The MoNuSeg data set, as it is downloaded."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from psmlearn.datasets._aperio import rasterize_outlines, read_aperio_outlines
from psmlearn.datasets._folders import (
    LABEL_SUFFIXES,
    Skipped,
    find_root,
    find_subfolder,
    list_by_stem,
    read_mask,
    tell_folders,
    tell_names,
)
from psmlearn.datasets._lost import Lost
from psmlearn.datasets._parameters import check_choice, compose
from psmlearn.datasets._polygons import read_drawable_size

_KINDS = ("auto", "labels", "xml", None)
_SUFFIXES = (".tif", ".tiff")
_DESCR = """MoNuSeg: multi-organ nuclei segmentation
=========================================

H&E images of 1000 x 1000 pixels at 40x (0.25 micrometres per pixel) from The
Cancer Genome Atlas, one per patient, with the outline of every nucleus.
Licence: CC BY-NC-SA 4.0.

N. Kumar et al., "A Dataset and a Technique for Generalized Nuclear
Segmentation for Computational Pathology", IEEE TMI 36(7), 2017.
N. Kumar et al., "A Multi-organ Nucleus Segmentation Challenge", IEEE TMI
39(5), 2020.
"""


def load_monuseg(folder: str | os.PathLike, *, masks: str | None = "auto") -> Bunch:
    """Load MoNuSeg from the folder it was downloaded to.

    The layouts of both downloads are known: the training set's (`Tissue Images`
    and `Annotations` folders) and the test set's (images and XML side by side).
    Label images, in a `labels` folder or beside the images, may take the place
    of the XML. Nothing is downloaded.

    Parameters
    ----------
    folder : str or os.PathLike
        Such as "MoNuSegTrainingData", or a folder with nothing but that in it.
    masks : {"auto", "labels", "xml"} or None, default="auto"
        Where masks come from: "auto" prefers label images to XML, image by
        image; None loads no masks.

    Returns
    -------
    Bunch
        With `images`, a list of paths sorted by name; `masks`, a list of int32
        label images (height, width), or None; `groups`, an array of patients
        (TCGA-xx-xxxx); `names`, a list of str; `pixel_size`, in micrometres;
        `DESCR`.

    Raises
    ------
    FileNotFoundError
        If the folder holds no images, masks of some images are missing, or
        images of some XML files or label images.
    TypeError
        If a parameter is of the wrong kind.
    ValueError
        If `masks` is not one of the above, or a file is broken, or refused
        (XML with a document type or entities), or differs in size.

    Notes
    -----
    XML outlines may overlap (the later one wins) and leave the image; ids are
    those of the outlines that are visible, from 1. Rectangles and ellipses are
    drawn as such, negative regions are holes. Outlines that are wholly outside or
    covered, that have too few vertices, and arrows and rulers, are told by an
    `AnnotationWarning`; if all are outside, that is an error. Group by `groups`
    when splitting.

    References
    ----------
    N. Kumar et al., "A Dataset and a Technique for Generalized Nuclear
    Segmentation for Computational Pathology", IEEE Transactions on Medical
    Imaging 36(7), 2017.

    Examples
    --------
    >>> from psmlearn.datasets import load_monuseg
    >>> train = load_monuseg("MoNuSegTrainingData")  # doctest: +SKIP
    >>> len(train.images), len(set(train.groups))  # doctest: +SKIP
    (30, 30)
    """
    check_choice("masks", masks, _KINDS)
    root = find_root(folder, _is_root)
    image_folder = find_subfolder(root, "Tissue Images") or root
    skipped = Skipped()
    images = list_by_stem(image_folder, _SUFFIXES, skipped)
    if not images:
        raise FileNotFoundError(
            f"{str(image_folder)!r} holds no .tif images; expected the folder of the "
            "MoNuSeg download, with 'Tissue Images' and 'Annotations' in it, or with "
            ".tif and .xml files side by side." + tell_folders(image_folder)
        )
    # Label images may lie beside the images.
    skipped.drop(
        path for path, _ in skipped.items() if compose(Path(path).stem) in images
    )
    skipped.tell()
    names = list(images)
    return Bunch(
        images=list(images.values()),
        masks=None if masks is None else _load_masks(root, images, masks),
        groups=np.array(["-".join(name.split("-")[:3]) for name in names]),
        names=names,
        pixel_size=0.25,
        DESCR=_DESCR,
    )


def _is_root(folder: Path) -> bool:
    """Tell whether a folder looks like one of the downloads."""
    if find_subfolder(folder, "Tissue Images") is not None:
        return True
    return bool(list_by_stem(folder, _SUFFIXES))


def _load_masks(root: Path, images: dict[str, str], kind: str) -> list[np.ndarray]:
    """Read the mask of every image, or say which have none."""
    labels = _find_labels(root, images) if kind != "xml" else {}
    outlines = _find_outlines(root, images) if kind != "labels" else {}
    for files, what in ((labels, "label images"), (outlines, "XML files")):
        alone = [name for name in files if name not in images]
        if alone:
            raise FileNotFoundError(
                f"{len(alone)} of {len(files)} {what} in {str(root)!r} have no image "
                f"(.tif): {tell_names(alone)}. The download may be incomplete: add the "
                f"images, or remove these {what}."
            )
    missing = [name for name in images if name not in labels | outlines]
    if missing:
        expected = {
            "auto": "neither a label image (labels/*.png) nor XML (Annotations/*.xml)",
            "labels": "no label image (labels/*.png)",
            "xml": "no XML (Annotations/*.xml)",
        }[kind]
        raise FileNotFoundError(
            f"{len(missing)} of {len(images)} images in {str(root)!r} have {expected}: "
            f"{tell_names(missing)}. Add the files, or use masks=None."
        )
    lost = Lost()
    masks = [
        read_mask(labels[name], path)
        if name in labels
        else rasterize_outlines(
            read_aperio_outlines(outlines[name]),
            read_drawable_size(path),
            lost,
            outlines[name],
        )
        for name, path in images.items()
    ]
    lost.tell()
    return masks


def _find_labels(root: Path, images: dict[str, str]) -> dict[str, str]:
    """Find label images: in a folder of their own, or as PNG beside the images."""
    folder = find_subfolder(root, "labels")
    if folder is not None:
        return list_by_stem(folder, LABEL_SUFFIXES)
    beside = list_by_stem(Path(next(iter(images.values()))).parent, (".png",))
    return {name: path for name, path in beside.items() if name in images}


def _find_outlines(root: Path, images: dict[str, str]) -> dict[str, str]:
    """Find XML files: in a folder of their own, or beside the images."""
    folder = find_subfolder(root, "Annotations")
    if folder is None:
        folder = Path(next(iter(images.values()))).parent
    return list_by_stem(folder, (".xml",))
