# SPDX-License-Identifier: BSD-3-Clause
"""
First segmentation
==================

From unlabelled images to a label image of every nucleus: the three small fields of H&E
that come with psmlearn. Their true nuclei are known, so that the result can be scored;
they are never shown to the model. The training is a short one, of a minute or two.
"""

# %%
# Images
# ------
# The fields are in the public domain. Their files do not tell the size of a pixel; it
# was judged by their nuclei.

import matplotlib.pyplot as plt

from psmlearn import (
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn.datasets import load_sample_images
from psmlearn.inspection import (
    ActivationMapDisplay,
    SegmentationDisplay,
    TrainingCurveDisplay,
)
from psmlearn.measure import nuclei_table
from psmlearn.metrics import (
    aggregated_jaccard_score,
    dice_score,
    object_f1_score,
)

data = load_sample_images()
print(f"{len(data.images)} fields, {data.pixel_size} micrometres a pixel")

# %%
# Fit, without labels
# -------------------
# ``PseudoLabelSegmenter(pixel_size=0.18, random_state=0).fit(images)`` is all that is
# needed. Here its parts are spelled out, for a training as short as that of
# ``psmlearn segment --sample --quick``: a mapper and a clusterer label the pixels, a
# segmenter learns from those pseudo labels.

from sklearn.pipeline import Pipeline

labeler = Pipeline(
    [
        (
            "maps",
            SelfActivationMapper(max_epochs=2, steps_per_epoch=60, patch_size=64),
        ),
        ("clusters", SemanticClusterer(pixel_size=data.pixel_size, unsure="unknown")),
    ]
)
segmenter = NucleiSegmenter(
    pixel_size=data.pixel_size,
    nucleus_diameter="auto",
    min_area=6.0,
    threshold=0.65,
    min_prominence=0.45,
    max_epochs=5,
    steps_per_epoch=20,
    patch_size=128,
    early_stopping=False,
    appearance_randomisation=0.0,
)
model = PseudoLabelSegmenter(labeler, segmenter, random_state=0)
model.fit(data.images)

# %%
# From map to nuclei
# ------------------
# The map is bright where the network looks: on nuclei, not on the red blood cells.

image = data.images[0]
nuclei = model.predict([image])[0]
maps = model.labeler_.named_steps["maps"]

figure, axes = plt.subplots(1, 3, figsize=(12, 3.3), layout="constrained")
axes[0].imshow(image)
axes[0].set_title("image")
axes[0].set_axis_off()
ActivationMapDisplay.from_estimator(maps, image, ax=axes[1], title="activation map")
SegmentationDisplay.from_predictions(image, nuclei, ax=axes[2], title="nuclei")
plt.show()

# %%
# The pseudo masks are what clustering makes of map and stain. The segmenter learns
# from them, and is not bound to them.

masks = model.labeler_.predict(data.images)
predicted = model.predict(data.images)

figure, axes = plt.subplots(2, 3, figsize=(12, 6.8), layout="constrained")
for column, field in enumerate(data.images):
    for row, found, name in ((0, masks, "pseudo mask"), (1, predicted, "nuclei")):
        SegmentationDisplay.from_predictions(
            field,
            found[column],
            ax=axes[row, column],
            title=f"{data.names[column]}: {name}",
            color="objects",
        )
plt.show()

# %%
# The training curve of the segmenter, against its own pseudo labels.

TrainingCurveDisplay.from_estimator(model.segmenter_)
plt.show()

# %%
# Score and measure
# -----------------
# Now the true masks: Dice asks whether the pixels are right, AJI and F1 whether the
# objects are. From so few nuclei a network hardly learns more than its pseudo masks
# tell; it gains by more images, and by a longer training.

for name, found in (("pseudo masks", masks), ("nuclei", predicted)):
    scores = [
        score(data.masks, found)
        for score in (dice_score, aggregated_jaccard_score, object_f1_score)
    ]
    print("{}: Dice {:.3f}, AJI {:.3f}, F1 {:.3f}".format(name, *scores))

# %%
# A table with one row a nucleus; lengths are in micrometres.

table = nuclei_table(nuclei, image, pixel_size=data.pixel_size)
print(f"{table['label'].size} nuclei, each with: {', '.join(table)}")
