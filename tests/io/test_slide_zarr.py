# SPDX-License-Identifier: BSD-3-Clause
"""Slides in zarr, and dask arrays."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

from psmlearn.io import Slide, is_slide, read_image
from tests.slides import picture, reduced, whole

zarr = pytest.importorskip("zarr")
NEW = int(zarr.__version__.split(".")[0]) >= 3
needs_v3 = pytest.mark.skipif(not NEW, reason="needs zarr 3")

IMAGE = picture(300, 420)
PLANES = np.ascontiguousarray(np.moveaxis(IMAGE, -1, 0))


def write_array(folder, array, chunks, *, zarr_format=2):
    options = {"zarr_format": zarr_format} if NEW else {}
    made = zarr.open(
        str(folder), mode="w", shape=array.shape, chunks=chunks, dtype=array.dtype,
        **options,
    )  # fmt: skip
    made[...] = array
    return made


def write_ome(folder, *, zarr_format=2, unit="micrometer", factors=(1, 2, 8), size=0.5):
    options = {"zarr_format": zarr_format} if NEW else {}
    group = zarr.open_group(str(folder), mode="w", **options)
    datasets = []
    for level, factor in enumerate(factors):
        part = np.moveaxis(reduced(IMAGE, factor), -1, 0)
        write_array(folder / str(level), part, (3, 64, 80), zarr_format=zarr_format)
        scale = [1.0, size * factor, size * factor]
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": n, "type": "space", "unit": unit} for n in "yx"]
    told = {"multiscales": [{"axes": axes, "datasets": datasets}]}
    group.attrs.update(told if zarr_format == 2 else {"ome": told | {"version": "0.5"}})
    return folder


@pytest.fixture(params=[2, pytest.param(3, marks=needs_v3)])
def ome(tmp_path, request):
    return write_ome(tmp_path / "slide.ome.zarr", zarr_format=request.param)


def test_ome_zarr(ome):
    with Slide(ome) as slide:
        assert slide.name == "slide.ome.zarr" and slide.path == str(ome)
        assert (slide.shape, slide.n_channels, slide.dtype) == ((300, 420), 3, np.uint8)
        assert slide.pixel_size == 0.5
        assert [lv.height for lv in slide.levels] == [300, 150, 37]
        np.testing.assert_array_equal(whole(slide.view()), IMAGE)
        np.testing.assert_array_equal(whole(slide.view(1.0)), reduced(IMAGE, 2))
        view = slide.view(1.7)
        np.testing.assert_array_equal(
            view.read(20, 31, 55, 99), whole(view)[20:55, 31:99]
        )
        again = pickle.loads(pickle.dumps(slide))
        np.testing.assert_array_equal(
            again.view().read(9, 9, 80, 90), IMAGE[9:80, 9:90]
        )
    assert is_slide(ome)
    with pytest.raises(ValueError, match=r"folder of zarr; read it with.*Slide"):
        read_image(ome)


@pytest.mark.parametrize("unit, size", [("nanometer", 500), ("millimeter", 5e-4)])
def test_units(tmp_path, unit, size):
    with Slide(write_ome(tmp_path / "a.zarr", unit=unit, size=size)) as slide:
        assert slide.pixel_size == pytest.approx(0.5)


def test_no_unit_is_no_pixel_size(tmp_path):
    with Slide(write_ome(tmp_path / "a.zarr", unit=None)) as slide:
        assert slide.pixel_size is None


def test_as_bioformats2raw_lays_it_out(tmp_path):
    options = {"zarr_format": 2} if NEW else {}
    zarr.open_group(str(tmp_path / "raw.zarr"), mode="w", **options)
    write_ome(tmp_path / "raw.zarr" / "0")
    with Slide(tmp_path / "raw.zarr") as slide:
        assert slide.pixel_size == 0.5 and len(slide.levels) == 3


@pytest.mark.parametrize(
    "array, chunks",
    [
        (IMAGE, (64, 64, 3)),
        (IMAGE, (50, 420, 1)),
        (PLANES, (1, 128, 128)),
        (IMAGE[..., 0], (64, 64)),
        (IMAGE[..., 1].astype(np.float32) / 255, (301, 500)),
    ],
)
def test_plain_arrays(tmp_path, array, chunks):
    made = write_array(tmp_path / "a.zarr", array, chunks)
    expected = np.moveaxis(array, 0, -1) if array is PLANES else array
    expected = expected.reshape(300, 420, -1)
    for source in (tmp_path / "a.zarr", made):
        with Slide(source, pixel_size=0.25) as slide:
            np.testing.assert_array_equal(whole(slide.view()), expected)
            assert slide.view(0.5).shape == (150, 210)
            again = pickle.loads(pickle.dumps(slide))
            np.testing.assert_array_equal(whole(again.view()), expected)


@needs_v3
def test_shards(tmp_path):
    made = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=IMAGE.shape, chunks=(32, 32, 3),
        shards=(128, 128, 3), dtype="u1",
    )  # fmt: skip
    made[...] = IMAGE
    with Slide(tmp_path / "a.zarr") as slide:
        np.testing.assert_array_equal(whole(slide.view()), IMAGE)


def chunk_files(folder):
    """Return the files of chunks of level 0, by size the largest first."""
    found = [
        os.path.join(base, name)
        for base, _, names in os.walk(folder / "0")
        for name in names
        if not name.startswith(".z") and name != "zarr.json"
    ]
    return sorted(found, key=lambda path: (-os.path.getsize(path), path))


def test_chunks_that_are_damaged_or_missing_are_white_and_told(ome):
    missing, damaged = chunk_files(ome)[:2]
    os.unlink(missing)
    with open(damaged, "r+b") as file:
        file.write(b"\xff" * 200)
    with Slide(ome) as slide:
        found = whole(slide.view())
        white = (found == 255).all(axis=-1)
        assert 64 * 80 <= white.sum() <= 2 * 64 * 80
        np.testing.assert_array_equal(found[~white], IMAGE[~white])
        told = " ".join(slide.problems)
        assert "never written" in told and "damaged" in told
        assert len(slide.problems) == 2
        whole(slide.view())
        assert len(slide.problems) == 2


def test_chunks_of_labels_that_are_missing_are_zero(tmp_path):
    made = write_array(tmp_path / "a.zarr", np.zeros((100, 90), np.int32), (32, 32))
    made[:20, :20] = 5
    with Slide(tmp_path / "a.zarr") as slide:
        assert whole(slide.view()).sum() == 5 * 400 and slide.problems == []


def test_a_missing_level_is_told(ome):
    shutil.rmtree(ome / "1")
    with pytest.raises(ValueError, match=r"slide\.ome\.zarr' lacks what.*Copy it"):
        Slide(ome)


def test_broken_metadata_is_refused(ome):
    name = ".zattrs" if (ome / ".zattrs").exists() else "zarr.json"
    (ome / name).write_text("{ no json")
    with pytest.raises(ValueError, match=r"slide\.ome\.zarr' is a broken zarr"):
        Slide(ome)


def test_a_group_without_levels_is_refused(tmp_path):
    options = {"zarr_format": 2} if NEW else {}
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", **options)
    with pytest.raises(ValueError, match="without OME metadata"):
        Slide(tmp_path / "a.zarr")
    group.attrs["multiscales"] = [{"datasets": []}]
    with pytest.raises(ValueError, match="no level"):
        Slide(tmp_path / "a.zarr")


def test_volumes_and_huge_chunks_are_refused(tmp_path):
    write_array(
        tmp_path / "a.zarr", np.zeros((2, 1, 3, 8, 8), np.uint8), (1, 1, 3, 8, 8)
    )
    with pytest.raises(ValueError, match="a slide is one plane"):
        Slide(tmp_path / "a.zarr")
    told = {
        "zarr_format": 2, "shape": [20000, 20000], "chunks": [20000, 20000],
        "dtype": "|u1", "compressor": None, "fill_value": 0, "order": "C",
        "filters": None,
    }  # fmt: skip
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / ".zarray").write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"chunks of 381 MB.*write it in chunks"):
        Slide(tmp_path / "b.zarr")


def test_fingerprints_of_folders(ome):
    with Slide(ome) as slide:
        before = slide.fingerprint()
        assert slide.fingerprint() == before
        (ome / "0" / "more").write_text("new")
        assert slide.fingerprint() != before


def test_a_missing_zarr_is_named(tmp_path):
    ome = write_ome(tmp_path / "a.zarr")
    code = (
        "import sys; sys.modules['zarr'] = None\n"
        "from psmlearn.io import Slide\n"
        f"Slide({str(ome)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install psmlearn[wsi]" in done.stderr


# dask


def test_dask_arrays():
    da = pytest.importorskip("dask.array")
    lazy = da.from_array(IMAGE, chunks=((100, 50, 150), (33, 387), (2, 1)))
    slide = Slide(lazy, pixel_size=0.25)
    assert (slide.name, slide.path, slide.shape) == ("dask array", None, (300, 420))
    np.testing.assert_array_equal(whole(slide.view()), IMAGE)
    np.testing.assert_array_equal(
        slide.view().read(90, 20, 160, 50), IMAGE[90:160, 20:50]
    )
    again = pickle.loads(pickle.dumps(slide))
    np.testing.assert_array_equal(whole(again.view(0.5)), whole(slide.view(0.5)))
    assert again.fingerprint() == slide.fingerprint()


def test_dask_chunks_are_computed_once_and_failures_are_white():
    da = pytest.importorskip("dask.array")
    computed = []

    def block(part, block_info=None):
        place = block_info[0]["chunk-location"][:2]
        computed.append(place)
        if place == (1, 1):
            raise OSError("the archive is gone")
        return part

    lazy = da.from_array(IMAGE, chunks=(100, 140, 3))
    lazy = lazy.map_blocks(block, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    slide = Slide(lazy)
    first = slide.view().read(50, 50, 250, 300)
    np.testing.assert_array_equal(first, slide.view().read(50, 50, 250, 300))
    assert len(computed) == len(set(computed)) == 9
    assert (first[50:150, 90:230] == 255).all()
    np.testing.assert_array_equal(first[:50], IMAGE[50:100, 50:300])
    assert len(slide.problems) == 1 and "the archive is gone" in slide.problems[0]


def test_dask_arrays_that_are_no_slides():
    da = pytest.importorskip("dask.array")
    with pytest.raises(ValueError, match=r"chunks of up to 400 MB.*rechunk"):
        Slide(da.zeros((20480, 20480), dtype=np.uint8, chunks=-1))
    lazy = da.from_array(IMAGE[..., 0], chunks=100)
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        Slide(lazy[lazy[:, 0] > 100])
