# SPDX-License-Identifier: BSD-3-Clause
"""
Nuclei for QuPath
=================

A GeoJSON file with outlines, classes and measurements, to be dragged onto the image in
QuPath; and back again, to the pixel. A real field of H&E.
"""

# %%
# Find and measure
# ----------------

import gzip
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Polygon

from psmlearn import SemanticClusterer
from psmlearn.datasets import load_sample_images
from psmlearn.io import write_geojson, write_table
from psmlearn.measure import nuclei_table

data = load_sample_images()
image, size = data.images[1], data.pixel_size
[labels] = SemanticClusterer(pixel_size=size, random_state=0).fit_predict([image])
table = nuclei_table(labels, image, pixel_size=size)
print(f"{len(table['label'])} nuclei, columns: {', '.join(table)}")

# %%
# Write
# -----
# Measurements get QuPath's names. ``.gz`` packs the file, which QuPath reads, too. The
# crop begins 8,000 rows and 12,000 columns into its slide: coordinates are the slide's.

folder = tempfile.TemporaryDirectory()
path = Path(folder.name, "nuclei.geojson.gz")
write_geojson(path, labels, table=table, offset=(8000, 12000))
write_table(path.with_name("nuclei.csv"), table)

with gzip.open(path, "rt", encoding="utf-8") as file:
    features = json.load(file)["features"]
first = features[0]["properties"]
print(first["objectType"])
for name, value in first["measurements"].items():
    print(f"  {name}: {value:.4g}")

# %%
# What QuPath will draw
# ---------------------
# The outlines of the file, moved back from the slide to the crop. They run along the
# edges of pixels, so that no pixel is lost or won.

_, ax = plt.subplots(figsize=(7, 5.8), layout="constrained")
ax.imshow(image, extent=(0, image.shape[1], image.shape[0], 0))
for feature in features:
    for ring in feature["geometry"]["coordinates"]:
        outline = np.asarray(ring, float).reshape(-1, 2) - (12000, 8000)
        ax.add_patch(Polygon(outline, fill=False, edgecolor="yellow", linewidth=1.5))
ax.set_title("outlines of the GeoJSON file")
ax.set_axis_off()
plt.show()

area = first["measurements"]["Nucleus: Area µm^2"]
print("the same area:", np.isclose(area, (labels == 1).sum() * size**2))
folder.cleanup()
