# SPDX-License-Identifier: BSD-3-Clause
"""The rows that run on data sets of positive and negative nuclei.

As the other rows, each is a function ``(dataset, seed, quick) -> (predictions,
details)``; a prediction is a mask with classes (height, width, 2), or points with
classes (n, 3).
"""

from __future__ import annotations

import time
from functools import partial

import numpy as np
from sklearn.model_selection import KFold

from benchmarks.accuracy import colour, tuning
from benchmarks.accuracy.datasets import DataSet, read_rgb
from benchmarks.accuracy.ki67 import inside
from benchmarks.accuracy.rows import (
    N_FOLDS,
    VERBOSE,
    Row,
    fit_and_predict,
    one_or_all,
    tell,
)
from psmlearn import NucleiDetector, PseudoLabelSegmenter, SemanticClusterer
from psmlearn.metrics import detection_f1_score
from psmlearn.segmentation._defaults import default_segmenter

# Clicks are off the centres: peaks of their Gaussians come out blurred, and low.
_BLURRED_DIAMETER = 8.0
_THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


def run_colour(family: str, dataset: DataSet, seed: int, quick: bool):
    """Tune a family of colour thresholds, leaving one image out."""
    start = time.perf_counter()
    regions = dataset.regions or [None] * len(dataset.images)
    channels = [
        colour.Channels(read_rgb(image), region)
        for image, region in zip(dataset.images, regions, strict=True)
    ]
    tuner = tuning.Tuner(colour.FAMILIES[family], channels, dataset.points, regions)
    settings = tuner.leave_one_out(max_sweeps=1 if quick else None)
    fitted = time.perf_counter()
    points = [
        tuner.family.detect(colour.Channels(image.image, region), setting)
        for image, region, setting in zip(channels, regions, settings, strict=True)
    ]
    return points, {
        "fit_seconds": fitted - start,
        "predict_seconds": time.perf_counter() - fitted,
        "configuration": {
            "family": family,
            "does": tuner.family.title,
            "values": {k: list(map(repr, v)) for k, v in tuner.family.space.items()},
            "chosen": dict(zip(dataset.names, settings, strict=True)),
            "n_settings_tried": tuner.n_tried,
        },
    }


def run_clusterer(dataset: DataSet, seed: int, quick: bool):
    """Take the pseudo-masks themselves, without training on them."""
    model = SemanticClusterer(
        classes="ki67",
        pixel_size=one_or_all(dataset.pixel_size),
        random_state=seed,
    )
    return fit_and_predict(model, dataset.images, lambda m: m.predict(dataset.images))


def run_default(dataset: DataSet, seed: int, quick: bool):
    """Train the defaults for two classes on the images alone, without labels."""
    segmenter = None
    if quick:
        segmenter = default_segmenter(
            SemanticClusterer(classes="ki67"), pixel_size=dataset.pixel_size
        ).set_params(max_epochs=5, batch_size=4)
    model = PseudoLabelSegmenter(
        segmenter=segmenter,
        classes="ki67",
        pixel_size=one_or_all(dataset.pixel_size),
        random_state=seed,
        verbose=VERBOSE,
    )
    return fit_and_predict(model, dataset.images, lambda m: m.predict(dataset.images))


def run_supervised(dataset: DataSet, seed: int, quick: bool):
    """Train a detector on true points, in folds by image: what labels give here.

    Where the truth is complete in a region only, the images are cut to the region's
    box, and what is not in the region is made white, so that no nucleus without a
    point is shown as background.
    """
    images, points = zip(*map(_labelled_part, *_lists(dataset)), strict=True)
    model = NucleiDetector(
        nucleus_diameter=_BLURRED_DIAMETER,
        pixel_size=dataset.pixel_size[0],
        random_state=seed,
        verbose=VERBOSE,
    )
    thresholds = []
    if quick:
        model.set_params(max_epochs=1, steps_per_epoch=15, batch_size=4)
    start, predict_seconds = time.perf_counter(), 0.0
    found: list = [None] * len(images)
    folds = KFold(min(N_FOLDS, len(images)), shuffle=True, random_state=0)
    for train, test in folds.split(images):
        shown = [images[i] for i in train], [points[i] for i in train]
        model.fit(*shown)
        thresholds.append(_choose_threshold(model, *shown))
        begun = time.perf_counter()
        for index in test:
            found[index] = model.predict([read_rgb(dataset.images[index])])[0]
        predict_seconds += time.perf_counter() - begun
    return found, {
        "fit_seconds": time.perf_counter() - start - predict_seconds,
        "predict_seconds": predict_seconds,
        "configuration": tell(model) | {"thresholds": thresholds},
    }


def _choose_threshold(model: NucleiDetector, images, points) -> float:
    """Set and return the threshold that is best on the images trained on."""

    def score(threshold):
        found = model.set_params(threshold=threshold).predict(images)
        return np.mean(
            detection_f1_score(points, found, radius=6, labels=[1, 2], average="micro")
        )

    best = max(_THRESHOLDS, key=score)
    model.set_params(threshold=best)
    return best


def _lists(dataset: DataSet) -> tuple[list, list, list]:
    regions = dataset.regions or [None] * len(dataset.images)
    return list(map(read_rgb, dataset.images)), dataset.points, regions


def _labelled_part(image, points, region):
    if region is None:
        return image, points
    box = tuple(
        slice(line[0], line[-1] + 1)
        for line in (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    )
    part = np.where(region[box][..., None], image[box], 255).astype(image.dtype)
    points = inside(points, region) - [box[0].start, box[1].start, 0]
    limits = np.array(part.shape[:2]) - 1
    return part, np.column_stack([np.clip(points[:, :2], 0, limits), points[:, 2]])


ROWS_KI67 = {
    f"colour-{name}": Row(
        partial(run_colour, name),
        family.title,
        "points of the other images choose parameters",
        is_trained=False,
        kind="ki67",
    )
    for name, family in colour.FAMILIES.items()
} | {
    "clusterer-ki67": Row(
        run_clusterer,
        'SemanticClusterer(classes="ki67")',
        "none (defaults judged on every other image)",
        is_trained=False,
        kind="ki67",
    ),
    "psmlearn-ki67": Row(
        run_default,
        "psmlearn, defaults",
        "none (defaults judged on every other image)",
        kind="ki67",
    ),
    "supervised-ki67": Row(
        run_supervised,
        "psmlearn's detector on true points",
        "points, in folds",
        kind="ki67",
    ),
}
