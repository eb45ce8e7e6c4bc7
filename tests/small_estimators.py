# SPDX-License-Identifier: BSD-3-Clause
"""Estimators with settings so small that they can be fitted some thousand times."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.pipeline import Pipeline, make_pipeline
from torch import nn

from psmlearn import (
    ClassActivationMapper,
    NucleiDetector,
    NucleiSegmenter,
    PseudoLabelSegmenter,
    RegionSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn.weak import ClusterResupervision


class ToldLabeler(ClusterMixin, BaseEstimator):
    """Says what it was told, whatever it sees."""

    def __init__(self, masks=None):
        self.masks = masks

    def fit(self, X, y=None):
        return self

    def fit_predict(self, X, y=None):
        return self.masks

    def predict(self, X):
        return self.masks


class TinyBackbone(nn.Module):
    """A classifier with a stage named layer1."""

    stride = 2

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 4, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(4, out_channels)

    def forward(self, images):
        features = self.layer1(self.bn1(self.conv1(images)).relu())
        return self.fc(features.mean(dim=(2, 3)))


class TinyPixelNetwork(nn.Module):
    """An answer for every pixel by way of half the size."""

    stride = 2
    halo = 16

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(in_channels, 4, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
        )
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.head = nn.Conv2d(4, out_channels, 1)

    def forward(self, images):
        return self.head(self.up(self.down(images)).relu())


class TinyMapNetwork(nn.Module):
    """Raw maps at half the size, and features of pixels."""

    stride = 2
    feature_channels = 4

    def __init__(self, in_channels: int, n_maps: int):
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(in_channels, 4, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
        )
        self.maps = nn.Conv2d(4, n_maps, 1, bias=False)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)

    def forward(self, images, decode=False):
        features = self.down(images)
        return [self.maps(features)], self.up(features) if decode else None


class EvenOddMapper(ClassActivationMapper):
    """Every other image is labelled 1: the checks know no image labels."""

    def fit(self, X, y=None):
        if len(X) == 1:  # two labels need two images
            X = [X[0], X[0]]
        return super().fit(X, np.arange(len(X)) % 2)

    def fit_predict(self, X, y=None):
        return self.fit(X).predict(X)


TRAINING = {
    "max_epochs": 1,
    "steps_per_epoch": 1,
    "batch_size": 2,
    "patch_size": 32,
    "device": "cpu",
}
PIXEL_TRAINING = {**TRAINING, "network": TinyPixelNetwork}
CLUSTERING = {"n_samples": 400, "n_init": 1, "max_iter": 10}

# The one table: every estimator with its small settings.
SMALL = {
    SelfActivationMapper: {**TRAINING, "network": TinyBackbone},
    SemanticClusterer: CLUSTERING,
    NucleiDetector: PIXEL_TRAINING,
    NucleiSegmenter: PIXEL_TRAINING,
    RegionSegmenter: {**PIXEL_TRAINING, "value_range": (0.0, 1.0)},
    PseudoLabelSegmenter: {},
    EvenOddMapper: {
        **TRAINING,
        "network": TinyMapNetwork,
        "value_range": (0.0, 1.0),
        "resupervision": ClusterResupervision(n_clusters=3),
        "threshold": 0.1,
    },
}

# What is changed for the images of 24 pixels that stand for the rows of a table.
_TABLE_SIZED = {"patch_size": 16, "pixel_size": 1.0}
SMALL_TABLE = {
    SelfActivationMapper: {"patch_size": 16},
    # Contours, tree by tree, are the most of a fit, and these rows hold no nuclei.
    SemanticClusterer: {"pixel_size": 1.0, "objects": "clusters"},
    NucleiDetector: _TABLE_SIZED,
    NucleiSegmenter: _TABLE_SIZED,
    RegionSegmenter: _TABLE_SIZED,
    EvenOddMapper: _TABLE_SIZED,
    PseudoLabelSegmenter: {
        "labeler": SemanticClusterer(**CLUSTERING, pixel_size=1.0),
        "segmenter": NucleiSegmenter(**{**PIXEL_TRAINING, **_TABLE_SIZED}),
    },
}


def make_small(estimator_class: type, **parameters):
    """Build an estimator with its small settings, changed by `parameters`."""
    settings = {**SMALL[estimator_class], **parameters}
    if estimator_class is PseudoLabelSegmenter and "segmenter" not in settings:
        settings["labeler"] = make_small(SemanticClusterer)
        settings["segmenter"] = make_small(NucleiSegmenter)
    return estimator_class(**settings)


def make_labeler(**clustering) -> Pipeline:
    """Build the pipeline of mapper and clusterer."""
    clusterer = make_small(SemanticClusterer, **clustering)
    return Pipeline([("maps", make_small(SelfActivationMapper)), ("masks", clusterer)])


def make_variants() -> list:
    """Build estimators with further settings, and pipelines of them."""
    return [
        make_small(NucleiSegmenter, targets="voronoi", early_stopping=False),
        make_labeler(),
    ]


def make_more_variants() -> list:
    """Build the variants that are checked in the slow part of the suite."""
    two_layers = ["conv1", "layer1"]
    return [
        make_small(NucleiDetector, targets="mask", merge_distance=2.0),
        make_small(SelfActivationMapper, channel_weights="image", scale="image"),
        make_small(SelfActivationMapper, early_stopping=True, output="maps"),
        make_small(SelfActivationMapper, method="layercam", layers=two_layers),
        make_small(SelfActivationMapper, method="eigencam", pretext="simsiam"),
        make_small(SelfActivationMapper, method="gradcam++", pretext="rotation"),
        make_small(SelfActivationMapper, pretext="similarity"),
        make_small(SelfActivationMapper, pretext="contrastive"),
        make_small(SemanticClusterer, fit_scope="all", n_clusters=3),
        make_labeler(fusion="jet", foreground="paper", n_clusters=3),
        make_pipeline(*_steps(), make_small(NucleiSegmenter, label_channel=-1)),
        PseudoLabelSegmenter(make_labeler(), make_small(NucleiSegmenter), n_rounds=2),
    ]


def _steps() -> list:
    return [step for _, step in make_labeler().steps]
