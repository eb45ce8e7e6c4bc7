# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks: told of each epoch, able to stop, scikit-learn's own where there are."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from small_estimators import TinyBackbone, TinyPixelNetwork

from psmlearn import (
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn._sklearn_compat import has_callbacks
from psmlearn.base import EarlyStopping
from psmlearn.datasets import make_nuclei

NUCLEI = make_nuclei(n_images=3, shape=(64, 64), random_state=0)
SIZES = {"max_epochs": 4, "steps_per_epoch": 1, "batch_size": 1, "patch_size": 32}


class Recorder:
    """Keeps what it is told, and stops at an epoch."""

    def __init__(self, last: int | None = None) -> None:
        self.told = []
        self.last = last

    def on_epoch_end(self, estimator, logs):
        self.told.append((type(estimator).__name__, logs))
        return logs["epoch"] == self.last


def _segmenter(**parameters):
    return NucleiSegmenter(
        network=TinyPixelNetwork, random_state=0, **SIZES, **parameters
    )


def _fit(segmenter):
    return segmenter.fit(NUCLEI.images, NUCLEI.masks)


def test_each_epoch_is_told_with_its_losses():
    recorder = Recorder()
    stopping = EarlyStopping(validation_fraction=0.4)
    model = _fit(_segmenter(early_stopping=stopping).set_callbacks(recorder))
    logs = [each for _, each in recorder.told]
    assert [each["epoch"] for each in logs] == [1, 2, 3, 4]
    assert [each["loss"] for each in logs] == model.loss_curve_
    assert [each["validation_loss"] for each in logs] == model.validation_loss_curve_


def test_callback_stops_and_the_model_predicts():
    recorder = Recorder(last=2)
    model = _fit(_segmenter().set_callbacks(recorder))
    assert model.n_epochs_ == 2
    assert model.predict(NUCLEI.images).shape == (3, 64, 64)


def test_functions_are_callbacks_and_all_are_called():
    calls = []
    model = _segmenter().set_callbacks(
        lambda estimator, logs: calls.append("first") or True,
        lambda estimator, logs: calls.append("second"),
    )
    assert _fit(model).n_epochs_ == 1
    assert calls == ["first", "second"]


def test_truth_alone_does_not_stop():
    assert _fit(_segmenter().set_callbacks(lambda *_: 1)).n_epochs_ == 4


def test_without_arguments_callbacks_are_gone():
    recorder = Recorder()
    _fit(_segmenter().set_callbacks(recorder).set_callbacks())
    assert recorder.told == []


def test_callbacks_change_nothing_else():
    first = _fit(_segmenter())
    second = _fit(_segmenter().set_callbacks(Recorder()))
    for one, other in zip(
        first.network_.state_dict().values(),
        second.network_.state_dict().values(),
        strict=True,
    ):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_clones_keep_them_and_pickles_do_not():
    recorder = Recorder()
    model = _segmenter().set_callbacks(recorder, lambda *_: None)
    _fit(clone(model))
    assert len(recorder.told) == 4
    _fit(pickle.loads(pickle.dumps(model)))
    assert len(recorder.told) == 4


def test_an_error_in_a_callback_ends_the_fit():
    def fail(estimator, logs):
        raise RuntimeError("of the callback")

    model = _segmenter().set_callbacks(fail)
    with pytest.raises(RuntimeError, match="of the callback"):
        _fit(model)
    assert not hasattr(model, "network_")


def test_parts_of_a_chain_have_their_own():
    of_maps, of_segmenter = Recorder(), Recorder(last=3)
    mapper = SelfActivationMapper(network=TinyBackbone, layers=["layer1"], **SIZES)
    model = PseudoLabelSegmenter(
        make_pipeline(mapper.set_callbacks(of_maps), SemanticClusterer(pixel_size=0.5)),
        _segmenter().set_callbacks(of_segmenter),
        random_state=0,
    ).fit(NUCLEI.images)
    assert [name for name, _ in of_maps.told] == ["SelfActivationMapper"] * 4
    assert [each["epoch"] for _, each in of_segmenter.told] == [1, 2, 3]
    assert model.segmenter_.n_epochs_ == 3


@pytest.mark.parametrize("bad", [3, "function", None, Recorder, dict])
def test_what_is_no_callback_is_told(bad):
    with pytest.raises(TypeError, match="is no callback"):
        _segmenter().set_callbacks(bad)


@pytest.mark.skipif(not has_callbacks, reason="scikit-learn has callbacks from 1.9 on")
class TestOfScikitLearn:
    """A callback that follows scikit-learn's protocol."""

    class Told:
        """Keeps what hooks it is asked by."""

        max_propagation_depth = None

        def __init__(self, stop_after=99):
            self.told = []
            self.stop_after = stop_after

        def setup(self, estimator, context):
            self.told.append("setup")

        def teardown(self, estimator, context):
            self.told.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            self.told.append(f"begin {context.task_name}")

        def on_fit_task_end(self, estimator, context):
            self.told.append(f"end {context.task_name}")
            return self.told.count("end epoch") >= self.stop_after

    def test_epochs_are_tasks(self):
        told = self.Told()
        model = _fit(_segmenter().set_callbacks(told))
        epochs = ["begin epoch", "end epoch"] * 4
        assert told.told == ["setup", "begin fit", *epochs, "end fit", "teardown"]
        assert not hasattr(model, "_callback_fit_ctx")

    def test_it_stops(self):
        assert _fit(_segmenter().set_callbacks(self.Told(2))).n_epochs_ == 2

    def test_it_is_told_when_a_fit_fails(self):
        told = self.Told()
        bad = _segmenter(learning_rate=1e30).set_callbacks(told)
        with pytest.raises(FloatingPointError):
            _fit(bad)
        assert told.told[-1] == "teardown"
        assert not hasattr(bad, "_callback_fit_ctx")

    def test_pipeline_hands_it_on(self):
        told, ours = self.Told(), Recorder()
        mapper = SelfActivationMapper(network=TinyBackbone, layers=["layer1"], **SIZES)
        pipeline = make_pipeline(
            mapper.set_callbacks(ours), SemanticClusterer(pixel_size=0.5)
        )
        with pytest.warns(UserWarning, match="does not support callbacks"):
            pipeline.set_callbacks(told).fit(NUCLEI.images)
        assert told.told.count("end epoch") == 4
        assert len(ours.told) == 4
