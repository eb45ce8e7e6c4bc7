# SPDX-License-Identifier: BSD-3-Clause
"""Detection and segmentation of nuclei and regions, from masks or from no label."""

from psmlearn.segmentation._detector import NucleiDetector
from psmlearn.segmentation._pseudo_label import PseudoLabelSegmenter
from psmlearn.segmentation._region_segmenter import RegionSegmenter
from psmlearn.segmentation._segmenter import NucleiSegmenter
from psmlearn.segmentation._targets import (
    Distance,
    Foreground,
    Heatmap,
    Targets,
    Voronoi,
)

__all__ = [
    "Distance",
    "Foreground",
    "Heatmap",
    "NucleiDetector",
    "NucleiSegmenter",
    "PseudoLabelSegmenter",
    "RegionSegmenter",
    "Targets",
    "Voronoi",
]
