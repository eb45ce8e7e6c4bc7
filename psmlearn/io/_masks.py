# SPDX-License-Identifier: BSD-3-Clause
"""Checks of the masks that come with images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from psmlearn._images._checks import as_label_image, is_foreign_tensor
from psmlearn.io._inputs import (
    is_collection,
    path_array_as_list,
    raise_problems,
    refuse_kind,
)
from psmlearn.io._paths import as_path, is_path
from psmlearn.io._read import read_labels

if TYPE_CHECKING:
    from psmlearn.io._batch import ImageBatch


def check_masks(
    y, images: ImageBatch | None = None, *, caller: str = ""
) -> list[np.ndarray]:
    """Check label images, and that they fit the images.

    Parameters
    ----------
    y : ndarray of shape (n_images, height, width[, 2]) or list
        A list holds label images (height, width[, 2]) or paths of them: integer
        ids, 0 background, -1 unknown; the second plane holds the classes.
    images : ImageBatch or None, default=None
        The images they belong to; None checks the masks alone.
    caller : str, default=""
        Name put before errors, such as the estimator's.

    Returns
    -------
    list of ndarray of shape (height, width[, 2]), dtype int32
        Arrays that are int32 already are returned as they are: do not write to
        them.

    Raises
    ------
    TypeError
        If `y` is no array or list.
    ValueError
        If any mask is bad or does not fit its image: the first five are named.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.io import check_masks
    >>> check_masks([np.array([[0, 1], [2, 2]])])[0].dtype
    dtype('int32')
    """
    items = _as_items(y, caller)
    prefix = f"{caller}: " if caller else ""
    if images is not None and len(items) != len(images):
        raise ValueError(
            f"{prefix}got {len(items)} masks for {len(images)} images; expected one "
            "mask per image."
        )
    masks, problems = [], []
    for index, item in enumerate(items):
        name = f"mask {index}" + (f" ({item})" if isinstance(item, str) else "")
        try:
            mask = _as_mask(item, name)
        except (OSError, TypeError, ValueError) as error:
            problems.append(str(error).rstrip("."))
            continue
        if images is not None and mask.shape[:2] != images.shapes[index]:
            problems.append(
                f"{name} has size {mask.shape[:2]} (height, width), but "
                f"{images.names[index]} has {images.shapes[index]}"
            )
        masks.append(mask)
    raise_problems(problems, "mask", len(items), caller)
    return masks


def _as_items(y, caller: str) -> list:
    """Take a collection of masks apart."""
    if not is_collection(y):
        refuse_kind(y, "mask", caller)
    if isinstance(y, list | tuple):
        items = [as_path(item) if is_path(item) else item for item in y]
    else:
        items = path_array_as_list(np.asarray(y))
    if items is None:
        array = np.asarray(y)
        if array.ndim not in (3, 4):
            raise ValueError(
                f"{caller}{': ' if caller else ''}masks came as an array of "
                f"{array.ndim} dimensions (shape {array.shape}); expected (n_images, "
                "height, width), or a list. For one mask use [mask]."
            )
        items = list(array)
    if len(items) == 0:
        raise ValueError(
            f"{caller}{': ' if caller else ''}Found no mask: at least one is required."
        )
    return items


def _as_mask(item, name: str) -> np.ndarray:
    """Read or convert one mask; errors begin with its name."""
    if isinstance(item, str):
        try:
            return read_labels(item)
        except (OSError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from error
    if is_foreign_tensor(item):
        raise TypeError(f"{name} is a tensor; use tensor.cpu().numpy()")
    if not isinstance(item, np.ndarray) and hasattr(item, "__array__"):
        item = np.asarray(item)
    return as_label_image(item, name)
