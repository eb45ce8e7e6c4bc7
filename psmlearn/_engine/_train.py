# SPDX-License-Identifier: BSD-3-Clause
"""The training loop of every network estimator."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from psmlearn._engine._seed import OwnDraws, own_draws_of
from psmlearn._engine._state import refuse_non_finite

__all__ = ["TrainResult", "TrainSettings", "autocast", "train_network"]

_logger = logging.getLogger("psmlearn")

DrawBatch = Callable[[np.random.Generator], tuple[torch.Tensor, ...]]
ComputeLoss = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class TrainSettings:
    """What `train_network` needs to know besides data and loss."""

    max_epochs: int
    steps_per_epoch: int
    learning_rate: float
    weight_decay: float
    early_stopping: bool = False
    n_iter_no_change: int = 10
    tol: float = 1e-4
    precision: str = "float32"
    schedule: str = "one_cycle"
    max_gradient_norm: float | None = 5.0
    verbose: int = 0
    description: str = "training"


@dataclass
class TrainResult:
    """What a training did; filled while it runs, so that it survives Ctrl-C."""

    loss_curve: list[float] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)
    best_loss: float = np.inf
    best_state: dict | None = None

    @property
    def n_epochs(self) -> int:
        """Number of complete epochs."""
        return len(self.loss_curve)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context that runs convolutions in the asked precision."""
    return torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"
    )


def train_network(
    modules: nn.Module,
    draw_batch: DrawBatch,
    compute_loss: ComputeLoss,
    *,
    settings: TrainSettings,
    device: torch.device,
    rng: np.random.Generator,
    result: TrainResult,
    draw_validation: Callable[[], list[tuple[torch.Tensor, ...]]] | None = None,
    draws: OwnDraws | None = None,
) -> None:
    """Train `modules` in place and leave the best weights in it, on the CPU.

    Parameters
    ----------
    modules : torch.nn.Module
        All that is trained, heads included.
    draw_batch : callable
        ``f(rng) -> tensors`` on the CPU, one training batch.
    compute_loss : callable
        ``f(*tensors, training=bool, generator=torch.Generator) -> scalar``; it holds
        the network itself and augments where ``training``.
    result : TrainResult
        Filled epoch by epoch.
    draw_validation : callable, default=None
        Returns the fixed validation batches; needed for early stopping.
    draws : OwnDraws, default=None
        What the network draws from, where it may draw.

    Raises
    ------
    KeyboardInterrupt
        Raised on, after the best weights so far were put back.
    FloatingPointError
        If a loss or, in the end, a weight is not finite.
    """
    # PyTorch's stubs do not know the memory format of modules.
    modules.to(device, memory_format=torch.channels_last)  # type: ignore
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    n_steps = settings.max_epochs * settings.steps_per_epoch
    optimizer, scheduler = _make_optimizer(modules, settings, n_steps)
    validation = []
    if settings.early_stopping and draw_validation is not None:
        validation = draw_validation()
    stale = 0
    progress = tqdm(
        total=n_steps, desc=settings.description, disable=settings.verbose < 1
    )
    try:
        for _ in range(settings.max_epochs):
            losses = []
            modules.train()
            for _ in range(settings.steps_per_epoch):
                batch = tuple(x.to(device) for x in draw_batch(rng))
                with draws or nullcontext(), autocast(device, settings.precision):
                    loss = compute_loss(*batch, training=True, generator=generator)
                _refuse_loss(loss, "training")
                with draws.refused() if draws else nullcontext():
                    _step(loss, modules, optimizer, scheduler, settings)
                losses.append(loss.detach())
                progress.update()
            result.loss_curve.append(float(torch.stack(losses).mean()))
            modules.eval()
            improved = _record(result, modules, validation, compute_loss, settings)
            progress.set_postfix(loss=f"{result.loss_curve[-1]:.4f}")
            stale = 0 if improved else stale + 1
            if settings.early_stopping and stale >= settings.n_iter_no_change:
                _logger.info(
                    "%s stopped after %d epochs without gain.",
                    settings.description,
                    stale,
                )
                break
        if result.best_state is None:
            # No loss has been seen since the last step.
            last = _evaluate(modules, [batch], compute_loss, settings)
            _refuse_loss(last, "final")
    finally:
        progress.close()
        if result.best_state is not None:
            modules.load_state_dict(result.best_state)
        result.best_state = None
        modules.zero_grad(set_to_none=True)  # else they are kept with the network
        modules.eval().to("cpu")
    refuse_non_finite(modules, "Training went astray")


def _make_optimizer(modules: nn.Module, settings: TrainSettings, n_steps: int):
    parameters = [p for p in modules.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    if settings.schedule == "constant" or n_steps < 4:
        return optimizer, None
    # At least two steps up: torch divides by the number of steps less one.
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, n_steps, pct_start=max(0.1, 2 / n_steps)
    )
    return optimizer, scheduler


def _step(
    loss: torch.Tensor, modules: nn.Module, optimizer, scheduler, settings
) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if settings.max_gradient_norm is not None:
        nn.utils.clip_grad_norm_(modules.parameters(), settings.max_gradient_norm)
    try:
        optimizer.step()
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        raise FloatingPointError(
            "A step of training overflows float32. Lower learning_rate."
        ) from error
    if scheduler is not None:
        scheduler.step()


def _record(
    result: TrainResult,
    modules: nn.Module,
    validation: list[tuple[torch.Tensor, ...]],
    compute_loss: ComputeLoss,
    settings: TrainSettings,
) -> bool:
    """Take down an epoch; return whether it was the best by more than `tol`."""
    if not settings.early_stopping:
        loss = result.loss_curve[-1]
        result.best_loss = min(result.best_loss, loss)
        return True
    found = _evaluate(modules, validation, compute_loss, settings)
    _refuse_loss(found, "validation")
    loss = float(found)
    result.validation_curve.append(loss)
    improved = loss < result.best_loss - settings.tol
    if loss < result.best_loss:
        result.best_loss = loss
        result.best_state = copy.deepcopy(modules.state_dict())
    return improved


def _evaluate(
    modules: nn.Module,
    batches: list[tuple[torch.Tensor, ...]],
    compute_loss: ComputeLoss,
    settings: TrainSettings,
) -> torch.Tensor:
    """Return the mean loss of batches that nothing is learnt from."""
    device = next(modules.parameters()).device
    with (
        torch.no_grad(),
        autocast(device, settings.precision),
        own_draws_of(modules, 0),
    ):
        losses = [
            compute_loss(*(x.to(device) for x in batch), training=False, generator=None)
            for batch in batches
        ]
    return torch.stack(losses).mean()


def _refuse_loss(loss: torch.Tensor, kind: str) -> None:
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"The {kind} loss became {loss.item()}. Lower learning_rate, and check "
            "the images for constant or corrupt ones."
        )
