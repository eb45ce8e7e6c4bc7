# SPDX-License-Identifier: BSD-3-Clause
"""Folders of images and masks, and the sample image."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from psmlearn.datasets import load_label_folder, load_sample_image
from psmlearn.io import write_image, write_labels


@pytest.fixture
def folder(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name / ".ipynb_checkpoints").mkdir(parents=True)
        (tmp_path / name / ".DS_Store").write_text("")
        (tmp_path / name / "._b.png").write_text("")
        (tmp_path / name / "Thumbs.db").write_text("")
    for index, stem in enumerate(["b", "a 1"]):
        write_image(
            tmp_path / "images" / f"{stem}.png", np.zeros((4, 5 + index, 3), np.uint8)
        )
        write_labels(
            tmp_path / "masks" / f"{stem}.tif",
            np.full((4, 5 + index), index + 7),
        )
    return tmp_path


def test_pairs_by_name(folder):
    for given in (folder, str(folder)):
        data = load_label_folder(given)
        assert data.names == ["a 1", "b"]
        assert [mask.max() for mask in data.masks] == [8, 7]
        assert all(isinstance(path, str) for path in data.images)
    (folder / "masks").rename(folder / "truth")
    assert load_label_folder(folder, masks="truth").masks[1].shape == (4, 5)


def test_missing_masks(folder):
    (folder / "masks" / "b.tif").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 2 images have no mask.*: b;"):
        load_label_folder(folder)
    data = load_label_folder(folder, require_masks=False)
    assert data.masks[1] is None and data.masks[0].max() == 8
    (folder / "masks" / "a 1.tif").unlink()
    assert load_label_folder(folder, require_masks=False).masks is None
    (folder / "masks").rename(folder / "other")
    assert load_label_folder(folder, require_masks=False).masks is None
    with pytest.raises(FileNotFoundError, match="masks"):
        load_label_folder(folder)


def test_what_does_not_fit(folder):
    write_labels(folder / "masks" / "b.tif", np.zeros((9, 9), int))
    with pytest.raises(ValueError, match=r"b.tif.*\(9, 9\).*b.png.*\(4, 5\)"):
        load_label_folder(folder)
    write_labels(folder / "masks" / "b.png", np.zeros((4, 5), int))
    with pytest.raises(ValueError, match=r"two files named 'b'.*b.png.*b.tif"):
        load_label_folder(folder)
    for path in (folder / "images").glob("*.png"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="holds no image"):
        load_label_folder(folder)


def test_the_sample_image_needs_no_download():
    image = load_sample_image()
    assert image.shape == (512, 512, 3) and image.dtype == np.uint8
    assert 100 < image.mean() < 220
    code = (
        "import sys, socket\n"
        "sys.modules['pooch'] = None\n"
        "socket.socket.connect = None\n"
        "from psmlearn.datasets import load_sample_image\n"
        "assert load_sample_image().shape == (512, 512, 3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
