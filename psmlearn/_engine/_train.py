# SPDX-License-Identifier: BSD-3-Clause
"""The training loop of every network estimator."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from psmlearn._callbacks import EpochHooks
from psmlearn._engine._checkpoint import Checkpoint, Remembering
from psmlearn._engine._seed import OwnDraws, own_draws_of
from psmlearn._engine._state import refuse_non_finite
from psmlearn._progress import progress_bar

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
    checkpoint: Checkpoint | None = None,
    remembering: Sequence[Remembering] = (),
    hooks: EpochHooks | None = None,
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
    checkpoint : Checkpoint, default=None
        Where the state is kept; one that is there is gone on from, bit by bit.
    remembering : sequence of Remembering, default=()
        What `draw_batch` and `compute_loss` keep from batch to batch.
    hooks : EpochHooks, default=None
        Called before and after each epoch; they may stop it.

    Raises
    ------
    KeyboardInterrupt
        Raised on, after the best weights so far were put back.
    FloatingPointError
        If a loss or, in the end, a weight is not finite.
    """
    # PyTorch's stubs do not know the memory format of modules.
    modules.to(device, memory_format=torch.channels_last)  # type: ignore
    run = _Run(modules, settings, rng, result, draws, remembering)
    if checkpoint is not None and run.go_on(checkpoint.read()):
        modules.eval().to("cpu")
        return
    validation = []
    if settings.early_stopping and draw_validation is not None:
        validation = draw_validation()
    try:
        with progress_bar(
            settings.max_epochs * settings.steps_per_epoch,
            settings.description,
            verbose=settings.verbose,
            done=run.n_steps,
        ) as progress:
            for _ in range(result.n_epochs, settings.max_epochs):
                if hooks is not None:
                    hooks.begin()
                batch = _train_epoch(
                    run, draw_batch, compute_loss, device, checkpoint, progress
                )
                modules.eval()
                improved = _record(result, modules, validation, compute_loss, settings)
                progress.set_postfix(loss=f"{result.loss_curve[-1]:.4f}")
                run.stale = 0 if improved else run.stale + 1
                stops = hooks is not None and hooks.end(_logs(result))
                if stops or _has_stalled(run):
                    break
                if checkpoint is not None and checkpoint.is_due:
                    checkpoint.write(run.state())
        if result.best_state is None:
            # No loss has been seen since the last step.
            last = _evaluate(modules, [batch], compute_loss, settings)
            _refuse_loss(last, "final")
    finally:
        if result.best_state is not None:
            modules.load_state_dict(result.best_state)
        result.best_state = None
        modules.zero_grad(set_to_none=True)  # else they are kept with the network
        modules.eval().to("cpu")
    refuse_non_finite(modules, "Training went astray")
    if checkpoint is not None:
        checkpoint.write(run.final_state())


class _Run:
    """A training between two steps: all that the next one depends on."""

    def __init__(
        self,
        modules: nn.Module,
        settings: TrainSettings,
        rng: np.random.Generator,
        result: TrainResult,
        draws: OwnDraws | None,
        remembering: Sequence[Remembering],
    ) -> None:
        self.modules = modules
        self.settings = settings
        self.rng = rng
        self.result = result
        self.draws = draws
        self.remembering = remembering
        self.generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        n_steps = settings.max_epochs * settings.steps_per_epoch
        self.optimizer, self.scheduler = _make_optimizer(modules, settings, n_steps)
        self.stale = 0
        # Of the steps of this epoch.
        self.losses: list[torch.Tensor] = []

    @property
    def n_steps(self) -> int:
        """Steps that are done."""
        return self.result.n_epochs * self.settings.steps_per_epoch + len(self.losses)

    def state(self) -> dict[str, Any]:
        """Return what `go_on` takes."""
        scheduler = None
        if self.scheduler is not None:
            scheduler = [self.scheduler.last_epoch, self.scheduler._step_count]
        return {
            **self.final_state(),
            "done": False,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": scheduler,
            "generator": self.generator.get_state(),
            "stale": self.stale,
            "losses": torch.stack(self.losses) if self.losses else None,
            "memory": [each.get_memory() for each in self.remembering],
            "best_state": self.result.best_state,
        }

    def final_state(self) -> dict[str, Any]:
        """Return what is left of a training that is over."""
        return {
            "done": True,
            "modules": self.modules.state_dict(),
            "rng": self.rng.bit_generator.state,
            "draws": None if self.draws is None else self.draws.get_state(),
            "loss_curve": self.result.loss_curve,
            "validation_curve": self.result.validation_curve,
            "best_loss": float(self.result.best_loss),
        }

    def go_on(self, state: dict[str, Any] | None) -> bool:
        """Take on a state, if there is one; tell whether training is over."""
        if state is None:
            return False
        self.modules.load_state_dict(state["modules"])
        self.rng.bit_generator.state = state["rng"]
        if self.draws is not None:
            self.draws.set_state(state["draws"])
        result = self.result
        result.loss_curve[:] = state["loss_curve"]
        result.validation_curve[:] = state["validation_curve"]
        result.best_loss = state["best_loss"]
        if state["done"]:
            return True
        self._load_optimizer(state["optimizer"])
        if self.scheduler is not None:
            last, count = state["scheduler"]
            self.scheduler.last_epoch, self.scheduler._step_count = last, count
            self.scheduler._last_lr = [
                group["lr"] for group in self.optimizer.param_groups
            ]
        self.generator.set_state(state["generator"])
        self.stale = state["stale"]
        if state["losses"] is not None:
            device = next(self.modules.parameters()).device
            self.losses = list(state["losses"].to(device).unbind())
        for each, kept in zip(self.remembering, state["memory"], strict=True):
            each.set_memory(kept)
        result.best_state = state["best_state"]
        return False

    def _load_optimizer(self, state: dict[str, Any]) -> None:
        """Load moments in the memory format that they had."""
        self.optimizer.load_state_dict(state)
        for parameter, kept in self.optimizer.state.items():
            for name, value in kept.items():
                if torch.is_tensor(value) and value.shape == parameter.shape:
                    kept[name] = torch.empty_like(parameter.detach()).copy_(value)


def _train_epoch(
    run: _Run,
    draw_batch: DrawBatch,
    compute_loss: ComputeLoss,
    device: torch.device,
    checkpoint: Checkpoint | None,
    progress: tqdm,
) -> tuple[torch.Tensor, ...]:
    """Do the steps of an epoch that are left; return the last batch."""
    settings, draws, modules = run.settings, run.draws, run.modules
    modules.train()
    while True:
        batch = tuple(x.to(device) for x in draw_batch(run.rng))
        with draws or nullcontext(), autocast(device, settings.precision):
            loss = compute_loss(*batch, training=True, generator=run.generator)
        _refuse_loss(loss, "training")
        with draws.refused() if draws else nullcontext():
            _step(loss, modules, run.optimizer, run.scheduler, settings)
        run.losses.append(loss.detach())
        progress.update()
        if len(run.losses) == settings.steps_per_epoch:
            break
        if checkpoint is not None and checkpoint.is_due:
            checkpoint.write(run.state())
    run.result.loss_curve.append(float(torch.stack(run.losses).mean()))
    run.losses = []
    return batch


def _has_stalled(run: _Run) -> bool:
    """Tell whether early stopping ends a training, and say so."""
    settings = run.settings
    if not settings.early_stopping or run.stale < settings.n_iter_no_change:
        return False
    _logger.info(
        "%s stopped after %d epochs without gain.", settings.description, run.stale
    )
    return True


def _logs(result: TrainResult) -> dict[str, Any]:
    """Return what callbacks are told of an epoch."""
    logs: dict[str, Any] = {"epoch": result.n_epochs, "loss": result.loss_curve[-1]}
    if result.validation_curve:
        logs["validation_loss"] = result.validation_curve[-1]
    return logs


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
