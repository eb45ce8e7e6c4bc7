# SPDX-License-Identifier: BSD-3-Clause
"""Nuclei that hardly stand out in the image, dropped in prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from psmlearn import NucleiSegmenter, PseudoLabelSegmenter
from psmlearn._images._stains import STAINS

DARK, FAINT = 0.9, 0.16
STARTS = [(20, 20), (20, 60), (60, 20), (60, 60)]


class Darkness(nn.Module):
    """Foreground and distance wherever a pixel is no glass."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.out_channels = out_channels
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        inside = 40 * (0.8 - (x[:, 1:2] * 0.25 + 0.5)) * self.scale
        rest = [torch.sigmoid(inside)] * (self.out_channels - 2)
        return torch.cat([-inside, inside, *rest], dim=1)


def image(faint=True, stain="haematoxylin"):
    amount = np.zeros((100, 100))
    for row, column in STARTS:
        amount[row : row + 16, column : column + 16] = DARK
    if faint:
        amount[80:96, 80:96] = FAINT
        amount[60:76, 60:76] = 0
    light = 10 ** -(amount[..., None] * STAINS[stain])
    return light.astype(np.float32)


def segmenter(**options):
    options = {"threshold": 0.5, "min_area": 1.0} | options
    model = NucleiSegmenter(
        network=Darkness, max_epochs=1, steps_per_epoch=1, patch_size=32, **options
    )
    labels = np.zeros((100, 100), np.int32)
    labels[20:36, 20:36] = 1
    model.set_params(batch_size=2, learning_rate=1e-6, early_stopping=False)
    return model.set_params(random_state=0).fit([image()], [labels])


def found(mask):
    places = [*STARTS, (80, 80)]
    return [bool(mask[row + 8, column + 8]) for row, column in places]


def test_the_faint_one_is_dropped():
    model = segmenter()
    everything = model.predict([image()])[0]
    assert found(everything) == [True, True, True, False, True]
    kept = model.set_params(min_prominence=0.5).predict([image()])[0]
    assert found(kept) == [True, True, True, False, False]
    assert kept.dtype == np.int32 and np.unique(kept).tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(kept > 0, (everything > 0) & (kept > 0))
    # Where all are alike, all are usual; and nothing at all is no error.
    alike = model.predict([image(faint=False)])[0]
    assert found(alike) == [True, True, True, True, False]
    assert not model.predict([np.ones((50, 60, 3), np.float32)])[0].any()


def test_detect_and_score_see_it_too():
    model = segmenter(min_prominence=0.5)
    assert len(model.detect([image()])[0]) == 3
    truth = model.predict([image()])[0]
    assert model.score([image()], [truth]) == 1.0


def test_grey_images_have_it_too():
    grey = image()[..., 1:2].repeat(2, axis=-1)[..., :1]

    class Grey(Darkness):
        def forward(self, x):
            return super().forward(x.repeat(1, 2, 1, 1))

    labels = np.zeros((100, 100), np.int32)
    labels[20:36, 20:36] = 1
    model = NucleiSegmenter(
        network=Grey, max_epochs=1, steps_per_epoch=1, patch_size=32, batch_size=2
    )
    model.set_params(learning_rate=1e-6, early_stopping=False, random_state=0)
    model.set_params(min_prominence=0.5, min_area=1.0).fit([grey], [labels])
    assert found(model.predict([grey])[0]) == [True, True, True, False, False]


def test_images_of_any_range_tell_no_stain():
    with pytest.raises(ValueError, match="min_prominence=0.5 looks at the stain"):
        segmenter(min_prominence=0.5, value_range=None)
    model = segmenter(value_range=None)
    with pytest.raises(ValueError, match="set min_prominence=0"):
        model.set_params(min_prominence=0.5, threshold=0.01).predict([image()])


def test_later_rounds_learn_nothing_of_what_was_dropped():
    model = PseudoLabelSegmenter(
        lambda batch: [np.pad(np.ones((16, 16), np.int32), (20, 64))] * len(batch),
        segmenter(min_prominence=0.5),
        random_state=0,
    ).fit([image()])
    images = model._check_fit_images([image()])
    mask = model._own_masks([image()], images)[0]
    assert mask[28, 28] > 0 and mask[5, 5] == 0
    assert (mask[84:92, 84:92] == -1).all()
