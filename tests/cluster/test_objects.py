# SPDX-License-Identifier: BSD-3-Clause
"""SemanticClusterer: objects by contours, what is not sure, and confidence."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.color import rgb_from_hed

from psmlearn.cluster import SemanticClusterer
from psmlearn.datasets import make_nuclei


@pytest.fixture(scope="module")
def images():
    return make_nuclei(2, (120, 136), n_nuclei=12, random_state=3).images


def stained(amount):
    """RGB of an amount of haematoxylin in optical density, with a little noise."""
    noise = np.random.default_rng(0).normal(0, 0.004, (*amount.shape, 3))
    density = amount[..., None] * rgb_from_hed[0] / rgb_from_hed[0].sum() * 3
    return np.clip(10 ** -(0.03 + density) + noise, 0, 1).astype(np.float32)


def vesicular(shape=(160, 160), n_side=4):
    """Nuclei with a dark rim and a pale inside, and their masks."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    amount, truth = np.zeros(shape), np.zeros(shape, int)
    step = shape[0] // n_side
    for k in range(n_side**2):
        row, column = (step * (place + 0.5) for place in divmod(k, n_side))
        distance = np.hypot(rows - row, columns - column)
        amount[distance < 11] = 0.08
        amount[(distance < 11) & (distance > 8)] = 0.45
        truth[distance < 11] = k + 1
    return stained(gaussian_filter(amount, 0.8)), truth


def dice(mask, truth):
    return 2 * ((mask > 0) & (truth > 0)).sum() / ((mask > 0).sum() + (truth > 0).sum())


def test_contours_draw_nuclei_that_are_pale_inside_whole():
    image, truth = vesicular()
    how = {"max_hole_area": 0, "random_state": 0}
    by_contours = SemanticClusterer(**how).fit_predict([image])[0]
    by_clusters = SemanticClusterer(objects="clusters", **how).fit_predict([image])[0]
    assert by_contours.max() == truth.max()
    assert dice(by_contours, truth) > 0.85
    assert dice(by_clusters, truth) < 0.8


@pytest.mark.filterwarnings("ignore::psmlearn.exceptions.StainWarning")
def test_auto_draws_contours_of_one_stain_only(images):
    def masks(**how):
        return SemanticClusterer(random_state=0, **how).fit_predict(images)

    np.testing.assert_array_equal(masks(), masks(objects="contours"))
    np.testing.assert_array_equal(
        masks(classes="he")[..., 0], masks(objects="contours", classes="he")[..., 0]
    )
    for how in ({"instances": False}, {"classes": "ki67"}):
        np.testing.assert_array_equal(masks(**how), masks(objects="clusters", **how))
    assert (masks() != masks(objects="clusters")).any()


def test_contours_of_several_classes_are_refused(images):
    model = SemanticClusterer(objects="contours", classes="ki67")
    with pytest.raises(ValueError, match="objects='contours'.*'ki67' has 2"):
        model.fit(images)


@pytest.mark.parametrize("objects", ["contours", "clusters"])
def test_what_is_unsure_is_background_or_unknown(images, objects):
    model = SemanticClusterer(objects=objects, random_state=0)
    plain = model.fit_predict(images)
    assert plain.min() == 0
    told = model.set_params(unsure="unknown").fit_predict(images)
    np.testing.assert_array_equal(np.maximum(told, 0), plain)
    np.testing.assert_array_equal(told, model.predict(images))
    assert (told == -1).any()
    # The background that is left is no nuclear cluster: paler than what is unknown.
    grey = images.mean(axis=-1)
    assert grey[told == -1].mean() < grey[told == 0].mean()


def test_confidences_are_those_of_the_objects(images):
    model = SemanticClusterer(random_state=0).fit(images)
    assert len(model.confidences_) == len(images)
    for mask, confidence in zip(model.labels_, model.confidences_, strict=True):
        assert confidence.shape == (mask.max(),)
        assert (confidence > 0.3).all() and (confidence <= 2).all()
    model.set_params(objects="clusters").fit(images)
    assert [len(each) for each in model.confidences_] == [0, 0]
    assert joblib.hash(model) == joblib.hash(pickle.loads(pickle.dumps(model)))
    table = np.random.default_rng(0).random((50, 3))
    assert SemanticClusterer(random_state=0).fit(table).confidences_ == []


@pytest.mark.parametrize("unsure", ["background", "unknown"])
def test_images_of_ground_come_out_empty(unsure):
    rng = np.random.default_rng(5)
    ground = gaussian_filter(rng.normal(0.1, 0.3, (200, 200)), 6) + 0.1
    image = stained(np.maximum(ground, 0))
    model = SemanticClusterer(unsure=unsure, random_state=0)
    mask = model.fit_predict([image])[0]
    assert mask.max() == 0


def test_a_few_nuclei_on_even_ground_are_found():
    rows, columns = np.mgrid[:240, :240]
    amount = np.zeros((240, 240))
    for row, column in ((60, 60), (150, 180)):
        amount[np.hypot(rows - row, columns - column) < 10] = 0.5
    image = stained(gaussian_filter(amount, 1.0))
    assert SemanticClusterer(random_state=0).fit_predict([image])[0].max() == 2


@pytest.mark.parametrize("radius", [6, 15])
def test_the_size_of_nuclei_is_looked_up(radius):
    step = 4 * radius
    rows, columns = np.mgrid[: 5 * step, : 6 * step]
    amount = np.zeros(rows.shape)
    for k in range(30):
        row, column = (step * (place + 0.5) for place in divmod(k, 6))
        amount[np.hypot(rows - row, columns - column) < radius] = 0.4
    image = stained(gaussian_filter(amount, 0.8))
    mask = SemanticClusterer(random_state=0).fit_predict([image])[0]
    assert mask.max() == 30
    areas = np.bincount(mask.ravel())[1:]
    assert np.median(areas) == pytest.approx(np.pi * radius**2, rel=0.3)


@pytest.mark.parametrize("classes", [None, "he"])
def test_small_nuclei_keep_their_class_and_confidence(classes):
    # Below the least area of nuclei of the usual size, which follows theirs.
    rows, columns = np.mgrid[:120, :144]
    amount = np.zeros(rows.shape)
    for k in range(30):
        row, column = (24 * (place + 0.5) for place in divmod(k, 6))
        amount[np.hypot(rows - row, columns - column) < 5] = 0.4
    model = SemanticClusterer(classes=classes, min_area=6.0, random_state=0)
    model.fit([stained(gaussian_filter(amount, 0.6))])
    mask = np.atleast_3d(model.labels_[0])
    assert mask[..., 0].max() == 30 == len(model.confidences_[0])
    if classes:
        np.testing.assert_array_equal(mask[..., 1], mask[..., 0] > 0)


@pytest.mark.filterwarnings("ignore::psmlearn.exceptions.NoDataWarning")
def test_what_is_not_shown_costs_no_object_its_confidence(images):
    image = images[0].copy()
    image[:, :40] = 0  # black beside bright: nothing is shown there
    model = SemanticClusterer(random_state=0).fit([image])
    mask = model.labels_[0]
    assert mask[:, :38].max() == 0
    np.testing.assert_array_equal(np.unique(mask), np.arange(mask.max() + 1))
    assert model.confidences_[0].shape == (mask.max(),)


def test_smoothing_beyond_the_image_takes_no_time(images):
    mask = SemanticClusterer(smoothing=1e4, random_state=0).fit_predict(images[:1])[0]
    assert mask.shape == images.shape[1:3]
