# SPDX-License-Identifier: BSD-3-Clause
"""What napari calls, without napari; the manifest, where npe2 is installed."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import psmlearn
from psmlearn import _napari
from psmlearn.datasets import make_nuclei
from psmlearn.io import read_labels, write_geojson, write_image

MANIFEST = Path(psmlearn.__file__).with_name("napari.yaml")


@pytest.fixture(scope="module")
def labels():
    return make_nuclei(1, (70, 90), n_nuclei=12, random_state=1).masks[0]


def test_labels_come_back_through_files(labels, tmp_path):
    path = str(tmp_path / "a.b.geojson")
    write_image(tmp_path / "a.b.png", np.zeros(labels.shape, np.uint8))
    write_image(tmp_path / "other.png", np.zeros((5, 5), np.uint8))
    assert _napari.write_geojson_layer(path, labels, {"name": "x"}) == [path]
    reader = _napari.get_reader(path)
    ((found, told, kind),) = reader(path)
    assert_array_equal(found, labels)
    assert (told, kind) == ({"name": "a.b"}, "labels")
    path = str(tmp_path / "a.tif")
    assert _napari.write_tiff_layer(path, labels.astype(np.int64), {}) == [path]
    assert_array_equal(read_labels(path), labels)


@pytest.mark.parametrize("name", ["n.geojson", "N.GeoJSON.GZ"])
def test_without_an_image_labels_reach_as_far_as_objects(labels, tmp_path, name):
    kinds = np.where(labels > 0, 1 + labels % 2, 0)
    path = tmp_path / name.lower()
    write_geojson(path, np.stack([labels, kinds], axis=-1))
    path = path.rename(tmp_path / name)
    ((found, told, _),) = _napari.get_reader(str(path))(str(path))
    rows, columns = np.nonzero(labels)
    assert found.shape == (rows.max() + 1, columns.max() + 1)
    assert_array_equal(found, labels[: rows.max() + 1, : columns.max() + 1])
    assert told["features"]["index"] == list(range(1, labels.max() + 1))
    names = ["Positive" if number % 2 == 0 else "Negative" for number in range(1, 13)]
    assert told["features"]["class"] == names[: labels.max()]


def test_what_is_no_layer_of_one_image_is_refused(tmp_path):
    for path in ("a.tif", ["a.geojson"], "a.geojson.txt"):
        assert _napari.get_reader(path) is None
    path = str(tmp_path / "a.geojson")
    with pytest.raises(ValueError, match=r"'cells' has 3 axes \(shape \(2, 4, 4\)\)"):
        _napari.write_geojson_layer(path, np.zeros((2, 4, 4), int), {"name": "cells"})
    Path(path).write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(ValueError, match="holds no outline"):
        _napari.read_geojson(path)


def test_the_manifest_names_what_is_there():
    text = MANIFEST.read_text(encoding="utf-8")
    named = re.findall(r"python_name: (\S+):(\w+)", text)
    assert [function for _, function in named] == _napari.__all__
    for module, function in named:
        assert callable(getattr(importlib.import_module(module), function))
    ids = re.findall(r"- id: (\S+)", text)
    assert set(re.findall(r"command: (\S+)", text)) == set(ids)


# Where it is installed, run with ``-p no:npe2 -W ignore``: it warns as it is imported.
@pytest.mark.filterwarnings("ignore")
def test_npe2_takes_the_manifest():
    npe2 = pytest.importorskip("npe2", reason="npe2 is not installed")
    manifest = npe2.PluginManifest.from_file(MANIFEST)
    assert manifest.name == "psmlearn"
    assert len(manifest.contributions.writers) == 2
