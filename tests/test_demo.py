# SPDX-License-Identifier: BSD-3-Clause
"""`make demo` trains once, and again where anything is different."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ("a_overlay.png", "a_map.png", "psmlearn-files.jsonl", "model.psm")


@pytest.fixture
def demo():
    spec = importlib.util.spec_from_file_location("demo", ROOT / ".ci" / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def runs(demo, monkeypatch, tmp_path):
    """What was run; each run writes its number to the files of results."""
    calls = []

    def run(arguments):
        calls.append(arguments)
        for name in RESULTS:
            assert name != "model.psm" or not (tmp_path / "out" / name).exists()
            (tmp_path / "out" / name).write_text(f"run {len(calls)}")
        return 0

    monkeypatch.setattr(demo, "run", run)
    return calls


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "two slides"
    folder.mkdir()
    (folder / "a.png").write_text("a")
    return folder


def test_the_second_time_nothing_is_run(demo, runs, images, tmp_path, capsys):
    out = tmp_path / "out"
    assert demo.main(out, [str(images)]) == 0
    places = ["--output", str(out), "--model", str(out / "model.psm")]
    assert runs == [["segment", str(images), *places]]
    first = capsys.readouterr().out
    assert demo.main(out, [str(images)]) == 0
    assert len(runs) == 1
    second = capsys.readouterr().out
    assert "nothing is trained" in second and "nothing is trained" not in first
    for told in (first, second):
        assert str(out / "a_overlay.png") in told and str(out / "a_map.png") in told
        assert f"apply IMAGES --model {out / 'model.psm'}" in told
        assert "report" not in told


def test_a_report_is_told_last(demo, runs, images, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "RESULTS", (*RESULTS, "report.html"))
    demo.main(tmp_path / "out", [str(images)])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split() == ["report", str(tmp_path / "out" / "report.html")]


CHANGES = {
    "option": lambda demo, images, out: ["--quick"],
    "image": lambda demo, images, out: (images / "a.png").write_text("other"),
    "new image": lambda demo, images, out: (images / "b.png").write_text("b"),
    "no image": lambda demo, images, out: (images / "a.png").unlink(),
    "model lost": lambda demo, images, out: (out / "model.psm").unlink(),
    "result lost": lambda demo, images, out: (out / "a_map.png").unlink(),
    "result changed": lambda demo, images, out: (out / "a_map.png").write_text("mine"),
    "stamp damaged": lambda demo, images, out: (
        (out / demo.STAMP).write_text('{"key": 1, "files": []}'),
        (out / "model.psm").unlink(),
    ),
    "package": lambda demo, images, out: setattr(
        demo, "_digest_package", lambda name: []
    ),
    "torch": lambda demo, images, out: setattr(demo, "version", lambda name: "0"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_different_is_run_again(name, demo, runs, images, tmp_path):
    out = tmp_path / "out"
    demo.main(out, [str(images)])
    changed = CHANGES[name](demo, images, out)
    arguments = [str(images), *(changed if isinstance(changed, list) else [])]
    demo.main(out, arguments)
    assert len(runs) == 2
    demo.main(out, arguments)
    assert len(runs) == 2


def test_results_within_the_folder_of_images_are_no_images(demo, runs, tmp_path):
    (tmp_path / "a.png").write_text("a")
    for _ in range(2):
        demo.main(tmp_path / "out", [str(tmp_path)])
    assert len(runs) == 1


def test_a_model_that_is_not_ours_stays(demo, images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.psm").write_text("mine")
    monkeypatch.setattr(demo, "run", lambda arguments: 1)
    for _ in range(2):
        assert demo.main(out, [str(images)]) == 1
        assert (out / "model.psm").read_text() == "mine"


def test_the_model_of_a_run_that_was_killed_is_replaced(
    demo, runs, images, tmp_path, monkeypatch
):
    out, run = tmp_path / "out", demo.run

    def killed(arguments):
        (out / "model.psm").write_text("half a demo")
        return 130

    monkeypatch.setattr(demo, "run", killed)
    assert demo.main(out, [str(images)]) == 130
    monkeypatch.setattr(demo, "run", run)
    assert demo.main(out, [str(images)]) == 0
    assert (out / "model.psm").read_text() == "run 1"


def test_a_failure_leaves_no_folder(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "run", lambda arguments: 2)
    assert demo.main(tmp_path / "out", ["no such folder"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_is_what_is_run(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "demo.py", tmp_path / "out", "no such folder"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1
    assert "no such folder" in done.stderr and "Traceback" not in done.stderr


def test_make_runs_it():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert '.ci/demo.py "$(OUTPUT)"' in makefile
    assert "SAMPLE := --sample --quick" in makefile
