# SPDX-License-Identifier: BSD-3-Clause
"""What was checked is remembered: how often image files are decoded."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from skimage.measure import label
from small_estimators import TRAINING, TinyMapNetwork, make_labeler, make_small

from psmlearn import (
    ClassActivationMapper,
    NucleiDetector,
    NucleiSegmenter,
    PseudoLabelSegmenter,
    RegionSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn.datasets import make_nuclei
from psmlearn.io import _batch, _inputs, write_image


@pytest.fixture(scope="module")
def nuclei():
    return make_nuclei(3, (64, 64), n_nuclei=8, random_state=0)


@pytest.fixture
def paths(nuclei, tmp_path):
    names = [str(tmp_path / f"{i}.png") for i in range(len(nuclei.images))]
    for name, image in zip(names, nuclei.images, strict=True):
        write_image(name, image)
    return names


@pytest.fixture
def decodes(monkeypatch):
    """Count the decodes of each file."""
    counts = Counter()
    real = _inputs.decode_image

    def decode(path, *args, **options):
        counts[path] += 1
        return real(path, *args, **options)

    monkeypatch.setattr(_inputs, "decode_image", decode)
    monkeypatch.setattr(_batch, "decode_image", decode)
    return counts


def _chain(**options):
    return PseudoLabelSegmenter(
        make_labeler(), make_small(NucleiSegmenter), random_state=0, **options
    )


CHAINS = {
    "chain": _chain(),
    "rounds": _chain(n_rounds=2),
    "function": PseudoLabelSegmenter(
        lambda images: [label(image[..., 0] < 0.5) for image in images],
        make_small(NucleiSegmenter),
        random_state=0,
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_decodes_a_file_once_in_fit_and_once_in_each_answer(
    paths, nuclei, decodes, name
):
    model = CHAINS[name]
    model.fit(paths)
    assert decodes == dict.fromkeys(paths, 1)
    for ask in (model.predict, model.predict_proba, model.detect):
        decodes.clear()
        ask(paths)
        assert decodes == dict.fromkeys(paths, 1)
    decodes.clear()
    model.score(paths, list(nuclei.masks))
    assert decodes == dict.fromkeys(paths, 1)


def test_classes_by_stain_take_no_second_look(tmp_path, decodes):
    data = make_nuclei(2, (96, 96), n_nuclei=10, stain="ki67", random_state=0)
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    for path, image in zip(paths, data.images, strict=True):
        write_image(path, image)
    model = PseudoLabelSegmenter(
        make_small(SemanticClusterer, classes="ki67"),
        make_small(NucleiSegmenter),
        random_state=0,
    ).fit(paths)
    assert decodes == dict.fromkeys(paths, 1)
    decodes.clear()
    model.predict(paths)
    assert decodes == dict.fromkeys(paths, 1)


@pytest.mark.parametrize(
    "kind",
    [
        SelfActivationMapper,
        SemanticClusterer,
        NucleiDetector,
        NucleiSegmenter,
        RegionSegmenter,
    ],
)
def test_every_estimator_decodes_a_file_once(paths, nuclei, decodes, kind):
    model = make_small(kind)
    model.fit(paths, list(nuclei.masks))
    assert decodes == dict.fromkeys(paths, 1)
    for method in ("transform", "predict", "predict_proba", "detect"):
        if hasattr(model, method):
            decodes.clear()
            getattr(model, method)(paths)
            assert decodes == dict.fromkeys(paths, 1), method


def test_a_weak_chain_decodes_a_file_once(paths, decodes):
    mapper = ClassActivationMapper(
        **TRAINING, network=TinyMapNetwork, threshold=0.1, random_state=0
    )
    segmenter = make_small(RegionSegmenter, value_range=None)
    model = PseudoLabelSegmenter(mapper, segmenter, random_state=0)
    model.fit(paths, image_labels=[0, 1, 1])
    assert decodes == dict.fromkeys(paths, 1)
    decodes.clear()
    model.predict(paths)
    assert decodes == dict.fromkeys(paths, 1)


def test_labelers_of_others_get_what_was_given(paths):
    seen = []

    class Others:
        def get_params(self, deep=True):
            return {}

        def fit(self, X, y=None):
            seen.append(X)
            return self

        def predict(self, X):
            seen.append(X)
            return [np.pad(np.ones((9, 9), int), (10, 45)) for _ in X]

    PseudoLabelSegmenter(Others(), make_small(NucleiSegmenter)).fit(paths)
    assert seen == [paths, paths]


def test_a_function_gets_arrays_and_its_masks_are_checked(paths, nuclei):
    seen = []

    def otsu(images):
        seen.extend(images)
        return [label(image[..., 0] < 0.5) for image in images]

    model = PseudoLabelSegmenter(otsu, make_small(NucleiSegmenter), random_state=0)
    model.fit(paths)
    for image, expected in zip(seen, nuclei.images, strict=True):
        assert image.dtype == np.float32
        np.testing.assert_allclose(image, expected / 255, atol=1e-6)
    assert model.get_params()["labeler"] is otsu
    assert model.n_pseudo_objects_[0] > 5
    wrong = PseudoLabelSegmenter(lambda images: [image[..., 0] for image in images])
    with pytest.raises((TypeError, ValueError), match="(?s)labeler <lambda>: .*mask 0"):
        wrong.fit(paths)
    few = PseudoLabelSegmenter(lambda images: otsu(images)[:2])
    with pytest.raises(ValueError, match="2 masks for 3 images"):
        few.fit(paths)
    with pytest.raises(ValueError, match="otsu takes none"):
        PseudoLabelSegmenter(otsu).fit(paths, image_labels=[0, 1, 1])
