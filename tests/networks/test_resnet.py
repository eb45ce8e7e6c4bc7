# SPDX-License-Identifier: BSD-3-Clause
"""Residual networks: names, counts, and how far a layer's map reaches."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from psmlearn.networks import res2net101_26w_4s, resnet18, resnet34, resnet50

BUILDERS = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "res2net101_26w_4s": res2net101_26w_4s,
}
N_BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "res2net101_26w_4s": (3, 4, 23, 3),
}
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@pytest.fixture(scope="module")
def networks():
    """All four networks with 1000 classes, for reading only."""
    torch.manual_seed(0)
    return {name: build().eval() for name, build in BUILDERS.items()}


def add_norm(shapes: dict, name: str, channels: int) -> None:
    """Add the entries of one batch norm."""
    for key in NORM:
        shapes[f"{name}.{key}"] = () if key == "num_batches_tracked" else (channels,)


def block_shapes(name: str, before: int, width: int) -> tuple[dict, int]:
    """Give the entries of one block without shortcut, and its output channels."""
    if name == "res2net101_26w_4s":
        group = width * 26 // 64
        convs = {"conv1": (4 * group, before, 1, 1)}
        convs |= {f"convs.{i}": (group, group, 3, 3) for i in range(3)}
        convs["conv3"] = (4 * width, 4 * group, 1, 1)
    elif name == "resnet50":
        convs = {
            "conv1": (width, before, 1, 1),
            "conv2": (width, width, 3, 3),
            "conv3": (4 * width, width, 1, 1),
        }
    else:
        convs = {"conv1": (width, before, 3, 3), "conv2": (width, width, 3, 3)}
    shapes = {}
    for key, shape in convs.items():
        shapes[f"{key}.weight"] = shape
        add_norm(shapes, key.replace("conv", "bn"), shape[0])
    return shapes, 4 * width if "conv3" in convs else width


def expected_shapes(name: str) -> dict[str, tuple]:
    """Write down the published state dict's keys and shapes by rule."""
    shapes = {"conv1.weight": (64, 3, 7, 7)}
    add_norm(shapes, "bn1", 64)
    before = 64
    for stage, n_blocks in enumerate(N_BLOCKS[name]):
        width = 64 * 2**stage
        for block in range(n_blocks):
            prefix = f"layer{stage + 1}.{block}"
            inner, after = block_shapes(name, before, width)
            shapes |= {f"{prefix}.{key}": shape for key, shape in inner.items()}
            if block == 0 and (stage > 0 or before != after):
                shapes[f"{prefix}.downsample.0.weight"] = (after, before, 1, 1)
                add_norm(shapes, f"{prefix}.downsample.1", after)
            before = after
    return shapes | {"fc.weight": (1000, before), "fc.bias": (1000,)}


@pytest.mark.parametrize("name", BUILDERS)
def test_state_dict_is_the_published_one(networks, name):
    state = networks[name].state_dict()
    assert {key: tuple(v.shape) for key, v in state.items()} == expected_shapes(name)


@pytest.mark.parametrize(
    ("name", "n_weights", "n_entries"),
    [
        ("resnet18", 11_689_512, 122),
        ("resnet34", 21_797_672, 218),
        ("resnet50", 25_557_032, 320),
        ("res2net101_26w_4s", 45_206_688, 1022),
    ],
)
def test_number_of_weights_is_the_published_one(networks, name, n_weights, n_entries):
    network = networks[name]
    assert sum(weight.numel() for weight in network.parameters()) == n_weights
    assert len(network.state_dict()) == n_entries


def test_resnet50_strides_on_the_3x3_convolution(networks):
    block = networks["resnet50"].layer2[0]
    assert block.conv1.stride == (1, 1)
    assert block.conv2.stride == (2, 2)


def test_res2net_cascade_follows_the_definition(networks):
    """Compare both kinds of block with the formula, written out step by step."""
    stage = networks["res2net101_26w_4s"].layer2
    features = torch.rand(1, 256, 12, 8)
    with torch.inference_mode():
        for index in (0, 1):
            block = stage[index]
            split = torch.relu(block.bn1(block.conv1(features))).chunk(4, dim=1)

            def apply(i, group, block=block):
                return torch.relu(block.bns[i](block.convs[i](group)))

            first = apply(0, split[0])
            if index == 0:
                second, third = apply(1, split[1]), apply(2, split[2])
                last = nn.functional.avg_pool2d(split[3], 3, stride=2, padding=1)
                shortcut = block.downsample(features)
            else:
                second = apply(1, split[1] + first)
                third = apply(2, split[2] + second)
                last, shortcut = split[3], features
            joined = block.conv3(torch.cat([first, second, third, last], dim=1))
            expected = torch.relu(block.bn3(joined) + shortcut)
            output = block(features)
            torch.testing.assert_close(output, expected)
            features = output


@pytest.mark.parametrize("name", BUILDERS)
def test_output_shapes(networks, name):
    network = networks[name]
    image = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        assert network(image).shape == (2, 1000)
        features = network.forward_features(image)
    assert features.shape == (2, network.n_features, 2, 3)
    assert network.n_features == (512 if name in ("resnet18", "resnet34") else 2048)


def test_odd_channels_and_sizes():
    torch.manual_seed(0)
    network = resnet18(5, 3).eval()
    with torch.inference_mode():
        assert network(torch.rand(2, 5, 45, 37)).shape == (2, 3)
    with pytest.raises(ValueError, match=r"\(n, 5, height, width\)"):
        network(torch.rand(2, 3, 64, 64))


@pytest.mark.parametrize("name", BUILDERS)
def test_gradients_reach_every_weight(name):
    torch.manual_seed(0)
    network = BUILDERS[name](3, 2).train()
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    idle = [n for n, w in network.named_parameters() if not w.grad.any()]
    assert idle == []


def test_initial_weights():
    torch.manual_seed(0)
    network = resnet18(3, 2)
    weight = network.layer3[0].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)
    assert torch.equal(network.bn1.weight, torch.ones(64))
    assert torch.equal(network.bn1.bias, torch.zeros(64))


def test_copies_and_pickles_are_equal_and_apart():
    torch.manual_seed(0)
    network = resnet18(3, 2).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network(image)
        for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert torch.equal(other(image), expected)
            other.fc.bias.add_(1.0)
            assert torch.equal(network(image), expected)


@pytest.mark.parametrize("name", BUILDERS)
def test_layer_strides_are_those_of_the_maps(networks, name):
    network = networks[name]
    image = features = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        for layer in ("conv1", "bn1", "relu", "maxpool", *STAGES):
            features = getattr(network, layer)(features)
            stride = network.layer_stride(layer)
            assert stride * features.shape[2] == image.shape[2]
            assert network.layer_halo(layer) % 32 == 0
    assert network.layer_halo("layer2.0.conv1") == network.layer_halo("layer2")
    assert network.halo == network.layer_halo("layer1")
    assert network.stride == 32 and network.exact_tiling is False


STAGES = ("layer1", "layer2", "layer3", "layer4")


def features_of(network, image, last):
    """Run the network up to a stage."""
    for layer in ("conv1", "bn1", "relu", "maxpool", *STAGES):
        image = getattr(network, layer)(image)
        if layer == last:
            break
    return image


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer1"),
        ("resnet18", "layer2"),
        ("resnet18", "layer3"),
        ("resnet34", "layer2"),
        ("resnet50", "layer1"),
        ("resnet50", "layer3"),
        ("res2net101_26w_4s", "layer1"),
        ("res2net101_26w_4s", "layer2"),
    ],
)
def test_tiles_of_a_map_equal_the_whole(networks, name, layer):
    network = networks[name]
    halo, stride = network.layer_halo(layer), network.layer_stride(layer)
    generator = torch.Generator().manual_seed(2)
    height = 2 * halo + 96
    image = torch.rand(1, 3, height, 64, generator=generator)
    with torch.inference_mode():
        expected = features_of(network, image, layer)
        for top in (0, halo + 32, height - 32):
            row, bottom = max(top - halo, 0), min(top + 32 + halo, height)
            tile = features_of(network, image[:, :, row:bottom], layer)
            core = tile[:, :, (top - row) // stride :][:, :, : 32 // stride]
            whole = expected[:, :, top // stride :][:, :, : 32 // stride]
            scale = whole.abs().max().item()
            torch.testing.assert_close(core, whole, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "res2net101_26w_4s"])
def test_receptive_radius_is_what_gradients_reach(name):
    network = BUILDERS[name](1, 1).double().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.fill_(1.0 / module.weight[0].numel())
    network.maxpool = nn.AvgPool2d(3, stride=2, padding=1)
    for layer in ("layer1", "layer2"):
        radius, step = network._reach(layer)
        middle = (radius // step + 2) * step
        image = torch.ones(1, 1, 2 * middle, 32, dtype=torch.double)
        image.requires_grad_()
        features = features_of(network, image, layer)
        features[:, :, middle // step].sum().backward()
        rows = image.grad[0, 0].sum(dim=1).nonzero()[:, 0]
        assert middle - int(rows[0]) == radius
        assert int(rows[-1]) - middle <= radius


@pytest.mark.parametrize("layer", ["layer9", "fc", "avgpool", "layer1.7", ""])
def test_unknown_layers_are_refused(networks, layer):
    with pytest.raises(ValueError, match="no layer .*expected one of conv1"):
        networks["resnet18"].layer_halo(layer)
    with pytest.raises(ValueError, match="no layer"):
        networks["resnet18"].layer_stride(layer)
