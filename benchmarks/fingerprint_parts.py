# SPDX-License-Identifier: BSD-3-Clause
"""How the cases of `fingerprints` build estimators: the one place that knows names."""

from __future__ import annotations

EARLY = {"validation_fraction": 0.5, "n_iter_no_change": 1, "tol": 0.0}
LITERAL_CRS = {
    "map_scale": "raw",
    "suppression_weight": 1.0,
    "resupervision": {
        "weight": 0.1,
        "voting": "any",
        "warm_up": 0.0,
        "target": "one",
        "area": "image",
    },
    "reconstruction": {"mask_fraction": 0.01, "target_channel": 0},
    "refinement": None,
    "learning_rate": 1e-5,
}


def _stopping(early) -> dict:
    from psmlearn.base import EarlyStopping

    if early is None:
        return {"early_stopping": False}
    return {"early_stopping": EarlyStopping(**early)}


def mapper(pretext: str, options: dict, early=None, **rest):
    from psmlearn import SelfActivationMapper, activation

    names = {
        "mean_value": activation.MeanValue,
        "similarity": activation.Similarity,
        "contrastive": activation.Contrastive,
        "rotation": activation.Rotation,
        "simsiam": activation.SimSiam,
    }
    told = {"loss": "loss_function"}
    options = {told.get(key, key): value for key, value in options.items()}
    return SelfActivationMapper(
        pretext=names[pretext](**options), **_stopping(early), **rest
    )


def labeler(options: dict):
    from sklearn.pipeline import Pipeline

    from psmlearn import SemanticClusterer

    maps = mapper("mean_value", {}, **options)
    return Pipeline([("maps", maps), ("clusters", SemanticClusterer())])


def detector(targets: str, **rest):
    from psmlearn import NucleiDetector

    return NucleiDetector(targets=targets, **rest)


def segmenter(targets: str, early={}, **rest):  # noqa: B006
    from psmlearn import NucleiSegmenter
    from psmlearn.segmentation import Voronoi

    known = {
        "distance": "distance",
        "voronoi": "voronoi",
        "voronoi literal": Voronoi(weight=1.0, mask_foreground=False),
    }
    return NucleiSegmenter(targets=known[targets], **_stopping(early), **rest)


def regions(**rest):
    from psmlearn import RegionSegmenter

    return RegionSegmenter(**rest)


def class_mapper(
    resupervision={},  # noqa: B006
    reconstruction={},  # noqa: B006
    refinement={},  # noqa: B006
    early=None,
    **rest,
):
    from psmlearn import ClassActivationMapper, weak

    def part(kind, options):
        return None if options is None else kind(**options)

    return ClassActivationMapper(
        resupervision=part(weak.ClusterResupervision, resupervision),
        reconstruction=part(weak.Reconstruction, reconstruction),
        refinement=part(weak.ClusterRefinement, refinement),
        **_stopping(early),
        **rest,
    )
