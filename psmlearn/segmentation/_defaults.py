# SPDX-License-Identifier: BSD-3-Clause
"""The default chain: of the estimator, and of the command line."""

from __future__ import annotations

from typing import Any

from sklearn.pipeline import Pipeline

from psmlearn._typing import PixelSize
from psmlearn.activation import SelfActivationMapper
from psmlearn.base import UNIT_RANGE, NetworkEstimator
from psmlearn.cluster import SemanticClusterer
from psmlearn.cluster._classes import Classes, resolve_classes
from psmlearn.io._batch import ImageBatch, resolve_pixel_size
from psmlearn.segmentation._labelers import (
    last_step,
    takes_image_labels,
    value_range_of,
)
from psmlearn.segmentation._region_segmenter import RegionSegmenter
from psmlearn.segmentation._segmenter import NucleiSegmenter

__all__ = [
    "default_chain",
    "default_labeler",
    "default_rounds",
    "default_segmenter",
]

# Of pale nuclei a network finds more than the masks hold, most of them pale ground.
_THRESHOLD_OF_CLASSES = 0.85
# Of one stain: debris (square micrometres, among nuclei of 5), pixels that are likelier
# not, and nuclei that hardly stand out; chosen on 15 images of MoNuSeg.
_OF_ONE_STAIN = {"min_area": 6.0, "threshold": 0.65, "min_prominence": 0.45}
# Of a quick training, for a first look: few steps on small crops. Of a handful of
# images none is set aside, and to learn pale nuclei from solid ones takes longer.
_QUICK_MAPPER = {"max_epochs": 2, "steps_per_epoch": 60, "patch_size": 64}
_QUICK_SEGMENTER = {
    "max_epochs": 5,
    "steps_per_epoch": 20,
    "patch_size": 128,
    "early_stopping": False,
    "appearance_randomisation": 0.0,
}


def default_chain(
    images: ImageBatch,
    *,
    classes: Classes | None = None,
    pixel_size: PixelSize = 0.25,
    device: str = "auto",
    verbose: int = 0,
    max_epochs: int | None = None,
    quick: bool = False,
) -> tuple[Any, Any]:
    """Return the labeler and the segmenter that are the default for some images.

    Parameters
    ----------
    classes : "ki67", "he", dict or None, default=None
        As in :class:`SemanticClusterer`.
    max_epochs : int or None, default=None
        Cuts each training short after so many epochs.
    quick : bool, default=False
        Whether the trainings are short ones for a first look.
    """
    labeler = default_labeler(
        images, classes=classes, pixel_size=pixel_size, device=device, verbose=verbose
    )
    segmenter = default_segmenter(
        labeler, pixel_size=pixel_size, device=device, verbose=verbose
    )
    steps = labeler.named_steps.values() if isinstance(labeler, Pipeline) else []
    if quick:
        for part in steps:
            if isinstance(part, SelfActivationMapper):
                part.set_params(**_QUICK_MAPPER)
        segmenter.set_params(**_QUICK_SEGMENTER)
    if max_epochs is not None:
        for part in (*steps, segmenter):
            if isinstance(part, NetworkEstimator):
                part.max_epochs = min(part.max_epochs, max_epochs)
    return labeler, segmenter


def default_rounds(classes: Classes | None, *, quick: bool = False) -> int:
    """Return the rounds of training that are the default for some classes.

    A second round, taught by what the first is sure of, helps where one stain tells
    the nuclei; pale nuclei beside brown ones gain nothing by it, and a quick training
    is sure of too little.
    """
    return 2 if _n_classes(classes) < 2 and not quick else 1


def default_labeler(
    images: ImageBatch,
    *,
    classes: Classes | None = None,
    pixel_size: PixelSize = 0.25,
    device: str = "auto",
    verbose: int = 0,
) -> Any:
    """Return the unfitted labeler that is the default: maps and their clusters.

    With several classes it is the clusterer alone, to whose stains a map adds nothing.
    """
    if images.n_channels not in (1, 3):
        raise ValueError(
            "The default labeler takes images with 1 or 3 channels, got "
            f"{images.n_channels}; pass a labeler that knows yours."
        )
    if _n_classes(classes) > 1:
        return SemanticClusterer(
            pixel_size=pixel_size, classes=classes, verbose=verbose
        )
    # Maps are arrays that know no file: the clusterer is told the numbers.
    sizes = resolve_pixel_size(pixel_size, images)
    is_one = (sizes == sizes[0]).all()
    clusterer = SemanticClusterer(
        pixel_size=float(sizes[0]) if is_one else sizes.tolist(),
        classes=classes,
        unsure="unknown",
        verbose=verbose,
    )
    maps = SelfActivationMapper(device=device, verbose=verbose)
    return Pipeline([("maps", maps), ("clusters", clusterer)])


def default_segmenter(
    labeler: Any,
    *,
    pixel_size: PixelSize = 0.25,
    device: str = "auto",
    verbose: int = 0,
) -> Any:
    """Return the unfitted segmenter that is the default after a labeler.

    What image labels tell apart is no nucleus of a known size, but a region.
    """
    common: dict[str, Any] = {
        "pixel_size": pixel_size,
        "device": device,
        "verbose": verbose,
    }
    of_labeler = value_range_of(labeler)
    value_range = UNIT_RANGE if isinstance(of_labeler, str) else of_labeler
    if takes_image_labels(labeler):
        return RegionSegmenter(value_range=value_range, **common)
    last = last_step(labeler)
    if isinstance(last, SemanticClusterer):
        common["nucleus_diameter"] = "auto"
        if _n_classes(last.classes) > 1:
            common["threshold"] = _THRESHOLD_OF_CLASSES
        else:
            common |= _OF_ONE_STAIN
    return NucleiSegmenter(value_range=value_range, **common)


def _n_classes(classes: Classes | None) -> int:
    """Return how many classes a choice of them stands for; 0 without."""
    return 0 if classes is None else len(resolve_classes(classes))
