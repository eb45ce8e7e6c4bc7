# SPDX-License-Identifier: BSD-3-Clause
"""From images to maps of where a network that trained itself looks."""

from psmlearn.activation._gradient import activation_maps
from psmlearn.activation._self import SelfActivationMapper

__all__ = ["SelfActivationMapper", "activation_maps"]
