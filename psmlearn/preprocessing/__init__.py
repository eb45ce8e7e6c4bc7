# SPDX-License-Identifier: BSD-3-Clause
"""Stains apart and alike; where tissue lies, and what spoils it."""

from psmlearn.preprocessing._functions import (
    artefact_mask,
    estimate_stains,
    separate_stains,
    stain_vector,
    tissue_mask,
)
from psmlearn.preprocessing._normalizer import StainNormalizer
from psmlearn.preprocessing._tissue_detector import TissueDetector

__all__ = [
    "StainNormalizer",
    "TissueDetector",
    "artefact_mask",
    "estimate_stains",
    "separate_stains",
    "stain_vector",
    "tissue_mask",
]
