# SPDX-License-Identifier: BSD-3-Clause
"""A made scan: one bright subject in noisy air."""

from __future__ import annotations

import numpy as np


def make_scan(*, air=4.0, seed=0, side=64, black=10):
    """A head in a field of noise, black in a part of the side; two channels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    distance = np.hypot(rows, columns) / side
    head = distance < 0.35
    image = np.abs(rng.normal(0, air, (side, side, 2)))
    image[head] = rng.normal(60, 6, (int(head.sum()), 2))
    image[head & (distance > 0.31)] += 100  # the skull
    image[:, : side // black] = image[:, -(side // black) :] = 0
    return image.astype(np.float32), head


def overlap(found, true):
    return (found & true).sum() / (found | true).sum()
