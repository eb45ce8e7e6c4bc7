# SPDX-License-Identifier: BSD-3-Clause
"""Figures of masks that are learnt from image labels: what they look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.accuracy.datasets import DataSet
from benchmarks.accuracy.figures import load_pyplot
from benchmarks.accuracy.runner import read_run, run_folder
from benchmarks.accuracy.weak import PLAIN, dice, parts
from psmlearn._images._standardise import foreground, standardise
from psmlearn.inspection import overlay_labels
from psmlearn.io import atomic_path

# The row by whose slice Dice slices are chosen, and those that are shown.
CHOOSER = "cam-crs"
SHOWN = {
    "cam-plain": "plain CAM",
    "cam-crs": "ClassActivationMapper",
    "crs-unet": "U-Net on its masks",
}
TRUE_COLOR, PRED_COLOR = (255, 220, 0), (0, 230, 255)
# Screen pixels for one of the image; colours of the file, which keep it small.
ENLARGEMENT = 3
N_COLORS = 128


def draw(dataset: DataSet, runs: list[dict], output: Path, folder: Path) -> None:
    """Draw the worst, the median and the best lesion slice of the report folds."""
    folder.mkdir(parents=True, exist_ok=True)
    # One seed for all columns: the first that the choosing row has.
    first = next((run for run in runs if run["row"] == CHOOSER), None)
    if first is None:
        return
    chosen = choose_slices(dataset, first)
    if not chosen:
        return
    masks = {
        run["row"]: read_run(
            run_folder(output, dataset.name, run["row"], run["seed"]), dataset
        )[1]
        for run in runs
        if run["row"] in SHOWN and run["seed"] == first["seed"]
    }
    draw_overlays(dataset, chosen, masks, folder / f"{dataset.name}-overlays.png")


def choose_slices(dataset: DataSet, run: dict) -> dict[str, int]:
    """Rank lesion slices of the report folds by their Dice."""
    outcome = run["outcome"]
    # The first part is what is reported.
    part = next(iter(parts(dataset.name, outcome).values()))
    counts = outcome.counts[PLAIN]
    rows = np.flatnonzero(part & (counts[:, 1] > 0))
    if not rows.size:
        return {}
    order = rows[np.argsort(dice(counts[rows]), kind="stable")]
    places = {"worst": 0, "median": order.size // 2, "best": -1}
    return {rank: int(order[place]) for rank, place in places.items()}


def draw_overlays(
    dataset: DataSet, chosen: dict[str, int], masks: dict[str, list], path: Path
) -> None:
    """Draw FLAIR, the true outline, and the outline of each row that was run."""
    plt = load_pyplot()
    shown = {row: title for row, title in SHOWN.items() if row in masks}
    titles = ["FLAIR", "truth", *shown.values()]
    figure, axes = plt.subplots(
        len(chosen),
        len(titles),
        figsize=(2 * len(titles), 2.25 * len(chosen) + 0.2),
        layout="constrained",
    )
    for line, (rank, index) in zip(axes, chosen.items(), strict=True):
        image, true = _grey(dataset, index), dataset.masks[index]
        line[0].imshow(image)
        line[0].set_title(f"{rank}: {dataset.names[index]}", fontsize=6)
        line[1].imshow(_outlined(image, true, TRUE_COLOR))
        line[1].set_title(titles[1], fontsize=8)
        for axis, (row, title) in zip(line[2:], shown.items(), strict=True):
            found = masks[row][index]
            axis.imshow(_outlined(image, found, PRED_COLOR))
            axis.set_title(f"{title}, {_dice(true, found):.2f}", fontsize=8)
        for axis in line:
            axis.set_axis_off()
    figure.suptitle(
        f"{dataset.name}: slices by the Dice of {SHOWN[CHOOSER]}; numbers are Dice",
        fontsize=9,
    )
    _save(figure, path)
    plt.close(figure)


def _dice(true: np.ndarray, found: np.ndarray) -> float:
    true, found = true > 0, found > 0
    return float(dice(np.array([(true & found).sum(), true.sum(), found.sum()], float)))


def _grey(dataset: DataSet, index: int) -> np.ndarray:
    """Return FLAIR, enlarged, as 8-bit grey."""
    subject = foreground(dataset.images[index])
    image = standardise(dataset.images[index], subject)[..., dataset.flair]
    low, high = np.percentile(image, [0, 99.8])
    image = np.where(subject, image, low)
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    grey = _enlarge((255 * grey).astype(np.uint8))
    return np.repeat(grey[..., None], 3, axis=-1)


def _outlined(image: np.ndarray, mask: np.ndarray, color) -> np.ndarray:
    return overlay_labels(image, _enlarge(mask), color=color, thickness=2)


def _enlarge(image: np.ndarray) -> np.ndarray:
    return np.kron(image, np.ones((ENLARGEMENT, ENLARGEMENT), image.dtype))


def _save(figure, path: Path) -> None:
    """Write a PNG with a palette: pictures in documentation stay below 300 KB."""
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    with atomic_path(path) as part:
        picture.quantize(N_COLORS).save(part, format="PNG", optimize=True)
