# SPDX-License-Identifier: BSD-3-Clause
"""The command line among files of others, odd names, changing images and signals."""

from __future__ import annotations

import csv
import errno
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import unicodedata
import warnings
from pathlib import Path

import fixed_model
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from fixed_model import FixedModel
from PIL import Image

from psmlearn import _cli
from psmlearn._cli import _outputs, _segment, _sources
from psmlearn._cli._ledger import LEDGER_NAME, Ledger, Record, read_ledger
from psmlearn._cli._outputs import OutputFolder
from psmlearn._cli._terminal import Terminal
from psmlearn._warnings import warn_user
from psmlearn.exceptions import CountWarning, NoDataWarning, StainWarning
from psmlearn.io import read_image, read_labels, write_image, write_labels

KINDS = ("overlay.png", "map.png", "labels.tif", "nuclei.csv")
KINDS_OF_CLASSES = ("overlay.png", "labels.tif", "nuclei.csv", "points.csv")
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files and signals")


@pytest.fixture
def model(monkeypatch):
    """Replace training; `seen` has the batch and the settings of each."""
    made = FixedModel()
    made.seen = []

    def train(*settings):
        made.seen.append(settings)
        made.classes = settings[-1]
        return made

    monkeypatch.setattr(_segment, "_train", train)
    return made


def make_image(path, seed=0, shape=(16, 20, 3), **options):
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for seed, name in enumerate("abc"):
        make_image(folder / f"{name}.png", seed)
    return folder


def run(*arguments):
    return CliRunner().invoke(_cli.main, ["segment", *map(str, arguments)])


def results(name, kinds=KINDS):
    return [f"{name}_{kind}" for kind in kinds]


def all_bytes(folder):
    return {
        path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def refused(done, model, *texts):
    """Check for one plain error before any training."""
    assert done.exit_code in (1, 2), done.output
    assert isinstance(done.exception, SystemExit), done.exception
    assert "Traceback" not in done.output and model.seen == []
    for text in texts:
        assert text in done.output, done.output
    return True


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


@pytest.mark.parametrize(
    ("put", "why", "can_overwrite"),
    [
        (put_text, "not written by psmlearn", True),
        (put_folder, "a folder", False),
        pytest.param(put_link, "no regular file", True, marks=POSIX),
        pytest.param(put_dead_link, "no regular file", True, marks=POSIX),
        pytest.param(put_fifo, "no regular file", True, marks=POSIX),
    ],
)
@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        *((f"b_{kind}", None) for kind in KINDS),
        *((f"c_{kind}", "ki67") for kind in KINDS_OF_CLASSES),
        ("labelling_index.csv", "ki67"),
    ],
)
def test_what_is_not_ours_is_refused_before_training(
    model, images, tmp_path, put, why, can_overwrite, kind, classes
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
    done = run(images, *options, "--overwrite")
    if can_overwrite:
        assert done.exit_code == 0, done.output
        assert (out / kind).is_file() and not (out / kind).is_symlink()
        if put is put_link:  # the link went, not what it led to
            assert (out / "target.txt").read_text() == "mine"
    else:
        assert refused(done, model, kind, why)
        assert all_bytes(out) == before


def test_six_in_the_way_are_told_as_five_and_one(model, images, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in (*results("a"), *results("b")[:2]):
        put_text(out / name)
    done = run(images, "-o", out)
    assert refused(done, model, *results("a"), "b_overlay.png", "and 1 more")
    assert "b_map.png" not in done.output


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
    assert run(images, "-o", out, "--pixel-size", "0.5").exit_code == 0
    assert all_bytes(out) != first  # other areas in the tables
    edited = read_labels(out / "b_labels.tif")
    edited[10, 10] = 7
    write_labels(out / "b_labels.tif", edited)
    before = all_bytes(out)
    model.seen.clear()
    done = run(images, "-o", out)
    assert refused(done, model, "b_labels.tif", "changed since psmlearn wrote it")
    assert all_bytes(out) == before
    assert run(images, "-o", out, "--overwrite").exit_code == 0
    assert read_labels(out / "b_labels.tif").max() == 1
    # It is ours again.
    assert run(images, "-o", out).exit_code == 0


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
    done = run(other, "-o", out)
    assert refused(done, model, "b_labels.tif", "result of another image", "in/b.png")
    assert all_bytes(out) == before


def test_a_project_can_be_moved(model, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "in").mkdir(parents=True)
    make_image(old / "in" / "a.png")
    assert run(old / "in", "-o", old / "out").exit_code == 0
    old.rename(new)
    assert run(new / "in", "-o", new / "out").exit_code == 0


def test_images_may_be_added_between_runs(model, images, tmp_path):
    options = ["-o", tmp_path / "out", "--classes", "ki67"]
    assert run(images, *options).exit_code == 0
    make_image(images / "d.png", 5)
    assert run(images, *options).exit_code == 0
    with open(tmp_path / "out" / "labelling_index.csv", newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [*"abcd", "all"]


def test_the_same_run_again_adds_nothing_to_the_list(model, images, tmp_path):
    ledger = tmp_path / "out" / LEDGER_NAME
    run(images, "-o", tmp_path / "out")
    size = ledger.stat().st_size
    run(images, "-o", tmp_path / "out")
    assert ledger.stat().st_size == size


def test_a_file_that_appears_in_mid_run_is_kept(model, images, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def predict(images):
        if "b.png" in images.paths[0]:
            (out / "b_labels.tif").write_text("mine")
        return FixedModel().predict(images)

    model.predict = predict
    done = run(images, "-o", out)
    assert done.exit_code == 1
    assert "b: failed" in done.output and "not written by psmlearn" in done.output
    assert (out / "b_labels.tif").read_text() == "mine"
    names = {*results("a"), *results("c"), "b_labels.tif", LEDGER_NAME}
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
    done = run(images, "-o", out)
    assert refused(done, model, "a_map.png (not written by psmlearn)")
    assert "b_map.png" not in done.output
    # The end of a torn line does not take the next one with it.
    assert run(images, "-o", out, "--overwrite").exit_code == 0
    assert run(images, "-o", out).exit_code == 0


@pytest.mark.parametrize("cut", [1, 5, 40, 100])
def test_a_list_whose_last_line_is_torn(model, images, tmp_path, cut):
    out = tmp_path / "out"
    run(images, "-o", out)
    data = (out / LEDGER_NAME).read_bytes()
    (out / LEDGER_NAME).write_bytes(data[:-cut])
    assert run(images, "-o", out, "--overwrite").exit_code == 0
    assert run(images, "-o", out).exit_code == 0


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
    assert refused(run(images, "-o", tmp_path / "x" / "y"), model, "bad.png")
    assert sorted(os.listdir(tmp_path)) == ["in"]
    (tmp_path / "x").mkdir()
    assert refused(run(images, "-o", tmp_path / "x" / "y"), model, "bad.png")
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
    assert done.exit_code == 1
    assert "b: failed: [Errno 28] No space left on device" in done.output
    assert "b_nuclei.csv" in done.output and ".psmlearn" not in done.output
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
    assert done.exit_code == 1 and "3 of 3 images failed" in done.output
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

    monkeypatch.setattr(_segment, "_train", train)
    assert run(images, "-o", out).exit_code == 0
    assert seen == [LEDGER_NAME]


# Images.


def test_own_results_are_no_images(model, images):
    assert run(images, "-o", images).exit_code == 0
    done = run(images, "-o", images)
    assert done.exit_code == 0, done.output
    (_, (batch, *_)) = model.seen
    assert [Path(path).name for path in batch.paths] == ["a.png", "b.png", "c.png"]
    assert "a_labels.tif" in done.output and "psmlearn wrote it" in done.output
    # Named one by one, as a shell does with *.png.
    done = run(*sorted(images.glob("*.png")), "-o", images)
    assert done.exit_code == 0, done.output
    assert [Path(p).name for p in model.seen[-1][0].paths] == [
        "a.png",
        "b.png",
        "c.png",
    ]
    assert "left out, psmlearn wrote them" in done.output
    # And changed since: still no image.
    edited = read_image(images / "a_overlay.png")
    write_image(images / "a_overlay.png", edited[::-1])
    done = run(images, "-o", images / "out")
    assert done.exit_code == 0, done.output
    assert len(model.seen[-1][0]) == 3
    done = run(images / "a_overlay.png", "-o", images / "out")
    assert done.exit_code == 2 and "psmlearn wrote" in done.output


def test_all_formats_of_a_folder(model, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    kinds = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "jfif": "JPEG", "jpe": "JPEG"}
    kinds |= {"bmp": "BMP", "dib": "BMP", "webp": "WEBP", "tif": "TIFF", "TIFF": "TIFF"}
    for seed, (suffix, kind) in enumerate(kinds.items()):
        make_image(folder / f"{kind}-{seed}.{suffix}", seed, format=kind)
    make_image(folder / "z.btf", 99, format="TIFF")
    done = run(folder, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert len(model.seen[0][0]) == len(kinds) + 1


@pytest.mark.parametrize(
    "name",
    ["s.svs", "s.NDPI", "s.czi", "s.gif", "s.heic", "s.jp2", "s.dcm", "s.mrxs"]
    + ["s.avif", "s.ppm", "s.lif", "s.nd2", "s.psd", "s.vsi", "s.jxl"],
)
def test_formats_that_are_not_read_are_named(model, images, tmp_path, name):
    (images / name).write_bytes(b"something")
    (images / "notes.txt").write_text("x")
    done = run(images, "-o", tmp_path / "out")
    assert done.exit_code == 0
    assert f"{name} (format that is not read)" in done.output
    assert "notes.txt" not in done.output


def test_what_else_is_left_out_is_on_one_line(model, images, tmp_path):
    (images / "deeper").mkdir()
    (images / "d.png").mkdir()
    make_image(images / "no_suffix", format="PNG")
    for number in range(7):
        (images / f"{number}.gif").write_bytes(b"GIF89a")
    out = images / "results"
    assert run(images, "-o", out).exit_code == 0
    done = run(images, "-o", out)
    (line,) = [each for each in done.output.splitlines() if "left out" in each]
    assert "d.png, deeper (folder)" in line
    assert "no_suffix (PNG by its content, not by its name)" in line
    assert "4.gif and 2 more (format" in line and "5.gif" not in line
    assert "results" not in line.replace("results of", "")


@POSIX
@pytest.mark.parametrize("kind", ["fifo", "socket", "dead link", "folder"])
def test_what_is_no_regular_file_is_passed_over(model, images, tmp_path, kind):
    place, told = images / "x.tif", "no regular file"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as opened:
            here = os.getcwd()
            os.chdir(images)  # names of sockets are short
            try:
                opened.bind("x.tif")
            finally:
                os.chdir(here)
    elif kind == "dead link":
        place.symlink_to("nowhere")
        told = "link to nothing"
    else:
        place.mkdir()
        told = "folder"
    done = run(images, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert f"x.tif ({told})" in done.output
    if kind in ("fifo", "socket"):
        model.seen.clear()
        done = run(images / "a.png", place, "-o", tmp_path / "out")
        assert refused(done, model, "x.tif", "no regular file")


@POSIX
def test_an_image_that_is_named_twice_counts_once(model, images, tmp_path):
    (images / "link.png").symlink_to(images / "a.png")
    done = run(images, images / ".." / "in" / "b.png", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert [Path(p).name for p in model.seen[0][0].paths] == ["a.png", "b.png", "c.png"]
    assert "named twice" in done.output and "link.png" in done.output


# Names.


@pytest.mark.parametrize(
    ("stems", "names"),
    [
        (["a", "a", "a"], ["a", "a-2", "a-3"]),
        (["a", "A", "a-2", "a"], ["a", "A-2", "a-2-2", "a-3"]),
        (["\u00e9", "e\u0301", "E\u0301"], ["\u00e9", "e\u0301-2", "E\u0301-2-2"]),
        (["stra\u00dfe", "STRASSE"], ["stra\u00dfe", "STRASSE-2"]),
    ],
)
def test_names_that_a_disk_may_take_for_one(stems, names):
    found = _sources.unique_names([f"{n}/{stem}.png" for n, stem in enumerate(stems)])
    assert len({_sources.fold_name(name) for name in found}) == len(stems)
    assert found[0] == names[0]
    for stem, name in zip(stems, found, strict=True):
        assert name.startswith(stem)
    if stems[0] == "a":
        assert found == names


def test_many_images_of_one_name_are_quick():
    names = _sources.unique_names(f"{number}/img.png" for number in range(30_000))
    assert len(set(names)) == 30_000 and names[-1] == "img-30000"


ODD = [
    *("a b", "M\u00fcller", "\u65e5\u672c\u8a9e", "e\u0301", "\U0001f52c"),
    *("new\nline", "\x1b[31mred", "tab\tin", "a\u202eb", "=1+1", "-o", "%s{}"),
    *("quote'\"", "back\\slash", "$(id)", "* ?", "a:b|c", "\u00a0", "~"),
]


@POSIX
@pytest.mark.parametrize(
    "stem", [*ODD, os.fsdecode(b"M\xfcller"), os.fsdecode(b"\xff")]
)
@pytest.mark.parametrize("classes", [None, "ki67"])
def test_odd_names_have_results_and_are_safe_to_show(
    model, images, tmp_path, stem, classes
):
    try:
        make_image(images / f"{stem}.png", 8)
    except OSError:
        pytest.skip("the disk has no such names")
    out = tmp_path / "out"
    options = ["--classes", classes] if classes else []
    done = run(images, "-o", out, *options)
    assert done.exit_code == 0, done.output
    kinds = KINDS_OF_CLASSES if classes else KINDS
    for name in ("a", "b", "c", stem):
        assert set(results(name, kinds)) <= set(os.listdir(out))
    assert all(line.isprintable() for line in done.output.split("\n"))
    assert "new\nline" not in done.output
    if classes:
        with open(out / "labelling_index.csv", newline="", encoding="utf-8") as file:
            assert len(list(csv.DictReader(file))) == 5
    again = run(images, "-o", out, *options)
    assert again.exit_code == 0, again.output


@POSIX
@pytest.mark.parametrize("encoding", ["ascii:strict", "utf-8:strict", "latin-1:strict"])
def test_a_terminal_without_the_letters(images, tmp_path, encoding):
    for stem in (b"M\xfcller", "日本".encode(), b"new\nline"):
        make_image(images / f"{os.fsdecode(stem)}.png", 3)
    done = subprocess.run(
        [sys.executable, fixed_model.__file__, "segment", images]
        + ["-o", tmp_path / "out", "--classes", "ki67"],
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": python_path()},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert len(os.listdir(tmp_path / "out")) == 4 * 6 + 2
    assert b"M\\udcfcller: 1 nucleus" in done.stdout
    assert b"new\\nline: 1 nucleus" in done.stdout
    assert done.stdout.count(b": 1 nucleus") == 6  # no line is lost


def python_path():
    root = str(Path(_cli.__file__).parents[2])
    return os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])


@POSIX
@pytest.mark.parametrize("length", [239, 243, 245, 251])
@pytest.mark.parametrize("char", ["x", "\u00e9", "\u65e5"])
def test_names_that_are_too_long_with_their_suffix_are_cut(
    model, images, tmp_path, length, char
):
    """Two that are the same when cut, and one that is shorter already."""
    stem = char * (length // len(char.encode()))
    stems = [stem, stem[:-1] + "y", "short"]
    for seed, each in enumerate(stems):
        make_image(images / f"{each}.png", seed)
    out = tmp_path / "out"
    done = run(images, "-o", out)
    assert done.exit_code == 0, done.output
    assert len(os.listdir(out)) == 4 * 6 + 1
    assert set(results("short")) <= set(os.listdir(out))
    n_long = sum(len(f"{each}_overlay.png".encode()) > 255 for each in stems)
    assert done.output.count("results of ") == n_long
    again = run(images, "-o", out)
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize("number", [errno.EILSEQ, errno.EINVAL, errno.ENAMETOOLONG])
def test_letters_that_the_disk_refuses_are_replaced(
    model, images, tmp_path, monkeypatch, number
):
    """As a disk of Windows does with some, and one of macOS with what is no text."""
    make_image(images / "a:b\u00fc.png", 4)
    real = open

    def picky(path, *args, **options):
        if ".probe" in str(path) and ":" in str(path):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(_outputs, "open", picky, raising=False)
    done = run(images, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "results of a:b\u00fc are called a_b_" in done.output
    assert set(results("a_b_")) <= set(os.listdir(tmp_path / "out"))


def test_a_disk_that_takes_no_name_is_told_before_training(
    model, images, tmp_path, monkeypatch
):
    make_image(images / "\u00fc.png", 4)
    monkeypatch.setattr(_outputs, "_holds", lambda *names: False)
    assert refused(run(images, "-o", tmp_path / "out"), model, "rename the image")


# Pixel sizes.


def make_tiff(path, size, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    options = {}
    if size is not None:
        options = {"resolution": (1e4 / size, 1e4 / size), "resolutionunit": 3}
    tifffile.imwrite(path, pixels, photometric="rgb", **options)


@pytest.mark.parametrize(
    ("sizes", "used", "told"),
    [
        ([0.5], [0.5], "pixel size 0.5 micrometres, as the files tell"),
        ([0.4, 0.4], [0.4, 0.4], "pixel size 0.4 micrometres, as the files tell"),
        ([0.23, 0.46], [0.23, 0.46], "pixel size 0.23 to 0.46 micrometres, as the"),
        ([None], [0.25], "pixel size 0.25 micrometres, the default: no file tells"),
        ([None, 0.25], [0.25, 0.25], "the default: not all files tell its own"),
    ],
)
def test_the_pixel_size_is_that_of_the_files_and_told(
    model, tmp_path, sizes, used, told
):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, size in enumerate(sizes):
        make_tiff(folder / f"{number}.tif", size, number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = run(folder, "-o", tmp_path / "out", "--quiet")
    assert done.exit_code == 0, done.output
    assert told in done.output
    for number, size in enumerate(used):
        with open(tmp_path / "out" / f"{number}_nuclei.csv", newline="") as file:
            (row,) = csv.DictReader(file)
        assert float(row["area"]) == pytest.approx(20 * size**2, rel=1e-4)


def test_a_given_pixel_size_is_told(model, tmp_path):
    make_tiff(tmp_path / "a.tif", None)
    done = run(tmp_path / "a.tif", "-o", tmp_path / "out", "--pixel-size", "0.31")
    assert "pixel size 0.31 micrometres, as given" in done.output
    assert model.seen[0][1] == 0.31


# Warnings.


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
            done = run(images, "-o", tmp_path / "out")
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
    monkeypatch.setattr(_segment, "_train", train)
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

        def train(*settings):
            harm(images / "b.png")
            model.classes = settings[-1]
            return model

        monkeypatch.setattr(_segment, "_train", train)
    else:

        def predict(images_):
            found = FixedModel(classes).predict(images_)
            if "b.png" in images_.paths[0]:
                harm(images / "b.png")
            return found

        model.predict = predict
    done = run(images, "-o", out, *(["--classes", classes] if classes else []))
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit)
    assert "b: failed: " in done.output and "b.png" in done.output
    assert "1 of 3 images failed and have no new results: b." in done.output
    kinds = KINDS_OF_CLASSES if classes else KINDS
    names = {*results("a", kinds), *results("c", kinds), LEDGER_NAME}
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

    monkeypatch.setattr(_segment, "_train", train)
    assert run(images, "-o", tmp_path / "out").exit_code == 0


def test_no_image_left(model, images, tmp_path):
    def predict(images):
        raise RuntimeError("out of memory on the device")

    model.predict = predict
    done = run(images, "-o", tmp_path / "out", "--classes", "ki67")
    assert done.exit_code == 1
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
        names | {LEDGER_NAME} if n_done else set()
    )


def test_ctrl_c_in_training(model, images, tmp_path, monkeypatch):
    def train(*settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(_segment, "_train", train)
    done = run(images, "-o", tmp_path / "out")
    assert done.exit_code == 130 and "0 of 3 images done" in done.output
    assert not (tmp_path / "out").exists()


def start(images, out, wait="0.1"):
    return subprocess.Popen(
        [sys.executable, fixed_model.__file__, "segment", images, "-o", out]
        + ["--classes", "ki67"],
        env={**os.environ, "WAIT": wait, "PYTHONPATH": python_path()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def check_whole(out):
    """Check that what has a final name is whole and in the list; return all names."""
    names = sorted(os.listdir(out)) if out.exists() else []
    ledger = read_ledger(out)
    for name in names:
        if name.startswith(".psmlearn-") or name == LEDGER_NAME:
            continue
        assert ledger.match(str(out / name), name) is not None, name
        if name.endswith(".png"):
            read_image(out / name)
        elif name.endswith(".tif"):
            read_labels(out / name)
    return names


@POSIX
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
    assert len(check_whole(out)) == 4 * 3 + 2


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
        with start(images, out, "0.02") as process:
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
    with start(images, out, "0") as process:
        told = process.communicate(timeout=60)[0]
    assert process.returncode == 0, told
    names = check_whole(out)
    assert len(names) == 4 * 12 + 2
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
    assert done.returncode == 1
    assert "1: failed: [Errno 27] File too large" in done.stderr
    assert "1_overlay.png" in done.stderr and "1 of 3 images failed" in done.stderr
    names = {*results("0"), *results("2"), LEDGER_NAME}
    assert set(check_whole(out)) == names


def test_decomposed_and_composed_names_are_told_apart_on_disk(model, images, tmp_path):
    """Two files here, whose results would be one on another disk."""
    for form in ("NFC", "NFD"):
        make_image(images / f"{unicodedata.normalize(form, 'é')}.png", 5)
    if len(os.listdir(images)) == 4:
        pytest.skip("one file on this disk")
    done = run(images, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert len(os.listdir(tmp_path / "out")) == 4 * 5 + 1
