# SPDX-License-Identifier: BSD-3-Clause
"""Searches, pipelines, caches and copies: the estimators inside scikit-learn."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
import tifffile
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import get_tags
from small_estimators import SMALL, TinyBackbone, make_small

from psmlearn import (
    NucleiDetector,
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn.datasets import load_monuseg, make_nuclei
from psmlearn.io import write_labels
from psmlearn.metrics import aji_scorer, dice_scorer, get_scorer, get_scorer_names

# How a user's code reads, word for word: only defaults are made small around it.
USER_CODE = """
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from psmlearn import SelfActivationMapper, SemanticClusterer, NucleiSegmenter, PseudoLabelSegmenter
from psmlearn.datasets import load_monuseg
from psmlearn.metrics import aji_scorer, dice_scorer

train = load_monuseg("MoNuSegTrainingData")       # Bunch: images (paths), masks, groups (patients), ...
model = PseudoLabelSegmenter(random_state=0).fit(train.images)         # the default pipeline; no labels
nuclei = model.predict(train.images[:2])                               # list of (H, W) int32 label images

labeler = Pipeline([("maps", SelfActivationMapper(random_state=0)),    # the same, spelled out
                    ("clusters", SemanticClusterer(random_state=0))], memory="cache")
model = PseudoLabelSegmenter(labeler, NucleiSegmenter(random_state=0))

search = GridSearchCV(labeler, {"clusters__n_clusters": [2, 3, 4]},    # masks only score, they never train
                      scoring={"aji": aji_scorer, "dice": dice_scorer}, refit="aji", cv=GroupKFold(3))
search.fit(train.images, train.masks, groups=train.groups)

chain = make_pipeline(SelfActivationMapper(), SemanticClusterer(), NucleiSegmenter(label_channel=-1))
chain.fit(train.images).predict(train.images)                          # one plain Pipeline, end to end
"""  # noqa: E501

GRID = {"clusters__n_clusters": [2, 3], "clusters__min_area": [2.0, 8.0]}


class CountingMapper(SelfActivationMapper, auto_wrap_output_keys=None):
    """A mapper that counts how often it is trained in this process."""

    n_fits = 0

    def fit(self, X, y=None):
        """Count and train."""
        CountingMapper.n_fits += 1
        return super().fit(X, y)


@pytest.fixture
def monuseg(tmp_path, monkeypatch):
    """A small folder in MoNuSeg's layout, in the working directory."""
    root = tmp_path / "MoNuSegTrainingData"
    for name in ("Tissue Images", "labels"):
        (root / name).mkdir(parents=True)
    data = make_nuclei(6, (64, 64), n_nuclei=6, random_state=1)
    for i in range(6):
        name = f"TCGA-A7-A13{i // 2}-01Z-00-DX{i % 2 + 1}"
        tifffile.imwrite(root / "Tissue Images" / f"{name}.tif", data.images[i])
        write_labels(root / "labels" / f"{name}.png", data.masks[i])
    monkeypatch.chdir(tmp_path)
    return load_monuseg("MoNuSegTrainingData")


@pytest.fixture
def small_defaults(monkeypatch):
    """Make the defaults of all estimators small for one test."""
    for estimator_class, settings in SMALL.items():
        init = estimator_class.__init__
        monkeypatch.setattr(init, "__kwdefaults__", {**init.__kwdefaults__, **settings})


@pytest.fixture(scope="module")
def data():
    return make_nuclei(4, (64, 64), n_nuclei=6, random_state=3)


def make_labeler(mapper=None, memory=None) -> Pipeline:
    mapper = mapper or make_small(SelfActivationMapper, random_state=0)
    clusterer = make_small(SemanticClusterer, random_state=0)
    return Pipeline([("maps", mapper), ("clusters", clusterer)], memory=memory)


def weights_of(network) -> list[np.ndarray]:
    return [value.numpy() for value in network.state_dict().values()]


def assert_same_weights(first, second):
    for a, b in zip(weights_of(first), weights_of(second), strict=True):
        np.testing.assert_array_equal(a, b)


# -- the whole story -----------------------------------------------------------


def test_user_code_runs_as_written(monuseg, small_defaults):
    told: dict = {}
    exec(compile(USER_CODE, "user_code", "exec"), told)
    for mask in told["nuclei"]:
        assert mask.shape == (64, 64) and mask.dtype == np.int32
    assert isinstance(told["nuclei"], list) and len(told["nuclei"]) == 2
    search = told["search"]
    assert list(search.cv_results_["param_clusters__n_clusters"]) == [2, 3, 4]
    for name in ("aji", "dice"):
        scores = search.cv_results_[f"mean_test_{name}"]
        assert np.isfinite(scores).all() and (scores >= 0).all() and scores.max() > 0
    assert search.best_score_ == search.cv_results_["mean_test_aji"].max()
    for estimator in (told["chain"], told["model"].fit(monuseg.images)):
        masks = estimator.predict(monuseg.images)
        assert isinstance(masks, list) and len(masks) == 6
        assert all(mask.dtype == np.int32 for mask in masks)


def test_default_parts_are_those_spelled_out(data, small_defaults):
    model = PseudoLabelSegmenter(random_state=0).fit(data.images)
    maps, clusters = (step for _, step in model.labeler_.steps)
    assert isinstance(maps, SelfActivationMapper)
    assert isinstance(clusters, SemanticClusterer)
    assert isinstance(model.segmenter_, NucleiSegmenter)
    assert model.labeler is None and model.segmenter is None


# -- searches ------------------------------------------------------------------


def make_search(memory=None, mapper=None, n_jobs=None, grid=GRID) -> GridSearchCV:
    return GridSearchCV(
        make_labeler(mapper, memory), grid, scoring=aji_scorer, cv=3, n_jobs=n_jobs
    )


@pytest.mark.slow
def test_cached_search_trains_the_mapper_once_per_fold_and_refit(monuseg, tmp_path):
    mapper = CountingMapper(**SMALL[SelfActivationMapper], random_state=0)
    CountingMapper.n_fits = 0
    cached = make_search(joblib.Memory(tmp_path / "maps", verbose=0), mapper, n_jobs=1)
    cached.fit(monuseg.images, monuseg.masks)
    assert CountingMapper.n_fits == 3 + 1
    CountingMapper.n_fits = 0
    plain = make_search(None, mapper, n_jobs=1).fit(monuseg.images, monuseg.masks)
    assert CountingMapper.n_fits == 3 * 4 + 1
    np.testing.assert_array_equal(
        cached.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )
    for a, b in zip(
        cached.predict(monuseg.images), plain.predict(monuseg.images), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "backend",
    ["threading", pytest.param("loky", marks=pytest.mark.slow)],  # two load torch
)
@pytest.mark.slow
def test_search_with_two_jobs_scores_the_same(monuseg, tmp_path, backend):
    memory = joblib.Memory(tmp_path / "maps", verbose=0)
    grid = {"clusters__min_area": [2.0, 100.0]}
    one = make_search(n_jobs=1, grid=grid).fit(monuseg.images, monuseg.masks)
    two = make_search(memory, n_jobs=2, grid=grid)
    with joblib.parallel_config(backend):
        two.fit(monuseg.images, monuseg.masks)
    for key in [f"split{i}_test_score" for i in range(3)]:
        np.testing.assert_array_equal(one.cv_results_[key], two.cv_results_[key])
    assert one.best_params_ == two.best_params_


@pytest.mark.slow
def test_search_by_groups_with_every_scorer(monuseg):
    scoring = {name: get_scorer(name) for name in get_scorer_names()}
    search = GridSearchCV(
        make_labeler(),
        {"clusters__n_clusters": [2]},
        scoring=scoring,
        refit="pq",
        cv=GroupKFold(3),
    ).fit(monuseg.images, monuseg.masks, groups=monuseg.groups)
    for name in scoring:
        lowest, highest = (-np.inf, 0) if name.startswith("neg_") else (0, 1)
        lowest = -1 if name == "silhouette" else lowest
        assert lowest <= search.cv_results_[f"mean_test_{name}"][0] <= highest
    assert hasattr(search, "best_estimator_")


def test_search_without_masks_uses_the_own_score(data):
    search = GridSearchCV(
        make_small(SemanticClusterer), {"n_clusters": [1, 2]}, cv=KFold(2)
    ).fit(data.images)
    assert search.cv_results_["mean_test_score"][0] == -1
    assert search.best_params_ == {"n_clusters": 2}


@pytest.mark.parametrize("as_list", [False, True])
def test_cross_validate_a_segmenter(data, as_list):
    images = list(data.images) if as_list else data.images
    masks = list(data.masks) if as_list else data.masks
    found = cross_validate(
        make_small(NucleiSegmenter, random_state=0),
        images,
        masks,
        cv=2,
        scoring={"aji": aji_scorer, "dice": dice_scorer},
    )
    assert np.isfinite(found["test_aji"]).all() and len(found["test_dice"]) == 2


def test_search_over_parts_of_the_meta_estimator(data):
    model = PseudoLabelSegmenter(
        make_labeler(), make_small(NucleiSegmenter), random_state=0
    )
    grid = {
        "labeler__clusters__min_area": [2.0],
        "segmenter__threshold": [0.3, 0.5],
    }
    search = GridSearchCV(model, grid, scoring=aji_scorer, cv=2)
    search.fit(data.images, data.masks)
    assert search.best_estimator_.segmenter_.threshold in (0.3, 0.5)
    assert search.predict(data.images).shape == data.masks.shape


# -- pipelines -----------------------------------------------------------------


def test_one_pipeline_end_to_end(data):
    chain = make_pipeline(
        make_small(SelfActivationMapper, random_state=0),
        make_small(SemanticClusterer, random_state=0),
        make_small(NucleiSegmenter, label_channel=-1, random_state=0),
    )
    masks = chain.fit(data.images).predict(data.images)
    assert masks.shape == data.masks.shape and masks.dtype == np.int32
    assert list(chain[:-1].get_feature_names_out()) == [
        "red",
        "green",
        "blue",
        "map",
        "mask",
    ]
    # Masks given as y are never looked at.
    other = clone(chain).fit(data.images, data.masks[::-1])
    assert_same_weights(chain[-1].network_, other[-1].network_)


def test_frozen_labeler_is_not_trained_again(data):
    labeler = make_labeler().fit(data.images)
    network = labeler["maps"].network_
    before = [value.copy() for value in weights_of(network)]
    model = PseudoLabelSegmenter(
        FrozenEstimator(labeler), make_small(NucleiSegmenter), random_state=0
    ).fit(data.images[:2])
    assert model.labeler_.estimator["maps"].network_ is network
    for a, b in zip(before, weights_of(network), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.predict(data.images).shape == data.masks.shape


def test_frozen_mapper_in_a_pipeline(data):
    mapper = make_small(SelfActivationMapper, random_state=0).fit(data.images)
    pipeline = make_pipeline(
        FrozenEstimator(mapper), make_small(SemanticClusterer, random_state=0)
    ).fit(data.images)
    stacked = mapper.transform(data.images)
    expected = make_small(SemanticClusterer, random_state=0).fit_predict(stacked)
    np.testing.assert_array_equal(pipeline.predict(data.images), expected)


# -- the meta-estimator --------------------------------------------------------


def make_model(**parameters) -> PseudoLabelSegmenter:
    labeler = Pipeline(
        [
            ("maps", make_small(SelfActivationMapper)),
            ("clusters", make_small(SemanticClusterer)),
        ]
    )
    return PseudoLabelSegmenter(
        labeler, make_small(NucleiSegmenter), random_state=0, **parameters
    )


@pytest.mark.parametrize("n_rounds", [1, 2])
def test_label_free_is_provable(data, n_rounds):
    plain = make_model(n_rounds=n_rounds, doubt=0.0).fit(data.images)
    given = make_model(n_rounds=n_rounds, doubt=0.0).fit(data.images, data.masks)
    nonsense = make_model(n_rounds=n_rounds, doubt=0.0).fit(data.images, "no masks")
    for other in (given, nonsense):
        assert_same_weights(plain.segmenter_.network_, other.segmenter_.network_)
        assert_same_weights(
            plain.labeler_["maps"].network_, other.labeler_["maps"].network_
        )
    assert 1 <= len(plain.n_pseudo_objects_) <= n_rounds


def test_random_state_reaches_parts_without_their_own(data):
    model = make_model().set_params(labeler__maps__random_state=17).fit(data.images)
    assert model.labeler_["maps"].random_state == 17
    assert model.labeler_["clusters"].random_state is not None
    assert model.segmenter_.random_state is not None
    assert model.labeler["clusters"].random_state is None
    assert model.segmenter.random_state is None
    same = make_model().set_params(labeler__maps__random_state=17).fit(data.images)
    assert_same_weights(model.segmenter_.network_, same.segmenter_.network_)
    other = make_model().set_params(random_state=1).fit(data.images)
    assert not all(
        np.array_equal(a, b)
        for a, b in zip(
            weights_of(model.segmenter_.network_),
            weights_of(other.segmenter_.network_),
            strict=True,
        )
    )


def test_answers_are_those_of_the_segmenter(data):
    model = make_model().fit(data.images)
    np.testing.assert_array_equal(
        model.predict(data.images), model.segmenter_.predict(data.images)
    )
    np.testing.assert_array_equal(
        model.predict_proba(data.images), model.segmenter_.predict_proba(data.images)
    )
    assert len(model.detect(data.images)) == 4
    assert model.score(data.images, data.masks) == pytest.approx(
        aji_scorer(model, data.images, data.masks)
    )
    detecting = PseudoLabelSegmenter(
        make_small(SemanticClusterer), make_small(NucleiDetector), random_state=0
    ).fit(data.images)
    assert not hasattr(detecting, "detect")
    assert detecting.predict(data.images)[0].shape[1] == 2


# -- what scikit-learn asks of any estimator -----------------------------------


@pytest.mark.parametrize("estimator_class", SMALL, ids=lambda cls: cls.__name__)
def test_html_repr_and_clone_of_fitted(estimator_class, data):
    estimator = make_small(estimator_class, random_state=0)
    assert isinstance(estimator, BaseEstimator)
    assert estimator_class.__name__ in estimator._repr_html_()
    y = data.masks if get_tags(estimator).target_tags.required else None
    estimator.fit(data.images, y)
    html = estimator._repr_html_()
    assert estimator_class.__name__ in html and len(html) < 200_000
    # The manual has no public address; least of all is it that of scikit-learn.
    assert "href" not in html
    assert estimator_class.__name__ in repr(estimator)
    copied = clone(estimator)
    assert not hasattr(copied, "n_features_in_")
    assert copied.get_params().keys() == estimator.get_params().keys()


@pytest.mark.slow
def test_search_over_networks_and_layers(data):
    grid = {
        "maps__network": [TinyBackbone, lambda n: TinyBackbone(n, 2)],
        "maps__layers": ["layer1", ["conv1", "layer1"]],
    }
    search = GridSearchCV(make_labeler(), grid, scoring=dice_scorer, cv=2)
    search.fit(list(data.images), list(data.masks))
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
