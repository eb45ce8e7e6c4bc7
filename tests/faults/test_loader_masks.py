# SPDX-License-Identifier: BSD-3-Clause
"""Masks of loaders: what lies in alpha, in other planes, or beside outlines."""

from __future__ import annotations

import numpy as np
import pytest
from loader_sets import (
    IDS,
    SHAPE,
    annotation,
    corners,
    feature,
    polygon,
    write_coco,
    write_dsb,
    write_features,
    write_lgg,
    write_points,
)
from PIL import Image

from psmlearn import datasets
from psmlearn.exceptions import AnnotationWarning, OrientationWarning
from psmlearn.io import write_image


def load_point_regions(folder):
    return datasets.load_point_folder(folder, regions="regions")


def write_regions(folder):
    write_points(folder)
    target = folder / "regions" / "a.png"
    target.parent.mkdir()
    write_image(target, (IDS == 2).astype(np.uint8) * 255)
    return target


STENCILS = {
    "point folder": (write_regions, load_point_regions),
    "lgg": (write_lgg, datasets.load_lgg),
    "dsb2018": (write_dsb, datasets.load_dsb2018),
}
INSIDE = (IDS == 2).astype(np.uint8)


@pytest.mark.parametrize("kind", STENCILS)
@pytest.mark.parametrize(
    "planes",
    [
        [np.full(SHAPE, 255, np.uint8), INSIDE * 255],
        [np.full(SHAPE, 1, np.uint8), INSIDE * 254],
        [INSIDE * 255, np.full(SHAPE, 128, np.uint8)],
        [np.zeros(SHAPE, np.uint8)] * 3 + [INSIDE * 255],
    ],
    ids=["shape in alpha", "faint", "half", "colours"],
)
def test_alpha_of_stencils_is_refused(tmp_path, kind, planes):
    write, load = STENCILS[kind]
    target = write(tmp_path)
    Image.fromarray(np.dstack(planes)).save(target)
    with pytest.raises(ValueError, match=rf"{target.name}.*transparent"):
        load(tmp_path)


@pytest.mark.parametrize("kind", STENCILS)
def test_an_alpha_that_hides_nothing_is_let_through(tmp_path, kind):
    write, load = STENCILS[kind]
    target = write(tmp_path)
    Image.fromarray(np.dstack([INSIDE * 255, np.full(SHAPE, 255, np.uint8)])).save(
        target
    )
    data = load(tmp_path)
    shown = np.array((data.get("masks") or data.get("regions"))[0]) == (
        2 if kind == "dsb2018" else 1
    )
    np.testing.assert_array_equal(shown, INSIDE > 0)


@pytest.mark.parametrize("kind", STENCILS)
@pytest.mark.parametrize("tag", [2, 6, 8])
def test_stencils_that_viewers_turn_are_told(tmp_path, kind, tag):
    write, load = STENCILS[kind]
    target = write(tmp_path)
    exif = Image.Exif()
    exif[0x112] = tag
    Image.fromarray(INSIDE * 255).save(target, exif=exif)
    with pytest.warns(OrientationWarning, match=rf"{target.name}' \({tag}\)"):
        load(tmp_path)


# Planes and parts -------------------------------------------------------------------


def on_plane(square, z=None, t=None, nucleus=False):
    geometry = polygon(*square)
    if z is not None:
        geometry["plane"] = {"c": -1, "z": z, "t": t or 0}
    told = feature(geometry)
    if nucleus:
        told |= {"nucleusGeometry": geometry, "geometry": polygon(*square)}
    return told


FIRST, SECOND, THIRD = (1, 1, 4), (7, 3, 4), (12, 8, 5)


@pytest.mark.parametrize(
    ("features", "told"),
    [
        ([on_plane(FIRST, 0), on_plane(SECOND, 7)], "z 0 t 0, z 7 t 0"),
        ([on_plane(FIRST), on_plane(SECOND, 2)], "z 0 t 0, z 2 t 0"),
        ([on_plane(FIRST, 4, 1), on_plane(SECOND, 4, 11)], "z 4 t 1, z 4 t 11"),
        ([on_plane(FIRST, 1), on_plane(SECOND, 6, nucleus=True)], "z 1 t 0, z 6 t 0"),
        (
            [
                on_plane(FIRST, 3),
                feature({"type": "Point", "coordinates": [9, 9], "plane": {"z": 12}}),
            ],
            "z 3 t 0, z 12 t 0",
        ),
        (
            [
                on_plane(FIRST, 2),
                feature(
                    {
                        "type": "GeometryCollection",
                        "plane": {"z": 8},
                        "geometries": [polygon(*SECOND)],
                    }
                ),
            ],
            "z 2 t 0, z 8 t 0",
        ),
    ],
)
def test_objects_of_several_planes_are_told(tmp_path, features, told):
    write_features(tmp_path, features)
    with pytest.warns(AnnotationWarning, match=rf"a\.geojson' \({told}\)") as caught:
        datasets.load_geojson(tmp_path)
    assert len(caught) == 1


@pytest.mark.parametrize("z", [None, 0, 5])
def test_objects_of_one_plane_are_sound(tmp_path, z):
    others = on_plane(THIRD, 9)
    others["properties"]["objectType"] = "tile"  # not kept
    write_features(tmp_path, [on_plane(FIRST, z), on_plane(SECOND, z), others])
    assert datasets.load_geojson(tmp_path).masks[0].max() == 2


@pytest.mark.parametrize("line", ["LineString", "MultiLineString"])
def test_lines_beside_polygons_are_told(tmp_path, line):
    way = [[1, 1], [8, 5]]
    drawn = {"type": line, "coordinates": way if line == "LineString" else [way]}
    nested = {"type": "GeometryCollection", "geometries": [drawn]}
    both = {"type": "GeometryCollection", "geometries": [polygon(*THIRD), nested]}
    write_features(tmp_path, [feature(polygon(*FIRST)), feature(both)])
    with pytest.warns(AnnotationWarning, match="1 are lines.*a part of feature 1"):
        assert datasets.load_geojson(tmp_path).masks[0].max() == 2


@pytest.mark.parametrize("way", [[[1, 9], [5, 9]], [[1, 9], [5, 9], [1, 9]]])
def test_parts_that_enclose_nothing_are_told(tmp_path, way):
    rings = [polygon(*FIRST)["coordinates"], [way]]
    write_features(tmp_path, [feature({"type": "MultiPolygon", "coordinates": rings})])
    with pytest.warns(AnnotationWarning, match="a ring of feature 0"):
        datasets.load_geojson(tmp_path)
    parts = [np.ravel(ring).tolist() for ring in (corners(*FIRST), way)]
    target = write_coco(tmp_path, [annotation(31, parts)])
    with pytest.warns(AnnotationWarning, match="a part of annotation 31"):
        datasets.load_coco(target)
