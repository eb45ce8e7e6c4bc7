# SPDX-License-Identifier: BSD-3-Clause
"""Label-free nuclei segmentation for histology, as scikit-learn estimators."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

# Public name -> the module that holds it. Names are imported when first asked for,
# so that ``import psmlearn`` and the rooms without torch stay light.
_NAMES = {
    "ClassActivationMapper": "psmlearn.weak",
    "NucleiDetector": "psmlearn.segmentation",
    "NucleiSegmenter": "psmlearn.segmentation",
    "PseudoLabelSegmenter": "psmlearn.segmentation",
    "RegionSegmenter": "psmlearn.segmentation",
    "SelfActivationMapper": "psmlearn.activation",
    "SemanticClusterer": "psmlearn.cluster",
    "load_model": "psmlearn.persistence",
    "save_model": "psmlearn.persistence",
}
_SUBMODULES = (
    "activation",
    "base",
    "cluster",
    "datasets",
    "exceptions",
    "inspection",
    "io",
    "measure",
    "metrics",
    "networks",
    "persistence",
    "preprocessing",
    "segmentation",
    "slides",
    "utils",
    "weak",
)

if TYPE_CHECKING:
    from psmlearn.activation import SelfActivationMapper
    from psmlearn.cluster import SemanticClusterer
    from psmlearn.persistence import load_model, save_model
    from psmlearn.segmentation import (
        NucleiDetector,
        NucleiSegmenter,
        PseudoLabelSegmenter,
        RegionSegmenter,
    )
    from psmlearn.weak import ClassActivationMapper

__all__ = [
    "ClassActivationMapper",
    "NucleiDetector",
    "NucleiSegmenter",
    "PseudoLabelSegmenter",
    "RegionSegmenter",
    "SelfActivationMapper",
    "SemanticClusterer",
    "__version__",
    "load_model",
    "save_model",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f"psmlearn.{name}")
    raise AttributeError(f"module 'psmlearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_SUBMODULES})
