# SPDX-License-Identifier: BSD-3-Clause
"""Files that are passed over, are none, or have odd names."""

from __future__ import annotations

import json
import os
import socket
import unicodedata

import numpy as np
import pytest
from loader_sets import (
    IDS,
    SETS,
    SHAPE,
    write_coco,
    write_label_folder,
)

from psmlearn import datasets
from psmlearn.exceptions import SkippedFileWarning
from psmlearn.io import write_labels


def message(caught):
    """The text of the one warning of a call."""
    assert len(caught) == 1
    return str(caught[0].message)


# Files and names --------------------------------------------------------------------

IN_PLACE = {
    "aperio": "b.xml b.tif",
    "bcdata": "1.h5",
    "brats": "a_t2.nii.gz",
    "coco": "",
    "consep": "train_2.mat",
    "cpm": "image02.png image02_mask.txt",
    "dsb2018": "3.png",
    "geojson": "b.geojson b.png",
    "label folder": "b.tif",
    "lgg": "TCGA_CS_4941_4.png",
    "point folder": "b.csv",
}


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    # The name of a socket is short.
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes")
@pytest.mark.parametrize("make", [make_pipe, make_socket, os.mkdir])
@pytest.mark.parametrize("kind", [kind for kind in IN_PLACE if IN_PLACE[kind]])
def test_what_is_no_file_is_told_and_passed_over(tmp_path, kind, make):
    target = SETS[kind].write(tmp_path)
    names = IN_PLACE[kind].split()
    if kind == "brats" and make is os.mkdir:
        pytest.skip("some archives put each volume into a folder of its name")
    for name in names:
        make(target.parent / name)
    with pytest.warns(SkippedFileWarning) as caught:
        data = SETS[kind].read(tmp_path, target)
    assert len(data.images) >= 1
    told = message(caught)
    known = [name for name in names if not name.endswith((".xml", ".txt"))]
    assert all(name in told for name in known)
    assert ("a folder" if make is os.mkdir else "no regular file") in told


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes")
@pytest.mark.parametrize("kind", SETS)
def test_pipes_in_place_of_labels_are_not_opened(tmp_path, kind):
    target = SETS[kind].write(tmp_path)
    target.unlink()
    os.mkfifo(target)
    with pytest.raises((FileNotFoundError, SkippedFileWarning), match=r"\w"):
        SETS[kind].read(tmp_path, target)


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("label folder", "images/b.gif", r"b\.gif"),
        ("label folder", "images/b.svs", r"b\.svs"),
        ("label folder", "masks/b.webp", r"b\.webp.*read are \.tif"),
        ("label folder", "masks/b.jpg", r"b\.jpg"),
        ("label folder", "masks/b.npy", r"b\.npy"),
        ("point folder", "images/b.jp2", r"b\.jp2"),
        ("point folder", "points/b.tsv", r"b\.tsv.*read are \.csv"),
        ("point folder", "points/b.csv", r"b\.csv.*no image is named 'b'"),
        ("geojson", "b.ndpi", r"b\.ndpi"),
        ("aperio", "b.jpg", r"b\.jpg"),
        ("aperio", "b.png", r"b\.png"),
        ("bcdata", "images/train/1.jpg", r"1\.jpg"),
        ("bcdata", "annotations/train/positive/1.hdf5", r"1\.hdf5"),
        ("consep", "Train/Images/train_2.tif", r"train_2\.tif"),
        ("cpm", "b.gif", r"b\.gif"),
        ("dsb2018", "a1/masks/b.gif", r"b\.gif"),
        ("dsb2018", "a1/images/b.png", r"b\.png.*read is 'a1'"),
        ("lgg", "TCGA_CS_4941/overview.png", r"overview\.png"),
        ("lgg", "TCGA_CS_4941/TCGA_CS_4941_3.jpg", r"_3\.jpg"),
        ("brats", "a/a_dwi.nii.gz", r"a_dwi\.nii\.gz"),
    ],
)
def test_files_that_are_passed_over_are_told(tmp_path, kind, name, told):
    target = SETS[kind].write(tmp_path)
    (tmp_path / name).write_bytes(b"anything")
    with pytest.warns(SkippedFileWarning, match=told) as caught:
        data = SETS[kind].read(tmp_path, target)
    assert len(data.names) >= 1 and "Passed over 1 file(s)" in message(caught)


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JFIF"])
def test_other_suffixes_of_jpeg(tmp_path, suffix):
    from PIL import Image

    write_label_folder(tmp_path)
    image = Image.fromarray(np.full((*SHAPE, 3), 90, np.uint8))
    image.save(tmp_path / "images" / f"b{suffix}", format="JPEG")
    write_labels(tmp_path / "masks" / "b.png", IDS)
    assert datasets.load_label_folder(tmp_path).names == ["a", "b"]


def test_label_images_in_bmp(tmp_path):
    from PIL import Image

    target = write_label_folder(tmp_path)
    target.unlink()
    Image.fromarray(IDS.astype(np.uint8)).save(tmp_path / "masks" / "a.bmp")
    data = datasets.load_label_folder(tmp_path)
    np.testing.assert_array_equal(data.masks[0], IDS)


COMPOSED = unicodedata.normalize("NFC", "M\u00fcller \u00e9")
TAKEN_APART = unicodedata.normalize("NFD", COMPOSED)


@pytest.mark.parametrize(
    ("image", "label"), [(COMPOSED, TAKEN_APART), (TAKEN_APART, COMPOSED)]
)
@pytest.mark.parametrize(
    "kind",
    ["aperio", "cpm", "geojson", "geojson, suffix", "label folder", "point folder"],
)
def test_accents_of_names_pair(tmp_path, kind, image, label):
    base, _, more = kind.partition(", ")
    SETS[base].write(tmp_path)
    for path in sorted(tmp_path.rglob("*.*")):
        is_image = path.suffix in (".png", ".tif") and path.parent.name != "masks"
        stem = path.stem.replace("image01", "a")
        name = stem.replace("a", image if is_image else label, 1)
        if more and not is_image:
            name += ".png"
        path.rename(path.with_name(name + path.suffix))
    data = SETS[base].load(
        tmp_path,
        **({} if base in ("aperio", "cpm") else {"group_pattern": f"^{label}"}),
    )
    assert data.names == [COMPOSED]
    assert base in ("aperio", "cpm") or data.groups.tolist() == [COMPOSED]


@pytest.mark.parametrize("given", [COMPOSED, TAKEN_APART])
def test_accents_of_folders_and_endings(tmp_path, given):
    other = TAKEN_APART if given == COMPOSED else COMPOSED
    write_label_folder(tmp_path)
    (tmp_path / "masks" / "a.tif").rename(tmp_path / "masks" / f"a{other}.tif")
    (tmp_path / "masks").rename(tmp_path / other)
    data = datasets.load_label_folder(tmp_path, masks=given, mask_suffix=given)
    np.testing.assert_array_equal(data.masks[0], IDS)


@pytest.mark.parametrize(
    ("told", "place"),
    [
        ("img\\a.png", "img/a.png"),
        (".\\img\\sub\\a.png", "img/sub/a.png"),
        ("img\\sub/a.png", "img/sub/a.png"),
        (f"img\\{COMPOSED}.png", f"img/{TAKEN_APART}.png"),
        (f"{TAKEN_APART}/a.png", f"{COMPOSED}/a.png"),
    ],
)
def test_names_of_images_in_coco(tmp_path, told, place):
    target = write_coco(tmp_path)
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "a.png").rename(tmp_path / place)
    content = json.loads(target.read_text())
    content["images"][0]["file_name"] = told
    target.write_text(json.dumps(content))
    data = datasets.load_coco(target)
    assert data.images == [str(tmp_path / place)]
    assert "\\" not in data.names[0]


@pytest.mark.parametrize(
    "name",
    ["C:\\a.png", "..\\a.png", "img\\..\\..\\a.png", "\\\\host\\a.png", "\\a.png"],
)
def test_names_of_windows_that_lead_out(tmp_path, name):
    target = write_coco(tmp_path)
    content = json.loads(target.read_text())
    content["images"][0]["file_name"] = name
    target.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="leads out of the image folder"):
        datasets.load_coco(target)


def test_the_same_image_by_two_names(tmp_path):
    target = write_coco(tmp_path)
    content = json.loads(target.read_text())
    content["images"] = [
        {"id": 7, "file_name": "img\\a.png"},
        {"id": 8, "file_name": "img/a.png"},
    ]
    target.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="twice"):
        datasets.load_coco(target)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("b" * 290 + ".png", "too long"),
        ("é" * 140 + ".png", "too long"),
        ("/".join(["folder"] * 700) + "/a.png", "too long"),
        ("a\\" + "c" * 256, "too long"),
        ("a\ud83d.png", "characters that no file's name can have"),
        ("a\0.png", "null character"),
    ],
)
def test_names_that_no_file_can_have(tmp_path, name, told):
    target = write_coco(tmp_path)
    content = json.loads(target.read_text())
    content["images"][0]["file_name"] = name
    target.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"instances\.json.*image 7 has.*{told}"):
        datasets.load_coco(target)
