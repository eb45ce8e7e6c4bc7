# SPDX-License-Identifier: BSD-3-Clause
"""Maps refined by clusters of pixels, against plain loops."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from psmlearn import ClassActivationMapper
from psmlearn.datasets import make_lesions
from psmlearn.weak import ClusterRefinement, ClusterResupervision, _refinement
from psmlearn.weak._refinement import refine_maps, sample_pixels
from psmlearn.weak._training import WorkingImages

SMALL = {
    "base_channels": 4,
    "cam_levels": (2, 4),
    "patch_size": 32,
    "max_epochs": 1,
    "steps_per_epoch": 2,
    "batch_size": 4,
    "resupervision": ClusterResupervision(warm_up=0.0),
    "device": "cpu",
    "random_state": 0,
}


def plain_refinement(maps, cluster, inside, sigma):
    """Every pixel, every other pixel: the definition."""
    refined = np.zeros_like(maps)
    places = np.argwhere(inside)
    values = np.array([maps[tuple(place)] for place in places])
    of = np.array([cluster[tuple(place)] for place in places])
    for place, own in zip(places, of, strict=True):
        distance = ((places - place) ** 2).sum(1)
        weight = np.exp(-distance / (2 * sigma**2)) * (of == own)
        refined[tuple(place)] = (weight * values).sum() / weight.sum()
    return refined


class TestRefineMaps:
    def test_definition(self):
        rng = np.random.default_rng(0)
        maps = rng.random((2, 2, 12, 9), dtype=np.float32)
        features = rng.random((2, 3, 12, 9), dtype=np.float32)
        inside = rng.random((2, 12, 9)) > 0.2
        centers = rng.random((5, 3), dtype=np.float32)
        found = refine_maps(
            *(torch.from_numpy(a) for a in (maps, features, inside, centers)), 2.5
        ).numpy()
        distance = features.transpose(0, 2, 3, 1)[..., None, :] - centers
        cluster = (distance**2).sum(-1).argmin(-1)
        for image in range(2):
            for plane in range(2):
                expected = plain_refinement(
                    maps[image, plane], cluster[image], inside[image], 2.5
                )
                np.testing.assert_allclose(found[image, plane], expected, atol=1e-5)
        assert (found[~np.broadcast_to(inside[:, None], found.shape)] == 0).all()

    def test_edges_are_followed(self):
        # A coarse map that crosses the edge of a bright square.
        features = torch.zeros(1, 1, 32, 32)
        features[..., 8:20, 8:20] = 1
        maps = torch.zeros(1, 1, 32, 32)
        maps[..., 4:18, 4:18] = 0.9
        inside = torch.ones(1, 32, 32, dtype=torch.bool)
        centers = torch.tensor([[0.0], [1.0]])
        found = refine_maps(maps, features, inside, centers, 8.0)
        np.testing.assert_array_equal(found[0, 0] > 0.5, features[0, 0] > 0)

    def test_nothing_inside(self):
        inside = torch.zeros(1, 4, 4, dtype=torch.bool)
        ones = torch.ones(1, 1, 4, 4)
        assert not refine_maps(ones, ones, inside, torch.zeros(2, 1), 1.0).any()

    def test_far_from_all_of_its_cluster(self):
        # Only the pixel itself is near: no division by zero, the value stays.
        features = torch.zeros(1, 1, 64, 64)
        features[0, 0, 0, 0] = features[0, 0, 63, 63] = 1
        maps = torch.full((1, 1, 64, 64), 0.25)
        maps[0, 0, 0, 0] = 0.75
        inside = torch.ones(1, 64, 64, dtype=torch.bool)
        found = refine_maps(maps, features, inside, torch.tensor([[0.0], [1.0]]), 0.1)
        torch.testing.assert_close(found, maps)


class TestCenters:
    def test_as_many_as_asked_for_or_as_there_are_pixels(self):
        rng, pixels = np.random.default_rng(0), np.eye(3, dtype=np.float32)
        for n_clusters, n_found in ((2, 2), (8, 3)):
            refinement = ClusterRefinement(n_clusters=n_clusters)
            assert refinement.find_centers(pixels, rng).shape == (n_found, 3)

    def test_no_pixels_and_none_that_are_finite(self):
        refinement, rng = ClusterRefinement(), np.random.default_rng(0)
        nothing = np.empty((0, 3), np.float32)
        assert refinement.find_centers(nothing, rng).shape == (1, 3)
        with pytest.raises(FloatingPointError, match="learning_rate"):
            refinement.find_centers(np.full((2, 3), np.nan, np.float32), rng)

    def test_sample(self):
        features = torch.arange(2 * 3 * 4, dtype=torch.float32).reshape(1, 2, 3, 4)
        inside = torch.zeros(1, 3, 4, dtype=torch.bool)
        inside[0, 1] = True
        rng = np.random.default_rng(0)
        found = sample_pixels(features, inside, 100, rng)
        np.testing.assert_array_equal(found, [[4, 16], [5, 17], [6, 18], [7, 19]])
        few = sample_pixels(features, inside, 2, rng)
        assert len(few) == 2 and {tuple(p) for p in few} <= {tuple(p) for p in found}


class TestMapper:
    data = make_lesions(n_images=8, shape=(32, 32), random_state=0)

    def fit(self, **options):
        mapper = ClassActivationMapper(**SMALL | options)
        return mapper.fit(self.data.images, self.data.image_labels)

    def test_refined_maps_are_those_of_the_definition(self):
        mapper = self.fit(refinement=ClusterRefinement(n_clusters=6))
        assert mapper.refine_centers_.shape == (6, 4)
        refined = mapper.transform(self.data.images)[..., 0]
        maps = mapper.set_params(refinement=None).transform(self.data.images)[..., 0]
        assert np.abs(refined - maps).max() > 0.01
        working = WorkingImages(mapper._images_to_map(self.data.images), 32)
        with torch.inference_mode():
            _, features = mapper.network_(working.images.float(), True)
        features = features.permute(0, 2, 3, 1).numpy()[..., None, :]
        cluster = ((features - mapper.refine_centers_) ** 2).sum(-1).argmin(-1)
        inside = working.inside.numpy()
        expected = plain_refinement(maps[3], cluster[3], inside[3], 4.0)
        np.testing.assert_allclose(refined[3], expected, atol=1e-3)

    def test_plain_maps_are_not_refined(self):
        # Nothing has taught the decoder what pixels look like.
        mapper = self.fit(reconstruction=None)
        assert mapper.refine_centers_ is None
        maps = mapper.transform(self.data.images)
        unrefined = mapper.set_params(refinement=None).transform(self.data.images)
        np.testing.assert_array_equal(maps, unrefined)

    @pytest.mark.slow
    def test_same_seed_same_centers(self):
        first, second = self.fit(), self.fit()
        np.testing.assert_array_equal(first.refine_centers_, second.refine_centers_)
        other = self.fit(random_state=1).refine_centers_
        assert not np.array_equal(first.refine_centers_, other)

    def test_pickled(self):
        mapper = self.fit()
        again = pickle.loads(pickle.dumps(mapper))
        maps = mapper.transform(self.data.images)
        np.testing.assert_array_equal(again.transform(self.data.images), maps)

    def test_each_class_and_any_shape(self):
        # Two classes, images of two shapes: each map is refined by itself.
        rng = np.random.default_rng(0)
        images = [rng.random((32, 20, 2)), rng.random((18, 40, 2))] * 3
        mapper = ClassActivationMapper(**SMALL, value_range=(0.0, 1.0))
        mapper.fit(images, [0, 1, 2, 0, 1, 2])
        maps = mapper.transform(images)
        assert [m.shape for m in maps[:2]] == [(32, 20, 2), (18, 40, 2)]
        rough = mapper.set_params(refinement=None).transform(images)
        for fine, coarse in zip(maps, rough, strict=True):
            assert np.isfinite(fine).all()
            assert np.abs(fine - coarse).max(axis=(0, 1)).min() > 1e-4
            # A mean stays between the ends of what it is of.
            assert (fine.max(axis=(0, 1)) <= coarse.max(axis=(0, 1)) + 0.05).all()

    def test_no_foreground(self):
        images = np.ones((4, 32, 32, 1), np.float32)
        mapper = ClassActivationMapper(**SMALL).fit(images, [0, 1, 0, 1])
        assert np.isfinite(mapper.transform(images)).all()

    def test_features_that_nobody_asked_for(self):
        class Generous(nn.Module):
            """Gives its features whether or not they are asked for."""

            def __init__(self, in_channels, n_maps):
                super().__init__()
                self.feature_channels = 3
                self.stem = nn.Conv2d(in_channels, 3, 3, padding=1)
                self.head = nn.Conv2d(3, n_maps, 1)

            def forward(self, images, decode=False):
                features = self.stem(images)
                return [self.head(features)], features

        for options in ({}, {"refinement": None}, {"reconstruction": None}):
            mapper = self.fit(network=Generous, **options)
            assert np.isfinite(mapper.transform(self.data.images)).all()
            assert np.isfinite(mapper.predict_image_proba(self.data.images)).all()

    def test_all_is_stored_or_nothing(self, monkeypatch):
        def fail(*_, **__):
            raise MemoryError("no room for pixels")

        mapper = self.fit()
        before = mapper.transform(self.data.images)
        monkeypatch.setattr(_refinement, "find_centers", fail)
        mapper.set_params(random_state=5)
        with pytest.raises(MemoryError, match="no room"):
            mapper.fit(self.data.images, self.data.image_labels)
        np.testing.assert_array_equal(mapper.transform(self.data.images), before)

    @pytest.mark.parametrize("name", ["n_clusters", "sigma"])
    def test_parameters_are_checked(self, name):
        with pytest.raises(ValueError, match=name):
            self.fit(refinement=ClusterRefinement(**{name: -1}))
