# SPDX-License-Identifier: BSD-3-Clause
"""
One look for all images
=======================

``StainNormalizer`` learns the look of the images that it is fitted on and gives it to
others. It is a transformer, so it goes into a Pipeline. Real fields of H&E; the other
laboratory is made by changing one of them.
"""

# %%
# Two laboratories
# ----------------
# The second one stains paler and in other colours.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import Pipeline

from psmlearn import SemanticClusterer
from psmlearn.datasets import load_sample_images
from psmlearn.inspection import SegmentationDisplay
from psmlearn.preprocessing import StainNormalizer

data = load_sample_images()
target = data.images[:2]
other = np.rint(255 * (data.images[2] / 255) ** [0.45, 0.6, 0.8]).astype(np.uint8)

# %%
# Macenko and Reinhard
# --------------------
# Macenko's method matches stains, Reinhard's the mean and spread of colours.

macenko = StainNormalizer(random_state=0).fit(target)
reinhard = StainNormalizer("reinhard", random_state=0).fit(target)
pictures = {
    "fitted on": target[1],
    "another laboratory": other,
    "Macenko": macenko.transform([other])[0],
    "Reinhard": reinhard.transform([other])[0],
}
figure, axes = plt.subplots(2, 2, figsize=(9, 7.6), layout="constrained")
for ax, (name, picture) in zip(axes.flat, pictures.items(), strict=True):
    ax.imshow(picture)
    ax.set_title(name)
    ax.set_axis_off()
plt.show()

# %%
# In a Pipeline
# -------------

pipeline = Pipeline(
    [
        ("stains", StainNormalizer(random_state=0)),
        ("nuclei", SemanticClusterer(pixel_size=data.pixel_size, random_state=0)),
    ]
)
[mask] = pipeline.fit(target).predict([other])
SegmentationDisplay.from_predictions(other, mask)
plt.show()

# %%
# For immunohistochemistry give the stains,
# ``StainNormalizer(stains=("haematoxylin", "dab"))``: an image without any brown has
# nothing to estimate brown from. And measure intensities (H-score) on the images as
# they came, since the normalizer changes how strong a stain is. Images of one lab
# need no normalizer.
