# SPDX-License-Identifier: BSD-3-Clause
"""
Grid search over the clustering
===============================

Where a few images have masks, these can choose the parameters of a label-free pipeline:
they score the candidates and never train. The mapper is the expensive step; with
``memory=`` it is trained once a fold, whatever the number of candidates.
"""

# %%
# Images of several patients
# --------------------------
# Crops of one patient look alike, so they must lie in one fold: ``GroupKFold``.

from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline

from psmlearn import SelfActivationMapper, SemanticClusterer
from psmlearn.datasets import make_nuclei
from psmlearn.inspection import SegmentationDisplay
from psmlearn.metrics import aji_scorer, dice_scorer

data = make_nuclei(n_images=4, shape=(160, 160), random_state=0)
patients = np.array(["A", "A", "B", "B"])

# %%
# The search
# ----------
# ``random_state`` is an int: a generator changes when it is used, and the cache would
# never find anything again.

mapper = SelfActivationMapper(
    network="resnet18",
    max_epochs=2,
    steps_per_epoch=10,
    batch_size=8,
    patch_size=64,
    random_state=0,
)
candidates = {
    "clusters__n_clusters": [2, 3, 4],
    "clusters__fusion": ["concat", "jet"],
}
with TemporaryDirectory() as cache:
    labeler = Pipeline(
        [("maps", mapper), ("clusters", SemanticClusterer(random_state=0))],
        memory=cache,
    )
    search = GridSearchCV(
        labeler,
        candidates,
        scoring={"aji": aji_scorer, "dice": dice_scorer},
        refit="aji",
        cv=GroupKFold(2),
    )
    search.fit(list(data.images), list(data.masks), groups=patients)

print(search.best_params_)

# %%
# Scores
# ------
# The mean over the folds, for pixels (Dice) and for objects (AJI).

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
results = search.cv_results_
fusions = np.asarray(results["param_clusters__fusion"])
n_clusters = np.asarray(results["param_clusters__n_clusters"], dtype=int)
for ax, score in zip(axes, ["dice", "aji"], strict=True):
    for fusion in candidates["clusters__fusion"]:
        chosen = fusions == fusion
        ax.plot(
            n_clusters[chosen],
            results[f"mean_test_{score}"][chosen],
            marker="o",
            label=f'fusion="{fusion}"',
        )
    ax.set(xlabel="n_clusters", xticks=[2, 3, 4], title=score)
axes[0].set(ylabel="mean score of the held-out folds")
axes[0].legend()
plt.show()

# %%
# The best candidate, refitted on all images, on the first of them. The true outlines
# lie below its own.

_, ax = plt.subplots(figsize=(6, 6), layout="constrained")
SegmentationDisplay.from_predictions(
    data.images[0],
    search.predict(list(data.images[:1]))[0],
    true_labels=data.masks[0],
    ax=ax,
    title="found (yellow) over true (cyan)",
)
plt.show()
# sphinx_gallery_thumbnail_number = 2
