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

import numpy as np
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline

from benchmarks.accuracy import baselines
from benchmarks.accuracy.datasets import DataSet, centre_crop
from psmlearn import (
    NucleiDetector,
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn.io import read_image

N_FOLDS = 5
# The paper crops the middle 512 x 512 of every image.
PAPER_SIZE = 512
# On a CPU the paper's lengths (100 epochs each) would take a day.
PAPER_MAPPER_EPOCHS = 3
PAPER_SEGMENTER_EPOCHS = 15
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


def run_classical(function: Callable, dataset: DataSet, seed: int, quick: bool):
    """Segment each image by itself; nothing is trained."""
    start = time.perf_counter()
    masks = [function(_read(image)) for image in dataset.images]
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
    segmenter = None
    if quick:
        segmenter = NucleiSegmenter(
            max_epochs=5, batch_size=4, pixel_size=train.pixel_size
        )
    model = PseudoLabelSegmenter(
        segmenter=segmenter,
        pixel_size=_one_or_all(train.pixel_size),
        random_state=seed,
        verbose=VERBOSE,
    )
    start = time.perf_counter()
    model.fit(train.images)
    fitted = time.perf_counter()
    configuration = tell(model)
    masks = _predict(model, dataset, train)
    return masks, {
        "fit_seconds": fitted - start,
        "predict_seconds": time.perf_counter() - fitted,
        "configuration": configuration,
        "n_pseudo_objects": model.n_pseudo_objects_,
    }


def run_paper(dataset: DataSet, seed: int, quick: bool):
    """Train what the paper's released code does, reached by parameters."""
    train = dataset.train or dataset
    crops = [centre_crop(_read(image), PAPER_SIZE) for image in train.images]
    # Images smaller than that: the largest crop that all have, for the encoders.
    size = min(min(crop.shape[:2]) for crop in crops) // 32 * 32
    crops = [centre_crop(crop, size) for crop in crops]
    model = make_paper_model(len(crops), size, quick).set_params(random_state=seed)
    start = time.perf_counter()
    model.fit(crops)
    fitted = time.perf_counter()
    masks = model.predict(dataset.images)
    return masks, {
        "fit_seconds": fitted - start,
        "predict_seconds": time.perf_counter() - fitted,
        "configuration": {**tell(model), "training_crop": size},
        "n_pseudo_objects": model.n_pseudo_objects_,
    }


def make_paper_model(
    n_images: int, size: int, quick: bool = False
) -> PseudoLabelSegmenter:
    """Build the paper's configuration; only the lengths of training are shorter.

    A tenth of the images is held out in turn in each of its epochs. ImageNet weights
    are not at hand, so ResUNet-34 starts at random (``weights=`` would take them). The
    released code leaves the sign of the map to chance; here the stain chooses it.
    """
    n_train = max(1, n_images - (n_images // 10 + 1))
    mapper = SelfActivationMapper(
        network="res2net101_26w_4s" if not quick else "resnet18",
        pretext="similarity",
        loss="l1",
        layers=["layer1.0", "layer1.1", "layer1.2"] if not quick else "layer1",
        crop="center",
        patch_size=size,
        augment=False,
        batch_size=1,
        input_scale="byte",
        map_input_scale="unit",
        output_unit=0,
        channel_weights="image",
        scale="image",
        polarity="haematoxylin",
        learning_rate=1e-4,
        weight_decay=0,
        schedule="constant",
        max_gradient_norm=None,
        max_epochs=PAPER_MAPPER_EPOCHS if not quick else 1,
        steps_per_epoch=n_train,
        verbose=VERBOSE,
    )
    clusterer = SemanticClusterer(
        3,
        fusion="jet",
        foreground="paper",
        min_contrast=0,
        min_area=0,
        max_hole_area=4,
        opening_radius=0,
        instances=False,
    )
    training = {
        "network": "resunet34",
        "stain_jitter": 0,
        "appearance_randomisation": 0,
        "max_epochs": PAPER_SEGMENTER_EPOCHS if not quick else 1,
        "steps_per_epoch": -(-n_train // 4),
        "batch_size": 4,
        "patch_size": size,
        "learning_rate": 1e-4,
        "weight_decay": 0,
        "early_stopping": False,
        "verbose": VERBOSE,
    }
    # 20, 6 and 2.3 pixels at 40x.
    detector = NucleiDetector(
        targets="mask",
        merge_distance=5.0,
        min_distance=1.5,
        smoothing=0.575,
        threshold=0.5,
        **training,
    )
    segmenter = NucleiSegmenter(
        targets="voronoi",
        detector=detector,
        voronoi_weight=1.5,
        mask_foreground=False,
        **training,
    )
    labeler = Pipeline([("maps", mapper), ("clusters", clusterer)])
    return PseudoLabelSegmenter(labeler, segmenter)


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
            pixel_size=_one_or_all([train.pixel_size[i] for i in rows])
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


def _one_or_all(sizes: list[float]):
    return sizes[0] if len(set(sizes)) == 1 else sizes


def _read(image) -> np.ndarray:
    return (read_image(image) if isinstance(image, str) else image)[..., :3]


def tell(estimator) -> dict:
    """Write down every parameter of an estimator, nested ones by their path."""
    parameters = {
        name: value if isinstance(value, _PLAIN) else repr(value)
        for name, value in sorted(estimator.get_params(deep=True).items())
        if not hasattr(value, "get_params")
    }
    for name in ("labeler_", "segmenter_"):
        part = getattr(estimator, name, None)
        if part is not None:
            parameters |= {f"{name}.{k}": v for k, v in tell(part).items()}
    return {"estimator": type(estimator).__name__, **parameters}


def _classical(function: Callable) -> Callable:
    return lambda dataset, seed, quick: run_classical(function, dataset, seed, quick)


ROWS = {
    "otsu-watershed": Row(
        _classical(baselines.otsu_watershed),
        "Haematoxylin, Otsu, watershed",
        "none",
        is_trained=False,
    ),
    "local-threshold": Row(
        _classical(baselines.local_threshold),
        "Local threshold, watershed",
        "none (tuned on 15 images)",
        is_trained=False,
    ),
    "log-watershed": Row(
        _classical(baselines.log_watershed),
        "LoG blobs, Otsu, watershed",
        "none (tuned on 15 images)",
        is_trained=False,
    ),
    "paper": Row(run_paper, "PSM, the paper's configuration", "none"),
    "psmlearn-default": Row(
        run_default, "psmlearn, defaults", "none (defaults chosen on 15 images)"
    ),
    "supervised-unet": Row(
        run_supervised, "psmlearn's U-Net on true masks", "full masks, in folds"
    ),
}
