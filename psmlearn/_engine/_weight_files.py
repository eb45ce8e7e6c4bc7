# SPDX-License-Identifier: BSD-3-Clause
"""Weight files, read without running code, and refused unless they hold weights."""

from __future__ import annotations

import errno
import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

__all__ = ["check_safetensors", "check_weight_file", "read_weight_file"]

_FIX = (
    "Save them with torch.save(network.state_dict(), path) or as .safetensors; files "
    "that hold Python objects are refused."
)
_WRAPPERS = ("state_dict", "model")
# Of the header of a safetensors file; the format's own limit.
_MAX_HEADER = 100_000_000


def check_weight_file(path: str | os.PathLike) -> Path:
    """Return the path of a weight file that is there.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, ValueError
        If there is nothing by that name, a folder, or something else than a file.
    """
    found = Path(os.fsdecode(path))
    try:
        if found.is_file():
            return found
    except OSError as error:  # a name that is too long, or a folder that is closed
        text = os.fsdecode(path)
        told = text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"
        raise ValueError(
            f"weights={told!r} cannot be looked up: {error.strerror}; the path of a "
            "weight file is expected."
        ) from error
    if found.is_dir():
        raise IsADirectoryError(
            f"weights={str(found)!r} is a folder; the path of a weight file is "
            "expected."
        )
    if os.path.lexists(found) and found.exists():
        raise ValueError(
            f"weights={str(found)!r} is no regular file; the path of a weight file is "
            "expected."
        )
    raise FileNotFoundError(f"weights={str(found)!r}: there is no such file.")


def read_weight_file(path: str | os.PathLike) -> dict[str, torch.Tensor]:
    """Return the tensors of a weight file by name, on the CPU.

    Parameters
    ----------
    path : str or path
        A ``.safetensors`` file, or a torch file of tensors, read with
        ``weights_only=True``.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    ValueError
        If the file holds something else than plain tensors of real numbers.
    MemoryError
        If there is not enough memory for what it holds.
    """
    path = check_weight_file(path)
    read = _read_safetensors if path.suffix == ".safetensors" else _read_torch
    try:
        found = read(path)
    except MemoryError as error:
        raise _out_of_memory(path) from error
    state: dict[str, torch.Tensor] = {}
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ValueError(
                f"{path} holds no state dict of tensors: {str(name)[:60]!r} is a "
                f"{type(value).__name__}. {_FIX}"
            )
        short = name.removeprefix("module.")
        if short in state:
            raise ValueError(
                f"{path} holds {short!r} twice, with and without 'module.' before it."
            )
        _refuse_strange(path, name, value)
        state[short] = value
    if not state:
        raise ValueError(f"{path} holds no weights: it is empty inside. {_FIX}")
    return state


def _refuse_strange(path: Path, name: str, value: torch.Tensor) -> None:
    """Refuse tensors that are no plain arrays of real numbers."""
    kind = None
    if value.is_quantized:
        kind = "quantised"
    elif value.is_nested:
        kind = "nested"
    elif value.layout != torch.strided:
        kind = "sparse"
    elif value.is_meta or value.device.type != "cpu":
        kind = f"on the device {value.device}, without values"
    elif value.is_complex():
        kind = "complex"
    if kind is not None:
        raise ValueError(
            f"{path}: the weight {name!r} is {kind}; plain tensors of real numbers are "
            "expected, such as float32."
        )


# -- torch files -----------------------------------------------------------------


def _read_torch(path: Path) -> dict[Any, Any]:
    """Return the state dict of a torch file, out of a checkpoint if need be."""
    size = os.path.getsize(path)
    if not size:
        raise ValueError(f"{path} is empty: no weights. {_FIX}")
    _check_archive(path, size)
    with path.open("rb") as file:
        start = file.read(8)
    if start[:2] != b"PK" and start[:1] != b"\x80":
        raise ValueError(f"{path} is no torch file: it begins with {start!r}. {_FIX}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise _named(error, path) from error
    except MemoryError:
        raise
    except Exception as error:
        # Whatever damaged bytes make the unpickler stumble over.
        if "not enough memory" in str(error) or "allocate" in str(error):
            raise _out_of_memory(path) from error
        raise ValueError(
            f"{path} could not be read as plain weights: {_reason(error)} {_FIX}"
        ) from error
    for key in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        raise ValueError(
            f"{path} holds no state dict of tensors but a {type(state).__name__}. "
            f"{_FIX}"
        )
    return state


def _check_archive(path: Path, size: int) -> None:
    """Refuse an archive with packed parts, or that claims more than it holds."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            _check_parts(path, size, parts)
            damaged = archive.testzip()
    except OSError as error:
        if error.errno == errno.EINVAL:  # a part is said to lie before the file
            raise ValueError(
                f"{path} tells impossible places of its parts: it is damaged. {_FIX}"
            ) from error
        raise _named(error, path) from error
    except _RefusedError:
        raise
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"{path} could not be read as plain weights: {_reason(error)} {_FIX}"
        ) from error
    except EOFError as error:
        raise ValueError(f"{path} ends early: it is damaged. {_FIX}") from error
    if damaged is not None:
        raise ValueError(
            f"{path}: its part {damaged!r} does not fit its checksum (CRC), so its "
            "bytes were changed; copy or download it again. If it was saved with "
            "torch.serialization.set_crc32_options(False), save it with checksums."
        )


class _RefusedError(ValueError):
    """An archive that is sound but not accepted."""


def _check_parts(path: Path, size: int, parts: list[zipfile.ZipInfo]) -> None:
    """Refuse packed parts, and more than the file has, before anything is read."""
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise _RefusedError(
            f"{path} is a packed archive, which torch.save never writes. {_FIX}"
        )
    if sum(part.file_size for part in parts) > size:
        raise _RefusedError(
            f"{path} claims to hold more than its {size} bytes: it is damaged, or no "
            f"weight file. {_FIX}"
        )


# -- safetensors -----------------------------------------------------------------


def _read_safetensors(path: Path) -> dict[Any, Any]:
    from safetensors.torch import load_file

    check_safetensors(path)
    try:
        return load_file(path)
    except OSError as error:
        raise _named(error, path) from error
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is no safetensors file: {_reason(error)}") from error


def check_safetensors(path: Path) -> None:
    """Refuse a safetensors file whose header is none, before it is mapped."""
    size = os.path.getsize(path)
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size - 8, _MAX_HEADER):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = json.loads(file.read(length), object_pairs_hook=_without_twins)
        if not isinstance(header, dict):
            raise ValueError("its header is no table of tensors")
    except OSError as error:
        raise _named(error, path) from error
    except (struct.error, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is no safetensors file: {error or 'its header is damaged'}."
        ) from error


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its header names a tensor twice")
    return found


# -- errors ----------------------------------------------------------------------


def _reason(error: Exception) -> str:
    """Return the first line of an error as plain text: files may put signs into it."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    if not any(char.isalpha() for char in text):  # such as the number of an opcode
        text = f"{type(error).__name__} {text}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text) + "."


def _named(error: OSError, path: Path) -> OSError:
    """Return an error of the file system that names the file."""
    if error.filename is not None:
        return error
    return type(error)(error.errno, f"{error.strerror or error}", str(path))


def _out_of_memory(path: Path) -> MemoryError:
    return MemoryError(f"There is not enough memory for the weights of {path}.")
