# SPDX-License-Identifier: BSD-3-Clause
"""The command line."""

from __future__ import annotations

import csv
import importlib
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fixed_model import FixedModel
from numpy.testing import assert_array_equal
from skimage.io import imsave

import psmlearn
from psmlearn import PseudoLabelSegmenter, _cli
from psmlearn._cli import _chain
from psmlearn._cli._ledger import LEDGER_NAME
from psmlearn._cli._record import RUN_NAME
from psmlearn.datasets import load_sample_images, make_nuclei
from psmlearn.io import (
    check_images,
    read_image,
    read_labels,
    read_points,
)
from psmlearn.measure import h_score, stain_intensity

KINDS = {"overlay.png", "map.png", "labels.tif", "nuclei.csv", "nuclei.geojson"}


@pytest.fixture
def fixed_model(monkeypatch):
    """Replace training; what it was asked for is in the list."""
    calls = []

    def train(chain, batch):
        calls.append((batch, chain))
        return FixedModel()

    monkeypatch.setattr(_chain, "train", train)
    return calls


@pytest.fixture
def folder(tmp_path):
    """Three images, two of which share a stem, and a file that is none."""
    folder = tmp_path / "tissue"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "a.tif", "b.png"):
        pixels = rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)
        imsave(folder / name, pixels, check_contrast=False)
    (folder / "notes.txt").write_text("no image")
    return folder


def run(*arguments):
    return CliRunner().invoke(_cli.main, ["segment", *map(str, arguments)])


def test_every_image_of_a_folder_gets_its_files(fixed_model, folder, tmp_path):
    done = run(folder, "--output", tmp_path / "deep" / "out", "--pixel-size", "0.5")
    assert done.exit_code == 0, done.output
    names = {path.name for path in (tmp_path / "deep" / "out").iterdir()}
    files = {f"{n}_{kind}" for n in ("a", "a-2", "b") for kind in KINDS}
    assert names == files | {LEDGER_NAME, RUN_NAME}
    assert "3 nuclei in 3 images" in done.output
    assert "b: 1 nucleus, mean area 5.0 square micrometres" in done.output
    assert str(tmp_path / "deep" / "out") in done.output.splitlines()[-1]


def test_the_files_hold_what_was_found(fixed_model, folder, tmp_path):
    done = run(folder / "b.png", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    out = tmp_path / "out"
    labels = read_labels(out / "b_labels.tif")
    assert_array_equal(labels, FixedModel().predict([folder / "b.png"])[0])
    overlay = read_image(out / "b_overlay.png")
    assert_array_equal(overlay[8:], read_image(folder / "b.png")[8:])
    assert_array_equal(overlay[3, 2], [255, 225, 25])
    assert read_image(out / "b_map.png").shape == (16, 20, 3)
    with open(out / "b_nuclei.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["label"] == "1"
    assert float(row["area_um2"]) == 20 * 0.25**2
    assert (float(row["centroid_row"]), float(row["centroid_column"])) == (1.5, 2.0)
    assert float(row["mean_haematoxylin_od"]) >= 0 and "mean_dab_od" not in row


def test_an_image_without_nuclei(fixed_model, folder, tmp_path, monkeypatch):
    empty = [np.zeros((16, 20), dtype=np.int32)]
    monkeypatch.setattr(FixedModel, "predict", lambda self, images: empty)
    done = run(folder / "b.png", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "b: 0 nuclei\n" in done.output
    table = (tmp_path / "out" / "b_nuclei.csv").read_text(encoding="utf-8")
    assert table.splitlines()[0].startswith("image,label,centroid_row")
    assert len(table.splitlines()) == 1


def test_options_reach_the_training(fixed_model, folder, tmp_path):
    done = run(
        *(folder, "-o", tmp_path / "out", "--quiet", "--device", "cpu"),
        *("--max-epochs", 3, "--random-state", 7),
    )
    assert done.exit_code == 0, done.output
    ((batch, chain),) = fixed_model
    assert [Path(path).name for path in batch.paths] == ["a.png", "a.tif", "b.png"]
    told = chain.get_params()
    assert (told["random_state"], told["verbose"], told["n_rounds"]) == (7, 0, 2)
    assert told["warm_rounds"] is True
    for part in ("segmenter", "labeler__maps"):
        assert told[f"{part}__max_epochs"] == 3
        assert told[f"{part}__device"] == "cpu"
    assert (
        told["segmenter__pixel_size"] == told["labeler__clusters__pixel_size"] == 0.25
    )


@pytest.mark.parametrize("classes", [None, "ki67"])
def test_a_quick_training_is_the_same_chain_with_fewer_steps(classes):
    batch = check_images([np.full((32, 32, 3), 200, np.uint8)])
    full, quick = (
        _chain.make_chain(
            batch, 0.5, _chain.Training(None, 7, "cpu", classes, quick=each), 0
        )
        for each in (False, True)
    )
    assert (quick.n_rounds, quick.warm_rounds) == (1, False)
    assert full.warm_rounds is (classes is None)
    for part, other in (
        (quick.segmenter, full.segmenter),
        *([] if classes else [(quick.labeler["maps"], full.labeler["maps"])]),
    ):
        told, wanted = part.get_params(), other.get_params()
        changed = {name for name in wanted if told[name] != wanted[name]}
        assert "max_epochs" in changed and changed <= {
            *("max_epochs", "steps_per_epoch", "patch_size"),
            *("early_stopping", "appearance_randomisation"),
        }
        cost = [
            each["max_epochs"]
            * each["steps_per_epoch"]
            * each["batch_size"]
            * each["patch_size"] ** 2
            for each in (told, wanted)
        ]
        assert cost[0] < cost[1] / 4
    training = _chain.Training(2, 7, "cpu", classes, quick=True)
    shorter = _chain.make_chain(batch, 0.5, training, 0)
    assert shorter.segmenter.max_epochs == 2


def test_quick_reaches_the_training(fixed_model, folder, tmp_path):
    done = run(folder, "-o", tmp_path / "out", "--quick")
    assert done.exit_code == 0, done.output
    assert fixed_model[0][1].n_rounds == 1


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_classes_give_points_and_the_labelling_index(
    fixed_model, folder, tmp_path, monkeypatch
):
    def mask_of(name):
        """One positive and two negative nuclei; none at all in b.png."""
        mask = np.zeros((16, 20, 2), dtype=np.int32)
        if name != "b.png":
            for number, (column, kind) in enumerate([(0, 1), (6, 2), (12, 2)], 1):
                mask[2:5, column : column + 4] = number, kind
        return mask

    def predict(self, images):
        return [mask_of(Path(path).name) for path in images.paths]

    monkeypatch.setattr(FixedModel, "predict", predict)
    out = tmp_path / "out"
    done = run(folder, "-o", out, "--classes", "ki67")
    assert done.exit_code == 0, done.output
    assert fixed_model[0][1].labeler.classes == "ki67"
    kinds = KINDS - {"map.png"} | {"points.csv"}
    files = {f"{name}_{kind}" for name in ("a", "a-2", "b") for kind in kinds}
    assert {path.name for path in out.iterdir()} == files | {
        "labelling_index.csv",
        LEDGER_NAME,
        RUN_NAME,
    }
    labels = read_labels(out / "a_labels.tif")
    assert_array_equal(labels, mask_of("a.png"))
    points = read_points(out / "a_points.csv")
    assert points.tolist() == [[3.0, 1.5, 1.0], [3.0, 7.5, 2.0], [3.0, 13.5, 2.0]]
    assert read_points(out / "b_points.csv").shape == (0, 3)
    assert [row["class"] for row in read_rows(out / "a_nuclei.csv")] == ["1", "2", "2"]
    images = [read_image(folder / name) for name in ("a.png", "a.tif", "b.png")]
    masks = [mask_of(name) for name in ("a.png", "a.tif", "b.png")]
    intensity = stain_intensity(images, masks)
    nuclei = read_rows(out / "a_nuclei.csv")
    dab = [float(row["mean_dab_od"]) for row in nuclei]
    assert dab == pytest.approx(intensity[0], abs=1e-5) and min(dab) > 0
    (blue,) = stain_intensity(
        images[:1], masks[:1], stain="haematoxylin", counterstain="dab"
    )
    found = [float(row["mean_haematoxylin_od"]) for row in nuclei]
    assert found == pytest.approx(blue, abs=1e-5)
    # The two classes have outlines of two colours.
    overlay = read_image(out / "a_overlay.png")
    assert not np.array_equal(overlay[2, 0], overlay[2, 6])
    assert_array_equal(overlay[2, 6], overlay[2, 12])
    rows = {row["image"]: row for row in read_rows(out / "labelling_index.csv")}
    assert list(rows) == ["a", "a-2", "b", "all"]
    counts = [(row["n_positive"], row["n_negative"]) for row in rows.values()]
    assert counts == [("1", "2"), ("1", "2"), ("0", "0"), ("2", "4")]
    assert float(rows["all"]["index"]) == pytest.approx(1 / 3)
    assert float(rows["all"]["low"]) < 1 / 3 < float(rows["all"]["high"])
    assert rows["b"]["index"] == "nan"
    assert "tumour cells" in rows["all"]["notice"]
    assert float(rows["all"]["h_score"]) == pytest.approx(h_score(intensity))
    per_image = h_score(intensity, average=None)
    scores = [float(rows[name]["h_score"]) for name in ("a", "a-2", "b")]
    assert scores == pytest.approx(list(per_image), nan_ok=True)
    assert f"H-score {h_score(intensity):.0f} of 300, Allred" in done.output
    assert "3 counted, at least 500" in rows["a"]["warnings"]
    assert "a: 3 nuclei (1 positive, 2 negative), mean area" in done.output
    assert "b: 0 nuclei (0 positive, 0 negative)\n" in done.output
    assert "Labelling index 33.3 %" in done.output
    assert "research use only" in done.output
    assert "Warning: " in done.output and "500" in done.output
    assert "labelling_index.csv" in done.output.splitlines()[-1]


def test_unknown_classes_are_refused(fixed_model, folder):
    done = run(folder, "--classes", "er")
    assert done.exit_code == 2 and "ki67" in done.output


@pytest.fixture
def small_training(monkeypatch):
    """Make few and small steps of both trainings; tell which parts were made small."""
    small = {"steps_per_epoch": 30, "batch_size": 2, "patch_size": 32}
    made = []

    def make_small(make, *arguments, **options):
        made.append(make(*arguments, **options).set_params(**small))
        return made[-1]

    for name in (
        "segmentation._defaults.SelfActivationMapper",
        "segmentation._defaults.NucleiSegmenter",
    ):
        module, attribute = f"psmlearn.{name}".rsplit(".", 1)
        real = getattr(importlib.import_module(module), attribute)
        monkeypatch.setattr(f"psmlearn.{name}", partial(make_small, real))
    return lambda: sorted(type(part).__name__ for part in made)


def run_on_synthetic_images(folder, *arguments, **options):
    """Run two epochs on two images; return the data and the output's folder."""
    data = make_nuclei(n_images=2, shape=(96, 96), random_state=0, **options)
    for index, image in enumerate(data.images):
        imsave(folder / f"{index}.png", image, check_contrast=False)
    out = folder / "out"
    done = run(folder, "-o", out, "--max-epochs", 2, "--device", "cpu", *arguments)
    assert done.exit_code == 0, done.output
    return data, out, done.output


@pytest.mark.slow
def test_it_trains_on_the_images_and_finds_nuclei(small_training, tmp_path):
    (tmp_path / "one.toml").write_text("[chain]\nn_rounds = 1\n")
    data, out, output = run_on_synthetic_images(
        tmp_path, "--config", tmp_path / "one.toml"
    )
    assert small_training() == ["NucleiSegmenter", "SelfActivationMapper"]
    labels = read_labels(out / "0_labels.tif")
    found, true = labels > 0, data.masks[0] > 0
    assert found.any() and found[true].mean() > found[~true].mean()
    assert f"0: {len(np.unique(labels[found]))} nucle" in output


def test_it_trains_on_two_classes(small_training, tmp_path):
    data, out, output = run_on_synthetic_images(
        tmp_path, "--classes", "ki67", stain="ki67", positive_fraction=0.5
    )
    assert small_training() == ["NucleiSegmenter"]
    labels = read_labels(out / "0_labels.tif")
    assert labels.shape == (96, 96, 2)
    found = labels[..., 0] > 0
    assert found.any() and set(labels[found][:, 1]) <= {1, 2}
    points = read_points(out / "0_points.csv")
    assert len(points) == len(np.unique(labels[found][:, 0]))
    *_, overall = read_rows(out / "labelling_index.csv")
    assert overall["image"] == "all"
    n_positive = [
        (read_points(out / f"{i}_points.csv")[:, 2] == 1).sum() for i in (0, 1)
    ]
    assert int(overall["n_positive"]) == sum(n_positive)
    assert "research use only" in output


def test_the_sample_image(fixed_model, tmp_path):
    done = run("--sample", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    files = {f"he_{n}_{kind}" for n in (1, 2, 3) for kind in KINDS}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files | {
        LEDGER_NAME,
        RUN_NAME,
    }
    assert fixed_model[0][1].segmenter.pixel_size == load_sample_images().pixel_size
    assert "that of the sample" in done.output
    run("--sample", "-o", tmp_path / "two", "--pixel-size", "0.4")
    assert fixed_model[1][1].segmenter.pixel_size == 0.4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--sample"),
        (["{folder}", "--sample"], "not both"),
        (["{folder}/none.png"], "none.png"),
        (["{folder}/notes.txt"], "notes.txt"),
        (["{folder}/empty"], "No image in the folder"),
        (["{folder}", "--pixel-size", "small"], "neither a number nor 'file'"),
        (["{folder}", "--pixel-size", "-1"], "pixel_size"),
        (["{folder}", "--pixel-size", "file"], "do not tell"),
        (["{folder}", "--max-epochs", "0"], "max-epochs"),
    ],
)
def test_bad_input_is_one_line_before_training(fixed_model, folder, arguments, message):
    (folder / "empty").mkdir()
    output = ["--output", str(folder / "out")]
    done = run(*(text.format(folder=folder) for text in arguments), *output)
    assert done.exit_code in (1, 2)
    assert message in done.output
    assert "Traceback" not in done.output
    assert isinstance(done.exception, SystemExit)


def test_the_module_runs():
    done = subprocess.run(
        [sys.executable, "-m", "psmlearn", "--version"],
        capture_output=True,
        text=True,
        cwd=Path(psmlearn.__file__).parents[1],
        timeout=60,
    )
    assert done.stdout.strip() == f"psmlearn, version {psmlearn.__version__}"


@pytest.mark.parametrize("classes", [None, "ki67"])
def test_it_fits_the_default_chain_with_its_options(monkeypatch, classes):
    made = []
    monkeypatch.setattr(
        PseudoLabelSegmenter, "fit", lambda self, X: made.append((self, X)) or self
    )
    image = np.full((32, 32, 3), 200, np.uint8)
    batch = check_images([image])
    training = _chain.Training(3, 7, "cpu", classes)
    model = _chain.train(_chain.make_chain(batch, 0.5, training, 0), batch)
    assert made == [(model, batch)]
    default = PseudoLabelSegmenter(classes=classes, pixel_size=0.5, device="cpu")
    for part, expected in zip(
        (model.labeler, model.segmenter), default._make_parts(batch), strict=True
    ):
        told, wanted = part.get_params(), expected.get_params()
        assert told.keys() == wanted.keys()
        for name, value in wanted.items():
            if name.endswith("max_epochs"):
                assert told[name] == 3 and value > 3
            elif not hasattr(value, "get_params") and name != "steps":
                assert told[name] == value, name
