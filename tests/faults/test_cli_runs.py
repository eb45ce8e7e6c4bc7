# SPDX-License-Identifier: BSD-3-Clause
"""What happens in mid-run: warnings, images that change, signals, full disks."""

from __future__ import annotations

import csv
import errno
import os
import random
import signal
import subprocess
import sys
import time
import unicodedata
import warnings

import fixed_model
import pytest
from command_line import (
    KINDS,
    KINDS_OF_CLASSES,
    POSIX,
    check_whole,
    make_image,
    python_path,
    results,
    run,
    start,
)
from fixed_model import FixedModel

from psmlearn._cli import _chain
from psmlearn._cli._ledger import LEDGER_NAME
from psmlearn._cli._record import RUN_NAME
from psmlearn._cli._terminal import Terminal
from psmlearn._warnings import warn_user
from psmlearn.exceptions import CountWarning, NoDataWarning, StainWarning

# What is said.


def test_warnings_are_plain_lines_once_each(model, images, tmp_path, recwarn):
    def predict(images):
        warn_user(f"{images.names[0]} looks like no tissue", NoDataWarning)
        warn_user("few nuclei", CountWarning)
        warnings.warn("of another library", RuntimeWarning, stacklevel=1)
        return FixedModel().predict(images)

    model.predict = predict
    for filters in ("ignore", "default"):
        with warnings.catch_warnings():
            warnings.simplefilter(filters)
            done = run(images, "-o", tmp_path / "out", "--overwrite")
        assert done.exit_code == 0, done.output
        lines = [each for each in done.output.splitlines() if "Warning" in each]
        assert "Warning: few nuclei" in lines
        assert len([each for each in lines if "no tissue" in each]) == 3
        assert (f"{RuntimeWarning.__name__}" in done.output) is False
        assert ("Warning: of another library" in lines) == (filters == "default")
        assert not any("warn_user" in each or ".py" in each for each in lines)
    assert not recwarn.list


def test_what_was_told_before_is_not_told_for_each_image(
    model, images, tmp_path, monkeypatch
):
    def train(*settings):
        warn_user("3 images look like no H&E", StainWarning)
        return model

    def predict(images):
        warn_user(f"{images.names[0]} looks like no H&E", StainWarning)
        return FixedModel().predict(images)

    model.predict = predict
    monkeypatch.setattr(_chain, "train", train)
    done = run(images, "-o", tmp_path / "out")
    assert done.output.count("H&E") == 1


def test_what_steers_a_terminal_is_escaped_wherever_it_comes_from(capsys):
    terminal = Terminal()
    terminal.know(["in/a\nb.png", "a\nb", "plain"])
    terminal.say("broken in/a\nb.png:\n- a\nb, \x1b]0;title\x07 \r plain\u202e")
    shown = "broken in/a\\nb.png:\n- a\\nb, \\x1b]0;title\\x07 \\r plain\\u202e\n"
    assert capsys.readouterr().out == shown
    assert terminal.failure("x\x1b").message == "x\\x1b"


def test_a_closed_terminal_ends_no_run():
    class Closed:
        encoding = "utf-8"

        def write(self, text):
            raise BrokenPipeError(errno.EPIPE, "gone")

        flush = write

    terminal = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", Closed())
        terminal.say("hello")


# In mid-run.


def delete(path):
    path.unlink()


def change_shape(path):
    make_image(path, 11, (18, 20, 3))


def change_content(path):
    make_image(path, 12)


def truncate(path):
    path.write_bytes(path.read_bytes()[:50])


def empty(path):
    path.write_bytes(b"")


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("classes", [None, "ki67"])
@pytest.mark.parametrize(
    "harm",
    [delete, change_shape, change_content, truncate, empty, replace_by_folder],
)
@pytest.mark.parametrize("when", ["in training", "in prediction"])
def test_an_image_that_changes_in_mid_run_costs_itself(
    model, images, tmp_path, monkeypatch, harm, when, classes
):
    out = tmp_path / "out"
    if when == "in training":

        def train(chain, batch):
            harm(images / "b.png")
            model.classes = classes
            return model

        monkeypatch.setattr(_chain, "train", train)
    else:

        def predict(images_):
            found = FixedModel(classes).predict(images_)
            if "b.png" in images_.paths[0]:
                harm(images / "b.png")
            return found

        model.predict = predict
    done = run(images, "-o", out, *(["--classes", classes] if classes else []))
    assert done.exit_code == 3, done.output
    assert isinstance(done.exception, SystemExit)
    assert "b: failed: " in done.output and "b.png" in done.output
    assert "1 of 3 images failed and have no new results" in done.output
    assert "b.png" in done.output.splitlines()[-1]  # the reason, in the end
    kinds = KINDS_OF_CLASSES if classes else KINDS
    names = {*results("a", kinds), *results("c", kinds), LEDGER_NAME, RUN_NAME}
    if classes:
        names.add("labelling_index.csv")
        with open(out / "labelling_index.csv", newline="") as file:
            assert [row["image"] for row in csv.DictReader(file)] == ["a", "c", "all"]
        assert "labelling index is without b" in done.output
    assert set(os.listdir(out)) == names


def test_a_new_date_is_no_change(model, images, tmp_path, monkeypatch):
    def train(*settings):
        os.utime(images / "b.png", (0, 0))
        return model

    monkeypatch.setattr(_chain, "train", train)
    assert run(images, "-o", tmp_path / "out").exit_code == 0


def test_no_image_left(model, images, tmp_path):
    def predict(images):
        raise RuntimeError("out of memory on the device")

    model.predict = predict
    done = run(images, "-o", tmp_path / "out", "--classes", "ki67")
    assert done.exit_code == 3
    assert "3 of 3 images failed" in done.output and "written to" not in done.output
    assert "RuntimeError: out of memory on the device" in done.output
    assert not (tmp_path / "out").exists()


def test_a_fault_of_ours_shows_where_it_is_after_the_others_are_done(
    model, images, tmp_path
):
    def predict(images):
        if "a.png" in images.paths[0]:
            raise AttributeError("no such thing")
        return FixedModel().predict(images)

    model.predict = predict
    done = run(images, "-o", tmp_path / "out")
    assert isinstance(done.exception, AttributeError)
    assert "a: failed: AttributeError: no such thing" in done.output
    assert set(results("c")) <= set(os.listdir(tmp_path / "out"))


@pytest.mark.parametrize("n_done", [0, 1, 2])
def test_ctrl_c_keeps_what_is_finished(model, images, tmp_path, n_done):
    out = tmp_path / "out"

    def predict(images):
        if "abc"[n_done] + ".png" in images.paths[0]:
            raise KeyboardInterrupt
        return FixedModel().predict(images)

    model.predict = predict
    done = run(images, "-o", out)
    assert done.exit_code == 130
    assert f"stopped, with {n_done} of 3 images done" in done.output
    assert ("their results are in" in done.output) == bool(n_done)
    names = {name for each in "abc"[:n_done] for name in results(each)}
    assert (set(os.listdir(out)) if n_done else set()) == (
        names | {LEDGER_NAME, RUN_NAME} if n_done else set()
    )


def test_ctrl_c_in_training(model, images, tmp_path, monkeypatch):
    def train(*settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(_chain, "train", train)
    done = run(images, "-o", tmp_path / "out")
    assert done.exit_code == 130 and "0 of 3 images done" in done.output
    assert not (tmp_path / "out").exists()


@POSIX
@pytest.mark.slow
def test_two_runs_at_once(images, tmp_path):
    out = tmp_path / "out"
    with start(images, out, "100") as first:
        for line in first.stdout:
            if "trained" in line:
                break
        with start(images, out) as second:
            told = second.communicate(timeout=60)[0]
        assert second.returncode == 1 and "Another run of psmlearn" in told
        first.kill()  # the lock goes with it
    with start(images, out, "0") as third:
        told = third.communicate(timeout=60)[0]
    assert third.returncode == 0, told
    assert len(check_whole(out)) == len(KINDS_OF_CLASSES) * 3 + 3


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_runs_that_are_killed_leave_whole_files_and_can_be_taken_up(tmp_path, sent):
    images, out = tmp_path / "in", tmp_path / "out"
    images.mkdir()
    for number in range(12):
        make_image(images / f"{number}.png", number, (200, 200, 3))
    rng = random.Random(int(sent))
    for _ in range(5):
        with start(images, out, "0.02", "--resume") as process:
            for line in process.stdout:
                if "training on" in line:
                    break
            time.sleep(rng.uniform(0, 1.2))
            process.send_signal(sent)
            told = process.communicate(timeout=60)[0]
        names = check_whole(out)
        if sent == signal.SIGINT:
            # Python's own when it comes after the end.
            assert process.returncode in (130, 0) or "written to" in told, told
            assert not [name for name in names if name.startswith(".")]
    with start(images, out, "0", "--resume") as process:
        told = process.communicate(timeout=60)[0]
    assert process.returncode == 0, told
    names = check_whole(out)
    assert len(names) == len(KINDS_OF_CLASSES) * 12 + 3
    assert not [name for name in names if name.startswith(".")]


@POSIX
@pytest.mark.slow
def test_a_small_disk(tmp_path):
    """All that fits is whole, the rest is told, and nothing else is left."""
    resource = pytest.importorskip("resource")
    images, out = tmp_path / "in", tmp_path / "out"
    images.mkdir()
    for number, side in enumerate((20, 400, 30)):
        make_image(images / f"{number}.png", number, (side, side, 3))

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    done = subprocess.run(
        [sys.executable, "-B", fixed_model.__file__, "segment", images, "-o", out],
        env={**os.environ, "PYTHONPATH": python_path()},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3
    assert "1: failed: [Errno 27] File too large" in done.stderr
    assert "1_overlay.png" in done.stderr and "1 of 3 images failed" in done.stderr
    names = {*results("0"), *results("2"), LEDGER_NAME, RUN_NAME}
    assert set(check_whole(out)) == names


def test_decomposed_and_composed_names_are_told_apart_on_disk(model, images, tmp_path):
    """Two files here, whose results would be one on another disk."""
    for form in ("NFC", "NFD"):
        make_image(images / f"{unicodedata.normalize(form, 'é')}.png", 5)
    if len(os.listdir(images)) == 4:
        pytest.skip("one file on this disk")
    done = run(images, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert len(os.listdir(tmp_path / "out")) == len(KINDS) * 5 + 2
