# SPDX-License-Identifier: BSD-3-Clause
"""Label pairs for the tests of the metrics."""

import numpy as np
import pytest
from scipy import ndimage


def draw_discs(points, shape, radius):
    """Draw a label image of discs that touch where they are closer than two radii."""
    background = np.ones(shape, dtype=bool)
    ids = np.zeros(shape, dtype=np.int32)
    background[points[:, 0], points[:, 1]] = False
    ids[points[:, 0], points[:, 1]] = np.arange(1, len(points) + 1)
    distance, (row, column) = ndimage.distance_transform_edt(
        background, return_indices=True
    )
    return np.where(distance <= radius, ids[row, column], 0).astype(np.int32)


def make_label_pair(size, n_objects, *, radius=11.0, shift=4, random_state=0):
    """Draw touching discs, and the same ones shifted, a tenth lost and a tenth new."""
    rng = np.random.default_rng(random_state)
    points = rng.integers(0, size, (n_objects, 2))
    moved = points + rng.integers(-shift, shift + 1, points.shape)
    moved = np.clip(moved[rng.random(n_objects) > 0.1], 0, size - 1)
    extra = rng.integers(0, size, (n_objects // 10, 2))
    shape = (size, size)
    true = draw_discs(np.unique(points, axis=0), shape, radius)
    pred = draw_discs(np.unique(np.vstack([moved, extra]), axis=0), shape, radius)
    return true, pred


@pytest.fixture(scope="session")
def label_pair():
    """Give the maker of label pairs."""
    return make_label_pair


@pytest.fixture(scope="module")
def any_pieces():
    """Let masks of noise pass, in which one id lies in several pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("psmlearn.metrics._checks.stencil_problem", lambda mask: None)
        yield
