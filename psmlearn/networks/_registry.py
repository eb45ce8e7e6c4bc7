# SPDX-License-Identifier: BSD-3-Clause
"""Networks by name, by factory, or as copies of a given one."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial

from torch import nn

from psmlearn.networks._res2net import res2net101_26w_4s
from psmlearn.networks._resnet import resnet18, resnet34, resnet50
from psmlearn.networks._resunet import ResUNet34
from psmlearn.networks._unet import UNet, check_size

__all__ = ["build_network", "list_networks", "register_network"]

_FACTORIES: dict[str, Callable[..., nn.Module]] = {
    "res2net101_26w_4s": res2net101_26w_4s,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resunet34": ResUNet34,
    "unet": UNet,
    "unet_in": partial(UNet, norm="instance"),
}
_OWN = frozenset(_FACTORIES)


def list_networks() -> list[str]:
    """List the names that `build_network` knows.

    Returns
    -------
    list of str
        In alphabetical order.

    Examples
    --------
    >>> from psmlearn.networks import list_networks
    >>> "unet" in list_networks()
    True
    """
    return sorted(_FACTORIES)


def register_network(name: str, factory: Callable[..., nn.Module]) -> None:
    """Give a network of one's own a name, which estimators take as `network`.

    Model files hold names, never code: who reads one registers the same name first.

    Parameters
    ----------
    name : str
        Such as ``"my_unet"``; one of psmlearn's own is refused. A name that is there
        is given to the new factory.
    factory : callable
        As `build_network` takes it: ``f(in_channels, out_channels)``.

    Raises
    ------
    TypeError
        If the name is no text or the factory cannot be called.
    ValueError
        If the name is empty, or psmlearn's own.

    Examples
    --------
    >>> from functools import partial
    >>> from psmlearn.networks import UNet, list_networks, register_network
    >>> register_network("small_unet", partial(UNet, base_channels=8))
    >>> "small_unet" in list_networks()
    True
    """
    if not isinstance(name, str):
        raise TypeError(f"name: a text is expected, got {type(name).__name__}.")
    if not callable(factory):
        raise TypeError(
            f"factory: a function of in_channels and out_channels is expected, got "
            f"{factory!r}."
        )
    if not name.strip() or name in _OWN:
        what = "a network of psmlearn" if name in _OWN else "empty"
        raise ValueError(f"name={name!r} is {what}; choose another.")
    _FACTORIES[name] = factory


def _n_positional(factory: Callable) -> int:
    """Count the positional arguments that a factory takes, at most two."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # no signature to read: take it at its word
        return 2
    n_positional = 0
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            return 2
        if parameter.kind in (
            parameter.POSITIONAL_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
        ):
            n_positional += 1
    return min(n_positional, 2)


def build_network(
    name_or_factory: str | Callable | nn.Module,
    in_channels: int,
    out_channels: int,
    **options: object,
) -> nn.Module:
    """Build a network from a name, a factory or a network.

    Parameters
    ----------
    name_or_factory : str, callable or torch.nn.Module
        A name of `list_networks`; a callable that takes `in_channels` and
        `out_channels` (or `in_channels` alone, or nothing) by position and
        returns a network; or a network, which is copied with its weights and
        never changed. A class of networks counts as a callable.
    in_channels : int
        Channels of the images.
    out_channels : int
        Channels of the logits, or outputs of a classifier's linear layer.
    **options : object
        Further keyword arguments of the factory, such as ``base_channels=32``.

    Returns
    -------
    torch.nn.Module
        A new network; random weights come from torch's global generator.

    Raises
    ------
    ValueError
        If the name is unknown, or options come with a network.
    TypeError
        If `name_or_factory` is none of the three kinds, or the factory returns
        something else than a network.

    Examples
    --------
    >>> from psmlearn.networks import build_network
    >>> build_network("unet", 3, 2, base_channels=8).stride
    16
    """
    in_channels = check_size(in_channels, "in_channels")
    out_channels = check_size(out_channels, "out_channels")
    if isinstance(name_or_factory, nn.Module):
        if options:
            raise ValueError(
                f"A network that is already built takes no options, got "
                f"{sorted(options)}; pass its class or a factory instead."
            )
        return copy.deepcopy(name_or_factory)
    factory = name_or_factory
    if isinstance(factory, str):
        if factory not in _FACTORIES:
            raise ValueError(
                f"There is no network named {factory!r}; expected one of "
                f"{', '.join(list_networks())}, a callable that returns a "
                f"torch.nn.Module, or a torch.nn.Module."
            )
        factory = _FACTORIES[factory]
    if not callable(factory):
        raise TypeError(
            f"A network is given by its name ({', '.join(list_networks())}), by a "
            f"callable that returns a torch.nn.Module, or as a torch.nn.Module; "
            f"got {factory!r}."
        )
    arguments = (in_channels, out_channels)[: _n_positional(factory)]
    network = factory(*arguments, **options)
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"The network factory {factory!r} must return a torch.nn.Module, "
            f"it returned {type(network).__name__}."
        )
    return network
