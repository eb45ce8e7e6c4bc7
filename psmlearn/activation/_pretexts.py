# SPDX-License-Identifier: BSD-3-Clause
"""The pretext tasks, one's own among them, and the network that learns them."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from psmlearn._engine._augment import random_dihedral, stain_jitter
from psmlearn._images._stains import stain_amount
from psmlearn._sklearn_compat import Interval, StrOptions
from psmlearn.activation._gradients import flat_outputs
from psmlearn.base import AT_LEAST_0, Option
from psmlearn.networks import build_network

__all__ = [
    "PRETEXTS",
    "Contrastive",
    "MeanValue",
    "Pretext",
    "PretextNetwork",
    "Rotation",
    "SimSiam",
    "Similarity",
    "measure_outputs",
]

_EMBEDDING = 128
HEADS = ("none", "linear", "mlp", "mlp+mlp")
_DIMENSION = [Interval(Integral, 1, 8192, closed="both"), StrOptions({"auto"})]


class Pretext(Option):
    """Base class of what a network learns from crops, without any label.

    A subclass says by `loss` what is learnt, by `n_outputs` how many numbers the
    network gives for a crop, and by `targets` what is told from a crop before it is
    augmented, if anything is. Its parameters are those of its ``__init__``, as in
    every :class:`psmlearn.base.Option`.

    Parameters
    ----------
    augment : bool, default=True
        Flips, quarter turns and stain jitter of the crops.

    Attributes
    ----------
    heads : {"none", "linear", "mlp", "mlp+mlp"}
        Layers behind the outputs, for the loss alone: ``network.projector`` and
        ``network.predictor``.
    train_heads : bool
        Whether they are trained, or stay as they were drawn.

    Examples
    --------
    A network that learns how unlike the colours of a crop are:

    >>> import torch
    >>> from psmlearn import SelfActivationMapper
    >>> from psmlearn.activation import Pretext
    >>> from psmlearn.datasets import make_nuclei
    >>> class Spread(Pretext):
    ...     def targets(self, patches):
    ...         return patches.std(axis=(1, 2)).mean(axis=1)
    ...
    ...     def loss(self, network, crops, targets, generator):
    ...         found = network(self.view(crops, generator))[:, 0]
    ...         wanted = (targets - network.target_mean) / network.target_std
    ...         return (found.float() - wanted).square().mean()
    >>> images = make_nuclei(n_images=2, shape=(96, 96), random_state=0).images
    >>> mapper = SelfActivationMapper(
    ...     pretext=Spread(), max_epochs=1, steps_per_epoch=1, patch_size=32)
    >>> mapper.fit_transform(images).shape
    (2, 96, 96, 4)
    """

    _parameter_constraints: dict = {"augment": ["boolean"]}
    train_heads: bool = True
    augment: bool = True

    def __init__(self, *, augment: bool = True) -> None:
        self.augment = augment

    @property
    def heads(self) -> str:
        """Layers behind the outputs."""
        return "none"

    @property
    def n_outputs(self) -> int:
        """Numbers that the network gives for a crop."""
        return 1

    def check(self, batch_size: int) -> None:
        """Refuse parameters that do not go together, before any training.

        Parameters
        ----------
        batch_size : int
            Crops in a batch.

        Raises
        ------
        ValueError
        """

    def targets(self, patches: np.ndarray) -> np.ndarray | None:
        """Return what is told from each patch before it is augmented.

        Parameters
        ----------
        patches : ndarray of shape (n, size, size, channels), float32
            In [0, 1]; not to be written to.

        Returns
        -------
        ndarray of shape (n,), or None
            One number a patch; None where nothing is told.
        """
        return None

    def target_scale(self, values: np.ndarray, input_scale: str) -> tuple[float, float]:
        """Return mean and spread that targets of training crops are standardised by.

        They are ``network.target_mean`` and ``network.target_std`` in `loss`.

        Parameters
        ----------
        values : ndarray of shape (n,)
            What `targets` gave for some training crops.
        input_scale : {"standard", "unit", "byte"}
            Scale of the images that the network sees.
        """
        if input_scale != "standard":
            return 0.0, 1.0
        spread = values.std()
        return float(values.mean()), float(spread if spread > 1e-6 else 1.0)

    def loss(
        self,
        network: PretextNetwork,
        crops: torch.Tensor,
        targets: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Return the loss of a batch, a scalar.

        Parameters
        ----------
        network : PretextNetwork
            ``network(crops)`` gives the outputs, (n, n_outputs).
        crops : tensor of shape (n, channels, size, size)
            In [0, 1], not yet augmented.
        targets : tensor of shape (n,)
            What `targets` gave; zeros if it gave None.
        generator : torch.Generator
            Of the CPU: all that is random comes from it.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no loss: a pretext needs a method "
            "loss(network, crops, targets, generator) that returns a scalar."
        )

    def view(
        self, crops: torch.Tensor, generator: torch.Generator, *, turn: bool = True
    ) -> torch.Tensor:
        """Return a random view of the crops, or the crops where nothing is varied.

        Parameters
        ----------
        crops : tensor of shape (n, channels, size, size)
            In [0, 1].
        generator : torch.Generator
            Of the CPU.
        turn : bool, default=True
            Whether crops are flipped and turned, besides the jitter of their stains.
        """
        if not self.augment:
            return crops
        if turn:
            [crops] = random_dihedral([crops], generator)
        return stain_jitter(crops, 1.0, generator)

    def two_views(
        self, crops: torch.Tensor, generator: torch.Generator, n_turns: int = 2
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two random views, or the crops and their turned copies.

        Parameters
        ----------
        crops : tensor of shape (n, channels, size, size)
            In [0, 1].
        generator : torch.Generator
            Of the CPU.
        n_turns : int, default=2
            Quarter turns of the copies where nothing is varied.
        """
        if self.augment:
            first = self.view(crops, generator)
            return first, self.view(crops, generator)
        return crops, torch.rot90(crops, n_turns, (-2, -1))


def _outputs(network: PretextNetwork, crops: torch.Tensor) -> torch.Tensor:
    return network(crops).float()


def _outputs_of_both(
    network: PretextNetwork, views: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    # One pass, so that batch statistics are shared.
    return _outputs(network, torch.cat(views)).chunk(2)


class MeanValue(Pretext):
    """Regress a mean value of each crop.

    Parameters
    ----------
    target : {"haematoxylin", "grey"}, default="haematoxylin"
        The haematoxylin optical density (of images that have not three channels, the
        density of their mean), or the mean grey; of the crop before augmentation. It
        is standardised, or in units of the input where that is not.
    loss_function : {"mse", "l1"}, default="mse"
        "l1" is that of [1]_.
    augment : bool, default=True
        Flips, quarter turns and stain jitter.

    References
    ----------
    .. [1] P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior
       Self-activation Maps", MICCAI 2023, arXiv:2308.11144.
    """

    _parameter_constraints: dict = {
        **Pretext._parameter_constraints,
        "target": [StrOptions({"haematoxylin", "grey"})],
        "loss_function": [StrOptions({"mse", "l1"})],
    }

    def __init__(
        self,
        *,
        target: str = "haematoxylin",
        loss_function: str = "mse",
        augment: bool = True,
    ) -> None:
        super().__init__(augment=augment)
        self.target = target
        self.loss_function = loss_function

    def targets(self, patches: np.ndarray) -> np.ndarray:
        """Return the mean stain amount, or the mean grey in [0, 1], of each patch."""
        if self.target == "grey":
            means = patches.mean(axis=(1, 2, 3), dtype=np.float64)
            return means.astype(np.float32)
        return np.array([stain_amount(patch).mean() for patch in patches], np.float32)

    def target_scale(self, values: np.ndarray, input_scale: str) -> tuple[float, float]:
        """Return mean and spread that targets are standardised by."""
        if input_scale == "byte" and self.target == "grey":
            return 0.0, 1 / 255  # grey levels, as the input is
        return super().target_scale(values, input_scale)

    def loss(
        self,
        network: PretextNetwork,
        crops: torch.Tensor,
        targets: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Return the mean error of the first output."""
        outputs = _outputs(network, self.view(crops, generator))[:, 0]
        targets = (targets - network.target_mean) / network.target_std
        if self.loss_function == "l1":
            return functional.l1_loss(outputs, targets)
        return functional.mse_loss(outputs, targets)


class Similarity(Pretext):
    """Give two views of a crop similar embeddings.

    Parameters
    ----------
    loss_function : {"cosine", "l1"}, default="cosine"
        Cosine distance of projections, or of [1]_ the absolute difference of outputs.
    embedding_dim : int or "auto", default="auto"
        Outputs of the network: 128, or 1 with "l1".
    variance_weight : float, default=1.0
        With "cosine", weight of the hinge on the embeddings' spread.
    margin : float, default=1.0
        Spread of each dimension over the batch that the hinge asks for.
    augment : bool, default=True
        Flips, quarter turns and stain jitter. Without, the second view of a crop is
        its half turn.

    References
    ----------
    .. [1] P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior
       Self-activation Maps", MICCAI 2023, arXiv:2308.11144.
    """

    _parameter_constraints: dict = {
        **Pretext._parameter_constraints,
        "loss_function": [StrOptions({"cosine", "l1"})],
        "embedding_dim": _DIMENSION,
        "variance_weight": [AT_LEAST_0],
        "margin": [AT_LEAST_0],
    }

    def __init__(
        self,
        *,
        loss_function: str = "cosine",
        embedding_dim: int | str = "auto",
        variance_weight: float = 1.0,
        margin: float = 1.0,
        augment: bool = True,
    ) -> None:
        super().__init__(augment=augment)
        self.loss_function = loss_function
        self.embedding_dim = embedding_dim
        self.variance_weight = variance_weight
        self.margin = margin

    @property
    def heads(self) -> str:
        """A projection for "cosine"."""
        return "mlp" if self.loss_function == "cosine" else "none"

    @property
    def n_outputs(self) -> int:
        """Numbers that the network gives for a crop."""
        return _dimension(self.embedding_dim, self.loss_function == "cosine")

    def check(self, batch_size: int) -> None:
        """Refuse batches of one where crops are compared."""
        if self.loss_function == "cosine" and self.variance_weight > 0:
            _need_others(self, batch_size)

    def loss(
        self,
        network: PretextNetwork,
        crops: torch.Tensor,
        targets: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Return the distance of the two views, and the lack of spread."""
        first, second = _outputs_of_both(network, self.two_views(crops, generator))
        if self.loss_function == "l1":
            return (first - second).abs().mean()
        embedded = network.projector(torch.cat([first, second])).chunk(2)
        loss = 1 - functional.cosine_similarity(*embedded).mean()
        if self.variance_weight:
            first, second = (_collapse(part, self.margin) for part in embedded)
            loss = loss + self.variance_weight * ((first + second) / 2)
        return loss


class Contrastive(Pretext):
    """Give two views of a crop more similar embeddings than other crops.

    Parameters
    ----------
    margin : float or "auto", default="auto"
        By which they are nearer: 0.5 of cosine distance, 10 with "mse".
    loss_function : {"triplet", "mse"}, default="triplet"
        Over all pairs of a batch, or of [1]_ with the last crop as the only other.
    embedding_dim : int or "auto", default="auto"
        Outputs of the network: 128, or 1 with "mse".
    augment : bool, default=True
        Flips, quarter turns and stain jitter. Without, the second view of a crop is
        its half turn.

    References
    ----------
    .. [1] P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior
       Self-activation Maps", MICCAI 2023, arXiv:2308.11144.
    """

    _parameter_constraints: dict = {
        **Pretext._parameter_constraints,
        "margin": [AT_LEAST_0, StrOptions({"auto"})],
        "loss_function": [StrOptions({"triplet", "mse"})],
        "embedding_dim": _DIMENSION,
    }

    def __init__(
        self,
        *,
        margin: float | str = "auto",
        loss_function: str = "triplet",
        embedding_dim: int | str = "auto",
        augment: bool = True,
    ) -> None:
        super().__init__(augment=augment)
        self.margin = margin
        self.loss_function = loss_function
        self.embedding_dim = embedding_dim

    @property
    def heads(self) -> str:
        """A projection for "triplet"."""
        return "mlp" if self.loss_function == "triplet" else "none"

    @property
    def n_outputs(self) -> int:
        """Numbers that the network gives for a crop."""
        return _dimension(self.embedding_dim, self.loss_function == "triplet")

    def check(self, batch_size: int) -> None:
        """Refuse batches of one: crops are compared."""
        _need_others(self, batch_size)

    def loss(
        self,
        network: PretextNetwork,
        crops: torch.Tensor,
        targets: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Return the hinge on the difference of distances."""
        is_literal = self.loss_function == "mse"
        margin = 10.0 if is_literal else 0.5
        if self.margin != "auto":
            margin = float(self.margin)
        first, second = _outputs_of_both(network, self.two_views(crops, generator))
        if is_literal:
            # The last crop of the batch is the negative of all the others.
            near = functional.mse_loss(second[:-1], first[:-1])
            far = (first[-1:] - first[:-1]).square().mean()
            return (near - far + margin).clamp_min(0)
        embedded = network.projector(torch.cat([first, second])).chunk(2)
        first, second = (functional.normalize(part) for part in embedded)
        distances = 1 - first @ second.T
        excess = distances.diagonal()[:, None] - distances + margin
        others = ~torch.eye(len(first), dtype=torch.bool, device=first.device)
        return excess[others].clamp_min(0).mean()


class Rotation(Pretext):
    """Tell by how many quarter turns a crop was turned.

    Parameters
    ----------
    loss_function : {"cross_entropy", "mse"}, default="cross_entropy"
        Of each crop's own turn, or of [1]_ the squared error of all outputs against
        the number of turns of the batch.
    embedding_dim : int or "auto", default="auto"
        Outputs of the network: 4, or any number with "mse".
    augment : bool, default=True
        Stain jitter.

    References
    ----------
    .. [1] P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior
       Self-activation Maps", MICCAI 2023, arXiv:2308.11144.
    """

    _parameter_constraints: dict = {
        **Pretext._parameter_constraints,
        "loss_function": [StrOptions({"cross_entropy", "mse"})],
        "embedding_dim": _DIMENSION,
    }

    def __init__(
        self,
        *,
        loss_function: str = "cross_entropy",
        embedding_dim: int | str = "auto",
        augment: bool = True,
    ) -> None:
        super().__init__(augment=augment)
        self.loss_function = loss_function
        self.embedding_dim = embedding_dim

    @property
    def n_outputs(self) -> int:
        """Numbers that the network gives for a crop."""
        return 4 if self.embedding_dim == "auto" else int(self.embedding_dim)

    def check(self, batch_size: int) -> None:
        """Refuse another number of outputs than turns."""
        if self.loss_function == "cross_entropy" and self.n_outputs != 4:
            raise ValueError(
                f"embedding_dim={self.embedding_dim!r}: Rotation with cross entropy "
                "has 4 outputs; use 'auto'."
            )

    def loss(
        self,
        network: PretextNetwork,
        crops: torch.Tensor,
        targets: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Return the error of the turns."""
        if self.loss_function == "mse":
            n_turns = _draw_turns(1, generator)[0]
            outputs = _outputs(network, torch.rot90(crops, n_turns, (-2, -1)))
            return (outputs - n_turns).square().mean()
        turns = _draw_turns(len(crops), generator)
        crops = self.view(crops, generator, turn=False)
        turned = torch.stack(
            [torch.rot90(c, k, (-2, -1)) for c, k in zip(crops, turns, strict=True)]
        )
        labels = torch.tensor(turns, device=crops.device)
        return functional.cross_entropy(_outputs(network, turned), labels)


class SimSiam(Pretext):
    """Predict the embedding of one view from that of the other.

    Parameters
    ----------
    loss_function : {"cosine", "l1"}, default="cosine"
        Cosine similarity [1]_, or of [2]_ the absolute difference.
    embedding_dim : int or "auto", default="auto"
        Outputs of the network: 128, or 1 with "l1".
    train_heads : bool, default=True
        Whether projection and prediction heads are trained; the code of [2]_ does not.
    augment : bool, default=True
        Flips, quarter turns and stain jitter. Without, the second view of a crop is
        turned at random.

    References
    ----------
    .. [1] X. Chen and K. He, "Exploring Simple Siamese Representation Learning",
       CVPR 2021.
    .. [2] P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior
       Self-activation Maps", MICCAI 2023, arXiv:2308.11144.
    """

    _parameter_constraints: dict = {
        **Pretext._parameter_constraints,
        "loss_function": [StrOptions({"cosine", "l1"})],
        "embedding_dim": _DIMENSION,
        "train_heads": ["boolean"],
    }

    def __init__(
        self,
        *,
        loss_function: str = "cosine",
        embedding_dim: int | str = "auto",
        train_heads: bool = True,
        augment: bool = True,
    ) -> None:
        super().__init__(augment=augment)
        self.loss_function = loss_function
        self.embedding_dim = embedding_dim
        self.train_heads = train_heads

    @property
    def heads(self) -> str:
        """Projection and prediction."""
        return "mlp+mlp" if self.loss_function == "cosine" else "linear"

    @property
    def n_outputs(self) -> int:
        """Numbers that the network gives for a crop."""
        return _dimension(self.embedding_dim, self.loss_function == "cosine")

    def loss(
        self,
        network: PretextNetwork,
        crops: torch.Tensor,
        targets: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Return the mean distance of predictions to the other view."""
        n_turns = 0 if self.augment else _draw_turns(1, generator)[0]
        views = self.two_views(crops, generator, n_turns)
        outputs = torch.cat(_outputs_of_both(network, views))
        projected = network.projector(outputs)
        if self.loss_function == "l1":
            predicted = network.predictor(outputs)

            def distance(p, z):
                return (p - z.detach()).abs().mean()
        else:
            predicted = network.predictor(projected)

            def distance(p, z):
                return -functional.cosine_similarity(p, z.detach()).mean()

        z1, z2 = projected.chunk(2)
        p1, p2 = predicted.chunk(2)
        return (distance(p1, z2) + distance(p2, z1)) / 2


PRETEXTS: dict[str, type[Pretext]] = {
    "mean_value": MeanValue,
    "similarity": Similarity,
    "contrastive": Contrastive,
    "rotation": Rotation,
    "simsiam": SimSiam,
}


def _dimension(embedding_dim: int | str, embeds: bool) -> int:
    if embedding_dim == "auto":
        return _EMBEDDING if embeds else 1
    return int(embedding_dim)


def _need_others(pretext: Pretext, batch_size: int) -> None:
    if batch_size < 2:
        raise ValueError(
            f"batch_size={batch_size}: {type(pretext).__name__} compares the crops of "
            "a batch and needs at least 2."
        )


def _collapse(embedded: torch.Tensor, margin: float) -> torch.Tensor:
    """Return how far the spread of each dimension over the batch is below a margin."""
    spread = (embedded.var(dim=0) + 1e-4).sqrt()
    return (margin - spread).clamp_min(0).mean()


def _draw_turns(n: int, generator: torch.Generator) -> list[int]:
    return torch.randint(4, (n,), generator=generator).tolist()


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
        What `Pretext.heads` says.
    n_backbone_outputs : int, default=None
        Outputs that the backbone has; where they are not what was asked for, a
        linear layer (`readout`) follows. None takes `n_outputs`.
    input_scale : {"standard", "unit", "byte"}, default="standard"
        Scale of the images in `forward`, where none is given.

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

    input_mean: torch.Tensor
    input_std: torch.Tensor
    target_mean: torch.Tensor
    target_std: torch.Tensor
    direction: torch.Tensor

    def __init__(
        self,
        network: str | Callable,
        in_channels: int,
        n_outputs: int,
        heads: str,
        n_backbone_outputs: int | None = None,
        input_scale: str = "standard",
    ) -> None:
        super().__init__()
        if heads not in HEADS:
            raise ValueError(
                f"heads={heads!r} of the pretext: one of {', '.join(HEADS)} is "
                "expected."
            )
        self.input_scale = input_scale
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
            projector = _mlp(n_outputs, _EMBEDDING, _EMBEDDING)
            if heads == "mlp+mlp":
                # The last normalisation keeps embeddings of all crops from meeting.
                projector.append(nn.BatchNorm1d(_EMBEDDING, affine=False))
            self.projector = projector
        if heads == "mlp+mlp":
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
        self, images: torch.Tensor, input_scale: str | None = None
    ) -> torch.Tensor:
        """Give the outputs of images in [0, 1], (n, n_outputs)."""
        scaled = self.scale(images, input_scale or self.input_scale)
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        return self.readout(flat_outputs(self.backbone(scaled)))

    def score(self, backbone_outputs: torch.Tensor) -> torch.Tensor:
        """Give the scalar that maps differentiate, (n,)."""
        return self.readout(flat_outputs(backbone_outputs)).float() @ self.direction


def measure_outputs(backbone: nn.Module, in_channels: int, side: int) -> int:
    """Return the number of outputs that a backbone gives for an image."""
    was_training = backbone.training
    try:
        with torch.no_grad():
            outputs = backbone.eval()(torch.zeros(2, in_channels, side, side))
    finally:
        backbone.train(was_training)
    if not isinstance(outputs, torch.Tensor):
        raise TypeError(
            "network: its forward pass must return one tensor, got "
            f"{type(outputs).__name__}."
        )
    if outputs.ndim < 1 or len(outputs) != 2:
        raise ValueError(
            "network: its forward pass must return outputs for each image, got a "
            f"tensor of shape {tuple(outputs.shape)} for 2 images."
        )
    return flat_outputs(outputs).shape[1]
