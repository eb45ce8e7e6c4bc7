# SPDX-License-Identifier: BSD-3-Clause
"""Features, gradients and raw activation maps of inner layers of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

__all__ = [
    "METHODS",
    "activation_maps",
    "apply_weights",
    "flat_outputs",
    "gradient_weights",
    "layer_features",
    "layer_gradients",
    "layercam",
    "leading_axis",
]

METHODS = ("gradcam", "layercam", "gradcam++", "eigencam")

Score = Callable[[torch.Tensor], torch.Tensor]


class _AllTapped(Exception):
    """Ends a forward pass once every wanted layer has been seen."""


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Evaluate without parameter gradients; flags and modes come back as found."""
    parameters = list(network.parameters())
    flags = [parameter.requires_grad for parameter in parameters]
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in zip(parameters, flags, strict=True):
            parameter.requires_grad_(flag)
        for module, training in modes:
            module.training = training


def _find_layers(network: nn.Module, layers: Sequence[str]) -> list[nn.Module]:
    modules = dict(network.named_modules())
    for name in layers:
        if name not in modules or name == "":
            known = ", ".join(key for key in modules if key and "." not in key)
            raise ValueError(
                f"layers: the network has no module {name!r}; at its top level it has "
                f"{known}, and dotted names such as 'layer1.0' reach inside."
            )
    return [modules[name] for name in layers]


@contextmanager
def _tapped(
    network: nn.Module, layers: Sequence[str], *, detach: bool, stop: bool
) -> Iterator[dict[str, torch.Tensor]]:
    """Collect the outputs of `layers`, by name, in the forward passes inside.

    With `detach` the graph starts at the first layer that is reached; with `stop`
    the pass ends at the last one by `_AllTapped`.
    """
    taps: dict[str, torch.Tensor] = {}

    def make_hook(name: str):
        def hook(module, inputs, output):
            if name in taps:
                return None  # a module used twice counts where it is used first
            if not isinstance(output, torch.Tensor) or output.ndim != 4:
                raise ValueError(
                    f"layers: {name!r} does not give feature maps of shape (n, "
                    "channels, height, width); choose a convolutional stage."
                )
            if detach and not taps:
                output = output.detach().requires_grad_()
            taps[name] = output
            if stop and len(taps) == len(set(layers)):
                raise _AllTapped
            # In-place layers that follow must not overwrite what is kept.
            return output.clone() if detach else None

        return hook

    modules = _find_layers(network, layers)
    handles = [
        module.register_forward_hook(make_hook(name))
        for name, module in zip(layers, modules, strict=True)
    ]
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()


def flat_outputs(outputs: torch.Tensor) -> torch.Tensor:
    """Return outputs as (n, n_outputs); maps are averaged over their positions."""
    if outputs.ndim > 2:
        outputs = outputs.flatten(2).mean(dim=2)
    return outputs.reshape(len(outputs), -1)


def _first_output(outputs: torch.Tensor) -> torch.Tensor:
    return flat_outputs(outputs)[:, 0]


def _ordered(
    taps: dict[str, torch.Tensor], layers: Sequence[str]
) -> list[torch.Tensor]:
    missing = [name for name in layers if name not in taps]
    if missing:
        raise ValueError(f"layers: {missing[0]!r} took no part in the forward pass.")
    return [taps[name] for name in layers]


def layer_features(
    network: nn.Module, batch: torch.Tensor, layers: Sequence[str]
) -> list[torch.Tensor]:
    """Return the outputs of `layers`; nothing behind the last of them is computed."""
    with (
        _frozen(network),
        torch.no_grad(),
        _tapped(network, layers, detach=False, stop=True) as taps,
    ):
        try:
            network(batch)
        except _AllTapped:
            pass
    return _ordered(taps, layers)


def layer_gradients(
    network: nn.Module,
    batch: torch.Tensor,
    layers: Sequence[str],
    score: Score | None = None,
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the outputs of `layers` and the gradients of the score by them.

    No gradient is computed for parameters, nor in front of the first of the layers.

    Parameters
    ----------
    network : torch.nn.Module
        Evaluated in ``eval`` mode; flags, modes and hooks are left as found.
    batch : tensor of shape (n, channels, height, width)
        Normalised images.
    layers : sequence of str
        Names of modules of `network`.
    score : callable, default=None
        Turns the network's outputs into one number for each image, (n,); None
        takes the first output.

    Returns
    -------
    features, gradients : lists of tensors of shape (n, c, h, w)
        One pair for each layer.
    """
    score = _first_output if score is None else score
    with torch.inference_mode(False), torch.enable_grad(), _frozen(network):
        with _tapped(network, layers, detach=True, stop=False) as taps:
            total = score(network(batch)).sum()
        features = _ordered(taps, layers)
        if not total.requires_grad:
            raise ValueError("layers: the network's output does not depend on them.")
        gradients = torch.autograd.grad(total, features, allow_unused=True)
    gradients = [
        torch.zeros_like(tap) if gradient is None else gradient
        for tap, gradient in zip(features, gradients, strict=True)
    ]
    return [tap.detach() for tap in features], gradients


def gradient_weights(
    features: torch.Tensor, gradients: torch.Tensor, method: str
) -> torch.Tensor:
    """Return the weight of each channel of each image, (n, channels).

    "gradcam": the mean gradient. "gradcam++": the positive gradients, summed with
    the closed-form factors G^2 / (2 G^2 + G^3 sum(A)).
    """
    if method == "gradcam":
        return gradients.mean(dim=(2, 3))
    total = features.sum(dim=(2, 3), keepdim=True)
    # A common factor of G^2 is cancelled: 1 / (2 + G sum(A)), 0 where G is 0.
    denominator = 2 + gradients * total
    denominator = torch.where(denominator.abs() < 1e-7, 1e-7, denominator)
    factors = torch.where(gradients != 0, 1 / denominator, 0)
    return (factors * gradients.clamp_min(0)).sum(dim=(2, 3))


def apply_weights(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted sums of the channels, (n, h, w); weights (n, c) or (c,)."""
    if weights.ndim == 1:
        return torch.einsum("nchw,c->nhw", features, weights)
    return torch.einsum("nchw,nc->nhw", features, weights)


def layercam(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Return the sums over channels of positive gradients times features."""
    return (gradients.clamp_min(0) * features).sum(dim=1)


def leading_axis(covariance: torch.Tensor) -> torch.Tensor:
    """Return the leading eigenvector of symmetric (..., c, c), largest entry > 0."""
    vectors = torch.linalg.eigh(covariance.cpu().double())[1][..., -1]
    peak = vectors.abs().argmax(dim=-1, keepdim=True)
    return vectors * vectors.gather(-1, peak).sign()


def _eigencam(features: torch.Tensor) -> torch.Tensor:
    """Return the projections of centred features on their first principal axis."""
    centred = features - features.mean(dim=(2, 3), keepdim=True)
    flat = centred.flatten(2)
    axes = leading_axis(flat @ flat.transpose(1, 2)).to(features)
    return apply_weights(centred, axes)


def activation_maps(
    network: nn.Module,
    batch: torch.Tensor,
    layers: Sequence[str],
    method: str = "gradcam",
    *,
    score: Score | None = None,
) -> list[torch.Tensor]:
    """Return raw maps of a batch of images, at the resolution of each layer.

    Parameters
    ----------
    network : torch.nn.Module
        Left as found: no parameter gets a gradient, no hook stays.
    batch : tensor of shape (n, channels, height, width)
        Normalised images.
    layers : sequence of str
        Names of modules of `network`.
    method : {"gradcam", "layercam", "gradcam++", "eigencam"}, default="gradcam"
        How features and gradients make a map. No final ReLU is taken, so that
        signs stay known.
    score : callable, default=None
        Turns outputs into one number for each image; None takes the first output.

    Returns
    -------
    list of tensors of shape (n, h, w)
        One for each layer, neither scaled nor resized.

    References
    ----------
    R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via
    Gradient-based Localization", ICCV 2017.
    A. Chattopadhyay et al., "Grad-CAM++: Generalized Gradient-based Visual
    Explanations for Deep Convolutional Networks", WACV 2018.
    P.-T. Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for
    Localization", IEEE TIP 30, 2021.
    M. B. Muhammad and M. Yeasin, "Eigen-CAM: Class Activation Map using Principal
    Components", IJCNN 2020.

    Examples
    --------
    >>> import torch
    >>> from psmlearn.activation import activation_maps
    >>> from psmlearn.networks import resnet18
    >>> images = torch.rand(2, 3, 64, 64)
    >>> [maps] = activation_maps(resnet18(3, 1), images, ["layer1"])
    >>> maps.shape
    torch.Size([2, 16, 16])
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}.")
    if method == "eigencam":
        return [_eigencam(tap) for tap in layer_features(network, batch, layers)]
    pairs = zip(*layer_gradients(network, batch, layers, score), strict=True)
    if method == "layercam":
        return [layercam(tap, gradient) for tap, gradient in pairs]
    return [
        apply_weights(tap, gradient_weights(tap, gradient, method))
        for tap, gradient in pairs
    ]


def receptive_rows(
    network: nn.Module, layer: str, in_channels: int, side: int
) -> tuple[int, int, int, int]:
    """Find which rows of a square input the middle cell of a layer depends on.

    Returns
    -------
    n_cells, cell, first, last : int
        Rows of the layer's map, the row looked at, and the rows of the input that
        change it, seen on random inputs.
    """
    generator = torch.Generator().manual_seed(0)
    batch = torch.rand((4, in_channels, side, side), generator=generator)
    device = next(network.parameters()).device
    with torch.inference_mode(False), torch.enable_grad(), _frozen(network):
        batch = batch.to(device).requires_grad_()
        with _tapped(network, [layer], detach=False, stop=True) as taps:
            try:
                network(batch)
            except _AllTapped:
                pass
        [features] = _ordered(taps, [layer])
        cell = features.shape[2] // 2
        signs = torch.randn(features.shape[1], generator=generator).to(device)
        total = (features[:, :, cell, features.shape[3] // 2] * signs).sum()
        [gradient] = torch.autograd.grad(total, batch)
    touched = gradient.abs().amax(dim=(0, 1, 3)).nonzero()
    if len(touched) == 0:
        return features.shape[2], cell, 0, side - 1
    return features.shape[2], cell, int(touched.min()), int(touched.max())
