# SPDX-License-Identifier: BSD-3-Clause
"""BraTS: NIfTI volumes under the names of all years, as axial slices."""

from __future__ import annotations

import gzip
import struct
import sys

import numpy as np
import pytest

from psmlearn.datasets import load_brats
from psmlearn.io import check_images, check_masks

SHAPE = (10, 12, 5)  # left, back, up
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
OLD = {"flair": "_flair", "t1": "_t1", "t1ce": "_t1ce", "t2": "_t2", "seg": "_seg"}
NEW = {"flair": "-t2f", "t1": "-t1n", "t1ce": "-t1c", "t2": "-t2w", "seg": "-seg"}


@pytest.fixture
def nibabel():
    return pytest.importorskip("nibabel", reason="BraTS is read with nibabel")


def make_volumes():
    """Volumes of a case, (left, back, up): brain in slices 1 to 3."""
    rng = np.random.default_rng(0)
    brain = np.zeros(SHAPE, bool)
    brain[2:8, 2:10, 1:4] = True
    volumes = {
        name: (rng.uniform(1, 500, SHAPE) * brain).astype(np.int16)
        for name in ("flair", "t1", "t1ce", "t2")
    }
    seg = np.zeros(SHAPE, np.uint8)
    seg[3, 4, 2] = 1
    seg[4, 5, 2] = 2  # touches the first by a corner
    seg[7, 9, 2] = 3
    seg[3, 4, 3] = 4
    return volumes | {"seg": seg}


@pytest.fixture
def write(nibabel, tmp_path):
    def write(case, volumes, names, *, suffix=".nii.gz", affine=AFFINE):
        folder = tmp_path / case
        folder.mkdir(parents=True, exist_ok=True)
        for part, name in names.items():
            image = nibabel.Nifti1Image(volumes[part], affine)
            nibabel.save(image, folder / f"{folder.name}{name}{suffix}")
        return folder

    return write


def test_slices_of_the_official_volumes(write, tmp_path):
    volumes = make_volumes()
    write("HGG/BraTS19_CBICA_AAB_1", volumes, OLD)
    write("LGG/BraTS19_TCIA01_131_1", volumes, OLD, suffix=".nii")
    (tmp_path / "name_mapping.csv").write_text("")
    (tmp_path / "HGG/BraTS19_CBICA_AAB_1/._a_t1.nii.gz").write_text("")
    data = load_brats(str(tmp_path))
    assert data.modalities == ("flair", "t1", "t1ce", "t2")
    assert data.slice_numbers.tolist() == [1, 2, 3] * 2
    assert data.names[0] == "BraTS19_CBICA_AAB_1_001"
    assert (
        data.groups.tolist() == ["BraTS19_CBICA_AAB"] * 3 + ["BraTS19_TCIA01_131"] * 3
    )
    assert data.cases[0] == "BraTS19_CBICA_AAB_1"
    assert data.image_labels.tolist() == [0, 1, 1] * 2
    assert data.pixel_size == 1000.0 and "value_range=None" in data.DESCR
    assert data.images[0].dtype == np.float32 and data.images[0].shape == (12, 10, 4)
    # Rows run to the back, columns to the left.
    for channel, part in enumerate(data.modalities):
        np.testing.assert_array_equal(
            data.images[1][..., channel], volumes[part][:, :, 2].T
        )
    masks = check_masks(data.masks, check_images(data.images, value_range=None))
    assert masks[1][4, 3] == masks[1][5, 4] != masks[1][9, 7] != 0
    assert (masks[1] > 0).sum() == 3 and masks[2].max() == 1


def test_targets_and_tissues(write, tmp_path):
    write("BraTS20_Training_001", make_volumes(), OLD)
    write("BraTS-GLI-00002-000", make_volumes(), NEW)

    def values(case, target):
        data = load_brats(tmp_path, target=target, classes=True, cases=[case])
        masks = np.stack(data.masks)
        assert ((masks[..., 0] > 0) == (masks[..., 1] > 0)).all()
        assert (data.image_labels == masks.any(axis=(1, 2, 3))).all()
        return np.unique(masks[..., 1]).tolist()

    assert values("BraTS20_Training_001", "whole") == [0, 1, 2, 3, 4]
    assert values("BraTS20_Training_001", "core") == [0, 1, 3, 4]
    assert values("BraTS20_Training_001", "enhancing") == [0, 4]
    # From 2023 on, 3 is the enhancing tumour and 4 none.
    assert values("BraTS-GLI-00002-000", "whole") == [0, 1, 2, 3]
    assert values("BraTS-GLI-00002-000", "core") == [0, 1, 3]
    assert values("BraTS-GLI-00002-000", "enhancing") == [0, 3]


def test_visits_of_a_patient_are_one_group(write, tmp_path):
    volumes, names = make_volumes(), {"t1ce": NEW["t1ce"], "seg": NEW["seg"]}
    for case in (
        "BraTS-GLI-00002-000",
        "BraTS-GLI-00002-001",
        "BraTS20_Training_001",
        "BraTS2021_00495",
        "Brats17_2013_2_1",
        "brats_2013_pat0003_1",
        "brats_tcia_pat117_0035",
    ):
        write(case, volumes, names)
    data = load_brats(tmp_path, step=9)
    assert data.modalities == ("t1ce",)
    groups = dict(zip(data.cases.tolist(), data.groups.tolist(), strict=True))
    assert groups == {
        "BraTS-GLI-00002-000": "BraTS-GLI-00002",
        "BraTS-GLI-00002-001": "BraTS-GLI-00002",
        "BraTS20_Training_001": "BraTS20_Training_001",
        "BraTS2021_00495": "BraTS2021_00495",
        "Brats17_2013_2_1": "Brats17_2013_2",
        "brats_2013_pat0003_1": "brats_2013_pat0003",
        "brats_tcia_pat117_0035": "brats_tcia_pat117",
    }


def test_linked_cases(write, tmp_path):
    case = write("store/BraTS2021_00495", make_volumes(), OLD)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / case.name).symlink_to(case)
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    data = load_brats(tmp_path / "data")
    assert set(data.cases) == {"BraTS2021_00495"} and len(data.images) == 3


def test_the_standardised_sample_and_the_odd_name_of_2020(nibabel, write, tmp_path):
    volumes = make_volumes()
    brain = volumes["t1"] > 0
    brain[:, :, 3] = False
    flair = np.where(brain, volumes["flair"] / 100 - 2, -3.5).astype(np.float32)
    folder = tmp_path / "a" / "brats_2013_pat0003_1"
    folder.mkdir(parents=True)
    for name, volume in {
        "Flair_subtrMeanDivStd": flair,
        "T1c_subtrMeanDivStd": flair,
        "OTMultiClass": volumes["seg"].astype(np.float32),
        "brainmask": brain * 0.99999997,
    }.items():
        nibabel.save(nibabel.Nifti1Image(volume, AFFINE), folder / f"{name}.nii.gz")
    data = load_brats(tmp_path / "a")
    assert data.modalities == ("flair", "t1ce")
    assert data.slice_numbers.tolist() == [1, 2] and data.masks[1].max() == 2
    np.testing.assert_array_equal(data.images[0][..., 1], flair[:, :, 1].T)
    (folder / "brainmask.nii.gz").unlink()
    # Without it, the brain is what differs from the corner.
    assert load_brats(tmp_path / "a").slice_numbers.tolist() == [1, 2]

    case = write("b/BraTS20_Training_355", volumes, OLD, suffix=".nii")
    (case / "BraTS20_Training_355_seg.nii").rename(case / "W39_1998.09.19_Segm.nii")
    assert load_brats(tmp_path / "b").image_labels.sum() == 2


def test_choices_of_slices_channels_and_cases(write, tmp_path):
    for case in ("b", "a"):
        write(case, make_volumes(), OLD)
    data = load_brats(tmp_path, modalities=["t2", "t1"], slices="all", step=2)
    assert data.modalities == ("t2", "t1")
    assert data.slice_numbers.tolist() == [0, 2, 4] * 2
    assert data.cases.tolist() == ["a"] * 3 + ["b"] * 3
    np.testing.assert_array_equal(
        data.images[1][..., 1], make_volumes()["t1"][:, :, 2].T
    )
    assert set(load_brats(tmp_path, cases=["b"]).cases) == {"b"}


def test_volumes_are_turned_by_their_headers(nibabel, write, tmp_path):
    volumes = make_volumes()
    write("a", volumes, OLD)
    turned = {}
    for part, volume in volumes.items():
        image = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume, AFFINE))
        turned[part] = np.asarray(image.dataobj).transpose(2, 0, 1)
    # Axes up, right, front.
    affine = np.array([[0, 1, 0, -9], [0, 0, 1, -11], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    write("b", turned, OLD, affine=affine)
    data = load_brats(tmp_path)
    for i in range(3):
        np.testing.assert_array_equal(data.images[i], data.images[i + 3])
        np.testing.assert_array_equal(data.masks[i], data.masks[i + 3])


def test_pixel_sizes(write, tmp_path):
    names = {"t1": "_t1", "seg": "_seg"}
    write("a", make_volumes(), names, affine=np.diag([-0.5, -0.5, 2, 1]))
    assert load_brats(tmp_path).pixel_size == 500.0
    write("b", make_volumes(), names)
    assert load_brats(tmp_path).pixel_size is None
    write("c", make_volumes(), names, affine=np.diag([-0.5, -0.7, 2, 1]))
    assert load_brats(tmp_path, cases=["c"]).pixel_size is None


def test_missing_parts_are_named(write, tmp_path):
    case = write("a", make_volumes(), OLD)
    write("b", make_volumes(), OLD)
    (case / "a_t1ce.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match="lacks 1 file.*a: t1ce.*CASE_flair"):
        load_brats(tmp_path)
    assert len(load_brats(tmp_path, modalities=["t1"]).images) == 6
    (case / "a_seg.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match="a: seg"):
        load_brats(tmp_path, modalities=["t1"])
    data = load_brats(tmp_path, modalities=["t1"], require_masks=False)
    assert data.masks[0] is None and data.image_labels.tolist() == [-1] * 3 + [0, 1, 1]
    data = load_brats(tmp_path, modalities=["t1"], require_masks=False, cases=["a"])
    assert data.masks is None and data.image_labels is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no cases; expected CASE"):
        load_brats(tmp_path / "empty")


def test_bad_volumes_are_named(nibabel, write, tmp_path):
    volumes = make_volumes()

    def refuse(part, volume, match):
        folder = write("a", volumes, OLD)
        write("a", {part: volume}, {part: OLD[part]})
        with pytest.raises(ValueError, match=match) as caught:
            load_brats(tmp_path)
        assert f"a{OLD[part]}.nii.gz" in str(caught.value)
        return folder

    refuse("t1", np.zeros((10, 12, 4), np.int16), r"\(4, 12, 10\) \(slices.*\(5, 12")
    refuse("t1", np.zeros((10, 12), np.int16), "broken NIfTI.*three sides")
    refuse("t1", np.zeros(SHAPE, np.complex64), "dtype")
    refuse("t1", np.full(SHAPE, np.nan, np.float32), "NaN")
    refuse("seg", volumes["seg"] + np.uint8(2), "no labels 0 to 4")
    refuse("seg", volumes["seg"] * np.float32(0.4), "no labels 0 to 4")
    folder = write("a", volumes, OLD)
    path = folder / "a_t2.nii.gz"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ValueError, match=r"a_t2\.nii\.gz.*broken NIfTI"):
        load_brats(tmp_path)
    # A header that declares 1200 voxels a side, with hardly anything behind it.
    huge = bytearray(gzip.decompress((folder / "a_t1.nii.gz").read_bytes()))
    huge[42:48] = struct.pack("<3h", 1200, 1200, 1200)
    path.write_bytes(gzip.compress(bytes(huge)))
    with pytest.raises(ValueError, match=r"a_t2\.nii\.gz.*too small for its shape"):
        load_brats(tmp_path)
    path.write_bytes(b"no volume")
    with pytest.raises(ValueError, match=r"a_t2\.nii\.gz.*broken NIfTI"):
        load_brats(tmp_path)


def test_ambiguous_and_empty_cases(write, tmp_path):
    write("a", make_volumes(), OLD)
    write("a", make_volumes(), {"t1": "_t1"}, suffix=".nii")
    with pytest.raises(ValueError, match=r"two files of 't1'.*a_t1\.nii'"):
        load_brats(tmp_path)
    (tmp_path / "a" / "a_t1.nii").unlink()
    write("x/a", make_volumes(), OLD)
    with pytest.raises(ValueError, match="the case 'a' twice"):
        load_brats(tmp_path)
    empty = {part: np.zeros_like(volume) for part, volume in make_volumes().items()}
    write("e/b", empty, OLD)
    with pytest.raises(ValueError, match="'b' shows no brain"):
        load_brats(tmp_path / "e")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": "tumour"}, ValueError, "target is 'tumour'"),
        ({"slices": "some"}, ValueError, "slices is 'some'"),
        ({"step": 0}, ValueError, "step is 0"),
        ({"step": True}, ValueError, "step is True"),
        ({"modalities": "t1"}, TypeError, "list of names"),
        ({"modalities": []}, ValueError, "each name once"),
        ({"modalities": ["t1", "t1"]}, ValueError, "each name once"),
        ({"modalities": ["T1"]}, ValueError, "'T1'; expected of"),
        ({"cases": "a"}, TypeError, "list of names"),
        ({"cases": ["z"]}, ValueError, "names z; there are a"),
        ({"cases": []}, ValueError, "names none"),
    ],
)
def test_bad_parameters(tmp_path, options, error, message):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a_t1.nii").write_text("")
    with pytest.raises(error, match=message):
        load_brats(tmp_path, **options)


def test_nibabel_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    for part in ("t1", "seg"):
        (tmp_path / "a" / f"a_{part}.nii").write_text("")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(ImportError, match=r'pip install "psmlearn\[data\]"'):
        load_brats(tmp_path)


@pytest.mark.data
def test_the_real_sample(nibabel, data_dir):
    folder = data_dir / "brats2013"
    data = load_brats(folder, modalities=["flair"], slices="all", step=16)
    assert len(set(data.groups)) == 4 and data.pixel_size == 1000.0
    images = check_images(data.images, value_range=None)
    assert images.shapes == [(240, 240)] * 40
    check_masks(data.masks, images)
    assert 0.3 < data.image_labels.mean() < 0.8
    data = load_brats(folder, cases=data.cases[:1].tolist(), step=20)
    assert data.modalities == ("flair", "t1ce") and data.slice_numbers[0] == 7
