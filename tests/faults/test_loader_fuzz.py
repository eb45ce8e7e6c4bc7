# SPDX-License-Identifier: BSD-3-Clause
"""Mutations of the files of every loader: the promised errors, or sound results."""

from __future__ import annotations

import sys

import fuzzing
import pytest
from loader_sets import SETS

NEEDS = {"bcdata": "h5py", "brats": "nibabel", "brats .nii": "nibabel"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("name", SETS)
def test_mutated_files(name, tmp_path):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    assert fuzzing.run(name, tmp_path, 300) == []


def test_mutations_are_told_from_each_other(tmp_path):
    sound = SETS["geojson"].write(tmp_path).read_bytes()
    made = {fuzzing.mutate(sound, seed) for seed in range(50)}
    assert len(made) > 40 and fuzzing.mutate(sound, 3) == fuzzing.mutate(sound, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_a_few_mutations_of_geojson(tmp_path):
    assert fuzzing.run("geojson", tmp_path, 20) == []
