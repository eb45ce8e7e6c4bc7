# SPDX-License-Identifier: BSD-3-Clause
"""From images to maps of where a network that trained itself looks."""

from psmlearn.activation._gradients import activation_maps
from psmlearn.activation._mapper import SelfActivationMapper
from psmlearn.activation._pretexts import (
    Contrastive,
    MeanValue,
    Pretext,
    Rotation,
    Similarity,
    SimSiam,
)

__all__ = [
    "Contrastive",
    "MeanValue",
    "Pretext",
    "Rotation",
    "SelfActivationMapper",
    "SimSiam",
    "Similarity",
    "activation_maps",
]
