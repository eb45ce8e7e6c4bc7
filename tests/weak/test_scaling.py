# SPDX-License-Identifier: BSD-3-Clause
"""The values of a subject on one scale."""

from __future__ import annotations

import numpy as np

from psmlearn import ClassActivationMapper
from psmlearn.weak._subject import center_and_scale
from psmlearn.weak._training import WorkingImages
from tests.scans import make_scan, overlap

SIDE = 64


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
