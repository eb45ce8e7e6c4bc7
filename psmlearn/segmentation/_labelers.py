# SPDX-License-Identifier: BSD-3-Clause
"""Labelers: estimators, pipelines or plain functions that make masks of images."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from psmlearn._sklearn_compat import _num_samples
from psmlearn._typing import ImageLabels
from psmlearn.io._batch import ImageBatch, check_masks, check_range
from psmlearn.io._standardised import StandardisedBatch

__all__ = [
    "FunctionLabeler",
    "as_labeler",
    "check_image_labels",
    "fit_labeler",
    "for_part",
    "last_step",
    "takes_image_labels",
    "value_range_of",
]


class FunctionLabeler(BaseEstimator):
    """A plain function as labeler: nothing is learnt.

    Parameters
    ----------
    function : callable
        Takes a list of images, each (height, width, n_channels) float32, and returns a
        label image of each, (height, width[, 2]) of whole numbers. Integers come scaled
        to [0, 1], floats as they are.
    """

    def __init__(self, function: Callable[[list[np.ndarray]], Any]) -> None:
        self.function = function

    @property
    def name(self) -> str:
        """What to call the function."""
        return getattr(self.function, "__name__", repr(self.function))

    def fit(self, X: ImageBatch, y: object = None) -> FunctionLabeler:
        """Do nothing: functions learn nothing."""
        return self

    def predict(self, X: ImageBatch) -> list[np.ndarray]:
        """Return the masks that the function makes of images, checked."""
        images = X.as_given() if isinstance(X, StandardisedBatch) else X
        found = self.function(list(images))
        return check_masks(found, X, caller=f"labeler {self.name}")

    def __sklearn_is_fitted__(self) -> bool:
        return True


def as_labeler(labeler: Any) -> Any:
    """Return an unfitted labeler: a copy of an estimator, or a function's."""
    if hasattr(labeler, "fit"):
        return clone(labeler)
    return FunctionLabeler(labeler)


def last_step(part: Any) -> Any:
    """Return the last step of a Pipeline, or what is no Pipeline itself."""
    while isinstance(part, Pipeline):
        part = part.steps[-1][1]
    return part


def first_step(part: Any) -> Any:
    """Return the first step of a Pipeline that does something, or what is none."""
    while isinstance(part, Pipeline):
        steps = [step for _, step in part.steps if step not in (None, "passthrough")]
        part = steps[0] if steps else None
    return part


def for_part(part: Any, X: Any, images: ImageBatch) -> Any:
    """Return what a part is given: the checked images, or X where it is not ours."""
    # By module: a subclass elsewhere expects what its user hands in.
    first = type(first_step(part))
    is_ours = first.__module__.partition(".")[0] == "psmlearn"
    return images if is_ours else X


def takes_image_labels(labeler: Any) -> bool:
    """Tell a labeler that learns from labels of whole images."""
    return has_fit_parameter(last_step(labeler), "image_labels")


def value_range_of(part: Any) -> tuple[float, float] | None | str:
    """Return the `value_range` of a part, of the first step of a Pipeline.

    "unknown" where it has none: it checks its images, or not, by itself.
    """
    part = first_step(part)
    if not hasattr(part, "value_range"):
        return "unknown"
    return check_range(part.value_range)


def check_image_labels(image_labels: ImageLabels, n_images: int, labeler: Any) -> None:
    """Refuse image labels that are not one an image, or that nothing would take."""
    if not takes_image_labels(labeler):
        last = last_step(labeler)
        name = getattr(last, "name", type(last).__name__)
        raise ValueError(
            f"image_labels were given, but the labeler {name} takes none: its fit has "
            "no parameter image_labels. Pass a weakly supervised labeler, or leave "
            "image_labels out."
        )
    n_labels = _num_samples(image_labels)
    if n_labels != n_images:
        raise ValueError(
            f"image_labels holds {n_labels} labels for {n_images} images; one an image "
            "is expected, in the order of X."
        )


def fit_labeler(labeler: Any, X: Any, image_labels: ImageLabels | None) -> Any:
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
