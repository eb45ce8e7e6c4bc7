# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi
from sklearn.base import clone
from sweeps import slow_but

from psmlearn._engine._augment import random_affine
from psmlearn._images._regions import connected_regions
from psmlearn.networks import UNet
from psmlearn.segmentation import (
    NucleiSegmenter,
    RegionSegmenter,
    _pixels,
    _region_segmenter,
)
from psmlearn.segmentation._appearance import channel_jitter
from psmlearn.segmentation._decoding import decode_nuclei
from psmlearn.segmentation._rasters import distance_target
from psmlearn.segmentation._region_segmenter import decode_regions
from psmlearn.segmentation._targets import Distance
from psmlearn.utils.estimator_checks import parametrize_with_image_checks


def small_unet(in_channels, out_channels):
    return UNet(in_channels, out_channels, base_channels=8, depth=3)


SMALL = {
    "network": small_unet,
    "max_epochs": 6,
    "steps_per_epoch": 12,
    "patch_size": 64,
    "batch_size": 4,
    "learning_rate": 5e-3,
    "early_stopping": False,
    "pixel_size": 1.0,
    "random_state": 0,
    "device": "cpu",
}
IN_RANGE = {**SMALL, "value_range": (0.0, 1.0)}
QUICK = {**SMALL, "max_epochs": 1, "steps_per_epoch": 2, "patch_size": 32}


def make_pairs(n=4, seed=0):
    """Pairs of touching squares, each with its id; bright on grey."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, 64, 72), np.int32)
    for mask in masks:
        for number, (top, left) in enumerate([(6, 8), (34, 26)]):
            top, left = top + rng.integers(4), left + rng.integers(8)
            mask[top : top + 18, left : left + 18] = 2 * number + 1
            mask[top : top + 18, left + 18 : left + 36] = 2 * number + 2
    images = np.where(masks > 0, 0.8, 0.3) + rng.normal(0, 0.03, masks.shape)
    return images.clip(0, 1).astype(np.float32)[..., None], masks


def make_scans(n=4, seed=0):
    """A body of two channels with a bright region, in dark noisy air."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((64, 64))
    body = (rows - 32) ** 2 + (columns - 32) ** 2 < 28**2
    images = rng.normal(0, 4, (n, 64, 64, 2))
    masks = np.zeros((n, 64, 64), np.int32)
    for image, mask in zip(images, masks, strict=True):
        row, column = rng.integers(22, 42, 2)
        mask[(rows - row) ** 2 + (columns - column) ** 2 < 9**2] = 1
        image[body] += [300, 100]
        image[mask > 0] += [80, -40]
        image *= rng.uniform(0.3, 4)  # no two scanners agree
    return images - 500, masks


@pytest.fixture(scope="module")
def pairs():
    return make_pairs()


@pytest.fixture(scope="module")
def scans():
    return make_scans()


@pytest.fixture(scope="module")
def scanned(scans):
    model = RegionSegmenter(jitter=1.0, **SMALL)
    return model.fit(*scans)


def dice(true, pred):
    true, pred = np.asarray(true) > 0, np.asarray(pred) > 0
    return 2 * (true & pred).sum() / (true.sum() + pred.sum())


def test_regions_are_8_connected_and_keep_their_holes():
    mask = np.zeros((12, 12), bool)
    mask[1:6, 1:6] = True
    mask[3, 3] = False
    mask[6, 6] = mask[7, 7] = True  # by a corner
    mask[10, 1] = mask[0, 11] = True
    labels = connected_regions(mask)
    assert labels.dtype == np.int32 and labels.max() == 3
    assert labels[7, 7] == labels[1, 1] and labels[3, 3] == 0
    labels = connected_regions(mask, min_area=2)
    assert labels.max() == 1 and labels[10, 1] == 0
    assert connected_regions(mask & False).max() == 0


def test_areas_are_square_micrometres_and_the_threshold_is_that_of_foreground():
    foreground = np.zeros((10, 20), np.float32)
    foreground[1:4, 1:4], foreground[1:7, 10:16] = 0.6, 0.9
    output = np.stack([1 - foreground, foreground], axis=-1)

    def count(threshold, min_area, pixel_size):
        options = {"threshold": threshold, "min_area": min_area}
        options |= {"pixel_size": pixel_size, "classes": None}
        return decode_regions(output, **options).max()

    assert count(0.5, 0, 1.0) == 2
    assert count(0.7, 0, 1.0) == 1
    assert count(0.5, 10, 1.0) == 1
    # 9 and 36 pixels are 36 and 144 square micrometres.
    assert count(0.5, 36, 2.0) == 2 and count(0.5, 40, 2.0) == 1


def test_regions_of_two_classes_are_two():
    output = np.zeros((6, 9, 3), np.float32)
    output[..., 0] = 1
    output[1:4, 1:4] = [0.2, 0.7, 0.1]
    output[1:4, 4:8] = [0.3, 0.3, 0.4]  # foreground by both together
    mask = decode_regions(
        output, classes=np.array([2, 5]), threshold=0.5, min_area=0, pixel_size=1.0
    )
    assert mask.shape == (6, 9, 2) and mask.dtype == np.int32
    assert (mask[1:4, 1:4] == [1, 2]).all() and (mask[1:4, 4:8] == [2, 5]).all()
    assert (mask[0] == 0).all()


def test_touching_objects_are_one_region_and_two_instances(pairs):
    mask = pairs[1][0]
    foreground = np.float32(mask > 0)
    perfect = [1 - foreground, foreground, distance_target(mask)]
    options = {"classes": None, "threshold": 0.5, "min_area": 20, "pixel_size": 1.0}
    output = np.stack(perfect, axis=-1)
    nuclei = decode_nuclei(output, Distance(), nucleus_diameter=16.0, **options)
    assert nuclei.max() == 4
    assert decode_regions(output[..., :2], **options).max() == 2


def test_touching_objects_are_learnt_as_one_region(pairs):
    images, masks = pairs
    settings = {**IN_RANGE, "max_epochs": 8, "jitter": 0.5}
    model = RegionSegmenter(min_area=20, **settings)
    found = model.fit(images, masks).predict(images)
    assert dice(masks, found) > 0.95
    connected = [ndi.label(mask > 0)[1] for mask in masks]
    assert [mask.max() for mask in found] == connected
    assert found.shape == (4, 64, 72) and found.dtype == np.int32
    assert model.predict_proba(images).shape == (4, 64, 72, 2)


def test_no_distance_is_computed(pairs, monkeypatch):
    def refuse(labels):
        raise AssertionError("the distance costs time and is of no use")

    monkeypatch.setattr(_pixels, "distance_target", refuse)
    images, masks = pairs
    model = RegionSegmenter(**QUICK).fit(images, masks)
    assert model.predict_proba(images).shape == (4, 64, 72, 2)


def test_regions_have_classes_where_the_masks_do(pairs):
    images, masks = pairs
    images = np.repeat(images, 3, axis=-1)
    kinds = np.where(masks > 2, 7, 3) * (masks > 0)
    images[..., 0] -= 0.3 * (kinds == 7)
    stacked = np.stack([masks, kinds], axis=-1)
    settings = {**IN_RANGE, "max_epochs": 8, "jitter": 0.0}
    model = RegionSegmenter(min_area=20, **settings)
    found = model.fit(images, stacked).predict(images)
    assert model.classes_.tolist() == [3, 7]
    assert found.shape == (4, 64, 72, 2)
    assert dice(kinds == 3, found[..., 1] == 3) > 0.9
    assert dice(kinds == 7, found[..., 1] == 7) > 0.9
    assert model.predict_proba(images).shape[-1] == 3
    assert model.detect(images)[0].shape[1] == 3


def test_values_of_any_range_are_learnt_from_and_predicted(scanned, scans):
    unseen, masks = make_scans(seed=5)
    assert dice(scans[1], scanned.predict(scans[0])) > 0.8
    found = scanned.predict(unseen)
    assert dice(masks, found) > 0.8
    assert scanned.score(unseen, masks) > 0.6
    assert len(scanned.detect(unseen)) == 4
    proba = scanned.predict_proba(unseen)
    np.testing.assert_allclose(proba.sum(axis=-1), 1, atol=1e-5)
    brighter = scanned.predict_proba(unseen * 4 + 1000)
    np.testing.assert_allclose(brighter, proba, atol=1e-3)


def test_such_values_are_refused_where_a_range_is_asked_for(scans):
    images, masks = scans
    ranged = {**QUICK, "value_range": (0.0, 1.0)}
    with pytest.raises(ValueError, match="expected floats within"):
        RegionSegmenter(**ranged).fit(images, masks)
    model = RegionSegmenter(**ranged)
    model.fit(np.zeros_like(images), masks)
    with pytest.raises(ValueError, match="expected floats within"):
        model.predict(images)
    with pytest.raises(ValueError, match="expected floats within"):
        NucleiSegmenter(**QUICK).fit(images, masks)
    bad = images.copy()
    bad[1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="image 1: holds NaN"):
        RegionSegmenter(**QUICK).fit(bad, masks)


@pytest.mark.parametrize("kind", [NucleiSegmenter, RegionSegmenter])
@pytest.mark.parametrize("value_range", [(255, 0), (1.0, 1.0), (0.5,), ("a", "b")])
def test_what_is_no_range_is_refused(scans, kind, value_range):
    with pytest.raises(ValueError, match="value_range=.*None for images of any"):
        kind(value_range=value_range, **QUICK).fit(*scans)


def test_the_range_is_learnt_and_kept(scanned, scans):
    images, _ = scans
    expected = scanned.predict_proba(images)
    back = pickle.loads(pickle.dumps(scanned))
    np.testing.assert_array_equal(back.predict_proba(images), expected)
    back.set_params(value_range=(0.0, 1.0))  # of no effect before the next fit
    np.testing.assert_array_equal(back.predict_proba(images), expected)
    with pytest.raises(ValueError, match="cannot go on with value_range=.*None"):
        back.set_params(warm_start=True).fit(*scans)
    assert clone(back).value_range == (0.0, 1.0)


KINDS = {
    "distance": NucleiSegmenter(value_range=None, **QUICK),
    "voronoi": NucleiSegmenter(value_range=None, targets="voronoi", **QUICK),
    "regions": RegionSegmenter(**QUICK),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_same_twice_and_goes_on_with_any_targets(scans, kind):
    images, masks = scans
    model = clone(KINDS[kind]).set_params(early_stopping=True)
    first = model.fit(images, masks).predict_proba(images)
    again = clone(model).fit(images, masks)
    np.testing.assert_array_equal(again.predict_proba(images), first)
    again.set_params(warm_start=True).fit(images, masks)
    assert again.n_epochs_ == 2
    assert np.abs(again.predict_proba(images) - first).max() > 0


def test_regions_are_turned_and_scaled(scans, monkeypatch):
    images, masks = scans
    masks = np.stack([masks, (masks > 0) * 2], axis=-1)
    n_planes = []

    def moved(images, planes, generator):
        n_planes.append(len(planes))
        return random_affine(images, planes, generator)

    monkeypatch.setattr(_region_segmenter, "random_affine", moved)
    RegionSegmenter(**QUICK).fit(images, masks)
    assert n_planes == [2, 2]  # ids and classes, in each of two steps


def test_instance_normalisation_by_name(scans):
    images, masks = scans
    settings = {**QUICK, "network": "unet_in", "warm_start": True}
    model = RegionSegmenter(**settings)
    found = model.fit(images, masks).predict_proba(images)
    back = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(back.predict_proba(images), found)
    assert not back.network_.exact_tiling
    assert back.fit(images, masks).n_epochs_ == 2
    with pytest.raises(
        ValueError,
        match="cannot go on with another network: network was 'unet_in'",
    ):
        back.set_params(network="unet").fit(images, masks)


def test_images_smaller_than_the_patch_are_taken(scans):
    images, masks = (each[:, :40, :30] for each in scans)
    settings = {**QUICK, "patch_size": 64, "early_stopping": True}
    model = RegionSegmenter(**settings)
    assert model.fit(images, masks).predict(images).shape == (4, 40, 30)
    assert np.isfinite(model.validation_loss_curve_).all()


def test_stacks_hold_their_labels_beside_images_of_any_range(scans):
    images, masks = scans
    stacks = np.concatenate([images, masks[..., None]], axis=-1)
    by_stack = RegionSegmenter(label_channel=-1, **QUICK)
    direct = RegionSegmenter(**QUICK).fit(images, masks)
    np.testing.assert_array_equal(
        by_stack.fit(stacks).predict(stacks), direct.predict(images)
    )
    both = np.concatenate([stacks, stacks[..., -1:] * 2 - masks.max()], axis=-1)
    both[..., -1] = np.where(masks > 0, 1 + np.arange(4).reshape(4, 1, 1) % 2, 0)
    with pytest.raises(ValueError, match="seems to hold"):
        by_stack.set_params(label_channel=2).fit(both)


def test_channels_vary_each_by_itself():
    images = torch.rand((3, 4, 16, 16), generator=torch.Generator().manual_seed(1))
    images = 0.3 + 0.3 * images
    assert channel_jitter(images, 0, torch.Generator()) is images
    generator = torch.Generator().manual_seed(0)
    varied = channel_jitter(images, 1.0, generator)
    scale = varied.std((2, 3)) / images.std((2, 3))
    shift = varied.mean((2, 3)) - 0.4 - scale * (images.mean((2, 3)) - 0.4)
    assert 0.9 <= scale.min() < 0.97 and 1.03 < scale.max() <= 1.1
    assert 0.01 < shift.abs().max() <= 0.02 + 1e-6
    straight = (images - 0.4) * scale[..., None, None] + 0.4 + shift[..., None, None]
    torch.testing.assert_close(varied, straight)
    assert len(torch.unique(scale)) == 12
    strong = channel_jitter(images, 30.0, generator)
    assert strong.min() >= 0 and strong.max() <= 1


CHECKED = {**QUICK, "steps_per_epoch": 1, "pixel_size": 0.25}


# What the range of values has a part in; the others are slow.
OF_VALUES = (
    "check_bad_values_refused",
    "check_grey_images",
    "check_input_unchanged",
    "check_list_equals_array",
    "check_one_image",
    "check_paths_equal_arrays",
    "check_pickle",
    "check_seed_repeats",
    "check_tiles",
    "check_warm_start",
)


@slow_but(
    lambda _, check: check in OF_VALUES,
    parametrize_with_image_checks([NucleiSegmenter(**CHECKED, value_range=None)]),
)
def test_image_contract_of_any_range(estimator, check):
    check(estimator)
