# SPDX-License-Identifier: BSD-3-Clause
"""
A network of your own
=====================

Any torch module whose output has the size of its input can be trained. Registered by a
name, it also goes into model files. Real fields of H&E.
"""

# %%
# A small dilated network
# -----------------------
# A factory ``f(in_channels, out_channels)``. Outputs are background, foreground and
# the inner distance. ``halo`` tells how far a pixel sees, for tiles; without it 128
# pixels are taken.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from torch import nn

from psmlearn import NucleiSegmenter, SemanticClusterer, load_model, save_model
from psmlearn.datasets import load_sample_images
from psmlearn.inspection import SegmentationDisplay
from psmlearn.networks import register_network


class Dilated(nn.Sequential):
    """Convolutions that see farther and farther, at full resolution."""

    halo, stride = 32, 1

    def __init__(self, in_channels, out_channels, width=24):
        layers = []
        for dilation in (1, 2, 4, 8, 8, 4):
            layers += [
                nn.Conv2d(in_channels, width, 3, padding=dilation, dilation=dilation),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            in_channels = width
        super().__init__(*layers, nn.Conv2d(width, out_channels, 1))


register_network("dilated", Dilated)

# %%
# Train it on pseudo masks
# ------------------------
# Masks of your own are taken as well: ``fit(images, masks)``.

data = load_sample_images()
size = {"pixel_size": data.pixel_size}
pseudo = SemanticClusterer(unsure="unknown", random_state=0, **size)
model = NucleiSegmenter(
    network="dilated",
    nucleus_diameter="auto",
    threshold=0.65,
    max_epochs=3,
    steps_per_epoch=12,
    batch_size=4,
    patch_size=96,
    early_stopping=False,
    random_state=0,
    **size,
)
model.fit(data.images, pseudo.fit_predict(data.images))

# %%
# Keep it
# -------
# The file holds the name of the network, not its code: who reads it registers the same
# name first.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "dilated.psm")
    save_model(model, path)
    print(f"{path.stat().st_size / 1000:.0f} kB")
    again = load_model(path)

nuclei = again.predict(data.images)
print("equal:", (nuclei[0] == model.predict(data.images)[0]).all())

figure, axes = plt.subplots(1, 3, figsize=(13, 3.9), layout="constrained")
for ax, image, mask in zip(axes, data.images, nuclei, strict=True):
    SegmentationDisplay.from_predictions(image, mask, ax=ax)
plt.show()
