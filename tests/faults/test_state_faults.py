# SPDX-License-Identifier: BSD-3-Clause
"""Fits that fail or are interrupted, threads, torch's modes, and what is not finite."""

from __future__ import annotations

import copy
import inspect
import pickle
import random
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from small_estimators import (
    SMALL,
    EvenOddMapper,
    TinyPixelNetwork,
    make_labeler,
    make_small,
)

import psmlearn
from psmlearn import (
    NucleiDetector,
    NucleiSegmenter,
    PseudoLabelSegmenter,
    RegionSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn.base import BaseImageEstimator, EarlyStopping, NetworkEstimator
from psmlearn.datasets import make_nuclei
from psmlearn.networks import UNet
from psmlearn.preprocessing import StainNormalizer, TissueDetector

ALL = [*SMALL, StainNormalizer, TissueDetector]
NETWORKS = [kind for kind in SMALL if issubclass(kind, NetworkEstimator)]
WITH_NETWORKS = [*NETWORKS, PseudoLabelSegmenter]
GOES_ON = [kind for kind in NETWORKS if hasattr(kind, "partial_fit")]
METHODS = ("transform", "predict", "predict_proba", "detect", "predict_image_proba")


@pytest.fixture(scope="module")
def data():
    return make_nuclei(4, (64, 64), n_nuclei=8, random_state=3)


def make(kind, **parameters):
    """Build an estimator of `SMALL`, or one of those that have no network."""
    if kind in SMALL:
        return make_small(kind, **{"random_state": 0, **parameters})
    return kind(**parameters)


def fit(model, data, images=None):
    images = data.images if images is None else images
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(images, list(data.masks))


def others(kind, data):
    """Return images with another number of channels."""
    if kind is StainNormalizer:
        colours = data.images / 255
        return np.concatenate([colours, colours[..., :2]], axis=-1)
    return data.images[..., :1]


def answers(model, images):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            name: [np.asarray(each) for each in getattr(model, name)(images)]
            for name in METHODS
            if hasattr(model, name)
        }


def assert_alike(first, second):
    assert first.keys() == second.keys()
    for name, values in first.items():
        for one, other in zip(values, second[name], strict=True):
            assert one.dtype == other.dtype, name
            np.testing.assert_array_equal(one, other, err_msg=name)


def assert_as_before(model, before):
    assert vars(model).keys() == before.keys()
    for name, value in before.items():
        assert vars(model)[name] is value, name


# -- a fit that fails changes nothing ----------------------------------------------


class _Stop(Exception):
    pass


class _Stumbling:
    """Raises in the n-th call of a function of the package; counts without n."""

    def __init__(self, n: int | None = None, error: type[BaseException] = _Stop):
        self.n, self.error, self.n_calls = n, error, 0

    def __enter__(self):
        sys.setprofile(self)
        return self

    def __exit__(self, *exc):
        sys.setprofile(None)

    def __call__(self, frame, event, arg):
        if event != "call" or frame.f_code.co_flags & inspect.CO_GENERATOR:
            return
        if not frame.f_globals.get("__name__", "").startswith("psmlearn."):
            return
        if frame.f_code.co_name == "_put_back":
            return
        self.n_calls += 1
        if self.n_calls == self.n:
            raise self.error


def n_calls(model, data, images) -> int:
    for _ in range(2):  # some is done the first time only
        with _Stumbling() as counter:
            fit(model, data, images)
    return counter.n_calls


PLACES = pytest.mark.parametrize(
    "n_places", [4, pytest.param(8, marks=pytest.mark.slow)]
)


@PLACES
@pytest.mark.parametrize("kind", ALL)
def test_a_fit_that_fails_anywhere_changes_nothing(kind, n_places, data):
    images = others(kind, data)
    n = n_calls(make(kind), data, images)
    model = fit(make(kind), data)
    expected, before = answers(model, data.images), dict(vars(model))
    for place in np.unique(np.linspace(2, n - 1, n_places).astype(int)):
        new = make(kind)
        unfitted = dict(vars(new))
        for each, was in ((model, before), (new, unfitted)):
            with pytest.raises(_Stop), _Stumbling(place):
                fit(each, data, images)
            assert_as_before(each, was)
    assert_alike(answers(model, data.images), expected)


@pytest.mark.parametrize("kind", GOES_ON)
def test_a_partial_fit_that_fails_anywhere_changes_nothing(kind, data):
    model = fit(make(kind), data)
    for _ in range(2):
        goes_on = copy.deepcopy(model)
        with _Stumbling() as counter:
            goes_on.partial_fit(data.images, list(data.masks))
    before = dict(vars(model))
    for place in np.linspace(2, counter.n_calls - 1, 6).astype(int):
        with pytest.raises(_Stop), _Stumbling(place):
            model.partial_fit(data.images, list(data.masks))
        assert_as_before(model, before)
    with pytest.raises(ValueError, match="channel"):
        model.partial_fit(data.images[..., :1], list(data.masks))
    assert_as_before(model, before)


@PLACES
@pytest.mark.parametrize("kind", ALL)
def test_a_fit_that_is_interrupted_leaves_the_old_or_the_new(kind, n_places, data):
    images = others(kind, data)
    n = n_calls(make(kind), data, images)
    for place in np.linspace(2, n - 1, n_places).astype(int):
        model = fit(make(kind), data)
        before = dict(vars(model))
        with pytest.raises(KeyboardInterrupt), _Stumbling(place, KeyboardInterrupt):
            fit(model, data, images)
        if model.n_features_in_ == before["n_features_in_"]:
            assert_as_before(model, before)
            answers(model, data.images[:1])
        else:
            assert issubclass(kind, NetworkEstimator | PseudoLabelSegmenter)
            answers(model, images[:1])


@pytest.mark.parametrize("error", [_Stop, KeyboardInterrupt])
def test_a_chain_keeps_its_parts_where_the_segmenter_stumbles(error, data):
    class Stumbling(NucleiSegmenter):
        fails = False

        def fit(self, X, y=None):
            if type(self).fails:
                raise error
            return super().fit(X, y)

    segmenter = make_small(NucleiSegmenter)
    chain = PseudoLabelSegmenter(
        make_small(SemanticClusterer),
        Stumbling(**segmenter.get_params(deep=False)),
        random_state=0,
    )
    fit(chain, data)
    expected, before = answers(chain, data.images), dict(vars(chain))
    Stumbling.fails = True
    with pytest.raises(error):
        fit(chain, data, data.images[..., :1])
    assert_as_before(chain, before)
    Stumbling.fails = False
    assert_alike(answers(chain, data.images), expected)


def test_a_chain_finds_out_what_is_absent_before_its_labeler_is_trained(data):
    class Labeler(BaseImageEstimator):
        def fit(self, X, y=None):
            raise AssertionError("trained")

        def predict(self, X):
            raise AssertionError("trained")

    for segmenter in (
        make_small(NucleiSegmenter, weights="no/such.pt"),
        make_small(NucleiSegmenter, early_stopping=EarlyStopping(tol=-1.0)),
    ):
        with pytest.raises((FileNotFoundError, ValueError), match=r"no/such|'tol'"):
            PseudoLabelSegmenter(Labeler(), segmenter).fit(data.images)


def test_a_warning_turned_error_is_a_fit_that_fails(data):
    mapper = make(EvenOddMapper, threshold=0.99)
    with pytest.warns(psmlearn.exceptions.TrainingWarning, match="threshold=0.99"):
        mapper.fit(data.images)
    before = dict(vars(mapper))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(psmlearn.exceptions.TrainingWarning):
            mapper.fit(data.images)
    assert_as_before(mapper, before)


# -- threads, and streams of the process -------------------------------------------


@pytest.mark.parametrize("kind", WITH_NETWORKS)
def test_fits_in_four_threads_are_those_of_one_alone(kind, data):
    alone = answers(fit(make(kind, random_state=5), data), data.images)
    n_drawn = []

    def run(_):
        return answers(fit(make(kind, random_state=5), data), data.images)

    def disturb():
        while not done:
            torch.manual_seed(len(n_drawn))
            n_drawn.append(torch.rand(3))

    done = []
    with ThreadPoolExecutor(5) as pool:
        noise = pool.submit(disturb)
        try:
            found = list(pool.map(run, range(4)))
        finally:
            done.append(True)
        noise.result()
    for each in found:
        assert_alike(each, alone)


@pytest.mark.parametrize("kind", WITH_NETWORKS)
def test_streams_of_the_process_do_not_move(kind, data):
    torch.manual_seed(1)
    np.random.seed(2)  # noqa: NPY002
    random.seed(3)
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002

    def assert_unmoved():
        assert torch.equal(torch.get_rng_state(), before[0])
        assert joblib.hash(np.random.get_state()) == joblib.hash(before[1])  # noqa: NPY002
        assert random.getstate() == before[2]

    class Watching(TinyPixelNetwork):
        """Looks at the streams in the middle of things."""

        def forward(self, images):
            assert_unmoved()
            torch.nn.functional.dropout(images, 0.1, training=True)
            return super().forward(images)

    changes = {}
    if "network" in SMALL[kind] and SMALL[kind]["network"] is TinyPixelNetwork:
        changes = {"network": Watching}
    model = fit(make(kind, random_state=5, **changes), data)
    assert_unmoved()
    answers(model, data.images)
    copy.deepcopy(model)
    assert_unmoved()
    if hasattr(model, "partial_fit"):
        model.partial_fit(data.images, list(data.masks))
    assert_unmoved()


class _Dropping(TinyPixelNetwork):
    """Draws in training and in prediction."""

    def forward(self, images):
        features = self.up(self.down(images)).relu()
        return self.head(torch.nn.functional.dropout2d(features, 0.5))


def test_networks_that_draw_in_prediction_give_the_same_twice(data):
    model = fit(make(NucleiSegmenter, network=_Dropping), data)
    torch.manual_seed(4)
    first = answers(model, data.images)
    torch.manual_seed(5)
    assert_alike(first, answers(model, data.images))
    again = fit(make(NucleiSegmenter, network=_Dropping), data)
    assert_alike(first, answers(again, data.images))


def small_unet(in_channels, out_channels):
    return UNet(in_channels, out_channels, base_channels=8, depth=3)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_bits_are_the_same_with_the_same_number_of_threads(n_threads, data):
    found = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        # Weights and one answer: all else follows, and threads are slow to meet.
        first, second = (
            {
                "weights": [w.numpy() for w in model.network_.state_dict().values()],
                "predict_proba": list(model.predict_proba(data.images[:1])),
            }
            for model in (
                fit(make(NucleiSegmenter, network=small_unet), data) for _ in range(2)
            )
        )
        assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(found)
    assert_alike(first, second)


def _answers_of_worker(model, images, masks):
    torch.set_num_threads(1)
    return answers(model.fit(images, masks), images)


@pytest.mark.slow
def test_workers_give_what_one_thread_gives(data):
    model, masks = make(NucleiSegmenter, network="unet"), list(data.masks)
    found = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = answers(clone(model).fit(data.images, masks), data.images)
    finally:
        torch.set_num_threads(found)
    with joblib.parallel_config("loky", n_jobs=2):
        results = joblib.Parallel()(
            joblib.delayed(_answers_of_worker)(clone(model), data.images, masks)
            for _ in range(2)
        )
    for each in results:
        assert_alike(each, expected)


# -- modes and defaults of torch -----------------------------------------------------


@contextmanager
def _changed(get, change, value):
    found = get()
    change(value)
    try:
        yield
    finally:
        change(found)


MODES = {
    "no_grad": torch.no_grad,
    "grad off": lambda: torch.set_grad_enabled(False),
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64": lambda: _changed(
        torch.get_default_dtype, torch.set_default_dtype, torch.float64
    ),
    "meta device": lambda: torch.device("meta"),
    "meta by default": lambda: _changed(lambda: None, torch.set_default_device, "meta"),
    "deterministic": lambda: _changed(
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
        True,
    ),
    "cudnn": lambda: torch.backends.cudnn.flags(
        enabled=False, benchmark=True, deterministic=True
    ),
}


def _settings():
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.enabled,
        torch.backends.cudnn.benchmark,
        torch.get_num_threads(),
    )


@pytest.fixture(scope="module", params=WITH_NETWORKS)
def in_plain_mode(request, data, tmp_path_factory):
    """A way to make a model, one pickled after fit, its answers, and those further on.

    Where there is a network, it starts from a weight file.
    """
    kind, start = request.param, {}
    if kind in NETWORKS:
        start = {"weights": tmp_path_factory.mktemp("weights") / "weights.pt"}
        network = fit(make(kind), data).network_
        backbone = getattr(network, "backbone", network)
        torch.save(backbone.state_dict(), start["weights"])
    plain = fit(make(kind, **start), data)
    stored = pickle.dumps(plain)
    expected, further = answers(plain, data.images[:2]), None
    if hasattr(plain, "partial_fit"):
        plain.partial_fit(data.images, list(data.masks))
        further = answers(plain, data.images[:2])
    return partial(make, kind, **start), stored, expected, further


@pytest.mark.parametrize("mode", MODES)
def test_modes_and_defaults_change_nothing(in_plain_mode, mode, data):
    make_model, stored, expected, further = in_plain_mode
    with MODES[mode]():
        before = _settings()
        model = fit(make_model(), data)
        assert_alike(answers(model, data.images[:2]), expected)
        assert_alike(answers(pickle.loads(stored), data.images[:2]), expected)
        assert_alike(answers(copy.deepcopy(model), data.images[:2]), expected)
        if further is not None:
            model.partial_fit(data.images, list(data.masks))
            assert_alike(answers(model, data.images[:2]), further)
        assert _settings() == before
    for part in [model, *vars(model).values()]:
        if isinstance(part, NetworkEstimator) and hasattr(part, "network_"):
            for value in part.network_.state_dict().values():
                assert value.dtype in (torch.float32, torch.int64)
                assert value.device.type == "cpu" and not value.is_inference()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["float64", "meta device", "autocast"])
@pytest.mark.parametrize(
    "model",
    [
        make_small(NucleiSegmenter, network="resunet34", patch_size=64),
        make_small(NucleiSegmenter, targets="voronoi", early_stopping=False),
        make_small(SelfActivationMapper, network="resnet18", method="layercam"),
        make_small(SelfActivationMapper, pretext="simsiam", method="eigencam"),
        make_small(SelfActivationMapper, pretext="contrastive", scale="image"),
        make_small(EvenOddMapper, network="cam_unet", base_channels=4),
        make_labeler(),
    ],
    ids=repr,
)
def test_modes_and_defaults_change_nothing_of_options(model, mode, data):
    model = clone(model).set_params(
        **{
            name: 0
            for name in model.get_params()
            if name.rpartition("__")[2] == "random_state"
        }
    )
    expected = answers(fit(clone(model), data), data.images)
    with MODES[mode]():
        assert_alike(answers(fit(model, data), data.images), expected)


# -- what is not finite --------------------------------------------------------------


LARGE = [
    make_small(NucleiSegmenter, early_stopping=False),
    make_small(NucleiSegmenter, early_stopping=True),
    make_small(NucleiSegmenter, network="unet", early_stopping=False),
    make_small(NucleiDetector, early_stopping=False),
    make_small(RegionSegmenter, early_stopping=False, max_epochs=3),
    make_small(RegionSegmenter, network="unet_in", early_stopping=False),
    make_small(SelfActivationMapper),
    make_small(SelfActivationMapper, network="resnet18", method="eigencam"),
    make_small(SelfActivationMapper, pretext="similarity", method="layercam"),
    make_small(EvenOddMapper),
    make_small(EvenOddMapper, network="cam_unet", base_channels=4, steps_per_epoch=4),
]


# One kind in the plain suite; all others are alike.
ASTRAY = [
    pytest.param(model, rate, marks=marks, id=f"{model!r}-{rate}")
    for rate in (1e30, 3e38)
    for i, model in enumerate(LARGE)
    for marks in [[pytest.mark.slow] if i else []]
]


@pytest.mark.parametrize("model, learning_rate", ASTRAY)
def test_training_that_goes_astray_is_an_error_of_fit(model, learning_rate, data):
    model = clone(model).set_params(random_state=0)
    fit(model, data)
    before = dict(vars(model), learning_rate=learning_rate)
    model.set_params(learning_rate=learning_rate)
    with pytest.raises(FloatingPointError, match="learning_rate"):
        fit(model, data)
    assert_as_before(model, {**before, "learning_rate": model.learning_rate})
    if hasattr(model, "partial_fit"):
        with pytest.raises(FloatingPointError, match="learning_rate"):
            model.partial_fit(data.images, list(data.masks))
        assert_as_before(model, {**before, "learning_rate": model.learning_rate})


def test_a_chain_whose_segmenter_goes_astray_keeps_what_was(data):
    chain = fit(make(PseudoLabelSegmenter), data)
    chain.set_params(segmenter__learning_rate=1e30, segmenter__early_stopping=False)
    before = dict(vars(chain))
    with pytest.raises(FloatingPointError, match="learning_rate"):
        fit(chain, data)
    assert_as_before(chain, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["first", "last", "norm"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_damaged_weights_are_told_in_prediction(kind, where, value, data):
    model = fit(make(kind), data)
    network = model.network_
    if where == "norm":
        damaged = next(
            buffer for name, buffer in network.named_buffers() if "running_var" in name
        )
    else:
        backbone = getattr(network, "backbone", network)
        damaged = list(backbone.parameters())[0 if where == "first" else -1]
    with torch.no_grad():
        damaged[(0,) * damaged.ndim] = value
    for name in METHODS:
        if hasattr(model, name):
            with pytest.raises(FloatingPointError, match="not finite"):
                getattr(model, name)(data.images)


@pytest.mark.parametrize("kind", NETWORKS)
def test_answers_that_overflow_are_told_in_prediction(kind, data):
    model = fit(make(kind), data)
    backbone = getattr(model.network_, "backbone", model.network_)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.mul_(0).add_(1e30)
    name = next(name for name in METHODS if hasattr(model, name))
    with pytest.raises(FloatingPointError, match=r"image 0: .*not finite"):
        getattr(model, name)(data.images)


def test_infinite_masks_among_buffers_are_no_damage(data):
    class Masked(TinyPixelNetwork):
        def __init__(self, in_channels, out_channels):
            super().__init__(in_channels, out_channels)
            self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))

    model = fit(make(NucleiSegmenter, network=Masked), data)
    assert np.isfinite(model.predict_proba(data.images)).all()


def test_interrupted_after_it_went_astray_nothing_is_stored(data):
    class Burning(TinyPixelNetwork):
        n_passes = 0

        def forward(self, images):
            type(self).n_passes += self.training
            if type(self).n_passes == 3:
                with torch.no_grad():
                    self.head.weight.fill_(torch.nan)
                raise KeyboardInterrupt
            return super().forward(images)

    model = make(NucleiSegmenter, network=Burning, early_stopping=False, max_epochs=5)
    with pytest.raises(KeyboardInterrupt):
        fit(model, data)
    assert not hasattr(model, "network_") and not hasattr(model, "n_features_in_")
