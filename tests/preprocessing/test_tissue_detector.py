# SPDX-License-Identifier: BSD-3-Clause
"""TissueDetector: tissue without artefacts, as regions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from psmlearn.datasets import make_nuclei
from psmlearn.preprocessing import TissueDetector, artefact_mask, tissue_mask
from psmlearn.utils.estimator_checks import parametrize_with_image_checks


@parametrize_with_image_checks([TissueDetector()])
def test_image_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def images():
    made = make_nuclei(2, (240, 240), random_state=0).images
    made[0][:, :80] = 255
    made[1][:, 120:160] = [25, 125, 50]  # green ink
    made[1][20:28, 20:28] = 5  # dirt
    return made


def test_glass_and_artefacts_are_left_out(images):
    first, second = TissueDetector().fit(images).predict(images)
    assert first.dtype == bool
    assert not first[:, :66].any() and first[:, 94:].mean() > 0.97
    assert not second[:, 124:156].any() and not second[22:26, 22:26].any()
    assert second[:, :110].mean() > 0.97


def test_which_artefacts_is_a_parameter(images):
    for exclude, ink, dirt in [
        (None, True, True),
        ((), True, True),
        (["pen"], False, True),
        (("dirt",), True, False),
    ]:
        mask = TissueDetector(exclude=exclude).fit(images).predict(images)[1]
        assert mask[60:, 130:150].all() == ink
        assert mask[22:26, 22:26].all() == dirt


def test_is_tissue_without_artefacts(images):
    masks = TissueDetector(pixel_size=[0.25, 0.5]).fit(images).predict(images)
    for image, size, mask in zip(images, (0.25, 0.5), masks, strict=True):
        expected = tissue_mask(image, pixel_size=size)
        expected &= artefact_mask(image, pixel_size=size) == 0
        np.testing.assert_array_equal(mask, expected)


def test_bad_parameters(images):
    with pytest.raises(ValueError, match="'bubble' is no artefact.*pen"):
        TissueDetector(exclude=["bubble"]).fit(images)
    with pytest.raises(ValueError, match="exclude"):
        TissueDetector(exclude="pen").fit(images)
    with pytest.raises(ValueError, match="pixel_size"):
        TissueDetector(pixel_size=-1).fit(images)
    with pytest.raises(NotFittedError):
        TissueDetector().predict(images)
