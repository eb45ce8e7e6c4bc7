# SPDX-License-Identifier: BSD-3-Clause
"""Black borders of brightfield images."""

from __future__ import annotations

import numpy as np
import pytest

from psmlearn._images._frame import inner_box


def _image(shape=(40, 60)):
    return np.random.default_rng(0).uniform(0.3, 1, (*shape, 3)).astype(np.float32)


def test_an_image_without_border_is_whole():
    assert inner_box(_image()) == np.s_[0:40, 0:60]


@pytest.mark.parametrize("black", [0.0, 0.1])
def test_a_border_is_cut(black):
    image = _image()
    image[:3] = image[:, 55:] = black
    assert inner_box(image) == np.s_[3:40, 0:55]


def test_a_wide_border_leaves_the_image():
    image = np.zeros((200, 300, 3), np.float32)
    image[50:90, 100:160] = _image()
    # Rows of the image are bright in a fifth of their pixels.
    assert inner_box(image) == np.s_[50:90, 100:160]


def test_stray_bright_pixels_do_not_hide_a_border():
    image = _image((40, 200))
    image[:4] = 0.02
    image[0, :5] = 1
    assert inner_box(image) == np.s_[4:40, 0:200]


def test_a_dark_nucleus_at_the_edge_is_no_border():
    image = _image()
    image[:10, 5:40] = 0.02
    assert inner_box(image) == np.s_[0:40, 0:60]


def test_a_black_image_has_no_border():
    assert inner_box(np.zeros((5, 7, 3), np.float32)) == np.s_[0:5, 0:7]
