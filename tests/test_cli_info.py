# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn info`` tells what images and models hold."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from sklearn.pipeline import Pipeline

from psmlearn import (
    NucleiSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
    _cli,
    save_model,
)
from psmlearn.datasets import make_nuclei
from psmlearn.io import write_image, write_labels


def run(*arguments):
    return CliRunner().invoke(_cli.main, ["info", *map(str, arguments)])


def test_images_are_described(tmp_path):
    data = make_nuclei(n_images=1, shape=(48, 64), random_state=0)
    picture, slide, labels = (tmp_path / name for name in ("a.png", "b.tif", "c.tif"))
    pixels = data.images[0]
    write_image(picture, pixels)
    tifffile.imwrite(
        slide, pixels, resolution=(40_000, 40_000), resolutionunit="CENTIMETER"
    )
    write_labels(labels, data.masks[0])
    done = run("--json", picture, slide, labels)
    assert done.exit_code == 0, done.output
    first, second, third = json.loads(done.output)
    assert first["format"] == "PNG" and second["format"] == "TIFF"
    assert first["size"] == "48 x 64 pixels (height x width)" and first["channels"] == 3
    assert first["values"] == f"{pixels.min()} to {pixels.max()}, uint8"
    assert first["pixel size"] == "not told by the file"
    assert first["looks like"] == "haematoxylin and eosin"
    assert second["pixel size"] == "0.25 micrometres"
    assert third["channels"] == 1
    assert third["different values"] == len(np.unique(data.masks[0]))
    # The same as lines.
    told = run(picture, slide, labels).output.splitlines()
    assert told[0] == str(picture) and "  channels: 3" in told


def test_models_are_described_part_by_part(tmp_path):
    path = tmp_path / "m.psm"
    data = make_nuclei(n_images=2, shape=(48, 64), random_state=0)
    model = NucleiSegmenter(
        max_epochs=1, steps_per_epoch=1, patch_size=32, pixel_size=0.4, random_state=5
    ).fit(data.images, data.masks)
    save_model(model, path)
    done = run(path, "--json")
    assert done.exit_code == 0, done.output
    (told,) = json.loads(done.output)
    assert (
        told["model"] == "NucleiSegmenter(pixel_size=0.4, random_state=5, n_epochs_=1)"
    )
    assert told["bytes"] == path.stat().st_size
    parts = [("maps", SelfActivationMapper()), ("clusters", SemanticClusterer())]
    save_model(Pipeline(parts), path)
    (told,) = json.loads(run(path, "--json").output)
    assert told["model"] == "Pipeline"
    assert told["maps"] == "SelfActivationMapper"
    assert told["clusters"] == "SemanticClusterer(pixel_size=0.25)"


def test_other_files_are_one_line(tmp_path):
    text, model = tmp_path / "a.txt", tmp_path / "b.psm"
    text.write_text("no image")
    model.write_text("no model")
    for arguments, told in [
        ([text], "a.txt"),
        ([model], "b.psm is no safetensors file"),
        ([tmp_path], "is a folder"),
        ([tmp_path / "none.png"], "does not exist"),
        ([], "Missing argument"),
    ]:
        done = run(*arguments)
        assert done.exit_code in (1, 2) and told in done.output, done.output
        assert "Traceback" not in done.output


@pytest.mark.parametrize("value", [[], 3, {"$object": ["A", {}]}])
def test_a_header_of_another_make_is_no_crash(value, tmp_path):
    from safetensors.numpy import save_file

    header = {"format_version": 1, "psmlearn_version": "0", "model": value}
    save_file(
        {"a": np.zeros(1)},
        tmp_path / "m.psm",
        metadata={"psmlearn-model": json.dumps(header)},
    )
    done = run(tmp_path / "m.psm")
    assert done.exit_code == 0, done.output
