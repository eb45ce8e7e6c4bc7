# SPDX-License-Identifier: BSD-3-Clause
"""A model that an earlier psmlearn wrote is read, and finds what it found then.

The files in `data` stay as they are as long as their format is read. Where a change is
meant to end that, or a release writes another format, run this file as a script: it
trains the model anew (a minute) and writes both files::

    python tests/persistence/test_compatibility.py

`chain.psm` is a fitted PseudoLabelSegmenter; `chain_answers.npz` holds a picture and
what the model made of it: map, pseudo mask, labels and probabilities.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.pipeline import Pipeline

from psmlearn import (
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
    load_model,
)
from psmlearn.networks import UNet, register_network
from psmlearn.persistence import ModelFileError, _kinds, read_model_header

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script, too
from small_estimators import TinyBackbone

DATA = Path(__file__).parent / "data"
MODEL, ANSWERS = DATA / "chain.psm", DATA / "chain_answers.npz"
# Files hold these names; they stay.
register_network("tests_tiny_backbone", TinyBackbone)
register_network("tests_tiny_unet", partial(UNet, base_channels=4, depth=2))


@pytest.fixture(scope="module")
def model():
    return load_model(MODEL)


@pytest.fixture(scope="module")
def answers():
    with np.load(ANSWERS, allow_pickle=False) as file:
        return dict(file)


def test_the_files_are_small():
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 100_000


def test_the_parts_and_their_settings_are_those_of_then(model):
    assert type(model) is PseudoLabelSegmenter
    assert type(model.labeler_) is Pipeline
    assert [type(step) for step in model.labeler_.named_steps.values()] == [
        SelfActivationMapper,
        SemanticClusterer,
    ]
    assert type(model.segmenter_) is NucleiSegmenter
    assert model.segmenter_.get_params()["max_epochs"] == 10
    assert model.segmenter_.threshold == 0.6
    assert model.labeler_.named_steps["clusters"].pixel_size == 0.25
    assert model.n_features_in_ == 3


def test_it_makes_the_map_of_then(model, answers):
    stack = model.labeler_.named_steps["maps"].transform([answers["image"]])[0]
    # 8 bits were kept.
    np.testing.assert_allclose(
        stack[..., -1], answers["map"] / 255, atol=1 / 255 + 1e-4
    )


@pytest.mark.parametrize("name", ["pseudo", "labels"])
def test_it_finds_the_nuclei_of_then(name, model, answers):
    part = model if name == "labels" else model.labeler_
    found = part.predict([answers["image"]])[0]
    expected = answers[name]
    assert found.dtype == np.int32 and found.shape == expected.shape
    assert found.max() == expected.max() > 4
    # Floating point differs between machines: by a pixel in a thousand, at most.
    n_most = expected.size // 1000
    assert np.count_nonzero((found > 0) != (expected > 0)) <= n_most
    assert np.count_nonzero(found != expected) <= 4 * n_most


def test_it_gives_the_probabilities_of_then(model, answers):
    proba = model.predict_proba([answers["image"]])[0]
    np.testing.assert_allclose(
        proba[..., 1], answers["proba"] / 255, atol=1 / 255 + 1e-4
    )


def _rewritten(path, change):
    """Write the model to another place, its description changed."""
    with safe_open(MODEL, framework="numpy") as file:
        ((entry, header),) = file.metadata().items()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = json.loads(header)
    change(header)
    save_file(arrays, path, metadata={entry: json.dumps(header)})
    return path


def test_a_file_of_a_later_format_asks_for_an_update(tmp_path):
    def later(header):
        header.update(format_version=7, psmlearn_version="9.8.7", model={"$new": []})

    path = _rewritten(tmp_path / "later.psm", later)
    for read in (load_model, read_model_header):
        with pytest.raises(ModelFileError) as caught:
            read(path)
        for told in ("later.psm", "format 7", "psmlearn 9.8.7", "Update psmlearn"):
            assert told in str(caught.value)


def test_a_class_that_is_gone_is_named(monkeypatch):
    monkeypatch.delitem(_kinds._BY_NAME, "SemanticClusterer")
    with pytest.raises(ModelFileError) as caught:
        load_model(MODEL)
    for told in ("chain.psm", "'SemanticClusterer'", "not one that this psmlearn"):
        assert told in str(caught.value)


def test_a_class_that_is_to_come_is_named(tmp_path):
    def renamed(header):
        header["model"]["$object"][0] = "OrganoidSegmenter"

    path = _rewritten(tmp_path / "new.psm", renamed)
    with pytest.raises(ModelFileError, match="'OrganoidSegmenter'.*newer version may"):
        load_model(path)


def test_a_network_without_its_name_is_named(monkeypatch):
    from psmlearn.networks import _registry

    monkeypatch.delitem(_registry._FACTORIES, "tests_tiny_unet")
    with pytest.raises(ModelFileError, match="tests_tiny_unet"):
        load_model(MODEL)


# -- how the files were made ----------------------------------------------------------


def write_files() -> None:
    """Train the model on synthetic images, and keep it with its answers."""
    from psmlearn import save_model
    from psmlearn.datasets import make_nuclei

    data = make_nuclei(n_images=3, shape=(96, 96), random_state=0)
    short = {"batch_size": 4, "patch_size": 64, "device": "cpu"}
    mapper = SelfActivationMapper(
        network="tests_tiny_backbone", max_epochs=3, steps_per_epoch=20, **short
    )
    segmenter = NucleiSegmenter(
        network="tests_tiny_unet",
        max_epochs=10,
        steps_per_epoch=30,
        threshold=0.6,
        early_stopping=False,
        **short,
    )
    labeler = Pipeline([("maps", mapper), ("clusters", SemanticClusterer())])
    model = PseudoLabelSegmenter(labeler, segmenter, random_state=1).fit(data.images)
    image = data.images[0]  # uint8
    DATA.mkdir(exist_ok=True)
    save_model(model, MODEL)
    np.savez_compressed(
        ANSWERS,
        image=image,
        map=_as_bytes(mapper_of(model).transform([image])[0][..., -1]),
        pseudo=model.labeler_.predict([image])[0].astype(np.int16),
        labels=model.predict([image])[0].astype(np.int16),
        proba=_as_bytes(model.predict_proba([image])[0][..., 1]),
    )


def mapper_of(model):
    return model.labeler_.named_steps["maps"]


def _as_bytes(values):
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


if __name__ == "__main__":
    write_files()
