# SPDX-License-Identifier: BSD-3-Clause
import pickle
from dataclasses import replace

import numpy as np
import pytest

from psmlearn.datasets import make_nuclei
from psmlearn.metrics import detection_f1_score
from psmlearn.networks import UNet
from psmlearn.segmentation import NucleiDetector
from psmlearn.segmentation._rasters import nearest_values


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


@pytest.fixture(scope="module")
def data():
    return make_nuclei(3, (64, 80), n_nuclei=10, stain="ki67", random_state=0)


@pytest.mark.parametrize("targets", ["heatmap", "mask"])
def test_probabilities_are_those_that_points_come_from(data, targets):
    y = data.masks if targets == "mask" else data.points
    detector = NucleiDetector(**SMALL, targets=targets).fit(data.images, y)
    found = detector.predict_proba(data.images)
    assert found.shape == (3, 64, 80, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    # What the classes weighed is taken back: a heavier one is no likelier for it.
    frozen = detector._frozen
    weights, detector._frozen = frozen.weights, replace(frozen, weights=None)
    raw = detector.predict_proba(data.images)
    ratio = (raw[..., 1] / raw[..., 2]) / (found[..., 1] / found[..., 2])
    np.testing.assert_allclose(ratio, weights[0] / weights[1], rtol=1e-3)
    detector._frozen = frozen


@pytest.mark.parametrize(
    ("targets", "kind"),
    [
        ("heatmap", "points"),
        pytest.param("heatmap", "masks", marks=pytest.mark.slow),
        pytest.param("mask", "masks", marks=pytest.mark.slow),
    ],
)
def test_it_learns_where_nuclei_of_each_class_are(targets, kind):
    data = make_nuclei(
        6,
        (128, 128),
        n_nuclei=25,
        stain="ki67",
        positive_fraction=0.4,
        random_state=1,
    )
    detector = NucleiDetector(
        **{
            **SMALL,
            "max_epochs": 8,
            "steps_per_epoch": 25,
            "learning_rate": 5e-3,
            "patch_size": 64,
            "batch_size": 4,
        },
        targets=targets,
    ).fit(data.images[:4], list(data[kind][:4]))
    points = detector.predict(data.images[4:])
    assert all(p.shape[1] == 3 and p.dtype == float for p in points)
    f1 = detection_f1_score(data.points[4:], points, radius=8, labels=[1, 2])
    assert (f1 > 0.6).all()


def test_points_may_have_any_classes_or_unknown_ones(data):
    points = [p * [1, 1, 3] for p in data.points]  # the classes 3 and 6
    points[0][::2, 2] = 0
    points[1] = np.empty((0, 3))
    detector = NucleiDetector(**SMALL, threshold=0.05).fit(data.images, points)
    assert detector.classes_.tolist() == [3, 6]
    found = np.concatenate(detector.predict(data.images))
    assert len(found) and set(found[:, 2]) <= {3.0, 6.0}
    again = pickle.loads(pickle.dumps(detector)).predict(data.images)
    np.testing.assert_array_equal(np.concatenate(again), found)
    # An array of no point at all says nothing of classes.
    points[1] = np.empty((0, 2))
    other = NucleiDetector(**SMALL).fit(data.images, points)
    assert other.loss_curve_ == detector.loss_curve_


def test_points_without_points_have_three_columns(data):
    detector = NucleiDetector(**SMALL, smoothing=0.0, threshold=0.9999)
    detector.fit(data.images, data.points)
    assert all(p.shape == (0, 3) for p in detector.predict(data.images))


def test_merged_points_are_of_the_likelier_class(data):
    detector = NucleiDetector(**SMALL, merge_distance=5.0, smoothing=0.0)
    detector.fit(data.images, data.points)
    scores = np.zeros((40, 40, 2), np.float32)
    scores[10, 10], scores[10, 20] = (0.6, 0.3), (0.05, 0.9)
    scores[38, 10] = (0.5, 0.4)
    found = detector.set_params(pixel_size=0.25)._peaks(scores, 0.25)
    assert sorted(map(tuple, found)) == [(10, 15, 2), (38, 10, 1)]


def test_bad_classes_of_points_are_refused(data):
    detector = NucleiDetector(**SMALL)
    for value in (0.5, np.nan, -2):
        points = [p.copy() for p in data.points]
        points[2][0, 2] = value
        with pytest.raises(ValueError, match="image 2.*(whole numbers|NaN)"):
            detector.fit(data.images, points)
    mixed = [data.points[0], data.points[1][:, :2], data.points[2]]
    with pytest.raises(ValueError, match="some images have a column"):
        detector.fit(data.images, mixed)
    nothing = [np.empty((0, 3))] * 3
    with pytest.raises(ValueError, match="class of every object is unknown"):
        detector.fit(data.images, nothing)
    assert not hasattr(detector, "network_")


def test_partial_fit_keeps_to_its_classes(data):
    detector = NucleiDetector(**SMALL).partial_fit(data.images, data.points)
    one = [p[p[:, 2] == 1] for p in data.points]
    assert detector.partial_fit(data.images, one).classes_.tolist() == [1, 2]
    other = [p + [0, 0, 1] for p in data.points]
    with pytest.raises(ValueError, match=r"there, \[1, 2\]; y now holds \[2, 3\]"):
        detector.partial_fit(data.images, other)
    assert detector.n_epochs_ == 2


def test_every_pixel_has_the_value_of_the_nearest_point():
    rng = np.random.default_rng(0)
    points, values = rng.uniform(0, 20, (9, 2)), rng.integers(1, 5, 9)
    found = nearest_values(points, values, (21, 21))
    pixels = np.floor(points + 0.5)
    grid = np.indices((21, 21)).reshape(2, -1).T
    distance = ((grid[:, None] - pixels) ** 2).sum(-1)
    nearest = distance == distance.min(1, keepdims=True)
    # Of points at one distance any may be meant.
    assert (nearest & (values == found.reshape(-1, 1))).any(1).all()
    assert (nearest_values(np.empty((0, 2)), [], (3, 4)) == 0).all()
