# SPDX-License-Identifier: BSD-3-Clause
"""The rows that the accuracy benchmark runs: who trains on what, and predicts.

A row is a function ``(dataset, seed, quick) -> (masks, details)``: the label images
it predicts for the data set's images, and seconds and configuration.
"""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline

from benchmarks.accuracy import baselines, papers
from benchmarks.accuracy.datasets import DataSet, centre_crop, read_rgb
from psmlearn import (
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn.io import check_images
from psmlearn.segmentation._defaults import default_chain

N_FOLDS = 5
# Progress bars are for those who watch.
VERBOSE = int(sys.stderr.isatty())
_PLAIN = int | float | str | bool | None


@dataclass(frozen=True)
class Row:
    """How a row is run, and how it is told in tables."""

    run: Callable
    title: str
    # Which labels the predicted images' training has seen, and which chose parameters.
    labels: str
    is_trained: bool = True
    # The kind of data sets that it runs on.
    kind: str = "he"
    # Whether `run` takes the folder too, where it keeps each fold when it is done.
    resumes: bool = False
    # Whether it takes a CPU a night, and then is run only if it is named.
    needs_gpu: bool = False


def fit_and_predict(model, images: list, predict: Callable):
    """Fit a model to images without labels, and predict with it, timed.

    Parameters
    ----------
    model : estimator
    images : list
        Images to fit it to.
    predict : callable
        ``fitted model -> predictions``.

    Returns
    -------
    predictions : list
    details : dict
        Seconds and configuration.
    """
    start = time.perf_counter()
    model.fit(images)
    fitted = time.perf_counter()
    configuration = tell(model)
    predictions = predict(model)
    details = {
        "fit_seconds": fitted - start,
        "predict_seconds": time.perf_counter() - fitted,
        "configuration": configuration,
    }
    if hasattr(model, "n_pseudo_objects_"):
        details["n_pseudo_objects"] = model.n_pseudo_objects_
    return predictions, details


def run_classical(function: Callable, dataset: DataSet, seed: int, quick: bool):
    """Segment each image by itself; nothing is trained."""
    start = time.perf_counter()
    masks = [function(read_rgb(image)) for image in dataset.images]
    constants = {
        name: getattr(baselines, name) for name in dir(baselines) if name.isupper()
    }
    return masks, {
        "fit_seconds": 0.0,
        "predict_seconds": time.perf_counter() - start,
        "configuration": {
            "function": function.__name__,
            "does": inspect.getdoc(function),
            **constants,
        },
    }


def run_default(dataset: DataSet, seed: int, quick: bool):
    """Train the defaults on the images, without labels."""
    train = dataset.train or dataset
    size = one_or_all(train.pixel_size)
    labeler, segmenter = None, None
    if quick:
        images = check_images(train.images)
        labeler, segmenter = default_chain(images, pixel_size=size, quick=True)
    model = PseudoLabelSegmenter(
        labeler,
        segmenter,
        pixel_size=size,
        random_state=seed,
        verbose=VERBOSE,
    )
    return fit_and_predict(
        model, train.images, lambda model: _predict(model, dataset, train)
    )


def run_pseudo_masks(
    dataset: DataSet, seed: int, quick: bool, *, objects: str, with_map: bool = False
):
    """Give the pseudo masks of the images themselves: no segmenter is trained."""
    size = one_or_all(dataset.pixel_size)
    clusterer = SemanticClusterer(objects=objects, pixel_size=size, random_state=seed)
    model: BaseEstimator = clusterer
    if with_map:
        mapper = SelfActivationMapper(random_state=seed, verbose=VERBOSE)
        if quick:
            mapper.set_params(max_epochs=1)
        model = Pipeline([("maps", mapper), ("clusters", clusterer)])
    # Those of the images of `fit` are there, but for a Pipeline.
    return fit_and_predict(
        model,
        dataset.images,
        lambda model: model.predict(dataset.images) if with_map else model.labels_,
    )


def run_paper(dataset: DataSet, seed: int, quick: bool, **changes):
    """Train what the paper's released code does, reached by parameters."""
    train = dataset.train or dataset
    crops = [centre_crop(read_rgb(image), papers.PSM_SIZE) for image in train.images]
    # Images smaller than that: the largest crop that all have, for the encoders.
    size = min(min(crop.shape[:2]) for crop in crops) // 32 * 32
    crops = [centre_crop(crop, size) for crop in crops]
    model = papers.make_psm(
        len(crops), size, length=papers.choose_length(quick), **changes
    ).set_params(random_state=seed, verbose=VERBOSE)
    masks, details = fit_and_predict(
        model, crops, lambda model: model.predict(dataset.images)
    )
    details["configuration"]["training_crop"] = size
    return masks, details


def run_supervised(dataset: DataSet, seed: int, quick: bool):
    """Train our U-Net on true masks, in folds by patient: the upper mark."""
    template = NucleiSegmenter(
        appearance_randomisation=0, random_state=seed, verbose=VERBOSE
    )
    if quick:
        template.set_params(max_epochs=1, steps_per_epoch=15, batch_size=4)
    folds = list(_folds(dataset))
    configuration = {
        **tell(template),
        "pixel_size": "each image's",
        "folds": [[dataset.names[i] for i in test] for _, _, test in folds],
    }
    start, predict_seconds = time.perf_counter(), 0.0
    masks: list = [None] * len(dataset.images)
    for train, rows, test in folds:
        model = template.set_params(
            pixel_size=one_or_all([train.pixel_size[i] for i in rows])
        ).fit([train.images[i] for i in rows], [train.masks[i] for i in rows])
        begun = time.perf_counter()
        for index in test:
            model.set_params(pixel_size=dataset.pixel_size[index])
            masks[index] = model.predict([dataset.images[index]])[0]
        predict_seconds += time.perf_counter() - begun
    return masks, {
        "fit_seconds": time.perf_counter() - start - predict_seconds,
        "predict_seconds": predict_seconds,
        "configuration": configuration,
    }


def _folds(dataset: DataSet):
    """List what to train on, which of it, and which images to predict then."""
    if dataset.train is not None:
        everything = range(len(dataset.train.images))
        return [(dataset.train, everything, range(len(dataset.images)))]
    n_folds = min(N_FOLDS, len(set(dataset.groups)))
    split = GroupKFold(n_folds).split(dataset.images, groups=dataset.groups)
    return [(dataset, train, test) for train, test in split]


def _predict(model, dataset: DataSet, train: DataSet) -> list[np.ndarray]:
    """Predict each image at its own pixel size."""
    if len(set(train.pixel_size)) == 1:
        return model.predict(dataset.images)
    masks = []
    for image, size in zip(dataset.images, dataset.pixel_size, strict=True):
        model.segmenter_.set_params(pixel_size=size)
        masks.append(model.predict([image])[0])
    return masks


def one_or_all(sizes: list[float]) -> float | list[float]:
    """Return the pixel size that all images have, or all sizes."""
    return sizes[0] if len(set(sizes)) == 1 else sizes


def tell(estimator) -> dict:
    """Write down every parameter of an estimator, nested ones by their path.

    Of parts and options that have parameters of their own comes the class here.
    """
    parameters = {
        name: _tell_value(value)
        for name, value in sorted(estimator.get_params(deep=True).items())
        # Steps of a Pipeline come one by one too.
        if name.split("__")[-1] != "steps"
    }
    for name in ("labeler_", "segmenter_"):
        part = getattr(estimator, name, None)
        if part is not None:
            parameters |= {f"{name}.{k}": v for k, v in tell(part).items()}
    return {"estimator": type(estimator).__name__, **parameters}


def _tell_value(value) -> int | float | str | bool | None:
    if hasattr(value, "get_params"):
        return type(value).__name__
    return value if isinstance(value, _PLAIN) else repr(value)


ROWS = {
    "otsu-watershed": Row(
        partial(run_classical, baselines.otsu_watershed),
        "Haematoxylin, Otsu, watershed",
        "none",
        is_trained=False,
    ),
    "local-threshold": Row(
        partial(run_classical, baselines.local_threshold),
        "Local threshold, watershed",
        "none (tuned on 15 images)",
        is_trained=False,
    ),
    "log-watershed": Row(
        partial(run_classical, baselines.log_watershed),
        "LoG blobs, Otsu, watershed",
        "none (tuned on 15 images)",
        is_trained=False,
    ),
    "psm-paper": Row(run_paper, "PSM, the paper's configuration", "none"),
    # What the code leaves to chance can fall on the wrong side, and nothing is found.
    "psm-paper-signed": Row(
        partial(run_paper, polarity="haematoxylin"),
        "… with the sign of the map chosen by stain",
        "none",
    ),
    "clusters": Row(
        partial(run_pseudo_masks, objects="clusters"),
        'SemanticClusterer(objects="clusters"), no training',
        "none (defaults chosen on 15 images)",
        is_trained=False,
    ),
    "contours": Row(
        partial(run_pseudo_masks, objects="contours"),
        "SemanticClusterer(), no training",
        "none (defaults chosen on 15 images)",
        is_trained=False,
    ),
    "contours-map": Row(
        partial(run_pseudo_masks, objects="contours", with_map=True),
        "… with the self-activation map",
        "none (defaults chosen on 15 images)",
    ),
    "psmlearn-default": Row(
        run_default, "psmlearn, defaults", "none (defaults chosen on 15 images)"
    ),
    "supervised-unet": Row(
        run_supervised, "psmlearn's U-Net on true masks", "full masks, in folds"
    ),
}
