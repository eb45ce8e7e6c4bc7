# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks of prediction by the segmenter, for asv."""

import warnings

from psmlearn import NucleiSegmenter
from psmlearn.datasets import make_nuclei


class Predict:
    """The default network, barely trained, on images of two sizes."""

    params = [[1000, 2000], [512, 1024]]
    param_names = ["size", "tile_size"]
    timeout = 600

    def setup(self, size, tile_size):
        warnings.simplefilter("ignore")
        data = make_nuclei(n_images=1, shape=(size, size), random_state=0)
        self.images = data.images
        self.segmenter = NucleiSegmenter(
            max_epochs=1,
            steps_per_epoch=5,
            batch_size=2,
            patch_size=128,
            tile_size=tile_size,
            device="cpu",
            random_state=0,
        ).fit(self.images, data.masks)

    def time_predict(self, size, tile_size):
        self.segmenter.predict(self.images)

    def time_predict_proba(self, size, tile_size):
        self.segmenter.predict_proba(self.images)

    def peakmem_setup(self, size, tile_size):
        """Give the memory that is there before prediction, to be subtracted."""

    def peakmem_predict(self, size, tile_size):
        self.segmenter.predict(self.images)


class Precision:
    """float32 beside bfloat16, which is faster on CPUs that have it."""

    params = [["float32", "bfloat16"]]
    param_names = ["precision"]
    timeout = 600

    def setup(self, precision):
        warnings.simplefilter("ignore")
        data = make_nuclei(n_images=1, shape=(1000, 1000), random_state=0)
        self.images = data.images
        self.segmenter = NucleiSegmenter(
            max_epochs=1,
            steps_per_epoch=5,
            batch_size=2,
            patch_size=128,
            device="cpu",
            random_state=0,
        ).fit(self.images, data.masks)
        self.segmenter.set_params(precision=precision)

    def time_predict_proba(self, precision):
        self.segmenter.predict_proba(self.images)
