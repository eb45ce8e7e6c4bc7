# SPDX-License-Identifier: BSD-3-Clause
"""The hotspot, against counting every field by hand."""

from __future__ import annotations

import itertools
import json
import time

import numpy as np
import pytest
from scipy.spatial import cKDTree

from psmlearn.measure import find_hotspot
from psmlearn.measure._hotspot import _best_field
from psmlearn.measure._hotspot_grid import FieldGrid, tile_origin


def scatter(seed, n, shape, classes=(1, 2)):
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 1, (n, 2)) * (np.array(shape) - 1)
    return np.column_stack([places, rng.choice(classes, n)])


def best_by_hand(points, radius, field, shape, min_cells):
    """Look at every field on the grid."""
    lowest, highest = radius - 0.5, np.array(shape) - radius - 0.5
    sides = []
    for end in highest:
        side = np.arange(lowest, end, radius / 10)
        sides.append(np.append(side, end))
    best = None
    for centre in itertools.product(*sides):
        gap = np.abs(points[:, :2] - centre)
        if field == "circle":
            inside = gap[:, 0] ** 2 + gap[:, 1] ** 2 <= radius**2
        else:
            inside = gap.max(axis=1) <= radius
        n_cells = int(inside.sum())
        if n_cells < min_cells:
            continue
        share = (points[inside, 2] == 1).sum() / n_cells
        key = (-share, -n_cells, *centre)
        best = key if best is None or key < best else best
    return best


def test_the_field_need_not_lie_at_a_nucleus():
    angle = np.linspace(0, 2 * np.pi, 21)[:-1]
    ring = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    positive = np.column_stack([300 + 90 * ring, np.ones(20)])
    negative = np.column_stack([300 + 130 * ring, np.full(20, 2)])
    area = np.pi * 0.05**2
    spot = find_hotspot(
        np.vstack([positive, negative]),
        area=area,
        pixel_size=0.5,
        min_cells=20,
        shape=(600, 600),
    )
    assert spot.index == 1 and spot.n_cells == 20


@pytest.mark.parametrize("field", ["circle", "square"])
@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_counting_by_hand(field, seed):
    shape = (120 + 10 * seed, 200)
    points = scatter(seed, 150, shape)
    area, pixel_size = 0.0008, 0.5
    half = np.sqrt(area / (np.pi if field == "circle" else 4)) * 1000 / pixel_size
    expected = best_by_hand(points, half, field, shape, min_cells=5)
    spot = find_hotspot(
        [points],
        area=area,
        pixel_size=pixel_size,
        field=field,
        min_cells=5,
        shape=shape,
    )
    assert spot.radius == pytest.approx(half)
    assert (-spot.index, -spot.n_cells) == expected[:2]
    assert (spot.row, spot.column) == pytest.approx(expected[2:])
    assert spot.n_positive == round(spot.index * spot.n_cells)


def test_finds_a_planted_cluster():
    points = scatter(0, 2000, (1000, 1000), classes=[2])
    cluster = np.random.default_rng(1).normal((300, 700), 25, (60, 2))
    points = np.vstack([points, np.column_stack([cluster, np.ones(60)])])
    spot = find_hotspot(
        points, area=0.002, pixel_size=0.5, min_cells=20, shape=(1000, 1000)
    )
    assert np.hypot(spot.row - 300, spot.column - 700) < spot.radius
    assert spot.index > 0.7


def test_field_stays_in_the_image_and_the_nuclei_in_the_region():
    mask = np.zeros((60, 80, 2), dtype=np.int32)
    mask[0, 0], mask[59, 79], mask[30, 40] = (1, 1), (2, 1), (3, 2)
    options = {"area": 1e-4, "pixel_size": 0.5, "field": "square", "min_cells": 1}
    spot = find_hotspot([mask], **options)
    assert (spot.row, spot.column, spot.radius) == (9.5, 9.5, 10.0)
    region = np.zeros((60, 80), dtype=bool)
    region[20:, :] = True
    spot = find_hotspot([mask], regions=[region], **options)
    assert (spot.row, spot.column) == (49.5, 69.5)
    region[40:, :] = False
    spot = find_hotspot([mask], regions=[region], **options)
    assert (spot.index, spot.n_negative) == (0.0, 1)


def test_best_image_wins_and_pixel_sizes_may_differ():
    few, many = scatter(0, 40, (99, 99), [2]), scatter(1, 40, (99, 99), [1])
    options = {"area": 0.0004, "min_cells": 2, "shape": [(99, 99)] * 3}
    spot = find_hotspot(
        [few, many, many], pixel_size=[0.25, 0.5, 0.5], names=["a", "b", "c"], **options
    )
    assert (spot.image, spot.name, spot.index) == (1, "b", 1.0)
    assert spot.radius == pytest.approx(np.sqrt(0.0004 / np.pi) * 2000)


def test_no_field_with_enough_nuclei_is_told():
    points = scatter(0, 30, (100, 100))
    with pytest.warns(UserWarning, match="No field of 0.0001 mm² holds 500 nuclei"):
        spot = find_hotspot([points], area=1e-4, pixel_size=0.5, shape=(100, 100))
    assert spot.image is None and np.isnan(spot.index) and spot.n_cells == 0
    assert "the fullest holds" in str(spot)
    with pytest.warns(UserWarning, match="the fullest holds 0"):
        find_hotspot([np.empty((0, 3))], area=1e-4, pixel_size=0.5, shape=(100, 100))


def test_no_hotspot_is_valid_json():
    with pytest.warns(UserWarning, match="No field"):
        spot = find_hotspot(
            [scatter(0, 3, (99, 99))], area=1e-4, pixel_size=0.5, shape=(99, 99)
        )
    told = spot.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert [told[k] for k in ("index", "row", "column", "radius", "name")] == [None] * 5
    assert told["area"] == 1e-4 and told["warnings"] == list(spot.warnings)


def test_images_below_the_field_are_left_out():
    points = scatter(0, 30, (100, 100))
    spot = find_hotspot(
        [points, points],
        area=1e-3,
        pixel_size=0.5,
        shape=[(20, 100), (100, 100)],
        min_cells=1,
    )
    assert spot.image == 1 and "left out: 1" in spot.warnings[0]


def test_result_is_plain_and_carries_the_notice():
    points = scatter(2, 30, (100, 100))
    spot = find_hotspot(
        [points], area=1e-3, pixel_size=0.5, shape=(100, 100), min_cells=1
    )
    for shown in (str(spot), repr(spot), spot._repr_html_()):
        assert spot.notice in shown and "Hotspot of 0.001 mm²" in shown
    assert json.loads(json.dumps(spot.to_dict()))["notice"] == spot.notice


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"area": 0}, "area must be a number above 0"),
        ({"area": 1.0}, "fits into no image"),
        ({"pixel_size": -1}, "pixel_size must be a positive number"),
        ({"pixel_size": [1, 1]}, "2 numbers, but there are 1 images"),
        ({"field": "hexagon"}, "'circle' or 'square'"),
        ({"min_cells": 0}, "min_cells must be a whole number above 0"),
        ({"shape": None}, "give shape="),
        ({"shape": [(9, 9), (9, 9)]}, "2 sizes, but there are 1 images"),
    ],
)
def test_bad_parameters_are_told(options, message):
    given = {"area": 1e-4, "pixel_size": 0.5, "shape": (100, 100), "min_cells": 1}
    with pytest.raises(ValueError, match=message):
        find_hotspot([scatter(0, 9, (100, 100))], **{**given, **options})


def test_a_table_of_nuclei_needs_no_image():
    points = scatter(2, 300, (200, 200))
    table = dict(
        zip(["centroid_row", "centroid_column", "class"], points.T, strict=True)
    )
    options = {"area": 4e-4, "pixel_size": 0.5, "min_cells": 3, "shape": (200, 200)}
    expected = find_hotspot([points], **options)
    assert find_hotspot(table, **options) == expected
    assert expected.n_cells >= 3


@pytest.mark.parametrize("field", ["circle", "square"])
def test_time_grows_with_nuclei_not_with_fields(field):
    """A search tree took 10 s and more."""
    points = scatter(3, 100_000, (12_000, 12_000))
    start = time.process_time()
    spot = find_hotspot(
        points,
        area=0.01,
        pixel_size=0.5,
        field=field,
        shape=(12_000, 12_000),
        min_cells=5,
    )
    assert time.process_time() - start < 4
    assert spot.n_cells >= 5


def best_of_all(points, is_positive, radius, field, shape, min_cells):
    """Count every field of the grid with a search tree."""
    steps = [np.arange(np.ceil((s - 2 * radius) / radius * 10) + 1) for s in shape]
    rows, columns = (
        np.minimum(radius - 0.5 + k * (radius / 10), side - radius - 0.5)
        for k, side in zip(steps, shape, strict=True)
    )
    centres = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    norm = 2 if field == "circle" else np.inf
    n_cells, n_positive = (
        cKDTree(part).query_ball_point(centres, radius, p=norm, return_length=True)
        for part in (points, points[is_positive])
    )
    enough = n_cells >= min_cells
    if not enough.any():
        return None, n_cells.max()
    share = n_positive[enough] / n_cells[enough]
    order = np.lexsort((*centres[enough].T[::-1], -n_cells[enough], -share))
    found = (share, n_cells[enough], n_positive[enough], *centres[enough].T)
    return tuple(each[order[0]] for each in found), n_cells.max()


@pytest.mark.parametrize("field", ["circle", "square"])
@pytest.mark.parametrize(
    ("radius", "shape", "n_points"),
    [
        (10.0, (91, 140), 500),  # whole numbers: many nuclei lie on the edge of fields
        (5.0, (80, 210), 300),  # more centres than a tile holds
        (7.3, (60, 61), 5000),  # more nuclei than are looked at together
        (np.pi, (40, 220), 60),
        (20.0, (40, 90), 100),  # one row of centres
    ],
)
@pytest.mark.parametrize("are_whole", [True, False])
@pytest.mark.parametrize("min_cells", [1, 12])
def test_agrees_with_a_search_tree(
    field, radius, shape, n_points, are_whole, min_cells
):
    rng = np.random.default_rng(n_points)
    points = rng.uniform(-3, np.add(shape, 2), (n_points, 2))
    points = np.round(points) if are_whole else points
    is_positive = rng.random(n_points) < 0.3
    known = points, is_positive, radius, field, shape, min_cells
    assert _best_field(*known) == best_of_all(*known)


@pytest.mark.parametrize("is_circle", [True, False])
@pytest.mark.parametrize(
    ("radius", "shape"), [(7.3, (62, 300)), (np.pi, (8, 101)), (10.0, (91, 20))]
)
def test_every_field_is_counted(is_circle, radius, shape):
    """Nuclei on the edges of fields, to the last bit, and beyond the image."""
    grid = FieldGrid(radius, shape, is_circle)
    rng = np.random.default_rng(0)
    n_rows, n_columns = grid._last + 1
    rows, columns = (grid.places(np.arange(n), i) for i, n in enumerate(grid._last + 1))
    sides = rng.choice([-1, 0, 1], (400, 2))
    sides[:, 1] *= sides[:, 0] == 0
    chosen = rng.choice(rows, 400), rng.choice(columns, 400)
    points = np.stack(chosen, axis=-1) + sides * radius
    points = np.vstack([points, rng.uniform(-9, np.add(shape, 9), (400, 2))])
    got = np.zeros((n_rows, n_columns), np.int64)
    for tile, members in grid.tiles(points):
        top, left = tile_origin(tile)
        counts = grid.count(points[members], tile)
        part = got[top : top + counts.shape[0], left : left + counts.shape[1]]
        assert not part.any()
        part[:] = counts
    for row, place in enumerate(rows):
        gaps = [place - points[:, 0], columns[:, np.newaxis] - points[:, 1]]
        if is_circle:
            inside = gaps[0] * gaps[0] + gaps[1] * gaps[1] <= radius**2
        else:
            inside = (np.abs(gaps[0]) <= radius) & (np.abs(gaps[1]) <= radius)
        np.testing.assert_array_equal(got[row], inside.sum(axis=1))
