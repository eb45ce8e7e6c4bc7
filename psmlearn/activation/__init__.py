# SPDX-License-Identifier: BSD-3-Clause
"""From images to maps of where a network looks, with image labels or without any."""

from psmlearn.activation._class import ClassActivationMapper
from psmlearn.activation._gradient import activation_maps
from psmlearn.activation._self import SelfActivationMapper

__all__ = ["ClassActivationMapper", "SelfActivationMapper", "activation_maps"]
