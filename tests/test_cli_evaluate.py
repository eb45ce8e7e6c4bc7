# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn evaluate`` scores folders of label images."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from psmlearn import _cli
from psmlearn.datasets import make_nuclei
from psmlearn.io import write_image, write_labels
from psmlearn.metrics import _label_blocks, segmentation_report


@pytest.fixture
def folders(tmp_path):
    """Predictions as psmlearn calls them, truth beside images; one of each alone."""
    found, true = tmp_path / "out", tmp_path / "truth"
    found.mkdir()
    true.mkdir()
    masks = make_nuclei(n_images=4, shape=(64, 64), random_state=0).masks
    for name, mask in zip("abcd", masks, strict=True):
        if name != "d":
            shifted = np.roll(mask, 1, axis=0)
            write_labels(found / f"{name}_labels.tif", shifted)
            write_image(found / f"{name}_overlay.png", np.zeros((64, 64, 3), "u1"))
        if name != "c":
            write_labels(true / f"{name.upper()}_inst.png", mask)
            write_image(true / f"{name.upper()}.png", np.zeros((64, 64, 3), "u1"))
    return found, true, masks


def run(*arguments):
    return CliRunner().invoke(_cli.main, ["evaluate", *map(str, arguments)])


def test_scores_are_those_of_the_report(folders, tmp_path):
    found, true, masks = folders
    table, record = tmp_path / "scores.csv", tmp_path / "scores.json"
    done = run(found, true, "--csv", table, "--json", record, "--radius", 6)
    assert done.exit_code == 0, done.output
    expected = segmentation_report(
        masks[:2],
        [np.roll(mask, 1, axis=0) for mask in masks[:2]],
        radius=6,
        names=["A_inst.png", "B_inst.png"],
        output_dict=True,
    )
    assert json.loads(record.read_text()) == expected
    with open(table, newline="", encoding="utf-8") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["A_inst.png", "B_inst.png", "macro", "micro", "std"]
    for name, score in expected["scores"].items():
        assert float(rows["B_inst.png"][name]) == score["per_image"][1]
        assert float(rows["macro"][name]) == score["macro"]
    assert "2 images scored" in done.output and "AJI" in done.output
    assert f"alone in {found}: c_labels.tif" in done.output
    assert f"alone in {true}: D_inst.png" in done.output


def test_large_label_images_are_read_by_blocks(folders, tmp_path, monkeypatch):
    found, true, _ = folders
    records = [tmp_path / "whole.json", tmp_path / "blocks.json"]
    assert run(found, true, "--json", records[0]).exit_code == 0
    monkeypatch.setattr(_label_blocks, "MAX_LABEL_PIXELS", 64 * 64 - 1)
    monkeypatch.setattr(_label_blocks, "_BLOCK_SIZE", 17)
    monkeypatch.setattr(_label_blocks, "count_image", pytest.fail)
    done = run(found, true, "--json", records[1])
    assert done.exit_code == 0, done.output
    assert records[0].read_bytes() == records[1].read_bytes()


def test_two_files_are_scored(folders):
    found, true, _ = folders
    done = run(found / "a_labels.tif", true / "A_inst.png")
    assert done.exit_code == 0 and "1 image scored" in done.output, done.output


def test_what_is_not_defined_is_null(tmp_path):
    write_labels(tmp_path / "a.tif", np.zeros((8, 8), int))
    write_labels(tmp_path / "b.tif", np.zeros((8, 8), int))
    record = tmp_path / "s.json"
    done = run(tmp_path / "a.tif", tmp_path / "b.tif", "--json", record)
    assert done.exit_code == 0, done.output
    json.loads(record.read_text(), parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{found}/a_labels.tif", "{true}"], "two files, or two folders"),
        (["{found}", "{empty}"], "has the name of one in"),
        (["{found}", "{true}", "--csv", "{found}/a_labels.tif"], "end in .csv"),
        (
            [
                "{found}/a_labels.tif",
                "{true}/A_inst.png",
                "--json",
                "{true}/A_inst.png",
                "--overwrite",
            ],
            "is to be scored",
        ),
        (["{found}", "{true}", "--radius", "0"], "radius"),
        (["{found}/a_overlay.png", "{true}/A_inst.png"], "a_overlay.png"),
    ],
)
def test_bad_input_is_one_line(folders, tmp_path, arguments, told):
    found, true, _ = folders
    (tmp_path / "empty").mkdir()
    places = {"found": found, "true": true, "empty": tmp_path / "empty"}
    before = (true / "A_inst.png").read_bytes()
    done = run(*(text.format(**places) for text in arguments))
    assert done.exit_code in (1, 2) and told in done.output, done.output
    assert "Traceback" not in done.output
    assert (true / "A_inst.png").read_bytes() == before


def test_masks_within_the_folders_are_never_replaced(folders):
    found, true, _ = folders
    for target, told in (
        (true / "A_inst.png", "is to be scored"),
        (true / "A.png", "is called an image"),
    ):
        before = target.read_bytes()
        done = run(found, true, "--json", target, "--overwrite")
        assert done.exit_code == 1 and told in done.output, done.output
        assert target.read_bytes() == before
    done = run(found, true, "--csv", true / "scores.txt")
    assert done.exit_code == 1 and "has to end in .csv" in done.output


def test_two_masks_of_one_image_are_told(folders):
    found, true, masks = folders
    write_labels(true / "a_mask.tif", masks[0])
    done = run(found, true)
    assert done.exit_code == 1 and "are masks of one image" in done.output


def test_files_are_replaced_where_that_is_asked_for(folders, tmp_path):
    found, true, _ = folders
    table = tmp_path / "scores.csv"
    table.write_text("mine")
    assert run(found, true, "--csv", table).exit_code == 1
    assert table.read_text() == "mine"
    assert run(found, true, "--csv", table, "--overwrite").exit_code == 0
    assert table.read_text().startswith("image,dice")
