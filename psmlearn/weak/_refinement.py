# SPDX-License-Identifier: BSD-3-Clause
"""Maps whose pixels take the mean of what lies near and looks the same."""

from __future__ import annotations

import numpy as np
import torch

from psmlearn._images._kmeans import find_centers
from psmlearn.base import AT_LEAST_0, CLUSTERS, Option

__all__ = ["ClusterRefinement", "refine_maps", "sample_pixels"]


class ClusterRefinement(Option):
    """A pixel of a map takes the mean over near pixels of its cluster.

    Parameters
    ----------
    n_clusters : int, default=32
        Clusters of pixels. They are found at the end of `fit`, by the features of the
        decoder; a change takes effect with the next one.
    sigma : float, default=0.125
        What is near: standard deviation of the Gaussian weights of that mean, as share
        of `patch_size`. 0 leaves the maps as they are. A change takes effect at once.

    Examples
    --------
    >>> from psmlearn import ClassActivationMapper
    >>> from psmlearn.weak import ClusterRefinement
    >>> ClassActivationMapper(refinement=ClusterRefinement(sigma=0.05))
    ClassActivationMapper(refinement=ClusterRefinement(sigma=0.05))
    """

    _parameter_constraints: dict = {"n_clusters": [CLUSTERS], "sigma": [AT_LEAST_0]}

    def __init__(self, *, n_clusters: int = 32, sigma: float = 0.125) -> None:
        self.n_clusters = n_clusters
        self.sigma = sigma

    def find_centers(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Cluster pixels (n, n_features) of the training images by their features."""
        if not np.isfinite(pixels).all():
            raise FloatingPointError(
                "The features of the decoder are not finite. Lower learning_rate, and "
                "check the images for constant or corrupt ones."
            )
        if not len(pixels):  # no image has any foreground
            return np.zeros((1, pixels.shape[1]), np.float32)
        return find_centers(pixels, self.n_clusters, int(rng.integers(2**31)))

    def refine(
        self,
        maps: torch.Tensor,
        features: torch.Tensor,
        inside: torch.Tensor,
        centers: torch.Tensor,
    ) -> torch.Tensor:
        """Refine maps of square images; see `refine_maps`."""
        return refine_maps(maps, features, inside, centers, self.sigma * maps.shape[-1])


def sample_pixels(
    features: torch.Tensor,
    inside: torch.Tensor,
    n_pixels: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw pixels of the foreground, (n_drawn, n_features) float32.

    Parameters
    ----------
    features : tensor of shape (n, n_features, height, width)
    inside : tensor of shape (n, height, width), bool
    n_pixels : int
        All are taken where there are no more.
    """
    places = inside.flatten().nonzero()[:, 0].cpu().numpy()
    if len(places) > n_pixels:
        places = np.sort(rng.choice(places, n_pixels, replace=False))
    planes = features.permute(0, 2, 3, 1).flatten(0, 2)
    return planes[torch.from_numpy(places).to(planes.device)].float().cpu().numpy()


def refine_maps(
    maps: torch.Tensor,
    features: torch.Tensor,
    inside: torch.Tensor,
    centers: torch.Tensor,
    sigma: float,
) -> torch.Tensor:
    """Give each pixel the mean of the maps over near pixels of its cluster.

    Maps are coarse and cross the edges of what they show; clusters follow them.

    Parameters
    ----------
    maps : tensor of shape (n, n_maps, height, width)
    features : tensor of shape (n, n_features, height, width)
        What pixels are clustered by.
    inside : tensor of shape (n, height, width), bool
        The foreground; elsewhere the result is 0.
    centers : tensor of shape (n_clusters, n_features)
    sigma : float
        Of the Gaussian weight of distance, in pixels.

    Returns
    -------
    tensor of shape (n, n_maps, height, width), float32
    """
    height, width = maps.shape[-2:]
    rows, columns = (_weights(side, sigma, maps.device) for side in (height, width))
    # Distances are taken as products of matrices: exact near 0 only.
    middle = centers.mean(0)
    centers = centers - middle
    refined = torch.zeros(maps.shape, dtype=torch.float32, device=maps.device)
    for index, within in enumerate(inside):
        pixels = features[index].permute(1, 2, 0)[within].float() - middle
        if not len(pixels):
            continue
        # Numbered anew: what the image does not have costs nothing.
        there, cluster = (
            torch.cdist(pixels, centers).argmin(1).unique(return_inverse=True)
        )
        members = torch.zeros(len(there), height, width, device=maps.device)
        places = within.nonzero(as_tuple=True)
        members[cluster, places[0], places[1]] = 1
        near = _blurred(members, rows, columns)[cluster, places[0], places[1]]
        for number, plane in enumerate(maps[index].float()):
            sums = _blurred(members * plane, rows, columns)
            value = sums[cluster, places[0], places[1]] / near
            refined[index, number][within] = value
    return refined


def _weights(side: int, sigma: float, device: torch.device) -> torch.Tensor:
    """Return the Gaussian weights of all pairs of places along a side."""
    place = torch.arange(side, dtype=torch.float32, device=device)
    # Below a tenth of a pixel only the pixel itself is near.
    sigma = max(sigma, 0.1)
    return torch.exp(-0.5 * ((place[:, None] - place[None]) / sigma) ** 2)


def _blurred(
    planes: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """Sum planes (n, height, width) by weights; a product of matrices is fastest."""
    return rows @ planes @ columns
