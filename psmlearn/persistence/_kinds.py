# SPDX-License-Identifier: BSD-3-Clause
"""The classes that a model file may hold, each under a name that stays.

Names are what files say; where a class lives may change with the package. What has no
name here is never built from a file.
"""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from sklearn.base import BaseEstimator

__all__ = ["Kind", "kind_named", "kind_of"]

# Of each training: what is kept, beside what the estimator's own kind names.
_HISTORY = (
    "network_",
    "device_",
    "n_epochs_",
    "loss_curve_",
    "validation_loss_curve_",
    "best_loss_",
    "_network_recipe",
    "_frozen",
    "n_features_in_",
    "feature_names_in_",
)


@dataclass(frozen=True)
class Kind:
    """One class, and what of its objects a file holds.

    Attributes
    ----------
    name : str
        In files.
    module, cls_name : str
        Where the class is today.
    learnt : tuple of str
        Attributes beside the parameters (estimators) or fields (dataclasses).
    left_out : tuple of str
        Attributes that prediction does not need, and no file holds.
    frozen : str
        The kind of its `_frozen`, if it has one.
    """

    name: str
    module: str
    cls_name: str
    learnt: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    frozen: str = ""

    def load(self) -> type:
        """Import the class."""
        return getattr(importlib.import_module(self.module), self.cls_name)

    def own_names(self) -> tuple[str, ...]:
        """Return the names of parameters or fields."""
        cls: Any = self.load()
        if dataclasses.is_dataclass(cls):
            return tuple(field.name for field in dataclasses.fields(cls))
        if issubclass(cls, BaseEstimator):
            return tuple(cls._get_param_names())
        return ()


def _plain(module: str, *names: str) -> list[Kind]:
    return [Kind(name, module, name) for name in names]


_KINDS = [
    # Estimators.
    Kind(
        "SelfActivationMapper",
        "psmlearn.activation",
        "SelfActivationMapper",
        (
            *_HISTORY,
            "layers_",
            "polarity_",
            "channel_weights_",
            "map_ranges_",
            "_goes_on",
        ),
        frozen="MapperState",
    ),
    Kind(
        "SemanticClusterer",
        "psmlearn.cluster",
        "SemanticClusterer",
        (
            "class_names_",
            "cluster_centers_",
            "foreground_",
            "inertia_",
            "n_iter_",
            "_frozen",
            "n_features_in_",
            "feature_names_in_",
        ),
        # Of the training images.
        ("labels_", "confidences_"),
        frozen="ClustererState",
    ),
    Kind(
        "NucleiDetector",
        "psmlearn.segmentation",
        "NucleiDetector",
        (*_HISTORY, "classes_"),
        frozen="PixelState",
    ),
    Kind(
        "NucleiSegmenter",
        "psmlearn.segmentation",
        "NucleiSegmenter",
        (*_HISTORY, "classes_", "detector_"),
        frozen="PixelState",
    ),
    Kind(
        "RegionSegmenter",
        "psmlearn.segmentation",
        "RegionSegmenter",
        (*_HISTORY, "classes_"),
        frozen="PixelState",
    ),
    Kind(
        "PseudoLabelSegmenter",
        "psmlearn.segmentation",
        "PseudoLabelSegmenter",
        (
            "labeler_",
            "segmenter_",
            "n_pseudo_objects_",
            "_frozen",
            "n_features_in_",
            "feature_names_in_",
        ),
        frozen="ChainState",
    ),
    Kind(
        "ClassActivationMapper",
        "psmlearn.weak",
        "ClassActivationMapper",
        (*_HISTORY, "classes_", "map_classes_", "refine_centers_"),
        frozen="ClassMapperState",
    ),
    Kind(
        "StainNormalizer",
        "psmlearn.preprocessing",
        "StainNormalizer",
        (
            "means_",
            "deviations_",
            "stains_",
            "strengths_",
            "_seed",
            "n_features_in_",
            "feature_names_in_",
        ),
    ),
    Kind(
        "TissueDetector",
        "psmlearn.preprocessing",
        "TissueDetector",
        ("n_features_in_", "feature_names_in_"),
    ),
    Kind("Pipeline", "sklearn.pipeline", "Pipeline"),
    # Options.
    *_plain("psmlearn.base", "EarlyStopping"),
    *_plain(
        "psmlearn.activation",
        "MeanValue",
        "Similarity",
        "Contrastive",
        "Rotation",
        "SimSiam",
    ),
    *_plain("psmlearn.segmentation", "Distance", "Voronoi", "Heatmap", "Foreground"),
    Kind("Regions", "psmlearn.segmentation._targets", "Regions"),
    *_plain(
        "psmlearn.weak", "ClusterResupervision", "ClusterRefinement", "Reconstruction"
    ),
    # What trainings freeze.
    Kind("PixelState", "psmlearn.segmentation._pixels", "_Frozen"),
    Kind("ChainState", "psmlearn.segmentation._pseudo_label", "_Frozen"),
    Kind("MapperState", "psmlearn.activation._mapper", "_Frozen"),
    Kind("ClustererState", "psmlearn.cluster._semantic", "_Frozen"),
    Kind("ClassMapperState", "psmlearn.weak._plan", "MapState"),
    *_plain("psmlearn.activation._maps", "MapSpec", "LayerGeometry", "Calibration"),
    *_plain("psmlearn.cluster._features", "FeatureScale"),
    *_plain("psmlearn.weak._labels", "LabelCode"),
]
_BY_NAME = {kind.name: kind for kind in _KINDS}


@cache
def _by_class() -> dict[type, Kind]:
    return {kind.load(): kind for kind in _KINDS}


def kind_named(name: str) -> Kind | None:
    """Return the kind that files call so, if there is one."""
    return _BY_NAME.get(name)


def kind_of(value: object) -> Kind | None:
    """Return the kind of an object, that of its very class."""
    return _by_class().get(type(value))
