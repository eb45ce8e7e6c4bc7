# SPDX-License-Identifier: BSD-3-Clause
"""Options, early stopping, and what holds for every constructor and every training."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.measure import label
from sklearn.base import clone
from small_estimators import SMALL, EvenOddMapper, make_small

import psmlearn
from psmlearn import (
    NucleiDetector,
    NucleiSegmenter,
    PseudoLabelSegmenter,
    RegionSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn.activation import Contrastive, Pretext
from psmlearn.base import BaseImageEstimator, EarlyStopping, NetworkEstimator, Option
from psmlearn.datasets import make_nuclei
from psmlearn.exceptions import NoDataWarning
from psmlearn.io import check_images
from psmlearn.segmentation import Voronoi
from psmlearn.utils.estimator_checks import check_pretext

NETWORKS = [kind for kind in SMALL if issubclass(kind, NetworkEstimator)]


@pytest.fixture(scope="module")
def data():
    return make_nuclei(4, (64, 64), n_nuclei=8, random_state=0)


@pytest.mark.parametrize("name", [n for n in psmlearn.__all__ if n[0].isupper()])
def test_no_constructor_has_more_than_28_parameters(name):
    kind = getattr(psmlearn, name)
    assert len(inspect.signature(kind).parameters) <= 28


def test_options_are_compared_and_searched_by_their_parameters():
    class Inner(Option):
        def __init__(self, *, depth=1):
            self.depth = depth

    segmenter = NucleiSegmenter(early_stopping=EarlyStopping(tol=0.5))
    copied = clone(segmenter).set_params(early_stopping__tol=0.25)
    assert segmenter.early_stopping.tol == 0.5 and copied.early_stopping.tol == 0.25
    assert repr(Inner(depth=3)) == "Inner(depth=3)"


@pytest.mark.parametrize("kind", NETWORKS)
def test_early_stopping_is_an_object_or_whether(kind, data):
    masks = list(data.masks)
    by_name = make_small(kind, early_stopping=True, random_state=0)
    by_object = make_small(kind, early_stopping=EarlyStopping(), random_state=0)
    curves = [
        model.fit(data.images, masks).validation_loss_curve_
        for model in (by_name, by_object)
    ]
    assert curves[0] == curves[1] and len(curves[0]) == 1
    without = make_small(kind, early_stopping=False).fit(data.images, masks)
    assert without.validation_loss_curve_ == []
    wrong = make_small(kind, early_stopping=EarlyStopping(n_iter_no_change=0))
    with pytest.raises(ValueError, match="'n_iter_no_change' parameter of EarlySt"):
        wrong.fit(data.images, masks)


def test_patience_and_tolerance_are_those_of_the_object(data):
    stopping = EarlyStopping(validation_fraction=0.5, n_iter_no_change=2, tol=1e6)
    model = make_small(
        NucleiSegmenter, early_stopping=stopping, max_epochs=9, random_state=0
    ).fit(data.images, data.masks)
    # The first epoch is better than none; nothing gains a million after it.
    assert model.n_epochs_ == 3


@pytest.mark.parametrize("n_images", [1, 2, 5, 20])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_images_set_aside_are_not_trained_on_where_there_are_enough(n_images, share):
    rng = np.random.default_rng(0)
    split = EarlyStopping(validation_fraction=share).set_aside(n_images, rng)
    training, held_out = (set(part.tolist()) for part in split)
    assert training | held_out == set(range(n_images))
    if round(n_images * share) in (0, n_images):
        assert training == held_out
    else:
        assert len(held_out) == round(n_images * share) and not training & held_out


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_fit_that_fails_leaves_what_an_earlier_one_learnt(kind, data):
    masks = list(data.masks)
    model = make_small(kind, random_state=0).fit(data.images, masks)
    before = copy.copy(vars(model))
    method = "transform" if hasattr(model, "transform") else "predict"
    expected = getattr(model, method)(data.images)
    grey = data.images[..., :1]
    failing = [
        lambda: model.set_params(weights="no/such.file").fit(grey, masks),
        lambda: model.set_params(learning_rate=1e30, max_epochs=5).fit(grey, masks),
    ]
    for fail in failing:
        with pytest.raises((FileNotFoundError, FloatingPointError, ValueError)):
            fail()
        model.set_params(weights=None)
        assert model.n_features_in_ == 3
        assert model.network_ is before["network_"]
        assert model._frozen is before["_frozen"]
    after = getattr(model, method)(data.images)
    for one, other in zip(after, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", NETWORKS)
def test_training_goes_on_with_the_same_network_only(kind, data):
    masks = list(data.masks)
    model = make_small(kind, warm_start=True, random_state=0).fit(data.images, masks)
    first = model.network_
    model.fit(data.images, masks)
    assert model.n_epochs_ == 2 and model.network_ is not first
    other = "res2net101_26w_4s" if kind is SelfActivationMapper else "unet"
    if kind is EvenOddMapper:
        other = "cam_unet"
    with pytest.raises(ValueError, match="cannot go on with another network: n.* was"):
        model.set_params(network=other).fit(data.images, masks)


def test_there_is_one_call_of_the_training_loop():
    calls = []
    for path in Path(psmlearn.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "train_network":
                calls.append(path.name)
    assert calls == ["base.py"]


@pytest.mark.parametrize("kind", [NucleiSegmenter, RegionSegmenter])
def test_what_is_frozen_has_one_name(kind, data):
    model = make_small(kind, random_state=0).fit(data.images, list(data.masks))
    assert type(model._frozen).__name__ == "_Frozen"
    private = {name for name in vars(model) if name.startswith("_")}
    assert private == {"_frozen", "_network_recipe"}


# -- corners of training ---------------------------------------------------------


def test_ctrl_c_before_the_first_epoch_keeps_what_was_learnt(data, monkeypatch):
    from psmlearn.segmentation import _pixels

    model = make_small(NucleiSegmenter, random_state=0).fit(data.images, data.masks)
    before, expected = model.network_, model.predict_proba(data.images)

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    for name in ("PatchSampler", "distance_target"):  # in preparation, in a step
        with monkeypatch.context() as patch:
            patch.setattr(_pixels, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                model.fit(data.images[..., :1], data.masks)
        assert model.network_ is before and model.n_epochs_ == 1
        np.testing.assert_array_equal(model.predict_proba(data.images), expected)


@pytest.mark.parametrize("kind", [NucleiSegmenter, RegionSegmenter, NucleiDetector])
def test_warnings_point_to_the_line_of_the_caller(data, kind):
    empty = np.zeros_like(data.masks)
    with pytest.warns(UserWarning, match="no mask holds an object") as caught:
        if kind is NucleiDetector:
            make_small(kind, targets="mask").fit(data.images, empty)
        else:
            make_small(kind).fit(data.images, empty)
    assert caught[0].filename == __file__


def test_bad_options_are_told_before_anything_is_trained(data):
    class Detector(NucleiDetector):
        def fit(self, X, y=None):
            raise AssertionError("trained")

    wrong = EarlyStopping(tol=-1.0)
    segmenter = make_small(
        NucleiSegmenter, targets=Voronoi(detector=Detector()), early_stopping=wrong
    )
    with pytest.raises(ValueError, match="'tol' parameter of EarlyStopping"):
        segmenter.fit(data.images, data.masks)
    with pytest.raises(ValueError, match="'tol' parameter of EarlyStopping"):
        make_small(NucleiDetector, early_stopping=wrong).partial_fit(
            data.images, data.masks
        )


def test_a_name_has_no_settings_and_that_is_told():
    mapper = SelfActivationMapper(pretext="contrastive")
    with pytest.raises(ValueError, match="pretext='contrastive' is a name.*'margin'"):
        mapper.set_params(pretext__margin=0.3)
    mapper.set_params(pretext=Contrastive(), pretext__margin=0.3)
    assert mapper.pretext.margin == 0.3


def test_stopping_of_ones_own(data):
    class ByPatient(EarlyStopping):
        def __init__(self, *, last=1, validation_fraction=0.1, tol=0.0):
            super().__init__(validation_fraction=validation_fraction, tol=tol)
            self.last = last

        def set_aside(self, n_images, rng):
            places = np.arange(n_images)
            return places[: -self.last], places[-self.last :]

    model = make_small(NucleiSegmenter, early_stopping=ByPatient(last=2))
    assert len(model.fit(data.images, data.masks).validation_loss_curve_) == 1


def test_training_goes_on_with_the_same_targets_only(data):
    detector = make_small(NucleiDetector, warm_start=True).fit(data.images, data.masks)
    with pytest.raises(ValueError, match="cannot go on with targets=Foreground"):
        detector.set_params(targets="mask").fit(data.images, data.masks)


def test_halos_are_measured_with_the_weights_that_are_loaded(tmp_path, data):
    class Gated(torch.nn.Module):
        """What lies far away counts only once a weight file has opened a gate."""

        def __init__(self, in_channels, n_outputs):
            super().__init__()
            self.layer1 = _Gate(in_channels)
            self.fc = torch.nn.Linear(4, n_outputs)

        def forward(self, images):
            return self.fc(self.layer1(images).mean(dim=(2, 3)))

    opened = Gated(3, 1)
    torch.nn.init.ones_(opened.layer1.gate)
    path = tmp_path / "weights.pt"
    torch.save(opened.state_dict(), path)
    settings = {"max_epochs": 1, "steps_per_epoch": 1, "patch_size": 32}
    settings |= {"learning_rate": 1e-9, "random_state": 0, "device": "cpu"}
    plain, loaded = (
        SelfActivationMapper(network=Gated, weights=weights, **settings)
        .fit(data.images)
        ._frozen.geometries[0]
        .halo
        for weights in (None, path)
    )
    assert loaded > plain + 3


class _Gate(torch.nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.near = torch.nn.Conv2d(in_channels, 4, 3, padding=1)
        self.far = torch.nn.Conv2d(in_channels, 4, 13, padding=6)
        self.gate = torch.nn.Parameter(torch.zeros(()))

    def forward(self, images):
        return self.near(images) + self.gate * self.far(images)


def test_a_refit_that_fails_keeps_clusterers_and_chains(data):
    brown = make_nuclei(2, (64, 64), n_nuclei=8, stain="ki67", random_state=0).images
    clusterer = make_small(SemanticClusterer, classes="ki67").fit(brown)
    expected = clusterer.predict(brown)
    with pytest.raises(ValueError, match="5 channels"):
        clusterer.set_params(classes=None).fit(np.zeros((2, 32, 32, 5)))
    clusterer.set_params(classes="ki67")
    assert clusterer.n_features_in_ == 3 and len(clusterer.class_names_) == 2
    np.testing.assert_array_equal(clusterer.predict(brown), expected)
    chain = make_small(PseudoLabelSegmenter, random_state=0).fit(data.images)
    expected = chain.predict(data.images)
    with pytest.raises(ValueError, match="found no nucleus"):
        chain.fit(np.ones((2, 48, 48, 1)))
    np.testing.assert_array_equal(chain.predict(data.images), expected)


def test_subclasses_elsewhere_get_what_their_user_gave(data):
    class Mine(BaseImageEstimator):
        def fit(self, X, y=None):
            return self

        def predict(self, X):
            assert X.dtype == np.uint8
            return [label(image[..., 0] < 128) for image in X]

    model = PseudoLabelSegmenter(Mine(), make_small(NucleiSegmenter), random_state=0)
    assert model.fit(data.images).n_pseudo_objects_[0] > 5


def test_a_function_sees_values_as_they_are_whatever_the_segmenter_takes(data):
    seen = []

    def dark(images):
        seen.extend(images)
        return [label(image[..., 0] < 0.5) for image in images]

    segmenter = make_small(NucleiSegmenter, value_range=None)
    PseudoLabelSegmenter(dark, segmenter, random_state=0).fit(data.images)
    np.testing.assert_allclose(seen[0], data.images[0] / 255, atol=1e-6)


def test_a_channel_that_was_dropped_as_alpha_is_not_guessed(data):
    stacks = np.concatenate([data.images, data.masks[..., None].astype(np.uint8)], -1)
    segmenter = make_small(NucleiSegmenter, label_channel=-1)
    assert segmenter.fit(stacks).n_features_in_ == 4
    with pytest.warns(NoDataWarning) as caught:
        batch = check_images(stacks)
    assert any("dropped the alpha" in str(each.message) for each in caught)
    with pytest.raises(ValueError, match="dropped as alpha when they were checked"):
        segmenter.fit(batch)


def test_the_scale_of_a_mapper_survives_pickling(data):
    mapper = make_small(SelfActivationMapper, input_scale="byte").fit(data.images)
    crops = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    copied = pickle.loads(pickle.dumps(mapper))
    torch.testing.assert_close(copied.network_(crops), mapper.network_(crops))


def test_pretexts_may_leave_out_what_they_do_not_need(data):
    class Short(Pretext):
        def __init__(self, *, power=1):
            self.power = power

        def loss(self, network, crops, targets, generator):
            return network(self.view(crops, generator)).abs().mean() ** self.power

    check_pretext(Short())
    Short.heads = "MLP"
    with pytest.raises(ValueError, match="heads='MLP'"):
        make_small(SelfActivationMapper, pretext=Short()).fit(data.images)
