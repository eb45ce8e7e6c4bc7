# SPDX-License-Identifier: BSD-3-Clause
"""What tests of the command line share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fixed_model
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from psmlearn import _cli
from psmlearn._cli._ledger import LEDGER_NAME, read_ledger
from psmlearn.io import read_image, read_labels

KINDS = ("overlay.png", "map.png", "labels.tif", "nuclei.csv", "nuclei.geojson")
KINDS_OF_CLASSES = (*KINDS[:1], *KINDS[2:], "points.csv")
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files and signals")


def make_image(path, seed=0, shape=(16, 20, 3), **options):
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def run(*arguments):
    return CliRunner().invoke(_cli.main, ["segment", *map(str, arguments)])


def results(name, kinds=KINDS):
    return [f"{name}_{kind}" for kind in kinds]


def all_bytes(folder):
    return {
        path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def refused(done, model, *texts):
    """Check for one plain error before any training."""
    assert done.exit_code in (1, 2), done.output
    assert isinstance(done.exception, SystemExit), done.exception
    assert "Traceback" not in done.output and model.seen == []
    for text in texts:
        assert text in done.output, done.output
    return True


def python_path():
    root = str(Path(_cli.__file__).parents[2])
    return os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])


def start(images, out, wait="0.1", *options):
    return subprocess.Popen(
        [sys.executable, fixed_model.__file__, "segment", images, "-o", out]
        + ["--classes", "ki67", *options],
        env={**os.environ, "WAIT": wait, "PYTHONPATH": python_path()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def check_whole(out):
    """Check that what has a final name is whole and in the list; return all names."""
    names = sorted(os.listdir(out)) if out.exists() else []
    ledger = read_ledger(out)
    for name in names:
        if name.startswith(".psmlearn-") or name == LEDGER_NAME:
            continue
        assert ledger.match(str(out / name), name) is not None, name
        if name.endswith(".png"):
            read_image(out / name)
        elif name.endswith(".tif"):
            read_labels(out / name)
    return names
