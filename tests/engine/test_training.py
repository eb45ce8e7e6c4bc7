# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
import torch
from torch import nn

from psmlearn._engine._train import TrainResult, TrainSettings, train_network

CPU = torch.device("cpu")


def settings(**changes):
    values = {
        "max_epochs": 5,
        "steps_per_epoch": 10,
        "learning_rate": 0.1,
        "weight_decay": 0.0,
    }
    return TrainSettings(**{**values, **changes})


def line_problem():
    """A linear regression: y = 2 x."""
    torch.manual_seed(0)
    module = nn.Linear(1, 1)

    def draw(rng):
        x = torch.from_numpy(rng.normal(size=(16, 1)).astype(np.float32))
        return x, 2 * x

    def loss(x, y, *, training, generator):
        return (module(x) - y).square().mean()

    return module, draw, loss


def run(module, draw, loss, result=None, **options):
    result = TrainResult() if result is None else result
    options.setdefault("settings", settings())
    train_network(
        module,
        draw,
        loss,
        device=CPU,
        rng=np.random.default_rng(0),
        result=result,
        **options,
    )
    return result


def test_training_lowers_the_loss_and_counts_epochs():
    module, draw, loss = line_problem()
    result = run(module, draw, loss)
    assert result.n_epochs == 5 and result.loss_curve[-1] < 0.1
    assert abs(module.weight.item() - 2) < 0.3
    assert result.best_loss == min(result.loss_curve)
    assert not module.training


def test_early_stopping_keeps_the_best_weights_and_stops():
    module, draw, _ = line_problem()
    seen = []

    def loss(x, y, *, training, generator):
        if training:
            return (module(x) - y).square().mean()
        # The third epoch is the best; afterwards validation gets worse.
        seen.append(module.weight.item())
        return torch.tensor(abs(len(seen) - 3.0))

    result = run(
        module,
        draw,
        loss,
        settings=settings(max_epochs=50, early_stopping=True, n_iter_no_change=4),
        draw_validation=lambda: [draw(np.random.default_rng(1))],
    )
    assert result.validation_curve == [2, 1, 0, 1, 2, 3, 4]
    assert result.best_loss == 0 and module.weight.item() == seen[2]


def test_interrupt_leaves_the_best_weights_and_is_raised_on():
    module, draw, loss = line_problem()
    n_draws = 0

    def draw_until_interrupt(rng):
        nonlocal n_draws
        n_draws += 1
        if n_draws > 25:
            raise KeyboardInterrupt
        return draw(rng)

    result = TrainResult()
    with pytest.raises(KeyboardInterrupt):
        run(module, draw_until_interrupt, loss, result)
    assert result.n_epochs == 2 and not module.training


def test_a_loss_that_is_not_finite_is_an_error():
    module, draw, _ = line_problem()

    def loss(x, y, *, training, generator):
        return (module(x) / 0).sum()

    with pytest.raises(FloatingPointError, match="learning_rate"):
        run(module, draw, loss)


def test_progress_bar_only_when_asked(capsys):
    module, draw, loss = line_problem()
    run(module, draw, loss)
    assert capsys.readouterr().err == ""
    run(module, draw, loss, settings=settings(verbose=1, description="fit"))
    assert "fit" in capsys.readouterr().err
