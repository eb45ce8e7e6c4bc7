# SPDX-License-Identifier: BSD-3-Clause
"""Weight files that are none, hold no weights, or weights of another kind."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_estimators import make_small
from torch import nn

import psmlearn
from psmlearn import NucleiSegmenter, PseudoLabelSegmenter, SelfActivationMapper
from psmlearn._engine import _weight_files
from psmlearn._engine._state import load_weights
from psmlearn.datasets import make_nuclei


def network() -> nn.Module:
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(0)
    built = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
    torch.random.set_rng_state(torch_state)
    return built


def state(**changes):
    return OrderedDict(network().state_dict(), **changes)


def load(path):
    return load_weights(network(), path)


class _Evil:
    def __reduce__(self):
        return eval, ("1/0",)


# -- what is no file of weights ------------------------------------------------------


def _write(content: bytes):
    return lambda path: path.write_bytes(content)


def _save(value, **options):
    return lambda path: torch.save(value, path, **options)


def _safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _entry(shape, end, dtype="F32", start=0):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def _packed(path: Path) -> None:
    """An archive of torch.save whose parts are compressed: a bomb."""
    torch.save(state(), path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
        archive.writestr("archive/data/99", bytes(5_000_000))


def _claiming(path: Path) -> None:
    """An archive whose directory claims more than there is."""
    torch.save(state(), path)
    content = bytearray(path.read_bytes())
    place = content.rfind(b"PK\x01\x02")
    content[place + 20 : place + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    path.write_bytes(bytes(content))


FILES = {
    "empty.pt": _write(b""),
    "one byte.pt": _write(b"P"),
    "text.pt": _write(b"epoch,loss\n1,0.5\n"),
    "zeros.pt": _write(bytes(4096)),
    "html.pt": _write(b"<!DOCTYPE html><html>404: not found</html>"),
    "archive.pt": lambda path: zipfile.ZipFile(path, "w").writestr("a.txt", "hello"),
    "packed.pt": _packed,
    "claiming.pt": _claiming,
    "numpy.pt": lambda path: path.write_bytes(pickle.dumps(np.ones(3))),
    "module.pt": _save(network()),
    "code.pt": _save({"0.weight": _Evil()}),
    "old format code.pt": _save(
        {"0.weight": _Evil()}, _use_new_zipfile_serialization=False
    ),
    "list.pt": _save([torch.ones(2)]),
    "tensor.pt": _save(torch.ones(2)),
    "nothing.pt": _save({}),
    "number.pt": _save({"0.weight": 3}),
    "numbered.pt": _save({0: torch.ones(2), 1: torch.ones(3)}),
    "nested.pt": _save({"epoch": 3, "weights": state()}),
    "empty.safetensors": _write(b""),
    "text.safetensors": _write(b"no weights at all"),
    "zeros.safetensors": _write(bytes(64)),
    "header beyond.safetensors": _write(_safetensors({}, length=1 << 40)),
    "header huge.safetensors": _write(_safetensors({}, length=(1 << 63) - 1)),
    "header no json.safetensors": _write(_safetensors(b"{'a': 1}")),
    "header not utf-8.safetensors": _write(_safetensors(b'{"\xff\xfe": 1}')),
    "header a list.safetensors": _write(_safetensors([1, 2])),
    "header deep.safetensors": _write(_safetensors(b"[" * 100_000 + b"]" * 100_000)),
    "no tensor.safetensors": _write(_safetensors({})),
    "data beyond.safetensors": _write(
        _safetensors({"0.weight": _entry([3, 2, 3, 3], 216)}, bytes(10))
    ),
    "shape beyond.safetensors": _write(
        _safetensors({"0.weight": _entry([1 << 40], 216)}, bytes(216))
    ),
    "shape overflows.safetensors": _write(
        _safetensors({"0.weight": _entry([1 << 62, 1 << 62], 216)}, bytes(216))
    ),
    "shape negative.safetensors": _write(
        _safetensors({"0.weight": _entry([-1], 4)}, bytes(4))
    ),
    "offsets turned.safetensors": _write(
        _safetensors({"0.weight": _entry([1], 0, start=4)}, bytes(4))
    ),
    "dtype unknown.safetensors": _write(
        _safetensors({"0.weight": _entry([1], 4, "F31")}, bytes(4))
    ),
    "tensor twice.safetensors": _write(
        _safetensors(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            bytes(4),
        )
    ),
    "torch.safetensors": _save(state()),
    "safetensors.pt": _write(
        _safetensors({"0.weight": _entry([3, 2, 3, 3], 216)}, bytes(216))
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_hold_no_weights_are_refused_by_name(name, tmp_path):
    path = tmp_path / name
    FILES[name](path)
    with pytest.raises(ValueError, match=r"weights|safetensors") as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 900


def _damaged(suffix: str, share: float):
    def write(path: Path) -> None:
        if suffix == "pt":
            torch.save(state(), path)
        else:
            save_file(state(), path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return write


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_truncated_files_are_refused_by_name(suffix, share, tmp_path):
    path = tmp_path / f"weights.{suffix}"
    _damaged(suffix, share)(path)
    with pytest.raises(ValueError, match="weights|safetensors") as caught:
        load(path)
    assert str(path) in str(caught.value)


def _pipe(path):
    os.mkfifo(path)


PATHS = {
    "missing": (lambda path: None, FileNotFoundError, "there is no such file"),
    "folder": (Path.mkdir, IsADirectoryError, "is a folder"),
    "pipe": (_pipe, ValueError, "no regular file"),
    "link to nothing": (
        lambda path: path.symlink_to("nowhere"),
        FileNotFoundError,
        "there is no such file",
    ),
}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("name", PATHS)
def test_paths_that_are_no_file_are_refused_by_name(name, suffix, tmp_path):
    make, error, words = PATHS[name]
    path = tmp_path / f"weights.{suffix}"
    make(path)
    for given in (path, str(path)):
        with pytest.raises(error, match=words) as caught:
            load(given)
        assert str(path) in str(caught.value)


# -- tensors of another kind -----------------------------------------------------------


def _like(**options):
    return torch.ones(3, 2, 3, 3).to(**options)


def _quantised():
    return torch.quantize_per_tensor(torch.ones(3, 2, 3, 3), 0.1, 0, torch.qint8)


KINDS = {
    "complex": (lambda: _like(dtype=torch.complex64), "is complex"),
    "sparse": (lambda: _like().to_sparse(), "is sparse"),
    "meta": (lambda: _like(device="meta"), "without values"),
    "int64": (lambda: _like(dtype=torch.int64), "whole numbers"),
    "int8": (lambda: _like(dtype=torch.int8), "whole numbers"),
    "bool": (lambda: _like(dtype=torch.bool), "whole numbers"),
    "nan": (lambda: _like() * torch.nan, "holds NaN"),
    "inf": (lambda: _like() - torch.inf, "holds NaN"),
    "beyond float32": (lambda: _like(dtype=torch.float64) * 1e300, "holds NaN"),
    "one number": (lambda: torch.ones(()), "does not fit"),
    "endless view": (lambda: torch.ones(1).expand(10**12), "does not fit"),
    "endless view of zeros": (
        lambda: torch.zeros(1).as_strided((1 << 40, 1 << 20), (0, 0)),
        "does not fit",
    ),
}


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_tensors_of_another_kind_are_refused_by_name(name, old_format, tmp_path):
    make, words = KINDS[name]
    path = tmp_path / "weights.pth"
    changed = state(**{"0.weight": make()})
    torch.save(changed, path, _use_new_zipfile_serialization=not old_format)
    with pytest.raises(ValueError, match=words) as caught:
        load(path)
    assert str(path) in str(caught.value) and "0.weight" in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_quantised_tensors_are_refused_by_name(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(state(**{"0.weight": _quantised()}), path)
    with pytest.raises(ValueError, match="quantised|plain weights") as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["int64", "int8", "bool", "nan", "inf"])
def test_safetensors_of_another_kind_are_refused_by_name(name, tmp_path):
    make, words = KINDS[name]
    path = tmp_path / "weights.safetensors"
    save_file(state(**{"0.weight": make()}), path)
    with pytest.raises(ValueError, match=words) as caught:
        load(path)
    assert str(path) in str(caught.value) and "0.weight" in str(caught.value)


def test_fractions_in_place_of_counts_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(state(**{"1.num_batches_tracked": torch.tensor(1.5)}), path)
    with pytest.raises(ValueError, match="fractions.*whole"):
        load(path)
    torch.save(state(**{"1.num_batches_tracked": torch.tensor(7.0)}), path)
    loaded = network()
    load_weights(loaded, path)
    assert loaded[1].num_batches_tracked == 7


def test_a_weight_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(state(**{"module.0.weight": torch.ones(3, 2, 3, 3)}), path)
    with pytest.raises(ValueError, match="'0.weight' twice"):
        load(path)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float32]
)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_floats_of_other_widths_are_taken(dtype, suffix, prefix, tmp_path):
    path = tmp_path / f"weights.{suffix}"
    stored = {
        prefix + key: value.to(dtype) if value.is_floating_point() else value
        for key, value in state().items()
    }
    if suffix == "pt":
        torch.save({"epoch": 3, "state_dict": stored}, path)
    else:
        save_file(stored, path)
    loaded = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
    assert load_weights(loaded, path) == []
    for key, value in loaded.state_dict().items():
        wanted = stored[prefix + key]
        assert value.dtype in (torch.float32, torch.int64)
        assert torch.equal(value, wanted.to(value.dtype))


def test_a_network_that_is_refused_weights_is_left_as_it_was(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(state(**{"2.bias": torch.full((2,), torch.nan)}), path)
    other = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(ValueError, match="2.bias"):
        load_weights(other, path)
    for key, value in other.state_dict().items():
        assert torch.equal(value, before[key])


def _no_memory(*args, **options):
    raise MemoryError


def _no_memory_of_torch(*args, **options):
    raise RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't "
        "allocate memory: you tried to allocate 4000000000000 bytes."
    )


@pytest.mark.parametrize("failure", [_no_memory, _no_memory_of_torch])
def test_out_of_memory_names_the_file(failure, tmp_path, monkeypatch):
    path = tmp_path / "weights.pt"
    torch.save(state(), path)
    monkeypatch.setattr(_weight_files.torch, "load", failure)
    with pytest.raises(MemoryError, match=r"memory for the weights of .*weights\.pt"):
        load(path)


def test_errors_of_reading_name_the_file(tmp_path, monkeypatch):
    def broken(*args, **options):
        raise OSError(5, "Input/output error")

    path = tmp_path / "weights.pt"
    torch.save(state(), path)
    monkeypatch.setattr(_weight_files.torch, "load", broken)
    with pytest.raises(OSError, match=r"Input/output error: .*weights\.pt"):
        load(path)


# -- estimators ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["text.pt", "module.pt", "no tensor.safetensors"])
@pytest.mark.parametrize("kind", [NucleiSegmenter, SelfActivationMapper])
def test_estimators_refuse_them_and_stay_as_they_were(kind, name, tmp_path):
    data = make_nuclei(2, (64, 64), n_nuclei=8, random_state=0)
    model = make_small(kind).fit(data.images, list(data.masks))
    before = dict(vars(model))
    path = tmp_path / name
    FILES[name](path)
    model.set_params(weights=path)
    with pytest.raises(ValueError, match="weights|safetensors") as caught:
        model.fit(data.images[..., :1], list(data.masks))
    assert str(path) in str(caught.value)
    assert vars(model) == {**before, "weights": path}


@pytest.mark.parametrize("name", PATHS)
def test_absent_files_are_told_before_anything_is_trained(name, tmp_path):
    make, error, words = PATHS[name]
    path = tmp_path / "weights.pt"
    make(path)
    data = make_nuclei(2, (64, 64), n_nuclei=8, random_state=0)

    class Labeler(SelfActivationMapper):
        def fit(self, X, y=None):
            raise AssertionError("trained")

        predict = fit

    chain = PseudoLabelSegmenter(Labeler(), NucleiSegmenter(weights=path))
    with pytest.raises(error, match=words):
        chain.fit(data.images)


# -- mutations -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_mutated_files_give_only_the_promised_errors(kind, tmp_path):
    suffix = "safetensors" if kind == "safetensors" else "pt"
    path = tmp_path / f"original.{suffix}"
    original = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).state_dict()
    if kind == "safetensors":
        save_file(original, path)
    else:
        torch.save(original, path, _use_new_zipfile_serialization=kind == "zip")
    program = Path(__file__).with_name("weight_fuzzing.py")
    paths = [str(Path(psmlearn.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path), suffix, "0", "300"],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        check=False,
    )
    last = done.stderr.splitlines()[-20:]
    assert done.returncode == 0, f"ended by {done.returncode} after {last}"
    *found, refused = done.stdout.splitlines()
    assert not found, "\n".join(found)
    assert int(refused.split()[0]) > 100
