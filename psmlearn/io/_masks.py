# SPDX-License-Identifier: BSD-3-Clause
"""The gate for masks: label images, and regions of what counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from psmlearn._images._checks import as_label_image
from psmlearn._images._greys import region_greys_problem
from psmlearn._typing import Mask, Masks, Regions
from psmlearn._warnings import warn_user
from psmlearn.exceptions import AnnotationWarning
from psmlearn.io._collections import as_array, list_items, prefix, raise_problems
from psmlearn.io._limits import MAX_LABEL_PIXELS, MAX_PIXELS
from psmlearn.io._paths import as_path, is_path
from psmlearn.io._read import (
    decode_labels,
    read_size,
    refuse_lossy,
    warn_of_orientation,
)

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
        alone, (height, width), or one path will do. A mask of one value in several
        pieces tells no objects apart, and is refused; so are greys, as of a mask that
        was resized or went through JPEG, and class images. Files of more than 2**28
        pixels are read by `read_labels` alone, unless `images` tells their sizes.
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

    Warns
    -----
    AnnotationWarning
        If the only object of a mask may be one, cut by the border, and may be several;
        if its values may be greys or classes.

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
    masks: list[np.ndarray] = []
    problems: list[str] = []
    doubts: list[str] = []
    turned: list[tuple[str, int]] = []
    for index, (name, item) in enumerate(named):
        shape = None if images is None else images.shapes[index]
        owner = "" if images is None else images.names[index]
        try:
            loaded = load_mask(item, name, shape, owner, turned=turned)
            masks.append(as_label_image(loaded, name, doubts))
        except (OSError, TypeError, ValueError) as error:
            problems.append(str(error).rstrip("."))
            continue
        if shape is not None and loaded.shape[:2] != shape:
            problems.append(_size_problem(name, loaded.shape[:2], shape, owner))
    raise_problems(problems, "mask", len(named), caller)
    warn_of_orientation(turned)
    if doubts:
        more = f"; and {len(doubts) - 5} more" if len(doubts) > 5 else ""
        warn_user(f"{prefix(caller)}{'; '.join(doubts[:5])}{more}.", AnnotationWarning)
    return masks


def check_mask(
    mask: Mask, *, name: str = "mask", shape: tuple[int, int] | None = None
) -> np.ndarray:
    """Check one label image, given as an array or a path.

    Parameters
    ----------
    mask : ndarray of shape (height, width) or (height, width, 2), or path
        Integer ids, 0 background, -1 unknown; the second plane holds the classes.
    name : str, default="mask"
        What to call it in errors.
    shape : tuple (height, width) or None, default=None
        The size it must have; a file of another is not decoded, nor one of more than
        2**28 pixels where none is given.

    Returns
    -------
    ndarray of shape (height, width) or (height, width, 2), dtype int32
        The input itself where it is int32 already: do not write to it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError, ValueError
        If it is no label image, or one value in several pieces.

    Warns
    -----
    AnnotationWarning
        If the only object may be one, cut by the border, and may be several.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.io import check_mask
    >>> check_mask(np.array([[0, 1], [2, -1]], dtype=np.int8)).dtype
    dtype('int32')
    """
    loaded = load_mask(mask, name, shape)
    if is_path(mask):
        name = f"{name} ({mask})"
    if shape is not None and loaded.shape[:2] != tuple(shape):
        raise ValueError(f"{_size_problem(name, loaded.shape[:2], shape, '')}.")
    return as_label_image(loaded, name)


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


def load_mask(
    item: Any,
    name: str,
    shape: tuple[int, ...] | None = None,
    owner: str = "",
    *,
    is_region: bool = False,
    turned: list[tuple[str, int]] | None = None,
) -> np.ndarray:
    """Take a mask as an array; a file is decoded, its values are not looked at.

    Parameters
    ----------
    item : array or path
    name : str
        What to call it in errors.
    shape : tuple (height, width) or None, default=None
        The size that it must have; a file that declares another is not decoded, nor
        one of more than 2**28 pixels where there is no size to compare with.
    owner : str, default=""
        What to call the image of that size in errors.
    is_region : bool, default=False
        Whether black and white will do where compression may have changed values.
    turned : list of (path, orientation tag) or None, default=None
        Takes what is warned of, for a caller that warns once for all masks.
    """
    if not is_path(item):
        return as_array(item, name, "expected a label image")
    path = as_path(item)
    try:
        if shape is not None and read_size(path) != tuple(shape):
            raise _OtherSize(_size_problem(name, read_size(path), shape, owner))
        limit = MAX_LABEL_PIXELS if shape is None else MAX_PIXELS
        decoded = decode_labels(path, max_pixels=limit)
        if not (is_region and len(np.unique(decoded.array)) <= 2):
            refuse_lossy(decoded, path, "no regions" if is_region else "no ids")
    except _OtherSize as error:
        raise ValueError(f"{error}.") from None
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: {error}") from error
    except MemoryError as error:
        raise MemoryError(f"{name}: {error}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
    if turned is None:
        warn_of_orientation([(path, decoded.orientation)])
    else:
        turned.append((path, decoded.orientation))
    return decoded.array


class _OtherSize(ValueError):
    """A mask that has not the size of its image."""


def _size_problem(
    name: str, found: tuple[int, ...], expected: tuple[int, ...], owner: str
) -> str:
    problem = f"{name} has size {tuple(found)} (height, width), but "
    return problem + f"{owner or 'its image'} has {tuple(expected)}"


def declared_size(item: Any) -> tuple[int, int] | None:
    """Return height and width of a mask or image, of a file as it declares them.

    None where it is not known without work, or there is none: the gates tell why.
    """
    if is_path(item):
        try:
            return read_size(as_path(item))
        except (OSError, ValueError):
            return None
    if isinstance(item, np.ndarray) and item.ndim in (2, 3):
        return item.shape[0], item.shape[1]
    return None


def refuse_other_sizes(*named: tuple[str, Any]) -> None:
    """Refuse masks of one image that differ in size, before a file is decoded."""
    if not any(is_path(item) for _, item in named):
        return
    sizes = [(name, declared_size(item)) for name, item in named]
    known = [(name, size) for name, size in sizes if size is not None]
    for (name, size), (other, other_size) in zip(known, known[1:], strict=False):
        if size != other_size:
            raise ValueError(
                f"{name} has height and width {size} but {other} has {other_size}; "
                "expected masks of the same size."
            )


def check_regions(
    regions: Regions | None,
    n_images: int,
    shapes: Sequence[tuple[int, ...] | None] | None = None,
    names: Sequence[str] | None = None,
    *,
    numbered: bool = False,
) -> list[np.ndarray | None]:
    """Bring regions into a list with one entry for each image.

    Parameters
    ----------
    regions : boolean masks of shape (height, width), paths, or None
        A list of them, in which None stands for a whole image; a stack; one alone.
        A file that is black and white alone is a boolean mask. Without `shapes`, files
        of more than 2**28 pixels are refused.
    n_images : int
        How many there must be.
    shapes : sequence of (height, width) or None, default=None
        The size each must have; None where images have no size, as with points. A
        file of another size is not decoded.
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
    turned: list[tuple[str, int]] = []
    for index, (name, given) in enumerate(named):
        shape = None if shapes is None else shapes[index]
        owner = f"image {index}" if names is None else names[index]
        region = None
        if given is not None:
            region = _load_region(given, name, numbered, shape, owner, turned)
        if region is not None and shape is not None and region.shape != tuple(shape):
            raise ValueError(
                f"{name} has height and width {region.shape} but {owner} has "
                f"{tuple(shape)}; expected one size."
            )
        checked.append(region)
    warn_of_orientation(turned)
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


def _load_region(
    given: Any,
    name: str,
    numbered: bool,
    shape: tuple[int, ...] | None,
    owner: str,
    turned: list[tuple[str, int]],
) -> np.ndarray:
    """Take one region, after a look at its kind, shape and values."""
    from_file = is_path(given)
    if from_file:
        region = load_mask(given, name, shape, owner, is_region=True, turned=turned)
    else:
        region = as_array(given, name, _EXPECTED_REGIONS)
    if region.ndim == 2 and region.dtype.kind in "iu" and (from_file or numbered):
        region = _as_boolean(region, keep_numbers=numbered)
    if numbered and (region.ndim != 2 or region.dtype.kind not in "biu"):
        raise ValueError(
            f"{name} has shape {region.shape} and dtype {region.dtype}; expected a "
            "boolean mask (height, width), or whole numbers: 0 outside, 1..n regions."
        )
    if region.ndim != 2:
        colours = "; it is drawn in colours" if region.ndim == 3 else ""
        raise ValueError(
            f"{name} has shape {region.shape}; expected (height, width), as its image"
            f"{colours}."
        )
    if region.dtype != bool and not numbered:
        raise ValueError(
            f"{name} has dtype {region.dtype} and several values; expected a boolean "
            "mask, True inside: use region > 0 if it is drawn in numbers."
            if from_file
            else f"{name} has dtype {region.dtype}; expected a boolean mask, True "
            "inside: use region > 0 if it is drawn in numbers."
        )
    if numbered:
        _refuse_greys(region, name)
        if region.dtype != bool and region.size:
            problem = region_greys_problem(region)
            if problem is not None:
                raise ValueError(f"{name} {problem}.")
    return region


def _as_boolean(region: np.ndarray, keep_numbers: bool) -> np.ndarray:
    """Take 0 and one value for a boolean mask; 0 and 1 may be a number.

    White (255, 65535) is no number of a region.
    """
    value = int(region.max(initial=0))
    white = region.dtype.kind == "u" and value == np.iinfo(region.dtype).max
    inside = region == value
    if value < 1:
        return region if keep_numbers else np.zeros(region.shape, dtype=bool)
    is_one = np.count_nonzero(inside) == np.count_nonzero(region)
    return inside if is_one and (white or not keep_numbers) else region


def _refuse_greys(region: np.ndarray, name: str) -> None:
    """Refuse greys up to white, such as a mask that went through JPEG leaves."""
    if region.dtype.kind != "u" or region.dtype.itemsize > 2:
        return
    white = int(np.iinfo(region.dtype).max)
    if int(region.max(initial=0)) < white:
        return
    n_values = np.count_nonzero(np.bincount(region.ravel(), minlength=white + 1)[1:])
    if n_values < white:
        raise ValueError(
            f"{name} holds {n_values} values up to {white} besides 0, as greys and "
            "masks that went through JPEG do; expected a boolean mask (region > 127, "
            "say), or whole numbers: 0 outside, 1..n regions."
        )
