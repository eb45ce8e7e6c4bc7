# SPDX-License-Identifier: BSD-3-Clause
"""Ten times the objects on ten times the pixels take ten times as long, or so."""

from __future__ import annotations

import time

import numpy as np
import pytest

from psmlearn._images._instances import fill_holes_per_label
from psmlearn._images._peaks import peaks_apart
from psmlearn.inspection import overlay_labels
from psmlearn.measure import nuclei_table

# What grows with the square takes a hundred times as long.
_MOST = 40


def rings(n_side):
    """Rings in 10 x 10 pixels each, with ids that lie anywhere, and their image."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:10, :10] - 4.5
    distance = np.hypot(rows, columns)
    ids = rng.permutation(n_side**2).astype(np.int32).reshape(n_side, n_side) + 1
    labels = np.kron(ids, ((distance > 1) & (distance < 4.6)).astype(np.int32))
    return labels, rng.random(labels.shape, dtype=np.float32)


FUNCTIONS = {
    "fill_holes_per_label": lambda labels, _: fill_holes_per_label(labels),
    "overlay_labels": lambda labels, image: overlay_labels(image, labels),
    "peaks": lambda _, image: peaks_apart(image, 2, 0.5),
    "nuclei_table": lambda labels, _: nuclei_table(labels),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_time_is_linear_in_objects(name):
    seconds = []
    for n_side, n_times in ((40, 5), (126, 3)):
        given = rings(n_side)
        taken = []
        for _ in range(n_times):
            start = time.process_time()
            FUNCTIONS[name](*given)
            taken.append(time.process_time() - start)
        seconds.append(min(taken))
    # Below some milliseconds the clock tells little.
    assert seconds[1] < _MOST * max(seconds[0], 0.003), seconds
