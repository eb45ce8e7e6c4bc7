# SPDX-License-Identifier: BSD-3-Clause
"""A white that is not known is told, and the one that is given is used."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from small_estimators import EvenOddMapper, make_small

from psmlearn import (
    NucleiSegmenter,
    PseudoLabelSegmenter,
    RegionSegmenter,
    SelfActivationMapper,
    SemanticClusterer,
)
from psmlearn.datasets import make_nuclei
from psmlearn.exceptions import ValueRangeWarning
from psmlearn.io import check_image, check_images
from psmlearn.measure import labelling_index, nuclei_table, stain_intensity


@pytest.fixture(scope="module")
def data():
    return make_nuclei(
        2, (96, 96), n_nuclei=14, stain="ki67", positive_fraction=0.4, random_state=3
    )


# What came, and the range that gives the eight bits back.
STORED = {
    "8 bits in 16": (1, np.uint16, (0, 255)),
    "10 bits in 16": (4, np.uint16, (0, 1020)),
    "12 bits in 16": (16, np.uint16, (0, 4080)),
    "14 bits in 16": (64, np.uint16, (0, 16320)),
    "divided twice": (1 / 255 / 255, np.float64, (0, 1 / 255)),
    "divided by 65535": (1 / 65535, np.float32, (0, 255 / 65535)),
}
TOLD = ["255", "1023", "4095", "16383", "1 / 255", None]


def _stored(images, kind):
    factor, dtype, _ = STORED[kind]
    return [(image.astype(np.float64) * factor).astype(dtype) for image in images]


@pytest.mark.parametrize("kind, white", list(zip(STORED, TOLD, strict=True)))
def test_a_doubtful_white_is_told(data, kind, white):
    images = _stored(data.images, kind)
    match = "2 of 2 image" if white is None else rf"value_range=\(0, {white}\)"
    with pytest.warns(ValueRangeWarning, match=match):
        check_images(images)
    with pytest.warns(ValueRangeWarning, match="white"):
        check_image(images[0])


def test_hot_pixels_and_white_padding_hide_no_doubt(data):
    image = _stored(data.images, "12 bits in 16")[0]
    image[3, 4] = 65535
    with pytest.warns(ValueRangeWarning, match=r"\(0, 4095\)"):
        check_images([image])
    image[:, :30] = 65535
    with pytest.warns(ValueRangeWarning, match=r"\(0, 4095\)"):
        check_images([image])
    twice = data.images[0] / 255 / 255
    twice[:, :30] = 1
    with pytest.warns(ValueRangeWarning, match="divided twice"):
        batch = check_images([twice])
    assert batch.shown(0) is None


def test_dark_images_among_bright_ones_are_merely_dark(data):
    dark = (data.images[0] // 6).astype(np.uint8)
    check_images([dark, *data.images])
    with pytest.warns(ValueRangeWarning):
        check_images([dark])


def test_large_integers_keep_their_differences():
    image = np.arange(200, dtype=np.int64).reshape(10, 20) + 10**9
    batch = check_images([image], value_range=(10**9, 10**9 + 255))
    np.testing.assert_allclose(
        batch[0][..., 0] * 255, np.arange(200).reshape(10, 20), atol=1e-4
    )


def test_a_batch_of_one_is_an_image(data):
    batch = check_images(_stored(data.images, "12 bits in 16"), value_range=(0, 4080))
    np.testing.assert_array_equal(check_image(batch[1:]), batch[1])
    expected = nuclei_table(data.masks[0], data.images[0])
    found = nuclei_table(data.masks[0], batch[:1])
    np.testing.assert_allclose(
        found["mean_haematoxylin_od"], expected["mean_haematoxylin_od"], rtol=1e-5
    )
    with pytest.raises(ValueError, match="batch of 2"):
        check_image(batch)


@pytest.mark.parametrize("kind", STORED)
def test_the_given_white_is_used(data, kind):
    images = _stored(data.images, kind)
    value_range = STORED[kind][2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = check_images(images, value_range=value_range)
        one = check_image(images[1], value_range=value_range)
    for index, image in enumerate(data.images):
        np.testing.assert_allclose(batch[index], image / 255, atol=1e-6)
        np.testing.assert_array_equal(
            batch.crop(index, 3, 5, 40, 30), batch[index][3:43, 5:35]
        )
    np.testing.assert_array_equal(one, batch[1])


def test_a_batch_with_a_white_goes_wherever_images_do(data):
    batch = check_images(_stored(data.images, "12 bits in 16"), value_range=(0, 4080))
    masks = list(data.masks)
    right = labelling_index(
        masks, intensity=stain_intensity(data.images, masks), min_cells=0
    )
    found = labelling_index(masks, intensity=stain_intensity(batch, masks), min_cells=0)
    assert found.h_score == right.h_score
    for make in (
        lambda: SemanticClusterer(random_state=0),
        lambda: make_small(SelfActivationMapper, random_state=0),
        lambda: make_small(PseudoLabelSegmenter, random_state=0),
    ):
        expected, model = make().fit(data.images), make().fit(batch)
        method = "predict" if hasattr(model, "predict") else "transform"
        for one, other in zip(
            getattr(model, method)(batch),
            getattr(expected, method)(data.images),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "estimator_class", [NucleiSegmenter, RegionSegmenter, EvenOddMapper]
)
def test_estimators_with_a_range_of_their_own(data, estimator_class):
    images = _stored(data.images, "12 bits in 16")
    masks = [mask[..., 0] if mask.ndim == 3 else mask for mask in data.masks]
    if estimator_class is RegionSegmenter:
        from skimage.measure import label

        masks = [label(mask > 0).astype(np.int32) for mask in masks]
    plain = make_small(estimator_class, random_state=0, value_range=(0, 1))
    ranged = make_small(estimator_class, random_state=0, value_range=(0, 4080))
    expected = plain.fit(data.images, masks).predict(data.images)
    found = ranged.fit(images, masks).predict(images)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_range_of_a_segmenter_goes_for_the_whole_chain(data):
    images = _stored(data.images, "12 bits in 16")
    segmenter = make_small(NucleiSegmenter, value_range=(0, 4080))
    chain = make_small(PseudoLabelSegmenter, random_state=0)
    expected = chain.fit(data.images).predict(data.images)
    model = PseudoLabelSegmenter(chain.labeler, segmenter, random_state=0)
    for one, other in zip(model.fit(images).predict(images), expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.int16])
def test_integers_of_unknown_white_need_a_range(data, dtype):
    image = data.images[0].astype(dtype) * 100
    with pytest.raises(ValueError, match=r"no known white.*value_range=\(0, 32767\)"):
        check_images([image])
    batch = check_images([image], value_range=(0, 25500))
    np.testing.assert_array_equal(batch[0], check_images(data.images)[0])


@pytest.mark.parametrize("top", [5000, 4096])
def test_values_beyond_the_range_are_refused(data, top):
    image = _stored(data.images, "12 bits in 16")[0]
    image[4, 5] = top
    with pytest.raises(ValueError, match=rf"image 0.*to {top}.*\(0, 4095\)"):
        check_images([image], value_range=(0, 4095))


@pytest.mark.parametrize(
    "value",
    [
        *[(0,), (1, 0), (0, 0), (0, 1, 2), "ab", 5, (0, np.nan), (0, np.inf), {}],
        *[("0", "1"), (False, True), {0, 1}, {0: 1, 1: 2}, (-1e39, 1e39)],
    ],
)
def test_what_is_no_range_is_refused(data, value):
    for call in (
        lambda: check_images(data.images, value_range=value),
        lambda: check_image(data.images[0], value_range=value),
        lambda: make_small(NucleiSegmenter, value_range=value).fit(
            data.images, [mask[..., 0] for mask in data.masks]
        ),
    ):
        with pytest.raises((ValueError, TypeError), match="value_range"):
            call()


def test_sound_images_are_told_nothing_of(data):
    sixteen = [image.astype(np.uint16) * 257 for image in data.images]
    for images in (data.images, sixteen, [x / 255 for x in data.images]):
        check_images(images)
    check_images([np.zeros((8, 8), np.uint16), np.full((8, 8), 900, np.uint16)])
    check_images(_stored(data.images, "12 bits in 16"), value_range=None)
