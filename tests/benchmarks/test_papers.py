# SPDX-License-Identifier: BSD-3-Clause
"""The papers' own configurations in the benchmark: what they are, and that they run."""

import json

import numpy as np
import pytest
from sklearn.base import clone
from tiny_lgg import write_lgg

from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy import datasets, papers, rows, rows_weak, runner, weak
from psmlearn import ClassActivationMapper, NucleiSegmenter, PseudoLabelSegmenter
from psmlearn.datasets import make_nuclei
from psmlearn.networks import UNet


def read_configuration(folder):
    return json.loads((folder / "run.json").read_text())["configuration"]


def test_psm_is_told_whole():
    model = papers.make_psm(n_images=30)
    told = rows.tell(model)
    expected = {
        "labeler__maps__network": "res2net101_26w_4s",
        "labeler__maps": "SelfActivationMapper",
        "labeler__maps__pretext": "Similarity",
        "labeler__maps__pretext__loss_function": "l1",
        "labeler__maps__pretext__augment": False,
        "labeler__maps__max_epochs": 100,
        "labeler__maps__steps_per_epoch": 26,
        "labeler__maps__batch_size": 1,
        "labeler__maps__polarity": None,
        "labeler__clusters__n_clusters": 3,
        "labeler__clusters__fusion": "jet",
        "segmenter__targets": "Voronoi",
        "segmenter__targets__weight": 1.5,
        "segmenter__targets__mask_foreground": False,
        "segmenter__network": "resunet34",
        "segmenter__weights": None,
        "segmenter__max_epochs": 100,
        "segmenter__targets__detector": "NucleiDetector",
        "segmenter__targets__detector__merge_distance": 5.0,
        "segmenter__targets__detector__steps_per_epoch": 7,
    }
    assert {name: told[name] for name in expected} == expected
    json.dumps(told)
    # By parameters alone: public classes, and all of it survives cloning.
    assert type(model) is PseudoLabelSegmenter
    assert type(model.segmenter) is NucleiSegmenter
    assert rows.tell(clone(model)) == told


def test_crs_is_told_whole():
    model = papers.make_crs(n_images=1000)
    told = rows.tell(model)
    expected = {
        "base_channels": 64,
        "suppression_weight": 1.0,
        "resupervision": "ClusterResupervision",
        "resupervision__weight": 0.1,
        "resupervision__voting": "any",
        "resupervision__target": "one",
        "resupervision__area": "image",
        "resupervision__warm_up": 0.0,
        "reconstruction__weight": 0.1,
        "reconstruction__mask_fraction": 0.01,
        "reconstruction__target_channel": 0,
        "refinement": None,
        "patch_size": 240,
        "learning_rate": 1e-5,
        "max_epochs": 40,
        "steps_per_epoch": 63,
    }
    assert {name: told[name] for name in expected} == expected
    json.dumps(told)
    assert type(model) is ClassActivationMapper
    assert rows.tell(clone(model)) == told


@pytest.mark.parametrize("length", ["cpu", "quick"])
def test_lengths_alone_differ(length):
    shorter = {"max_epochs", "steps_per_epoch", "batch_size", "network", "layers"}
    shorter |= {"base_channels", "patch_size"}
    for make in (papers.make_psm, papers.make_crs):
        literal, short = rows.tell(make()), rows.tell(make(length=length))
        changed = {
            name.split("__")[-1] for name in literal if literal[name] != short[name]
        }
        assert changed and changed <= shorter


@pytest.mark.slow
def test_psm_runs_on_tiny_images():
    data = make_nuclei(n_images=2, shape=(64, 80), n_nuclei=8, random_state=0)
    images, masks = list(data.images), list(data.masks)
    dataset = datasets.DataSet(
        "x", images, masks, ["a", "b"], np.array(["a", "b"]), [0.25] * 2
    )
    found, details = rows.ROWS["psm-paper"].run(dataset, 0, True)
    assert [mask.shape for mask in found] == [(64, 80)] * 2
    told = details["configuration"]
    assert told["training_crop"] == told["segmenter__patch_size"] == 64
    assert told["labeler__maps__polarity"] is None
    assert told["random_state"] == 0


def test_sign_by_stain_is_all_that_differs_in_the_other_row():
    literal, signed = rows.ROWS["psm-paper"].run, rows.ROWS["psm-paper-signed"].run
    assert signed.func is literal
    told = rows.tell(papers.make_psm(**signed.keywords))
    expected = rows.tell(papers.make_psm())
    assert told == expected | {"labeler__maps__polarity": "haematoxylin"}


def small_unet(in_channels, out_channels):
    return UNet(in_channels, out_channels, base_channels=4, depth=3)


@pytest.mark.slow
def test_crs_runs_in_quick_mode(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "run_in_process", runner.run_row)
    # The rows beside the paper's are there to be compared with: smaller ones will do.
    monkeypatch.setattr(rows_weak, "MAPPER", {"base_channels": 4})
    unet = rows_weak.UNET | {"network": small_unet}
    monkeypatch.setattr(rows_weak, "UNET", unet)
    data, output = write_lgg(tmp_path / "data"), tmp_path / "out"
    arguments = ["--data", data, "--output", output, "--quick", "--rows"]
    arguments += ["flair-label", "cam-plain", "crs-paper", "crs-unet"]
    monkeypatch.setattr("sys.argv", ["accuracy", *map(str, arguments)])
    command.main()
    folder = output / "lgg-quick/crs-paper/seed-0"
    assert read_configuration(folder)["resupervision__voting"] == "any"
    dataset = datasets.quick(datasets.load("lgg", data))
    outcome = command.read_outcome(
        folder, dataset, json.loads((folder / "run.json").read_text())
    )
    # Its maps are not refined: nothing besides what is predicted, and the gate.
    assert set(outcome.counts) == {weak.PLAIN, weak.GATED}
    assert "CRS, the paper's configuration" in (output / "weak_table.md").read_text()
    plain = read_configuration(output / "lgg-quick/cam-plain/seed-0")
    assert plain["steps_per_epoch"] == rows_weak.QUICK["steps_per_epoch"]


def test_quick_slices_are_of_patients_with_both_labels(tmp_path):
    whole = datasets.load("lgg", write_lgg(tmp_path))
    dataset = datasets.quick(whole)
    assert len(set(dataset.groups)) == datasets.QUICK_PATIENTS
    for patient in set(dataset.groups):
        shown = dataset.image_labels[dataset.groups == patient] > 0
        assert 0 < shown.sum() <= datasets.QUICK_SLICES and not shown.all()
    places = [whole.names.index(name) for name in dataset.names]
    assert places == sorted(places)
    for place, image in zip(places, dataset.images, strict=True):
        assert image is whole.images[place]


def test_what_takes_a_night_runs_by_name_alone(monkeypatch):
    monkeypatch.setattr(command.torch.cuda, "is_available", lambda: False)
    assert set(runner.ALL_ROWS) - set(command._default_rows(False)) == {"crs-paper"}
    assert not runner.rows_of("weak", command._default_rows(True))
    assert papers.choose_length(False) == "cpu"
    monkeypatch.setattr(command.torch.cuda, "is_available", lambda: True)
    assert command._default_rows(False) == list(runner.ALL_ROWS)
    assert papers.choose_length(False) == "paper" != papers.choose_length(True)
