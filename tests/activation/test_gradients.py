# SPDX-License-Identifier: BSD-3-Clause
"""Raw maps: by hand, beside captum, and the network left as found."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from psmlearn.activation import activation_maps
from psmlearn.activation._gradients import layer_features, layer_gradients
from psmlearn.networks import resnet18


class Linear(nn.Module):
    """Two positive feature maps and an output linear in them."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 1, bias=False)
        self.weights = nn.Parameter(torch.tensor([3.0, -1.0]))
        with torch.no_grad():
            self.stem.weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))

    def forward(self, images):
        means = self.stem(images).mean(dim=(2, 3))
        return (means * self.weights).sum(dim=1, keepdim=True)


@pytest.fixture
def image():
    return torch.rand((2, 1, 4, 5), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def small_resnet():
    torch.manual_seed(0)
    return resnet18(3, 4)


@pytest.fixture
def batch():
    return torch.rand((2, 3, 64, 96), generator=torch.Generator().manual_seed(1))


def test_gradcam_of_a_linear_network_by_hand(image):
    [maps] = activation_maps(Linear(), image, ["stem"])
    # Gradients are weights / 20 everywhere: (3 * 1 - 1 * 2) * image / 20.
    assert torch.allclose(maps, image[:, 0] / 20, atol=1e-7)


def test_layercam_of_a_linear_network_by_hand(image):
    [maps] = activation_maps(Linear(), image, ["stem"], "layercam")
    assert torch.allclose(maps, 3 * image[:, 0] / 20, atol=1e-7)


def test_gradcam_plus_plus_of_a_linear_network_by_hand(image):
    [maps] = activation_maps(Linear(), image, ["stem"], "gradcam++")
    gradient = 3 / 20  # of the first channel; that of the second is negative
    total = image[:, 0].sum(dim=(1, 2))
    factor = gradient**2 / (2 * gradient**2 + gradient**3 * total)
    weight = 20 * factor * gradient
    assert torch.allclose(maps, weight[:, None, None] * image[:, 0], atol=1e-6)


def test_eigencam_of_collinear_channels_is_the_centred_image(image):
    [maps] = activation_maps(Linear(), image, ["stem"], "eigencam")
    centred = image[:, 0] - image[:, 0].mean(dim=(1, 2), keepdim=True)
    assert torch.allclose(maps, 5**0.5 * centred, atol=1e-5)


def test_gradcam_equals_captum(small_resnet, batch):
    attr = pytest.importorskip("captum.attr")
    network = small_resnet.eval()
    for name in ("layer1", "layer2", "layer1.0"):
        layer = network.get_submodule(name)
        expected = attr.LayerGradCam(network, layer).attribute(batch, target=0)
        [maps] = activation_maps(network, batch, [name])
        expected = expected[:, 0].detach()
        scale = expected.abs().max()
        torch.testing.assert_close(maps / scale, expected / scale, atol=1e-5, rtol=0)


def test_gradients_of_several_layers_equal_full_autograd(small_resnet, batch):
    network = small_resnet.eval()
    names = ["layer2", "layer1.0", "layer1.1"]
    features, gradients = layer_gradients(network, batch, names)
    kept = {}
    for name in names:

        def keep(module, inputs, output, name=name):
            output.retain_grad()
            kept[name] = output

        network.get_submodule(name).register_forward_hook(keep)
    network(batch)[:, 0].sum().backward()
    for name, tap, gradient in zip(names, features, gradients, strict=True):
        torch.testing.assert_close(tap, kept[name].detach())
        torch.testing.assert_close(gradient, kept[name].grad, atol=1e-7, rtol=1e-4)


def test_features_stop_behind_the_last_layer(small_resnet, batch):
    reached = []
    small_resnet.layer2.register_forward_hook(lambda *a: reached.append(1))
    [features] = layer_features(small_resnet, batch, ["layer1"])
    assert features.shape == (2, 64, 16, 24)
    assert reached == []


def _n_hooks(network):
    return sum(len(module._forward_hooks) for module in network.modules())


@pytest.mark.parametrize("method", ["gradcam", "layercam", "gradcam++", "eigencam"])
def test_network_is_left_as_found(small_resnet, batch, method):
    network = small_resnet.train()
    network.layer1.eval()
    network.conv1.requires_grad_(False)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        activation_maps(network, batch, ["layer1", "layer3"], method)
        assert not torch.is_grad_enabled()
    assert network.training and network.layer2.training and not network.layer1.training
    assert not network.conv1.weight.requires_grad
    assert network.fc.weight.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())
    assert _n_hooks(network) == 0
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


def test_hooks_and_modes_come_back_after_an_error(small_resnet, batch):
    network = small_resnet.train()
    with pytest.raises(ValueError, match="feature maps"):
        activation_maps(network, batch, ["layer1", "fc"])

    def fail(outputs):
        raise RuntimeError("score")

    with pytest.raises(RuntimeError, match="score"):
        activation_maps(network, batch, ["layer1"], score=fail)
    assert _n_hooks(network) == 0
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_maps_work_in_inference_mode(small_resnet, batch):
    [expected] = activation_maps(small_resnet, batch, ["layer1"])
    with torch.inference_mode():
        [maps] = activation_maps(small_resnet, batch.clone(), ["layer1"])
    assert torch.equal(maps, expected)


def test_in_place_layers_do_not_spoil_what_is_kept():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(3, 1, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    images = torch.rand((1, 1, 8, 8))
    [feature], _ = layer_gradients(network, images, ["0"])
    with torch.no_grad():
        assert torch.equal(feature, network[0](images))
    assert feature.min() < 0


def test_unknown_layers_and_methods_are_refused(small_resnet, batch):
    with pytest.raises(ValueError, match="no module 'layer9'.*layer1"):
        activation_maps(small_resnet, batch, ["layer9"])
    with pytest.raises(ValueError, match="method must be one of"):
        activation_maps(small_resnet, batch, ["layer1"], "scorecam")
