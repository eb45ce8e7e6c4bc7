# SPDX-License-Identifier: BSD-3-Clause
"""Networks: U-Nets for segmentation and maps, residual networks (torch only)."""

from psmlearn.networks._cam_unet import CAMUNet
from psmlearn.networks._registry import (
    build_network,
    list_networks,
    register_network,
)
from psmlearn.networks._res2net import res2net101_26w_4s
from psmlearn.networks._resnet import ResNet, resnet18, resnet34, resnet50
from psmlearn.networks._resunet import ResUNet34
from psmlearn.networks._unet import UNet

__all__ = [
    "CAMUNet",
    "ResNet",
    "ResUNet34",
    "UNet",
    "build_network",
    "list_networks",
    "register_network",
    "res2net101_26w_4s",
    "resnet18",
    "resnet34",
    "resnet50",
]
