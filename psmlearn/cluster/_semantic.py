# SPDX-License-Identifier: BSD-3-Clause
"""SemanticClusterer: pixels of images and maps to masks of nuclei."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from scipy import ndimage as ndi
from sklearn.base import ClusterMixin, TransformerMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from psmlearn._images._instances import clean_mask, split_touching
from psmlearn.base import BaseImageEstimator
from psmlearn.cluster._features import CHANNELS, fit_scale, pixel_features
from psmlearn.cluster._kmeans import assign, draw_pixels, fit_kmeans, silhouette
from psmlearn.cluster._naming import (
    cluster_statistics,
    name_foreground,
    pool_statistics,
    rare_foreground,
    stands_out,
)
from psmlearn.cluster._table import TableClustering, is_table
from psmlearn.io._batch import ImageBatch, resolve_pixel_size

__all__ = ["SemanticClusterer"]


class SemanticClusterer(
    TableClustering,
    ClusterMixin,
    TransformerMixin,
    BaseImageEstimator,
    auto_wrap_output_keys=None,
):
    """Cluster pixels into masks of nuclei, without labels."""

    _parameter_constraints: dict = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "fusion": [StrOptions({"concat", "jet"})],
        "map_weight": [Interval(Real, 0, None, closed="left")],
        "image_weight": [Interval(Real, 0, None, closed="left")],
        "fit_scope": [StrOptions({"image", "all"})],
        "foreground": [
            StrOptions({"auto", "paper"}),
            Interval(Integral, 0, None, closed="left"),
            callable,
        ],
        "min_contrast": [Interval(Real, 0, None, closed="left")],
        "smoothing": [Interval(Real, 0, None, closed="left")],
        "background_radius": [Interval(Real, 0, None, closed="neither")],
        "background_weight": [Interval(Real, 0, 1, closed="both")],
        "nucleus_diameter": [Interval(Real, 0, None, closed="neither")],
        "min_area": [Interval(Real, 0, None, closed="left")],
        "max_hole_area": [Interval(Real, 0, None, closed="left")],
        "opening_radius": [Interval(Real, 0, None, closed="left")],
        "instances": ["boolean"],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "pixel_size": [
            Interval(Real, 0, None, closed="neither"),
            "array-like",
            StrOptions({"file"}),
        ],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_clusters=2,
        *,
        fusion="concat",
        map_weight=0.4,
        image_weight=1.0,
        fit_scope="image",
        foreground="auto",
        min_contrast=0.12,
        smoothing=0.375,
        background_radius=4.0,
        background_weight=0.75,
        nucleus_diameter=7.0,
        min_area=4.0,
        max_hole_area=6.0,
        opening_radius=0.25,
        instances=True,
        n_samples=20_000,
        n_init=4,
        max_iter=50,
        pixel_size=0.25,
        random_state=None,
        verbose=0,
    ):
        self.n_clusters = n_clusters
        self.fusion = fusion
        self.map_weight = map_weight
        self.image_weight = image_weight
        self.fit_scope = fit_scope
        self.foreground = foreground
        self.min_contrast = min_contrast
        self.smoothing = smoothing
        self.background_radius = background_radius
        self.background_weight = background_weight
        self.nucleus_diameter = nucleus_diameter
        self.min_area = min_area
        self.max_hole_area = max_hole_area
        self.opening_radius = opening_radius
        self.instances = instances
        self.n_samples = n_samples
        self.n_init = n_init
        self.max_iter = max_iter
        self.pixel_size = pixel_size
        self.random_state = random_state
        self.verbose = verbose

    # -- public --------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Cluster the pixels of `X` and name the clusters; `y` is ignored.

        Parameters
        ----------
        X : images or array-like of shape (n_pixels, n_channels)
        y : None
            Ignored.

        Returns
        -------
        self : SemanticClusterer
        """
        random_state = check_random_state(self.random_state)
        self._seed = int(random_state.randint(np.iinfo(np.int32).max))
        self._on_table = is_table(X)
        if self._on_table:
            return self._fit_table(X)
        self.__dict__.pop("feature_names_in_", None)
        images = self._check_images(X, reset=True)
        self._check_channels()
        pixel_sizes = resolve_pixel_size(self.pixel_size, images)
        if self.fit_scope == "all":
            self._fit_all(images, pixel_sizes)
        results = [
            self._cluster_image(images[i], pixel_sizes[i])
            for i in self._progress(len(images))
        ]
        masks, centers, chosen, inertias, iterations = zip(*results, strict=True)
        self.labels_ = images.wrap(masks)
        self.inertia_ = float(sum(inertias))
        if self.fit_scope == "image":
            self.cluster_centers_ = self._padded(centers, np.nan)
            self.foreground_ = self._padded(chosen, False)
            self.n_iter_ = max(iterations)
        return self

    def fit_predict(self, X, y=None):
        """Fit on `X` and return its masks; see `predict`."""
        return self.fit(X).labels_

    def predict(self, X):
        """Segment images, or give the clusters of the pixels of a table.

        Parameters
        ----------
        X : images or array-like of shape (n_pixels, n_channels)

        Returns
        -------
        masks : list or array of (height, width) int32
            Label images in the container that came; for a table
            (n_pixels,) int32 with the number of each pixel's cluster.
        """
        check_is_fitted(self)
        if self._is_table_like_fit(X):
            return self._predict_table(X)
        images = self._check_images(X, reset=False)
        return images.wrap(self._masks(images))

    def fit_transform(self, X, y=None):
        """Fit on `X` and transform it; the same as ``fit(X).transform(X)``."""
        self.fit(X)
        if self._on_table:
            return self._transform_table(X)
        images = self._check_images(X, reset=False)
        return self._stacked(images, self.labels_)

    def transform(self, X):
        """Append the pseudo masks to the images.

        Parameters
        ----------
        X : images or array-like of shape (n_pixels, n_channels)

        Returns
        -------
        stacked : list or array of (height, width, n_channels + 1) float32
            The images with the ids of the objects as last channel. For a table
            its columns and the number of the cluster.
        """
        check_is_fitted(self)
        if self._is_table_like_fit(X):
            return self._transform_table(X)
        images = self._check_images(X, reset=False)
        return self._stacked(images, self._masks(images))

    def score(self, X, y=None):
        """Mean simplified silhouette of a sample of pixels, from -1 to 1.

        Parameters
        ----------
        X : images or array-like of shape (n_pixels, n_channels)
        y : None
            Ignored.

        Returns
        -------
        float
            -1 where there is a single cluster.
        """
        check_is_fitted(self)
        if self._is_table_like_fit(X):
            return self._score_table(X)
        images = self._check_images(X, reset=False)
        pixel_sizes = resolve_pixel_size(self.pixel_size, images)
        values = []
        for i in self._progress(len(images)):
            planes, _ = self._scaled(images[i], pixel_sizes[i])
            rng = np.random.default_rng(self._seed)
            centers = self._centers(planes, rng)[0]
            places = draw_pixels(planes.shape[1], self.n_samples, rng)
            values.append(silhouette(planes[:, places], centers))
        return float(np.mean(values))

    def get_feature_names_out(self, input_features=None):
        """Return the names of the channels of `transform`'s output."""
        check_is_fitted(self)
        if self._on_table:
            return self._table_names_out(input_features)
        names = ["grey"] if self.n_features_in_ <= 2 else ["red", "green", "blue"]
        if self.n_features_in_ in (2, 4):
            names.append("map")
        return np.array([*names, "mask"], dtype=object)

    # -- guts ----------------------------------------------------------------

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
        """Return the features to cluster, on one scale, and what they come from."""
        features = self._features(image, pixel_size)
        planes = features.planes
        if self.fusion == "concat":
            scale = (
                self._feature_scale
                if self.fit_scope == "all"
                else fit_scale(planes, self.map_weight)
            )
            planes = scale.apply(planes)
        return planes, features

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
        if self.fit_scope == "all":
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
            planes, features = self._scaled(images[i], pixel_sizes[i])
            labels = assign(planes, self.cluster_centers_)
            statistics.append(
                cluster_statistics(features, labels, self.cluster_centers_)
            )
        self.foreground_ = name_foreground(
            self.foreground, pool_statistics(statistics)
        )

    def _cluster_image(self, image: np.ndarray, pixel_size: float):
        """Return mask, centres, foreground, inertia and iterations of one image."""
        planes, features = self._scaled(image, pixel_size)
        centers, n_iter = self._centers(planes, np.random.default_rng(self._seed))
        labels, inertia = assign(planes, centers, return_inertia=True)
        if self.fit_scope == "all":
            chosen = self.foreground_
        else:
            statistics = cluster_statistics(features, labels, centers)
            chosen = name_foreground(self.foreground, statistics)
        foreground = chosen[labels].reshape(image.shape[:2])
        mask = self._objects(features, foreground, pixel_size)
        return mask, centers, chosen, inertia, n_iter

    def _objects(self, features, foreground: np.ndarray, pixel_size: float):
        """Clean the foreground and split it into objects; none if nothing stands out."""
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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True  # plain pixel tables, beside images
        return tags
