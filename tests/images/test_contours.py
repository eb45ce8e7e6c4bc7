# SPDX-License-Identifier: BSD-3-Clause
"""Objects from contours, on shapes whose answer is known."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from psmlearn._images._contours import (
    _judge,
    _outline_sums,
    component_tree,
    contour_objects,
    fill_pits,
    find_diameter,
    open_levels,
)
from psmlearn._images._prominence import prominence

ROWS, COLUMNS = np.mgrid[:160, :200]


def distance(row, column):
    return np.hypot(ROWS - row, COLUMNS - column)


def blurred(*masks, amount=0.5):
    height = np.zeros(ROWS.shape, np.float32)
    for mask in masks:
        height[mask] = amount
    return ndi.gaussian_filter(height, 1.0)


def overlap(labels, shape):
    """IoU of a shape with the object that has most of it."""
    own = labels[shape]
    best = np.bincount(own[own > 0]).argmax() if (own > 0).any() else -1
    found = labels == best
    return (found & shape).sum() / (found | shape).sum()


def random_levels(seed, shape=(23, 31), top=6):
    rng = np.random.default_rng(seed)
    smooth = ndi.gaussian_filter(rng.random(shape), 1.5)
    low, high = smooth.min(), smooth.max()
    return np.round((smooth - low) / (high - low) * top).astype(np.uint8)


# -- the tree -----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_nodes_are_the_pieces_of_each_level(seed):
    levels = random_levels(seed)
    tree = component_tree(levels)
    n_nodes = len(tree.parent)
    inside = tree.node >= 0
    sizes = tree.sums(np.bincount(tree.node[inside], minlength=n_nodes)[:, None])[:, 0]
    for level in range(1, int(levels.max()) + 1):
        pieces, n_pieces = ndi.label(levels >= level)
        of_level = np.flatnonzero(tree.level == level)
        assert len(of_level) == n_pieces
        expected = np.sort(np.bincount(pieces.ravel())[1:])
        np.testing.assert_array_equal(np.sort(sizes[of_level]), expected)
    # The way up from a pixel's node visits each level once, down to the first.
    node = tree.node[np.flatnonzero(inside)[0]]
    visited = []
    while node >= 0:
        visited.append(int(tree.level[node]))
        node = tree.parent[node]
    assert visited == list(range(visited[0], 0, -1))


def test_tree_of_nothing_is_empty():
    tree = component_tree(np.zeros((3, 4), np.uint8))
    assert len(tree.parent) == 0
    assert (tree.node == -1).all()


@pytest.mark.parametrize("seed", range(6))
def test_best_choice_equals_the_search_through_all(seed):
    tree = component_tree(random_levels(seed, (9, 11), top=3))
    n_nodes = len(tree.parent)
    rng = np.random.default_rng(seed)
    values = rng.normal(size=n_nodes).round(2)

    def best(node):
        children = np.flatnonzero(tree.parent == node)
        return max(values[node], sum(best(child) for child in children), 0)

    roots = np.flatnonzero(tree.parent == -1)
    owner = tree.choose(values)
    chosen = np.unique(owner[owner >= 0])
    assert values[chosen].sum() == pytest.approx(sum(best(root) for root in roots))
    for node in chosen:  # none within another
        up = tree.parent[node]
        while up >= 0:
            assert up not in chosen
            up = tree.parent[up]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("max_area", [1, 5, 40])
def test_filled_pits_are_the_filled_holes_of_each_level(seed, max_area):
    levels = random_levels(seed)
    filled = fill_pits(levels, max_area)
    for level in range(1, int(levels.max()) + 1):
        mask = levels >= level
        holes, n_holes = ndi.label(~mask)
        for hole in range(1, n_holes + 1):
            place = holes == hole
            border = np.ones(mask.shape, bool)
            border[1:-1, 1:-1] = False
            if place.sum() <= max_area and not (place & border).any():
                mask |= place
        np.testing.assert_array_equal(filled >= level, mask)


@pytest.mark.parametrize("radius", [1, 2, 4])
def test_opening_is_that_of_scipy_within(radius):
    levels = random_levels(3, (40, 50))
    diamond = ndi.iterate_structure(ndi.generate_binary_structure(2, 1), radius)
    # Its border does not cut: outside continues far enough by the highest and lowest.
    eroded = ndi.grey_erosion(levels, footprint=diamond, mode="constant", cval=255)
    expected = ndi.grey_dilation(eroded, footprint=diamond, mode="constant", cval=0)
    np.testing.assert_array_equal(open_levels(levels, radius), expected)


def test_opening_of_no_radius_changes_nothing():
    levels = random_levels(5)
    np.testing.assert_array_equal(open_levels(levels, 0), levels)


@pytest.mark.parametrize("seed", range(3))
def test_outlines_add_up_to_inner_boundaries(seed):
    levels = random_levels(seed)
    relative = np.random.default_rng(seed).random(levels.shape).astype(np.float32)
    tree = component_tree(levels)
    total = tree.sums(_outline_sums(tree, levels, relative))
    for level in range(1, int(levels.max()) + 1):
        pieces, n_pieces = ndi.label(levels >= level)
        padded = np.pad(pieces > 0, 1, constant_values=True)  # the border is no edge
        inner = (
            padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        )
        edge = (pieces > 0) & ~inner
        expected = {
            (
                int((edge & (pieces == k)).sum()),
                round(float(relative[edge & (pieces == k)].sum()), 3),
            )
            for k in range(1, n_pieces + 1)
        }
        found = {
            (round(n), round(float(value), 3))
            for n, value in total[tree.level == level, :2]
        }
        assert found == expected
    np.testing.assert_allclose(total[:, 2:].sum(axis=1), total[:, 0])


# -- objects ------------------------------------------------------------------


def test_a_disc_a_ring_and_a_disc_within_a_disc_are_one_object_each():
    disc = distance(40, 40) < 10
    ring = (distance(40, 100) < 10) & (distance(40, 100) > 6)
    height = blurred(disc, ring)
    pale = distance(100, 60) < 10
    height += blurred(pale, amount=0.2) + blurred(distance(100, 60) < 3, amount=0.5)
    found = contour_objects(height, diameter=20)
    assert found.labels.max() == 3
    assert overlap(found.labels, disc) > 0.7
    assert overlap(found.labels, distance(40, 100) < 10) > 0.7
    assert overlap(found.labels, pale) > 0.7
    assert (found.confidence > 0.3).all() and (found.confidence <= 2).all()
    assert (found.contrast > 0.1).all()


@pytest.mark.parametrize("apart", [16, 18])
def test_touching_discs_are_two(apart):
    left, right = distance(80, 80) < 10, distance(80, 80 + apart) < 10
    found = contour_objects(blurred(left, right), diameter=20)
    assert found.labels.max() == 2
    assert len(found.confidence) == len(found.contrast) == 2
    assert found.labels[80, 76] != found.labels[80, 84 + apart]


def test_each_nucleus_has_a_level_of_its_own():
    # No single threshold draws a pale nucleus on pale and a dark one on dark ground.
    ground = np.where(COLUMNS < 100, 0.1, 0.6)
    discs = (distance(80, 50) < 10, distance(80, 150) < 10)
    height = ground + 0.3 * (discs[0] | discs[1])
    found = contour_objects(
        ndi.gaussian_filter(height.astype(np.float32), 1.0), diameter=20
    )
    for disc in discs:
        assert overlap(found.labels, disc) > 0.65


def test_objects_at_the_border_are_found():
    discs = [distance(0, 60) < 10, distance(80, 199) < 10, distance(159, 90) < 10]
    found = contour_objects(blurred(*discs), diameter=20)
    assert found.labels.max() == 3
    for disc in discs:
        assert overlap(found.labels, disc) > 0.5


@pytest.mark.parametrize("value", [0.0, 0.5, 3.0])
def test_plateaus_hold_nothing(value):
    found = contour_objects(np.full((60, 70), value, np.float32), diameter=20)
    assert found.labels.max() == 0
    assert len(found.confidence) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2)])
def test_tiny_images_hold_nothing(shape):
    height = np.random.default_rng(0).random(shape).astype(np.float32)
    found = contour_objects(height, diameter=20)
    assert found.labels.shape == shape
    assert found.labels.max() == 0
    assert find_diameter(height, diameter=20) == 20


def test_noise_holds_nothing_of_the_least_contrast():
    noise = np.random.default_rng(0).normal(0.1, 0.03, (300, 300))
    found = contour_objects(
        np.abs(noise).astype(np.float32), diameter=20, min_contrast=0.06
    )
    assert found.labels.max() == 0


def test_what_is_not_supported_is_dropped():
    first, second = distance(80, 50) < 10, distance(80, 150) < 10
    found = contour_objects(blurred(first, second), diameter=20, support=first)
    assert found.labels.max() == 1
    assert found.labels[80, 50] == 1


def test_faint_specks_beside_nuclei_are_dropped():
    discs = [distance(40, c) < 10 for c in (30, 80, 130, 180)]
    height = blurred(*discs)
    height += blurred(distance(120, 100) < 10, amount=0.1)
    assert contour_objects(height, diameter=20).labels.max() == 4
    alone = blurred(distance(120, 100) < 10, amount=0.1)
    assert contour_objects(alone, diameter=20).labels.max() == 1


def test_far_parts_of_an_image_do_not_matter():
    rng = np.random.default_rng(2)
    height = np.zeros((1300, 300), np.float32)
    for row, column in rng.integers((10, 10), (1290, 290), (220, 2)):
        rows, columns = np.ogrid[:1300, :300]
        disc = np.hypot(rows - row, columns - column) < 5
        height[disc] = rng.uniform(0.2, 0.8)
    height = ndi.gaussian_filter(height, 0.7)
    whole = contour_objects(height, diameter=10).labels
    # Three means of 19 blocks reach 27; outlines and objects some pixels more.
    part = contour_objects(height[: 8 * 100], diameter=10).labels
    near = np.s_[: 8 * 60]
    np.testing.assert_array_equal(whole[near] > 0, part[near] > 0)


def test_arguments_are_left_alone():
    height = blurred(distance(80, 80) < 10)
    support = np.ones(height.shape, bool)
    before = height.copy()
    contour_objects(height, diameter=20, support=support)
    find_diameter(height, diameter=20, support=support)
    np.testing.assert_array_equal(height, before)
    assert support.all()


@pytest.mark.parametrize(("radius", "expected"), [(5, 12.5), (7, 15), (12, 26)])
def test_the_diameter_is_found(radius, expected):
    places = [(row, column) for row in (30, 80, 130) for column in range(20, 200, 32)]
    discs = [distance(*place) < radius for place in (*places, (5, 5), (155, 195))]
    found = find_diameter(blurred(*discs), diameter=20)
    assert found == pytest.approx(expected, rel=0.35)


def test_few_objects_do_not_tell_the_diameter():
    assert find_diameter(blurred(distance(80, 80) < 15), diameter=20) == 20


def test_a_piece_of_full_support_is_judged_as_without():
    height = blurred(distance(80, 80) < 10)
    levels = np.digitize(height, np.linspace(0.05, 0.5, 9)).astype(np.uint8)
    tree = component_tree(levels)
    relative = np.ones(height.shape, np.float32)
    plain = _judge(tree, levels, relative, None)
    supported = _judge(tree, levels, relative, np.ones(height.shape, bool))
    np.testing.assert_allclose(plain, supported)


def test_prominence_is_by_what_is_usual_around():
    labels = np.zeros((120, 300), np.int32)
    height = np.full(labels.shape, 0.1, np.float32)
    boxes = [(20, 20, 20, 0.6), (20, 70, 20, 0.6), (70, 20, 20, 0.6), (80, 80, 6, 0.6)]
    boxes += [(70, 130, 20, 0.15)]
    for number, (row, column, side, level) in enumerate(boxes, start=1):
        here = np.s_[row : row + side, column : column + side]
        labels[here], height[here] = number, level
    found = prominence(labels, height, diameter=20)
    assert found.shape == (5,)
    assert (found[:3] > 0.9).all() and (found[3:] < 0.6).all()
    # Amounts have no part in it, nor do ids.
    np.testing.assert_allclose(prominence(labels, 3 * height, diameter=20), found)
    order = np.array([0, 5, 3, 1, 2, 4])
    again = prominence(order[labels].astype(np.int32), height, diameter=20)
    np.testing.assert_allclose(again[order[1:] - 1], found)
    assert prominence(np.zeros_like(labels), height, diameter=20).shape == (0,)


def test_an_object_that_fills_the_image_is_usual():
    labels = np.ones((9, 7), np.int32)
    found = prominence(labels, np.full((9, 7), 0.4, np.float32), diameter=500)
    assert np.isfinite(found).all()
