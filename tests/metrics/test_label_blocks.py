# SPDX-License-Identifier: BSD-3-Clause
"""Scores by blocks are those of the whole image, to the last bit."""

import functools
import json
import operator
import pickle
import time
import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_scenes import scenes

from psmlearn import metrics
from psmlearn.io import Slide, write_label_pyramid, write_labels
from psmlearn.metrics import LabelOverlap, score_label_blocks, segmentation_report
from psmlearn.slides import SlideResult

THRESHOLDS = (0.0, 0.3, 0.5, 0.75)
BLOCK_SIZES = (1, 7, 64, 1000)


def expected_scores(true, pred, *, labels=None, region=None, radius=5.0, zero=1.0):
    """Take the scores of the report of one image in memory."""
    report = segmentation_report(
        [true],
        [pred],
        labels=labels,
        regions=None if region is None else [region],
        iou_thresholds=THRESHOLDS,
        radius=radius,
        zero_division=zero,
        output_dict=True,
    )
    scores = {name: report[name] for name in ("n_true_objects", "n_pred_objects")}
    scores |= {name: told["per_image"][0] for name, told in report["scores"].items()}
    if radius is None:
        del scores["count_error"]
    if labels is not None:
        scores["classes"] = report["classes"]
    return scores


def score_blocks(true, pred, block_size, *, zero=1.0, radius=5.0, **options):
    return score_label_blocks(
        true,
        pred,
        block_size=block_size,
        iou_thresholds=THRESHOLDS,
        radius=radius,
        zero_division=zero,
        **options,
    )


def equal(got, expected):
    """Compare all keys and all bits; NaN equals NaN."""
    assert json.dumps(got, sort_keys=True) == json.dumps(expected, sort_keys=True)


def cut(labels):
    """Make of an array a function that reads boxes of it."""
    return lambda top, left, bottom, right: labels[top:bottom, left:right]


def number(labels):
    """Give objects ids without gaps, in the order of theirs."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def boxes(shape, step):
    for top in range(0, shape[0], step):
        for left in range(0, shape[1], step):
            yield slice(top, top + step), slice(left, left + step)


@pytest.mark.usefixtures("any_pieces")
@settings(max_examples=80, deadline=None)
@given(
    scene=scenes(30, unknown=True),
    block_size=st.sampled_from(BLOCK_SIZES),
    zero=st.sampled_from([0.0, 1.0, np.nan]),
)
def test_blocks_give_the_scores_of_the_whole(scene, block_size, zero):
    expected = expected_scores(*scene, zero=zero)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics._label_overlap, "inner_pieces", lambda mask: 0)
        equal(score_blocks(*scene, block_size, zero=zero), expected)


@pytest.mark.usefixtures("any_pieces")
@settings(max_examples=60, deadline=None)
@given(
    scene=scenes(30, unknown=True, classes=True),
    block_size=st.sampled_from(BLOCK_SIZES),
    seed=st.integers(0, 100),
)
def test_classes_and_regions(scene, block_size, seed):
    true, pred = scene
    region = np.random.default_rng(seed).random(true.shape[:2]) < 0.8
    expected = expected_scores(true, pred, labels=[2, 1, 7], region=region)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics._label_overlap, "inner_pieces", lambda mask: 0)
        got = score_blocks(true, pred, block_size, labels=[2, 1, 7], region=region)
    equal(got, expected)


@pytest.mark.usefixtures("any_pieces")
@settings(max_examples=60, deadline=None)
@given(
    scene=scenes(30, unknown=True, classes=True),
    block_size=st.sampled_from([3, 16, 1000]),
    seed=st.integers(0, 100),
)
def test_parts_in_any_order_and_grouping_give_the_same(scene, block_size, seed):
    true, pred = scene
    rng = np.random.default_rng(seed)
    places = list(boxes(true.shape[:2], block_size))
    parts = [LabelOverlap(with_classes=True) for _ in range(3)]
    for place in rng.permutation(len(places)):
        rows, columns = places[place]
        part = parts[rng.integers(3)]
        part.update(true[rows, columns], pred[rows, columns])
    parts = [pickle.loads(pickle.dumps(part)) for part in parts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics._label_overlap, "spread_problem", lambda *known: None)
        options = {"labels": [1, 2], "iou_thresholds": THRESHOLDS}
        got = functools.reduce(operator.add, parts).scores(**options)
        again = (parts[2] + (parts[1] + parts[0])).scores(**options)
    expected = expected_scores(true, pred, labels=[1, 2], radius=None)
    equal(got, expected)
    equal(again, expected)


def large_pair(side=700, seed=0):
    """Draw ellipses that touch, with gaps in ids above 65,535, and shifted ones."""
    rng = np.random.default_rng(seed)
    true = np.zeros((side, side + 33), np.int32)
    pred = np.zeros_like(true)
    ids = 65_000 + np.sort(rng.choice(10**6, 400, replace=False))
    for number, other in zip(ids, rng.permutation(ids), strict=True):
        row, column = rng.integers(0, side, 2)
        true[row : row + 17, column : column + 23] = number
        if rng.random() < 0.9:
            row, column = row + rng.integers(-2, 3), column + rng.integers(-2, 3)
            pred[max(0, row) : row + 18, max(0, column) : column + 20] = other
    return true, pred


@pytest.mark.parametrize("block_size", [64, 100, 512, 5000])
def test_all_kinds_of_sources(block_size, tmp_path):
    true, pred = large_pair()
    expected = expected_scores(true, pred)
    assert expected["n_true_objects"] > 250
    for name, labels in (("true.ome.tif", true), ("pred.ome.tif", pred)):
        write_label_pyramid(
            tmp_path / name,
            cut(labels),
            labels.shape,
            tile=64,
            pixel_size=0.5,
        )
    np.save(tmp_path / "true.npy", true)
    result = SlideResult(
        "made", 1, true.shape, 0.5, 1.0, 1.0, {"labels": str(tmp_path / "pred.ome.tif")}
    )
    score = functools.partial(score_blocks, block_size=block_size)
    equal(score(true, pred), expected)
    equal(score(tmp_path / "true.ome.tif", str(tmp_path / "pred.ome.tif")), expected)
    equal(score(np.load(tmp_path / "true.npy", mmap_mode="r"), result), expected)
    with Slide(tmp_path / "true.ome.tif") as slide:
        equal(score(slide, result.read_labels, shape=true.shape), expected)
        equal(score(slide.view().read, cut(pred), shape=true.shape), expected)
    write_labels(tmp_path / "strips.tif", true)
    write_labels(tmp_path / "pred.png", renumbered := number(pred))
    by_path = score(tmp_path / "strips.tif", tmp_path / "pred.png")
    equal(by_path, expected_scores(true, renumbered))
    unsigned = true.astype(np.uint32), pred.astype(np.uint64)
    equal(score(*unsigned), expected)


def test_zarr(tmp_path):
    zarr = pytest.importorskip("zarr")
    true, pred = large_pair(200)
    write_label_pyramid(
        tmp_path / "true.zarr",
        cut(true),
        true.shape,
        tile=64,
    )
    held = zarr.open(str(tmp_path / "true.zarr"), mode="r")["0"]
    expected = expected_scores(true, pred)
    equal(score_blocks(held, pred, 96), expected)
    equal(score_blocks(tmp_path / "true.zarr", pred, 96), expected)


@pytest.mark.parametrize("empty", ["true", "pred", "both"])
@pytest.mark.parametrize("zero", [0.0, 1.0])
def test_no_objects(empty, zero):
    true, pred = large_pair(150)
    true = true if empty == "pred" else np.zeros_like(true)
    pred = pred if empty == "true" else np.zeros_like(pred)
    expected = expected_scores(true, pred, zero=zero)
    equal(score_blocks(true, pred, 40, zero=zero), expected)
    assert expected["aji"] == (zero if empty == "both" else 0.0)


@pytest.mark.parametrize("labels", [None, [1, 2]])
def test_masks_that_tell_no_objects_apart(labels):
    rng = np.random.default_rng(0)
    true, pred = rng.random((2, 90, 70)) < 0.4
    told = {}
    if labels is None:
        true, pred = true.astype(np.uint8) * 255, pred
    else:
        true, pred = (
            np.stack([each, rng.integers(-1, 3, each.shape)], axis=-1).astype(np.int16)
            for each in (true, pred)
        )
        told["labels"] = labels
    got = score_blocks(true, pred, 32, binary=True, **told)
    classes = got.pop("classes", None)
    assert (
        classes is None if labels is None else list(classes) == ["class 1", "class 2"]
    )
    assert got == {
        "dice": metrics.dice_score([true], [pred]),
        "iou": metrics.iou_score([true], [pred]),
    }
    for label in labels or []:
        found = classes[f"class {label}"]
        for name in ("dice", "iou"):
            score = getattr(metrics, f"{name}_score")([true], [pred], labels=label)
            assert found[name] == score


def test_a_second_look_is_taken_only_where_something_is_unknown():
    true, pred = large_pair(300)
    true[10:20, 210:220] = -1
    seen = []

    def read(top, left, bottom, right):
        seen.append((top, left))
        return true[top:bottom, left:right]

    equal(score_blocks(read, pred, 100), expected_scores(true, pred))
    assert len(seen) == 3 * 4 + 1
    assert seen[-1] == (0, 200)
    seen.clear()
    score_blocks(read, pred, 100, radius=None)
    assert len(seen) == 3 * 4


def test_memory_holds_a_block_and_the_table(tmp_path):
    side, step = 4000, 20
    path = str(tmp_path / "labels.dat")
    labels = np.memmap(path, np.int32, "w+", shape=(side, side))
    ids = np.arange(1, (side // step) ** 2 + 1).reshape(side // step, -1)
    for row, numbers in enumerate(ids):
        stripe = labels[row * step + 2 : (row + 1) * step]
        stripe[:] = np.repeat(numbers, step)
        stripe[:, ::step] = 0
    labels.flush()
    shifted = labels[:, ::-1]
    tracemalloc.start()
    try:
        overlap = LabelOverlap()
        for rows, columns in boxes(labels.shape, 512):
            overlap.update(labels[rows, columns], shifted[rows, columns])
        overlap = overlap + LabelOverlap()
        overlap._merge()
        held = overlap.nbytes
        scores = score_label_blocks(labels, shifted, block_size=512)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    n_objects = ids.size
    assert scores["n_true_objects"] == n_objects
    # An object has one partner, and pixels over background.
    assert held <= 24 * 3 * n_objects
    assert peak < 30 * 2**20  # both images are 128 MB


def test_waiting_parts_are_merged(monkeypatch):
    monkeypatch.setattr(metrics._label_overlap, "_LEAST_WAITING", 5)
    rng = np.random.default_rng(0)
    true, pred = rng.integers(0, 9, (2, 40, 40))
    overlap = LabelOverlap()
    for rows, columns in boxes(true.shape, 4):
        overlap.update(true[rows, columns], pred[rows, columns])
        assert overlap.nbytes <= 24 * (2 * 80 + 16)
    equal(
        overlap.scores(iou_thresholds=THRESHOLDS),
        expected_scores(true, pred, radius=None),
    )


def test_huge_ids_are_sorted_by_their_columns():
    rng = np.random.default_rng(1)
    true, pred = rng.integers(0, 4, (2, 60, 60)) * (2**62)
    true, pred = true.astype(np.uint64) // 2, pred.astype(np.uint64) // 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("psmlearn.metrics._checks.ids_problem", lambda mask: None)
        expected = expected_scores(true, pred, radius=None)
    equal(score_blocks(true, pred, 7, radius=None), expected)


# -- what is refused -------------------------------------------------------------------


def blobs(value, dtype):
    mask = np.zeros((60, 60), dtype)
    for row in range(4, 56, 14):
        mask[row : row + 5, 4:9] = mask[row : row + 5, 34:39] = value
    return mask


@pytest.mark.parametrize(
    ("value", "dtype"), [(1, np.int32), (255, np.uint8), (1, bool), (65535, np.uint16)]
)
@pytest.mark.parametrize("block_size", [30, 100])
def test_one_value_in_many_pieces(value, dtype, block_size):
    mask = blobs(value, dtype)
    ids = blobs(1, np.int32) * np.arange(1, 61)
    with pytest.raises(ValueError, match=r"y_true .*label\(mask > 0\).*binary=True"):
        score_label_blocks(mask, ids, block_size=block_size)
    with pytest.raises(ValueError, match=r"y_pred "):
        score_label_blocks(ids, mask, block_size=block_size)
    dice = score_label_blocks(mask, mask, block_size=block_size, binary=True)
    assert dice == {"dice": 1.0, "iou": 1.0}


def test_one_object_that_blocks_cut_is_one():
    """A comb, whose teeth are pieces of nearly every block."""
    mask = np.zeros((64, 64), np.int32)
    mask[2:60, 2:60:4] = mask[2, 2:60] = 9
    equal(score_blocks(mask, mask, 16), expected_scores(mask, mask))
    mask[30:34, 30:34] = -1
    equal(score_blocks(mask, mask, 16), expected_scores(mask, mask))


def test_greys():
    rng = np.random.default_rng(0)
    greys = rng.integers(0, 255, (600, 600)).astype(np.uint8)
    with pytest.raises(ValueError, match=r"y_pred, from row 0, column 0 on, holds"):
        score_label_blocks(np.zeros((600, 600), np.int32), greys, block_size=512)


ONES = np.ones((6, 8), np.int32)


@pytest.mark.parametrize(
    ("true", "options", "error", "match"),
    [
        (ONES[1:], {}, ValueError, r"y_true is \(5, 8\).*y_pred \(6, 8\)"),
        (ONES, {"shape": (6, 9)}, ValueError, r"shape is \(6, 9\).*y_true \(6, 8\)"),
        (ONES, {"shape": 6}, ValueError, "shape is 6; expected height and width"),
        (ONES, {"region": ONES[1:] > 0}, ValueError, r"region \(5, 8\)"),
        (ONES, {"region": ONES}, ValueError, "region, from row 0.* region > 0"),
        (ONES * 1.0, {}, ValueError, "y_true, from row 0.*dtype float64"),
        (-3 * ONES, {}, ValueError, "y_true, from row 0.*holds the value -3"),
        (ONES, {"labels": 1}, ValueError, "y_true, from row 0.*so no classes"),
        (ONES, {"block_size": 0}, ValueError, "block_size"),
        (ONES, {"radius": [2, 3]}, ValueError, "radius must be one number"),
        (ONES, {"iou_thresholds": 1.0}, ValueError, "iou_threshold"),
        (ONES, {"binary": 1}, TypeError, "binary must be True or False"),
        (ONES[..., None, None], {}, ValueError, r"y_true has shape \(6, 8, 1, 1\)"),
        (lambda *box: ONES[:2], {}, ValueError, r"y_true gave .*box \(0, 0, 6, 8\)"),
        (3, {}, TypeError, "y_true is 3; expected an array"),
        ("none.tif", {}, FileNotFoundError, "y_true: there is no 'none.tif'"),
    ],
)
def test_bad_input(true, options, error, match):
    with pytest.raises(error, match=match):
        score_label_blocks(true, ONES, **options)


def test_functions_alone_have_no_size():
    with pytest.raises(ValueError, match=r"give shape=\(height, width\)"):
        score_label_blocks(lambda *box: ONES, lambda *box: ONES)


def test_files_that_are_not_read_by_boxes(tmp_path, monkeypatch):
    path = tmp_path / "classes.tif"
    write_labels(path, np.stack([ONES, 2 * ONES], axis=-1))
    scores = score_label_blocks(path, path, labels=[1, 2])
    assert [told["support"] for told in scores["classes"].values()] == [0, 1]
    monkeypatch.setattr(metrics._label_blocks, "MAX_LABEL_PIXELS", 47)
    with pytest.raises(ValueError, match=r"y_true: '.*classes.tif' has 2 channels"):
        score_label_blocks(path, ONES)
    tifffile.imwrite(path, np.zeros((6, 8, 3), np.uint8), photometric="rgb")
    with pytest.raises(ValueError, match=r"y_true: .*3 channels; expected one plane"):
        score_label_blocks(path, ONES)
    path.write_bytes(b"II*\0no tiff")
    with pytest.raises(ValueError, match=r"y_true.*classes.tif"):
        score_label_blocks(path, ONES)


def test_many_small_parts_take_a_linear_time():
    parts = [LabelOverlap().update(ONES * n, ONES) for n in range(1, 1500)]
    start = time.process_time()
    scores = functools.reduce(operator.add, parts).scores(iou_thresholds=0.5)
    assert time.process_time() - start < 3
    assert scores["n_true_objects"] == 1499 and scores["n_pred_objects"] == 1
    assert scores["dice"] == 1.0


def test_damaged_tiles_are_no_unknown_pixels(tmp_path):
    true, _ = large_pair(200)
    path = tmp_path / "cut.tif"
    write_label_pyramid(path, cut(true), true.shape, tile=64)
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[3]
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(bytes(20))
    with pytest.raises(ValueError, match=r"y_pred is damaged: .*Write it again"):
        score_label_blocks(true, path)


def test_what_was_not_gathered_is_not_scored():
    true, pred = ONES.copy(), ONES * 2
    overlap = LabelOverlap()
    with pytest.raises(ValueError, match="No block was taken"):
        overlap.scores()
    overlap.update(true, pred)
    with pytest.raises(ValueError, match="with_classes=True"):
        overlap.scores(labels=1)
    with pytest.raises(ValueError, match="`offset` to `update`"):
        overlap.scores(radius=3)
    placed = LabelOverlap().update(true, pred, offset=(0, 0))
    assert placed.scores(radius=3)["detection_f1@3"] == 1.0
    true[0, 0] = -1
    placed.update(true, pred, offset=(6, 0))
    with pytest.raises(ValueError, match="use score_label_blocks"):
        placed.scores(radius=3)
    with pytest.raises(ValueError, match="use score_label_blocks"):
        (LabelOverlap() + placed + LabelOverlap()).scores(radius=3)
    with pytest.raises(ValueError, match="make both alike"):
        overlap + LabelOverlap(binary=True)
    with pytest.raises(TypeError):
        overlap + 3
    with pytest.raises(ValueError, match="offset is 3; expected row and column"):
        overlap.update(true, pred, offset=3)
    with pytest.raises(ValueError, match="blocks of the same size"):
        overlap.update(true, pred[1:])
    assert repr(placed) == "LabelOverlap(with_classes=False, binary=False)"
