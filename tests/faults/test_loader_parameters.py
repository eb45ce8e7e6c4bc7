# SPDX-License-Identifier: BSD-3-Clause
"""Parameters of loaders and makers: wrong kinds are named."""

from __future__ import annotations

import numpy as np
import pytest
from loader_sets import (
    SETS,
    write_lgg,
    write_points,
)

from psmlearn import datasets

# Parameters -------------------------------------------------------------------------

FOLDERS = {("cpm", "subset"), ("label folder", "classes")}
WRONG = {
    "folder": [None, 3, b"a", ["a"], "", "a\0b", "\ud800", "a" * 5000],
    "json_file": [None, 3, b"a", ["a"], "", "a\0b", "\ud800"],
    "image_folder": [3, b"a", "a\0b"],
    "annotations": [3, b"a", "a\0b"],
    "subset": [3, True, ["train"], np.array(["train"]), {"a": 1}, "valid"],
    "masks": [3, True, ["xml"], np.array(["xml"])],
    "images": [3, None, ["a"], "a\0b"],
    "points": [3, None, ["a"], "a\0b"],
    "regions": [3, True, ["a"], "a\0b"],
    "classes": [3, True, "a"],
    "object_types": ["cell", 3, None, [], [3], np.array("cell")],
    "geometry": [3, None, ["cell"], "nuclei"],
    "image_suffix": [None, 3, b"a", ["a"]],
    "mask_suffix": [None, 3, b"a"],
    "point_suffix": [None, 3, b"a"],
    "region_suffix": [None, 3, b"a"],
    "class_suffix": [None, 3, b"a"],
    "row": [None, 3, b"y"],
    "column": [None, 3, b"x"],
    "label": [3, True, b"x"],
    "delimiter": [None, 3, "", ";;", b";"],
    "require_masks": [None, 1, "no"],
    "require_points": [None, 1, "no"],
    "merge_types": [None, 1, "no"],
    "group_pattern": [3, b"a", ["a"], "(", "*"],
    "max_bytes": [0, -1, True, 1.5, "1"],
    "modalities": ["t1", 3, [3], [], np.array("t1")],
    "cases": ["a", 3, [3], [], ["a", "a"]],
    "target": [3, None, ["whole"], "tumour"],
    "slices": [3, None, ["all"], "some"],
    "step": [0, True, 1.5, "1"],
    "folds": [0, True, "1", None, [1, True], [], [1, 1], 1.0, np.array([])],
}


def parameters():
    import inspect

    seen = set()
    for kind, chosen in SETS.items():
        if chosen.load in seen:
            continue
        seen.add(chosen.load)
        for name in inspect.signature(chosen.load).parameters:
            yield pytest.param(kind, name, id=f"{kind} {name}")


@pytest.mark.parametrize(("kind", "name"), list(parameters()))
def test_parameters_of_a_wrong_kind_are_named(tmp_path, kind, name):
    chosen = SETS[kind]
    target = chosen.write(tmp_path)
    first = "json_file" if chosen.by_file else "folder"
    for value in WRONG[name]:
        if kind == "brats" and name == "classes" and value is True:
            continue
        if isinstance(value, str) and (kind, name) in FOLDERS and len(value) < 9:
            continue  # of folders that are not there, the path is told
        options = {first: target if chosen.by_file else tmp_path, **chosen.options}
        with pytest.raises((TypeError, ValueError, FileNotFoundError), match=name):
            chosen.load(**options | {name: value})


@pytest.mark.parametrize(
    ("make", "name", "values"),
    [
        (make, name, values)
        for make, names in (
            (
                datasets.make_nuclei,
                "touching vesicular stain_variation texture noise pixel_size "
                "positive_fraction weak background",
            ),
            (datasets.make_lesions, "lesion_fraction contrast rim bias noise"),
        )
        for name in names.split()
        for values in [[None, True, "1", -1, np.nan, np.inf, 1e9, 1j, [None], {}]]
    ]
    + [
        (datasets.make_nuclei, "pixel_size", [0, 250, 1e-6, 2.5e-7, 0.009, 20.1]),
        (datasets.make_nuclei, "n_nuclei", [-1, True, 1.0, "1", None]),
        (datasets.make_nuclei, "stain", [None, 3, ["he"], "hes"]),
        (datasets.make_nuclei, "artefacts", [None, 1, "no"]),
        (datasets.make_lesions, "n_lesions", [1, True, (0, 1), (1, True), (1, 10**6)]),
        (datasets.make_lesions, "n_distractors", [1, "ab", (2, 1), (1, 10**9)]),
        (datasets.make_lesions, "lesion_area", [1, (0, 0.1), (0.1, 0.9), (None, 1)]),
        (datasets.make_lesions, "n_slices", [0, True, 1.0, None]),
    ]
    + [
        (make, name, values)
        for make in (datasets.make_nuclei, datasets.make_lesions)
        for name, values in (
            ("n_images", [0, True, 1.0, "1", None, 10**12]),
            ("shape", [3, None, "ab", (64,), (64, 64, 3), (10**6, 10**6)]),
            ("height", [(0, 64), (True, 64), (64.0, 64), ("a", 64)]),
            ("random_state", [True, "a", 1.5, -1, 2**33, np.array("a")]),
        )
    ],
)
def test_parameters_of_makers_are_named(make, name, values):
    for value in values:
        options = {"n_images": 1, "shape": (40, 40), "random_state": 0}
        options |= {"shape" if name == "height" else name: value}
        with pytest.raises((TypeError, ValueError), match=name):
            make(**options)


def test_sound_sets_are_loaded_without_a_word(tmp_path):
    for kind, chosen in SETS.items():
        if kind.startswith(("brats", "bcdata")):
            pytest.importorskip("nibabel")
            pytest.importorskip("h5py")
        folder = tmp_path / kind
        folder.mkdir()
        target = chosen.write(folder)
        assert len(chosen.read(folder, target).names) >= 1
    assert {write_lgg, write_points} <= {chosen.write for chosen in SETS.values()}
