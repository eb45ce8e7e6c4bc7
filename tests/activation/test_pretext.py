# SPDX-License-Identifier: BSD-3-Clause
"""Pretext losses: the literal ones against their formulas, the sound ones sound."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from psmlearn.activation._pretext import (
    PretextLoss,
    PretextNetwork,
    measure_outputs,
    resolve_task,
)

DEFAULTS = {
    "loss": "auto",
    "embedding_dim": "auto",
    "margin": "auto",
    "variance_weight": 1.0,
    "train_heads": True,
    "augment": True,
    "batch_size": 4,
}
LITERAL = {"augment": False, "variance_weight": 0.0}


class Tiny(nn.Module):
    """Some convolutions, a mean, and a linear layer; not symmetric under turns."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3, stride=2, padding=1)
        self.act = nn.ReLU()
        self.fc = nn.Linear(4, out_channels)

    def forward(self, images):
        return self.fc(self.act(self.conv(images)).mean(dim=(2, 3)))


def make_loss(pretext, input_scale="byte", **options):
    task = resolve_task(pretext, **{**DEFAULTS, **options})
    torch.manual_seed(0)
    network = PretextNetwork(Tiny, 3, task.n_outputs, task.heads)
    return PretextLoss(network, task, input_scale)


@pytest.fixture
def crops():
    return torch.rand((4, 3, 12, 12), generator=torch.Generator().manual_seed(3))


def compute(loss, crops, targets=None, seed=5):
    targets = torch.zeros(len(crops)) if targets is None else targets
    generator = torch.Generator().manual_seed(seed)
    return loss(crops, targets, training=True, generator=generator)


def drawn_turns(seed=5):
    generator = torch.Generator().manual_seed(seed)
    return int(torch.randint(4, (1,), generator=generator))


def test_literal_similarity(crops):
    loss = make_loss("similarity", loss="l1", **LITERAL)
    f = loss.network.backbone
    expected = (f(255 * crops) - f(255 * crops.flip(-1, -2))).abs().mean()
    assert loss.task.n_outputs == 1
    assert compute(loss, crops).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("factor", [1, 1e-3])
def test_literal_contrastive(crops, factor):
    loss = make_loss("contrastive", loss="mse", **LITERAL)
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
    loss = make_loss("rotation", loss="mse", embedding_dim=1000, **LITERAL)
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
    loss = make_loss(
        "simsiam", loss="l1", embedding_dim=1000, train_heads=False, **LITERAL
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
    loss = make_loss("mean_value", loss="l1", **LITERAL)
    loss.network.target_std.fill_(1 / 255)  # as fit does for grey and bytes
    outputs = loss.network.backbone(255 * crops)[:, 0]
    expected = (outputs - 255 * crops.mean(dim=(1, 2, 3))).abs().mean()
    value = compute(loss, crops, crops.mean(dim=(1, 2, 3)))
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_mean_value_is_standardised(crops):
    loss = make_loss("mean_value", "standard", augment=False)
    loss.network.target_mean.fill_(0.3)
    loss.network.target_std.fill_(0.1)
    targets = torch.tensor([0.1, 0.2, 0.3, 0.4])
    expected = (loss.network(crops)[:, 0] - (targets - 0.3) / 0.1).square().mean()
    assert compute(loss, crops, targets).item() == pytest.approx(expected.item())


def test_similarity_punishes_collapse(crops):
    loss = make_loss("similarity", "standard")
    with torch.no_grad():
        for parameter in loss.network.projector[-1].parameters():
            parameter.zero_()
        loss.network.projector[-1].bias.fill_(1.0)
    # All embeddings equal: cosine distance 0, but the whole hinge remains.
    assert compute(loss, crops).item() == pytest.approx(1 - math.sqrt(1e-4), rel=1e-4)


def test_contrastive_of_equal_embeddings_is_the_margin(crops):
    loss = make_loss("contrastive", "standard", margin=0.7)
    with torch.no_grad():
        loss.network.projector[-1].weight.zero_()
    assert compute(loss, crops).item() == pytest.approx(0.7, rel=1e-5)


def test_simsiam_stops_the_gradient_of_the_targets(crops):
    loss = make_loss("simsiam", "standard")
    value = compute(loss, crops)
    assert -1 <= value.item() <= 1
    value.backward()
    assert loss.network.predictor[0].weight.grad.abs().sum() > 0
    assert loss.network.backbone.conv.weight.grad.abs().sum() > 0


def test_rotation_of_indifferent_outputs_is_log_4(crops):
    loss = make_loss("rotation", "standard")
    with torch.no_grad():
        loss.network.backbone.fc.weight.zero_()
        loss.network.backbone.fc.bias.zero_()
    assert compute(loss, crops).item() == pytest.approx(math.log(4), rel=1e-5)


@pytest.mark.parametrize("pretext", ["similarity", "contrastive", "simsiam"])
def test_validation_loss_is_repeatable(crops, pretext):
    loss = make_loss(pretext, "standard")
    loss.network.eval()
    values = {
        loss(crops, torch.zeros(4), training=False, generator=None).item()
        for _ in range(2)
    }
    assert len(values) == 1


@pytest.mark.parametrize(
    ("pretext", "options", "message"),
    [
        ("rotation", {"loss": "l1"}, "loss='l1' does not go with"),
        ("mean_value", {"embedding_dim": 7}, "1 output"),
        ("rotation", {"embedding_dim": 1000}, "4 output"),
        ("contrastive", {"batch_size": 1}, "at least 2"),
        ("similarity", {"batch_size": 1}, "at least 2"),
    ],
)
def test_what_does_not_go_together_is_refused(pretext, options, message):
    with pytest.raises(ValueError, match=message):
        resolve_task(pretext, **{**DEFAULTS, **options})


def test_frozen_heads_are_not_trained():
    network = PretextNetwork(Tiny, 3, 8, "mlp+mlp")
    network.freeze_heads()
    assert not any(p.requires_grad for p in network.predictor.parameters())
    assert all(p.requires_grad for p in network.backbone.parameters())


def test_other_numbers_of_outputs_get_a_readout():
    def factory(in_channels):
        return Tiny(in_channels, 10)

    network = PretextNetwork(factory, 3, 1, "none")
    n_outputs = measure_outputs(network.backbone, 3, 16)
    network.set_readout(n_outputs)
    assert n_outputs == 10
    assert network(torch.rand(2, 3, 16, 16)).shape == (2, 1)
