# SPDX-License-Identifier: BSD-3-Clause
"""The error of counts: MP, MN and MA, averages, masks, regions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from psmlearn.datasets import make_nuclei
from psmlearn.metrics import count_error

COUNTS = hnp.arrays(
    np.int64,
    st.tuples(st.integers(1, 4), st.just(2), st.just(2)),
    elements=st.integers(0, 5),
)


def points_of(counts):
    """Make points, anywhere, with so many of class 1 and of class 2."""
    n_positive, n_negative = counts
    classes = np.repeat([1, 2], [n_positive, n_negative])
    return np.column_stack([np.arange(len(classes)) * 7, classes * 3, classes])


@settings(max_examples=50, deadline=None)
@given(counts=COUNTS)
def test_errors_equal_their_definition(counts):
    true = [points_of(each) for each in counts[:, 0]]
    pred = [points_of(each) for each in counts[:, 1]]
    gaps = counts[:, 1] - counts[:, 0]
    per_image = count_error(true, pred, labels=[1, 2], average=None)
    np.testing.assert_array_equal(per_image, np.abs(gaps))
    mp, mn = count_error(true, pred, labels=[1, 2])
    assert mp == np.mean([abs(gap) for gap in gaps[:, 0]])
    assert mn == np.mean([abs(gap) for gap in gaps[:, 1]])
    pooled = count_error(true, pred, labels=[2, 1], average="micro")
    np.testing.assert_array_equal(pooled, np.abs(gaps.sum(axis=0))[::-1])
    assert count_error(true, pred) == np.abs(gaps.sum(axis=1)).mean()
    assert count_error(true, pred, labels=2) == mn


def test_types_and_shapes():
    true, pred = [points_of((2, 1)), points_of((0, 0))], [points_of((1, 4)), []]
    assert count_error(true, pred) == 1.0
    for average in ("macro", "micro"):
        assert isinstance(count_error(true, pred, average=average), float)
        assert count_error(true, pred, labels=[1], average=average).shape == (1,)
    assert count_error(true, pred, average=None).tolist() == [2.0, 0.0]
    assert count_error(true, pred, labels=1, average=None).tolist() == [1.0, 0.0]
    assert count_error(true, pred, labels=[3, 1], average=None).shape == (2, 2)


def test_masks_count_as_their_points():
    nuclei = make_nuclei(3, (128, 128), n_nuclei=12, stain="ki67", random_state=0)
    masks, points = list(nuclei.masks), nuclei.points
    assert count_error(masks, points) == 0.0
    assert count_error(masks, points, labels=[1, 2]).tolist() == [0.0, 0.0]
    assert count_error(nuclei.masks[..., 0], [[]] * 3, average=None).tolist() == [
        len(each) for each in points
    ]
    lost = [each[each[:, 2] == 2] for each in points]
    n_positive = np.mean([(each[:, 2] == 1).sum() for each in points])
    assert n_positive > 0
    assert count_error(masks, lost, labels=[1, 2]).tolist() == [n_positive, 0.0]


def test_halves_of_an_image_share_no_object():
    mask = np.zeros((20, 30), dtype=np.int32)
    for number, top in enumerate(range(0, 20, 5), start=1):
        mask[top : top + 4, 3 * top // 5 + 8 : 3 * top // 5 + 14] = number
    half = np.zeros((20, 30), dtype=bool)
    half[:, :15] = True
    both = [count_error(mask, [[]], regions=[each]) for each in (half, ~half)]
    assert min(both) > 0
    assert sum(both) == 4 == count_error(mask, [[]])


def test_ids_may_have_gaps_and_be_huge():
    mask = np.zeros((10, 12), dtype=np.int64)
    mask[0, 0], mask[4:6, 4:6], mask[9, 11] = 2**62, 7, 3
    assert count_error(mask, [[]]) == 3
    assert count_error(mask, np.array([[0, 0], [4.5, 4.5], [9, 11]])) == 0


@pytest.mark.parametrize("block_size", [1, 7, 40])
def test_objects_across_blocks_are_one(monkeypatch, block_size):
    from psmlearn.metrics import _centres, _object_classes

    rng = np.random.default_rng(0)
    mask = rng.integers(0, 6, (9, 8, 2)).astype(np.int32)
    whole = _centres.measure_objects(mask, "mask")
    monkeypatch.setattr(_object_classes, "_BLOCK_SIZE", block_size)
    points, classes = _centres.measure_objects(mask, "mask")
    np.testing.assert_allclose(points, whole[0])
    np.testing.assert_array_equal(classes, whole[1])
    for number in range(1, 6):
        rows, columns = np.nonzero(mask[..., 0] == number)
        np.testing.assert_allclose(points[number - 1], [rows.mean(), columns.mean()])
        counts = np.bincount(mask[rows, columns, 1])
        assert classes[number - 1] == counts.argmax()
