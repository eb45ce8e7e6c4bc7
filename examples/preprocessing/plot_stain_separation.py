# SPDX-License-Identifier: BSD-3-Clause
"""
Stains taken apart
==================

Each pixel of a stained slide holds amounts of two or three stains. Taken apart, they
can be measured: how brown, how blue. A real picture: immunohistochemistry of colonic
glands, brown (DAB) marks a protein, blue (haematoxylin) the nuclei.
"""

# %%
# Beer and Lambert
# ----------------
# Stains add up in optical density, the negative logarithm of the light that comes
# through. With the density of each stain (its *vector*, for red, green and blue light)
# three equations give the amounts. The names stand for published vectors.

import matplotlib.pyplot as plt
import numpy as np

from psmlearn.datasets import load_sample_image
from psmlearn.preprocessing import estimate_stains, separate_stains, stain_vector

image = load_sample_image()
amounts = separate_stains(image, ["haematoxylin", "dab"])

figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
axes[0].imshow(image)
axes[0].set_title("image")
for ax, plane, name, colours, most in zip(
    axes[1:],
    np.moveaxis(amounts, -1, 0),
    ("haematoxylin", "DAB"),
    ("Blues", "YlOrBr"),
    (0.5, 1.2),
    strict=True,
):
    shown = ax.imshow(plane, cmap=colours, vmin=0, vmax=most)
    ax.set_title(name)
    figure.colorbar(shown, ax=ax, shrink=0.7, label="amount (optical density)")
for ax in axes:
    ax.set_axis_off()
plt.show()

# %%
# Published or estimated?
# -----------------------
# Laboratories differ. ``estimate_stains`` (Macenko's method) looks vectors up in the
# image, which serves where both stains are there in some amount.

published = np.array([stain_vector(name) for name in ("haematoxylin", "dab")])
estimated = estimate_stains(image)
print("published\n", published.round(2))
print("estimated\n", estimated.round(2))

figure, axes = plt.subplots(1, 2, figsize=(8, 4.2), layout="constrained")
for ax, vectors, name in zip(
    axes, (published, estimated), ("published", "estimated"), strict=True
):
    blue = separate_stains(image[:256, 256:], vectors)[..., 0]
    ax.imshow(blue, cmap="Blues", vmin=0, vmax=0.5)
    ax.set_title(f"first stain, {name} vectors")
    ax.set_axis_off()
plt.show()

# %%
# The names of estimated stains follow their hue; look at them before you trust them.
# For measuring (H-score), stay with published vectors, so that slides can be compared.
