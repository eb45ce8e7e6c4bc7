# SPDX-License-Identifier: BSD-3-Clause
"""What of an image is its subject, where the ground is not flat."""

from __future__ import annotations

import numpy as np
import pytest

from psmlearn._images._standardise import foreground
from psmlearn._images._subject import subject_within
from psmlearn.io._batch import check_images
from psmlearn.io._standardised import StandardisedBatch
from tests.scans import make_scan, overlap

SIDE = 64


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


def test_many_bright_things_are_no_subject():
    rng = np.random.default_rng(0)
    image = np.abs(rng.normal(0, 4, (96, 96, 1)))
    rows, columns = np.mgrid[:96, :96]
    for row in (20, 48, 76):
        for column in (20, 48, 76):
            image[np.hypot(rows - row, columns - column) < 8] += 60
    assert subject_within(image, np.ones((96, 96), bool)).all()


def test_standardised_images_are_measured_within_the_subject():
    # So much black that a constant is the ground, and the noisy air subject.
    quiet, noisy = (make_scan(air=air, black=8)[0] for air in (0.5, 8.0))
    _, head = make_scan()
    assert overlap(foreground(noisy), head) < 0.7
    batch = StandardisedBatch(check_images([quiet, noisy], value_range=None))
    for index in range(2):
        assert overlap(batch.foreground(index), head) > 0.9
    inner = np.hypot(*(np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2)) < 0.3 * SIDE
    assert abs(batch[0] - batch[1])[inner].mean() < 0.02
