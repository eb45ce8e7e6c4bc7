# SPDX-License-Identifier: BSD-3-Clause
"""
Scores, with masks and without
==============================

What a report of all scores tells, by image and by class, and how to choose
parameters where there are no masks at all.
"""

# %%
# A report
# --------
# Synthetic tissue has exact masks. As a prediction we take the clusterer's.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from sklearn.model_selection import GridSearchCV

from psmlearn import SemanticClusterer
from psmlearn.datasets import make_nuclei
from psmlearn.metrics import (
    aji_scorer,
    object_f1_score,
    outline_scorer,
    segmentation_report,
    silhouette_scorer,
    stability_scorer,
)

data = make_nuclei(n_images=4, shape=(192, 192), n_nuclei=40, random_state=0)
masks = SemanticClusterer(random_state=0).fit_predict(data.images)
print(segmentation_report(data.masks, masks))

# %%
# ``macro`` is the mean over images, ``micro`` pools pixels and objects of all images;
# the worst image is named, since it is the one to look at. With ``output_dict=True``
# the same comes as a dictionary.
#
# Thresholds
# ----------
# One number hides how exact the outlines are: F1 over thresholds shows it.

thresholds = np.arange(0.3, 0.96, 0.05)
f1 = object_f1_score(data.masks, masks, iou_threshold=thresholds, average=None)
figure, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
ax.plot(thresholds, f1.T, color="tab:blue", alpha=0.3)
ax.plot(thresholds, f1.mean(axis=0), color="tab:blue", label="mean of the images")
ax.set(xlabel="IoU above which objects match", ylabel="F1", ylim=(0, 1.02))
ax.legend(frameon=False)
plt.show()

# %%
# Choosing without masks
# ----------------------
# Scorers that look at images and predictions alone. Here the masks are there, so one
# can see how well the order by such a scorer agrees with the order by AJI.

search = GridSearchCV(
    SemanticClusterer(random_state=0),
    {"smoothing": [0.2, 0.375, 1.0], "nucleus_diameter": [2.5, 5.0, 10.0]},
    scoring={
        "aji": aji_scorer,
        "outline": outline_scorer,
        "stability": stability_scorer,
        "silhouette": silhouette_scorer,
    },
    refit=False,
    cv=2,
)
results = search.fit(list(data.images), list(data.masks)).cv_results_
for name in ("outline", "stability", "silhouette"):
    rank = spearmanr(results[f"mean_test_{name}"], results["mean_test_aji"])
    print(f"{name}: rank correlation with AJI {rank.statistic:.2f}")

# %%
# On real images the agreement is looser: :doc:`/guide/model_selection` has figures and
# says how far to trust them.
