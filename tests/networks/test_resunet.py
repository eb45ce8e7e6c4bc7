# SPDX-License-Identifier: BSD-3-Clause
"""The ResUNet-34: its encoder takes ResNet-34 weights, its decoder the paper's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from psmlearn.networks import ResUNet34, resnet34


def test_attributes():
    network = ResUNet34(3, 2)
    assert (network.stride, network.exact_tiling) == (32, False)
    assert network.halo % network.stride == 0


def test_encoder_takes_resnet34_weights():
    torch.manual_seed(0)
    state = resnet34().state_dict()
    torch.manual_seed(1)
    network = ResUNet34(3, 2)
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert unexpected == ["fc.weight", "fc.bias"]
    assert all(key.startswith(("decoder.", "head.")) for key in missing)
    assert torch.equal(network.layer4[2].conv2.weight, state["layer4.2.conv2.weight"])


def test_decoder_is_the_papers():
    network = ResUNet34(3, 2)
    ups = [block.up for block in network.decoder]
    assert [(up.in_channels, up.out_channels) for up in ups] == [
        (512, 256),
        (256, 128),
        (128, 64),
        (64, 64),
    ]
    convs = [
        (block.convs[0].in_channels, block.convs[4].in_channels)
        for block in network.decoder
    ]
    assert convs == [(512, 256), (256, 128), (128, 64), (128, 64)]
    kinds = [nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.Dropout2d] * 2
    for block in network.decoder:
        assert [type(layer) for layer in block.convs] == kinds
        assert block.convs[3].p == 0.1
        assert block.up.kernel_size == (2, 2)
    assert isinstance(network.head, nn.ConvTranspose2d)
    assert network.head.kernel_size == network.head.stride == (2, 2)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    network = ResUNet34(3, 2, dropout=0.5)
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        network.train()
        assert not torch.equal(network(image), network(image))
        network.eval()
        assert torch.equal(network(image), network(image))


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 2])
def test_wrong_dropout_is_refused(dropout):
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\)"):
        ResUNet34(3, 2, dropout=dropout)


def test_sides_must_be_multiples_of_the_stride():
    with pytest.raises(ValueError, match="multiples of 32, got 48 x 32"):
        ResUNet34(3, 2)(torch.zeros(1, 3, 48, 32))
