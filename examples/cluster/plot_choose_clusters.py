# SPDX-License-Identifier: BSD-3-Clause
"""
Which clusters are nuclei?
==========================

The parameters of the clusterer that decide most, on a real field of H&E. The true
nuclei score each choice; they are never learned from.
"""

# %%
# Number of clusters
# ------------------
# K-means sorts pixels by their amount of haematoxylin. Of two clusters one is nuclear;
# with more, those above Otsu's threshold of all scores are.

import matplotlib.pyplot as plt
import numpy as np

from psmlearn import SemanticClusterer
from psmlearn.datasets import load_sample_images
from psmlearn.inspection import SegmentationDisplay
from psmlearn.metrics import aggregated_jaccard_score

data = load_sample_images()
image, truth = data.images[0], data.masks[0]


def show(choices, **common):
    """Draw what each choice finds."""
    figure, axes = plt.subplots(2, 2, figsize=(9.4, 8), layout="constrained")
    for ax, (name, options) in zip(axes.flat, choices.items(), strict=True):
        clusterer = SemanticClusterer(
            pixel_size=data.pixel_size, random_state=0, **common, **options
        )
        [found] = clusterer.fit_predict([image])
        score = aggregated_jaccard_score([truth], [found])
        SegmentationDisplay.from_predictions(
            image, found, ax=ax, title=f"{name}: {found.max()} objects, AJI {score:.2f}"
        )
    plt.show()


show(
    {f"{n} clusters": {"n_clusters": n} for n in (2, 3, 4, 6)},
    objects="clusters",
)

# %%
# Which of them
# -------------
# "auto" goes by Otsu's threshold, a number takes so many of the highest, and a function
# decides by what is known of each cluster: "haematoxylin", "map", "score", "n_pixels".


def large_and_dark(cluster):
    """Take what is darker than the mean and no mere speck."""
    dark = cluster["haematoxylin"] > cluster["haematoxylin"].mean()
    return dark & (cluster["n_pixels"] > 0.02 * np.sum(cluster["n_pixels"]))


show(
    {
        "auto": {"foreground": "auto"},
        "the highest": {"foreground": 1},
        "the two highest": {"foreground": 2},
        "a function": {"foreground": large_and_dark},
    },
    n_clusters=4,
    objects="clusters",
)

# %%
# Size and smoothing
# ------------------
# Lengths are in micrometres. ``nucleus_diameter`` decides what is split, ``smoothing``
# what is noise.

show(
    {
        "as it is": {},
        "diameter 3": {"nucleus_diameter": 3.0},
        "diameter 10": {"nucleus_diameter": 10.0},
        "smoothing 1.5": {"smoothing": 1.5},
    }
)

# %%
# A score on one field ranks nothing for others: choose on several, of several patients,
# as :doc:`plot_grid_search` does; or without any mask as told in
# :doc:`/guide/model_selection`.
