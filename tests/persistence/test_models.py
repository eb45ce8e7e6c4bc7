# SPDX-License-Identifier: BSD-3-Clause
"""Model files: what is written comes back, and nothing else is built from a file."""

from __future__ import annotations

import dataclasses
import json
import pickle
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline

from psmlearn import (
    ClassActivationMapper,
    NucleiDetector,
    NucleiSegmenter,
    PseudoLabelSegmenter,
    RegionSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
    load_model,
    save_model,
)
from psmlearn.datasets import make_lesions, make_nuclei
from psmlearn.networks import UNet, register_network
from psmlearn.persistence import _kinds
from psmlearn.persistence._model_file import ModelFileError
from psmlearn.preprocessing import StainNormalizer

SHORT = {"max_epochs": 1, "steps_per_epoch": 2, "batch_size": 2, "patch_size": 32}
SMALL = partial(UNet, base_channels=4)
register_network("tests_small_unet", SMALL)
NETWORK = {**SHORT, "network": "tests_small_unet", "device": "cpu", "random_state": 0}


@pytest.fixture(scope="module")
def nuclei():
    return make_nuclei(n_images=2, shape=(64, 64), random_state=0)


@pytest.fixture(scope="module")
def ki67():
    return make_nuclei(n_images=2, shape=(64, 64), stain="ki67", random_state=0)


@pytest.fixture(scope="module")
def lesions():
    return make_lesions(n_images=6, shape=(64, 64), random_state=0)


@pytest.fixture(scope="module")
def segmenter(nuclei):
    return NucleiSegmenter(**NETWORK).fit(nuclei.images, nuclei.masks)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.psm"


def again(estimator, path):
    save_model(estimator, path)
    return load_model(path)


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def make_chain():
    mapper = SelfActivationMapper(**SHORT, device="cpu", network="resnet18")
    labeler = Pipeline([("maps", mapper), ("clusters", SemanticClusterer())])
    return PseudoLabelSegmenter(labeler, NucleiSegmenter(**NETWORK), random_state=0)


def make_cases(nuclei, ki67, lesions):
    """Yield estimators of every kind, fitted, and how they answer."""
    images, masks = nuclei.images, nuclei.masks
    yield "chain", make_chain().fit(images), images, "predict"
    yield (
        "classes",
        PseudoLabelSegmenter(
            SemanticClusterer(classes="ki67"), NucleiSegmenter(**NETWORK)
        ).fit(ki67.images),
        ki67.images,
        "predict",
    )
    two = [np.stack([mask, (mask > 0) * (1 + mask % 2)], -1) for mask in masks]
    for targets in ("distance", "voronoi"):
        model = NucleiSegmenter(**NETWORK, targets=targets, class_weight={1: 2.0})
        yield targets, model.fit(images, two), images, "predict"
    yield "detector", NucleiDetector(**NETWORK).fit(images, masks), images, "predict"
    region = RegionSegmenter(**NETWORK, value_range=None)
    yield (
        "regions",
        region.fit(lesions.images, lesions.masks),
        lesions.images,
        "predict",
    )
    weak = ClassActivationMapper(
        max_epochs=1, steps_per_epoch=2, batch_size=4, patch_size=64, random_state=0
    )
    labels = lesions.image_labels
    yield "weak", weak.fit(lesions.images, labels), lesions.images, "transform"
    yield "stains", StainNormalizer().fit(images), images, "transform"
    yield "clusters", SemanticClusterer().fit(images), images, "predict"
    yield (
        "mapper",
        SelfActivationMapper(
            **SHORT, device="cpu", network="resnet18", method="gradcam"
        ).fit(images),
        images,
        "transform",
    )


def test_every_estimator_answers_as_before(nuclei, ki67, lesions, path):
    for name, model, images, method in make_cases(nuclei, ki67, lesions):
        loaded = again(model, path)
        assert type(loaded) is type(model), name
        assert repr(loaded) == repr(model), name
        assert_same(getattr(model, method)(images), getattr(loaded, method)(images))
        # What was read can be written, to the same bytes.
        first = path.read_bytes()
        save_model(loaded, path)
        assert path.read_bytes() == first, name


def test_parameters_come_back_whole(path):
    model = NucleiSegmenter(
        network=UNet,
        weights=Path("some") / "weights.pt",
        random_state=np.random.RandomState(3),
        class_weight={1: 2.0, 2: float("inf")},
        pixel_size=[0.25, 0.5],
        nucleus_diameter=np.float32(7.5),
        targets="voronoi",
    )
    loaded = again(model, path)
    assert loaded.network is UNet
    assert loaded.weights == str(Path("some") / "weights.pt")
    assert loaded.class_weight == model.class_weight
    assert loaded.pixel_size == [0.25, 0.5]
    assert loaded.nucleus_diameter == 7.5
    assert type(loaded.nucleus_diameter) is np.float32
    assert loaded.random_state.randint(1 << 30) == np.random.RandomState(3).randint(
        1 << 30
    )
    with pytest.raises(ValueError, match="not fitted|is not fitted"):
        loaded.predict(np.zeros((1, 32, 32, 3)))


def test_labels_that_are_texts_come_back(lesions, path):
    labels = np.where(lesions.image_labels, "läsion", "none")
    model = ClassActivationMapper(
        max_epochs=1, steps_per_epoch=1, batch_size=4, patch_size=64, random_state=0
    ).set_params(negative_label="none", base_channels=4)
    model.fit(lesions.images, labels)
    loaded = again(model, path)
    assert loaded.classes_.tolist() == ["läsion", "none"]
    assert loaded.map_classes_.tolist() == ["läsion"]
    assert_same(
        model.predict_image(lesions.images), loaded.predict_image(lesions.images)
    )


def test_training_goes_on_after_loading(segmenter, nuclei, path):
    loaded = again(clone(segmenter).set_params(warm_start=True), path)
    loaded.fit(nuclei.images, nuclei.masks)
    n_before = loaded.n_epochs_
    loaded = again(loaded, path).fit(nuclei.images, nuclei.masks)
    assert loaded.n_epochs_ == n_before + 1


def test_training_masks_are_left_out(nuclei, path):
    clusterer = SemanticClusterer().fit(nuclei.images)
    loaded = again(clusterer, path)
    assert not hasattr(loaded, "labels_") and not hasattr(loaded, "confidences_")
    assert path.stat().st_size < 4000


@pytest.mark.slow
@pytest.mark.parametrize("layers", ["layer1", ["layer1", "layer2"]])
def test_layers_that_maps_do_not_need_are_left_out(nuclei, path, layers):
    model = SelfActivationMapper(**SHORT, device="cpu", layers=layers, random_state=0)
    model.fit(nuclei.images)
    maps = model.transform(nuclei.images)
    whole = sum(value.numel() * 4 for value in model.network_.state_dict().values())
    loaded = again(model, path)
    assert path.stat().st_size < 0.1 * whole
    pickled = pickle.dumps(model)
    assert len(pickled) < 0.1 * whole
    for stored in (loaded, pickle.loads(pickle.dumps(loaded))):
        assert_same(stored.transform(nuclei.images), maps)
        with pytest.raises(ValueError, match="stored without the layers"):
            stored.partial_fit(nuclei.images)
        assert_same(stored.transform(nuclei.images), maps)
        stored.fit(nuclei.images)  # anew, with all layers
        assert_same(stored.transform(nuclei.images), maps)
        stored.partial_fit(nuclei.images)
        assert len(pickle.dumps(stored)) > whole
        pickle.loads(pickle.dumps(stored)).partial_fit(nuclei.images)


def test_maps_that_take_gradients_need_all_layers(nuclei, path):
    model = SelfActivationMapper(**SHORT, device="cpu", method="layercam")
    model.fit(nuclei.images)
    loaded = again(model, path)
    assert loaded.network_.state_dict().keys() == model.network_.state_dict().keys()
    assert_same(loaded.transform(nuclei.images), model.transform(nuclei.images))


def test_files_are_the_same_twice_and_hold_no_pickle(segmenter, path, tmp_path):
    save_model(segmenter, path)
    save_model(segmenter, tmp_path / "other.psm")
    assert path.read_bytes() == (tmp_path / "other.psm").read_bytes()
    with safe_open(path, framework="numpy") as file:
        (header,) = file.metadata().values()
        names = list(file.keys())
    told = json.loads(header)["model"]
    assert told["$object"][0] == "NucleiSegmenter"
    assert "network_.head.weight" in names
    with pytest.raises((pickle.UnpicklingError, ValueError, KeyError, EOFError)):
        joblib.load(path)


def test_every_class_of_the_table_is_there_and_complete():
    for kind in _kinds._KINDS:
        cls = kind.load()
        assert _kinds.kind_named(kind.name) is kind
        if not dataclasses.is_dataclass(cls):
            assert issubclass(cls, BaseEstimator) or hasattr(cls, "_get_param_names")
    assert len({kind.load() for kind in _kinds._KINDS}) == len(_kinds._KINDS)
    import psmlearn
    from psmlearn.base import Option

    known = {kind.load() for kind in _kinds._KINDS}
    public = {getattr(psmlearn, name) for name in psmlearn.__all__ if name[0].isupper()}
    assert public <= known

    def below(cls):
        return {cls, *(each for sub in cls.__subclasses__() for each in below(sub))}

    abstract = {"Option", "Pretext", "Targets"}
    own = {each for each in below(Option) if each.__module__.startswith("psmlearn.")}
    assert {each for each in own if each.__name__ not in abstract} <= known


# -- what is not written --------------------------------------------------------------


class _OwnSegmenter(NucleiSegmenter):
    pass


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (_OwnSegmenter(), "_OwnSegmenter"),
        (NucleiSegmenter(network=SMALL), "network is a functools.partial"),
        (PseudoLabelSegmenter(labeler=len), "labeler is a"),
        (Pipeline([("a", SemanticClusterer()), ("b", BaseEstimator())]), "steps.1.1"),
        ("text", "str"),
        (NucleiSegmenter, "type"),
    ],
)
def test_what_files_do_not_hold_is_told(model, told, path):
    with pytest.raises(TypeError, match="save_model: .*psmlearn's") as caught:
        save_model(model, path)
    assert told in str(caught.value)
    assert not path.exists()


def test_a_failed_save_keeps_the_file_that_was_there(segmenter, path, monkeypatch):
    save_model(segmenter, path)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", fail)
    with pytest.raises(OSError, match="model.psm"):
        save_model(clone(segmenter), path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["model.psm"]


# -- what is not read -----------------------------------------------------------------


def rewritten(path, change):
    """Write the file anew after `change` of its metadata, JSON and arrays."""
    with safe_open(path, framework="numpy") as file:
        ((entry, header),) = file.metadata().items()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = json.loads(header)
    change(header, header["model"], arrays)
    entry = header.pop("entry", entry)
    save_file(arrays, path, metadata={entry: json.dumps(header)})


def _state(told):
    return told["$object"][1]


def _first_array(arrays):
    return sorted(name for name in arrays if arrays[name].ndim == 4)[0]


CHANGES = {
    "version": (lambda m, t, a: m.update(format_version=2), "Update psmlearn"),
    "no_version": (lambda m, t, a: m.pop("format_version"), "is damaged"),
    "format": (lambda m, t, a: m.update(entry="other"), "holds weights, not a model"),
    "class": (lambda m, t, a: t["$object"].__setitem__(0, "os.system"), "os.system"),
    "attribute": (lambda m, t, a: _state(t).update(fit="x"), "unknown: fit"),
    "missing": (
        lambda m, t, a: _state(t)["_frozen"]["$object"][1].pop("channels"),
        "missing: channels",
    ),
    "value": (lambda m, t, a: _state(t).update(threshold="high"), "threshold"),
    "tag": (lambda m, t, a: _state(t).update(threshold={"$code": "1"}), "no value of"),
    "array": (lambda m, t, a: a.pop(_first_array(a)), "is missing"),
    "more": (lambda m, t, a: a.update(more=np.zeros(2)), "nothing asks for: more"),
    "shape": (
        lambda m, t, a: a.update({_first_array(a): np.zeros((2, 2, 1, 1), np.float32)}),
        "do not fit its network",
    ),
    "network": (
        lambda m, t, a: _state(t)["_network_recipe"]["$dict"][0].__setitem__(
            1, "unheard"
        ),
        "unheard",
    ),
    "size": (
        lambda m, t, a: _state(t)["_network_recipe"]["$dict"][1].__setitem__(
            1, 1 << 40
        ),
        "sizes",
    ),
    "callable": (
        lambda m, t, a: _state(t).update(network={"$network": "build_network"}),
        "no network",
    ),
    "other_kind": (
        lambda m, t, a: _state(t).update(_frozen={"$tuple": []}),
        "_frozen",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_files_that_were_changed_are_refused(name, segmenter, path):
    change, told = CHANGES[name]
    save_model(segmenter, path)
    rewritten(path, change)
    with pytest.raises(ModelFileError, match="model.psm") as caught:
        load_model(path)
    assert told in str(caught.value)


def test_deep_nests_end_in_an_error(segmenter, path):
    def nest(header, told, arrays):
        inner: list = []
        for _ in range(200):
            inner = [inner]
        _state(told)["threshold"] = inner

    save_model(segmenter, path)
    rewritten(path, nest)
    with pytest.raises(ModelFileError, match="nested more than"):
        load_model(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model file"):
        load_model(tmp_path / "none.psm")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        load_model(tmp_path)
    empty = tmp_path / "empty.psm"
    empty.touch()
    weights, pickled = tmp_path / "weights.safetensors", tmp_path / "model.pkl"
    save_file({"a": np.zeros(3, np.float32)}, weights)
    pickled.write_bytes(pickle.dumps({"a": 1}))
    torch.save({"a": torch.zeros(2)}, tmp_path / "weights.pt")
    for place in (empty, weights, pickled, tmp_path / "weights.pt"):
        with pytest.raises(ModelFileError, match=place.name):
            load_model(place)


def test_damaged_bytes_never_do_more_than_raise(segmenter, path):
    """Mutations of the header and the end: an error, or a model of the same class."""
    save_model(segmenter, path)
    data = path.read_bytes()
    length = 8 + int.from_bytes(data[:8], "little")
    rng = np.random.default_rng(0)
    n_refused = 0
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            kind = rng.integers(3)
            place = int(rng.integers(0, length))
            if kind == 0:
                changed[place] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                changed[place] = int(rng.choice(list(b'"{}[]$,:0123456789-e')))
            else:
                del changed[place : place + int(rng.integers(1, 40))]
        path.write_bytes(changed)
        try:
            loaded = load_model(path)
        except ModelFileError:
            n_refused += 1
        else:
            assert isinstance(loaded, NucleiSegmenter)
    assert n_refused > 100
