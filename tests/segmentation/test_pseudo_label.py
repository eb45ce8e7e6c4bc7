# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
import tifffile
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.pipeline import Pipeline

from psmlearn import NucleiSegmenter, PseudoLabelSegmenter, SemanticClusterer
from psmlearn.datasets import make_nuclei
from psmlearn.io import check_images

SMALL = {
    "max_epochs": 1,
    "steps_per_epoch": 2,
    "patch_size": 32,
    "batch_size": 2,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def data():
    return make_nuclei(n_images=3, shape=(64, 80), n_nuclei=10, random_state=0)


class FixedLabeler(ClusterMixin, BaseEstimator):
    """Says what it was told, whatever it sees; keeps what fit was given."""

    def __init__(self, masks=None, random_state=None):
        self.masks = masks
        self.random_state = random_state

    def fit(self, X, y=None):
        self.seen_y_ = y
        return self

    def fit_predict(self, X, y=None):
        return self.fit(X, y).predict(X)

    def predict(self, X):
        return self.masks


class WeakLabeler(FixedLabeler):
    def fit(self, X, y=None, *, image_labels=None):
        self.image_labels_ = image_labels
        return super().fit(X, y)


def weights(model):
    return np.concatenate(
        [p.detach().numpy().ravel() for p in model.segmenter_.network_.parameters()]
    )


def test_the_segmenter_learns_what_the_labeler_says(data):
    model = PseudoLabelSegmenter(FixedLabeler(data.masks), NucleiSegmenter(**SMALL))
    model.set_params(random_state=0, segmenter__random_state=3).fit(data.images)
    direct = NucleiSegmenter(**SMALL, random_state=3).fit(data.images, data.masks)
    np.testing.assert_array_equal(
        model.predict_proba(data.images), direct.predict_proba(data.images)
    )
    assert model.n_pseudo_objects_ == [
        sum(len(np.unique(mask)) - 1 for mask in data.masks)
    ]
    assert len(model.detect(data.images)) == 3
    assert model.score(data.images, data.masks) == direct.score(data.images, data.masks)


def test_y_never_reaches_training(data):
    model = PseudoLabelSegmenter(
        FixedLabeler(data.masks), NucleiSegmenter(**SMALL), random_state=0
    )
    without = weights(model.fit(data.images))
    with_y = weights(model.fit(data.images, data.masks[::-1]))
    assert model.labeler_.seen_y_ is None
    np.testing.assert_array_equal(without, with_y)


def test_image_labels_go_to_a_weak_labeler_only(data):
    model = PseudoLabelSegmenter(WeakLabeler(data.masks), NucleiSegmenter(**SMALL))
    model.fit(data.images, image_labels=[0, 1, 1])
    assert model.labeler_.image_labels_ == [0, 1, 1]
    model.set_params(labeler=FixedLabeler(data.masks))
    with pytest.raises(ValueError, match="FixedLabeler takes none"):
        model.fit(data.images, image_labels=[0, 1, 1])


def test_random_state_reaches_parts_that_have_none(data):
    labeler = FixedLabeler(data.masks)
    model = PseudoLabelSegmenter(labeler, NucleiSegmenter(**SMALL), random_state=5)
    model.fit(data.images)
    assert isinstance(model.labeler_.random_state, int)
    assert isinstance(model.segmenter_.random_state, int)
    assert labeler.random_state is None
    model.set_params(labeler__random_state=9).fit(data.images)
    assert model.labeler_.random_state == 9
    model.set_params(random_state=None, segmenter__random_state=None)
    assert model.fit(data.images).segmenter_.random_state is None


def test_default_parts_take_pixel_size_and_device(data):
    model = PseudoLabelSegmenter(pixel_size=0.5, device="cpu", random_state=0)
    labeler, segmenter = model._make_parts(check_images(data.images))
    assert isinstance(labeler, Pipeline)
    maps, clusters = labeler["maps"], labeler["clusters"]
    assert clusters.pixel_size == segmenter.pixel_size == 0.5
    assert maps.device == segmenter.device == "cpu"
    assert maps.random_state is not None and clusters.random_state is not None


def test_pixel_size_is_read_from_files_that_tell(data, tmp_path):
    paths = []
    for i, image in enumerate(data.images):
        paths.append(str(tmp_path / f"{i}.tif"))
        per_cm = 1e4 / [0.25, 0.25, 0.5][i]
        tifffile.imwrite(
            paths[-1], image, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER"
        )
    model = PseudoLabelSegmenter(pixel_size="file")
    labeler, segmenter = model._make_parts(check_images(paths))
    np.testing.assert_allclose(labeler["clusters"].pixel_size, [0.25, 0.25, 0.5])
    assert segmenter.pixel_size == "file"
    labeler, _ = model._make_parts(check_images(paths[:2]))
    assert labeler["clusters"].pixel_size == pytest.approx(0.25)
    with pytest.raises(ValueError, match="image 0"):
        PseudoLabelSegmenter(pixel_size="file").fit(data.images)


def test_what_cannot_work_is_told_before_any_part_is_fitted(data):
    model = PseudoLabelSegmenter(FixedLabeler(data.masks), NucleiSegmenter(**SMALL))
    with pytest.raises(ValueError, match="cuda:77"):
        model.set_params(segmenter__device="cuda:77").fit(data.images)
    assert not hasattr(model, "labeler_")
    two_channels = data.images[..., :2]
    with pytest.raises(ValueError, match="1 or 3 channels, got 2"):
        PseudoLabelSegmenter().fit(two_channels)


def test_a_fit_that_fails_in_the_labeler_leaves_the_earlier_model(data):
    model = PseudoLabelSegmenter(
        FixedLabeler(data.masks), NucleiSegmenter(**SMALL), random_state=0
    ).fit(data.images)
    before = model.predict_proba(data.images)
    model.set_params(labeler=FixedLabeler(np.zeros_like(data.masks)))
    with pytest.raises(ValueError, match="no nucleus"):
        model.fit(data.images)
    np.testing.assert_array_equal(model.predict_proba(data.images), before)


def test_later_rounds_learn_the_own_masks_with_doubt(data):
    model = PseudoLabelSegmenter(
        FixedLabeler(data.masks),
        NucleiSegmenter(**{**SMALL, "max_epochs": 2, "steps_per_epoch": 6}),
        n_rounds=2,
        random_state=0,
    ).fit(data.images)
    assert len(model.n_pseudo_objects_) == 2
    own = model.set_params(doubt=0.3)._own_masks(data.images, check_images(data.images))
    proba = model.predict_proba(data.images)
    for mask, p in zip(own, proba, strict=True):
        np.testing.assert_array_equal(mask == -1, np.abs(p[..., 0] - 0.5) < 0.3)


def test_a_labeler_that_finds_nothing_is_an_error(data):
    nothing = FixedLabeler(np.zeros_like(data.masks))
    model = PseudoLabelSegmenter(nothing, NucleiSegmenter(**SMALL))
    with pytest.raises(ValueError, match="found no nucleus in any of the 3 images"):
        model.fit(data.images)


def test_bad_images_are_told_before_any_part_is_fitted(data, tmp_path):
    model = PseudoLabelSegmenter(FixedLabeler(data.masks), NucleiSegmenter(**SMALL))
    with pytest.raises(ValueError, match="image 1.*missing.png"):
        model.fit([data.images[0], str(tmp_path / "missing.png"), data.images[1]])
    assert not hasattr(model, "labeler_")


def test_methods_are_those_of_the_segmenter(data):
    model = PseudoLabelSegmenter(FixedLabeler(data.masks), FixedLabeler(data.masks))
    assert not hasattr(model, "predict_proba") and hasattr(model, "predict")
    assert hasattr(PseudoLabelSegmenter(), "predict_proba")
    assert len(model.set_params(n_rounds=2).fit(data.images).predict(data.images)) == 3


def test_clusterer_as_labeler_without_maps(data):
    model = PseudoLabelSegmenter(
        SemanticClusterer(), NucleiSegmenter(**SMALL), random_state=0
    )
    again = PseudoLabelSegmenter(
        SemanticClusterer(), NucleiSegmenter(**SMALL), random_state=0
    )
    np.testing.assert_array_equal(
        weights(model.fit(data.images)), weights(again.fit(list(data.images)))
    )


def test_later_rounds_ask_a_segmenter_that_predicts_in_its_own_way():
    class Bold(NucleiSegmenter):
        def predict(self, X):
            return [np.full(image.shape[:2], 1, np.int32) for image in X]

    images = make_nuclei(n_images=2, shape=(64, 64), random_state=0).images
    options = {"max_epochs": 1, "steps_per_epoch": 1, "patch_size": 32}
    model = PseudoLabelSegmenter(
        SemanticClusterer(), Bold(**options), n_rounds=2, doubt=0.0, random_state=0
    ).fit(images)
    assert model.n_pseudo_objects_[1] == 2  # one an image, as it says
