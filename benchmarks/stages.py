# SPDX-License-Identifier: BSD-3-Clause
"""CPU seconds a megapixel of each stage: ``python -m benchmarks.stages``.

On one thread, the best of some repeats: maps and clusters, the network on a whole image
and on the inner tile of a slide, what is read from its answer, and what is written. The
networks are trained for some steps, or the segmenter is given as `--model`: the nuclei
of one that is trained well are fewer and rounder, and take less time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.slide_sizes import train_briefly
from psmlearn import SelfActivationMapper, SemanticClusterer, load_model
from psmlearn.datasets import load_sample_images
from psmlearn.inspection import overlay_labels
from psmlearn.io import (
    read_image,
    write_geojson,
    write_image,
    write_labels,
    write_table,
)
from psmlearn.measure import nuclei_table
from psmlearn.preprocessing import StainNormalizer
from psmlearn.slides._model import SlideModel, nuclei_segmenter

_TILE = 1024


def main() -> None:
    """Print a line for each stage."""
    options = _parse()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    paths = options.images or load_sample_images().images
    images = [_read(path) for path in paths[: options.n_images]]
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(options.model or train_briefly(Path(folder, "model.psm")))
        for name, seconds in measure(images, model, Path(folder), options.repeats):
            print(f"{name:48s}{seconds:8.3f}", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", nargs="+", help="default: the sample fields")
    parser.add_argument("--n-images", type=int, default=4, help="of them, so many")
    parser.add_argument("--model", help="default: one that is trained for some steps")
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def _read(image: Any) -> np.ndarray:
    if isinstance(image, np.ndarray):
        return image
    return read_image(image)[..., :3]


def measure(
    images: list[np.ndarray], model: Any, folder: Path, repeats: int = 3
) -> Iterator[tuple[str, float]]:
    """Yield stages and their CPU seconds a megapixel, the mean over images."""

    def timed(do: Callable[[Any], Any], inputs: list[Any]) -> float:
        return _per_megapixel(do, inputs, images, repeats)

    briefly = {"max_epochs": 1, "steps_per_epoch": 5, "patch_size": 64}
    mapper = SelfActivationMapper(**briefly, device="cpu", random_state=0)
    maps = mapper.fit(images).transform(images)
    clusterer = SemanticClusterer(random_state=0).fit(maps)
    reinhard = StainNormalizer("reinhard").fit(images[:1])
    yield "maps (ResNet-18)", timed(lambda x: mapper.transform([x]), images)
    yield "clusters and contours", timed(lambda x: clusterer.predict([x]), list(maps))
    yield "Reinhard's normalisation", timed(lambda x: reinhard.transform([x]), images)

    segmenter = nuclei_segmenter(model)
    network = timed(lambda x: segmenter.predict_proba([x]), images)
    whole = timed(lambda x: segmenter.predict([x]), images)
    masks = segmenter.predict(images)
    yield "network, whole image", network
    yield "network, inner tile of a slide", _of_inner_tile(segmenter, repeats)
    yield "decoding", whole - network
    yield "predict", whole

    pairs = list(zip(images, masks, strict=True))
    written = timed(lambda pair: _write(*pair, folder), pairs)
    yield "labels, GeoJSON and table, written", written
    yield "predict and write", whole + written
    yield "overlay as PNG", timed(lambda pair: _draw(*pair, folder), pairs)


def _per_megapixel(
    do: Callable[[Any], Any], inputs: list[Any], images: list[np.ndarray], repeats: int
) -> float:
    seconds, pixels = 0.0, 0
    for each, image in zip(inputs, images, strict=True):
        seconds += _best(lambda each=each: do(each), repeats)
        pixels += image.shape[0] * image.shape[1]
    return seconds / pixels * 1e6


def _best(do: Callable[[], Any], repeats: int) -> float:
    took = []
    for _ in range(repeats):
        start = time.process_time()
        do()
        took.append(time.process_time() - start)
    return min(took)


def _of_inner_tile(segmenter: Any, repeats: int) -> float:
    model = SlideModel(segmenter, 0.25)
    side = _TILE + 2 * model.halo
    image = np.random.default_rng(0).random((side, side, model.n_channels), np.float32)
    margins = (model.halo,) * 4
    model.answer(image, margins)  # what the first call prepares
    return _best(lambda: model.answer(image, margins), repeats) / _TILE**2 * 1e6


def _write(image: np.ndarray, mask: np.ndarray, folder: Path) -> None:
    write_labels(folder / "labels.tif", mask)
    write_geojson(folder / "nuclei.geojson", mask)
    write_table(folder / "nuclei.csv", nuclei_table(mask, image))


def _draw(image: np.ndarray, mask: np.ndarray, folder: Path) -> None:
    write_image(folder / "overlay.png", overlay_labels(image, mask), compress_level=1)


if __name__ == "__main__":
    main()
