# SPDX-License-Identifier: BSD-3-Clause
"""SemanticClusterer on pixel tables: scikit-learn's own checks, and k-means."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from psmlearn.cluster import SemanticClusterer
from psmlearn.cluster._semantic import is_table


@parametrize_with_checks(
    [SemanticClusterer(n_init=2), SemanticClusterer(3, fit_scope="all", n_init=2)]
)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.fixture
def table():
    X, kinds = make_blobs(600, centers=4, cluster_std=0.5, random_state=0)
    return X, kinds


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_is_k_means(table, dtype):
    X, kinds = table
    X = X.astype(dtype)
    model = SemanticClusterer(4, random_state=0).fit(X)
    peer = KMeans(4, n_init=10, random_state=0).fit(X)
    assert adjusted_rand_score(model.labels_, peer.labels_) == 1
    assert adjusted_rand_score(model.labels_, kinds) > 0.8
    assert model.inertia_ == pytest.approx(peer.inertia_, rel=1e-3)
    assert model.cluster_centers_.dtype == dtype
    assert set(np.unique(model.predict(X))) == {0, 1, 2, 3}
    assert model.labels_.dtype == np.int32
    out = model.transform(X)
    assert out.shape == (600, 3) and out.dtype == dtype
    np.testing.assert_array_equal(out[:, 2], model.predict(X))
    assert model.get_feature_names_out().tolist() == ["x0", "x1", "cluster"]
    assert 0.5 < model.score(X) <= 1


def test_large_table_is_sampled(table):
    X, _ = table
    model = SemanticClusterer(4, n_samples=200, random_state=0).fit(X)
    full = SemanticClusterer(4, random_state=0).fit(X)
    assert adjusted_rand_score(model.labels_, full.labels_) > 0.9
    again = SemanticClusterer(4, n_samples=200, random_state=0).fit(X)
    np.testing.assert_array_equal(model.cluster_centers_, again.cluster_centers_)


def test_too_few_rows():
    with pytest.raises(ValueError, match=r"n_samples=3 should be >= n_clusters=8\."):
        SemanticClusterer(8).fit(np.arange(6.0).reshape(3, 2))


def test_tables_and_images_do_not_mix(table):
    X, _ = table
    images = np.random.default_rng(0).random((1, 12, 12, 3))
    with pytest.raises(ValueError, match="fitted on a pixel table"):
        SemanticClusterer(random_state=0).fit(X).predict(images)
    model = SemanticClusterer(random_state=0).fit(images)
    with pytest.raises(ValueError, match="fitted on images"):
        model.predict(X)
    model.fit(X)
    assert model.n_features_in_ == 2 and model.predict(X).shape == (600,)


def test_names_of_columns(table):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(table[0], columns=["h", "map"])
    model = SemanticClusterer(random_state=0).fit(frame)
    assert model.feature_names_in_.tolist() == ["h", "map"]
    assert model.get_feature_names_out().tolist() == ["h", "map", "cluster"]
    model.fit([np.zeros((4, 4, 3))])
    assert not hasattr(model, "feature_names_in_")


def test_what_is_a_table():
    image = np.zeros((4, 5, 3))
    for X in (np.zeros((3, 2)), [[1, 2], [3, 4]], [np.zeros(2)], np.zeros(3), [(1,)]):
        assert is_table(X)
    for X in ([image], image[np.newaxis], image, ["a.png"], np.array(["a.png"]), []):
        assert not is_table(X)
    assert not is_table([np.zeros((4, 5))])
