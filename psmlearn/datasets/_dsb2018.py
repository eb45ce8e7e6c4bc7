# SPDX-License-Identifier: BSD-3-Clause
"""The nuclei of the 2018 Data Science Bowl, as they are downloaded."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from psmlearn.datasets._folders import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    Skipped,
    find_root,
    list_by_stem,
    list_folders,
    report_missing,
    tell_folders,
)
from psmlearn.datasets._lost import Drawn, Lost, paint
from psmlearn.datasets._parameters import check_flag, compose
from psmlearn.datasets._polygons import read_drawable_size
from psmlearn.datasets._stencils import read_stencil
from psmlearn.io._read import warn_of_orientation

_LAYOUT = "IMAGE_ID/images/IMAGE_ID.png and IMAGE_ID/masks/*.png, one per nucleus"
_DESCR = """2018 Data Science Bowl: nuclei of many kinds
============================================

Fluorescence, brightfield and H&E stained images of 256 x 256 to 1040 x 1388
pixels from more than 30 experiments, at various magnifications (`pixel_size` is
None). 670 images, 29,461 nuclei in stage1_train. A PNG of its own tells each
nucleus; masks should not overlap, and where some do, the later one by file
name wins. The set does not tell from which patient or experiment an image
came: `groups` is None, so images of one experiment may fall on both sides of a
split. Also known as BBBC038v1. Licence: CC0 1.0 (public domain).

J. C. Caicedo et al., "Nucleus segmentation across imaging experiments: the
2018 Data Science Bowl", Nature Methods 16, 2019.
"""


def load_dsb2018(folder: str | os.PathLike, *, require_masks: bool = True) -> Bunch:
    """Load the 2018 Data Science Bowl from the folder it was unpacked to.

    Parameters
    ----------
    folder : str or os.PathLike
        Such as "stage1_train": a folder for each image, named by its id, with
        `images/IMAGE_ID.png` and `masks/*.png` in it; or a folder with nothing
        but that in it.
    require_masks : bool, default=True
        If False, images without masks are no error, as all of stage1_test are.

    Returns
    -------
    Bunch
        With `images`, a list of absolute paths sorted by id (most are RGBA
        files: the alpha is dropped where they are read); `masks`, a list of
        int32 label images (height, width), None where there is none (and None
        in place of the list if there is no mask at all); `groups`, None;
        `names`, the ids; `pixel_size`, None; `DESCR`.

    Raises
    ------
    FileNotFoundError
        If the folder, an image, or the required masks of one are missing.
    TypeError
        If a parameter is of the wrong kind.
    ValueError
        If a mask is broken, of another size than its image, or not of two
        values.

    Notes
    -----
    Where masks overlap, the later one by file name wins. Masks that are wholly
    covered by later ones, or hold no pixel, are told by an `AnnotationWarning`.

    References
    ----------
    J. C. Caicedo et al., "Nucleus segmentation across imaging experiments: the
    2018 Data Science Bowl", Nature Methods 16, 2019.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from psmlearn.datasets import load_dsb2018
    >>> from psmlearn.io import write_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("images", "masks"):
    ...         os.makedirs(os.path.join(folder, "a1", name))
    ...     write_image(os.path.join(folder, "a1", "images", "a1.png"),
    ...                 np.zeros((4, 5, 3), dtype=np.uint8))
    ...     for name, row in (("x", 0), ("y", 3)):
    ...         mask = np.zeros((4, 5), dtype=bool)
    ...         mask[row] = True
    ...         write_image(os.path.join(folder, "a1", "masks", name + ".png"), mask)
    ...     data = load_dsb2018(folder)
    >>> data.names, int(data.masks[0].max())
    (['a1'], 2)
    """
    check_flag("require_masks", require_masks)
    root = find_root(folder, _is_root)
    cases = list_folders(root)
    if not cases:
        raise FileNotFoundError(f"{str(root)!r} holds no folders; expected {_LAYOUT}.")
    skipped = Skipped()
    found = {case.name: _find_image(case, skipped) for case in cases}
    if not any(found.values()):
        raise FileNotFoundError(
            f"{str(root)!r} holds no image; expected {_LAYOUT}.{tell_folders(root)}"
        )
    stencils = {case.name: _find_stencils(case, skipped) for case in cases}
    skipped.tell()
    missing = [f"{name}/images/{name}.png" for name in found if not found[name]]
    if require_masks:
        missing += [f"{name}/masks/*.png" for name in stencils if not stencils[name]]
    layout = _LAYOUT + (
        " (for images without masks use require_masks=False)" if require_masks else ""
    )
    report_missing(root, missing, layout)
    images = {name: path for name, path in found.items() if path is not None}
    lost = Lost()
    turned: list[tuple[str, int]] = []
    masks = [
        _paint(stencils[name], image, lost, turned) for name, image in images.items()
    ]
    lost.tell()
    warn_of_orientation(turned)
    return Bunch(
        images=list(images.values()),
        masks=None if all(mask is None for mask in masks) else masks,
        groups=None,
        names=list(images),
        pixel_size=None,
        DESCR=_DESCR,
    )


def _is_root(place: Path) -> bool:
    """Tell whether the folders within are those of images."""
    return any((case / "images").is_dir() for case in list_folders(place))


def _find_image(case: Path, skipped: Skipped) -> str | None:
    """Return the image that bears the name of its folder, if it is there."""
    folder = case / "images"
    if not folder.is_dir():
        return None
    images = list_by_stem(folder, IMAGE_SUFFIXES, skipped)
    for name in sorted(set(images) - {compose(case.name)}):
        skipped.add(images[name], f"read is {case.name!r}")
    return images.get(compose(case.name))


def _find_stencils(case: Path, skipped: Skipped) -> list[str]:
    """Return the masks of single nuclei, sorted by name."""
    folder = case / "masks"
    if not folder.is_dir():
        return []
    return list(list_by_stem(folder, LABEL_SUFFIXES, skipped).values())


def _paint(
    stencils: list[str], image: str, lost: Lost, turned: list[tuple[str, int]]
) -> np.ndarray | None:
    """Join the masks of single nuclei into one label image."""
    if not stencils:
        return None
    size = read_drawable_size(image)
    objects = (_draw(path, size, image, turned) for path in stencils)
    return paint(objects, size, lost, "")[0]


def _draw(
    path: str, size: tuple[int, int], image: str, turned: list[tuple[str, int]]
) -> Drawn:
    """Return the pixels of one nucleus."""
    rows, columns = np.nonzero(read_stencil(path, size, image, turned))
    return Drawn(path, rows, columns)
