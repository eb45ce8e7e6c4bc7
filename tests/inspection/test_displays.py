# SPDX-License-Identifier: BSD-3-Clause
"""The display objects."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from skimage.io import imsave

from psmlearn.inspection import (
    ActivationMapDisplay,
    SegmentationDisplay,
    TrainingCurveDisplay,
    overlay_labels,
)

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("figure")


class FixedEstimator:
    """Stands for a fitted estimator: a square nucleus, a map that is a ramp."""

    loss_curve_ = (0.9, 0.5, 0.4)

    def predict(self, images):
        labels = [np.zeros(image.shape[:2], dtype=np.int32) for image in images]
        for mask in labels:
            mask[2:6, 2:6] = 1
        return labels

    def transform(self, images):
        ramps = [np.linspace(0, 1, i.shape[0] * i.shape[1]) for i in images]
        ramps = [r.reshape(i.shape[:2]) for r, i in zip(ramps, images, strict=True)]
        return [
            np.concatenate([image, ramp[..., np.newaxis]], axis=2)
            for image, ramp in zip(images, ramps, strict=True)
        ]


@pytest.fixture
def image():
    return np.random.default_rng(0).random((12, 10, 3))


def test_segmentation_display_shows_the_overlay(image):
    display = SegmentationDisplay.from_estimator(FixedEstimator(), image)
    labels = FixedEstimator().predict([image])[0]
    assert_array_equal(display.im_.get_array(), overlay_labels(image, labels))
    assert display.ax_.get_title() == "1 nucleus"
    assert display.figure_ is display.ax_.figure


def test_segmentation_display_draws_on_given_axes(image, figure):
    axes = figure.subplots(1, 2)
    labels = FixedEstimator().predict([image])[0]
    display = SegmentationDisplay.from_predictions(
        image, labels, ax=axes[1], title="mine", color=(0, 0, 255)
    )
    assert display.ax_ is axes[1]
    assert axes[1].get_title() == "mine"
    assert not axes[0].images


def test_true_outlines_lie_below(image):
    labels = FixedEstimator().predict([image])[0]
    truth = np.roll(labels, 4, axis=0)
    display = SegmentationDisplay.from_predictions(
        image, labels, true_labels=truth, color=(255, 0, 0), true_color=(0, 255, 0)
    )
    picture = display.im_.get_array()
    assert_array_equal(picture[2, 2], [255, 0, 0])
    assert_array_equal(picture[9, 5], [0, 255, 0])


def test_displays_read_a_path(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    imsave(tmp_path / "tissue.png", pixels, check_contrast=False)
    labels = np.zeros((12, 10), dtype=np.int32)
    display = SegmentationDisplay.from_predictions(tmp_path / "tissue.png", labels)
    assert_array_equal(display.im_.get_array(), pixels)
    assert display.ax_.get_title() == "0 nuclei"


def test_map_display_shows_the_last_channel(image):
    display = ActivationMapDisplay.from_estimator(FixedEstimator(), image)
    ramp = np.linspace(0, 1, 120).reshape(12, 10)
    assert_array_equal(display.activation_map, ramp)
    assert display.im_.get_clim() == (0.0, 1.0)
    assert len(display.ax_.images) == 1


def test_map_display_over_the_image(image):
    display = ActivationMapDisplay.from_maps(
        image, np.zeros((12, 10)), alpha=0.4, colorbar=True, low=None, high=None
    )
    assert len(display.ax_.images) == 2
    assert len(display.figure_.axes) == 2


def test_map_of_another_size_is_refused(image):
    with pytest.raises(ValueError, match="pass the map of this image"):
        ActivationMapDisplay.from_maps(image, np.zeros((3, 3)))


def test_several_images_are_refused():
    with pytest.raises(ValueError, match=r"pass one: images\[0\]"):
        SegmentationDisplay.from_estimator(FixedEstimator(), np.zeros((2, 8, 8, 3)))


def test_training_curves_share_axes():
    first = TrainingCurveDisplay.from_estimator(FixedEstimator())
    second = TrainingCurveDisplay([0.3, 0.2], name="other").plot(first.ax_)
    assert second.ax_ is first.ax_
    assert_array_equal(first.line_.get_xdata(), [1, 2, 3])
    assert_array_equal(first.line_.get_ydata(), [0.9, 0.5, 0.4])
    names = [text.get_text() for text in first.ax_.get_legend().get_texts()]
    assert names == ["FixedEstimator", "other"]


def test_training_curve_shows_what_was_held_out():
    estimator = FixedEstimator()
    estimator.validation_loss_curve_ = [0.8, 0.6, 0.7]
    display = TrainingCurveDisplay.from_estimator(estimator, name="net", color="red")
    assert_array_equal(display.validation_line_.get_ydata(), [0.8, 0.6, 0.7])
    assert display.validation_line_.get_color() == display.line_.get_color() == "red"
    assert display.validation_line_.get_label() == "net, held out"
    estimator.validation_loss_curve_ = []
    assert TrainingCurveDisplay.from_estimator(estimator).validation_line_ is None


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (SegmentationDisplay.from_estimator, "no method 'predict'"),
        (ActivationMapDisplay.from_estimator, "no method 'transform'"),
        (lambda estimator, _: TrainingCurveDisplay.from_estimator(estimator), "fit it"),
    ],
)
def test_unfit_kinds_are_told(image, draw, message):
    with pytest.raises(TypeError, match=message):
        draw(object(), image)
