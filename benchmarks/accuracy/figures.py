# SPDX-License-Identifier: BSD-3-Clause
"""Figures of the accuracy benchmark: AJI by image, and what the masks look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from skimage.segmentation import find_boundaries

from benchmarks.accuracy.datasets import DataSet, read_rgb
from benchmarks.accuracy.rows import ROWS
from benchmarks.accuracy.runner import read_run, run_folder
from psmlearn import SemanticClusterer
from psmlearn._images._stains import haematoxylin
from psmlearn.inspection import overlay_labels

OVERLAY_ROW = "psmlearn-default"
# Side of the part that is shown, in pixels of the file.
OVERLAY_SIZE = 320
# Images that are shown step by step.
N_STEPPED = 5
TRUE_COLOR, PRED_COLOR = (255, 255, 0), (0, 255, 255)


def draw(dataset: DataSet, runs: list[dict], output: Path, folder: Path) -> None:
    """Draw the plot of all rows, and overlays of the first run of the default row."""
    folder.mkdir(parents=True, exist_ok=True)
    plot_aji(dataset, runs, folder / f"{dataset.name}-aji.png")
    if any(run["row"] == OVERLAY_ROW for run in runs):
        draw_overlays(dataset, runs, output, folder)
        run = next(run for run in runs if run["row"] == OVERLAY_ROW)
        where = run_folder(output, dataset.name, OVERLAY_ROW, run["seed"])
        aji = np.asarray(run["scores"]["full"]["aji"])
        path = folder / f"{dataset.name}-steps.jpg"
        draw_steps(dataset, read_run(where, dataset)[1], aji, path)


def plot_aji(dataset: DataSet, runs: list[dict], path: Path) -> None:
    """Plot the AJI of each image, and the mean, one line of dots for each row."""
    plt = load_pyplot()
    rows = [name for name in ROWS if any(run["row"] == name for run in runs)]
    figure, axes = plt.subplots(
        figsize=(7, 0.6 * len(rows) + 1.1), layout="constrained"
    )
    rng = np.random.default_rng(0)
    for place, name in enumerate(rows):
        by_seed = [r["scores"]["full"]["aji"] for r in runs if r["row"] == name]
        values = np.mean(by_seed, axis=0)
        heights = place + rng.uniform(-0.18, 0.18, values.size)
        axes.plot(values, heights, "o", ms=4, alpha=0.45, color="#4878a8", mew=0)
        mean = values.mean()
        axes.plot([mean, mean], [place - 0.3, place + 0.3], color="#b03030", lw=2)
        axes.text(1.0, place, f"{mean:.3f}", va="center", ha="right")
    axes.set_yticks(range(len(rows)), [ROWS[name].title for name in rows])
    axes.invert_yaxis()
    axes.set_xlim(-0.01, 1.01)
    axes.set_xlabel("AJI of each image (dots) and mean (line)")
    axes.set_title(f"{dataset.name}, {len(dataset.images)} images, whole, true objects")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_overlays(
    dataset: DataSet, runs: list[dict], output: Path, folder: Path
) -> None:
    """Draw outlines on the best, the median and the worst image by AJI."""
    plt = load_pyplot()
    run = next(run for run in runs if run["row"] == OVERLAY_ROW)
    aji = np.asarray(run["scores"]["full"]["aji"])
    dice = np.asarray(run["scores"]["full"]["dice"])
    where = run_folder(output, dataset.name, OVERLAY_ROW, run["seed"])
    masks = read_run(where, dataset)[1]
    order = np.argsort(-aji, kind="stable")
    chosen = {"best": order[0], "median": order[order.size // 2], "worst": order[-1]}
    figure, axes = plt.subplots(3, 3, figsize=(9, 9.6), layout="constrained")
    for line, (rank, index) in zip(axes, chosen.items(), strict=True):
        part = _densest_part(dataset.masks[index], OVERLAY_SIZE)
        image = read_rgb(dataset.images[index])[part]
        true, pred = dataset.masks[index][part], masks[index][part]
        line[0].imshow(image)
        line[1].imshow(overlay_labels(image, true, color=TRUE_COLOR))
        line[2].imshow(overlay_labels(image, pred, color=PRED_COLOR))
        told = f"AJI {aji[index]:.2f}, Dice {dice[index]:.2f}"
        line[0].set_title(f"{rank}: {dataset.names[index][:16]}", fontsize=9)
        line[1].set_title("true outlines", fontsize=9)
        line[2].set_title(f"predicted; image's {told}", fontsize=9)
        for one in line:
            one.set_axis_off()
    # JPEG: pictures in documentation stay below 300 KB.
    figure.savefig(
        folder / f"{dataset.name}-overlays.jpg", dpi=85, pil_kwargs={"quality": 80}
    )
    plt.close(figure)


def draw_steps(
    dataset: DataSet, masks: list[np.ndarray], aji: np.ndarray, path: Path
) -> None:
    """Draw each step from image to nuclei, on images from the best to the worst.

    Parameters
    ----------
    masks : list of ndarray
        What is predicted for the images.
    aji : ndarray of shape (n_images,)
        Of these masks.
    """
    plt = load_pyplot()
    order = np.argsort(-aji, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, N_STEPPED).round().astype(int)]
    titles = ("image", "haematoxylin", "contours", "predicted", "true")
    shape = (len(chosen), len(titles))
    figure, axes = plt.subplots(
        *shape, figsize=(11, 2.3 * len(chosen)), layout="constrained"
    )
    for line, index in zip(np.atleast_2d(axes), chosen, strict=True):
        part = _densest_part(dataset.masks[index], OVERLAY_SIZE)
        image = read_rgb(dataset.images[index])
        clusterer = SemanticClusterer(
            unsure="unknown", pixel_size=dataset.pixel_size[index], random_state=0
        ).fit([image])
        pseudo, confidence = clusterer.labels_[0], clusterer.confidences_[0]
        cut = image[part]
        pictures = (
            cut,
            haematoxylin(cut.astype(np.float32) / np.float32(255)),
            _by_confidence(cut, pseudo[part], confidence),
            overlay_labels(cut, masks[index][part], color=PRED_COLOR),
            overlay_labels(cut, dataset.masks[index][part], color=TRUE_COLOR),
        )
        for axis, title, picture in zip(line, titles, pictures, strict=True):
            axis.imshow(picture, cmap="magma")
            axis.set_title(title, fontsize=9)
            axis.set_axis_off()
        told = f"{dataset.names[index][:12]}, AJI {aji[index]:.2f}"
        line[0].set_title(told, fontsize=9)
    figure.savefig(path, dpi=80, pil_kwargs={"quality": 75})
    plt.close(figure)


def _by_confidence(
    image: np.ndarray, mask: np.ndarray, confidence: np.ndarray
) -> np.ndarray:
    """Draw outlines from red (just taken) to green (sure); what is unknown is blue."""
    picture = image.copy()
    unknown = mask < 0
    picture[unknown] = picture[unknown] // 2 + np.array([0, 40, 127], np.uint8)
    share = np.clip((confidence - 0.3) / 0.9, 0, 1)
    colours = np.stack([255 * (1 - share), 255 * share, 0 * share], axis=1)
    edge = find_boundaries(np.maximum(mask, 0), mode="inner")
    picture[edge] = colours.astype(np.uint8)[mask[edge] - 1]
    return picture


def _densest_part(mask: np.ndarray, size: int) -> tuple[slice, slice]:
    """Find the square, of those a quarter apart, with the most foreground."""
    step = size // 4
    height, width = mask.shape
    corners = [
        (top, left)
        for top in range(0, max(1, height - size + 1), step)
        for left in range(0, max(1, width - size + 1), step)
    ]
    filled = [np.count_nonzero(mask[t : t + size, s : s + size]) for t, s in corners]
    top, left = corners[int(np.argmax(filled))]
    return slice(top, top + size), slice(left, left + size)


def load_pyplot():
    """Import pyplot, drawing to files."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
