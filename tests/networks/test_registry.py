# SPDX-License-Identifier: BSD-3-Clause
"""Networks by name, factory and copy."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from psmlearn.networks import (
    UNet,
    _registry,
    build_network,
    list_networks,
    register_network,
)

CLASSIFIERS = {"res2net101_26w_4s", "resnet18", "resnet34", "resnet50"}
PIXELS = {"resunet34", "unet", "unet_in"}


def test_names_are_listed():
    assert CLASSIFIERS | PIXELS == _registry._OWN <= set(list_networks())
    assert list_networks() == sorted(list_networks())


@pytest.mark.parametrize("name", sorted(CLASSIFIERS | PIXELS))
def test_every_name_builds(name):
    network = build_network(name, 2, 5).eval()
    with torch.inference_mode():
        output = network(torch.rand(1, 2, 64, 32))
    assert output.shape == ((1, 5) if name in CLASSIFIERS else (1, 5, 64, 32))
    assert network.stride % 2 == 0
    assert network.halo % network.stride == 0
    assert isinstance(network.exact_tiling, bool)


def test_options_reach_the_factory():
    assert build_network("unet", 1, 2, base_channels=4, depth=2).halo == 28


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="named 'u-net'.*resnet18.*unet"):
        build_network("u-net", 3, 2)


@pytest.mark.parametrize(
    ("factory", "out_channels"),
    [
        (lambda n_in, n_out: nn.Conv2d(n_in, n_out, 1), 2),
        (lambda n_in: nn.Conv2d(n_in, 7, 1), 7),
        (lambda: nn.Conv2d(3, 8, 1), 8),
        (lambda *sizes: nn.Conv2d(*sizes, 1), 2),
        (partial(UNet, base_channels=2, depth=1), 2),
        (partial(nn.Conv2d, kernel_size=1), 2),
        (UNet, 2),
    ],
)
def test_factories(factory, out_channels):
    network = build_network(factory, 3, 2)
    with torch.inference_mode():
        shape = network.eval()(torch.rand(1, 3, 16, 16)).shape
    assert shape == (1, out_channels, 16, 16)


@pytest.mark.parametrize("made", [None, "unet", nn.Module])
def test_factory_must_return_a_module(made):
    with pytest.raises(TypeError, match="must return a torch.nn.Module, it returned"):
        build_network(lambda n_in, n_out: made, 3, 2)


@pytest.mark.parametrize("wrong", [None, 3, ["unet"]])
def test_other_kinds_are_refused(wrong):
    with pytest.raises(TypeError, match="given by its name"):
        build_network(wrong, 3, 2)


@pytest.mark.parametrize("sizes", [(0, 2), (3, 0)])
def test_sizes_are_checked_for_factories_too(sizes):
    with pytest.raises(ValueError, match="must be at least 1"):
        build_network(lambda n_in, n_out: nn.Identity(), *sizes)


def test_a_module_is_copied_and_never_changed():
    torch.manual_seed(0)
    given = UNet(3, 2, base_channels=2, depth=1)
    before = {key: value.clone() for key, value in given.state_dict().items()}
    built = build_network(given, 3, 2)
    assert built is not given
    for key, value in built.state_dict().items():
        assert torch.equal(value, before[key])
    with torch.no_grad():
        for weight in built.parameters():
            weight.add_(1.0)
    built.eval()
    assert given.training
    for key, value in given.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_module_takes_no_options():
    with pytest.raises(ValueError, match=r"takes no options, got \['depth'\]"):
        build_network(UNet(3, 2, base_channels=2), 3, 2, depth=3)


def test_names_of_ones_own(monkeypatch):
    monkeypatch.setattr(_registry, "_FACTORIES", dict(_registry._FACTORIES))
    register_network("mine", partial(UNet, base_channels=4))
    assert "mine" in list_networks()
    assert build_network("mine", 3, 2).head.in_channels == 4
    register_network("mine", partial(UNet, base_channels=8))
    assert build_network("mine", 3, 2).head.in_channels == 8
    with pytest.raises(ValueError, match="'unet' is a network of psmlearn"):
        register_network("unet", UNet)
    with pytest.raises(ValueError, match="empty"):
        register_network(" ", UNet)
    with pytest.raises(TypeError, match="a text is expected, got int"):
        register_network(3, UNet)
    with pytest.raises(TypeError, match="a function"):
        register_network("mine", "unet")
