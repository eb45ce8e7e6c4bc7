# SPDX-License-Identifier: BSD-3-Clause
"""ImageJ itself opens what is written for it, where it is there.

The environment variable IMAGEJ_JAR names its ij.jar, else that of Debian is looked for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from psmlearn.datasets import make_nuclei
from psmlearn.io import write_labels, write_rois

pytest.importorskip("roifile")
PROBE = Path(__file__).with_name("ImageJProbe.java")
JAR = os.environ.get("IMAGEJ_JAR") or "/usr/share/java/ij.jar"
CLASSES = ["Positive", "größer λ", "a/b"]


@pytest.fixture(scope="module")
def probe():
    """Return the cells that ImageJ tells of files."""
    java = shutil.which("java")
    if not os.path.isfile(JAR):
        pytest.skip(f"there is no ImageJ at {JAR}; name its ij.jar by IMAGEJ_JAR")
    if java is None:
        pytest.skip("java is not installed")

    def run(*paths):
        done = subprocess.run(
            [
                java,
                "-Djava.awt.headless=true",
                "-cp",
                JAR,
                str(PROBE),
                *map(str, paths),
            ],
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
        if "compiler" in done.stderr and "module" in done.stderr.lower():
            pytest.skip("java is here without its compiler")
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    return run


@pytest.fixture(scope="module")
def labels():
    """Nuclei, one with a hole, one in two pieces, and one of one pixel."""
    (ids,) = make_nuclei(1, (160, 200), n_nuclei=25, random_state=3).masks
    ids = ids.astype(np.int32)
    last = ids.max()
    ids[20:60, 20:60], ids[30:40, 30:40] = last + 1, 0
    ids[100:105, 5:9] = ids[120:125, 5:9] = last + 2
    ids[0, 0] = last + 3
    return ids


def test_imagej_finds_what_was_written(probe, labels, tmp_path):
    kinds = np.where(labels > 0, 1 + labels % 3, 0)
    rois, small, large = (tmp_path / name for name in ("r.zip", "s.tif", "l.tif"))
    write_rois(rois, np.stack([labels, kinds], axis=-1), classes=CLASSES)
    write_labels(small, labels, pixel_size=0.37)
    many = np.where(labels > 0, labels + 70_000, 0)
    write_labels(large, many, pixel_size=0.5)
    *found, first, second = probe(rois, small, large)
    numbers = [number for number in np.unique(labels) if number > 0]
    assert len(found) == len(numbers)
    for number, (kind, name, *box, area, told) in zip(numbers, found, strict=True):
        rows, columns = np.nonzero(labels == number)
        text = CLASSES[number % 3].replace("/", "_")
        assert (kind, name, told) == ("roi", f"{number} {text}", text)
        assert [int(each) for each in box] == [
            columns.min(),
            rows.min(),
            np.ptp(columns) + 1,
            np.ptp(rows) + 1,
        ]
        assert int(area) == len(rows)
    assert first == _image(labels, 16, "0.37") and second == _image(many, 32, "0.5")


def _image(labels, depth, size):
    height, width = labels.shape
    numbers = [width, height, depth, labels.sum(), labels.max()]
    return ["image", *map(str, numbers), size, size, "µm"]
