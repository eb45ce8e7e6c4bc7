# SPDX-License-Identifier: BSD-3-Clause
"""Cluster-re-supervision: clusters of pixels vote, and teach the maps in turn."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from torch.nn import functional

from psmlearn._engine._checkpoint import Remembering
from psmlearn._images._kmeans import find_centers
from psmlearn._sklearn_compat import Interval, StrOptions
from psmlearn.base import AT_LEAST_0, CLUSTERS, Option
from psmlearn.weak._maps import label_loss

__all__ = [
    "ClusterResupervision",
    "ClusterVotes",
    "PixelClusters",
    "ResupervisionLoss",
]

# Pixels of a batch that are clustered, those that the first centres are found on, and
# iterations of k-means in a step.
_N_PIXELS, _N_START = 1 << 14, 1 << 12
_N_ITER = 2
# Fewer pixels of a cluster are not taken for a part of an image.
_MIN_PIXELS = 4
# A cluster stands out in an image where its mean is this part of the greatest mean of
# all clusters, and this many times the mean of the image.
_OF_PEAK, _OF_MEAN = 0.5, 2.0
# Of a cluster that takes this many times as much of the images of a class as of the
# others (so many of each, at least) more than the mean of the image is enough.
_SPECIFIC, _MIN_IMAGES = 8.0, 4
# Votes are kept over some five batches.
_MOMENTUM = 0.8
# Share of the pixel loss that the pixels to be lit have; they are few.
_LIT_SHARE = 0.25
# Weight of the demand that an image of a class has a lit cluster.
_PRESENCE_SHARE = 0.1
# Added to a value before its logarithm: pixels that are out can be lit again.
_LEAST = 1e-3


class ClusterResupervision(Option):
    """Clusters of pixels vote what they are, and the maps are taught the result.

    Pixels of a batch are clustered by the features of the decoder; a cluster votes by
    what the maps show of it in images with and without the class [1]_.

    Parameters
    ----------
    weight : float, default=1.0
        Weight in the loss. 0.1 in [1]_; 0 leaves re-supervision out.
    n_clusters : int, default=10
        Clusters of pixels over a batch.
    voting : {"lift", "share", "any"}, default="lift"
        When a cluster counts for a class. "share": its map is above that of the
        background in enough of the images of the class. "lift": it must also stand
        out, with at least twice the mean of the image and half of the greatest mean
        of all clusters; else all clusters of an image can rise together. Where it takes
        8 times as much of the images of the class as of others, it need only be above
        the mean, and others do not make it background. "any": the rule of [1]_: one
        image of the class is enough, and one other image makes it background.
    vote_threshold : float, default=0.5
        Share of images that is enough; not used by "any".
    target : {"label", "one"}, default="label"
        What pixels of a cluster that counts for a class are taught: the label of
        their image, or 1 in all images as in the code of [1]_.
    area : {"cluster", "image"}, default="cluster"
        Whether the loss is a mean over clusters, or over the image as in [1]_, where
        a small cluster counts little.
    warm_up : float, default=0.15
        Share of the training before re-supervision sets in: maps of a network that
        knows nothing yet have nothing to vote with. 0 in [1]_.

    References
    ----------
    .. [1] Kuang et al., "Cluster-Re-Supervision: Bridging the Gap Between
       Image-Level and Pixel-Wise Labels for Weakly Supervised Medical Image
       Segmentation", IEEE JBHI 27(10), 2023, doi:10.1109/JBHI.2023.3300179.

    Examples
    --------
    >>> from psmlearn import ClassActivationMapper
    >>> from psmlearn.weak import ClusterResupervision
    >>> mapper = ClassActivationMapper(resupervision=ClusterResupervision(weight=0.5))
    >>> mapper.set_params(resupervision__n_clusters=5).resupervision
    ClusterResupervision(n_clusters=5, weight=0.5)
    """

    _parameter_constraints: dict = {
        "weight": [AT_LEAST_0],
        "n_clusters": [CLUSTERS],
        "voting": [StrOptions({"lift", "share", "any"})],
        "vote_threshold": [Interval(Real, 0, 1, closed="neither")],
        "target": [StrOptions({"label", "one"})],
        "area": [StrOptions({"cluster", "image"})],
        "warm_up": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        *,
        weight: float = 1.0,
        n_clusters: int = 10,
        voting: str = "lift",
        vote_threshold: float = 0.5,
        target: str = "label",
        area: str = "cluster",
        warm_up: float = 0.15,
    ) -> None:
        self.weight = weight
        self.n_clusters = n_clusters
        self.voting = voting
        self.vote_threshold = vote_threshold
        self.target = target
        self.area = area
        self.warm_up = warm_up

    def make_loss(self, n_steps: int) -> ResupervisionLoss:
        """Return the loss of a training of so many steps, which has a memory."""
        return ResupervisionLoss(self, int(self.warm_up * n_steps))


class PixelClusters(Remembering):
    """K-means whose centres follow the features from batch to batch."""

    memory = ("centers", "started")

    def __init__(self, n_clusters: int) -> None:
        self.n_clusters = n_clusters
        self.centers: torch.Tensor | None = None
        self.started = torch.zeros(n_clusters, dtype=torch.bool)

    def update(
        self, features: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Move the centres to the pixels (n, n_features); return their clusters."""
        if self.centers is None:
            self.centers = self._start(features, generator)
        self.started = torch.zeros_like(self.started)
        for _ in range(_N_ITER):
            nearest = torch.cdist(features, self.centers).argmin(1)
            counts = torch.bincount(nearest, minlength=len(self.centers))
            sums = torch.zeros_like(self.centers).index_add_(0, nearest, features)
            centers = sums / counts.clamp_min(1)[:, None]
            empty = counts == 0
            if empty.any():
                places = torch.randint(
                    len(features), (int(empty.sum()),), generator=generator
                )
                centers[empty] = features[places.to(features.device)]
                self.started |= empty.cpu()
            self.centers = centers
        return torch.cdist(features, self.centers).argmin(1)

    def _start(self, features, generator) -> torch.Tensor:
        """Find centres on few pixels, the best of some starts."""
        order = torch.randperm(len(features), generator=generator)[:_N_START]
        sample = features[order.to(features.device)].cpu().numpy()
        seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
        centers = find_centers(sample, self.n_clusters, seed, n_init=4, max_iter=300)
        # Where there are fewer pixels than clusters, some stay empty.
        centers = np.resize(centers, (self.n_clusters, centers.shape[1]))
        return torch.from_numpy(centers).to(features)


class ClusterVotes(Remembering):
    """What clusters are by the votes of images: a class (1), not it (0), open (-1).

    Parameters
    ----------
    voting : {"lift", "share", "any"}
    threshold : float
        Share of the images of a class in which a cluster must stand out, or of the
        other images from which it is background, unless it is hardly in any.
    """

    memory = ("_kept", "_areas")

    def __init__(self, voting: str, threshold: float) -> None:
        self.voting = voting
        self.threshold = threshold
        self._kept: torch.Tensor | None = None
        self._areas: torch.Tensor | None = None

    def __call__(
        self, means: torch.Tensor, counts: torch.Tensor, presence: torch.Tensor
    ) -> torch.Tensor:
        """Return the state of each cluster for each class, (n_clusters, n_classes).

        Parameters
        ----------
        means : tensor of shape (n_images, n_clusters, 1 + n_classes)
            Of the maps over the pixels of a cluster in an image.
        counts : tensor of shape (n_images, n_clusters)
            Of these pixels.
        presence : tensor of shape (n_images, n_classes)
        """
        n_least = 1 if self.voting == "any" else _MIN_PIXELS
        there = (counts >= n_least)[..., None]
        fires = there & (means[..., 1:] > means[..., :1])
        positive = there & (presence > 0)[:, None]
        negative = there & (presence == 0)[:, None]
        if self.voting == "any":
            refuted, seen = (fires & negative).any(0), fires.any(0)
            return torch.where(refuted, 0, torch.where(seen, 1, -1))
        specific, hits = torch.zeros_like(there[0]), fires
        if self.voting == "lift":
            specific = self._specific(counts, presence)
            least = torch.where(specific, 1.0, _OF_MEAN)
            hits = there & _stands_out(means[..., 1:], counts, least)
        votes = [hits & positive, positive, fires & negative, negative]
        summed = torch.stack([vote.sum(0) for vote in votes]).float()
        kept = self._kept = _added(self._kept, summed)
        lit = kept[0] / kept[1].clamp_min(1e-3)
        refuted = kept[2] / kept[3].clamp_min(1e-3) >= self.threshold
        # The few images without the class that have some of it prove little.
        dark = (refuted & ~specific) | (lit <= self.threshold / 2)
        return torch.where(dark, 0, torch.where(lit >= self.threshold, 1, -1))

    def forget(self, clusters: torch.Tensor) -> None:
        """Drop the votes of clusters that were started anew."""
        for kept in (self._kept, self._areas):
            if kept is not None:
                kept[:, clusters] = 0

    def _specific(self, counts: torch.Tensor, presence: torch.Tensor) -> torch.Tensor:
        """Tell which clusters lie in images of a class almost only.

        By their areas, not by maps: maps of little contrast let nothing stand out.
        """
        share = (counts / counts.sum(1, keepdim=True).clamp_min(1))[..., None]
        shown = (presence > 0)[:, None].to(share.dtype)
        areas = [share * shown, shown, share * (1 - shown), 1 - shown]
        areas = [each.sum(0).expand(counts.shape[1], -1) for each in areas]
        kept = self._areas = _added(self._areas, torch.stack(areas))
        with_class = kept[0] / kept[1].clamp_min(1e-3)
        without = kept[2] / kept[3].clamp_min(1e-3)
        known = (kept[1] >= _MIN_IMAGES) & (kept[3] >= _MIN_IMAGES)
        return known & (with_class > 0) & (with_class >= _SPECIFIC * without)


def _added(kept: torch.Tensor | None, new: torch.Tensor) -> torch.Tensor:
    """Add what a batch tells to what is kept of those before it."""
    return new if kept is None else kept * _MOMENTUM + new


def _stands_out(
    means: torch.Tensor, counts: torch.Tensor, least: torch.Tensor
) -> torch.Tensor:
    """Tell where the maps of a cluster are far above the others of the image.

    Parameters
    ----------
    means : tensor of shape (n_images, n_clusters, n_classes)
    counts : tensor of shape (n_images, n_clusters)
    least : tensor of shape (n_clusters, n_classes)
        How many times the mean of the image it takes.
    """
    there = (counts >= _MIN_PIXELS)[..., None]
    peak = (means * there).amax(1, keepdim=True)
    weight = counts[..., None]
    mean = (means * weight).sum(1, keepdim=True) / weight.sum(1, True).clamp_min(1)
    # All clusters that rise together stand out nowhere: it cannot feed itself.
    return (means >= _OF_PEAK * peak) & (means >= least * mean) & (means > mean)


@dataclass
class _Pixels:
    """Pixels of a batch: image, cluster, and maps (n, 1 + n_classes)."""

    image: torch.Tensor
    cluster: torch.Tensor
    maps: torch.Tensor


class ResupervisionLoss:
    """The loss that teaches the maps what the clusters have voted for.

    Parameters
    ----------
    option : ClusterResupervision
    n_warm_up : int, default=0
        Steps of the training that are done without it.
    """

    def __init__(self, option: ClusterResupervision, n_warm_up: int = 0) -> None:
        self.weight = option.weight
        self.target = option.target
        self.area = option.area
        self.n_warm_up = n_warm_up
        self.clusters = PixelClusters(option.n_clusters)
        self.votes = ClusterVotes(option.voting, option.vote_threshold)

    def __call__(
        self,
        maps: torch.Tensor,
        features: torch.Tensor,
        inside: torch.Tensor,
        presence: torch.Tensor,
        weights: torch.Tensor,
        exclusive: bool,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        maps : tensor of shape (n, 1 + n_classes, height, width)
            In [0, 1], background first.
        features : tensor of shape (n, n_features, height, width)
            What pixels are clustered by; no gradient flows into them.
        inside : tensor of shape (n, height, width), bool
            The foreground of the images; nothing else is clustered.
        presence : tensor of shape (n, n_classes)
        weights : tensor
            See :func:`psmlearn.weak._maps.label_loss`.
        """
        n_images, n_maps, height, width = maps.shape
        places = inside.flatten().nonzero()[:, 0]
        if not len(places):
            return maps.sum() * 0
        n_inside = len(places)
        if n_inside > _N_PIXELS:
            chosen = torch.randint(n_inside, (_N_PIXELS,), generator=generator)
            places = places[chosen.to(places.device)]
        flat = features.detach().float().permute(0, 2, 3, 1).flatten(0, 2)[places]
        if not torch.isfinite(flat).all():
            raise FloatingPointError(
                "The features of pixels became infinite or NaN in training. Lower "
                "learning_rate, and check the images for constant or corrupt ones."
            )
        pixels = _Pixels(
            places // (height * width),
            self.clusters.update(flat, generator),
            maps.permute(0, 2, 3, 1).flatten(0, 2)[places],
        )
        sums, counts = self._by_cluster(pixels, n_images, n_maps)
        means = sums / counts.clamp_min(1)[..., None]
        with torch.no_grad():
            self.votes.forget(self.clusters.started)
            states = self.votes(means, counts, presence)
        if self.area == "image":
            # Sums stand for those of all pixels of an image, of which some are drawn.
            scale = n_inside / (len(places) * height * width)
            return self._literal_loss(pixels, sums, scale, states, presence)
        loss = self._pixel_loss(pixels, maps, states, presence)
        loss = loss + self._cluster_loss(
            means, counts, states, presence, weights, exclusive
        )
        return loss + _PRESENCE_SHARE * _presence_loss(means, counts, presence)

    def _by_cluster(self, pixels, n_images, n_maps):
        """Sum the maps over the clusters of each image, and count their pixels."""
        n_clusters = self.clusters.n_clusters
        key = pixels.image * n_clusters + pixels.cluster
        sums = pixels.maps.new_zeros(n_images * n_clusters, n_maps)
        sums = sums.index_add(0, key, pixels.maps).view(n_images, n_clusters, n_maps)
        counts = torch.bincount(key, minlength=n_images * n_clusters)
        return sums, counts.view(n_images, n_clusters).to(sums.dtype)

    def _targets(self, states, presence, images):
        """Tell what is taught to be lit, and to be dark, in the given images."""
        shown = presence[images] > 0
        lit = states == 1 if self.target == "one" else (states == 1) & shown
        return lit, (states >= 0) & ~lit, shown

    def _literal_loss(self, pixels, sums, scale, states, presence) -> torch.Tensor:
        """Sum over clusters of the means over whole images, as published.

        Outside a cluster the published loss is constant.
        """
        lit, dark, _ = self._targets(states[pixels.cluster], presence, pixels.image)
        losses = _cross_entropy(pixels.maps[:, 1:], lit) * (lit | dark)
        logits = sums * scale
        n_images, n_clusters, _ = logits.shape
        loss = losses.sum() * scale / n_images
        images = torch.arange(n_images, device=logits.device)[:, None]
        lit, dark, _ = self._targets(
            states[None], presence, images.expand(n_images, n_clusters)
        )
        margin = logits[..., 1:] - logits[..., :1]
        values = functional.softplus(torch.where(lit, -margin, margin))
        loss = loss + (values * (lit | dark)).sum() / n_images
        return loss / max(1, n_clusters - 1)

    def _pixel_loss(self, pixels, maps, states, presence) -> torch.Tensor:
        """Binary cross entropy of pixels against what their cluster is."""
        lit, dark, shown = self._targets(states[pixels.cluster], presence, pixels.image)
        # What shows a class shows it somewhere: it is darkened only where it is lit
        # too, else all maps could go out.
        dark &= (states == 1).any(0) | ~shown
        value = pixels.maps[:, 1:]
        losses = _cross_entropy(value, lit)
        # A cluster holds more than the object: where the map sees little, it is less
        # sure.
        peak = maps.detach()[:, 1:].flatten(2).amax(2)[pixels.image]
        sure = (2 * value.detach() / peak.clamp_min(1e-3)).clamp(max=1)
        lit_loss = (losses * sure * lit).sum() / lit.sum().clamp_min(1)
        dark_loss = (losses * dark).sum() / dark.sum().clamp_min(1)
        return _LIT_SHARE * lit_loss + (1 - _LIT_SHARE) * dark_loss

    def _cluster_loss(
        self, means, counts, states, presence, weights, exclusive
    ) -> torch.Tensor:
        """Cross entropy of the clusters of each image, their means as logits."""
        shown = (presence > 0)[:, None]
        is_class = (states == 1)[None] & (shown | (self.target == "one"))
        known = (states >= 0)[None].expand_as(is_class)
        known = known & (counts >= _MIN_PIXELS)[..., None]
        # What may be one class and is not another is not background.
        share = is_class.any(-1) | known.all(-1) if exclusive else known
        logits = means.flatten(0, 1)
        return label_loss(
            logits,
            is_class.flatten(0, 1),
            weights,
            exclusive=exclusive,
            share=share.flatten(0, 1).to(logits.dtype),
        )


def _cross_entropy(values: torch.Tensor, lit: torch.Tensor) -> torch.Tensor:
    """Return the binary cross entropy of values in [0, 1], finite at both ends."""
    return -torch.log(torch.where(lit, values, 1 - values) + _LEAST)


def _presence_loss(means, counts, presence) -> torch.Tensor:
    """Ask for one lit cluster, at least, in each image that shows a class."""
    there = (counts >= _MIN_PIXELS)[..., None]
    best = (means[..., 1:] * there).amax(1).clamp(1e-3, 1)
    shown = (presence > 0) & there.any(1)
    return -(best.log() * shown).sum() / shown.sum().clamp_min(1)
