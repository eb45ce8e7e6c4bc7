# SPDX-License-Identifier: BSD-3-Clause
"""Estimators with settings so small that they can be fitted some thousand times."""

from __future__ import annotations

from torch import nn

from psmlearn import (
    NucleiDetector,
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)


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
    PseudoLabelSegmenter: {},
}


def make_small(estimator_class: type, **parameters):
    """Build an estimator with its small settings, changed by `parameters`."""
    settings = {**SMALL[estimator_class], **parameters}
    if estimator_class is PseudoLabelSegmenter and "segmenter" not in settings:
        settings["labeler"] = make_small(SemanticClusterer)
        settings["segmenter"] = make_small(NucleiSegmenter)
    return estimator_class(**settings)
