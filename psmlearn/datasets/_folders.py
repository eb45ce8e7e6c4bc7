# SPDX-License-Identifier: BSD-3-Clause
"""Data sets that lie in folders: images beside masks of the same name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from psmlearn.io._read import read_labels, read_size

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".webp")
LABEL_SUFFIXES = (".tif", ".tiff", ".png")
_N_TOLD = 5


def check_folder(folder: str | os.PathLike) -> Path:
    """Return a folder as an absolute Path, or raise an error that says what is wrong.

    Absolute, since workers of a parallel search may sit in another directory.
    """
    path = Path(folder).absolute()
    if path.is_dir():
        return path
    if path.exists():
        raise NotADirectoryError(f"{str(path)!r} is a file; expected a folder.")
    raise FileNotFoundError(f"No such folder: {str(path)!r}.")


def list_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Return the files of a folder by name without suffix, sorted.

    Hidden files, and folders such as .ipynb_checkpoints, are passed over.
    """
    files: dict[str, str] = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith(".") or path.suffix.lower() not in suffixes:
            continue
        if not path.is_file():
            continue
        if path.stem in files:
            raise ValueError(
                f"{str(folder)!r} holds two files named {path.stem!r}: "
                f"{os.path.basename(files[path.stem])!r} and {path.name!r}; keep one."
            )
        files[path.stem] = str(path)
    return dict(sorted(files.items()))


def tell_names(names: list[str]) -> str:
    """Write the first names of a list, and how many there are beyond."""
    more = len(names) - _N_TOLD
    return ", ".join(names[:_N_TOLD]) + (f" and {more} more" if more > 0 else "")


def read_mask(path: str, image: str) -> np.ndarray:
    """Read the label image of an image, and check that their sizes agree."""
    labels = read_labels(path)
    size = read_size(image)
    if labels.shape[:2] != size:
        raise ValueError(
            f"{path!r} has size {labels.shape[:2]} (height, width), but its image "
            f"{image!r} has {size}."
        )
    return labels


def load_label_folder(
    folder: str | os.PathLike,
    *,
    images: str = "images",
    masks: str = "masks",
    require_masks: bool = True,
) -> Bunch:
    """Load a folder with `images/` and `masks/`, paired by name.

    Parameters
    ----------
    folder : str or os.PathLike
        Holds the two folders. An image and its mask have the same name;
        their suffixes may differ.
    images : str, default="images"
        Name of the folder of images (TIFF, PNG, JPEG, BMP or WebP).
    masks : str, default="masks"
        Name of the folder of label images (TIFF or PNG).
    require_masks : bool, default=True
        If False, images without a mask, or no folder of masks, are no error.

    Returns
    -------
    Bunch
        With `images`, a list of paths sorted by name; `masks`, a list of int32
        label images, None where there is none (and None in place of the list
        if there is no mask at all); `names`, a list of str.

    Raises
    ------
    FileNotFoundError
        If the folder, its images, or a required mask is missing.
    ValueError
        If a mask is broken or differs in size from its image, or if two files
        have the same name but for the suffix.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from psmlearn.datasets import load_label_folder
    >>> from psmlearn.io import write_image, write_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("images", "masks"):
    ...         os.mkdir(os.path.join(folder, name))
    ...     write_image(os.path.join(folder, "images", "a.png"),
    ...                 np.zeros((4, 5, 3), dtype=np.uint8))
    ...     write_labels(os.path.join(folder, "masks", "a.tif"),
    ...                  np.eye(4, 5, dtype=int))
    ...     load_label_folder(folder).names
    ['a']
    """
    root = check_folder(folder)
    image_paths = list_by_stem(check_folder(root / images), IMAGE_SUFFIXES)
    if not image_paths:
        raise FileNotFoundError(
            f"{str(root / images)!r} holds no image; expected files ending in "
            f"{', '.join(IMAGE_SUFFIXES)}."
        )
    mask_paths: dict[str, str] = {}
    if require_masks or (root / masks).is_dir():
        mask_paths = list_by_stem(check_folder(root / masks), LABEL_SUFFIXES)
    missing = [name for name in image_paths if name not in mask_paths]
    if require_masks and missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(image_paths)} images have no mask in "
            f"{str(root / masks)!r}: {tell_names(missing)}; add them, or use "
            "require_masks=False."
        )
    loaded = [
        read_mask(mask_paths[name], path) if name in mask_paths else None
        for name, path in image_paths.items()
    ]
    return Bunch(
        images=list(image_paths.values()),
        masks=None if len(missing) == len(image_paths) else loaded,
        names=list(image_paths),
    )
