# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn train`` keeps a model, ``psmlearn apply`` uses it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_array_equal
from skimage.io import imsave
from sklearn.pipeline import make_pipeline

from psmlearn import (
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
    _cli,
    load_model,
    save_model,
)
from psmlearn._cli import _chain
from psmlearn.datasets import load_geojson, make_nuclei
from psmlearn.inspection import color_map
from psmlearn.io import read_image, read_labels
from psmlearn.preprocessing import StainNormalizer
from psmlearn.segmentation import _defaults

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SHORT = ("--max-epochs", "1", "--quiet", "--device", "cpu")


def run(*arguments):
    return CliRunner().invoke(_cli.main, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two images to train on, one of another day."""
    place = tmp_path_factory.mktemp("images")
    images = make_nuclei(n_images=3, shape=(96, 96), random_state=0).images
    for name, image in zip(("old/a", "old/b", "new/c"), images, strict=True):
        path = place / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        imsave(path, image)
    return place


@pytest.fixture(scope="module", params=[None, "ki67"])
def trained(request, folder, tmp_path_factory):
    """The model file of a training cut short, and the classes it was asked for."""
    path = tmp_path_factory.mktemp("models") / "nuclei.psm"
    small = {"steps_per_epoch": 10, "batch_size": 2, "patch_size": 32}
    classes = ["--classes", request.param] if request.param else []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NucleiSegmenter", "SelfActivationMapper"):
            real = getattr(_defaults, name)
            own = small | ({"min_prominence": 0.0} if name[0] == "N" else {})
            patch.setattr(
                _defaults,
                name,
                lambda *given, real=real, own=own, **options: real(
                    *given, **options
                ).set_params(**own),
            )
        done = run("train", folder / "old", "--model", path, *SHORT, *classes)
    assert done.exit_code == 0, done.output
    assert f"model written to {path}" in done.output
    return path, request.param


def test_maps_are_of_what_the_steps_before_the_mapper_give(folder, tmp_path):
    images = [str(folder / "old" / f"{name}.png") for name in "ab"]
    short = {"max_epochs": 1, "steps_per_epoch": 2, "batch_size": 2, "patch_size": 32}
    mapper = SelfActivationMapper(**short, network="resnet18", device="cpu")
    steps = [StainNormalizer(), mapper, SemanticClusterer()]
    chain = PseudoLabelSegmenter(
        make_pipeline(*steps),
        NucleiSegmenter(**short, min_prominence=0.0, device="cpu"),
        random_state=0,
    ).fit(images)
    path, out = tmp_path / "chain.psm", tmp_path / "out"
    save_model(chain, path)
    image = folder / "new" / "c.png"
    done = run("apply", image, "--model", path, "-o", out, "--device", "cpu")
    assert done.exit_code == 0, done.output
    normalizer, mapper, _ = [step for _, step in chain.labeler_.steps]
    found = read_image(out / "c_map.png")
    (expected,) = mapper.transform(normalizer.transform([image]))
    assert_array_equal(found, color_map(expected[..., -1]))
    (bare,) = mapper.transform([image])
    assert (found != color_map(bare[..., -1])).mean() > 0.1


def test_apply_gives_what_the_model_predicts(trained, folder, tmp_path):
    path, classes = trained
    out = tmp_path / "out"
    done = run("apply", folder / "new", "--model", path, "-o", out, "--device", "cpu")
    assert done.exit_code == 0, done.output
    model = load_model(path)
    (expected,) = model.predict([folder / "new" / "c.png"])
    assert_array_equal(read_labels(out / "c_labels.tif"), expected)
    assert (out / "c_points.csv").is_file() == (classes is not None)
    assert (out / "c_map.png").is_file() == (classes is None)
    with open(out / "c_nuclei.geojson", encoding="utf-8") as file:
        features = json.load(file)["features"]
    ids = expected[..., 0] if classes else expected
    assert len(features) == len(np.unique(ids[ids > 0]))
    # It leaves the file and the images alone, and comes out the same again.
    again = run(
        *("apply", folder / "new", "--model", path, "-o", out, "--device", "cpu"),
        "--overwrite",
    )
    assert again.exit_code == 0, again.output


def test_outlines_come_back_from_the_folder(trained, folder, tmp_path):
    path, classes = trained
    out = tmp_path / "out"
    assert run("apply", folder / "new", "-m", path, "-o", out).exit_code == 0
    (tmp_path / "c.png").write_bytes((folder / "new" / "c.png").read_bytes())
    (tmp_path / "c.geojson").write_bytes((out / "c_nuclei.geojson").read_bytes())
    labels = read_labels(out / "c_labels.tif")
    if labels[..., 0].any() if classes else labels.any():
        names = {"Positive": 1, "Negative": 2} if classes else None
        found = load_geojson(tmp_path, classes=names).masks[0]
        assert_array_equal(found > 0, labels > 0)


def test_the_pixel_size_of_the_training_is_told_and_used(folder, tmp_path):
    path = tmp_path / "m.psm"
    images = make_nuclei(n_images=2, shape=(64, 64), random_state=0)
    model = NucleiSegmenter(
        max_epochs=1, steps_per_epoch=2, patch_size=32, pixel_size=0.4, device="cpu"
    ).fit(images.images, images.masks)
    save_model(model, path)
    done = run("apply", folder / "new", "-m", path, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "pixel size 0.4 micrometres, that of the model" in done.output
    given = run(
        *("apply", folder / "new", "-m", path, "-o", tmp_path / "two"),
        *("--pixel-size", "0.5"),
    )
    assert "pixel size 0.5 micrometres, as given" in given.output
    model.set_params(pixel_size=0.5)
    (expected,) = model.predict([folder / "new" / "c.png"])
    assert_array_equal(read_labels(tmp_path / "two" / "c_labels.tif"), expected)


def test_a_model_that_finds_nothing_says_why_it_may_be(folder, tmp_path):
    path = tmp_path / "m.psm"
    images = make_nuclei(n_images=2, shape=(64, 64), random_state=0)
    model = NucleiSegmenter(
        max_epochs=1, steps_per_epoch=2, patch_size=32, threshold=0.999, device="cpu"
    ).fit(images.images, images.masks)
    save_model(model, path)
    done = run("apply", folder / "new", "-m", path, "-o", tmp_path / "out")
    assert done.exit_code == 0 and "no nucleus was found in any image" in done.output


def test_files_in_the_way_of_a_model_are_kept(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(_chain, "train", lambda *settings: pytest.fail("trained"))
    notes, model = tmp_path / "notes.txt", tmp_path / "m.psm"
    notes.write_text("mine")
    save_model(NucleiSegmenter(), model)
    before = model.read_bytes()
    image = folder / "old" / "a.png"
    for path, told, options in [
        (notes, "is no model of psmlearn", ["--overwrite"]),
        (model, "--overwrite replaces it", []),
        (image, "is an image of this run", ["--overwrite"]),
        (tmp_path / "none" / "m.psm", "There is no folder", []),
        (tmp_path, "is a directory", []),
    ]:
        for command in ("train", "segment"):
            done = run(command, folder / "old", "--model", path, *options)
            assert done.exit_code in (1, 2) and told in done.output, done.output
            assert "Traceback" not in done.output
    assert notes.read_text() == "mine" and model.read_bytes() == before


def test_a_model_is_replaced_where_that_is_asked_for(folder, tmp_path, monkeypatch):
    model = tmp_path / "m.psm"
    save_model(NucleiSegmenter(), model)
    monkeypatch.setattr(
        _chain, "train", lambda *settings: NucleiSegmenter(threshold=0.9)
    )
    done = run("train", folder / "old", "--model", model, "--overwrite")
    assert done.exit_code == 0, done.output
    assert load_model(model).threshold == 0.9


def test_what_is_no_fitted_model_is_one_line(folder, tmp_path):
    text, mapper, unfitted = (tmp_path / name for name in ("a.psm", "b.psm", "c.psm"))
    text.write_text("no model")
    save_model(SelfActivationMapper(), mapper)
    save_model(NucleiSegmenter(), unfitted)
    for path, told in [
        (text, "a.psm"),
        (mapper, "not fitted"),
        (unfitted, "not fitted"),
        (tmp_path / "none.psm", "does not exist"),
    ]:
        out = tmp_path / "out"
        done = run("apply", folder / "new", "--model", path, "--output", out)
        assert done.exit_code in (1, 2) and told in done.output, done.output
        assert "Traceback" not in done.output and not out.exists()


def test_masks_beside_their_images_are_left_out_by_name(folder, tmp_path, monkeypatch):
    seen = []

    def train(chain, batch):
        seen.extend(Path(path).name for path in batch.paths)
        return NucleiSegmenter()

    monkeypatch.setattr(_chain, "train", train)
    image = (folder / "old" / "a.png").read_bytes()
    names = [
        "a",
        "a_inst",
        "a-mask",
        "b_labels",
        "c.d",
        "c.d_CP_MASKS",
        "gt",
        "a_masked",
    ]
    for name in names:
        (tmp_path / f"{name}.png").write_bytes(image)
    done = run("train", tmp_path, "--model", tmp_path / "m.psm")
    assert done.exit_code == 0, done.output
    assert seen == ["a.png", "a_masked.png", "b_labels.png", "c.d.png", "gt.png"]
    told = [line for line in done.output.splitlines() if "mask of an image" in line]
    assert len(told) == 1
    assert all(
        f"{name}.png" in told[0] for name in ("a_inst", "a-mask", "c.d_CP_MASKS")
    )
    # Whoever names it by itself means it.
    seen.clear()
    run("train", tmp_path / "a_inst.png", "--model", tmp_path / "n.psm")
    assert seen == ["a_inst.png"]


def test_a_clusterer_is_a_model_too(tmp_path):
    images = make_nuclei(
        n_images=2, shape=(64, 64), stain="ki67", random_state=0
    ).images
    image = tmp_path / "a.png"
    imsave(image, images[0])
    model = SemanticClusterer(classes="ki67", pixel_size=0.5).fit(images)
    save_model(model, tmp_path / "m.psm")
    done = run("apply", image, "-m", tmp_path / "m.psm", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    (expected,) = model.predict([image])
    assert_array_equal(read_labels(tmp_path / "out" / "a_labels.tif"), expected)
    assert (tmp_path / "out" / "a_points.csv").is_file()
    assert not (tmp_path / "out" / "a_map.png").exists()
