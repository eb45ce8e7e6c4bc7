# SPDX-License-Identifier: BSD-3-Clause
"""Cleaning, splitting and tables of label images."""

import inspect
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage as ndi
from skimage import morphology

from psmlearn._images._instances import (
    areas,
    centroids,
    clean_mask,
    decode_instances,
    fill_holes_per_label,
    relabel,
    remove_small,
    split_touching,
)

sides = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
masks = hnp.arrays(bool, sides)
label_images = hnp.arrays(
    np.int32, sides, elements=st.sampled_from([-1, 0, 0, 1, 2, 5, 2_000_000_000])
)


def disc(shape, centre, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def ellipse(shape, centre, half_axes, angle):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    rows, columns = rows - centre[0], columns - centre[1]
    along = rows * np.sin(angle) + columns * np.cos(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    return (along / half_axes[0]) ** 2 + (across / half_axes[1]) ** 2 <= 1


def numbered(centres, radius, shape):
    """Discs drawn so that each pixel belongs to the nearest centre."""
    grid = np.stack(np.mgrid[: shape[0], : shape[1]], axis=-1)
    distance = np.linalg.norm(grid[:, :, np.newaxis] - np.array(centres), axis=-1)
    return np.where(distance.min(-1) <= radius, distance.argmin(-1) + 1, 0)


def ids_of(labels):
    return [int(i) for i in np.unique(labels) if i > 0]


def assert_same_objects(labels, truth, least=0.85):
    """Each true object has a found one of at least this intersection over union."""
    assert len(ids_of(labels)) == len(ids_of(truth))
    for i in ids_of(truth):
        true = truth == i
        best = np.bincount(labels[true])[1:].argmax() + 1
        found = labels == best
        assert (true & found).sum() / (true | found).sum() >= least


# Tables


@settings(deadline=None)
@given(label_images)
def test_tables_agree_with_a_loop(labels):
    ids = ids_of(labels)
    assert areas(labels).tolist() == [(labels == i).sum() for i in ids]
    expected = [np.argwhere(labels == i).mean(axis=0) for i in ids]
    np.testing.assert_allclose(centroids(labels), np.reshape(expected, (-1, 2)))


@settings(deadline=None)
@given(label_images)
def test_relabel_keeps_order_zero_and_unknown(labels):
    new = relabel(labels)
    assert new.dtype == np.int32
    for number, i in enumerate(ids_of(labels), start=1):
        np.testing.assert_array_equal(new == number, labels == i)
    np.testing.assert_array_equal(np.minimum(new, 0), np.minimum(labels, 0))


@settings(deadline=None)
@given(label_images, st.integers(0, 5))
def test_remove_small_keeps_the_other_ids(labels, min_area):
    expected = labels.copy()
    for i in ids_of(labels):
        if (labels == i).sum() < min_area:
            expected[labels == i] = 0
    before = labels.copy()
    np.testing.assert_array_equal(remove_small(labels, min_area), expected)
    np.testing.assert_array_equal(labels, before)


def brute_fill(labels):
    out = labels.copy()
    holes, n_holes = ndi.label(labels == 0)
    for i in range(1, n_holes + 1):
        hole = holes == i
        if hole[0].any() or hole[-1].any() or hole[:, 0].any() or hole[:, -1].any():
            continue
        around = np.unique(labels[ndi.binary_dilation(hole) & ~hole])
        if len(around) == 1 and around[0] > 0:
            out[hole] = around[0]
    return out


@settings(deadline=None)
@given(label_images)
def test_fill_holes_agrees_with_a_loop(labels):
    np.testing.assert_array_equal(fill_holes_per_label(labels), brute_fill(labels))


def test_fill_holes_on_rings():
    labels = np.zeros((40, 90), np.int32)
    for i, column in enumerate((20, 60)):
        labels[disc(labels.shape, (20, column), 15)] = 4 + i
        labels[disc(labels.shape, (20, column), 6)] = 0
    labels[20, 60] = -1  # something unknown in the second hole
    filled = fill_holes_per_label(labels)
    np.testing.assert_array_equal(filled, brute_fill(labels))
    assert filled[20, 20] == 4 and filled[20, 62] == 0
    in_columns = fill_holes_per_label(np.asfortranarray(labels))
    np.testing.assert_array_equal(in_columns, filled)


@pytest.mark.parametrize("function", [areas, centroids, relabel, fill_holes_per_label])
@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros((2, 2, 2), int)])
def test_tables_refuse_what_is_no_label_image(function, bad):
    with pytest.raises(ValueError, match="label image of whole numbers"):
        function(bad)


# Cleaning


def in_scikit_image(function, mask, largest_removed):
    """Call a function whose parameter was a least size, now the largest removed."""
    if "max_size" in inspect.signature(function).parameters:
        return function(mask, max_size=largest_removed)
    names = {"remove_small_objects": "min_size", "remove_small_holes": "area_threshold"}
    return function(mask, **{names[function.__name__]: largest_removed + 1})


@settings(deadline=None)
@given(masks, st.integers(0, 6))
def test_small_objects_as_in_scikit_image(mask, min_area):
    expected = in_scikit_image(
        morphology.remove_small_objects, mask, max(min_area - 1, 0)
    )
    np.testing.assert_array_equal(clean_mask(mask, min_area=min_area), expected)


@settings(deadline=None)
@given(masks, st.integers(0, 6))
def test_small_holes_as_in_scikit_image(mask, max_hole_area):
    # Behind a frame of background of its own, what reaches the border stays open.
    framed = np.pad(mask, 10)
    expected = in_scikit_image(morphology.remove_small_holes, framed, max_hole_area)
    np.testing.assert_array_equal(
        clean_mask(mask, max_hole_area=max_hole_area), expected[10:-10, 10:-10]
    )


@settings(deadline=None)
@given(masks, st.sampled_from([1, 1.5, 2, 3]))
def test_opening_is_by_a_disc(mask, radius):
    reach = int(radius)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    element = rows**2 + columns**2 <= radius**2
    kept = ndi.binary_erosion(mask, element, border_value=1)
    expected = ndi.binary_dilation(kept, element)
    if mask.all():
        expected = mask
    np.testing.assert_array_equal(clean_mask(mask, opening_radius=radius), expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 5)])
@pytest.mark.parametrize("value", [False, True])
def test_cleaning_constant_masks(shape, value):
    mask = np.full(shape, value)
    cleaned = clean_mask(mask, max_hole_area=3, opening_radius=2)
    np.testing.assert_array_equal(cleaned, mask)
    assert not np.shares_memory(cleaned, mask)
    assert not clean_mask(mask, min_area=100).any()


@pytest.mark.parametrize("function", [clean_mask, split_touching])
def test_masks_are_bool(function):
    options = {"diameter": 5} if function is split_touching else {}
    with pytest.raises(ValueError, match="mask of bool"):
        function(np.zeros((4, 4), np.uint8), **options)


# Splitting

RADIUS = 11
RING = [
    (80 + 48 * np.sin(angle), 80 + 48 * np.cos(angle))
    for angle in 2 * np.pi * np.arange(16) / 16
]


@pytest.mark.parametrize(
    "centres, shape",
    [
        ([(25, 20), (25, 36)], (50, 60)),
        ([(25, 20), (36, 31)], (60, 60)),
        ([(25, 20), (25, 38), (25, 56)], (50, 80)),
        ([(25, 20), (25, 37), (38, 49)], (60, 80)),
        (RING, (160, 160)),
        ([(0, 0), (0, 18), (49, 30), (49, 47)], (50, 60)),  # cut by the border
    ],
)
@pytest.mark.parametrize("diameter", [16, 22, 30])
def test_touching_discs_are_split(centres, shape, diameter):
    truth = numbered(centres, RADIUS, shape)
    labels = split_touching(truth > 0, diameter=diameter)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels > 0, truth > 0)
    assert_same_objects(labels, truth)


def test_small_disc_beside_a_large_one():
    large = disc((60, 70), (30, 25), 18)
    small = disc((60, 70), (30, 50), 8)
    truth = np.where(large, 1, np.where(small, 2, 0))
    assert_same_objects(split_touching(truth > 0, diameter=22), truth)


@pytest.mark.parametrize("scale", [0.5, 1, 2])
@pytest.mark.parametrize("angle", np.linspace(0, np.pi, 7))
def test_an_ellipse_is_one_nucleus(scale, angle):
    mask = ellipse((140, 140), (70.3, 69.8), (28 * scale, 14 * scale), angle)
    assert split_touching(mask, diameter=22).max() == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_rough_outline_is_not_split(seed):
    rng = np.random.default_rng(seed)
    rough = ndi.gaussian_filter(rng.normal(size=(70, 70)), 1)
    field = ndi.gaussian_filter(
        ellipse((70, 70), (35, 35), (17, 11), 0.7).astype(float), 1.5
    )
    mask = clean_mask(field + 0.5 * rough > 0.5, min_area=100, max_hole_area=50)
    assert ndi.label(mask)[1] == 1
    assert split_touching(mask, diameter=24).max() == 1


@settings(max_examples=60, deadline=None)
@given(masks, st.sampled_from([1, 4, 20]))
def test_every_pixel_of_the_mask_and_no_other_is_labelled(mask, diameter):
    labels = split_touching(mask, diameter=diameter)
    np.testing.assert_array_equal(labels > 0, mask)
    assert ids_of(labels) == list(range(1, labels.max() + 1))
    for i in ids_of(labels):  # an object is in one piece
        assert ndi.label(labels == i, np.ones((3, 3)))[1] == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (6, 6)])
def test_splitting_constant_masks(shape):
    assert (split_touching(np.zeros(shape, bool), diameter=8) == 0).all()
    assert (split_touching(np.ones(shape, bool), diameter=8) == 1).all()


def test_intensity_shows_a_valley_that_the_outline_hides():
    mask = np.zeros((40, 60), bool)
    mask[12:28, 10:50] = True
    columns = np.arange(60)
    stain = np.broadcast_to(0.2 + 0.8 * np.abs(np.sin(np.pi * columns / 20)), (40, 60))
    stain = np.roll(stain, 10, axis=1)  # dark at columns 20 and 40, pale at 30
    assert split_touching(mask, diameter=20).max() == 1
    labels = split_touching(mask, diameter=20, intensity=stain)
    assert labels.max() == 2
    assert labels[20, 20] != labels[20, 40]
    flat = split_touching(mask, diameter=20, intensity=np.ones(mask.shape))
    assert flat.max() == 1


def test_splitting_refuses_wrong_values():
    mask = disc((20, 20), (10, 10), 5)
    with pytest.raises(ValueError, match="diameter"):
        split_touching(mask, diameter=0)
    with pytest.raises(ValueError, match="intensity"):
        split_touching(mask, diameter=5, intensity=np.zeros((3, 3)))


# Decoding


def inner_distance(labels):
    """Distance to an object's boundary over its largest, object by object."""
    target = np.zeros(labels.shape)
    for i in ids_of(labels):
        distance = ndi.distance_transform_edt(labels == i)
        target += distance / distance.max()
    return target


def field(shape=(200, 200), seed=0, n_nuclei=60, radius=11):
    """Touching discs of random places, and what a network would say of them."""
    rng = np.random.default_rng(seed)
    centres = []
    while len(centres) < n_nuclei:
        place = rng.uniform(0, shape, 2)
        if all(np.hypot(*(place - other)) > 1.5 * radius for other in centres):
            centres.append(place)
    truth = numbered(centres, radius, shape)
    noise = ndi.gaussian_filter(rng.normal(size=(2, *shape)), (0, 2, 2))
    probability = (
        0.9 * ndi.gaussian_filter((truth > 0).astype(float), 1) + 0.2 * noise[0]
    )
    distance = ndi.gaussian_filter(inner_distance(truth), 1) + 0.2 * noise[1]
    return truth, np.clip(probability, 0, 1), np.clip(distance, 0, 1)


def test_decoding_finds_the_nuclei():
    truth, probability, distance = field()
    kept = remove_small(truth, 40)
    labels = decode_instances(probability, distance, diameter=22, min_area=30)
    assert abs(labels.max() - len(ids_of(kept))) <= 3
    found = 0
    for i in ids_of(kept):
        true = truth == i
        best = labels == np.bincount(labels[true]).argmax()
        found += (true & best).sum() > 0.6 * (true | best).sum()
    assert found >= 0.95 * len(ids_of(kept))


def test_decoding_fills_holes_and_drops_small_objects():
    truth = np.where(disc((50, 70), (25, 25), 14), 1, 0)
    truth[disc((50, 70), (25, 60), 2)] = 2
    probability = (truth > 0).astype(np.float32)
    distance = inner_distance(truth)
    probability[23:27, 23:27] = 0.2  # a pale inside
    labels = decode_instances(probability, distance, diameter=22, min_area=20)
    np.testing.assert_array_equal(labels > 0, truth == 1)
    assert labels.max() == 1
    both = decode_instances(probability, distance, diameter=22, min_area=1)
    np.testing.assert_array_equal(both > 0, truth > 0)
    assert both.max() == 2


def test_decoding_without_any_distance_gives_connected_parts():
    mask = disc((30, 60), (15, 15), 6) | disc((30, 60), (15, 45), 6)
    labels = decode_instances(mask.astype(float), np.zeros(mask.shape), diameter=12)
    np.testing.assert_array_equal(labels, ndi.label(mask)[0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 7)])
def test_decoding_constant_predictions(shape):
    zero, one = np.zeros(shape), np.ones(shape)
    assert (decode_instances(zero, zero, diameter=5) == 0).all()
    assert (decode_instances(one, one, diameter=5) == 1).all()
    assert (decode_instances(one, one, threshold=1, diameter=5) == 0).all()


def test_decoding_leaves_its_input():
    _, probability, distance = field((60, 60), n_nuclei=5)
    copies = probability.copy(), distance.copy()
    probability.setflags(write=False)
    distance.setflags(write=False)
    decode_instances(probability, distance, diameter=22, min_area=5)
    np.testing.assert_array_equal(probability, copies[0])
    np.testing.assert_array_equal(distance, copies[1])


def test_decoding_refuses_different_shapes():
    with pytest.raises(ValueError, match="one shape"):
        decode_instances(np.zeros((3, 3)), np.zeros((3, 4)), diameter=5)


@pytest.mark.slow
def test_a_large_image_takes_a_fraction_of_a_second():
    tile = field((200, 200), n_nuclei=28)
    truth, probability, distance = (np.tile(part, (5, 5)) for part in tile)
    for function in (
        lambda: split_touching(truth > 0, diameter=22),
        lambda: decode_instances(probability, distance, diameter=22, min_area=30),
        lambda: clean_mask(truth > 0, min_area=30, max_hole_area=50, opening_radius=2),
    ):
        function()
        start = process_time()
        function()
        assert process_time() - start < 1.5
