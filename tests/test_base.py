# SPDX-License-Identifier: BSD-3-Clause
"""Options, early stopping, and what holds for every constructor and every training."""

from __future__ import annotations

import ast
import copy
import inspect
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from small_estimators import SMALL, EvenOddMapper, make_small

import psmlearn
from psmlearn import NucleiSegmenter, RegionSegmenter, SelfActivationMapper
from psmlearn.base import EarlyStopping, NetworkEstimator, Option
from psmlearn.datasets import make_nuclei

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
