# SPDX-License-Identifier: BSD-3-Clause
"""What of an image is its subject, and its values on one scale."""

from __future__ import annotations

import numpy as np
import pytest

from psmlearn import ClassActivationMapper
from psmlearn._images._standardise import foreground
from psmlearn.weak._subject import center_and_scale, subject_within
from psmlearn.weak._training import WorkingImages

SIDE = 64


def make_scan(*, air=4.0, seed=0, side=SIDE):
    """A head in a field of noise, which is black at the sides; two channels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    distance = np.hypot(rows, columns) / side
    head = distance < 0.35
    image = np.abs(rng.normal(0, air, (side, side, 2)))
    image[head] = rng.normal(60, 6, (int(head.sum()), 2))
    image[head & (distance > 0.31)] += 100  # the skull
    image[:, : side // 10] = image[:, -(side // 10) :] = 0
    return image.astype(np.float32), head


def overlap(found, true):
    return (found & true).sum() / (found | true).sum()


@pytest.mark.parametrize("side", [SIDE, 300])
def test_noise_around_the_subject_is_left_out(side):
    scan, head = make_scan(side=side, air=8.0)
    whole = np.ones(head.shape, bool)
    assert overlap(subject_within(scan, whole), head) > 0.9
    found = subject_within(scan, foreground(scan))
    assert overlap(found, head) > 0.9
    # Only what was subject before can be it.
    assert not (found & ~foreground(scan)).any()


@pytest.mark.parametrize("sign", [1, -1])
def test_tissue_that_fills_the_frame_stays(sign):
    rng = np.random.default_rng(0)
    image = sign * rng.normal(50, 5, (SIDE, SIDE, 2))
    image[20:40, 20:40] += 40
    whole = np.ones(image.shape[:2], bool)
    assert subject_within(image, whole).all()
    assert subject_within(np.zeros((SIDE, SIDE, 1)), whole).all()
    assert not subject_within(image, ~whole).any()


def test_bright_ground_stays():
    image, head = make_scan()
    whole = np.ones(head.shape, bool)
    assert subject_within(200 - image, whole).all()


def test_scale_is_that_of_the_subject():
    scan, head = make_scan()
    placed = center_and_scale(scan, head)
    assert placed.dtype == np.float32 and (placed[~head] == 0).all()
    np.testing.assert_allclose(np.median(placed[head], axis=0), 0, atol=1e-5)
    other = center_and_scale(scan * [3, 500] + [-7, 1000], head)
    np.testing.assert_allclose(placed, other, atol=1e-3)
    assert placed.min() >= -4 and placed.max() <= 6
    assert not center_and_scale(np.full_like(scan, 7), head).any()


def test_missing_part_of_a_channel_is_neutral():
    scan, head = make_scan()
    expected = center_and_scale(scan, head)
    scan[: SIDE // 2, :, 1] = 0
    placed = center_and_scale(scan, head)
    np.testing.assert_array_equal(placed[..., 0], expected[..., 0])
    assert not placed[: SIDE // 2, :, 1].any()
    # What is there is as bright as before, within the noise of its own median.
    below = np.s_[SIDE // 2 + 3 :, :, 1]
    np.testing.assert_allclose(placed[below], expected[below], atol=0.6)
    # Few pixels at the lowest value are no missing part.
    scan, head = make_scan()
    scan[30:32, 30:32] = 0
    assert (center_and_scale(scan, head)[30:32, 30:32] == -4).all()


def test_noisy_air_changes_what_the_network_sees_but_little():
    mapper = ClassActivationMapper(patch_size=SIDE)
    images = [make_scan(air=air)[0] for air in (0.5, 8.0)]
    batch = mapper._check_images(images, reset=True, value_range=None)
    working = WorkingImages(batch, SIDE)
    _, head = make_scan()
    for inside in working.inside.numpy():
        assert overlap(inside, head) > 0.9
    inner = np.hypot(*(np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2)) < 0.3 * SIDE
    quiet, noisy = working.images.float().numpy()[..., inner]
    assert abs(quiet - noisy).mean() < 0.2
