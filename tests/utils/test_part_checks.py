# SPDX-License-Identifier: BSD-3-Clause
"""The public checks of pretexts and labelers: only what is sound passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.measure import label
from small_estimators import make_labeler

from psmlearn import SemanticClusterer
from psmlearn.activation import Pretext
from psmlearn.activation._pretexts import PRETEXTS
from psmlearn.utils.estimator_checks import check_labeler, check_pretext


@pytest.mark.parametrize("name", PRETEXTS)
def test_our_pretexts_pass(name):
    check_pretext(PRETEXTS[name]())


class Sound(Pretext):
    """Regress the mean of a crop, times a factor."""

    def __init__(self, *, factor=2.0, augment=True):
        super().__init__(augment=augment)
        self.factor = factor

    def targets(self, patches):
        return self.factor * patches.mean(axis=(1, 2, 3))

    def loss(self, network, crops, targets, generator):
        return (network(self.view(crops, generator))[:, 0] - targets).square().mean()


class Changes(Sound):
    def __init__(self, *, factor=2.0, augment=True):
        super().__init__(factor=float(factor) + 1, augment=augment)


class Deaf(Sound):
    def loss(self, network, crops, targets, generator):
        return targets.square().mean()


class Many(Sound):
    def loss(self, network, crops, targets, generator):
        return network(crops)[:, 0] - targets


class Wild(Sound):
    def loss(self, network, crops, targets, generator):
        return super().loss(network, crops, targets, generator) + torch.rand(())


class Wide(Sound):
    def targets(self, patches):
        return patches.mean(axis=(1, 2))


class Greedy(Sound):
    def targets(self, patches):
        patches += 1
        return super().targets(patches)


class Mute(Sound):
    n_outputs = 0


def test_a_sound_pretext_passes():
    check_pretext(Sound(factor=3.0))


@pytest.mark.parametrize(
    ("pretext", "message"),
    [
        (Changes(), "Cannot clone object Changes"),
        (Deaf(), "does not depend on the network"),
        (Many(), "expected a finite scalar"),
        (Wild(), "global stream"),
        (Wide(), r"shape \(4, 3\) for 4 patches"),
        (Greedy(), "writes to the patches"),
        (Mute(), "n_outputs is 0"),
        (object(), "is no psmlearn.activation.Pretext"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_broken_pretext_is_told(pretext, message):
    with pytest.raises((AssertionError, RuntimeError), match=message):
        check_pretext(pretext)


def dark(images):
    return [label(image[..., 0] < 0.5) for image in images]


@pytest.mark.parametrize(
    "labeler", [dark, SemanticClusterer(n_samples=400), make_labeler()]
)
def test_sound_labelers_pass(labeler):
    check_labeler(labeler)


def somewhere(image, rng):
    """One object, anywhere."""
    mask = np.zeros(image.shape[:2], np.int32)
    row, column = rng.integers(0, 8, 2)
    mask[row : row + 5, column : column + 5] = 1
    return mask


def test_broken_labelers_are_told():
    rng = np.random.default_rng(0)
    with pytest.raises(AssertionError, match="differ from call to call"):
        check_labeler(lambda images: [somewhere(image, rng) for image in images])
    with pytest.raises(ValueError, match="mask 0 has size"):
        check_labeler(lambda images: [mask[1:] for mask in dark(images)])
    with pytest.raises((TypeError, ValueError), match="float"):
        check_labeler(lambda images: [image[..., 0] for image in images])
