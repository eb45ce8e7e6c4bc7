# SPDX-License-Identifier: BSD-3-Clause
"""
Precision and recall over IoU
=============================

One threshold hides how exact outlines are. Curves over all thresholds tell "not found"
from "found, but with another outline". Real fields of H&E.
"""

# %%
# Two results
# -----------
# Contours, and the outlines of clusters, on the same fields.

import matplotlib.pyplot as plt

from psmlearn import SemanticClusterer
from psmlearn.datasets import load_sample_images
from psmlearn.inspection import PrecisionRecallIoUDisplay

data = load_sample_images()
results = {
    objects: SemanticClusterer(
        objects=objects, pixel_size=data.pixel_size, random_state=0
    ).fit_predict(data.images)
    for objects in ("contours", "clusters")
}

# %%
# Curves
# ------
# Thin lines are images, thick ones their mean. A curve that starts high and falls
# early: nuclei are found, outlines differ. One that starts low: they are not found.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
for ax, (name, masks) in zip(axes, results.items(), strict=True):
    PrecisionRecallIoUDisplay.from_predictions(
        data.masks,
        masks,
        iou_thresholds=[0.05 * step for step in range(2, 20)],
        metrics=("precision", "recall", "f1"),
        title=name,
        ax=ax,
    )
plt.show()
