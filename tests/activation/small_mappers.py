# SPDX-License-Identifier: BSD-3-Clause
"""Small settings and a small network for the tests of SelfActivationMapper."""

from torch import nn

SMALL = {
    "max_epochs": 1,
    "steps_per_epoch": 2,
    "batch_size": 4,
    "patch_size": 32,
    "device": "cpu",
    "random_state": 0,
}


class TinyNet(nn.Module):
    """Stride 2, a few channels: fast enough to be trained in a test."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
        )
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True))
        self.fc = nn.Linear(8, out_channels)

    def forward(self, images):
        return self.fc(self.block(self.stem(images)).mean(dim=(2, 3)))


TINY = {**SMALL, "network": TinyNet, "layers": "stem"}
