# SPDX-License-Identifier: BSD-3-Clause
"""
What the maps show, by pretext and layer
========================================

A self-activation map asks a network that was trained without labels which pixels its
answer came from. What the network was asked (its *pretext*) and the layer at which it
is asked decide what the map shows. The fields of H&E are real, and their true nuclei
known, so each map can be compared with them by the area under the ROC curve over
pixels: 0.5 is no better than chance.
"""

# %%
from functools import cache

import matplotlib.pyplot as plt
from sklearn.metrics import roc_auc_score

from psmlearn import SelfActivationMapper
from psmlearn.datasets import load_sample_images
from psmlearn.inspection import ActivationMapDisplay, SegmentationDisplay

data = load_sample_images()
image, truth = data.images[0], data.masks[0] > 0
SMALL = {
    "network": "resnet18",
    "max_epochs": 2,
    "steps_per_epoch": 10,
    "batch_size": 8,
    "patch_size": 96,
    "output": "maps",
    "random_state": 0,
}


@cache
def train_and_map(pretext, layer, method):
    """Train a mapper without labels and map the first image."""
    mapper = SelfActivationMapper(
        pretext=pretext, layers=layer, method=method, **SMALL
    ).fit(data.images)
    return mapper.transform(data.images)[0][..., -1]


def draw_map(ax, name, *, pretext="mean_value", layer="layer1", method="gradcam"):
    """Draw a map with the area under its ROC curve."""
    values = train_and_map(pretext, layer, method)
    auc = roc_auc_score(truth.ravel(), values.ravel())
    ActivationMapDisplay.from_maps(image, values, ax=ax, title=f"{name}: AUC {auc:.2f}")


# %%
# By pretext
# ----------
# The five pretexts, after the same short training. ``mean_value`` asks for the amount
# of stain; the others ask nothing of the nuclei, yet see them, since they are what
# tells one crop from another. So few steps rank nothing: another seed gives another
# order.

PRETEXTS = ["mean_value", "similarity", "contrastive", "rotation", "simsiam"]
figure, axes = plt.subplots(2, 3, figsize=(11, 6.4), layout="constrained")
SegmentationDisplay.from_predictions(
    image, data.masks[0], ax=axes.flat[0], title="image, true nuclei"
)
for ax, pretext in zip(axes.flat[1:], PRETEXTS, strict=True):
    draw_map(ax, pretext, pretext=pretext)
plt.show()

# %%
# By layer
# --------
# The same training (the seed is the same), asked at each stage of the network. Shallow
# stages keep the outline of a nucleus; deep ones see more of the surroundings and blur
# it.

layers = ["layer1", "layer2", "layer3", "layer4"]
figure, axes = plt.subplots(1, 4, figsize=(13, 3.1), layout="constrained")
for ax, layer in zip(axes, layers, strict=True):
    draw_map(ax, layer, layer=layer)
plt.show()

# %%
# By method
# ---------
# ``gradcam`` weighs each channel by its mean gradient, ``layercam`` each pixel of it by
# its own, ``gradcam++`` lies between; ``eigencam`` needs no gradient. The shortcuts of
# a residual network keep every second pixel at each stage. After so short a training
# they carry nearly all of the gradient, which is why ``layercam`` shows a grid of dots.

methods = ["gradcam", "layercam", "gradcam++", "eigencam"]
figure, axes = plt.subplots(1, 4, figsize=(13, 3.1), layout="constrained")
for ax, method in zip(axes, methods, strict=True):
    draw_map(ax, method, method=method)
plt.show()
