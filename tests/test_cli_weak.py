# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn weak`` learns regions from image labels in a CSV."""

from __future__ import annotations

import csv
import json
import os

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from numpy.testing import assert_array_equal
from PIL import Image

from psmlearn import ClassActivationMapper, _cli, load_model, save_model
from psmlearn._cli import _weak
from psmlearn._cli._image_labels import read_image_labels
from psmlearn._cli._ledger import LEDGER_NAME
from psmlearn.datasets import make_lesions
from psmlearn.inspection import color_map
from psmlearn.io import read_image, read_labels

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SHORT = ("--max-epochs", "1", "--device", "cpu", "--patch-size", "32")
SMALL = {"steps_per_epoch": 2, "batch_size": 4}


def run(*arguments, command="weak"):
    return CliRunner().invoke(_cli.main, [command, *map(str, arguments)])


@pytest.fixture
def small(monkeypatch):
    """Make trainings short; the models that were asked for."""
    made, real = [], _weak._make_model

    def make(*given):
        made.append(real(*given))
        mapper, segmenter = made[-1], None
        if "segmenter" in made[-1].get_params(deep=False):
            mapper, segmenter = made[-1].labeler, made[-1].segmenter
        mapper.set_params(**SMALL, base_channels=4)
        if segmenter is not None:
            segmenter.set_params(
                early_stopping=False,
                steps_per_epoch=1,
                batch_size=2,
                patch_size=32,
                tile_size=64,
            )
        return made[-1]

    monkeypatch.setattr(_weak, "_make_model", make)
    return made


@pytest.fixture(scope="module")
def data():
    return make_lesions(n_images=5, shape=(40, 44), random_state=0)


@pytest.fixture
def images(tmp_path, data):
    """Five slices: floats of any range as TIFF; the last has no label."""
    folder = tmp_path / "in"
    folder.mkdir()
    for index, image in enumerate(data.images):
        values = np.asarray(image[..., 0], np.float32) * 900 - 50
        tifffile.imwrite(folder / f"s{index}.tif", values)
    return folder


def write(path, *lines, encoding="utf-8"):
    path.write_bytes("\n".join([*lines, ""]).encode(encoding))
    return path


@pytest.fixture
def labels(tmp_path):
    rows = ["s0;0", "s1.tif;1", "in/s2;0", "in/s3.tif;1"]
    return write(tmp_path / "l.csv", "image;label", *rows, encoding="utf-8-sig")


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_files_hold_what_the_mapper_finds(small, images, labels, tmp_path):
    out, model = tmp_path / "out", tmp_path / "w.psm"
    done = run(images, "--labels", labels, "-o", out, "-m", model, *SHORT)
    assert done.exit_code == 0, done.output
    assert "labels of 4 images: 0 2, 1 2" in done.output
    assert "without a label: " in done.output and "s4.tif" in done.output
    kinds = ("overlay.png", "labels.tif", "map.png")
    names = {f"s{index}_{kind}" for index in range(5) for kind in kinds}
    others = {LEDGER_NAME, "run.json", "image_probabilities.csv"}
    assert set(os.listdir(out)) == names | others
    kept = load_model(model)
    assert isinstance(kept, ClassActivationMapper) and kept.value_range is None
    rows = read_rows(out / "image_probabilities.csv")
    assert [row["label"] for row in rows] == ["0", "1", "0", "1", ""]
    for index, row in enumerate(rows):
        one = [images / f"s{index}.tif"]
        assert row["image"] == f"s{index}"
        told = [float(row[f"probability_{each}"]) for each in (0, 1)]
        assert told == pytest.approx(kept.predict_image_proba(one)[0].tolist())
        expected = color_map(kept.transform(one)[0][..., 0])
        assert_array_equal(read_image(out / f"s{index}_map.png"), expected)
        found = read_labels(out / f"s{index}_labels.tif")
        assert int(row["n_regions"]) == len(np.unique(found[found > 0]))
        # Regions keep to the labels; without one they are those of predict.
        if row["label"]:
            assert found.any() == (row["label"] == "1")
        else:
            assert_array_equal(found, kept.predict(one)[0])
    overlay = read_image(out / "s1_overlay.png")
    assert overlay.shape == (40, 44, 3) and overlay.std() > 10  # it is not all dark
    told = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert (told["command"], told["classes"]) == ("weak", ["0", "1"])
    assert told["maps"] == {"1": "_map.png"} and len(told["inputs"]) == 5


def test_apply_takes_the_model(small, images, labels, tmp_path):
    model, out = tmp_path / "w.psm", tmp_path / "out"
    done = run(images, "--labels", labels, "-o", tmp_path / "a", "-m", model, *SHORT)
    assert done.exit_code == 0, done.output
    done = run(images, "-m", model, "-o", out, command="apply")
    assert done.exit_code == 0, done.output
    kept, rows = load_model(model), read_rows(out / "image_probabilities.csv")
    for index in range(5):
        (expected,) = kept.predict([images / f"s{index}.tif"])
        assert_array_equal(read_labels(out / f"s{index}_labels.tif"), expected)
        assert rows[index]["label"] == ""
        assert (out / f"s{index}_overlay.png").is_file()
    assert not list(out.glob("*_nuclei.*"))
    before = (out / "image_probabilities.csv").read_bytes()
    (images / "s4.tif").rename(images / "s5.tif")
    done = run(images, "-m", model, "-o", out, "--resume", command="apply")
    assert done.exit_code == 0 and "4 images of 5 were done before" in done.output
    after = read_rows(out / "image_probabilities.csv")
    assert after[:4] == rows[:4] and after[4] == rows[4] | {"image": "s5"}
    assert before != (out / "image_probabilities.csv").read_bytes()
    for option in (("--also", "coco"), ("--report",)):
        done = run(images, "-m", model, "-o", tmp_path / "b", *option, command="apply")
        assert done.exit_code == 2 and "is of nuclei" in done.output
    assert not (tmp_path / "b").exists()


def test_what_was_broken_off_goes_on(small, images, labels, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "out"
    given = (images, "--labels", labels, *SHORT)
    assert run(*given, "-o", whole).exit_code == 0
    real, calls = ClassActivationMapper._predict_with_maps, []

    def find(self, *given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(ClassActivationMapper, "_predict_with_maps", find)
        stopped = run(*given, "-o", out)
    assert stopped.exit_code == 130 and "with 2 of 5 images done" in stopped.output
    assert not (out / "image_probabilities.csv").exists()
    monkeypatch.setattr(ClassActivationMapper, "fit", lambda *_, **__: pytest.fail())
    done = run(*given, "-o", out, "--resume")
    assert done.exit_code == 0, done.output
    assert "2 images of 5 were done before" in done.output
    for path in whole.iterdir():
        if path.suffix in (".png", ".tif", ".csv"):
            assert (out / path.name).read_bytes() == path.read_bytes(), path.name
    # All is done: what files tell is told again.
    again = run(*given, "-o", out, "--resume")
    assert again.exit_code == 0 and "5 images of 5 were done before" in again.output
    # Other labels are another run.
    write(labels, "image,label", "s0,1", "s1,0", "s2,1", "s3,0")
    other = run(*given, "-o", out, "--resume")
    assert other.exit_code == 1 and "of an earlier run" in other.output


def test_classes_have_a_map_each(small, images, tmp_path):
    table = write(
        tmp_path / "l.csv",
        "Image,grau/weiß,ß,grau weiß",
        *("s0.tif,1,0,0", "s1.tif,0,1.0,1", "s2.tif,0,0,0", "s3.tif,1,1,1"),
    )
    out, model = tmp_path / "out", tmp_path / "w.psm"
    done = run(images, "--labels", table, "-o", out, "-m", model, *SHORT)
    assert done.exit_code == 0, done.output
    maps = {path.name for path in out.glob("s0_map*.png")}
    assert maps == {"s0_map_grau_wei.png", "s0_map_class2.png", "s0_map_grau_wei-3.png"}
    first = read_rows(out / "image_probabilities.csv")[0]
    assert first["label_grau/weiß"] == "1" and first["label_ß"] == "0"
    assert 0 <= float(first["probability_ß"]) <= 1
    assert read_labels(out / "s1_labels.tif").ndim == 3
    done = run(images, "-m", model, "-o", tmp_path / "b", command="apply")
    assert done.exit_code == 0, done.output
    # The model knows what its classes are called.
    assert load_model(model).map_classes_.tolist() == ["grau/weiß", "ß", "grau weiß"]
    row = read_rows(tmp_path / "b" / "image_probabilities.csv")[0]
    assert row.keys() == first.keys()
    for key, value in first.items():
        if key.startswith("probability_"):
            assert float(row[key]) == pytest.approx(float(value))
    assert {path.name for path in (tmp_path / "b").glob("s0_map*.png")} == maps
    told = json.loads((tmp_path / "b" / "run.json").read_text(encoding="utf-8"))
    names = {"grau/weiß", "ß", "grau weiß"}
    assert all(set(each["probabilities"]) == names for each in told["inputs"])


def test_classes_of_a_model_without_names_are_numbered(images, tmp_path, data):
    values = [np.asarray(image[..., 0], np.float32) for image in data.images]
    mapper = ClassActivationMapper(
        **SMALL, base_channels=4, max_epochs=1, patch_size=32, device="cpu"
    )
    mapper.fit(values[:4], np.array([[0, 1], [1, 0], [1, 1], [0, 0]]))
    save_model(mapper, tmp_path / "w.psm")
    done = run(images, "-m", tmp_path / "w.psm", "-o", tmp_path / "b", command="apply")
    assert done.exit_code == 0, done.output
    row = read_rows(tmp_path / "b" / "image_probabilities.csv")[0]
    assert {"probability_class 0", "probability_class 1"} < row.keys()
    assert (tmp_path / "b" / "s0_map_class_1.png").is_file()


@pytest.mark.slow
def test_a_segmenter_learns_the_regions(small, images, labels, tmp_path):
    out, model = tmp_path / "out", tmp_path / "w.psm"
    given = ("--segmenter", "-m", model, "--pixel-size", 1000)
    done = run(images, "--labels", labels, "-o", out, *SHORT, *given)
    assert done.exit_code == 0, done.output
    kept = load_model(model)
    (expected,) = kept.predict([images / "s1.tif"])
    assert_array_equal(read_labels(out / "s1_labels.tif"), expected)
    one = images / "s1.tif"
    done = run(one, "-m", model, "-o", tmp_path / "b", command="apply")
    assert done.exit_code == 0, done.output
    assert_array_equal(read_labels(tmp_path / "b" / "s1_labels.tif"), expected)
    mapper = kept.labeler_
    (values,) = mapper.transform([images / "s1.tif"])
    shown = read_image(tmp_path / "b" / "s1_map.png")
    assert_array_equal(shown, color_map(values[..., 0]))


def test_options_reach_the_mapper(monkeypatch, images, tmp_path):
    made, real = [], _weak._make_model

    def make(*given):
        made.append(real(*given))
        raise ValueError("far enough")

    monkeypatch.setattr(_weak, "_make_model", make)
    table = write(tmp_path / "l.csv", "image,label", "s0,ill", "s1,well")
    options = ("--threshold", 0.3, "--negative-label", "well", "--random-state", 5)
    run(images, "--labels", table, "-o", tmp_path / "o", *SHORT, *options)
    told = made[0].get_params()
    assert (told["threshold"], told["negative_label"]) == (0.3, "well")
    assert (told["random_state"], told["max_epochs"], told["patch_size"]) == (5, 1, 32)


def test_bad_images_are_told_and_may_take_a_class_along(small, images, tmp_path):
    (images / "s4.tif").write_bytes(b"II*\0 no image")
    table = write(tmp_path / "l.csv", "image,label", "s0,0", "s1,1", "s4,1")
    done = run(images, "--labels", table, "-o", tmp_path / "out", *SHORT)
    assert done.exit_code == 3 and "1 of 5 images failed" in done.output
    rows = read_rows(tmp_path / "out" / "image_probabilities.csv")
    assert [row["image"] for row in rows] == ["s0", "s1", "s2", "s3"]
    write(table, "image,label", "s0,0", "s1,0", "s4,1")
    done = run(images, "--labels", table, "-o", tmp_path / "two", *SHORT)
    assert done.exit_code == 1 and "the label 0" in done.output
    assert not (tmp_path / "two").exists()


BAD = {
    "unknown": (["image,label", "s0,0", "s9.tif,1"], ["line 3", "s9.tif", "not among"]),
    "twice": (["image,label", "s0,0", "s0.tif,0"], ["line 3", "s0.tif", "in line 2"]),
    "missing": (["image,label", "s0,0", "s1,"], ["line 3", "s1 has no label"]),
    "nan": (["image,label", "s0,0", "s1,NaN"], ["line 3", "s1 has no label"]),
    "no image": (["image,label", "s0,0", ",1"], ["line 3", "names no image"]),
    "short line": (["image,label", "s0,0", "s1"], ["line 3", "1 cells", "has 2"]),
    "long line": (["image;label", "s0;0;x"], ["line 2", "3 cells"]),
    "one label": (["image,label", "s0,1", "s1,1"], ["all 2 images have the label 1"]),
    "head alone": (["image,label"], ["no image has a label"]),
    "no head": (["s0,0", "s1,1"], ["no column 'image'", "s0,0"]),
    "nothing": ([], ["it is empty"]),
    "no label": (["image", "s0"], ["a column 'label'"]),
    "nameless": (["image,", "s0,1"], ["a column 'label'"]),
    "head twice": (["image,label,Label", "s0,1,1"], ["there twice", "label"]),
    "names": (["image,label", "s0,ill", "s1,well"], ["--negative-label", "ill"]),
    "three names": (["image,label", "s0,a", "s1,b", "s2,c"], ["--negative-label"]),
    "columns": (["image,a,b", "s0,1,0", "s1,0,2"], ["line 3", "s1", "'2'", "column b"]),
    "words": (["image,a,b", "s0,1,no"], ["line 2", "s0", "'no'", "column b"]),
    "constant": (
        ["image,a,b", "s0,1,1", "s1,0,1"],
        ["class b is shown by all of the 2"],
    ),
    "cell missing": (["image,a,b", "s0,1,", "s1,0,1"], ["line 2", "no label of b"]),
    "quote": (["image,label", '"s0,0'], ["no CSV"]),
    "many": (
        ["image,label", *(f"x{i},1" for i in range(7))],
        ["line 2", "line 6", "and 2 more"],
    ),
    "ambiguous": (["image,label", "t,1", "s1,0"], ["line 2", "t may be", "t.png"]),
    "steering": (["image,label", "a\x1b[2J,1"], ["a\\x1b[2J"]),
}


@pytest.mark.parametrize(("lines", "texts"), BAD.values(), ids=BAD)
def test_bad_tables_are_told_before_any_work(
    monkeypatch, images, tmp_path, lines, texts
):
    monkeypatch.setattr(ClassActivationMapper, "fit", lambda *_, **__: pytest.fail())
    (images / "t.tif").write_bytes((images / "s0.tif").read_bytes())
    Image.new("L", (44, 40)).save(images / "t.png")
    table = write(tmp_path / "bad ü.csv", *lines)
    done = run(images, "--labels", table, "-o", tmp_path / "out")
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.output
    assert "bad ü.csv" in done.output and "Traceback" not in done.output
    for text in texts:
        assert text in done.output, done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_table_in_another_encoding_is_refused(images, tmp_path, encoding):
    table = write(tmp_path / "l.csv", "image,label", "s0,\u00fcbel", encoding=encoding)
    done = run(images, "--labels", table, "-o", tmp_path / "out")
    assert done.exit_code == 1 and "UTF-8" in done.output


def test_negative_labels(images, tmp_path):
    paths = [str(images / f"s{index}.tif") for index in range(3)]
    for lines, negative, none, expected in [
        (["s0,0", "s1,1"], None, False, ["1"]),
        (["s0,1.0", "s1,0.0"], None, False, ["1"]),
        (["s0,True", "s1,False"], None, False, ["True"]),
        (["s0,no", "s1,YES"], None, False, ["YES"]),
        (["s0,3", "s1,5"], "5", False, ["3"]),
        (["s0,a", "s1,b", "s2,c"], None, True, ["a", "b", "c"]),
        (["s0,a", "s1,b", "s2,c"], "b", False, ["a", "c"]),
        (["s0,2", "s1,1", "s2,0"], None, False, ["1", "2"]),
    ]:
        labels = read_image_labels(
            write(tmp_path / "l.csv", "image,label", *lines), paths
        )
        known = [path for path in paths if path in labels.rows]
        code = labels.learn(known, negative, none)
        assert [str(each) for each in code.shown] == expected
    both = run(
        *(images, "--labels", tmp_path / "l.csv", "--no-negative"),
        *("--negative-label", "a"),
    )
    assert both.exit_code == 2 and "not both" in both.output


def test_images_are_found_by_odd_names(tmp_path):
    inner = tmp_path / "fall 1" / "a"
    inner.mkdir(parents=True)
    names = ["x.tar.png", "x.tar", "Ü.png", "semi;colon.png", "y.png", "a/y.png"]
    paths = [str(tmp_path / "fall 1" / name) for name in names]
    rows = ["x.tar.png;1", "x.tar;0", "U\u0308;1", '"semi;colon";0']
    rows += ["fall 1/y.png;1", "fall 1\\a\\y;0", "", ";;"[:1]]
    table = write(tmp_path / "l.csv", "\ufeffimage;label", *rows)
    labels = read_image_labels(table, paths)
    assert [labels.rows[path] for path in paths] == [(1,), (0,), (1,), (0,), (1,), (0,)]
    tabs = write(tmp_path / "t.csv", "note\tIMAGE\tlabel", "n,1\tÜ.PNG\tx")
    assert read_image_labels(tabs, paths).rows == {paths[2]: ("x",)}
    with pytest.raises(ValueError, match=r"y may be .*y\.png, .*path from the CSV"):
        read_image_labels(write(table, "image,label", "y,1"), paths)


def test_images_are_found_without_the_suffix_of_ome(tmp_path):
    inner = tmp_path / "b"
    inner.mkdir()
    names = ["a.ome.tif", "b/a.ome.tif", "c.OME.TIFF", "b/d.ome.png"]
    paths = [str(tmp_path / name) for name in names]
    table = write(tmp_path / "l.csv", "image,label", "b/a,1", "c,0", "b/d.ome,2")
    expected = {paths[1]: (1,), paths[2]: (0,), paths[3]: (2,)}
    assert read_image_labels(table, paths).rows == expected


def test_help_has_examples():
    done = run("--help")
    assert done.exit_code == 0
    for text in ("Examples:", "image_probabilities.csv", "--negative-label healthy"):
        assert text in done.output


def test_no_option_is_without_effect(images, labels, tmp_path):
    """--quick is of the chain of nuclei; here it would do nothing."""
    for command in ("weak", "maps"):
        done = run(images, "--quick", "-o", tmp_path / "o", command=command)
        assert done.exit_code == 2 and "No such option" in done.output
    for command in ("segment", "train", "ki67"):
        assert "--quick" in run("--help", command=command).output
