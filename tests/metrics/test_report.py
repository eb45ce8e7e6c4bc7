# SPDX-License-Identifier: BSD-3-Clause
"""The report: its numbers are those of the functions, and its text is those."""

import json
import re

import numpy as np
import pytest

from psmlearn import metrics
from psmlearn.metrics import segmentation_report

# Which function and which of its parameters give a score of the report.
FUNCTIONS = {
    "dice": (metrics.dice_score, {}),
    "iou": (metrics.iou_score, {}),
    "object_dice": (metrics.object_dice_score, {}),
    "object_iou": (metrics.object_iou_score, {}),
    "aji": (metrics.aggregated_jaccard_score, {}),
    "aji_plus": (metrics.aggregated_jaccard_score, {"one_to_one": True}),
    "pq": (metrics.panoptic_quality_score, {}),
    "dq": (metrics.detection_quality_score, {}),
    "sq": (metrics.segmentation_quality_score, {}),
    "object_precision@0.3": (metrics.object_precision_score, {"iou_threshold": 0.3}),
    "object_recall@0.3": (metrics.object_recall_score, {"iou_threshold": 0.3}),
    "object_f1@0.3": (metrics.object_f1_score, {"iou_threshold": 0.3}),
    "object_average_precision@0.3": (
        metrics.object_average_precision_score,
        {"iou_threshold": 0.3},
    ),
    "object_precision@0.75": (metrics.object_precision_score, {"iou_threshold": 0.75}),
    "object_recall@0.75": (metrics.object_recall_score, {"iou_threshold": 0.75}),
    "object_f1@0.75": (metrics.object_f1_score, {"iou_threshold": 0.75}),
    "object_average_precision@0.75": (
        metrics.object_average_precision_score,
        {"iou_threshold": 0.75},
    ),
    "detection_precision@2.5": (metrics.detection_precision_score, {"radius": 2.5}),
    "detection_recall@2.5": (metrics.detection_recall_score, {"radius": 2.5}),
    "detection_f1@2.5": (metrics.detection_f1_score, {"radius": 2.5}),
    "count_error": (metrics.count_error, {}),
    "hausdorff": (metrics.hausdorff_distance, {}),
}
CLASS_FUNCTIONS = {
    "precision": (metrics.object_precision_score, {}),
    "recall": (metrics.object_recall_score, {}),
    "f1": (metrics.object_f1_score, {}),
    "average_precision": (metrics.object_average_precision_score, {}),
    "pq": (metrics.panoptic_quality_score, {}),
    "dq": (metrics.detection_quality_score, {}),
    "sq": (metrics.segmentation_quality_score, {}),
    "aji": (metrics.aggregated_jaccard_score, {}),
    "dice": (metrics.dice_score, {}),
    "iou": (metrics.iou_score, {}),
    "detection_precision": (metrics.detection_precision_score, {"radius": 2.5}),
    "detection_recall": (metrics.detection_recall_score, {"radius": 2.5}),
    "detection_f1": (metrics.detection_f1_score, {"radius": 2.5}),
}
ERRORS = {"count_error", "hausdorff"}
OPTIONS = {"iou_thresholds": [0.3, 0.75], "radius": 2.5, "hausdorff": True}


@pytest.fixture(scope="module")
def masks(label_pair):
    """Label images with classes, unknown pixels and regions; one image is empty."""
    true, pred, regions = [], [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        pair = label_pair(70 + 9 * seed, 14, random_state=seed)
        classes = [np.where(ids > 0, 1 + ids % 2, 0) for ids in pair]
        pair = [np.stack(both, axis=-1) for both in zip(pair, classes, strict=True)]
        pair[0][:6, :9] = -1
        true.append(pair[0])
        pred.append(pair[1])
        regions.append(rng.random(pair[0].shape[:2]) > 0.02 if seed % 2 else None)
    true.append(np.zeros((20, 30, 2), dtype=np.int32))
    pred.append(np.zeros((20, 30, 2), dtype=np.int32))
    return true, pred, [*regions, None]


@pytest.mark.parametrize("zero_division", [0.0, 1.0, np.nan])
def test_numbers_are_those_of_the_functions(masks, zero_division):
    true, pred, regions = masks
    report = segmentation_report(
        true,
        pred,
        regions=regions,
        labels=[2, 1],
        target_names=["odd", "even"],
        names=["a", "b", "c", "d", "e"],
        zero_division=zero_division,
        output_dict=True,
        **OPTIONS,
    )
    assert list(report["scores"]) == list(FUNCTIONS)
    for name, (function, options) in FUNCTIONS.items():
        options = {"regions": regions, **options}
        if name == "hausdorff":
            options["zero_division"] = np.nan if np.isnan(zero_division) else 0.0
        elif name != "count_error":
            options["zero_division"] = zero_division
        got = report["scores"][name]
        assert got["macro"] == pytest.approx(function(true, pred, **options))
        micro = function(true, pred, average="micro", **options)
        assert got["micro"] == pytest.approx(micro)
        each = function(true, pred, average=None, **options)
        np.testing.assert_allclose(got["per_image"], each, rtol=1e-14)
        assert got["std"] == pytest.approx(np.nanstd(each))
        worst = np.nanargmax(each) if name in ERRORS else np.nanargmin(each)
        assert got["worst"] == each[worst]
        assert got["worst_image"] == "abcde"[worst]
    assert list(report["classes"]) == ["odd", "even"]
    for label, got in zip((2, 1), report["classes"].values(), strict=True):
        assert got["label"] == label
        for name, (function, options) in CLASS_FUNCTIONS.items():
            expected = function(
                true,
                pred,
                average="micro",
                labels=label,
                regions=regions,
                zero_division=zero_division,
                **options,
            )
            assert got[name] == pytest.approx(expected)
        assert set(got) == {*CLASS_FUNCTIONS, "label", "support", "n_pred_objects"}


def test_numbers_of_objects(masks):
    true, pred, _ = masks
    report = segmentation_report(true, pred, labels=[1, 2], output_dict=True)
    known = [t[..., 0] >= 0 for t in true]
    n_true, n_pred = (
        sum(
            np.unique(m[..., 0][k & (m[..., 0] > 0)]).size
            for m, k in zip(y, known, strict=True)
        )
        for y in (true, pred)
    )
    assert report["n_images"] == 5
    assert report["n_true_objects"] == n_true
    assert report["n_pred_objects"] == n_pred
    assert report["n_images_without_true"] == report["n_images_without_pred"] == 1
    classes = report["classes"]
    assert list(classes) == ["class 1", "class 2"]
    assert sum(row["support"] for row in classes.values()) == n_true
    assert sum(row["n_pred_objects"] for row in classes.values()) == n_pred
    assert report["image_names"] == [f"image {n}" for n in range(5)]


def test_dict_is_made_of_plain_values(masks):
    true, pred, _ = masks
    report = segmentation_report(true, pred, labels=1, hausdorff=True, output_dict=True)
    assert json.loads(json.dumps(report)) == report
    kinds = set()

    def walk(value):
        kinds.add(type(value))
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, dict | list):
                walk(item)
            else:
                kinds.add(type(item))

    walk(report)
    assert kinds == {dict, list, str, int, float}


def parse(text):
    """Read the rows of a text back: by block, by name, the numbers and the rest."""
    rows, block = {}, ""
    for line in text.split("\n"):
        found = re.match(r"  (\S.*?)((?: {2,}(?:-?\d+\.\d+|nan))+) {2,}(.+)$", line)
        if found:
            numbers = [float(word) for word in found[2].split()]
            rows[block, found[1]] = numbers, found[3]
        elif line and not line.startswith(" "):
            block = line
    return rows


def test_text_tells_the_numbers_of_the_dict(masks):
    true, pred, regions = masks
    options = {"regions": regions, "labels": [1, 2], **OPTIONS}
    text = segmentation_report(true, pred, digits=5, **options)
    report = segmentation_report(true, pred, output_dict=True, **options)
    rows = parse(text)
    expected = {
        ("pixels", "Dice"): "dice",
        ("objects", "AJI"): "aji",
        ("objects", "AJI+"): "aji_plus",
        ("objects", "object IoU"): "object_iou",
        ("objects", "SQ"): "sq",
        ("objects found at IoU > 0.3", "F1"): "object_f1@0.3",
        ("objects found at IoU > 0.75", "precision"): "object_precision@0.75",
        ("objects found at IoU > 0.75", "average precision"): (
            "object_average_precision@0.75"
        ),
        ("centres found within 2.5 px", "recall"): "detection_recall@2.5",
        ("errors, lower is better", "count error"): "count_error",
        ("errors, lower is better", "Hausdorff, px"): "hausdorff",
    }
    for place, name in expected.items():
        score = report["scores"][name]
        numbers, image = rows[place]
        wanted = [score[key] for key in ("macro", "micro", "std", "worst")]
        np.testing.assert_allclose(numbers, wanted, atol=5.1e-6)
        assert image == score["worst_image"]
    first = next(line for line in text.split("\n") if line.startswith("classes, "))
    columns = ("precision", "recall", "F1", "PQ", "AJI", "Dice", "centre F1", "support")
    assert re.split(r" {2,}", first)[1:] == list(columns)
    found = []
    for name, row in report["classes"].items():
        numbers, support = rows[first, name]
        keys = ("precision", "recall", "f1", "pq", "aji", "dice", "detection_f1")
        np.testing.assert_allclose(numbers, [row[k] for k in keys], atol=5.1e-6)
        assert int(support) == row["support"]
        found.append(numbers)
    numbers, support = rows[first, "mean of classes"]
    np.testing.assert_allclose(numbers, np.mean(found, axis=0), atol=1.1e-5)
    assert f"images: 5, true objects: {report['n_true_objects']}" in text
    assert int(support) == sum(row["support"] for row in report["classes"].values())
    assert (
        "images without true objects: 1, without predicted ones: 1; 0 / 0 is 1" in text
    )
    assert max(map(len, text.split("\n"))) < 100


def test_what_is_left_out(masks):
    true, pred, _ = masks
    text = segmentation_report(true, pred, radius=None, iou_thresholds=0.5)
    assert "centres" not in text
    assert "Hausdorff" not in text
    assert "classes" not in text
    assert "IoU > 0.7" not in text
    report = segmentation_report(
        true, pred, radius=None, iou_thresholds=(0.5,), labels=[1], output_dict=True
    )
    assert not any(name.startswith("detection") for name in report["scores"])
    assert not any(
        name.startswith("detection") for name in report["classes"]["class 1"]
    )
    assert report["radius"] is None
    text = segmentation_report(true[:4], pred[:4], labels=1)
    assert "without true objects" not in text
    assert "mean of classes" not in text


def test_images_that_are_all_left_out():
    empty = np.zeros((5, 6), dtype=int)
    report = segmentation_report(
        empty, empty, zero_division=np.nan, hausdorff=True, output_dict=True
    )
    score = report["scores"]["hausdorff"]
    assert np.isnan(
        [score["macro"], score["micro"], score["std"], score["worst"]]
    ).all()
    assert score["worst_image"] is None
    text = segmentation_report(empty, empty, zero_division=np.nan)
    numbers, image = parse(text)["objects", "PQ"]
    assert np.isnan(numbers).all()
    assert image == "-"
    assert "0 / 0 is nan" in text


def test_an_image_with_one_empty_mask_is_the_worst():
    some, none = np.ones((5, 6), dtype=int), np.zeros((5, 6), dtype=int)
    report = segmentation_report([some] * 2, [some, none], output_dict=True)
    for name in ("object_precision@0.5", "detection_precision@10"):
        score = report["scores"][name]
        assert score["per_image"] == [1.0, 0.0]
        assert score["worst_image"] == "image 1"
        assert score["micro"] == 1.0


def test_digits_of_numpy(masks):
    true, pred, _ = masks
    text = segmentation_report(true, pred, digits=np.int64(2))
    assert text == segmentation_report(true, pred, digits=2)


def test_pixels_are_cut_and_centres_are_not():
    # The centroid lies outside of the region, some pixels inside.
    true = np.zeros((9, 9), dtype=int)
    true[2:7, 2:7] = 1
    region = np.zeros((9, 9), dtype=bool)
    region[:, :4] = True
    report = segmentation_report(true, true, regions=region, output_dict=True)
    assert report["n_true_objects"] == 1
    assert metrics.detection_recall_score(true, true * 0, regions=region) == 1.0
    assert metrics.object_recall_score(true, true * 0, regions=region) == 0.0


def test_narrow_masks_are_no_points():
    true = np.array([[1, 0, 2], [1, 0, 2]])
    report = segmentation_report(true, true, output_dict=True)
    assert report["n_true_objects"] == 2
    assert report["scores"]["detection_recall@10"]["per_image"] == [1.0]
    assert report["scores"]["count_error"]["macro"] == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["a"]}, "names has 1 names; expected 2, one for each image"),
        ({"target_names": ["a"]}, "target_names names classes; give `labels` too"),
        ({"labels": [1, 2], "target_names": ["a"]}, "target_names has 1 names; expec"),
        ({"labels": [1, 2], "target_names": ["a", "a"]}, "target_names holds a name"),
        ({"digits": -1}, "digits must be a whole number from 0 on; got -1"),
        ({"digits": 1.5}, "digits must be a whole number"),
        ({"digits": np.True_}, "digits must be a whole number"),
        ({"iou_thresholds": [0.5, 0.5 + 1e-9]}, "two that print alike: 0.5, 0.5"),
        ({"iou_thresholds": [0.5, 1.0]}, "iou_threshold must be at least 0 and below"),
        ({"radius": 0}, "radius"),
        ({"radius": [5]}, "radius must be one number, or None"),
        ({"zero_division": 2}, "zero_division must be 0, 1 or NaN"),
    ],
)
def test_unknown_parameters(options, message):
    masks = np.ones((2, 4, 5, 2), dtype=int)
    with pytest.raises(ValueError, match=message):
        segmentation_report(masks, masks, **options)


@pytest.mark.parametrize("options", [{"names": "ab"}, {"names": [1, 2]}])
def test_names_that_are_no_names(options):
    masks = np.ones((2, 4, 5), dtype=int)
    with pytest.raises(TypeError, match="names must be a sequence of str"):
        segmentation_report(masks, masks, **options)
