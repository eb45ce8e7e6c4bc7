# SPDX-License-Identifier: BSD-3-Clause
"""Trainings that are broken off and begun again end as unbroken ones, bit by bit."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from small_estimators import TinyBackbone, TinyPixelNetwork
from torch import nn

from psmlearn import (
    ClassActivationMapper,
    NucleiDetector,
    NucleiSegmenter,
    PseudoLabelSegmenter,
    RegionSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn._engine import _checkpoint, _train
from psmlearn.base import EarlyStopping
from psmlearn.datasets import make_lesions, make_nuclei
from psmlearn.persistence import checkpoints
from psmlearn.weak import ClusterResupervision

SIZES = {"max_epochs": 3, "steps_per_epoch": 3, "batch_size": 2, "patch_size": 32}
NUCLEI = make_nuclei(n_images=3, shape=(64, 64), random_state=0)
LESIONS = make_lesions(12, (48, 48), random_state=0)


class DroppingNetwork(nn.Module):
    """A pixel network that draws in training, and has running statistics."""

    stride = 1

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout2d(0.5),
        )
        self.head = nn.Conv2d(4, out_channels, 1)

    def forward(self, images):
        return self.head(self.body(images))


def _nuclei(estimator):
    return estimator.fit(NUCLEI.images, NUCLEI.masks)


def _images(estimator):
    return estimator.fit(NUCLEI.images)


def _lesions(estimator):
    return estimator.fit(LESIONS.images, LESIONS.image_labels)


STOPPING = EarlyStopping(n_iter_no_change=9, validation_fraction=0.4)
CASES = {
    "segmenter": (NucleiSegmenter(random_state=3, **SIZES), _nuclei),
    "early stopping": (
        NucleiSegmenter(
            random_state=3, network=TinyPixelNetwork, early_stopping=STOPPING, **SIZES
        ),
        _nuclei,
    ),
    "dropout": (
        NucleiSegmenter(
            random_state=5, network=DroppingNetwork, early_stopping=STOPPING, **SIZES
        ),
        _nuclei,
    ),
    "detector": (
        NucleiDetector(random_state=1, network=TinyPixelNetwork, **SIZES),
        _nuclei,
    ),
    "regions": (
        RegionSegmenter(random_state=1, network=TinyPixelNetwork, **SIZES),
        _nuclei,
    ),
    "mapper": (
        SelfActivationMapper(random_state=2, network=TinyBackbone, **SIZES),
        _images,
    ),
    "mapper, centres": (
        SelfActivationMapper(
            random_state=2, network=TinyBackbone, crop="center", **SIZES
        ),
        _images,
    ),
    "image labels": (
        ClassActivationMapper(
            random_state=4,
            base_channels=4,
            resupervision=ClusterResupervision(n_clusters=4, warm_up=0.2),
            **SIZES,
        ),
        _lesions,
    ),
    "rounds": (
        PseudoLabelSegmenter(
            make_pipeline(
                SelfActivationMapper(network=TinyBackbone, **SIZES),
                SemanticClusterer(pixel_size=0.5),
            ),
            NucleiSegmenter(**SIZES),
            n_rounds=2,
            random_state=7,
        ),
        _images,
    ),
    "rounds that go on": (
        PseudoLabelSegmenter(
            make_pipeline(
                SelfActivationMapper(network=TinyBackbone, **SIZES),
                SemanticClusterer(pixel_size=0.5),
            ),
            NucleiSegmenter(**{**SIZES, "steps_per_epoch": 4, "learning_rate": 0.02}),
            n_rounds=2,
            warm_rounds=True,
            random_state=7,
        ),
        _images,
    ),
}


class _Killed(BaseException):
    """Stands for the end of a process: nothing that catches errors catches it."""


class _Killer:
    """Breaks off after so many steps of training."""

    def __init__(self, monkeypatch, n_steps: int) -> None:
        self.left = n_steps
        self.step = _train._step
        monkeypatch.setattr(_train, "_step", self)

    def __call__(self, *args, **kwargs) -> None:
        if not self.left:
            raise _Killed
        self.left -= 1
        self.step(*args, **kwargs)


def _weights(estimator):
    """Return all weights of an estimator and its parts, and its curves."""
    parts = [estimator]
    if isinstance(estimator, PseudoLabelSegmenter):
        parts = [estimator.labeler_[0], estimator.segmenter_]
    found = []
    for part in parts:
        found += [value.numpy() for value in part.network_.state_dict().values()]
        found += [np.array(part.loss_curve_), np.array(part.validation_loss_curve_)]
        found += [np.array(part.best_loss_)]
    return found


def _assert_equal(first, second):
    for one, other in zip(_weights(first), _weights(second), strict=True):
        np.testing.assert_array_equal(one, other)


# What others show, too, with smaller networks.
SLOW = {"segmenter", "detector", "regions", "mapper", "rounds", "rounds that go on"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name in CASES
    ],
)
def test_broken_off_training_goes_on_bit_by_bit(name, tmp_path, monkeypatch):
    estimator, fit = CASES[name]
    unbroken = fit(clone(estimator))
    n_done = []
    # Of 27 or 24 steps within maps, first and second round; of 9 somewhere.
    for n_steps in (11, 5, 7, 100) if "rounds" in name else (1, 4, 2, 100):
        with monkeypatch.context() as patch, checkpoints(tmp_path, every=0):
            killer = _Killer(patch, n_steps)
            model = clone(estimator)
            try:
                fit(model)
            except _Killed:
                n_done.append(n_steps)
            else:
                n_done.append(n_steps - killer.left)
                break
    _assert_equal(model, unbroken)
    n_steps = {"rounds": 27, "rounds that go on": 24}.get(name, 9)
    assert sum(n_done) == n_steps  # not one step was done twice
    # What comes after training draws from the same streams.
    if hasattr(model, "predict") and name != "image labels":
        for one, other in zip(
            model.predict(NUCLEI.images), unbroken.predict(NUCLEI.images), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_steps_since_the_last_state_are_done_again(tmp_path, monkeypatch):
    estimator, fit = CASES["early stopping"]
    with monkeypatch.context() as patch, checkpoints(tmp_path, every=3600):
        _Killer(patch, 5)
        with pytest.raises(_Killed):
            fit(clone(estimator))
    assert list(tmp_path.iterdir()) == []
    with monkeypatch.context() as patch, checkpoints(tmp_path, every=3600):
        killer = _Killer(patch, 100)
        model = fit(clone(estimator))
        assert killer.left == 91
    _assert_equal(model, fit(clone(estimator)))


def test_done_training_is_not_done_again(tmp_path, monkeypatch):
    estimator, fit = CASES["mapper"]
    with checkpoints(tmp_path):
        first = fit(clone(estimator))
        with monkeypatch.context() as patch:
            _Killer(patch, 0)
            second = fit(clone(estimator))
    _assert_equal(first, second)
    np.testing.assert_array_equal(
        first.transform(NUCLEI.images), second.transform(NUCLEI.images)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"random_state": 9},
        {"learning_rate": 1e-3},
        {"max_epochs": 4},
        {"distance_weight": 0.5},
        {"stain_jitter": 0.0},
    ],
    ids=str,
)
def test_other_parameters_are_another_training(change, tmp_path, monkeypatch):
    estimator, fit = CASES["early stopping"]
    if next(iter(change)) not in estimator.get_params():
        change = {"weight_decay": 0.5}
    with checkpoints(tmp_path):
        fit(clone(estimator))
        with monkeypatch.context() as patch:
            _Killer(patch, 0)
            with pytest.raises(_Killed):
                fit(clone(estimator).set_params(**change))
            fit(clone(estimator).set_params(verbose=0, device="cpu"))


def test_other_images_or_masks_are_another_training(tmp_path, monkeypatch):
    estimator, _ = CASES["early stopping"]
    images, masks = NUCLEI.images.copy(), NUCLEI.masks.copy()
    with checkpoints(tmp_path):
        clone(estimator).fit(images, masks)
        monkeypatch.setattr(_train, "_step", _raise)
        clone(estimator).fit(images, masks)
        other = images.copy()
        other[2, 63, 63, 2] ^= 1
        with pytest.raises(_Killed):
            clone(estimator).fit(other, masks)
        masks[0, 0, 0] = masks.max() + 1
        with pytest.raises(_Killed):
            clone(estimator).fit(images, masks)


def _raise(*args):
    raise _Killed


def test_outside_of_the_block_nothing_is_written(tmp_path):
    estimator, fit = CASES["early stopping"]
    with checkpoints(tmp_path / "new", every=0):
        pass
    fit(clone(estimator))
    assert list(tmp_path.iterdir()) == []


def test_damaged_state_is_told_and_begun_anew(tmp_path, caplog):
    estimator, fit = CASES["early stopping"]
    with checkpoints(tmp_path):
        first = fit(clone(estimator))
        (state,) = tmp_path.glob("*.checkpoint")
        state.write_bytes(state.read_bytes()[:2000])
        with caplog.at_level(logging.WARNING, "psmlearn"):
            second = fit(clone(estimator))
    assert "cannot be read" in caplog.text
    assert state.name in caplog.text
    _assert_equal(first, second)


def test_state_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    checkpoint = _checkpoint.Checkpoints(tmp_path).of("a" * 64)
    checkpoint.write({"step": 1})

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write({"step": 2})
    assert checkpoint.read() == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_any_state_comes_back():
    state = {
        "rng": np.random.default_rng(3).bit_generator.state,  # whole numbers of 128 bit
        "inf": float("inf"),
        3: [torch.arange(3), np.float32(0.1), (1, None, True), "text"],
        "zero": torch.tensor(2.0),
        "empty": np.zeros((0, 2), np.int16),
        "half": torch.ones(2, dtype=torch.bfloat16),
    }
    tensors = {}
    told = _checkpoint._pack(state, tensors)
    again = _checkpoint._rebuild(told, tensors.__getitem__)
    assert again["rng"] == state["rng"]
    assert again["inf"] == float("inf")
    assert torch.equal(again[3][0], state[3][0])
    assert again[3][1:] == [float(np.float32(0.1)), (1, None, True), "text"]
    assert torch.equal(again["zero"], state["zero"])
    assert again["empty"].shape == (0, 2)
    assert again["empty"].dtype == np.int16
    assert torch.equal(again["half"], state["half"])
    with pytest.raises(TypeError, match="a set cannot be kept"):
        _checkpoint._pack({"odd": {1, 2}}, {})


@pytest.mark.parametrize("every", [-1, "1", None, True, float("nan")])
def test_bad_interval_is_told(every, tmp_path):
    with pytest.raises(ValueError, match="every must be a number of seconds"):
        with checkpoints(tmp_path, every=every):
            pass


def test_file_in_place_of_the_folder_is_told(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(NotADirectoryError, match="is a file"):
        with checkpoints(path):
            pass
