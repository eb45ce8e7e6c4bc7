# SPDX-License-Identifier: BSD-3-Clause
"""Stacks of ids and classes whose class_channel was not given."""

import warnings

import numpy as np
import pytest

from psmlearn import SemanticClusterer
from psmlearn.datasets import make_nuclei
from psmlearn.io import check_images
from psmlearn.networks import UNet
from psmlearn.segmentation import NucleiDetector, NucleiSegmenter
from psmlearn.segmentation._masks import refuse_forgotten_classes


def small_unet(in_channels, out_channels):
    return UNet(in_channels, out_channels, base_channels=8, depth=3)


SMALL = {
    "network": small_unet,
    "max_epochs": 1,
    "steps_per_epoch": 1,
    "patch_size": 32,
    "batch_size": 2,
    "random_state": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def data():
    return make_nuclei(3, (64, 80), n_nuclei=10, stain="ki67", random_state=0)


@pytest.fixture(scope="module")
def stacks(data):
    clusterer = SemanticClusterer(classes="ki67", random_state=0)
    stacks = clusterer.fit_transform(data.images)
    assert stacks.shape[-1] == 5 and stacks[..., 3].max() > 2
    return stacks


def with_map(stacks):
    plane = np.random.default_rng(0).random((*stacks.shape[:-1], 1), np.float32)
    return np.concatenate([stacks[..., :3], plane, stacks[..., 3:]], axis=-1)


def as_bytes(stacks):
    parts = [np.rint(stacks[..., :-2] * 255), stacks[..., -2:]]
    return np.concatenate(parts, axis=-1).astype(np.uint8)


@pytest.mark.parametrize("estimator", [NucleiSegmenter, NucleiDetector])
@pytest.mark.parametrize("change", [np.asarray, with_map, as_bytes, list])
@pytest.mark.parametrize(
    ("label_channel", "what"), [(-1, "channel -2.*ids"), (-2, "channel -1.*classes")]
)
def test_a_forgotten_class_channel_is_told(
    stacks, estimator, change, label_channel, what
):
    model = estimator(label_channel=label_channel, **SMALL)
    with pytest.raises(ValueError, match=what) as caught:
        model.fit(change(stacks))
    assert "Pass label_channel=-2, class_channel=-1" in str(caught.value)


def test_one_class_is_warned_of(stacks):
    """Its channel might be a mask that is meant as an input, or that cut the image."""
    one = stacks.copy()
    one[..., 4] = one[..., 4] > 0
    with pytest.warns(UserWarning, match="class_channel=-1"):
        NucleiSegmenter(label_channel=-2, **SMALL).fit(one)
    one = (one * [255, 255, 255, 1, 1]).astype(np.uint8)
    # A plane of one class is refused as ids, too.
    with pytest.warns(UserWarning, match="Pass label_channel=-2, class_channel=-1"):
        with pytest.raises(ValueError, match="one value, 1, in .* separate pieces"):
            NucleiSegmenter(label_channel=-1, **SMALL).fit(one)


def test_nuclei_of_unknown_class_are_no_disguise(stacks):
    some = stacks.copy()
    some[..., 4][some[..., 3] == 1] = 0
    with pytest.raises(ValueError, match="class_channel=-1"):
        NucleiSegmenter(label_channel=-2, **SMALL).fit(some)


def legitimate(data):
    """Stacks whose other channels are inputs."""
    rng = np.random.default_rng(0)
    images = data.images / np.float32(255)
    ids = data.masks[..., :1].astype(np.float32)
    noise = rng.random(ids.shape, np.float32)
    inside = ids > 0
    flat = np.where(inside, images.mean(axis=-1, keepdims=True).round(1), 0)
    yield "image, map, ids", [images, noise, ids]
    yield "image, ids", [images, ids]
    yield "binary map, ids", [images, (noise > 0.5).astype(np.float32), ids]
    yield "map cut to the nuclei, ids", [images, noise * inside, ids]
    yield "constant map, ids", [images, np.ones_like(noise), ids]
    yield "black channel, ids", [images, np.zeros_like(noise), ids]
    yield "nuclei on black, ids", [np.repeat(flat, 3, axis=-1), ids]
    yield "eroded mask, ids", [images, inside & np.roll(inside, 1, axis=1), ids]


def test_legitimate_stacks_raise_no_alarm(data):
    for name, planes in legitimate(data):
        X = np.concatenate(planes, axis=-1).astype(np.float32)
        in_bytes = np.concatenate([X[..., :-1] * 255, X[..., -1:]], axis=-1)
        for stack in (X, in_bytes.round().astype(np.uint8)):
            batch = check_images(stack, label_channel=-1)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                refuse_forgotten_classes(batch, -1, name)
            moved = np.roll(stack, 1, axis=-1)
            refuse_forgotten_classes(check_images(moved, label_channel=0), 0, name)


def test_flat_nuclei_on_black_are_an_image(data):
    """Grey values that tell the object, as in drawings: 8 bits, one grey each."""
    ids = data.masks[..., 0]
    for grey in (200 * (ids > 0), np.where(ids > 0, 90 + 15 * ids, 0)):
        image = np.repeat(grey[..., None], 3, axis=-1)
        stack = np.concatenate([image, ids[..., None]], axis=-1).astype(np.uint8)
        refuse_forgotten_classes(check_images(stack, label_channel=-1), -1, "test")


def test_images_that_are_wrong_otherwise_are_told_as_such(stacks):
    bad = stacks.copy()
    bad[..., 0] *= 300
    bad[..., 3:] = bad[..., 4:]
    bad[:, :8, :8, 4] = 3
    with pytest.raises(ValueError, match="divide by"):
        NucleiSegmenter(label_channel=-1, **SMALL).fit(bad)
