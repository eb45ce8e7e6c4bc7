# SPDX-License-Identifier: BSD-3-Clause
"""Clustering of plain pixel tables: k-means as scikit-learn's users know it."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import validate_data

from psmlearn._images._kmeans import assign, draw_pixels, fit_kmeans, silhouette
from psmlearn._sklearn_compat import _check_feature_names_in
from psmlearn.io._inputs import is_path


def is_table(X) -> bool:
    """Tell a table of pixels (rows) by channels (columns) from images.

    A list is a table if it holds rows: sequences or 1-D arrays of numbers.
    """
    if hasattr(X, "tocsr") or getattr(X, "ndim", None) == 2:
        return True
    if isinstance(X, list | tuple):
        first = X[0] if len(X) else None
        if isinstance(first, list | tuple):
            return not (len(first) and isinstance(first[0], list | tuple | np.ndarray))
        return isinstance(first, np.ndarray) and first.ndim == 1
    if not hasattr(X, "__array__"):
        return False
    array = np.asarray(X)
    if array.ndim == 1 and array.size:
        return not is_path(array[0])
    return array.ndim in (1, 2)


class TableClustering:
    """The part of `SemanticClusterer` that works on tables."""

    def _is_table_like_fit(self, X) -> bool:
        """Tell the kind of `X`; it must be the kind that `fit` saw."""
        on_table = is_table(X)
        if on_table != self._on_table:
            kinds = {True: "a pixel table (n_pixels, n_channels)", False: "images"}
            raise ValueError(
                f"{type(self).__name__} was fitted on {kinds[self._on_table]} and "
                f"got {kinds[on_table]}: fit it on the same kind."
            )
        return on_table

    def _check_table(self, X, *, reset: bool) -> np.ndarray:
        return validate_data(
            self, X, reset=reset, dtype=[np.float64, np.float32], order="C"
        )

    def _fit_table(self, X):
        X = self._check_table(X, reset=True)
        n_clusters = self._n_clusters()
        if len(X) < n_clusters:
            raise ValueError(
                f"n_samples={len(X)} should be >= n_clusters={n_clusters}."
            )
        rng = np.random.default_rng(self._seed)
        centers, n_iter = fit_kmeans(
            X.T,
            n_clusters,
            max(self.n_samples, n_clusters),
            rng,
            n_init=self.n_init,
            max_iter=self.max_iter,
        )
        self.cluster_centers_, self.n_iter_ = centers, n_iter
        self.labels_, self.inertia_ = assign(X.T, centers, return_inertia=True)
        self.foreground_ = np.zeros(len(centers), bool)
        return self

    def _predict_table(self, X) -> np.ndarray:
        return assign(self._check_table(X, reset=False).T, self.cluster_centers_)

    def _transform_table(self, X) -> np.ndarray:
        X = self._check_table(X, reset=False)
        return np.column_stack([X, assign(X.T, self.cluster_centers_).astype(X.dtype)])

    def _score_table(self, X) -> float:
        X = self._check_table(X, reset=False)
        rng = np.random.default_rng(self._seed)
        places = draw_pixels(len(X), self.n_samples, rng)
        return silhouette(X[places].T, self.cluster_centers_)

    def _table_names_out(self, input_features) -> np.ndarray:
        names = _check_feature_names_in(self, input_features)
        return np.array([*names, "cluster"], dtype=object)
