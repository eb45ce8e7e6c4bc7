# SPDX-License-Identifier: BSD-3-Clause
"""Pretext losses: the literal ones against their formulas, the sound ones sound."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.base import clone
from torch import nn

from psmlearn.activation import (
    Contrastive,
    MeanValue,
    Pretext,
    Rotation,
    Similarity,
    SimSiam,
)
from psmlearn.activation._pretexts import PRETEXTS, PretextNetwork, measure_outputs


class Tiny(nn.Module):
    """Some convolutions, a mean, and a linear layer; not symmetric under turns."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3, stride=2, padding=1)
        self.act = nn.ReLU()
        self.fc = nn.Linear(4, out_channels)

    def forward(self, images):
        return self.fc(self.act(self.conv(images)).mean(dim=(2, 3)))


class Loss:
    """A pretext with a network of its own, called on crops."""

    def __init__(self, pretext, input_scale="byte"):
        torch.manual_seed(0)
        self.pretext = pretext
        self.network = PretextNetwork(Tiny, 3, pretext.n_outputs, pretext.heads)
        self.network.input_scale = input_scale

    def __call__(self, crops, targets, generator):
        return self.pretext.loss(self.network, crops, targets, generator)


@pytest.fixture
def crops():
    return torch.rand((4, 3, 12, 12), generator=torch.Generator().manual_seed(3))


def compute(loss, crops, targets=None, seed=5):
    targets = torch.zeros(len(crops)) if targets is None else targets
    generator = torch.Generator().manual_seed(seed)
    return loss(crops, targets, generator)


def drawn_turns(seed=5):
    generator = torch.Generator().manual_seed(seed)
    return int(torch.randint(4, (1,), generator=generator))


def test_literal_similarity(crops):
    loss = Loss(Similarity(loss_function="l1", augment=False))
    f = loss.network.backbone
    expected = (f(255 * crops) - f(255 * crops.flip(-1, -2))).abs().mean()
    assert loss.pretext.n_outputs == 1
    assert compute(loss, crops).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("factor", [1, 1e-3])
def test_literal_contrastive(crops, factor):
    loss = Loss(Contrastive(loss_function="mse", augment=False))
    with torch.no_grad():
        loss.network.backbone.fc.weight.mul_(factor)
    f = loss.network.backbone
    a, n = f(255 * crops[:3]), f(255 * crops[3:])
    p = f(255 * crops[:3].flip(-1, -2))
    expected = max(
        ((p - a) ** 2).mean().item() - ((n - a) ** 2).mean().item() + 10.0, 0.0
    )
    assert compute(loss, crops).item() == pytest.approx(expected, rel=1e-4)


def test_literal_rotation_regresses_the_turns_on_every_output(crops):
    loss = Loss(Rotation(loss_function="mse", embedding_dim=1000, augment=False))
    turns = {drawn_turns(seed) for seed in range(8)}
    assert len(turns) > 1
    for seed in range(8):
        k = drawn_turns(seed)
        outputs = loss.network.backbone(255 * torch.rot90(crops, k, (2, 3)))
        assert outputs.shape == (4, 1000)
        expected = ((outputs - k) ** 2).mean().item()
        assert compute(loss, crops, seed=seed).item() == pytest.approx(
            expected, rel=1e-5
        )


def test_literal_simsiam(crops):
    loss = Loss(
        SimSiam(
            loss_function="l1", embedding_dim=1000, train_heads=False, augment=False
        )
    )
    network = loss.network
    g, h = network.projector, network.predictor
    assert (g.in_features, g.out_features) == (1000, 1)
    k = drawn_turns()
    f1 = network.backbone(255 * crops)
    f2 = network.backbone(255 * torch.rot90(crops, k, (2, 3)))
    z1, z2, p1, p2 = g(f1), g(f2), h(f1), h(f2)
    expected = ((p1 - z2).abs().mean() + (p2 - z1).abs().mean()) / 2
    value = compute(loss, crops)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    value.backward()
    assert g.weight.grad is None  # z is detached: only p carries a gradient
    assert h.weight.grad is not None


def test_literal_mean_value(crops):
    loss = Loss(MeanValue(loss_function="l1", augment=False))
    loss.network.target_std.fill_(1 / 255)  # as fit does for grey and bytes
    outputs = loss.network.backbone(255 * crops)[:, 0]
    expected = (outputs - 255 * crops.mean(dim=(1, 2, 3))).abs().mean()
    value = compute(loss, crops, crops.mean(dim=(1, 2, 3)))
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_mean_value_is_standardised(crops):
    loss = Loss(MeanValue(augment=False), "standard")
    loss.network.target_mean.fill_(0.3)
    loss.network.target_std.fill_(0.1)
    targets = torch.tensor([0.1, 0.2, 0.3, 0.4])
    expected = (loss.network(crops)[:, 0] - (targets - 0.3) / 0.1).square().mean()
    assert compute(loss, crops, targets).item() == pytest.approx(expected.item())


def test_similarity_punishes_collapse(crops):
    loss = Loss(Similarity(), "standard")
    with torch.no_grad():
        for parameter in loss.network.projector[-1].parameters():
            parameter.zero_()
        loss.network.projector[-1].bias.fill_(1.0)
    # All embeddings equal: cosine distance 0, but the whole hinge remains.
    assert compute(loss, crops).item() == pytest.approx(1 - math.sqrt(1e-4), rel=1e-4)


def test_contrastive_of_equal_embeddings_is_the_margin(crops):
    loss = Loss(Contrastive(margin=0.7), "standard")
    with torch.no_grad():
        loss.network.projector[-1].weight.zero_()
    assert compute(loss, crops).item() == pytest.approx(0.7, rel=1e-5)


def test_simsiam_stops_the_gradient_of_the_targets(crops):
    loss = Loss(SimSiam(), "standard")
    value = compute(loss, crops)
    assert -1 <= value.item() <= 1
    value.backward()
    assert loss.network.predictor[0].weight.grad.abs().sum() > 0
    assert loss.network.backbone.conv.weight.grad.abs().sum() > 0


def test_rotation_of_indifferent_outputs_is_log_4(crops):
    loss = Loss(Rotation(), "standard")
    with torch.no_grad():
        loss.network.backbone.fc.weight.zero_()
        loss.network.backbone.fc.bias.zero_()
    assert compute(loss, crops).item() == pytest.approx(math.log(4), rel=1e-5)


def test_the_margin_of_similarity_is_the_spread_that_is_asked_for(crops):
    loss = Loss(Similarity(margin=0.4, variance_weight=2.0), "standard")
    with torch.no_grad():
        for parameter in loss.network.projector[-1].parameters():
            parameter.zero_()
        loss.network.projector[-1].bias.fill_(1.0)
    expected = 2 * (0.4 - math.sqrt(1e-4))
    assert compute(loss, crops).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("pretext", "batch_size", "message"),
    [
        (Rotation(embedding_dim=1000), 4, "4 output"),
        (Contrastive(), 1, "at least 2"),
        (Similarity(), 1, "at least 2"),
    ],
)
def test_what_does_not_go_together_is_refused(pretext, batch_size, message):
    with pytest.raises(ValueError, match=message):
        pretext.check(batch_size)


@pytest.mark.parametrize(
    ("pretext", "n_outputs"),
    [
        (Similarity(), 128),
        (Similarity(loss_function="l1"), 1),
        (Contrastive(embedding_dim=16), 16),
        (Contrastive(loss_function="mse"), 1),
        (Rotation(), 4),
        (SimSiam(loss_function="l1", embedding_dim=1000), 1000),
        (MeanValue(), 1),
    ],
)
def test_numbers_of_outputs(pretext, n_outputs):
    assert pretext.n_outputs == n_outputs


def test_options_of_pretexts_are_parameters():
    for kind in PRETEXTS.values():
        pretext = kind()
        changed = clone(pretext).set_params(augment=False)
        assert pretext.augment and not changed.augment
        assert repr(changed) == f"{kind.__name__}(augment=False)"


def test_a_pretext_without_a_loss_says_what_is_missing(crops):
    with pytest.raises(NotImplementedError, match="Pretext has no loss"):
        compute(Loss(Pretext()), crops)


def test_other_numbers_of_outputs_get_a_readout():
    def factory(in_channels):
        return Tiny(in_channels, 10)

    network = PretextNetwork(factory, 3, 1, "none")
    n_outputs = measure_outputs(network.backbone, 3, 16)
    network.set_readout(n_outputs)
    assert n_outputs == 10
    assert network(torch.rand(2, 3, 16, 16)).shape == (2, 1)
