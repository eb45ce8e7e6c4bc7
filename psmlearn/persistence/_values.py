# SPDX-License-Identifier: BSD-3-Clause
"""Python values as JSON and arrays, and back; nothing but known classes is built.

Numbers, texts, True, False, None and lists are themselves. All else is an object of one
key that begins with "$": ``{"$tuple": [...]}``, ``{"$array": "name"}``, ...
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from psmlearn.persistence._kinds import Kind, kind_named, kind_of

__all__ = ["Decoder", "Encoder", "ModelFileError"]

_PLAIN = (bool, int, float, str)
_ARRAY_KINDS = "biuf"
_MOST_DEEP = 64
# Of channels and the like, in the recipe of a network.
_LARGEST_SIZE = 1 << 16
# What psmlearn.networks has beside them.
_NO_NETWORKS = {"build_network", "list_networks", "register_network"}
_FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


class ModelFileError(ValueError):
    """A model file that is damaged, foreign, or of another version."""


class Encoder:
    """Turns values into JSON; arrays are set aside under names.

    Attributes
    ----------
    arrays : dict of {str: ndarray}
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def encode(self, value: Any, path: str = "") -> Any:
        """Return what JSON can hold.

        Raises
        ------
        TypeError
            If a value is of no kind that files hold.
        """
        if value is None or type(value) in _PLAIN:
            return self._plain(value)
        if isinstance(value, np.ndarray):
            return self._array(value, path)
        if isinstance(value, np.generic):
            return self._scalar(value, path)
        if type(value) is list:
            return self._items(value, path)
        if type(value) is tuple:
            return {"$tuple": self._items(value, path)}
        if type(value) is dict:
            return {"$dict": self._pairs(value, path)}
        if isinstance(value, os.PathLike):
            return {"$path": os.fspath(value)}
        if isinstance(value, np.random.RandomState):
            return {"$random_state": self.encode(list(value.get_state()), path)}
        network = _network_name(value)
        if network is not None:
            return {"$network": network}
        return self._object(value, path)

    def _plain(self, value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return {"$float": str(value)}
        return value

    def _items(self, values: Any, path: str) -> list[Any]:
        return [self.encode(each, f"{path}.{i}") for i, each in enumerate(values)]

    def _pairs(self, value: Mapping[Any, Any], path: str) -> list[Any]:
        return [
            [self.encode(key, path), self.encode(each, f"{path}.{key}")]
            for key, each in value.items()
        ]

    def _array(self, value: np.ndarray, path: str) -> Any:
        kind = value.dtype.kind
        if kind == "U" or (kind == "O" and all(type(x) is str for x in value.flat)):
            texts = [str(each) for each in value.ravel()]
            return {"$texts": [kind, list(value.shape), texts]}
        if value.dtype.kind not in _ARRAY_KINDS:
            raise TypeError(f"{path[1:]} is an array of {value.dtype}")
        name = path.lstrip(".") or "value"
        while name in self.arrays:
            name += "'"
        self.arrays[name] = np.ascontiguousarray(value).reshape(value.shape)
        return {"$array": name}

    def _scalar(self, value: np.generic, path: str) -> Any:
        if value.dtype.kind == "U":
            return {"$scalar": ["str", str(value)]}
        if value.dtype.kind not in _ARRAY_KINDS:
            raise TypeError(f"{path[1:]} is a {value.dtype}")
        return {"$scalar": [value.dtype.name, self._plain(value.item())]}

    def _object(self, value: Any, path: str) -> Any:
        kind = kind_of(value)
        if kind is None:
            what = f"{type(value).__module__}.{type(value).__qualname__}"
            raise TypeError(f"{path[1:] or 'the estimator'} is a {what}")
        state = {
            name: self.encode(each, f"{path}.{name}")
            for name, each in _state_of(value, kind, path).items()
        }
        return {"$object": [kind.name, state]}


def _state_of(value: Any, kind: Kind, path: str) -> dict[str, Any]:
    """Return the attributes of an object that a file holds."""
    if dataclasses.is_dataclass(value):
        return {name: getattr(value, name) for name in kind.own_names()}
    if isinstance(value, Pipeline):
        steps = [[name, step] for name, step in value.steps]
        return {"steps": steps, "verbose": bool(value.verbose)}
    state = dict(value.__getstate__() or {})
    state.pop("_sklearn_version", None)
    for name in kind.left_out:
        state.pop(name, None)
    unknown = sorted(set(state) - {*kind.own_names(), *kind.learnt})
    if unknown:
        raise TypeError(
            f"{path[1:] or 'the estimator'} has attributes that no model file holds: "
            f"{', '.join(unknown)}"
        )
    return state


def _network_name(value: Any) -> str | None:
    """Return the name of a network class or function of psmlearn."""
    if not callable(value) or not hasattr(value, "__name__"):
        return None
    from psmlearn import networks

    name = value.__name__
    is_ours = name in _networks() and getattr(networks, name) is value
    return name if is_ours else None


def _networks() -> set[str]:
    """Return the names of psmlearn's networks, classes and functions."""
    from psmlearn import networks

    return set(networks.__all__) - _NO_NETWORKS


class Decoder:
    """Turns what an `Encoder` made back into values.

    Parameters
    ----------
    arrays : mapping of str to ndarray
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays = arrays
        self.used: set[str] = set()
        self._makers: dict[str, Callable[[Any, str, int], Any]] = {
            "$tuple": lambda value, path, depth: tuple(self._list(value, path, depth)),
            "$dict": self._dict,
            "$array": self._array,
            "$texts": self._texts,
            "$scalar": self._scalar,
            "$float": self._float,
            "$path": self._path,
            "$network": self._network,
            "$random_state": self._random_state,
            "$object": self._object,
        }

    def decode(self, value: Any, path: str = "", depth: int = 0) -> Any:
        """Return the value.

        Raises
        ------
        ModelFileError
            If it is nothing that an `Encoder` makes, or of an unknown class.
        """
        if depth > _MOST_DEEP:
            raise _refused(path, f"it is nested more than {_MOST_DEEP} deep")
        if value is None or type(value) in _PLAIN:
            return value
        if type(value) is list:
            return self._list(value, path, depth)
        if type(value) is dict and len(value) == 1:
            ((tag, inner),) = value.items()
            if tag in self._makers:
                return self._makers[tag](inner, path, depth)
        raise _refused(path, f"{str(value)[:60]!r} is no value of a model file")

    def _list(self, value: Any, path: str, depth: int) -> list[Any]:
        if type(value) is not list:
            raise _refused(path, "a list is expected")
        return [
            self.decode(each, f"{path}.{i}", depth + 1) for i, each in enumerate(value)
        ]

    def _dict(self, value: Any, path: str, depth: int) -> dict[Any, Any]:
        found = {}
        for pair in self._list(value, path, depth):
            if type(pair) is not list or len(pair) != 2:
                raise _refused(path, "pairs of key and value are expected")
            if type(pair[0]) not in (str, int):
                raise _refused(path, "keys are texts or whole numbers")
            found[pair[0]] = pair[1]
        return found

    def _array(self, value: Any, path: str, depth: int) -> np.ndarray:
        if type(value) is not str or value not in self.arrays:
            raise _refused(path, f"its array {str(value)[:60]!r} is missing")
        self.used.add(value)
        return np.array(self.arrays[value])

    def _texts(self, value: Any, path: str, depth: int) -> np.ndarray:
        kind, shape, texts = self._parts(value, 3, path)
        if kind not in ("U", "O") or not _are(int, shape) or not _are(str, texts):
            raise _refused(path, "an array of texts is expected")
        if any(side < 0 for side in shape) or math.prod(shape) != len(texts):
            raise _refused(path, f"{len(texts)} texts are no array of shape {shape}")
        return np.array(texts, dtype=object if kind == "O" else str).reshape(shape)

    def _scalar(self, value: Any, path: str, depth: int) -> np.generic:
        name, number = self._parts(value, 2, path)
        if name == "str" and type(number) is str:
            return np.str_(number)
        number = self.decode(number, path, depth + 1)
        if type(number) not in (bool, int, float) or name not in _NUMBERS:
            raise _refused(path, "a number is expected")
        try:
            return _NUMBERS[name](number)
        except (ValueError, OverflowError) as error:
            raise _refused(path, f"{number} is no {name}") from error

    def _float(self, value: Any, path: str, depth: int) -> float:
        if type(value) is not str or value not in _FLOATS:
            raise _refused(path, "inf, -inf or nan is expected")
        return _FLOATS[value]

    def _path(self, value: Any, path: str, depth: int) -> str:
        if type(value) is not str:
            raise _refused(path, "a path is expected")
        return value

    def _network(self, value: Any, path: str, depth: int) -> Any:
        from psmlearn import networks

        if type(value) is not str or value not in _networks():
            raise _refused(path, f"there is no network {str(value)[:60]!r} here")
        return getattr(networks, value)

    def _random_state(self, value: Any, path: str, depth: int) -> Any:
        found = np.random.RandomState()
        try:
            found.set_state(tuple(self.decode(value, path, depth + 1)))
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            raise _refused(path, "no state of a RandomState") from error
        return found

    def _parts(self, value: Any, number: int, path: str) -> list[Any]:
        if type(value) is not list or len(value) != number:
            raise _refused(path, f"a list of {number} is expected")
        return value

    def _object(self, value: Any, path: str, depth: int) -> Any:
        name, state = self._parts(value, 2, path)
        kind = kind_named(name) if type(name) is str else None
        if kind is None:
            raise _refused(
                path,
                f"its class {str(name)[:60]!r} is not one that this psmlearn knows; a "
                "newer version may",
            )
        if type(state) is not dict:
            raise _refused(path, f"the state of {name} is none")
        known = {*kind.own_names(), *kind.learnt}
        unknown = sorted(set(state) - known)
        needed = {"steps"} if kind.name == "Pipeline" else set(kind.own_names())
        # A parameter that came after the file was written has its default.
        later = {name: kind.default_of(name) for name in needed - set(state)}
        missing = sorted(n for n, v in later.items() if v is inspect.Parameter.empty)
        if unknown or missing:
            told = ", ".join([*unknown, *missing])[:200]
            what = "unknown" if unknown else "missing"
            raise _refused(path, f"{name} has other attributes here; {what}: {told}")
        values = {
            key: self.decode(each, f"{path}.{key}", depth + 1)
            for key, each in state.items()
        }
        values |= later
        if "_frozen" in values:
            found = kind_of(values["_frozen"])
            if found is None or found.name != kind.frozen:
                raise _refused(path, f"a {kind.frozen} is expected as its _frozen")
        return _build(kind, values, path)


def _build(kind: Kind, values: dict[str, Any], path: str) -> Any:
    """Make an object of its attributes, without code of the file."""
    cls: Any = kind.load()
    if dataclasses.is_dataclass(cls):
        found: Any = object.__new__(cls)  # type: ignore[arg-type]
        for name, value in values.items():
            object.__setattr__(found, name, value)
        return found
    if cls is Pipeline:
        return _pipeline(values, path)
    found = cls.__new__(cls)
    try:
        if "network_" in values:
            _check_network(found, values)
        found.__setstate__(values)
        if isinstance(found, BaseEstimator) and hasattr(found, "_validate_params"):
            found._validate_params()
    except ModelFileError:
        raise
    except (
        AttributeError,
        KeyError,
        IndexError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _refused(path, f"no {kind.name} can be made of it: {reason}") from error
    return found


def _check_network(estimator: Any, values: dict[str, Any]) -> None:
    """Compare the weights with those of the network, before memory is taken for it."""
    import torch

    recipe, weights = values.get("_network_recipe"), values["network_"]
    if type(recipe) is not dict or type(weights) is not dict:
        raise ValueError("weights and recipe of a network are expected")
    sizes = [each for each in recipe.values() if type(each) is int]
    if any(not 0 <= size <= _LARGEST_SIZE for size in sizes):
        raise ValueError(f"a network of sizes {sizes} is none")
    with torch.device("meta"):
        network = estimator._build(recipe)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    found = {
        key: tuple(value.shape) if isinstance(value, np.ndarray) else None
        for key, value in weights.items()
    }
    needed = estimator._needed_weights(network, values.get("_frozen"))
    differing = [
        key
        for key in sorted(shapes | found)
        if found.get(key) != shapes.get(key) and (key in found or key in needed)
    ]
    if differing:
        raise ValueError(
            f"its weights do not fit its network: {differing[0]} is "
            f"{found.get(differing[0], 'missing')} and should be "
            f"{shapes.get(differing[0], 'nothing')}"
        )


def _pipeline(values: dict[str, Any], path: str) -> Pipeline:
    steps = values["steps"]
    if type(steps) is not list or not steps:
        raise _refused(path, "a Pipeline needs steps")
    for step in steps:
        fits = type(step) is list and len(step) == 2 and type(step[0]) is str
        if not fits or not (step[1] == "passthrough" or kind_of(step[1])):
            raise _refused(path, "a step of a Pipeline is a name and an estimator")
    return Pipeline(
        [tuple(step) for step in steps], verbose=bool(values.get("verbose", False))
    )


def _are(kind: type, values: Any) -> bool:
    return type(values) is list and all(type(each) is kind for each in values)


def _refused(path: str, why: str) -> ModelFileError:
    where = f" at {path[1:]}" if path else ""
    return ModelFileError(f"{why}{where}")


_NUMBERS: dict[str, Any] = {
    dtype.__name__: dtype
    for dtype in (
        *(np.int8, np.int16, np.int32, np.int64),
        *(np.uint8, np.uint16, np.uint32, np.uint64),
        *(np.float16, np.float32, np.float64),
    )
} | {"bool": np.bool_}
