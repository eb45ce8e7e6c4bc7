# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks of reading a slide in boxes beside tiffslide, for asv."""

import os
import tempfile
import time

from psmlearn.datasets import load_sample_images, make_slide
from psmlearn.io import Slide

SIDE = 5000
CORE, HALO = 1024, 128


def boxes(height, width):
    """Cut a picture into cores with a halo, as prediction does."""
    for top in range(0, height, CORE):
        for left in range(0, width, CORE):
            yield (
                max(0, top - HALO),
                max(0, left - HALO),
                min(height, top + CORE + HALO),
                min(width, left + CORE + HALO),
            )


def read_boxes(path, pixel_size=None):
    """Read a slide in boxes of a pixel size."""
    with Slide(path) as slide:
        view = slide.view(pixel_size)
        for box in boxes(*view.shape):
            view.read(*box)


def read_regions(path):
    """Read the same boxes of full resolution with tiffslide."""
    from tiffslide import TiffSlide

    with TiffSlide(path) as slide:
        for top, left, bottom, right in boxes(SIDE, SIDE):
            size = right - left, bottom - top
            slide.read_region((left, top), 0, size, as_array=True)


class SlideBoxes:
    """A slide of 5000 x 5000 pixels of JPEG tiles, in boxes of 1024 with a halo."""

    timeout = 600

    def setup(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "slide.svs")
        fields = load_sample_images().images
        make_slide(self.path, fields, shape=(SIDE, SIDE), tissue=1.0, random_state=0)

    def teardown(self):
        self.folder.cleanup()

    def time_full_resolution(self):
        read_boxes(self.path)

    def time_between_levels(self):
        read_boxes(self.path, 0.4)

    def time_tiffslide(self):
        read_regions(self.path)

    def track_ratio_to_tiffslide(self):
        """CPU time of full resolution, as a part of tiffslide's."""
        read_boxes(self.path)
        start = time.process_time()
        read_boxes(self.path)
        middle = time.process_time()
        read_regions(self.path)
        return (middle - start) / (time.process_time() - middle)

    track_ratio_to_tiffslide.unit = "ratio"
