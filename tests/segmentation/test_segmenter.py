# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from torch.nn import functional

from psmlearn.datasets import make_nuclei
from psmlearn.io import write_labels
from psmlearn.networks import UNet
from psmlearn.segmentation import NucleiDetector, NucleiSegmenter, Voronoi
from psmlearn.segmentation._losses import instance_loss, mask_loss, voronoi_loss

SMALL = {
    "max_epochs": 1,
    "steps_per_epoch": 2,
    "patch_size": 32,
    "batch_size": 2,
    "random_state": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def data():
    return make_nuclei(n_images=3, shape=(64, 80), n_nuclei=10, random_state=0)


def small_unet(in_channels, out_channels):
    return UNet(in_channels, out_channels, base_channels=8, depth=3)


def learn_easy_images(**options):
    """Return a segmenter that has really learnt, and such images and masks unseen."""
    data = make_nuclei(n_images=6, shape=(128, 128), n_nuclei=25, random_state=1)
    segmenter = NucleiSegmenter(
        max_epochs=6,
        steps_per_epoch=12,
        patch_size=64,
        batch_size=4,
        random_state=0,
        device="cpu",
        **options,
    ).fit(data.images[:4], data.masks[:4])
    return segmenter, data.images[4:], data.masks[4:]


@pytest.fixture(scope="module")
def learnt():
    return learn_easy_images(network=small_unet, learning_rate=5e-3)


@pytest.mark.slow
def test_the_default_network_learns_to_find_nuclei():
    test_it_learns_to_find_nuclei_in_unseen_images(learn_easy_images())


def test_it_learns_to_find_nuclei_in_unseen_images(learnt):
    segmenter, images, masks = learnt
    assert segmenter.score(images, masks) > 0.5
    assert segmenter.loss_curve_[-1] < 0.6 * segmenter.loss_curve_[0]
    assert segmenter.best_loss_ == min(segmenter.validation_loss_curve_)
    assert segmenter.n_epochs_ == len(segmenter.loss_curve_) == 6


def test_predictions_are_label_images_with_one_point_each(learnt):
    segmenter, images, _ = learnt
    labels = segmenter.predict(images)
    assert labels.dtype == np.int32 and labels.shape == images.shape[:3]
    points = segmenter.detect(images)
    for label, found in zip(labels, points, strict=True):
        assert np.array_equal(np.unique(label), np.arange(label.max() + 1))
        assert found.shape == (label.max(), 2)


def test_probabilities_sum_to_one_and_agree_with_the_masks(learnt):
    segmenter, images, _ = learnt
    proba = segmenter.predict_proba(images)
    assert proba.dtype == np.float32 and proba.shape == (*images.shape[:3], 2)
    np.testing.assert_allclose(proba.sum(-1), 1, atol=1e-5)
    outside = proba[..., 1][segmenter.predict(images) == 0]
    assert (outside <= segmenter.threshold).mean() > 0.98


@pytest.fixture(scope="module")
def whole(learnt):
    """An image larger than its tiles, and its probabilities in one piece."""
    segmenter, *_ = learnt
    image = make_nuclei(n_images=1, shape=(330, 290), random_state=2).images
    return image, segmenter.predict_proba(image)


@pytest.mark.parametrize("tile_size", [64, 96, 160])
def test_tiled_prediction_equals_the_whole(learnt, whole, tile_size):
    segmenter, *_ = learnt
    image, expected = whole
    segmenter.set_params(tile_size=tile_size)
    try:
        tiled = segmenter.predict_proba(image)
    finally:
        segmenter.set_params(tile_size=1024)
    np.testing.assert_allclose(tiled, expected, atol=1e-5)


def test_blank_images_come_out_empty(learnt):
    segmenter, *_ = learnt
    blank = np.full((1, 96, 96, 3), 245, np.uint8)
    assert segmenter.predict(blank).max() == 0
    assert segmenter.detect(blank)[0].shape == (0, 2)


def test_unknown_pixels_are_not_trained_on(data):
    wrong = data.masks.copy()
    wrong[:, :, 40:] = -1
    other = wrong.copy()
    patches = NucleiSegmenter(**SMALL).fit(data.images, wrong)
    again = NucleiSegmenter(**SMALL).fit(data.images, other)
    assert patches.loss_curve_ == again.loss_curve_
    labels = torch.tensor([[[1, -1], [0, -1]]])
    logits = torch.randn(1, 2, 2, 2, requires_grad=True)
    mask_loss(logits, labels).backward()
    assert (logits.grad[..., 1] == 0).all() and (logits.grad[..., 0] != 0).all()


def test_losses_equal_their_formulas():
    torch.manual_seed(0)
    outputs = torch.randn(2, 3, 4, 4)
    labels = torch.randint(-1, 4, (2, 4, 4))
    distance = torch.rand(2, 4, 4)
    known = labels >= 0
    log_p = functional.log_softmax(outputs[:, :2], 1)
    picked = torch.where(labels > 0, log_p[:, 1], log_p[:, 0])
    entropy = -picked[known].mean()
    torch.testing.assert_close(mask_loss(outputs[:, :2], labels), entropy)
    error = (outputs[:, 2] - distance).abs()[known].mean()
    torch.testing.assert_close(
        instance_loss(outputs, labels, distance), entropy + error
    )
    voronoi = torch.randint(-1, 2, (2, 4, 4)).float()
    both = voronoi_loss(outputs[:, :2], labels, distance, voronoi, weight=1.5)
    second = mask_loss(outputs[:, :2], voronoi.long())
    torch.testing.assert_close(both, entropy + 1.5 * second)
    literal = voronoi_loss(
        outputs[:, :2], labels, distance, voronoi, weight=1, mask_foreground=False
    )
    background = -log_p[:, 0][labels == 0].mean()
    torch.testing.assert_close(literal, background + second)


def test_two_stage_training_has_a_detector(data):
    segmenter = NucleiSegmenter(targets="voronoi", **SMALL)
    segmenter.fit(data.images, data.masks)
    assert isinstance(segmenter.detector_, NucleiDetector)
    assert segmenter.detector_.patch_size == 32
    assert segmenter.predict_proba(data.images).shape[-1] == 2
    own = NucleiDetector(targets="mask", merge_distance=5.0, **SMALL)
    segmenter.set_params(targets=Voronoi(detector=own)).fit(data.images, data.masks)
    assert segmenter.detector_.targets == "mask" and segmenter.detector_ is not own


def test_labels_in_a_channel_equal_labels_in_y(data):
    stacks = [
        np.dstack([image / np.float32(255), mask.astype(np.float32)])
        for image, mask in zip(data.images, data.masks, strict=True)
    ]
    plain = NucleiSegmenter(**SMALL).fit(list(data.images), list(data.masks))
    stacked = NucleiSegmenter(label_channel=-1, **SMALL).fit(stacks)
    assert plain.loss_curve_ == stacked.loss_curve_
    for a, b in zip(
        plain.predict(list(data.images)), stacked.predict(stacks), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("map_channel", "n_inputs"), [("drop", 3), ("input", 4), (0, 3)]
)
def test_map_channel_says_what_becomes_of_the_map(data, map_channel, n_inputs):
    rng = np.random.default_rng(0)
    stacks = [
        np.dstack([i / np.float32(255), rng.random(m.shape), m]).astype(np.float32)
        for i, m in zip(data.images, data.masks, strict=True)
    ]
    segmenter = NucleiSegmenter(label_channel=-1, map_channel=map_channel, **SMALL)
    segmenter.fit(stacks)
    assert segmenter.network_.in_channels == n_inputs
    assert len(segmenter.predict(stacks)) == 3


def test_warm_start_goes_on_where_fit_ended(data):
    segmenter = NucleiSegmenter(warm_start=True, **SMALL).fit(data.images, data.masks)
    before = segmenter.network_.state_dict()["head.weight"].clone()
    segmenter.fit(data.images, data.masks)
    assert segmenter.n_epochs_ == 2
    assert not torch.equal(before, segmenter.network_.state_dict()["head.weight"])


def test_pixel_size_turns_lengths_into_pixels(learnt):
    segmenter, images, _ = learnt
    coarse = [len(p) for p in segmenter.set_params(pixel_size=2.0).detect(images)]
    fine = [len(p) for p in segmenter.set_params(pixel_size=0.25).detect(images)]
    tiny = segmenter.set_params(pixel_size=0.02).detect(images)
    segmenter.set_params(pixel_size=0.25)
    # At 0.02 um a pixel everything here is smaller than the least area.
    assert sum(map(len, tiny)) == 0 and sum(coarse) >= sum(fine) > 0


def test_bad_masks_are_refused_before_training(data):
    segmenter = NucleiSegmenter(**SMALL)
    with pytest.raises(ValueError, match="requires y"):
        segmenter.fit(data.images)
    with pytest.raises(ValueError, match="image 1"):
        segmenter.fit(data.images, [data.masks[0], data.masks[1][:-1], data.masks[2]])
    with pytest.raises(ValueError, match="255"):
        segmenter.fit(data.images, [(m > 0) * 255 for m in data.masks])
    with pytest.raises(ValueError, match="-2"):
        segmenter.fit(data.images, [m - 2 for m in data.masks])
    with pytest.raises((TypeError, ValueError), match="float"):
        segmenter.fit(data.images, [m.astype(float) for m in data.masks])
    with pytest.raises(ValueError, match="2 masks|3 images"):
        segmenter.fit(data.images, data.masks[:2])
    with pytest.raises(ValueError, match="unknown"):
        segmenter.fit(data.images, np.full_like(data.masks, -1))
    with pytest.raises(ValueError, match="label_channel=7"):
        segmenter.set_params(label_channel=7).fit(data.images)
    assert not hasattr(segmenter, "network_")


def test_masks_without_objects_are_learnt_with_a_warning(data):
    segmenter = NucleiSegmenter(**SMALL)
    with pytest.warns(UserWarning, match="background only"):
        segmenter.fit(data.images, np.zeros_like(data.masks))


def test_a_factory_of_ones_own(data):
    def factory(in_channels, out_channels):
        return torch.nn.Conv2d(in_channels, out_channels, 3, padding=1)

    segmenter = NucleiSegmenter(network=factory, **SMALL)
    assert len(segmenter.fit(data.images, data.masks).predict(data.images)) == 3


def test_interrupted_fit_can_predict(data):
    class Interrupting(torch.nn.Conv2d):
        n_calls = 0

        def forward(self, x):
            if self.training:
                Interrupting.n_calls += 1
                if Interrupting.n_calls > 3:
                    raise KeyboardInterrupt
            return super().forward(x)

    segmenter = NucleiSegmenter(
        network=lambda i, o: Interrupting(i, o, 1), **{**SMALL, "max_epochs": 4}
    )
    with pytest.raises(KeyboardInterrupt):
        segmenter.fit(data.images, data.masks)
    assert segmenter.n_epochs_ == 1
    assert segmenter.predict(data.images).shape == data.masks.shape


def test_failed_training_leaves_no_fitted_estimator(data):
    class Bursting(torch.nn.Conv2d):
        def forward(self, x):
            return super().forward(x) / 0

    segmenter = NucleiSegmenter(network=lambda i, o: Bursting(i, o, 1), **SMALL)
    with pytest.raises(FloatingPointError, match="learning_rate"):
        segmenter.fit(data.images, data.masks)
    with pytest.raises(NotFittedError):
        segmenter.predict(data.images)


@pytest.mark.slow
def test_the_network_of_the_paper(data):
    segmenter = NucleiSegmenter(network="resunet34", targets="voronoi", **SMALL)
    segmenter.fit(data.images, data.masks)
    assert type(segmenter.network_).__name__ == "ResUNet34"
    assert type(segmenter.detector_.network_).__name__ == "ResUNet34"
    assert segmenter.predict(data.images).shape == data.masks.shape


def test_what_cannot_work_is_told_before_training(data):
    with pytest.raises(ValueError, match="patch_size=40 must be a multiple of 16"):
        NucleiSegmenter(**{**SMALL, "patch_size": 40}).fit(data.images, data.masks)
    with pytest.raises(ValueError, match="pixel_size"):
        NucleiSegmenter(pixel_size=[0.25], **SMALL).fit(data.images, data.masks)
    with pytest.raises(ValueError, match="map_channel=7"):
        NucleiSegmenter(map_channel=7, **SMALL).fit(data.images, data.masks)
    with pytest.raises(ValueError, match="mask 1.*label"):
        masks = [data.masks[0], data.masks[1] > 0, data.masks[2]]
        NucleiSegmenter(**SMALL).fit(data.images, masks)
    stack = np.concatenate([data.images, 255 * (data.masks[..., None] > 0)], -1)
    with pytest.raises(ValueError, match="0/255 mask"):
        NucleiSegmenter(label_channel=-1, **SMALL).fit(stack.astype(np.uint8))


def test_ids_with_gaps_and_huge_ids_train_alike(data):
    plain = NucleiSegmenter(**SMALL).fit(data.images, data.masks)
    huge = [np.where(m > 0, m * 10**7, m).astype(np.int32) for m in data.masks]
    other = NucleiSegmenter(**SMALL).fit(data.images, huge)
    assert plain.loss_curve_ == other.loss_curve_


def test_two_stages_from_a_stack_with_a_detector_of_ones_own(data):
    stacks = [
        np.dstack([i / np.float32(255), m]).astype(np.float32)
        for i, m in zip(data.images, data.masks, strict=True)
    ]
    segmenter = NucleiSegmenter(
        targets=Voronoi(detector=NucleiDetector(**SMALL)),
        label_channel=-1,
        min_area=50.0,
        **SMALL,
    ).fit(stacks)
    sizes = [np.bincount(m.ravel())[1:] for m in segmenter.predict(stacks)]
    assert all((s >= 800).all() for s in sizes)


def test_continued_training_sees_new_crops_and_keeps_the_old_network(data):
    segmenter = NucleiSegmenter(
        warm_start=True, learning_rate=1e-12, early_stopping=False, **SMALL
    ).fit(data.images, data.masks)
    before = segmenter.network_
    segmenter.fit(data.images, data.masks)
    assert segmenter.loss_curve_[0] != segmenter.loss_curve_[1]
    assert segmenter.network_ is not before
    with pytest.raises(ValueError, match="warm_start=False"):
        segmenter.set_params(targets="voronoi").fit(data.images, data.masks)


def test_parameters_set_after_fit_do_not_break_predict(learnt):
    segmenter, images, _ = learnt
    expected = segmenter.predict(images)
    changed = pickle.loads(pickle.dumps(segmenter))
    changed.set_params(targets="voronoi", network="resunet34", map_channel=0)
    np.testing.assert_array_equal(changed.predict(images), expected)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(changed)).predict(images), expected
    )


def test_masks_may_be_paths(data, tmp_path):
    paths = [str(tmp_path / f"{i}.tif") for i in range(3)]
    for path, mask in zip(paths, data.masks, strict=True):
        write_labels(path, mask)
    images = list(data.images)
    segmenter = NucleiSegmenter(**SMALL).fit(images, paths)
    assert segmenter.score(images, paths) == segmenter.score(images, list(data.masks))
