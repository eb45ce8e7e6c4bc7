# SPDX-License-Identifier: BSD-3-Clause
"""
Found, missed, false
====================

Scores say how good a result is; this picture says where it is wrong. Real fields of
H&E, with their true nuclei.
"""

# %%
# Truth against prediction
# ------------------------
# A true and a predicted nucleus are the same if their intersection over union is above
# the threshold.

import matplotlib.pyplot as plt

from psmlearn import SemanticClusterer
from psmlearn.datasets import load_sample_images
from psmlearn.inspection import SegmentationComparisonDisplay
from psmlearn.metrics import segmentation_report

data = load_sample_images()
clusterer = SemanticClusterer(pixel_size=data.pixel_size, random_state=0)
found = clusterer.fit_predict(data.images)

display = SegmentationComparisonDisplay.from_predictions(
    data.images[2], data.masks[2], found[2]
)
plt.show()
print("missed:", display.missed_.tolist(), " false:", display.false_.tolist())

# %%
# A laxer threshold
# -----------------
# At 0.5 an outline that is too small counts as a miss and as a false alarm at once. At
# 0.2 what is left are nuclei that are really missed.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.9), layout="constrained")
for ax, threshold in zip(axes, (0.5, 0.2), strict=True):
    SegmentationComparisonDisplay.from_predictions(
        data.images[0], data.masks[0], found[0], iou_threshold=threshold, ax=ax
    )
    ax.set_title(f"IoU above {threshold}: {ax.get_title()}", fontsize=8)
plt.show()

# %%
# All scores
# ----------
# The true outlines leave out pale nuclei that lie out of focus: not each "false" one is
# wrong. A look at the picture tells.

print(segmentation_report(data.masks, found, names=data.names))
