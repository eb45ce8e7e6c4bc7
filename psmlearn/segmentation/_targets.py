# SPDX-License-Identifier: BSD-3-Clause
"""What a pixel network is taught by masks, and how nuclei are read from its answer.

Each kind of targets is an object: it makes the planes that crops are cut from, gives
the loss, and splits the probability of foreground into nuclei.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone

from psmlearn._images._instances import (
    clean_mask,
    decode_instances,
    relabel,
    remove_small,
    split_touching,
)
from psmlearn._sklearn_compat import HasMethods
from psmlearn.base import AT_LEAST_0, Option
from psmlearn.io._batch import ImageBatch
from psmlearn.io._point_checks import are_points, check_points
from psmlearn.segmentation._classes import (
    class_counts,
    class_places,
    ids_of,
    mask_points,
)
from psmlearn.segmentation._losses import (
    heatmap_loss,
    instance_loss,
    pixel_loss,
    region_loss,
    voronoi_loss,
)
from psmlearn.segmentation._masks import class_planes
from psmlearn.segmentation._rasters import (
    nearest_values,
    points_to_heatmap,
    voronoi_labels,
)

if TYPE_CHECKING:
    from psmlearn.segmentation._pixels import PixelNetworkEstimator

__all__ = [
    "Distance",
    "Examples",
    "Foreground",
    "Heatmap",
    "Regions",
    "Targets",
    "Voronoi",
]

Loss = Callable[..., torch.Tensor]
# The heat map is cut with the ids, as whole numbers up to this one.
_HEAT_LEVELS = 255
# Smoothed probabilities that are low and high in nuclei.
_PROBABILITIES = (0.42, 0.84)


@dataclass
class Examples:
    """What a network learns from.

    Attributes
    ----------
    planes : list of ndarray of shape (height, width[, n_planes]), int32
        Ids of the objects first; crops are cut from them.
    classes : ndarray of shape (n_classes,) or None
        Classes to learn, ascending.
    weights : tensor of shape (n_classes,) or None
        How much each counts in the loss; prediction takes it back.
    public : dict
        Public attributes that come of it.
    """

    planes: list[np.ndarray]
    classes: np.ndarray | None = None
    weights: torch.Tensor | None = None
    public: dict[str, Any] = field(default_factory=dict)


class Targets(Option):
    """Base class of what a pixel network is taught.

    One's own derive from :class:`Distance` or :class:`Voronoi` for
    :class:`NucleiSegmenter`, from :class:`Heatmap` or :class:`Foreground` for
    :class:`NucleiDetector`, and change a part of them.

    Attributes
    ----------
    with_distance : bool
        Whether the loss, or the variation of images, takes the inner distance of the
        objects, which costs time.
    n_further : int
        Outputs of the network besides background and foreground.
    """

    with_distance = True
    n_further = 0

    def examples(
        self,
        learner: PixelNetworkEstimator,
        images: ImageBatch,
        y: Any,
        continued: bool,
    ) -> Examples:
        """Make what is learnt from of masks, in y or in channels of the images."""
        masks = learner._training_masks(images, y)
        classes = learner._find_classes(class_planes(masks), continued)
        weights = None
        if classes is not None:
            weights = learner._number_classes(masks, classes)
        return Examples(masks, classes, weights)

    def further(self, crops: np.ndarray) -> list[np.ndarray]:
        """Return targets besides ids and distance, of crops (n, size, size, planes)."""
        n_planes = 1 if crops.ndim == 3 else crops.shape[-1]
        return [crops[..., k].astype(np.int64) for k in range(1, n_planes)]

    def loss(self) -> Loss:
        """Return ``f(outputs, labels, distance, *further, weights) -> scalar``."""
        raise NotImplementedError(
            f"{type(self).__name__} has no loss: targets need a method loss() that "
            "returns a function of outputs, labels, distance and further targets."
        )

    def find_objects(
        self,
        output: np.ndarray,
        probability: np.ndarray,
        *,
        threshold: float,
        diameter: float,
        min_area: int,
    ) -> np.ndarray:
        """Return the label image of one image; lengths in pixels.

        Parameters
        ----------
        output : ndarray of shape (height, width, n_outputs), float32
            Activated outputs of the network.
        probability : ndarray of shape (height, width), float32
            Of the foreground, or of one class of it.
        """
        mask = clean_mask(probability > threshold, min_area=min_area)
        labels = split_touching(
            mask, diameter=diameter, intensity=probability, levels=_PROBABILITIES
        )
        return relabel(remove_small(labels, min_area))


class Distance(Targets):
    """Foreground, and the inner distance of each object.

    Touching nuclei are told apart by the distance's valleys and by the parts' shapes.
    """

    n_further = 1

    def loss(self) -> Loss:
        """Cross entropy, and L1 of the distance."""
        return instance_loss

    def find_objects(
        self,
        output: np.ndarray,
        probability: np.ndarray,
        *,
        threshold: float,
        diameter: float,
        min_area: int,
    ) -> np.ndarray:
        """Return the label image, split by the distance and by shape.

        Where there are several classes, the shape has no part in it: among stained
        nuclei the pale ones, whose outlines are not sure, would be cut to pieces.
        """
        n_classes = output.shape[-1] - 1 - self.n_further
        return decode_instances(
            probability,
            output[..., -1],
            threshold=threshold,
            diameter=diameter,
            min_area=min_area,
            by_shape=n_classes < 2,
        )


class Voronoi(Targets):
    """Two-stage training: a detector's points give sparse labels.

    As in [1]_, a detector learns the masks; around its points pixels are nucleus, on
    the edges of their Voronoi cells background, and the network learns these beside the
    masks.

    Parameters
    ----------
    detector : NucleiDetector, default=None
        The first stage; None takes one with the training parameters of the segmenter.
    weight : float, default=1.5
        Weight of the Voronoi labels beside the mask.
    mask_foreground : bool, default=True
        Whether the masks' foreground is learnt; the code of [1]_ does not (False).

    References
    ----------
    .. [1] P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior
       Self-activation Maps", MICCAI 2023.

    Examples
    --------
    >>> from psmlearn import NucleiSegmenter
    >>> from psmlearn.segmentation import Voronoi
    >>> NucleiSegmenter(targets=Voronoi(weight=1.0)).get_params()["targets__weight"]
    1.0
    """

    _parameter_constraints: dict = {
        "detector": [HasMethods(["fit", "predict"]), None],
        "weight": [AT_LEAST_0],
        "mask_foreground": ["boolean"],
    }

    def __init__(
        self,
        *,
        detector: BaseEstimator | None = None,
        weight: float = 1.5,
        mask_foreground: bool = True,
    ) -> None:
        self.detector = detector
        self.weight = weight
        self.mask_foreground = mask_foreground

    def examples(
        self,
        learner: PixelNetworkEstimator,
        images: ImageBatch,
        y: Any,
        continued: bool,
    ) -> Examples:
        """Train the detector, and make planes of its points."""
        masks = learner._training_masks(images, y)
        classes = learner._find_classes(class_planes(masks), continued)
        own = self.detector
        detector = learner._first_stage() if own is None else clone(own)
        pictures = learner._pictures(images)
        if isinstance(pictures, list) and getattr(detector, "pixel_size", 0) == "file":
            # Arrays know no file.
            detector.set_params(pixel_size=learner._pixel_sizes(images).tolist())
        points = detector.fit(pictures, masks).predict(pictures)
        weights = None
        if classes is not None:
            weights = learner._number_classes(masks, classes)
        planes = [
            voronoi_planes(mask, found, classes)
            for mask, found in zip(masks, points, strict=True)
        ]
        return Examples(planes, classes, weights, {"detector_": detector})

    def further(self, crops: np.ndarray) -> list[np.ndarray]:
        """Return the Voronoi labels, and the places of the classes."""
        places = [crops[..., k].astype(np.int64) for k in range(2, crops.shape[-1])]
        return [crops[..., 1].astype(np.float32), *places]

    def loss(self) -> Loss:
        """Cross entropy on mask and Voronoi labels."""
        return partial(
            voronoi_loss, weight=self.weight, mask_foreground=self.mask_foreground
        )


class Foreground(Targets):
    """The foreground of the masks alone.

    It is the first stage of [1]_.

    References
    ----------
    .. [1] P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior
       Self-activation Maps", MICCAI 2023.
    """

    def loss(self) -> Loss:
        """Cross entropy."""
        return pixel_loss

    def peak_height(self, nucleus_diameter: float, smoothing: float) -> float:
        """Return the height at its centre of a perfect answer after a blur."""
        return 1.0


class Heatmap(Targets):
    """Gaussians around the centres of the nuclei; masks or points are learnt from."""

    def examples(
        self,
        learner: PixelNetworkEstimator,
        images: ImageBatch,
        y: Any,
        continued: bool,
    ) -> Examples:
        """Draw the Gaussians, with the class of the nearest nucleus."""
        masks, points = self._points_to_learn(learner, images, y)
        values = None
        if points[0].shape[1] == 3:
            values = [found[:, 2] for found in points]
        classes = learner._find_classes(values, continued)
        weights = None
        if classes is not None and values is not None:
            places = [class_places(each, classes) for each in values]
            counts = class_counts(places, len(classes))
            weights = learner._class_weights(classes, counts)
        planes = []
        for i, diameter in enumerate(learner._diameters(images)):
            heat = points_to_heatmap(points[i], masks[i].shape, diameter / 5)
            stack = [masks[i], np.round(heat * _HEAT_LEVELS).astype(np.int32)]
            if classes is not None:
                stack.append(nearest_values(points[i], places[i], masks[i].shape))
            planes.append(np.stack(stack, axis=-1))
        return Examples(planes, classes, weights)

    def _points_to_learn(
        self, learner: PixelNetworkEstimator, images: ImageBatch, y: Any
    ) -> tuple[list, list]:
        """Return the ids (0 where only points are known) and the points."""
        if learner.label_channel is None and are_points(y, images):
            masks = [np.zeros(shape, np.int32) for shape in images.shapes]
            return masks, check_points(y, images, caller=type(learner).__name__)
        masks = learner._training_masks(images, y)
        points = [mask_points(mask) for mask in masks]
        return [ids_of(mask) for mask in masks], points

    def further(self, crops: np.ndarray) -> list[np.ndarray]:
        """Return heat map and places of the classes."""
        places = [crops[..., k].astype(np.int64) for k in range(2, crops.shape[-1])]
        return [crops[..., 1] / np.float32(_HEAT_LEVELS), *places]

    def loss(self) -> Loss:
        """Cross entropy against a soft target."""
        return heatmap_loss

    def peak_height(self, nucleus_diameter: float, smoothing: float) -> float:
        """Return the height at its centre of a perfect answer after a blur."""
        heat = (nucleus_diameter / 5) ** 2
        return heat / (heat + smoothing**2)


class Regions(Targets):
    """Foreground of any size: each connected region of it is one object."""

    with_distance = False

    def loss(self) -> Loss:
        """Cross entropy, and 1 less the Dice coefficient."""
        return region_loss


def voronoi_planes(
    mask: np.ndarray, points: np.ndarray, classes: np.ndarray | None
) -> np.ndarray:
    """Return the planes (height, width, 2 or 4) of the two-stage training.

    Ids and Voronoi labels, with classes then the places of the classes in the mask
    and around the points.
    """
    shape = mask.shape[:2]
    voronoi = voronoi_labels(points, shape)
    if classes is None:
        return np.stack([mask, voronoi], axis=-1)
    if points.shape[1] == 3:
        places = nearest_values(points, class_places(points[:, 2], classes), shape)
    else:  # a detector that knows no classes: the mask tells them
        places = mask[..., 1]
    places = np.where(voronoi > 0, places, 0)
    return np.stack([mask[..., 0], voronoi, mask[..., 1], places], axis=-1)
