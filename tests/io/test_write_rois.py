# SPDX-License-Identifier: BSD-3-Clause
"""ROI zips for ImageJ, read back by roifile and filled to the pixel."""

from __future__ import annotations

import builtins
import os
import zipfile

import numpy as np
import pytest
from skimage.draw import polygon2mask

from psmlearn.datasets import make_nuclei
from psmlearn.io import write_rois

roifile = pytest.importorskip("roifile")


def fill(path, shape):
    """Draw the regions of a file by the even-odd rule, in their order."""
    found = np.zeros(shape, np.int64)
    rois = roifile.roiread(path)
    for roi in rois:
        inside = np.zeros(shape, bool)
        for ring in roi.coordinates(multi=True):
            # Corners of pixels; their centres lie half a pixel further.
            inside ^= polygon2mask(shape, np.asarray(ring, float)[:, ::-1] - 0.5)
        assert not found[inside].any()
        found[inside] = int(roi.name.split()[0])
    return found, rois


def test_the_very_pixels_come_back(tmp_path):
    data = make_nuclei(n_images=1, shape=(128, 160), n_nuclei=30, random_state=0)
    labels = data.masks[0]
    write_rois(tmp_path / "a.zip", labels)
    found, rois = fill(tmp_path / "a.zip", labels.shape)
    np.testing.assert_array_equal(found, labels)
    assert [roi.name for roi in rois] == [str(n) for n in range(1, labels.max() + 1)]
    assert {roi.roitype for roi in rois} == {roifile.ROI_TYPE.TRACED}
    assert {roi.position for roi in rois} == {0}
    assert os.listdir(tmp_path) == ["a.zip"]


def test_holes_pieces_and_high_ids_come_back(tmp_path):
    labels = np.zeros((40, 50), int)
    labels[3:20, 3:20] = 9
    labels[6:15, 6:15] = 0
    labels[8:12, 8:12] = 70_000
    labels[20, 20] = 9  # a corner alone
    labels[2, 30:34] = labels[5, 30:34] = 4  # in two pieces
    labels[25:30, 5:9] = 3
    labels[26, 6] = labels[27, 7] = 0  # holes that meet
    labels[39, 49] = 2**31 - 1
    labels[30:35, 30:35] = -1
    write_rois(tmp_path / "a.zip", labels, position=3)
    found, rois = fill(tmp_path / "a.zip", labels.shape)
    np.testing.assert_array_equal(found, np.maximum(labels, 0))
    assert {roi.position for roi in rois} == {3}
    composites = {roi.name for roi in rois if roi.composite}
    assert composites == {"3", "4", "9"}
    # What ImageJ takes for the box: that of the pixels.
    (nine,) = (roi for roi in rois if roi.name == "9")
    assert (nine.left, nine.top, nine.right, nine.bottom) == (3, 3, 21, 21)


def test_classes_are_names_and_colours(tmp_path):
    labels = np.zeros((8, 12, 2), int)
    for number, kind in enumerate((1, 2, 7, 0), 1):
        labels[1:3, 3 * number - 3 : 3 * number - 1] = number, kind
    write_rois(tmp_path / "a.zip", labels, colors={"Class 7": (1, 2, 3)})
    _, rois = fill(tmp_path / "a.zip", labels.shape[:2])
    assert [roi.name for roi in rois] == ["1 Positive", "2 Negative", "3 Class 7", "4"]
    colors = [roi.stroke_color for roi in rois]
    assert colors[0] == b"\xff\xfa\x3e\x3e" and colors[2] == b"\xff\x01\x02\x03"
    assert colors[3] == bytes(4)  # none
    assert rois[0].props == "label: 1\nclass: Positive\n"
    assert rois[3].props == "label: 4\n"


def test_names_that_no_zip_can_hold(tmp_path):
    labels = np.zeros((4, 8, 2), int)
    labels[:, :2], labels[:, 4:6] = (1, 1), (2, 2)
    odd = "a/b\\c:d\n\udcfc\U0001f52c" + "x" * 500
    write_rois(tmp_path / "a.zip", labels, classes=[odd, "Ki-67 +, größer"])
    _, rois = fill(tmp_path / "a.zip", labels.shape[:2])
    assert rois[0].name.startswith("1 a_b_c_d___xxx") and len(rois[0].name) < 100
    assert rois[1].name == "2 Ki-67 +, größer"
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        assert file.testzip() is None
        assert file.namelist() == [f"{roi.name}.roi" for roi in rois]


def test_places_beyond_whole_numbers(tmp_path):
    """ImageJ has whole numbers up to 60,535; beyond, floats."""
    labels = np.zeros((3, 70_000), np.int32)
    labels[1, 10:20], labels[1, 60_530:60_536] = 1, 2
    labels[:, 69_990:69_995], labels[1, 69_992] = 3, 0
    labels[1:, 69_997:] = 4
    write_rois(tmp_path / "a.zip", labels)
    rois = roifile.roiread(tmp_path / "a.zip")
    boxes = [
        [*np.min(ring, axis=0), *np.max(ring, axis=0)]
        for roi in rois
        for ring in roi.coordinates(multi=True)[:1]
    ]
    assert np.array(boxes).tolist() == [
        [10, 1, 20, 2],
        [60_530, 1, 60_536, 2],
        [69_990, 0, 69_995, 3],
        [69_997, 1, 70_000, 3],
    ]
    assert [roi.subpixelresolution for roi in rois] == [False, True, False, True]


def test_files_repeat_and_may_be_empty(tmp_path):
    path = tmp_path / "a.zip"
    labels = np.kron(np.arange(16).reshape(4, 4), np.ones((5, 5), int))
    write_rois(path, labels)
    first = path.read_bytes()
    write_rois(path, labels)
    assert path.read_bytes() == first
    write_rois(path, np.zeros((5, 5), int))
    with zipfile.ZipFile(path) as file:
        assert file.namelist() == []


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("a.roi", {}, "suffix is '.roi'"),
        ("a.zip", {"position": -1}, "position must be a whole number from 0 on"),
        ("a.zip", {"position": 1.5}, "position must be a whole number"),
        ("a.zip", {"colors": {"a": (1, 2)}}, "colors\\['a'\\]"),
        ("a.zip", {"classes": {0: "none"}}, "numbers from 1 on"),
        ("a.zip", {"labels": np.zeros((4, 4))}, "float64"),
    ],
)
def test_bad_parameters_are_told_and_nothing_is_written(name, options, told, tmp_path):
    labels = options.pop("labels", np.ones((3, 3), int))
    with pytest.raises(ValueError, match=told):
        write_rois(tmp_path / name, labels, **options)
    assert not list(tmp_path.iterdir())


def test_classes_that_are_one_text_are_refused(tmp_path):
    with pytest.raises(TypeError, match="a list from class 1 on"):
        write_rois(tmp_path / "a.zip", np.ones((3, 3), int), classes="tumour")


def test_without_roifile_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "roifile":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install psmlearn\[imagej\]"):
        write_rois(tmp_path / "a.zip", np.ones((3, 3), int))
    assert not list(tmp_path.iterdir())
