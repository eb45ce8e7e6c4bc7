# SPDX-License-Identifier: BSD-3-Clause
"""SemanticClusterer on images: contracts, options, empty images, bad input."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.io import imsave
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from psmlearn.cluster import SemanticClusterer
from psmlearn.cluster._features import jet_table
from psmlearn.datasets import make_nuclei


@pytest.fixture(scope="module")
def bunch():
    return make_nuclei(3, (120, 136), n_nuclei=12, random_state=1)


@pytest.fixture(scope="module")
def images(bunch):
    return bunch.images


@pytest.fixture(scope="module")
def stacked(bunch):
    """Images with a stand-in for the map: where nuclei are, blurred."""
    heat = [gaussian_filter((m > 0).astype(np.float32), 3) for m in bunch.masks]
    heat = np.clip(np.array(heat), 0, 1)[..., np.newaxis]
    return np.concatenate([bunch.images / np.float32(255), heat], axis=-1)


def _dice(mask, truth):
    mask, truth = mask > 0, truth > 0
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())


def _same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("fit_scope", ["image", "all"])
@pytest.mark.parametrize("n_clusters", [2, 3, 4])
def test_finds_the_nuclei(bunch, stacked, fit_scope, n_clusters):
    model = SemanticClusterer(n_clusters, fit_scope=fit_scope, random_state=0)
    masks = model.fit_predict(stacked)
    assert masks.shape == bunch.masks.shape and masks.dtype == np.int32
    for mask, truth in zip(masks, bunch.masks, strict=True):
        assert _dice(mask, truth) > 0.65
        n_found, n_true = mask.max(), truth.max()
        assert 0.5 * n_true <= n_found <= 2 * n_true
        assert np.array_equal(np.unique(mask), np.arange(n_found + 1))
    shape = (3,) if fit_scope == "image" else ()
    assert model.cluster_centers_.shape == (*shape, n_clusters, 2)
    assert model.foreground_.shape == (*shape, n_clusters)
    assert model.foreground_.dtype == bool
    assert model.foreground_.any(axis=-1).all()
    assert not model.foreground_.all(axis=-1).any()
    assert model.n_features_in_ == 4 and model.n_iter_ >= 1 and model.inertia_ > 0


@pytest.mark.parametrize("fit_scope", ["image", "all"])
def test_fit_predict_is_predict_and_transform_appends_it(stacked, fit_scope):
    model = SemanticClusterer(fit_scope=fit_scope, random_state=0)
    masks = model.fit_predict(stacked)
    _same(masks, model.labels_)
    _same(masks, model.predict(stacked))
    out = model.transform(stacked)
    assert out.shape == (*stacked.shape[:3], 5) and out.dtype == np.float32
    np.testing.assert_array_equal(out[..., :4], stacked)
    np.testing.assert_array_equal(out[..., 4], masks)
    np.testing.assert_array_equal(clone(model).fit_transform(stacked), out)
    names = ["red", "green", "blue", "map", "mask"]
    assert model.get_feature_names_out().tolist() == names


def test_list_stays_list_and_sizes_may_differ(images):
    ragged = [images[0], images[1][:91, :77], images[2][:1, :1], images[0][:3]]
    model = SemanticClusterer(random_state=0).fit(ragged)
    masks = model.predict(ragged)
    assert isinstance(masks, list) and isinstance(model.labels_, list)
    assert [m.shape for m in masks] == [i.shape[:2] for i in ragged]
    assert masks[2].max() == 0
    assert isinstance(model.transform(ragged), list)
    _same(model.fit_predict(list(images)), model.fit_predict(images))


@pytest.mark.parametrize("fit_scope", ["image", "all"])
def test_an_image_does_not_depend_on_its_neighbours(stacked, fit_scope):
    model = SemanticClusterer(fit_scope=fit_scope, n_samples=500, random_state=0)
    masks = model.fit(stacked).predict(stacked)
    _same(model.predict(stacked[::-1])[::-1], masks)
    _same(model.predict(stacked[1:2]), masks[1:2])


def test_seeds(stacked):
    def fit(seed):
        return SemanticClusterer(3, n_samples=60, n_init=1, random_state=seed).fit(
            stacked
        )

    first, again, other = fit(0), fit(0), fit(1)
    np.testing.assert_array_equal(first.cluster_centers_, again.cluster_centers_)
    _same(first.labels_, again.labels_)
    assert not np.array_equal(first.cluster_centers_, other.cluster_centers_)
    _same(fit(np.random.RandomState(3)).labels_, fit(np.random.RandomState(3)).labels_)
    before = np.random.get_state()[1].copy()
    fit(0).predict(stacked)
    assert np.array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("fit_scope", ["image", "all"])
def test_seed_and_scope_are_frozen_and_all_else_is_as_it_is_now(stacked, fit_scope):
    options = {"fit_scope": fit_scope, "n_samples": 60, "n_init": 1}
    model = SemanticClusterer(3, random_state=0, **options)
    masks = model.fit_predict(stacked)
    other = "all" if fit_scope == "image" else "image"
    model.set_params(random_state=1, fit_scope=other)
    _same(model.predict(stacked), masks)
    model.set_params(min_area=30.0)
    peer = SemanticClusterer(3, random_state=0, min_area=30.0, **options)
    _same(model.predict(stacked), peer.fit_predict(stacked))


def test_classes_may_be_asked_for_after_fit(images):
    model = SemanticClusterer(random_state=0).fit(images)
    model.set_params(classes="he")
    peer = SemanticClusterer(random_state=0, classes="he")
    _same(model.predict(images), peer.fit_predict(images))


def test_parameters_that_do_not_fit_the_images_are_told_by_predict_too(images):
    model = SemanticClusterer(random_state=0).fit(images)
    with pytest.raises(ValueError, match="needs a map"):
        model.set_params(fusion="jet").predict(images)
    grey = SemanticClusterer(random_state=0).fit(images[..., :1])
    with pytest.raises(ValueError, match="told by colour"):
        grey.set_params(classes="ki67").predict(images[..., :1])


def test_a_fit_that_fails_is_none(images):
    model = SemanticClusterer(fusion="jet")
    with pytest.raises(ValueError, match="needs a map"):
        model.fit(images)
    with pytest.raises(NotFittedError):
        model.predict(images)


def test_y_is_ignored(bunch, images):
    model = SemanticClusterer(random_state=0)
    _same(model.fit_predict(images, bunch.masks), model.fit_predict(images))


def test_inputs_are_left_alone_and_may_be_read_only(stacked):
    frozen = stacked.copy()
    frozen.flags.writeable = False
    model = SemanticClusterer(random_state=0, smoothing=0.0, background_weight=0.0)
    _same(model.fit_predict(frozen), model.fit_predict(stacked))
    np.testing.assert_array_equal(frozen, stacked)
    jet = SemanticClusterer(3, fusion="jet", random_state=0).fit(frozen)
    assert jet.cluster_centers_.shape == (3, 3, 3)


def test_paths_and_floats_equal_arrays(images, tmp_path):
    paths = []
    for i, image in enumerate(images):
        paths.append(tmp_path / f"{i}.png")
        imsave(paths[-1], image, check_contrast=False)
    model = SemanticClusterer(random_state=0)
    masks = model.fit_predict(images)
    _same(model.fit_predict(paths), masks)
    _same(model.fit_predict(images / 255), masks)


@pytest.mark.parametrize("dump", ["pickle", "joblib"])
@pytest.mark.parametrize("fit_scope", ["image", "all"])
def test_saved_and_loaded(images, tmp_path, dump, fit_scope):
    model = SemanticClusterer(fit_scope=fit_scope, random_state=0).fit(images)
    if dump == "pickle":
        loaded = pickle.loads(pickle.dumps(model))
    else:
        joblib.dump(model, tmp_path / "model.joblib")
        loaded = joblib.load(tmp_path / "model.joblib")
    _same(loaded.predict(images), model.predict(images))
    assert joblib.hash(loaded) == joblib.hash(model)


def _noise(rng):
    return rng.random((128, 128, 3), dtype=np.float32)


def _glass(rng):
    return np.clip(rng.normal(0.94, 0.015, (128, 128, 3)), 0, 1).astype(np.float32)


def _eosin(rng):
    color = np.array([0.9, 0.6, 0.75])
    texture = gaussian_filter(rng.normal(size=(128, 128, 1)), (4, 4, 0))
    image = color ** (1 + 0.3 * texture / texture.std())
    return np.clip(image + rng.normal(0, 0.02, image.shape), 0, 1).astype(np.float32)


EMPTY = {
    "noise": _noise,
    "glass": _glass,
    "eosin": _eosin,
    "white": lambda rng: np.ones((64, 64, 3), np.float32),
    "black": lambda rng: np.zeros((64, 64, 3), np.float32),
    "one colour": lambda rng: np.full((64, 64, 3), (0.4, 0.3, 0.6), np.float32),
    "background": lambda rng: (
        make_nuclei(1, (128, 128), n_nuclei=0, random_state=5)
        .images[0]
        .astype(np.float32)
        / 255
    ),
}


@pytest.mark.parametrize("kind", EMPTY)
@pytest.mark.parametrize("fit_scope", ["image", "all"])
@pytest.mark.parametrize("with_map", [False, True])
@pytest.mark.parametrize("fusion", ["concat", "jet"])
def test_images_without_nuclei_come_out_empty(kind, fit_scope, with_map, fusion):
    if fusion == "jet" and not with_map:
        pytest.skip("jet needs a map")
    rng = np.random.default_rng(0)
    image = EMPTY[kind](rng)
    if with_map:
        heat = gaussian_filter(rng.random(image.shape[:2]), 3)
        heat = ((heat - heat.min()) / np.ptp(heat)).astype(np.float32)
        image = np.concatenate([image, heat[..., np.newaxis]], axis=-1)
    model = SemanticClusterer(fusion=fusion, fit_scope=fit_scope, random_state=0)
    assert model.fit_predict([image])[0].max() == 0
    assert -1 <= model.score([image]) <= 1


@pytest.mark.parametrize("n_nuclei", [1, 4])
def test_few_nuclei_are_not_lost(n_nuclei):
    bunch = make_nuclei(1, (400, 400), n_nuclei=n_nuclei, random_state=4)
    masks = SemanticClusterer(random_state=0).fit_predict(bunch.images)
    assert 1 <= masks.max() <= 2 * n_nuclei
    assert _dice(masks[0], bunch.masks[0]) > 0.5


def test_empty_image_beside_full_ones(images):
    blank = np.full_like(images[:1], 240)
    both = np.concatenate([images, blank])
    for fit_scope in ("image", "all"):
        masks = SemanticClusterer(fit_scope=fit_scope, random_state=0).fit_predict(both)
        assert masks[-1].max() == 0
        assert all(mask.max() > 3 for mask in masks[:-1])


def test_paper_clustering_computed_independently():
    rng = np.random.default_rng(2)
    kinds = rng.integers(3, size=(24, 24))
    colors = np.array([[0.4, 0.3, 0.6], [0.9, 0.6, 0.8], [0.95, 0.95, 0.95]])
    image = colors[kinds] + rng.normal(0, 0.01, (24, 24, 3))
    heat = np.array([0.85, 0.4, 0.1])[kinds] + rng.normal(0, 0.01, (24, 24))
    stack = np.clip(np.dstack([image, heat]), 0, 1).astype(np.float32)
    fused = jet_table()[(255 * stack[..., 3]).astype(np.uint8)] / 255 + stack[..., :3]
    means = np.array([fused[kinds == k].mean(axis=0) for k in range(3)])
    expected = means[:, :2].sum(axis=1).argmin()
    model = SemanticClusterer(
        3,
        fusion="jet",
        foreground="paper",
        min_contrast=0,
        opening_radius=0,
        min_area=0,
        max_hole_area=0,
        instances=False,
        random_state=0,
    ).fit([stack])
    np.testing.assert_array_equal(model.labels_[0] > 0, kinds == expected)
    found = model.cluster_centers_[0] / 255
    distance = np.abs(found[:, np.newaxis] - means).max(axis=2)
    assert distance.min(axis=0).max() < 0.01


def test_foreground_options(stacked):
    auto = SemanticClusterer(random_state=0).fit_predict(stacked)
    top = SemanticClusterer(foreground=1, random_state=0).fit_predict(stacked)
    _same(auto, top)
    darkest = SemanticClusterer(
        foreground=lambda s: s["haematoxylin"] == s["haematoxylin"].max(),
        random_state=0,
    )
    _same(auto, darkest.fit_predict(stacked))
    none = SemanticClusterer(foreground=0, random_state=0).fit_predict(stacked)
    assert none.max() == 0


def test_instances_and_cleaning(stacked):
    whole = SemanticClusterer(instances=False, random_state=0).fit_predict(stacked)
    split = SemanticClusterer(objects="clusters", random_state=0).fit_predict(stacked)
    np.testing.assert_array_equal(whole > 0, split > 0)
    assert split.max() >= whole.max()
    large = SemanticClusterer(min_area=30.0, random_state=0).fit_predict(stacked)
    assert 0 < large.max() < split.max()
    n_pixels = np.unique(
        SemanticClusterer(min_area=30.0, instances=False, random_state=0).fit_predict(
            stacked[:1]
        ),
        return_counts=True,
    )[1]
    assert n_pixels.min() >= 30 / 0.25**2


def test_pixel_size_scales_lengths(images):
    half = images[:, ::2, ::2]
    model = SemanticClusterer(random_state=0)
    full = model.fit_predict(images)
    coarse = model.set_params(pixel_size=[0.5, 0.5, 0.5]).fit_predict(half)
    for one, other in zip(full, coarse, strict=True):
        assert _dice(one[::2, ::2], other) > 0.85
        assert abs(int(one.max()) - int(other.max())) <= 0.35 * one.max()
    with pytest.raises(ValueError, match="pixel_size"):
        model.set_params(pixel_size="file").fit(images)


@pytest.mark.parametrize("n_channels", [1, 2])
def test_grey_images(bunch, stacked, n_channels):
    grey = stacked[..., :3].mean(axis=-1, keepdims=True)
    X = np.concatenate([grey, stacked[..., 3:]], axis=-1)[..., :n_channels]
    model = SemanticClusterer(random_state=0)
    masks = model.fit_predict(X)
    assert all(_dice(m, t) > 0.6 for m, t in zip(masks, bunch.masks, strict=True))
    names = ["grey", "map", "mask"] if n_channels == 2 else ["grey", "mask"]
    assert model.get_feature_names_out().tolist() == names


def test_score_is_a_silhouette(stacked):
    scores = [
        SemanticClusterer(k, random_state=0).fit(stacked).score(stacked)
        for k in (1, 2, 6)
    ]
    assert scores[0] == -1
    assert 0.2 < scores[2] < scores[1] <= 1
    flat = SemanticClusterer(random_state=0).fit(np.ones((1, 8, 8, 3)))
    assert flat.score(np.ones((1, 8, 8, 3))) == -1


def test_grid_search_and_pipeline(bunch, stacked):
    def dice(model, X, y):
        return np.mean([_dice(a, b) for a, b in zip(model.predict(X), y, strict=True)])

    grid = {"n_clusters": [2, 3], "fusion": ["concat", "jet"]}
    search = GridSearchCV(SemanticClusterer(random_state=0), grid, scoring=dice, cv=3)
    search.fit(list(stacked), list(bunch.masks))
    assert search.best_score_ > 0.7
    plain = GridSearchCV(SemanticClusterer(random_state=0), {"n_clusters": [2, 6]})
    plain.set_params(cv=3).fit(stacked)
    assert plain.best_params_ == {"n_clusters": 2}
    chain = make_pipeline(SemanticClusterer(random_state=0))
    _same(
        chain.fit_predict(stacked),
        SemanticClusterer(random_state=0).fit_predict(stacked),
    )


def test_progress_bar(images, capsys, monkeypatch):
    monkeypatch.setattr("psmlearn._progress._DELAY", 0)  # not of what takes seconds
    SemanticClusterer(verbose=1, random_state=0).fit(images)
    assert "SemanticClusterer" in capsys.readouterr().err
    SemanticClusterer(random_state=0).fit(images)
    assert capsys.readouterr().err == ""


BAD = {
    "five channels": (lambda x: np.concatenate([x, x[..., :1]], -1), "5 channels"),
    "nan": (lambda x: np.where(x > 0.99, np.nan, x), "NaN"),
    "no image": (lambda x: [], "empty"),
    "above one": (lambda x: x * 255, "divide by 255"),
    "one image": (lambda x: x[0], r"\[image\]"),
    "channel counts": (lambda x: [x[0], x[1][..., :3]], "image 1 has 3 channel"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_images(stacked, kind):
    spoil, message = BAD[kind]
    with pytest.raises(ValueError, match=message):
        SemanticClusterer().fit(spoil(stacked))


def test_errors_of_parameters_and_order(images, stacked):
    with pytest.raises(NotFittedError):
        SemanticClusterer().predict(images)
    with pytest.raises(ValueError, match="needs a map"):
        SemanticClusterer(fusion="jet").fit(images)
    with pytest.raises(ValueError, match="foreground='paper'"):
        SemanticClusterer(foreground="paper").fit(stacked)
    with pytest.raises(ValueError, match="expected 4"):
        SemanticClusterer().fit(stacked).predict(images)
    for bad in ({"n_clusters": 0}, {"fusion": "sum"}, {"min_area": -1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            SemanticClusterer(**bad).fit(images)
    with pytest.raises(TypeError):
        SemanticClusterer(3, "jet")


@pytest.mark.data
def test_real_image_keeps_its_nuclei(data_dir):
    from psmlearn.datasets import load_monuseg

    train = load_monuseg(data_dir / "monuseg" / "MoNuSegTrainingData")
    masks = SemanticClusterer(random_state=0).fit_predict(train.images[:1])
    assert masks[0].max() > 200
    assert _dice(masks[0], train.masks[0]) > 0.7
