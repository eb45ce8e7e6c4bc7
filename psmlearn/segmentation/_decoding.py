# SPDX-License-Identifier: BSD-3-Clause
"""How nuclei are read from a network's answer: of a whole image, or of a part of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage as ndi

from psmlearn._images._clumps import (
    LARGEST_CLUMP,
    cut_giants,
    find_clumps,
    is_giant,
)
from psmlearn._images._instances import HOLE, areas, number_by_place
from psmlearn._images._lengths import within_image
from psmlearn._images._sizes import (
    FOUND_TOO_WIDE,
    LARGEST_ZOOM,
    NUCLEUS_DIAMETER,
    ONE_STAIN_TOO_WIDE,
    halved,
    zoom_of_areas,
)
from psmlearn.segmentation._classes import ids_of
from psmlearn.segmentation._targets import Distance, Targets

__all__ = ["Decoding", "decode_nuclei"]

# In diameters, how far around a clump the network's answer has a say in it: by the
# smoothing of classes and of distances, and of what its outline tells.
_REACH, _REACH_BY_OUTLINE = 0.5, 0.8


@dataclass(frozen=True)
class Decoding:
    """What nuclei are read by.

    An object hangs on its clump alone: on the foreground that is joined to it, and on
    what lies within `reach` of that. So a part of an image that holds a clump gives
    its objects as the whole image does, bit for bit.

    Attributes
    ----------
    targets : Targets
        What the network was taught.
    classes : ndarray of shape (n_classes,) or None
    threshold : float
    nucleus_diameter : float or "auto"
        In micrometres; "auto" looks it up in what is found first, and `min_area`
        follows it.
    min_area : float
        In square micrometres.
    pixel_size : float
        Micrometres per pixel.
    """

    targets: Targets
    classes: np.ndarray | None
    threshold: float
    nucleus_diameter: float | str
    min_area: float
    pixel_size: float

    @property
    def looks_first(self) -> bool:
        """Whether the nuclei's size is looked up."""
        return self.nucleus_diameter == "auto"

    @property
    def first_step(self) -> int:
        """Pixels of the image that are one of the first look."""
        return 2 if self.classes is None else 1

    def first_look(self, output: np.ndarray) -> np.ndarray:
        """Return the label image of a first look, from which to tell the size.

        Parameters
        ----------
        output : ndarray of shape (height, width, n_channels), float32
            At the resolution of `first_step`; see `coarse`.
        """
        if self.classes is not None:
            return ids_of(self._find(output, self.pixel_size, self.min_area))
        # The smallest nuclei that are looked for count in it.
        least = self.min_area / LARGEST_ZOOM**2
        return self._find(output, 2 * self.pixel_size, least)

    def coarse(self, output: np.ndarray) -> np.ndarray:
        """Return the outputs at the resolution of the first look."""
        return halved(output) if self.first_step == 2 else output

    def zoom(self, sizes: np.ndarray) -> float:
        """Return how much larger than usual the nuclei are.

        Parameters
        ----------
        sizes : ndarray of shape (n_objects,)
            Their areas in pixels of the first look.
        """
        step = self.first_step * self.pixel_size
        too_wide = ONE_STAIN_TOO_WIDE if self.classes is None else FOUND_TOO_WIDE
        return zoom_of_areas(sizes, step, too_wide=too_wide)

    @property
    def usual_diameter(self) -> float:
        """Diameter of usual nuclei in micrometres."""
        return NUCLEUS_DIAMETER if self.looks_first else float(self.nucleus_diameter)

    def read(self, output: np.ndarray, zoom: float = 1.0) -> np.ndarray:
        """Return the mask of activated outputs, nuclei being of one size.

        Returns
        -------
        mask : ndarray of shape (height, width), or (height, width, 2) with classes
            int32, the ids by place.
        """
        return self._find(output, self.pixel_size / zoom, self.min_area)

    def read_image(self, output: np.ndarray) -> np.ndarray:
        """Return the mask of a whole image, in which the size is looked up."""
        if not self.looks_first or min(output.shape[:2]) < self.first_step:
            return self._read_whole(output)
        if self.classes is not None:
            mask = self._read_whole(output)
            zoom = self.zoom(areas(ids_of(mask)))
            return mask if zoom == 1 else self._read_whole(output, zoom)
        coarse = self.coarse(output)
        found = self.first_look(self._without_giants(coarse, 1.0))
        return self._read_whole(output, self.zoom(areas(found)))

    def _read_whole(self, output: np.ndarray, zoom: float = 1.0) -> np.ndarray:
        return self.read(self._without_giants(output, zoom), zoom)

    def bounds(self, zoom: float) -> tuple[int, float]:
        """Return how far around a clump has a say in it, and its holes, in pixels."""
        diameter = self.usual_diameter * zoom / self.pixel_size
        reach = _REACH if self.clumps_alone else _REACH_BY_OUTLINE
        return math.ceil(reach * diameter) + 3, HOLE * diameter**2

    @property
    def clumps_alone(self) -> bool:
        """Whether other clumps nearby, however near, have no say in a clump."""
        return self.classes is None and isinstance(self.targets, Distance)

    def _without_giants(self, output: np.ndarray, zoom: float) -> np.ndarray:
        """Return the outputs of a whole image, too large clumps cut to pieces."""
        shape = output.shape[:2]
        if max(shape) <= LARGEST_CLUMP:
            return output
        mask = self.foreground(output) > self.threshold
        box, area = (0, 0, *shape), self.bounds(zoom)[1]
        clumps = find_clumps(mask, box, shape, reach=1, max_hole_area=area)
        giants = [n for n, at in enumerate(clumps.boxes, 1) if is_giant(at)]
        if not giants:
            return output
        lines = cut_giants(mask, clumps.labels, np.array(giants), box)
        return self.blanked(output, lines)

    def blanked(self, output: np.ndarray, ground: np.ndarray) -> np.ndarray:
        """Return outputs that are background at some pixels; distances stay."""
        if not ground.any():
            return output
        output = output.copy()
        end = output.shape[-1] - self.targets.n_further
        output[..., 1:end][ground] = 0
        return output

    def foreground(self, output: np.ndarray) -> np.ndarray:
        """Return the probability of any nucleus, (height, width) float32."""
        if self.classes is None:
            return output[..., 1]
        return output[..., 1 : 1 + len(self.classes)].sum(axis=-1)

    def _find(self, output: np.ndarray, step: float, min_area: float) -> np.ndarray:
        """Return the mask; `step` is micrometres a pixel, for usual nuclei."""
        how: dict[str, Any] = {
            "threshold": self.threshold,
            "diameter": self.usual_diameter / step,
            "min_area": round(min_area / step**2),
        }
        if self.classes is None:
            found = self.targets.find_objects(output, output[..., 1], **how)
            return number_by_place(found)
        return _find_classes(output, self, **how)


def _find_classes(output: np.ndarray, decoding: Decoding, **how: Any) -> np.ndarray:
    """Return ids and classes, for nuclei of one size; lengths in pixels."""
    classes: Any = decoding.classes
    scores = output[..., 1 : 1 + len(classes)]
    probability = decoding.foreground(output)
    planes = np.moveaxis(scores, -1, 0)
    sigma = within_image(how["diameter"] / 10, probability.shape)
    smooth = [ndi.gaussian_filter(plane, sigma) for plane in planes]
    likeliest = np.argmax(smooth, axis=0)
    mask = np.zeros((*probability.shape, 2), np.int32)
    # Class by class: touching nuclei of two classes are two, whatever their outline.
    for place, value in enumerate(classes):
        own = np.where(likeliest == place, probability, np.float32(0))
        labels = decoding.targets.find_objects(output, own, **how)
        # A hole that is filled may be another's nucleus, which comes before.
        free = (labels > 0) & (mask[..., 0] == 0)
        mask[free, 0] = labels[free] + mask[..., 0].max()
        mask[free, 1] = value
    mask[..., 0] = number_by_place(mask[..., 0])
    return mask


def decode_nuclei(output: np.ndarray, targets: Targets, **how: Any) -> np.ndarray:
    """Return the mask of an image from the activated outputs of the network.

    Parameters
    ----------
    output : ndarray of shape (height, width, n_channels), float32
        Background, the classes (one where there are none), and what else there is.
    targets : Targets
        What the network was taught.
    **how
        The other attributes of :class:`Decoding`.

    Returns
    -------
    mask : ndarray of shape (height, width), or (height, width, 2) with classes, int32
    """
    return Decoding(targets, **how).read_image(output)
