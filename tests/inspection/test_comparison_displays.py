# SPDX-License-Identifier: BSD-3-Clause
"""Truth against prediction, scores over IoU, and the gallery of nuclei."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from psmlearn.datasets import make_nuclei
from psmlearn.inspection import (
    NucleiGalleryDisplay,
    PrecisionRecallIoUDisplay,
    SegmentationComparisonDisplay,
)
from psmlearn.inspection._comparison import COMPARISON_COLORS
from psmlearn.measure import nuclei_table
from psmlearn.metrics import (
    object_average_precision_score,
    object_f1_score,
    object_precision_score,
    object_recall_score,
)

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("figure")


@pytest.fixture
def squares():
    """Three true squares; the first is found, the second is not, the last is false."""
    true = np.zeros((40, 60), np.int32)
    true[4:14, 4:14], true[4:14, 24:34], true[20:30, 44:54] = 3, 5, 9
    pred = np.zeros_like(true)
    pred[4:14, 5:15], pred[4:14, 29:39], pred[25:35, 4:14] = 2, 4, 7
    return np.full((40, 60, 3), 200, np.uint8), true, pred


class Shifted:
    """Stands for a fitted estimator: it moves what it knows by some pixels."""

    def __init__(self, masks, probabilities=None):
        self.masks = masks
        self.probabilities = probabilities

    def predict(self, images):
        return [np.roll(mask, 1, axis=0) for mask in self.masks]


class WithProbabilities(Shifted):
    def predict(self, images):
        return list(self.masks)

    def predict_proba(self, images):
        return list(self.probabilities)


def test_found_missed_and_false_are_told_apart(squares):
    image, true, pred = squares
    display = SegmentationComparisonDisplay.from_predictions(image, true, pred)
    assert display.found_.tolist() == [2]
    assert display.missed_.tolist() == [5, 9]
    assert display.false_.tolist() == [4, 7]
    picture = display.im_.get_array()
    assert_array_equal(picture[4, 6], COMPARISON_COLORS["found"])
    assert_array_equal(picture[20, 44], COMPARISON_COLORS["missed"])
    assert_array_equal(picture[25, 4], COMPARISON_COLORS["false"])
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["found (1)", "missed (2)", "false (2)"]
    assert display.ax_.get_legend().get_title().get_text() == "match: IoU > 0.5"
    assert display.figure_ is display.ax_.figure


def test_counts_are_those_of_the_scores():
    data = make_nuclei(n_images=1, shape=(128, 128), n_nuclei=25, random_state=3)
    true = data.masks[0]
    pred = np.roll(true, 2, axis=1)
    for threshold in (0.3, 0.5, 0.75):
        display = SegmentationComparisonDisplay.from_predictions(
            data.images[0], true, pred, iou_threshold=threshold
        )
        n_found, n_missed = len(display.found_), len(display.missed_)
        assert n_found + n_missed == len(np.unique(true)) - 1
        recall = object_recall_score([true], [pred], iou_threshold=threshold)
        precision = object_precision_score([true], [pred], iou_threshold=threshold)
        assert_allclose(n_found / (n_found + n_missed), recall)
        assert_allclose(n_found / (n_found + len(display.false_)), precision)


def test_unknown_pixels_are_not_compared(squares):
    image, true, pred = squares
    true[20:30, 44:54] = -1
    display = SegmentationComparisonDisplay.from_predictions(image, true, pred)
    assert display.missed_.tolist() == [5]


def test_comparison_of_empty_masks(squares):
    image, true, _ = squares
    nothing = np.zeros_like(true)
    display = SegmentationComparisonDisplay.from_predictions(image, nothing, nothing)
    assert display.ax_.get_title() == "precision –, recall –, F1 –"
    display = SegmentationComparisonDisplay.from_predictions(image, true, nothing)
    assert display.missed_.tolist() == [3, 5, 9]
    assert display.ax_.get_title() == "precision –, recall 0.000, F1 0.000"


def test_comparison_from_an_estimator(squares, figure):
    image, true, _ = squares
    axes = figure.subplots()
    display = SegmentationComparisonDisplay.from_estimator(
        Shifted([true]), image, true, ax=axes, title="mine", colors={"found": (1, 2, 3)}
    )
    assert display.ax_ is axes and axes.get_title() == "mine"
    assert display.found_.tolist() == [3, 5, 9]
    assert_array_equal(display.im_.get_array()[5, 4], (1, 2, 3))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"iou_threshold": 1.0}, "iou_threshold"),
        ({"iou_threshold": (0.5, 0.7)}, "one number"),
        ({"colors": {"lost": (1, 2, 3)}}, "'found', 'missed' and 'false'"),
        ({"colors": {"found": (1, 2, 300)}}, "from 0 to 255"),
    ],
)
def test_bad_options_of_a_comparison(squares, options, text):
    image, true, pred = squares
    with pytest.raises(ValueError, match=text):
        SegmentationComparisonDisplay.from_predictions(image, true, pred, **options)


def test_comparison_needs_masks_of_one_size(squares):
    image, true, pred = squares
    with pytest.raises(ValueError, match="masks of the same size"):
        SegmentationComparisonDisplay.from_predictions(image, true, pred[:-1])


def test_curves_are_the_scores():
    true = make_nuclei(n_images=3, shape=(96, 96), random_state=0).masks
    pred = [np.roll(mask, 2, axis=0) for mask in true]
    display = PrecisionRecallIoUDisplay.from_predictions(true, pred)
    thresholds = display.iou_thresholds
    assert_allclose(thresholds, np.arange(50, 100, 5) / 100)
    scores = {
        "precision": object_precision_score,
        "recall": object_recall_score,
        "f1": object_f1_score,
        "average_precision": object_average_precision_score,
    }
    for name, score in scores.items():
        for number, threshold in enumerate(thresholds):
            expected = [
                score([t], [p], iou_threshold=threshold)
                for t, p in zip(true, pred, strict=True)
            ]
            assert_allclose(display.scores[name][:, number], expected)
        assert_allclose(
            display.lines_[name].get_ydata(), display.scores[name].mean(axis=0)
        )
    assert len(display.image_lines_) == 4 * 3
    mean = display.scores["average_precision"].mean()
    assert f"(mean {mean:.3f})" in display.lines_["average_precision"].get_label()


def test_curves_of_one_image_and_of_some_metrics(figure):
    true = make_nuclei(n_images=1, shape=(64, 64), random_state=0).masks
    display = PrecisionRecallIoUDisplay.from_estimator(
        Shifted(true),
        np.zeros((1, 64, 64, 3)),
        true,
        iou_thresholds=[0.9, 0.5],
        metrics=["f1"],
        ax=figure.subplots(),
    )
    assert list(display.lines_) == ["f1"] and not display.image_lines_
    assert display.iou_thresholds.tolist() == [0.5, 0.9]
    assert display.ax_.get_title() == "one image"
    with pytest.raises(ValueError, match="metrics must be some of"):
        display.plot(metrics=["iou"])
    with pytest.raises(ValueError, match="zero_division"):
        PrecisionRecallIoUDisplay.from_predictions(true, true, zero_division=3)


def test_images_without_nuclei_may_be_left_out_of_curves():
    empty = np.zeros((2, 20, 20), np.int32)
    true = empty.copy()
    true[1, 2:8, 2:8] = 1
    display = PrecisionRecallIoUDisplay.from_predictions(
        true, true, zero_division=np.nan
    )
    assert np.isnan(display.scores["f1"][0]).all()
    assert_allclose(display.lines_["f1"].get_ydata(), 1)


@pytest.fixture
def nuclei():
    return make_nuclei(n_images=2, shape=(96, 96), n_nuclei=9, random_state=1)


@pytest.mark.parametrize("select", ["lowest", "highest", "quantiles"])
def test_gallery_is_in_the_order_of_a_column(nuclei, select):
    display = NucleiGalleryDisplay.from_predictions(
        nuclei.images, nuclei.masks, values="eccentricity", select=select, n_nuclei=5
    )
    every = np.sort(
        np.concatenate([nuclei_table(mask)["eccentricity"] for mask in nuclei.masks])
    )
    values = [value for _, _, value in display.cells]
    if select == "lowest":
        assert_allclose(values, every[:5])
    elif select == "highest":
        assert_allclose(values, every[::-1][:5])
    else:
        assert_allclose(values[0], every[0])
        assert_allclose(values[-1], every[-1])
        assert values == sorted(values)
    assert display.n_all == len(every)
    texts = [text.get_text() for text in display.texts_]
    assert texts == [f"{value:.3g}" for value in values]


def test_gallery_shows_the_nucleus_with_its_outline():
    image = np.full((60, 60, 3), 240, np.uint8)
    mask = np.zeros((60, 60), np.int32)
    image[22:34, 30:42], mask[22:34, 30:42] = (120, 0, 60), 4
    display = NucleiGalleryDisplay.from_predictions(
        image, mask, width=6.0, color=(0, 255, 0)
    )
    (tile,) = display.tiles  # 24 pixels drawn on 96
    assert_array_equal(tile[48, 48], (120, 0, 60))
    assert_array_equal(tile[4, 4], (240, 240, 240))
    rows, columns = np.nonzero((tile == (0, 255, 0)).all(axis=2))
    assert 22 <= rows.min() <= 26 and 70 <= rows.max() <= 74
    assert 22 <= columns.min() <= 26 and 70 <= columns.max() <= 74
    assert "6 µm wide" in display.ax_.texts[-1].get_text()


def test_crops_show_one_physical_size():
    """The same nucleus at twice the pixel size looks the same."""
    mask = np.zeros((48, 48), np.int32)
    mask[16:32, 16:32] = 1
    image = np.where(mask[..., np.newaxis] > 0, 80, 230).astype(np.uint8)
    image = np.repeat(image, 3, axis=2)
    fine = NucleiGalleryDisplay.from_predictions(image, mask, width=8.0)
    coarse = NucleiGalleryDisplay.from_predictions(
        image[::2, ::2], mask[::2, ::2], width=8.0, pixel_size=0.5
    )
    dark = [int((each.tiles[0, ..., 2] < 155).sum()) for each in (fine, coarse)]
    assert abs(dark[0] - dark[1]) < 0.1 * dark[0]


def test_gallery_by_confidence(nuclei):
    rng = np.random.default_rng(0)
    probabilities = []
    for mask in nuclei.masks:
        of_nucleus = rng.uniform(0.4, 1, mask.max() + 1)
        of_nucleus[0] = 0.1
        foreground = of_nucleus[mask].astype(np.float32)
        probabilities.append(np.stack([1 - foreground, foreground], axis=-1))
    display = NucleiGalleryDisplay.from_estimator(
        WithProbabilities(nuclei.masks, probabilities), nuclei.images, n_nuclei=4
    )
    index, label, value = display.cells[0]
    lowest = min(
        p[..., 1][m > 0].min() for p, m in zip(probabilities, nuclei.masks, strict=True)
    )
    assert_allclose(value, lowest, rtol=1e-5)
    assert_allclose(probabilities[index][..., 1][nuclei.masks[index] == label], value)
    assert display.ax_.get_title().startswith("Confidence: the 4 lowest of")
    with pytest.raises(TypeError, match="predict_proba"):
        NucleiGalleryDisplay.from_estimator(Shifted(nuclei.masks), nuclei.images)


def test_gallery_of_given_values_without_those_unknown(nuclei):
    values = [np.arange(len(np.unique(m)) - 1, dtype=float) for m in nuclei.masks]
    values[0][0] = np.nan
    display = NucleiGalleryDisplay.from_predictions(
        nuclei.images, nuclei.masks, values=values, value_name="my score", n_nuclei=2
    )
    ids = np.unique(nuclei.masks[1])[1:]
    assert display.cells[0] == (1, ids[0], 0.0)
    assert display.n_all == sum(map(len, values)) - 1
    assert display.ax_.get_title().startswith("my score: the 2 lowest")


def test_gallery_of_nothing():
    image, mask = np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.int32)
    display = NucleiGalleryDisplay.from_predictions(image, mask)
    assert display.ax_.get_title() == "Area (µm²): no nuclei"
    assert not display.texts_


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"values": "beauty"}, "values must be one of"),
        ({"values": [[1.0], [2.0]]}, r"values\[0\] has shape"),
        ({"values": [[1.0]]}, "values holds 1 arrays for 2 images"),
        ({"select": "best"}, "select"),
        ({"n_nuclei": 0}, "n_nuclei"),
        ({"width": 0}, "width"),
        ({"color": "red"}, "color"),
    ],
)
def test_bad_options_of_a_gallery(nuclei, options, text):
    with pytest.raises(ValueError, match=text):
        NucleiGalleryDisplay.from_predictions(nuclei.images, nuclei.masks, **options)


def test_gallery_needs_labels_of_its_images(nuclei):
    with pytest.raises(ValueError, match="1 label images for 2 images"):
        NucleiGalleryDisplay.from_predictions(nuclei.images, nuclei.masks[:1])
    with pytest.raises(ValueError, match="pass the labels of this image"):
        NucleiGalleryDisplay.from_predictions(
            [np.zeros((50, 50, 3))], [nuclei.masks[0]]
        )
