# SPDX-License-Identifier: BSD-3-Clause
"""Slides: levels by pixel size, boxes without seams, what is kept and what is told."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from psmlearn.exceptions import PixelSizeWarning
from psmlearn.io import Slide, _slide_cache, is_slide, write_image
from psmlearn.io._slide_cache import TileCache
from tests.slides import picture, reduced, whole, write_pyramid

IMAGE = picture(411, 533)


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "pyramid.tif"
    write_pyramid(path, IMAGE, resolution=(40000, 40000), resolutionunit="CENTIMETER")
    return path


def boxes(shape, count, seed=0):
    """Draw boxes of a view, single pixels and edges among them."""
    height, width = shape
    yield 0, 0, 1, 1
    yield height - 1, width - 1, height, width
    yield 0, width // 2, height, width
    rng = np.random.default_rng(seed)
    for _ in range(count):
        top, left = int(rng.integers(height)), int(rng.integers(width))
        yield (
            top,
            left,
            *(
                int(rng.integers(first + 1, last + 1))
                for first, last in ((top, height), (left, width))
            ),
        )


def test_what_a_slide_tells(pyramid):
    with Slide(pyramid) as slide:
        assert (slide.name, slide.path) == ("pyramid.tif", str(pyramid))
        assert (slide.shape, slide.n_channels, slide.dtype) == ((411, 533), 3, np.uint8)
        assert slide.pixel_size == pytest.approx(0.25)
        assert [(lv.height, lv.width) for lv in slide.levels] == [
            (411, 533), (102, 133), (25, 33),
        ]  # fmt: skip
        assert [lv.downsample for lv in slide.levels] == [1, 533 / 133, 533 / 33]
        assert slide.problems == [] and slide.associated == ()
        assert "411" in repr(slide) and "0.25" in repr(slide.view())


def test_full_resolution_is_as_stored(pyramid):
    with Slide(pyramid) as slide:
        view = slide.view()
        assert (view.shape, view.pixel_size, view.downsample) == ((411, 533), 0.25, 1)
        for box in boxes(view.shape, 30):
            part = view.read(*box)
            np.testing.assert_array_equal(part, IMAGE[box[0] : box[2], box[1] : box[3]])
            assert part.flags.c_contiguous and part.flags.writeable


@pytest.mark.parametrize("wish", [0.26, 0.3, 0.5, 0.61803, 1.0, 1.7, 4.2, 9.0])
def test_a_box_is_a_crop_of_the_whole_view(pyramid, wish):
    with Slide(pyramid) as slide:
        view = slide.view(wish)
        full = whole(view)
        assert full.shape == (*view.shape, 3)
        for box in boxes(view.shape, 25, seed=int(wish * 100)):
            np.testing.assert_array_equal(
                view.read(*box), full[box[0] : box[2], box[1] : box[3]]
            )


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32, "f8"])
@pytest.mark.parametrize("wish", [0.17, 0.25, 0.4, 0.75, 1.37])
def test_boxes_of_other_dtypes_are_crops(dtype, wish):
    rng = np.random.default_rng(1)
    array = rng.normal(300, 5000, (150, 173)).clip(0, None).astype(dtype)
    slide = Slide(array, pixel_size=0.25)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PixelSizeWarning)
        view = slide.view(wish)
    full = whole(view)
    assert full.dtype == slide.dtype == array.dtype
    for box in boxes(view.shape, 15):
        np.testing.assert_array_equal(
            view.read(*box), full[box[0] : box[2], box[1] : box[3]]
        )


def test_bands_of_a_large_box_do_not_show():
    """A box that is reduced in several bands equals its parts."""
    array = picture(2100, 1900)
    view = Slide(array, pixel_size=0.25).view(0.35)
    full = whole(view)
    strips = [
        view.read(top, 0, min(top + 97, view.shape[0]), view.shape[1])
        for top in range(0, view.shape[0], 97)
    ]
    np.testing.assert_array_equal(np.concatenate(strips), full)


@pytest.mark.parametrize("factor", [2, 3, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_whole_factors_average_blocks(factor, dtype):
    array = picture(120, 91)
    scale = 257 if dtype == np.uint16 else 1
    array = array.astype(dtype) * dtype(scale)
    view = Slide(array, pixel_size=0.2).view(0.2 * factor)
    height, width = (side // factor for side in array.shape[:2])
    blocks = array[: height * factor, : width * factor].astype(np.float64)
    means = blocks.reshape(height, factor, width, factor, 3).mean(axis=(1, 3))
    found = view.read(0, 0, height, width)
    # Weights are multiples of 1/4096, and results are rounded once more.
    slack = 0.6 + 1e-3 * scale * 255
    assert np.abs(found.astype(np.float64) - means).max() <= slack


def test_a_reduction_keeps_the_mean_and_places():
    array = np.zeros((100, 100), np.uint8)
    array[30:50, 60:80] = 240
    view = Slide(array, pixel_size=0.25).view(0.25 * 2.5)
    found = whole(view)[..., 0]
    assert view.shape == (40, 40)
    assert found[12:20, 24:32].min() == 240
    assert found.sum() == 240 * 64


def test_the_level_within_five_per_cent_is_taken(pyramid):
    with Slide(pyramid) as slide:
        own = 0.25 * 533 / 133
        for wish in (own / 1.049, own * 1.049):
            view = slide.view(wish)
            assert view.level == 1 and view.pixel_size == pytest.approx(own)
            assert view.downsample == slide.levels[1].downsample
            np.testing.assert_array_equal(whole(view), reduced(IMAGE, 4))
        assert slide.view(own * 1.08).pixel_size == pytest.approx(own * 1.08)
        assert slide.view(own * 1.08).level == 1
        assert slide.view(own / 1.08).level == 0


def test_finer_than_the_slide_is_interpolated_with_a_warning():
    array = np.array([[0, 100], [200, 40]], np.uint8)
    slide = Slide(array, pixel_size=0.5)
    with pytest.warns(PixelSizeWarning, match="0.25 is finer"):
        view = slide.view(0.25)
    assert view.shape == (4, 4) and view.downsample == 0.5
    found = whole(view)[..., 0]
    assert found[0, 0] == 0 and found[0, 3] == 100 and found[3, 0] == 200
    assert found[0].tolist() == [0, 25, 75, 100]


def test_a_slide_without_pixel_size_has_one_view():
    slide = Slide(IMAGE)
    assert slide.pixel_size is None and slide.view().pixel_size is None
    with pytest.raises(ValueError, match=r"does not tell its pixel size.*pixel_size="):
        slide.view(0.5)


def test_a_pixel_size_against_the_file_is_told_and_wins(pyramid):
    with pytest.warns(PixelSizeWarning, match=r"0.5 goes against 'pyramid.tif'"):
        slide = Slide(pyramid, pixel_size=0.5)
    assert slide.pixel_size == 0.5
    # Opening it again says nothing more.
    again = pickle.loads(pickle.dumps(slide))
    assert again.pixel_size == 0.5
    slide.close()
    again.close()
    Slide(pyramid, pixel_size=0.26).close()  # 4 % go unsaid


@pytest.mark.parametrize("size", [0, -1, 0.001, 21, np.nan])
def test_impossible_pixel_sizes_are_refused(size):
    with pytest.raises(ValueError, match="pixel_size must be"):
        Slide(IMAGE, pixel_size=size)
    with pytest.raises(ValueError, match="pixel_size must be"):
        Slide(IMAGE, pixel_size=0.25).view(size)


@pytest.mark.parametrize(
    "box", [(0, 0, 412, 5), (-1, 0, 5, 5), (5, 0, 5, 9), (3, 9, 5, 2), (0, 0, 5, 534)]
)
def test_boxes_beyond_the_view_are_refused(box):
    with pytest.raises(ValueError, match="not within the view of 'array', 411 x 533"):
        Slide(IMAGE).view().read(*box)


def test_boxes_are_whole_numbers():
    with pytest.raises(TypeError, match="whole numbers"):
        Slide(IMAGE).view().read(0, 0, 1.5, 2)


def test_thumbnails_are_means_of_the_best_level(pyramid):
    with Slide(pyramid) as slide:
        small = slide.thumbnail(100)
        assert small.shape == (77, 100, 3) and small.dtype == np.uint8
        assert np.abs(small.mean((0, 1)) - IMAGE.mean((0, 1))).max() < 1
        np.testing.assert_array_equal(slide.thumbnail(133), reduced(IMAGE, 4))
        np.testing.assert_array_equal(slide.thumbnail(5000), IMAGE)
        assert slide.thumbnail(1).shape == (1, 1, 3)
        with pytest.raises(ValueError, match="max_size"):
            slide.thumbnail(0)


@pytest.mark.parametrize(
    "array, expected",
    [
        (np.array([[0, 65535, 32768]], np.uint16), [0, 255, 128]),
        (np.array([[0.0, 1.0, 0.5]], np.float32), [0, 255, 128]),
        (np.array([[-2.0, 2.0, np.nan]]), [0, 255, 128]),
        (np.array([[-5, 5, 0]], np.int16), [0, 255, 128]),
        (np.array([[7, 7]], np.int32), [0, 0]),
        (np.array([[True, False]]), [255, 0]),
    ],
)
def test_thumbnails_have_eight_bits(array, expected):
    found = Slide(array).thumbnail()
    assert found.dtype == np.uint8
    valid = ~np.isnan(array[0].astype(float))
    np.testing.assert_array_equal(found[0, valid, 0], np.array(expected)[valid])


def test_a_slide_of_one_row():
    array = np.arange(40000, dtype=np.uint16)[np.newaxis]
    slide = Slide(array, pixel_size=0.25)
    assert slide.shape == (1, 40000) and slide.n_channels == 1
    view = slide.view(1.0)
    assert view.shape == (1, 10000)
    assert view.read(0, 5000, 1, 5003)[0, :, 0].tolist() == [20002, 20006, 20010]
    assert slide.thumbnail().shape == (1, 2048, 1)


def test_alpha_is_dropped_and_what_is_transparent_is_white():
    array = np.full((4, 5, 4), 100, np.uint8)
    array[1, 2, 3] = 0
    slide = Slide(array)
    found = whole(slide.view())
    assert slide.n_channels == 3 and (found[1, 2] == 255).all()
    assert (found.reshape(-1, 3).sum(axis=0) == 19 * 100 + 255).all()
    assert (array[1, 2, :3] == 100).all(), "the caller's array is as it was"


@pytest.mark.parametrize(
    "array, text",
    [
        (np.zeros(5), r"shape \(5,\)"),
        (np.zeros((3, 40, 50)), "channels come last"),
        (np.zeros((4, 5, 2), np.uint8), "expected 1 or 3 channels"),
        (np.zeros((0, 5)), "at least one pixel"),
        (np.array([["a"]]), "dtype <U1"),
        (np.zeros((2, 2), complex), "dtype complex128"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(array, text):
    with pytest.raises(ValueError, match=text):
        Slide(array)


@pytest.mark.parametrize("source", [None, 5, [np.zeros((2, 2))], {"a": 1}])
def test_other_things_are_refused(source):
    with pytest.raises(TypeError, match="a slide is a path, a numpy, zarr or dask"):
        Slide(source)


def test_reads_are_the_callers_own():
    array = picture(20, 30)
    slide = Slide(array)
    part = slide.view().read(0, 0, 20, 30)
    part[:] = 0
    np.testing.assert_array_equal(whole(slide.view()), array)


def test_slides_are_pickled_by_path_and_by_array(pyramid):
    with Slide(pyramid) as slide:
        data = pickle.dumps(slide)
        assert len(data) < 1000
        with pickle.loads(data) as again:
            assert again.pixel_size == slide.pixel_size and again.path == slide.path
            np.testing.assert_array_equal(whole(again.view()), IMAGE)
    again = pickle.loads(pickle.dumps(Slide(IMAGE, pixel_size=0.5)))
    assert again.pixel_size == 0.5
    np.testing.assert_array_equal(whole(again.view()), IMAGE)


def test_memory_maps_are_pickled_by_path(tmp_path):
    path = tmp_path / "slide.npy"
    np.save(path, IMAGE)
    mapped = np.load(path, mmap_mode="r")
    slide = Slide(mapped)
    assert slide.name == "slide.npy" and slide.fingerprint()["size"] > IMAGE.nbytes
    data = pickle.dumps(slide)
    assert len(data) < 2000
    np.testing.assert_array_equal(whole(pickle.loads(data).view()), IMAGE)
    # A part of a map is not the map.
    part = pickle.loads(pickle.dumps(Slide(mapped[100:200])))
    np.testing.assert_array_equal(whole(part.view()), IMAGE[100:200])


def test_fingerprints_tell_a_slide_that_changed(tmp_path):
    path = tmp_path / "slide.tif"
    write_pyramid(path, IMAGE)
    with Slide(path) as slide:
        before = slide.fingerprint()
        assert before == slide.fingerprint() == json.loads(json.dumps(before))
        with open(path, "ab") as file:
            file.write(b"more")
        assert slide.fingerprint() != before
    other = IMAGE.copy()
    assert Slide(other).fingerprint() == Slide(IMAGE).fingerprint()
    other[0, 0] += 1
    assert Slide(other).fingerprint() != Slide(IMAGE).fingerprint()


def test_a_closed_slide_says_so(pyramid):
    slide = Slide(pyramid)
    view = slide.view()
    slide.close()
    slide.close()
    with pytest.raises(ValueError, match="'pyramid.tif' is closed"):
        view.read(0, 0, 1, 1)


def test_many_threads_read_the_same(pyramid):
    with Slide(pyramid) as slide:
        views = [slide.view(), slide.view(0.4), slide.view(1.0)]
        truth = [whole(view) for view in views]
    with Slide(pyramid) as slide, ThreadPoolExecutor(8) as pool:
        views = [slide.view(), slide.view(0.4), slide.view(1.0)]

        def check(number):
            which = number % 3
            view = views[which]
            for box in boxes(view.shape, 6, seed=number):
                part = truth[which][box[0] : box[2], box[1] : box[3]]
                np.testing.assert_array_equal(view.read(*box), part)

        list(pool.map(check, range(24)))


def test_neighbouring_boxes_decode_no_tile_twice(pyramid, monkeypatch):
    from psmlearn.io._slide_pages import PageGrid

    decoded = []
    fetch = PageGrid._decode

    def counted(self, page, plane, row, column):
        decoded.append((row, column))
        return fetch(self, page, plane, row, column)

    monkeypatch.setattr(PageGrid, "_decode", counted)
    with Slide(pyramid) as slide:
        view = slide.view()
        for top in range(0, 411, 50):
            for left in range(0, 533, 50):
                view.read(top, left, min(411, top + 90), min(533, left + 90))
    assert len(decoded) == len(set(decoded)) == 7 * 9


def test_thumbnails_decode_large_tiles_seldom(monkeypatch):
    """Of chunks that do not all fit in the cache."""
    da = pytest.importorskip("dask.array")
    computed = []

    def block(block_info=None):
        computed.append(1)
        (low, high), (first, last) = block_info[None]["array-location"][:2]
        return np.full((high - low, last - first, 3), 50, np.uint8)

    monkeypatch.setattr(_slide_cache.TILES, "max_bytes", 9_000_000)
    chunks = ((1200,) * 3, (1200,) * 3, (3,))
    lazy = da.map_blocks(block, chunks=chunks, dtype=np.uint8)
    assert (Slide(lazy).thumbnail(200) == 50).all()
    assert len(computed) <= 4 * 9  # a chunk a row would be 600


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_reads_by_itself(tmp_path):
    path = tmp_path / "slide.tif"
    write_pyramid(path, IMAGE)
    code = (
        "import os, sys, numpy as np\n"
        "from psmlearn.io import Slide\n"
        f"slide = Slide({str(path)!r})\n"
        "boxes = [(i, 3 * i, i + 200, 3 * i + 200) for i in range(0, 100, 3)]\n"
        "truth = [slide.view().read(*box) for box in boxes]\n"
        "from psmlearn.io._slide_cache import TILES\n"
        "TILES.max_bytes = 0; TILES.forget()\n"
        "child = os.fork()\n"
        "for _ in range(2):\n"
        "    for box, part in zip(boxes, truth):\n"
        "        assert (slide.view().read(*box) == part).all()\n"
        "assert slide.problems == []\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_disk_that_fails_is_no_damaged_tile(pyramid, monkeypatch):
    import tifffile

    with Slide(pyramid) as slide:
        view = slide.view()
        view.read(0, 0, 10, 10)

        def fails(self, *_):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(tifffile.tifffile.FileHandle, "read", fails)
        with pytest.raises(OSError, match="Input/output"):
            view.read(300, 300, 310, 310)
        monkeypatch.undo()
        np.testing.assert_array_equal(
            view.read(300, 300, 310, 310), IMAGE[300:310, 300:310]
        )


def test_the_cache_is_bounded_in_bytes():
    cache = TileCache(1000)
    for number in range(20):
        got = cache.get((0, number), lambda n=number: np.full(300, n, np.uint8))
        assert got[0] == number and cache.n_bytes <= 1000
    assert cache.n_bytes == 900
    made = []

    def make():
        made.append(1)
        return np.zeros(2000, np.uint8)

    cache.get((0, "large"), make)
    cache.get((0, "large"), make)
    assert len(made) == 2 and cache.n_bytes == 900
    cache.get((1, 0), lambda: np.zeros(100, np.uint8))
    cache.drop(0)
    assert cache.n_bytes == 100


def test_a_tile_that_fails_is_made_again():
    cache = TileCache(1000)

    def fail():
        raise MemoryError("no room")

    with pytest.raises(MemoryError):
        cache.get((0, 0), fail)
    assert cache.get((0, 0), lambda: np.ones(1))[0] == 1


def test_ordinary_images_are_no_slides(tmp_path):
    path = tmp_path / "image.png"
    write_image(path, IMAGE)
    assert not is_slide(path)
    with pytest.raises(ValueError, match=r"is a PNG file.*read_image"):
        Slide(path)
    assert not is_slide(tmp_path)
    with pytest.raises(ValueError, match=r"no zarr, or not its root"):
        Slide(tmp_path)
    for name, data in {"a.tif": b"", "b.tif": b"II*\0junk", "c": b"text"}.items():
        (tmp_path / name).write_bytes(data)
        assert not is_slide(tmp_path / name)
        with pytest.raises(ValueError, match=name):
            Slide(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="nothing.svs"):
        Slide(tmp_path / "nothing.svs")
    assert not is_slide(tmp_path / "nothing.svs")


def test_a_small_pyramid_is_no_slide_by_itself(pyramid, tmp_path):
    assert not is_slide(pyramid)
    named = tmp_path / "pyramid.svs"
    named.write_bytes(pyramid.read_bytes())
    assert is_slide(named)
