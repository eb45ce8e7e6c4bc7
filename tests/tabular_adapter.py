# SPDX-License-Identifier: BSD-3-Clause
"""Tables for estimators of images, so that scikit-learn's own checks can drive them.

Each row of a table becomes a small image of one nucleus in tissue, whose texture,
colours and places follow from the row alone; each answer (a map, a mask, points)
becomes one number. Parameters, their checks and all errors about missing or unusable
values are the real estimator's; the adapter only counts columns.
"""

from __future__ import annotations

import types

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils.validation import validate_data

_SIDE = 24
_TISSUE = np.array([0.88, 0.68, 0.82])
_NUCLEUS = np.array([0.35, 0.25, 0.55])
_ROWS, _COLUMNS = np.mgrid[:_SIDE, :_SIDE].astype(float)


def _discs(squashed: np.ndarray) -> np.ndarray:
    """Return (n, side, side) bool: the nucleus of each row."""
    first = np.nan_to_num(squashed[:, 0], nan=0.5)
    last = np.nan_to_num(squashed[:, -1], nan=0.5)
    rows = (6 + 12 * first)[:, None, None]
    columns = (6 + 12 * last)[:, None, None]
    return np.hypot(_ROWS - rows, _COLUMNS - columns) < 4.5


def _squash(table: np.ndarray) -> np.ndarray:
    """Bring columns into [0, 1]; NaN stays NaN."""
    return 0.5 + np.arctan(table) / np.pi


def table_to_images(table: np.ndarray) -> np.ndarray:
    """Turn rows into images (n, 24, 24, 3); NaN and infinity come through."""
    squashed = _squash(table)
    textures = np.random.default_rng(0).uniform(size=(table.shape[1], _SIDE, _SIDE, 3))
    texture = np.tensordot(squashed, textures, axes=1) / table.shape[1]
    discs = _discs(squashed)[..., None]
    images = np.where(discs, _NUCLEUS, _TISSUE) * (0.85 + 0.15 * texture)
    infinite = np.isinf(table).any(axis=1)
    images[infinite, 0, 0] = np.inf
    return images


def table_to_masks(table: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Turn rows into label images; every seventh value of y leaves it empty."""
    masks = _discs(_squash(table)).astype(np.int32)
    empty = np.mod(np.abs(y), 7) == 6
    masks[empty & (np.arange(len(y)) > 0)] = 0
    return masks


def _count(item: np.ndarray) -> int:
    """Count points, or the objects of a mask."""
    if item.dtype.kind == "f":
        return len(item)
    return len(np.unique(item[item > 0]))


class _Tabular:
    """The methods of an adapter; a subclass knows its real class as `_real`."""

    def _table(self, X, *, reset: bool) -> np.ndarray:
        return validate_data(
            self,
            X,
            reset=reset,
            dtype=np.float64,
            ensure_all_finite=False,
            ensure_min_samples=0,
        )

    def _train(self, how: str, X, y):
        reset = how != "partial_fit" or not hasattr(self, "inner_")
        table = self._table(X, reset=reset)
        if y is not None:
            y = np.asarray(y)
            if len(y) != len(table):
                raise ValueError(f"{len(y)} targets for {len(table)} rows")
            y = table_to_masks(table, y)
        if reset:
            self.inner_ = self._real(**self.get_params(deep=False))
        answer = getattr(self.inner_, how)(table_to_images(table), y)
        if hasattr(self.inner_, "n_iter_"):
            self.n_iter_ = self.inner_.n_iter_
        if hasattr(self.inner_, "labels_"):
            self.labels_ = self._numbers("predict", self.inner_.labels_)
        return answer

    def _ask(self, how: str, X):
        inner = self.inner_ if hasattr(self, "inner_") else self._unfitted()
        table = self._table(X, reset=False)
        return self._numbers(how, getattr(inner, how)(table_to_images(table)))

    def _unfitted(self):
        return self._real(**self.get_params(deep=False))

    def _numbers(self, how: str, answer) -> np.ndarray:
        if how == "transform":
            means = [np.mean(item[..., -1], dtype=float) for item in answer]
            return np.array(means)[:, None]
        if how == "predict_proba":
            return np.array([item.mean(axis=(0, 1), dtype=float) for item in answer])
        return np.array([_count(item) for item in answer])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "inner_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


def _fit(self, X, y=None):
    self._train("fit", X, y)
    return self


def _partial_fit(self, X, y=None):
    self._train("partial_fit", X, y)
    return self


def _fit_transform(self, X, y=None):
    return self._numbers("transform", self._train("fit_transform", X, y))


def _fit_predict(self, X, y=None):
    return self._numbers("predict", self._train("fit_predict", X, y))


def _transform(self, X):
    return self._ask("transform", X)


def _predict(self, X):
    return self._ask("predict", X)


def _predict_proba(self, X):
    return self._ask("predict_proba", X)


def _score(self, X, y=None):
    inner = self.inner_ if hasattr(self, "inner_") else self._unfitted()
    table = self._table(X, reset=False)
    if y is None:
        return inner.score(table_to_images(table))
    return inner.score(table_to_images(table), table_to_masks(table, np.asarray(y)))


_METHODS = {
    "fit": _fit,
    "partial_fit": _partial_fit,
    "fit_transform": _fit_transform,
    "fit_predict": _fit_predict,
    "transform": _transform,
    "predict": _predict,
    "predict_proba": _predict_proba,
    "score": _score,
}


def as_tabular(estimator):
    """Return an unfitted adapter with the parameters of `estimator`."""
    real = type(estimator)
    name = f"Tabular{real.__name__}"
    if name not in globals():
        namespace = {
            key: method for key, method in _METHODS.items() if hasattr(real, key)
        }
        namespace |= {
            "_real": real,
            "__module__": __name__,
            "__doc__": f"{real.__name__} on tables.",
        }
        options = {}
        if issubclass(real, TransformerMixin):
            options["auto_wrap_output_keys"] = None
        # Named in this module, so that adapters can be pickled.
        globals()[name] = types.new_class(
            name, (_Tabular, real), options, lambda body: body.update(namespace)
        )
    return globals()[name](**estimator.get_params(deep=False))
