# SPDX-License-Identifier: BSD-3-Clause
"""The functions of one image take what users have."""

from __future__ import annotations

import numpy as np
import pytest

from psmlearn._images._artefacts import artefact_mask as plain_artefacts
from psmlearn._images._stains import stain_amounts
from psmlearn._images._tissue import tissue_mask as plain_tissue
from psmlearn.datasets import make_nuclei
from psmlearn.preprocessing import (
    artefact_mask,
    estimate_stains,
    separate_stains,
    stain_vector,
    tissue_mask,
)


@pytest.fixture(scope="module")
def image():
    made = make_nuclei(1, (160, 160), n_nuclei=12, random_state=0).images[0]
    made[:, :60] = 255
    return made


def test_all_dtypes_give_the_same(image):
    kinds = [image, image / np.float32(255), image.astype(np.uint16) * 257]
    for function in (separate_stains, estimate_stains, tissue_mask, artefact_mask):
        first, *others = [function(kind) for kind in kinds]
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_they_are_what_works_on_arrays(image):
    scaled = image / np.float32(255)
    stains = ["haematoxylin", "dab"]
    np.testing.assert_array_equal(
        separate_stains(image, stains), stain_amounts(scaled, stains)
    )
    np.testing.assert_array_equal(
        tissue_mask(image, pixel_size=0.5), plain_tissue(scaled, pixel_size=0.5)
    )
    np.testing.assert_array_equal(artefact_mask(image), plain_artefacts(scaled))


def test_further_channels_do_not_count(image):
    stack = np.concatenate([image / np.float32(255), np.ones((160, 160, 2))], axis=2)
    for function in (separate_stains, estimate_stains, tissue_mask, artefact_mask):
        np.testing.assert_array_equal(function(stack), function(image))


def test_estimates_separate_the_image(image):
    amounts = separate_stains(image, estimate_stains(image))
    strong = np.percentile(amounts[:, 60:], 99, axis=(0, 1))
    assert (strong > 0.2).all()
    assert amounts[:, :60].max() == 0


def test_what_is_refused(image):
    blank = np.full((50, 50, 3), 255, np.uint8)
    with pytest.raises(ValueError, match="fewer than 100"):
        estimate_stains(blank)
    for function in (separate_stains, estimate_stains):
        with pytest.raises(ValueError, match="3 channels"):
            function(image[..., 0])
    for function in (separate_stains, estimate_stains, tissue_mask, artefact_mask):
        with pytest.raises(ValueError, match="dimensions"):
            function(image[np.newaxis])
        with pytest.raises(ValueError, match="divide by 255"):
            function(image.astype(float))
        with pytest.raises(ValueError, match="NaN"):
            function(np.full((9, 9, 3), np.nan))
    with pytest.raises(ValueError, match="pixel_size"):
        tissue_mask(image, pixel_size=0)


def test_stain_vector_is_public():
    assert np.linalg.norm(stain_vector("eosin")) == pytest.approx(1)


def test_grey_images_have_tissue(image):
    assert tissue_mask(image[..., 1])[:, 80:].mean() > 0.95
    assert not tissue_mask(image[..., 1])[:, :50].any()
