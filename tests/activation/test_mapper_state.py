# SPDX-License-Identifier: BSD-3-Clause
"""SelfActivationMapper: seeds, copies, what is left behind, and errors."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import weakref

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from small_mappers import SMALL, TINY, TinyNet

from psmlearn import SelfActivationMapper
from psmlearn.activation import Rotation
from psmlearn.datasets import make_nuclei
from psmlearn.networks import resnet18


@pytest.fixture(scope="module")
def nuclei():
    return make_nuclei(n_images=2, shape=(96, 128), random_state=0)


@pytest.fixture(scope="module")
def resnet_mapper(nuclei):
    return SelfActivationMapper(**SMALL).fit(nuclei.images)


@pytest.fixture(scope="module")
def tiny_mapper(nuclei):
    return SelfActivationMapper(**TINY).fit(nuclei.images)


# -- state ---------------------------------------------------------------------


def test_same_seed_same_bits_and_another_seed_differs(nuclei, resnet_mapper):
    torch.manual_seed(123)
    again = SelfActivationMapper(**SMALL).fit(nuclei.images)
    first = resnet_mapper.transform(nuclei.images)
    np.testing.assert_array_equal(again.transform(nuclei.images), first)
    assert joblib.hash(again) == joblib.hash(resnet_mapper)
    other = SelfActivationMapper(**{**SMALL, "random_state": 1}).fit(nuclei.images)
    assert not np.array_equal(other.transform(nuclei.images), first)


def test_global_state_is_left_alone(nuclei):
    torch.manual_seed(5)
    np.random.seed(5)
    streams = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    with torch.no_grad():
        mapper = SelfActivationMapper(**TINY, method="layercam").fit(nuclei.images)
        first = mapper.transform(nuclei.images)
        pickle.loads(pickle.dumps(mapper))
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        np.testing.assert_array_equal(mapper.transform(nuclei.images), first)
    assert torch.is_grad_enabled()
    assert torch.equal(torch.random.get_rng_state(), streams[0])
    np.testing.assert_array_equal(np.random.get_state()[1], streams[1])


def test_pickle_joblib_and_deepcopy_give_the_same_maps(nuclei, resnet_mapper):
    expected = resnet_mapper.transform(nuclei.images)
    stream = io.BytesIO()
    joblib.dump(resnet_mapper, stream)
    stream.seek(0)
    copies = [
        pickle.loads(pickle.dumps(resnet_mapper)),
        copy.deepcopy(resnet_mapper),
        joblib.load(stream),
    ]
    for mapper in copies:
        assert joblib.hash(mapper) == joblib.hash(resnet_mapper)
        np.testing.assert_array_equal(mapper.transform(nuclei.images), expected)
    assert not hasattr(clone(resnet_mapper), "network_")


def test_transform_leaves_no_hooks_and_no_memory(nuclei, tiny_mapper):
    before = joblib.hash(tiny_mapper)
    tiny_mapper.transform(nuclei.images)
    assert joblib.hash(tiny_mapper) == before
    modules = tiny_mapper.network_.modules()
    assert not any(m._forward_hooks or m._backward_hooks for m in modules)
    assert all(p.grad is None for p in tiny_mapper.network_.parameters())
    mapper = SelfActivationMapper(**TINY).fit(nuclei.images)
    network = weakref.ref(mapper.network_)
    mapper.transform(nuclei.images)
    del mapper
    gc.collect()
    assert network() is None


def test_a_given_module_is_copied(nuclei):
    network = TinyNet(3, 1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    SelfActivationMapper(**{**TINY, "network": network}).fit(nuclei.images)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


def test_weights_are_loaded(nuclei, tmp_path):
    torch.manual_seed(7)
    network = resnet18(3, 1000)
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    mapper = SelfActivationMapper(**SMALL, weights=path, learning_rate=1e-9)
    mapper.fit(nuclei.images)
    weight = mapper.network_.backbone.layer1[0].conv1.weight
    torch.testing.assert_close(weight, network.layer1[0].conv1.weight)


def test_inputs_are_not_written_to(nuclei, tiny_mapper):
    images = (nuclei.images / 255).astype(np.float32)
    images.flags.writeable = False
    before = images.copy()
    stack = tiny_mapper.transform(images)
    SelfActivationMapper(**TINY).fit(images)
    np.testing.assert_array_equal(images, before)
    assert not np.shares_memory(stack, images)


# -- errors --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layers": "layer9"}, "no module 'layer9'"),
        ({"layers": []}, "layers: the name"),
        ({"layers": "fc"}, "feature maps"),
        ({"pretext": "colour"}, "pretext"),
        ({"pretext": Rotation(loss_function="l1")}, "'loss_function' parameter"),
        ({"output_unit": 3}, "has 1 output"),
        ({"device": "cuda:63"}, "not on this machine"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"weights": "no/such.pt"}, "no such file"),
        ({"network": "resnet7"}, "no network named"),
    ],
)
def test_bad_parameters_are_reported_before_training(
    nuclei, monkeypatch, parameters, message
):
    def fail(*args, **kwargs):
        pytest.fail("training started")

    monkeypatch.setattr("psmlearn._engine._train.train_network", fail)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        SelfActivationMapper(**{**SMALL, **parameters}).fit(nuclei.images)


def test_bad_images_are_reported_before_training(nuclei, tiny_mapper):
    with pytest.raises(ValueError, match="image 1"):
        SelfActivationMapper(**TINY).fit([nuclei.images[0], np.full((9, 9, 3), np.nan)])
    with pytest.raises(ValueError, match="channel"):
        tiny_mapper.transform(nuclei.images[..., :1])
    with pytest.raises(ValueError, match="polarity='haematoxylin' needs"):
        SelfActivationMapper(**TINY, polarity="haematoxylin").fit(
            nuclei.images[..., :2]
        )
    with pytest.raises(NotFittedError):
        SelfActivationMapper().transform(nuclei.images)
