# SPDX-License-Identifier: BSD-3-Clause
"""Slides handed to `fit`: fields of them are trained on, as `sample_fields` draws."""

import numpy as np
import pytest

from psmlearn import (
    NucleiSegmenter,
    PseudoLabelSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn.datasets import make_nuclei, make_slide
from psmlearn.io import Slide
from psmlearn.slides import sample_fields, segment_slide


@pytest.fixture(scope="module")
def slide_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "a.ome.zarr"
    images = make_nuclei(2, (256, 256), n_nuclei=90, random_state=0).images
    options = {"tissue": 0.8, "pen": False, "black": False, "random_state": 0}
    make_slide(path, images, shape=(900, 1000), **options)
    return path


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """What is asked of `sample_fields`; fields are few and small here."""
    calls = []

    def watched(slides, **options):
        calls.append(options)
        return _drawn(slides, **options)

    monkeypatch.setattr("psmlearn.segmentation._slide_fields.sample_fields", watched)
    return calls


def _drawn(slides, **options):
    return sample_fields(slides, n_fields=3, field_size=200, **options)


def _model(**options):
    segmenter = NucleiSegmenter(
        max_epochs=1, steps_per_epoch=2, batch_size=2, patch_size=32, **options
    )
    return PseudoLabelSegmenter(SemanticClusterer(), segmenter, random_state=3)


def _weights(model):
    return [value.numpy() for value in model.segmenter_.network_.state_dict().values()]


def _equal(first, second):
    pairs = zip(_weights(first), _weights(second), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_fields_of_slides_are_trained_on(slide_path, tmp_path):
    drawn = _drawn([slide_path], random_state=3).images
    by_hand = _model().fit(drawn)
    for given in (str(slide_path), [slide_path], np.array([str(slide_path)])):
        assert _equal(_model().fit(given), by_hand)
    with Slide(slide_path) as slide:
        model = _model().fit(slide)
    assert _equal(model, by_hand)
    assert model.n_pseudo_objects_ == by_hand.n_pseudo_objects_
    found = segment_slide(model, slide_path, tmp_path, formats="table")
    assert found.n_nuclei >= 0


def test_images_beside_slides_come_first(slide_path):
    image = make_nuclei(1, (128, 128), n_nuclei=20, random_state=5).images[0]
    drawn = _drawn([slide_path], random_state=3).images
    assert _equal(_model().fit([slide_path, image]), _model().fit([image, *drawn]))


def test_fields_have_the_pixel_size_of_the_segmenter(slide_path, asked):
    _model(pixel_size=0.5).fit([slide_path])
    _model().set_params(segmenter__pixel_size=0.3).fit([slide_path])
    assert asked == [{"pixel_size": size, "random_state": 3} for size in (0.5, 0.3)]
    for size in ("file", [0.5, 0.25]):
        with pytest.raises(ValueError, match="one number of micrometres per pixel"):
            PseudoLabelSegmenter(pixel_size=size).fit([slide_path])


def test_labels_of_slides_are_refused(slide_path):
    with pytest.raises(ValueError, match="what a slide shows is not what each field"):
        _model().fit([slide_path], image_labels=[1])


def test_other_estimators_say_what_to_do_with_slides(slide_path):
    with Slide(slide_path) as slide, pytest.raises(TypeError, match="sample_fields"):
        SelfActivationMapper().fit(slide)


def test_slides_without_tissue_are_named(tmp_path):
    white = np.full((600, 600, 3), 255, np.uint8)
    with pytest.raises(ValueError, match="tissue"):
        _model().fit([Slide(white, pixel_size=0.25)])
