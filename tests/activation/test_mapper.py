# SPDX-License-Identifier: BSD-3-Clause
"""SelfActivationMapper: training, scale, polarity and tiles."""

from __future__ import annotations

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from small_mappers import SMALL, TINY, TinyNet

from psmlearn import SelfActivationMapper
from psmlearn.activation import (
    Contrastive,
    MeanValue,
    Pretext,
    Rotation,
    Similarity,
    SimSiam,
    activation_maps,
)
from psmlearn.base import EarlyStopping
from psmlearn.datasets import make_nuclei


@pytest.fixture(scope="module")
def nuclei():
    return make_nuclei(n_images=2, shape=(96, 128), random_state=0)


@pytest.fixture(scope="module")
def resnet_mapper(nuclei):
    return SelfActivationMapper(**SMALL).fit(nuclei.images)


@pytest.fixture(scope="module")
def tiny_mapper(nuclei):
    return SelfActivationMapper(**TINY).fit(nuclei.images)


# -- training ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pretext", "rate"),
    [
        ("mean_value", 1e-2),
        ("similarity", 1e-2),
        ("contrastive", 1e-2),
        ("simsiam", 1e-2),
        ("rotation", 3e-2),
    ],
)
def test_every_pretext_lowers_its_loss(nuclei, pretext, rate):
    images = nuclei.images / 255
    if pretext == "rotation":  # tissue has no upside: give it steps that have one
        images = images * np.tile(np.linspace(0.2, 1, 8), 12)[:, None, None]
    mapper = SelfActivationMapper(
        **{**TINY, "max_epochs": 6, "steps_per_epoch": 12, "batch_size": 8},
        pretext=pretext,
        learning_rate=rate,
    ).fit(images)
    curve = mapper.loss_curve_
    assert mapper.n_epochs_ == len(curve) == 6
    assert mapper.best_loss_ == min(curve)
    assert min(curve[-2:]) < 0.95 * curve[0] or curve[-1] < curve[0] - 0.1
    outputs = mapper.network_(torch.rand(8, 3, 32, 32))
    assert outputs.std(dim=0).max() > 1e-3  # no collapse


@pytest.mark.parametrize(
    "literal",
    [
        {
            "pretext": Similarity(loss_function="l1", augment=False),
            "batch_size": 1,
        },
        {"pretext": Contrastive(loss_function="mse", augment=False)},
        {"pretext": Rotation(loss_function="mse", embedding_dim=1000, augment=False)},
        {
            "pretext": SimSiam(
                loss_function="l1",
                embedding_dim=1000,
                train_heads=False,
                augment=False,
            )
        },
        {"pretext": MeanValue(loss_function="l1", target="grey", augment=False)},
    ],
    ids=lambda literal: type(literal["pretext"]).__name__,
)
def test_literal_configurations_run_to_the_end(nuclei, literal):
    paper = {
        "layers": ["stem", "block"],
        "crop": "center",
        "patch_size": 64,
        "input_scale": "byte",
        "map_input_scale": "unit",
        "output_unit": 0,
        "channel_weights": "image",
        "scale": "image",
        "polarity": None,
        "learning_rate": 1e-4,
        "weight_decay": 0,
        "schedule": "constant",
        "max_gradient_norm": None,
    }
    mapper = SelfActivationMapper(**{**TINY, **paper, **literal}).fit(nuclei.images)
    maps = mapper.transform(nuclei.images)[..., -1]
    assert np.isfinite(maps).all()
    assert mapper.polarity_.tolist() == [1, 1]
    # Every image is stretched to the whole range.
    np.testing.assert_allclose(maps.min(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(maps.max(axis=(1, 2)), 1, atol=1e-4)


def test_literal_map_equals_its_formula(nuclei):
    mapper = SelfActivationMapper(
        **SMALL,
        layers=["layer1.0", "layer1.1"],
        input_scale="byte",
        map_input_scale="unit",
        output_unit=0,
        channel_weights="image",
        scale="image",
        polarity=None,
        output="maps",
    ).fit(nuclei.images)
    image = nuclei.images[:1] / np.float32(255)
    batch = torch.from_numpy(image).permute(0, 3, 1, 2)
    raw = activation_maps(mapper.network_.backbone, batch, ["layer1.0", "layer1.1"])
    total = 0
    for [m] in raw:
        m = m.numpy().astype(float)
        m = (m - m.min()) / (m.max() - m.min() + 1e-12)
        total = total + np.maximum(m, 0)
    total = total / 2
    # Cells are centred on every fourth pixel, where nothing is interpolated. The
    # last stretch follows the interpolation, hence a line and not equality.
    cells = mapper.transform(image)[0, ::4, ::4, 0]
    assert np.corrcoef(cells.ravel(), total.ravel())[0, 1] > 1 - 1e-6


def test_early_stopping_keeps_the_best_weights(nuclei):
    mapper = SelfActivationMapper(
        **{**TINY, "max_epochs": 30, "learning_rate": 1e-2},
        early_stopping=EarlyStopping(validation_fraction=0.5, n_iter_no_change=2),
    ).fit(nuclei.images)
    assert mapper.n_epochs_ < 30
    assert len(mapper.validation_loss_curve_) == mapper.n_epochs_
    assert mapper.best_loss_ == min(mapper.validation_loss_curve_)


def test_one_image_smaller_than_a_patch_is_enough():
    images = make_nuclei(n_images=1, shape=(24, 20), random_state=1).images
    stack = SelfActivationMapper(**SMALL).fit_transform(images)
    assert stack.shape == (1, 24, 20, 4)
    assert np.isfinite(stack).all()


def test_labels_change_nothing(nuclei, tiny_mapper):
    again = SelfActivationMapper(**TINY).fit(nuclei.images, nuclei.masks)
    assert joblib.hash(again) == joblib.hash(tiny_mapper)


def test_partial_fit_goes_on(nuclei):
    mapper = SelfActivationMapper(**TINY).partial_fit(nuclei.images[:1])
    first = mapper.network_.backbone.fc.weight.clone()
    mean = mapper.network_.input_mean.clone()
    mapper.partial_fit(nuclei.images[1:])
    assert mapper.n_epochs_ == len(mapper.loss_curve_) == 2
    assert not torch.equal(first, mapper.network_.backbone.fc.weight)
    assert torch.equal(mean, mapper.network_.input_mean)
    with pytest.raises(ValueError, match="channel"):
        mapper.partial_fit(nuclei.images[..., :1])


def test_warm_start_goes_on_and_cold_starts_anew(nuclei):
    warm = SelfActivationMapper(**TINY, warm_start=True)
    warm.fit(nuclei.images).fit(nuclei.images)
    assert warm.n_epochs_ == 2
    assert warm.loss_curve_[0] != warm.loss_curve_[1]
    cold = SelfActivationMapper(**TINY).fit(nuclei.images)
    before = joblib.hash(cold)
    assert joblib.hash(cold.fit(nuclei.images)) == before
    with pytest.raises(ValueError, match="cannot go on with another network"):
        warm.set_params(pretext="simsiam").fit(nuclei.images)


def test_interrupted_fit_is_usable(nuclei, monkeypatch):
    calls = []
    original = TinyNet.forward

    def forward(self, images):
        if self.training:
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
        return original(self, images)

    monkeypatch.setattr(TinyNet, "forward", forward)
    mapper = SelfActivationMapper(**{**TINY, "max_epochs": 5})
    with pytest.raises(KeyboardInterrupt):
        mapper.fit(nuclei.images)
    assert mapper.n_epochs_ == 1
    assert np.isfinite(mapper.transform(nuclei.images)).all()


# -- maps ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gradcam", "layercam", "gradcam++", "eigencam"])
@pytest.mark.parametrize("channel_weights", ["fit", "image"])
def test_methods_give_finite_maps_in_range(nuclei, method, channel_weights):
    mapper = SelfActivationMapper(
        **{**TINY, "layers": ["stem", "block"]},
        method=method,
        channel_weights=channel_weights,
        output="maps",
    ).fit(nuclei.images)
    maps = mapper.transform(nuclei.images)
    assert maps.shape == (2, 96, 128, 1)
    assert maps.dtype == np.float32
    assert 0 <= maps.min() < maps.max() <= 1
    assert maps.std() > 0.01
    assert mapper.polarity_.shape == (2,)


def test_stack_holds_the_image_and_the_map(nuclei, resnet_mapper):
    stack = resnet_mapper.transform(nuclei.images)
    assert stack.shape == (2, 96, 128, 4)
    assert stack.dtype == np.float32
    np.testing.assert_array_equal(
        stack[..., :3], nuclei.images.astype(np.float32) / np.float32(255)
    )
    alone = copy.deepcopy(resnet_mapper).set_params(output="maps")
    np.testing.assert_array_equal(
        alone.transform(nuclei.images)[..., 0], stack[..., -1]
    )


@pytest.mark.parametrize(
    "layers",
    [pytest.param("layer1", marks=pytest.mark.slow), ["layer1", "layer2.0"]],
)
def test_tiles_equal_the_whole(layers):
    images = make_nuclei(n_images=1, shape=(110, 141), random_state=2).images
    mapper = SelfActivationMapper(**SMALL, layers=layers).fit(images)
    whole = mapper.transform(images)
    for tile_size in (64, 100):
        tiled = mapper.set_params(tile_size=tile_size).transform(images)
        np.testing.assert_allclose(tiled, whole, atol=1e-4)


@pytest.mark.parametrize("method", ["gradcam", "eigencam"])
def test_weights_of_an_image_are_averaged_over_its_tiles(method):
    images = make_nuclei(n_images=1, shape=(192, 128), random_state=2).images
    mapper = SelfActivationMapper(
        **SMALL, channel_weights="image", method=method, scale="image", output="maps"
    ).fit(images)
    whole = mapper.transform(images)[0, ..., 0]
    tiled = mapper.set_params(tile_size=128).transform(images)[0, ..., 0]
    # Zero padding at the rim of tiles changes gradients a little: about equal,
    # and without steps between tiles.
    assert np.corrcoef(whole.ravel(), tiled.ravel())[0, 1] > 0.97
    if method == "eigencam":
        np.testing.assert_allclose(tiled, whole, atol=1e-4)


def test_factories_tile_exactly_too(nuclei, tiny_mapper):
    mapper = copy.deepcopy(tiny_mapper)
    whole = mapper.transform(nuclei.images)
    tiled = mapper.set_params(tile_size=32).transform(nuclei.images)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (31, 33), (64, 5)])
def test_odd_and_tiny_sizes(resnet_mapper, shape):
    image = np.random.default_rng(0).random((*shape, 3))
    [stack] = resnet_mapper.transform([image])
    assert stack.shape == (*shape, 4)
    assert np.isfinite(stack).all()


def test_a_list_of_sizes_equals_one_by_one(nuclei, resnet_mapper):
    first, second = nuclei.images
    images = [first, second[:50, :70], second]
    together = resnet_mapper.transform(images)
    assert isinstance(together, list)
    for image, stack in zip(images, together, strict=True):
        np.testing.assert_allclose(
            resnet_mapper.transform([image])[0], stack, atol=1e-5
        )


def _contrast(stack, mask):
    return stack[mask, -1].mean() - stack[~mask, -1].mean()


@pytest.mark.parametrize("sign", [1, -1])
def test_maps_are_high_on_nuclei_whatever_the_sign_of_the_output(nuclei, sign):
    class Signed(TinyNet):
        def forward(self, images):
            return sign * super().forward(images)

    torch.manual_seed(0)
    network = Signed(3, 1)
    with torch.no_grad():  # an output that rises with darkness, times sign
        network.stem[0].weight.copy_(-network.stem[0].weight.abs())
        network.block[0].weight.abs_()
        network.fc.weight.abs_()
    options = {**TINY, "network": network, "learning_rate": 1e-8}
    mapper = SelfActivationMapper(**options).fit(nuclei.images)
    assert mapper.polarity_.tolist() == [sign]
    stacks = mapper.transform(nuclei.images)
    for stack, mask in zip(stacks, nuclei.masks > 0, strict=True):
        assert _contrast(stack, mask) > 0.1
    bare = SelfActivationMapper(**options, polarity=None).fit(nuclei.images)
    assert bare.polarity_.tolist() == [1]
    bright = SelfActivationMapper(**options, polarity="bright").fit(nuclei.images)
    assert bright.polarity_.tolist() == [-sign]


def test_default_finds_synthetic_nuclei_and_leaves_empty_images_empty(nuclei):
    mapper = SelfActivationMapper(
        **{**TINY, "max_epochs": 3, "steps_per_epoch": 20, "learning_rate": 1e-2}
    ).fit(nuclei.images)
    stacks = mapper.transform(nuclei.images)
    truth = (nuclei.masks > 0).ravel()
    assert np.corrcoef(stacks[..., -1].ravel(), truth)[0, 1] > 0.5
    blank = np.full((1, 96, 96, 3), np.median(nuclei.images, axis=(0, 1, 2)), np.uint8)
    assert np.quantile(mapper.transform(blank)[..., -1], 0.95) < 0.5


@pytest.mark.parametrize("n_channels", [1, 2, 5])
def test_other_numbers_of_channels(n_channels):
    images = np.random.default_rng(0).random((2, 40, 40, n_channels))
    mapper = SelfActivationMapper(**TINY).fit(images)
    assert mapper.transform(images).shape == (2, 40, 40, n_channels + 1)
    assert mapper.get_feature_names_out().tolist() == [
        *(f"channel{i}" for i in range(n_channels)),
        "activation",
    ]


def test_constant_images_train_and_map():
    images = np.full((1, 40, 40, 3), 0.5)
    maps = SelfActivationMapper(**TINY, output="maps").fit_transform(images)
    assert np.isfinite(maps).all()


def test_feature_names(tiny_mapper):
    assert tiny_mapper.get_feature_names_out().tolist() == [
        "red",
        "green",
        "blue",
        "activation",
    ]
    assert tiny_mapper.get_feature_names_out(["a", "b", "c"]).tolist()[0] == "a"
    with pytest.raises(ValueError, match="input_features"):
        tiny_mapper.get_feature_names_out(["a"])
    maps = copy.deepcopy(tiny_mapper).set_params(output="maps")
    assert maps.get_feature_names_out().tolist() == ["activation"]


class Brightest(Pretext):
    """One's own task: regress the greatest value of a crop, from its outputs."""

    _parameter_constraints = {**Pretext._parameter_constraints, "power": [int]}

    def __init__(self, *, power=1, augment=True):
        super().__init__(augment=augment)
        self.power = power

    def targets(self, patches):
        return patches.max(axis=(1, 2, 3)) ** self.power

    def loss(self, network, crops, targets, generator):
        found = network(self.view(crops, generator))[:, 0].float()
        wanted = (targets - network.target_mean) / network.target_std
        return (found - wanted).abs().mean()


def test_a_pretext_of_ones_own(nuclei):
    mapper = SelfActivationMapper(**TINY, pretext=Brightest(power=2))
    stacks = mapper.fit_transform(nuclei.images)
    assert np.isfinite(stacks).all()
    network = mapper.network_
    assert network.target_std > 0 and network.target_std != 1
    assert mapper.get_params()["pretext__power"] == 2
    again = clone(mapper).set_params(pretext__power=3).fit(nuclei.images)
    assert again.loss_curve_ != mapper.loss_curve_
    copied = pickle.loads(pickle.dumps(mapper))
    np.testing.assert_array_equal(copied.transform(nuclei.images), stacks)


def test_a_named_pretext_is_that_object_with_its_defaults(nuclei):
    named = SelfActivationMapper(**TINY, pretext="contrastive").fit(nuclei.images)
    given = SelfActivationMapper(**TINY, pretext=Contrastive()).fit(nuclei.images)
    assert named.loss_curve_ == given.loss_curve_


def test_options_are_searched_through_the_object(nuclei):
    mapper = SelfActivationMapper(**TINY, pretext=Contrastive(), output="maps")
    search = GridSearchCV(
        mapper,
        {"pretext__margin": [0.1, 0.9], "early_stopping": [EarlyStopping(), False]},
        scoring=lambda estimator, X, y=None: -estimator.best_loss_,
        cv=2,
    ).fit(list(nuclei.images))
    assert search.best_params_["pretext__margin"] == 0.1
    assert mapper.pretext.margin == "auto"  # the search trained copies


def test_bad_options_name_the_option(nuclei):
    mapper = SelfActivationMapper(**TINY, pretext=Contrastive(margin=-1))
    with pytest.raises(ValueError, match="'margin' parameter of Contrastive"):
        mapper.fit(nuclei.images)
    mapper = SelfActivationMapper(
        **TINY, early_stopping=EarlyStopping(validation_fraction=3)
    )
    with pytest.raises(ValueError, match="'validation_fraction' parameter of Early"):
        mapper.fit(nuclei.images)
