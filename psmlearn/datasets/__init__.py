# SPDX-License-Identifier: BSD-3-Clause
"""Load data sets, and make synthetic ones; nothing is ever downloaded."""

from psmlearn.datasets._bcdata import load_bcdata
from psmlearn.datasets._brats import load_brats
from psmlearn.datasets._coco import load_coco
from psmlearn.datasets._consep import load_consep
from psmlearn.datasets._cpm import load_cpm
from psmlearn.datasets._dsb2018 import load_dsb2018
from psmlearn.datasets._folders import load_label_folder
from psmlearn.datasets._geojson import load_geojson
from psmlearn.datasets._lesions import make_lesions
from psmlearn.datasets._lgg import load_lgg
from psmlearn.datasets._monuseg import load_monuseg
from psmlearn.datasets._pannuke import load_pannuke
from psmlearn.datasets._point_folder import load_point_folder
from psmlearn.datasets._sample import load_sample_image, load_sample_images
from psmlearn.datasets._slide import make_slide
from psmlearn.datasets._synthetic import make_nuclei

__all__ = [
    "load_bcdata",
    "load_brats",
    "load_coco",
    "load_consep",
    "load_cpm",
    "load_dsb2018",
    "load_geojson",
    "load_label_folder",
    "load_lgg",
    "load_monuseg",
    "load_pannuke",
    "load_point_folder",
    "load_sample_image",
    "load_sample_images",
    "make_lesions",
    "make_nuclei",
    "make_slide",
]
