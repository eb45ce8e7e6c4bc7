# SPDX-License-Identifier: BSD-3-Clause
"""
From Ki-67 fields to the labelling index
========================================

A folder of Ki-67 fields goes in; positive and negative nuclei, the labelling index with
its interval, a hotspot and a report figure come out. No label is used: brown (DAB) and
blue (haematoxylin) tell the classes.

The index counts **all** nuclei of the region. A pathologist counts tumour cells only,
so the two differ wherever stroma or lymphocytes lie in the region. For research use
only.
"""

# %%
# A folder of fields
# ------------------
# Synthetic ones, whose true nuclei are known. Each field has a label image of two
# regions: 1 and 2, and 0 where nothing counts. With your own images, start at the next
# step.

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np

from psmlearn.datasets import make_nuclei
from psmlearn.io import write_image, write_labels

shares = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.45, 0.6]
data = make_nuclei(
    n_images=8,
    shape=(320, 320),
    n_nuclei=90,
    stain="ki67",
    positive_fraction=shares,
    random_state=0,
)
drawn = np.zeros((320, 320), dtype=np.int32)
drawn[20:300, 20:150] = 1
drawn[20:300, 160:300] = 2

temporary = TemporaryDirectory()
folder = Path(temporary.name)
(folder / "fields").mkdir()
(folder / "regions").mkdir()
for number, image in enumerate(data.images):
    write_image(folder / "fields" / f"field{number}.png", image)
    write_labels(folder / "regions" / f"field{number}.tif", drawn)

# %%
# Training, without labels
# ------------------------
# ``PseudoLabelSegmenter(classes="ki67", random_state=0).fit(fields)`` is all that real
# images need. Here the network is given, to make its training short.

from psmlearn import NucleiSegmenter, PseudoLabelSegmenter

fields = sorted(str(path) for path in (folder / "fields").glob("*.png"))
names = [Path(path).stem for path in fields]

segmenter = NucleiSegmenter(
    max_epochs=5, steps_per_epoch=15, batch_size=4, patch_size=96
)
model = PseudoLabelSegmenter(segmenter=segmenter, classes="ki67", random_state=0)
model.fit(fields)

masks = model.predict(fields)
print(masks[0].shape, masks[0].dtype)

# %%
# A mask has two planes: ids 1..n, and the class of each nucleus, 1 positive and 2
# negative.

from psmlearn.inspection import SegmentationDisplay

figure, axes = plt.subplots(2, 2, figsize=(9, 9.4), layout="constrained")
for row, place in zip(axes, (1, 7), strict=True):
    row[0].imshow(data.images[place])
    row[0].set_title(names[place])
    row[0].set_axis_off()
    SegmentationDisplay.from_predictions(
        fields[place],
        masks[place],
        ax=row[1],
        class_names={1: "positive", 2: "negative"},
        class_colors={1: (255, 70, 60), 2: (0, 215, 255)},
    )
plt.show()

# %%
# The labelling index
# -------------------
# The share of positive nuclei, pooled over all fields. The interval resamples whole
# fields, since nuclei of one field are alike; below five fields it is over nuclei, and
# then too narrow where fields differ. The rows of single fields hold for that field
# only. Intensities (mean optical density of DAB) add the H-score, 0 to 300, and the
# Allred score, 0 to 8.

from psmlearn.measure import labelling_index, stain_intensity

intensity = stain_intensity(fields, masks)
result = labelling_index(masks, intensity=intensity, names=names)
print(result)

# %%
# The true index of these images, and how well the two classes were found: F1 of points
# within 3 micrometres (12 pixels).

from psmlearn.metrics import detection_f1_score

true_classes = np.concatenate(data.points)[:, 2]
print(f"true index {np.mean(true_classes == 1):.1%}")
found = model.detect(fields)
positive, negative = detection_f1_score(
    data.points, found, radius=12, labels=[1, 2], average="micro"
)
print(f"F1: positive nuclei {positive:.2f}, negative nuclei {negative:.2f}")

# %%
# By region
# ---------
# A region is a boolean mask, or numbers: then each number has a row of its own. Tissue
# without pen marks, folds and dirt comes from ``TissueDetector``. A nucleus counts
# where its centre lies inside.
#
# Fewer than 500 nuclei (``min_cells``) are too few for an index to rely on. The result
# says so, and a ``UserWarning`` is given.

import warnings

from psmlearn.io import read_labels
from psmlearn.preprocessing import TissueDetector

tissue = TissueDetector().fit(fields).predict(fields)
regions = [
    np.where(usable, read_labels(folder / "regions" / f"{name}.tif"), 0)
    for name, usable in zip(names, tissue, strict=True)
]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what is printed says it
    by_region = labelling_index(
        masks, regions=regions, intensity=intensity, names=names
    )
print(by_region)

# %%
# The hotspot
# -----------
# The field of a given area with the highest index. Of large fields one takes 0.2 square
# millimetres or more and some hundred nuclei; these synthetic fields are only 0.08
# millimetres wide. An index that was searched for is higher than that of the tissue: it
# has no interval here.

from psmlearn.measure import find_hotspot

hotspot = find_hotspot(
    masks,
    area=0.002,
    pixel_size=0.25,
    min_cells=20,
    regions=regions,
    names=names,
)
print(hotspot)

# %%
# The report
# ----------
# One image with what counted on it, here the one of the hotspot. What lies outside of
# the regions is pale. One small field has too few nuclei, and the report says so.

from psmlearn.inspection import LabellingIndexDisplay

place = hotspot.image
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the figure says it
    LabellingIndexDisplay.from_predictions(
        fields[place],
        masks[place],
        region=regions[place],
        hotspot=hotspot,
        intensity=intensity[place],
    )
plt.show()

# %%
# Files
# -----
# Masks as TIFF with two planes, points as CSV (row, column, class), and the index of
# every field, every region and all together in one table.

from psmlearn.io import write_points, write_table

for name, mask, points in zip(names, masks, found, strict=True):
    write_labels(folder / f"{name}_labels.tif", mask)
    write_points(folder / f"{name}_points.csv", points)
write_table(folder / "labelling_index.csv", by_region.table)
print((folder / "labelling_index.csv").read_text(encoding="utf-8")[:200])
temporary.cleanup()
