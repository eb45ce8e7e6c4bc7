# SPDX-License-Identifier: BSD-3-Clause
"""The metrics take what the gates of io take: files, lists of them, one mask."""

from __future__ import annotations

import numpy as np
import pytest

from psmlearn.cluster import SemanticClusterer
from psmlearn.datasets import make_nuclei
from psmlearn.io import _batch, _inputs, _read, write_image, write_labels, write_points
from psmlearn.metrics import (
    aggregated_jaccard_score,
    count_error,
    detection_f1_score,
    dice_score,
    get_scorer,
    hausdorff_distance,
    iou_score,
    match_points,
    object_dice_score,
    object_f1_score,
    outline_scorer,
    panoptic_quality_score,
    segmentation_report,
    stability_scorer,
)

MASK_SCORES = [
    aggregated_jaccard_score,
    dice_score,
    hausdorff_distance,
    iou_score,
    object_dice_score,
    object_f1_score,
    panoptic_quality_score,
]
POINT_SCORES = [count_error, detection_f1_score]


@pytest.fixture
def masks():
    true = [
        make_nuclei(1, (64, 64), n_nuclei=9, random_state=i).masks[0] for i in range(2)
    ]
    pred = [np.roll(mask, 2, axis=1) for mask in true]
    pred[1][:20] = 0
    return true, pred


@pytest.fixture
def files(masks, tmp_path):
    paths = []
    for name, side in zip(("true", "pred"), masks, strict=True):
        paths.append([tmp_path / f"{name} {i}.tif" for i in range(len(side))])
        for path, mask in zip(paths[-1], side, strict=True):
            write_labels(path, mask)
    return paths


@pytest.mark.parametrize("score", [*MASK_SCORES, *POINT_SCORES])
def test_files_score_as_their_masks(score, masks, files):
    true, pred = masks
    expected = score(true, pred, average=None)
    assert len(set(expected)) == 2
    texts = [str(path) for path in files[0]]
    for y in (files[0], texts, np.array(texts), [true[0], texts[1]], iter(true)):
        np.testing.assert_array_equal(score(y, files[1], average=None), expected)
    # One file, or one mask, is one image.
    assert score(files[0][0], files[1][0]) == score([true[0]], pred[0]) == expected[0]


def test_a_report_of_files(masks, files):
    assert segmentation_report(*files) == segmentation_report(*masks)


@pytest.mark.parametrize("score", [*MASK_SCORES, *POINT_SCORES])
def test_regions_may_be_files(score, masks, tmp_path):
    regions = [np.zeros((64, 64), bool), np.ones((64, 64), bool)]
    regions[0][:30] = True
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, region in zip(paths, regions, strict=True):
        write_image(path, region)
    expected = score(*masks, regions=regions, average=None)
    np.testing.assert_array_equal(score(*masks, regions=paths, average=None), expected)
    got = score(*masks, regions=[paths[0], None], average=None)
    np.testing.assert_array_equal(got, expected)


def test_files_of_masks_with_classes(tmp_path):
    labelled = make_nuclei(1, (64, 64), n_nuclei=9, stain="ki67", random_state=0)
    mask = labelled.masks[0]
    path = tmp_path / "classes.tif"
    write_labels(path, mask)
    for score in (object_f1_score, dice_score, detection_f1_score):
        expected = score([mask], [np.roll(mask, 3, axis=0)], labels=[1, 2])
        got = score(path, [np.roll(mask, 3, axis=0)], labels=[1, 2])
        np.testing.assert_array_equal(got, expected)
    # Where classes are asked for, one mask with classes needs no list.
    assert dice_score(mask, mask, labels=1) == 1.0


def test_stencils_in_files(masks, tmp_path):
    stencil = tmp_path / "stencil.png"
    write_image(stencil, masks[0][0] > 0)
    for score in (dice_score, iou_score):
        assert score(stencil, masks[0][0]) == 1.0
    message = r"^y_true\[0\] \(.*stencil\.png\) is (boolean|a 0/255 mask)"
    for score in (object_f1_score, aggregated_jaccard_score):
        with pytest.raises(ValueError, match=message):
            score([stencil], [masks[0][0]])


def test_tables_of_points(tmp_path):
    true = np.array([[10.0, 10, 1], [10, 18, 2], [40, 40, 1]])
    pred = np.array([[10.0, 14, 1], [10, 3, 2], [80, 80, 1]])
    paths = [tmp_path / "true.csv", tmp_path / "pred.csv"]
    write_points(paths[0], true)
    write_points(paths[1], pred)
    for score in POINT_SCORES:
        for labels in (None, [1, 2]):
            expected = score([true], [pred], labels=labels)
            for y in (paths, [[path] for path in paths]):
                np.testing.assert_array_equal(score(*y, labels=labels), expected)
    np.testing.assert_array_equal(match_points(*paths), match_points(true, pred))
    broken = tmp_path / "broken.csv"
    broken.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"^y_pred\[1\] \(.*broken.csv\): .*no column"):
        detection_f1_score([true, true], [pred, broken])


def test_broken_files_are_named(masks, tmp_path):
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"II*\x00 nothing")
    with pytest.raises(ValueError, match=r"^y_pred\[1\] \(.*broken.tif\): .*broken or"):
        dice_score(masks[0], [masks[1][0], broken])


def test_masked_arrays_and_mappings_are_refused(masks):
    with pytest.raises(ValueError, match=r"y_true\[0\] is a masked array"):
        dice_score([np.ma.masked_array(masks[0][0])], [masks[1][0]])
    with pytest.raises(TypeError, match="y_pred is a dict; expected label images"):
        dice_score(masks[0], dict(enumerate(masks[1])))


def test_scorers_take_files_and_decode_images_once(tmp_path, monkeypatch):
    data = make_nuclei(2, (64, 64), n_nuclei=6, random_state=0)
    images = [tmp_path / f"image {i}.png" for i in range(2)]
    masks = [tmp_path / f"mask {i}.tif" for i in range(2)]
    for i in range(2):
        write_image(images[i], data.images[i])
        write_labels(masks[i], data.masks[i])
    model = SemanticClusterer(random_state=0).fit(images)
    for name in ("aji", "dice", "detection_f1"):
        expected = get_scorer(name)(model, images, list(data.masks))
        assert get_scorer(name)(model, images, masks) == expected
    calls = []
    decode = _inputs.decode_image

    def count(path, **options):
        calls.append(path)
        return decode(path, **options)

    for module in (_inputs, _batch, _read):
        monkeypatch.setattr(module, "decode_image", count)
    for scorer in (outline_scorer, stability_scorer):
        calls.clear()
        assert 0 < scorer(model, images) < 1
        assert calls == [str(path) for path in images]
