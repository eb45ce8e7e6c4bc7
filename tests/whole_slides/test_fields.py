# SPDX-License-Identifier: BSD-3-Clause
"""Fields to train on: where they are drawn, and how they are spread."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from slides import write_pyramid
from tifffile import imwrite

from psmlearn import SelfActivationMapper
from psmlearn.exceptions import NoDataWarning, PixelSizeWarning
from psmlearn.io import Slide, check_images
from psmlearn.slides import sample_fields

PALE, DARK = (225, 190, 215), (120, 60, 130)


def _stained(shape, colour, seed):
    """Return noise of a colour."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 6, (*shape, 1)) + rng.normal(0, 2, (*shape, 3))
    return (np.array(colour) + noise).clip(0, 255).astype(np.uint8)


def _with_a_pale_corner(seed=0):
    """Return a dark slide of which a 24th is pale, at the lower left."""
    picture = _stained((480, 720), DARK, seed)
    picture[-120:, :120] = _stained((120, 120), PALE, seed + 1)
    return picture


def _is_pale(image):
    return image.mean() > 170


def _drawn(slides, **options):
    given = {"n_fields": 5, "field_size": 60, "pixel_size": None, "tissue": None}
    return sample_fields(slides, **{**given, "random_state": 3, **options})


def _boxes(drawn):
    return [(p["slide"], p["row"], p["column"]) for p in drawn.places]


def test_a_rare_stain_is_drawn_too():
    picture = _with_a_pale_corner()
    for seed in range(4):
        drawn = _drawn([picture], random_state=seed)
        n_pale = sum(_is_pale(image) for image in drawn.images)
        assert len(drawn.images) == 5
        # By chance alone it would be one of five in a fifth of all draws.
        assert 1 <= n_pale <= 4


def test_what_is_drawn_is_what_lies_there():
    picture = _with_a_pale_corner(7)
    drawn = _drawn([Slide(picture, pixel_size=0.5)], pixel_size=0.5, n_fields=9)
    for image, place in zip(drawn.images, drawn.places, strict=True):
        row, column = place["row"], place["column"]
        np.testing.assert_array_equal(
            image, picture[row : row + 60, column : column + 60]
        )
        assert place["slide"] == "array" and place["path"] is None
        assert place["pixel_size"] == 0.5


def test_places_are_of_full_resolution():
    picture = _with_a_pale_corner(2)
    drawn = _drawn([Slide(picture, pixel_size=0.25)], pixel_size=0.5, field_size=50)
    assert {image.shape for image in drawn.images} == {(50, 50, 3)}
    for image, place in zip(drawn.images, drawn.places, strict=True):
        row, column = place["row"], place["column"]
        whole = picture[row : row + 100, column : column + 100].astype(float)
        mean = whole.reshape(50, 2, 50, 2, 3).mean(axis=(1, 3))
        assert abs(image - mean).max() <= 0.5


@pytest.mark.parametrize(("n_fields", "size"), [(200, 60), (7, 130), (12, 100)])
def test_fields_never_overlap(n_fields, size):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDataWarning)
        drawn = _drawn([_with_a_pale_corner()], n_fields=n_fields, field_size=size)
    places = [(row, column) for _, row, column in _boxes(drawn)]
    for (top, left), (other_top, other_left) in itertools.combinations(places, 2):
        assert abs(top - other_top) >= size or abs(left - other_left) >= size
    assert len(places) == min(n_fields, (480 // size) * (720 // size))


def test_the_seed_alone_decides_and_not_the_order(tmp_path):
    paths = []
    for number, colour in enumerate([DARK, PALE, (150, 110, 170)]):
        paths.append(tmp_path / f"{number}.tif")
        write_pyramid(paths[-1], _stained((300, 260), colour, number), factors=(4,))
    options = {"pixel_size": None, "n_fields": 7}
    first = _drawn(paths, **options)
    again = _drawn(paths, **options)
    turned = _drawn([str(path) for path in paths[::-1]], **options)
    other = _drawn(paths, **options, random_state=4)
    assert _boxes(first) == _boxes(again) == _boxes(turned) != _boxes(other)
    assert {p["slide"] for p in first.places} == {"0.tif", "1.tif", "2.tif"}
    for one, two in zip(first.images, turned.images, strict=True):
        np.testing.assert_array_equal(one, two)


def test_small_slides_of_the_same_stain_are_not_passed_over():
    large = _stained((600, 900), DARK, 0)
    small = [_stained((70, 70), DARK, seed) for seed in (1, 2, 3)]
    drawn = _drawn([large, *small], n_fields=6)
    from_large = [
        image
        for image, place in zip(drawn.images, drawn.places, strict=True)
        if np.array_equal(
            image,
            large[place["row"] : place["row"] + 60, place["column"] :][:60, :60],
        )
    ]
    assert len(drawn.images) == 6
    assert len(from_large) == 3


def test_fields_are_drawn_from_tissue():
    ground = np.full((600, 600, 3), 244, np.uint8)
    ground[300:, 200:480] = _stained((300, 280), DARK, 0)
    slide = Slide(ground, pixel_size=0.5)
    with pytest.warns(NoDataWarning, match="of 40 fields of 70 x 70 pixels"):
        drawn = _drawn(
            [slide], pixel_size=0.5, tissue="auto", field_size=70, n_fields=40
        )
    assert len(drawn.images) >= 9
    assert all((image < 200).all(axis=2).mean() >= 0.25 for image in drawn.images)
    assert all(p["row"] >= 250 for p in drawn.places)


def test_a_mask_of_ones_own():
    mask = np.zeros((8, 12), bool)
    mask[-2:, :2] = True  # the pale corner
    with pytest.warns(NoDataWarning, match=r"tissue for \d of 5 fields"):
        drawn = _drawn([_with_a_pale_corner()], tissue=[mask])
    assert drawn.images and all(_is_pale(image) for image in drawn.images[:1])
    assert all(p["row"] >= 330 and p["column"] < 120 for p in drawn.places)


def test_a_slide_without_tissue_is_told_and_named(tmp_path):
    glass = np.full((256, 320, 3), 243, np.uint8)
    for name in ("glass.tif", "empty.tif"):
        write_pyramid(tmp_path / name, glass, factors=(4,))
    paths = [tmp_path / "glass.tif", tmp_path / "empty.tif"]
    with pytest.raises(ValueError, match=r"No slide has tissue.*empty.tif, glass.tif"):
        _drawn(paths, tissue="auto")
    masks = [np.zeros((2, 2), bool), np.ones((3, 3), bool)]
    with pytest.warns(NoDataWarning, match=r"1 of 2 slide\(s\) have no.*: glass.tif"):
        drawn = _drawn(paths, tissue=masks)
    assert {p["slide"] for p in drawn.places} == {"empty.tif"}


def test_a_slide_that_does_not_tell_its_pixel_size():
    picture = _with_a_pale_corner()
    with pytest.warns(PixelSizeWarning, match=r"Slide\(path, pixel_size"):
        drawn = _drawn([picture], pixel_size=0.25)
    assert drawn.places[0]["pixel_size"] is None


def test_a_slide_smaller_than_a_field_is_one():
    drawn = _drawn([_stained((40, 500), DARK, 0)], n_fields=2, field_size=200)
    assert [image.shape for image in drawn.images] == [(40, 200, 3)] * 2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n_fields": 0}, "n_fields must be"),
        ({"field_size": 20.5}, "field_size must be a whole number from 32"),
        ({"pixel_size": 0.0}, "pixel_size must be"),
        ({"tissue": "all"}, "tissue must be 'auto'"),
        ({"tissue": [np.ones((2, 2))]}, "a boolean mask"),
    ],
)
def test_wrong_parameters_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        _drawn([_with_a_pale_corner()], **options)


def test_slides_of_other_channels_are_refused():
    with pytest.raises(ValueError, match=r"has [13] channel\(s\), and array has"):
        _drawn([np.zeros((90, 90, 3), np.uint8), np.zeros((90, 90), np.uint8)])
    with pytest.raises(ValueError, match="at least one slide"):
        _drawn([])


def test_fit_says_how_slides_are_trained_on(tmp_path):
    write_pyramid(tmp_path / "one.svs", _with_a_pale_corner())
    # As scanners do, with a picture beside the levels.
    imwrite(tmp_path / "one.svs", _stained((40, 50), PALE, 0), append=True)
    advice = r"sample_fields\(slides\)\.images.*segment_slide"
    with pytest.raises(ValueError, match=rf"(?s)one\.svs.*{advice}"):
        check_images([tmp_path / "one.svs"])
    with pytest.raises(ValueError, match=rf"(?s)a Slide.*{advice}"):
        SelfActivationMapper().fit([Slide(_with_a_pale_corner())])
    with pytest.raises(TypeError, match=rf"(?s)a Slide.*{advice}"):
        SelfActivationMapper().fit(Slide(_with_a_pale_corner()))
