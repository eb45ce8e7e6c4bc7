# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.base import clone
from small_estimators import ToldLabeler

from psmlearn import (
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn.datasets import make_nuclei
from psmlearn.io import check_images
from psmlearn.metrics import detection_f1_score
from psmlearn.networks import UNet
from psmlearn.segmentation import _pseudo_label


def small_unet(in_channels, out_channels):
    return UNet(in_channels, out_channels, base_channels=8, depth=3)


SEGMENTER = {
    "network": small_unet,
    "max_epochs": 5,
    "steps_per_epoch": 12,
    "patch_size": 64,
    "batch_size": 4,
    "learning_rate": 5e-3,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def data():
    return make_nuclei(
        4,
        (128, 128),
        n_nuclei=25,
        stain="ki67",
        positive_fraction=0.4,
        random_state=1,
    )


@pytest.fixture(scope="module")
def learnt(data):
    segmenter = NucleiSegmenter(**SEGMENTER)
    model = PseudoLabelSegmenter(
        ToldLabeler(data.masks), segmenter, n_rounds=2, random_state=0
    )
    return model.fit(data.images)


def test_the_chain_hands_classes_through(learnt, data):
    found = learnt.predict(data.images)
    assert found.shape == data.masks.shape and found.dtype == np.int32
    f1 = detection_f1_score(data.masks, found, radius=8, labels=[1, 2])
    assert (f1 > 0.6).all()
    assert learnt.predict_proba(data.images).shape[-1] == 3
    assert learnt.detect(data.images)[0].shape[1] == 3
    assert 0.3 < learnt.score(data.images, data.masks) <= 1
    n_true = sum(mask[..., 0].max() for mask in data.masks)
    assert learnt.n_pseudo_objects_[0] == n_true
    assert 0.5 * n_true < learnt.n_pseudo_objects_[1] < 1.5 * n_true


def test_doubt_is_unknown_in_both_planes(learnt, data):
    own = learnt._own_masks(data.images, check_images(data.images))
    proba = learnt.predict_proba(data.images)
    plain = learnt.predict(data.images)
    for mask, p, before in zip(own, proba, plain, strict=True):
        doubted = np.abs(p[..., 0] - 0.5) < learnt.doubt
        # What is likely and yet no object, such as one that is too small.
        doubted |= (p[..., 0] < 0.5) & (before[..., 0] == 0)
        for k in (0, 1):
            np.testing.assert_array_equal(mask[..., k] == -1, doubted)
        np.testing.assert_array_equal(mask[..., 0][~doubted], before[..., 0][~doubted])
        kept = mask[..., 1][~doubted]
        assert ((kept == 0) | (kept == before[..., 1][~doubted])).all()


def test_classes_reach_the_default_labeler(data):
    model = PseudoLabelSegmenter(classes="ki67", device="cpu", random_state=0)
    labeler, segmenter = clone(model)._make_parts(check_images(data.images))
    assert labeler.classes == "ki67"
    assert isinstance(segmenter, NucleiSegmenter)


@pytest.mark.parametrize("classes", ["ki-67", {"n": "DAB"}, {"a": "dab", "b": "dab"}])
def test_bad_classes_are_told_before_anything_is_trained(data, classes, monkeypatch):
    def train(self, X, y=None):
        raise AssertionError("something trains")

    for part in (SelfActivationMapper, SemanticClusterer, NucleiSegmenter):
        monkeypatch.setattr(part, "fit", train)
    with pytest.raises(ValueError, match="classes|stain"):
        PseudoLabelSegmenter(classes=classes, device="cpu").fit(data.images)


def test_images_of_another_staining_are_warned_of_in_prediction(data):
    segmenter = NucleiSegmenter(**SEGMENTER | {"max_epochs": 1, "steps_per_epoch": 1})
    model = PseudoLabelSegmenter(classes="ki67", class_source="network", random_state=0)
    trained = segmenter.fit(data.images, data.masks)
    vars(model).update(
        labeler_=None,
        segmenter_=trained,
        n_features_in_=3,
        n_pseudo_objects_=[1],
        _frozen=_pseudo_label._Frozen((0.0, 1.0)),
    )
    model.predict(data.images)  # no warning
    pink = make_nuclei(1, (128, 128), n_nuclei=25, random_state=0).images
    with pytest.warns(UserWarning, match="image 0 looks like haematoxylin and eosin"):
        model.predict(pink)


def test_classes_are_not_for_a_labeler_of_ones_own(data):
    model = PseudoLabelSegmenter(ToldLabeler(data.masks), classes="ki67")
    with pytest.raises(ValueError, match="classes='ki67'.*ToldLabeler itself"):
        model.fit(data.images)
