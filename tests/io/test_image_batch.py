# SPDX-License-Identifier: BSD-3-Clause
"""What may be handed in as images and masks, and what comes of it."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.utils import Bunch

from psmlearn.exceptions import NoDataWarning
from psmlearn.io import ImageBatch, _inputs, check_images, check_masks, write_image

RNG = np.random.default_rng(1)
STACK = RNG.integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)


@pytest.fixture
def paths(tmp_path):
    names = [tmp_path / f"{i} ünï.png" for i in range(3)]
    for name, image in zip(names, STACK, strict=True):
        write_image(name, image)
    return names


def test_arrays_lists_and_paths_give_the_same_images(paths):
    batches = [
        check_images(x)
        for x in (
            STACK,
            list(STACK),
            tuple(STACK),
            paths,
            [str(p) for p in paths],
            np.array([str(p) for p in paths]),
            np.array(paths, dtype=object),
            [STACK[0], paths[1], STACK[2] / 255],
        )
    ]
    for batch in batches:
        assert isinstance(batch, ImageBatch) and len(batch) == 3
        assert batch.shapes == [(20, 24)] * 3 and batch.n_channels == 3
        for image, truth in zip(batch, STACK, strict=True):
            assert image.dtype == np.float32 and image.flags.c_contiguous
            np.testing.assert_array_equal(image, (truth / 255).astype(np.float32))
    assert [b.container for b in batches] == ["array"] + ["list"] * 7
    assert batches[3].names[1] == f"image 1 ({paths[1]})"
    assert batches[3].paths[1] == str(paths[1]) and batches[0].paths == [None] * 3


def test_wrap_gives_the_container_back():
    masks = [np.zeros((20, 24), np.int32)] * 3
    assert check_images(STACK).wrap(masks).shape == (3, 20, 24)
    assert isinstance(check_images(list(STACK)).wrap(iter(masks)), list)


def test_items_indices_slices_and_crops():
    batch = check_images(list(STACK))
    np.testing.assert_array_equal(batch[-1], batch[2])
    np.testing.assert_array_equal(batch[np.int64(1)], batch[1])
    np.testing.assert_array_equal(batch.crop(1, 2, 3, 8, 9), batch[1][2:10, 3:12])
    assert [b.names for b in (batch[1:], batch.subset([2, 0]))] == [
        ["image 1", "image 2"],
        ["image 2", "image 0"],
    ]
    with pytest.raises(IndexError):
        batch[3]
    assert not batch.stored(0).flags.writeable


def test_memory_is_shared_not_copied_and_never_written(tmp_path):
    for x in (STACK, STACK / 255, list(STACK)):
        batch = check_images(x)
        assert np.shares_memory(batch.stored(0), x[0])
        before = x[0].copy()
        batch[0][:] = 0.5
        np.testing.assert_array_equal(x[0], before)
    joblib.dump(STACK, tmp_path / "stack.joblib")
    mapped = joblib.load(tmp_path / "stack.joblib", mmap_mode="r")
    np.testing.assert_array_equal(check_images(mapped)[1], check_images(STACK)[1])
    assert check_images(np.asfortranarray(STACK)[:, ::-1])[0].shape == (20, 24, 3)


def test_the_cache_is_bounded_shared_and_left_out_of_pickles(paths):
    image_bytes = STACK[0].nbytes
    batch = check_images(paths, cache_bytes=2 * image_bytes)
    assert batch._cache.n_bytes == 2 * image_bytes
    assert batch._cache.get(str(paths[0])) is None
    np.testing.assert_array_equal(batch.stored(0), STACK[0])
    assert batch._cache.get(str(paths[0])) is not None
    assert batch._cache.n_bytes == 2 * image_bytes
    assert batch.subset([0])._cache is batch._cache
    dumped = pickle.dumps(batch)
    assert len(dumped) < image_bytes
    copy = pickle.loads(dumped)
    assert copy._cache.n_bytes == 0 and copy._cache.max_bytes == 2 * image_bytes
    np.testing.assert_array_equal(copy[2], batch[2])
    assert check_images(paths, cache_bytes=0)._cache.n_bytes == 0


def test_each_file_is_decoded_once(paths, monkeypatch):
    calls = []
    decode = _inputs.decode_image
    monkeypatch.setattr(
        _inputs, "decode_image", lambda path: calls.append(path) or decode(path)
    )
    monkeypatch.setattr("psmlearn.io._batch.decode_image", None)
    batch = check_images(paths)
    for image in batch:
        assert image.shape == (20, 24, 3)
    assert calls == [str(p) for p in paths]


def test_reading_from_threads(paths):
    batch = check_images(paths, cache_bytes=STACK[0].nbytes)
    wrong = []

    def read(seed):
        for index in np.random.default_rng(seed).integers(0, 3, 40):
            if not np.array_equal(batch.stored(index), STACK[index]):
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and batch._cache.n_bytes <= STACK[0].nbytes


def test_a_file_that_changes_after_the_check_is_told(paths):
    batch = check_images(paths, cache_bytes=0)
    write_image(paths[1], STACK[1, :10])
    with pytest.raises(ValueError, match="image 1 .*has changed on disk"):
        batch[1]


class FakeTensor:
    """Stands for a tensor of torch, which this suite does not load."""

    __module__ = "torch"


BAD_COLLECTIONS = [
    (Path("a.png"), TypeError, "list of paths"),
    ("a.png", TypeError, "list of paths"),
    (None, TypeError, "None"),
    (5, TypeError, "int"),
    (FakeTensor(), TypeError, "moveaxis"),
    (sparse.csr_array(np.eye(3)), TypeError, "Sparse data was passed"),
    (Bunch(images=[]), TypeError, r"bunch\.images"),
    ((image for image in STACK), TypeError, "generator.*list"),
    ([], ValueError, "the list is empty"),
    (np.zeros((0, 4, 4, 3)), ValueError, "Found no image"),
    (STACK[0], ValueError, r"3 dimensions.*image\[numpy.newaxis\]"),
    (STACK[0, ..., 0], ValueError, "2 dimensions"),
    (np.zeros(3), ValueError, "1 dimensions"),
    (np.zeros((1, 1, 4, 4, 3)), ValueError, "5 dimensions"),
    (np.array([STACK[0], None], dtype=object), ValueError, r"object array.*list\(X\)"),
    (np.zeros((2, 3, 40, 50)), ValueError, "channels-first"),
    (np.zeros((2, 4, 4, 3), dtype=complex), ValueError, "Complex data not supported"),
    (STACK.astype(int), ValueError, r"astype\(numpy.uint8\)"),
    (np.ma.masked_array(STACK), ValueError, "masked array"),
]


@pytest.mark.parametrize(("images", "error", "message"), BAD_COLLECTIONS)
def test_bad_collections(images, error, message):
    with pytest.raises(error, match=message) as caught:
        check_images(images, caller="Mapper")
    assert str(caught.value).startswith("Mapper: ")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((9, 9, 3), np.nan), "NaN"),
        (np.full((9, 9, 3), np.inf), "infinity"),
        (STACK[0].astype(float), "divide by 255"),
        (STACK[0].astype(np.int64), "uint8"),
        (STACK[0] + 0j, "Complex"),
        (STACK[:1], "4 dimensions"),
        (STACK[0, ..., 0], "1 channel.*expected 3, as in image 0.*gray2rgb"),
        (STACK[0, :0], "is empty"),
        (np.zeros((3, 40, 50)), "channels-first"),
        ([[0.5]], "is a list"),
        (None, "is a NoneType"),
        (3.0, "is a float"),
        (np.float64(3.0), "is a float64"),
        (FakeTensor(), "tensor"),
        (sparse.csr_array(np.eye(3)), "sparse"),
        (np.array(["a"], dtype=object), "object"),
        (np.ma.masked_array(STACK[0]), "masked"),
    ],
)
def test_bad_items_are_named(image, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_images([STACK[0], STACK[1], image])
    assert str(caught.value).startswith("image 2")


def test_all_problems_come_in_one_error():
    bad = [STACK[0]] + [np.full((4, 4, 3), np.nan)] * 7
    with pytest.raises(ValueError, match="7 of 8 images are bad") as caught:
        check_images(bad)
    lines = str(caught.value).splitlines()
    assert len(lines) == 7 and lines[1].startswith("- image 1")
    assert lines[-1] == "- and 2 more"
    with pytest.raises(ValueError, match="image 1: holds NaN"):
        check_images(np.stack([STACK[0] / 255, np.full((20, 24, 3), np.nan)]))


def test_expected_channels():
    assert check_images(STACK, n_channels=3).n_channels == 3
    with pytest.raises(ValueError, match="has 3 channel.*expected 4"):
        check_images(STACK, n_channels=4)


def test_alpha_of_arrays():
    rgba = np.concatenate([STACK, np.full_like(STACK[..., :1], 255)], axis=-1)
    batch = check_images(rgba)
    assert batch.n_channels == 3
    np.testing.assert_array_equal(batch[0], check_images(STACK)[0])
    assert check_images(rgba / 255).n_channels == 4
    rgba[1, 0, 0, 3] = 9
    with pytest.warns(NoDataWarning, match="alpha of 1 image.*image 1"):
        check_images(rgba)
    rgba[1, 0, 0, 3] = 0
    with pytest.warns(NoDataWarning, match="show nothing in parts.*image 1"):
        check_images(rgba)


def test_a_batch_may_be_checked_again(paths):
    batch = check_images(paths)
    again = check_images(batch, n_channels=3)
    assert again.names == batch.names and again.container == "list"
    np.testing.assert_array_equal(again[0], batch[0])
    with pytest.raises(ValueError, match="expected 1"):
        check_images(batch, n_channels=1)


def test_masks_may_have_a_plane_of_classes():
    rng = np.random.default_rng(3)
    masks = rng.integers(-1, 4, (2, 20, 24, 2))
    images = check_images(STACK[:2])
    for y in (masks, list(masks), masks.astype(np.int8)):
        checked = check_masks(y, images)
        assert all(mask.dtype == np.int32 for mask in checked)
        np.testing.assert_array_equal(checked, masks)
    with pytest.raises(ValueError, match="mask 1.*holds the value -2"):
        check_masks([masks[0], masks[1] - (np.arange(2) == 1)])
    with pytest.raises(ValueError, match=r"mask 0.*\(20, 24, 3\)"):
        check_masks([np.repeat(masks[0][..., :1], 3, axis=-1)])
    with pytest.raises(ValueError, match="mask 1 has size"):
        check_masks([masks[0], masks[1][:-1]], images)
    stencil = np.zeros((20, 24, 2), int)
    stencil[2:5, 2:5] = stencil[9:12, 9:12] = 255, 1
    with pytest.raises(ValueError, match="0/255"):
        check_masks([stencil])
    # A class 255 is no stencil.
    check_masks([np.maximum(masks[0], 0).clip(0, 1) * [7, 255]])


def test_two_channels_may_hold_labels():
    rng = np.random.default_rng(3)
    ids, classes = rng.integers(-1, 400, (2, 8, 9)), rng.integers(-1, 3, (2, 8, 9))
    image = rng.random((2, 8, 9, 3))
    stack = np.concatenate([image, ids[..., None], classes[..., None]], axis=-1)
    for channels in [(-2, -1), [3, 4]]:
        batch = check_images(stack, label_channel=channels)
        np.testing.assert_array_equal(batch[1][..., 3], ids[1])
        part = pickle.loads(pickle.dumps(batch)).subset([1]).crop(0, 2, 3, 4, 5)
        np.testing.assert_array_equal(part[..., 4], classes[1, 2:6, 3:8])
        np.testing.assert_array_equal(part[..., :3], batch[1][2:6, 3:8, :3])
    small = np.clip(stack * [255, 255, 255, 0.5, 1], 0, 255).astype(np.uint8)
    batch = check_images(small, label_channel=(3, 4))
    np.testing.assert_array_equal(batch[0][..., 3:], small[0][..., 3:])
    assert batch[0][..., :3].max() <= 1
    with pytest.raises(ValueError, match="divide by 65535"):
        check_images(stack, label_channel=-1)
    with pytest.raises(ValueError, match="no label_channel=7"):
        check_images(stack, label_channel=(-1, 7))
    with pytest.raises(ValueError, match="not labels"):
        check_images(stack + 0.5 * (np.arange(5) == 4), label_channel=(3, 4))


def test_label_channels_and_open_ranges():
    stack = np.concatenate([STACK / 255, np.full((3, 20, 24, 1), 300.0)], axis=-1)
    batch = check_images(stack, label_channel=-1)
    assert (batch[0][..., 3] == 300).all()
    with pytest.raises(ValueError, match="divide"):
        check_images(stack)
    assert check_images(stack - 5, value_range=None)[0].min() < -1


def test_masks_are_checked_against_images():
    images = check_images(list(STACK))
    blocks = np.arange(3 * 5 * 6).reshape(3, 5, 6)
    masks = np.kron(blocks, np.ones((1, 4, 4), int)) % 50
    for given in (masks, list(masks), masks.astype(np.uint16)):
        checked = check_masks(given, images)
        assert all(m.dtype == np.int32 for m in checked)
        np.testing.assert_array_equal(np.stack(checked), masks)
    assert check_masks(np.stack([masks, masks], -1))[0].shape == (20, 24, 2)


def test_a_crop_with_nucleus_255_alone_is_no_stencil():
    mask = np.zeros((20, 24), np.int32)
    mask[3:6, 4:9] = 255
    assert check_masks([mask])[0].max() == 255
    mask[12:15, 4:9] = 255
    with pytest.raises(ValueError, match="0/255 mask"):
        check_masks([mask])


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        (None, TypeError, "None.*expected label images: a list of them"),
        (5, TypeError, "a int; expected label images"),
        (Bunch(masks=[]), TypeError, "a Bunch"),
        ("a.png", ValueError, "1 masks for 2 images"),
        ([], ValueError, "Found no mask"),
        (np.zeros((20, 24), int), ValueError, "1 masks for 2 images"),
        (np.zeros((5, 24, 2), int), ValueError, r"2 pixels wide.*\[mask\]"),
        (np.zeros((2, 20, 24, 3), int), ValueError, r"masks has shape \(2, 20, 24, 3"),
        (np.ma.masked_array(np.zeros((2, 20, 24), int)), ValueError, "masked array"),
        (sparse.csr_array(np.eye(3)), TypeError, "sparse matrix"),
        ([np.zeros((20, 24), int)], ValueError, "1 masks for 2 images"),
        ([np.zeros((20, 24), int)] * 3, ValueError, "3 masks for 2 images"),
        (
            [np.zeros((20, 24), int), np.zeros((24, 20), int)],
            ValueError,
            r"mask 1 has size \(24, 20\).*image 1 has \(20, 24\)",
        ),
        (
            [np.zeros((20, 24), int), np.full((20, 24), 255, np.uint8)],
            ValueError,
            "mask 1 is a 0/255 mask",
        ),
        ([np.zeros((20, 24))] * 2, ValueError, "2 of 2 masks are bad"),
        ([np.full((20, 24), -3), np.eye(20, 24)], ValueError, "mask 0 holds .*-3"),
        ([[[0]], np.zeros((20, 24), int)], ValueError, r"mask 0 has size \(1, 1\)"),
        ([[[0], [1, 2]], np.zeros((20, 24), int)], ValueError, "mask 0 is no array"),
        ([FakeTensor(), np.zeros((20, 24), int)], ValueError, r"mask 0.*tensor\.cpu"),
        ([None, np.zeros((20, 24), int)], ValueError, "mask 0 is a NoneType"),
        ([np.zeros((20, 24), int), "none.tif"], ValueError, "mask 1 .*No such"),
    ],
)
def test_bad_masks(masks, error, message):
    images = check_images(list(STACK[:2]))
    with pytest.raises(error, match=message) as caught:
        check_masks(masks, images, caller="Segmenter")
    assert str(caught.value).startswith("Segmenter: ")
