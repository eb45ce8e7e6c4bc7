# SPDX-License-Identifier: BSD-3-Clause
"""Masks from image labels in the benchmark: folds that resume, and tables."""

import csv
import json
import subprocess

import numpy as np
import pytest
from tiny_lgg import write_lgg, write_patients

from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy import (
    datasets,
    folds,
    rows_weak,
    runner,
    weak,
)
from psmlearn import ClassActivationMapper, RegionSegmenter
from psmlearn.io import read_labels
from psmlearn.networks import UNet
from psmlearn.weak import Reconstruction

FIRST = "TCGA_AA_0000"


def small_unet(in_channels, out_channels):
    return UNet(in_channels, out_channels, base_channels=4, depth=3)


@pytest.fixture
def lgg_folder(tmp_path):
    return write_lgg(tmp_path / "data")


@pytest.fixture(autouse=True)
def _short_training(monkeypatch):
    short = {"max_epochs": 1, "steps_per_epoch": 2, "batch_size": 4}
    mapper = {**short, "patch_size": 32, "base_channels": 4, "threshold": 0.3}
    monkeypatch.setattr(rows_weak, "MAPPER", mapper)
    monkeypatch.setattr(rows_weak, "UNET", rows_weak.UNET | short)
    monkeypatch.setattr(command, "run_in_process", runner.run_row)


def run_command(monkeypatch, data, output, *options):
    arguments = ["--data", data, "--output", output, *options]
    monkeypatch.setitem(rows_weak.UNET, "network", small_unet)
    monkeypatch.setattr("sys.argv", ["accuracy", *map(str, arguments)])
    command.main()


def read_table(output):
    return list(csv.DictReader((output / "weak_table.csv").read_text().splitlines()))


def find_line(lines, **wanted):
    (line,) = [one for one in lines if matches(one, gain_over="", **wanted)]
    return line


def matches(line, **wanted):
    return all(line.get(name, "") == value for name, value in wanted.items())


def slow_dice(true, pred):
    both = sum(bool(t) and bool(p) for t, p in zip(true.flat, pred.flat, strict=True))
    total = np.count_nonzero(true) + np.count_nonzero(pred)
    return 2 * both / total if total else 1.0


def slow_scores(dataset, masks, chosen):
    """Compute slice and volume Dice, and clean slices, pixel by pixel."""
    lesions = [i for i in chosen if dataset.masks[i].any()]
    empty = [i for i in chosen if not dataset.masks[i].any()]
    volumes = []
    for patient in sorted({dataset.groups[i] for i in chosen}):
        own = [i for i in chosen if dataset.groups[i] == patient]
        volumes.append(
            slow_dice(
                np.stack([dataset.masks[i] for i in own]),
                np.stack([masks[i] for i in own]),
            )
        )
    return {
        "slice_dice": np.mean([slow_dice(dataset.masks[i], masks[i]) for i in lesions]),
        "volume_dice": np.mean(volumes),
        "clean": np.mean([not masks[i].any() for i in empty]),
    }


@pytest.mark.slow
def test_numbers_of_the_table_are_those_of_the_masks(lgg_folder, tmp_path, monkeypatch):
    output = tmp_path / "out"
    rows = ["flair-label", "cam-plain", "cam-crs", "crs-unet", "supervised-regions"]
    run_command(
        monkeypatch,
        lgg_folder,
        output,
        "--rows",
        *rows,
        "--figures",
        tmp_path / "figures",
    )
    dataset = datasets.load("lgg", lgg_folder)
    assert dataset.images[0].shape == (32, 32, 3) and dataset.flair == 1
    lines = read_table(output)
    by_fold = {fold: test for fold, (_, test) in enumerate(weak.split(dataset))}
    parts = {"development": (0, 1), "report": (2, 3), "all": (0, 1, 2, 3)}
    for row in rows:
        folder = output / "lgg" / row / "seed-0"
        masks = [read_labels(folder / "masks" / f"{n}.tif") for n in dataset.names]
        for part, numbers in parts.items():
            chosen = sorted(np.concatenate([by_fold[n] for n in numbers]))
            line = find_line(lines, row=row, prediction="plain", part=part, seed="0")
            for name, value in slow_scores(dataset, masks, chosen).items():
                assert float(line[name]) == pytest.approx(value, abs=1e-6)
        record = json.loads((folder / "run.json").read_text())
        seconds = [fold["fit_seconds"] for fold in record["folds"]]
        assert record["fit_seconds"] == pytest.approx(sum(seconds))
        assert min(fold["fit_cpu_seconds"] for fold in record["folds"]) >= 0
        assert all(fold["threads"] and fold["commit"] for fold in record["folds"])
    text = (output / "weak_table.md").read_text()
    assert "### lgg, 24 slices of 4 patients" in text
    assert "report: 12 slices, 6 of them with a lesion, 2 patients" in text
    assert (tmp_path / "figures/lgg-overlays.png").stat().st_size < 300_000
    # The labeler of the chain is the mapper of the same seed and fold.
    own = find_line(lines, row="cam-crs", prediction="plain", part="all", seed="0")
    labeler = find_line(
        lines, row="crs-unet", prediction="labeler", part="all", seed="0"
    )
    assert own["slice_dice"] == labeler["slice_dice"]
    assert own["image_auc"] and own["volume_dice"] == labeler["volume_dice"]
    check_gains(lines)


def check_gains(lines):
    """Compare the gains in the table with differences of its own scores."""
    gains = [line for line in lines if line["gain_over"]]
    assert {(g["row"], g["gain_over"]) for g in gains} >= {
        ("cam-crs", "cam-plain, plain"),
        ("crs-unet", "crs-unet, labeler"),
    }
    for gain in gains:
        row, variant = gain["gain_over"].split(", ")
        sides = []
        for name, kind in ((gain["row"], gain["prediction"]), (row, variant)):
            wanted = {"row": name, "part": gain["part"], "gain_over": "", "seed": "0"}
            # A gate that changes nothing has no line of its own.
            found = [
                [line for line in lines if matches(line, **wanted, prediction=one)]
                for one in (kind, "plain")
            ]
            sides.append((found[0] or found[1])[0])
        for name in weak.DICE:
            expected = float(sides[0][name]) - float(sides[1][name])
            assert float(gain[f"gain_{name}"]) == pytest.approx(expected, abs=3e-6)
            low, high = (float(gain[f"gain_{name}_{end}"]) for end in ("low", "high"))
            assert low <= expected + 1e-5 and high >= expected - 1e-5


def test_gated_masks_are_those_of_require_presence(lgg_folder):
    dataset = datasets.load("lgg", lgg_folder)
    train, test = weak.split(dataset)[0]
    model = rows_weak.make_mapper(dataset, seed=3, quick=False)
    images = [dataset.images[i] for i in test]
    model.fit(
        [dataset.images[i] for i in train], image_labels=dataset.image_labels[train]
    )
    scores, shown, _ = rows_weak.judge_mapper(model, images)
    np.testing.assert_allclose(scores, model.predict_image_proba(images)[:, 1])
    masks = [np.zeros_like(mask) for mask in dataset.masks]
    of_test, every = dict(zip(test, model.predict(images), strict=True)), len(masks)
    masks = [of_test.get(i, masks[i]) for i in range(every)]
    told = np.zeros(every, bool)
    told[test] = shown
    outcome = weak.make_outcome(dataset, {"plain": masks}, told, told, told)
    gated = model.set_params(require_presence=True).predict(images)
    expected = weak.count([dataset.masks[i] for i in test], gated)
    np.testing.assert_array_equal(outcome.counts["gated"][test], expected)


def interrupt_after(monkeypatch, n_fits):
    """Let no more than so many models be trained."""
    fits = []
    fit = rows_weak.ClassActivationMapper.fit

    def fit_or_stop(self, *arguments, **options):
        if len(fits) == n_fits:
            raise KeyboardInterrupt
        fits.append(self)
        return fit(self, *arguments, **options)

    monkeypatch.setattr(rows_weak.ClassActivationMapper, "fit", fit_or_stop)
    return fits


def read_masks(folder):
    return {path.name: read_labels(path) for path in (folder / "masks").glob("*.tif")}


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_next_fold(lgg_folder, tmp_path, monkeypatch):
    options = ["--rows", "cam-crs", "--seeds", 1]
    run_command(monkeypatch, lgg_folder, tmp_path / "whole", *options)
    output = tmp_path / "out"
    folder = output / "lgg/cam-crs/seed-1"
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            run_command(monkeypatch, lgg_folder, output, *options)
    assert not runner.is_finished(folder)
    kept = {path.name: path.read_bytes() for path in folder.glob("fold-*")}
    assert sorted(kept) == [
        f"fold-{n}.{end}" for n in (0, 1) for end in ("json", "npz")
    ]
    with monkeypatch.context() as patch:
        fits = interrupt_after(patch, 4)
        run_command(monkeypatch, lgg_folder, output, *options)
    assert len(fits) == 2
    assert all((folder / name).read_bytes() == text for name, text in kept.items())
    whole = read_masks(tmp_path / "whole/lgg/cam-crs/seed-1")
    resumed = read_masks(folder)
    assert len(whole) == 24
    for name, mask in whole.items():
        np.testing.assert_array_equal(resumed[name], mask)
    scores = ("slice_dice", "volume_dice", "clean", "image_auc", "image_accuracy")
    tables = [read_table(place) for place in (tmp_path / "whole", output)]
    for one, other in zip(*tables, strict=True):
        assert [one[name] for name in scores] == [other[name] for name in scores]
    # A finished run is left alone.
    with monkeypatch.context() as patch:
        fits = interrupt_after(patch, 0)
        run_command(monkeypatch, lgg_folder, output, *options)
    assert not fits


def test_folds_of_other_parameters_are_run_again(lgg_folder, tmp_path, monkeypatch):
    options = ["--rows", "cam-plain", "--seeds", 0]
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            run_command(monkeypatch, lgg_folder, tmp_path / "out", *options)
    monkeypatch.setitem(rows_weak.MAPPER, "steps_per_epoch", 1)
    fits = interrupt_after(monkeypatch, 5)
    run_command(monkeypatch, lgg_folder, tmp_path / "out", *options)
    assert len(fits) == 4
    record = json.loads((tmp_path / "out/lgg/cam-plain/seed-0/run.json").read_text())
    steps = {fold["configuration"]["steps_per_epoch"] for fold in record["folds"]}
    assert steps == {1}


def test_a_fold_of_one_label_is_told_and_left_out(tmp_path, monkeypatch):
    # Without the first patient, no training image has a lesion.
    lesions = [[False, True, True, False]] + [[False] * 4] * 3
    data, output = write_patients(tmp_path / "data", lesions), tmp_path / "out"
    rows = ["flair-label", "flair-threshold", "cam-plain"]
    run_command(monkeypatch, data, output, "--rows", *rows)
    dataset = datasets.load("lgg", data)
    (alone,) = [
        fold
        for fold, (_, test) in enumerate(weak.split(dataset))
        if FIRST in dataset.groups[test]
    ]
    text = (output / "weak_table.md").read_text()
    told = f"the 12 training images of fold {alone} all have the label 0; left out"
    assert text.count(told) == len(rows)
    assert "1, 3 of 4 folds" in text
    for row in rows:
        line = find_line(
            read_table(output), row=row, prediction="plain", part="all", seed="0"
        )
        assert line["folds"] == "3 of 4"
        # No lesion is left to be found, but false alarms are counted.
        assert line["slice_dice"] == "nan"
        masks = read_masks(output / "lgg" / row / "seed-0")
        own = [mask for name, mask in masks.items() if FIRST not in name]
        clean = np.mean([not mask.any() for mask in own])
        assert float(line["clean"]) == pytest.approx(clean, abs=1e-6)


def test_labels_of_one_kind_stop_no_other_data_set(tmp_path, monkeypatch):
    data = write_patients(tmp_path / "data", [[True] * 2] * 4)

    def run_as_process(*arguments):
        try:
            runner.run_row(*arguments)
        except ValueError as error:
            assert "no fold could be run: the 6 training images" in str(error)
            raise subprocess.CalledProcessError(1, "row") from error

    monkeypatch.setattr(command, "run_in_process", run_as_process)
    with pytest.raises(SystemExit, match="failed.*cam-plain, seed 0.*cam-crs, seed 0"):
        run_command(
            monkeypatch, data, tmp_path / "out", "--rows", "cam-plain", "cam-crs"
        )


def test_quick_mode_leaves_weak_sets_out(lgg_folder, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="no data set"):
        run_command(monkeypatch, lgg_folder, tmp_path / "out", "--quick")


def test_rows_differ_in_their_losses_alone(lgg_folder):
    dataset = datasets.load("lgg", lgg_folder)
    off = {
        "cam-plain": {"resupervision", "reconstruction"},
        "cam-unsuppressed": {"resupervision", "reconstruction", "suppression_weight"},
        "cam-rec": {"resupervision"},
        "cam-cluster": {"reconstruction"},
        "cam-crs": set(),
    }
    told = {name: tell_row(name, dataset, 5) for name in off}
    whole = told["cam-crs"]
    assert whole["random_state"] == 5 and whole["refinement"] == "cluster"
    for name, missing in off.items():
        assert told[name] == whole | {
            key: 0 if key.endswith("_weight") else None for key in missing
        }
    unet = _method("supervised-regions").make(dataset, 5, False)
    assert type(unet) is RegionSegmenter and unet.patch_size == 32
    assert unet.network == "unet_in" and unet.jitter == 3 and unet.min_area == 0
    assert unet.value_range is None and unet.pixel_size == 1000
    assert runner.rows_of("weak", list(runner.ALL_ROWS)) == list(rows_weak.ROWS_WEAK)


def test_folds_are_compared_by_what_is_inside_options():
    def record(**options):
        model = ClassActivationMapper(reconstruction=Reconstruction(**options))
        told = _method("cam-crs").tell(model)
        return {"fold": 0, "test": ["a"], "configuration": told}

    kept = json.loads(json.dumps(record(mask_fraction=0.5)))
    assert folds._same(kept, record(mask_fraction=0.5))
    assert not folds._same(kept, record(mask_fraction=0.1))


def tell_row(name, dataset, seed):
    method = _method(name)
    return method.tell(method.make(dataset, seed, False))


def _method(name) -> folds.Method:
    return rows_weak.ROWS_WEAK[name].run.args[0]
