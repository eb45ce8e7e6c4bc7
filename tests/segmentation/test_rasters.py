# SPDX-License-Identifier: BSD-3-Clause
"""Training targets against brute force."""

from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from psmlearn.segmentation import _rasters
from psmlearn.segmentation._rasters import (
    distance_target,
    points_to_heatmap,
    voronoi_labels,
)


@st.composite
def points_in_image(draw):
    shape = draw(st.tuples(st.integers(1, 14), st.integers(1, 14)))
    places = st.tuples(*(st.integers(0, side - 1) for side in shape))
    return np.array(draw(st.lists(places, min_size=1, max_size=8))), shape


def distances(points, shape):
    """Distance of each pixel to each point."""
    grid = np.stack(np.mgrid[: shape[0], : shape[1]], axis=-1)
    return np.linalg.norm(grid[:, :, np.newaxis] - np.asarray(points), axis=-1)


def brute_voronoi(cells, points, radius, width):
    height, n_columns = cells.shape
    labels = np.full(cells.shape, -1)
    for row in range(height):
        for column in range(n_columns):
            rows, columns = np.ogrid[:height, :n_columns]
            near = abs(rows - row) + abs(columns - column) <= width
            if (cells[near] != cells[row, column]).any():
                labels[row, column] = 0
    labels[distances(points, cells.shape).min(axis=-1) <= radius] = 1
    return labels


@settings(max_examples=60, deadline=None)
@given(points_in_image(), st.sampled_from([0, 1, 2, 2.5]), st.integers(0, 3))
def test_voronoi_agrees_with_brute_force(drawn, radius, width):
    points, shape = drawn
    nearest = _rasters._nearest_pixel(points, shape)
    # Ties may go either way, so the cells are checked first, then what is made of them.
    owner = np.stack(np.unravel_index(nearest, shape), axis=-1)
    grid = np.stack(np.mgrid[: shape[0], : shape[1]], axis=-1)
    np.testing.assert_allclose(
        np.linalg.norm(grid - owner, axis=-1), distances(points, shape).min(axis=-1)
    )
    assert set(map(tuple, owner.reshape(-1, 2))) <= set(map(tuple, points.tolist()))
    labels = voronoi_labels(points, shape, point_radius=radius, edge_width=width)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, brute_voronoi(nearest, points, radius, width))


def test_voronoi_of_no_point_is_background():
    for empty in ([], np.empty((0, 2)), np.empty((0, 3))):
        labels = voronoi_labels(empty, (5, 6))
        assert labels.shape == (5, 6) and labels.dtype == np.int32
        assert (labels == 0).all()
        assert (points_to_heatmap(empty, (5, 6), 2) == 0).all()


def test_voronoi_of_one_point_has_no_edge():
    labels = voronoi_labels([(10, 10)], (21, 21))
    assert (labels == 1).sum() == 13
    assert not (labels == 0).any()


def test_voronoi_of_two_points():
    labels = voronoi_labels([(10, 5), (10, 14)], (21, 20))
    assert (labels[:, 9:11] == 0).all()
    assert (labels == 0).sum() == 2 * 21
    assert (labels == 1).sum() == 2 * 13


def test_voronoi_of_collinear_and_duplicate_points():
    points = [(3, 4), (3, 12), (3, 20)]
    labels = voronoi_labels(points, (8, 25), point_radius=1)
    assert (labels[5] == labels[0]).all()
    np.testing.assert_array_equal(
        voronoi_labels([*points, (3, 4), (3.2, 12.4)], (8, 25), point_radius=1), labels
    )


def test_points_override_edges():
    labels = voronoi_labels([(5, 5), (5, 7)], (11, 12), point_radius=2)
    assert (labels[5, 3:10] == 1).all()
    assert labels[0, 5] == 0 or labels[0, 6] == 0


def test_classes_and_fractions_of_points():
    points = np.array([[2.4, 3.5, 1.0], [10.5, 9.0, 2.0]])
    expected = voronoi_labels([(2, 4), (11, 9)], (14, 14))
    np.testing.assert_array_equal(voronoi_labels(points, (14, 14)), expected)


@pytest.mark.parametrize(
    "points, message",
    [
        ([(3, 20)], r"point 0 at \(row, column\) \(3.0, 20.0\) is outside"),
        ([(1, 1), (-1, 3)], "point 1"),
        ([(np.nan, 1)], "finite"),
        ([1, 2, 3], "shape"),
        (np.zeros((2, 4)), "shape"),
    ],
)
def test_wrong_points(points, message):
    with pytest.raises(ValueError, match=message):
        voronoi_labels(points, (10, 10))
    with pytest.raises(ValueError, match=message):
        points_to_heatmap(points, (10, 10), 2)


def test_wrong_options():
    with pytest.raises(ValueError, match="point_radius"):
        voronoi_labels([(1, 1)], (4, 4), point_radius=-1)
    with pytest.raises(ValueError, match="edge_width"):
        voronoi_labels([(1, 1)], (4, 4), edge_width=1.5)
    with pytest.raises(ValueError, match="shape"):
        voronoi_labels([(1, 1)], (4, 0))
    with pytest.raises(ValueError, match="sigma"):
        points_to_heatmap([(1, 1)], (4, 4), 0)


@settings(deadline=None)
@given(points_in_image(), st.sampled_from([0.5, 1, 3]))
def test_heatmap_agrees_with_brute_force(drawn, sigma):
    points, shape = drawn
    heatmap = points_to_heatmap(points, shape, sigma)
    gaussians = np.exp(-0.5 * (distances(points, shape) / sigma) ** 2)
    assert heatmap.dtype == np.float32
    np.testing.assert_allclose(heatmap, gaussians.max(axis=-1), atol=1e-6)
    assert (heatmap[tuple(points.T)] == 1).all()


def brute_distance(labels):
    """Distances to an object's own boundary pixels, object by object."""
    target = np.zeros(labels.shape)
    padded = np.pad(labels, 1, mode="edge")
    centre = padded[1:-1, 1:-1]
    differs = np.zeros(labels.shape, bool)
    for row, column in ((0, 1), (2, 1), (1, 0), (1, 2)):
        height, width = labels.shape
        differs |= padded[row : row + height, column : column + width] != centre
    for i in np.unique(labels[labels > 0]):
        inside = labels == i
        edge = np.argwhere(inside & differs)
        if len(edge) == 0:
            target[inside] = 1
            continue
        value = distances(edge, labels.shape).min(axis=-1)[inside] + 1
        target[inside] = value / value.max()
    return target


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        np.int32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
        elements=st.sampled_from([-1, 0, 1, 1, 1, 1, 2, 900_000_000]),
    )
)
def test_distance_agrees_with_a_loop(labels):
    before = labels.copy()
    target = distance_target(labels)
    assert target.dtype == np.float32
    np.testing.assert_allclose(target, brute_distance(labels), atol=1e-6)
    np.testing.assert_array_equal(labels, before)
    assert (target[labels <= 0] == 0).all()
    assert (target[labels > 0] > 0).all()


def test_distance_of_touching_rectangles():
    labels = np.zeros((11, 20), np.uint16)
    labels[2:9, 2:9] = 7
    labels[2:9, 9:16] = 3
    target = distance_target(labels)
    np.testing.assert_allclose(target, brute_distance(labels), atol=1e-6)
    assert target[5, 5] == 1 and target[5, 12] == 1
    assert target[5, 8] == target[5, 9] == np.float32(0.25)


def test_distance_of_extremes():
    assert (distance_target(np.zeros((4, 5), int)) == 0).all()
    assert (distance_target(np.full((4, 5), -1)) == 0).all()
    assert (distance_target(np.full((4, 5), 3)) == 1).all()
    assert distance_target(np.array([[1]])).tolist() == [[1.0]]
    with pytest.raises(ValueError, match="whole numbers"):
        distance_target(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="label image"):
        distance_target(np.zeros((2, 4, 4), int))


@pytest.mark.slow
def test_voronoi_of_a_large_image_is_fast():
    points = np.random.default_rng(0).uniform(0, 999, (700, 2))
    times = []
    for _ in range(3):
        start = process_time()
        voronoi_labels(points, (1000, 1000))
        times.append(process_time() - start)
    assert min(times) < 0.08
