# SPDX-License-Identifier: BSD-3-Clause
"""Instances in COCO's JSON: polygons, run lengths, crowds, and bad files."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psmlearn.datasets import load_coco
from psmlearn.datasets._coco import decode_counts
from psmlearn.exceptions import AnnotationWarning
from psmlearn.io import check_images, check_masks, write_image

HEIGHT, WIDTH = 20, 30


def rectangle(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def run_lengths(mask):
    """Run lengths of a mask, pixel by pixel, down the columns."""
    counts, current, length = [], False, 0
    for pixel in mask.T.ravel().tolist():
        if pixel != current:
            counts.append(length)
            current, length = pixel, 0
        length += 1
    return [*counts, length]


def compress(counts):
    """The string of run lengths, from binary digits in two's complement."""
    text = ""
    for index, count in enumerate(counts):
        number = count - (counts[index - 2] if index > 2 else 0)
        n_groups = 1
        while not -(1 << (5 * n_groups - 1)) <= number < 1 << (5 * n_groups - 1):
            n_groups += 1
        digits = format(number % (1 << (5 * n_groups)), f"0{5 * n_groups}b")
        groups = [digits[i : i + 5] for i in range(0, len(digits), 5)][::-1]
        for place, group in enumerate(groups):
            more = 32 if place < n_groups - 1 else 0
            text += chr(48 + int(group, 2) + more)
    return text


def annotation(number, segmentation, *, image=1, category=5, **others):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        **others,
    }


@pytest.fixture
def content(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("p2_b.png", "sub/p1_a.png"):
        write_image(tmp_path / name, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    return {
        "info": {"year": 2024},
        "images": [
            {"id": 1, "file_name": "p2_b.png", "height": HEIGHT, "width": WIDTH},
            {"id": 4, "file_name": "sub/p1_a.png"},
        ],
        "categories": [{"id": 9, "name": "stroma"}, {"id": 5, "name": "tumour"}],
        "annotations": [annotation(1, [rectangle(3, 4, 7, 9)])],
    }


def load(tmp_path, content, **options):
    path = tmp_path / "instances.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_coco(path, **options)


def test_polygons(tmp_path, content):
    content["annotations"] += [
        annotation(2, [rectangle(5, 6, 9, 8)], category=9, iscrowd=0),
        # Two parts of one object, one of them out of the image.
        annotation(3, [rectangle(20, 0, 21, 1), rectangle(25, 15, 90, 95)]),
        annotation(4, [[1, 1, 2, 2]]),  # no area
    ]
    with pytest.warns(AnnotationWarning) as caught:
        data = load(tmp_path, content)
    told = str(caught[0].message)
    assert "1 reach beyond their image" in told and "(annotation 3 of image 1" in told
    assert "1 cover the centre of no pixel (annotation 4 of image 1" in told
    images = check_images(data.images)
    first, second = check_masks(data.masks, images)
    truth = np.zeros((HEIGHT, WIDTH, 2), np.int32)
    truth[4:9, 3:7] = (1, 1)  # pixel 3 reaches from 3 to 4
    truth[6:8, 5:9] = (2, 2)
    truth[0, 20] = truth[15:, 25:] = (3, 1)
    np.testing.assert_array_equal(first, truth)
    assert second.shape == (HEIGHT, WIDTH, 2) and not second.any()
    assert data.target_names == ["tumour", "stroma"]
    assert data.category_ids.tolist() == [5, 9] and data.image_ids.tolist() == [1, 4]
    assert data.names == ["p2_b", "sub/p1_a"] and data.groups is None
    assert "DESCR" in data and data.pixel_size is None


def test_images_elsewhere_and_groups(tmp_path, content):
    (tmp_path / "images").mkdir()
    (tmp_path / "p2_b.png").rename(tmp_path / "images" / "p2_b.png")
    (tmp_path / "sub").rename(tmp_path / "images" / "sub")
    data = load(
        tmp_path, content, image_folder=tmp_path / "images", group_pattern="p[0-9]"
    )
    assert data.groups.tolist() == ["p2", "p1"]
    with pytest.raises(FileNotFoundError, match=r"2 file.*p2_b\.png.*image_folder"):
        load(tmp_path, content)


@pytest.mark.parametrize("compressed", [False, True])
def test_run_lengths(tmp_path, content, compressed):
    rng = np.random.default_rng(0)
    mask = rng.random((HEIGHT, WIDTH)) < 0.4
    mask[:, 10:20] = False
    counts = run_lengths(mask)
    content["annotations"] = [
        annotation(
            1,
            {
                "size": [HEIGHT, WIDTH],
                "counts": compress(counts) if compressed else counts,
            },
        )
    ]
    np.testing.assert_array_equal(load(tmp_path, content).masks[0][..., 0], mask)


def test_compressed_counts_known_to_others():
    # The string that pycocotools gives for these counts.
    known = "022O31MO31MO00010O00010O00010O00010O00010O00010O31MO3"
    assert decode_counts("022O31") == [0, 2, 2, 1, 5, 2]
    assert compress(decode_counts(known)) == known
    assert decode_counts("Z11") == [42, 1]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 2**31), max_size=12))
def test_compressed_counts_come_back(counts):
    assert decode_counts(compress(counts)) == counts


def test_crowds_are_unknown(tmp_path, content):
    crowd = {"size": [HEIGHT, WIDTH], "counts": [0, 5 * HEIGHT, 25 * HEIGHT]}
    content["annotations"].insert(0, annotation(8, crowd, iscrowd=1))
    mask = load(tmp_path, content).masks[0]
    assert (mask[:4, :5] == -1).all() and (mask[4:9, 3:7] == 1).all()
    assert (mask[..., 0] == -1).sum() == 5 * HEIGHT - 10


MISTAKES = {
    "unknown image": ({"image_id": 77}, "annotation 1 has image_id 77, which no"),
    "unknown category": ({"category_id": 6}, r"category_id 6.*they are \[5, 9\]"),
    "no category": ({"category_id": True}, "category_id True"),
    "bad crowd": ({"iscrowd": 2}, "iscrowd 2"),
    "no mask": ({"segmentation": []}, "annotation 1 of image 1 has no segmentation"),
    "no mask at all": ({"segmentation": None}, "boxes alone are no masks"),
    "odd": ({"segmentation": [[1, 2, 3]]}, r"no list \[x, y, x, y"),
    "flat": ({"segmentation": [1, 2, 3, 4, 5, 6]}, r"no list \[x, y, x, y"),
    "text": ({"segmentation": [["1", "2"] * 3]}, "no list of coordinates"),
    "null": ({"segmentation": [[1, None] * 3]}, "no list of coordinates"),
    "far": ({"segmentation": [[1, 1, 1e300, 1, 1, 9]]}, "finite, or beyond"),
    "huge": ({"segmentation": [[1, 1, 10**400, 1, 1, 9]]}, "no list of coordinates"),
}
RUNS = {
    "size": ({"size": [WIDTH, HEIGHT], "counts": [600]}, r"of size \[30, 20\].*\[20"),
    "sum": ({"size": [HEIGHT, WIDTH], "counts": [599]}, "sum up to 600"),
    "negative": ({"size": [HEIGHT, WIDTH], "counts": [601, -1]}, "at least 0"),
    "floats": ({"size": [HEIGHT, WIDTH], "counts": [600.0]}, "expected ints"),
    "ragged": ({"size": [HEIGHT, WIDTH], "counts": [[1], [2, 3]]}, "broken run"),
    "empty": ({"size": [HEIGHT, WIDTH], "counts": ""}, "sum up to 600"),
    "none": ({"size": [HEIGHT, WIDTH]}, "broken run lengths"),
    "cut": ({"size": [HEIGHT, WIDTH], "counts": "Z"}, "ends within a number"),
    "character": ({"size": [HEIGHT, WIDTH], "counts": "\u00e9"}, "not expected"),
    "endless": ({"size": [HEIGHT, WIDTH], "counts": "o" * 99}, "not expected"),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *MISTAKES.values(),
        *(({"segmentation": run}, text) for run, text in RUNS.values()),
    ],
    ids=[*MISTAKES, *RUNS],
)
def test_bad_annotations_are_named(tmp_path, content, change, message):
    content["annotations"][0] |= change
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path, content)
    assert "instances.json" in str(caught.value)


def test_bad_images_and_categories(tmp_path, content):
    def refuse(match, **changes):
        with pytest.raises(ValueError, match=match):
            load(tmp_path, copy.deepcopy(content) | changes)

    image, category = content["images"][0], content["categories"][0]
    refuse(r"size \(20, 30\).*says \(21, 30\)", images=[image | {"height": 21}])
    refuse("leads out", images=[image | {"file_name": "../p2_b.png"}])
    refuse("leads out", images=[image | {"file_name": "/etc/hostname"}])
    refuse("lacks an 'id'", images=[{"file_name": "p2_b.png"}])
    refuse("twice", images=[image, image])
    refuse("no image", images=[], annotations=[])
    refuse("lacks an 'id'", images=[image | {"id": 1 << 63}])
    again = {"id": 2, "file_name": "./p2_b.png"}
    refuse("twice", images=[image, again])
    refuse("ints, and others texts", images=[image, content["images"][1] | {"id": "1"}])
    refuse("lacks an int 'id'", categories=[category | {"id": -(1 << 64)}])
    refuse("twice", categories=[category, category])
    refuse("no category", categories=[])
    refuse("under 'images'", images={"id": 1})
    refuse("under 'annotations'", annotations=[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [\n1,\n', "broken JSON.*line 3"),
        ("", "broken JSON"),
        ("\xff", "broken JSON|no COCO"),
        ("[]", "no COCO file of instances.*'images'"),
        ('{"images": NaN}', "holds NaN"),
        ('{"images": [-Infinity]}', "holds -Infinity"),
        ("[" * 200_000, "nested too deeply|broken"),
    ],
)
def test_broken_files_are_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path, text)
    assert "instances.json" in str(caught.value)


def test_missing_and_oversized_files(tmp_path, content, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"No such JSON file.*none\.json"):
        load_coco(tmp_path / "none.json")
    with pytest.raises(IsADirectoryError, match="is a folder; expected a JSON file"):
        load_coco(tmp_path)
    monkeypatch.setattr("psmlearn.datasets._polygons.MAX_JSON_BYTES", 99)
    with pytest.raises(ValueError, match="more than 99 bytes"):
        load(tmp_path, content)
