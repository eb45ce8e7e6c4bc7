# SPDX-License-Identifier: BSD-3-Clause
"""Which images are meant, bad ones among them, parameters in a file, logs, records."""

from __future__ import annotations

import json
import logging
import os
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fixed_model import FixedModel
from PIL import Image
from skimage.io import imsave

import psmlearn
from psmlearn import _cli
from psmlearn._cli import _chain
from psmlearn._cli._config import config_text, read_config
from psmlearn._cli._terminal import Terminal
from psmlearn.io import check_images, read_pixel_size


def run(*arguments):
    return CliRunner().invoke(_cli.main, [str(each) for each in arguments])


@pytest.fixture
def chains(monkeypatch):
    """Replace training; the list has the chain and the batch of each."""
    made = []

    def train(chain, batch):
        made.append((chain, batch))
        return FixedModel(getattr(chain.labeler, "classes", None))

    monkeypatch.setattr(_chain, "train", train)
    return made


def names_of(chains):
    return [Path(path).name for path in chains[-1][1].paths]


def make_image(path, seed=0, shape=(16, 20, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "in"
    for number, name in enumerate(
        ["a_HE.png", "b_KI.png", "one/c_HE.png", "one/two/d_HE.png", "x/e.png"]
    ):
        make_image(folder / name, number)
    return folder


# Which images.


def test_folders_within_are_searched_when_asked_for(chains, tree, tmp_path):
    done = run("segment", tree, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert names_of(chains) == ["a_HE.png", "b_KI.png"]
    assert "one, x (folder)" in done.output
    done = run("segment", tree, "-o", tmp_path / "two", "--recursive")
    assert done.exit_code == 0, done.output
    assert names_of(chains) == [
        "a_HE.png",
        "b_KI.png",
        "c_HE.png",
        "d_HE.png",
        "e.png",
    ]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["*_HE.png"], ["a_HE.png", "c_HE.png", "d_HE.png"]),
        (["one/*"], ["c_HE.png", "d_HE.png"]),
        (["x/*", "b*"], ["b_KI.png", "e.png"]),
    ],
)
def test_patterns_choose_images_of_folders(chains, tree, tmp_path, patterns, names):
    options = [part for each in patterns for part in ("--pattern", each)]
    done = run("segment", tree, "-o", tmp_path / "out", "--recursive", *options)
    assert done.exit_code == 0, done.output
    assert names_of(chains) == names


def test_a_pattern_that_fits_nothing_is_told(chains, tree, tmp_path):
    done = run("segment", tree, "-o", tmp_path / "out", "--pattern", "*.svs")
    assert done.exit_code == 2 and "that fits *.svs" in done.output


def test_a_pattern_that_no_shell_has_resolved(chains, tree, tmp_path):
    done = run("segment", f"{tree}/**/*_HE.png", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert names_of(chains) == ["a_HE.png", "c_HE.png", "d_HE.png"]
    # A file may be called like one.
    odd = make_image(tree / "q[1].png")
    assert run("segment", odd, "-o", tmp_path / "two").exit_code == 0
    assert names_of(chains) == ["q[1].png"]


def test_a_list_of_paths_is_read_from_where_it_lies(chains, tree, tmp_path):
    text = "\ufeff# the first day\none/c_HE.png\r\n\n  x/e.png  \n" + str(
        tree / "a_HE.png"
    )
    (tree / "images.txt").write_text(text, encoding="utf-8", newline="")
    done = run("segment", "--list", tree / "images.txt", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert names_of(chains) == ["c_HE.png", "e.png", "a_HE.png"]
    (tree / "images.txt").write_bytes(b"\xff\xfe\x00x")
    done = run("segment", "--list", tree / "images.txt", "-o", tmp_path / "two")
    assert done.exit_code == 1 and "is no text (UTF-8)" in done.output


def test_links_in_a_circle_are_no_trap(chains, tree, tmp_path):
    try:
        (tree / "one" / "back").symlink_to(tree, target_is_directory=True)
    except OSError:
        pytest.skip("this disk has no links")
    done = run("segment", tree, "-o", tmp_path / "out", "--recursive")
    assert done.exit_code == 0, done.output
    assert len(names_of(chains)) == 5
    assert "link to a folder" in done.output


def test_results_in_folders_within_are_left_out(chains, tree):
    for out in (tree / "one" / "results", tree):
        done = run("segment", tree, "-o", out, "--recursive")
        assert done.exit_code == 0, done.output
    done = run("segment", tree, "-o", tree, "--recursive", "--overwrite")
    assert done.exit_code == 0, done.output
    assert len(names_of(chains)) == 5
    assert "psmlearn wrote it" in done.output


# Bad images.


BAD = {
    "text": lambda path: path.write_text("no image"),
    "empty": lambda path: path.write_bytes(b""),
    "grey": lambda path: make_image(path, 3, (16, 20)),
    "torn": lambda path: path.write_bytes(make_image(path, 3).read_bytes()[:60]),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("command", ["segment", "train"])
def test_a_bad_image_does_not_stop_the_others(
    chains, tree, tmp_path, kind, command, monkeypatch
):
    monkeypatch.setattr("psmlearn._cli._train.save", lambda *given: None)
    make_image(tree / "more.png", 8)
    BAD[kind](tree / "bad.png")
    target = ["-o", tmp_path / "out", "--report"] if command == "segment" else []
    target += ["--model", tmp_path / "m.psm"] if command == "train" else []
    done = run(command, tree, *target)
    assert done.exit_code == 3, done.output
    assert isinstance(done.exception, SystemExit)
    last = done.output.splitlines()[-1]
    assert last.startswith("Error: 1 of 4 images") and "bad" in last
    assert names_of(chains) == ["a_HE.png", "b_KI.png", "more.png"]
    if command == "segment":
        assert (tmp_path / "out" / "report.html").exists()
        told = json.loads((tmp_path / "out" / "run.json").read_text())
        assert told["status"] == "some failed"
        assert [each["name"] for each in told["inputs"] if "error" in each] == ["bad"]
        assert (tmp_path / "out" / "more_labels.tif").exists()
    chains.clear()
    done = run(command, tree, *target, "--strict", "--overwrite")
    assert done.exit_code == 1 and chains == []
    assert "bad.png" in done.output


def test_nothing_but_bad_images(chains, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_text("x")
    done = run("segment", tmp_path, "-o", tmp_path / "out")
    assert done.exit_code == 1 and "a.png" in done.output
    assert chains == [] and not (tmp_path / "out").exists()


def test_the_channels_of_most_images_count(chains, tree, tmp_path):
    for number in range(3):
        make_image(tree / f"grey{number}.png", number, (16, 20))
    done = run("segment", tree, "-o", tmp_path / "out")
    assert done.exit_code == 3
    assert names_of(chains) == ["grey0.png", "grey1.png", "grey2.png"]
    assert "a_HE.png has 3 channels, and 3 others have 1" in done.output


# Parameters in a file.


def config(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_gives_options_and_parameters_of_parts(chains, tree, tmp_path):
    path = config(
        tmp_path,
        """
        max-epochs = 3
        random_state = 11
        pixel_size = 0.4
        [maps]
        layers = ["layer1", "layer2"]
        learning_rate = 1e-3
        [clusters]
        n_clusters = 5
        min_contrast = "none"
        [segmenter]
        threshold = 0.7
        value_range = [0, 1]
        [chain]
        n_rounds = 1
        """,
    )
    if "min_contrast" in path.read_text():
        path.write_text(path.read_text().replace('min_contrast = "none"', ""))
    out = tmp_path / "out"
    done = run("segment", tree, "-o", out, "--config", path, "--random-state", "12")
    assert done.exit_code == 0, done.output
    told = chains[0][0].get_params()
    assert told["random_state"] == 12  # the command line comes first
    assert told["labeler__maps__max_epochs"] == told["segmenter__max_epochs"] == 3
    assert told["labeler__maps__layers"] == ["layer1", "layer2"]
    assert told["labeler__maps__learning_rate"] == 1e-3
    assert told["labeler__clusters__n_clusters"] == 5
    assert told["segmenter__pixel_size"] == 0.4
    assert told["segmenter__threshold"] == 0.7
    assert told["segmenter__value_range"] == (0, 1)
    assert told["n_rounds"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[maps]\nlearning_rat = 1", "did you mean 'learning_rate'"),
        ("[maps]\nlearning_rate = -1.0", "learning_rate"),
        ("[segmenter]\nthreshold = 'high'", "threshold"),
        ("[segmenter]\nverbose = 1", "is no parameter"),
        ("[other]\nx = 1", "holds 'other'"),
        ("threshold = 1", "holds 'threshold'"),
        ("random_state = [1]", "holds 'random_state'"),
        ("maps = 3", "holds 'maps'"),
        ("= 3", "is no TOML"),
        ("max_epochs = 0", "max-epochs"),
        ("classes = 'er'", "ki67"),
        ("classes = 'ki67'\n[maps]\nlayers = 'layer1'", "no such part"),
    ],
)
def test_a_file_that_is_wrong_is_told_before_training(
    chains, tree, tmp_path, text, message
):
    path = config(tmp_path, text)
    done = run("segment", tree, "-o", tmp_path / "out", "--config", path)
    assert done.exit_code in (1, 2), done.output
    assert message in done.output.replace("\n", " ")
    assert isinstance(done.exception, SystemExit) and chains == []
    assert not (tmp_path / "out").exists()


def test_train_writes_what_makes_the_same_chain(chains, tree, tmp_path, monkeypatch):
    monkeypatch.setattr("psmlearn._cli._train.save", lambda *given: None)
    for classes in ([], ["--classes", "ki67"]):
        first, second = tmp_path / "one.psm", tmp_path / "two.psm"
        own = config(tmp_path, "[segmenter]\nthreshold = 0.77\nmin_area = 9.5\n")
        options = [*classes, "--max-epochs", "4", "--random-state", "3"]
        options += ["--pixel-size", "0.3", "--config", own, "--overwrite"]
        done = run("train", tree, "--model", first, *options)
        assert done.exit_code == 0, done.output
        written = first.with_suffix(".toml")
        tomllib.loads(written.read_text(encoding="utf-8"))
        done = run("train", tree, "--model", second, "--config", written, "--overwrite")
        assert done.exit_code == 0, done.output
        one, two = (chain.get_params() for chain, _ in chains[-2:])
        assert one.keys() == two.keys()
        for key, value in one.items():
            if not hasattr(value, "get_params") and not key.endswith("steps"):
                assert two[key] == value, key
        assert two["segmenter__threshold"] == 0.77
        texts = [first.with_suffix(".toml"), second.with_suffix(".toml")]
        assert texts[0].read_text() == texts[1].read_text()
        run_of = [json.loads(p.with_suffix(".run.json").read_text()) for p in texts]
        assert run_of[0]["run"] == run_of[1]["run"]


def test_odd_text_comes_back_from_a_config(tmp_path):
    chain = _chain.make_chain(
        check_images([np.full((32, 32, 3), 200, np.uint8)]), 0.5, _chain.Training(), 0
    )
    odd = 'a "b" \\ \x7f \u00e9 \U0001f52c \n'
    chain.segmenter.set_params(network=odd)
    path = config(tmp_path, config_text(chain, {"random_state": 3}))
    options, parts = read_config(path)
    assert options == {"random_state": 3}
    assert parts["segmenter"]["network"] == odd
    assert parts["segmenter"]["weights"] is None


def test_files_beside_a_model_are_kept(chains, tree, tmp_path, monkeypatch):
    monkeypatch.setattr("psmlearn._cli._train.save", lambda *given: None)
    for name in ("m.toml", "m.run.json"):
        (tmp_path / name).write_text("mine = 1")
        for option in ([], ["--overwrite"], ["--resume"]):
            done = run("train", tree, "--model", tmp_path / "m.psm", *option)
            assert done.exit_code == 1 and "never replaced" in done.output
        assert (tmp_path / name).read_text() == "mine = 1"
        (tmp_path / name).unlink()
    assert chains == []


# What is said and kept.


def test_a_log_has_all_that_is_said_with_the_time(chains, tree, tmp_path):
    log = tmp_path / "run.log"
    for number in (1, 2):
        out = tmp_path / f"out{number}"
        done = run("segment", tree, "-o", out, "--log-file", log, "--quiet")
        assert done.exit_code == 0, done.output
    lines = log.read_text(encoding="utf-8").splitlines()
    assert all(line[:4].isdigit() and line[10] == " " for line in lines)
    texts = [line[20:] for line in lines]
    assert texts.count("2 nuclei in 2 images, 0 s in all") in (0, 2)
    assert sum("finding nuclei" in text for text in texts) == 2
    for line in done.output.splitlines():
        assert line in texts
    done = run("segment", tree / "none.png", "-o", tmp_path, "--log-file", log)
    assert done.exit_code == 1
    assert "Error: " in log.read_text().splitlines()[-1]


@pytest.mark.parametrize("kind", ["text", "image", "folder"])
def test_a_log_is_added_to_no_other_file(chains, tree, tmp_path, kind):
    path = tmp_path / "mine"
    if kind == "folder":
        path.mkdir()
    elif kind == "image":
        path = make_image(tmp_path / "mine.png")
    else:
        path.write_text("mine")
    before = path.read_bytes() if path.is_file() else None
    done = run("segment", tree, "-o", tmp_path / "out", "--log-file", path)
    assert done.exit_code == 1, done.output
    assert "mine" in done.output and chains == []
    assert before is None or path.read_bytes() == before


@pytest.mark.parametrize(("tty", "quiet", "bars"), [(1, 0, 1), (1, 1, 0), (0, 0, 0)])
def test_bars_are_for_terminals(monkeypatch, tty, quiet, bars):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: bool(tty), raising=False)
    terminal = Terminal(quiet=bool(quiet))
    assert terminal.verbose == bars


def test_stages_are_said_on_terminals_alone(monkeypatch, capsys):
    for tty in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda tty=tty: tty, raising=False)
        terminal = Terminal()
        with terminal.listening():
            logging.getLogger("psmlearn").info("1 of 2: something")
            logging.getLogger("psmlearn").warning("odd")
        err = capsys.readouterr().err
        assert ("1 of 2" in err) == tty and "odd" in err


def test_the_record_tells_what_was_done(chains, tree, tmp_path):
    out = tmp_path / "out"
    options = ["-o", out, "--pixel-size", "0.3", "--random-state", "7"]
    assert run("segment", tree, *options).exit_code == 0
    told = json.loads((out / "run.json").read_text())
    assert told["command"] == "segment" and told["status"] == "done"
    assert told["psmlearn_version"] == psmlearn.__version__
    assert told["versions"]["numpy"] == np.__version__
    assert told["random_state"] == 7 and told["pixel_size"] == 0.3
    assert told["pixel_size_assumed"] is False
    assert told["pixel_sizes"] == {"a_HE": 0.3, "b_KI": 0.3}
    assert told["parameters"]["segmenter__threshold"] == "0.65"
    assert set(told["times"]) == {"training", "finding nuclei", "all"}
    first = told["inputs"][0]
    assert first["path"] == str(tree / "a_HE.png")
    assert first["bytes"] == os.path.getsize(tree / "a_HE.png")
    assert len(first["sha256"]) == 64 and first["n_nuclei"] == 1
    assert told["n_images"] == 2 and told["earlier_runs"] == []
    # What was before is kept in short.
    assert run("segment", tree, "-o", out, "--overwrite").exit_code == 0
    again = json.loads((out / "run.json").read_text())
    assert again["pixel_size_assumed"] is True
    assert [each["run"] for each in again["earlier_runs"]] == [told["run"]]


def test_the_pixel_size_is_in_every_output(chains, tree, tmp_path):
    out = tmp_path / "out"
    done = run(
        *("segment", tree, "-o", out, "--pixel-size", "0.31"),
        *("--also", "parquet", "--also", "coco", "--also", "imagej"),
    )
    assert done.exit_code == 0, done.output
    for kind in ("labels.tif", "overlay.png", "map.png"):
        size = read_pixel_size(out / f"a_HE_{kind}")
        assert size == pytest.approx(0.31, rel=1e-4)
    header, row = (out / "a_HE_nuclei.csv").read_text().splitlines()
    values = dict(zip(header.split(","), row.split(","), strict=True))
    assert values["image"] == "a_HE" and float(values["pixel_size_um"]) == 0.31
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(out / "a_HE_nuclei.parquet")
    assert table["area_um2"].item() == pytest.approx(20 * 0.31**2)
    coco = json.loads((out / "a_HE_coco.json").read_text())
    assert coco["images"][0]["file_name"] == "a_HE.png"
    assert (out / "a_HE_rois.zip").stat().st_size > 0


def test_a_missing_library_is_told_before_training(chains, tree, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = run("segment", tree, "-o", tmp_path / "out", "--also", "parquet")
    assert done.exit_code == 1 and "pip install 'psmlearn[parquet]'" in done.output
    assert chains == []


def test_the_report_comes_with_the_results(chains, tree, tmp_path):
    out = tmp_path / "out"
    done = run("segment", tree, "-o", out, "--report")
    assert done.exit_code == 0, done.output
    assert str(out / "report.html") in done.output.splitlines()[-1]
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "a_HE" in text and "b_KI" in text
    done = run("segment", tree, "-o", out, "--report", "--overwrite")
    assert done.exit_code == 0, done.output
    (out / "report.html").write_text("mine")
    done = run("segment", tree, "-o", out, "--report", "--overwrite")
    assert done.exit_code == 1 and "never replaced" in done.output


def test_ki67_is_segment_with_classes(chains, tmp_path):
    image = tmp_path / "field.png"
    imsave(image, np.full((32, 32, 3), 180, np.uint8), check_contrast=False)
    done = run("ki67", image, "-o", tmp_path / "out", "--pixel-size", "0.4")
    assert done.exit_code == 0, done.output
    assert chains[0][0].labeler.classes == "ki67"
    assert (tmp_path / "out" / "labelling_index.csv").exists()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["command"] == "ki67"
