# SPDX-License-Identifier: BSD-3-Clause
"""A nucleus has the class of most of its pixels, whoever asks."""

from __future__ import annotations

import numpy as np
import pytest

from psmlearn.inspection import LabellingIndexDisplay, overlay_labels
from psmlearn.measure import find_hotspot, labelling_index, nuclei_table
from psmlearn.metrics import (
    aggregated_jaccard_score,
    count_error,
    detection_f1_score,
    hausdorff_distance,
    object_dice_score,
    object_f1_score,
    panoptic_quality_score,
    segmentation_report,
)
from psmlearn.segmentation._classes import mask_points

# Pixels of each class in a nucleus of 12, and the class it has.
MIXED = {
    "one pixel of another": ({1: 11, 2: 1}, 1),
    "the last pixels of another": ({2: 7, 1: 5}, 2),
    "halves": ({2: 6, 1: 6}, 1),
    "thirds": ({3: 4, 1: 4, 2: 4}, 1),
    "most without a class": ({0: 9, 2: 3}, 2),
    "most unknown": ({-1: 9, 2: 3}, 2),
    "without, unknown and two": ({0: 5, -1: 4, 1: 1, 2: 2}, 2),
    "no class at all": ({0: 12}, 0),
    "none or unknown": ({-1: 11, 0: 1}, 0),
    "unknown": ({-1: 12}, -1),
}


def draw(counts, n_nuclei=6):
    """Draw nuclei of 3 x 4 pixels, of so many pixels of each class in turn."""
    labels = np.zeros((30, 40, 2), np.int32)
    classes = np.repeat(list(counts), list(counts.values())).reshape(3, 4)
    for index in range(n_nuclei):
        row, column = 2 + 10 * (index // 3), 2 + 10 * (index % 3)
        place = np.s_[row : row + 3, column : column + 4]
        labels[place] = np.stack([np.full((3, 4), index + 1), classes], axis=-1)
    return labels


@pytest.mark.parametrize("kind", MIXED)
def test_tables_and_counts_agree(kind):
    counts, expected = MIXED[kind]
    labels = draw(counts)
    assert nuclei_table(labels)["class"].tolist() == [expected] * 6
    assert mask_points(labels)[:, 2].tolist() == [expected] * 6
    result = labelling_index([labels], min_cells=0)
    found = (result.n_positive, result.n_negative, result.n_other)
    assert found == (6 * (expected == 1), 6 * (expected == 2), 6 * (expected < 1))
    if expected > 0:
        where = {"area": 3e-4, "pixel_size": 1.0, "min_cells": 4}
        spot = find_hotspot([labels], **where)
        wanted = [labels[..., 0], np.where(labels[..., 0] > 0, expected, 0)]
        plain = find_hotspot([np.stack(wanted, axis=-1)], **where)
        assert spot.to_dict() == plain.to_dict()


@pytest.mark.parametrize("kind", MIXED)
def test_pictures_agree(kind):
    counts, expected = MIXED[kind]
    labels = draw(counts)
    image = np.zeros((30, 40, 3), np.uint8)
    colors = {-1: (9, 9, 9), 0: (7, 7, 7), 1: (255, 0, 0), 2: (0, 0, 255), 3: (0, 9, 0)}
    picture = overlay_labels(image, labels, class_colors=colors)
    drawn = {tuple(each) for each in picture[picture.any(axis=-1)].tolist()}
    assert drawn == {colors[expected]}
    if expected in (1, 2):
        display = LabellingIndexDisplay.from_predictions(image, labels, min_cells=0)
        colors = [
            tuple(h.get_markerfacecolor())
            for h in display.ax_.get_legend().legend_handles
        ]
        seen = np.asarray(display.im_.get_array())
        assert tuple(seen[2, 2] / 255) == pytest.approx(colors[expected - 1])
        assert len({tuple(p) for p in seen[2, 2:6].tolist()}) == 1


SCORES = [
    aggregated_jaccard_score,
    object_dice_score,
    object_f1_score,
    panoptic_quality_score,
    detection_f1_score,
]


@pytest.mark.parametrize("kind", [k for k, (c, _) in MIXED.items() if -1 not in c])
def test_scores_by_class_agree(kind):
    counts, expected = MIXED[kind]
    labels, whole = draw(counts), draw({expected: 12})
    classes = [1, 2, 3]
    right = [float(c == expected) for c in classes]
    for score in SCORES:
        got = score([whole], [labels], labels=classes, zero_division=0.0)
        assert got.tolist() == right, score.__name__
        assert (
            score([labels], [whole], labels=classes, zero_division=0.0).tolist()
            == right
        )
    assert hausdorff_distance([whole], [labels], labels=classes).tolist() == [0.0] * 3
    assert count_error([whole], [labels], labels=classes).tolist() == [0.0] * 3
    if expected > 0:
        report = segmentation_report(
            [whole], [labels], labels=classes, output_dict=True
        )
        for name, row in report["classes"].items():
            of_class = row.get("label", name) == expected
            assert row["support"] == 6 * of_class
            assert row["n_pred_objects"] == 6 * of_class
