# SPDX-License-Identifier: BSD-3-Clause
"""Do label-free scorers rank settings as AJI does?

``python -m benchmarks.accuracy.scorer_study --data FOLDER``: labelers of many settings
segment the middle 400 x 400 pixels of each image; the scorers see the images alone,
AJI the true masks. A finished setting is kept as JSON and not run again; tables are
written as CSV and Markdown. The development half of MoNuSeg (odd images by name) was
used to design the scorers, the report half and CPM-15 were scored when that was done.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from pathlib import Path

import joblib
import numpy as np
from scipy.stats import spearmanr
from sklearn.model_selection import ParameterSampler

from benchmarks.accuracy.datasets import centre_crop, load, read_rgb
from benchmarks.accuracy.papers import PSM_CLUSTERS
from psmlearn import SelfActivationMapper, SemanticClusterer
from psmlearn.io import atomic_path
from psmlearn.metrics import (
    OutlineScorer,
    SilhouetteScorer,
    StabilityScorer,
    aggregated_jaccard_score,
)

SIZE = 400
# Each part, and the seed of its settings: the report's are other draws than those that
# the scorers were designed with.
PARTS = {"dev": 0, "report": 1, "cpm15": 1}
SCORERS = {
    "silhouette": SilhouetteScorer(),
    "stability": StabilityScorer(),
    "outline": OutlineScorer(),
}
# Values from which settings far from the defaults are drawn, all parameters at once.
FAR = {
    "n_clusters": [2, 2, 3, 4],
    "smoothing": [0, 0.25, 0.375, 0.75, 1.25],
    "background_weight": [0, 0.5, 0.75, 1.0],
    "background_radius": [2.0, 4.0, 8.0],
    "nucleus_diameter": [3.0, 5.0, 8.0, 12.0],
    "min_contrast": [0, 0.12, 0.25],
    "opening_radius": [0, 0.5, 1.0, 1.5],
    "instances": [True, True, False],
    "fit_scope": ["image", "all"],
    "min_area": [0.0, 4.0, 10.0, 25.0],
    "max_hole_area": [0.0, 25.0],
}
FAR_MAP = {
    **FAR,
    "map_weight": [0.2, 0.4, 0.8, 1.5],
    "fusion": ["concat", "concat", "jet"],
}
# Values that two or three parameters of the defaults are changed to.
NEAR = {
    "n_clusters": [3],
    "smoothing": [0.25, 0.5, 0.75],
    "background_weight": [0, 0.5, 0.9],
    "background_radius": [2.5, 6.0],
    "nucleus_diameter": [3.5, 4.0, 6.5, 8.0],
    "min_contrast": [0.06, 0.2],
    "opening_radius": [0, 0.25, 0.75, 1.0],
    "fit_scope": ["all"],
    "min_area": [2.0, 8.0, 14.0],
    "max_hole_area": [5.0, 60.0],
    "instances": [False],
}


def draw_settings(seed: int, with_map: bool) -> list[tuple[str, bool, dict]]:
    """Draw settings, 25 without the map and 8 with it: family, map, parameters."""
    settings = [
        ("default", False, {}),
        ("default", True, {}),
        ("paper", True, PSM_CLUSTERS),
    ]
    settings += [
        ("far", False, p) for p in ParameterSampler(FAR, 16, random_state=seed)
    ]
    sampler = ParameterSampler(FAR_MAP, 4, random_state=seed + 100)
    settings += [("far", True, p) for p in sampler]
    rng = np.random.default_rng(seed + 7)
    for number in range(10):
        n_changed = 2 if number % 2 else 3
        names = sorted(rng.choice(list(NEAR), n_changed, replace=False).tolist())
        chosen = {name: NEAR[name][rng.integers(len(NEAR[name]))] for name in names}
        settings.append(("near", number % 4 == 3, chosen))
    settings.sort(key=lambda setting: setting[1])
    return [setting for setting in settings if with_map or not setting[1]]


def load_part(part: str, data: Path):
    """Return images (float32 in [0, 1]), masks and pixel sizes of a part."""
    dataset = load("cpm15" if part == "cpm15" else "monuseg", data)
    chosen = sorted(range(len(dataset.names)), key=lambda i: dataset.names[i])
    if part != "cpm15":
        chosen = chosen[{"dev": 0, "report": 1}[part] :: 2]
    images = [centre_crop(read_rgb(dataset.images[i]), SIZE) for i in chosen]
    images = [image.astype(np.float32) / np.float32(255) for image in images]
    masks = [centre_crop(dataset.masks[i], SIZE) for i in chosen]
    return images, masks, [dataset.pixel_size[i] for i in chosen]


class Remembering:
    """A fitted clusterer that does not segment again what it was fitted on."""

    def __init__(self, model, images):
        self.model, self.images = model, images

    def predict(self, X):
        """Return the masks of `fit`, or those of other images."""
        return self.model.labels_ if X is self.images else self.model.predict(X)


def run_setting(images, masks, pixel_size, family, with_map, parameters) -> dict:
    """Score the labeler of one setting, image by image."""
    # What the settings change is how clusters become objects.
    model = SemanticClusterer(
        objects="clusters", random_state=0, pixel_size=pixel_size, **parameters
    )
    model = Remembering(model.fit(images), images)
    row = {"family": family, "map": with_map, "parameters": parameters}
    aji = aggregated_jaccard_score(masks, model.predict(images), average=None)
    row["aji"] = aji.tolist()
    for name, scorer in SCORERS.items():
        row[name] = scorer.score_images(model, images).tolist()
    return row


def run_part(part: str, options) -> list[dict]:
    """Run the settings that are missing of one part; return all its rows."""
    images, masks, pixel_size = load_part(part, options.data)
    stacks, rows = None, []
    settings = draw_settings(PARTS[part], options.with_map)
    for number, (family, with_map, parameters) in enumerate(settings):
        path = options.output / f"{part}-{number:02d}.json"
        if not path.exists():
            if with_map and stacks is None:
                stacks = load_mapper(options).transform(images)
            row = run_setting(
                stacks if with_map else images,
                masks,
                pixel_size,
                family,
                with_map,
                parameters,
            )
            with atomic_path(path) as temporary:
                Path(temporary).write_text(json.dumps(row))
        rows.append(json.loads(path.read_text()))
    return rows


def load_mapper(options) -> SelfActivationMapper:
    """Fit one mapper, on the development half, or load it."""
    path = options.output / "mapper.joblib"
    if not path.exists():
        images = load_part("dev", options.data)[0]
        mapper = SelfActivationMapper(random_state=0, device="cpu").fit(images)
        with atomic_path(path) as temporary:
            joblib.dump(mapper, temporary)
    return joblib.load(path)


def compare(rows: list[dict], name: str) -> dict[str, float]:
    """Tell how a scorer's order of the settings agrees with that of AJI."""
    aji = np.array([row["aji"] for row in rows])
    score = np.array([row[name] for row in rows])
    mean, guess = aji.mean(axis=1), score.mean(axis=1)
    good = mean >= np.median(mean)
    near = np.array([row["family"] in ("default", "near") for row in rows])
    return {
        "all": spearmanr(guess, mean)[0],
        "better_half": spearmanr(guess[good], mean[good])[0],
        "near_default": spearmanr(guess[near], mean[near])[0],
        "picked": mean[guess.argmax()],
        "by_image": _mean_correlation(score, aji),
        "between_images": _mean_correlation(score.T, aji.T),
    }


def _mean_correlation(score: np.ndarray, aji: np.ndarray) -> float:
    """Correlate column by column; columns of one value only tell nothing."""
    values = [
        spearmanr(s, a)[0]
        for s, a in zip(score.T, aji.T, strict=True)
        if np.ptp(s) > 0 and np.ptp(a) > 0
    ]
    return float(np.mean(values))


def write_tables(results: dict[str, list[dict]], folder: Path) -> None:
    """Write ``settings.csv``, ``scorers.csv`` and ``scorers.md``."""
    names = ["aji", *SCORERS]
    with (folder / "settings.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["part", "family", "map", *names, "parameters"])
        for part, rows in results.items():
            for row in rows:
                means = [round(float(np.mean(row[name])), 4) for name in names]
                told = json.dumps(row["parameters"], sort_keys=True)
                writer.writerow([part, row["family"], row["map"], *means, told])
    table = [
        {"part": part, "scorer": name, **compare(rows, name)}
        for part, rows in results.items()
        for name in SCORERS
    ]
    with (folder / "scorers.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    lines = [_describe(part, rows) for part, rows in results.items()]
    lines += ["", "| " + " | ".join(table[0]) + " |", "|---" * len(table[0]) + "|"]
    for row in table:
        cells = [v if isinstance(v, str) else f"{v:.3f}" for v in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    (folder / "scorers.md").write_text("\n".join(lines) + "\n")


def _describe(part: str, rows: list[dict]) -> str:
    mean = np.array([np.mean(row["aji"]) for row in rows])
    return (
        f"{part}: {len(rows)} settings, {len(rows[0]['aji'])} images; AJI of the "
        f"default {mean[0]:.3f}, best {mean.max():.3f}, "
        f"median {np.median(mean):.3f}, mean {mean.mean():.3f}, "
        f"worst {mean.min():.3f}.\n"
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the parts asked for and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("PSMLEARN_DATA"),
        help="folder that holds monuseg and cpm15; default: PSMLEARN_DATA",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/scorer_study")
    )
    parts = list(PARTS)
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts)
    parser.add_argument(
        "--with-map",
        action="store_true",
        help="also fit a SelfActivationMapper and run 8 settings with its map",
    )
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("say by --data or PSMLEARN_DATA where the images are")
    options.data = Path(options.data)
    options.output.mkdir(parents=True, exist_ok=True)
    write_tables(
        {part: run_part(part, options) for part in options.parts}, options.output
    )


if __name__ == "__main__":
    main()
