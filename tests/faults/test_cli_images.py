# SPDX-License-Identifier: BSD-3-Clause
"""What the command line takes for images, their names and pixel sizes."""

from __future__ import annotations

import csv
import errno
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import fixed_model
import numpy as np
import pytest
import tifffile
from command_line import (
    KINDS,
    KINDS_OF_CLASSES,
    POSIX,
    make_image,
    python_path,
    refused,
    results,
    run,
)

from psmlearn._cli import _outputs, _sources
from psmlearn.io import read_image, write_image

# Images.


def test_own_results_are_no_images(model, images):
    assert run(images, "-o", images).exit_code == 0
    done = run(images, "-o", images, "--overwrite")
    assert done.exit_code == 0, done.output
    (_, (batch, *_)) = model.seen
    assert [Path(path).name for path in batch.paths] == ["a.png", "b.png", "c.png"]
    assert "a_labels.tif" in done.output and "psmlearn wrote it" in done.output
    # Named one by one, as a shell does with *.png.
    done = run(*sorted(images.glob("*.png")), "-o", images, "--overwrite")
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
    ["s.gif", "s.heic", "s.jp2", "s.dcm"]
    + ["s.avif", "s.ppm", "s.lif", "s.nd2", "s.psd", "s.vsi", "s.jxl"],
)
def test_formats_that_are_not_read_are_named(model, images, tmp_path, name):
    (images / name).write_bytes(b"something")
    (images / "notes.txt").write_text("x")
    done = run(images, "-o", tmp_path / "out")
    assert done.exit_code == 0
    assert f"{name} (format that is not read)" in done.output
    assert "notes.txt" not in done.output


@pytest.mark.parametrize("name", ["s.svs", "s.NDPI", "s.czi", "s.mrxs"])
def test_slides_that_cannot_be_opened_cost_no_image(model, images, tmp_path, name):
    (images / name).write_bytes(b"something")
    for classes in ((), ("--classes", "ki67")):
        done = run(images, "-o", tmp_path / f"out{len(classes)}", *classes)
        assert done.exit_code == 3
        assert f"{images / name}" in done.output.splitlines()[-1]
    assert len(model.seen) == 2


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
    ("stem", "classes"),
    [
        pytest.param(
            stem,
            classes,
            # Of the sweep a few in the plain suite.
            marks=[] if place % 4 == (0 if classes else 2) else [pytest.mark.slow],
        )
        for classes in (None, "ki67")
        for place, stem in enumerate(
            [*ODD, os.fsdecode(b"M\xfcller"), os.fsdecode(b"\xff")]
        )
    ],
)
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
    again = run(images, "-o", out, *options, "--overwrite")
    assert again.exit_code == 0, again.output


@POSIX
@pytest.mark.parametrize(
    "encoding",
    [
        "ascii:strict",
        pytest.param("utf-8:strict", marks=pytest.mark.slow),
        pytest.param("latin-1:strict", marks=pytest.mark.slow),
    ],
)
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
    assert len(os.listdir(tmp_path / "out")) == len(KINDS_OF_CLASSES) * 6 + 3
    assert b"M\\udcfcller: 1 nucleus" in done.stdout
    assert b"new\\nline: 1 nucleus" in done.stdout
    assert done.stdout.count(b": 1 nucleus") == 6  # no line is lost


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
    assert len(os.listdir(out)) == len(KINDS) * 6 + 2
    assert set(results("short")) <= set(os.listdir(out))
    longest = max(KINDS, key=len)
    n_long = sum(len(f"{each}_{longest}".encode()) > 255 for each in stems)
    assert done.output.count("results of ") == n_long
    again = run(images, "-o", out, "--overwrite")
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


def test_a_name_that_no_disk_takes_costs_one_image(
    model, images, tmp_path, monkeypatch
):
    make_image(images / "\u00fc.png", 4)
    monkeypatch.setattr(_outputs, "_holds", lambda folder, name, end: name in "abc")
    done = run(images, "-o", tmp_path / "out")
    assert done.exit_code == 3, done.output
    assert "the disk holds no file called after" in done.output
    assert set(results("c")) <= set(os.listdir(tmp_path / "out"))
    assert [Path(p).name for p in model.seen[0][0].paths] == ["a.png", "b.png", "c.png"]


def test_a_disk_that_takes_no_name_is_told_before_training(
    model, images, tmp_path, monkeypatch
):
    monkeypatch.setattr(_outputs, "_holds", lambda *names: False)
    assert refused(run(images, "-o", tmp_path / "out"), model, "rename it")


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
        assert float(row["area_um2"]) == pytest.approx(20 * size**2, rel=1e-4)


def test_a_given_pixel_size_is_told(model, tmp_path):
    make_tiff(tmp_path / "a.tif", None)
    done = run(tmp_path / "a.tif", "-o", tmp_path / "out", "--pixel-size", "0.31")
    assert "pixel size 0.31 micrometres, as given" in done.output
    assert model.seen[0][1].segmenter.pixel_size == 0.31
