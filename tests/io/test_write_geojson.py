# SPDX-License-Identifier: BSD-3-Clause
"""GeoJSON for QuPath: valid, and read back to the pixel."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from psmlearn.datasets import load_geojson, make_nuclei
from psmlearn.io import GeoJSONWriter, write_geojson, write_image
from psmlearn.io._geojson_writer import join_geojson
from psmlearn.measure import nuclei_table


def read(path):
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def load_back(path, shape, **options):
    write_image(path.parent / f"{path.name.split('.')[0]}.png", np.zeros(shape, "u1"))
    return load_geojson(path.parent, **options)


@pytest.fixture(scope="module")
def nuclei():
    return make_nuclei(n_images=1, shape=(128, 160), n_nuclei=30, random_state=0)


def signed_area(ring):
    (x, y), (x_next, y_next) = np.array(ring[:-1]).T, np.array(ring[1:]).T
    return (x * y_next - x_next * y).sum() / 2


def check_rfc_7946(content):
    """What RFC 7946 asks of a collection of polygons."""
    assert content.keys() == {"type", "features"}
    assert content["type"] == "FeatureCollection"
    for feature in content["features"]:
        assert feature["type"] == "Feature"
        assert isinstance(feature["properties"], dict)
        geometry = feature["geometry"]
        assert geometry.keys() == {"type", "coordinates"}
        polygons = geometry["coordinates"]
        if geometry["type"] == "Polygon":
            polygons = [polygons]
        else:
            assert geometry["type"] == "MultiPolygon" and len(polygons) > 1
        for outer, *holes in polygons:
            assert signed_area(outer) > 0
            assert all(signed_area(hole) < 0 for hole in holes)
            for ring in (outer, *holes):
                assert len(ring) >= 4 and ring[0] == ring[-1]
                assert all(len(position) == 2 for position in ring)
    ids = [feature["id"] for feature in content["features"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz"])
def test_the_very_pixels_come_back(name, tmp_path, nuclei):
    path = tmp_path / name
    labels = nuclei.masks[0]
    write_geojson(path, labels)
    content = read(path)
    check_rfc_7946(content)
    assert len(content["features"]) == labels.max()
    np.testing.assert_array_equal(load_back(path, labels.shape).masks[0], labels)


def test_holes_pieces_and_gaps_come_back(tmp_path):
    path = tmp_path / "a.geojson"
    labels = np.zeros((40, 50), int)
    labels[3:20, 3:20] = 9
    labels[6:15, 6:15] = 0
    labels[8:12, 8:12] = 70_000
    labels[20, 20] = 9  # a corner alone
    labels[2, 30:34] = labels[5, 30:34] = 4  # in two pieces
    labels[25:30, 5:9] = 3
    labels[26, 6] = labels[27, 7] = 0  # holes that meet
    labels[30:35, 30:35] = -1
    write_geojson(path, labels)
    check_rfc_7946(read(path))
    found = load_back(path, labels.shape).masks[0]
    ids = np.unique(labels[labels > 0])
    for number, own in enumerate(ids, 1):
        np.testing.assert_array_equal(found == number, labels == own)


def test_classes_have_names_and_colours(tmp_path):
    path = tmp_path / "a.geojson"
    labels = np.zeros((8, 12, 2), int)
    for number, kind in enumerate((1, 2, 3, 0), 1):
        labels[1:3, 3 * number - 3 : 3 * number - 1] = number, kind
    write_geojson(path, labels, colors={"Class 3": (1, 2, 3)})
    told = [each["properties"].get("classification") for each in read(path)["features"]]
    assert told == [
        {"name": "Positive", "color": [250, 62, 62]},
        {"name": "Negative", "color": [112, 112, 225]},
        {"name": "Class 3", "color": [1, 2, 3]},
        None,
    ]
    found = load_back(
        path, labels.shape[:2], classes={"Positive": 1, "Negative": 2, "Class 3": 3}
    )
    np.testing.assert_array_equal(found.masks[0], labels)
    write_geojson(path, labels, classes=["Tumour: yes", "Stroma"])
    names = {
        each["properties"].get("classification", {}).get("name")
        for each in read(path)["features"]
    }
    assert names == {"Tumour: yes", "Stroma", "Class 3", None}


def test_measurements_are_those_of_the_table(tmp_path, nuclei):
    path = tmp_path / "a.geojson"
    labels, image = nuclei.masks[0], nuclei.images[0]
    table = nuclei_table(labels, image, pixel_size=0.5)
    table["score"] = np.where(table["label"] == 2, np.nan, 0.5)
    write_geojson(path, labels, table=table, object_type="annotation")
    for row, feature in enumerate(read(path)["features"]):
        properties = feature["properties"]
        assert properties["objectType"] == "annotation"
        assert properties["name"] == str(table["label"][row])
        found = properties["measurements"]
        assert found["Nucleus: Area µm^2"] == table["area_um2"][row]
        assert (
            found["Nucleus: Hematoxylin OD mean"] == table["mean_haematoxylin_od"][row]
        )
        assert ("score" in found) == (table["label"][row] != 2)


def test_crops_lie_where_they_were_cut(tmp_path):
    path = tmp_path / "a.geojson"
    labels = np.zeros((4, 4), int)
    labels[1:3, 2] = 1
    write_geojson(path, labels, offset=(100, 2000), downsample=4)
    (ring,) = read(path)["features"][0]["geometry"]["coordinates"]
    assert np.min(ring, axis=0).tolist() == [2008, 104]
    assert np.max(ring, axis=0).tolist() == [2012, 112]
    write_geojson(path, labels, offset=(0.5, 0), downsample=1)
    (ring,) = read(path)["features"][0]["geometry"]["coordinates"]
    assert min(row for _, row in ring) == 1.5


def test_nothing_is_a_collection_of_nothing_and_files_repeat(tmp_path, nuclei):
    path = tmp_path / "a.geojson"
    write_geojson(path, np.zeros((5, 5), int))
    assert read(path) == {"type": "FeatureCollection", "features": []}
    for name in ("b.json", "b.json.gz"):
        write_geojson(tmp_path / name, nuclei.masks[0])
        first = (tmp_path / name).read_bytes()
        write_geojson(tmp_path / name, nuclei.masks[0])
        assert (tmp_path / name).read_bytes() == first


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"object_type": "cells"}, "object_type='cells'"),
        ({"offset": (1, np.nan)}, "offset="),
        ({"downsample": 0}, "downsample=0"),
        ({"colors": {"a": (1, 2)}}, "colors\\['a'\\]"),
        ({"table": {"area": [1]}}, "ids of the objects in 'label'"),
        ({"table": {"label": [5], "area": [1]}}, "such as 5"),
        ({"table": {"label": [1], "area": [1, 2]}}, "table\\['area'\\] has shape"),
    ],
)
def test_bad_parameters_are_told_and_nothing_is_written(options, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        write_geojson(tmp_path / "a.geojson", np.ones((3, 3), int), **options)
    assert not list(tmp_path.iterdir())


def test_other_suffixes_are_refused(tmp_path):
    for name in ("a.txt", "a.gz", "a.geojson.zip"):
        with pytest.raises(ValueError, match="suffix"):
            write_geojson(tmp_path / name, np.ones((3, 3), int))


@pytest.mark.parametrize("end", [".geojson", ".geojson.gz"])
def test_files_of_blocks_are_joined_to_one(tmp_path, end):
    blocks = [np.zeros((4, 4), int), np.eye(4, dtype=int), np.diag([2, 3, 0, 4])]
    with GeoJSONWriter(tmp_path / f"whole{end}") as whole:
        for number, block in enumerate(blocks):
            whole.add(block, offset=(0, 10 * number))
    paths = []
    for number in (0, 1, 0, 2):
        paths.append(tmp_path / f"{len(paths)}.geojson")
        with GeoJSONWriter(paths[-1]) as part:
            part.add(blocks[number], offset=(0, 10 * number))
    join_geojson(tmp_path / f"joined{end}", paths)
    joined, expected = (tmp_path / f"{name}{end}" for name in ("joined", "whole"))
    assert joined.read_bytes() == expected.read_bytes()
    join_geojson(tmp_path / f"empty{end}", paths[:1])
    opener = gzip.open if end.endswith(".gz") else open
    with opener(tmp_path / f"empty{end}", "rt", encoding="utf-8") as file:
        assert json.load(file) == {"type": "FeatureCollection", "features": []}
