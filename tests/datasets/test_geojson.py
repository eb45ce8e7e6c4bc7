# SPDX-License-Identifier: BSD-3-Clause
"""QuPath's GeoJSON: polygons with holes, cells, points and classes."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from psmlearn.datasets import load_geojson
from psmlearn.datasets._fill import fill_polygon
from psmlearn.datasets._polygons import read_drawable_size
from psmlearn.exceptions import AnnotationWarning
from psmlearn.io import check_images, check_masks, write_image

SHAPE = (24, 32)


def ring(left, top, right, bottom):
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return [list(corner) for corner in [*corners, corners[0]]]


def polygon(*rings):
    return {"type": "Polygon", "coordinates": [ring(*each) for each in rings]}


def feature(geometry, name=None, kind="annotation", **others):
    properties = {"objectType": kind, "measurements": {"Nucleus: Area": float("nan")}}
    if name is not None:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    return {
        "type": "Feature",
        "id": "0e3a7a4b-7a6e-4c1b-9f5e-2f5d2a8f3c11",
        "geometry": geometry,
        "properties": properties,
        **others,
    }


def write(folder, features, *, name="a", collection=True):
    content = features
    if collection:
        content = {"type": "FeatureCollection", "features": features}
    (folder / f"{name}.geojson").write_text(json.dumps(content))
    image = folder / f"{name}.png"
    if not image.exists():
        write_image(image, np.zeros((*SHAPE, 3), np.uint8))
    return folder


def test_holes_parts_and_overlaps(tmp_path):
    features = [
        feature(polygon((2, 2, 12, 12), (5, 5, 8, 7))),
        feature(polygon((10, 10, 14, 14))),
        feature(
            {
                "type": "MultiPolygon",
                "coordinates": [[ring(20, 0, 22, 2)], [ring(28, 20, 99, 99)]],
            }
        ),
        feature({"type": "LineString", "coordinates": [[0, 0], [9, 9]]}),
        feature(None),
        feature(polygon((-9, -9, -1, -1))),  # outside
    ]
    truth = np.zeros(SHAPE, np.int32)
    truth[2:12, 2:12] = 1
    truth[5:7, 5:8] = 0
    truth[10:14, 10:14] = 2
    truth[0:2, 20:22] = truth[20:, 28:] = 3
    for collection in (True, False):
        write(tmp_path, features, collection=collection)
        with pytest.warns(AnnotationWarning) as caught:
            data = load_geojson(tmp_path)
        np.testing.assert_array_equal(data.masks[0], truth)
    check_masks(data.masks, check_images(data.images))
    # What is seen is counted, and what is not is told, all at once.
    assert data.names == ["a"] and data.class_counts == {"": 3}
    told = str(caught[0].message)
    assert len(caught) == 1 and "1 lie outside" in told and "(feature 5 of" in told
    assert "2 reach" not in told and "1 reach beyond" in told and "feature 2" in told
    assert "1 are lines" in told and "1 have no geometry" in told
    assert data.groups is None and data.pixel_size is None
    assert data.target_names is None and data.points[0].shape == (0, 2)
    assert "QuPath" in data.DESCR


def test_classes(tmp_path):
    features = [
        feature(polygon((0, 0, 4, 4)), "Positive"),
        feature(polygon((5, 5, 8, 8)), "Negative"),
        feature(polygon((9, 9, 12, 12)), "Stroma"),
        feature(polygon((13, 13, 15, 15))),
        feature({"type": "Point", "coordinates": [3.5, 1.5]}, "Negative"),
        feature({"type": "MultiPoint", "coordinates": [[1, 2, 0], [5, 6, 0]]}),
    ]
    features[0]["properties"]["classification"] = {"names": ["Tumor", "Positive"]}
    write(tmp_path, features)
    for classes in (["Tumor: Positive", "Negative"], {"Negative": 2, "Pos": 1}):
        if isinstance(classes, dict):
            classes["Tumor: Positive"] = 1
        data = load_geojson(tmp_path, classes=classes)
        mask = data.masks[0]
        assert mask.shape == (*SHAPE, 2) and mask[..., 0].max() == 4
        by_id = [np.unique(mask[mask[..., 0] == i, 1]).tolist() for i in range(5)]
        assert by_id == [[0], [1], [2], [0], [0]]
        assert data.points[0].tolist() == [[1, 3, 2], [1.5, 0.5, 0], [5.5, 4.5, 0]]
    assert data.target_names == ["Pos", "Negative"]
    assert data.class_counts == {
        "": 3,
        "Negative": 2,
        "Stroma": 1,
        "Tumor: Positive": 1,
    }
    assert load_geojson(tmp_path).points[0].shape == (3, 2)


def test_cells_have_two_outlines(tmp_path):
    cell = feature(
        polygon((0, 0, 10, 10)), kind="cell", nucleusGeometry=polygon((3, 3, 6, 6))
    )
    bare = feature(polygon((20, 0, 24, 4)), kind="cell")
    write(tmp_path, [cell, bare])
    assert (load_geojson(tmp_path).masks[0] > 0).sum() == 9 + 16
    assert (load_geojson(tmp_path, geometry="cell").masks[0] > 0).sum() == 100 + 16


def test_types_to_keep(tmp_path):
    region = feature(polygon((0, 0, 30, 20)))
    nucleus = feature(polygon((3, 3, 6, 6)), kind="detection")
    tile = feature(polygon((0, 0, 8, 8)), kind="tile")
    core = feature(polygon((0, 0, 8, 8)), kind="tmaCore")
    untold = {"type": "Feature", "geometry": polygon((0, 0, 12, 12))}
    old = feature(polygon((20, 2, 22, 4)), kind="x", id="PathCellObject")
    write(tmp_path, [region, nucleus, tile, core, untold, old])

    def area(*kinds):
        return (load_geojson(tmp_path, object_types=kinds).masks[0] > 0).sum()

    assert area("detection", "cell") == 9 + 4
    assert area("annotation") == 600 and area("tile") == 64 and area("tmaCore") == 64
    with pytest.warns(AnnotationWarning, match="'detection', 'cell'") as caught:
        assert load_geojson(tmp_path).masks[0].max() == 3
    told = str(caught[0].message)
    assert "1 are wholly covered by later ones (feature 1 of" in told
    assert "1 hold others" in told and "(feature 0 of" in told


def test_points_alone_have_no_masks(tmp_path):
    point = feature({"type": "Point", "coordinates": [0.5, 0.5]})
    write(tmp_path, [point], name="a")
    write(tmp_path, [], name="b")
    data = load_geojson(tmp_path)
    assert data.masks is None and [len(each) for each in data.points] == [1, 0]
    assert data.points[0].tolist() == [[0, 0]]
    write(tmp_path, [], name="a")
    assert [mask.max() for mask in load_geojson(tmp_path).masks] == [0, 0]


def test_files_elsewhere_packed_and_grouped(tmp_path):
    (tmp_path / "truth").mkdir()
    write(tmp_path, [feature(polygon((0, 0, 2, 2)))], name="p1_a")
    text = (tmp_path / "p1_a.geojson").read_bytes()
    (tmp_path / "p1_a.geojson").unlink()
    (tmp_path / "truth" / "p1_a.geojson.gz").write_bytes(gzip.compress(text))
    data = load_geojson(
        tmp_path, annotations=tmp_path / "truth", group_pattern="^[^_]+"
    )
    assert (data.masks[0] > 0).sum() == 4 and data.groups.tolist() == ["p1"]
    (tmp_path / "truth" / "p1_a.geojson").write_bytes(text)
    with pytest.raises(ValueError, match=r"both 'p1_a\.geojson' and.*\.gz"):
        load_geojson(tmp_path, annotations=tmp_path / "truth")
    (tmp_path / "truth" / "p1_a.geojson").unlink()
    (tmp_path / "truth" / "p1_a.geojson.gz").write_bytes(gzip.compress(text)[:30])
    with pytest.raises(ValueError, match=r"p1_a\.geojson\.gz.*broken"):
        load_geojson(tmp_path, annotations=tmp_path / "truth")


@pytest.mark.parametrize("name", ["a.GeoJSON", "a.png.geojson"])
def test_other_names_of_files(tmp_path, name):
    write(tmp_path, [feature(polygon((0, 0, 2, 2)))])
    (tmp_path / "a.geojson").rename(tmp_path / name)
    data = load_geojson(tmp_path)
    assert data.names == ["a"] and (data.masks[0] > 0).sum() == 4


def test_missing_files_are_named(tmp_path):
    write(tmp_path, [], name="a")
    write(tmp_path, [], name="b")
    (tmp_path / "a.geojson").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks 1 file.*a\.geojson"):
        load_geojson(tmp_path)
    write(tmp_path, [], name="a")
    (tmp_path / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks 1 file.*b\.\*"):
        load_geojson(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no image"):
        load_geojson(tmp_path / "empty")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "broken JSON.*line 1"),
        ("3", "no GeoJSON of features"),
        ({"type": "Topology"}, "no GeoJSON of features"),
        ([3], "feature 0: it is 3"),
        ([{"properties": [1]}], "feature 0: its properties"),
        ([feature("here")], "feature 0: its geometry"),
        ([feature({"type": "Circle"})], "type 'Circle'; expected Polygon"),
        ([feature(polygon()), feature({"type": "Polygon"})], "feature 1: its Polygon"),
        ([feature({"type": "Polygon", "coordinates": [[1, 2]]})], "no list of coord"),
        ([feature({"type": "MultiPolygon", "coordinates": [3]})], "lists of rings"),
        ([feature({"type": "Point", "coordinates": None})], "its Point is no list"),
        ([feature({"type": "Point", "coordinates": [1, float("inf")]})], "finite"),
        ([feature(polygon((0, 0, float("nan"), 1)))], "not finite"),
        ([feature(polygon((0, 0, 1e12, 1)))], "beyond 1e\\+09"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    write(tmp_path, [])
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "a.geojson").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_geojson(tmp_path)
    assert "a.geojson" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"geometry": "nuclei"}, ValueError, "geometry is 'nuclei'"),
        ({"object_types": "cell"}, TypeError, "list of names"),
        ({"object_types": ["cells"]}, ValueError, "'cells'; expected one of"),
        ({"classes": "Positive"}, TypeError, "list of names"),
        ({"classes": []}, TypeError, "expected names"),
        ({"classes": [1, 2]}, TypeError, r"classes\[0\] is 1; expected a str"),
        ({"classes": ["a", "a"]}, ValueError, "twice"),
        ({"classes": {"a": 1, "b": 3}}, ValueError, r"\[1, 3\].*without gaps"),
        ({"group_pattern": "z"}, ValueError, "finds nothing"),
    ],
)
def test_bad_parameters(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        load_geojson(write(tmp_path, []), **options)


def test_filling_agrees_with_a_test_per_pixel():
    from matplotlib.path import Path

    rng = np.random.default_rng(3)
    grid = np.stack(np.mgrid[:40, :50], axis=-1).reshape(-1, 2)
    for _ in range(30):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 20)))
        radii = rng.uniform(2, 30, (len(angles), 1))
        outline = rng.uniform(0, 40, 2) + radii * np.stack(
            [np.sin(angles), np.cos(angles)], axis=1
        )
        mask = np.zeros((40, 50), bool)
        mask[fill_polygon([outline], (40, 50))] = True
        truth = Path(outline).contains_points(grid).reshape(40, 50)
        np.testing.assert_array_equal(mask, truth)


def test_polygons_that_share_an_edge_share_no_pixel(monkeypatch):
    # Edges run right through centres of pixels.
    monkeypatch.setattr("psmlearn.datasets._fill._CROSSINGS_AT_ONCE", 3)
    counts = np.zeros((12, 12), int)
    for top in range(0, 12, 4):
        for left in range(0, 12, 4):
            corners = [(0, 0), (0, 4), (4, 4), (4, 0)]
            square = np.array(corners, float) + (top, left)
            for triangle in (square[:3], square[[0, 2, 3]]):
                counts[fill_polygon([triangle], (12, 12))] += 1
    assert (counts == 1).all()
    assert len(fill_polygon([square[:2]], (12, 12))[0]) == 0


def test_oversized_images_are_refused(tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", np.zeros((4, 5), np.uint8))
    assert read_drawable_size(str(tmp_path / "a.png")) == (4, 5)
    monkeypatch.setattr("psmlearn.datasets._polygons.MAX_PIXELS", 19)
    with pytest.raises(ValueError, match=r"a\.png.*declares 4 x 5 pixels"):
        read_drawable_size(str(tmp_path / "a.png"))
