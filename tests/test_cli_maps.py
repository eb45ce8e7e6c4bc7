# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn maps`` writes what a mapper shows of images."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.pipeline import Pipeline

from psmlearn import (
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
    _cli,
    load_model,
    save_model,
)
from psmlearn._cli import _maps
from psmlearn._cli._ledger import LEDGER_NAME
from psmlearn.activation import Similarity
from psmlearn.datasets import make_nuclei
from psmlearn.inspection import color_map
from psmlearn.io import read_image, read_pixel_size
from psmlearn.preprocessing import StainNormalizer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SMALL = {"steps_per_epoch": 2, "batch_size": 2, "patch_size": 32}
SHORT = ("--max-epochs", "1", "--device", "cpu", "--patch-size", "32")


def run(*arguments):
    return CliRunner().invoke(_cli.main, ["maps", *map(str, arguments)])


@pytest.fixture
def small(monkeypatch):
    """Make trainings short; the parameters of those that were asked for."""
    asked, real = [], _maps._make_mapper

    def make(*given):
        mapper = real(*given)
        asked.append(mapper.get_params())
        return mapper.set_params(**SMALL)

    monkeypatch.setattr(_maps, "_make_mapper", make)
    return asked


@pytest.fixture
def untrained(monkeypatch):
    def fit(self, X, y=None):
        raise AssertionError("trained")

    monkeypatch.setattr(SelfActivationMapper, "fit", fit)


@pytest.fixture(scope="module")
def arrays():
    return make_nuclei(n_images=2, shape=(48, 56), random_state=0).images


@pytest.fixture
def images(tmp_path, arrays):
    """A PNG that tells no pixel size, and a TIFF that does, under an odd name."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(arrays[0]).save(folder / "a.png")
    tifffile.imwrite(
        folder / "b ü%s.tif",
        arrays[1],
        photometric="rgb",
        resolution=(20000, 20000),
        resolutionunit="CENTIMETER",
    )
    return folder


@pytest.fixture(scope="module")
def mapper(arrays):
    return SelfActivationMapper(
        **SMALL, max_epochs=1, device="cpu", random_state=3
    ).fit(arrays)


def test_maps_are_those_of_the_trained_mapper(small, images, tmp_path):
    out, model = tmp_path / "out", tmp_path / "m.psm"
    done = run(images, "-o", out, *SHORT, "--random-state", 3, "--save-model", model)
    assert done.exit_code == 0, done.output
    names = {f"{name}_map.{kind}" for name in ("a", "b ü%s") for kind in ("png", "tif")}
    assert set(os.listdir(out)) == names | {LEDGER_NAME, "run.json"}
    kept = load_model(model)
    paths = [images / "a.png", images / "b ü%s.tif"]
    expected = [kept.transform([path])[0][..., -1] for path in paths]
    for name, values in zip(("a", "b ü%s"), expected, strict=True):
        written = tifffile.imread(out / f"{name}_map.tif")
        assert written.dtype == np.float32 and written.shape == (48, 56)
        assert_array_equal(written, values)
        assert written.min() >= 0 and written.max() <= 1
        assert_array_equal(read_image(out / f"{name}_map.png"), color_map(values))
    # Where the image tells its pixel size, its map does.
    for kind in ("png", "tif"):
        assert read_pixel_size(out / f"a_map.{kind}") is None
        assert read_pixel_size(out / f"b ü%s_map.{kind}") == pytest.approx(0.5)
    assert "0.5 micrometres, as the files tell; 1 file without" in done.output
    told = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert (told["command"], told["status"], told["random_state"]) == (
        "maps",
        "done",
        3,
    )
    assert len(told["inputs"]) == 2


def test_options_reach_the_mapper(small, images, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text(
        '[maps]\npretext = "rotation"\nsteps_per_epoch = 1\nbatch_size = 4\n'
        "[clusters]\nunsure = 'unknown'\n"
    )
    done = run(
        *(images, "-o", tmp_path / "out", *SHORT, "--config", config, "--pixel-size"),
        *(0.25, "--pretext", "similarity", "--method", "layercam"),
        *("--layers", "layer1", "--layers", "layer2", "--network", "resnet18"),
    )
    assert done.exit_code == 0, done.output
    (told,) = small
    assert (told["pretext"], told["method"]) == ("similarity", "layercam")
    assert told["layers"] == ["layer1", "layer2"]
    assert (told["steps_per_epoch"], told["max_epochs"]) == (1, 1)
    assert read_pixel_size(tmp_path / "out" / "a_map.tif") == pytest.approx(0.25)


def test_a_mapper_is_taken_from_models_of_three_kinds(
    untrained, mapper, arrays, images, tmp_path
):
    (expected,) = mapper.transform([images / "a.png"])
    normaliser = StainNormalizer().fit(arrays)
    clusters = SemanticClusterer(pixel_size=0.5).fit(mapper.transform(arrays))
    chain = PseudoLabelSegmenter(Pipeline([("maps", mapper), ("clusters", clusters)]))
    chain.labeler_ = chain.labeler
    chain.segmenter_ = NucleiSegmenter(
        **SMALL, max_epochs=1, pixel_size=0.5, device="cpu"
    ).fit(arrays, [np.pad(np.ones((9, 9), int), ((9, 30), (9, 38)))] * 2)
    chain.n_pseudo_objects_, chain.n_features_in_ = [1], 3
    models = {
        "mapper": mapper,
        "pipeline": Pipeline([("norm", normaliser), ("maps", mapper)]),
        "chain": chain,
    }
    for name, model in models.items():
        save_model(model, tmp_path / f"{name}.psm")
        out = tmp_path / name
        done = run(images / "a.png", "-m", tmp_path / f"{name}.psm", "-o", out)
        assert done.exit_code == 0, done.output
        written = tifffile.imread(out / "a_map.tif")
        if name == "pipeline":
            normal = normaliser.transform([images / "a.png"])
            assert_array_equal(written, mapper.transform(normal)[0][..., -1])
        else:
            assert_array_equal(written, expected[..., -1])


def test_images_that_come_later_are_added(untrained, mapper, images, tmp_path):
    model, out = tmp_path / "m.psm", tmp_path / "out"
    save_model(mapper, model)
    assert run(images / "a.png", "-m", model, "-o", out).exit_code == 0
    first = (out / "a_map.tif").stat().st_mtime_ns
    refused = run(images, "-m", model, "-o", out)
    assert refused.exit_code == 1 and "a_map.png (of an earlier run)" in refused.output
    done = run(images, "-m", model, "-o", out, "--resume")
    assert done.exit_code == 0 and "1 image of 2 was done before" in done.output
    assert (out / "a_map.tif").stat().st_mtime_ns == first
    assert (out / "b ü%s_map.tif").is_file()
    assert run(images, "-m", model, "-o", out, "--overwrite").exit_code == 0


def test_what_was_broken_off_goes_on_without_training(
    small, images, tmp_path, monkeypatch
):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run(images, "-o", whole, *SHORT).exit_code == 0
    real, calls = SelfActivationMapper.transform, []

    def transform(self, X):
        calls.append(X)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, X)

    with monkeypatch.context() as patch:
        patch.setattr(SelfActivationMapper, "transform", transform)
        stopped = run(images, "-o", out, *SHORT)
    assert stopped.exit_code == 130 and "with 1 of 2 images done" in stopped.output
    monkeypatch.setattr(SelfActivationMapper, "fit", lambda *given: pytest.fail("fit"))
    done = run(images, "-o", out, *SHORT, "--resume")
    assert done.exit_code == 0, done.output
    assert "trained before the run was broken off" in done.output
    for name in ("a", "b ü%s"):
        for kind in ("png", "tif"):
            file = f"{name}_map.{kind}"
            assert (out / file).read_bytes() == (whole / file).read_bytes()
    assert not (out / ".psmlearn-resume").exists()


def test_bad_images_are_told_in_the_end(untrained, mapper, images, tmp_path):
    save_model(mapper, tmp_path / "m.psm")
    (images / "broken.png").write_bytes((images / "a.png").read_bytes()[:80])
    out = tmp_path / "out"
    done = run(images, "-m", tmp_path / "m.psm", "-o", out)
    assert done.exit_code == 3 and "1 of 3 images failed" in done.output
    assert (out / "a_map.tif").is_file() and not (out / "broken_map.tif").exists()
    strict = run(images, "-m", tmp_path / "m.psm", "-o", tmp_path / "two", "--strict")
    assert strict.exit_code == 1 and "broken.png" in strict.output
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "{model}", "--pretext", "rotation"],
            "--pretext is for a training",
        ),
        (["--model", "{model}", "--random-state", "1"], "--random-state is for"),
        (["--model", "{model}", "--save-model", "x.psm"], "--save-model is for"),
        (["--model", "{nuclei}"], "without a SelfActivationMapper"),
        (["--model", "{unfitted}"], "not fitted"),
        (["--model", "{text}"], "notes.txt"),
        (["--pretext", "guess"], "mean_value"),
        (["--layers", "layer9"], "layer9"),
        (["--pixel-size", "file"], "do not tell"),
        (["--pixel-size", "-1"], "pixel-size"),
        (["--save-model", "{text}"], "is no model of psmlearn"),
        (["--config", "{config}"], "did you mean 'pretext'"),
    ],
)
def test_bad_input_is_one_line(small, mapper, images, tmp_path, arguments, message):
    places = {
        name: tmp_path / f"{name}.psm" for name in ("model", "nuclei", "unfitted")
    }
    places |= {"text": tmp_path / "notes.txt", "config": tmp_path / "c.toml"}
    places["text"].write_text("mine")
    places["config"].write_text("[maps]\npretexts = 'rotation'\n")
    save_model(mapper, places["model"])
    save_model(NucleiSegmenter(), places["nuclei"])
    save_model(SelfActivationMapper(pretext=Similarity()), places["unfitted"])
    if "{nuclei}" in arguments:
        clusters = SemanticClusterer().fit(
            make_nuclei(1, (48, 48), random_state=0).images
        )
        save_model(clusters, places["nuclei"])
    out = tmp_path / "out"
    given = [each.format(**places) for each in arguments]
    done = run(images, "-o", out, *given)
    assert done.exit_code in (1, 2) and message in done.output, done.output
    assert "Traceback" not in done.output and isinstance(done.exception, SystemExit)
    assert not out.exists() and places["text"].read_text() == "mine"


def test_help_has_examples_and_names_what_is_written():
    done = run("--help")
    assert done.exit_code == 0
    for text in ("Examples:", "--save-model", "TIFF", "run.json", "[default: 5]"):
        assert text in done.output
