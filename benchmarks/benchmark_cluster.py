# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks of pixel clustering beside scikit-learn's k-means, for asv."""

import time

import numpy as np
from sklearn.cluster import KMeans

from psmlearn import SemanticClusterer
from psmlearn.datasets import make_nuclei


def peer():
    """The k-means that is compared with: ten starts on all pixels."""
    return KMeans(n_clusters=3, n_init=10, max_iter=20, random_state=0)


def inertia(pixels, labels):
    """Sum of squared distances of the pixels to the mean of their cluster."""
    total = 0.0
    for label in np.unique(labels):
        own = pixels[labels == label]
        total += float(((own - own.mean(axis=0)) ** 2).sum())
    return total


class PixelTable:
    """The colours of an image of 1000x1000 as a table of a million pixels."""

    timeout = 600

    def setup(self):
        data = make_nuclei(n_images=1, shape=(1000, 1000), random_state=0)
        self.pixels = (data.images[0].reshape(-1, 3) / 255).astype(np.float32)
        self.clusterer = SemanticClusterer(n_clusters=3, random_state=0)

    def time_fit_predict(self):
        self.clusterer.fit(self.pixels).predict(self.pixels)

    def time_sklearn_kmeans(self):
        peer().fit(self.pixels)

    def peakmem_setup(self):
        """Give the memory that is there before clustering, to be subtracted."""

    def peakmem_fit_predict(self):
        self.clusterer.fit(self.pixels).predict(self.pixels)

    def peakmem_sklearn_kmeans(self):
        peer().fit(self.pixels)

    def track_speedup(self):
        """Time of scikit-learn's k-means by that of the clusterer."""
        self.time_fit_predict()
        start = time.perf_counter()
        self.time_fit_predict()
        middle = time.perf_counter()
        self.time_sklearn_kmeans()
        return (time.perf_counter() - middle) / (middle - start)

    track_speedup.unit = "ratio"

    def track_inertia(self):
        """Inertia of the clusterer by that of scikit-learn's k-means."""
        labels = self.clusterer.fit(self.pixels).predict(self.pixels)
        return inertia(self.pixels, labels) / peer().fit(self.pixels).inertia_

    track_inertia.unit = "ratio"


class Images:
    """From images with a map to masks: clustering, cleaning and splitting."""

    params = [[1, 4]]
    param_names = ["n_images"]
    timeout = 600

    def setup(self, n_images):
        data = make_nuclei(n_images=n_images, shape=(1000, 1000), random_state=0)
        pixels = data.images.astype(np.float32) / 255
        darkness = 1 - pixels.mean(axis=-1, keepdims=True)  # stands for a map
        self.stack = np.concatenate([pixels, darkness], axis=-1)
        self.clusterer = SemanticClusterer(random_state=0).fit(self.stack)

    def time_fit(self, n_images):
        self.clusterer.fit(self.stack)

    def time_predict(self, n_images):
        self.clusterer.predict(self.stack)

    def peakmem_setup(self, n_images):
        """Give the memory that is there before clustering, to be subtracted."""

    def peakmem_predict(self, n_images):
        self.clusterer.predict(self.stack)
