# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn report`` makes one HTML file of a folder of results."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from psmlearn import _cli
from psmlearn._cli._outputs import OutputFolder
from psmlearn.datasets import make_nuclei
from psmlearn.io import write_image, write_labels, write_table
from psmlearn.measure import nuclei_table


def write_results(folder, images, masks, pixel_size=0.25):
    """Write results as `psmlearn segment` does; images are paths."""
    with OutputFolder(folder) as output:
        for path, mask in zip(images, masks, strict=True):
            files = [f"{path.stem}_labels.tif", f"{path.stem}_nuclei.csv"]
            output.look(dict.fromkeys(files, str(path)), [], "a run")
            output.check(dict.fromkeys(files, str(path)))
            with output.writing(files, str(path)) as (labels, table):
                write_labels(labels, mask)
                write_table(table, nuclei_table(mask, pixel_size=pixel_size))


def as_bytes(image):
    image = np.asarray(image)
    return image if image.dtype == np.uint8 else np.rint(255 * image).astype(np.uint8)


@pytest.fixture
def results(tmp_path):
    data = make_nuclei(n_images=3, shape=(96, 96), n_nuclei=12, random_state=0)
    images = [tmp_path / "in" / f"{name}.png" for name in "abc"]
    images[0].parent.mkdir()
    for path, image in zip(images, data.images, strict=True):
        write_image(path, as_bytes(image))
    write_results(tmp_path / "out", images, data.masks, pixel_size=0.5)
    return tmp_path, images, data.masks


def run(*arguments):
    return CliRunner().invoke(_cli.main, ["report", *map(str, arguments)])


def rows(text):
    table = re.search(r'<section id="images">.*?</section>', text, re.S)[0]
    return re.findall(
        r'<td class="name"><a href="[^"]*">([^<]*)</a></td>(.*?)</tr>', table
    )


def test_report_of_a_folder(results):
    tmp_path, _, masks = results
    done = run(tmp_path / "out")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    found = rows(text)
    assert [name for name, _ in found] == ["a.png", "b.png", "c.png"]
    n_nuclei = [len(np.unique(mask)) - 1 for mask in masks]
    values = [re.findall(r'data-v="([^"]*)"', cells) for _, cells in found]
    assert [int(each[1]) for each in values] == n_nuclei
    assert [float(each[-1]) for each in values] == [0.5] * 3  # told by the areas
    assert text.count('href="data:image/jpeg') == 3
    assert "the file does not tell its pixel size" in text
    assert f"{sum(n_nuclei)} nuclei in 3 images, warnings on 3" in done.output
    assert "<title>3 images in out</title>" in text


def test_an_image_that_is_gone_is_told(results):
    tmp_path, images, _ = results
    images[1].unlink()
    done = run(tmp_path / "out", "-o", tmp_path / "r.html")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert text.count('href="data:image/jpeg') == 2
    assert "Its file is gone: the labels alone are shown." in text


def test_truth_is_found_by_name(results):
    tmp_path, images, masks = results
    truth = tmp_path / "truth"
    truth.mkdir()
    for path, mask in zip(images[:2], masks, strict=False):
        write_labels(truth / f"{path.stem}_mask.png", mask)
    done = run(tmp_path / "out", "--truth", truth)
    assert done.exit_code == 0, done.output
    assert "not scored, without truth: c.png" in done.output
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert '<section id="scores">' in text and "There is no truth" in text
    done = run(tmp_path / "out", "--truth", images[0].parent, "--overwrite")
    assert done.exit_code != 0 and "a.png" in done.output  # images are no masks
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run(tmp_path / "out", "--truth", empty, "--overwrite")
    assert done.exit_code == 2 and "No mask in" in done.output


def test_what_a_run_says_of_itself_is_shown(results):
    tmp_path, _, _ = results
    told = {
        "command": "segment <in>",
        "parameters": {"seed": 0},
        "pixel_sizes": {"a.png": 0.3, "b": {"value": 0.4, "source": "given"}},
    }
    (tmp_path / "out" / "run.json").write_text(json.dumps(told))
    done = run(tmp_path / "out")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "segment &lt;in&gt;" in text and "segment <in>" not in text
    sizes = [
        float(re.findall(r'data-v="([^"]*)"', cells)[-1]) for _, cells in rows(text)
    ]
    assert sizes == [0.3, 0.4, 0.5]
    (tmp_path / "out" / "run.json").write_text("[1]")
    done = run(tmp_path / "out", "--overwrite")
    assert done.exit_code == 1 and "no JSON object" in done.output


def test_nothing_is_replaced_without_a_word(results):
    tmp_path, _, _ = results
    target = tmp_path / "mine.html"
    target.write_text("mine")
    for options in ([], ["--overwrite"]):
        done = run(tmp_path / "out", "-o", target, *options)
        assert done.exit_code == 1 and "no report of psmlearn" in done.output
        assert target.read_text() == "mine"
    target = tmp_path / "new.html"
    assert run(tmp_path / "out", "-o", target).exit_code == 0
    first = target.read_bytes()
    assert first.startswith(b"<!DOCTYPE html>")
    done = run(tmp_path / "out", "-o", target)
    assert done.exit_code == 1 and "--overwrite replaces it" in done.output
    assert target.read_bytes() == first
    assert run(tmp_path / "out", "-o", target, "--overwrite").exit_code == 0
    done = run(tmp_path / "out", "-o", tmp_path / "r.png")
    assert done.exit_code == 1 and "has to end in .html" in done.output


def test_folders_that_hold_no_results(results):
    tmp_path, images, masks = results
    write_labels(images[0].parent / "x_labels.tif", masks[0])
    done = run(images[0].parent)
    assert done.exit_code == 2 and "holds no results" in done.output
    assert run(tmp_path / "nowhere").exit_code == 2


def test_changed_results_are_left_out(results):
    tmp_path, _, masks = results
    write_labels(tmp_path / "out" / "a_labels.tif", masks[1])
    done = run(tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "changed since psmlearn wrote them: a_labels.tif" in done.output
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert [name for name, _ in rows(text)] == ["b.png", "c.png"]
    ((name, reason),) = failures(text)
    assert name == "a" and "changed since" in reason
    assert "1 without results" in done.output


def failures(text):
    """What the page says of images without results."""
    section = re.search(r'<section id="failed">.*?</section>', text, re.S)
    return [] if section is None else re.findall(r"<li><b>(.*?)</b> (.*?)<", section[0])


def test_images_that_failed_are_listed_with_reasons(results):
    tmp_path, images, _ = results
    done = run(tmp_path / "out")
    assert "without results" not in done.output
    page = tmp_path / "out" / "report.html"
    text = page.read_text(encoding="utf-8")
    assert failures(text) == [] and 'href="#failed"' not in text
    bad = {"name": "d", "path": str(tmp_path / "in" / "d<b>.png"), "error": "no <PNG>"}
    inputs = [
        {"name": "a", "path": str(images[0]), "n_nuclei": 3},
        {"name": "b", "path": str(images[1]), "error": "cut off"},
        bad,
        bad | {"name": "d-2", "error": "empty"},
        {"name": "e", "path": None, "n_nuclei": 2},
        {"name": "f", "path": "/x/f.png"},
        "odd",
    ]
    told = {"results": ["_labels.tif"], "status": "stopped", "inputs": inputs}
    (tmp_path / "out" / "run.json").write_text(json.dumps(told))
    done = run(tmp_path / "out", "--overwrite")
    assert done.exit_code == 0 and "5 without results" in done.output
    text = page.read_text(encoding="utf-8")
    found = dict(failures(text))
    assert found.keys() == {
        *("b.png", "d&lt;b&gt;.png", "d&lt;b&gt;.png (d-2)", "e", "f.png")
    }
    assert found["b.png"].startswith("cut off (what is shown of it is of an earlier")
    assert found["d&lt;b&gt;.png"] == "no &lt;PNG&gt;"
    assert "gone from the folder" in found["e"] and "--resume" in found["f.png"]
    assert 'href="#failed"' in text and "images without results" in text
    # Of a run that wrote no label images nothing is missing.
    told["results"] = ["_map.tif"]
    (tmp_path / "out" / "run.json").write_text(json.dumps(told))
    run(tmp_path / "out", "--overwrite")
    assert failures(page.read_text(encoding="utf-8")) == []


def test_regions_of_weak_labels_are_not_called_nuclei(results):
    folder = results[0] / "out"
    (folder / "image_probabilities.csv").write_text("image,n_regions\n")
    done = run(folder)
    assert done.exit_code == 1 and "a report is of nuclei" in done.output
    assert "*_overlay.png" in done.output and not (folder / "report.html").exists()


def test_help_has_examples():
    done = CliRunner().invoke(_cli.main, ["report", "--help"])
    assert "psmlearn report results/ --truth masks/" in done.output
