# SPDX-License-Identifier: BSD-3-Clause
"""Read and check images, masks and points, and write results; never loads torch."""

from psmlearn.io._batch import ImageBatch, check_image, check_images
from psmlearn.io._coco import write_coco
from psmlearn.io._geojson import write_geojson
from psmlearn.io._geojson_writer import GeoJSONWriter
from psmlearn.io._label_pyramid import write_label_pyramid
from psmlearn.io._masks import check_mask, check_masks
from psmlearn.io._paths import atomic_path
from psmlearn.io._pixel_size import read_pixel_size, resolve_pixel_size
from psmlearn.io._point_checks import check_points
from psmlearn.io._points import read_points, write_points
from psmlearn.io._read import read_image, read_labels
from psmlearn.io._rois import write_rois
from psmlearn.io._slide import Slide
from psmlearn.io._slide_open import is_slide
from psmlearn.io._table_writer import TableWriter
from psmlearn.io._write import write_image, write_labels, write_table

__all__ = [
    "GeoJSONWriter",
    "ImageBatch",
    "Slide",
    "TableWriter",
    "atomic_path",
    "check_image",
    "check_images",
    "check_mask",
    "check_masks",
    "check_points",
    "is_slide",
    "read_image",
    "read_labels",
    "read_pixel_size",
    "read_points",
    "resolve_pixel_size",
    "write_coco",
    "write_geojson",
    "write_image",
    "write_label_pyramid",
    "write_labels",
    "write_points",
    "write_rois",
    "write_table",
]
