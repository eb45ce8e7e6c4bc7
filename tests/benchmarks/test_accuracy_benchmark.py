# SPDX-License-Identifier: BSD-3-Clause
"""The accuracy benchmark: protocols, tables, quoted rows, and what is kept."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage
from skimage.io import imsave

from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy import (
    datasets,
    machine,
    protocols,
    quick,
    report,
    rows,
    runner,
)
from psmlearn.datasets import make_nuclei

small_masks = st.tuples(st.integers(0, 2**32 - 1), st.integers(3, 16))


def draw_mask(rng, size):
    """Draw blobs and label what hangs together."""
    noise = ndimage.gaussian_filter(rng.random((size, size)), 1)
    return ndimage.label(noise > np.quantile(noise, 0.6), np.ones((3, 3)))[0]


def slow_aji_of_the_code(true, pred):
    """Take one true object after the other; argmax of zeros is the first."""
    true_ids, pred_ids = np.unique(true[true > 0]), np.unique(pred[pred > 0])
    if not true_ids.size or not pred_ids.size:
        return float(true_ids.size == pred_ids.size)
    shared_sum = union_sum = 0
    used = set()
    for i in true_ids:
        ious = [
            np.sum((true == i) & (pred == j)) / np.sum((true == i) | (pred == j))
            for j in pred_ids
        ]
        j = pred_ids[int(np.argmax(ious))]
        shared_sum += np.sum((true == i) & (pred == j))
        union_sum += np.sum((true == i) | (pred == j))
        used.add(j)
    union_sum += sum(np.sum(pred == j) for j in pred_ids if j not in used)
    return shared_sum / union_sum


@given(seeds=small_masks)
def test_aji_of_the_code_is_the_loop(seeds):
    rng = np.random.default_rng(seeds[0])
    true, pred = draw_mask(rng, seeds[1]), draw_mask(rng, seeds[1])
    expected = slow_aji_of_the_code(true, pred)
    assert protocols.aji_of_the_code(true, pred) == pytest.approx(expected, abs=1e-12)


def test_aji_of_the_code_charges_a_missed_object_with_the_first_prediction():
    true = np.array([[1, 1, 0, 2, 2]])
    pred = np.array([[1, 1, 0, 0, 0]])
    # Kumar: 2 / (2 + 2). The code: the union of object 2 and prediction 1 is 4.
    assert protocols.aji_of_the_code(true, pred) == pytest.approx(2 / 6)
    assert protocols.score_as_paper([true], [pred])["aji"] == pytest.approx(2 / 4)


def test_paper_protocol_crops_and_joins_touching_objects():
    true = np.zeros((600, 700), np.int32)
    true[300:320, 340:350], true[300:320, 350:360] = 1, 2
    true[0:40, 0:40] = 3
    pred = np.array([0, 1, 1, 2], np.int32)[true]
    scores = protocols.score_as_paper([true], [pred])
    # Outside the crop nothing counts; inside the two halves are one object.
    assert scores["aji"] == scores["aji_code"] == scores["object_dice"] == 1
    assert protocols.score_full([true], [pred])["aji"][0] < 0.9


def test_full_protocol_gives_a_value_an_image():
    data = make_nuclei(n_images=3, shape=(96, 96), random_state=0)
    scores = protocols.score_full(list(data.masks), list(data.masks))
    assert all(values.shape == (3,) for values in scores.values())
    assert all((values == 1).all() for values in scores.values())
    assert {f"detection_f1_{radius}px" for radius in (6, 10, 12)} <= set(scores)


def test_quoted_rows_have_source_and_known_scores():
    quoted = report.read_quoted()
    assert len(quoted) > 10
    for quote in quoted:
        assert quote["source"] and quote["protocol"] and quote["labels"]
        assert set(quote["scores"]) <= {"aji", "dice", "iou", "object_dice", "pq"}
        assert all(0 < value < 1 for value in quote["scores"].values())


@pytest.fixture
def folder(tmp_path):
    """Give a folder of data in the layout of MoNuSeg, three tiny images."""
    data = make_nuclei(n_images=3, shape=(64, 64), n_nuclei=6, random_state=0)
    root = tmp_path / "data" / "monuseg" / "MoNuSegTrainingData"
    for name in ("Tissue Images", "labels"):
        (root / name).mkdir(parents=True)
    for index, (image, mask) in enumerate(zip(data.images, data.masks, strict=True)):
        name = f"TCGA-00-000{index}-01Z"
        imsave(root / "Tissue Images" / f"{name}.tif", image, check_contrast=False)
        imsave(
            root / "labels" / f"{name}.png",
            mask.astype(np.uint16),
            check_contrast=False,
        )
    return tmp_path / "data"


def run_command(monkeypatch, *options):
    monkeypatch.setattr("sys.argv", ["accuracy", *map(str, options)])
    command.main()


def test_rows_are_kept_and_not_run_again(folder, tmp_path, monkeypatch):
    calls = []

    def run_here(*arguments):
        calls.append(arguments[2:5])
        runner.run_row(*arguments)

    monkeypatch.setattr(command, "run_in_process", run_here)
    options = ["--data", folder, "--output", tmp_path / "out", "--rows"]
    run_command(monkeypatch, *options, "otsu-watershed", "local-threshold")
    expected = ["otsu-watershed", "local-threshold"]
    assert calls == [("monuseg", row, 0) for row in expected]
    kept = (tmp_path / "out/monuseg/otsu-watershed/seed-0/run.json").read_text()
    run_command(monkeypatch, *options, "otsu-watershed", "log-watershed")
    assert calls[2:] == [("monuseg", "log-watershed", 0)]
    path = tmp_path / "out/monuseg/otsu-watershed/seed-0/run.json"
    assert path.read_text() == kept
    record = json.loads(kept)
    assert record["configuration"]["SMOOTHING"] == 1.5
    assert record["peak_memory_gib"] > 0.05
    assert record["versions"]["torch"]

    table = (tmp_path / "out" / "table.csv").read_text()
    lines = list(csv.DictReader(table.splitlines()))
    own = [line for line in lines if not line["quoted_from"]]
    assert len(own) == 3 * len(protocols.PROTOCOLS)
    assert all(0 <= float(line["aji"]) <= 1 for line in own)
    text = (tmp_path / "out" / "table.md").read_text()
    assert "Local threshold, watershed | none (tuned on 15 images) | 1 |" in text
    assert "PSM (quoted) | none | monuseg-test | 0.542 | 0.762 | 0.610 |" in text


def test_a_broken_off_run_is_run_again(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "run_in_process", runner.run_row)
    options = ["--data", folder, "--output", tmp_path / "out"]
    options += ["--rows", "otsu-watershed", "--seeds", 0, 1, "--protocols", "full"]
    run_command(monkeypatch, *options)
    record = runner.run_folder(tmp_path / "out", "monuseg", "otsu-watershed", 0)
    # What is not trained has one seed, whatever is asked for.
    assert [path.name for path in record.parent.iterdir()] == ["seed-0"]
    (record / runner.RECORD).unlink()
    run_command(monkeypatch, *options)
    assert runner.is_finished(record)


def test_a_failing_row_does_not_stop_the_others(folder, tmp_path, monkeypatch):
    def run_or_fail(*arguments):
        if arguments[3] == "otsu-watershed":
            raise subprocess.CalledProcessError(1, "row")
        runner.run_row(*arguments)

    monkeypatch.setattr(command, "run_in_process", run_or_fail)
    options = ["--data", folder, "--output", tmp_path / "out"]
    with pytest.raises(SystemExit, match="failed.*otsu-watershed, seed 0"):
        run_command(
            monkeypatch, *options, "--rows", "otsu-watershed", "local-threshold"
        )
    assert "Local threshold" in (tmp_path / "out" / "table.md").read_text()


def test_peak_memory_is_the_process_own():
    held = np.ones(40_000_000)
    code = "from benchmarks.accuracy.machine import peak_memory; print(peak_memory())"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert machine.peak_memory() > held.nbytes / 2**30
    assert 0.02 < float(told.stdout) < 2


def test_quick_needs_the_full_protocol(folder, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run_command(
            monkeypatch, "--data", folder, "--quick", "--protocols", "psm-paper"
        )
    assert "protocol full" in capsys.readouterr().err


def test_supervised_folds_share_no_patient():
    data = make_nuclei(n_images=6, shape=(32, 32), n_nuclei=2, random_state=0)
    groups = np.array(list("aabbcd"))
    dataset = datasets.DataSet(
        "x", list(data.images), list(data.masks), list("012345"), groups, [0.25] * 6
    )
    folds = list(rows._folds(dataset))
    assert sorted(i for _, _, test in folds for i in test) == list(range(6))
    for _, train, test in folds:
        assert not set(groups[train]) & set(groups[test])


def test_training_set_apart_is_trained_on_whole():
    data = make_nuclei(n_images=2, shape=(32, 32), n_nuclei=2, random_state=0)
    images, masks, groups = list(data.images), list(data.masks), np.array(["p", "q"])
    train = datasets.DataSet("a", images, masks, ["0", "1"], groups, [1, 1])
    test = datasets.replace(train, name="b", train=train)
    ((source, used, predicted),) = rows._folds(test)
    assert source is train and list(used) == list(predicted) == [0, 1]


def test_quick_check_refuses_wrong_scores():
    def run(row, aji):
        scores = {"full": {"aji": np.array([aji])}}
        return {"dataset": "monuseg-quick", "row": row, "scores": scores}

    quick.check([run("otsu-watershed", 0.5), run("psmlearn-default", 0.6)])
    for wrong in (
        [run("otsu-watershed", 0.4)],
        [run("otsu-watershed", 0.5), run("psmlearn-default", 0.45)],
        [run("psm-paper", np.nan)],
        [run("psm-paper", 1.5)],
    ):
        with pytest.raises(SystemExit, match="wrong"):
            quick.check(wrong)


def test_missing_data_are_told(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="no data set"):
        run_command(monkeypatch, "--data", tmp_path, "--output", tmp_path / "out")


@given(array=arrays(np.uint8, array_shapes(min_dims=2, max_dims=3, max_side=9)))
def test_centre_crop_takes_the_middle(array):
    crop = datasets.centre_crop(array, 4)
    assert crop.shape[:2] == (min(4, array.shape[0]), min(4, array.shape[1]))
    height, width = array.shape[:2]
    top, left = max(0, (height - 4) // 2), max(0, (width - 4) // 2)
    np.testing.assert_array_equal(crop, array[top : top + 4, left : left + 4])
