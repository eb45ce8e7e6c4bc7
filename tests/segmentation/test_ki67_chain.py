# SPDX-License-Identifier: BSD-3-Clause
"""The default chain for Ki-67, trained for a moment: from images to the index."""

from functools import partial

import numpy as np
import pytest
import torch

from psmlearn import NucleiSegmenter, PseudoLabelSegmenter
from psmlearn.datasets import make_nuclei
from psmlearn.measure import labelling_index
from psmlearn.networks import UNet
from psmlearn.segmentation import _defaults

TINY = {"max_epochs": 1, "patch_size": 64, "batch_size": 4}
# So that one short epoch is enough to know both classes.
QUICK = {"learning_rate": 2e-2, "stain_jitter": 0.2, "appearance_randomisation": 0.0}


def small_unet(in_channels, out_channels):
    return UNet(in_channels, out_channels, base_channels=8, depth=2)


@pytest.fixture(scope="module")
def data():
    return make_nuclei(
        2,
        (128, 128),
        n_nuclei=25,
        stain="ki67",
        positive_fraction=0.4,
        random_state=1,
    )


@pytest.fixture(scope="module")
def small_parts():
    """Make the default parts of the chain small; all else stays as it is."""

    def use(n_steps):
        made = dict(TINY, steps_per_epoch=n_steps)
        segmenter = partial(NucleiSegmenter, network=small_unet, **QUICK, **made)
        patch.setattr(_defaults, "NucleiSegmenter", segmenter)

    def no_map(**options):
        raise AssertionError("with classes the stains tell, and no map is made")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_defaults, "SelfActivationMapper", no_map)
        yield use


def fit(data, y=None):
    model = PseudoLabelSegmenter(classes="ki67", device="cpu", random_state=0)
    return model.fit(data.images, y)


@pytest.fixture(scope="module")
def model(data, small_parts):
    small_parts(80)
    return fit(data)


def test_the_default_chain_gives_masks_with_classes(model, data):
    assert model.labeler_.classes == "ki67"  # alone: no map is made
    assert model.segmenter_.classes_.tolist() == [1, 2]
    masks = model.predict(data.images)
    assert masks.shape == (2, 128, 128, 2) and masks.dtype == np.int32
    assert set(np.unique(masks[..., 1])) <= {0, 1, 2}
    np.testing.assert_array_equal(masks[..., 0] > 0, masks[..., 1] > 0)
    result = labelling_index(masks, min_cells=0)
    assert result.n_positive and result.n_negative and result.n_other == 0
    # The network knows both classes, too: what it says of an empty field counts.
    own = labelling_index(model.segmenter_.predict(data.images), min_cells=0)
    assert own.n_positive > 5 and own.n_negative > 5
    (alone,) = model.predict([data.images[0][:96]])
    assert alone.shape == (96, 128, 2)


def empty_fields():
    rng = np.random.default_rng(0)
    tint = np.array([0.93, 0.92, 0.95])
    yield "white", np.ones((96, 96, 3))
    yield "pale", np.full((96, 96, 3), 0.9)
    yield "tinted, with noise", np.clip(tint + rng.normal(0, 0.01, (96, 96, 3)), 0, 1)
    shade = np.linspace(0.85, 0.97, 96)[:, np.newaxis, np.newaxis]
    yield "shaded", np.broadcast_to(shade, (96, 96, 3)).copy()


@pytest.mark.parametrize(
    "image", [pytest.param(image, id=name) for name, image in empty_fields()]
)
def test_an_empty_field_has_no_nuclei_and_no_index(model, image):
    (mask,) = model.predict([image.astype(np.float32)])
    assert mask.shape == (96, 96, 2) and not mask.any()
    assert not model.segmenter_.predict([image.astype(np.float32)])[0].any()
    assert len(model.detect([image.astype(np.float32)])[0]) == 0
    with pytest.warns(UserWarning, match="there is no index"):
        result = labelling_index([mask])
    assert result.n_cells == 0 and np.isnan(result.index)


def test_an_empty_field_among_others_adds_no_counts(model, data):
    masks = list(model.predict([*data.images, np.full((128, 128, 3), 240, np.uint8)]))
    alone = labelling_index(masks[:2], min_cells=0)
    beside = labelling_index(masks, min_cells=0)
    assert (alone.n_positive, alone.n_negative) == (
        beside.n_positive,
        beside.n_negative,
    )
    assert beside.n_fields == 2 and "there is no index" in beside.table["warnings"][2]


def test_labels_are_never_read(data, small_parts):
    """The same weights without labels, with the truth, and with what is no label."""

    class Unreadable:
        def __getattribute__(self, name):
            raise AssertionError(f"y was looked at: {name}")

    small_parts(2)
    expected, *others = (
        fit(data, y).segmenter_.network_.state_dict()
        for y in (None, data.masks, Unreadable())
    )
    for found in others:
        assert found.keys() == expected.keys()
        for name, weights in expected.items():
            assert torch.equal(found[name], weights), name
