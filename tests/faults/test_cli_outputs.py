# SPDX-License-Identifier: BSD-3-Clause
"""The command line among files of others, and folders it cannot write to."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys

import pytest
from command_line import (
    KINDS,
    KINDS_OF_CLASSES,
    POSIX,
    all_bytes,
    make_image,
    refused,
    results,
    run,
)
from fixed_model import FixedModel

from psmlearn._cli import _chain
from psmlearn._cli._ledger import LEDGER_NAME, Ledger, Record, read_ledger
from psmlearn._cli._outputs import OutputFolder
from psmlearn._cli._record import RUN_NAME
from psmlearn._cli._resume import FOLDER_NAME
from psmlearn.io import read_labels, write_labels

# What is in the way.


def put_text(path):
    path.write_text("mine")


def put_folder(path):
    path.mkdir()
    (path / "inside.txt").write_text("mine")


def put_link(path):
    (path.parent / "target.txt").write_text("mine")
    path.symlink_to(path.parent / "target.txt")


def put_dead_link(path):
    path.symlink_to(path.parent / "nowhere")


def put_fifo(path):
    os.mkfifo(path)


KINDS_IN_THE_WAY = [
    *((f"b_{kind}", None) for kind in KINDS),
    *((f"c_{kind}", "ki67") for kind in KINDS_OF_CLASSES),
    ("labelling_index.csv", "ki67"),
    ("run.json", None),
]
PUTS = [
    (put_text, "not written by psmlearn"),
    (put_folder, "a folder"),
    (put_link, "no regular file"),
    (put_dead_link, "no regular file"),
    (put_fifo, "no regular file"),
]


@pytest.mark.parametrize(
    ("put", "why", "kind", "classes"),
    [
        pytest.param(
            *put,
            *kind,
            # Of the sweep one in five in the plain suite.
            marks=[
                *([] if (i + j) % 5 == 0 else [pytest.mark.slow]),
                *([] if i < 2 else [POSIX]),
            ],
        )
        for i, put in enumerate(PUTS)
        for j, kind in enumerate(KINDS_IN_THE_WAY)
    ],
)
def test_what_is_not_ours_is_refused_before_training(
    model, images, tmp_path, put, why, kind, classes
):
    out = tmp_path / "out"
    out.mkdir()
    put(out / kind)
    names, before = sorted(os.listdir(out)), None
    if put is not put_fifo:
        before = all_bytes(out)
    options = ["-o", out, "--quiet", *(["--classes", classes] if classes else [])]
    assert refused(run(images, *options), model, kind, why, "--output")
    assert sorted(os.listdir(out)) == names
    assert before is None or all_bytes(out) == before
    for option in ("--overwrite", "--resume"):
        assert refused(run(images, *options, option), model, kind, why)
        assert sorted(os.listdir(out)) == names
        assert before is None or all_bytes(out) == before


def test_six_in_the_way_are_told_as_five_and_one(model, images, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in (*results("a"), results("b")[0]):
        put_text(out / name)
    done = run(images, "-o", out)
    assert refused(done, model, *results("a"), "and 1 more")
    assert "b_overlay.png" not in done.output


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize("kind", ["overlay.png", "map.png", "labels.tif"])
def test_an_image_of_the_run_is_never_replaced(
    model, images, tmp_path, kind, overwrite
):
    """Under its own name, by a link, by a hard link, or in another writing."""
    extra = make_image(images / f"a_{kind}", 9)
    before = all_bytes(images)
    for folder in (images, images / ".." / "in"):
        done = run(images / "a.png", extra, "-o", folder, *overwrite)
        assert refused(done, model, extra.name, "an image of this run")
    linked = tmp_path / "linked"
    linked.mkdir()
    os.link(extra, linked / extra.name)
    done = run(images / "a.png", extra, "-o", linked, *overwrite)
    assert refused(done, model, extra.name, "an image of this run")
    assert all_bytes(images) == before


def test_own_files_are_replaced_and_edits_are_not(model, images, tmp_path):
    out = tmp_path / "out"
    assert run(images, "-o", out).exit_code == 0
    first = all_bytes(out)
    model.seen.clear()
    done = run(images, "-o", out, "--pixel-size", "0.5")
    assert refused(done, model, "a_labels.tif (of an earlier run)", "--overwrite")
    assert all_bytes(out) == first
    done = run(images, "-o", out, "--pixel-size", "0.5", "--overwrite")
    assert done.exit_code == 0, done.output
    assert all_bytes(out) != first  # other areas in the tables
    edited = read_labels(out / "b_labels.tif")
    edited[10, 10] = 7
    write_labels(out / "b_labels.tif", edited)
    before = all_bytes(out)
    model.seen.clear()
    for option in ("--overwrite", "--resume"):
        done = run(images, "-o", out, option, "--pixel-size", "0.5")
        assert refused(done, model, "b_labels.tif", "changed since psmlearn wrote it")
        assert all_bytes(out) == before


def test_the_index_of_other_images_is_not_replaced(model, images, tmp_path):
    out = tmp_path / "out"
    options = ["-o", out, "--classes", "ki67"]
    assert run(images / "a.png", *options).exit_code == 0
    before = all_bytes(out)
    model.seen.clear()
    done = run(images / "b.png", *options, "--overwrite")
    assert refused(
        done, model, "labelling_index.csv", "result of another image", "a.png"
    )
    assert all_bytes(out) == before
    # With further images it is the index of all.
    both = [images / "a.png", images / "b.png", *options, "--overwrite"]
    assert run(*both).exit_code == 0
    assert run(*both).exit_code == 0


@pytest.mark.parametrize("arguments", [[""], ["-o", ""]])
def test_an_empty_text_is_no_folder(model, images, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(images)
    before = all_bytes(images)
    done = run(*(["."] if arguments[0] == "-o" else []), *arguments)
    assert done.exit_code == 2 and "empty text" in done.output
    assert all_bytes(images) == before


def test_a_table_of_the_same_size_is_told_by_its_content(model, images, tmp_path):
    out = tmp_path / "out"
    run(images, "-o", out)
    text = (out / "a_nuclei.csv").read_text()
    (out / "a_nuclei.csv").write_text(text.replace("1", "2"))
    model.seen.clear()
    assert refused(run(images, "-o", out), model, "a_nuclei.csv", "changed since")


def test_results_of_another_image_of_that_name_are_not_replaced(
    model, images, tmp_path
):
    out, other = tmp_path / "out", tmp_path / "other"
    run(images, "-o", out)
    other.mkdir()
    make_image(other / "b.png", 7)
    before = all_bytes(out)
    model.seen.clear()
    done = run(other, "-o", out, "--overwrite")
    assert refused(done, model, "b_labels.tif", "result of another image", "in/b.png")
    assert all_bytes(out) == before


def test_a_project_can_be_moved(model, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "in").mkdir(parents=True)
    make_image(old / "in" / "a.png")
    assert run(old / "in", "-o", old / "out").exit_code == 0
    old.rename(new)
    done = run(new / "in", "-o", new / "out", "--overwrite")
    assert done.exit_code == 0, done.output
    done = run(new / "in", "-o", new / "out", "--resume")
    assert "1 image of 1 was done before" in done.output


def test_images_may_be_added_between_runs(model, images, tmp_path):
    options = ["-o", tmp_path / "out", "--classes", "ki67", "--overwrite"]
    assert run(images, *options).exit_code == 0
    make_image(images / "d.png", 5)
    assert run(images, *options).exit_code == 0
    with open(tmp_path / "out" / "labelling_index.csv", newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [*"abcd", "all"]


def test_the_same_run_again_adds_nothing_to_the_list(model, images, tmp_path):
    ledger = tmp_path / "out" / LEDGER_NAME
    run(images, "-o", tmp_path / "out")
    lines = ledger.read_text().splitlines()
    assert run(images, "-o", tmp_path / "out", "--overwrite").exit_code == 0
    added = ledger.read_text().splitlines()[len(lines) :]
    assert [json.loads(line)["name"] for line in added] == [RUN_NAME]  # it has times


def test_a_file_that_appears_in_mid_run_is_kept(model, images, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def predict(images):
        if "b.png" in images.paths[0]:
            (out / "b_labels.tif").write_text("mine")
        return FixedModel().predict(images)

    model.predict = predict
    done = run(images, "-o", out)
    assert done.exit_code == 3
    assert "b: failed" in done.output and "not written by psmlearn" in done.output
    assert (out / "b_labels.tif").read_text() == "mine"
    names = {*results("a"), *results("c"), "b_labels.tif", LEDGER_NAME, RUN_NAME}
    assert set(os.listdir(out)) == names


# The list of own files.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("my notes", "not the list of files"),
        ("[]", "not the list of files"),
        ("{}\n{}", "not the list of files"),
        ("\x00\xff", "not the list of files"),
        ("[" * 100_000, "not the list of files"),
        ('{"psmlearn_files": 2}\n', "version 2"),
    ],
)
def test_a_list_that_is_none_is_refused_and_left(
    model, images, tmp_path, text, message
):
    (tmp_path / LEDGER_NAME).write_text(text, encoding="latin-1")
    done = run(images, "-o", tmp_path)
    assert refused(done, model, LEDGER_NAME, message)
    assert (tmp_path / LEDGER_NAME).read_text(encoding="latin-1") == text


@POSIX
@pytest.mark.parametrize("put", [put_folder, put_link, put_dead_link, put_fifo])
def test_a_list_that_is_no_file_is_refused(model, images, tmp_path, put):
    put(tmp_path / LEDGER_NAME)
    assert refused(run(images, "-o", tmp_path), model, LEDGER_NAME)
    assert not (tmp_path / "nowhere").exists()


def test_broken_lines_make_no_file_ours(model, images, tmp_path):
    out = tmp_path / "out"
    run(images, "-o", out)
    lines = (out / LEDGER_NAME).read_text().splitlines()
    assert json.loads(lines[0]) == {"psmlearn_files": 1}
    bad = ["", "null", "[]", '{"name": 3}', '{"name": "a_map.png", "size": "1"}', "{"]
    kept = [line for line in lines if "a_map.png" not in line]
    (out / LEDGER_NAME).write_text("\n".join([*kept, *bad]))
    model.seen.clear()
    done = run(images, "-o", out, "--overwrite")
    assert refused(done, model, "a_map.png (not written by psmlearn)")
    assert "b_map.png" not in done.output
    # The end of a torn line does not take the next one with it.
    (out / "a_map.png").unlink()
    assert run(images, "-o", out, "--overwrite").exit_code == 0
    assert run(images, "-o", out, "--overwrite").exit_code == 0


@pytest.mark.parametrize("cut", [1, 5, 40, 100])
def test_a_list_whose_last_line_is_torn(model, images, tmp_path, cut):
    out = tmp_path / "out"
    run(images, "-o", out)
    data = (out / LEDGER_NAME).read_bytes()
    (out / LEDGER_NAME).write_bytes(data[:-cut])
    model.seen.clear()
    done = run(images, "-o", out, "--overwrite")
    if cut > 1:  # a newline is no loss
        assert refused(done, model, "run.json (not written by psmlearn)")
        (out / "run.json").unlink()
        assert run(images, "-o", out, "--overwrite").exit_code == 0
    else:
        assert done.exit_code == 0, done.output
    assert run(images, "-o", out, "--overwrite").exit_code == 0


def test_every_result_is_in_the_list(model, images, tmp_path):
    run(images, "-o", tmp_path / "out", "--classes", "ki67")
    ledger = read_ledger(tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        if path.name != LEDGER_NAME:
            assert ledger.match(str(path), path.name) is not None, path.name


def test_an_older_state_of_a_file_is_ours_too(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    ledger = Ledger([Record("x", 3, sha, "a"), Record("x", 3, "0" * 64, "b")])
    assert ledger.match(str(tmp_path / "x"), "x").source == "a"
    assert ledger.match(str(tmp_path / "x"), "y") is None
    assert not ledger.add(Record("x", 3, sha, "a"))


# The folder.


def test_a_refused_run_leaves_no_folder(model, images, tmp_path):
    (images / "bad.png").write_bytes(b"no image")
    strict = ["-o", tmp_path / "x" / "y", "--strict"]
    assert refused(run(images, *strict), model, "bad.png")
    assert sorted(os.listdir(tmp_path)) == ["in"]
    (tmp_path / "x").mkdir()
    assert refused(run(images, *strict), model, "bad.png")
    assert os.listdir(tmp_path / "x") == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_told_before_training(
    model, images, tmp_path, monkeypatch, number
):
    out = tmp_path / "out"
    out.mkdir()
    real = os.mkdir

    def refuse(path, *args, **options):
        if str(path).startswith(str(out)):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "mkdir", refuse)
    done = run(images, "-o", out)
    assert refused(done, model, f"Cannot write to '{out}'", os.strerror(number))
    assert ".psmlearn" not in done.output


@POSIX
@pytest.mark.skipif(
    os.name == "posix" and os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_read_only_folder_is_told_before_training(model, images, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o555)
    try:
        assert refused(run(images, "-o", out), model, "Cannot write to", "denied")
    finally:
        out.chmod(0o755)


def test_an_output_below_a_file_is_one_line(model, images, tmp_path):
    (tmp_path / "file").write_text("x")
    assert refused(run(images, "-o", tmp_path / "file"), model, "is a file")
    assert refused(run(images, "-o", tmp_path / "file" / "out"), model, "file")


def test_two_runs_do_not_write_to_one_folder(model, images, tmp_path):
    out = tmp_path / "out"
    with OutputFolder(out):
        done = run(images, "-o", out)
        assert refused(done, model, "Another run of psmlearn", str(out))
    assert not out.exists()  # nothing was written
    assert run(images, "-o", out).exit_code == 0


def test_a_disk_without_locks_is_no_hindrance(model, images, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def fail(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    assert run(images, "-o", tmp_path / "out").exit_code == 0


def test_a_full_disk_costs_the_images_it_stops(model, images, tmp_path, monkeypatch):
    real = os.replace

    def fail(source, target):
        if "b_nuclei" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(os, "replace", fail)
    done = run(images, "-o", tmp_path / "out", "--classes", "ki67")
    assert done.exit_code == 3
    assert "b: failed: [Errno 28] No space left on device" in done.output
    assert "b_nuclei.geojson" in done.output and ".psmlearn" not in done.output
    names = set(os.listdir(tmp_path / "out"))
    assert {*results("a", KINDS_OF_CLASSES), *results("c", KINDS_OF_CLASSES)} <= names
    assert not [name for name in names if name.startswith((".", "b_nuclei"))]


def test_files_of_an_image_come_together_or_not_at_all(
    model, images, tmp_path, monkeypatch
):
    out = tmp_path / "out"

    def fail(*args, **options):
        raise MemoryError

    monkeypatch.setattr("psmlearn.io.write_table", fail)
    done = run(images, "-o", out)
    assert done.exit_code == 3 and "3 of 3 images failed" in done.output
    assert "a: failed: Cannot write" in done.output and "memory" in done.output
    assert ".psmlearn" not in done.output
    assert not out.exists()


@POSIX
def test_what_the_dead_left_goes_at_the_start(model, images, tmp_path, monkeypatch):
    code = "from psmlearn.io._leftovers import temporary_name as n; print(n('.png'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    out = tmp_path / "out"
    out.mkdir()
    (out / done.stdout.strip()).write_bytes(b"half")
    probe = out / done.stdout.strip().replace(".png", ".probe")
    probe.mkdir()
    (probe / "x").write_bytes(b"")
    seen = []

    def train(*settings):
        seen.extend(os.listdir(out))
        return model

    monkeypatch.setattr(_chain, "train", train)
    assert run(images, "-o", out).exit_code == 0
    assert sorted(seen) == [FOLDER_NAME, LEDGER_NAME]
