# SPDX-License-Identifier: BSD-3-Clause
"""COCO instances, read back to the pixel."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from psmlearn._images._run_lengths import encode_objects
from psmlearn.datasets import load_coco, make_nuclei
from psmlearn.io import write_coco, write_image, write_labels
from psmlearn.measure import nuclei_table


def read(path):
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rt", encoding="ascii") as file:
        return json.load(file)


def load_back(path):
    for image in read(path)["images"]:
        write_image(
            path.parent / image["file_name"],
            np.zeros((image["height"], image["width"]), np.uint8),
        )
    return load_coco(path)


def decode(counts, shape):
    """Run lengths written out one by one, by COCO's own description."""
    numbers, text = [], list(counts)
    while text:
        value, shift, more = 0, 0, True
        while more:
            code = ord(text.pop(0)) - 48
            value |= (code & 31) << shift
            more = bool(code & 32)
            shift += 5
            if not more and code & 16:
                value -= 1 << shift
        numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
    flat = np.repeat(np.arange(len(numbers)) % 2, numbers)
    return flat.reshape(shape[::-1]).T.astype(bool), numbers


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1), (31, 47), (200, 3)])
def test_run_lengths_are_those_of_each_object(shape):
    rng = np.random.default_rng(0)
    for n_ids in (1, 3, 40):
        labels = rng.integers(-1, n_ids + 1, shape)
        labels.flat[0] = n_ids
        found = list(encode_objects(labels))
        assert [each.id for each in found] == np.unique(labels[labels > 0]).tolist()
        for each in found:
            mask, numbers = decode(each.counts, shape)
            np.testing.assert_array_equal(mask, labels == each.id)
            assert min(numbers[1:]) > 0  # no run is cut in two
            assert each.area == mask.sum()
            rows, columns = np.nonzero(mask)
            left, top, width, height = each.box
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)


def test_long_runs_take_several_characters():
    labels = np.zeros((3000, 4000), np.int32)
    labels[5, 3999] = 1
    labels[10:20, 7] = 1
    (found,) = encode_objects(labels)
    mask, numbers = decode(found.counts, labels.shape)
    np.testing.assert_array_equal(mask, labels == 1)
    assert numbers == [21_010, 10, 11_975_985, 1, 2994]


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_the_very_pixels_come_back(name, tmp_path):
    data = make_nuclei(n_images=3, shape=(96, 120), n_nuclei=20, random_state=0)
    names = [f"{number}.png" for number in range(3)]
    write_coco(tmp_path / name, data.masks, names)
    content = read(tmp_path / name)
    assert [each["id"] for each in content["images"]] == [1, 2, 3]
    ids = [each["id"] for each in content["annotations"]]
    assert ids == list(range(1, len(ids) + 1))
    assert {each["iscrowd"] for each in content["annotations"]} == {0}
    assert content["categories"] == [{"id": 1, "name": "nucleus"}]
    if name.endswith(".gz"):
        return
    found = load_back(tmp_path / name)
    for mask, expected in zip(found.masks, data.masks, strict=True):
        np.testing.assert_array_equal(mask[..., 0], expected)
        np.testing.assert_array_equal(mask[..., 1], expected > 0)
    assert found.names == ["0", "1", "2"]


def test_holes_pieces_classes_and_unknown_come_back(tmp_path):
    path = tmp_path / "a.json"
    labels = np.zeros((40, 50, 2), int)
    labels[3:20, 3:20] = 1, 2
    labels[6:15, 6:15] = 0
    labels[8:12, 8:12] = 2, 1
    labels[20, 20] = 1, 2
    labels[2, 30:34] = labels[5, 30:34] = 3, 3
    labels[:, 45:48] = 4, 1  # from the bottom on at the top
    labels[30:35, 30:35] = -1
    write_coco(path, [labels, labels[::-1]], ["one.png", "two.png"])
    content = read(path)
    told = {each["id"]: each["name"] for each in content["categories"]}
    assert told == {1: "Positive", 2: "Negative", 3: "Class 3"}
    crowds = [each for each in content["annotations"] if each["iscrowd"]]
    assert [(each["image_id"], each["category_id"]) for each in crowds] == [
        (image, category) for image in (1, 2) for category in (1, 2, 3)
    ]
    assert {each["area"] for each in crowds} == {25}
    found = load_back(path)
    np.testing.assert_array_equal(found.masks[0], labels)
    np.testing.assert_array_equal(found.masks[1], labels[::-1])
    assert found.target_names == ["Positive", "Negative", "Class 3"]


def test_objects_without_a_class_have_a_category(tmp_path):
    path = tmp_path / "a.json"
    labels = np.zeros((8, 12, 2), int)
    for number, kind in enumerate((0, 2, 1), 1):
        labels[1:3, 3 * number - 3 : 3 * number - 1] = number, kind
    write_coco(path, labels, "a.png", classes=["Tumour", "Stroma"])
    content = read(path)
    assert content["categories"][2] == {"id": 3, "name": "Unclassified"}
    found = {each["label"]: each["category_id"] for each in content["annotations"]}
    assert found == {1: 3, 2: 2, 3: 1}


def test_scores_are_the_confidence(tmp_path):
    path = tmp_path / "a.json"
    labels = np.zeros((8, 12), int)
    labels[:3, :3], labels[5:, 5:] = 7, 70_000
    table = nuclei_table(labels, probabilities=np.where(labels == 7, 0.25, 0.75))
    write_coco(path, labels, "a.png", tables=table)
    found = {each["label"]: each["score"] for each in read(path)["annotations"]}
    assert found == {7: 0.25, 70_000: 0.75}
    table["confidence"][0] = np.nan
    write_coco(path, [labels], ["a.png"], tables=[table])
    assert ["score" in each for each in read(path)["annotations"]] == [False, True]


def test_files_of_labels_and_odd_names(tmp_path):
    path = tmp_path / "a.json"
    labels = np.kron(np.arange(6).reshape(2, 3), np.ones((4, 4), int))
    write_labels(tmp_path / "labels.tif", labels)
    names = ["sub/ü \u2028.png", "b\udcfc.png"]
    write_coco(path, [tmp_path / "labels.tif", labels], names, classes={3: "x"})
    content = read(path)
    assert [each["file_name"] for each in content["images"]] == names
    assert content["categories"] == [{"id": 1, "name": "nucleus"}]
    runs = [each["segmentation"] for each in content["annotations"]]
    assert runs[:5] == runs[5:]


def test_nothing_is_an_empty_list_and_files_repeat(tmp_path):
    path = tmp_path / "a.json.gz"
    write_coco(path, np.zeros((5, 6), int), "a.png")
    assert read(path)["annotations"] == []
    first = path.read_bytes()
    write_coco(path, np.zeros((5, 6), int), "a.png")
    assert path.read_bytes() == first
    write_coco(path, [], [])
    assert read(path)["images"] == []


ONES = np.ones((3, 3), int)


@pytest.mark.parametrize(
    ("labels", "names", "options", "error", "told"),
    [
        ([ONES], [], {}, ValueError, "0 name\\(s\\) for 1 label image"),
        ([ONES], [3], {}, TypeError, "file_names\\[0\\] is 3"),
        ([ONES], ["/a.png"], {}, ValueError, "relative to the folder of images"),
        ([ONES], ["../a.png"], {}, ValueError, "relative to the folder of images"),
        ([ONES, ONES], ["a.png", "./a.png"], {}, ValueError, "'a.png' twice"),
        ([ONES], ["a.png"], {"tables": []}, ValueError, "0 table\\(s\\) for 1"),
        ([ONES], "a.png", {"tables": {"a": [1]}}, ValueError, "table of labels\\[0\\]"),
        ([ONES], "a.png", {"tables": {"label": [5]}}, ValueError, "such as 5"),
        ([ONES], "a.png", {"classes": "tumour"}, TypeError, "a list from class 1 on"),
        ([ONES, np.ones((3, 3))], ["a", "b"], {}, ValueError, "labels\\[1\\].*float64"),
        (
            [ONES, np.ones((3, 3, 2), int)],
            ["a", "b"],
            {},
            ValueError,
            "labels\\[1\\] has classes",
        ),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_written(
    labels, names, options, error, told, tmp_path
):
    with pytest.raises(error, match=told):
        write_coco(tmp_path / "a.json", labels, names, **options)
    assert not list(tmp_path.iterdir())


def test_other_suffixes_are_refused(tmp_path):
    for name in ("a.txt", "a.gz", "a.json.zip"):
        with pytest.raises(ValueError, match="suffix"):
            write_coco(tmp_path / name, ONES, "a.png")
