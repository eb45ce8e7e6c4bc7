# SPDX-License-Identifier: BSD-3-Clause
"""Maps, their losses, and clusters that vote, against plain computations."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from torch.nn import functional

from psmlearn.io._batch import check_images
from psmlearn.io._standardised import StandardisedBatch
from psmlearn.weak import ClusterResupervision, Reconstruction
from psmlearn.weak._maps import (
    class_maps,
    image_logits,
    label_loss,
    suppression_loss,
)
from psmlearn.weak._resupervision import (
    ClusterVotes,
    PixelClusters,
    ResupervisionLoss,
    _cross_entropy,
    _Pixels,
)
from psmlearn.weak._training import CAMLoss, CAMNetwork, WorkingImages


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class TestMaps:
    def test_product_of_scaled_levels(self):
        raw = [torch.randn(3, 2, 8, 8), torch.randn(3, 2, 2, 2)]
        found = class_maps(raw, (8, 8), "raw").numpy()
        grown = functional.interpolate(raw[1], size=(8, 8), mode="bilinear").numpy()
        for image in range(3):
            expected = 1.0
            for maps in (raw[0].numpy()[image], grown[image]):
                expected = expected * (maps - maps.min()) / np.ptp(maps)
            np.testing.assert_allclose(found[image], expected, atol=1e-5)

    def test_margins(self):
        # The class is told by a dark background alone.
        raw = torch.zeros(1, 2, 4, 4)
        raw[0, 0, 1, 1], raw[0, 0, 3, 3] = -2, 1
        found = class_maps([raw], (4, 4))[0]
        assert found[1, 1, 1] == 1 and found[0, 1, 1] == 0
        assert found[0, 3, 3] == 0.75 and found[1, 3, 3] == 0.25
        assert found[:, 0, 0].tolist() == [0.5, 0.5]
        torch.testing.assert_close(class_maps([raw + 7], (4, 4))[0], found)

    @pytest.mark.parametrize("scale", ["margin", "raw"])
    def test_constant_maps(self, scale):
        maps = torch.ones(1, 2, 4, 4, requires_grad=True)
        found = class_maps([maps], (4, 4), scale)
        found.sum().backward()
        assert (found == 0).all() and torch.isfinite(maps.grad).all()

    def test_label_loss_is_weighted_cross_entropy(self):
        logits, weights = torch.randn(6, 3), torch.tensor([0.5, 2.0, 1.0])
        place = torch.tensor([0, 1, 2, 2, 0, 1])
        presence = functional.one_hot(place, 3)[:, 1:].float()
        found = label_loss(logits, presence, weights, exclusive=True)
        expected = functional.cross_entropy(logits, place, weight=weights)
        torch.testing.assert_close(found, expected)

    def test_two_labels_are_the_same_in_both_ways(self):
        logits, presence = torch.randn(6, 2), torch.tensor([[0.0], [1]] * 3)
        first = label_loss(logits, presence, torch.tensor([0.3, 2]), exclusive=True)
        second = label_loss(
            logits, presence, torch.tensor([[0.3], [2.0]]), exclusive=False
        )
        torch.testing.assert_close(first, second)

    def test_nothing_that_counts(self):
        logits = torch.randn(4, 2, requires_grad=True)
        loss = label_loss(
            logits,
            torch.ones(4, 1),
            torch.ones(2),
            exclusive=True,
            share=torch.zeros(4),
        )
        loss.backward()
        assert loss == 0 and (logits.grad == 0).all()

    def test_suppression(self):
        maps = torch.rand(2, 2, 4, 4)
        found = suppression_loss(maps, torch.tensor([[1.0], [0.0]]))
        torch.testing.assert_close(found, (maps[0, 0].mean() + maps[1, 1].mean()) / 2)


class TestClusters:
    def test_as_good_as_scikit_learn(self):
        points, _ = make_blobs(3000, 8, centers=10, random_state=0)
        peer = KMeans(10, n_init=10, random_state=0).fit(points)
        clusters = PixelClusters(10)
        features = torch.from_numpy(points).float()
        for _ in range(10):
            found = clusters.update(features, generator())
        distances = (features - clusters.centers[found]).square().sum()
        assert float(distances) <= 1.01 * peer.inertia_

    def test_centres_follow(self):
        points, _ = make_blobs(500, 4, centers=5, random_state=1)
        features = torch.from_numpy(points).float()
        clusters = PixelClusters(5)
        before = clusters.update(features, generator())
        after = clusters.update(features + 0.1, generator())
        assert torch.equal(before, after)

    def test_equal_pixels(self):
        clusters = PixelClusters(10)
        for _ in range(2):
            found = clusters.update(torch.ones(30, 4), generator())
        assert torch.isfinite(clusters.centers).all() and len(found) == 30


def votes(voting, means, presence, counts=None, threshold=0.5):
    """Vote once; `means` are lists over images of lists over clusters."""
    means = torch.tensor(means, dtype=torch.float32)
    means = torch.stack([torch.full_like(means, 0.1), means], dim=-1)
    if counts is None:
        counts = torch.full(means.shape[:2], 100)
    presence = torch.tensor(presence, dtype=torch.float32)[:, None]
    return ClusterVotes(voting, threshold)(means, counts, presence)[:, 0].tolist()


class TestVotes:
    def test_lift(self):
        # The second cluster stands out in both images of the class; the first is
        # above the background, too, but not above the others.
        means = [[0.2, 0.9, 0.2], [0.2, 0.8, 0.0], [0.0, 0.0, 0.0]]
        assert votes("lift", means, [1, 1, 0]) == [0, 1, 0]
        assert votes("share", means, [1, 1, 0]) == [1, 1, 1]

    def test_clusters_that_rise_together_stand_out_nowhere(self):
        assert votes("lift", [[0.9, 0.9, 0.9]] * 2 + [[0, 0, 0]], [1, 1, 0]) == [0] * 3

    # Four images of the class, four others: as many as are asked for.
    FLAT = [[0.5, 0.8, 0.6]] * 4 + [[0.2, 0.2, 0.2]] * 4
    RARE = torch.tensor([[300, 100, 100]] * 4 + [[480, 10, 10]] * 4)
    SHOWN = (1, 1, 1, 1, 0, 0, 0, 0)

    def test_a_cluster_of_images_of_the_class_stands_out_in_flat_maps(self):
        even = torch.full((8, 3), 100)
        assert votes("lift", self.FLAT, self.SHOWN, even)[1] == 0
        # Nor do the images without the class refute it.
        assert votes("lift", self.FLAT, self.SHOWN, self.RARE) == [0, 1, 1]
        assert votes("share", self.FLAT, self.SHOWN, self.RARE) == [0, 0, 0]
        less_rare = self.RARE.clone()
        less_rare[4:, 1] = 13
        assert votes("lift", self.FLAT, self.SHOWN, less_rare) == [0, 0, 1]

    def test_it_must_be_above_the_mean_and_near_the_peak(self):
        below = [[0.5, 0.49, 0.6]] * 4 + self.FLAT[4:]
        assert votes("lift", below, self.SHOWN, self.RARE) == [0, 0, 1]
        far = [[0.1, 0.4, 0.9]] * 4 + self.FLAT[4:]
        assert votes("lift", far, self.SHOWN, self.RARE) == [0, 0, 1]
        equal = [[0.5, 0.5, 0.5]] * 4 + self.FLAT[4:]
        assert votes("lift", equal, self.SHOWN, self.RARE) == [0, 0, 0]

    def test_few_images_tell_of_no_cluster_that_it_is_of_the_class(self):
        for kept in (slice(1, None), slice(7), slice(4)):
            found = votes("lift", self.FLAT[kept], self.SHOWN[kept], self.RARE[kept])
            assert found == [0, 0, 0]

    def test_of_one_class_and_not_of_the_other(self):
        means = torch.tensor([[[0.1, 0.5, 0.5], [0.1, 0.8, 0.8]]] * 12)
        counts = torch.tensor([[400, 100]] * 4 + [[490, 10]] * 8)
        presence = torch.eye(2).repeat_interleave(4, 0)
        presence = torch.cat([presence, torch.zeros(4, 2)])
        states = ClusterVotes("lift", 0.5)(means, counts, presence)
        assert states.tolist() == [[0, 0], [1, 0]]

    def test_areas_are_forgotten_with_votes(self):
        voter = ClusterVotes("lift", 0.5)
        flat = torch.tensor(self.FLAT)
        means = torch.stack([torch.full_like(flat, 0.1), flat], -1)
        presence = torch.tensor(self.SHOWN)[:, None]
        for _ in range(2):
            assert voter(means, self.RARE, presence)[:, 0].tolist() == [0, 1, 1]
        voter.forget(torch.tensor([False, True, False]))
        only = voter(means[:4], self.RARE[:4], presence[:4])
        assert only[:, 0].tolist() == [0, 0, 1]

    def test_images_without_the_class_refute(self):
        means = [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.0, 0.0]]
        assert votes("share", means, [1, 1, 0, 0])[0] == 0
        assert votes("share", means, [1, 1, 0, 0], threshold=0.6)[0] == 1
        assert votes("any", means, [1, 1, 0, 0])[0] == 0

    def test_one_image_is_enough_for_any(self):
        means = [[0.9, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
        assert votes("any", means, [1, 1, 1, 0]) == [1, -1]
        assert votes("share", means, [1, 1, 1, 0])[0] == -1

    def test_batches_of_one_kind(self):
        for voting in ("lift", "share", "any"):
            for label in (0, 1):
                states = votes(voting, [[0.9, 0.0, 0.1]] * 2, [label] * 2)
                assert set(states) <= {-1, 0, 1}
                assert label or 1 not in states

    def test_few_pixels_do_not_vote(self):
        counts = torch.tensor([[100, 3, 100]] * 2)
        means = [[0.1, 0.9, 0.1], [0, 0, 0]]
        assert votes("share", means, [1, 0], counts)[1] != 1

    def test_votes_are_kept_over_batches(self):
        counts, label = torch.full((1, 2), 100), torch.ones(1, 1)
        voter = ClusterVotes("lift", 0.5)
        high = torch.tensor([[[0.1, 0.9], [0.1, 0.0]]])
        low = torch.tensor([[[0.1, 0.0], [0.1, 0.9]]])
        for _ in range(6):
            assert voter(high, counts, label)[0, 0] == 1
        assert voter(low, counts, label)[0, 0] == 1
        for _ in range(6):
            states = voter(low, counts, label)
        assert states[:, 0].tolist() == [0, 1]


def literal_loss(maps, cluster_of, presence, weights, n_clusters):
    """The published rule, cluster by cluster."""
    total = 0.0
    for cluster in range(n_clusters):
        mask = (cluster_of == cluster).float()[:, None]
        part = maps * mask
        logits = part.mean(dim=(2, 3))
        fires = logits[:, 1] > logits[:, 0]
        if (fires & (presence[:, 0] == 0)).any():
            target = 0
        elif fires.any():
            target = 1
        else:
            continue
        value = part[:, 1] if target else 1 - part[:, 1]
        # Outside the cluster the loss is a constant, without a gradient.
        pixel = (-torch.log(value + 1e-3) * mask[:, 0]).mean()
        place = torch.full((len(maps),), target)
        total = total + pixel
        total = total + functional.cross_entropy(logits, place, weight=weights)
    return total / (n_clusters - 1)


class TestResupervision:
    def make(self, **options):
        return ResupervisionLoss(ClusterResupervision(n_clusters=3, **options))

    def test_it_sets_in_after_its_share_of_the_training(self):
        assert ClusterResupervision(warm_up=0.25).make_loss(10).n_warm_up == 2
        assert ClusterResupervision(warm_up=0).make_loss(10).n_warm_up == 0

    def batch(self):
        """Two images; the second cluster is lit in the first, which has the class."""
        features = torch.zeros(2, 1, 16, 16)
        features[:, :, 4:8, 4:8] = 10
        features[:, :, 12:] = 20
        maps = torch.full((2, 2, 16, 16), 0.1)
        maps[0, 1, 4:8, 4:8] = 0.6
        return maps.requires_grad_(), features, torch.tensor([[1.0], [0.0]])

    def test_it_lights_the_cluster_and_darkens_the_rest(self):
        maps, features, presence = self.batch()
        loss = self.make()(
            maps,
            features,
            torch.ones(2, 16, 16, dtype=torch.bool),
            presence,
            torch.ones(2),
            True,
            generator(),
        )
        loss.backward()
        slope = maps.grad[:, 1]
        assert (slope[0, 4:8, 4:8] < 0).all()  # to be lit
        assert (slope[1, 4:8, 4:8] > 0).all()  # the same cluster without the class
        assert (slope[0, 12:] > 0).all()

    def test_maps_are_not_darkened_where_nothing_is_lit(self):
        maps, _, presence = self.batch()
        pixels = _Pixels(
            torch.arange(512) // 256,
            torch.zeros(512, dtype=torch.int64),
            maps.permute(0, 2, 3, 1).flatten(0, 2),
        )
        states = torch.zeros(3, 1, dtype=torch.int64)
        self.make()._pixel_loss(pixels, maps, states, presence).backward()
        assert (maps.grad[0] == 0).all() and (maps.grad[1, 1] > 0).all()

    def test_pixels_that_are_out_can_be_lit(self):
        value = torch.zeros(3, 1, requires_grad=True)
        _cross_entropy(value, torch.ones(3, 1, dtype=torch.bool)).sum().backward()
        assert (value.grad < -1).all() and torch.isfinite(value.grad).all()

    @pytest.mark.parametrize("dark", [0.05, 0.3])
    def test_the_literal_loss(self, dark):
        maps, features, presence = self.batch()
        with torch.no_grad():
            maps[:, 0] = 0.08
            maps[1, 1] = dark  # 0.05: does not fire
        inside = torch.ones(2, 16, 16, dtype=torch.bool)
        inside[:, :2] = False  # clustered are pixels of the foreground alone
        weights = torch.tensor([0.55, 5.5])
        loss = self.make(voting="any", target="one", area="image")(
            maps, features, inside, presence, weights, True, generator()
        )
        cluster_of = torch.where(inside, features[:, 0] / 10, -1)
        expected = literal_loss(maps, cluster_of, presence, weights, 3)
        torch.testing.assert_close(loss, expected)
        loss.backward()
        if dark == 0.05:  # 1 is taught in images without the class too
            assert (maps.grad[1, 1, 4:8, 4:8] < 0).all()

    def test_an_open_class_is_not_background(self):
        means = torch.full((1, 1, 3), 0.3, requires_grad=True)
        counts, weights = torch.full((1, 1), 100.0), torch.ones(3)
        states, presence = torch.tensor([[-1, 0]]), torch.tensor([[1.0, 0.0]])
        loss = self.make()._cluster_loss(means, counts, states, presence, weights, True)
        assert loss == 0

    def test_nothing_inside(self):
        maps, features, presence = self.batch()
        loss = self.make()(
            maps,
            features,
            torch.zeros(2, 16, 16, dtype=torch.bool),
            presence,
            torch.ones(2),
            True,
            generator(),
        )
        loss.backward()
        assert loss == 0


@pytest.mark.slow
def test_clustering_takes_a_small_part_of_a_step():
    network = CAMNetwork("cam_unet", 3, 2)
    spent = []

    class Timed(ResupervisionLoss):
        def __call__(self, *arguments):
            start = time.perf_counter()
            loss = super().__call__(*arguments)
            spent.append(time.perf_counter() - start)
            return loss

    loss = CAMLoss(
        network,
        torch.ones(2),
        True,
        Timed(ClusterResupervision()),
        Reconstruction(),
        suppression_weight=1,
        map_scale="margin",
    )
    images = torch.randn(16, 3, 128, 128, generator=generator())
    inside = torch.ones(16, 128, 128, dtype=torch.bool)
    presence = (torch.arange(16) % 2).float()[:, None]
    totals = []
    for _ in range(3):
        start = time.perf_counter()
        value = loss(images, inside, presence, training=True, generator=generator())
        value.backward()
        totals.append(time.perf_counter() - start)
    assert min(spent) <= 0.25 * min(totals)


class TestWorkingImages:
    def test_size_and_foreground(self):
        image = np.random.default_rng(0).normal(0, 1, (40, 60, 2))
        image[8:32, 10:50] += 100
        batch = StandardisedBatch(
            check_images([image, image[:, :30]], value_range=None)
        )
        working = WorkingImages(batch, 32)
        assert working.sides == [(21, 32), (32, 24)]
        assert working.images.shape == (2, 2, 32, 32)
        assert not working.inside[0, 21:].any()
        assert (working.images[0, :, 21:] == 0).all()
        assert 0.3 < working.inside[0, :21].float().mean() < 0.55

    def test_images_of_their_size_are_not_changed(self):
        image = np.random.default_rng(0).random((32, 32, 3), np.float32)
        working = WorkingImages(check_images([image]), 32)
        found = working.images[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(found, (image - 0.5) / 0.25, atol=2e-3)
        assert working.inside.all()


@pytest.mark.parametrize("decode", [True, False])
def test_logits_are_means_of_maps(decode):
    network = CAMNetwork("cam_unet", 1, 2, base_channels=4).eval()
    maps, features = network(torch.randn(2, 1, 32, 32), decode)
    assert (features is not None) == decode
    torch.testing.assert_close(image_logits(maps[0]), maps[0].mean(dim=(2, 3)))
