# SPDX-License-Identifier: BSD-3-Clause
"""Checks of estimators that train a network."""

from __future__ import annotations

import copy
import gc
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from psmlearn.utils._check_tools import (
    fit,
    fitted,
    fresh,
    image_array,
    is_points,
    large_image,
    networks_of,
    outputs,
    parameter_names,
    require,
    require_equal,
)

if TYPE_CHECKING:
    from torch import nn

_ABSENT_DEVICE = "cuda:99"
_SPARE_BYTES = 1 << 16


class _Factory:
    """Builds what a `network` parameter describes, and keeps a copy of it."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.built: nn.Module | None = None

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        from psmlearn.networks import build_network

        network = build_network(self.network, in_channels, out_channels)
        self.built = copy.deepcopy(network)
        return network


class _Interrupting:
    """Builds networks whose n-th forward pass of training is interrupted."""

    def __init__(self, network: Any, n_passes: int) -> None:
        self.network = network
        self.n_passes = n_passes

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        from psmlearn.networks import build_network

        network = build_network(self.network, in_channels, out_channels)
        network.register_forward_pre_hook(self._count)
        return network

    def _count(self, module: nn.Module, inputs: object) -> None:
        if not module.training:
            return
        self.n_passes -= 1
        if self.n_passes == 0:
            raise KeyboardInterrupt


def check_hooks_released(name: str, estimator: BaseEstimator) -> None:
    """Networks keep no hook and no gradient, on the CPU and in eval mode."""
    images, masks = image_array()
    ready = fitted(estimator, images, masks)
    networks = networks_of(ready)
    require(networks, f"{name} has no network_ after fit.")
    before = [_flags(network) for network in networks]
    outputs(ready, images)
    for network, flags in zip(networks, before, strict=True):
        require(flags == _flags(network), f"{name}: predicting changes the network.")
        require(not network.training, f"{name}: the network is left in training mode.")
        for module in network.modules():
            hooks = [
                key
                for key in vars(module)
                if key.endswith("_hooks") and vars(module)[key] and "state" not in key
            ]
            require(not hooks, f"{name}: {type(module).__name__} keeps {hooks}.")
        for parameter in network.parameters():
            require(parameter.device.type == "cpu", f"{name} holds a device's memory.")
            require(parameter.grad is None, f"{name} keeps gradients.")


def _flags(network: nn.Module) -> list[tuple[str, bool, bool]]:
    modes = [(key, m.training, False) for key, m in network.named_modules()]
    return modes + [
        (key, p.requires_grad, p.grad is None) for key, p in network.named_parameters()
    ]


def check_memory_released(name: str, estimator: BaseEstimator) -> None:
    """Repeated calls hold on to neither tensors nor memory."""
    images, masks = image_array()
    ready = fitted(estimator, images, masks)
    images = images[:1, :40, :40]
    for _ in range(2):
        outputs(ready, images)
    n_before = _n_tensors()
    tracemalloc.start()
    try:
        outputs(ready, images)
        gc.collect()
        size_before = tracemalloc.get_traced_memory()[0]
        for _ in range(3):
            outputs(ready, images)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - size_before
    finally:
        tracemalloc.stop()
    left = _n_tensors() - n_before
    require(left <= 0, f"{name} keeps {left} tensors after 4 calls.")
    require(grown < _SPARE_BYTES, f"{name} grows by {grown} bytes in 3 calls.")


def _n_tensors() -> int:
    import torch

    gc.collect()
    return sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects())


def check_absent_device(name: str, estimator: BaseEstimator) -> None:
    """fit on a device that is not there raises, and names it."""
    images, masks = image_array()
    for key in parameter_names(estimator, "device"):
        unfitted = fresh(estimator, **{key: _ABSENT_DEVICE})
        if key == "device" and len(parameter_names(estimator, "device")) > 1:
            continue  # that of a meta-estimator is for parts that were not given
        try:
            fit(unfitted, images, masks)
        except (ValueError, RuntimeError) as error:
            require(_ABSENT_DEVICE in str(error), f"{name} does not name it: {error}")
        else:
            raise AssertionError(f"{name}.fit ran with {key}={_ABSENT_DEVICE!r}.")


def check_interrupt(name: str, estimator: BaseEstimator) -> None:
    """Ctrl-C in fit is raised on and leaves an estimator that can be used."""
    images, masks = image_array()
    for key in parameter_names(estimator, "network"):
        prefix = key.removesuffix("network")
        longer = {f"{prefix}max_epochs": 3}
        known = estimator.get_params(deep=True)
        longer = {k: v for k, v in longer.items() if k in known}
        factory = _Interrupting(known[key], 2)
        interrupted = fresh(estimator, **{key: factory}, **longer)
        try:
            fit(interrupted, images, masks)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError(f"{name} with {key} interrupted: fit went on.")
        try:
            values = outputs(interrupted, images)
        except NotFittedError:
            # The parts behind the one that was interrupted had no turn.
            require("__" in key, f"{name} cannot be used after Ctrl-C.")
            continue
        for method, answer in values.items():
            require(
                len(answer) == len(images)
                and all(np.isfinite(a).all() for a in answer),
                f"{name}.{method} does not answer after Ctrl-C.",
            )


def check_template_kept(name: str, estimator: BaseEstimator) -> None:
    """A network passed as a module is copied, not trained in place."""
    import torch

    images, masks = image_array()
    factory = _Factory(estimator.get_params(deep=False)["network"])
    fitted_once = fresh(estimator).set_params(network=factory)
    fit(fitted_once, images, masks)
    template = factory.built
    if template is None:
        raise AssertionError(f"{name}.fit does not build its network.")
    before = {key: value.clone() for key, value in template.state_dict().items()}
    flags = _flags(template)
    ready = fit(fresh(estimator).set_params(network=template), images, masks)
    outputs(ready, images)
    require(ready.network is template, f"{name}.fit replaces the parameter `network`.")
    require(flags == _flags(template), f"{name} changes flags of the given network.")
    for key, value in template.state_dict().items():
        require(
            torch.equal(before[key], value), f"{name} trains the given network: {key}."
        )


def check_tiles(name: str, estimator: BaseEstimator) -> None:
    """Prediction by tiles is about that of the whole image."""
    images = [large_image(151, 170)]
    ready = fitted(estimator)
    whole = outputs(ready.set_params(tile_size=4096), images)
    tiled = outputs(ready.set_params(tile_size=48), images)
    for method, values in whole.items():
        first, second = values[0], tiled[method][0]
        what = f"{name}.{method} by tiles and whole"
        if is_points(first):
            gap = abs(len(first) - len(second))
            require(gap <= 1 + len(first) // 10, f"{what}: {gap} points more or less.")
            continue
        require(first.shape == second.shape, f"{what}: {first.shape}, {second.shape}.")
        if first.dtype.kind == "i":
            differs = np.mean((first > 0) != (second > 0))
            require(differs <= 0.02, f"{what}: {differs:.1%} of the pixels differ.")
        else:
            gap = np.abs(first - second)
            require(
                gap.mean() <= 0.01 and np.percentile(gap, 99) <= 0.1,
                f"{what}: values differ by {gap.mean():.3g} on average.",
            )


def check_partial_fit(name: str, estimator: BaseEstimator) -> None:
    """partial_fit starts and goes on, and counts its epochs."""
    images, masks = image_array()
    ready = fresh(estimator)
    for n_calls in (1, 2):
        require(ready.partial_fit(images, masks) is ready, f"{name}: returns self.")
        n_epochs = getattr(ready, "n_epochs_", n_calls)
        require(
            n_epochs == n_calls,
            f"{name}: n_epochs_ is {n_epochs} after {n_calls} calls.",
        )
    outputs(ready, images)


def check_warm_start(name: str, estimator: BaseEstimator) -> None:
    """warm_start=True goes on from the weights of the last fit."""
    images, masks = image_array()
    ready = fit(fresh(estimator, warm_start=True), images, masks)
    n_first = ready.n_epochs_
    before = outputs(ready, images)
    fit(ready, images, masks)
    require(
        ready.n_epochs_ == 2 * n_first and len(ready.loss_curve_) == ready.n_epochs_,
        f"{name}: n_epochs_ went from {n_first} to {ready.n_epochs_} by a warm start.",
    )
    cold = fitted(estimator, images, masks)
    require_equal(before, outputs(cold, images), f"{name}: first fit, warm and cold")
