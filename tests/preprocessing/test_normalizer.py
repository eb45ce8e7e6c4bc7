# SPDX-License-Identifier: BSD-3-Clause
"""StainNormalizer against mixtures whose stains and amounts are known."""

from __future__ import annotations

from time import process_time

import numpy as np
import pytest
from scipy import ndimage
from skimage.color import combine_stains, rgb2lab
from sklearn.pipeline import make_pipeline

from psmlearn import SemanticClusterer
from psmlearn._images._stains import estimate_stain_vectors, stain_vector
from psmlearn.datasets import make_nuclei
from psmlearn.io import read_image
from psmlearn.preprocessing import StainNormalizer, separate_stains
from psmlearn.utils.estimator_checks import parametrize_with_image_checks

SIDE = 120


@parametrize_with_image_checks(
    [StainNormalizer(n_samples=500), StainNormalizer("reinhard", n_samples=500)]
)
def test_image_checks(estimator, check):
    check(estimator)


def amounts_of(seed, side=SIDE):
    """Smooth amounts (side, side, 2) of two stains, some places with but one."""
    noise = np.random.default_rng(seed).normal(size=(side, side, 3))
    noise = ndimage.gaussian_filter(noise, (3, 3, 0))
    noise /= noise.std(axis=(0, 1))
    amounts = 0.5 + 0.2 * noise[..., :2]
    amounts[noise[..., 2] > 0.7, 0] = 0
    amounts[noise[..., 2] < -0.7, 1] = 0
    return np.maximum(amounts, 0)


def painted(amounts, stains):
    """Light through stains, by scikit-image (whose densities are natural)."""
    vectors = np.stack([stain_vector(stain) for stain in stains])
    third = np.cross(*vectors)
    matrix = np.vstack([vectors, third / np.linalg.norm(third)])
    # combine_stains takes exp(stains * log(1e-6) / ...): bring amounts to its unit.
    unit = np.log(10) / -np.log(1e-6)
    three = np.dstack([amounts * unit, np.zeros(amounts.shape[:2])])
    return combine_stains(three, matrix).astype(np.float32)


OWN = ("haematoxylin", "eosin")
OTHER = ([0.60, 0.74, 0.30], [0.15, 0.90, 0.40])


def angle(first, second):
    return np.degrees(np.arccos(np.clip(first @ second, -1, 1)))


def test_paint_is_beer_and_lambert():
    amounts = amounts_of(0)
    expected = 10 ** -(amounts @ np.stack([stain_vector(s) for s in OWN]))
    np.testing.assert_allclose(painted(amounts, OWN), expected, atol=1e-5)


@pytest.mark.parametrize("second", ["eosin", "dab"])
def test_learns_the_stains_that_were_mixed(second):
    stains = ("haematoxylin", second)
    images = [painted(amounts_of(seed), stains) for seed in range(3)]
    normalizer = StainNormalizer(random_state=0).fit(images)
    for vector, stain in zip(normalizer.stains_, stains, strict=True):
        assert angle(vector, stain_vector(stain)) < 2
    amounts = np.concatenate([amounts_of(seed).reshape(-1, 2) for seed in range(3)])
    np.testing.assert_allclose(
        normalizer.strengths_, np.percentile(amounts, 99, axis=0), rtol=0.03
    )


@pytest.mark.parametrize("strength", [0.5, 0.8, 1.25])
def test_other_colours_and_strengths_become_the_targets(strength):
    amounts = amounts_of(5)
    expected = painted(amounts, OWN)
    normalizer = StainNormalizer(random_state=0).fit([expected])
    result = normalizer.transform([painted(strength * amounts, OTHER)])[0]
    before = np.abs(painted(strength * amounts, OTHER) - expected).mean()
    after = np.abs(result - expected).mean()
    assert after < 0.01 < 4 * after + 0.01 < before + 0.01
    assert np.abs(result - expected).max() < 0.08


def test_given_stains_bring_strengths_together():
    stains = ("haematoxylin", "dab")
    target, weak = painted(amounts_of(1), stains), painted(0.4 * amounts_of(1), stains)
    normalizer = StainNormalizer(stains=stains, random_state=0).fit([target])
    np.testing.assert_allclose(
        normalizer.stains_, [stain_vector(stain) for stain in stains]
    )
    np.testing.assert_allclose(normalizer.transform([weak])[0], target, atol=0.02)


def test_own_images_hardly_change():
    image = painted(amounts_of(2), OWN)
    for method in ("macenko", "reinhard"):
        result = StainNormalizer(method, random_state=0).fit_transform([image])[0]
        assert np.abs(result - image).max() < 0.02


def test_reinhard_gives_the_targets_moments():
    target = [painted(0.9 * amounts_of(seed), OWN) for seed in (0, 1)]
    image = painted(0.7 * amounts_of(7), OTHER)
    normalizer = StainNormalizer("reinhard", random_state=0).fit(target)
    pooled = rgb2lab(np.concatenate(target)).reshape(-1, 3)
    dense = -np.log10(np.concatenate(target)).mean(axis=2).ravel() > 0.1
    np.testing.assert_allclose(normalizer.means_, pooled[dense].mean(axis=0), rtol=0.01)
    np.testing.assert_allclose(
        normalizer.deviations_, pooled[dense].std(axis=0), rtol=0.02
    )
    stained = -np.log10(image).mean(axis=2) > 0.1
    lab = rgb2lab(normalizer.transform([image])[0])[stained]
    np.testing.assert_allclose(lab.mean(axis=0), normalizer.means_, atol=0.5)
    np.testing.assert_allclose(lab.std(axis=0), normalizer.deviations_, atol=0.5)


@pytest.mark.parametrize("method", ["macenko", "reinhard"])
def test_glass_stays_white(method):
    image = painted(amounts_of(3), OTHER)
    image[:, :40] = 1
    normalizer = StainNormalizer(method, random_state=0)
    normalizer.fit([painted(amounts_of(0), OWN)])
    result = normalizer.transform([image])[0]
    assert (result[:, :40] == 1).all()
    assert np.abs(result[:, 40:] - image[:, 40:]).mean() > 0.02


@pytest.mark.parametrize("method", ["macenko", "reinhard"])
@pytest.mark.parametrize("value", [1.0, 0.93, 0.5, 0.0])
def test_blank_grey_and_black_come_back_unchanged(method, value):
    normalizer = StainNormalizer(method, random_state=0)
    normalizer.fit([painted(amounts_of(0), OWN)])
    even = np.full((1, 40, 50, 3), value, np.float32)
    np.testing.assert_array_equal(normalizer.transform(even), even)
    grey = np.repeat(painted(amounts_of(1), OWN)[np.newaxis, ..., :1], 3, axis=3)
    np.testing.assert_array_equal(normalizer.transform(grey), grey)


@pytest.mark.parametrize("stain, other", [(0, 1), (1, 0)])
def test_one_stain_takes_the_nearer_colour(stain, other):
    target = painted(amounts_of(0), OWN)
    normalizer = StainNormalizer(random_state=0).fit([target])
    amounts = amounts_of(4)
    amounts[..., stain] += 0.1
    amounts[..., other] = 0
    expected = painted(amounts, OWN)
    result = normalizer.transform([painted(amounts, OTHER)])[0]
    own = separate_stains(result, OWN)
    assert own[..., other].mean() < 0.1 * own[..., stain].mean()
    assert np.abs(result - expected).mean() < 0.06


def test_absent_stain_is_not_made_up():
    stains = ("haematoxylin", "dab")
    normalizer = StainNormalizer(stains=stains, random_state=0)
    normalizer.fit([painted(amounts_of(0), stains)])
    amounts = amounts_of(1)
    amounts[..., 1] = np.random.default_rng(0).uniform(0, 0.02, (SIDE, SIDE))
    result = normalizer.transform([painted(amounts, stains)])[0]
    assert separate_stains(result, stains)[..., 1].max() < 0.03


def test_pen_marks_are_not_learnt_from():
    clean = painted(amounts_of(0, 240), OWN)
    marked = clean.copy()
    marked[:, 80:140] = [0.1, 0.5, 0.2]
    learnt = StainNormalizer(random_state=0).fit([clean]).stains_
    kept = StainNormalizer(random_state=0).fit([marked]).stains_
    spoilt = StainNormalizer(exclude_artefacts=False, random_state=0).fit([marked])
    assert max(angle(*pair) for pair in zip(kept, learnt, strict=True)) < 2
    assert max(angle(*pair) for pair in zip(spoilt.stains_, learnt, strict=True)) > 10


def test_nothing_to_learn_from():
    for image in (np.ones((30, 30, 3)), np.full((30, 30, 3), 0.5)):
        with pytest.raises(ValueError, match="no stain to learn from"):
            StainNormalizer().fit([image])
    amounts = amounts_of(0)
    amounts[..., 1] = 0
    with pytest.raises(ValueError, match="one stain only"):
        StainNormalizer().fit([painted(amounts, OWN)])


def test_blank_images_among_others_do_no_harm():
    image = painted(amounts_of(0), OWN)
    alone = StainNormalizer(random_state=0).fit([image])
    both = StainNormalizer(random_state=0).fit([image, np.ones((50, 60, 3))])
    np.testing.assert_allclose(alone.stains_, both.stains_, atol=0.01)


def test_maps_and_labels_are_handed_on():
    image = painted(amounts_of(0), OTHER)
    further = np.random.default_rng(0).random((SIDE, SIDE, 1)).astype(np.float32)
    labels = np.full((SIDE, SIDE, 2), 7, np.float32)
    labels[..., 1] = -1
    stack = np.concatenate([image, further, labels], axis=2)
    normalizer = StainNormalizer(label_channel=[-2, -1], random_state=0)
    result = normalizer.fit([stack]).transform([stack])[0]
    np.testing.assert_array_equal(result[..., 3:], stack[..., 3:])
    plain = StainNormalizer(random_state=0).fit([image])
    np.testing.assert_array_equal(result[..., :3], plain.transform([image])[0])
    with pytest.raises(ValueError, match="first 3 channels"):
        StainNormalizer(label_channel=1).fit([np.ones_like(image)])


def test_results_are_images():
    images = make_nuclei(2, (96, 96), random_state=0).images
    bright = (images // 2 + 127).astype(np.uint8)
    for method in ("macenko", "reinhard"):
        result = StainNormalizer(method, random_state=0).fit(images).transform(bright)
        assert result.dtype == np.float32 and result.shape == images.shape
        assert result.min() >= 0 and result.max() <= 1


def test_other_method_forgets_what_the_first_learnt():
    images = [painted(amounts_of(0), OWN)]
    normalizer = StainNormalizer(random_state=0).fit(images)
    normalizer.set_params(method="reinhard").fit(images)
    assert hasattr(normalizer, "means_") and not hasattr(normalizer, "stains_")


def test_bad_parameters():
    images = [painted(amounts_of(0), OWN)]
    for parameters, words in [
        ({"method": "vahadane"}, "method"),
        ({"stains": ["dab"]}, "2 names or vectors"),
        ({"stains": ["dab", "dab"]}, "told apart"),
        ({"method": "reinhard", "stains": OWN}, "knows no stains"),
        ({"n_samples": 3}, "n_samples"),
    ]:
        with pytest.raises(ValueError, match=words):
            StainNormalizer(**parameters).fit(images)


def test_is_a_step_of_a_pipeline():
    images = make_nuclei(2, (96, 96), random_state=0).images
    chain = make_pipeline(
        StainNormalizer(random_state=0), SemanticClusterer(random_state=0)
    )
    masks = chain.fit(images).predict(images)
    assert all(mask.max() > 0 for mask in masks)


def plain_macenko(image, target, strengths):
    """Macenko's method in plain numpy and scikit-image, as it is passed around."""
    density = -np.log10(np.maximum(image, 1 / 255)).reshape(-1, 3)
    stained = density[density.mean(axis=1) > 0.1]
    _, axes = np.linalg.eigh(np.cov(stained.T))
    projected = stained @ axes[:, 1:3]
    ends = np.percentile(np.arctan2(projected[:, 1], projected[:, 0]), [1, 99])
    own = np.stack([np.cos(ends), np.sin(ends)], axis=1) @ axes[:, 1:3].T
    amounts = np.linalg.lstsq(own.T, density.T, rcond=None)[0]
    amounts *= (strengths / np.percentile(amounts, 99, axis=1))[:, np.newaxis]
    return np.clip(10 ** -(amounts.T @ target), 0, 1).reshape(image.shape)


def seconds(function):
    times = []
    for _ in range(3):
        start = process_time()
        function()
        times.append(process_time() - start)
    return min(times)


@pytest.mark.slow
def test_faster_than_plain_numpy():
    image = painted(amounts_of(0, 1000), OWN)
    normalizer = StainNormalizer(random_state=0).fit([image])
    ours = seconds(lambda: normalizer.transform([image]))
    plain = seconds(
        lambda: plain_macenko(image, normalizer.stains_, normalizer.strengths_)
    )
    assert ours < plain


@pytest.mark.data
def test_real_he_images_come_closer_to_each_other(data_dir):
    paths = sorted(data_dir.glob("monuseg/*/Tissue Images/*.tif"))[::3]
    if not paths:
        pytest.skip("monuseg is not there")
    images = [read_image(path)[250:750, 250:750, :3] for path in paths]
    normalizer = StainNormalizer(random_state=0).fit(images)
    results = normalizer.transform(images)

    def spread(images):
        colours = [rgb2lab(image).reshape(-1, 3).mean(axis=0) for image in images]
        return np.linalg.norm(np.std(colours, axis=0))

    assert spread(results) < 0.85 * spread(images)
    for result in results:
        for vector, target in zip(
            estimate_stain_vectors(result), normalizer.stains_, strict=True
        ):
            assert angle(vector, target) < 8
