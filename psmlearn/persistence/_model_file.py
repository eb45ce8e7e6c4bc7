# SPDX-License-Identifier: BSD-3-Clause
"""Model files: arrays by safetensors, all else as JSON in its header."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

import psmlearn
from psmlearn.io._paths import as_path, atomic_path, names_target
from psmlearn.persistence._kinds import kind_of
from psmlearn.persistence._values import Decoder, Encoder, ModelFileError

__all__ = ["ModelFileError", "load_model", "read_model_header", "save_model"]

# The one entry in the header: several would come in another order each time.
_ENTRY = "psmlearn-model"
_FORMAT_VERSION = 1
_FIX = "psmlearn.load_model reads what psmlearn.save_model wrote"


def save_model(estimator: BaseEstimator, path: str | os.PathLike[str]) -> None:
    """Write an estimator to one file that runs no code when it is read.

    Weights and other arrays are kept as safetensors, all else as JSON; written
    atomically. What prediction does not need, such as the masks of the training
    images, is left out.

    Parameters
    ----------
    estimator : estimator
        One of psmlearn, fitted or not, or a Pipeline of such. A network of one's own
        needs a name, see :func:`psmlearn.networks.register_network`.
    path : str or path
        Such as ``"nuclei.psm"``. A file that is there is replaced.

    Raises
    ------
    TypeError
        If the estimator, or a part of it, is none of psmlearn's: a function as
        labeler, a network or pretext of one's own.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from psmlearn import NucleiSegmenter, load_model, save_model
    >>> from psmlearn.datasets import make_nuclei
    >>> data = make_nuclei(n_images=2, shape=(64, 64), random_state=0)
    >>> model = NucleiSegmenter(max_epochs=1, steps_per_epoch=2, patch_size=32)
    >>> model = model.fit(data.images, data.masks)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(model, Path(folder, "nuclei.psm"))
    ...     again = load_model(Path(folder, "nuclei.psm"))
    >>> bool((again.predict(data.images) == model.predict(data.images)).all())
    True
    """
    if kind_of(estimator) is None or not isinstance(estimator, BaseEstimator):
        raise TypeError(_not_ours(f"the estimator is a {type(estimator).__name__}"))
    encoder = Encoder()
    try:
        told = encoder.encode(estimator)
    except TypeError as error:
        raise TypeError(_not_ours(str(error))) from error
    header = {
        "format_version": _FORMAT_VERSION,
        "psmlearn_version": psmlearn.__version__,
        "model": told,
    }
    metadata = {_ENTRY: json.dumps(header, separators=(",", ":"), allow_nan=False)}
    from safetensors.numpy import save_file

    arrays = {name: _in_order(array) for name, array in encoder.arrays.items()}
    with names_target(path), atomic_path(path) as part:
        save_file(arrays, part, metadata=metadata)


def load_model(path: str | os.PathLike[str]) -> Any:
    """Read an estimator that :func:`save_model` wrote.

    Only classes of psmlearn are built, of plain values and arrays; the file cannot
    run code. Memory is that of the file, about, and of a network of its weights.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    estimator : estimator
        Ready to predict, on whatever device is there.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    ModelFileError
        A ValueError: if the file is damaged, no model of psmlearn, of a newer
        format, or holds a class, attribute or network that is not known here.

    Examples
    --------
    See :func:`save_model`.
    """
    header = read_model_header(path)
    arrays = _read_arrays(path)
    decoder = Decoder(arrays)
    try:
        model = decoder.decode(header["model"])
        if kind_of(model) is None or not isinstance(model, BaseEstimator):
            raise ModelFileError("it holds no estimator")
        unused = sorted(set(arrays) - decoder.used)
        if unused:
            raise ModelFileError(f"it holds arrays that nothing asks for: {unused[0]}")
    except ModelFileError as error:
        raise ModelFileError(f"{as_path(path)}: {error}. {_FIX}.") from error
    return model


def read_model_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a model file tells of itself, without its arrays.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    header : dict
        "format_version", "psmlearn_version", and "model", the JSON of the estimator.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, ModelFileError
        As :func:`load_model`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from psmlearn import SemanticClusterer, save_model
    >>> from psmlearn.persistence import read_model_header
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(SemanticClusterer(), Path(folder, "model.psm"))
    ...     header = read_model_header(Path(folder, "model.psm"))
    >>> header["format_version"], header["model"]["$object"][0]
    (1, 'SemanticClusterer')
    """
    from safetensors import safe_open

    from psmlearn._engine._weight_files import check_safetensors

    place = Path(as_path(path))
    if place.is_dir():
        raise IsADirectoryError(f"{as_path(path)!r} is a folder, not a model file.")
    if not place.is_file():
        raise FileNotFoundError(f"There is no model file {as_path(path)!r}.")
    try:
        check_safetensors(place)
        with safe_open(as_path(path), framework="numpy") as file:
            metadata = file.metadata() or {}
    except (MemoryError, OSError):
        raise
    except Exception as error:  # the library's own
        raise ModelFileError(f"{error} {_FIX}.") from error
    if _ENTRY not in metadata:
        raise ModelFileError(
            f"{as_path(path)} holds weights, not a model of psmlearn; such files go "
            f"into the parameter `weights` of a network. {_FIX}."
        )
    try:
        header = json.loads(metadata[_ENTRY])
        version, writer = header["format_version"], header["psmlearn_version"]
        header["model"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(
            f"{as_path(path)}: the description of the model is damaged. {_FIX}."
        ) from error
    if type(version) is not int or not 1 <= version <= _FORMAT_VERSION:
        raise ModelFileError(
            f"{as_path(path)} is of format {str(version)[:20]}, written by psmlearn "
            f"{str(writer)[:40]}; this one ({psmlearn.__version__}) knows formats up "
            f"to {_FORMAT_VERSION}. Update psmlearn."
        )
    return header


def _read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    from safetensors import safe_open

    try:
        with safe_open(as_path(path), framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (MemoryError, OSError):
        raise
    except Exception as error:  # the library's own, and numpy's of odd dtypes
        raise ModelFileError(
            f"{as_path(path)}: its arrays cannot be read: {error}. {_FIX}."
        ) from error


def _in_order(array: np.ndarray) -> np.ndarray:
    """Return an array as safetensors takes it: native, contiguous."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(
        array.shape
    )


def _not_ours(what: str) -> str:
    return (
        f"save_model: {what}, and a model file holds psmlearn's estimators and "
        "options, Pipelines of them, plain values and arrays only. A network of one's "
        "own needs a name (psmlearn.networks.register_network); for other parts write "
        "the whole by joblib.dump, and read it only where you trust the file."
    )
