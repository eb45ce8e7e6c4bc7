# SPDX-License-Identifier: BSD-3-Clause
"""From nuclei to tables, intensities and the counts that pathologists use."""

from psmlearn.measure._hotspot import Hotspot, find_hotspot
from psmlearn.measure._intensity import stain_intensity
from psmlearn.measure._labelling import labelling_index
from psmlearn.measure._result import LabellingIndex
from psmlearn.measure._scores import allred_score, h_score
from psmlearn.measure._table import nuclei_table

__all__ = [
    "Hotspot",
    "LabellingIndex",
    "allred_score",
    "find_hotspot",
    "h_score",
    "labelling_index",
    "nuclei_table",
    "stain_intensity",
]
