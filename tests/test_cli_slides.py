# SPDX-License-Identifier: BSD-3-Clause
"""Whole slides on the command line."""

from __future__ import annotations

import csv
import errno
import gzip
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from skimage.io import imsave

from psmlearn import NucleiSegmenter, PseudoLabelSegmenter, _cli
from psmlearn._cli import _chain
from psmlearn._cli._ledger import LEDGER_NAME
from psmlearn._cli._record import RUN_NAME
from psmlearn.datasets import make_nuclei, make_slide
from psmlearn.io import Slide
from psmlearn.persistence import save_model
from psmlearn.slides import _stages

KINDS = ("labels.ome.tif", "nuclei.geojson.gz", "nuclei.csv", "tissue.png")
KINDS = (*KINDS, "slide.json")
STAGES_BEFORE = dict(_stages.STAGES)


def run(*arguments):
    return CliRunner().invoke(_cli.main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def data():
    return make_nuclei(3, (160, 160), n_nuclei=40, random_state=0)


@pytest.fixture(scope="module")
def segmenter(data):
    return _small(max_epochs=2, steps_per_epoch=20).fit(data.images, data.masks)


def _small(**options):
    settings = {"batch_size": 4, "patch_size": 64}
    settings |= {"tile_size": 256, "early_stopping": False, "device": "cpu"}
    return NucleiSegmenter(**settings, pixel_size=0.25, random_state=0, **options)


@pytest.fixture
def model(segmenter, tmp_path):
    save_model(segmenter, tmp_path / "m.psm")
    return tmp_path / "m.psm"


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "a.ome.zarr"
    options = {"shape": (500, 700), "tissue": 0.8, "pen": False, "black": False}
    return make_slide(path, data.images, data.masks, random_state=0, **options)


@pytest.fixture
def folder(made, data, tmp_path):
    """A slide, an ordinary image, and a slide that is broken."""
    folder = tmp_path / "slides"
    folder.mkdir()
    (folder / "a.ome.zarr").symlink_to(made.path, target_is_directory=True)
    imsave(folder / "b.png", data.images[0], check_contrast=False)
    return folder


@pytest.fixture
def trained(monkeypatch, segmenter):
    """Replace training; what it was given is in the list."""
    calls = []

    def train(chain, batch):
        calls.append((batch, chain))
        return segmenter

    monkeypatch.setattr(_chain, "train", train)
    return calls


def test_slides_are_segmented_beside_images(folder, model, tmp_path):
    (folder / "bad.svs").write_bytes(b"II*\0 and nothing more")
    out = tmp_path / "out"
    done = run("apply", folder, "--model", model, "-o", out)
    assert done.exit_code == 3, done.output
    assert "bad.svs" in done.output.splitlines()[-1]
    files = {f"a_{kind}" for kind in KINDS} | {LEDGER_NAME, RUN_NAME}
    images = {"overlay.png", "labels.tif", "nuclei.csv", "nuclei.geojson"}
    files |= {f"b_{kind}" for kind in images}
    assert {path.name for path in out.iterdir()} == files
    told = json.loads((out / "a_slide.json").read_text(encoding="utf-8"))
    with open(out / "a_nuclei.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == told["n_nuclei"] > 20
    with gzip.open(out / "a_nuclei.geojson.gz") as file:
        assert len(json.load(file)["features"]) == told["n_nuclei"]
    with Slide(out / "a_labels.ome.tif") as labels:
        assert labels.shape == (500, 700)
        assert labels.view().read(0, 0, 500, 700).max() == told["n_nuclei"]
    record = json.loads((out / RUN_NAME).read_text(encoding="utf-8"))
    of_input = {each["name"]: each for each in record["inputs"]}
    assert of_input["a"]["n_nuclei"] == told["n_nuclei"]
    assert of_input["a"]["slide"] and "slide" not in of_input["b"]
    assert "bad.svs" in of_input["bad"]["error"]
    (folder / "bad.svs").unlink()
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = run("apply", folder, "--model", model, "-o", out, "--resume")
    assert again.exit_code == 0, again.output
    assert "2 images of 2 were done before" in again.output
    after = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert {p.name for p in before if after[p] != before[p]} <= {RUN_NAME, LEDGER_NAME}


@pytest.mark.parametrize("alone", [True, False])
def test_the_report_tells_of_slides(folder, model, tmp_path, alone):
    if alone:
        (folder / "b.png").unlink()
    out = tmp_path / "out"
    done = run("apply", folder, "--model", model, "-o", out, "--report")
    assert done.exit_code == 0, done.output
    text = (out / "report.html").read_text(encoding="utf-8")
    told = json.loads((out / "a_slide.json").read_text(encoding="utf-8"))
    density = f"{told['n_nuclei'] / told['tissue_mm2']:,.0f}"
    assert f"<td>a</td><td>{told['n_nuclei']:,}</td>" in text
    assert f"<td>{density}</td><td>0</td>" in text and "tissue of a" in text
    assert ("b.png" in text) is not alone
    heading = "1 slide in out" if alone else "1 image and 1 slide in out"
    assert f"<h1>{heading}</h1>" in text
    # Each link of the page has its section, and each section its link.
    links = set(re.findall(r'<li><a href="#([a-z]+)"', text))
    assert links == set(re.findall(r'<section id="([a-z]+)"', text))
    assert ("images" in links) is not alone and "slides" in links
    written = next(line for line in done.output.splitlines() if "written to" in line)
    assert ("*_overlay.png" in written) is not alone and "*_tissue.png" in written


def test_a_foreign_file_is_never_replaced(folder, model, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_nuclei.csv").write_text("mine")
    done = run("apply", folder, "-m", model, "-o", out, "--overwrite")
    assert done.exit_code == 1
    assert "a_nuclei.csv (not written by psmlearn)" in done.output
    assert (out / "a_nuclei.csv").read_text() == "mine"
    assert {path.name for path in out.iterdir()} == {"a_nuclei.csv"}


def test_training_draws_fields_of_slides(folder, trained, tmp_path):
    (folder / "b.png").unlink()
    model = tmp_path / "new.psm"
    options = ("--fields", 5, "--field-size", 96, "--random-state", 2)
    done = run("train", folder, "--model", model, *options)
    assert done.exit_code == 0, done.output
    ((batch, chain),) = trained
    assert [image.shape for image in batch] == [(96, 96, 3)] * 5
    assert chain.segmenter.pixel_size == 0.25
    assert "5 fields of 1 slide drawn from tissue, without labels" in done.output
    record = json.loads(model.with_suffix(".run.json").read_text(encoding="utf-8"))
    assert len(record["fields"]) == 5 and record["fields"][0]["slide"] == "a.ome.zarr"
    config = model.with_suffix(".toml").read_text(encoding="utf-8")
    assert "fields = 5\nfield_size = 96\n" in config
    again = run("train", folder, "-m", model, "--resume", *options)
    assert "is trained already" in again.output
    other = ("--config", model.with_suffix(".toml"), "-m", tmp_path / "other.psm")
    assert run("train", folder, *other).exit_code == 0
    for one, two in zip(trained[0][0], trained[1][0], strict=True):
        np.testing.assert_array_equal(one, two)


def test_images_and_slides_are_trained_on_together(folder, trained, tmp_path):
    options = ("--fields", 2, "--field-size", 64, "--pixel-size", 0.5)
    done = run("train", folder, "--model", tmp_path / "n.psm", *options)
    assert done.exit_code == 0, done.output
    ((batch, chain),) = trained
    assert [image.shape[0] for image in batch] == [160, 64, 64]
    assert chain.segmenter.pixel_size == 0.5


def test_segment_trains_and_finds(folder, trained, tmp_path):
    out = tmp_path / "out"
    done = run("segment", folder / "a.ome.zarr", "-o", out, "--fields", 3)
    assert done.exit_code == 0, done.output
    assert {p.name for p in out.iterdir()} >= {f"a_{kind}" for kind in KINDS}
    assert "in 1 slide" in done.output


def test_a_slide_that_tells_no_pixel_size(made, model, tmp_path):
    from slides import write_pyramid

    with Slide(made.path) as slide:
        picture = slide.view().read(0, 0, 300, 400)
    write_pyramid(tmp_path / "plain.svs", picture)
    done = run(
        *("apply", tmp_path / "plain.svs", "-m", model, "-o", tmp_path / "out"),
        *("--pixel-size", 0.5),
    )
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "plain_slide.json").read_text(encoding="utf-8")
    told = json.loads(text)
    assert (told["pixel_size"], told["shape"]) == (0.25, [600, 800])


def test_one_kind_of_workers(folder, model, tmp_path):
    done = run(
        *("apply", folder, "-m", model, "-o", tmp_path / "out"),
        *("--workers", 2, "--scheduler", "tcp://nowhere:1"),
    )
    assert done.exit_code == 2 and "not both" in done.output


def test_a_model_that_segments_no_slides(folder, tmp_path, data):
    any_range = _small(max_epochs=1, steps_per_epoch=1, value_range=None)
    save_model(any_range.fit(data.images, data.masks), tmp_path / "v.psm")
    done = run("apply", folder, "-m", tmp_path / "v.psm", "-o", tmp_path / "out")
    assert done.exit_code == 1 and "train with a value_range" in done.output
    assert not (tmp_path / "out").exists()


def test_what_is_broken_off_goes_on(folder, model, tmp_path, monkeypatch):
    """A disk that is full stops a slide; the network is not asked again."""
    (folder / "b.png").unlink()
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run("apply", folder, "-m", model, "-o", whole).exit_code == 0
    asked = []

    def answer(*given, **known):
        asked.append(1)
        return STAGES_BEFORE["answer"](*given, **known)

    def full(*given, **known):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(_stages.STAGES, "answer", answer)
    monkeypatch.setitem(_stages.STAGES, "measure", full)
    done = run("apply", folder, "-m", model, "-o", out)
    assert done.exit_code == 3 and "No space left" in done.output
    assert len(asked) > 1 and not list(out.glob("a_*"))
    asked.clear()
    monkeypatch.setitem(_stages.STAGES, "measure", STAGES_BEFORE["measure"])
    done = run("apply", folder, "-m", model, "-o", out, "--resume")
    assert done.exit_code == 0 and not asked, done.output
    assert {p.name for p in out.iterdir()} == {p.name for p in whole.iterdir()}
    for kind in ("nuclei.csv", "slide.json"):
        path = f"a_{kind}"
        assert (out / path).read_bytes() == (whole / path).read_bytes()


def test_a_package_that_is_missing_is_named(folder, model, tmp_path, monkeypatch):
    def missing(*given, **known):
        raise ImportError("it needs imagecodecs: pip install psmlearn[wsi]")

    monkeypatch.setattr("psmlearn.io.Slide", missing)
    done = run("apply", folder, "-m", model, "-o", tmp_path / "out")
    assert done.exit_code == 3
    told = "a.ome.zarr: it needs imagecodecs: pip install psmlearn[wsi]"
    assert told in done.output.splitlines()[-1]
    done = run("apply", folder / "a.ome.zarr", "-m", model, "-o", tmp_path / "out2")
    assert done.exit_code == 1 and told in done.output
    assert isinstance(done.exception, SystemExit)


@pytest.mark.slow
def test_workers_find_the_same(folder, model, tmp_path):
    pytest.importorskip("distributed")
    here, there = tmp_path / "here", tmp_path / "there"
    for out, options in ((here, ()), (there, ("--workers", 2))):
        done = run("apply", folder, "-m", model, "-o", out, *options)
        assert done.exit_code == 0, done.output
    for kind in ("nuclei.csv", "slide.json", "labels.ome.tif"):
        path = f"a_{kind}"
        assert (here / path).read_bytes() == (there / path).read_bytes()


def test_info_tells_of_a_slide(made):
    done = run("info", made.path)
    assert done.exit_code == 0, done.output
    assert "size: 500 x 700 pixels" in done.output
    assert "pixel size: 0.25 micrometres" in done.output
    assert "levels: 500 x 700 (1), 125 x 175 (4)" in done.output


def test_classes_are_counted_over_slides_and_images(tmp_path, monkeypatch):
    nuclei = make_nuclei(3, (160, 160), n_nuclei=30, stain="ki67", random_state=0)
    chain = PseudoLabelSegmenter(
        segmenter=_small(max_epochs=1, steps_per_epoch=4),
        classes="ki67",
        random_state=0,
    )
    save_model(chain.fit(nuclei.images), tmp_path / "ki67.psm")
    images = nuclei.images
    options = {"shape": (400, 400), "tissue": 1.0, "pen": False, "black": False}
    make_slide(tmp_path / "a.ome.zarr", images, random_state=0, **options)
    imsave(tmp_path / "b.png", images[0])
    given = (tmp_path / "a.ome.zarr", tmp_path / "b.png")
    options = ("--model", tmp_path / "ki67.psm", "--output", tmp_path / "out")
    done = run("apply", *given, *options)
    assert done.exit_code == 0, done.output
    counts = re.search(r"a: (\d+) nuclei \((\d+) positive, (\d+) neg", done.output)
    n_nuclei, *by_class = (int(each) for each in counts.groups())
    assert sum(by_class) == n_nuclei and by_class[0] > 0
    with open(tmp_path / "out" / "labelling_index.csv", newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["b", "a", "all"]
    told = [int(rows["a"][name]) for name in ("n_positive", "n_negative")]
    assert told == by_class
    assert float(rows["a"]["h_score"]) > 0
    with open(tmp_path / "out" / "a_nuclei.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert sum(float(row["class"]) == 1 for row in table) == by_class[0]

    monkeypatch.setattr(_chain, "train", lambda *_: chain)
    fields = ("--fields", 2, "--field-size", 64, "--pixel-size", 0.25)
    options = ("--output", tmp_path / "index", "--report")
    done = run("ki67", given[0], *fields, *options)
    assert done.exit_code == 0, done.output
    assert "2 fields of 1 slide drawn" in done.output
    with open(tmp_path / "index" / "labelling_index.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert first == rows["a"]
    page = (tmp_path / "index" / "report.html").read_text(encoding="utf-8")
    assert "<th>positive</th><th>negative</th><th>positive, %</th>" in page
    share = 100 * by_class[0] / n_nuclei
    assert f"<td>{by_class[0]}</td><td>{by_class[1]}</td><td>{share:.1f}</td>" in page
