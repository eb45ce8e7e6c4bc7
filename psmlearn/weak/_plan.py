# SPDX-License-Identifier: BSD-3-Clause
"""What a class activation mapper says of its training, and keeps of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from psmlearn._engine._inference import refuse_non_finite_answer, working_copy
from psmlearn._engine._plan import TrainingPlan, check_stride
from psmlearn._engine._train import DrawBatch, autocast
from psmlearn._parameters import as_list
from psmlearn.io._batch import ImageBatch, check_range
from psmlearn.weak._labels import LabelCode
from psmlearn.weak._reconstruction import Reconstruction
from psmlearn.weak._refinement import ClusterRefinement, sample_pixels
from psmlearn.weak._resupervision import ClusterResupervision
from psmlearn.weak._training import (
    CAMLoss,
    CAMNetwork,
    Shuffled,
    WorkingImages,
    packed,
)

if TYPE_CHECKING:
    from psmlearn.weak._mapper import ClassActivationMapper

__all__ = ["MapParts", "MapPlan", "MapState"]

# Images and pixels that the clusters of refinement are found on, at most.
_N_CENTER_IMAGES, _N_CENTER_PIXELS = 256, 40_000


@dataclass(frozen=True)
class MapParts:
    """The options of a fit, checked; what is left out has a weight or sigma of 0."""

    resupervision: ClusterResupervision
    reconstruction: Reconstruction
    refinement: ClusterRefinement


@dataclass(frozen=True)
class MapState:
    """What maps mean, and how they were made."""

    code: LabelCode
    size: int
    value_range: tuple[float, float] | None
    map_scale: str
    centers: np.ndarray | None


class MapPlan(TrainingPlan[CAMNetwork]):
    """What a mapper trains: a network of maps that learns image labels."""

    n_validation_batches = 4

    def __init__(
        self,
        mapper: ClassActivationMapper,
        parts: MapParts,
        images: ImageBatch,
        presence: np.ndarray,
        code: LabelCode,
    ) -> None:
        recipe = {
            "network": mapper.network,
            "in_channels": images.n_channels,
            "n_maps": 1 + len(code.shown),
            "base_channels": mapper.base_channels,
            "cam_levels": tuple(
                as_list(mapper.cam_levels, "cam_levels", "a list of levels")
            ),
        }
        super().__init__(recipe, len(images))
        self.mapper = mapper
        self.parts = parts
        self.images = images
        self.presence = presence
        self.code = code
        self.loss_parts = (parts.resupervision, parts.reconstruction)

    @cached_property
    def working(self) -> WorkingImages:
        """All images as the network sees them; made when it has been accepted."""
        return WorkingImages(self.images, self.mapper.patch_size)

    def split(
        self, training: np.ndarray, held_out: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where a label would be missing, all images serve both."""
        kinds = _both(self.presence)
        for part in (training, held_out):
            if (_both(self.presence[part]) != kinds).any():
                everything = np.arange(self.n_images)
                return everything, everything
        return training, held_out

    def backbone(self, network: CAMNetwork) -> nn.Module:
        """Weight files are those of the backbone."""
        return network.backbone

    def check(self, network: CAMNetwork) -> None:
        """Refuse a network that cannot see images of `patch_size`."""
        check_stride(network.backbone, self.mapper.patch_size)

    def data(self) -> list[Any]:
        """Images, and what they show."""
        return [self.images, self.presence]

    def make_draw(self, places: np.ndarray) -> DrawBatch:
        """Draw whole images, their foreground, and what they show."""
        working, order = self.working, Shuffled(places)
        self.remembering.append(order)
        presence = torch.from_numpy(self.presence)

        def draw(rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
            chosen = torch.from_numpy(order.draw(rng, self.mapper.batch_size))
            return working.images[chosen], working.inside[chosen], presence[chosen]

        return draw

    def make_loss(self, network: CAMNetwork, places: np.ndarray) -> CAMLoss:
        """Return the loss; labels are weighted as they are among training images."""
        mapper = self.mapper
        loss = CAMLoss(
            network,
            torch.from_numpy(self.code.weights(self.presence[places])),
            self.code.exclusive,
            self.parts.resupervision.make_loss(
                mapper.max_epochs * mapper.steps_per_epoch
            ),
            self.parts.reconstruction,
            suppression_weight=mapper.suppression_weight,
            map_scale=mapper.map_scale,
            augment=mapper.augment,
        )
        self.remembering += loss.parts_with_memory
        return loss

    def freeze(
        self,
        network: CAMNetwork,
        places: np.ndarray,
        device: torch.device,
        rng: np.random.Generator,
    ) -> tuple[MapState, dict[str, Any]]:
        """Find the clusters of refinement, where the decoder was taught anything."""
        mapper, centers = self.mapper, None
        if self.parts.reconstruction.weight:
            pixels = self._decoded_pixels(working_copy(network, device), device, rng)
            centers = self.parts.refinement.find_centers(pixels, rng)
        public = {
            "classes_": self.code.classes,
            "map_classes_": self.code.shown,
            "refine_centers_": centers,
        }
        value_range = check_range(mapper.value_range)
        frozen = MapState(
            self.code, mapper.patch_size, value_range, mapper.map_scale, centers
        )
        return frozen, public

    def _decoded_pixels(
        self, network: nn.Module, device: torch.device, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw pixels of all images, by the features of the decoder."""
        working, batch_size = self.working, self.mapper.batch_size
        drawn = np.arange(len(working))
        if len(drawn) > _N_CENTER_IMAGES:
            drawn = np.sort(rng.choice(drawn, _N_CENTER_IMAGES, replace=False))
        pixels = []
        for start in range(0, len(drawn), batch_size):
            part = torch.from_numpy(drawn[start : start + batch_size])
            seen = packed(working.images[part].to(device).float())
            with torch.inference_mode(), autocast(device, self.mapper.precision):
                _, features = network(seen, True)
            n_pixels = len(part) * _N_CENTER_PIXELS // len(drawn)
            pixels.append(sample_pixels(features, working.inside[part], n_pixels, rng))
        drawn_pixels = np.concatenate(pixels)
        refuse_non_finite_answer(drawn_pixels, "what the decoder says of pixels")
        return drawn_pixels


def _both(presence: np.ndarray) -> np.ndarray:
    """Tell which classes some images show and others do not."""
    shares = presence.mean(axis=0)
    return (shares > 0) & (shares < 1)
