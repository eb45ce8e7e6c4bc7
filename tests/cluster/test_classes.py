# SPDX-License-Identifier: BSD-3-Clause
"""Classes of nuclei by stain: who is brown, who is blue, and what is neither."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import clone

from psmlearn._images._stains import STAINS
from psmlearn.cluster import SemanticClusterer
from psmlearn.cluster._classes import drop_faint, estimate_vectors, resolve_classes
from psmlearn.datasets import make_nuclei
from psmlearn.exceptions import NoDataWarning
from psmlearn.metrics import detection_f1_score


@pytest.fixture(scope="module")
def ki67():
    return make_nuclei(3, (200, 220), n_nuclei=35, stain="ki67", random_state=3)


def _clusterer(**options):
    return SemanticClusterer(classes="ki67", random_state=0, **options)


def _class_f1(truth, masks):
    return detection_f1_score(
        list(truth), list(masks), radius=8, labels=[1, 2], average="micro"
    )


def _is_sound(mask):
    """Ids without gaps, one class an object, none outside."""
    ids, classes = mask[..., 0], mask[..., 1]
    assert mask.dtype == np.int32
    assert set(np.unique(ids)) == set(range(ids.max() + 1)) | {0}
    assert (classes[ids == 0] == 0).all() and (classes[ids > 0] > 0).all()
    for number in range(1, ids.max() + 1):
        assert len(np.unique(classes[ids == number])) == 1


def test_classes_are_named_by_stain(ki67):
    model = _clusterer().fit(ki67.images)
    masks = model.labels_
    assert masks.shape == (*ki67.images.shape[:3], 2)
    for mask in masks:
        _is_sound(mask)
    positive, negative = _class_f1(ki67.points, masks)
    assert positive > 0.9 and negative > 0.75
    assert model.classes_.tolist() == [1, 2]
    assert model.class_names_ == ["positive", "negative"]
    np.testing.assert_array_equal(model.predict(ki67.images), masks)


def test_a_global_darkness_threshold_loses_what_is_found_here(ki67):
    from scipy import ndimage as ndi
    from skimage.filters import threshold_otsu

    data = make_nuclei(
        2, (240, 240), n_nuclei=40, stain="ki67", weak=0.6, random_state=5
    )
    masks = _clusterer().fit_predict(data.images)
    found, by_darkness, n_true = 0, 0, 0
    for image, truth, mask in zip(data.images, data.masks, masks, strict=True):
        darkness = -np.log10(np.maximum(image / 255, 1 / 255)).mean(axis=-1)
        darkness = ndi.gaussian_filter(darkness, 1.5)
        dark = darkness > threshold_otsu(darkness)
        blue = truth[..., 1] == 2
        ids = truth[..., 0][blue]
        size = np.bincount(ids, minlength=ids.max() + 1)
        n_true += np.count_nonzero(size)
        half = np.maximum(size, 1) / 2
        found += (np.bincount(ids[mask[..., 0][blue] > 0], minlength=len(size)) > half)[
            1:
        ].sum()
        by_darkness += (np.bincount(ids[dark[blue]], minlength=len(size)) > half)[
            1:
        ].sum()
    assert found > 0.6 * n_true
    assert by_darkness < 0.7 * found


@pytest.mark.parametrize("background", [0.0, 3.0])
def test_brown_haze_is_no_nucleus(background):
    data = make_nuclei(
        2,
        (200, 220),
        n_nuclei=30,
        stain="ki67",
        background=background,
        random_state=4,
    )
    positive, negative = _class_f1(data.points, _clusterer().fit_predict(data.images))
    assert positive > 0.8 and negative > 0.7


@pytest.mark.parametrize(("share", "absent"), [(0.0, 1), (1.0, 2)])
def test_images_with_none_of_one_class(share, absent):
    data = make_nuclei(
        2,
        (200, 200),
        n_nuclei=30,
        stain="ki67",
        positive_fraction=share,
        random_state=6,
    )
    masks = _clusterer().fit_predict(data.images)
    scores = _class_f1(data.points, masks)
    assert scores[2 - absent] > 0.65  # the other class
    n_absent = sum(
        len(np.unique(mask[..., 0][mask[..., 1] == absent])) for mask in masks
    )
    assert n_absent <= 3


def test_artefacts_hold_no_nuclei():
    data = make_nuclei(
        2, (512, 512), n_nuclei=80, stain="ki67", artefacts=True, random_state=1
    )
    masks = _clusterer().fit_predict(data.images)
    inside = sum(
        (mask[..., 0][marks] > 0).sum()
        for mask, marks in zip(masks, data.artefacts, strict=True)
    )
    assert inside < 0.1 * data.artefacts.sum()
    assert min(_class_f1(data.points, masks)) > 0.5


def test_a_dense_nest_in_pale_stroma_is_no_fold():
    side, step, blue = 440, 22, STAINS["haematoxylin"]
    rows, columns = np.mgrid[:side, :side]
    density = np.full((side, side), 0.1)
    truth = [(r, c) for r in range(60, 380, step) for c in range(60, 380, step)]
    for row, column in truth:
        density[(rows - row) ** 2 + (columns - column) ** 2 < 100] = 0.6
    image = (255 * 10 ** -(density[..., None] * blue)).astype(np.uint8)
    mask = _clusterer().fit_predict([image])[0]
    found = [mask[row, column, 0] for row, column in truth]
    assert len(set(found) - {0}) > 0.9 * len(truth)


def test_an_empty_field_is_empty():
    rng = np.random.default_rng(0)
    white = np.full((160, 160, 3), 245, np.uint8)
    noisy = np.clip(rng.normal(240, 3, (160, 160, 3)), 0, 255).astype(np.uint8)
    stroma = make_nuclei(
        1, (160, 160), n_nuclei=0, stain="ki67", random_state=1
    ).images[0]
    for image in (white, noisy, stroma):
        assert _clusterer().fit_predict([image])[0].max() == 0


def test_the_order_of_the_stains_makes_the_ids(ki67):
    names = {"tumour": STAINS["dab"] * 3, "other": "haematoxylin"}
    same = SemanticClusterer(classes=names, random_state=0).fit(ki67.images)
    np.testing.assert_array_equal(same.labels_, _clusterer().fit_predict(ki67.images))
    assert same.class_names_ == ["tumour", "other"]


def test_three_stains(ki67):
    classes = {"brown": "dab", "pink": "eosin", "blue": "haematoxylin"}
    masks = SemanticClusterer(classes=classes, random_state=0).fit_predict(ki67.images)
    brown = sum((mask[..., 1] == 1).sum() for mask in masks)
    assert brown > 0.5 * sum((mask[..., 1] == 1).sum() for mask in ki67.masks)
    for mask in masks:
        _is_sound(mask)


def test_one_class_is_the_plain_mask():
    images = make_nuclei(2, (120, 120), n_nuclei=12, random_state=0).images
    plain = SemanticClusterer(random_state=0).fit_predict(images)
    named = SemanticClusterer(classes="he", random_state=0).fit(images)
    np.testing.assert_array_equal(named.labels_[..., 0], plain)
    np.testing.assert_array_equal(named.labels_[..., 1], plain > 0)
    assert named.class_names_ == ["nucleus"]


def test_only_brown_nuclei(ki67):
    model = SemanticClusterer(classes={"positive": "dab"}, random_state=0)
    masks = model.fit_predict(ki67.images)
    scores = _class_f1(ki67.points, masks)
    assert scores[0] > 0.7


def test_transform_stacks_ids_and_classes(ki67):
    model = _clusterer().fit(ki67.images)
    stack = model.transform(ki67.images)
    assert stack.shape == (*ki67.images.shape[:3], 5)
    np.testing.assert_array_equal(stack[..., 3:], model.labels_)
    names = ["red", "green", "blue", "mask", "class"]
    assert model.get_feature_names_out().tolist() == names


def test_min_stain_decides_who_is_positive(ki67):
    n_positive = [
        sum((mask[..., 1] == 1).sum() for mask in masks)
        for masks in (
            _clusterer(min_stain=least).fit_predict(ki67.images)
            for least in (0.12, 0.6, 2.4)
        )
    ]
    assert n_positive[0] > n_positive[1] > n_positive[2]


def test_vectors_are_found_near_the_named_ones():
    rng = np.random.default_rng(0)
    true = np.array([[0.40, 0.52, 0.76], [0.85, 0.46, 0.25]])
    true /= np.linalg.norm(true, axis=1, keepdims=True)
    named = np.stack([STAINS["dab"], STAINS["haematoxylin"]])
    which = rng.integers(2, size=(100, 100))
    density = true[which] * rng.uniform(0.5, 1.0, (100, 100, 1))
    light = (10**-density).astype(np.float32)
    np.testing.assert_allclose(estimate_vectors(light, named), true, atol=0.01)
    # Of one stain alone the other stays as named; far colours are not taken.
    blue = (10 ** -(true[1] * rng.uniform(0.3, 1, (100, 100, 1)))).astype(np.float32)
    np.testing.assert_array_equal(estimate_vectors(blue, named)[0], named[0])
    green = np.broadcast_to(np.float32([0.2, 0.9, 0.2]), (100, 100, 3)).copy()
    np.testing.assert_array_equal(estimate_vectors(green, named), named)


def test_faint_objects_go_by_contrast_and_size():
    stain = np.zeros((60, 120), np.float32)
    ids = np.zeros(stain.shape, np.int32)
    for number, (side, amount) in enumerate([(20, 0.05), (20, 0.03), (10, 0.05)], 1):
        part = np.s_[10 : 10 + side, 35 * number - 25 : 35 * number - 25 + side]
        ids[part], stain[part] = number, amount
    kept = drop_faint(ids, stain, ids == 0, least=0.04, sigma=16, diameter=20)
    assert np.unique(kept).tolist() == [0, 1]
    none = np.zeros_like(ids)
    assert (
        drop_faint(none, stain, ids == 0, least=0.04, sigma=16, diameter=20).max() == 0
    )


def test_other_stainings_are_warned_of(ki67):
    he = make_nuclei(1, (200, 220), n_nuclei=30, random_state=0).images
    with pytest.warns(UserWarning, match="image 3 looks like haematoxylin and eosin"):
        _clusterer().fit([*ki67.images, *he])
    dark = np.zeros((128, 128, 3), np.uint8)
    dark[40:60, 40:60, 2] = 200
    with pytest.warns(UserWarning, match="fluorescence"):
        _clusterer().fit([dark])
    model = _clusterer()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(ki67.images).predict(ki67.images)
    with pytest.warns(UserWarning, match="1 of 1 images"):
        model.predict(he)


def test_bad_classes_are_refused(ki67):
    with pytest.raises(ValueError, match="'classes' parameter"):
        SemanticClusterer(classes="ki-67").fit(ki67.images)
    with pytest.raises(ValueError, match="1 to 3 names"):
        SemanticClusterer(classes={}).fit(ki67.images)
    with pytest.raises(ValueError, match="'ink' is not known"):
        SemanticClusterer(classes={"a": "ink"}).fit(ki67.images)
    with pytest.raises(ValueError, match="told apart"):
        SemanticClusterer(classes={"a": "dab", "b": "dab"}).fit(ki67.images)
    with pytest.raises(ValueError, match="classes are told by colour"):
        _clusterer().fit(ki67.images[..., :1])
    with pytest.raises(ValueError, match="not known"):
        resolve_classes("brown")


def test_parameters_are_left_alone(ki67):
    classes = {"positive": "dab", "negative": "haematoxylin"}
    model = SemanticClusterer(classes=classes).fit(ki67.images)
    assert model.classes is classes and classes == clone(model).classes


def _as_floats(image):
    return image.astype(np.float32) / 255


def test_a_black_border_is_no_nucleus(ki67):
    image = _as_floats(ki67.images[0])
    framed = np.pad(image, ((3, 0), (3, 1), (0, 0)))
    model = _clusterer()
    with pytest.warns(NoDataWarning, match=r"image 0 \(3 %\)"):
        mask = model.fit_predict([framed])[0]
    assert not mask[:3].any() and not mask[:, :3].any() and not mask[:, -1].any()
    np.testing.assert_array_equal(mask[3:, 3:-1], model.fit_predict([image])[0])


def test_the_dark_edge_of_a_section_hides_no_pale_nuclei(ki67):
    image = _as_floats(ki67.images[0])
    # A tenth of the image far darker than any nucleus, and as blue.
    dark = np.concatenate([image, image[:20] * np.float32([0.02, 0.06, 0.25])])
    alone, beside = (
        len(np.unique(mask[:170, :, 0][mask[:170, :, 1] == 2]))
        for mask in (_clusterer().fit_predict([each])[0] for each in (image, dark))
    )
    assert beside >= 0.85 * alone


def test_lengths_follow_the_size_of_nuclei(ki67):
    from skimage.transform import rescale

    images = [_as_floats(image) for image in ki67.images]
    large = [rescale(image, 1.4, channel_axis=-1, order=1) for image in images]
    counts = {}
    for name, diameter in (("auto", "auto"), ("fixed", 5.0)):
        model = _clusterer(nucleus_diameter=diameter)
        counts[name] = [
            sum(mask[..., 0].max() for mask in model.fit_predict(each))
            for each in (images, large)
        ]
    ratio = {name: large / small for name, (small, large) in counts.items()}
    assert abs(ratio["auto"] - 1) < abs(ratio["fixed"] - 1)
    assert 0.9 < ratio["auto"] < 1.1


def test_few_nuclei_tell_no_size():
    data = make_nuclei(1, (160, 160), n_nuclei=6, stain="ki67", random_state=2)
    masks = [
        _clusterer(nucleus_diameter=diameter).fit_predict(data.images)
        for diameter in ("auto", 5.0)
    ]
    np.testing.assert_array_equal(*masks)


def test_a_faintly_brown_speck_is_no_nucleus():
    """The same stain in a whole nucleus makes a positive one."""
    image = np.full((120, 120, 3), 0.9, np.float32)
    rows, columns = np.mgrid[:120, :120]
    brown = np.float32([0.85, 0.76, 0.64])
    nucleus = (rows - 40) ** 2 + (columns - 40) ** 2 < 12**2
    speck = (rows - 80) ** 2 + (columns - 80) ** 2 < 5**2
    image[nucleus] = image[speck] = brown
    mask = _clusterer(nucleus_diameter=8.0, min_area=2.0).fit_predict([image])[0]
    assert mask[40, 40, 1] == 1
    assert mask[80, 80, 1] == 0


@pytest.mark.parametrize("deviation", [10, 45])
def test_noise_is_no_nucleus(deviation):
    noise = np.random.default_rng(0).normal(220, deviation, (200, 200, 3))
    image = np.clip(noise, 0, 255).astype(np.uint8)
    assert not _clusterer().fit_predict([image])[0].any()


def _stained(amounts, stain):
    """Return glass of this density of a stain, in the published colour."""
    vector = np.float32(STAINS[stain])
    vector = vector / np.linalg.norm(vector)
    light = np.float32(10) ** (-np.float32(amounts)[..., np.newaxis] * vector * 1.7)
    return np.clip(light, 0, 1).astype(np.float32)


def test_nuclei_beside_a_dark_mass_are_kept():
    rows, columns = np.mgrid[:160, :240]
    amounts = np.where(rows < 40, 1.2, 0.0)  # no nucleus is as large
    centers = [(53, column) for column in range(20, 230, 30)]
    for row, column in centers:
        amounts[np.hypot(rows - row, columns - column) < 9] = 0.3
    mask = _clusterer().fit_predict([_stained(amounts, "dab")])[0]
    assert [mask[center][1] for center in centers] == [1] * len(centers)


def test_one_chromogen_does_not_hide_another():
    rows, columns = np.mgrid[:160, :160]
    red, brown = np.array([0.21, 0.85, 0.48]), np.array(STAINS["dab"])
    centers = [(row, column) for row in (30, 80, 130) for column in (30, 80, 130)]
    density = np.zeros((160, 160, 3))
    for row, column in centers:
        for down, right in ((0, 20), (0, -20), (20, 0), (-20, 0)):
            near = np.hypot(rows - row - down, columns - column - right) < 9
            density[near] = 0.9 * red
        density[np.hypot(rows - row, columns - column) < 9] = 0.5 * brown
    model = SemanticClusterer(
        classes={"brown": "dab", "red": red.tolist(), "blue": "haematoxylin"},
        stain_vectors="named",
        nucleus_diameter=5.0,
        random_state=0,
    )
    mask = model.fit_predict([(10**-density).astype(np.float32)])[0]
    assert [mask[center][1] for center in centers] == [1] * len(centers)


def _density_image(density, seed=0):
    """An image of 8 bits of some optical densities, with a little noise."""
    light = 255 * np.power(10.0, -density)
    noise = np.random.default_rng(seed).normal(0, 1, density.shape)
    return np.clip(np.rint(light + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("hue", [(0.27, 0.57, 0.78), (0.6, 0.55, 0.55)])
def test_black_nuclei_are_whole_whatever_hue_is_left(hue):
    # In the middle of each 8 bits leave no colour but noise, or a bluish one.
    rows, columns = np.mgrid[:160, :160]
    brown, black = np.array([0.27, 0.57, 0.78]), np.array(hue)
    density = np.full((160, 160, 3), 0.02)
    expected = []
    for row, column in ((35, 40), (40, 115), (115, 45), (120, 118)):
        distance = np.hypot(rows - row, columns - column)
        density[distance < 16] = 1.2 * brown
        density[distance < 13] = 3.2 * black
        expected.append(distance < 15)
    mask = _clusterer().fit_predict([_density_image(density)])[0]
    assert not (mask[..., 1] == 2).any()
    assert len(np.unique(mask[..., 0])) == 5
    for disc in expected:
        assert len(np.unique(mask[..., 0][disc])) == 1


def test_what_is_faint_among_black_nuclei_is_negative():
    rows, columns = np.mgrid[:200, :200]
    brown = np.array([0.27, 0.57, 0.78])
    places = [(r, c) for r in (30, 80, 130) for c in (30, 80, 130, 180)]
    for strong, n_positive in ((2.4, 11), (0.7, 12)):
        density = np.full((200, 200, 3), 0.02)
        for number, (row, column) in enumerate(places):
            amount = 0.35 if number == 5 else strong
            density[np.hypot(rows - row, columns - column) < 13] = amount * brown
        mask = _clusterer().fit_predict([_density_image(density)])[0]
        classes = [int(mask[row, column, 1]) for row, column in places]
        assert classes.count(1) == n_positive
        assert classes[5] == (2 if n_positive == 11 else 1)


def test_a_black_image_is_empty():
    black = np.zeros((50, 50, 3), np.float32)
    stray = black.copy()
    stray[3, 4] = 1
    assert not _clusterer().fit_predict([black])[0].any()
    for image in (black + np.float32(0.05), stray):
        with pytest.warns(UserWarning, match="dark ground"):
            assert not _clusterer().fit_predict([image])[0].any()
