# SPDX-License-Identifier: BSD-3-Clause
"""From images and their maps to masks of nuclei, without labels."""

from psmlearn.cluster._semantic import SemanticClusterer

__all__ = ["SemanticClusterer"]
