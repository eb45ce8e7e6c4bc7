# SPDX-License-Identifier: BSD-3-Clause
"""What a mapper of image labels answers: maps, masks, and labels of images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from psmlearn.activation._cam_maps import class_maps, image_logits
from psmlearn.activation._cam_training import WorkingImages
from psmlearn.activation._image_labels import as_image_labels
from psmlearn.activation._refinement import refine_maps
from skimage.filters import apply_hysteresis_threshold
from torch.nn import functional

from psmlearn._engine._inference import working_copy
from psmlearn._engine._train import autocast
from psmlearn._images._regions import connected_regions, regions_of_classes
from psmlearn.base import NetworkEstimator
from psmlearn.io._batch import ImageBatch, check_masks

__all__ = ["ClassMapper"]

# Where an image is known to show a class, this part of the greatest value of its map
# is enough for a pixel, and what reaches that one nowhere is no object.
_OF_PEAK, _SURE_OF_PEAK = 0.75, 0.9


class ClassMapper(NetworkEstimator):
    """Base class: a trained network of class activation maps."""

    # -- mapping ---------------------------------------------------------------

    def _images_to_map(self, X) -> ImageBatch:
        self._check_is_fitted()
        return self._check_images(X, reset=False, value_range=self._trained_range)

    def _map(
        self, images: ImageBatch, *, maps: bool = True
    ) -> Iterator[tuple[np.ndarray | None, np.ndarray]]:
        """Yield the maps (height, width, n_classes) and logits of each image."""
        device = self._resolve_predict_device()
        refines = maps and self._refines()
        network = working_copy(self.network_, device)
        for start in range(0, len(images), self.batch_size):
            part = images[start : start + self.batch_size]
            working = WorkingImages(part, self._size)
            seen = working.images.to(device).float()
            seen = seen.contiguous(memory_format=torch.channels_last)
            with torch.inference_mode(), autocast(device, self.precision):
                raw, features = network(seen, refines)
                logits = torch.stack([image_logits(level).float() for level in raw])
            found = None
            if maps:
                found = class_maps(raw, seen.shape[-2:], self._trained_scale)[:, 1:]
            if refines:
                found = refine_maps(
                    found,
                    features,
                    working.inside.to(device),
                    torch.tensor(self.refine_centers_, device=device),
                    self.refine_sigma * self._size,
                )
            logits = logits.permute(1, 0, 2).cpu().numpy()
            for index, shape in enumerate(part.shapes):
                grown = None
                if maps:
                    grown = _grow(found[index].cpu(), working.sides[index], shape)
                yield grown, logits[index]

    def _refines(self) -> bool:
        return self.refine_centers_ is not None and self.refine_sigma > 0

    def _masks(self, images: ImageBatch, shown: np.ndarray | None = None):
        """Return the masks of images; `shown` tells what classes they have."""
        sizes = self._pixel_sizes(images)
        masks = []
        for index, (maps, logits) in enumerate(self._map(images)):
            allowed = np.ones(maps.shape[2], bool)
            if shown is not None:
                allowed = shown[index]
            elif self.require_presence:
                allowed = self._are_shown(logits[None])[0]
            maps[..., ~allowed] = 0
            above = maps > np.float32(self.threshold)
            if shown is not None:  # it is known that there is an object
                above = _surely_above(maps, self.threshold)
            min_area = self.min_area / sizes[index] ** 2
            masks.append(_cut(maps, above, min_area))
        return images.wrap(masks)

    def transform(self, X) -> np.ndarray | list[np.ndarray]:
        """Return the class activation maps.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images as arrays or paths, of any size.

        Returns
        -------
        array or list of ndarray of shape (height, width, n_classes), float32
            In [0, 1], one for each of `map_classes_`; in the container of X.
        """
        images = self._images_to_map(X)
        return images.wrap([maps for maps, _ in self._map(images)])

    def predict(self, X) -> np.ndarray | list[np.ndarray]:
        """Return the objects as label images.

        Returns
        -------
        array or list of ndarray of shape (height, width[, 2]), int32
            0 background, 1..n one id per connected region. With several classes the
            second plane holds the class, the place in `map_classes_` from 1.
        """
        return self._masks(self._images_to_map(X))

    # -- image labels ----------------------------------------------------------

    def predict_image_proba(self, X) -> np.ndarray:
        """Return the probabilities of the labels of each image.

        Returns
        -------
        ndarray of shape (n_images, n_labels), float32
            In the order of `classes_`. They sum to 1, but for labels of several at
            once, where each is that of the class being shown.
        """
        images = self._images_to_map(X)
        logits = np.stack([logits for _, logits in self._map(images, maps=False)])
        return self._label_probabilities(logits)

    def predict_image(self, X) -> np.ndarray:
        """Return the likeliest label of each image, shaped as those of `fit`."""
        probabilities = self.predict_image_proba(X)
        if not self._code.exclusive:
            return (probabilities > 0.5).astype(int)
        return self.classes_[probabilities.argmax(axis=1)]

    def _label_probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Turn logits (n, n_levels, 1 + n_classes) into what `classes_` are told."""
        code, logits = self._code, torch.from_numpy(logits)
        if not code.exclusive:
            return torch.sigmoid(logits[..., 1:] - logits[..., :1]).mean(1).numpy()
        if code.negative is None:
            return logits[..., 1:].softmax(-1).mean(1).numpy()
        found = logits.softmax(-1).mean(1).numpy()
        # The background comes first in the network, the negative label in its place.
        order = np.r_[
            np.flatnonzero(code.classes == code.negative),
            np.flatnonzero(code.classes != code.negative),
        ]
        placed = np.empty_like(found)
        placed[:, order] = found
        return placed

    def _are_shown(self, logits: np.ndarray) -> np.ndarray:
        """Tell which classes with maps images show, (n_images, n_classes) bool."""
        code, found = self._code, self._label_probabilities(logits)
        if not code.exclusive:
            return found > 0.5
        likeliest = code.classes[found.argmax(axis=1)]
        return likeliest[:, None] == code.shown

    def score(self, X, y) -> float:
        """Return the Dice coefficient of masks, or the accuracy of image labels.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
        y : sequence of ndarray of shape (height, width[, 2]), or array of labels
            True masks, for the mean over images of the Dice coefficient of the
            foreground; or labels as in `fit`, for the share that is told right.
        """
        caller = f"{type(self).__name__}.score"
        self._check_is_fitted()
        if y is None:
            raise ValueError(f"{caller}: y is needed, true masks or image labels.")
        if self._are_labels(y):
            found = self.predict_image(X)
            labels = as_image_labels(y, len(found), caller)
            self._code.presence(labels, caller)  # refuses labels of another kind
            return float(np.mean(found == labels))
        from psmlearn.metrics import dice_score

        return dice_score(check_masks(y, None, caller=caller), list(self.predict(X)))

    def _are_labels(self, y: Iterable) -> bool:
        """Tell image labels from masks, which may be paths."""
        first = next(iter(y), None)
        if isinstance(first, str | os.PathLike):
            return self.classes_.dtype.kind == "U" and not os.path.exists(first)
        return np.ndim(first) < 2


def _surely_above(maps: np.ndarray, threshold: float) -> np.ndarray:
    """Tell where maps (height, width, n_classes) are high, near what is highest.

    By sides: what touches at a corner alone is a speck.
    """
    peaks = maps.max(axis=(0, 1))
    levels = np.minimum(np.float32(threshold), _OF_PEAK * peaks)
    above = [
        apply_hysteresis_threshold(maps[..., k], levels[k], _SURE_OF_PEAK * peaks[k])
        for k in range(maps.shape[2])
    ]
    return np.stack(above, axis=-1)


def _cut(maps: np.ndarray, above: np.ndarray, min_area: float) -> np.ndarray:
    """Return the regions of maps (height, width, n_classes) where they are `above`."""
    if maps.shape[2] == 1:
        return connected_regions(above[..., 0], min_area)
    classes = np.arange(1, maps.shape[2] + 1)
    place = np.where(above, maps, -1).argmax(axis=-1)
    return regions_of_classes(above.any(axis=-1), place, classes, min_area)


def _grow(
    maps: torch.Tensor, side: tuple[int, int], shape: tuple[int, int]
) -> np.ndarray:
    """Bring maps (n_classes, size, size) to an image, (height, width, n_classes)."""
    maps = maps[:, : side[0], : side[1]].float()
    if tuple(shape) != tuple(side):
        maps = functional.interpolate(
            maps[None], size=shape, mode="bilinear", align_corners=False
        )[0]
    return maps.permute(1, 2, 0).contiguous().numpy()
