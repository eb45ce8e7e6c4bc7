# SPDX-License-Identifier: BSD-3-Clause
"""
Nuclei by confidence
====================

Thousands of nuclei cannot be looked at; those that are doubtful can. A gallery sorts
nuclei by how sure the network is, or by any measurement. Real fields of H&E.
"""

# %%
# A trained segmenter
# -------------------
# Of pseudo masks, without labels; the training is a short one.

import matplotlib.pyplot as plt

from psmlearn import NucleiSegmenter, SemanticClusterer
from psmlearn.datasets import load_sample_images
from psmlearn.inspection import NucleiGalleryDisplay
from psmlearn.measure import nuclei_table

data = load_sample_images()
size = {"pixel_size": data.pixel_size}
pseudo = SemanticClusterer(unsure="unknown", random_state=0, **size)
model = NucleiSegmenter(
    nucleus_diameter="auto",
    max_epochs=3,
    steps_per_epoch=15,
    batch_size=4,
    patch_size=128,
    early_stopping=False,
    random_state=0,
    **size,
)
model.fit(data.images, pseudo.fit_predict(data.images))
nuclei = model.predict(data.images)
probabilities = model.predict_proba(data.images)

# %%
# The least sure
# --------------
# ``confidence`` is the mean probability within a nucleus.

tables = [
    nuclei_table(labels, image, probabilities=probability, **size)
    for labels, image, probability in zip(
        nuclei, data.images, probabilities, strict=True
    )
]
shown = {"width": 12, "n_nuclei": 16, **size}
NucleiGalleryDisplay.from_predictions(
    data.images,
    nuclei,
    values=[table["confidence"] for table in tables],
    value_name="confidence",
    **shown,
)
plt.show()

# %%
# From the lowest to the highest
# ------------------------------

NucleiGalleryDisplay.from_predictions(
    data.images,
    nuclei,
    values=[table["confidence"] for table in tables],
    value_name="confidence",
    select="quantiles",
    **shown,
)
plt.show()

# %%
# By shape
# --------
# Any column of the table will do. Low solidity: pieces, or two nuclei in one.

NucleiGalleryDisplay.from_predictions(data.images, nuclei, values="solidity", **shown)
plt.show()
