# SPDX-License-Identifier: BSD-3-Clause
"""Objects from image labels alone: the mapper and the options of its parts."""

from psmlearn.weak._mapper import ClassActivationMapper
from psmlearn.weak._reconstruction import Reconstruction
from psmlearn.weak._refinement import ClusterRefinement
from psmlearn.weak._resupervision import ClusterResupervision

__all__ = [
    "ClassActivationMapper",
    "ClusterRefinement",
    "ClusterResupervision",
    "Reconstruction",
]
