# SPDX-License-Identifier: BSD-3-Clause
"""Plain baselines from scikit-image that any label-free method has to beat.

Lengths are in pixels, whatever the magnification, as such scripts are used.
"""

import numpy as np
from scipy import ndimage as ndi
from skimage.color import rgb2hed
from skimage.feature import blob_log, peak_local_max
from skimage.filters import threshold_local, threshold_otsu
from skimage.morphology import disk
from skimage.segmentation import watershed

SMOOTHING = 1.5
MIN_AREA = 60
MAX_HOLE_AREA = 100
# Chosen on the odd-numbered MoNuSeg images, of 35 to 401 in eight steps, and of
# 0, 0.25 and 0.5 standard deviations of the smoothed haematoxylin above it.
LOCAL_BLOCK_SIZE = 201
LOCAL_OFFSET = 0.25
# Chosen there too, of 0.01 to 0.2 of the range of haematoxylin, and of sigmas of 4 to
# 8, 5 to 10, 6 to 12 and 7 to 14 pixels.
LOG_THRESHOLD = 0.1
LOG_SIGMAS = {"min_sigma": 6, "max_sigma": 12, "num_sigma": 4}


def otsu_watershed(image: np.ndarray) -> np.ndarray:
    """Haematoxylin, Gaussian, Otsu, opening, distance-transform watershed."""
    smooth = _smooth_haematoxylin(image)
    return _split_by_distance(_clean(smooth > threshold_otsu(smooth)))


def local_threshold(image: np.ndarray) -> np.ndarray:
    """Take a local threshold in the place of Otsu's; the rest is the same."""
    smooth = _smooth_haematoxylin(image)
    local = threshold_local(smooth, LOCAL_BLOCK_SIZE, method="gaussian")
    return _split_by_distance(_clean(smooth > local + LOCAL_OFFSET * smooth.std()))


def log_watershed(image: np.ndarray) -> np.ndarray:
    """Grow blobs (Laplacian of Gaussian) by a watershed within Otsu's mask."""
    smooth = _smooth_haematoxylin(image)
    mask = _clean(smooth > threshold_otsu(smooth))
    low, high = np.percentile(smooth, [1, 99])
    unit = np.clip((smooth - low) / max(high - low, 1e-6), 0, 1)
    blobs = blob_log(unit, threshold=LOG_THRESHOLD, overlap=0.5, **LOG_SIGMAS)
    points = blobs[:, :2].astype(int)
    points = points[mask[tuple(points.T)]]
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(points.T)] = np.arange(1, len(points) + 1)
    return watershed(-unit, markers, mask=mask).astype(np.int32)


def _smooth_haematoxylin(image: np.ndarray) -> np.ndarray:
    return ndi.gaussian_filter(rgb2hed(image[..., :3])[..., 0], SMOOTHING)


def _clean(mask: np.ndarray) -> np.ndarray:
    mask = _keep(ndi.binary_opening(mask, disk(2)), MIN_AREA)
    return ~_keep(~mask, MAX_HOLE_AREA + 1)


def _split_by_distance(mask: np.ndarray) -> np.ndarray:
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
