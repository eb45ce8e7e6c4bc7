# SPDX-License-Identifier: BSD-3-Clause
"""A slide is segmented, its results are read back, and what is wrong is told."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage as ndi
from skimage.draw import polygon
from sklearn.base import clone

from psmlearn import NucleiSegmenter, RegionSegmenter, _progress
from psmlearn.datasets import load_sample_images, make_slide
from psmlearn.io import Slide, read_labels
from psmlearn.metrics import score_label_blocks
from psmlearn.preprocessing._slide_tissue import find_tissue
from psmlearn.segmentation import Distance
from psmlearn.slides import _stages, segment_slide


@pytest.fixture(scope="module")
def done(segmenter, slide_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("done")
    return segment_slide(
        segmenter, slide_path, folder / "new", tissue=None, block_size=256
    )


def test_results_are_files_that_agree(done, slide_path):
    assert done.n_nuclei > 50 and done.shape == (410, 544)
    labels = read_labels(done.files["labels"])
    assert labels.shape == done.shape and labels.max() == done.n_nuclei
    np.testing.assert_array_equal(
        done.read_labels(100, 130, 390, 500), labels[100:390, 130:500]
    )
    table = done.table()
    order = np.argsort(table["label"])  # rows come block by block
    table = {name: values[order] for name, values in table.items()}
    np.testing.assert_array_equal(np.unique(labels)[1:], table["label"])
    sizes = np.bincount(labels.ravel())[1:]
    np.testing.assert_allclose(table["area_um2"], sizes * done.pixel_size**2)
    rows = np.indices(labels.shape)[0]
    middle = np.bincount(labels.ravel(), rows.ravel())[1:] / sizes
    np.testing.assert_allclose(table["centroid_row"], middle)
    assert ((table["confidence"] > 0.5) & (table["confidence"] <= 1)).all()
    summary = json.loads(
        (slide_path.parent / done.files["tissue"]).with_name("made.json").read_text()
    )
    assert summary["n_nuclei"] == done.n_nuclei


def test_progress_is_in_square_millimetres_and_blocks(
    segmenter, slide_path, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(_progress, "_DELAY", 0)
    found = segment_slide(segmenter, slide_path, tmp_path, tissue=None, verbose=1)
    told = capsys.readouterr().err
    area = f"{found.tissue_mm2:.2f}"
    assert re.search(rf"network, mm²: 100%.*{area}/{area} ", told), told
    assert re.search(r"nuclei, blocks: 100%.* 1/1 ", told), told


def test_zarr_and_parquet_hold_the_same(segmenter, slide_path, tmp_path, done):
    found = segment_slide(
        segmenter, slide_path, tmp_path, tissue=None, formats=["zarr", "parquet"]
    )
    assert set(found.files) == {"zarr", "parquet", "tissue"}
    box = (100, 130, 390, 500)
    np.testing.assert_array_equal(found.read_labels(*box), done.read_labels(*box))
    scores = score_label_blocks(found, done, block_size=200, radius=None)
    assert scores["aji"] == 1 and scores["n_true_objects"] == done.n_nuclei
    ours, table = found.table(), done.table()
    assert list(ours) == list(table)
    orders = [np.argsort(each["label"]) for each in (ours, table)]
    for name, values in table.items():
        np.testing.assert_allclose(ours[name][orders[0]], values[orders[1]])
        assert ours[name].dtype == values.dtype, name


def test_outlines_are_those_of_the_labels(done):
    drawn = _drawn(done)
    labels = read_labels(done.files["labels"])
    pairs = np.unique(np.stack([drawn.ravel(), labels.ravel()]), axis=1)
    assert pairs.shape[1] == done.n_nuclei + 1  # one of each, and the ground


def test_tissue_is_found(segmenter, tmp_path):
    data = load_sample_images()
    made = make_slide(
        tmp_path / "real.svs", data.images, shape=(900, 1210), pen=False, random_state=1
    )
    with Slide(made.path) as slide:
        found = find_tissue(slide, made.shape).shown((0, 0, *made.shape))
    true = made.tissue(0, 0, *made.shape)
    assert found is not None and found[true].mean() > 0.9
    # A rim of 30 micrometres is read around it.
    far = ndi.distance_transform_edt(~true) > 200
    assert far.any() and found[far].mean() < 0.1


def test_a_mask_says_where_to_look(segmenter, slide_path, tmp_path):
    mask = np.zeros((2, 3), bool)
    mask[1, 1] = True
    found = segment_slide(
        segmenter, slide_path, tmp_path, tissue=mask, formats="labels", block_size=256
    )
    labels = read_labels(found.files["labels"])
    assert labels[205:, 182:363].any()
    labels[205:, 182:363] = 0
    assert not labels.any()
    assert set(found.files) == {"labels", "tissue"}
    with pytest.raises(ValueError, match=r"no table was written"):
        found.table()


def test_nothing_to_look_at_is_a_result_without_nuclei(segmenter, tmp_path):
    glass = np.full((300, 333, 3), 240, np.uint8)
    found = segment_slide(segmenter, Slide(glass, pixel_size=0.25), tmp_path)
    assert found.n_nuclei == 0 and found.tissue_mm2 == 0
    assert not read_labels(found.files["labels"]).any()
    assert len(found.table()["label"]) == 0
    assert _drawn(found).max() == 0


def test_a_slide_of_one_row(segmenter, tmp_path):
    rng = np.random.default_rng(0)
    line = rng.integers(60, 200, (1, 12_000, 3)).astype(np.uint8)
    found = segment_slide(
        segmenter, Slide(line, pixel_size=0.25), tmp_path, tissue=None, formats="labels"
    )
    assert read_labels(found.files["labels"]).shape == (1, 12_000)


def test_what_was_broken_off_goes_on(
    segmenter, slide_path, tmp_path, done, monkeypatch
):
    calls, first = [], dict(_stages.STAGES)

    def breaks(plan, model, number, **options):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(number)
        first["read_objects"](plan, model, number, **options)

    monkeypatch.setitem(_stages.STAGES, "read_objects", breaks)
    with pytest.raises(KeyboardInterrupt):
        segment_slide(segmenter, slide_path, tmp_path, tissue=None, block_size=256)
    monkeypatch.setitem(_stages.STAGES, "read_objects", first["read_objects"])
    with pytest.raises(ValueError, match=r"resume=True goes on with it"):
        segment_slide(segmenter, slide_path, tmp_path, tissue=None, block_size=256)
    with pytest.raises(ValueError, match=r"another run, with another block_size"):
        segment_slide(
            segmenter, slide_path, tmp_path, tissue=None, block_size=300, resume=True
        )
    with pytest.raises(ValueError, match=r"another run, with another stains"):
        segment_slide(
            segmenter,
            slide_path,
            tmp_path,
            tissue=None,
            block_size=256,
            stains=("eosin", "haematoxylin"),
            resume=True,
        )

    def answers(*_, **__):
        raise AssertionError("the network has answered already")

    monkeypatch.setitem(_stages.STAGES, "answer", answers)
    found = segment_slide(
        segmenter, slide_path, tmp_path, tissue=None, block_size=256, resume=True
    )
    for kind in ("labels", "geojson", "table"):
        ours, whole = (Path(each.files[kind]).read_bytes() for each in (found, done))
        assert ours == whole or kind == "geojson"
    np.testing.assert_array_equal(
        _drawn(found),
        _drawn(done),
    )
    # What is done is not done again.
    monkeypatch.setitem(_stages.STAGES, "read_objects", answers)
    again = segment_slide(
        segmenter, slide_path, tmp_path, tissue=None, block_size=256, resume=True
    )
    assert again == found
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "made.csv",
        "made.geojson.gz",
        "made.json",
        "made.labels.ome.tif",
        "made.tissue.png",
    ]


def test_results_are_replaced_on_demand_only(segmenter, slide_path, tmp_path, done):
    (tmp_path / "made.csv").write_text("mine")
    with pytest.raises(ValueError, match=r"made.csv' is there already"):
        segment_slide(segmenter, slide_path, tmp_path, tissue=None)
    assert (tmp_path / "made.csv").read_text() == "mine"
    assert not (tmp_path / ".made.svs.psmlearn").exists()


def test_a_slide_that_changes_is_told(segmenter, slide_path, tmp_path, monkeypatch):
    copied = shutil.copy(slide_path, tmp_path / "copy.svs")
    first = _stages.STAGES["measure"]

    def changes(plan, model, number, **options):
        with open(copied, "ab") as file:
            file.write(b"0")
        first(plan, model, number, **options)

    monkeypatch.setitem(_stages.STAGES, "measure", changes)
    with pytest.raises(ValueError, match=r"copy.svs changed while it was read"):
        segment_slide(segmenter, copied, tmp_path, tissue=None, formats="labels")
    assert not (tmp_path / "copy.labels.ome.tif").exists()


def test_a_full_disk_says_how_to_go_on(segmenter, slide_path, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(_stages.STAGES, "read_objects", full)
    with pytest.raises(OSError, match=r"No space left.*resume=True goes on"):
        segment_slide(segmenter, slide_path, tmp_path, tissue=None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"formats": "svg"}, r"formats: any of \['labels'"),
        ({"block_size": 20}, "block_size: a whole number from 128"),
        ({"tissue": "all"}, "'auto', a mask or None"),
        ({"tissue": np.ones(4, bool)}, r"mask \(rows, columns\)"),
        ({"pixel_size": 0.001}, "pixel_size"),
        ({"workers": 0}, "workers"),
    ],
)
def test_bad_options_are_told_before_work(
    segmenter, slide_path, tmp_path, options, told
):
    with pytest.raises(ValueError, match=told):
        segment_slide(segmenter, slide_path, tmp_path / "out", **options)
    assert not list(tmp_path.glob("out/*.*"))


def test_models_that_cannot_be_cut_are_told(segmenter, slide_path, tmp_path):
    other = clone(segmenter).set_params(
        max_epochs=1, steps_per_epoch=1, targets=_OwnTargets()
    )
    with pytest.raises(TypeError, match="RegionSegmenter"):
        segment_slide(_regions(), slide_path, tmp_path)
    images = np.random.default_rng(0).random((2, 96, 96, 1))
    masks = np.zeros((2, 96, 96), np.int32)
    masks[:, 20:40, 20:40] = 1
    grey = clone(segmenter).set_params(max_epochs=1, steps_per_epoch=1)
    with pytest.raises(ValueError, match=r"3 channels, and the model .* with 1"):
        segment_slide(grey.fit(images, masks), slide_path, tmp_path)
    with pytest.raises(
        ValueError, match=r"targets 'distance' or 'voronoi'; these are _OwnTargets"
    ):
        segment_slide(other.fit(images, masks), slide_path, tmp_path)
    with pytest.raises(Exception, match="not fitted"):
        segment_slide(NucleiSegmenter(), slide_path, tmp_path)


class _OwnTargets(Distance):
    """Of which nobody knows how they find objects."""


def _drawn(result) -> np.ndarray:
    """Return the label image of the outlines."""
    packed = Path(result.files["geojson"]).read_bytes()
    outlines = json.loads(gzip.decompress(packed))
    mask = np.zeros(result.shape, np.int32)
    for number, feature in enumerate(outlines["features"], 1):
        geometry = feature["geometry"]
        parts = geometry["coordinates"]
        for rings in parts if geometry["type"] == "MultiPolygon" else [parts]:
            inside = np.zeros(result.shape, bool)
            for ring in rings:
                corners = np.array(ring)[:, ::-1] - 0.5
                rows, columns = polygon(*corners.T, shape=result.shape)
                inside[rows, columns] ^= True
            mask[inside] = number
    return mask


def _regions() -> RegionSegmenter:
    regions = RegionSegmenter(
        max_epochs=1, steps_per_epoch=1, patch_size=32, batch_size=2, device="cpu"
    )
    masks = np.zeros((2, 64, 64), np.int32)
    masks[:, 8:40, 8:40] = 1
    return regions.fit(np.random.default_rng(0).random((2, 64, 64, 3)), masks)
