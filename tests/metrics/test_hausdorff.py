# SPDX-License-Identifier: BSD-3-Clause
"""Hausdorff distances, by hand, by brute force, and against scikit-image."""

import time
import tracemalloc

import metrics_oracle as oracle
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from psmlearn.metrics import _hausdorff, hausdorff_distance

pytestmark = pytest.mark.usefixtures("any_pieces")

IDS = st.sampled_from([-1, 0, 0, 0, 0, 1, 2, 5, 2**31 - 1])


@st.composite
def pairs(draw, max_side=7):
    """Draw two sparse label images of a size."""
    shape = draw(
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=max_side)
    )
    masks = [draw(hnp.arrays(np.int32, shape, elements=IDS)) for _ in range(2)]
    if draw(st.booleans()):
        masks[1] = np.where(masks[0] > 0, 0, masks[1])
    return tuple(masks)


@pytest.mark.parametrize("outline", [False, True])
@settings(max_examples=100, deadline=None)
@given(pair=pairs(), percentile=st.sampled_from([100, 95, 50.0, 1]))
def test_object_level_equals_brute_force(outline, pair, percentile):
    expected = oracle.hausdorff(*pair, percentile, outline)
    got = hausdorff_distance(*pair, percentile=percentile, outline=outline)
    assert got == pytest.approx(0.0 if expected is None else expected, rel=1e-12)


@settings(max_examples=100, deadline=None)
@given(pair=pairs(), small=st.booleans(), n_near=st.sampled_from([1, 2]))
@example((np.array([[0, 2], [1, 1]]), np.array([[1, 0], [0, 0]])), False, 1)
def test_the_way_it_is_measured_changes_nothing(pair, small, n_near):
    """Trees in place of tables, pruned pixels, and a search in small steps."""
    expected = hausdorff_distance(*pair)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_hausdorff, "_SMALL_TABLE", 1e9 if small else 0)
        patch.setattr(_hausdorff, "_N_NEAR", n_near)
        patch.setattr(_hausdorff, "_MUCH_LARGER", 0)
        assert hausdorff_distance(*pair) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("percentile", [100, 95])
@pytest.mark.parametrize("outline", [False, True])
@settings(max_examples=60, deadline=None)
@given(pair=pairs())
def test_mask_level_equals_brute_force(outline, percentile, pair):
    options = {"level": "mask", "percentile": percentile, "outline": outline}
    merged = [np.sign(mask) for mask in pair]
    expected = oracle.hausdorff(*merged, percentile, outline)
    expected = pytest.approx(0.0 if expected is None else expected, rel=1e-12)
    assert hausdorff_distance(*pair, **options) == expected
    known = oracle.known(*pair)
    binary = [(mask > 0) & known for mask in pair]
    assert hausdorff_distance(*binary, **options) == expected


def test_whole_masks_equal_scikit_image(label_pair):
    from skimage.metrics import hausdorff_distance as peer

    true, pred = label_pair(150, 30)
    expected = peer(true > 0, pred > 0)
    assert expected > 5
    assert hausdorff_distance(true, pred, level="mask") == pytest.approx(expected)
    for i in (1, 7):
        alone = np.where(true == i, i, 0)
        expected = peer(alone > 0, pred == 3)
        got = hausdorff_distance(alone, np.where(pred == 3, 3, 0))
        assert got == pytest.approx(expected)


def strip(*ids):
    """Draw a mask 2 pixels high whose columns hold the given ids."""
    return np.tile(np.array(ids, dtype=np.int32), (2, 1))


def test_by_hand():
    true = strip(1, 1, 1, 1, 0, 0, 2, 2, 0, 0)
    pred = strip(0, 4, 4, 4, 4, 4, 0, 0, 0, 9)
    # 1 and 4 are 2 apart. 2 meets none: 9 is 3 away, 4 is 5. 9 meets none: 2.
    each = (8 * 2 + 4 * 3) / 12, (10 * 2 + 2 * 3) / 12
    assert hausdorff_distance(true, pred) == pytest.approx(sum(each) / 2)
    assert hausdorff_distance(pred, true) == pytest.approx(sum(each) / 2)
    assert hausdorff_distance(true, true) == 0.0
    # From column 9 to 7, and from 7 to 5 or 9.
    assert hausdorff_distance(true, pred, level="mask") == 2.0


def test_shared_pixels_and_percentiles():
    true = np.zeros((30, 30), dtype=int)
    true[5:25, 5:15] = 1
    pred = np.zeros_like(true)
    pred[5:25, 5:25] = 1
    assert hausdorff_distance(true, pred) == 10.0
    # Half of the pixels of pred lie 1 to 10 columns away.
    assert hausdorff_distance(true, pred, percentile=75) == pytest.approx(5, abs=0.3)
    assert hausdorff_distance(true, pred, percentile=40) == 0.0
    assert hausdorff_distance(true, pred, percentile=75, outline=True) > 5.5


def test_a_hole_counts_only_where_pixels_are_compared():
    disc = np.hypot(*(np.indices((41, 41)) - 20)) < 15
    ring = disc & (np.hypot(*(np.indices((41, 41)) - 20)) > 10)
    masks = disc.astype(int), ring.astype(int)
    # The centre is 11 away from the ring, no rim of it more than 5 from the disc's.
    assert hausdorff_distance(*masks) > 10
    assert hausdorff_distance(*masks, outline=True) < 5


def test_empty_masks():
    empty, some = np.zeros((6, 8), dtype=int), np.zeros((6, 8), dtype=int)
    some[2, 3:5] = 1
    for level in ("object", "mask"):
        assert hausdorff_distance(empty, empty, level=level) == 0.0
        for pair in ((empty, some), (some, empty)):
            assert hausdorff_distance(*pair, level=level) == 10.0
    masks = [empty, some, some], [empty, some, empty]
    each = hausdorff_distance(*masks, average=None, zero_division=np.nan)
    np.testing.assert_array_equal(each, [np.nan, 0, 10])
    assert hausdorff_distance(*masks, zero_division=np.nan) == 5.0
    assert hausdorff_distance(*masks) == 10 / 3
    # Over objects: 4 true pixels of which 2 are 10 away, 2 predicted ones at 0.
    assert hausdorff_distance(*masks, average="micro") == 2.5
    assert np.isnan(hausdorff_distance(empty, empty, zero_division=np.nan))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "pixel"}, "level must be 'object' or 'mask'; got 'pixel'"),
        ({"percentile": 0}, "percentile must be above 0 and at most 100; got 0"),
        ({"percentile": 101}, "percentile must be above 0"),
        ({"percentile": np.nan}, "percentile must be above 0"),
        ({"percentile": "all"}, "percentile must be above 0"),
        ({"zero_division": 1}, "zero_division must be 0 or NaN; got 1"),
    ],
)
def test_unknown_parameters(options, message):
    some = np.ones((3, 3), dtype=int)
    with pytest.raises(ValueError, match=message):
        hausdorff_distance(some, some, **options)


def test_inputs_stay_as_they_are(label_pair):
    true, pred = label_pair(60, 12)
    before = true.copy(), pred.copy()
    expected = hausdorff_distance(true, pred)
    for mask in (true, pred):
        mask.flags.writeable = False
    assert hausdorff_distance(np.asfortranarray(true), pred[:]) == expected
    huge = np.where(pred > 0, 2**62 + 3 * pred.astype(np.int64), 0)
    assert hausdorff_distance(true.astype(np.uint16), huge) == pytest.approx(expected)
    np.testing.assert_array_equal((true, pred), before)


@pytest.mark.parametrize("kind", ["merged", "apart"])
@pytest.mark.slow
def test_memory_and_time_stay_small(label_pair, kind):
    true, pred = label_pair(500, 170)
    if kind == "merged":
        pred = np.ones_like(pred)
    else:
        pred = np.where(true > 0, 0, pred)
    hausdorff_distance(true[:50, :50], pred[:50, :50])
    start = time.process_time()
    hausdorff_distance(true, pred)
    assert time.process_time() - start < 5
    tracemalloc.start()
    hausdorff_distance(true, pred)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * true.size
