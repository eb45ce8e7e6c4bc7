# SPDX-License-Identifier: BSD-3-Clause
"""Detection and segmentation of nuclei, from masks or from no label at all."""

from psmlearn.segmentation._detector import NucleiDetector
from psmlearn.segmentation._pseudo_label import PseudoLabelSegmenter
from psmlearn.segmentation._segmenter import NucleiSegmenter

__all__ = ["NucleiDetector", "NucleiSegmenter", "PseudoLabelSegmenter"]
