# SPDX-License-Identifier: BSD-3-Clause
"""Time and memory of whole slides by their size: ``python -m benchmarks.slide_sizes``.

Slides are mosaics of the sample fields (or of `--images`) with glass, pen and an
unscanned strip. One model, trained for some steps, segments each in a process of its
own, whose peak is counted over what it has before it begins: libraries and model.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from psmlearn import NucleiSegmenter, load_model, save_model
from psmlearn.datasets import load_sample_images, make_nuclei, make_slide
from psmlearn.slides import segment_slide

_COLUMNS = ("side", "workers", "tissue_mm2", "nuclei", "wall_s", "cpu_s")
_MEMORY = ("base_mb", "peak_mb")


def main() -> None:
    """Print a line for each slide."""
    options = _parse()
    print(*_COLUMNS, *_MEMORY, sep="\t", flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        model = options.model or train_briefly(Path(folder, "model.psm"))
        images = options.images or load_sample_images().images
        for side in options.sides:
            path = os.path.join(folder, f"{side}.svs")
            shape = (side, side)
            make_slide(path, images, shape=shape, tissue=options.tissue, random_state=0)
            for workers in options.workers:
                told = _run_alone(model, path, workers)
                print(*told.values(), sep="\t", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[3000, 5000])
    parser.add_argument("--tissue", type=float, default=0.5, help="share of the slide")
    parser.add_argument("--workers", type=int, nargs="+", default=[0], help="0: none")
    parser.add_argument("--model", help="default: one that is trained for some steps")
    parser.add_argument("--images", nargs="+", help="fields; default: the samples")
    parser.add_argument("--folder", help="where slides and results are written")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        model, path, workers = options.run
        print(json.dumps(_run(model, path, int(workers))))
        sys.exit()
    return options


def train_briefly(path: Path) -> str:
    data = make_nuclei(n_images=6, shape=(256, 256), n_nuclei=90, random_state=0)
    segmenter = NucleiSegmenter(
        nucleus_diameter="auto",
        min_prominence=0.45,
        max_epochs=3,
        patch_size=128,
        early_stopping=False,
        random_state=0,
    )
    save_model(segmenter.fit(data.images, data.masks), path)
    return str(path)


def _run_alone(model: str, path: str, workers: int) -> dict[str, float]:
    """Segment a slide in a process of its own, torch on one thread."""
    command = [sys.executable, "-m", "benchmarks.slide_sizes"]
    done = subprocess.run(
        [*command, "--run", model, path, str(workers)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def _run(model_path: str, path: str, workers: int) -> dict[str, float]:
    model = load_model(model_path)
    base, before = _peak_mb(), os.times()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as folder:
        found = segment_slide(model, path, folder, workers=workers or None)
    wall, after = time.monotonic() - start, os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    told = (
        found.shape[0],
        workers,
        round(found.tissue_mm2, 2),
        found.n_nuclei,
        round(wall),
        round(cpu),
        round(base),
        # With workers, the largest of them.
        round(_peak_of_workers_mb() if workers else _peak_mb()),
    )
    return dict(zip((*_COLUMNS, *_MEMORY), told, strict=True))


def _peak_mb() -> float:
    """Return the peak of this process's resident memory, by Linux."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status does not tell VmHWM; this needs Linux.")


def _peak_of_workers_mb() -> float:
    """Return the peak of the largest of the processes that were started."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


if __name__ == "__main__":
    main()
