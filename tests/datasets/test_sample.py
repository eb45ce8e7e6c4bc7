# SPDX-License-Identifier: BSD-3-Clause
"""The pictures that come with psmlearn and scikit-image."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.measure import label

from psmlearn.datasets import load_sample_image, load_sample_images

# Of the pixels and ids of the originals, as Pillow reads them.
ORIGINALS = {
    "he_1": ("69dffb2db8b26057", "decc5ae37f09434a"),
    "he_2": ("76cc58d1eeea6cfd", "aaccf28dc2addf14"),
    "he_3": ("b7f1c13a1779a3c2", "1018dc9f354c2b8a"),
}


def _digest(array, dtype):
    data = np.ascontiguousarray(array.astype(dtype)).tobytes()
    return hashlib.sha256(data).hexdigest()[:16]


def test_the_fields_are_those_of_the_originals():
    data = load_sample_images()
    assert data.names == list(ORIGINALS)
    for name, image, mask in zip(data.names, data.images, data.masks, strict=True):
        assert image.shape == (256, 320, 3) and image.dtype == np.uint8
        assert mask.shape == (256, 320) and mask.dtype == np.int32
        assert (_digest(image, "u1"), _digest(mask, "<u2")) == ORIGINALS[name]


def test_masks_lie_on_what_is_dark_and_are_numbered():
    data = load_sample_images()
    for image, mask in zip(data.images, data.masks, strict=True):
        ids = np.unique(mask)
        assert ids.tolist() == list(range(ids.size))
        # Haematoxylin takes up red light; erythrocytes do not.
        assert image[mask > 0, 0].mean() < image[mask == 0, 0].mean() - 20
        # One piece each, but for a few pixels.
        for each in ids[1:]:
            pieces = np.bincount(label(mask == each).ravel())[1:]
            assert pieces.max() > 0.95 * pieces.sum()


def test_paths_are_images_like_others():
    data = load_sample_images()
    for path, image in zip(data.filenames, data.images, strict=True):
        assert Path(path).is_absolute() and Path(path).suffix == ".webp"
        with Image.open(path) as file:
            np.testing.assert_array_equal(np.asarray(file), image)


def test_source_licence_and_pixel_size_are_told():
    data = load_sample_images()
    assert data.groups is None and data.pixel_size == 0.18
    folder = Path(data.filenames[0]).parent
    note = (folder / "README.md").read_text(encoding="utf-8")
    for text in (data.DESCR, note):
        assert "CC0 1.0" in text and "2018 Data Science Bowl" in text
        assert "do not tell the size of a pixel" in text
        assert all(each in text for each in ("4193474b2f", "57bd029b19", "8f27ebc741"))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000


def test_the_pixel_size_is_plausible_for_what_is_outlined():
    data = load_sample_images()
    diameters = []
    for mask in data.masks:
        inner = set(range(1, mask.max() + 1))
        inner -= set(np.r_[mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        diameters += [2 * np.sqrt((mask == each).sum() / np.pi) for each in inner]
    assert 33 < np.median(diameters) < 35  # as DESCR says
    assert 4.7 < np.median(diameters) * data.pixel_size < 7.0


def test_each_call_gives_arrays_of_its_own():
    load_sample_images().images[0][:] = 0
    assert load_sample_images().images[0].any()
    assert load_sample_image("he_1").any()


@pytest.mark.parametrize("name", list(ORIGINALS))
def test_one_by_name(name):
    assert _digest(load_sample_image(name), "u1") == ORIGINALS[name][0]


@pytest.mark.parametrize("name", ["he_4", "he_1.webp", ""])
def test_other_names_are_refused_with_those_that_are(name):
    with pytest.raises(ValueError, match=r"name is '.*'; .*he_1.*immunohistochemistry"):
        load_sample_image(name)


def test_a_name_is_a_text():
    with pytest.raises(TypeError, match="name is 1; expected one of"):
        load_sample_image(1)


def test_nothing_is_downloaded():
    image = load_sample_image()
    assert image.shape == (512, 512, 3) and image.dtype == np.uint8
    assert 100 < image.mean() < 220
    code = (
        "import sys, socket\n"
        "sys.modules['pooch'] = None\n"
        "socket.socket.connect = None\n"
        "from psmlearn.datasets import load_sample_image, load_sample_images\n"
        "assert load_sample_image().shape == (512, 512, 3)\n"
        "assert len(load_sample_images().images) == 3\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
