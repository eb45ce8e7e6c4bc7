# SPDX-License-Identifier: BSD-3-Clause
"""Measures of files: images, label images, tables of points, regions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from psmlearn.datasets import make_nuclei
from psmlearn.io import write_image, write_labels, write_points
from psmlearn.measure import (
    find_hotspot,
    labelling_index,
    nuclei_table,
    stain_intensity,
)


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """One field as arrays, and the paths of the same."""
    folder = tmp_path_factory.mktemp("field")
    data = make_nuclei(1, (96, 96), n_nuclei=12, stain="ki67", random_state=0)
    arrays = {
        "image": data.images[0],
        "labels": np.asarray(data.masks[0]),
        "points": np.asarray(data.points[0], dtype=float),
        "region": np.indices((96, 96))[1] < 60,
    }
    paths = {
        "image": folder / "image.png",
        "labels": folder / "labels.tif",
        "points": folder / "points.csv",
        "region": folder / "region.png",
    }
    write_image(paths["image"], arrays["image"])
    write_labels(paths["labels"], arrays["labels"])
    write_points(paths["points"], arrays["points"])
    write_image(paths["region"], arrays["region"])
    return arrays, paths


def test_a_table_of_files(field):
    arrays, paths = field
    names = ("labels", "image")
    for region in (None, "region"):
        tables = [
            nuclei_table(*(of[n] for n in names), region=region and of[region])
            for of in (arrays, paths)
        ]
        assert len(tables[0]["label"]) and tables[0].keys() == tables[1].keys()
        for name, column in tables[0].items():
            assert_array_equal(column, tables[1][name])
    assert len(nuclei_table(str(paths["labels"]))["label"])


def test_files_that_are_no_labels_are_told(field):
    with pytest.raises(ValueError, match="labels .*has shape .*drawn in colours"):
        nuclei_table(field[1]["image"])
    with pytest.raises(FileNotFoundError, match="labels: No such image file: 'none"):
        nuclei_table("none.tif")
    with pytest.raises(ValueError, match=r"image \(none.png\): No such"):
        nuclei_table(field[0]["labels"], "none.png")


@pytest.mark.parametrize("kind", ["labels", "points"])
def test_an_index_of_files(field, kind):
    arrays, paths = field
    for region in (None, "region"):
        results = [
            labelling_index(y, regions=regions, min_cells=0).to_dict()
            for y, regions in (
                ([arrays[kind]], region and [arrays[region]]),
                (arrays[kind], region and arrays[region]),
                ([paths[kind]], region and [paths[region]]),
                (paths[kind], region and str(paths[region])),
            )
        ]
        assert results[0]["n_cells"] > 3
        for result in results:
            for name in ("n_positive", "n_negative", "n_other", "interval"):
                assert result[name] == results[0][name]
    assert labelling_index(paths[kind], min_cells=0).per_image["image"] == [kind]


def test_a_hotspot_of_a_table(field):
    arrays, paths = field
    options = {"area": 2e-4, "pixel_size": 0.5, "min_cells": 1, "shape": (96, 96)}
    found = find_hotspot(paths["points"], **options)
    assert found.index == find_hotspot([arrays["points"]], **options).index
    assert found.name == "points"


def test_intensities_of_files(field):
    arrays, paths = field
    for kind, radius in (("labels", None), ("points", 4.0)):
        (expected,) = stain_intensity([arrays["image"]], [arrays[kind]], radius=radius)
        for X, y in (
            ([paths["image"]], [paths[kind]]),
            (paths["image"], paths[kind]),
            (arrays["image"], arrays[kind]),
        ):
            assert_array_equal(stain_intensity(X, y, radius=radius)[0], expected)
