# SPDX-License-Identifier: BSD-3-Clause
"""Clumps cut by an inner distance and by shape, on shapes whose answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage as ndi

from psmlearn._images._ellipses import fit_ellipses, moment_sums
from psmlearn._images._splitting import _best_cut, split_by_distance
from psmlearn.segmentation import Distance

ROWS, COLUMNS = np.mgrid[:120, :160]
DIAMETER = 20


def disc(row, column, radius=10.0):
    return np.hypot(ROWS - row, COLUMNS - column) < radius


def lying(row, column, half_height, half_width):
    rows, columns = (ROWS - row) / half_height, (COLUMNS - column) / half_width
    return np.hypot(rows, columns) < 1


def true_distance(*objects):
    """Return the inner distance of each object by itself, the larger where two meet."""
    planes = [ndi.distance_transform_edt(each) for each in objects]
    return np.max([plane / plane.max() for plane in planes], axis=0).astype(np.float32)


def outline_distance(mask):
    """Return what a network says that sees nothing but the outline."""
    distance = ndi.distance_transform_edt(mask)
    return (distance / distance.max()).astype(np.float32)


def n_objects(labels):
    return len(np.unique(labels[labels > 0]))


def jaccard(first, second):
    return (first & second).sum() / (first | second).sum()


@pytest.mark.parametrize("apart", [13, 16, 19])
def test_overlapping_discs_are_cut_where_they_meet(apart):
    first, second = disc(60, 60), disc(60, 60 + apart)
    mask = first | second
    labels = split_by_distance(mask, true_distance(first, second), diameter=DIAMETER)
    assert n_objects(labels) == 2 and ((labels > 0) == mask).all()
    for each, middle in ((first, 58), (second, 62 + apart)):
        assert jaccard(labels == labels[60, middle], each) > 0.75


def test_a_row_of_discs_is_cut_into_all_of_them():
    row = [disc(60, 30 + 17 * k) for k in range(6)]
    mask = np.any(row, axis=0)
    assert n_objects(split_by_distance(mask, true_distance(*row), diameter=20)) == 6
    crowd = [disc(40 + 16 * i, 60 + 16 * k) for i in range(3) for k in range(3)]
    mask = np.any(crowd, axis=0)
    assert n_objects(split_by_distance(mask, true_distance(*crowd), diameter=20)) == 9


@pytest.mark.parametrize("dip", [0.0, 0.2, 0.35])
def test_a_long_nucleus_stays_whole_though_its_distance_dips(dip):
    mask = lying(60, 80, 9, 32)
    distance = outline_distance(mask) * (1 - dip * np.exp(-(((COLUMNS - 80) / 6) ** 2)))
    assert n_objects(split_by_distance(mask, distance, diameter=DIAMETER)) == 1


def test_a_deep_valley_cuts_what_the_outline_does_not_tell():
    # Two nuclei side by side in one straight outline.
    mask = (abs(ROWS - 60) < 10) & (abs(COLUMNS - 80) < 20)
    left, right = mask & (COLUMNS < 80), mask & (COLUMNS >= 80)
    distance = true_distance(left, right)
    assert n_objects(split_by_distance(mask, distance, diameter=DIAMETER)) == 2
    shallow = np.maximum(distance, 0.7 * outline_distance(mask))
    assert n_objects(split_by_distance(mask, shallow, diameter=DIAMETER)) == 1


def test_a_small_bump_is_no_nucleus_of_its_own():
    body, bump = disc(60, 60, 14), disc(60, 75, 4)
    distance = true_distance(body, bump) * np.where(bump & ~body, 0.5, 1)
    mask = body | bump
    assert n_objects(split_by_distance(mask, distance, diameter=28)) == 1


def test_pieces_that_do_not_touch_are_apart_and_none_is_none():
    mask = disc(30, 30) | disc(90, 120)
    assert n_objects(split_by_distance(mask, np.zeros(mask.shape), diameter=20)) == 2
    nothing = np.zeros((5, 7), bool)
    assert not split_by_distance(nothing, np.zeros((5, 7)), diameter=20).any()
    assert (split_by_distance(~nothing, np.ones((5, 7)), diameter=20) == 1).all()


def test_the_turned_image_gives_the_turned_objects():
    first, second, third = disc(40, 40), disc(52, 50), disc(60, 36, 7)
    mask, distance = first | second | third, true_distance(first, second, third)
    labels = split_by_distance(mask, distance, diameter=DIAMETER)
    turned = split_by_distance(mask.T, distance.T, diameter=DIAMETER).T
    assert n_objects(labels) == n_objects(turned) == 3
    for value in np.unique(labels[labels > 0]):
        own = labels == value
        other = np.bincount(turned[own]).argmax()
        assert jaccard(own, turned == other) > 0.95


def test_the_best_cut_is_that_of_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(50):
        n_regions = int(rng.integers(1, 7))
        tops, parts = list(range(1, n_regions + 1)), []
        while len(tops) > 1 and rng.random() < 0.9:
            a, b = rng.choice(len(tops), 2, replace=False)
            parts.append((tops[a], tops[b]))
            tops = [t for k, t in enumerate(tops) if k not in (a, b)]
            tops.append(n_regions + len(parts))
        value = rng.random(n_regions + 1 + len(parts)) + 0.01
        table = _best_cut(n_regions, parts, value, np.ones(len(parts)))
        assert table[0] == 0

        def leaves(node, parts=parts, n_regions=n_regions):
            if node <= n_regions:
                return [node]
            return [
                leaf for part in parts[node - n_regions - 1] for leaf in leaves(part)
            ]

        nodes = range(1, len(value))
        best = max(
            sum(value[list(chosen)])
            for size in range(1, n_regions + 1)
            for chosen in itertools.combinations(nodes, size)
            if sorted(itertools.chain(*map(leaves, chosen)))
            == list(range(1, n_regions + 1))
        )
        owners = np.unique(table[1:])
        assert sum(value[owners]) == pytest.approx(best)
        for owner in owners:
            assert sorted(leaves(owner)) == np.flatnonzero(table == owner).tolist()


def test_demand_decides_what_is_cut():
    parts, value = [(1, 2)], np.array([0, 1.0, 1.0, 2.0])
    assert len(np.unique(_best_cut(2, parts, value, np.array([0.9]))[1:])) == 2
    assert len(np.unique(_best_cut(2, parts, value, np.array([1.1]))[1:])) == 1


def test_ellipses_fill_theirs_and_two_discs_do_not():
    def fit(mask):
        rows, columns = (side.astype(float) for side in np.nonzero(mask))
        found = fit_ellipses(*moment_sums(np.zeros(len(rows), int), rows, columns, 1))
        return [float(each[0]) for each in found]

    fill, perimeter = fit(disc(60, 80, 30))
    assert fill == pytest.approx(1, abs=0.01)
    assert perimeter == pytest.approx(2 * np.pi * 30, rel=0.02)
    assert fit(lying(60, 80, 20, 50))[0] == pytest.approx(1, abs=0.01)
    assert fit(disc(60, 50, 20) | disc(60, 100, 20))[0] < 0.8


def test_only_nuclei_of_one_class_are_cut_by_shape():
    # A crowd without gaps: the outline does not tell, the distance does.
    crowd = [disc(40 + 15 * i, 60 + 15 * k) for i in range(3) for k in range(3)]
    mask, distance = np.any(crowd, axis=0), true_distance(*crowd)
    probability = mask.astype(np.float32)
    options = {"threshold": 0.5, "diameter": DIAMETER, "min_area": 10}
    for n_classes, expected in ((1, 9), (2, 1)):
        planes = [1 - probability, *[probability / n_classes] * n_classes, distance]
        output = np.stack(planes, axis=-1)
        found = Distance().find_objects(output, probability, **options)
        assert found.max() == expected
