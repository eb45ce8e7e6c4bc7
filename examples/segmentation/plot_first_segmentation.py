# SPDX-License-Identifier: BSD-3-Clause
"""
First segmentation
==================

From unlabelled images to a label image of every nucleus. The images are synthetic, so
that the true nuclei are known and the result can be scored; the masks are never shown
to the model. Network and training are kept small to run within a minute.
"""

# %%
# Images
# ------
# Two synthetic H&E images. ``masks`` holds the true nuclei; it is used at the end only.

import matplotlib.pyplot as plt

from psmlearn import (
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn.datasets import make_nuclei
from psmlearn.inspection import (
    ActivationMapDisplay,
    SegmentationDisplay,
    TrainingCurveDisplay,
)
from psmlearn.measure import nuclei_table
from psmlearn.metrics import aggregated_jaccard_score, dice_score

data = make_nuclei(n_images=2, shape=(256, 256), random_state=0)

# %%
# Fit, without labels
# -------------------
# ``PseudoLabelSegmenter(random_state=0).fit(images)`` is all that is needed. Here its
# parts are spelled out, to make them smaller: a mapper and a clusterer label the
# pixels, a segmenter learns from those pseudo labels.

from sklearn.pipeline import Pipeline

labeler = Pipeline(
    [
        (
            "maps",
            SelfActivationMapper(network="resnet18", max_epochs=2, steps_per_epoch=20),
        ),
        ("clusters", SemanticClusterer()),
    ]
)
segmenter = NucleiSegmenter(
    max_epochs=3, steps_per_epoch=20, batch_size=4, patch_size=96
)
model = PseudoLabelSegmenter(labeler, segmenter, random_state=0)
model.fit(data.images)

# %%
# From map to nuclei
# ------------------
# The map is high where the network looks, the pseudo mask is what clustering makes of
# it, and the segmenter gives the nuclei.

image = data.images[0]
pseudo = model.labeler_.predict([image])[0]
nuclei = model.predict([image])[0]

figure, axes = plt.subplots(2, 2, figsize=(9, 9), layout="constrained")
axes[0, 0].imshow(image)
axes[0, 0].set_title("image")
axes[0, 0].set_axis_off()
ActivationMapDisplay.from_estimator(
    model.labeler_.named_steps["maps"], image, ax=axes[0, 1], title="activation map"
)
SegmentationDisplay.from_predictions(
    image, pseudo, ax=axes[1, 0], title="pseudo mask", color="objects"
)
SegmentationDisplay.from_predictions(
    image, nuclei, ax=axes[1, 1], title="nuclei", color="objects"
)
plt.show()

# %%
# The training curve of the segmenter, against its own pseudo labels.

TrainingCurveDisplay.from_estimator(model.segmenter_)
plt.show()

# %%
# Score and measure
# -----------------
# Now the true masks: Dice asks whether the pixels are right, AJI whether the objects
# are.

predicted = model.predict(data.images)
print(f"Dice {dice_score(data.masks, predicted):.3f}")
print(f"AJI  {aggregated_jaccard_score(data.masks, predicted):.3f}")

# %%
# A table with one row a nucleus, in micrometres.

table = nuclei_table(nuclei, image, pixel_size=0.25)
print(f"{table['label'].size} nuclei, mean area {table['area_um2'].mean():.1f} um2")
