# SPDX-License-Identifier: BSD-3-Clause
"""
From image labels to masks
==========================

Each slice comes with one label: does it show a lesion? From such labels a network
learns where the lesions are. The slices are synthetic, of two modalities like T1 and
FLAIR, so that the true lesions are known and the result can be scored; the masks are
never shown to the model. Network and training are kept small to run within a minute.
"""

# %%
# Images and labels
# -----------------
# Lesions are bright in FLAIR, with a paler rim; scalp and spots of fat are bright too,
# in all slices. Values are in arbitrary units: the mapper takes any range.

import matplotlib.pyplot as plt
import numpy as np

from psmlearn import ClassActivationMapper, PseudoLabelSegmenter, RegionSegmenter
from psmlearn.datasets import make_lesions
from psmlearn.inspection import SegmentationDisplay
from psmlearn.metrics import dice_score

data = make_lesions(n_images=60, rim=0.6, random_state=0)
labels = data.image_labels
print(f"{labels.sum()} of {len(labels)} slices have the label 1")


def view(image, channel=1):
    """Return a channel of a slice in [0, 1], for display."""
    values = image[..., channel]
    return np.clip(values / np.percentile(values, 99), 0, 1)


figure, axes = plt.subplots(2, 4, figsize=(10, 5.2), layout="constrained")
for index, column in enumerate(axes.T):
    for channel, ax in enumerate(column):
        ax.imshow(view(data.images[index], channel), cmap="gray")
        ax.set_title(f"{data.modalities[channel]}, label {labels[index]}")
        ax.set_axis_off()
plt.show()

# %%
# A plain class activation map
# ----------------------------
# A network learns the label through maps that show what speaks for it. Nothing asks the
# maps to be complete: what tells the label best is enough.

SMALL = {
    "base_channels": 8,
    "cam_levels": (2, 4),
    "patch_size": 64,
    "max_epochs": 8,
    "random_state": 0,
}
plain = ClassActivationMapper(resupervision=None, reconstruction=None, **SMALL)
plain.fit(data.images, labels)

# %%
# With cluster-re-supervision
# ---------------------------
# The same training, where clusters of pixels that look alike teach the maps, and
# refine them in the end; ``refinement=None`` shows the maps without the refinement.
# Dice is the mean over the slices with lesions.

mapper = ClassActivationMapper(**SMALL).fit(data.images, labels)
lesions = labels == 1
for name, model in (("plain", plain), ("re-supervised", mapper)):
    found = model.predict(data.images[lesions])
    score = dice_score(data.masks[lesions], found)
    accuracy = model.score(data.images, labels)
    print(f"{name:14} Dice {score:.3f}, accuracy of the labels {accuracy:.2f}")

# %%
# Three slices, the true lesions, and both maps.

shown = np.flatnonzero(lesions)[:3]
maps = [model.transform(data.images[shown])[..., 0] for model in (plain, mapper)]
figure, axes = plt.subplots(3, 4, figsize=(10, 7.8), layout="constrained")
for row, index in enumerate(shown):
    image = view(data.images[index])
    axes[row, 0].imshow(image, cmap="gray")
    axes[row, 0].set_title("FLAIR")
    SegmentationDisplay.from_predictions(
        image, data.masks[index], ax=axes[row, 1], title="true lesions"
    )
    for ax, name, values in zip(
        axes[row, 2:], ("plain", "re-supervised"), maps, strict=True
    ):
        ax.imshow(values[row], vmin=0, vmax=1, cmap="magma")
        ax.contour(data.masks[index] > 0, [0.5], colors="white", linewidths=0.8)
        ax.set_title(f"{name} map")
for ax in axes.flat:
    ax.set_axis_off()
plt.show()

# %%
# The final segmenter
# -------------------
# Maps are made at a small size, here 64 x 64 pixels. As labeler, the mapper teaches a
# segmenter that sees the slices at their own size. ``RegionSegmenter`` learns lesions
# as regions and judges by contrast within a slice; a pixel is about a millimetre, 1000
# micrometres. The new slices are of other patients.

segmenter = RegionSegmenter(
    pixel_size=1000, patch_size=64, max_epochs=6, steps_per_epoch=20
)
model = PseudoLabelSegmenter(ClassActivationMapper(**SMALL), segmenter, random_state=0)
model.fit(data.images, image_labels=labels)

new = make_lesions(n_images=20, rim=0.6, random_state=100)
with_lesions = new.image_labels == 1
for name, found in (
    ("mapper", model.labeler_.predict(new.images)),
    ("segmenter", model.predict(new.images)),
):
    score = dice_score(new.masks[with_lesions], found[with_lesions])
    print(f"{name:10} Dice {score:.3f} on new slices with lesions")

# %%
# One of the new slices.

# sphinx_gallery_thumbnail_number = 3
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
index = int(np.flatnonzero(with_lesions)[0])
image = view(new.images[index])
for ax, name, mask in (
    (axes[0], "true lesions", new.masks[index]),
    (axes[1], "mapper", model.labeler_.predict(new.images[[index]])[0]),
    (axes[2], "segmenter", model.predict(new.images[[index]])[0]),
):
    SegmentationDisplay.from_predictions(image, mask, ax=ax, title=name)
plt.show()
