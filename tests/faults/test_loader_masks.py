# SPDX-License-Identifier: BSD-3-Clause
"""Masks of loaders: what lies in alpha, in other planes, or beside outlines."""

from __future__ import annotations

import time

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
from skimage.draw import polygon as slow_polygon

from psmlearn import datasets
from psmlearn.datasets import _fill
from psmlearn.datasets._fill import fill_outline, fill_polygon
from psmlearn.datasets._lost import Drawn, Lost, paint
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


# Many outlines, and wide ones -------------------------------------------------------


@pytest.mark.parametrize("least", [0, 16, 10**9])
@pytest.mark.parametrize("cost", [1, 700, 1 << 20])
def test_many_outlines_have_the_pixels_of_each_alone(monkeypatch, cost, least):
    rng = np.random.default_rng(cost + least)
    shape = (41, 53)
    outlines = [
        rng.uniform(-15, 65, (rng.integers(1, 12), 2)).round(int(rng.integers(0, 3)))
        for _ in range(150)
    ]
    objects = [
        [[outlines[i] for i in rng.integers(0, 150, rng.integers(0, 4))]
         for _ in range(rng.integers(0, 4))]
        for _ in range(60)
    ]  # fmt: skip
    truth = [fill_outline(outline, shape) for outline in outlines]
    parts = [[fill_polygon(rings, shape) for rings in each] for each in objects]
    monkeypatch.setattr(_fill, "_COST_AT_ONCE", cost)
    monkeypatch.setattr(_fill, "_PIXELS_PER_CROSSING", least)
    for one, other in zip(_fill.fill_outlines(outlines, shape), truth, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, each in zip(_fill.fill_parts(objects, shape), parts, strict=True):
        expected = np.concatenate([np.zeros((2, 0)), *map(np.array, each)], axis=1)
        np.testing.assert_array_equal(one, expected)
    for outline, found in zip(outlines, truth, strict=True):
        expected = slow_polygon(outline[:, 0], outline[:, 1], shape)
        if len(outline) > 2:
            np.testing.assert_array_equal(found, expected)


def write_aperio_regions(folder, regions, size):
    picture = np.full((*size, 3), 200, np.uint8)
    Image.fromarray(picture).save(folder / "T-a-b.tif")
    text = "".join(
        f'<Region Id="{number}" Type="{kind}"><Vertices>'
        + "".join(f'<Vertex X="{x}" Y="{y}"/>' for y, x in vertices)
        + "</Vertices></Region>"
        for number, (kind, vertices) in enumerate(regions, 1)
    )
    (folder / "T-a-b.xml").write_text(
        f"<Annotations><Annotation><Regions>{text}</Regions></Annotation></Annotations>"
    )


def slivers(n, size):
    return [
        np.array([(0, 3 * i), (size - 20, size - 9), (size - 19, size - 9)], float)
        for i in range(n)
    ]


@pytest.mark.parametrize("kind", ["aperio", "geojson", "coco"])
def test_slivers_take_no_time_for_their_boxes(kind):
    shape = (6000, 6000)
    thin = slivers(120, 6000)
    began = time.perf_counter()
    if kind == "aperio":
        found = list(_fill.fill_outlines(thin, shape))
    else:
        found = list(_fill.fill_parts([[[each]] for each in thin], shape))
    assert time.perf_counter() - began < 4
    assert all(len(rows) > 100 for rows, _ in found)


@pytest.mark.parametrize("holder", [False, True])
def test_tiny_objects_take_a_tenth_of_a_millisecond(holder):
    n = 30_000
    places = np.stack([np.arange(n) % 173, np.arange(n) // 173], axis=1) + 0.2
    tiny = [place + [(0, 0), (0, 1.9), (1.7, 0.9)] for place in places]
    began = time.perf_counter()
    pixels = _fill.fill_outlines(tiny, (180, 190))
    drawn = (
        Drawn("", *found, outline, None, holder and not i)
        for i, (found, outline) in enumerate(zip(pixels, tiny, strict=True))
    )
    lost = Lost()
    labels, shown = paint(drawn, (180, 190), lost, "")
    assert time.perf_counter() - began < n * 2e-4
    assert labels.max() == shown.sum() > n / 2


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("n_told", [2, 4])
def test_boxes_closed_by_their_first_corner(tmp_path, kind, n_told):
    top, left, bottom, right = 7, 11, 38, 61
    corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
    corners = corners if n_told == 4 else corners[::2]
    masks = []
    for vertices in (corners, corners + corners[:1]):
        write_aperio_regions(tmp_path, [(kind, vertices)], (50, 70))
        masks.append(datasets.load_monuseg(tmp_path).masks[0])
    np.testing.assert_array_equal(*masks)
    box = (bottom - top) * (right - left)
    expected = box if kind == 1 else box * np.pi / 4
    assert masks[0].sum() == pytest.approx(expected, rel=0.07)


def test_a_line_there_and_back_is_no_region(tmp_path):
    regions = [(0, [(3, 3), (9, 12), (3, 3)]), (0, [(20, 20), (20, 30), (30, 30)])]
    write_aperio_regions(tmp_path, regions, (50, 70))
    with pytest.warns(AnnotationWarning, match=r"too few vertices.*region 1"):
        assert datasets.load_monuseg(tmp_path).masks[0].max() == 1
