# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pytest
from sklearn.base import clone

from psmlearn.datasets import make_nuclei
from psmlearn.metrics import aggregated_jaccard_score, detection_f1_score
from psmlearn.networks import UNet
from psmlearn.segmentation import NucleiDetector, NucleiSegmenter, Voronoi
from psmlearn.utils import estimator_checks


def small_unet(in_channels, out_channels):
    return UNet(in_channels, out_channels, base_channels=8, depth=3)


SMALL = {
    "network": small_unet,
    "max_epochs": 1,
    "steps_per_epoch": 2,
    "patch_size": 32,
    "batch_size": 2,
    "random_state": 0,
    "device": "cpu",
}
LONGER = {
    **SMALL,
    "max_epochs": 8,
    "steps_per_epoch": 15,
    "patch_size": 64,
    "batch_size": 4,
    "learning_rate": 5e-3,
}


@pytest.fixture(scope="module")
def data():
    return make_nuclei(3, (64, 80), n_nuclei=10, stain="ki67", random_state=0)


@pytest.fixture(scope="module")
def easy():
    return make_nuclei(
        6,
        (128, 128),
        n_nuclei=25,
        stain="ki67",
        positive_fraction=0.4,
        random_state=1,
    )


@pytest.fixture(scope="module")
def learnt(easy):
    return NucleiSegmenter(**LONGER).fit(easy.images[:4], easy.masks[:4])


def test_it_learns_both_classes_of_unseen_images(learnt, easy):
    images, masks = easy.images[4:], easy.masks[4:]
    found = learnt.predict(images)
    f1 = detection_f1_score(masks, found, radius=8, labels=[1, 2])
    assert (f1 > 0.7).all()
    np.testing.assert_array_equal(learnt.classes_, [1, 2])
    ids = aggregated_jaccard_score(masks[..., 0], found[..., 0])
    by_class = aggregated_jaccard_score(masks, found, labels=[1, 2])
    assert learnt.score(images, masks) == pytest.approx(by_class.mean()) and ids > 0.5
    assert learnt.score(images, masks[..., 0]) == ids


def test_masks_points_and_probabilities_have_classes(learnt, easy):
    found = learnt.predict(easy.images[4:])
    assert found.dtype == np.int32 and found.shape == easy.masks[4:].shape
    proba = learnt.predict_proba(easy.images[4:])
    assert proba.dtype == np.float32 and proba.shape == (*found.shape[:3], 3)
    np.testing.assert_allclose(proba.sum(-1), 1, atol=1e-5)
    points = learnt.detect(easy.images[4:])
    for mask, p, each in zip(found, proba, points, strict=True):
        ids, classes = mask[..., 0], mask[..., 1]
        np.testing.assert_array_equal(ids > 0, classes > 0)
        assert each.shape == (ids.max(), 3) and each.dtype == float
        for number in range(1, ids.max() + 1):
            summed = p[ids == number, 1:].sum(0)
            expected = learnt.classes_[summed.argmax()]
            assert (classes[ids == number] == expected).all()
            assert each[number - 1, 2] == expected
            rows, columns = np.nonzero(ids == number)
            np.testing.assert_allclose(
                each[number - 1, :2], (rows.mean(), columns.mean())
            )


def test_blank_images_come_out_empty(learnt):
    blank = [np.full((70, 96, 3), 245, np.uint8)]
    mask = learnt.predict(blank)[0]
    assert mask.shape == (70, 96, 2) and mask.max() == 0
    assert learnt.detect(blank)[0].shape == (0, 3)


def test_tiled_prediction_equals_the_whole(learnt):
    image = make_nuclei(1, (210, 170), stain="ki67", random_state=2).images
    whole = learnt.predict_proba(image)
    tiled = pickle.loads(pickle.dumps(learnt)).set_params(tile_size=64)
    np.testing.assert_allclose(tiled.predict_proba(image), whole, atol=1e-5)


def test_pickles_and_clones_keep_the_classes(learnt, easy):
    copied = pickle.loads(pickle.dumps(learnt))
    np.testing.assert_array_equal(copied.classes_, learnt.classes_)
    np.testing.assert_array_equal(
        copied.predict(easy.images[:1]), learnt.predict(easy.images[:1])
    )
    assert not hasattr(clone(learnt), "classes_")


@pytest.mark.slow
def test_two_stages_learn_classes(easy):
    segmenter = NucleiSegmenter(targets="voronoi", **LONGER)
    segmenter.fit(easy.images[:4], easy.masks[:4])
    np.testing.assert_array_equal(segmenter.detector_.classes_, [1, 2])
    found = segmenter.predict(easy.images[4:])
    f1 = detection_f1_score(easy.masks[4:], found, radius=8, labels=[1, 2])
    assert (f1 > 0.6).all()


@pytest.mark.parametrize("mask_foreground", [True, False])
def test_two_stages_as_in_the_paper(data, mask_foreground):
    segmenter = NucleiSegmenter(
        targets=Voronoi(
            mask_foreground=mask_foreground,
            detector=NucleiDetector(targets="mask", merge_distance=5.0, **SMALL),
        ),
        **SMALL,
    ).fit(data.images, data.masks)
    assert segmenter.predict_proba(data.images).shape[-1] == 3
    assert segmenter.predict(data.images).shape == data.masks.shape


def test_a_detector_without_classes_leaves_them_to_the_mask(data):
    class Centres(NucleiDetector):
        def fit(self, X, y=None):
            return self

        def predict(self, X):
            return [points[:, :2] for points in data.points]

    segmenter = NucleiSegmenter(targets=Voronoi(detector=Centres()), **SMALL)
    segmenter.fit(data.images, data.masks)
    assert segmenter.predict(data.images).shape == data.masks.shape


def test_class_ids_and_object_ids_may_be_any(data):
    plain = NucleiSegmenter(**SMALL).fit(data.images, data.masks)
    table = np.array([0, 2, 5], np.int32)
    other = data.masks.copy()
    other[..., 0] *= 1000
    other[..., 1] = table[other[..., 1]]
    renamed = NucleiSegmenter(**SMALL).fit(data.images, other)
    assert renamed.loss_curve_ == plain.loss_curve_
    np.testing.assert_array_equal(renamed.classes_, [2, 5])
    expected = plain.predict(data.images)
    expected[..., 1] = table[expected[..., 1]]
    np.testing.assert_array_equal(renamed.predict(data.images), expected)


def test_one_class_and_images_without_one(data):
    single = data.masks.copy()
    single[..., 1] = np.minimum(single[..., 1], 1) * 7
    segmenter = NucleiSegmenter(**SMALL).fit(data.images, single)
    assert segmenter.classes_.tolist() == [7]
    assert segmenter.predict_proba(data.images).shape[-1] == 2
    assert set(np.unique(segmenter.predict(data.images)[..., 1])) <= {0, 7}

    uneven = data.masks.copy()
    uneven[0, ..., 1] = np.minimum(uneven[0, ..., 1], 1)  # one class in this image
    uneven[1] = 0  # and no object in that one
    segmenter = NucleiSegmenter(**SMALL).fit(data.images, uneven)
    assert segmenter.classes_.tolist() == [1, 2]
    assert np.isfinite(segmenter.loss_curve_).all()
    true = np.zeros_like(data.masks)
    assert segmenter.set_params(min_area=1e6).score(data.images, true) == 1


@pytest.mark.slow
def test_objects_of_unknown_class_are_nuclei_all_the_same(easy):
    masks = easy.masks[:4].copy()
    masks[:3, ..., 1] = np.where(masks[:3, ..., 0] % 2, masks[:3, ..., 1], 0)
    masks[3, ..., 1] = -1
    segmenter = NucleiSegmenter(**LONGER).fit(easy.images[:4], masks)
    assert segmenter.classes_.tolist() == [1, 2]
    found = segmenter.predict(easy.images[4:])
    assert aggregated_jaccard_score(easy.masks[4:, ..., 0], found[..., 0]) > 0.5
    assert (
        detection_f1_score(easy.masks[4:], found, radius=8, labels=[1, 2]) > 0.6
    ).all()


def test_masks_that_tell_no_class_are_refused(data):
    masks = data.masks.copy()
    masks[..., 1] = 0
    with pytest.raises(ValueError, match="class of every object is unknown"):
        NucleiSegmenter(**SMALL).fit(data.images, masks)
    some = [data.masks[0], data.masks[1][..., 0], data.masks[2]]
    with pytest.raises(ValueError, match="mask 0 has a plane.*mask 1 has none"):
        NucleiSegmenter(**SMALL).fit(data.images, some)
    masks[..., 1] = -3
    with pytest.raises(ValueError, match="-3"):
        NucleiSegmenter(**SMALL).fit(data.images, masks)


def test_classes_in_a_channel_equal_classes_in_y(data):
    rng = np.random.default_rng(0)
    stacks = [
        np.dstack([image / np.float32(255), rng.random(mask.shape[:2]), mask])
        for image, mask in zip(data.images, data.masks, strict=True)
    ]
    stacks = [stack.astype(np.float32) for stack in stacks]
    plain = NucleiSegmenter(**SMALL).fit(list(data.images), list(data.masks))
    options = {"label_channel": -2, "class_channel": -1, **SMALL}
    stacked = NucleiSegmenter(**options).fit(stacks)
    assert plain.loss_curve_ == stacked.loss_curve_
    assert stacked.network_.in_channels == 3
    for a, b in zip(
        plain.predict(list(data.images)), stacked.predict(stacks), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    two_stages = NucleiSegmenter(targets="voronoi", **options).fit(stacks)
    assert two_stages.predict(stacks)[0].shape == (64, 80, 2)
    detector = NucleiDetector(**options).fit(stacks)
    assert detector.classes_.tolist() == [1, 2]


def test_class_channels_that_cannot_be_are_told(data):
    stacks = np.concatenate([data.images, data.masks.astype(np.uint8)], axis=-1)
    with pytest.raises(ValueError, match="class_channel=-1 needs label_channel"):
        NucleiSegmenter(class_channel=-1, **SMALL).fit(stacks)
    with pytest.raises(ValueError, match="class_channel=4.*left for it"):
        NucleiSegmenter(label_channel=-1, class_channel=4, **SMALL).fit(stacks)
    with pytest.raises(ValueError, match="label_channel=9"):
        NucleiSegmenter(label_channel=-2, class_channel=9, **SMALL).fit(stacks)
    segmenter = NucleiSegmenter(label_channel=-2, class_channel=-1, **SMALL)
    assert segmenter.fit(stacks).network_.in_channels == 3


def test_warm_start_keeps_to_its_classes(data):
    segmenter = NucleiSegmenter(warm_start=True, **SMALL)
    segmenter.fit(data.images, data.masks)
    other = data.masks.copy()
    other[..., 1] *= 2
    with pytest.raises(ValueError, match=r"\[1, 2\]; y now holds \[2, 4\]"):
        segmenter.fit(data.images, other)
    with pytest.raises(ValueError, match="y now holds none"):
        segmenter.fit(data.images, data.masks[..., 0])
    fewer = data.masks.copy()
    fewer[..., 1] = np.minimum(fewer[..., 1], 1)
    assert segmenter.fit(data.images, fewer).classes_.tolist() == [1, 2]
    assert segmenter.n_epochs_ == 2
    segmenter.set_params(warm_start=False).fit(data.images, data.masks[..., 0])
    assert segmenter.classes_ is None
    assert segmenter.predict(data.images).shape == data.masks.shape[:3]
    with pytest.raises(ValueError, match=r"there, none; y now holds \[1, 2\]"):
        segmenter.set_params(warm_start=True).fit(data.images, data.masks)


@pytest.mark.slow
def test_nuclei_of_a_rare_class_are_found():
    data = make_nuclei(
        10,
        (96, 96),
        n_nuclei=14,
        stain="ki67",
        positive_fraction=[0.08] * 5 + [0.4] * 5,
        background=2.0,
        random_state=1,
    )
    images, masks = data.images[5:], data.masks[5:]
    found = {}
    for weight in (None, "balanced"):
        segmenter = NucleiSegmenter(class_weight=weight, **LONGER)
        segmenter.fit(data.images[:5], data.masks[:5])
        predicted = segmenter.predict(images)
        found[weight] = detection_f1_score(masks, predicted, radius=8, labels=1)
    assert found["balanced"] > 0.5 and found["balanced"] > found[None] + 0.1


def test_class_weight_changes_what_is_learnt(data):
    curves = [
        NucleiSegmenter(class_weight=weight, **SMALL)
        .fit(data.images, data.masks)
        .loss_curve_
        for weight in (None, "sqrt", "balanced", {1: 3.0}, {1: 1.0, 2: 1.0})
    ]
    assert len({tuple(curve) for curve in curves}) == 4 and curves[0] == curves[4]
    with pytest.raises(ValueError, match=r"class_weight holds the classes \[7\]"):
        NucleiSegmenter(class_weight={7: 1.0}, **SMALL).fit(data.images, data.masks)


class WithClasses(NucleiSegmenter):
    """Gives every other object of masks without classes another class."""

    def fit(self, X, y=None):
        y = [m if np.ndim(m) != 2 else np.dstack([m, (m > 0) + m % 2]) for m in y]
        return super().fit(X, y)


@pytest.mark.parametrize(
    "check",
    [
        "check_list_equals_array",
        "check_input_unchanged",
        "check_seed_repeats",
        "check_pickle",
        pytest.param("check_memory_map", marks=pytest.mark.slow),
        pytest.param("check_memory_released", marks=pytest.mark.slow),
        "check_interrupt",
        "check_tiles",
        "check_warm_start",
    ],
)
def test_image_checks_with_classes(check):
    getattr(estimator_checks, check)("WithClasses", WithClasses(**SMALL))
