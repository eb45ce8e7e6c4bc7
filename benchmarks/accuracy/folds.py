# SPDX-License-Identifier: BSD-3-Clause
"""Running a row fold by fold, each kept when it is done.

The folder of a run holds ``fold-K.npz`` (label images and image scores of the fold's
test images) and ``fold-K.json``, written last. A run that was broken off goes on with
the next fold; a fold of other images or parameters is run again.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.accuracy import machine
from benchmarks.accuracy.datasets import DataSet
from benchmarks.accuracy.weak import PLAIN, Outcome, make_outcome, split
from psmlearn.io import atomic_path

log = logging.getLogger("benchmarks.accuracy")


@dataclass(frozen=True)
class Method:
    """What is trained in each fold.

    Attributes
    ----------
    make : callable
        ``(dataset, seed, quick) -> estimator``, unfitted.
    sees_masks : bool
        Whether training gets masks, else image labels.
    tell : callable
        ``estimator -> dict``, its configuration.
    judge : callable
        ``(fitted estimator, images) -> (scores, shown, masks)`` of test images; scores
        and shown are None where the method has none, masks a dict of other kinds.
    """

    make: Callable
    sees_masks: bool
    tell: Callable
    judge: Callable


def run_folds(method: Method, dataset: DataSet, seed: int, quick: bool, folder: Path):
    """Run the folds that are missing; return masks and the record of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    make = partial(method.make, dataset, seed, quick)
    masks = [np.zeros(mask.shape, np.int32) for mask in dataset.masks]
    records = []
    for number, (train, test) in enumerate(split(dataset)):
        record = _find_fold(method, make, dataset, folder, number, train, test)
        records.append(record)
        if "skipped" not in record:
            with np.load(folder / f"fold-{number}.npz") as kept:
                for index, mask in zip(test, kept[PLAIN], strict=True):
                    masks[index] = mask
    ran = [record for record in records if "skipped" not in record]
    if not ran:
        raise ValueError(f"no fold could be run: {records[0]['skipped']}")
    costs = ("fit_seconds", "predict_seconds", "fit_cpu_seconds", "predict_cpu_seconds")
    total = {name: sum(record[name] for record in ran) for name in costs}
    return masks, {
        "fit_seconds": total["fit_seconds"],
        "predict_seconds": total["predict_seconds"],
        # Of all folds, whichever process ran them.
        "cpu_seconds": total["fit_cpu_seconds"] + total["predict_cpu_seconds"],
        "peak_memory_gib": max(record["peak_memory_gib"] for record in ran),
        "configuration": ran[-1]["configuration"],
        "folds": records,
    }


def _find_fold(method, make, dataset, folder, number, train, test) -> dict:
    """Read the record of a fold, or run it."""
    path = folder / f"fold-{number}.json"
    known = {
        "fold": number,
        "test": [dataset.names[i] for i in test],
        "configuration": method.tell(make()),
    }
    if path.is_file():
        record = json.loads(path.read_text())
        if _same(record, known):
            log.info("fold %d: there", number)
            return record
        log.warning("fold %d: of other images or parameters, run again", number)
        path.unlink()
    labels = np.unique(np.asarray(dataset.image_labels)[train])
    if len(labels) < 2:
        told = f"the {len(train)} training images of fold {number} all have the label "
        record = known | {"skipped": f"{told}{labels[0]}"}
        log.warning("%s: the fold is left out", record["skipped"])
    else:
        record = known | _run_fold(method, make(), dataset, folder, number, train, test)
    with atomic_path(path) as part:
        Path(part).write_text(json.dumps(record, indent=1))
    return record


def _same(record: dict, known: dict) -> bool:
    """Tell whether a record is of the same images and parameters."""

    def essence(one):
        # Progress bars change nothing.
        told = {k: v for k, v in one["configuration"].items() if "verbose" not in k}
        return json.loads(json.dumps([one["fold"], one["test"], told]))

    return essence(record) == essence(known)


def _run_fold(method, model, dataset, folder, number, train, test) -> dict:
    """Train and predict; keep what was found, and return what it cost."""
    images = [dataset.images[i] for i in train]
    clock = _Clock()
    if method.sees_masks:
        model.fit(images, [dataset.masks[i] for i in train])
    else:
        model.fit(images, image_labels=np.asarray(dataset.image_labels)[train])
    fit = clock.read()
    images = [dataset.images[i] for i in test]
    found = {PLAIN: np.stack(model.predict(images)).astype(np.int32)}
    predict = clock.read()
    # Not part of the prediction's time: image scores, and masks of other kinds.
    scores, shown, others = method.judge(model, images)
    found |= {kind: np.stack(masks).astype(np.int32) for kind, masks in others.items()}
    told = {"scores": scores, "shown": shown}
    found |= {name: value for name, value in told.items() if value is not None}
    with atomic_path(folder / f"fold-{number}.npz") as part:
        with open(part, "wb") as file:
            np.savez_compressed(file, **found)
    return {
        "n_train": len(train),
        "fit_seconds": fit[0],
        "fit_cpu_seconds": fit[1],
        "predict_seconds": predict[0],
        "predict_cpu_seconds": predict[1],
        "peak_memory_gib": machine.peak_memory(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "commit": machine.commit(),
        "chosen": {
            name: value
            for name, value in vars(model).items()
            if name.endswith("_") and isinstance(value, int | float)
        },
    }


class _Clock:
    """Wall and CPU seconds since it was last read."""

    def __init__(self):
        self.last = np.zeros(2)
        self.read()

    def read(self) -> tuple[float, float]:
        now = np.array([time.perf_counter(), time.process_time()])
        passed, self.last = now - self.last, now
        return tuple(passed.tolist())


def read_outcome(folder: Path, dataset: DataSet, record: dict) -> Outcome:
    """Read what the folds of a finished run found, and count it."""
    n_images = len(dataset.images)
    folds = np.full(n_images, -1)
    places = {name: index for index, name in enumerate(dataset.names)}
    found: dict = {}
    for one in record["folds"]:
        if "skipped" in one:
            continue
        test = [places[name] for name in one["test"]]
        folds[test] = one["fold"]
        with np.load(folder / f"fold-{one['fold']}.npz") as kept:
            for name in kept.files:
                values = found.setdefault(name, _nothing(name, dataset))
                for index, value in zip(test, kept[name], strict=True):
                    values[index] = value
    told = [
        np.array(found.pop(name)) if name in found else None
        for name in ("scores", "shown")
    ]
    return make_outcome(dataset, found, folds, *told)


def _nothing(name: str, dataset: DataSet) -> list:
    """Return what stands for images whose fold was not run."""
    if name in ("scores", "shown"):
        return [0.0 if name == "scores" else False] * len(dataset.images)
    return [np.zeros(mask.shape, np.int32) for mask in dataset.masks]
