# SPDX-License-Identifier: BSD-3-Clause
"""
Save and load a model
=====================

Train once, keep the model in a file, apply it elsewhere. The file runs no code when it
is read. Real fields of H&E: the model is trained on two and applied to the third.
"""

# %%
# Train
# -----

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from psmlearn import (
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SemanticClusterer,
    load_model,
    save_model,
)
from psmlearn.datasets import load_sample_images
from psmlearn.inspection import SegmentationDisplay
from psmlearn.persistence import read_model_header

data = load_sample_images()
size = {"pixel_size": data.pixel_size}
model = PseudoLabelSegmenter(
    SemanticClusterer(unsure="unknown", **size),
    NucleiSegmenter(
        nucleus_diameter="auto",
        threshold=0.65,
        max_epochs=3,
        steps_per_epoch=15,
        batch_size=4,
        patch_size=128,
        early_stopping=False,
        **size,
    ),
    random_state=0,
)
model.fit(data.images[:2])

# %%
# Save
# ----
# Weights as safetensors, parameters as JSON. What prediction does not need, such as the
# masks of the training images, is left out.

folder = tempfile.TemporaryDirectory()
path = Path(folder.name, "nuclei.psm")
save_model(model, path)
print(f"{path.stat().st_size / 1e6:.1f} MB")

# %%
# What a file holds is told without loading it; ``psmlearn info nuclei.psm`` prints it.

header = read_model_header(path)
print({key: header[key] for key in ("format_version", "psmlearn_version")})

# %%
# Load and apply
# --------------
# Bit for bit what the trained model finds. ``psmlearn apply`` does this with folders.

again = load_model(path)
nuclei = again.predict(data.images[2:])[0]
print("equal:", (nuclei == model.predict(data.images[2:])[0]).all())

_, ax = plt.subplots(figsize=(7, 5.8), layout="constrained")
SegmentationDisplay.from_predictions(
    data.images[2],
    nuclei,
    ax=ax,
    title=f"{nuclei.max()} nuclei in a field not trained on",
)
plt.show()
folder.cleanup()
