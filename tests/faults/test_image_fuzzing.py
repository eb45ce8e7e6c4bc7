# SPDX-License-Identifier: BSD-3-Clause
"""Damaged files give a clear error or pixels, and never a crash or a hang."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource")
pytest.importorskip("imagecodecs")

from image_fuzzing import KINDS

N_FILES = 300


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_raise_only_what_is_promised(tmp_path, kind):
    done = run(tmp_path, kind, 0, N_FILES)
    assert done.stdout == "", done.stdout[:4000]


@pytest.mark.parametrize("kind", ["png", "tiff-lzw", "csv"])
def test_a_few_damaged_files(tmp_path, kind):
    done = run(tmp_path, kind, 10**6, 10)
    assert done.stdout == "", done.stdout[:4000]


def run(folder, kind, first, count):
    """Read damaged files in another process; it must come to its end."""
    script = Path(__file__).with_name("image_fuzzing.py")
    command = [sys.executable, str(script), kind, str(first), str(count), str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=900
    )
    last = (folder / "seed.txt").read_text() if (folder / "seed.txt").exists() else "?"
    told = f"{kind}: ended with {done.returncode} at {last}\n{done.stderr[-2000:]}"
    assert done.returncode == 0, told
    return done
