# SPDX-License-Identifier: BSD-3-Clause
"""Files of numbers: checksums, tags, links and sizes that lie."""

from __future__ import annotations

import gzip
import struct
import time
import zlib

import numpy as np
import pytest
from loader_sets import (
    IDS,
    SHAPE,
    write_bcdata,
    write_brats,
    write_consep,
)
from scipy.io import savemat

from psmlearn import datasets
from psmlearn.io import write_image

# MATLAB -----------------------------------------------------------------------------


def element(kind, content):
    return (
        struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)
    )


def matrix(name, values, kind=9, number=6, shape=SHAPE):
    body = element(6, struct.pack("<II", number, 0))
    body += element(5, struct.pack(f"<{len(shape)}i", *shape))
    body += element(1, name.encode())
    return element(14, body + element(kind, values))


def mat_file(*elements):
    return b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + b"".join(elements)


def pack(part):
    packed = zlib.compress(part)
    return struct.pack("<II", 15, len(packed)) + packed


DOUBLES = IDS.astype("<f8").tobytes(order="F")
TYPES = ((IDS > 0) * 2.0).tobytes(order="F")


@pytest.mark.parametrize("wrap", [bytes, pack], ids=["plain", "packed"])
@pytest.mark.parametrize(
    ("part", "told"),
    [
        (matrix("inst_map", DOUBLES), None),
        (matrix("inst_map", DOUBLES, kind=77), "unknown type 77"),
        (matrix("inst_map", DOUBLES, kind=0), "unknown type 0"),
        (matrix("inst_map", DOUBLES, kind=14), "unknown type 14"),
        (matrix("inst_map", DOUBLES, number=99), "unknown class 99"),
        (matrix("inst_map", DOUBLES[:-8]), r"2008 bytes of float64 for 252 numbers"),
        (matrix("inst_map", DOUBLES + bytes(8)), "for 252 numbers"),
        (matrix("inst_map", DOUBLES, shape=(14, -18)), "has the shape"),
        (matrix("inst_map", DOUBLES, shape=(2**31 - 1, 2**31 - 1)), "has size"),
        (matrix("inst_map", DOUBLES, shape=(252,)), "lacks its dimensions"),
        (element(14, b"\0" * 64), "lacks its flags"),
    ],
)
def test_tags_of_matlab_files_are_checked(tmp_path, wrap, part, told):
    target = write_consep(tmp_path)
    target.write_bytes(mat_file(wrap(part), matrix("type_map", TYPES)))
    if told is None:
        np.testing.assert_array_equal(
            datasets.load_consep(tmp_path).masks[0][..., 0], IDS
        )
        return
    with pytest.raises(ValueError, match=rf"train_1\.mat.*{told}"):
        datasets.load_consep(tmp_path)


def test_keys_of_matlab_files_that_are_there_twice(tmp_path):
    target = write_consep(tmp_path)
    first, second = (matrix("inst_map", v) for v in (DOUBLES, bytes(len(DOUBLES))))
    for parts in ((first, second), (pack(first), second)):
        target.write_bytes(mat_file(*parts, matrix("type_map", TYPES)))
        with pytest.raises(ValueError, match=r"train_1\.mat.*inst_map twice"):
            datasets.load_consep(tmp_path)


def test_bombs_in_matlab_files(tmp_path):
    target = write_consep(tmp_path)
    bomb = matrix("inst_map", bytes(1 << 26), shape=SHAPE)
    target.write_bytes(mat_file(pack(bomb), matrix("type_map", TYPES)))
    with pytest.raises(ValueError, match=r"train_1\.mat.*more than its 252 numbers"):
        datasets.load_consep(tmp_path)
    # Others are not even unpacked.
    other = pack(matrix("other", bytes(1 << 26), shape=(1 << 23, 1)))
    target.write_bytes(
        mat_file(other, matrix("inst_map", DOUBLES), matrix("type_map", TYPES))
    )
    assert datasets.load_consep(tmp_path).names == ["train_1"]


def test_checksums_of_matlab_files_are_compared(tmp_path):
    # Large enough that a reader which stops behind the numbers misses the checksum.
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 2**20, (160, 200))
    target = write_consep(tmp_path)
    image = tmp_path / "Train" / "Images" / "train_1.png"
    write_image(image, np.zeros(ids.shape, np.uint8))
    types = (ids > 0) * 2
    savemat(target, {"inst_map": ids, "type_map": types}, do_compression=True)
    sound = target.read_bytes()
    truth = datasets.load_consep(tmp_path).masks[0]
    n_refused = 0
    for _ in range(60):
        spoilt = bytearray(sound)
        spoilt[rng.integers(136, len(sound))] ^= 1 << rng.integers(8)
        target.write_bytes(spoilt)
        try:
            found = datasets.load_consep(tmp_path).masks[0]
        except ValueError as error:
            assert "train_1.mat" in str(error)
            n_refused += 1
        else:
            np.testing.assert_array_equal(found, truth)
    assert n_refused > 50


# NIfTI ------------------------------------------------------------------------------


@pytest.fixture
def volume(tmp_path):
    pytest.importorskip("nibabel")
    target = write_brats(tmp_path)
    truth = datasets.load_brats(tmp_path).masks
    return target, truth, gzip.decompress(target.read_bytes())


def test_one_bit_of_a_packed_volume(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(3)
    (tmp_path / "a").mkdir()
    target = tmp_path / "a" / "a_t1.nii.gz"
    values = rng.integers(1, 500, (30, 40, 25)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-1.0, -1, 1, 1])), target)
    sound = target.read_bytes()
    truth = datasets.load_brats(tmp_path, require_masks=False).images
    n_refused = 0
    for _ in range(100):
        spoilt = bytearray(sound)
        spoilt[rng.integers(10, len(sound))] ^= 1 << rng.integers(8)
        target.write_bytes(spoilt)
        try:
            found = datasets.load_brats(tmp_path, require_masks=False).images
        except ValueError as error:
            assert "a_t1.nii.gz" in str(error)
            n_refused += 1
        else:
            np.testing.assert_array_equal(np.stack(found), np.stack(truth))
    assert n_refused > 90


@pytest.mark.parametrize(
    ("place", "layout", "value"),
    [
        (108, "<f", 0.0),  # where the voxels begin
        (108, "<f", -352.0),
        (108, "<f", 353.5),
        (108, "<f", 1e30),
        (108, "<f", float("nan")),
        (40, "<h", 2),  # sides
        (42, "<h", 7),
        (42, "<h", -8),
        (42, "<h", 0),
        (42, "<h", 32767),
        (70, "<h", 1792),  # complex numbers
        (70, "<h", 999),
        (280, "<f", float("nan")),  # orientation
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_headers_that_lie(volume, tmp_path, place, layout, value, packed):
    target, _, content = volume
    spoilt = bytearray(content)
    struct.pack_into(layout, spoilt, place, value)
    target.unlink()
    target = target if packed else target.with_suffix("")
    target.write_bytes(gzip.compress(spoilt) if packed else spoilt)
    with pytest.raises(ValueError, match=r"a_seg\.nii.*is a broken NIfTI file"):
        datasets.load_brats(tmp_path)


@pytest.mark.parametrize("n_told", [-16, -1, 0, 7, 4096, 2**31 - 1])
def test_extensions_that_lie(volume, tmp_path, n_told):
    target, truth, content = volume
    head = bytearray(content[:352])
    struct.pack_into("<f", head, 108, 352.0 + 32)
    head[348] = 1
    for size in (32, n_told):
        extension = struct.pack("<ii", size, 6) + bytes(24)
        target.write_bytes(gzip.compress(bytes(head) + extension + content[352:]))
        if size == 32:
            found = datasets.load_brats(tmp_path).masks
            np.testing.assert_array_equal(np.stack(found), np.stack(truth))
        else:
            with pytest.raises(ValueError, match=r"a_seg\.nii\.gz.*extension"):
                datasets.load_brats(tmp_path)


@pytest.mark.parametrize("change", ["cut", "long", "tail", "half", "empty"])
def test_ends_of_volumes(volume, tmp_path, change):
    target, _, content = volume
    packed = target.read_bytes()
    target.write_bytes(
        {
            "cut": gzip.compress(content[:-1]),
            "long": gzip.compress(content + b"\0"),
            "tail": packed + b"garbage",
            "half": packed[:-4],
            "empty": b"",
        }[change]
    )
    with pytest.raises(ValueError, match=r"a_seg\.nii\.gz.*is a broken NIfTI file"):
        datasets.load_brats(tmp_path)


@pytest.mark.parametrize(
    ("unit", "zoom", "micrometres"),
    [
        (0, 0.9, 900.0),
        (1, 0.0015, 1500.0),
        (2, 1.25, 1250.0),
        (3, 240.0, 240.0),
        (10, 1.25, 1250.0),  # with a unit of time
        (11, 75.0, 75.0),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_units_of_volumes(tmp_path, unit, zoom, micrometres, packed):
    nibabel = pytest.importorskip("nibabel")
    values = np.arange(1, 6 * 7 * 3 + 1, dtype=np.int16).reshape(6, 7, 3)
    for turn in (-1, 1):  # as it is, and turned
        image = nibabel.Nifti1Image(
            values, np.diag([turn * zoom, turn * zoom, zoom, 1])
        )
        image.header["xyzt_units"] = unit
        (tmp_path / "a").mkdir(exist_ok=True)
        nibabel.save(image, tmp_path / "a" / f"a_t1.nii{'.gz' if packed else ''}")
        data = datasets.load_brats(tmp_path, require_masks=False)
        assert data.pixel_size == pytest.approx(micrometres)


@pytest.mark.parametrize("unit", [4, 7, 13])
def test_units_that_there_are_not_are_refused(volume, tmp_path, unit):
    target, _, content = volume
    spoilt = bytearray(content)
    spoilt[123] = unit
    target.write_bytes(gzip.compress(spoilt))
    with pytest.raises(ValueError, match=rf"unit of length is number {unit & 7}"):
        datasets.load_brats(tmp_path)


@pytest.mark.parametrize("sides", [(1,), (1, 1), (1, 1, 1, 1)])
def test_last_sides_of_one(volume, tmp_path, sides):
    nibabel = pytest.importorskip("nibabel")
    target, truth, _ = volume
    seg = nibabel.load(target)
    values = np.asarray(seg.dataobj)
    nibabel.save(
        nibabel.Nifti1Image(values.reshape(*values.shape, *sides), seg.affine), target
    )
    found = datasets.load_brats(tmp_path)
    np.testing.assert_array_equal(np.stack(found.masks), np.stack(truth))
    for shape in ((8, 9, 1, 5), (8, 9, 5, 1, 2)):
        wrong = np.resize(values, shape)
        nibabel.save(nibabel.Nifti1Image(wrong, seg.affine), target)
        with pytest.raises(ValueError, match=r"a_seg\.nii\.gz.*expected three sides"):
            datasets.load_brats(tmp_path)


@pytest.mark.parametrize("n_members", [3, 250_000])
def test_volumes_of_many_members(volume, tmp_path, n_members):
    target, truth, content = volume
    empty = gzip.compress(b"")
    halves = gzip.compress(content[:100]) + gzip.compress(content[100:])
    zeros = bytes(50_000)
    target.write_bytes(empty * n_members + halves + zeros + empty + zeros)
    start = time.perf_counter()
    found = datasets.load_brats(tmp_path).masks
    assert time.perf_counter() - start < 10
    np.testing.assert_array_equal(np.stack(found), np.stack(truth))
    target.write_bytes(empty * n_members + halves[:-3])
    with pytest.raises(ValueError, match="ends before its checksum"):
        datasets.load_brats(tmp_path)


# HDF5 -------------------------------------------------------------------------------


@pytest.fixture
def h5(tmp_path):
    h5py = pytest.importorskip("h5py")
    target = write_bcdata(tmp_path)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["coordinates"] = np.array([[1, 2], [3, 4]])
    return h5py, target, other


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("external", "is a link"),
        ("soft", "is a link"),
        ("soft, out", "is a link"),
        ("virtual", "from other files"),
        ("stored elsewhere", "from other files"),
        ("endless", "more points"),
        ("endless integers", "more points"),
        ("a group", "no dataset"),
    ],
)
def test_links_and_endless_points_of_hdf5(h5, tmp_path, kind, told):
    h5py, target, other = h5
    with h5py.File(target, "w") as file:
        if kind == "external":
            file["coordinates"] = h5py.ExternalLink(str(other), "coordinates")
        elif kind == "soft":
            file["points"] = np.zeros((1, 2))
            file["coordinates"] = h5py.SoftLink("/points")
        elif kind == "soft, out":
            file["out"] = h5py.ExternalLink(str(other), "/")
            file["coordinates"] = h5py.SoftLink("/out/coordinates")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((2, 2), "i8")
            layout[:] = h5py.VirtualSource(str(other), "coordinates", (2, 2))
            file.create_virtual_dataset("coordinates", layout)
        elif kind == "stored elsewhere":
            raw = tmp_path / "raw.bin"
            np.array([[1, 2], [3, 4]]).tofile(raw)
            file.create_dataset(
                "coordinates", (2, 2), "i8", external=[(str(raw), 0, 32)]
            )
        elif kind == "a group":
            file.create_group("coordinates")
        else:
            dtype = "i8" if "integers" in kind else "f8"
            file.create_dataset("coordinates", (10**12, 2), dtype, chunks=(1024, 2))
    with pytest.raises(ValueError, match=rf"positive/0\.h5.*{told}"):
        datasets.load_bcdata(tmp_path)


def test_endless_points_of_an_endless_image(h5, tmp_path, monkeypatch):
    h5py, target, _ = h5
    monkeypatch.setattr("psmlearn.datasets._bcdata.read_size", lambda _: (10**7, 10**7))
    with h5py.File(target, "w") as file:
        file.create_dataset("coordinates", (10**12, 2), "f8", chunks=(1024, 2))
    with pytest.raises(ValueError, match=r"positive/0\.h5.*more points.*4194304"):
        datasets.load_bcdata(tmp_path)


CHUNKS = {
    "one": ({"chunks": (2**29, 2)}, r"chunks of \(536870912, 2\)"),
    "wide": ({"chunks": (8, 2**27)}, r"chunks of \(8, 134217728\)"),
    "tiny": ({"chunks": (1, 1), "shape": (9000, 2)}, "18000 chunks"),
    "bits": ({"chunks": (64, 2), "scaleoffset": 3, "dtype": "i4"}, "filters"),
    "gzip": ({"chunks": (64, 2), "compression": "gzip"}, None),
    "lzf": ({"chunks": (64, 2), "compression": "lzf", "fletcher32": True}, None),
    "all": (
        {
            "chunks": (5, 1),
            "compression": "gzip",
            "shuffle": True,
            "fletcher32": True,
        },
        None,
    ),
    "none": ({"chunks": (3, 2)}, None),
}


@pytest.mark.parametrize("kind", CHUNKS)
def test_chunks_of_hdf5(h5, tmp_path, kind):
    h5py, target, _ = h5
    options, told = CHUNKS[kind]
    image = tmp_path / "images" / "train" / "0.png"
    write_image(image, np.zeros((120, 130), np.uint8))
    settings = {"shape": (11, 2), "dtype": "f8", "maxshape": (None, None)} | options
    with h5py.File(target, "w") as file:
        dataset = file.create_dataset("coordinates", **settings)
        if told is None or kind in ("tiny", "bits"):
            dataset[...] = np.arange(dataset.size).reshape(dataset.shape) % 50
    if told is None:
        points = datasets.load_bcdata(tmp_path).points[0]
        assert points[:11, :2].tolist() == [[2 * i + 1, 2 * i] for i in range(11)]
        return
    with pytest.raises(ValueError, match=rf"0\.h5.*{told}"):
        datasets.load_bcdata(tmp_path)


@pytest.mark.parametrize("n_packed", [2_000, 2**27])
def test_chunks_of_hdf5_that_unpack_to_more(h5, tmp_path, n_packed):
    h5py, target, _ = h5
    packed = zlib.compress(bytes(n_packed), 9)
    with h5py.File(target, "w") as file:
        dataset = file.create_dataset(
            "coordinates", (9, 2), "u1", chunks=(700, 2), maxshape=(None, 2),
            compression="gzip",
        )  # fmt: skip
        dataset.id.write_direct_chunk((0, 0), packed)
    with pytest.raises(ValueError, match=r"0\.h5.*(unpacks to more|stored bytes)"):
        datasets.load_bcdata(tmp_path)
