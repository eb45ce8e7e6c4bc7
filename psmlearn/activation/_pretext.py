# SPDX-License-Identifier: BSD-3-Clause
"""The pretext tasks: networks with their heads, views of a crop, and losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from psmlearn._engine._augment import random_dihedral, stain_jitter
from psmlearn.activation._gradient import flat_outputs
from psmlearn.networks import build_network

__all__ = [
    "PRETEXTS",
    "PretextLoss",
    "PretextNetwork",
    "PretextTask",
    "measure_outputs",
    "resolve_task",
]

# Losses each task knows, the sound one ("auto") first, and its number of outputs.
_LOSSES = {
    "similarity": ("cosine", "l1"),
    "contrastive": ("triplet", "mse"),
    "rotation": ("cross_entropy", "mse"),
    "simsiam": ("cosine", "l1"),
    "mean_value": ("mse", "l1"),
}
_N_OUTPUTS = {"rotation": 4, "mean_value": 1}
_EMBEDDING = 128
PRETEXTS = tuple(_LOSSES)


@dataclass(frozen=True)
class PretextTask:
    """A pretext with every "auto" replaced by what it means."""

    pretext: str
    loss: str
    n_outputs: int
    margin: float
    variance_weight: float
    train_heads: bool
    augment: bool

    @property
    def heads(self) -> str:
        """Kind of heads behind the outputs: "none", "linear", "mlp", "mlp+mlp"."""
        if self.pretext == "simsiam":
            return "mlp+mlp" if self.loss == "cosine" else "linear"
        embeds = self.loss in ("cosine", "triplet")
        return "mlp" if embeds else "none"


def resolve_task(
    pretext: str,
    *,
    loss: str,
    embedding_dim: int | str,
    margin: float | str,
    variance_weight: float,
    train_heads: bool,
    augment: bool,
    batch_size: int,
) -> PretextTask:
    """Replace "auto" and refuse what does not go together."""
    known = _LOSSES[pretext]
    if loss == "auto":
        loss = known[0]
    elif loss not in known:
        allowed = [name for name in known if name in ("l1", "mse")]
        raise ValueError(
            f"loss={loss!r} does not go with pretext={pretext!r}; "
            f"use 'auto' or {' or '.join(map(repr, allowed))}."
        )
    n_outputs = embedding_dim
    if embedding_dim == "auto":
        n_outputs = _N_OUTPUTS.get(pretext, 1 if loss in ("l1", "mse") else _EMBEDDING)
    fixed = {"cross_entropy": 4}.get(loss, 1 if pretext == "mean_value" else n_outputs)
    if n_outputs != fixed:
        raise ValueError(
            f"embedding_dim={embedding_dim!r}: pretext={pretext!r} with this loss has "
            f"{fixed} output(s); use 'auto'."
        )
    needs_others = pretext == "contrastive" or (
        pretext == "similarity" and loss == "cosine" and variance_weight > 0
    )
    if needs_others and batch_size < 2:
        raise ValueError(
            f"batch_size={batch_size}: pretext={pretext!r} compares the crops of a "
            "batch and needs at least 2."
        )
    if margin == "auto":
        margin = 10.0 if loss == "mse" else 0.5
    return PretextTask(
        pretext, loss, n_outputs, margin, variance_weight, train_heads, augment
    )


def _mlp(n_inputs: int, n_hidden: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_inputs, n_hidden, bias=False),
        nn.BatchNorm1d(n_hidden),
        nn.ReLU(inplace=True),
        nn.Linear(n_hidden, n_outputs),
    )


class PretextNetwork(nn.Module):
    """A backbone with the heads of its pretext and the scales of its input.

    Parameters
    ----------
    network : str or callable
        What `psmlearn.networks.build_network` takes.
    in_channels : int
        Channels of the images.
    n_outputs : int
        Outputs asked for.
    heads : {"none", "linear", "mlp", "mlp+mlp"}
        What `PretextTask.heads` says.
    n_backbone_outputs : int, default=None
        Outputs that the backbone has; where they are not what was asked for, a
        linear layer (`readout`) follows. None takes `n_outputs`.

    Attributes
    ----------
    backbone : torch.nn.Module
        Its modules are what maps are made of.
    input_mean, input_std : tensors of shape (in_channels, 1, 1)
        Of training crops in [0, 1].
    target_mean, target_std : tensors of shape ()
        Of the regressed value.
    direction : tensor of shape (n_outputs,)
        The outputs' projection on it is the scalar that maps differentiate.
    """

    def __init__(
        self,
        network: str | Callable,
        in_channels: int,
        n_outputs: int,
        heads: str,
        n_backbone_outputs: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = build_network(network, in_channels, n_outputs)
        self.readout: nn.Module = nn.Identity()
        self.n_outputs = n_outputs
        if n_backbone_outputs is not None:
            self.set_readout(n_backbone_outputs)
        self.projector: nn.Module = nn.Identity()
        self.predictor: nn.Module = nn.Identity()
        if heads == "linear":
            self.projector = nn.Linear(n_outputs, 1)
            self.predictor = nn.Linear(n_outputs, 1)
        elif heads != "none":
            self.projector = _mlp(n_outputs, _EMBEDDING, _EMBEDDING)
        if heads == "mlp+mlp":
            # The last normalisation keeps embeddings of all crops from meeting.
            self.projector.append(nn.BatchNorm1d(_EMBEDDING, affine=False))
            self.predictor = _mlp(_EMBEDDING, _EMBEDDING // 4, _EMBEDDING)
        self.register_buffer("input_mean", torch.zeros(in_channels, 1, 1))
        self.register_buffer("input_std", torch.ones(in_channels, 1, 1))
        self.register_buffer("target_mean", torch.zeros(()))
        self.register_buffer("target_std", torch.ones(()))
        self.register_buffer("direction", torch.zeros(n_outputs))

    def set_readout(self, n_backbone_outputs: int) -> None:
        """Add a linear layer where the backbone has another number of outputs."""
        if n_backbone_outputs != self.n_outputs:
            self.readout = nn.Linear(n_backbone_outputs, self.n_outputs)

    def scale(self, images: torch.Tensor, input_scale: str) -> torch.Tensor:
        """Bring images in [0, 1] to the scale that the backbone sees."""
        if input_scale == "standard":
            return (images - self.input_mean) / self.input_std
        return images * 255 if input_scale == "byte" else images

    def forward(
        self, images: torch.Tensor, input_scale: str = "standard"
    ) -> torch.Tensor:
        """Give the outputs of images in [0, 1], (n, n_outputs)."""
        scaled = self.scale(images, input_scale)
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        return self.readout(flat_outputs(self.backbone(scaled)))

    def score(self, backbone_outputs: torch.Tensor) -> torch.Tensor:
        """Give the scalar that maps differentiate, (n,)."""
        return self.readout(flat_outputs(backbone_outputs)).float() @ self.direction

    def freeze_heads(self) -> None:
        """Leave the heads as they were drawn."""
        self.projector.requires_grad_(False)
        self.predictor.requires_grad_(False)


def measure_outputs(backbone: nn.Module, in_channels: int, side: int) -> int:
    """Return the number of outputs that a backbone gives for an image."""
    was_training = backbone.training
    try:
        with torch.no_grad():
            outputs = backbone.eval()(torch.zeros(1, in_channels, side, side))
    finally:
        backbone.train(was_training)
    if not isinstance(outputs, torch.Tensor):
        raise TypeError(
            "network: its forward pass must return one tensor, got "
            f"{type(outputs).__name__}."
        )
    return flat_outputs(outputs).shape[1]


class PretextLoss:
    """The loss of a task, on batches of crops in [0, 1].

    Called with crops (n, c, size, size) and targets (n,); see
    :func:`psmlearn._engine._train.train_network` for the keywords.
    """

    def __init__(self, network: PretextNetwork, task: PretextTask, input_scale: str):
        self.network = network
        self.task = task
        self.input_scale = input_scale

    def __call__(
        self,
        crops: torch.Tensor,
        targets: torch.Tensor,
        *,
        training: bool,
        generator: torch.Generator | None,
    ) -> torch.Tensor:
        if generator is None:  # validation: the same views every time
            generator = torch.Generator().manual_seed(0)
        method = getattr(self, f"_{self.task.pretext}")
        return method(crops, targets, generator)

    # -- views -----------------------------------------------------------------

    def _outputs(self, crops: torch.Tensor) -> torch.Tensor:
        return self.network(crops, self.input_scale).float()

    def _augmented(
        self, crops: torch.Tensor, generator: torch.Generator, *, turn: bool = True
    ) -> torch.Tensor:
        if not self.task.augment:
            return crops
        if turn:
            [crops] = random_dihedral([crops], generator)
        return stain_jitter(crops, 1.0, generator)

    def _two_views(
        self, crops: torch.Tensor, generator: torch.Generator, n_turns: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two random views, or the crops and their turned copies."""
        if self.task.augment:
            first = self._augmented(crops, generator)
            return first, self._augmented(crops, generator)
        return crops, torch.rot90(crops, n_turns, (-2, -1))

    def _outputs_of_both(self, first: torch.Tensor, second: torch.Tensor):
        # One pass, so that batch statistics are shared.
        return self._outputs(torch.cat([first, second])).chunk(2)

    # -- tasks -----------------------------------------------------------------

    def _similarity(self, crops, targets, generator):
        views = self._two_views(crops, generator, n_turns=2)
        first, second = self._outputs_of_both(*views)
        if self.task.loss == "l1":
            return (first - second).abs().mean()
        embedded = self.network.projector(torch.cat([first, second])).chunk(2)
        loss = 1 - functional.cosine_similarity(*embedded).mean()
        if self.task.variance_weight:
            spread = sum(_collapse(part) for part in embedded) / 2
            loss = loss + self.task.variance_weight * spread
        return loss

    def _contrastive(self, crops, targets, generator):
        views = self._two_views(crops, generator, n_turns=2)
        first, second = self._outputs_of_both(*views)
        if self.task.loss == "mse":
            # The last crop of the batch is the negative of all the others.
            near = functional.mse_loss(second[:-1], first[:-1])
            far = (first[-1:] - first[:-1]).square().mean()
            return (near - far + self.task.margin).clamp_min(0)
        embedded = self.network.projector(torch.cat([first, second])).chunk(2)
        first, second = (functional.normalize(part) for part in embedded)
        distances = 1 - first @ second.T
        excess = distances.diagonal()[:, None] - distances + self.task.margin
        others = ~torch.eye(len(first), dtype=torch.bool, device=first.device)
        return excess[others].clamp_min(0).mean()

    def _rotation(self, crops, targets, generator):
        if self.task.loss == "mse":
            n_turns = _draw_turns(1, generator)[0]
            outputs = self._outputs(torch.rot90(crops, n_turns, (-2, -1)))
            return (outputs - n_turns).square().mean()
        turns = _draw_turns(len(crops), generator)
        crops = self._augmented(crops, generator, turn=False)
        turned = torch.stack(
            [torch.rot90(c, k, (-2, -1)) for c, k in zip(crops, turns, strict=True)]
        )
        labels = torch.tensor(turns, device=crops.device)
        return functional.cross_entropy(self._outputs(turned), labels)

    def _simsiam(self, crops, targets, generator):
        n_turns = 0 if self.task.augment else _draw_turns(1, generator)[0]
        views = self._two_views(crops, generator, n_turns)
        outputs = torch.cat(self._outputs_of_both(*views))
        projected = self.network.projector(outputs)
        if self.task.loss == "l1":
            predicted = self.network.predictor(outputs)

            def distance(p, z):
                return (p - z.detach()).abs().mean()
        else:
            predicted = self.network.predictor(projected)

            def distance(p, z):
                return -functional.cosine_similarity(p, z.detach()).mean()

        z1, z2 = projected.chunk(2)
        p1, p2 = predicted.chunk(2)
        return (distance(p1, z2) + distance(p2, z1)) / 2

    def _mean_value(self, crops, targets, generator):
        outputs = self._outputs(self._augmented(crops, generator))[:, 0]
        targets = (targets - self.network.target_mean) / self.network.target_std
        if self.task.loss == "l1":
            return functional.l1_loss(outputs, targets)
        return functional.mse_loss(outputs, targets)


def _collapse(embedded: torch.Tensor) -> torch.Tensor:
    """Return how far the spread of each dimension over the batch is below 1."""
    spread = (embedded.var(dim=0) + 1e-4).sqrt()
    return (1 - spread).clamp_min(0).mean()


def _draw_turns(n: int, generator: torch.Generator) -> list[int]:
    return torch.randint(4, (n,), generator=generator).tolist()
