# SPDX-License-Identifier: BSD-3-Clause
"""Networks of one's own that answer in another shape are told in their terms."""

from __future__ import annotations

import pytest
from torch import nn

from psmlearn import (
    ClassActivationMapper,
    NucleiDetector,
    NucleiSegmenter,
    RegionSegmenter,
    SelfActivationMapper,
)
from psmlearn.datasets import make_lesions, make_nuclei

NUCLEI = make_nuclei(n_images=2, shape=(64, 64), random_state=0)
LESIONS = make_lesions(6, (32, 32), random_state=0)
SIZES = {
    "max_epochs": 1,
    "steps_per_epoch": 1,
    "batch_size": 2,
    "patch_size": 32,
    "device": "cpu",
}


class PixelNetwork(nn.Module):
    """One convolution; its answer is changed by `kind`."""

    def __init__(self, kind, in_channels, out_channels):
        super().__init__()
        options = {
            "half": {"stride": 2, "padding": 1},
            "valid": {},
        }.get(kind, {"padding": 1})
        more = 1 if kind == "more" else 0
        self.conv = nn.Conv2d(in_channels, out_channels + more, 3, **options)
        self.kind = kind

    def forward(self, images):
        found = self.conv(images)
        if self.kind == "tuple":
            return (found,)
        return found.mean((2, 3)) if self.kind == "flat" else found


@pytest.mark.parametrize(
    ("kind", "error", "shape"),
    [
        ("half", ValueError, "2, {n}, 16, 16"),
        ("valid", ValueError, "2, {n}, 30, 30"),
        ("more", ValueError, "2, {m}, 32, 32"),
        ("flat", ValueError, "2, {n}"),
        ("tuple", TypeError, "returned a tuple"),
    ],
)
@pytest.mark.parametrize(
    ("estimator", "n"),
    [(NucleiSegmenter, 3), (NucleiDetector, 2), (RegionSegmenter, 2)],
)
def test_a_pixel_network_answers_for_every_pixel(estimator, n, kind, error, shape):
    model = estimator(network=lambda i, o: PixelNetwork(kind, i, o), **SIZES)
    with pytest.raises(error) as caught:
        model.fit(NUCLEI.images, NUCLEI.masks)
    told = str(caught.value)
    assert told.startswith("network: PixelNetwork returned")
    assert shape.format(n=n, m=n + 1) in told
    assert f"(2, {n}, 32, 32)" in told
    assert not hasattr(model, "network_")


class Backbone(nn.Module):
    """A classifier whose answer is changed by `kind`."""

    def __init__(self, kind, in_channels, n_outputs):
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(in_channels, 4, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(4, n_outputs)
        self.kind = kind

    def forward(self, images):
        found = self.fc(self.layer1(images).mean((2, 3)))
        return (found,) if self.kind == "tuple" else found[:1]


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("tuple", TypeError, "must return one tensor, got tuple"),
        ("one", ValueError, r"outputs for each image, got a tensor of shape \(1, 1\)"),
    ],
)
def test_a_backbone_answers_for_each_image(kind, error, message):
    mapper = SelfActivationMapper(network=lambda i, o: Backbone(kind, i, o), **SIZES)
    with pytest.raises(error, match=message):
        mapper.fit(NUCLEI.images)


class MapNetwork(nn.Module):
    """Raw maps and features, changed by `kind`."""

    feature_channels = 4

    def __init__(self, kind, in_channels, n_maps):
        super().__init__()
        self.body = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.maps = nn.Conv2d(4, n_maps + (kind == "more"), 1)
        self.kind = kind

    def forward(self, images, decode=False):
        features = self.body(images)
        maps = self.maps(features)
        return {
            "more": ([maps], features),
            "tensor": maps,
            "no list": (maps, features),
            "empty": ([], features),
            "flat": ([maps.mean((2, 3))], features),
            "half": ([maps], features[:, :, ::2, ::2]),
            "none": ([maps], None),
        }[self.kind]


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("more", ValueError, r"raw map of shape \(2, 3, 32, 32\)"),
        ("tensor", TypeError, "returned a Tensor"),
        ("no list", TypeError, "in place of a list of raw maps"),
        ("empty", TypeError, "in place of a list of raw maps"),
        ("flat", ValueError, r"raw map of shape \(2, 2\)"),
        ("half", ValueError, r"\(2, 4, 16, 16\); \(2, 4, 32, 32\) is expected"),
        ("none", ValueError, r"features of shape \(\)"),
    ],
)
def test_a_map_network_gives_maps_and_features(kind, error, message):
    mapper = ClassActivationMapper(network=lambda i, n: MapNetwork(kind, i, n), **SIZES)
    with pytest.raises(error, match=message):
        mapper.fit(LESIONS.images, LESIONS.image_labels)
