# SPDX-License-Identifier: BSD-3-Clause
"""Clustering of images: features, clusters, names, objects; no input checks."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

from psmlearn._images._instances import clean_mask, split_touching
from psmlearn.cluster._features import CHANNELS, fit_scale, pixel_features
from psmlearn.cluster._kmeans import assign, draw_pixels, fit_kmeans
from psmlearn.cluster._naming import (
    cluster_statistics,
    name_foreground,
    pool_statistics,
    rare_foreground,
    stands_out,
)
from psmlearn.io._batch import ImageBatch, resolve_pixel_size


class ImageClustering:
    """The part of `SemanticClusterer` that works on images."""

    def _check_channels(self) -> None:
        n_channels = self.n_features_in_
        if n_channels not in CHANNELS:
            told = ", ".join(f"{n} ({what})" for n, what in CHANNELS.items())
            raise ValueError(
                f"SemanticClusterer: images have {n_channels} channels; expected "
                f"{told}, as SelfActivationMapper makes them."
            )
        if self.fusion == "jet" and n_channels not in (2, 4):
            raise ValueError(
                f"SemanticClusterer: fusion='jet' needs a map as last channel; the "
                f"images have {n_channels} channel(s). Put a SelfActivationMapper "
                "before it, or use fusion='concat'."
            )
        if isinstance(self.foreground, str) and self.foreground == "paper":
            if self.fusion != "jet":
                raise ValueError(
                    "SemanticClusterer: foreground='paper' is defined on heat "
                    "colours: use it with fusion='jet', or foreground='auto'."
                )

    def _progress(self, n_images: int):
        """Go through the images, behind a bar where `verbose` asks for it."""
        if not self.verbose:
            return range(n_images)
        from tqdm import tqdm

        return tqdm(range(n_images), desc=type(self).__name__)

    def _features(self, image: np.ndarray, pixel_size: float):
        return pixel_features(
            image,
            fusion=self.fusion,
            smoothing=self.smoothing / pixel_size,
            background_sigma=self.background_radius / pixel_size,
            background_weight=self.background_weight,
            image_weight=self.image_weight,
        )

    def _scaled(self, image: np.ndarray, pixel_size: float):
        """Return the features of an image, on one scale."""
        features = self._features(image, pixel_size)
        if self.fusion == "jet":
            scale = None
        elif self._scope == "all":
            scale = self._feature_scale
        else:
            scale = fit_scale(features.planes, self.map_weight)
        features.put_on_scale(scale, self.map_weight)
        return features

    def _k_means(self, planes: np.ndarray, rng: np.random.Generator):
        return fit_kmeans(
            planes,
            self.n_clusters,
            self.n_samples,
            rng,
            n_init=self.n_init,
            max_iter=self.max_iter,
        )

    def _centers(self, planes: np.ndarray, rng: np.random.Generator):
        if self._scope == "all":
            return self.cluster_centers_, self.n_iter_
        return self._k_means(planes, rng)

    def _fit_all(self, images: ImageBatch, pixel_sizes: np.ndarray) -> None:
        """Find the clusters that all images share, from a sample of their pixels."""
        rng = np.random.default_rng(self._seed)
        n_each = max(1, -(-self.n_samples // len(images)))
        drawn = []
        for i in self._progress(len(images)):
            planes = self._features(images[i], pixel_sizes[i]).planes
            drawn.append(planes[:, draw_pixels(planes.shape[1], n_each, rng)])
        sample = np.concatenate(drawn, axis=1)
        if self.fusion == "concat":
            self._feature_scale = fit_scale(sample, self.map_weight)
            sample = self._feature_scale.apply(sample)
        self.cluster_centers_, self.n_iter_ = self._k_means(sample, rng)
        statistics = []
        for i in self._progress(len(images)):
            features = self._scaled(images[i], pixel_sizes[i])
            labels = assign(features.planes, self.cluster_centers_)
            statistics.append(
                cluster_statistics(features, labels, self.cluster_centers_)
            )
        self.foreground_ = name_foreground(self.foreground, pool_statistics(statistics))

    def _cluster_image(self, image: np.ndarray, pixel_size: float):
        """Return mask, centres, foreground, inertia and iterations of one image."""
        features = self._scaled(image, pixel_size)
        planes = features.planes
        centers, n_iter = self._centers(planes, np.random.default_rng(self._seed))
        labels, inertia = assign(planes, centers, return_inertia=True)
        if self._scope == "all":
            chosen = self.foreground_
        else:
            statistics = cluster_statistics(features, labels, centers)
            chosen = name_foreground(self.foreground, statistics)
        foreground = chosen[labels].reshape(image.shape[:2])
        mask = self._objects(features, foreground, pixel_size)
        return mask, centers, chosen, inertia, n_iter

    def _objects(self, features, foreground: np.ndarray, pixel_size: float):
        """Clean the foreground and split it into objects, if anything stands out."""
        min_area = self.min_area
        if not stands_out(features, foreground, self.min_contrast):
            # K-means halves an even background. A few nuclei may still be there.
            if self.foreground != "auto":
                return np.zeros(foreground.shape, np.int32)
            foreground = rare_foreground(features, self.min_contrast)
            min_area = max(min_area, 0.25 * self.nucleus_diameter**2)
        cleaned = clean_mask(
            foreground,
            min_area=round(min_area / pixel_size**2),
            max_hole_area=round(self.max_hole_area / pixel_size**2),
            opening_radius=self.opening_radius / pixel_size,
        )
        if not self.instances:
            return ndi.label(cleaned)[0].astype(np.int32, copy=False)
        return split_touching(cleaned, diameter=self.nucleus_diameter / pixel_size)

    def _masks(self, images: ImageBatch) -> list[np.ndarray]:
        pixel_sizes = resolve_pixel_size(self.pixel_size, images)
        return [
            self._cluster_image(images[i], pixel_sizes[i])[0]
            for i in self._progress(len(images))
        ]

    def _stacked(self, images: ImageBatch, masks):
        """Append a mask to each image."""
        return images.wrap(
            np.concatenate([image, mask[..., np.newaxis].astype(np.float32)], axis=-1)
            for image, mask in zip(images, masks, strict=True)
        )

    def _padded(self, rows, fill) -> np.ndarray:
        """Stack per-image results; images of fewer clusters are filled up."""
        first = np.asarray(rows[0])
        shape = (len(rows), self.n_clusters, *first.shape[1:])
        out = np.full(shape, fill, dtype=first.dtype)
        for target, row in zip(out, rows, strict=True):
            target[: len(row)] = row
        return out
