# SPDX-License-Identifier: BSD-3-Clause
"""
Stains, tissue and artefacts
============================

What to do with images before nuclei are looked for: take stains apart, bring the
colours of several laboratories together, and leave out glass, pen marks, folds and
dirt. Nothing here is trained.
"""

# %%
# Stains apart
# ------------
# Stains add up in optical density. With the density of each (its *vector*, three
# numbers for red, green and blue light) every pixel gives the amount of each stain.
# The names "haematoxylin", "eosin" and "dab" stand for published vectors;
# ``estimate_stains`` looks them up in the image, which serves where both stains are
# there.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import Pipeline

from psmlearn import SemanticClusterer
from psmlearn.datasets import make_nuclei
from psmlearn.inspection import SegmentationDisplay
from psmlearn.preprocessing import (
    StainNormalizer,
    TissueDetector,
    artefact_mask,
    estimate_stains,
    separate_stains,
    tissue_mask,
)

image = make_nuclei(
    1, (256, 256), stain="ki67", positive_fraction=0.4, random_state=3
).images[0]
amounts = separate_stains(image, ["haematoxylin", "dab"])
print("estimated vectors:", estimate_stains(image).round(2).tolist())


def show(ax, picture, title, **options):
    """Draw one picture without axes."""
    ax.imshow(picture, **options)
    ax.set(title=title)
    ax.set_axis_off()


figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
show(axes[0], image, "Ki-67")
show(axes[1], amounts[..., 0], "haematoxylin", cmap="Blues", vmin=0, vmax=1)
show(axes[2], amounts[..., 1], "DAB", cmap="YlOrBr", vmin=0, vmax=1)
plt.show()

# %%
# One look for all
# ----------------
# ``StainNormalizer`` learns the look of the images that it is fitted on and gives it to
# others. It is a transformer, so it goes into a Pipeline, before what finds the nuclei.
# Here the second laboratory stains paler and in other colours.

he = make_nuclei(3, (256, 256), stain_variation=0, random_state=1).images
target, other = he[:2], he[2:]
other = np.rint(255 * (other / 255) ** [0.45, 0.5, 0.75]).astype(np.uint8)

macenko = StainNormalizer(random_state=0).fit(target)
reinhard = StainNormalizer("reinhard", random_state=0).fit(target)
figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained")
show(axes[0], target[0], "fitted on")
show(axes[1], other[0], "another laboratory")
show(axes[2], macenko.transform(other)[0], "Macenko")
show(axes[3], reinhard.transform(other)[0], "Reinhard")
plt.show()

# %%
# In a Pipeline:

pipeline = Pipeline(
    [
        ("stains", StainNormalizer(random_state=0)),
        ("nuclei", SemanticClusterer(random_state=0)),
    ]
)
masks = pipeline.fit(target).predict(other)
SegmentationDisplay.from_predictions(other[0], masks[0])
plt.show()

# %%
# For immunohistochemistry give the stains,
# ``StainNormalizer(stains=("haematoxylin", "dab"))``: an image without any brown has
# nothing to estimate brown from. And measure intensities (H-score) on the images as
# they came, since the normalizer changes how strong a stain is.
#
# Tissue and artefacts
# --------------------
# ``tissue_mask`` leaves out glass, ``artefact_mask`` tells pen marks (1), folds (2) and
# dirt (3). What is doubtful stays unmarked, so look at the masks. ``TissueDetector``
# puts both together for many images; its masks serve as ``regions=`` wherever nuclei
# are counted or scored.

spoilt = make_nuclei(
    1, (512, 512), n_nuclei=160, stain="ki67", artefacts=True, random_state=5
).images[0]
spoilt[:, 440:] = 243  # glass beside the tissue
usable = TissueDetector().fit([spoilt]).predict([spoilt])[0]

figure, axes = plt.subplots(2, 2, figsize=(9, 9.4), layout="constrained")
show(axes[0, 0], spoilt, "image")
show(axes[0, 1], tissue_mask(spoilt), "tissue", cmap="gray")
kinds = artefact_mask(spoilt)
show(axes[1, 0], kinds, "pen, folds and dirt", cmap="magma", vmin=0, vmax=3)
pale = np.where(usable[..., np.newaxis], spoilt, 255 - (255 - spoilt) // 4)
show(axes[1, 1], pale, "what counts")
plt.show()
print(f"{usable.mean():.0%} of the image counts")
