# SPDX-License-Identifier: BSD-3-Clause
"""
A labeler of your own
=====================

A segmenter can learn from whatever makes masks: here a function of ten lines, Otsu's
threshold of the stain and a watershed of the distance. Real fields of H&E.
"""

# %%
# A plain function
# ----------------
# It takes a list of images, each (height, width, channels) float32 in [0, 1], and
# returns a label image of each.

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage as ndi
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed

from psmlearn import NucleiSegmenter, PseudoLabelSegmenter
from psmlearn.datasets import load_sample_images
from psmlearn.inspection import SegmentationComparisonDisplay
from psmlearn.metrics import aggregated_jaccard_score
from psmlearn.preprocessing import separate_stains
from psmlearn.utils.estimator_checks import check_labeler


def otsu_watershed(images):
    """Threshold haematoxylin by Otsu's method and split what touches."""
    masks = []
    for image in images:
        amount = separate_stains(image, ["haematoxylin", "eosin"])[..., 0]
        amount = gaussian(amount, 3)
        inside = ndi.binary_opening(amount > threshold_otsu(amount), iterations=4)
        inside = ndi.binary_fill_holes(inside)
        distance = gaussian(ndi.distance_transform_edt(inside), 3)
        peaks = peak_local_max(distance, min_distance=12, labels=inside.astype(int))
        markers = np.zeros(inside.shape, int)
        markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        masks.append(watershed(-distance, markers, mask=inside))
    return masks


check_labeler(otsu_watershed)  # raises where the contract is broken

# %%
# The chain
# ---------
# The function takes the place of maps and clusters. Keep it in a module of yours, or
# the model cannot be pickled.

data = load_sample_images()
segmenter = NucleiSegmenter(
    pixel_size=data.pixel_size,
    nucleus_diameter="auto",
    max_epochs=3,
    steps_per_epoch=15,
    batch_size=4,
    patch_size=128,
    early_stopping=False,
)
model = PseudoLabelSegmenter(otsu_watershed, segmenter, random_state=0)
model.fit(data.images)

taught = otsu_watershed([image / np.float32(255) for image in data.images])
found = model.predict(data.images)
for name, masks in (("labeler", taught), ("segmenter", found)):
    print(f"{name:9} AJI {aggregated_jaccard_score(data.masks, masks):.3f}")

# %%
# The true nuclei, which only score, show what each of the two finds on the last field.

figure, axes = plt.subplots(1, 2, figsize=(10, 5.3), layout="constrained")
for ax, name, masks in zip(
    axes, ("labeler", "segmenter"), (taught, found), strict=True
):
    SegmentationComparisonDisplay.from_predictions(
        data.images[2], data.masks[2], masks[2], ax=ax
    )
    ax.set_title(f"{name}: {ax.get_title()}", fontsize=9)
plt.show()
