# SPDX-License-Identifier: BSD-3-Clause
"""The gate for masks: label images, and regions of what counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from psmlearn._images._checks import as_label_image
from psmlearn._typing import Mask, Masks, Regions
from psmlearn.io._collections import as_array, list_items, prefix, raise_problems
from psmlearn.io._paths import as_path, is_path
from psmlearn.io._read import decode_image

if TYPE_CHECKING:
    from psmlearn.io._batch import ImageBatch

_EXPECTED = "expected label images: a list of them, a stack, or one"
_EXPECTED_REGIONS = (
    "expected boolean masks of shape (height, width): a list of them, or one"
)


def check_masks(
    y: Masks, images: ImageBatch | None = None, *, caller: str = ""
) -> list[np.ndarray]:
    """Check label images, and that they fit the images.

    Parameters
    ----------
    y : ndarray of shape (n_images, height, width[, 2]), list, mask or path
        A list holds label images (height, width[, 2]) or paths of them: integer
        ids, 0 background, -1 unknown; the second plane holds the classes. One mask
        alone, (height, width), or one path will do.
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
        If `y` is no array, list or path.
    ValueError
        If any mask is bad or does not fit its image: the first five are named.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.io import check_masks
    >>> check_masks([np.array([[0, 1], [2, 2]])])[0].dtype
    dtype('int32')
    """
    try:
        named = list_items(y, "masks", _EXPECTED, _fits(images), numbered="mask {}")
    except (TypeError, ValueError) as error:
        raise type(error)(f"{prefix(caller)}{error}") from error
    if not named:
        raise ValueError(f"{prefix(caller)}Found no mask: at least one is required.")
    if images is not None and len(named) != len(images):
        raise ValueError(
            f"{prefix(caller)}got {len(named)} masks for {len(images)} images; "
            "expected one mask per image."
        )
    masks, problems = [], []
    for index, (name, item) in enumerate(named):
        try:
            mask = check_mask(item, name=name)
        except (OSError, TypeError, ValueError) as error:
            problems.append(str(error).rstrip("."))
            continue
        if images is not None and mask.shape[:2] != images.shapes[index]:
            problems.append(
                f"{name} has size {mask.shape[:2]} (height, width), but "
                f"{images.names[index]} has {images.shapes[index]}"
            )
        masks.append(mask)
    raise_problems(problems, "mask", len(named), caller)
    return masks


def check_mask(mask: Mask, *, name: str = "mask") -> np.ndarray:
    """Check one label image, given as an array or a path.

    Parameters
    ----------
    mask : ndarray of shape (height, width) or (height, width, 2), or path
        Integer ids, 0 background, -1 unknown; the second plane holds the classes.
    name : str, default="mask"
        What to call it in errors.

    Returns
    -------
    ndarray of shape (height, width) or (height, width, 2), dtype int32
        The input itself where it is int32 already: do not write to it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError, ValueError
        If it is no label image.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.io import check_mask
    >>> check_mask(np.array([[0, 1], [2, -1]], dtype=np.int8)).dtype
    dtype('int32')
    """
    return as_label_image(load_mask(mask, name), name)


def list_masks(
    y: Masks, name: str, *, with_classes: bool = False
) -> list[tuple[str, Any]]:
    """List masks that `load_mask` takes one by one, each with what to call it.

    Parameters
    ----------
    y : label images
        A list of arrays and paths, a stack, one alone, or one path.
    name : str
        What to call them all in errors, such as "y_true".
    with_classes : bool, default=False
        Whether masks must have classes, so that an array (height, width, 2) is one
        mask; else it may be a stack as well, and is refused.
    """
    return list_items(y, name, _EXPECTED, _one_mask(name, with_classes))


def load_mask(item: Any, name: str) -> np.ndarray:
    """Take a mask as an array; a file is decoded, its values are not looked at."""
    if not is_path(item):
        return as_array(item, name, "expected a label image")
    try:
        return decode_image(as_path(item), as_labels=True).array
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: {error}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error


def check_regions(
    regions: Regions | None,
    n_images: int,
    shapes: Sequence[tuple[int, ...]] | None = None,
    names: Sequence[str] | None = None,
    *,
    numbered: bool = False,
) -> list[np.ndarray | None]:
    """Bring regions into a list with one entry for each image.

    Parameters
    ----------
    regions : boolean masks of shape (height, width), paths, or None
        A list of them, in which None stands for a whole image; a stack; one alone.
        A file that is black and white alone is a boolean mask.
    n_images : int
        How many there must be.
    shapes : sequence of (height, width), default=None
        The size each must have; None where images have no size, as with points.
    names : sequence of str, default=None
        What to call each image in errors, such as "y_true[1]".
    numbered : bool, default=False
        Whether whole numbers will do, 0 outside and 1..n several regions.

    Returns
    -------
    list of n_images entries, each an ndarray of bool (or whole numbers) or None
    """
    if regions is None:
        return [None] * n_images
    named = list_items(regions, "regions", _EXPECTED_REGIONS, _is_one_region)
    if len(named) != n_images:
        raise ValueError(
            f"regions holds {len(named)} masks, but there are {n_images} images; "
            "expected one region for each image, in the same order."
        )
    checked: list[np.ndarray | None] = []
    for index, (name, given) in enumerate(named):
        region = None if given is None else _load_region(given, name, numbered)
        if region is not None and shapes is not None:
            if region.shape != tuple(shapes[index]):
                owner = f"image {index}" if names is None else names[index]
                raise ValueError(
                    f"{name} has height and width {region.shape} but {owner} has "
                    f"{tuple(shapes[index])}; expected one size."
                )
        checked.append(region)
    return checked


def _one_mask(name: str, with_classes: bool) -> Callable[[np.ndarray], bool]:
    """Make what tells one mask from a stack of them by shape."""

    def is_one(array: np.ndarray) -> bool:
        if array.ndim == 3 and array.shape[2] == 2:
            if with_classes:
                return True
            raise ValueError(
                f"{name} has shape {array.shape}: one mask with classes, or a stack of "
                "masks 2 pixels wide? Give a list: [mask], or list(masks)."
            )
        if array.ndim not in (2, 3) and not (array.ndim == 4 and array.shape[3] == 2):
            raise ValueError(
                f"{name} has shape {array.shape}; expected (n_images, height, width), "
                "(n_images, height, width, 2), (height, width) or a list of masks."
            )
        return array.ndim == 2

    return is_one


def _fits(images: ImageBatch | None) -> Callable[[np.ndarray], bool]:
    """Make what tells one mask from a stack, by the images where shapes cannot."""

    def is_one(array: np.ndarray) -> bool:
        if images is not None and array.ndim == 3 and array.shape[2] == 2:
            if [array.shape[:2]] == images.shapes:
                return True
            if [array.shape[1:]] * len(array) == images.shapes:
                return False
        return _one_mask("masks", False)(array)

    return is_one


def _is_one_region(array: np.ndarray) -> bool:
    if array.ndim not in (2, 3):
        raise ValueError(
            f"regions has shape {array.shape}; expected (n_images, height, width), "
            "(height, width) or a list of masks."
        )
    return array.ndim == 2


def _load_region(given: Any, name: str, numbered: bool) -> np.ndarray:
    """Take one region, after a look at its kind and shape."""
    if is_path(given):
        region = load_mask(given, name)
        if region.dtype == np.uint8 and set(np.unique(region)) <= {0, 255}:
            region = region > 0  # black and white: a mask, not region 255
    else:
        region = as_array(given, name, _EXPECTED_REGIONS)
    if numbered and (region.ndim != 2 or region.dtype.kind not in "biu"):
        raise ValueError(
            f"{name} has shape {region.shape} and dtype {region.dtype}; expected a "
            "boolean mask (height, width), or whole numbers: 0 outside, 1..n regions."
        )
    if region.dtype != bool and not numbered:
        raise ValueError(
            f"{name} has dtype {region.dtype}; expected a boolean mask, True inside: "
            "use region > 0 if it is drawn in numbers."
        )
    if region.ndim != 2:
        raise ValueError(
            f"{name} has shape {region.shape}; expected (height, width), as its image."
        )
    return region
