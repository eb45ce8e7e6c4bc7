# SPDX-License-Identifier: BSD-3-Clause
"""The rows that learn masks from image labels, and what they are compared with.

Each is run in folds by patient; see `folds`.
"""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import torch

from benchmarks.accuracy import papers
from benchmarks.accuracy.datasets import DataSet
from benchmarks.accuracy.flair import FlairThreshold
from benchmarks.accuracy.folds import Method, run_folds
from benchmarks.accuracy.rows import VERBOSE, Row, tell
from benchmarks.accuracy.weak import LABELER, REFINED, UNREFINED, split
from psmlearn import ClassActivationMapper, PseudoLabelSegmenter, RegionSegmenter
from psmlearn._images._kmeans import find_centers
from psmlearn.segmentation._defaults import default_segmenter
from psmlearn.weak import ClusterRefinement
from psmlearn.weak._maps import check_threshold, passing
from psmlearn.weak._refinement import refine_maps, sample_pixels

# What every mapper and every U-Net gets besides what its row says, and in quick mode.
MAPPER: dict = {}
UNET: dict = {"pixel_size": 1000.0}
QUICK = {"max_epochs": 1, "steps_per_epoch": 5, "batch_size": 4}
# Which labels training sees, and which chose the method.
IMAGE_LABELS = "image labels"
LOOKED_AT = f"{IMAGE_LABELS} (see protocol)"
# Pixels whose values are clustered to refine the maps of a plain mapper.
N_CENTER_PIXELS = 40_000
# Side of the U-Net's crops, where images are as large, and what it must divide by.
PATCH_SIZE, STRIDE = 128, 16


def make_mapper(
    dataset: DataSet, seed: int, quick: bool, **losses
) -> ClassActivationMapper:
    """Build the mapper; only its losses differ between rows."""
    options = MAPPER | QUICK if quick else MAPPER
    return ClassActivationMapper(
        value_range=None, random_state=seed, verbose=VERBOSE, **losses, **options
    )


def make_paper(dataset: DataSet, seed: int, quick: bool) -> ClassActivationMapper:
    """Build the mapper as the paper's code has it."""
    n_images = max(len(train) for train, _ in split(dataset))
    mapper = papers.make_crs(n_images, length=papers.choose_length(quick))
    return mapper.set_params(random_state=seed, verbose=VERBOSE)


def make_unet(dataset: DataSet, seed: int, quick: bool) -> RegionSegmenter:
    """Build the U-Net, the same on true masks and on those of a mapper.

    It is the one that `PseudoLabelSegmenter` takes by default after a mapper.
    """
    side = min(min(mask.shape) for mask in dataset.masks)
    patch_size = min(PATCH_SIZE, side // STRIDE * STRIDE)
    options = {"patch_size": patch_size} | UNET | (QUICK if quick else {})
    return default_segmenter(make_mapper(dataset, seed, quick)).set_params(
        random_state=seed, verbose=VERBOSE, **options
    )


def make_chain(dataset: DataSet, seed: int, quick: bool) -> PseudoLabelSegmenter:
    """Build the U-Net on the masks of the mapper of row ``cam-crs``."""
    return PseudoLabelSegmenter(
        make_mapper(dataset, seed, quick),
        make_unet(dataset, seed, quick),
        random_state=seed,
    )


def make_flair(dataset: DataSet, seed: int, quick: bool) -> FlairThreshold:
    """Build the threshold of FLAIR."""
    return FlairThreshold(channel=dataset.flair)


def judge_mapper(model, images):
    """Ask a mapper which images show a lesion; its masks are the prediction.

    Besides come masks of its maps as they are, or, where it cannot refine them, of maps
    refined by the values of pixels.
    """
    scores, shown = _judge_images(model, images)
    if model.refine_centers_ is None:
        return scores, shown, {REFINED: refine_by_values(model, images)}
    if model.refinement is None:
        return scores, shown, {}
    unrefined = copy.copy(model).set_params(refinement=None)
    return scores, shown, {UNREFINED: unrefined.predict(images)}


def _judge_images(model, images):
    probabilities = model.predict_image_proba(images)
    scores = probabilities[:, list(model.classes_).index(1)].astype(float)
    return scores, scores > 0.5


def refine_by_values(model, images) -> list[np.ndarray]:
    """Refine the maps of a mapper by clusters of the values of pixels; cut them.

    What refinement, with its defaults, does without a decoder. Clusters are those of
    the test images, at their own size, which is rather in favour of it.
    """
    refinement = ClusterRefinement()
    batch = model._images_to_map(images)
    planes = [torch.from_numpy(image).permute(2, 0, 1)[None] for image in batch]
    insides = [torch.tensor(batch.foreground(i))[None] for i in range(len(batch))]
    rng = np.random.default_rng(0)
    n_pixels = N_CENTER_PIXELS // len(batch)
    pixels = [
        sample_pixels(plane, inside, n_pixels, rng)
        for plane, inside in zip(planes, insides, strict=True)
    ]
    centers = find_centers(np.concatenate(pixels), refinement.n_clusters, 0)
    found = []
    for maps, plane, inside in zip(
        model.transform(images), planes, insides, strict=True
    ):
        refined = refine_maps(
            torch.from_numpy(maps).permute(2, 0, 1)[None],
            plane,
            inside,
            torch.from_numpy(centers),
            refinement.sigma * max(maps.shape),
        )
        ends = check_threshold(model.threshold)
        found.append(passing(refined[0, 0, ..., None].numpy(), *ends)[..., 0])
    return found


def judge_chain(model, images):
    """Ask the mapper of a chain, and take its masks too."""
    scores, shown = _judge_images(model.labeler_, images)
    return scores, shown, {LABELER: model.labeler_.predict(images)}


def judge_flair(model: FlairThreshold, images):
    """Take the greatest value where it was chosen to tell labels."""
    if not model.tells_labels_:
        return None, None, {}
    scores = model.score_images(images)
    return scores, scores > model.threshold_, {}


def judge_nothing(model, images):
    """Tell nothing of images as a whole."""
    return None, None, {}


def _row(title: str, labels: str, make, judge, *, sees_masks=False, **options) -> Row:
    method = Method(make, sees_masks, tell, judge)
    return Row(
        partial(run_folds, method),
        title,
        labels,
        kind="weak",
        resumes=True,
        **options,
    )


def _mapper_row(title: str, **losses) -> Row:
    make = partial(make_mapper, **losses)
    return _row(title, LOOKED_AT, make, judge_mapper)


# Named by what it is trained on; "supervised-unet" is a row of nuclei.
ROWS_WEAK = {
    "flair-label": _row(
        "FLAIR threshold by image labels",
        IMAGE_LABELS,
        make_flair,
        judge_flair,
        is_trained=False,
    ),
    "flair-threshold": _row(
        "FLAIR threshold by masks",
        "masks choose the threshold",
        make_flair,
        judge_flair,
        sees_masks=True,
        is_trained=False,
    ),
    "cam-plain": _mapper_row(
        "Plain class activation map", resupervision=None, reconstruction=None
    ),
    "cam-unsuppressed": _mapper_row(
        "… without suppression of absent classes",
        resupervision=None,
        reconstruction=None,
        suppression_weight=0,
    ),
    "cam-rec": _mapper_row("… with reconstruction", resupervision=None),
    "cam-cluster": _mapper_row("… with cluster-re-supervision", reconstruction=None),
    "cam-crs": _mapper_row("ClassActivationMapper, both"),
    "crs-paper": _row(
        "CRS, the paper's configuration",
        IMAGE_LABELS,
        make_paper,
        judge_mapper,
        needs_gpu=True,
    ),
    "crs-unet": _row(
        "U-Net on the masks of ClassActivationMapper",
        LOOKED_AT,
        make_chain,
        judge_chain,
    ),
    "supervised-regions": _row(
        "The same U-Net on true masks",
        "full masks",
        make_unet,
        judge_nothing,
        sees_masks=True,
    ),
}
