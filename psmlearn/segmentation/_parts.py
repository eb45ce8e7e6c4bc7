# SPDX-License-Identifier: BSD-3-Clause
"""Labeler and segmenter of the training without labels, as parts of it."""

from __future__ import annotations

from inspect import signature

import numpy as np
from sklearn import config_context, get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from psmlearn._sklearn_compat import _num_samples
from psmlearn.base import UNIT_RANGE
from psmlearn.cluster import SemanticClusterer
from psmlearn.cluster._classes import resolve_classes

__all__ = [
    "check_devices",
    "check_image_labels",
    "clusterer_of",
    "count_objects",
    "fit_labeler",
    "last_step",
    "n_classes_of",
    "nothing_found",
    "pass_random_state",
    "refusal",
    "segmenter_options",
    "value_range_of",
    "value_ranges",
]

# Channels of scans differ more from subject to subject than stains, and an image shows
# one subject, whole.
_FOR_SCANS = {"network": "unet_in", "stain_jitter": 3.0}


def value_ranges(labeler, segmenter) -> dict:
    """Return the range of images that each part takes; None is the default part."""
    of_labeler = UNIT_RANGE if labeler is None else value_range_of(labeler)
    if segmenter is None:  # the default one follows the labeler
        of_segmenter = None if of_labeler is None else UNIT_RANGE
    else:
        of_segmenter = value_range_of(segmenter)
    return {"labeler": of_labeler, "segmenter": of_segmenter}


def segmenter_options(labeler) -> dict:
    """Return what the default segmenter takes from the labeler that was given."""
    options = {"value_range": value_ranges(labeler, None)["segmenter"]}
    if has_fit_parameter(last_step(labeler), "image_labels"):
        # What image labels tell apart is no nucleus of a known size.
        options |= {"targets": "regions", "min_area": 0.0}
        if options["value_range"] is None:
            options |= _FOR_SCANS
    return options


def refusal(ranges: dict, error: ValueError) -> ValueError:
    """Return the error for images that one part takes, and the other would not."""
    free, bound = sorted(ranges, key=lambda part: ranges[part] is not None)
    return ValueError(
        f"{error} The {free} has value_range=None and takes them, but the {bound} "
        "would refuse them: give value_range=None to both, or rescale the images."
    )


def nothing_found(n_images: int, *, weak: bool) -> ValueError:
    """Return the error for a labeler whose masks are all empty."""
    if weak:
        return ValueError(
            f"The labeler found no object in any of the {n_images} images, so there is "
            "nothing to learn. Check that image_labels tell apart images with and "
            "without objects, look at the labeler's maps (its transform) and masks, "
            "train it for longer, or lower its demands (threshold, min_area)."
        )
    return ValueError(
        f"The labeler found no nucleus in any of the {n_images} images, so "
        "there is nothing to learn. Look at its masks (its predict), check "
        "pixel_size, or lower its demands (min_contrast, min_stain, min_area)."
    )


def value_range_of(part) -> tuple[float, float] | None | str:
    """Return the `value_range` of a part, of the first step of a Pipeline.

    "unknown" where it has none: it checks its images, or not, by itself.
    """
    while isinstance(part, Pipeline):
        steps = [step for _, step in part.steps if step not in (None, "passthrough")]
        part = steps[0] if steps else None
    if not hasattr(part, "value_range"):
        return "unknown"
    return None if part.value_range is None else UNIT_RANGE


def check_image_labels(image_labels, n_images: int, labeler) -> None:
    """Refuse image labels that are not one an image, or that nothing would take."""
    last = last_step(labeler)
    if not has_fit_parameter(last, "image_labels"):
        raise ValueError(
            "image_labels were given, but the labeler "
            f"{type(last).__name__} takes none: its fit has no "
            "parameter image_labels. Pass a weakly supervised labeler, or "
            "leave image_labels out."
        )
    n_labels = _num_samples(image_labels)
    if n_labels != n_images:
        raise ValueError(
            f"image_labels holds {n_labels} labels for {n_images} images; one an image "
            "is expected, in the order of X."
        )


def fit_labeler(labeler, X, image_labels):
    """Fit a labeler and return its masks of the images that it was fitted to."""
    if image_labels is None:
        if hasattr(labeler, "fit_predict"):
            # Spares a Pipeline the second transformation of all images.
            return labeler.fit_predict(X, None)
        return labeler.fit(X, None).predict(X)
    last, prefix = last_step(labeler), ""
    knows = hasattr(last, "fit_predict") and "image_labels" in (
        signature(last.fit_predict).parameters
    )
    routing = get_config()["enable_metadata_routing"]
    part = labeler
    while isinstance(part, Pipeline):
        # Handed on by name: by routing, the step would have to ask for them. Other
        # steps are given nothing that could be routed.
        step, part = part.steps[-1]
        prefix, routing = f"{prefix}{step}__", False
    labels = {f"{prefix}image_labels": image_labels}
    with config_context(enable_metadata_routing=routing):
        if knows:
            # It knows which images are empty; of predict's nobody has told it.
            return labeler.fit_predict(X, None, **labels)
        return labeler.fit(X, None, **labels).predict(X)


def last_step(labeler):
    """Return the last step of a Pipeline, or what is no Pipeline itself."""
    while isinstance(labeler, Pipeline):
        labeler = labeler.steps[-1][1]
    return labeler


def clusterer_of(labeler) -> SemanticClusterer | None:
    """Return the clusterer that makes a labeler's masks, if one does."""
    last = last_step(labeler)
    return last if isinstance(last, SemanticClusterer) else None


def n_classes_of(classes) -> int:
    return 0 if classes is None else len(resolve_classes(classes))


def count_objects(masks) -> int:
    """Return the number of objects in label images, with or without classes."""
    planes = [
        mask if mask.ndim == 2 else mask[..., 0] for mask in map(np.asarray, masks)
    ]
    return int(sum(np.unique(ids[ids > 0]).size for ids in planes))


def pass_random_state(estimator, rng: np.random.RandomState) -> None:
    """Set every `random_state` of an estimator and its parts that is None."""
    seeds = {
        name: int(rng.randint(np.iinfo(np.int32).max))
        for name, value in sorted(estimator.get_params(deep=True).items())
        if (name == "random_state" or name.endswith("__random_state")) and value is None
    }
    estimator.set_params(**seeds)


def check_devices(estimator) -> None:
    """Refuse a device that is absent before any part is trained."""
    from psmlearn._engine._device import resolve_device

    for name, value in estimator.get_params(deep=True).items():
        if (name == "device" or name.endswith("__device")) and isinstance(value, str):
            resolve_device(value)
