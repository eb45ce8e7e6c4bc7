# SPDX-License-Identifier: BSD-3-Clause
"""The figure of the labelling index, and overlays with classes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from skimage.io import imsave

from psmlearn.inspection import (
    LabellingIndexDisplay,
    SegmentationDisplay,
    overlay_labels,
)
from psmlearn.io import write_labels
from psmlearn.measure import find_hotspot

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("figure")

RED, CYAN = [255, 70, 60], [0, 215, 255]


@pytest.fixture
def image():
    return np.full((40, 60, 3), 200, dtype=np.uint8)


@pytest.fixture
def mask():
    """A positive, a negative and an unknown nucleus, ids with gaps."""
    mask = np.zeros((40, 60, 2), dtype=np.int32)
    for number, (left, kind) in enumerate([(5, 1), (25, 2), (45, 0)]):
        mask[10:20, left : left + 10] = 3 + 4 * number, kind
    return mask


class FixedEstimator:
    def __init__(self, mask):
        self.mask = mask

    def predict(self, X):
        return [self.mask for _ in X]


def test_nuclei_are_drawn_in_the_colour_of_their_class(image, mask):
    display = LabellingIndexDisplay.from_predictions(image, mask, min_cells=0)
    picture = display.im_.get_array()
    assert_array_equal(picture[10, 6], RED)
    assert_array_equal(picture[10, 26], CYAN)
    assert_array_equal(picture[10, 46], [200] * 3)  # of no class: does not count
    assert_array_equal(picture[14, 9], [200] * 3)
    assert_array_equal(image, np.full((40, 60, 3), 200))
    assert display.result.index == 0.5


def test_numbers_warning_and_notice_are_written(image, mask):
    with pytest.warns(UserWarning, match="Too few nuclei"):
        display = LabellingIndexDisplay.from_predictions(image, mask)
    text = display.text_.get_text().replace("\n", " ")
    assert display.result.notice in text
    assert "Warning: Too few nuclei: 2 counted" in text
    assert display.ax_.get_title(loc="left").startswith("Labelling index 50.0 % (95 %")
    names = [entry.get_text() for entry in display.ax_.get_legend().get_texts()]
    assert names == ["positive (1)", "negative (1)"]


def test_own_title_keeps_the_index(image, mask):
    display = LabellingIndexDisplay.from_predictions(
        image, mask, min_cells=0, title="case 7", intensity=[0.5, 0.1, 0.0]
    )
    assert display.ax_.get_title(loc="left") == "case 7"
    assert "Labelling index 50.0 %" in display.text_.get_text()
    assert "H-score 100 of 300" in display.text_.get_text()


def test_outside_of_the_region_is_pale(image, mask):
    region = np.zeros((40, 60), dtype=bool)
    region[:, :20] = True
    display = LabellingIndexDisplay.from_predictions(
        image, mask, region=region, min_cells=0
    )
    picture = display.im_.get_array()
    assert_array_equal(picture[10, 6], RED)
    assert (picture[10, 26] > 230).all() and (picture[30, 5] == 200).all()
    assert display.result.n_cells == 1


def test_points_are_dots(image):
    points = np.array([[5, 6, 1], [8, 30, 2], [20, 40, 2], [39, 59, 0]])
    display = LabellingIndexDisplay.from_predictions(image, points, min_cells=0)
    positive, negative = display.ax_.collections
    assert_array_equal(positive.get_offsets(), [[6, 5]])
    assert_array_equal(negative.get_offsets(), [[30, 8], [40, 20]])
    assert_array_equal(np.rint(positive.get_facecolors()[0, :3] * 255), RED)


@pytest.mark.parametrize(
    ("field", "kind"), [("circle", "Circle"), ("square", "Rectangle")]
)
def test_hotspot_is_drawn(image, mask, field, kind):
    spot = find_hotspot([mask], area=1e-4, pixel_size=0.5, min_cells=1, field=field)
    display = LabellingIndexDisplay.from_predictions(
        image, mask, hotspot=spot, min_cells=0
    )
    patches = display.ax_.patches
    assert [type(patch).__name__ for patch in patches] == [kind, kind]
    low, high = (
        patches[0]
        .get_extents()
        .transformed(display.ax_.transData.inverted())
        .get_points()
    )
    assert (low + high) / 2 == pytest.approx([spot.column, spot.row], abs=0.5)
    assert "Hotspot of 0.0001 mm²" in display.text_.get_text()
    assert len(display.ax_.get_legend().get_texts()) == 3


@pytest.mark.parametrize("y", [np.zeros((40, 60, 2), np.int32), np.empty((0, 3)), []])
def test_an_empty_image_is_drawn(image, y):
    with pytest.warns(UserWarning, match="No positive or negative nucleus"):
        display = LabellingIndexDisplay.from_predictions(image, y)
    assert display.ax_.get_title(loc="left") == "No labelling index"
    assert_array_equal(display.im_.get_array(), image)
    display.figure_.canvas.draw()


def test_nothing_written_leaves_the_figure(image, mask):
    region = np.ones((40, 60), dtype=bool)
    display = LabellingIndexDisplay.from_predictions(
        image, mask, region=region, min_cells=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        display.figure_.canvas.draw()
    renderer = display.figure_.canvas.get_renderer()
    box = display.ax_.get_tightbbox(renderer)
    width, height = display.figure_.canvas.get_width_height()
    assert box.x0 >= -1 and box.y0 >= -1
    assert box.x1 <= width + 1 and box.y1 <= height + 1


def test_estimators_and_paths_are_taken(image, mask, tmp_path, figure):
    imsave(tmp_path / "image.png", image, check_contrast=False)
    write_labels(tmp_path / "mask.tif", mask[..., 0])
    display = LabellingIndexDisplay.from_estimator(
        FixedEstimator(mask), tmp_path / "image.png", min_cells=0
    )
    assert display.result.n_cells == 2
    ax = figure.subplots()
    again = LabellingIndexDisplay.from_predictions(image, mask, ax=ax, min_cells=0)
    assert again.ax_ is ax
    with pytest.raises(TypeError, match="no method 'predict'"):
        LabellingIndexDisplay.from_estimator(object(), image)


def test_sizes_must_agree(image, mask):
    with pytest.raises(ValueError, match="pass those of this image"):
        LabellingIndexDisplay.from_predictions(image, mask[:10])
    with pytest.raises(ValueError, match="pass those of this image"):
        LabellingIndexDisplay.from_predictions(
            image, np.empty((0, 3)), region=np.ones((4, 4), bool)
        )


def test_overlay_takes_colours_of_classes(image, mask):
    overlay = overlay_labels(image, mask, class_colors={1: RED})
    palette = overlay_labels(image, mask, color="classes")
    assert_array_equal(overlay[10, 6], RED)
    assert_array_equal(overlay[10, 26], palette[10, 26])
    with pytest.raises(ValueError, match="three integers"):
        overlay_labels(image, mask, class_colors={1: (0, 0, 999)})
    with pytest.raises(ValueError, match="class in the second plane"):
        overlay_labels(image, mask[..., 0], class_colors={1: RED})


def test_segmentation_display_names_classes(image, mask):
    display = SegmentationDisplay.from_predictions(
        image,
        mask,
        class_names={1: "positive", 2: "negative", 5: "other"},
        class_colors={1: RED, 2: CYAN},
    )
    legend = display.ax_.get_legend()
    names = [entry.get_text() for entry in legend.get_texts()]
    assert names == ["positive (1)", "negative (1)", "other (0)"]
    assert_array_equal(display.im_.get_array()[10, 26], CYAN)
    face = legend.get_patches()[0].get_facecolor()
    assert_array_equal(np.rint(np.array(face[:3]) * 255), RED)
    assert display.ax_.get_title() == "3 nuclei"
