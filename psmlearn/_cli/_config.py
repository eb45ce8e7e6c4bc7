# SPDX-License-Identifier: BSD-3-Clause
"""Parameters in a TOML file: of the command line, and of the parts of the chain."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from psmlearn.io._paths import printable

if TYPE_CHECKING:
    from psmlearn.segmentation import PseudoLabelSegmenter

__all__ = [
    "CONFIG_MARK",
    "config_option",
    "config_text",
    "parts_of_config",
    "read_config",
    "set_parameters",
    "set_part",
]

CONFIG_MARK = "# psmlearn configuration"
# What parts of the chain are called, and what they hold.
_PARTS = {
    "maps": "the network that trains itself, and its maps",
    "clusters": "maps and stain to pseudo masks",
    "segmenter": "the network that learns the pseudo masks",
    "chain": "rounds of training, and what is in doubt",
}
_KEYS = ("pixel_size", "max_epochs", "random_state", "device", "classes", "quick")
_KEYS += ("fields", "field_size")
# Of the chain itself; what else it has comes from the command line.
_OF_CHAIN = ("class_source", "doubt", "n_rounds", "warm_rounds")
# TOML has no word for None.
_NONE = "none"
_PLACE = "psmlearn.config"


def config_option(command: Any) -> Any:
    """Add --config, whose values hold where no option is given."""
    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_load,
        help="TOML file with parameters, as `train` writes it; options of the command "
        "line come first.",
    )(command)


def _load(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Make the values of a file the defaults of options, and keep those of parts."""
    if path is None:
        return
    try:
        options, parts = read_config(path)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--config") from None
    context.default_map = {**(context.default_map or {}), **options}
    context.meta[_PLACE] = parts


def parts_of_config() -> dict[str, dict[str, Any]]:
    """Return the parameters of parts that --config gave."""
    return dict(click.get_current_context().meta.get(_PLACE, {}))


def read_config(
    path: Path,
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return options, and the parameters of parts, that a TOML file holds.

    Raises
    ------
    ValueError
        If it is no TOML, or holds something else.
    """
    told = printable(str(path))
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{told} is no TOML: {error}") from None
    options: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name in _PARTS and isinstance(value, dict):
            parts[name] = {
                inner: None if each == _NONE else each for inner, each in value.items()
            }
        elif name in _KEYS and not isinstance(value, dict | list):
            options[name] = str(value) if name == "pixel_size" else value
        else:
            known = [*_KEYS, *(f"[{part}]" for part in _PARTS)]
            raise ValueError(
                f"{told} holds {key!r}, which is not known; it may hold "
                f"{', '.join(known)}."
            )
    return options, parts


def set_parameters(
    chain: PseudoLabelSegmenter, parameters: Mapping[str, Mapping[str, Any]]
) -> None:
    """Set parameters of the parts of an unfitted chain, and check all of them.

    Raises
    ------
    ValueError
        If a part is not there, has no such parameter, or would not take the value.
    """
    parts = _parts(chain)
    for name, values in parameters.items():
        if name not in parts:
            raise ValueError(
                f"[{name}] of --config: this chain has no such part, but "
                f"{', '.join(parts)}."
            )
        set_part(name, parts[name], values)


def set_part(name: str, part: Any, values: Mapping[str, Any]) -> None:
    """Set parameters of one part, which the file calls `name`, and check all of them.

    Raises
    ------
    ValueError
        If it has no such parameter, or would not take the value.
    """
    known = _settable(name, part)
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}" if near else ""
            raise ValueError(
                f"[{name}] of --config has {key!r}, which is no parameter{hint}: "
                f"there are {', '.join(known)}."
            )
        # TOML has lists alone.
        as_tuple = isinstance(known[key], tuple) and isinstance(value, list)
        part.set_params(**{key: tuple(value) if as_tuple else value})
    try:
        part._validate_params()
    except ValueError as error:
        raise ValueError(f"[{name}] of --config: {error}") from None


def _parts(chain: PseudoLabelSegmenter) -> dict[str, Any]:
    """Return the parts of an unfitted chain by what the file calls them."""
    labeler: Any = chain.labeler
    steps = getattr(labeler, "named_steps", {"clusters": labeler})
    return {**steps, "segmenter": chain.segmenter, "chain": chain}


def _settable(name: str, part: Any) -> dict[str, Any]:
    """Return the parameters of a part that the file holds."""
    values = part.get_params(deep=False)
    if name == "chain":
        return {key: values[key] for key in _OF_CHAIN}
    others = ("device", "pixel_size", "random_state", "verbose", "classes")
    return {key: value for key, value in values.items() if key not in others}


def config_text(chain: PseudoLabelSegmenter, options: Mapping[str, Any]) -> str:
    """Return the text of a file that makes the same chain again.

    Parameters
    ----------
    chain : PseudoLabelSegmenter
        Unfitted.
    options : mapping of str to value
        Of the command line; None is left out.
    """
    lines = [CONFIG_MARK, "# psmlearn train IMAGES --config FILE --model MODEL", ""]
    lines += [_line(key, value) for key, value in options.items() if value is not None]
    for name, part in _parts(chain).items():
        lines += ["", f"# {_PARTS[name]}", f"[{name}]"]
        lines += [_line(key, value) for key, value in _settable(name, part).items()]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any) -> str:
    """Return a line of TOML; a comment of what TOML cannot hold."""
    try:
        return f"{key} = {_value(value)}"
    except TypeError:
        return f"# {key}: {value!r}".replace("\n", " ")


def _value(value: Any) -> str:
    if value is None:
        return json.dumps(_NONE)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        # A basic string of TOML is one of JSON, but for what has no character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    raise TypeError(type(value).__name__)
