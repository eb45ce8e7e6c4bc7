# SPDX-License-Identifier: BSD-3-Clause
"""Micrometres per pixel: mistaken units are refused, files that tell others named."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tifffile

from psmlearn import (
    ClassActivationMapper,
    NucleiDetector,
    NucleiSegmenter,
    PseudoLabelSegmenter,
    RegionSegmenter,
    SemanticClusterer,
)
from psmlearn.datasets import make_nuclei
from psmlearn.exceptions import PixelSizeWarning
from psmlearn.io import check_images, read_pixel_size, resolve_pixel_size
from psmlearn.measure import find_hotspot, nuclei_table
from psmlearn.preprocessing import (
    StainNormalizer,
    TissueDetector,
    artefact_mask,
    tissue_mask,
)

DATA = make_nuclei(n_images=1, shape=(48, 48), random_state=3)
IMAGE, MASK = DATA.images[0], DATA.masks[0]
POINTS = np.array([[20.0, 20.0, 1], [30.0, 24.0, 2]])
# Nanometres, metres, inches of printing, nothing, and what is a hair too far.
MISTAKEN = [500.0, 0.0005, 5e-7, 1e-6, 352.8, 0.0099, 20.1, 0, -0.5, np.inf, np.nan]
NO_NUMBERS = [True, np.True_, None, "0.5", b"0.5", {}, {0.5}, object(), 0.5j, len]

ESTIMATORS = {
    "SemanticClusterer": SemanticClusterer,
    "StainNormalizer": StainNormalizer,
    "TissueDetector": TissueDetector,
    "NucleiDetector": NucleiDetector,
    "NucleiSegmenter": NucleiSegmenter,
    "RegionSegmenter": lambda **given: RegionSegmenter(value_range=(0.0, 1.0), **given),
    "PseudoLabelSegmenter": PseudoLabelSegmenter,
    "ClassActivationMapper": lambda **given: ClassActivationMapper(
        value_range=(0.0, 1.0), **given
    ),
}


def fit_with(name):
    """Make what fits an estimator with a pixel size."""

    def call(pixel_size):
        model = ESTIMATORS[name](pixel_size=pixel_size)
        if name == "ClassActivationMapper":
            return model.fit([IMAGE, IMAGE], [0, 1])
        y = [POINTS[:, :2]] if name == "NucleiDetector" else [MASK]
        return model.fit([IMAGE], y)

    return call


CALLS = {name: fit_with(name) for name in ESTIMATORS} | {
    "nuclei_table": lambda size: nuclei_table(MASK, pixel_size=size),
    "find_hotspot": lambda size: find_hotspot(
        [POINTS], area=1e-4, pixel_size=size, shape=(90, 90), min_cells=1
    ),
    "tissue_mask": lambda size: tissue_mask(IMAGE, pixel_size=size),
    "artefact_mask": lambda size: artefact_mask(IMAGE, pixel_size=size),
    "make_nuclei": lambda size: make_nuclei(1, (32, 32), pixel_size=size),
    "resolve_pixel_size": lambda size: resolve_pixel_size(size, check_images([IMAGE])),
}
BY_IMAGE = [*ESTIMATORS, "resolve_pixel_size", "find_hotspot"]


@pytest.mark.parametrize("size", MISTAKEN)
@pytest.mark.parametrize("name", CALLS)
def test_a_mistaken_unit_is_refused_by_name(name, size):
    with pytest.raises(ValueError, match="pixel_size") as caught:
        CALLS[name](size)
    if size > 0 and np.isfinite(size):
        assert "nanometres" in str(caught.value)


@pytest.mark.parametrize("size", NO_NUMBERS)
@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_number_is_refused_by_name(name, size):
    with pytest.raises((TypeError, ValueError), match="pixel_size"):
        CALLS[name](size)


@pytest.mark.parametrize("size", [500.0, 0.0005, True, None, "0.5", [0.5], np.nan])
@pytest.mark.parametrize("name", BY_IMAGE)
def test_so_is_each_of_a_list(name, size):
    n_images = 2 if name == "ClassActivationMapper" else 1
    with pytest.raises((TypeError, ValueError), match="pixel_size"):
        CALLS[name]([size] * n_images)


@pytest.mark.parametrize("size", [0.01, 20.0])
@pytest.mark.parametrize("name", ["nuclei_table", "tissue_mask", "resolve_pixel_size"])
def test_the_limits_themselves_are_allowed(name, size):
    CALLS[name](size)


def test_voxels_of_images_of_any_range_are_larger():
    batch = check_images([IMAGE])
    assert resolve_pixel_size(1000, batch, largest=10_000.0) == [1000.0]
    for size in (20_000.0, 1e-3):
        with pytest.raises(ValueError, match="pixel_size"):
            RegionSegmenter(pixel_size=size).fit([IMAGE], [MASK])


def write(path, size, unit="CENTIMETER"):
    """Write a TIFF file that tells its pixel size by resolution tags."""
    per_unit = {"CENTIMETER": 1e4, "INCH": 25400.0}[unit] / size
    pixels = np.rint(IMAGE * 255).astype(np.uint8) if IMAGE.dtype.kind == "f" else IMAGE
    tifffile.imwrite(path, pixels, resolution=(per_unit, per_unit), resolutionunit=unit)
    return str(path)


@pytest.mark.parametrize("unit", ["CENTIMETER", "INCH"])
@pytest.mark.parametrize("size", [0.5, 0.2, 1.0])
def test_a_file_that_tells_another_size_is_named(tmp_path, size, unit):
    paths = [write(tmp_path / f"{i}.tif", size, unit) for i in range(7)]
    with pytest.warns(PixelSizeWarning, match=r'pixel_size="file"') as caught:
        resolve_pixel_size(0.25, check_images(paths))
    (message,) = [str(each.message) for each in caught]
    assert all(path in message for path in paths[:5])
    assert paths[5] not in message and "2 more" in message
    assert f"{size:g}" in message and "0.25" in message


@pytest.mark.parametrize("size", [0.25, 0.26, 0.24])
def test_a_file_that_tells_the_same_says_nothing(tmp_path, size):
    path = write(tmp_path / "a.tif", size)
    resolve_pixel_size(0.25, check_images([path]))


def test_only_the_files_that_differ_are_named(tmp_path):
    names = ("a.tif", "b.tif")
    paths = [write(tmp_path / n, s) for n, s in zip(names, (0.25, 0.5), strict=True)]
    batch = check_images([*paths, IMAGE])
    with pytest.warns(PixelSizeWarning, match=r"1 file\(s\).*b\.tif") as caught:
        resolve_pixel_size([0.25, 0.25, 0.25], batch)
    assert "a.tif" not in str(caught[0].message)


@pytest.mark.parametrize("fit", [SemanticClusterer, TissueDetector])
def test_estimators_warn_once_a_call(tmp_path, fit):
    paths = [write(tmp_path / f"{i}.tif", 0.5) for i in range(2)]
    model = fit(pixel_size=0.25)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(paths)
        n_fit = len(caught)
        model.predict(paths)
    told = [each for each in caught if issubclass(each.category, PixelSizeWarning)]
    assert n_fit <= 1 and len(told) - n_fit == 1


def test_headers_are_read_once_a_batch(tmp_path, monkeypatch):
    from psmlearn.io import _pixel_size

    paths = [write(tmp_path / f"{i}.tif", 0.5) for i in range(3)]
    batch, read = check_images(paths), []
    real = _pixel_size.read_pixel_size
    monkeypatch.setattr(
        _pixel_size, "read_pixel_size", lambda path: read.append(path) or real(path)
    )
    with pytest.warns(PixelSizeWarning):
        resolve_pixel_size(0.25, batch)
    # Parts of the batch, and other askings, know it and are silent.
    resolve_pixel_size(0.25, batch.subset([2, 0]))
    assert resolve_pixel_size("file", batch).tolist() == [0.5] * 3
    assert read == paths


@pytest.mark.parametrize("which", ["labels", "image"])
def test_tables_of_files_warn(tmp_path, which):
    image = write(tmp_path / "a.tif", 0.5)
    labels = str(tmp_path / "labels.tif")
    tifffile.imwrite(
        labels,
        MASK.astype(np.uint16),
        resolution=(20000, 20000),
        resolutionunit="CENTIMETER",
    )
    given = {"labels": (labels, IMAGE), "image": (MASK, image)}[which]
    with pytest.warns(PixelSizeWarning, match="0.5, not 0.25"):
        nuclei_table(*given)
    nuclei_table(*given, pixel_size=0.5)


def test_hotspots_of_files_warn(tmp_path):
    path = str(tmp_path / "labels.tif")
    labels = np.zeros((60, 60), np.uint16)
    labels[20:24, 20:24] = 1
    planes = np.stack([labels, labels], axis=-1)
    told = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    told |= {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(path, planes, **told)
    given = {"area": 1e-4, "min_cells": 1}
    with pytest.warns(PixelSizeWarning, match="0.5, not 1"):
        find_hotspot([path], pixel_size=1.0, **given)
    find_hotspot([path], pixel_size=0.5, **given)


@pytest.mark.parametrize("size", [250.0, 0.00025, 1e-6, 0.0])
@pytest.mark.parametrize("kind", ["ome", "aperio"])
def test_files_are_held_to_the_same_limits(tmp_path, kind, size):
    path = tmp_path / "a.tif"
    if kind == "ome":
        metadata = {"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeY": size}
        tifffile.imwrite(path, 255 - MASK.astype(np.uint8), ome=True, metadata=metadata)
    else:
        tifffile.imwrite(
            path,
            255 - MASK.astype(np.uint8),
            description=f"Aperio Image|MPP = {size:g}",
        )
    assert read_pixel_size(path) is None
    batch = check_images([path])
    with pytest.raises(ValueError, match=r"within 0\.01 and 20"):
        resolve_pixel_size("file", batch)
    resolve_pixel_size(0.25, batch)
