# SPDX-License-Identifier: BSD-3-Clause
"""
Tissue, pen marks and folds
===========================

What of an image counts: tissue without glass, pen, folds and dirt. The masks serve as
``regions=`` wherever nuclei are counted or scored. Nothing here is trained.
"""

# %%
# Tissue on glass
# ---------------
# A real picture of colonic glands, put on glass, with a stroke of a green pen drawn
# across it.

import matplotlib.pyplot as plt
import numpy as np
from skimage.draw import disk

from psmlearn.datasets import load_sample_image, make_nuclei
from psmlearn.preprocessing import TissueDetector, artefact_mask, tissue_mask

image = np.full((640, 760, 3), 243, np.uint8)
image[60:572, 120:632] = load_sample_image()
for step in np.linspace(0, 1, 400):
    centre = (90 + 380 * step, 400 + 330 * step + 40 * np.sin(6 * step))
    rows, columns = disk(centre, 11, shape=image.shape[:2])
    image[rows, columns] = (20, 110, 60)


def show_steps(image, pixel_size):
    """Draw image, tissue, artefacts, and what is left."""
    usable = TissueDetector(pixel_size=pixel_size).fit([image]).predict([image])[0]
    pale = np.where(usable[..., np.newaxis], image, 255 - (255 - image) // 5)
    figure, axes = plt.subplots(2, 2, figsize=(9, 8.4), layout="constrained")
    steps = {
        "image": (image, {}),
        "tissue": (tissue_mask(image, pixel_size=pixel_size), {"cmap": "gray"}),
        "pen (1), folds (2), dirt (3)": (
            artefact_mask(image, pixel_size=pixel_size),
            {"cmap": "magma", "vmin": 0, "vmax": 3},
        ),
        f"what counts: {usable.mean():.0%}": (pale, {}),
    }
    for ax, (title, (picture, options)) in zip(axes.flat, steps.items(), strict=True):
        ax.imshow(picture, **options)
        ax.set_title(title)
        ax.set_axis_off()
    plt.show()


show_steps(image, pixel_size=0.5)

# %%
# Folds and dirt
# --------------
# Synthetic Ki-67 tissue with all three kinds of artefacts. What is doubtful stays
# unmarked, so look at the masks before you rely on them.

spoilt = make_nuclei(
    1, (512, 512), n_nuclei=160, stain="ki67", artefacts=True, random_state=5
).images[0]
spoilt[:, 440:] = 243  # glass beside the tissue
show_steps(spoilt, pixel_size=0.25)
