# SPDX-License-Identifier: BSD-3-Clause
"""The colour-threshold baselines, and the choice of their parameters."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import disk

from benchmarks.accuracy import colour, tuning
from benchmarks.accuracy.ki67 import count_points

FAMILIES = sorted(colour.FAMILIES)


def draw_field(seed, size=120, dark=1.0):
    """Draw brown and blue discs on glass, weaker ones with a smaller `dark`."""
    rng = np.random.default_rng(seed)
    density = np.full((size, size, 3), 0.03)
    steps = np.arange(14, size - 10, 22)
    cells = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    cells = rng.permutation(cells)[:14] + rng.integers(-2, 3, (14, 2))
    classes = np.where(np.arange(14) < 5, 1, 2)
    stains = {1: (0.35, 0.55, 0.75), 2: (0.5, 0.32, 0.12)}
    for centre, label in zip(cells, classes, strict=True):
        density[disk(centre, 7, shape=density.shape[:2])] += dark * np.array(
            stains[label]
        )
    density = ndimage.gaussian_filter(density, (0.7, 0.7, 0))
    image = 255 * 10**-density + rng.normal(0, 2, density.shape)
    points = np.column_stack([cells, classes]).astype(float)
    return np.clip(image, 0, 255).astype(np.uint8), points


@pytest.mark.parametrize("name", FAMILIES)
def test_family_finds_brown_and_blue(name):
    image, points = draw_field(0)
    family = colour.FAMILIES[name]
    found = family.detect(colour.Channels(image), family.starts[0])
    matched, true, pred = count_points(points, found, [3])[0].T
    np.testing.assert_array_equal(matched, true)
    np.testing.assert_array_equal(pred, true)


@pytest.mark.parametrize("name", FAMILIES)
def test_family_finds_nothing_on_glass(name):
    image = np.full((60, 60, 3), 242, np.uint8)
    family = colour.FAMILIES[name]
    for setting in family.starts:
        assert family.detect(colour.Channels(image), setting).shape == (0, 3)


@pytest.mark.parametrize("name", FAMILIES)
def test_starts_lie_in_the_space(name):
    family = colour.FAMILIES[name]
    for start in family.starts:
        assert set(start) == set(family.space)
        assert all(start[key] in values for key, values in family.space.items())


@pytest.mark.parametrize("name", ["local-dab", "stains"])
def test_box_of_the_region_changes_nothing_inside(name):
    image, _ = draw_field(1, size=200)
    region = np.zeros((200, 200), bool)
    region[80:110, 85:120] = True
    family = colour.FAMILIES[name]
    whole = family.detect(colour.Channels(image), family.starts[0])
    part = family.detect(colour.Channels(image, region), family.starts[0])
    whole, part = (tuning.inside(points, region) for points in (whole, part))
    assert len(whole)
    np.testing.assert_allclose(part, whole)


def test_white_takes_the_colour_of_glass_away():
    image, _ = draw_field(0)
    tinted = (image * np.array([0.8, 0.8, 0.75])).astype(np.uint8)
    plain, white = (colour.Channels(tinted).get("density", w) for w in (False, True))
    assert np.median(plain) > 0.1 > 0.03 > np.median(white)


@pytest.fixture
def tuner(monkeypatch):
    monkeypatch.setattr(tuning, "REACH", 1)
    fields = [draw_field(seed, dark=dark) for seed, dark in enumerate((1, 0.5, 0.4))]
    images, points = zip(*fields, strict=True)
    channels = list(map(colour.Channels, images))
    family = colour.FAMILIES["log-hue"]
    return tuning.Tuner(family, channels, list(points), [None] * 3)


def test_tuning_climbs(tuner, monkeypatch):
    everything = [0, 1, 2]
    best = tuner.tune(everything)
    first = max(tuner.score(s, everything) for s in tuner.family.starts)
    assert tuner.score(best, everything) >= first
    # No other value of one of the last parameters is better.
    monkeypatch.setattr(tuning, "HOPELESS", 2)
    best = tuner.tune(everything)
    for name, values in tuner.family.decided_by.items():
        others = [tuner.score(best | {name: v}, everything) for v in values]
        assert tuner.score(best, everything) >= max(others)
    assert tuner.n_tried > 50


def test_setting_of_an_image_does_not_know_its_truth(tuner):
    settings = tuner.leave_one_out(max_sweeps=1)
    turned = [tuner.points[0][:, [1, 0, 2]], *tuner.points[1:]]
    other = tuning.Tuner(tuner.family, tuner.channels, turned, tuner.regions)
    assert other.leave_one_out(max_sweeps=1)[0] == settings[0]
    assert other.score(settings[0], [0]) != tuner.score(settings[0], [0])
