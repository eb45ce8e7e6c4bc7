# SPDX-License-Identifier: BSD-3-Clause
"""Prediction with classes: what the stain tells, and what the network."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import tifffile
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from psmlearn import (
    NucleiDetector,
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SemanticClusterer,
)
from psmlearn.datasets import make_nuclei
from psmlearn.exceptions import NoDataWarning
from psmlearn.io import check_images
from psmlearn.networks import UNet
from psmlearn.segmentation._classes import class_jaccard, mask_points
from psmlearn.segmentation._stain_classes import put_stained_first


def _stack(ids, classes):
    return np.stack([np.array(ids), np.array(classes)], axis=-1)


def test_a_network_nucleus_seen_again_is_dropped():
    network = _stack([[1, 1, 1, 0, 2, 2]], [[2, 2, 2, 0, 2, 2]])
    stain = _stack([[5, 5, 0, 0, 0, 0]], [[1, 1, 0, 0, 0, 0]])
    merged = put_stained_first(network, stain, 2)
    assert merged.dtype == np.int32
    assert merged[..., 0].tolist() == [[1, 1, 0, 0, 2, 2]]
    assert merged[..., 1].tolist() == [[1, 1, 0, 0, 2, 2]]


def test_a_nucleus_that_is_cut_keeps_its_larger_part():
    network = _stack([[1, 1, 1, 1, 1, 1]], [[2] * 6])
    stain = _stack([[0, 3, 0, 0, 0, 0]], [[0, 1, 0, 0, 0, 0]])
    merged = put_stained_first(network, stain, 2)
    assert merged[..., 0].tolist() == [[0, 1, 2, 2, 2, 2]]


def test_the_network_names_no_chromogen_and_the_stain_fills_its_gaps():
    network = _stack([[1, 1, 0, 0]], [[1, 1, 0, 0]])
    stain = _stack([[0, 0, 0, 4]], [[0, 0, 0, 3]])
    merged = put_stained_first(network, stain, 2)
    assert merged[..., 0].tolist() == [[1, 1, 0, 2]]
    assert merged[..., 1].tolist() == [[2, 2, 0, 2]]


def test_what_is_faint_for_a_chromogen_is_put_first_as_a_counterstain():
    network = _stack([[1, 1, 1, 1, 2, 2]], [[1] * 6])
    stain = _stack([[0, 6, 6, 6, 0, 9]], [[0, 2, 2, 2, 0, 1]])
    merged = put_stained_first(network, stain, 2)
    assert merged[..., 1].tolist() == [[0, 2, 2, 2, 0, 1]]
    assert np.unique(merged[..., 0]).tolist() == [0, 1, 2]


def test_debris_of_a_chromogen_is_no_nucleus_of_the_network_either():
    network = _stack([[1, 1, 0, 2, 2, 2]], [[2] * 3 + [1] * 3])
    stain = _stack([[3, 3, 3, 0, 0, 0]], [[0] * 6])
    merged = put_stained_first(network, stain, 2)
    assert merged[..., 0].tolist() == [[0, 0, 0, 1, 1, 1]]
    assert merged[..., 1].tolist() == [[0, 0, 0, 2, 2, 2]]


@pytest.mark.parametrize(("n_found", "is_kept"), [(0, True), (3, True), (4, False)])
def test_pale_nuclei_count_where_the_network_has_found_next_to_nothing(
    n_found, is_kept
):
    # Of 40 pixels: less than a tenth, or not.
    stain = np.zeros((8, 20, 2), int)
    stain[2:6, 5:15] = [17, 3]
    network = np.zeros((8, 20, 2), int)
    network[2:6, 15:18] = [1, 2]
    network[2, 15 - n_found : 15] = [1, 2]
    merged = put_stained_first(network, stain, 2)
    assert len(np.unique(merged[..., 0])) == (3 if is_kept else 2)
    assert (merged[..., 0] > 0).sum() == 12 + (40 if is_kept else n_found)
    assert set(np.unique(merged[..., 1])) == {0, 2}


def test_empty_masks_stay_empty():
    empty = np.zeros((4, 5, 2), np.int32)
    assert not put_stained_first(empty, empty, 2).any()


def small_unet(in_channels, out_channels):
    return UNet(in_channels, out_channels, base_channels=8, depth=3)


@pytest.fixture(scope="module")
def trained():
    data = make_nuclei(2, (128, 128), n_nuclei=25, stain="ki67", random_state=1)
    segmenter = NucleiSegmenter(
        network=small_unet,
        max_epochs=3,
        steps_per_epoch=8,
        patch_size=64,
        batch_size=4,
        learning_rate=5e-3,
        threshold=0.3,
    )
    model = PseudoLabelSegmenter(segmenter=segmenter, classes="ki67", random_state=0)
    return data, model.fit(data.images)


def test_the_labeler_finds_what_a_chromogen_stains(trained):
    data, model = trained
    for mask, stained in zip(
        model.predict(data.images), model.labeler_.predict(data.images), strict=True
    ):
        brown = stained[..., 1] == 1
        assert brown.any()
        np.testing.assert_array_equal(mask[..., 1] == 1, brown)
        pairs = np.unique(np.stack([mask[brown, 0], stained[brown, 0]]), axis=1)
        assert pairs.shape[1] == len(np.unique(stained[brown, 0]))


def test_a_black_border_holds_no_nucleus(trained, monkeypatch):
    data, model = trained
    framed = np.pad(data.images[0], ((3, 0), (0, 2), (0, 0)))
    everywhere = np.ones((*framed.shape[:2], 2), np.int32)
    monkeypatch.setattr(model.segmenter_, "predict", lambda X: [everywhere])
    with pytest.warns(NoDataWarning):
        mask = model.predict([framed])[0]
    assert mask[3:, :-2].any()
    assert not mask[:3].any() and not mask[:, -2:].any()


def test_the_network_may_tell_all_classes(trained):
    data, model = trained
    other = copy.copy(model).set_params(class_source="network")
    np.testing.assert_array_equal(
        other.predict(data.images), model.segmenter_.predict(data.images)
    )
    assert other.score(data.images, data.masks) == model.segmenter_.score(
        data.images, data.masks
    )


def test_points_and_score_are_those_of_the_masks(trained):
    data, model = trained
    masks = model.predict(data.images)
    for points, mask in zip(model.detect(data.images), masks, strict=True):
        np.testing.assert_array_equal(points, mask_points(mask))
    assert model.score(data.images, data.masks) == class_jaccard(
        list(data.masks), list(masks), np.array([1, 2])
    )


def test_an_unknown_source_is_refused():
    with pytest.raises(ValueError, match="class_source"):
        PseudoLabelSegmenter(class_source="labels").fit(np.zeros((1, 32, 32, 3)))


def test_the_default_segmenter_is_set_for_classes():
    plain, classed = (
        PseudoLabelSegmenter(classes=classes)._make_parts(_images())[1]
        for classes in (None, "ki67")
    )
    chosen = ("threshold", "nucleus_diameter", "min_area", "min_prominence")
    assert [getattr(plain, name) for name in chosen] == [0.65, "auto", 6.0, 0.45]
    assert [getattr(classed, name) for name in chosen] == [0.85, "auto", 4.0, 0]


def _images():
    from psmlearn.io._batch import check_images

    return check_images(np.full((1, 32, 32, 3), 0.9, np.float32))


def test_a_given_clusterer_tells_its_stains_too(trained):
    data, model = trained
    labeler = Pipeline([("clusters", SemanticClusterer(classes="ki67"))])
    given = PseudoLabelSegmenter(labeler, model.segmenter, random_state=0)
    np.testing.assert_array_equal(
        given.fit(data.images).predict(data.images), model.predict(data.images)
    )
    assert PseudoLabelSegmenter(labeler)._make_parts(_images())[1].threshold == 0.85


def test_what_is_no_clusterer_has_its_own_classes():
    class Labeler(SmallLabeler):
        classes = "tumour"

    segmenter = PseudoLabelSegmenter(Labeler())._make_parts(_images())[1]
    assert segmenter.threshold == 0.5


def test_points_of_a_detector_are_its_own(trained):
    data, _ = trained
    detector = NucleiDetector(
        max_epochs=1, steps_per_epoch=2, patch_size=32, batch_size=2
    )
    model = PseudoLabelSegmenter(
        SemanticClusterer(classes="ki67"), detector, random_state=0
    )
    points = model.fit(data.images).predict(data.images)
    for found, own in zip(points, model.segmenter_.predict(data.images), strict=True):
        np.testing.assert_array_equal(found, own)


def test_each_file_tells_its_own_pixel_size(trained, tmp_path):
    data, model = trained
    paths = []
    for number, (image, step) in enumerate(zip(data.images, (0.25, 0.5), strict=True)):
        paths.append(str(tmp_path / f"{number}.tif"))
        per_centimetre = (10_000 / step, 10_000 / step)
        tifffile.imwrite(
            paths[-1], image, resolution=per_centimetre, resolutionunit="CENTIMETER"
        )
    segmenter = clone(model.segmenter).set_params(pixel_size="file", max_epochs=1)
    model = PseudoLabelSegmenter(
        segmenter=segmenter, classes="ki67", pixel_size="file", random_state=0
    ).fit(paths)
    together = model.predict(paths)
    for order in ([0], [1], [1, 0]):
        for place, mask in zip(
            order, model.predict([paths[i] for i in order]), strict=True
        ):
            np.testing.assert_array_equal(mask, together[place])


def test_doubt_reaches_up_to_the_threshold():
    foreground = np.array([[0.95, 0.8, 0.7, 0.6, 0.4, 0.3]])

    class Segmenter:
        threshold = 0.75

        def predict(self, X):
            return [(foreground > self.threshold).astype(np.int32)]

        def predict_proba(self, X):
            return [np.stack([1 - foreground, foreground], axis=-1)]

    model = PseudoLabelSegmenter(SmallLabeler())
    model.labeler_, model.segmenter_ = model.labeler, Segmenter()
    model.n_pseudo_objects_ = [1]
    images = check_images(np.full((1, 1, 6, 3), 0.7))
    assert model._own_masks([None], images)[0].tolist() == [[1, 1, -1, -1, -1, 0]]
    Segmenter.threshold = 0.5
    assert model._own_masks([None], images)[0].tolist() == [[1, 1, 1, -1, -1, 0]]


def test_later_rounds_keep_what_the_stain_tells(trained):
    data, model = trained
    stained = model.labeler_.predict(data.images)
    own_masks = model._own_masks(data.images, check_images(data.images))
    for mask, own in zip(own_masks, stained, strict=True):
        np.testing.assert_array_equal((mask[..., 1] == 1), own[..., 1] == 1)


class SmallLabeler:
    """Stands for a labeler of one's own."""

    def get_params(self, deep=True):
        return {}

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        return [np.ones(image.shape[:2], np.int32) for image in X]


def test_another_staining_is_told_once(trained):
    _, model = trained
    pink = make_nuclei(1, (128, 128), random_state=0).images  # H&E
    with pytest.warns(UserWarning, match="PseudoLabelSegmenter: 1 of 1") as caught:
        model.predict(pink)
    assert len(caught) == 1
