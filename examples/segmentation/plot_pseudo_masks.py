# SPDX-License-Identifier: BSD-3-Clause
"""
Pseudo masks: clusters and contours
===================================

What a segmenter is taught is made without a label and without a network, in seconds. A
look at it tells whether a training is worth the wait. Real fields of H&E.
"""

# %%
# From stain to clusters
# ----------------------
# Pixels are clustered by the amount of haematoxylin above its surroundings; the cluster
# of more of it is nuclear.

import matplotlib.pyplot as plt

from psmlearn import SemanticClusterer
from psmlearn.datasets import load_sample_images
from psmlearn.inspection import NucleiGalleryDisplay, SegmentationDisplay
from psmlearn.preprocessing import separate_stains

data = load_sample_images()
image = data.images[0]
amount = separate_stains(image, ["haematoxylin", "eosin"])[..., 0]

settings = {"pixel_size": data.pixel_size, "random_state": 0}
clusters = SemanticClusterer(objects="clusters", **settings).fit_predict(data.images)
contours = SemanticClusterer(objects="contours", **settings).fit(data.images)

# %%
# Clusters and contours
# ---------------------
# ``objects="clusters"`` cleans and splits the nuclear cluster: one threshold for the
# whole image. ``objects="contours"`` draws each nucleus at a level of its own, where
# its outline is the most even and the steepest.

figure, axes = plt.subplots(2, 2, figsize=(9, 7.6), layout="constrained")
axes[0, 0].imshow(image)
axes[0, 0].set_title("image")
axes[0, 1].imshow(amount, cmap="magma")
axes[0, 1].set_title("haematoxylin")
for ax, masks, name in (
    (axes[1, 0], clusters, "clusters"),
    (axes[1, 1], contours.labels_, "contours"),
):
    SegmentationDisplay.from_predictions(
        image, masks[0], ax=ax, title=f"{name}: {masks[0].max()} objects"
    )
for ax in axes.flat:
    ax.set_axis_off()
plt.show()

# %%
# How sure is each object?
# ------------------------
# ``confidences_`` is the quality of each outline, from 0.3 (just taken) to 2. The least
# sure ones come first: these are what to look at.

NucleiGalleryDisplay.from_predictions(
    data.images,
    contours.labels_,
    values=contours.confidences_,
    value_name="confidence",
    n_nuclei=16,
    width=12,
    pixel_size=data.pixel_size,
)
plt.show()

# %%
# With ``unsure="unknown"`` nuclear pixels in no contour are -1: a segmenter learns
# nothing from them, neither nucleus nor ground. The formulas are on the page
# :doc:`/theory`.
