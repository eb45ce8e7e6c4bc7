# SPDX-License-Identifier: BSD-3-Clause
"""Figures of positive and negative nuclei: labelling index, and what is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.accuracy.datasets import DataSet, read_rgb
from benchmarks.accuracy.figures import load_pyplot
from benchmarks.accuracy.ki67 import (
    MAIN_RADII,
    NEGATIVE,
    POSITIVE,
    RADII,
    as_points,
    inside,
    labelling_index,
    pooled,
)
from benchmarks.accuracy.report_ki67 import best_baseline
from benchmarks.accuracy.runner import ALL_ROWS, read_run, run_folder
from psmlearn.inspection import overlay_labels

OVERLAY_ROW = "psmlearn-ki67"
# Side of the part that is shown, in pixels of the file.
OVERLAY_SIZE = 280
# Apart for the colour-blind too, and seen on brown and on blue.
COLORS = {POSITIVE: (255, 0, 200), NEGATIVE: (0, 190, 60)}
SIGNS = {POSITIVE: "+", NEGATIVE: "−"}
NAMES = {POSITIVE: "positive", NEGATIVE: "negative"}


def draw(dataset: DataSet, runs: list[dict], output: Path, folder: Path) -> None:
    """Draw the index of all rows, and overlays of the first run of the defaults."""
    folder.mkdir(parents=True, exist_ok=True)
    plot_index(dataset, runs, folder / f"{dataset.name}-index.png")
    if any(run["row"] == OVERLAY_ROW for run in runs):
        draw_overlays(dataset, runs, output, folder / f"{dataset.name}-overlays.jpg")


def plot_index(dataset: DataSet, runs: list[dict], path: Path) -> None:
    """Plot the labelling index found against the true one, an image a dot."""
    plt = load_pyplot()
    best = best_baseline({run["row"]: [run] for run in runs})
    rows = [r for r in ALL_ROWS if any(run["row"] == r for run in runs)]
    rows = [row for row in rows if row == best or not row.startswith("colour-")]
    figure, axes = plt.subplots(
        1,
        len(rows),
        figsize=(3.1 * len(rows) + 0.3, 3.5),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    highest = 5.0
    for axis, row in zip(axes[0], rows, strict=True):
        for seed, run in enumerate(run for run in runs if run["row"] == row):
            true, pred = labelling_index(run["counts"])
            highest = max(highest, np.nanmax(true), np.nanmax(np.nan_to_num(pred)))
            told = {"marker": "os^"[seed % 3], "label": f"seed {run['seed']}"}
            axis.plot(true, pred, ls="", ms=5, alpha=0.6, mew=0, **told)
        axis.set_title(ALL_ROWS[row].title, fontsize=9)
        axis.set_xlabel("true index, %")
        if sum(run["row"] == row for run in runs) > 1:
            axis.legend(fontsize=8)
    for axis in axes[0]:
        axis.plot([0, highest], [0, highest], color="0.6", lw=1, zorder=0)
        axis.set_aspect("equal")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("index found, %")
    figure.suptitle(f"{dataset.name}: labelling index of each image", fontsize=10)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_overlays(dataset: DataSet, runs: list[dict], output: Path, path: Path) -> None:
    """Draw both classes on the best, the median and the worst image."""
    plt = load_pyplot()
    run = next(run for run in runs if run["row"] == OVERLAY_ROW)
    where = run_folder(output, dataset.name, OVERLAY_ROW, run["seed"])
    masks = read_run(where, dataset)[1]
    score = image_scores(run["counts"])
    order = np.argsort(-score, kind="stable")
    chosen = {"best": order[0], "median": order[order.size // 2], "worst": order[-1]}
    figure, axes = plt.subplots(3, 3, figsize=(9, 9.9), layout="constrained")
    for line, (rank, index) in zip(axes, chosen.items(), strict=True):
        image = np.ascontiguousarray(read_rgb(dataset.images[index]))
        found = overlay_labels(image, masks[index], thickness=2, class_colors=COLORS)
        region = dataset.regions[index] if dataset.regions else None
        true = dataset.points[index]
        corner, part = _busiest_part(true, image.shape[:2])
        line[0].imshow(image[part])
        line[1].imshow(image[part])
        line[2].imshow(found[part])
        _draw_points(line[1], true, corner)
        pred = inside(as_points(masks[index]), region)
        line[0].set_title(f"{rank}: {dataset.names[index][:22]}", fontsize=9)
        line[1].set_title(f"true: {_tell(true)}", fontsize=9)
        told = f"found: {_tell(pred)}; F1 {score[index]:.2f}"
        line[2].set_title(told, fontsize=9)
        for one in line:
            if region is not None:
                one.contour(region[part], [0.5], colors="black", linewidths=1.2)
            one.set_axis_off()
    figure.legend(handles=_legend(plt), loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=85, pil_kwargs={"quality": 80})
    plt.close(figure)


def _tell(points: np.ndarray) -> str:
    """Tell how many of each class a whole image has."""
    return ", ".join(f"{sum(points[:, 2] == label)} {s}" for label, s in SIGNS.items())


def image_scores(counts: np.ndarray) -> np.ndarray:
    """Compute the mean F1 of both classes at the main radii, of each image."""
    rows = [RADII.index(radius) for radius in MAIN_RADII]
    return pooled(counts[:, rows])[2].mean(axis=(1, 2))


def _draw_points(axis, points: np.ndarray, corner: np.ndarray) -> None:
    shown = points[:, :2] - corner
    is_shown = ((shown > 0) & (shown < OVERLAY_SIZE - 1)).all(axis=1)
    for label, color in COLORS.items():
        row, column = shown[is_shown & (points[:, 2] == label)].T
        color = np.array(color) / 255
        axis.scatter(column, row, s=14, color=[color], edgecolors="black", lw=0.5)


def _legend(plt) -> list:
    return [
        plt.Line2D(
            [],
            [],
            ls="",
            marker="o",
            mec="black",
            mfc=np.array(color) / 255,
            label=name,
        )
        for name, color in zip(NAMES.values(), COLORS.values(), strict=True)
    ]


def _busiest_part(points: np.ndarray, shape) -> tuple[np.ndarray, tuple]:
    """Find the square around a point that holds the most points of both classes."""
    half = OVERLAY_SIZE // 2
    most = np.maximum(np.array(shape) - OVERLAY_SIZE, 0)
    corners = np.clip(points[::5, :2].astype(int) - half, 0, most)
    best, best_score = np.zeros(2, int), -1.0
    for corner in corners:
        near = ((points[:, :2] >= corner) & (points[:, :2] < corner + 2 * half)).all(1)
        n_positive = np.sum(points[near, 2] == POSITIVE)
        # Both classes are to be seen.
        score = np.sqrt((1 + n_positive) * (1 + near.sum() - n_positive))
        if score > best_score:
            best, best_score = corner, score
    part = tuple(slice(int(c), int(c) + OVERLAY_SIZE) for c in best)
    return best, part
