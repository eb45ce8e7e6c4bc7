# SPDX-License-Identifier: BSD-3-Clause
"""
What each score sees, and what it does not
==========================================

The true nuclei of a real field, spoilt in known ways: neighbours merged, outlines
grown, objects shifted, split or left out. Each score tells another story; one number
alone can be misleading.
"""

# %%
# Five faults
# -----------

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage as ndi
from skimage.morphology import closing, disk
from skimage.segmentation import expand_labels

from psmlearn.datasets import load_sample_images
from psmlearn.inspection import SegmentationDisplay
from psmlearn.metrics import (
    aggregated_jaccard_score,
    detection_f1_score,
    dice_score,
    object_f1_score,
    panoptic_quality_score,
)

data = load_sample_images()
image, truth = data.images[2], data.masks[2]


def merge_near(labels, reach):
    """Join objects that are nearer than two reaches."""
    return ndi.label(closing(labels > 0, disk(reach)))[0]


def halve(labels):
    """Cut each object through its middle."""
    parts = np.zeros_like(labels)
    for number, (rows, columns) in enumerate(ndi.find_objects(labels), start=1):
        inside = labels[rows, columns] == number
        middle = np.arange(inside.shape[1]) >= inside.shape[1] / 2
        ids = 2 * number - 1 + middle
        parts[rows, columns][inside] = np.broadcast_to(ids, inside.shape)[inside]
    return parts


spoilt = {
    "perfect": truth,
    "neighbours merged": merge_near(truth, 12),
    "halved": halve(truth),
    "grown by 4 pixels": expand_labels(truth, 4),
    "shifted by 6 pixels": np.roll(truth, 6, axis=1),
    "every third missed": np.where(truth % 3 == 0, 0, truth),
}
figure, axes = plt.subplots(2, 3, figsize=(11.5, 6.6), layout="constrained")
for ax, (name, mask) in zip(axes.flat, spoilt.items(), strict=True):
    SegmentationDisplay.from_predictions(image, mask, ax=ax, title=name)
plt.show()

# %%
# Five faults, five scores
# ------------------------
# Dice hardly notices merged and halved nuclei: it sees pixels, not objects. F1 of
# objects counts a nucleus as right whether its outline is exact or just above the
# threshold; detection F1 forgives any outline whose centre is near. AJI and PQ
# punish both, AJI most where large objects are wrong.

scores = {
    "Dice": dice_score,
    "AJI": aggregated_jaccard_score,
    "PQ": panoptic_quality_score,
    "F1 of objects": object_f1_score,
    "F1 of centres": lambda true, found: detection_f1_score(true, found, radius=12),
}
table = np.array(
    [
        [score([truth], [mask.astype(np.int32)]) for score in scores.values()]
        for mask in spoilt.values()
    ]
)
figure, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
ax.imshow(table, cmap="RdYlGn", vmin=0, vmax=1, aspect="auto")
for (row, column), value in np.ndenumerate(table):
    ax.text(column, row, f"{value:.2f}", ha="center", va="center")
ax.set_xticks(range(len(scores)), list(scores))
ax.set_yticks(range(len(spoilt)), list(spoilt))
plt.show()

# sphinx_gallery_thumbnail_number = 2

# %%
# Nothing to find
# ---------------
# An image without nuclei in which none is found has no score by nature; psmlearn takes
# 1 unless told otherwise, other packages 0 or NaN. A single false object beside it
# scores 0, so that a few empty images move a mean by much: pool with
# ``average="micro"``, or leave them out with NaN.

empty, speck = np.zeros((64, 64), np.int32), np.zeros((64, 64), np.int32)
speck[:5, :5] = 1
for name, found in (("nothing found", empty), ("a speck found", speck)):
    values = [
        aggregated_jaccard_score([empty], [found], zero_division=z) for z in (1, np.nan)
    ]
    print(f"{name}: {values[0]:.1f}, with NaN {values[1]:.1f}")

# %%
# The formulas: :ref:`theory <theory-scores>`.
