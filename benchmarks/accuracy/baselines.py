# SPDX-License-Identifier: BSD-3-Clause
"""Plain baselines that any label-free method has to beat."""

import numpy as np
from scipy import ndimage as ndi
from skimage.color import rgb2hed
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.morphology import disk
from skimage.segmentation import watershed


def otsu_watershed(image: np.ndarray) -> np.ndarray:
    """Haematoxylin, Gaussian 1.5, Otsu, opening, distance-transform watershed."""
    smooth = ndi.gaussian_filter(rgb2hed(image)[..., 0], 1.5)
    mask = ndi.binary_opening(smooth > threshold_otsu(smooth), disk(2))
    mask = _keep(mask, min_area=60)
    mask = ~_keep(~mask, min_area=101)
    distance = ndi.gaussian_filter(ndi.distance_transform_edt(mask), 2)
    components, _ = ndi.label(mask)
    peaks = peak_local_max(
        distance, min_distance=6, labels=components, exclude_border=False
    )
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-distance, markers, mask=mask).astype(np.int32)


def _keep(mask: np.ndarray, min_area: int) -> np.ndarray:
    labels, _ = ndi.label(mask)
    large = np.bincount(labels.ravel()) >= min_area
    large[0] = False
    return large[labels]
