# SPDX-License-Identifier: BSD-3-Clause
"""Nuclei of several classes in a slide: by the network, and by the stain."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

from psmlearn import NucleiSegmenter, PseudoLabelSegmenter
from psmlearn.datasets import make_nuclei
from psmlearn.io import Slide, read_labels
from psmlearn.measure import labelling_index
from psmlearn.slides import segment_slide

SHAPE = (300, 380)
STAINED = {"stain": "ki67", "stain_variation": 0.2, "background": 0.3}


@pytest.fixture(scope="module")
def model() -> PseudoLabelSegmenter:
    data = make_nuclei(3, (160, 160), n_nuclei=30, random_state=0, **STAINED)
    segmenter = NucleiSegmenter(
        nucleus_diameter="auto",
        max_epochs=2,
        steps_per_epoch=15,
        batch_size=4,
        patch_size=96,
        early_stopping=False,
        device="cpu",
        random_state=0,
    )
    model = PseudoLabelSegmenter(segmenter=segmenter, classes="ki67", random_state=0)
    return model.fit(data.images)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    data = make_nuclei(1, SHAPE, n_nuclei=100, random_state=5, **STAINED)
    return data.images[0]


def _segmented(model, picture, folder, **options):
    slide = Slide(picture, pixel_size=0.25)
    return segment_slide(model, slide, folder, tissue=None, **options)


def _with_classes(result) -> np.ndarray:
    """Return ids and classes, (height, width, 2)."""
    ids = read_labels(result.files["labels"])
    table = result.table()
    kinds = np.zeros(result.n_nuclei + 1, int)
    kinds[table["label"]] = table["class"]
    return np.stack([ids, kinds[ids]], axis=-1)


def _same_objects(found: np.ndarray, expected: np.ndarray) -> None:
    """Check that two masks are equal, but for the order of the ids."""
    np.testing.assert_array_equal(found[..., 1], expected[..., 1])
    pairs = np.stack([found[..., 0].ravel(), expected[..., 0].ravel()])
    n_pairs = np.unique(pairs, axis=1).shape[1]
    assert n_pairs == len(np.unique(pairs[0])) == len(np.unique(pairs[1])) > 40


@pytest.mark.parametrize("block_size", [128, 250])
def test_classes_of_a_network_are_those_of_the_whole_image(
    model, picture, tmp_path, block_size
):
    expected = model.segmenter_.predict([picture])[0]
    assert set(np.unique(expected[..., 1])) == {0, 1, 2}
    found = _segmented(model.segmenter_, picture, tmp_path, block_size=block_size)
    _same_objects(_with_classes(found), expected)
    counts = [len(np.unique(expected[expected[..., 1] == k, 0])) for k in (1, 2)]
    assert found.n_of_class == {"class 1": counts[0], "class 2": counts[1]}


def test_chromogens_of_a_slide_of_one_tile_are_those_of_its_image(
    model, picture, tmp_path
):
    expected = model.predict([picture])[0]
    found = _segmented(model, picture, tmp_path, block_size=150)
    _same_objects(_with_classes(found), expected)
    counts = [len(np.unique(expected[expected[..., 1] == k, 0])) for k in (1, 2)]
    assert found.n_of_class == {"positive": counts[0], "negative": counts[1]}
    assert min(counts) >= 10


def test_stains_tell_in_a_slide_what_they_tell_in_its_image(
    model, picture, tmp_path, monkeypatch
):
    """Debris, the faint and the pale, as a clusterer might tell them."""
    told = np.zeros((*SHAPE, 2), np.int32)
    found = model.segmenter_.predict([picture])[0]
    network = found[..., 0] > 0
    places = [(r, c) for r in range(20, 280, 40) for c in range(20, 360, 40)]
    for number, (row, column) in enumerate(places, start=1):
        told[row : row + 12, column : column + 12] = [number, number % 4]
    monkeypatch.setattr(
        type(model.labeler_), "_stained_masks", lambda self, X: [told.copy()]
    )
    expected = model.predict([picture])[0]
    covered = [network[r : r + 12, c : c + 12].mean() for r, c in places]
    kinds = [(n % 4, c < 0.1) for n, c in enumerate(covered, start=1)]
    assert {(3, True), (3, False)} <= set(kinds)
    for (row, column), (kind, is_new) in zip(places, kinds, strict=True):
        patch = expected[row : row + 12, column : column + 12]
        if kind in (1, 2):
            assert (patch[..., 1] == kind).all()
        elif kind == 0:
            assert not patch.any()
        elif is_new:
            assert patch[0, 0, 1] in (0, 2) and (patch[..., 1] == 2).any()
    slide = _with_classes(_segmented(model, picture, tmp_path, block_size=150))
    # A speck that the network's decoding drops may count as found in a slide.
    assert (slide[..., 1] == expected[..., 1]).mean() > 0.995
    for (row, column), (kind, _) in zip(places, kinds, strict=True):
        if kind < 3:
            patch = np.s_[row : row + 12, column : column + 12, 1]
            np.testing.assert_array_equal(slide[patch], expected[patch])


def test_chromogens_of_many_tiles_do_not_hang_on_blocks(model, picture, tmp_path):
    segmenter = clone(model.segmenter_)
    small = PseudoLabelSegmenter(classes="ki67")
    small.__dict__.update(model.__dict__)
    small.segmenter_ = segmenter
    segmenter.__dict__.update(model.segmenter_.__dict__)
    segmenter.tile_size = 128
    first = _segmented(small, picture, tmp_path / "a", block_size=128)
    second = _segmented(small, picture, tmp_path / "b", block_size=1000)
    masks = [_with_classes(each) for each in (first, second)]
    np.testing.assert_array_equal(*masks)
    # An object is one piece, and none is there twice.
    whole = model.predict([picture])[0]
    for k in (1, 2):
        n_whole = len(np.unique(whole[whole[..., 1] == k, 0]))
        n_found = len(np.unique(masks[0][masks[0][..., 1] == k, 0]))
        assert abs(n_found - n_whole) <= 0.15 * n_whole
    assert (masks[0][..., 1] == whole[..., 1]).mean() > 0.9


def test_index_hotspot_and_outlines_have_the_classes(model, picture, tmp_path):
    found = _segmented(model, picture, tmp_path)
    index = found.labelling_index(min_cells=0)
    expected = labelling_index(found.points(), min_cells=0)
    assert index.index == expected.index
    assert index.n_positive == found.n_of_class["positive"] > 0
    spot = found.find_hotspot(area=0.002, min_cells=5)
    assert spot.index >= index.index
    features = json.loads(gzip.decompress(Path(found.files["geojson"]).read_bytes()))
    names = [
        each["properties"]["classification"]["name"] for each in features["features"]
    ]
    for name, n_nuclei in found.n_of_class.items():
        assert names.count(name.capitalize()) == n_nuclei
    assert found.as_dict()["n_of_class"] == found.n_of_class


def test_what_has_no_classes_has_no_index(segmenter, tmp_path):
    data = make_nuclei(1, (128, 128), n_nuclei=12, random_state=1)
    found = _segmented(segmenter, data.images[0], tmp_path)
    assert found.n_of_class == {}
    with pytest.raises(ValueError, match="no classes, which an index counts"):
        found.labelling_index()
    with pytest.raises(ValueError, match="no classes"):
        found.find_hotspot(area=0.1)


def test_prominence_beside_the_stain_is_refused(model, picture, tmp_path):
    prominent = PseudoLabelSegmenter(classes="ki67")
    prominent.__dict__.update(model.__dict__)
    prominent.segmenter_ = clone(model.segmenter_)
    prominent.segmenter_.__dict__.update(model.segmenter_.__dict__)
    prominent.segmenter_.min_prominence = 0.4
    with pytest.raises(ValueError, match=r"min_prominence=0.4 beside nuclei"):
        _segmented(prominent, picture, tmp_path)
