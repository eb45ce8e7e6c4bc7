# SPDX-License-Identifier: BSD-3-Clause
"""Stands for a torchvision that is installed and broken; conftest puts it first."""

raise RuntimeError("operator torchvision::nms does not exist")
