# SPDX-License-Identifier: BSD-3-Clause
"""Accuracy on real images: ``python -m benchmarks.accuracy --data FOLDER``.

Trains on all images of the set without labels and predicts them; the masks only
score. A finished row is kept as JSON and not run again.
"""

import argparse
import json
import os
import platform
import resource
import time
from pathlib import Path

import numpy as np

from benchmarks.accuracy.baselines import otsu_watershed
from benchmarks.accuracy.report import write_tables
from psmlearn import PseudoLabelSegmenter
from psmlearn.datasets import load_monuseg
from psmlearn.io import atomic_path, read_image
from psmlearn.metrics import (
    aggregated_jaccard_score,
    dice_score,
    object_f1_score,
    panoptic_quality_score,
)

SCORES = {
    "aji": aggregated_jaccard_score,
    "aji_plus": lambda y, p, **k: aggregated_jaccard_score(y, p, one_to_one=True, **k),
    "dice": dice_score,
    "f1": object_f1_score,
    "pq": panoptic_quality_score,
}


def run_baseline(images, seed):
    """Return the masks of the classical pipeline; it has no training."""
    start = time.perf_counter()
    masks = [otsu_watershed(read_image(path)) for path in images]
    return masks, {"fit_seconds": 0.0, "predict_seconds": time.perf_counter() - start}


def run_default(images, seed):
    """Train the default pipeline on the images and predict them."""
    start = time.perf_counter()
    model = PseudoLabelSegmenter(random_state=seed, verbose=1).fit(images)
    fitted = time.perf_counter()
    masks = model.predict(images)
    seconds = {
        "fit_seconds": fitted - start,
        "predict_seconds": time.perf_counter() - fitted,
        "n_pseudo_objects": model.n_pseudo_objects_,
        "labeler": repr(model.labeler_),
        "segmenter": repr(model.segmenter_),
    }
    return masks, seconds


ROWS = {"otsu-watershed": run_baseline, "psmlearn-default": run_default}


def evaluate(name, seed, data, n_images):
    """Run one row and return it with its scores, by image and in the mean."""
    images, masks = data.images[:n_images], data.masks[:n_images]
    predicted, row = ROWS[name](images, seed)
    row |= {"row": name, "seed": seed, "n_images": len(images)}
    for score, function in SCORES.items():
        values = function(masks, predicted, average=None)
        row[score] = float(np.mean(values))
        row[f"{score}_by_image"] = [round(float(v), 4) for v in values]
    row["peak_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    row["machine"] = f"{platform.machine()}, {platform.python_version()}"
    return row


def main():
    """Run the rows that are missing, then write the tables."""
    options = _parse_options()
    data = load_monuseg(options.data / "monuseg" / "MoNuSegTrainingData")
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.rows:
        for seed in options.seeds if name != "otsu-watershed" else [0]:
            size = options.n_images or len(data.images)
            path = options.output / f"monuseg-{size}-{name}-{seed}.json"
            if path.exists():
                continue
            row = evaluate(name, seed, data, options.n_images)
            with atomic_path(path) as part:
                Path(part).write_text(json.dumps(row, indent=1))
    write_tables(options.output)


def _parse_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("PSMLEARN_DATA"),
        help="folder that holds monuseg/MoNuSegTrainingData; default: PSMLEARN_DATA",
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--n-images", type=int, default=None, help="for a quick look")
    options = parser.parse_args()
    if options.data is None:
        parser.error("say by --data or PSMLEARN_DATA where the images are")
    return options


if __name__ == "__main__":
    main()
