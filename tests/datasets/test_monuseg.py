# SPDX-License-Identifier: BSD-3-Clause
"""MoNuSeg in the layouts of its downloads, and hostile annotations."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import tifffile

from psmlearn.datasets import load_monuseg
from psmlearn.datasets._aperio import (
    Outline,
    rasterize_outlines,
    read_aperio_outlines,
)
from psmlearn.datasets._lost import Lost
from psmlearn.exceptions import AnnotationWarning
from psmlearn.io import check_images, check_masks, write_labels

NAMES = ["TCGA-18-5592-01Z-00-DX1", "TCGA-AY-A8YK-01A-01-TS1"]
SQUARES = [
    [(2, 3), (12, 3), (12, 13), (2, 13)],
    [(10, 10), (20, 10), (20, 20), (10, 20)],
    [(30, 25), (40.5, 25), (40.5, 31)],
]


def write_xml(path, regions=SQUARES, head="", body=None):
    if body is None:
        body = "".join(
            f'<Region Id="{i}"><Vertices>'
            + "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in region)
            + "</Vertices></Region>"
            for i, region in enumerate(regions, 1)
        )
    path.write_text(
        f'<?xml version="1.0"?>{head}<Annotations MicronsPerPixel="0.25">'
        f"<Annotation><Regions>{body}</Regions></Annotation></Annotations>"
    )


@pytest.fixture(params=["train", "test"])
def folder(request, tmp_path):
    images = tmp_path / "Tissue Images" if request.param == "train" else tmp_path
    outlines = tmp_path / "Annotations" if request.param == "train" else tmp_path
    for path in (images, outlines):
        path.mkdir(exist_ok=True)
    for name in reversed(NAMES):
        tifffile.imwrite(images / f"{name}.tif", np.zeros((32, 40, 3), np.uint8))
        write_xml(outlines / f"{name}.xml")
    (images / ".hidden.tif").write_text("")
    return tmp_path


def test_outlines_of_both_layouts(folder):
    data = load_monuseg(folder)
    assert data.names == NAMES
    assert all(
        isinstance(p, str) and n in p for p, n in zip(data.images, NAMES, strict=True)
    )
    assert data.groups.tolist() == ["TCGA-18-5592", "TCGA-AY-A8YK"]
    images = check_images(data.images)
    mask = check_masks(data.masks, images)[0]
    # X runs along columns; the later square wins; the rest leaves the image.
    assert mask.shape == (32, 40) and mask[5, 4] == 1 and mask[4, 5] == 1
    assert mask[12, 3] == 1 and mask[3, 13] == 0
    assert mask[11, 11] == 2 and mask[19, 19] == 2
    assert mask[25, 39] == 3 and mask.max() == 3
    assert "CC BY-NC-SA" in data.DESCR and data.pixel_size == 0.25


def test_label_images_are_preferred(folder):
    (folder / "labels").mkdir()
    ids = np.arange(32 * 40).reshape(32, 40)
    write_labels(folder / "labels" / f"{NAMES[1]}.png", ids)
    data = load_monuseg(str(folder))
    assert data.masks[0].max() == 3
    np.testing.assert_array_equal(data.masks[1], ids)
    assert load_monuseg(folder, masks="xml").masks[1].max() == 3
    with pytest.raises(FileNotFoundError, match=f"1 of 2.*no label.*{NAMES[0]}"):
        load_monuseg(folder, masks="labels")
    write_labels(folder / "labels" / f"{NAMES[0]}.png", ids[:9])
    with pytest.raises(ValueError, match=rf"{NAMES[0]}.*\(9, 40\).*\(32, 40\)"):
        load_monuseg(folder)


def test_label_images_without_an_image_are_named(folder):
    (folder / "labels").mkdir()
    for name in [*NAMES, "TCGA-XX-0000"]:
        write_labels(folder / "labels" / f"{name}.png", np.eye(32, 40, dtype=int))
    with pytest.raises(
        FileNotFoundError, match=r"1 of 3 label images.*no image.*TCGA-XX-0000\."
    ):
        load_monuseg(folder)
    assert len(load_monuseg(folder, masks="xml").masks) == 2


def test_folders_within_a_folder(folder, tmp_path):
    outer = tmp_path / "outer"
    inner = outer / "MoNuSeg" / "MoNuSeg 2018 Training Data"
    (outer / "__MACOSX").mkdir(parents=True)
    inner.mkdir(parents=True)
    for path in list(folder.iterdir()):
        if path != outer:
            path.rename(inner / path.name)
    data = load_monuseg(outer)
    assert data.names == NAMES and len(data.masks) == 2
    (inner.parent / "MoNuSegTestData").mkdir()
    with pytest.raises(FileNotFoundError, match="It holds the folders 'MoNuSeg 2018"):
        load_monuseg(inner.parent)


def test_images_that_declare_too_much_are_refused(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / f"{NAMES[0]}.tif", np.zeros((4, 5, 3), np.uint8))
    write_xml(tmp_path / f"{NAMES[0]}.xml")
    monkeypatch.setattr("psmlearn.datasets._polygons.MAX_PIXELS", 19)
    with pytest.raises(ValueError, match=rf"{NAMES[0]}\.tif.*declares 4 x 5 pixels"):
        load_monuseg(tmp_path)


def test_label_images_beside_the_images(tmp_path):
    tifffile.imwrite(tmp_path / f"{NAMES[0]}.tif", np.zeros((4, 5, 3), np.uint8))
    write_labels(tmp_path / f"{NAMES[0]}.png", np.eye(4, 5, dtype=int))
    np.testing.assert_array_equal(load_monuseg(tmp_path).masks[0], np.eye(4, 5))


def test_missing_parts_are_named(folder, tmp_path):
    for path in folder.rglob(f"{NAMES[1]}.xml"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=f"1 of 2.*neither.*{NAMES[1]}"):
        load_monuseg(folder)
    data = load_monuseg(folder, masks=None)
    assert data.masks is None and len(data.images) == 2
    with pytest.raises(ValueError, match="expected one of"):
        load_monuseg(folder, masks="png")
    with pytest.raises(FileNotFoundError, match="No such folder.*none"):
        load_monuseg(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no \.tif images"):
        load_monuseg(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        load_monuseg(tmp_path / "file")


def test_outlines_without_an_image_are_named(folder):
    for path in folder.rglob(f"{NAMES[0]}.tif"):
        path.unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"1 of 2 XML files.*no image.*{NAMES[0]}\."
    ):
        load_monuseg(folder)
    with pytest.raises(FileNotFoundError, match="no image"):
        load_monuseg(folder, masks="xml")
    assert load_monuseg(folder, masks=None).names == NAMES[1:]


HEADS = {
    "entity bomb": '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>',
    "external entity": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>',
    "external document type": '<!DOCTYPE x SYSTEM "http://localhost:1/x.dtd">',
    "document type": "<!DOCTYPE x>",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_hostile_annotations_are_refused(tmp_path, head):
    path = tmp_path / "evil.xml"
    write_xml(path, head=head)
    with pytest.raises(ValueError, match=r"evil\.xml.*is refused"):
        read_aperio_outlines(str(path))
    tifffile.imwrite(tmp_path / "evil.tif", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(ValueError, match=r"evil\.xml.*is refused"):
        load_monuseg(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "broken XML"),
        ("<Annotations><Annotation>", "broken XML"),
        ("no xml", "broken XML"),
        ('<?xml version="1.0" encoding="no-such"?><a/>', "broken XML"),
        ("<html/>", "no Aperio annotation.*<html>"),
        ('<Annotations><Region Id="7"><Vertex X="1"/></Region></Annotations>', "ion 7"),
        ('<Annotations><Region><Vertex X="a" Y="1"/></Region></Annotations>', "number"),
        (
            '<Annotations><Region><Vertex X="nan" Y="1"/></Region></Annotations>',
            "finite",
        ),
    ],
)
def test_broken_annotations_are_named(tmp_path, text, message):
    path = tmp_path / "bad.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_aperio_outlines(str(path))
    assert "bad.xml" in str(caught.value)
    with pytest.raises(FileNotFoundError, match="none.xml"):
        read_aperio_outlines(str(tmp_path / "none.xml"))


def test_rasterising_keeps_ids_dense():
    def square(top, left, side):
        return np.array(
            [
                (top, left),
                (top, left + side),
                (top + side, left + side),
                (top + side, left),
            ],
            dtype=float,
        )

    outlines = [
        square(10, 10, 5),  # covered by the next
        square(8, 8, 12),
        np.empty((0, 2)),
        square(-50, -50, 20),  # outside
        square(-5, 30, 9),  # partly outside
        square(1e9, 1e9, 5),
    ]
    lost = Lost()
    outlines = [Outline(each, f"region {i}") for i, each in enumerate(outlines)]
    labels = rasterize_outlines(outlines, (40, 35), lost, "a.xml")
    with pytest.warns(AnnotationWarning) as caught:
        lost.tell()
    told = str(caught[0].message)
    assert "1 are wholly covered by later ones (region 0 of 'a.xml')" in told
    assert "2 lie outside" in told and "(region 3 of 'a.xml', region 5 of" in told
    assert "1 have too few vertices" in told and "(region 2 of 'a.xml')" in told
    assert labels.dtype == np.int32
    assert np.unique(labels).tolist() == [0, 1, 2]
    assert labels[12, 12] == 1 and labels[0, 33] == 2
    assert not rasterize_outlines([], (4, 5)).any()


def share_matched(one, other):
    """Share of the objects of `one` that `other` has at an IoU above 0.5."""
    inside = (one > 0) & (other > 0)
    pairs, shared = np.unique(
        np.stack([one[inside], other[inside]]), axis=1, return_counts=True
    )
    union = np.bincount(one.ravel())[pairs[0]] + np.bincount(other.ravel())[pairs[1]]
    return (shared / (union - shared) > 0.5).sum() / len(np.unique(one[one > 0]))


@pytest.mark.data
def test_the_real_training_set(data_dir, tmp_path):
    folder = data_dir / "monuseg" / "MoNuSegTrainingData"
    data = load_monuseg(folder)
    assert len(data.images) == len(data.masks) == len(set(data.groups)) == 30
    assert sum(len(np.unique(mask)) - 1 for mask in data.masks) == 16957
    assert all(re.fullmatch(r"TCGA-\w\w-\w{4}", group) for group in data.groups)
    images = check_images(data.images)
    check_masks(data.masks, images)
    assert images.shapes == [(1000, 1000)] * 30 and images.n_channels == 3

    name = "TCGA-21-5784-01Z-00-DX1"
    for part, suffix in (("Tissue Images", ".tif"), ("Annotations", ".xml")):
        (tmp_path / part).mkdir()
        shutil.copy(folder / part / (name + suffix), tmp_path / part)
    drawn = load_monuseg(tmp_path, masks="xml").masks[0]
    truth = data.masks[data.names.index(name)]
    # The foreground is the same; which of two overlapping nuclei wins is not.
    assert ((drawn > 0) == (truth > 0)).mean() > 0.999
    assert share_matched(truth, drawn) > 0.99 and share_matched(drawn, truth) > 0.99
