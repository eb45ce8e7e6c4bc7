# SPDX-License-Identifier: BSD-3-Clause
"""Masks of loaders: what lies in alpha, in other planes, or beside outlines."""

from __future__ import annotations

import numpy as np
import pytest
from loader_sets import IDS, SHAPE, write_dsb, write_lgg, write_points
from PIL import Image

from psmlearn import datasets
from psmlearn.exceptions import OrientationWarning
from psmlearn.io import write_image


def load_point_regions(folder):
    return datasets.load_point_folder(folder, regions="regions")


def write_regions(folder):
    write_points(folder)
    target = folder / "regions" / "a.png"
    target.parent.mkdir()
    write_image(target, (IDS == 2).astype(np.uint8) * 255)
    return target


STENCILS = {
    "point folder": (write_regions, load_point_regions),
    "lgg": (write_lgg, datasets.load_lgg),
    "dsb2018": (write_dsb, datasets.load_dsb2018),
}
INSIDE = (IDS == 2).astype(np.uint8)


@pytest.mark.parametrize("kind", STENCILS)
@pytest.mark.parametrize(
    "planes",
    [
        [np.full(SHAPE, 255, np.uint8), INSIDE * 255],
        [np.full(SHAPE, 1, np.uint8), INSIDE * 254],
        [INSIDE * 255, np.full(SHAPE, 128, np.uint8)],
        [np.zeros(SHAPE, np.uint8)] * 3 + [INSIDE * 255],
    ],
    ids=["shape in alpha", "faint", "half", "colours"],
)
def test_alpha_of_stencils_is_refused(tmp_path, kind, planes):
    write, load = STENCILS[kind]
    target = write(tmp_path)
    Image.fromarray(np.dstack(planes)).save(target)
    with pytest.raises(ValueError, match=rf"{target.name}.*transparent"):
        load(tmp_path)


@pytest.mark.parametrize("kind", STENCILS)
def test_an_alpha_that_hides_nothing_is_let_through(tmp_path, kind):
    write, load = STENCILS[kind]
    target = write(tmp_path)
    Image.fromarray(np.dstack([INSIDE * 255, np.full(SHAPE, 255, np.uint8)])).save(
        target
    )
    data = load(tmp_path)
    shown = np.array((data.get("masks") or data.get("regions"))[0]) == (
        2 if kind == "dsb2018" else 1
    )
    np.testing.assert_array_equal(shown, INSIDE > 0)


@pytest.mark.parametrize("kind", STENCILS)
@pytest.mark.parametrize("tag", [2, 6, 8])
def test_stencils_that_viewers_turn_are_told(tmp_path, kind, tag):
    write, load = STENCILS[kind]
    target = write(tmp_path)
    exif = Image.Exif()
    exif[0x112] = tag
    Image.fromarray(INSIDE * 255).save(target, exif=exif)
    with pytest.warns(OrientationWarning, match=rf"{target.name}' \({tag}\)"):
        load(tmp_path)
