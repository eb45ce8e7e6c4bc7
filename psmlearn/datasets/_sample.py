# SPDX-License-Identifier: BSD-3-Clause
"""The one real picture at hand without a download."""

from __future__ import annotations

import numpy as np


def load_sample_image() -> np.ndarray:
    """Load scikit-image's immunohistochemistry picture: colonic glands.

    Brown (DAB) marks FHL2, blue haematoxylin the nuclei. It comes with the
    scikit-image package, so nothing is downloaded.

    Returns
    -------
    ndarray of shape (512, 512, 3), dtype uint8

    References
    ----------
    Image by the Center for Microscopy And Molecular Imaging (CMMI), no known
    copyright restrictions; see `skimage.data.immunohistochemistry`.

    Examples
    --------
    >>> from psmlearn.datasets import load_sample_image
    >>> load_sample_image().shape
    (512, 512, 3)
    """
    from skimage.data import immunohistochemistry

    return immunohistochemistry()
