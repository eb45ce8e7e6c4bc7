# SPDX-License-Identifier: BSD-3-Clause
"""Rounds of training that go on from each other."""

import numpy as np
import pytest
from small_estimators import ToldLabeler

from psmlearn import NucleiSegmenter, PseudoLabelSegmenter
from psmlearn.datasets import make_nuclei
from psmlearn.networks import UNet
from psmlearn.segmentation._rounds import one_round

CHANGED = ("steps_per_epoch", "patch_size", "warm_start")


class Noted(NucleiSegmenter):
    """Notes by what parameters it is trained, and what it had learnt before."""

    def fit(self, X, y=None):
        self.noted_ = [*getattr(self, "noted_", []), self._own()]
        return super().fit(X, y)

    def _own(self):
        return tuple(getattr(self, name) for name in CHANGED)


def small(steps=4, patch=64, kind=Noted, **options):
    options = {"network": "unet", "max_epochs": 1, "batch_size": 2, **options}
    return kind(steps_per_epoch=steps, patch_size=patch, device="cpu", **options)


@pytest.fixture(scope="module")
def data():
    return make_nuclei(n_images=2, shape=(96, 96), n_nuclei=15, random_state=0)


def fitted(data, segmenter, **options):
    model = PseudoLabelSegmenter(
        ToldLabeler(data.masks), segmenter, random_state=0, doubt=0.0, **options
    )
    return model.fit(data.images)


def test_rounds_go_on_from_each_other(data):
    model = fitted(data, small(steps=8, patch=96), n_rounds=3, warm_rounds=True)
    segmenter = model.segmenter_
    assert segmenter.noted_ == [(8, 64, False), (2, 96, True), (2, 96, True)]
    assert segmenter._own() == (8, 96, False)
    assert segmenter.n_epochs_ == len(segmenter.loss_curve_) == 3


def test_rounds_are_trainings_of_their_own_without(data):
    for options in ({}, {"warm_rounds": False}):
        model = fitted(data, small(steps=2, patch=32), n_rounds=2, **options)
        assert model.segmenter_.noted_ == [(2, 32, False)] * 2
        assert model.segmenter_.n_epochs_ == 1


def test_one_round_is_whole(data):
    model = fitted(data, small(steps=3), n_rounds=1, warm_rounds=True)
    assert model.segmenter_.noted_ == [(3, 64, False)]


@pytest.mark.parametrize(
    ("steps", "side", "first", "later"),
    [
        (30, 224, 160, 8),
        (1, 32, 32, 1),
        (10, 128, 96, 2),
        (22, 48, 32, 6),
    ],
)
def test_steps_and_sides(steps, side, first, later):
    segmenter = small(steps, side)
    with one_round(segmenter, 0, []):
        assert segmenter._own() == (steps, first, False)
    with one_round(segmenter, 1, []):
        assert segmenter._own() == (later, side, True)
    assert segmenter._own() == (steps, side, False)


def test_a_network_of_ones_own_keeps_its_crops():
    def network(in_channels, out_channels):
        return UNet(in_channels, out_channels, base_channels=4, depth=2)

    segmenter = small(6, 160, network=network)
    with one_round(segmenter, 0, []):
        assert segmenter._own() == (6, 160, False)


def test_parameters_are_as_before_after_an_error():
    segmenter = small(6, 96)
    with pytest.raises(KeyError), one_round(segmenter, 1, []):
        raise KeyError
    assert segmenter._own() == (6, 96, False)


def test_only_the_default_chain_goes_on_by_itself():
    assert PseudoLabelSegmenter()._goes_on()
    assert not PseudoLabelSegmenter(classes="ki67")._goes_on()  # it has one round
    assert not PseudoLabelSegmenter(n_rounds=1)._goes_on()
    assert not PseudoLabelSegmenter(warm_rounds=False)._goes_on()
    assert not PseudoLabelSegmenter(segmenter=small(), n_rounds=2)._goes_on()
    assert PseudoLabelSegmenter(
        segmenter=small(), n_rounds=2, warm_rounds=True
    )._goes_on()


def test_a_segmenter_that_cannot_go_on_is_refused_before_training(data):
    labeler = ToldLabeler(data.masks)
    model = PseudoLabelSegmenter(labeler, ToldLabeler(data.masks), n_rounds=2)
    model.fit(data.images)
    model.set_params(warm_rounds=True)
    with pytest.raises(ValueError, match="ToldLabeler has no warm_start"):
        model.fit(data.images)


def test_a_round_whose_masks_lack_a_class_begins_anew():
    data = make_nuclei(
        2, (96, 96), n_nuclei=15, stain="ki67", positive_fraction=0.5, random_state=0
    )

    class Negative(Noted):
        def _predict_with_proba(self, X):
            masks, probabilities = super()._predict_with_proba(X)
            return self._all_negative(masks), probabilities

        def predict(self, X):
            return self._all_negative(data.masks)

        def _all_negative(self, masks):
            masks = np.array(masks)
            masks[..., 1] = np.where(masks[..., 0] > 0, 2, 0)
            return masks

    options = {"n_rounds": 2, "warm_rounds": True}
    model = fitted(data, small(kind=Negative, steps=6, patch=32), **options)
    assert model.segmenter_.noted_ == [(6, 32, False), (6, 32, False)]
    np.testing.assert_array_equal(model.segmenter_.classes_, [2])
    both = fitted(data, small(kind=Kept(data.masks), steps=6, patch=32), **options)
    assert both.segmenter_.noted_ == [(6, 32, False), (2, 32, True)]


def Kept(masks):  # a class, named as one
    class Kept(Noted):
        def predict(self, X):
            return masks

    return Kept
