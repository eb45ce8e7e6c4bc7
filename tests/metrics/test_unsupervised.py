# SPDX-License-Identifier: BSD-3-Clause
"""Scorers that see no masks."""

from __future__ import annotations

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import silhouette_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from psmlearn.cluster import SemanticClusterer
from psmlearn.datasets import make_nuclei
from psmlearn.exceptions import AnnotationWarning
from psmlearn.metrics import aggregated_jaccard_score
from psmlearn.metrics._perturb import CHANGES, change_image, restore_mask
from psmlearn.metrics._unsupervised import (
    OutlineScorer,
    SilhouetteScorer,
    StabilityScorer,
    _largest_object,
    edge_agreement,
    mean_roundness,
    outline_scorer,
    outlines,
    silhouette_of_two,
    silhouette_scorer,
    stability_scorer,
)

SCORERS = [silhouette_scorer, outline_scorer, stability_scorer]
LOWEST = {"SilhouetteScorer": -1.0, "OutlineScorer": 0.0, "StabilityScorer": 0.0}


class Fixed(BaseEstimator):
    """Gives the masks it was made with, cut or repeated to the images' sizes."""

    def __init__(self, masks):
        self.masks = masks

    def predict(self, X):
        return [
            np.resize(mask, np.shape(image)[:2])
            for mask, image in zip(self.masks, X, strict=True)
        ]


class Refusing:
    """Raises whenever it is looked at."""

    def __getattribute__(self, name):
        raise AssertionError("y was looked at")


@pytest.fixture(scope="module")
def nuclei():
    return make_nuclei(2, (112, 112), n_nuclei=10, random_state=0)


@pytest.fixture(scope="module")
def model(nuclei):
    return SemanticClusterer(random_state=0).fit(nuclei.images)


def _name(scorer):
    return type(scorer).__name__


def _mesh(shape, size):
    rows, cols = (np.arange(n) // size for n in shape)
    return (rows[:, None] * (cols[-1] + 1) + cols + 1).astype(np.int32)


@pytest.mark.parametrize("scorer", SCORERS, ids=_name)
@pytest.mark.parametrize("value", [0, 1])
def test_empty_and_full_masks_score_lowest(scorer, value, nuclei):
    masks = np.full(nuclei.masks.shape, value, np.int32)
    scores = scorer.score_images(Fixed(masks), nuclei.images)
    np.testing.assert_array_equal(scores, LOWEST[_name(scorer)])


@pytest.mark.parametrize("scorer", [outline_scorer, stability_scorer], ids=_name)
def test_one_giant_object_scores_lowest_or_near(scorer, nuclei, model):
    masks = np.zeros(nuclei.masks.shape, np.int32)
    masks[:, 5:-5, 5:-5] = 1
    giant = scorer(Fixed(masks), nuclei.images)
    assert giant < 0.2 < scorer(model, nuclei.images)


@pytest.mark.parametrize("size", [1, 3, 8, 24])
def test_a_mesh_over_the_image_has_no_outlines_on_edges(size, nuclei):
    mesh = np.stack([_mesh((112, 112), size)] * 2)
    assert outline_scorer(Fixed(mesh), nuclei.images) < 0.3
    assert silhouette_scorer(Fixed(mesh), nuclei.images) == -1.0


def test_truth_scores_above_worse_masks(nuclei):
    def outline(masks):
        return outline_scorer(Fixed(masks), nuclei.images)

    truth = nuclei.masks
    # Two ids: one value in several pieces is refused.
    merged = np.where(truth > 0, 1 + np.arange(112) // 56, 0).astype(np.int32)
    assert outline(truth) > 0.7
    with pytest.warns(AnnotationWarning, match="2 values in"):
        assert outline(merged) < 0.7 * outline(truth)
    assert outline(np.roll(truth, 30, axis=1)) < 0.5 * outline(truth)
    ground = np.where(truth == 0, 1 + np.arange(112) // 56, 0).astype(np.int32)
    assert outline(ground) < 0.5 * outline(truth)
    # Pale and dark sides are told apart, which the plain silhouette cannot.
    inverse = silhouette_scorer(Fixed(ground), nuclei.images)
    assert inverse < 0 < silhouette_scorer(Fixed(truth), nuclei.images)


@pytest.mark.parametrize("scorer", SCORERS, ids=_name)
def test_scores_are_those_of_the_images_and_repeat(scorer, nuclei, model):
    scores = scorer.score_images(model, nuclei.images)
    assert scores.shape == (2,)
    assert scorer(model, nuclei.images) == scores.mean()
    again = copy.deepcopy(scorer).score_images(model, list(nuclei.images))
    np.testing.assert_array_equal(again, scores)
    one = scorer.score_images(model, nuclei.images[1:])
    np.testing.assert_array_equal(one, scores[1:])


@pytest.mark.parametrize("scorer", SCORERS, ids=_name)
def test_y_is_never_looked_at(scorer, nuclei, model):
    assert scorer(model, nuclei.images, Refusing()) == scorer(model, nuclei.images)


@pytest.mark.parametrize("scorer", SCORERS, ids=_name)
def test_containers_and_paths_score_alike(scorer, nuclei, model, tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    for path, image in zip(paths, nuclei.images, strict=True):
        Image.fromarray(image).save(path)
    expected = scorer(model, nuclei.images)
    assert scorer(model, list(nuclei.images)) == expected
    assert scorer(model, paths) == expected


@pytest.mark.parametrize("scorer", SCORERS, ids=_name)
def test_images_of_several_sizes_grey_and_with_a_map(scorer, nuclei):
    grey = [image.mean(axis=-1, keepdims=True) / 255 for image in nuclei.images]
    grey[1] = grey[1][:80, :101]
    stacks = [np.concatenate([image] * 3 + [1 - image], axis=-1) for image in grey]
    for images in (grey, stacks):
        images = [image.astype(np.float32) for image in images]
        model = SemanticClusterer(random_state=0).fit(images)
        assert (scorer.score_images(model, images) > 0.2).all()


@pytest.mark.parametrize("scorer", SCORERS, ids=_name)
def test_images_of_five_channels_are_refused(scorer):
    with pytest.raises(ValueError, match="got 5 channels"):
        scorer(Fixed([]), np.zeros((1, 8, 8, 5), np.float32))


def test_unknown_pixels_are_no_objects(nuclei):
    unknown = np.where(nuclei.masks == 0, -1, nuclei.masks)
    for scorer in SCORERS[:2]:
        expected = scorer(Fixed(nuclei.masks), nuclei.images)
        assert scorer(Fixed(unknown), nuclei.images) == expected


@pytest.mark.parametrize("scorer", SCORERS, ids=_name)
def test_pickle_clone_and_repr(scorer, nuclei, model):
    again = pickle.loads(pickle.dumps(scorer))
    assert again == scorer
    assert repr(again) == repr(scorer)
    assert clone(scorer, safe=False) == scorer
    assert repr(scorer).startswith(_name(scorer))
    assert again(model, nuclei.images) == scorer(model, nuclei.images)


@pytest.mark.parametrize("scorer", SCORERS, ids=_name)
def test_grid_search_prefers_what_is_right(scorer):
    data = make_nuclei(2, (112, 112), n_nuclei=10, random_state=3)
    steps = [
        ("same", FunctionTransformer()),
        ("cluster", SemanticClusterer(random_state=0)),
    ]
    # Blurred to blobs, or cut where the stain is darkest alone.
    grid = [{"cluster__smoothing": [0.375, 4.0]}, {"cluster__n_clusters": [5]}]
    search = GridSearchCV(
        Pipeline(steps), grid, scoring=scorer, cv=2, error_score="raise"
    ).fit(list(data.images))
    scores = search.cv_results_["mean_test_score"]
    assert search.best_params_ == {"cluster__smoothing": 0.375}
    assert scores[0] > scores[1]
    # As the true masks would have chosen.
    aji = [
        aggregated_jaccard_score(
            data.masks, Pipeline(steps).set_params(**p).fit_predict(list(data.images))
        )
        for p in search.cv_results_["params"]
    ]
    assert np.argmax(aji) == 0


def test_several_scorers_in_one_search(nuclei):
    search = GridSearchCV(
        SemanticClusterer(random_state=0),
        {"n_clusters": [2]},
        scoring={_name(scorer): scorer for scorer in SCORERS[:2]},
        refit="OutlineScorer",
        cv=2,
        n_jobs=1,
    ).fit(nuclei.images)
    assert search.best_score_ == search.cv_results_["mean_test_OutlineScorer"][0]
    assert search.score(nuclei.images) > 0.5


@pytest.mark.slow
def test_a_network_in_a_search(nuclei):
    from psmlearn import NucleiSegmenter, PseudoLabelSegmenter

    segmenter = NucleiSegmenter(max_epochs=1, steps_per_epoch=2, patch_size=32)
    model = PseudoLabelSegmenter(
        SemanticClusterer(), segmenter, random_state=0, device="cpu"
    )
    both = np.arange(2)
    search = GridSearchCV(
        model,
        {"segmenter__threshold": [0.5]},
        scoring={_name(scorer): scorer for scorer in SCORERS},
        refit=False,
        cv=[(both, both)],
        error_score="raise",
    ).fit(nuclei.images)
    for scorer in SCORERS:
        found = search.cv_results_[f"mean_test_{_name(scorer)}"][0]
        assert LOWEST[_name(scorer)] <= found <= 1


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_masks_of_copies_come_back_to_the_image(change, nuclei):
    image = nuclei.images[0][:, :91].astype(np.float32) / 255
    mask = nuclei.masks[0][:, :91]
    plane = (mask / mask.max()).astype(np.float32)[..., np.newaxis]
    stack = np.concatenate([image, plane], axis=-1)
    for number in range(CHANGES[change]):
        copied = change_image(stack, change, number)
        assert copied.dtype == np.float32
        assert copied.min() >= 0
        assert copied.max() <= 1
        # The channel behind the colours moves with them and is not stained.
        moved = (copied[..., 3] > 0.5 / mask.max()).astype(np.int32)
        back = restore_mask(moved, change, mask.shape)
        assert back.shape == mask.shape
        same = (back > 0) == (mask > 0)
        assert same.mean() > (0.97 if change == "zoom" else 0.9999)
        if change in ("stain", "light"):
            assert np.abs(copied[..., :3] - image).mean() > 0.01


def test_stain_changes_haematoxylin_alone():
    from psmlearn._images._stains import eosin, haematoxylin

    image = np.full((2, 2, 3), (0.6, 0.4, 0.6), np.float32)
    weak, strong = (change_image(image, "stain", number) for number in range(2))
    amount = haematoxylin(image)
    np.testing.assert_allclose(haematoxylin(weak), 0.7 * amount, rtol=1e-3)
    np.testing.assert_allclose(haematoxylin(strong), 1.3 * amount, rtol=1e-3)
    np.testing.assert_allclose(eosin(weak), eosin(image), atol=1e-3)


def test_a_pixelwise_method_is_stable_under_turns(nuclei, model):
    assert StabilityScorer("rotation")(model, nuclei.images) > 0.97
    assert 0.5 < StabilityScorer(("light", "zoom"))(model, nuclei.images) < 1


def test_roundness():
    rows, cols = np.mgrid[-40:41, -40:41]
    disc = (np.hypot(rows, cols) < 38).astype(np.int32)
    assert mean_roundness(disc) > 0.97
    half = disc.copy()
    half[:40] *= 2
    # Of half a disc: 2 pi**2 / (pi + 2)**2, a little more where a pixel is an angle.
    assert mean_roundness(half) == pytest.approx(0.747, abs=0.06)
    bar = np.zeros((20, 180), np.int32)
    bar[5:15, 10:170] = 7
    assert mean_roundness(bar) == pytest.approx(4 * np.pi * 1600 / 340**2, abs=0.03)
    assert mean_roundness(np.zeros((3, 3), np.int32)) == 0


def test_huge_ids_take_no_memory():
    labels = _mesh((60, 60), 20)
    huge = labels * np.int32(5_000_000)
    tracemalloc.start()
    assert mean_roundness(huge) == pytest.approx(mean_roundness(labels))
    assert _largest_object(huge) == _largest_object(labels) == 400
    assert _largest_object(0 * huge) == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(3, 30), elements=st.integers(-4, 4)),
    st.integers(1, 29),
)
def test_silhouette_is_that_of_sklearn(values, n_first):
    n_first = min(n_first, values.size - 1)
    inside = np.arange(values.size) < n_first
    expected = silhouette_score(values[:, np.newaxis], inside)
    found = silhouette_of_two(values[inside], values[~inside])
    assert found == pytest.approx(expected, abs=1e-6)


def test_outlines_and_their_edges():
    labels = np.zeros((60, 60), np.int32)
    labels[20:40, 20:30], labels[20:40, 30:40] = 1, 2
    found = outlines(labels)
    assert np.count_nonzero(found) == 2 * (2 * 20 + 2 * 10 - 4)
    options = {"smoothing": 1.0, "edge_fraction": 0.1, "tolerance": 2}
    stain = (labels > 0).astype(np.float32)
    whole = edge_agreement((labels > 0).astype(np.int32), stain, **options)
    assert whole > 0.9
    # The line that splits the square lies on no edge.
    assert edge_agreement(labels, stain, **options) < whole - 0.05
    assert edge_agreement(labels, np.zeros((60, 60), np.float32), **options) == 0


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: StabilityScorer("shear"), ValueError, "'light', 'rotation', 'stain'"),
        (lambda: StabilityScorer(()), ValueError, "must be some of"),
        (lambda: StabilityScorer([["zoom"]]), ValueError, "must be some of"),
        (lambda: StabilityScorer(None), TypeError, "must be a str or a sequence"),
        (lambda: SilhouetteScorer(smoothing=np.inf), ValueError, "from 0 to 1000"),
        (lambda: OutlineScorer(smoothing=np.nan), ValueError, "smoothing must be from"),
        (lambda: StabilityScorer(max_object_fraction=2), ValueError, "from 0 to 1"),
        (lambda: OutlineScorer(edge_fraction=0), ValueError, "edge_fraction must be"),
        (lambda: OutlineScorer(tolerance=1.5), TypeError, "without fraction"),
        (lambda: SilhouetteScorer(smoothing="a"), TypeError, "smoothing must be a"),
        (lambda: SilhouetteScorer(random_state=None), TypeError, "random_state must"),
    ],
)
def test_bad_parameters_are_told_at_once(make, error, match):
    with pytest.raises(error, match=match):
        make()
