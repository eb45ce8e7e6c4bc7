# SPDX-License-Identifier: BSD-3-Clause
"""The chain of a weakly supervised labeler and a segmenter."""

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from psmlearn import (
    NucleiSegmenter,
    PseudoLabelSegmenter,
    RegionSegmenter,
    SemanticClusterer,
)
from psmlearn.networks import UNet
from psmlearn.preprocessing import StainNormalizer
from psmlearn.segmentation._defaults import default_segmenter


def small_unet(in_channels, out_channels):
    return UNet(in_channels, out_channels, base_channels=8, depth=3)


SMALL = {
    "network": small_unet,
    "pixel_size": 1000,
    "min_area": 0,
    "max_epochs": 1,
    "steps_per_epoch": 2,
    "patch_size": 32,
    "batch_size": 2,
    "random_state": 0,
    "device": "cpu",
}


LONGER = {
    "max_epochs": 8,
    "steps_per_epoch": 10,
    "learning_rate": 1e-2,
    "early_stopping": False,
}


class Weak(BaseEstimator):
    """Finds what is bright; in `fit_predict`, in images labelled positive alone."""

    calls: list = []  # of all clones

    def __init__(self, level=150, value_range=None):
        self.level = level
        self.value_range = value_range

    def fit(self, X, y=None, *, image_labels=None):
        self.calls.append(("fit", len(X), image_labels, y))
        self.n_images_ = len(X)
        return self

    def fit_predict(self, X, y=None, *, image_labels=None):
        found = self.fit(X, y, image_labels=image_labels).predict(X)
        return [
            mask * int(label) for mask, label in zip(found, image_labels, strict=True)
        ]

    def predict(self, X):
        self.calls.append(("predict", len(X)))
        return [np.int32(image[..., 0] > self.level) for image in X]


class FitOnly(Weak):
    fit_predict = property()  # no attribute


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    monkeypatch.setattr(Weak, "calls", [])
    return Weak.calls


@pytest.fixture(scope="module")
def scans():
    """Six images in air, of three patients; the odd ones hold a bright region."""
    rng = np.random.default_rng(0)
    images = rng.normal(0, 3, (6, 48, 40, 2))
    images[:, 6:42, 5:35] += 100
    images[1::2, 15:25, 12:24] += 100
    labels = np.arange(6) % 2
    masks = np.int32(images[..., 0] > 150)
    return images, labels, masks, np.arange(6) // 2


def chain(labeler=None, **settings):
    return PseudoLabelSegmenter(
        labeler or Weak(), RegionSegmenter(**{**SMALL, **settings}), random_state=0
    )


def weights(model):
    network = model.segmenter_.network_
    return np.concatenate([p.detach().numpy().ravel() for p in network.parameters()])


def test_the_segmenter_learns_from_image_labels_alone(scans):
    images, labels, masks, _ = scans
    model = chain(**LONGER)
    model.fit(images, image_labels=labels)
    assert model.n_pseudo_objects_ == [3]
    found = model.predict(images)
    assert [mask.max() for mask in found[::2]] == [0, 0, 0]
    overlap = (found > 0) & (masks > 0)
    assert 2 * overlap.sum() / ((found > 0).sum() + (masks > 0).sum()) > 0.8
    assert model.score(images, masks) > 0.6


def test_images_labelled_negative_are_known_to_be_empty(scans, calls):
    images, labels, _, _ = scans
    labels = labels.copy()
    labels[3] = 0  # whatever the labeler sees there
    model = chain().fit(images, image_labels=labels)
    assert model.n_pseudo_objects_ == [2]
    assert calls[0][2] is labels and calls[0][3] is None


@pytest.mark.parametrize("kind", ["none", "without labels"])
def test_a_labeler_without_such_a_fit_predict_is_fitted_and_asked(scans, calls, kind):
    class Plain(Weak):
        def fit_predict(self, X, y=None):
            raise AssertionError("it would never see the labels")

    labeler = FitOnly() if kind == "none" else Plain()
    model = chain(labeler).fit(scans[0], image_labels=scans[1].tolist())
    assert [call[:2] for call in calls] == [("fit", 6), ("predict", 6)]
    assert calls[0][2] == scans[1].tolist() and model.n_pseudo_objects_ == [3]


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("kind", [Weak, FitOnly])
def test_the_last_step_of_a_pipeline_gets_the_labels(scans, calls, kind, routing):
    images, labels, _, _ = scans
    labels = labels.copy()
    labels[3] = 0
    brighter = FunctionTransformer(lambda X: X * 2)
    labeler = Pipeline([("brighter", brighter), ("weak", kind(level=300))])
    if routing:  # one in another
        labeler = Pipeline([("inner", labeler)])
    with sklearn.config_context(enable_metadata_routing=routing):
        model = PseudoLabelSegmenter(labeler, RegionSegmenter(**SMALL))
        model.fit(images, image_labels=labels)
    assert calls[0][:2] == ("fit", 6) and calls[0][2] is labels
    assert model.n_pseudo_objects_ == [2 if kind is Weak else 3]
    assert isinstance(default_segmenter(labeler), RegionSegmenter)


def test_masks_as_y_are_never_seen(scans, calls):
    images, labels, masks, _ = scans
    without = weights(chain().fit(images, image_labels=labels))
    with_masks = weights(chain().fit(images, masks[::-1], image_labels=labels))
    np.testing.assert_array_equal(without, with_masks)
    assert all(call[3] is None for call in calls if call[0] == "fit")


def test_labels_are_one_an_image(scans, calls):
    images, labels, _, _ = scans
    with pytest.raises(ValueError, match="holds 4 labels for 6 images"):
        chain().fit(images, image_labels=labels[:4])
    assert not calls
    several = np.stack([labels, 1 - labels], axis=1)
    chain(FitOnly()).fit(images, image_labels=several)
    assert calls[0][2] is several


def test_a_labeler_that_takes_no_labels_is_told_of(scans):
    images, labels, _, _ = scans
    with pytest.raises(ValueError, match="SemanticClusterer takes none"):
        chain(SemanticClusterer()).fit(images % 1, image_labels=labels)


def test_nothing_found_says_what_to_look_at(scans):
    with pytest.raises(ValueError, match="no object in any of the 6 .*image_labels"):
        chain().fit(scans[0], image_labels=np.zeros(6))


def test_later_rounds_learn_from_the_segmenter_itself(scans, calls):
    images, labels, _, _ = scans
    model = chain(**LONGER)
    model.set_params(n_rounds=2).fit(images, image_labels=labels)
    assert len(model.n_pseudo_objects_) == 2
    assert [call[0] for call in calls] == ["fit", "predict"]


# -- the range of images -------------------------------------------------------


def test_parts_that_disagree_on_the_range_are_told_of_before_training(scans, calls):
    images, labels, _, _ = scans
    model = chain(value_range=(0.0, 1.0))
    with pytest.raises(ValueError, match="labeler has value_range=None.*segmenter"):
        model.fit(images, image_labels=labels)
    model = chain(Weak(value_range=(0.0, 1.0)))
    with pytest.raises(ValueError, match="segmenter has value_range=None.*labeler"):
        model.fit(images, image_labels=labels)
    assert not calls and not hasattr(model, "n_features_in_")
    scaled = (images - images.min()) / np.ptp(images)  # what both of them take
    model.set_params(labeler__level=0.75)
    assert model.fit(scaled, image_labels=labels).n_pseudo_objects_ == [3]


def test_other_faults_are_told_as_they_are(scans, calls):
    images, labels, _, _ = scans
    bad = images.copy()
    bad[2, 3, 3] = np.nan
    for value_range in (None, (0.0, 1.0)):
        with pytest.raises(ValueError, match="image 2: holds NaN") as caught:
            chain(value_range=value_range).fit(bad, image_labels=labels)
        assert "refuse" not in str(caught.value)
    assert not calls


def test_the_default_segmenter_takes_what_the_labeler_takes(scans):
    images, labels, _, _ = scans
    for labeler, expected in [
        (Weak(), None),
        (Weak(value_range=(0.0, 1.0)), (0.0, 1.0)),
        (Pipeline([("none", "passthrough"), ("weak", Weak())]), None),
        (Pipeline([("stains", StainNormalizer()), ("weak", Weak())]), (0.0, 1.0)),
        (SemanticClusterer(), (0.0, 1.0)),
        (None, (0.0, 1.0)),
    ]:
        model = PseudoLabelSegmenter(labeler)
        batch = model._check_images(images[..., :1] % 1, reset=True)
        made = model._make_parts(batch)[1]
        assert made.value_range == expected
        weak = labeler is not None and not isinstance(labeler, SemanticClusterer)
        assert type(made) is (RegionSegmenter if weak else NucleiSegmenter)
        assert made.network == ("unet_in" if weak else "unet")
    with pytest.raises(ValueError, match="^PseudoLabelSegmenter: .*are bad"):
        PseudoLabelSegmenter().fit(images)


# -- metadata routing ----------------------------------------------------------


@pytest.mark.parametrize("as_list", [False, True])
def test_image_labels_are_sliced_in_cross_validation(scans, calls, as_list):
    images, labels, masks, groups = scans
    if as_list:
        images, labels, masks = list(images), labels.tolist(), list(masks)
    with sklearn.config_context(enable_metadata_routing=True):
        model = chain().set_fit_request(image_labels=True)
        scores = cross_validate(
            model,
            images,
            masks,
            params={"image_labels": labels, "groups": groups},
            cv=GroupKFold(3),
            return_estimator=True,
            error_score="raise",
        )
    assert scores["test_score"].shape == (3,)
    fits = [call for call in calls if call[0] == "fit"]
    assert [(n, list(given)) for _, n, given, _ in fits] == [(4, [0, 1, 0, 1])] * 3
    assert all(each.n_pseudo_objects_ == [2] for each in scores["estimator"])


def test_each_fold_gets_its_own_labels(scans, calls):
    images, _, masks, groups = scans
    labels = 1 + np.arange(6) / 10  # all positive, each another
    with sklearn.config_context(enable_metadata_routing=True):
        model = chain(FitOnly()).set_fit_request(image_labels=True)
        cv = GroupKFold(3)
        params = {"image_labels": labels, "groups": groups}
        cross_validate(model, images, masks, params=params, cv=cv, error_score="raise")
    given = [call[2] for call in calls if call[0] == "fit"]
    folds = [train for train, _ in cv.split(images, groups=groups)]
    for got, train in zip(given, folds, strict=True):
        np.testing.assert_array_equal(got, labels[train])
