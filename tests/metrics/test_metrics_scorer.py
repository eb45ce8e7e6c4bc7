# SPDX-License-Identifier: BSD-3-Clause
"""The scorers in scikit-learn's own searches."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage
from sklearn.base import BaseEstimator, ClusterMixin, clone
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_score,
    cross_validate,
)

from psmlearn.metrics import (
    aggregated_jaccard_score,
    aji_plus_scorer,
    aji_scorer,
    dice_score,
    dice_scorer,
    get_scorer,
    get_scorer_names,
    object_f1_score,
    object_f1_scorer,
    panoptic_quality_score,
    pq_scorer,
)

SCORING = {
    "aji": aji_scorer,
    "aji_plus": aji_plus_scorer,
    "dice": dice_scorer,
    "object_f1": object_f1_scorer,
    "pq": pq_scorer,
}


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
        assert np.isfinite(results[f"mean_test_{name}"]).all()
    # Dice is best with all the foreground, the objects are not.
    assert results["mean_test_dice"][0] == 1.0
    assert results["mean_test_object_f1"].max() > results["mean_test_object_f1"][2]
    assert search.best_score_ == results["mean_test_aji"].max()
    expected = aggregated_jaccard_score(y, search.predict(X))
    assert search.score(X, y) == expected


def test_cross_val_score_is_the_score_of_each_fold(images):
    X, y, groups = images
    scores = cross_val_score(
        BrightClusterer(0.2), X, y, groups=groups, cv=GroupKFold(3), scoring=pq_scorer
    )
    folds = GroupKFold(3).split(X, y, groups)
    for score, (_, test) in zip(scores, folds, strict=True):
        true = [y[i] for i in test]
        pred = BrightClusterer(0.2).fit(X).predict([X[i] for i in test])
        assert score == panoptic_quality_score(true, pred)


def test_two_workers_give_the_same(images):
    X, y, _ = images
    one, two = (
        cross_validate(BrightClusterer(0.2), X, y, cv=3, scoring=SCORING, n_jobs=n)
        for n in (1, 2)
    )
    for name in SCORING:
        np.testing.assert_array_equal(one[f"test_{name}"], two[f"test_{name}"])


def test_scorers_give_the_macro_average(images):
    X, y, _ = images
    model = BrightClusterer(0.2).fit(X)
    pred = model.predict(X)
    expected = {
        "aji": aggregated_jaccard_score(y, pred),
        "aji_plus": aggregated_jaccard_score(y, pred, one_to_one=True),
        "dice": dice_score(y, pred),
        "object_f1": object_f1_score(y, pred),
        "pq": panoptic_quality_score(y, pred),
    }
    assert len(set(expected.values())) == 5
    for name, scorer in SCORING.items():
        assert scorer(model, X, y) == expected[name]
        assert get_scorer(name)(model, X, y) == expected[name]


def test_scorers_pickle_and_clone():
    for name, scorer in SCORING.items():
        assert repr(pickle.loads(pickle.dumps(scorer))) == repr(scorer)
        assert get_scorer(name) is not scorer
        assert repr(clone(scorer, safe=False)) == repr(scorer)


def test_names():
    assert get_scorer_names() == sorted(SCORING)
    with pytest.raises(ValueError, match=r"no scorer 'iou'; known are \['aji'"):
        get_scorer("iou")


def test_import_is_light():
    code = (
        "import sys, psmlearn.metrics\n"
        "heavy = {'torch', 'torchvision', 'skimage', 'matplotlib', 'cv2'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
