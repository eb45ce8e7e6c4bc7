# SPDX-License-Identifier: BSD-3-Clause
"""No data is not dark tissue: what an image does not show counts nowhere."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image
from small_estimators import (
    SMALL,
    EvenOddMapper,
    make_labeler,
    make_small,
)

from psmlearn import (
    NucleiDetector,
    NucleiSegmenter,
    RegionSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn._engine._crops import PatchSampler
from psmlearn.datasets import make_nuclei
from psmlearn.exceptions import NoDataWarning, StainWarning
from psmlearn.io import check_image, check_images
from psmlearn.measure import labelling_index, nuclei_table, stain_intensity
from psmlearn.preprocessing import StainNormalizer, TissueDetector, tissue_mask

SHAPE = (96, 112)
ROWS, COLUMNS = np.mgrid[: SHAPE[0], : SHAPE[1]]
EMPTY = {
    "left": COLUMNS < 11,
    "lower third": ROWS >= 64,
    "corner": ROWS + COLUMNS < 40,
    "frame": (ROWS < 3) | (ROWS > 90) | (COLUMNS < 6) | (COLUMNS > 100),
}


@pytest.fixture(scope="module")
def data():
    return make_nuclei(3, SHAPE, n_nuclei=12, random_state=6)


def _black(image, empty):
    image = image.copy()
    image[empty] = 0
    return image


def _transparent(image, empty):
    """Whatever colour lies below, alpha 0 is nothing."""
    alpha = np.where(empty, 0, 255).astype(np.uint8)
    below = np.where(empty[..., np.newaxis], np.uint8((40, 10, 60)), image)
    return np.dstack([below, alpha])


MAKE = {"black": _black, "transparent": _transparent}


def _spoilt(images, kind, how):
    return [MAKE[how](image, EMPTY[kind]) for image in images]


# -- the batch -------------------------------------------------------------------


@pytest.mark.parametrize("how", MAKE)
@pytest.mark.parametrize("kind", EMPTY)
def test_a_batch_knows_what_is_shown(data, kind, how):
    with pytest.warns(NoDataWarning, match="3 of 3 image.*image 0"):
        batch = check_images(_spoilt(data.images, kind, how))
    empty = EMPTY[kind]
    for index in range(3):
        np.testing.assert_array_equal(~batch.shown(index), empty)
        assert (batch[index][empty] == 1).all()
        np.testing.assert_array_equal(
            batch[index][~empty], data.images[index][~empty] / np.float32(255)
        )
        np.testing.assert_array_equal(
            batch.crop(index, 5, 2, 70, 50), batch[index][5:75, 2:52]
        )
    for other in (batch[1:], batch.subset([2, 1]), pickle.loads(pickle.dumps(batch))):
        np.testing.assert_array_equal(~other.shown(1), empty)
    assert not batch.shows_nothing(0)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_every_dtype_comes_white(data, dtype):
    factor = 257 if dtype == np.uint16 else dtype(1 / 255)
    image = data.images[0].astype(dtype) * factor
    image[:, -9:] = 0
    with pytest.warns(NoDataWarning):
        batch = check_images([image.astype(dtype)])
    assert (batch[0][:, -9:] == 1).all()


def test_files(data, tmp_path):
    pixels = _transparent(data.images[0], EMPTY["corner"])
    Image.fromarray(pixels).save(tmp_path / "a.png")

    def tiles():
        for index in range(9):
            yield None if index == 4 else np.full((16, 16, 3), 150 + index, np.uint8)

    tifffile.imwrite(
        tmp_path / "sparse.tif",
        tiles(),
        shape=(48, 48, 3),
        dtype=np.uint8,
        tile=(16, 16),
        photometric="rgb",
        compression="zlib",
    )
    with pytest.warns(NoDataWarning, match="2 of 2"):
        batch = check_images([tmp_path / "a.png", tmp_path / "sparse.tif"])
    np.testing.assert_array_equal(~batch.shown(0), EMPTY["corner"])
    missing = np.zeros((48, 48), bool)
    missing[16:32, 16:32] = True
    np.testing.assert_array_equal(~batch.shown(1), missing)
    assert (batch[1][missing] == 1).all()


def test_one_image_alone(data):
    with pytest.warns(NoDataWarning, match="image"):
        image = check_image(_black(data.images[0], EMPTY["left"]))
    assert (image[EMPTY["left"]] == 1).all()


def test_sound_images_are_told_nothing_of(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = check_images(data.images)
    assert all(batch.shown(i) is None for i in range(3))


# -- training --------------------------------------------------------------------


def test_patches_show_something_and_masks_are_unknown_elsewhere(data):
    spoilt = _spoilt(data.images, "lower third", "black")
    spoilt[1] = np.zeros_like(spoilt[1])
    with pytest.warns(NoDataWarning, match="2 of 3"):
        batch = check_images(spoilt)
    marked = np.arange(1, 4)[:, np.newaxis, np.newaxis] * np.ones(SHAPE, np.int32)
    sampler = PatchSampler(batch, 32, list(marked.astype(np.int32)))
    patches, masks = sampler.draw(np.random.default_rng(0), 40)
    assert set(np.unique(masks)) == {-1, 1, 3}  # never of the black image
    shares = (masks != -1).mean(axis=(1, 2))
    assert shares.min() >= 0.5 and shares.min() < 1
    assert (patches[masks == -1] == 1).all()


# -- what comes out --------------------------------------------------------------

LABELLERS = [SemanticClusterer, NucleiSegmenter, RegionSegmenter, EvenOddMapper]


@pytest.mark.parametrize("how", MAKE)
@pytest.mark.parametrize("estimator_class", LABELLERS)
def test_nothing_is_found_where_nothing_is(estimator_class, data, how):
    spoilt = _spoilt(data.images, "corner", how)
    model = make_small(estimator_class, random_state=0)
    if estimator_class is RegionSegmenter:
        masks = [(mask > 0).astype(np.int32) for mask in data.masks]
        masks = [_labelled(mask) for mask in masks]
    else:
        masks = data.masks
    with pytest.warns(NoDataWarning):
        model.fit(spoilt, list(masks))
        found = model.predict(spoilt)
    for mask in found:
        assert not np.asarray(mask)[EMPTY["corner"]].any()


def _labelled(mask):
    from skimage.measure import label

    return label(mask).astype(np.int32)


def test_no_point_lies_where_nothing_is(data):
    spoilt = _spoilt(data.images, "left", "black")
    model = make_small(NucleiDetector, random_state=0, threshold=0.01)
    points = [
        np.argwhere(np.pad(np.ones((3, 3)), 20))[:, :2].astype(float) for _ in range(3)
    ]
    with pytest.warns(NoDataWarning):
        found = model.fit(spoilt, points).predict(spoilt)
    for each in found:
        rows, columns = np.rint(each[:, :2]).astype(int).T
        assert not EMPTY["left"][rows, columns].any()


def test_maps_are_dark_where_nothing_is(data):
    model = make_small(SelfActivationMapper, random_state=0)
    with pytest.warns(NoDataWarning):
        stacks = model.fit_transform(_spoilt(data.images, "corner", "transparent"))
    for stack in stacks:
        assert (stack[EMPTY["corner"]] == [1, 1, 1, 0]).all()


def test_a_pipeline_finds_nothing_there(data):
    model = make_labeler().set_params(maps__random_state=0, masks__random_state=0)
    with pytest.warns(NoDataWarning):
        masks = model.fit_predict(_spoilt(data.images, "left", "black"))
    for mask in masks:
        assert not mask[EMPTY["left"]].any()


@pytest.mark.parametrize("classes", [None, "ki67"])
@pytest.mark.parametrize("scope", ["image", "all"])
def test_a_strip_changes_nothing_beside_it(classes, scope):
    stain = "he" if classes is None else classes
    images = make_nuclei(2, SHAPE, n_nuclei=14, stain=stain, random_state=1).images
    model = SemanticClusterer(classes=classes, fit_scope=scope, random_state=0)
    with pytest.warns(NoDataWarning):
        padded = model.fit_predict(
            [np.pad(x, ((7, 0), (0, 9), (0, 0))) for x in images]
        )
    alone = model.fit_predict(list(images))
    for found, expected in zip(padded, alone, strict=True):
        np.testing.assert_array_equal(found[7:, :-9], expected)
        assert not found[:7].any() and not found[:, -9:].any()


@pytest.mark.parametrize("kind", ["corner", "lower third"])
def test_the_rest_is_found_as_on_white(data, kind):
    from psmlearn.metrics import dice_score

    empty = EMPTY[kind]
    truth = [np.where(empty, 0, mask) for mask in data.masks]
    scores = {}
    for value in (0, 255):
        images = [image.copy() for image in data.images]
        for image in images:
            image[empty] = value
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoDataWarning)
            found = SemanticClusterer(random_state=0).fit_predict(images)
        scores[value] = dice_score(truth, found)
    assert scores[0] > scores[255] - 0.03


def test_tissue_and_stains(data):
    spoilt = _spoilt(data.images, "left", "black")
    with pytest.warns(NoDataWarning):
        masks = TissueDetector().fit(spoilt).predict(spoilt)
    assert not any(mask[EMPTY["left"]].any() for mask in masks)
    fitted = StainNormalizer(random_state=0).fit(data.images)
    with pytest.warns(NoDataWarning):
        again = StainNormalizer(random_state=0).fit(spoilt)
    np.testing.assert_allclose(again.stains_, fitted.stains_, atol=0.02)
    with pytest.warns(NoDataWarning):
        values = stain_intensity(spoilt, data.masks)
    assert all(np.isfinite(each).all() for each in values)


@pytest.mark.parametrize("estimator_class", sorted(SMALL, key=lambda c: c.__name__))
def test_images_that_show_nothing_at_all(estimator_class, data):
    images = [*data.images, np.zeros((64, 72, 3), np.uint8)]
    masks = [*data.masks, np.zeros((64, 72), np.int32)]
    model = make_small(estimator_class)
    model.set_params(random_state=0)
    if estimator_class is NucleiDetector:
        masks = [np.array([[20.0, 20.0], [50.0, 50.0]])] * 4
    model.fit(images, masks)
    if estimator_class is SelfActivationMapper:
        assert not model.transform(images)[3][..., 3].any()
    else:
        assert not np.asarray(model.predict(images)[3]).any()


@pytest.mark.parametrize("fusion", ["concat", "jet"])
@pytest.mark.parametrize("classes", [None, "ki67"])
def test_shared_clusters_pass_over_images_that_show_nothing(classes, fusion):
    stain = "he" if classes is None else classes
    images = list(
        make_nuclei(2, SHAPE, n_nuclei=14, stain=stain, random_state=1).images
    )
    images.append(np.zeros((64, 72, 3), np.uint8))
    if fusion == "jet":
        rng = np.random.default_rng(0)
        images = [
            np.dstack([x / 255, rng.random(x.shape[:2]) * x.any()]).astype(np.float32)
            for x in images
        ]
    model = SemanticClusterer(
        fit_scope="all", classes=classes, fusion=fusion, random_state=0
    ).fit(images)
    alone = SemanticClusterer(
        fit_scope="all",
        classes=classes,
        fusion=fusion,
        random_state=0,
    ).fit(images[:2])
    np.testing.assert_array_equal(model.cluster_centers_, alone.cluster_centers_)
    masks = model.predict(images)
    assert not masks[2].any()
    np.testing.assert_array_equal(masks[0], alone.predict(images[:2])[0])
    assert model.score(images) == alone.score(images[:2])


# -- measures --------------------------------------------------------------------


@pytest.mark.parametrize("how", MAKE)
def test_nuclei_that_are_not_shown_have_no_intensity(how):
    data = make_nuclei(1, SHAPE, n_nuclei=16, stain="ki67", random_state=2)
    image, mask, empty = data.images[0], data.masks[0], EMPTY["lower third"]
    whole = stain_intensity([image], [mask])[0]
    with pytest.warns(NoDataWarning):
        values = stain_intensity([MAKE[how](image, empty)], [mask])[0]
        table = nuclei_table(mask, MAKE[how](image, empty))
    ids = np.unique(mask[..., 0])[1:]
    shares = np.array([empty[mask[..., 0] == number].mean() for number in ids])
    assert (shares == 1).any() and ((shares > 0) & (shares < 1)).any()
    np.testing.assert_array_equal(np.isnan(values), shares == 1)
    np.testing.assert_array_equal(np.isnan(table["mean_haematoxylin_od"]), shares == 1)
    np.testing.assert_allclose(values[shares == 0], whole[shares == 0])
    # Of a nucleus that is cut, the part that is shown is measured: no white is.
    cut = (shares > 0) & (shares < 0.5)
    np.testing.assert_allclose(values[cut], whole[cut], rtol=0.35)
    points = np.array([[80.0, 50.0], [20.0, 50.0]])
    with pytest.warns(NoDataWarning):
        discs = stain_intensity([MAKE[how](image, empty)], [points], radius=4)[0]
    assert np.isnan(discs[0]) and np.isfinite(discs[1])


def test_the_score_is_that_of_what_is_shown():
    data = make_nuclei(1, SHAPE, n_nuclei=24, stain="ki67", random_state=4)
    image, mask = data.images[0], data.masks[0]
    upper, classes = mask[:64], {"min_cells": 0}
    alone = stain_intensity([image[:64]], [upper])
    expected = labelling_index([upper], intensity=alone, **classes).h_score
    with pytest.warns(NoDataWarning):
        values = stain_intensity([_black(image, EMPTY["lower third"])], [mask])
    found = labelling_index([mask], intensity=values, **classes).h_score
    assert found == pytest.approx(expected, abs=3)


# -- other ways in ---------------------------------------------------------------


def test_a_stack_with_labels(data):
    empty = EMPTY["left"]
    stacks = [
        np.dstack([_black(image, empty) / 255, mask]).astype(np.float32)
        for image, mask in zip(data.images, data.masks, strict=True)
    ]
    with pytest.warns(NoDataWarning):
        batch = check_images(stacks, label_channel=-1)
    np.testing.assert_array_equal(~batch.shown(0), empty)
    assert (batch[0][empty][:, :3] == 1).all()
    np.testing.assert_array_equal(batch[0][..., 3], data.masks[0])


def test_images_of_any_range_that_have_the_colours_of_a_slide(data):
    empty = EMPTY["lower third"]
    with pytest.warns(NoDataWarning):
        batch = check_images(
            _spoilt(data.images, "lower third", "black"), value_range=None
        )
    np.testing.assert_array_equal(~batch.shown(0), empty)
    grey = [_black(x, empty).mean(axis=2, keepdims=True) for x in data.images]
    assert check_images(grey, value_range=None).shown(0) is None  # a scan in air


def test_two_channels_of_which_one_is_alpha(data):
    grey = data.images[0].mean(axis=2).astype(np.uint8)
    alpha = np.where(EMPTY["corner"], 0, 255).astype(np.uint8)
    with pytest.warns(NoDataWarning):
        batch = check_images([np.dstack([grey, alpha])])
    assert batch.n_channels == 1
    np.testing.assert_array_equal(~batch.shown(0), EMPTY["corner"])
    assert check_images([np.dstack([grey, grey])]).n_channels == 2


def test_functions_of_one_image(data):
    with pytest.warns(NoDataWarning):
        tissue = tissue_mask(_black(data.images[0], EMPTY["left"]))
    assert not tissue[EMPTY["left"]].any()


# -- dark ground -----------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 4])
@pytest.mark.parametrize(
    "make", ["grey", "one channel", "blue", "green", "ki67", "colours"]
)
def test_bright_nuclei_on_a_dark_ground_are_told(make, seed):
    stain = "ki67" if make == "ki67" else "he"
    data = make_nuclei(2, (128, 128), n_nuclei=20, stain=stain, random_state=seed)
    images = []
    for image in data.images:
        level = 255 - image.mean(axis=2, keepdims=True)
        if make == "colours":
            level = 255 - image
        weights = {"blue": (0, 0, 1), "green": (0, 1, 0.2), "one channel": (1,)}
        images.append((level * weights.get(make, (1, 1, 1))).astype(np.uint8))
    with pytest.warns(StainWarning, match="brightfield.*bright on a dark ground"):
        SemanticClusterer(random_state=0).fit_predict(images)


@pytest.mark.parametrize("channels", ["grey", "colour"])
def test_brightfield_is_told_nothing_of(channels, data):
    images = list(data.images)
    if channels == "grey":
        images = [x.mean(axis=2, keepdims=True).astype(np.uint8) for x in images]
    SemanticClusterer(random_state=0).fit_predict(images)
