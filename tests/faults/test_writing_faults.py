# SPDX-License-Identifier: BSD-3-Clause
"""Writing when the disk is full, memory ends or a process dies; cells of tables."""

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
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from psmlearn.io import (
    _leftovers,
    atomic_path,
    read_image,
    read_labels,
    write_image,
    write_labels,
    write_points,
    write_table,
)
from psmlearn.io._paths import printable

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs signals")
ROWS = np.random.default_rng(0).random((20_000, 2))
WRITERS = {
    "labels.tif": lambda path: write_labels(path, np.arange(90_000).reshape(300, 300)),
    "labels.png": lambda path: write_labels(path, (ROWS * 60_000).astype(int)),
    "image.png": lambda path: write_image(path, ROWS),
    "table.csv": lambda path: write_table(path, {"a": ROWS[:, 0]}),
    "points.csv": lambda path: write_points(path, ROWS),
}


def read_cells(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize(
    "text",
    [
        *("=2*3", "+2", "-2*3", "@SUM(A1)", "\t=2", "\rx", "\n=2", "\n\n  =2"),
        *("＝2*3", "＋2", "－2", "＠A1", "﹣2", "﹢2", "﹦2", "﹫A1", "\u22122"),
        *(" =2", "\u00a0=2", "\u3000＝2", "\ufeff=2", "\u200b@A1", "\u2028+2"),
        *("\u200e=2", "\x00=2", "\x0b\x0c=2", "\u00ad-2", " \n\t\u00a0\ufeff＠A1"),
    ],
)
def test_what_begins_like_a_formula_is_quoted(tmp_path, text):
    write_table(tmp_path / "t.csv", {text: [text, 1], "other": ["x", "y"]})
    cells = read_cells(tmp_path / "t.csv")
    assert cells == [["'" + text, "other"], ["'" + text, "x"], ["1", "y"]]
    assert cells[0][0][1:] == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\u3000",
        "a=2",
        "(=2)",
        "'=2",
        "1-2",
        "a\n=2",
        "é",
        "日本",
        "a\rb",
        "a,b",
    ]
    + ['"', "a\r\nb", "x\r", "#=", "_-", "\u00b7"],
)
def test_other_text_comes_back_as_it_is(tmp_path, text):
    write_table(tmp_path / "t.csv", {"a": [text, None], "n": [-1.5, 0.7]})
    assert read_cells(tmp_path / "t.csv") == [["a", "n"], [text, "-1.5"], ["", "0.7"]]


def test_numbers_are_no_text():
    for number in (-1, -1.5, np.float32(-2), Decimal("-3"), True, float("-inf")):
        assert _safe(number) == number
    assert _safe(Path("=x")) == "'=x" and _safe(np.str_("-x")) == "'-x"


def _safe(value):
    from psmlearn.io._write import _safe_cell

    return _safe_cell(value)


def test_every_first_letter_that_a_wide_table_reads_as_a_sign():
    for number in range(0x110000):
        char = chr(number)
        wide = unicodedata.normalize("NFKC", char)[:1]
        if wide in tuple("=+-@"):
            assert _safe(char + "1") == "'" + char + "1", hex(number)


def test_names_that_are_no_text_are_written(tmp_path):
    name = os.fsdecode(b"M\xfcller") if os.name == "posix" else "M\udcfcller"
    write_table(tmp_path / "t.csv", {"image": [name, "Müller"]})
    assert read_cells(tmp_path / "t.csv") == [["image"], ["M\\udcfcller"], ["Müller"]]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.png", "plain name.png"),
        ("Müller 日本", "Müller 日本"),
        ("a\nb", "a\\nb"),
        ("\x1b[2Jx", "\\x1b[2Jx"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("\udcfc", "\\udcfc"),
        ("\x9b31m", "\\x9b31m"),
        ("\u2028\r\t\x00", "\\u2028\\r\\t\\x00"),
    ],
)
def test_what_steers_a_terminal_is_escaped(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EROFS])
def test_a_full_disk_names_the_file(tmp_path, monkeypatch, name, number):
    """Whatever is written first fails, and the old file stays."""
    (tmp_path / name).write_bytes(b"old")
    real = os.replace

    def fail(*paths):
        if str(paths[1]).endswith(name):
            raise OSError(number, os.strerror(number))
        return real(*paths)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match=name) as caught:
        WRITERS[name](tmp_path / name)
    assert caught.value.errno == number
    assert "psmlearn-" not in str(caught.value)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"old"


LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from test_writing_faults import WRITERS
import psmlearn.io, PIL.Image, PIL.PngImagePlugin, tifffile  # files of their own
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
for name, write in WRITERS.items():
    try:
        write(sys.argv[2] + "/" + name)
    except OSError as error:
        print(name, error.errno, error)
    else:
        print("no error", name)
"""


@POSIX
def test_a_limit_of_file_sizes_names_the_file(tmp_path):
    """A real failure of the system's own write, in all writers."""
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-B", "-c", LIMITED, here, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(WRITERS), done.stderr
    for line, name in zip(lines, WRITERS, strict=True):
        assert line.startswith(name) and str(tmp_path / name) in line, line
        assert "File too large" in line and ".psmlearn-" not in line
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", WRITERS)
def test_memory_that_ends_names_the_file(tmp_path, monkeypatch, name):
    def fail(*args, **options):
        raise MemoryError

    monkeypatch.setattr("psmlearn.io._write.np.asarray", fail)
    monkeypatch.setattr("psmlearn.io._write.np.rint", fail)
    monkeypatch.setattr("psmlearn.io._write.as_label_image", fail)
    if name == "points.csv":
        monkeypatch.setattr("psmlearn.io._write.csv.writer", fail)
        monkeypatch.setattr("psmlearn.io._points.np.asarray", np.array)
    with pytest.raises(MemoryError, match=name):
        WRITERS[name](tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_memory_that_ends_in_a_block_names_the_file(tmp_path):
    with (
        pytest.raises(MemoryError, match=r"b\.bin': 8 TB"),
        atomic_path(tmp_path / "b.bin"),
    ):
        raise MemoryError("8 TB")


def test_errors_of_other_things_are_left_alone(tmp_path):
    for error in (
        FileNotFoundError(errno.ENOENT, "No such file", "elsewhere.tif"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        KeyError("x"),
        ValueError("y"),
    ):
        with pytest.raises(type(error)) as caught, atomic_path(tmp_path / "b.bin"):
            raise error
        assert caught.value is error
    assert os.listdir(tmp_path) == []


def test_a_folder_that_may_not_be_written_names_the_file(tmp_path, monkeypatch):
    def refuse(path, *args):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError) as caught, atomic_path(tmp_path / "c.bin"):
        pass
    assert caught.value.filename == str(tmp_path / "c.bin")


def test_a_long_suffix_is_no_trouble(tmp_path):
    for name in ("notes." + "x" * 240, "x" * 250 + ".tif", "." + "y" * 200):
        with atomic_path(tmp_path / name) as temporary:
            Path(temporary).write_bytes(b"whole")
        assert (tmp_path / name).read_bytes() == b"whole"


def dead_process():
    """Return the name of a temporary file of a process that was."""
    code = "from psmlearn.io._leftovers import temporary_name as n; print(n('.tif'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout.strip()


def write_aged(path, age=0):
    path.write_bytes(b"half")
    then = time.time() - age
    os.utime(path, (then, then))


@POSIX
@pytest.mark.parametrize("age", [0, 3600, 200_000])
def test_temporary_files_of_the_dead_go(tmp_path, age):
    write_aged(tmp_path / dead_process(), age)
    write_labels(tmp_path / "a.tif", np.eye(3, dtype=int))
    assert os.listdir(tmp_path) == ["a.tif"]


@POSIX
def test_the_living_keep_their_temporary_files(tmp_path):
    mine = tmp_path / _leftovers.temporary_name(".tif")
    write_aged(mine, 500_000)
    kept = [mine]
    parent = mine.name.replace(f"-{os.getpid()}-", f"-{os.getppid()}-")
    began = _leftovers._state_of(os.getppid())
    if began is not None:
        kept.append(tmp_path / parent.replace(parent.split("-")[3], str(began[1])))
        write_aged(kept[-1], 500_000)
    _leftovers.clear_leftovers(str(tmp_path))
    assert sorted(tmp_path.iterdir()) == sorted(kept)


@POSIX
@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
def test_a_number_that_was_given_again_is_another_process(tmp_path):
    host, process, began = _leftovers.temporary_name().split("-")[1:4]
    name = f".psmlearn-{host}-{process}-{int(began) + 1}-{'0' * 32}.tif"
    write_aged(tmp_path / name)
    assert _leftovers.clear_leftovers(str(tmp_path)) == [name]


@pytest.mark.parametrize(
    ("name", "day_old_goes"),
    [
        (f".psmlearn-01234567-1-7-{'0' * 32}.tif", True),  # another host's
        (f".psmlearn-{'a' * 32}.png", True),  # of an earlier version
        (f".psmlearn-{'a' * 32}", True),
        (".psmlearn-notes.txt", False),
        (f".psmlearn-{'A' * 32}.png", False),
        (f"psmlearn-{'a' * 32}.png", False),
        (f".psmlearn-01234567-0-7-{'0' * 32}.tif", False),
        (f"x.psmlearn-01234567-1-7-{'0' * 32}.tif", False),
    ],
)
def test_of_others_what_is_a_day_old_goes(tmp_path, name, day_old_goes):
    for age, goes in ((60, False), (80_000, False), (90_000, day_old_goes)):
        write_aged(tmp_path / name, age)
        removed = _leftovers.clear_leftovers(str(tmp_path))
        assert removed == ([name] if goes else []), age


def test_links_and_folders_that_cannot_be_listed_are_passed_over(tmp_path):
    (tmp_path / "kept.txt").write_text("kept")
    link = tmp_path / f".psmlearn-{'a' * 32}.txt"
    try:
        link.symlink_to(tmp_path / "kept.txt")
    except OSError:
        pytest.skip("no links here")
    os.utime(tmp_path / "kept.txt", (0, 0))
    assert _leftovers.clear_leftovers(str(tmp_path)) == []
    assert _leftovers.clear_leftovers(str(tmp_path / "none")) == []


KILLED = """
import sys, numpy as np
from psmlearn.io import write_image, write_labels, write_table
folder, number = sys.argv[1], 0
print("ready", flush=True)
while True:
    number += 1
    noise = np.random.default_rng(number).integers(0, 255, (400, 400, 3), "u1")
    write_image(f"{folder}/image.png", noise)
    write_labels(f"{folder}/labels.tif", noise[..., 0].astype(int) * 300 + 1)
    write_table(f"{folder}/table.csv", {"a": noise[0, :, 0]})
"""


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_writer_leaves_whole_files_only(tmp_path, sent):
    rng = random.Random(int(sent))
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            process.stdout.readline()
            time.sleep(rng.uniform(0.1, 1.0))
            process.send_signal(sent)
            process.wait(timeout=60)
        for name in sorted(os.listdir(tmp_path)):
            if name == "image.png":
                assert read_image(tmp_path / name).shape == (400, 400, 3)
            elif name == "labels.tif":
                assert read_labels(tmp_path / name).shape == (400, 400)
            elif name == "table.csv":
                assert len(read_cells(tmp_path / name)) == 401
            else:
                assert name.startswith(".psmlearn-"), name
                assert sent != signal.SIGINT
    _leftovers.clear_leftovers(str(tmp_path))
    assert set(os.listdir(tmp_path)) <= {"image.png", "labels.tif", "table.csv"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_device_that_is_full_names_the_file(tmp_path):
    with (
        pytest.raises(OSError, match=r"d\.txt") as caught,
        atomic_path(tmp_path / "d.txt"),
        open("/dev/full", "w") as file,
    ):
        file.write("x" * 10_000)
        file.flush()
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []
