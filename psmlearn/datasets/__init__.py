# SPDX-License-Identifier: BSD-3-Clause
"""Load data sets, and make synthetic ones; nothing is ever downloaded."""

from psmlearn.datasets._folders import load_label_folder
from psmlearn.datasets._monuseg import load_monuseg
from psmlearn.datasets._sample import load_sample_image
from psmlearn.datasets._synthetic import make_nuclei

__all__ = [
    "load_label_folder",
    "load_monuseg",
    "load_sample_image",
    "make_nuclei",
]
