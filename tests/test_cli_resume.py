# SPDX-License-Identifier: BSD-3-Clause
"""Runs that are broken off go on: nothing is done twice, and the result is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_array_equal
from skimage.io import imsave
from small_estimators import TinyBackbone, TinyPixelNetwork

import psmlearn
from psmlearn import _cli, load_model
from psmlearn._cli import _chain
from psmlearn._cli._resume import FOLDER_NAME, Identity, State
from psmlearn._cli._terminal import Terminal
from psmlearn._engine import _train
from psmlearn.datasets import make_nuclei
from psmlearn.io import read_labels
from psmlearn.networks import register_network
from psmlearn.segmentation import _defaults

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SMALL = {"steps_per_epoch": 3, "batch_size": 2, "patch_size": 32}
NETWORKS = {"NucleiSegmenter": "resume_pixels", "SelfActivationMapper": "resume_maps"}
SHORT = ("--max-epochs", "2", "--device", "cpu", "--pixel-size", "0.5")


class _Killed(BaseException):
    """Stands for the end of a process."""


def run(*arguments):
    try:
        return CliRunner().invoke(_cli.main, [str(each) for each in arguments])
    except _Killed as error:
        return SimpleNamespace(exception=error, exit_code=None, output="")


@pytest.fixture
def small_training(monkeypatch):
    """Make trainings small; the returned function breaks them off after some steps."""
    register_network("resume_pixels", TinyPixelNetwork)
    register_network("resume_maps", TinyBackbone)
    for name, network in NETWORKS.items():
        real = getattr(_defaults, name)
        own = SMALL | {"network": network}
        monkeypatch.setattr(
            _defaults,
            name,
            lambda *given, real=real, own=own, **options: real(
                *given, **options
            ).set_params(**own),
        )
    step, state = _train._step, {"left": -1, "done": 0}

    def counting(*arguments):
        if state["left"] == 0:
            raise _Killed
        state["left"] -= 1
        state["done"] += 1
        step(*arguments)

    def after(n_steps):
        state.update(left=n_steps, done=0)
        return state

    monkeypatch.setattr(_train, "_step", counting)
    # A state after each step, not each minute.
    monkeypatch.setattr(
        "psmlearn._engine._checkpoint.Checkpoint.is_due", property(lambda self: True)
    )
    return after


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    data = make_nuclei(n_images=3, shape=(96, 96), random_state=0)
    for name, image in zip("abc", data.images, strict=True):
        imsave(folder / f"{name}.png", image)
    return folder


def results_of(out):
    """Return the content of all result files but run.json, which has times."""
    return {
        path.name: path.read_bytes()
        for path in sorted(out.iterdir())
        if path.is_file() and path.suffix in (".png", ".tif", ".csv", ".geojson")
    }


def test_killed_training_goes_on_and_gives_the_same_files(
    small_training, folder, tmp_path
):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    counted = small_training(-1)
    done = run("segment", folder, "-o", whole, *SHORT)
    assert done.exit_code == 0, done.output
    n_steps = counted["done"]
    assert n_steps >= 12  # maps, and a round; another if nuclei are found
    total = 0
    for n in (4, 5, 100):
        counted = small_training(n)
        done = run("segment", folder, "-o", broken, *SHORT, "--resume")
        total += counted["done"]
        if n < 100:
            assert isinstance(done.exception, _Killed), done.output
            assert (broken / FOLDER_NAME).is_dir()
            assert not list(broken.glob("*.tif"))
    assert done.exit_code == 0, done.output
    assert total == n_steps
    assert results_of(broken) == results_of(whole) != {}
    assert not (broken / FOLDER_NAME).exists()


def test_images_that_are_done_stay_and_the_model_is_not_trained_again(
    small_training, folder, tmp_path, monkeypatch
):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    small_training(-1)
    options = [*SHORT, "--classes", "ki67", "--resume"]
    assert run("segment", folder, "-o", whole, *options).exit_code == 0
    with monkeypatch.context() as patch:
        real = _cli._nuclei._write_one

        def killed(model, kinds, batch, index, *others):
            if index == 1:
                raise _Killed
            return real(model, kinds, batch, index, *others)

        patch.setattr(_cli._nuclei, "_write_one", killed)
        done = run("segment", folder, "-o", broken, *options)
    assert isinstance(done.exception, _Killed)
    assert (broken / "a_labels.tif").exists()
    time = (broken / "a_labels.tif").stat().st_mtime_ns
    small_training(0)  # not one step more
    done = run("segment", folder, "-o", broken, *options)
    assert done.exit_code == 0, done.output
    assert "1 image of 3 was done before" in done.output
    assert "was trained before the run was broken off" in done.output
    assert (broken / "a_labels.tif").stat().st_mtime_ns == time
    assert results_of(broken) == results_of(whole)  # the index of all three, too
    # All is done: nothing is left to do.
    done = run("segment", folder, "-o", broken, *options)
    assert done.exit_code == 0, done.output
    assert "3 images of 3 were done before" in done.output
    told = json.loads((broken / "run.json").read_text())
    assert [each["n_nuclei"] for each in told["inputs"]] == [
        len(np.unique(read_labels(broken / f"{name}_labels.tif")[..., 0])) - 1
        for name in "abc"
    ]


def test_train_goes_on_and_gives_the_same_model(small_training, folder, tmp_path):
    whole, broken = tmp_path / "whole.psm", tmp_path / "broken.psm"
    counted = small_training(-1)
    assert run("train", folder, "--model", whole, *SHORT).exit_code == 0
    n_steps = counted["done"]
    for n in (7, 3):
        small_training(n)
        done = run("train", folder, "--model", broken, *SHORT, "--resume")
        assert isinstance(done.exception, _Killed)
        assert not broken.exists()
    counted = small_training(-1)
    done = run("train", folder, "--model", broken, *SHORT, "--resume")
    assert done.exit_code == 0, done.output
    assert counted["done"] == n_steps - 10
    assert broken.read_bytes() == whole.read_bytes()
    names = {"in", "whole.psm", "whole.toml", "whole.run.json"}
    names |= {"broken.psm", "broken.toml", "broken.run.json"}
    assert set(os.listdir(tmp_path)) == names
    # And once more: it is there.
    small_training(0)
    done = run("train", folder, "--model", broken, *SHORT, "--resume")
    assert done.exit_code == 0 and "is trained already" in done.output


@pytest.mark.parametrize("command", ["segment", "train"])
def test_what_was_broken_off_is_of_one_run_only(
    command, small_training, folder, tmp_path
):
    target = ["-o", tmp_path / "out"] if command == "segment" else []
    target += ["--model", tmp_path / "m.psm"]
    small_training(4)
    run(command, folder, *target, *SHORT, "--resume")
    small_training(0)
    other = run(command, folder, *target, *SHORT, "--resume", "--random-state", "5")
    assert other.exit_code == 1
    assert "is of another run" in other.output and "parameters" in other.output
    (folder / "c.png").unlink()
    other = run(command, folder, *target, *SHORT, "--resume")
    assert other.exit_code == 1 and "images" in other.output
    # Without --resume it begins anew, and says so.
    counted = small_training(-1)
    done = run(command, folder, *target, *SHORT)
    assert done.exit_code == 0, done.output
    assert "--resume would have gone on" in done.output
    assert counted["done"] in (12, 18)  # 4 less if it had gone on; rounds may end


def test_apply_adds_images_that_have_come(small_training, folder, tmp_path):
    model, out = tmp_path / "m.psm", tmp_path / "out"
    small_training(-1)
    assert run("train", folder, "--model", model, *SHORT).exit_code == 0
    last = (folder / "c.png").read_bytes()
    (folder / "c.png").unlink()
    options = ["--model", model, "-o", out, "--pixel-size", "0.5"]
    assert run("apply", folder, *options).exit_code == 0
    before = results_of(out)
    (folder / "c.png").write_bytes(last)
    done = run("apply", folder, *options)
    assert done.exit_code == 1 and "--overwrite replaces them" in done.output
    done = run("apply", folder, *options, "--resume")
    assert done.exit_code == 0, done.output
    assert "2 images of 3 were done before" in done.output
    assert "applied to 1 image" in done.output
    after = results_of(out)
    assert {name: after[name] for name in before} == before
    (expected,) = load_model(model).predict([folder / "c.png"])
    assert_array_equal(read_labels(out / "c_labels.tif"), expected)
    # Another pixel size is another run.
    other = run(
        *("apply", folder, "--model", model, "-o", out, "--resume"),
        *("--pixel-size", "0.4"),
    )
    assert other.exit_code == 1 and "of an earlier run" in other.output
    assert results_of(out) == after


def test_an_image_that_has_changed_is_done_again(small_training, folder, tmp_path):
    model, out = tmp_path / "m.psm", tmp_path / "out"
    small_training(-1)
    assert run("train", folder, "--model", model, *SHORT).exit_code == 0
    options = ["--model", model, "-o", out, "--pixel-size", "0.5", "--resume"]
    assert run("apply", folder, *options).exit_code == 0
    before = results_of(out)
    (folder / "b.png").write_bytes((folder / "c.png").read_bytes())
    done = run("apply", folder, *options)
    assert done.exit_code == 1 and "b_labels.tif (of an earlier run)" in done.output
    done = run("apply", folder, *options, "--overwrite")
    assert done.exit_code == 0, done.output
    assert "2 images of 3 were done before" in done.output
    after = results_of(out)
    assert after["b_labels.tif"] == after["c_labels.tif"]
    assert {n: after[n] for n in before if n[0] != "b"} == {
        n: before[n] for n in before if n[0] != "b"
    }


def test_missing_files_of_a_finished_image_are_made_again(
    small_training, folder, tmp_path
):
    model, out = tmp_path / "m.psm", tmp_path / "out"
    small_training(-1)
    assert run("train", folder, "--model", model, *SHORT).exit_code == 0
    options = ["--model", model, "-o", out, "--pixel-size", "0.5", "--resume"]
    assert run("apply", folder, *options).exit_code == 0
    before = results_of(out)
    (out / "b_map.png").unlink()
    done = run("apply", folder, *options)
    assert "2 images of 3 were done before" in done.output, done.output
    assert results_of(out) == before
    done = run("apply", folder, *options, "--also", "imagej")
    assert done.exit_code == 0, done.output
    assert (out / "c_rois.zip").exists()


def test_ctrl_c_says_how_to_go_on(small_training, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        _chain, "train", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    for command, target in (
        ("segment", ["-o", tmp_path / "out"]),
        ("train", ["--model", tmp_path / "m.psm"]),
    ):
        done = run(command, folder, *target, *SHORT)
        assert done.exit_code == 130
        assert "--resume goes on from here" in done.output
    assert sorted(os.listdir(tmp_path)) == ["in"]


def test_a_second_training_of_one_model_is_refused(small_training, folder, tmp_path):
    model = tmp_path / "m.psm"

    def train(chain, batch):
        inner = run("train", folder, "--model", model, *SHORT)
        assert inner.exit_code == 1
        assert "Another run of psmlearn trains" in inner.output
        raise ValueError("seen")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_chain, "train", train)
        done = run("train", folder, "--model", model, *SHORT)
    assert "seen" in done.output
    assert sorted(os.listdir(tmp_path)) == ["in"]


TINY = """
[maps]
max_epochs = 2
steps_per_epoch = 4
batch_size = 2
patch_size = 32
[segmenter]
max_epochs = 40
steps_per_epoch = 1
batch_size = 1
patch_size = 32
[chain]
n_rounds = 1
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_process_that_is_killed_goes_on(folder, tmp_path):
    """Once in the maps' training or after it, once in that of the segmenter."""
    (tmp_path / "tiny.toml").write_text(TINY)
    common = [sys.executable, "-m", "psmlearn", "train", folder, "--device", "cpu"]
    common += ["--config", tmp_path / "tiny.toml", "--pixel-size", "0.5"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(psmlearn.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    options = {"env": environment, "capture_output": True, "timeout": 300}
    whole, broken = tmp_path / "whole.psm", tmp_path / "broken.psm"
    done = subprocess.run([*common, "--model", whole], check=False, **options)
    assert done.returncode == 0, done.stderr
    state = tmp_path / ".broken.psm.resume"
    command = [*common, "--model", broken, "--resume"]
    for n_states in (1, 1):
        with subprocess.Popen(command, env=environment) as process:
            while len(list(state.glob("*.checkpoint"))) < n_states:
                assert process.poll() is None
                time.sleep(0.02)
            time.sleep(0.5)
            process.kill()
        assert not broken.exists()
    done = subprocess.run(command, check=False, **options)
    assert done.returncode == 0, done.stderr
    assert broken.read_bytes() == whole.read_bytes()
    assert not state.exists()


class TestState:
    def test_differences_are_told_by_name(self):
        one = Identity({"a": 1, "b": [1, 2], "c": "x" * 100})
        same = Identity({"c": "x" * 100, "b": (1, 2), "a": 1})
        assert one.name == same.name and one.differences(same.told) == []
        other = Identity({"a": 2, "b": [1, 2]})
        told = one.differences(other.told)
        assert [each.split()[0] for each in told] == ["a", "c"]
        assert "2 then, 1 now" in told[0] and len(told[1]) < 120

    @pytest.mark.parametrize("text", ["mine", "[]", '{"psmlearn_resume": 3}', "{}"])
    def test_a_folder_of_others_is_left_alone(self, tmp_path, text):
        state = State(tmp_path / FOLDER_NAME, Identity({}))
        state.path.mkdir()
        (state.path / "run.json").write_text(text)
        for resume in (False, True):
            with pytest.raises(ValueError, match="is not what psmlearn keeps"):
                state.open(Terminal(), resume=resume, overwrite=True)
        assert (state.path / "run.json").read_text() == text

    def test_a_folder_with_other_files_is_left_alone(self, tmp_path):
        state = State(tmp_path / FOLDER_NAME, Identity({}))
        state.path.mkdir()
        (state.path / "notes.txt").write_text("mine")
        with pytest.raises(ValueError, match="move it away"):
            state.open(Terminal(), resume=False, overwrite=True)
        assert os.listdir(state.path) == ["notes.txt"]


def test_hidden_folders_are_no_images(small_training, folder, tmp_path):
    """The state of a run in a folder that is searched is not looked into."""
    small_training(4)
    run("segment", folder, "-o", folder, *SHORT, "--recursive")
    assert (folder / FOLDER_NAME).is_dir()
    small_training(-1)
    done = run("segment", folder, "-o", folder, *SHORT, "--recursive", "--resume")
    assert done.exit_code == 0, done.output
    told = json.loads((folder / "run.json").read_text())
    assert [Path(each["path"]).name for each in told["inputs"]] == [
        "a.png",
        "b.png",
        "c.png",
    ]


def test_a_run_that_is_done_is_not_done_again(small_training, folder, tmp_path):
    """As `make demo` twice."""
    out = tmp_path / "out"
    once = ["-o", out, "--model", out / "model.psm", "--resume", "--overwrite"]
    small_training(-1)
    done = run("segment", folder, *once, "--report", *SHORT)
    assert done.exit_code == 0, done.output
    assert "begins anew" not in done.output
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    small_training(0)
    done = run("segment", folder, *once, "--report", *SHORT)
    assert done.exit_code == 0, done.output
    assert "3 images of 3 were done before" in done.output
    assert f"the report is there: {out / 'report.html'}" in done.output
    after = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed <= {"run.json", "psmlearn-files.jsonl"}
    # Other images, or other parameters, are another run.
    counted = small_training(-1)
    done = run("segment", folder, *once, *SHORT, "--random-state", "4")
    assert done.exit_code == 0, done.output
    assert counted["done"] >= 12


def test_the_model_of_a_broken_run_is_kept_or_told(small_training, folder, tmp_path):
    model, out = tmp_path / "m.psm", tmp_path / "out"
    small_training(-1)
    options = ["-o", out, "--model", model, "--resume", *SHORT]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            _cli._nuclei, "_write_one", lambda *given: (_ for _ in ()).throw(_Killed)
        )
        run("segment", folder, *options)
    first = model.read_bytes()
    assert run("segment", folder, *options).exit_code == 0
    assert model.read_bytes() == first
    # One that is not of this run stays.
    other = tmp_path / "two"
    options[1] = other
    done = run("segment", folder, *options, "--random-state", "9")
    assert done.exit_code == 1 and "--overwrite replaces it" in done.output
    assert model.read_bytes() == first
