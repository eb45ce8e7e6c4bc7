# SPDX-License-Identifier: BSD-3-Clause
"""Checks of what goes in and what comes out."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from psmlearn.exceptions import StainWarning
from psmlearn.io import write_image
from psmlearn.utils._check_tools import (
    fit,
    fitted,
    fresh,
    image_array,
    image_list,
    is_points,
    large_image,
    methods_of,
    needs_masks,
    networks_of,
    outputs,
    quiet,
    raised_by,
    require,
    require_equal,
    require_refused,
)

# -- what is the same ----------------------------------------------------------


def check_list_equals_array(name: str, estimator: BaseEstimator) -> None:
    """A list of images and an array of them train and give the same."""
    images, masks = image_array()
    by_array = fitted(estimator, images, masks)
    by_list = fitted(estimator, list(images), list(masks))
    first, second = outputs(by_array, images), outputs(by_list, list(images))
    require_equal(first, second, f"{name}: array and list")
    require_equal(first, outputs(by_array, tuple(images)), f"{name}: array and tuple")


def check_paths_equal_arrays(name: str, estimator: BaseEstimator) -> None:
    """Paths (str, Path, an array of str) give the same as the arrays they hold."""
    images, masks = image_list()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.png" for i in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            write_image(path, image)
        first = outputs(fitted(estimator, images, masks), images)
        by_path = fitted(estimator, paths, masks)
        require_equal(first, outputs(by_path, paths), f"{name}: arrays and paths")
        texts = [str(path) for path in paths]
        require_equal(first, outputs(by_path, texts), f"{name}: arrays and str")
        require_equal(
            first, outputs(by_path, np.array(texts)), f"{name}: arrays and array of str"
        )


def check_uint8_equals_float(name: str, estimator: BaseEstimator) -> None:
    """uint8, and float images divided by 255, give the same; uint16 likewise."""
    images, masks = image_array()
    floats = images / np.float32(255)
    first = outputs(fitted(estimator, images, masks), images)
    require_equal(
        first,
        outputs(fitted(estimator, floats, masks), floats),
        f"{name}: uint8 and float32",
    )
    wide = images.astype(np.uint16) * np.uint16(257)
    ready = fitted(estimator, images, masks)
    require_equal(
        outputs(ready, wide),
        outputs(ready, wide / np.float32(65535)),
        f"{name}: uint16 and float32",
    )


def check_grey_images(name: str, estimator: BaseEstimator) -> None:
    """Images without a channel axis are refused, or taken as of one channel."""
    images, masks = image_list()
    flat = [image[..., 1].copy() for image in images]
    deep = [image[..., np.newaxis] for image in flat]
    with warnings.catch_warnings():
        # Without colour dense tissue may look like fluorescence.
        warnings.simplefilter("ignore", StainWarning)
        try:
            ready = fitted(estimator, flat, masks)
        except (ValueError, TypeError) as error:
            require("channel" in str(error), f"{name} refuses grey images: {error}")
            return
        require_equal(
            outputs(ready, flat),
            outputs(fitted(estimator, deep, masks), deep),
            f"{name}: images with and without a channel axis",
        )


def check_memory_layouts(name: str, estimator: BaseEstimator) -> None:
    """Negative strides and Fortran order change nothing."""
    images, masks = image_array()
    flipped = images[:, ::-1, ::-1]
    plain = np.ascontiguousarray(flipped)
    first = outputs(fitted(estimator, plain, masks[:, ::-1, ::-1].copy()), plain)
    ready = fitted(estimator, flipped, masks[:, ::-1, ::-1])
    require_equal(first, outputs(ready, flipped), f"{name}: negative strides")
    require_equal(
        first, outputs(ready, np.asfortranarray(plain)), f"{name}: Fortran order"
    )


def check_input_unchanged(name: str, estimator: BaseEstimator) -> None:
    """Images and masks are never written to, and may be read-only."""
    images, masks = image_list()
    kept = [array.copy() for array in [*images, *masks]]
    for array in [*images, *masks]:
        array.flags.writeable = False
    ready = fitted(estimator, images, masks)
    outputs(ready, images)
    stacked = [image / np.float32(255) for image in images]
    for array in stacked:
        array.flags.writeable = False
    fit(fresh(estimator), stacked, masks)
    outputs(ready, stacked)
    for before, after in zip(kept, [*images, *masks], strict=True):
        require(np.array_equal(before, after), f"{name} has written to its input.")


# -- shapes --------------------------------------------------------------------


def check_ragged_sizes(name: str, estimator: BaseEstimator) -> None:
    """Images of different sizes go together, each answered at its own size."""
    images, masks = image_list()
    ready = fitted(estimator, images, masks)
    together = outputs(ready, images)
    for method, values in together.items():
        require(
            isinstance(values, list),
            f"{name}.{method} gave {type(values).__name__} for a list.",
        )
        for image, value in zip(images, values, strict=True):
            require(
                is_points(value) or value.shape[:2] == image.shape[:2],
                f"{name}.{method} gave {value.shape} for an image of {image.shape}.",
            )
    for index, image in enumerate(images):
        for method, values in outputs(ready, [image]).items():
            value = np.asarray(together[method][index], float)
            alone = np.asarray(values[0], float)
            require(
                value.shape == alone.shape and np.allclose(value, alone, atol=1e-4),
                f"{name}.{method}: image {index} alone and among others differ.",
            )


def check_odd_sizes(name: str, estimator: BaseEstimator) -> None:
    """Images of one pixel, of one row and of odd sides are answered."""
    ready = fitted(estimator)
    whole = large_image(64, 64)
    odd = [whole[:1, :1], whole[:1, :40], whole[:37, :53], whole[:64, :5]]
    for method, values in outputs(ready, odd).items():
        for image, value in zip(odd, values, strict=True):
            require(
                is_points(value) or value.shape[:2] == image.shape[:2],
                f"{name}.{method} gave {value.shape} for an image of {image.shape}.",
            )
            require(
                np.isfinite(value).all(),
                f"{name}.{method} is not finite for an image of {image.shape}.",
            )


def check_one_image(name: str, estimator: BaseEstimator) -> None:
    """One image is enough to fit, as array and as list."""
    images, masks = image_array()
    first = fitted(estimator, images[:1], masks[:1])
    second = fitted(estimator, [images[0]], [masks[0]])
    require_equal(outputs(first, images), outputs(second, images), f"{name}: one image")


def check_container_kept(name: str, estimator: BaseEstimator) -> None:
    """An array gives an array, a list a list; points are always a list."""
    images, masks = image_array()
    ready = fitted(estimator, images, masks)
    for given, kind in ((images, np.ndarray), (list(images), list)):
        for method, values in outputs(ready, given).items():
            wanted = list if is_points(values[0]) else kind
            require(
                isinstance(values, wanted) and len(values) == len(images),
                f"{name}.{method} gave {type(values).__name__} for "
                f"{type(given).__name__}; expected {wanted.__name__}.",
            )


def check_output_contract(name: str, estimator: BaseEstimator) -> None:
    """Masks are int32 ids from 1, maps finite float32, points (row, column)."""
    images, masks = image_list()
    ready = fitted(estimator, images, masks)
    for method, values in outputs(ready, images).items():
        for image, value in zip(images, values, strict=True):
            if is_points(value):
                _require_points(f"{name}.{method}", value, image.shape)
            elif method == "predict":
                _require_mask(f"{name}.{method}", value)
            else:
                _require_map(f"{name}.{method}", value, method == "predict_proba")


def _require_points(what: str, points: np.ndarray, shape: tuple[int, ...]) -> None:
    inside = (points[:, :2] >= -0.5).all() and (
        points[:, :2] <= np.subtract(shape[:2], 0.5)
    ).all()
    require(inside, f"{what}: points leave the image of {shape}.")


def _require_mask(what: str, mask: np.ndarray) -> None:
    if mask.dtype == bool:  # where something is, such as tissue: no objects
        require(mask.ndim == 2, f"{what}: a bool mask has shape {mask.shape}.")
        return
    require(mask.dtype == np.int32, f"{what}: masks are int32, not {mask.dtype}.")
    require(
        mask.ndim == 2 or (mask.ndim == 3 and mask.shape[2] == 2),
        f"{what}: a mask is (height, width[, 2]), not {mask.shape}.",
    )
    ids = np.unique(mask if mask.ndim == 2 else mask[..., 0])
    ids = ids[ids > 0]
    require(
        np.array_equal(ids, np.arange(1, len(ids) + 1)), f"{what}: ids are not 1..n."
    )
    if mask.ndim == 3:
        _require_classes(what, mask)


def _require_classes(what: str, mask: np.ndarray) -> None:
    is_object = mask[..., 0] > 0
    outside = mask[~is_object]
    require(
        np.array_equal(outside[:, 0], outside[:, 1]),
        f"{what}: the class is not 0 on background and -1 where ids are -1.",
    )
    pairs = np.unique(mask[is_object], axis=0)
    require((pairs[:, 1:] >= 0).all(), f"{what}: objects have classes below 0.")
    require(
        len(pairs) == len(np.unique(pairs[:, 0])),
        f"{what}: an object has more than one class.",
    )


def _require_map(what: str, values: np.ndarray, sums_to_one: bool) -> None:
    require(values.dtype == np.float32, f"{what}: {values.dtype}, not float32.")
    require(np.isfinite(values).all(), f"{what}: values are not finite.")
    if sums_to_one:
        require(
            np.allclose(values.sum(axis=-1), 1, atol=1e-4) and values.min() >= 0,
            f"{what}: probabilities do not sum to 1.",
        )


# -- what is refused -----------------------------------------------------------


def check_single_image_refused(name: str, estimator: BaseEstimator) -> None:
    """A 3-D array is refused with an error that says ``[image]``."""
    image = large_image(64, 64)
    require_refused(estimator, image, ["[image]|image[np|image[numpy"], "one image")
    require_refused(estimator, "image.png", ["path"], "one path")


def check_bad_values_refused(name: str, estimator: BaseEstimator) -> None:
    """NaN, infinity and values beyond [0, 1] are refused; the image is named.

    With ``value_range=None`` any finite values are taken.
    """
    images, _ = image_array()
    bad = [(np.nan, "NaN"), (np.inf, "inf")]
    if getattr(estimator, "value_range", (0.0, 1.0)) is not None:
        bad.append((180.0, "255|rescale"))
    for value, word in bad:
        floats = images / np.float32(255)
        floats[1, 5, 6, 0] = value
        require_refused(estimator, floats, ["image 1", word], f"{value} in an array")
        require_refused(estimator, list(floats), ["image 1", word], f"{value}")


def check_empty_refused(name: str, estimator: BaseEstimator) -> None:
    """No image, and an image without pixels, are refused."""
    images, _ = image_array()
    require_refused(estimator, [], ["empty|no image|at least"], "an empty list")
    require_refused(estimator, images[:0], ["empty|no image|at least"], "(0, ...)")
    nothing = [images[0], np.zeros((0, 5, 3), np.uint8)]
    require_refused(estimator, nothing, ["image 1", "empty"], "an image of zero size")


def check_unreadable_refused(name: str, estimator: BaseEstimator) -> None:
    """Files that are missing or torn are refused; the path is named."""
    images, _ = image_array()
    with tempfile.TemporaryDirectory() as folder:
        whole, torn = Path(folder) / "whole.png", Path(folder) / "torn.png"
        write_image(whole, images[0])
        content = whole.read_bytes()
        torn.write_bytes(content[: len(content) // 2])
        missing = Path(folder) / "missing.png"
        for path in (torn, missing):
            require_refused(
                estimator, [whole, path], ["image 1", path.name], f"a {path.stem} file"
            )


def check_wrong_channels_refused(name: str, estimator: BaseEstimator) -> None:
    """Other channels than in fit are refused, the image and both counts named."""
    images, masks = image_array()
    ready = fitted(estimator, images, masks)
    for method in methods_of(ready):
        call = getattr(ready, method)
        message = raised_by(call, [images[0][..., 0]])
        for word in ("channel", "1", "3", "image 0"):
            require(word in message, f"{name}.{method} does not say {word}: {message}")
    mixed = [images[0], images[1][..., :2]]
    require_refused(estimator, mixed, ["image 1", "channel"], "mixed channel counts")


def check_bad_masks_refused(name: str, estimator: BaseEstimator) -> None:
    """Masks that do not belong to the images are refused, by index."""
    images, masks = image_array()
    wrong = {
        "masks of another number": (masks[:1], []),
        "a mask of another size": ([masks[0], masks[1][:32]], ["1"]),
        "a 0/255 mask": ([masks[0], (masks[1] > 0) * np.int32(255)], ["1", "255"]),
        "a float mask": ([masks[0], masks[1] / 2], ["1", "float"]),
        "a mask below -1": ([masks[0], masks[1] - 5], ["1", "-5"]),
    }
    for what, (bad, words) in wrong.items():
        message = raised_by(fresh(estimator).fit, images, bad)
        for word in words:
            require(
                word in message, f"{name} with {what} does not say {word}: {message}"
            )
    raised_by(fresh(estimator).fit, images)


# -- tissue without nuclei, and y ----------------------------------------------


def check_all_background(name: str, estimator: BaseEstimator) -> None:
    """Blank images are answered, without objects where no network guesses."""
    images, masks = image_array()
    blank = np.full((2, 48, 40, 3), 255, np.uint8)
    ready = fitted(estimator, images, masks)
    for method, values in outputs(ready, blank).items():
        for value in values:
            require(
                np.isfinite(value).all(), f"{name}.{method}: a blank image gives NaN."
            )
        if method == "predict" and not networks_of(ready):
            require(
                not any(np.size(v) if is_points(v) else (v > 0).any() for v in values),
                f"{name} finds objects in a blank image.",
            )
    # Training on nothing else is possible, or refused in words.
    unfitted = fresh(estimator)
    try:
        with quiet():
            fit(unfitted, blank, np.zeros((2, 48, 40), np.int32))
    except ValueError as error:
        require(len(str(error)) > 20, f"{name} does not say why: {error}")
    else:
        outputs(unfitted, blank)


def check_label_free(name: str, estimator: BaseEstimator) -> None:
    """An estimator that needs no y learns the same whatever y is."""
    require(not needs_masks(estimator), f"{name} says that it needs y.")
    images, masks = image_list()
    first = outputs(fitted(estimator, images), images)
    other = [(mask == 0).astype(np.int32) for mask in masks]
    for y in (masks, other):
        second = outputs(fresh(estimator).fit(images, y), images)
        require_equal(first, second, f"{name}: fit without and with y")


def check_unfitted(name: str, estimator: BaseEstimator) -> None:
    """Before fit, every method raises NotFittedError."""
    images, _ = image_array()
    unfitted = fresh(estimator)
    for method in methods_of(unfitted):
        try:
            getattr(unfitted, method)(images)
        except NotFittedError:
            continue
        raise AssertionError(f"{name}.{method} answers before fit.")
