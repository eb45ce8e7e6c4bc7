# SPDX-License-Identifier: BSD-3-Clause
"""The scorers in scikit-learn's own searches."""

import pickle

import numpy as np
import pytest
from scipy import ndimage
from sklearn.base import BaseEstimator, ClusterMixin, clone
from sklearn.metrics import make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_score,
    cross_validate,
)

from psmlearn import metrics
from psmlearn.metrics import get_scorer, get_scorer_names

# Each scorer by its name, with the function and what it is given.
FUNCTIONS = {
    "aji": (metrics.aggregated_jaccard_score, {}),
    "aji_plus": (metrics.aggregated_jaccard_score, {"one_to_one": True}),
    "detection_f1": (metrics.detection_f1_score, {}),
    "detection_precision": (metrics.detection_precision_score, {}),
    "detection_recall": (metrics.detection_recall_score, {}),
    "dice": (metrics.dice_score, {}),
    "dq": (metrics.detection_quality_score, {}),
    "iou": (metrics.iou_score, {}),
    "neg_count_error": (metrics.count_error, {}),
    "neg_hausdorff": (metrics.hausdorff_distance, {}),
    "object_average_precision": (metrics.object_average_precision_score, {}),
    "object_dice": (metrics.object_dice_score, {}),
    "object_f1": (metrics.object_f1_score, {}),
    "object_iou": (metrics.object_iou_score, {}),
    "object_precision": (metrics.object_precision_score, {}),
    "object_recall": (metrics.object_recall_score, {}),
    "pq": (metrics.panoptic_quality_score, {}),
    "sq": (metrics.segmentation_quality_score, {}),
}
SCORING = {name: getattr(metrics, f"{name}_scorer") for name in FUNCTIONS}
LABEL_FREE = ["outline", "silhouette", "stability"]
FEW = ["aji", "dice", "neg_hausdorff", "object_f1", "detection_recall"]


class BrightClusterer(ClusterMixin, BaseEstimator):
    """Takes what is brighter than a threshold for objects."""

    def __init__(self, threshold=0.5):
        self.threshold = threshold

    def fit(self, X, y=None):
        self.is_fitted_ = True
        return self

    def predict(self, X):
        return [
            ndimage.label(image[..., 0] > self.threshold)[0].astype(np.int32)
            for image in X
        ]


@pytest.fixture(scope="module")
def images(label_pair):
    """Images of 6 sizes whose objects are bright at the middle; masks; groups."""
    images, masks = [], []
    for seed in range(6):
        mask, _ = label_pair(80 + 4 * seed, 8 + seed, radius=8, random_state=seed)
        depth = ndimage.distance_transform_edt(mask > 0)
        images.append((depth / 10)[..., np.newaxis])
        masks.append(mask)
    return images, masks, [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search_with_several_scores(images, n_jobs):
    X, y, groups = images
    search = GridSearchCV(
        BrightClusterer(),
        {"threshold": [0.0, 0.2, 0.75]},
        scoring=SCORING,
        refit="aji",
        cv=GroupKFold(3),
        n_jobs=n_jobs,
        error_score="raise",
    )
    search.fit(X, y, groups=groups)
    results = search.cv_results_
    for name in SCORING:
        scores = results[f"mean_test_{name}"]
        assert np.isfinite(scores).all()
        assert (scores <= 0).all() if name.startswith("neg_") else (scores >= 0).all()
    # Dice is best with all the foreground, the objects are not.
    assert results["mean_test_dice"][0] == 1.0
    assert results["mean_test_object_f1"].max() > results["mean_test_object_f1"][2]
    assert search.best_score_ == results["mean_test_aji"].max()
    expected = metrics.aggregated_jaccard_score(y, search.predict(X))
    assert search.score(X, y) == expected


def test_cross_val_score_is_the_score_of_each_fold(images):
    X, y, groups = images
    scores = cross_val_score(
        BrightClusterer(0.2),
        X,
        y,
        groups=groups,
        cv=GroupKFold(3),
        scoring=SCORING["pq"],
    )
    folds = GroupKFold(3).split(X, y, groups)
    for score, (_, test) in zip(scores, folds, strict=True):
        true = [y[i] for i in test]
        pred = BrightClusterer(0.2).fit(X).predict([X[i] for i in test])
        assert score == metrics.panoptic_quality_score(true, pred)


def test_two_workers_give_the_same(images):
    X, y, _ = images
    scoring = {name: SCORING[name] for name in FEW}
    one, two = (
        cross_validate(BrightClusterer(0.2), X, y, cv=3, scoring=scoring, n_jobs=n)
        for n in (1, 2)
    )
    for name in FEW:
        np.testing.assert_array_equal(one[f"test_{name}"], two[f"test_{name}"])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_scorers_give_the_macro_average(images, name):
    X, y, _ = images
    model = BrightClusterer(0.2).fit(X)
    function, options = FUNCTIONS[name]
    expected = function(y, model.predict(X), **options)
    assert expected not in (0.0, 1.0)
    sign = -1 if name.startswith("neg_") else 1
    assert SCORING[name](model, X, y) == sign * expected
    assert get_scorer(name)(model, X, y) == sign * expected


def test_no_two_scorers_are_the_same(images):
    X, y, _ = images
    model = BrightClusterer(0.2).fit(X)
    values = {name: scorer(model, X, y) for name, scorer in SCORING.items()}
    # DQ is the F1 at its lowest threshold.
    assert values.pop("dq") == values["object_f1"]
    assert len(set(values.values())) == len(values)


def test_scorers_of_a_class(images):
    X, y, _ = images
    masks = [np.stack([mask, mask % 2 + 1], axis=-1) for mask in y]

    class Classifier(BrightClusterer):
        def predict(self, X):
            return [
                np.stack([ids, np.full_like(ids, 1)], axis=-1)
                for ids in super().predict(X)
            ]

    model = Classifier(0.2).fit(X)
    options = {"response_method": "predict", "average": "micro"}
    for function in (metrics.object_recall_score, metrics.detection_recall_score):
        first, second = (make_scorer(function, labels=n, **options) for n in (1, 2))
        assert 0 < first(model, X, masks) < 1
        assert second(model, X, masks) == 0.0
        scores = cross_val_score(model, X, masks, cv=3, scoring=first)
        assert np.isfinite(scores).all()


def test_scorers_pickle_and_clone():
    for name, scorer in SCORING.items():
        assert repr(pickle.loads(pickle.dumps(scorer))) == repr(scorer)
        assert get_scorer(name) is not scorer
        assert repr(clone(scorer, safe=False)) == repr(scorer)


def test_names():
    assert get_scorer_names() == sorted([*SCORING, *LABEL_FREE])
    for name in get_scorer_names():
        assert callable(get_scorer(name))
        assert f"{name}_scorer" in metrics.__all__
    with pytest.raises(
        ValueError, match=r"no scorer of the name 'f1'; known are \['aji'"
    ):
        get_scorer("f1")
    for bad in (["aji"], None, SCORING["aji"]):
        with pytest.raises(TypeError, match="name must be a str, one scorer's name"):
            get_scorer(bad)


def test_all_names_are_there():
    assert metrics.__all__ == sorted(metrics.__all__, key=str)
    for name in metrics.__all__:
        assert callable(getattr(metrics, name))
